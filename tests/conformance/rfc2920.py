"""RFC 2920: Command Pipelining."""
from rfc5321 import delivered

ENVELOPE = "MAIL FROM:<a@client.example>\r\nRCPT TO:<alice@local.example>\r\n"


def heard(s, *expected):
    for one in expected:
        s.hear(one)


def rfc2920_3_1_mail_rcpt_and_data_in_one_group(s):
    s.ehlo()
    s.send(ENVELOPE + "RCPT TO:<nobody@local.example>\r\nRCPT TO:<bob@local.example>\r\nDATA\r\n")
    heard(s, "250 2.1.0", "250 2.1.5", "550 5.1.1", "250 2.1.5", "354")
    s.send("Subject: a group\r\n\r\n.\r\n")
    s.hear("250")
    delivered(s, b"Subject: a group\n", "bob")


def rfc2920_3_1_a_group_begins_with_the_end_of_a_text(s):
    s.ehlo()
    s.send(ENVELOPE + "DATA\r\n")
    heard(s, "250", "250", "354")
    s.send("Subject: one\r\n\r\n.\r\n" + ENVELOPE + "DATA\r\n")
    heard(s, "250", "250", "250", "354")
    s.send("Subject: two\r\n\r\n.\r\nQUIT\r\n")
    heard(s, "250", "221")
    s.hear_end()


def rfc2920_3_1_rset_mail_in_one_group(s):
    s.ehlo()
    s.send("RSET\r\n" + ENVELOPE + "RSET\r\n" + ENVELOPE)
    heard(s, "250", "250", "250", "250", "250", "250")


def rfc2920_3_1_data_without_a_valid_recipient(s):
    s.ehlo()
    s.send("MAIL FROM:<a@client.example>\r\nRCPT TO:<nobody@local.example>\r\nDATA\r\n")
    heard(s, "250", "550 5.1.1", "554 5.5.1")
    s.send(".\r\n")  # of a client that did not wait for 354
    s.hear("500 5.5.2", "221 2.7.0", "Postfix hangs up on what looks like the text of a message; here it is one of limit { errors }")


def rfc2920_3_1_what_must_be_last_is_answered_in_its_place(s):
    s.ehlo()
    s.send("NOOP\r\nVRFY alice\r\nEXPN x\r\nMAIL FROM:<>\r\n")
    heard(s, "250", "252")
    s.hear("502 5.5", "500 5.5.2", "Postfix does not know EXPN")
    s.hear("250")
    s.send("EHLO client.example\r\nNOOP\r\n")
    s.hear("250", bare=True)
    s.hear("250")


def rfc2920_3_2_nothing_is_lost_of_a_large_group(s):
    s.ehlo()
    s.send("NOOP\r\n" * 90 + ENVELOPE + "RCPT TO:<bob@local.example>\r\n" * 90)
    heard(s, *["250 2.0.0"] * 90, "250 2.1.0", "250 2.1.5", *["250 2.1.5"] * 90)


def rfc2920_3_2_each_reply_to_its_own_command(s):
    s.ehlo()
    s.send("MAIL FROM:<a@client.example>\r\n" + "".join("RCPT TO:<%s@local.example>\r\n" % n for n in ("alice", "x1", "bob", "x2")))
    heard(s, "250", "250", r"550 5\.1\.1 <x1@", "250", r"550 5\.1\.1 <x2@")


def rfc2920_3_2_commands_in_any_pieces(s):
    s.ehlo()
    for octet in (ENVELOPE + "DATA\r\n").encode():
        s.send(bytes([octet]))
    heard(s, "250", "250", "354")
    s.send(".\r\n")
    s.hear("250")


def rfc2920_3_2_a_group_and_the_end_of_the_connection(s):
    import socket
    s.ehlo()
    s.send(ENVELOPE)
    s.sock.shutdown(socket.SHUT_WR)
    heard(s, "250", "250")
