"""RFC 1870: Message Size Declaration."""
from rules import after_ehlo
from servers import SIZE_LIMIT

after_ehlo("rfc1870_3_size_is_optional", ("MAIL FROM:<a@client.example>", "250"))
after_ehlo("rfc1870_3_size_zero", ("MAIL FROM:<a@client.example> SIZE=0", "250"))
after_ehlo("rfc1870_6_1_size_at_the_limit", ("MAIL FROM:<a@client.example> SIZE=%d" % SIZE_LIMIT, "250"))
after_ehlo("rfc1870_6_1_size_above_the_limit", ("MAIL FROM:<a@client.example> SIZE=%d" % (SIZE_LIMIT + 1), "552 5.3.4"), ("RCPT TO:<alice@local.example>", "503"),
           ("MAIL FROM:<a@client.example>", "250", "552", "Postfix remembers the number of the refused MAIL until RSET"))
after_ehlo("rfc1870_3_size_of_20_digits", ("MAIL FROM:<a@client.example> SIZE=99999999999999999999", "552 5.3.4"),
           ("MAIL FROM:<a@client.example> SIZE=18446744073709551616", "552 5.3.4"),
           ("MAIL FROM:<a@client.example> SIZE=18446744073709551617", "552 5.3.4"),
           ("MAIL FROM:<a@client.example> SIZE=4294967297", "552 5.3.4"), ("MAIL FROM:<a@client.example> SIZE=9223372036854775808", "552 5.3.4"))
after_ehlo("rfc1870_3_size_that_is_no_number", ("MAIL FROM:<a@client.example> SIZE=", "501 5.5.4"), ("MAIL FROM:<a@client.example> SIZE=-1", "501 5.5.4"),
           ("MAIL FROM:<a@client.example> SIZE=1k", "501 5.5.4"), ("MAIL FROM:<a@client.example> SIZE=+1", "501 5.5.4"), ("MAIL FROM:<a@client.example> SIZE=0x10", "501 5.5.4"),
           ("MAIL FROM:<a@client.example> SIZE", "501 5.5.4", "555", "Postfix takes the word alone for one that it does not know"),
           ("MAIL FROM:<a@client.example> SIZE=100000000000000000000", "501 5.5.4", "552 5.3.4",
           "Postfix takes more than 20 digits for large, not for malformed (3: no more than 20)"), ("MAIL FROM:<a@client.example>", "250"))
after_ehlo("rfc1870_3_size_twice", ("MAIL FROM:<a@client.example> SIZE=1 SIZE=2", "555 5.5.4", "250", "Postfix takes the last; one key twice is no parameter (RFC 5321 4.1.1.11)"))
after_ehlo("rfc1870_3_size_is_of_mail_alone", ("MAIL FROM:<a@client.example>", "250"), ("RCPT TO:<alice@local.example> SIZE=1", "555 5.5.4"))


def text_of(octets):
    line = b"x" * 98 + b"\r\n"
    return b"Subject: x\r\n\r\n" + line * (octets // 100)


def rfc1870_6_3_too_large_is_said_at_the_end_of_the_text(s):
    s.ehlo()
    s.mail()
    s.text(text_of(SIZE_LIMIT + 2000) + b".\r\n", "552 5.3.4")
    s.mail()
    s.text(text_of(1000) + b".\r\n", "250")


def rfc1870_6_3_more_than_was_declared(s):
    s.ehlo()
    s.all(("MAIL FROM:<a@client.example> SIZE=10", "250"), ("RCPT TO:<alice@local.example>", "250"))
    s.text(text_of(5000) + b".\r\n", "250")


def rfc1870_6_3_a_message_of_the_limit(s):
    s.ehlo()
    s.mail()
    s.text(text_of(SIZE_LIMIT - 1500) + b".\r\n", "250")
