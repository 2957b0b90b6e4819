"""RFC 3207: STARTTLS."""
import ssl
import time


def rfc3207_4_starttls_is_offered_and_starts_tls(s):
    s.ehlo()
    s.expect("STARTTLS" in s.extensions, "not offered")
    s.starttls()
    s.expect(s.sock.version() in ("TLSv1.2", "TLSv1.3"), "it is %s" % s.sock.version())
    s.ehlo()


def rfc3207_4_starttls_takes_no_parameter(s):
    s.ehlo()
    s.say("STARTTLS now", "501 5.5.4")
    s.starttls()


def rfc3207_4_not_again_inside_of_tls(s):
    s.secured()
    s.expect("STARTTLS" not in s.extensions, "offered inside of TLS")
    s.say("STARTTLS", "503 5.5.1", "554 5.5.1", "only in the number: the sequence is wrong")


def rfc3207_4_starttls_before_ehlo(s):
    s.starttls()
    s.ehlo()


def rfc3207_4_2_all_is_forgotten(s):
    s.ehlo()
    s.mail()
    s.starttls()
    s.say("RCPT TO:<alice@local.example>", "503")
    s.say("MAIL FROM:<a@client.example>", "503", "250", "Postfix takes mail without HELO unless smtpd_helo_required is set, here too")
    s.ehlo()
    s.mail()


def rfc3207_4_2_mail_over_tls(s):
    from rfc5321 import delivered
    s.secured()
    s.mail()
    s.text(b"Subject: over TLS\r\n\r\n.\r\n")
    message = delivered(s, b"Subject: over TLS\n")
    s.expect(b" with ESMTPS id " in message.replace(b"\n\t", b" "), "not 'with ESMTPS' (RFC 3848)")


def rfc3207_6_what_was_sent_in_clear_behind_starttls_is_dropped(s):
    s.ehlo()
    s.send("STARTTLS\r\nNOOP\r\nMAIL FROM:<evil@client.example>\r\n")
    s.hear("220")
    s.expect(not s.pending, "a reply in clear to what was injected: %r" % s.pending)
    s.secure()
    s.say("VRFY x", "252")
    s.say("RCPT TO:<alice@local.example>", "503")


def rfc3207_4_a_listener_that_requires_tls(s):
    s = s.again(port=s.server.closed_port)
    s.ehlo()
    for line in "MAIL FROM:<a@client.example>", "RCPT TO:<a@local.example>", "DATA", "VRFY x":
        s.say(line, "530 5.7.0")
    s.say("NOOP", "250")
    s.say("RSET", "250", "250|530", "4: anything but NOOP, EHLO, STARTTLS, QUIT may be refused")
    s.starttls()
    s.ehlo()


def rfc3207_4_1_a_handshake_that_fails_ends_the_session_alone(s):
    s.ehlo()
    s.say("STARTTLS", "220")
    s.send(b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00")
    s.send(b"NOOP\r\n" * 100)
    end = time.monotonic() + 60
    while time.monotonic() < end and s.fill():
        pass
    other = s.again()
    other.ehlo()


def rfc3207_4_no_ssl3_and_no_tls_1_1(s):
    s.ehlo()
    s.say("STARTTLS", "220")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_ciphers("ALL:@SECLEVEL=0")
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    try:
        s.secure(context)
        s.expect(s.server.name == "Postfix", "TLS 1.1 was accepted")  # Postfix's default takes it where OpenSSL does
    except (ssl.SSLError, ConnectionError):
        pass
