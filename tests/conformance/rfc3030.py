"""RFC 3030: CHUNKING and BINARYMIME. (Postfix has no BINARYMIME.)"""
from dialogue import PATIENCE
from rfc5321 import delivered
from rfc2920 import ENVELOPE, heard
from servers import SIZE_LIMIT

TEXT = b"Subject: %s\r\n\r\nbody\r\n"


def bdat(s, octets, expect, *differs, last=False):
    s.send(b"BDAT %d%s\r\n" % (len(octets), b" LAST" if last else b"") + octets)
    s.hear(expect, *differs)


def rfc3030_2_chunking_is_offered(s):
    s.ehlo()
    s.expect(s.extensions.get("CHUNKING") == [], "CHUNKING is not offered, or with a parameter")


def rfc3030_3_binarymime_is_offered_with_chunking(s):
    s.ehlo()
    s.expect(s.differs("Postfix has it not") or s.extensions.get("BINARYMIME") == [], "BINARYMIME is not offered")


def rfc3030_2_one_chunk(s):
    s.ehlo()
    s.mail()
    bdat(s, TEXT % b"one chunk", "250", last=True)
    s.expect(delivered(s, b"Subject: one chunk\n").endswith(b"\n\nbody\n"), "octets were changed")


def rfc3030_2_many_chunks_and_a_reply_to_each(s):
    s.ehlo()
    s.mail()
    text = TEXT % b"many chunks"
    for i in range(len(text)):
        bdat(s, text[i : i + 1], "250")
    bdat(s, b"", "250", last=True)
    s.expect(delivered(s, b"Subject: many chunks\n").endswith(b"\n\nbody\n"), "octets were changed")


def rfc3030_2_no_reply_before_the_octets_have_come(s):
    s.ehlo()
    s.mail()
    s.send(b"BDAT 20\r\nSubject: slow\r\n")
    s.sock.settimeout(0.3)
    try:
        s.expect(not s.sock.recv(100), "a reply before the chunk was whole")
    except TimeoutError:
        pass
    s.sock.settimeout(PATIENCE)
    s.send(b"\r\nabc")
    s.hear("250")
    bdat(s, b"\r\n", "250", last=True)
    delivered(s, b"Subject: slow\n")


def rfc3030_2_dots_are_text(s):
    s.ehlo()
    s.mail()
    bdat(s, b"Subject: dots\r\n\r\n.\r\n..\r\n.x\r\n", "250", last=True)
    s.expect(delivered(s, b"Subject: dots\n").endswith(b"\n\n.\n..\n.x\n"), "dots were changed")


def rfc3030_2_the_verb_in_any_case(s):
    s.ehlo()
    s.mail()
    s.send(b"bDaT 25 lAsT\r\nSubject: case\r\n\r\nbody\r\n\r\n")
    s.hear("250")
    delivered(s, b"Subject: case\n")


def rfc3030_2_bdat_before_mail_or_rcpt(s):
    s.ehlo()
    bdat(s, b"QUIT\r\n", "503", last=True)
    s.say("MAIL FROM:<a@client.example>", "250")
    bdat(s, b"QUIT\r\n", "503", "554", "Postfix says that there are no valid recipients", last=True)
    s.say("NOOP", "250")


def rfc3030_2_bdat_behind_the_last(s):
    """a 503, and the next message is well"""
    s.ehlo()
    s.mail()
    bdat(s, TEXT % b"last", "250", last=True)
    bdat(s, b"x\r\n", "503", last=True)
    s.say("RSET", "250")
    s.mail()
    bdat(s, TEXT % b"behind the last", "250", last=True)
    delivered(s, b"Subject: behind the last\n")


def rfc3030_2_data_and_bdat_are_not_mixed(s):
    s.ehlo()
    s.mail()
    bdat(s, b"Subject: x\r\n", "250")
    s.say("DATA", "503")
    s.say("RSET", "250")
    s.say("NOOP", "250")


def rfc3030_2_rset_forgets_chunks(s):
    s.ehlo()
    s.mail()
    bdat(s, b"Subject: forgotten\r\n", "250")
    s.say("RSET", "250")
    s.mail()
    bdat(s, TEXT % b"after RSET", "250", last=True)
    s.expect(b"forgotten" not in delivered(s, b"Subject: after RSET\n"), "a chunk outlived RSET")


def rfc3030_2_refused_chunks_are_read_to_their_end(s):
    """and those that were pipelined behind them"""
    s.ehlo()
    s.send(b"MAIL FROM:<a@client.example>\r\nRCPT TO:<nobody@local.example>\r\nBDAT 6\r\nQUIT\r\nBDAT 6 LAST\r\nQUIT\r\nNOOP\r\n")
    heard(s, "250", "550 5.1.1", "554")
    s.hear("503", "551", "there is no transaction any more behind a chunk that was refused; Postfix says that it discards them")
    s.hear("250")


def rfc3030_2_chunks_in_one_group(s):
    s.ehlo()
    s.send(ENVELOPE + "BDAT 16\r\nSubject: group\r\n" + "BDAT 2\r\n\r\n" + "BDAT 3 LAST\r\nx\r\n" + ENVELOPE + "BDAT 19 LAST\r\nSubject: next\r\n\r\n\r\nQUIT\r\n")
    heard(s, "250", "250", "250", "250", "250", "250", "250", "250", "221")
    s.hear_end()


def rfc3030_2_chunks_of_more_than_the_message_may_have(s):
    s.ehlo()
    s.mail()
    line = b"x" * 98 + b"\r\n"
    bdat(s, b"Subject: sum\r\n\r\n" + line * (SIZE_LIMIT // 200), "250")
    bdat(s, line * (SIZE_LIMIT // 200 + 2), "552 5.3.4")
    s.say("RSET", "250")
    s.say("NOOP", "250")


def no_size(s, size, *expect):
    """Where the next command is can't be known: nothing of what follows is obeyed."""
    s.ehlo()
    s.mail()
    s.send(b"BDAT " + size + b"\r\n")
    s.hear(*expect)
    s.hear_end()


def rfc3030_2_a_size_that_is_none(s):
    for size in b"x", b"-1", b"18446744073709551616", b"1 FIRST", b"1 LAST x":
        no_size(s.again() if size != b"x" else s, size, "501 5.5.4", "521 5.5.4", "501 is the code for arguments that are wrong (RFC 5321 4.2.2); 521 is for hosts that take no mail at all (RFC 7504)")


def rfc3030_3_binary_octets_are_taken_by_bdat_alone(s):
    s.ehlo()
    if s.differs("Postfix has no BINARYMIME"):
        s.say("MAIL FROM:<a@client.example> BODY=BINARYMIME", "5")
        return
    s.all(("MAIL FROM:<a@client.example> BODY=BINARYMIME", "250"), ("RCPT TO:<alice@local.example>", "250"), ("DATA", "503"), ("RSET", "250"),
          ("MAIL FROM:<a@client.example> BODY=BINARYMIME", "250"), ("RCPT TO:<alice@local.example>", "250"))
    bdat(s, b"Subject: binary\r\nMIME-Version: 1.0\r\nContent-Transfer-Encoding: binary\r\n\r\na\rb\nc\0\xff", "250", last=True)
    delivered(s, b"Subject: binary\n")
