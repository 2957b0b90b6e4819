"""RFC 6531: SMTPUTF8. What becomes of such mail is in tests/e2e/test_utf8.py."""
import re

from rfc5321 import delivered
from rules import after_ehlo, one_by_one

U = "Grüße".encode()
SENDER = "юрий@почта.example".encode()
ASCII_ONLY = "Postfix says what RFC 5321 has for a malformed address; 3.5 has codes of its own"


def rfc6531_3_1_the_keyword_has_no_parameters(s):
    s.ehlo()
    s.expect(s.extensions.get("SMTPUTF8") == [], "SMTPUTF8 %r" % s.extensions.get("SMTPUTF8"))
    s.expect("8BITMIME" in s.extensions, "SMTPUTF8 without 8BITMIME")


after_ehlo("rfc6531_3_4_the_parameter", ("MAIL FROM:<a@client.example> SMTPUTF8", "250"), ("RSET", "250"), ("MAIL FROM:<> smtputf8 BODY=8BITMIME", "250"), ("RSET", "250"),
           ("MAIL FROM:<a@client.example> SMTPUTF8=yes", "501 5.5.4", "555 5.5.4", "a value that can't be is 501 here, as with all parameters that are known"),
           ("MAIL FROM:<a@client.example> SMTPUTF8=", "501 5.5.4", "555 5.5.4", "the same"),
           ("MAIL FROM:<a@client.example> SMTPUTF8 SMTPUTF8", "501 5.5.4", "250", "Postfix counts none of its parameters"))
after_ehlo("rfc6531_3_4_it_is_no_parameter_of_rcpt", ("MAIL FROM:<a@client.example>", "250"), ("RCPT TO:<alice@local.example> SMTPUTF8", "555 5.5.4"))


def rfc6531_3_5_a_sender_without_the_parameter_is_refused(s):
    s.ehlo()
    s.say(b"MAIL FROM:<" + SENDER + b">", "550 5.6.7", "501 5.1.7", ASCII_ONLY)
    s.say("RCPT TO:<alice@local.example>", "503")


def rfc6531_3_5_a_recipient_without_the_parameter_is_refused(s):
    s.ehlo()
    s.say("MAIL FROM:<a@client.example>", "250")
    if not s.differs("Postfix looks the recipient up all the same, and puts it into its reply as it is"):
        s.say(b"RCPT TO:<" + U + b"@local.example>", "553 5.6.7")
    s.say("RCPT TO:<alice@local.example>", "250")


def rfc6531_3_3_addresses_are_utf8(s):
    for sender in (SENDER, b"\"" + U + b" und x\"@client.example", U + b".x+y@client.example", "a@bücher.example".encode(), "\U0001f600@client.example".encode(),
                   "क्\u200dष@client.example".encode()):
        s.ehlo()
        s.say(b"MAIL FROM:<" + sender + b"> SMTPUTF8", "250")
        s.say("RCPT TO:<alice@local.example>", "250")


def rfc6532_3_1_what_is_no_utf8_is_no_address(s):
    s.ehlo()
    for wrong in b"j\xf6rg", b"\xc3", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80", b"\x80":
        s.say(b"MAIL FROM:<x" + wrong + b"@client.example> SMTPUTF8", "500 5.5.2")
        s.say("RSET", "250")


def rfc6532_3_1_what_turns_a_line_is_no_address(s):
    why = "Postfix takes them; they are no letters of any name, and make a log or a report tell another story (RFC 6530 4.3 leaves that to us)"
    s.ehlo()
    for wrong in "\u009b", "\u2028", "\u202e", "\u2066", "\ufeff", "\ufffe":
        s.say(b"MAIL FROM:<x" + wrong.encode() + b"@client.example> SMTPUTF8", "500 5.5.2", "250", why)
        s.say("RSET", "250")


def rfc6531_3_7_1_ehlo_stays_ascii(s):
    s.say("EHLO bücher.example".encode(), "(500|501)", "250", "Postfix takes any word")
    s.say("NOOP ü".encode(), "500", "250", "Postfix looks at no word behind NOOP")


def rfc6531_3_7_4_vrfy_takes_the_parameter(s):
    s.ehlo()
    s.say("VRFY alice@local.example SMTPUTF8", "252")
    if not s.differs("Postfix looks it up, and its reply has the address in UTF-8, as 3.7.4.2 lets it"):
        s.say(b"VRFY " + U + b"@local.example SMTPUTF8", "252")
    s.say("EXPN list SMTPUTF8", "502", "500", "Postfix has no EXPN")


def rfc6531_3_7_3_the_trace_line_names_the_protocol(s):
    for word, tls in (("UTF8SMTP", False), ("UTF8SMTPS", True)):
        s.ehlo()
        if tls:
            s.starttls()
            s.ehlo()
        s.say(b"MAIL FROM:<" + SENDER + b"> SMTPUTF8 BODY=8BITMIME", "250")
        s.say("RCPT TO:<alice@local.example>", "250")
        mark = ("Subject: %s привет" % word).encode()
        s.text(mark + b"\r\n\r\nx\r\n.\r\n")
        message = delivered(s, mark + b"\n")
        s.expect(b" with %s id " % word.encode() in message.replace(b"\n\t", b" "), "no %s in %r" % (word, message[:400]))
        s.expect(re.search(b"^Return-Path: <" + SENDER + b">$", message, re.M), "the reverse-path was changed")


def rfc6531_3_6_the_parameter_is_of_one_message(s):
    s.ehlo()
    s.say("MAIL FROM:<a@client.example> SMTPUTF8", "250")
    s.say("RSET", "250")
    s.say(b"MAIL FROM:<" + SENDER + b">", "550", "501", ASCII_ONLY)


one_by_one("rfc6533_3_orcpt", "RCPT TO:<alice@local.example> ORCPT=", {
    "utf-8;j\\x{F6}rg@client.example": "250", "UTF-8;a@client.example": "250", "utf-8;": ("501 5.5.4", "250", "Postfix takes an address without a character")}, "")


def rfc6533_3_orcpt_as_it_is_written_needs_the_parameter(s):
    for options, expected in (("", "501 5.5.4"), (" SMTPUTF8", "250")):
        s.ehlo()
        s.say("MAIL FROM:<a@client.example>" + options, "250")
        s.say("RCPT TO:<alice@local.example> ORCPT=utf-8;jörg@client.example".encode(), expected, *(() if options else ("250", "Postfix does not ask for the parameter")))
        s.say("RCPT TO:<alice@local.example> ORCPT=rfc822;jörg@client.example".encode(), "501 5.5.4", "(250|501)", "RFC 3461 4.2: rfc822 is ASCII; Postfix is lax")
        s.say("RSET", "250")
