"""RFC 2033: LMTP. Postfix, which has no LMTP service, is no reference here."""
from rfc5321 import delivered


def lmtp(s):
    """Another connection, behind LHLO; None: the server has no LMTP."""
    if s.differs("Postfix has no LMTP service"):
        return None
    s = s.again(port=s.server.lmtp_port)
    lines = s.say("LHLO client.example", "250")
    s.extensions = {line[4:].split(" ")[0].upper() for line in lines[1:]}
    s.statuses = "ENHANCEDSTATUSCODES" in s.extensions
    return s


def rcpt(s, *names):
    s.say("MAIL FROM:<a@client.example>", "250")
    for name in names:
        s.say("RCPT TO:<%s@local.example>" % name, "550" if name == "nobody" else "250")


def rfc2033_4_1_lhlo_and_neither_helo_nor_ehlo(s):
    o = lmtp(s)
    if o:
        o = s.again(port=s.server.lmtp_port)
        o.say("HELO client.example", "500 ")
        o.say("EHLO client.example", "500 ")
        o.say("MAIL FROM:<a@client.example>", "503")
        o.say("LHLO client.example", "250")
        o.say("MAIL FROM:<a@client.example>", "250")


def rfc2033_4_1_no_lhlo_over_smtp(s):
    s.send("LHLO client.example\r\n")
    s.hear("500 ")
    s.ehlo()


def rfc2033_4_2_a_reply_for_each_accepted_recipient(s):
    s = lmtp(s)
    if s:
        rcpt(s, "alice", "nobody", "bob", "alice")
        s.text(b"Subject: to three\r\n\r\n.\r\n", r"250 2\.0\.0")
        s.hear(r"250 2\.0\.0")
        s.hear(r"250 2\.0\.0")
        s.say("NOOP", "250")
        delivered(s, b"Subject: to three\n", "alice")
        delivered(s, b"Subject: to three\n", "bob")


def rfc2033_4_2_the_same_for_a_refusal(s):
    s = lmtp(s)
    if s:
        rcpt(s, "alice", "bob")
        s.text(b"Subject: a bare\nLF\r\n.\r\n", r"550 5\.6\.0")
        s.hear(r"550 5\.6\.0")
        s.say("NOOP", "250")


def rfc2033_4_2_data_without_recipients(s):
    s = lmtp(s)
    if s:
        rcpt(s, "nobody")
        s.say("DATA", "503")
        s.say("RSET", "250")
        s.say("MAIL FROM:<a@client.example>", "250")
        s.say("DATA", "503")


def rfc2033_4_3_the_last_chunk_is_answered_for_each(s):
    s = lmtp(s)
    if s:
        rcpt(s, "alice", "bob")
        s.send(b"BDAT 18\r\nSubject: in chunk")
        s.send(b"s")
        s.hear("250")
        s.send(b"BDAT 4 LAST\r\n\r\n\r\n")
        s.hear(r"250 2\.0\.0 Ok: queued")
        s.hear(r"250 2\.0\.0 Ok: queued")
        s.say("NOOP", "250 2.0.0 Ok$")
        delivered(s, b"Subject: in chunks\n", "bob")


def rfc2033_4_3_a_chunk_that_is_refused(s):
    s = lmtp(s)
    if s:
        rcpt(s, "alice", "bob")
        s.send(b"BDAT 6 LAST\r\na\nb\r\nc")
        s.hear(r"550 5\.6\.0")
        s.hear(r"550 5\.6\.0")
        rcpt(s, "alice", "bob")
        s.send(b"BDAT 6\r\na\nb\r\nc")
        s.hear(r"550 5\.6\.0")
        s.say("NOOP", "250 2.0.0 Ok$")


def rfc2033_5_what_has_to_be_offered(s):
    s = lmtp(s)
    if s:
        s.expect({"PIPELINING", "ENHANCEDSTATUSCODES", "8BITMIME"} <= s.extensions, "not all of PIPELINING, ENHANCEDSTATUSCODES, 8BITMIME")


def rfc2033_5_pipelined(s):
    s = lmtp(s)
    if s:
        s.send(b"MAIL FROM:<>\r\nRCPT TO:<alice@local.example>\r\nRCPT TO:<nobody@local.example>\r\nRCPT TO:<bob@local.example>\r\nDATA\r\n")
        for reply in "250", "250", "550", "250", "354":
            s.hear(reply)
        s.send(b"Subject: pipelined\r\n\r\n.\r\nNOOP\r\n")
        for reply in "250 2.0.0 Ok: queued", "250 2.0.0 Ok: queued", "250 2.0.0 Ok$":
            s.hear(reply)


def rfc3848_with_lmtp(s):
    s = lmtp(s)
    if s:
        rcpt(s, "alice")
        s.text(b"Subject: with lmtp\r\n\r\n.\r\n")
        message = delivered(s, b"Subject: with lmtp\n").replace(b"\n\t", b" ")
        s.expect(b" with LMTP id " in message, "not 'with LMTP': %r" % message[:300])


def rfc3848_with_lmtps_and_lmtpsa(s):
    from dialogue import plain
    for login, word in ((False, b" with LMTPS id "), (True, b" with LMTPSA id ")):
        o = lmtp(s)
        if not o:
            return
        o.starttls()
        o.say("LHLO client.example", "250")
        if login:
            o.say("AUTH PLAIN " + plain(o.server.user, o.server.password), "235")
        rcpt(o, "alice")
        mark = b"Subject: " + word.strip()
        o.text(mark + b"\r\n\r\n.\r\n")
        message = delivered(o, mark + b"\n").replace(b"\n\t", b" ")
        o.expect(word in message, "not %r: %r" % (word, message[:300]))


def rfc6531_4_3_with_utf8lmtp(s):
    s = lmtp(s)
    if s:
        s.say("MAIL FROM:<a@client.example> SMTPUTF8", "250")
        s.say("RCPT TO:<alice@local.example>", "250")
        s.text(b"Subject: with utf8lmtp\r\n\r\n.\r\n")
        message = delivered(s, b"Subject: with utf8lmtp\n").replace(b"\n\t", b" ")
        s.expect(b" with UTF8LMTP id " in message, "not 'with UTF8LMTP': %r" % message[:300])
