"""XCLIENT and XFORWARD, as Postfix documents them (XCLIENT_README, XFORWARD_README)."""
from rfc5321 import delivered
from servers import TRUSTED

STRANGER, FRIEND, AWAY = "192.0.2.7", "127.0.0.1", "x@elsewhere.example"


def trusted(s):
    s = s.again(source=TRUSTED)
    s.ehlo()
    return s


def anew(s, attributes):
    s.statuses = False  # it is greeted again
    s.send("XCLIENT %s\r\n" % attributes)
    s.hear("220 ", bare=True)


def xclient_is_named_to_listed_peers_alone(s):
    s.ehlo()
    s.expect("XCLIENT" not in s.extensions and "XFORWARD" not in s.extensions, "named to a stranger")
    s = trusted(s)
    s.expect({"NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN", "DESTADDR", "DESTPORT"} <= set(s.extensions.get("XCLIENT", [])), "not all attributes are named")
    s.expect({"NAME", "ADDR", "PORT", "PROTO", "HELO", "IDENT", "SOURCE"} <= set(s.extensions.get("XFORWARD", [])), "not all attributes are named")


def xclient_refused_to_others(s):
    s.ehlo()
    s.say("XCLIENT ADDR=127.0.0.1", r"550 5\.7\.0")
    s.say("MAIL FROM:<a@client.example>", "250")
    s.say("RCPT TO:<%s>" % AWAY, "554")


def xclient_not_inside_of_a_transaction(s):
    s = trusted(s)
    s.mail()
    s.say("XCLIENT ADDR=" + STRANGER, r"503 5\.5\.1")
    s.say("RCPT TO:<alice@local.example>", "250")


def xclient_begins_the_session_anew(s):
    s = trusted(s)
    anew(s, "ADDR=" + STRANGER)
    s.say("MAIL FROM:<a@client.example>", "503", "250", "Postfix asks for EHLO only if smtpd_helo_required is set")
    s.ehlo()


def xclient_what_a_client_says_through_a_proxy_is_not_believed(s):
    """once the address was told it is the client's words that come"""
    s = trusted(s)
    anew(s, "ADDR=%s LOGIN=[UNAVAILABLE]" % STRANGER)
    s.ehlo()
    s.expect("XCLIENT" not in s.extensions, "it is offered to the client")
    s.say("XCLIENT LOGIN=alice", r"550 5\.7\.0")
    s.say("XCLIENT ADDR=" + FRIEND, r"550 5\.7\.0")
    s.mail()
    s.say("RCPT TO:<%s>" % AWAY, "554 5")
    s.say("RSET", "250")
    if not s.differs("Postfix asks its other list for XFORWARD, about the address of who spoke first"):
        s.say("XFORWARD ADDR=" + FRIEND, r"550 5\.7\.0")


def xclient_the_address_decides(s):
    for address, reply in ((STRANGER, "554 5"), (FRIEND, "250"), ("[UNAVAILABLE]", "554 5")):
        other = trusted(s)
        anew(other, "ADDR=" + address)
        other.ehlo()
        other.say("MAIL FROM:<a@client.example>", "250")
        other.say("RCPT TO:<%s>" % AWAY, reply)


def xclient_a_login_is_one(s):
    for login, reply in (("alice", "250"), ("[UNAVAILABLE]", "554 5")):
        other = trusted(s)
        anew(other, "ADDR=%s LOGIN=%s" % (STRANGER, login))
        other.ehlo()
        other.say("MAIL FROM:<alice@local.example>", "250")
        if reply == "250":
            other.say("RCPT TO:<%s>" % AWAY, reply, "554", "Postfix believes a login only in a session where it would offer AUTH, which it does inside of TLS")
        else:
            other.say("RCPT TO:<%s>" % AWAY, reply)


def xclient_the_trace_line_names_the_client(s):
    s = trusted(s)
    anew(s, "NAME=spike.example ADDR=192.0.2.7 HELO=spike.helo PROTO=ESMTP")
    s.statuses = True
    s.mail()
    s.text(b"Subject: by xclient\r\n\r\n.\r\n")
    message = delivered(s, b"Subject: by xclient\n").replace(b"\n\t", b" ")
    s.expect(b"Received: from spike.helo (spike.example [192.0.2.7])" in message and b" with ESMTP id " in message, "another client: %r" % message[:400])


def xclient_what_it_says_adds_up(s):
    s = trusted(s)
    anew(s, "NAME=spike.example HELO=spike.helo")
    anew(s, "ADDR=192.0.2.8 PROTO=SMTP")
    s.statuses = True
    s.mail()
    s.text(b"Subject: in two lines\r\n\r\n.\r\n")
    message = delivered(s, b"Subject: in two lines\n").replace(b"\n\t", b" ")
    s.expect(s.differs("Postfix keeps the name of another address") or b" (unknown [192.0.2.8])" in message, "another client: %r" % message[:400])
    s.expect(s.differs("Postfix forgets HELO") or b"from spike.helo " in message, "another HELO: %r" % message[:400])
    s.expect(b" with SMTP id " in message, "another protocol: %r" % message[:400])


def xclient_a_later_ehlo_is_the_clients(s):
    s = trusted(s)
    anew(s, "ADDR=192.0.2.7 HELO=spike.helo PROTO=SMTP")
    s.ehlo("later.example")
    s.mail()
    s.text(b"Subject: later\r\n\r\n.\r\n")
    message = delivered(s, b"Subject: later\n").replace(b"\n\t", b" ")
    s.expect(b"Received: from later.example (" in message and b" with ESMTP id " in message, "another HELO: %r" % message[:300])


def xclient_pipelined(s):
    s = trusted(s)
    s.statuses = False
    s.send("XCLIENT ADDR=%s\r\nEHLO client.example\r\nMAIL FROM:<a@client.example>\r\nRCPT TO:<%s>\r\n" % (FRIEND, AWAY))
    s.hear("220 ", bare=True)
    s.hear("250 ", bare=True)
    s.hear("250 ")
    s.hear("250 ")


def xclient_values(s):
    s = trusted(s)
    for good in ("NAME=spike.example", "NAME=[UNAVAILABLE]", "name=[tempunavail]", "addr=192.0.2.7", "ADDR=[UNAVAILABLE]", "PORT=40000", "PORT=[UNAVAILABLE]", "PROTO=smtp", "PROTO=ESMTP",
                 "HELO=spike", "HELO=[192.0.2.1]", "HELO=a+2Bb", "LOGIN=ann+40local", "DESTADDR=192.0.2.1 DESTPORT=25", "DESTADDR=[UNAVAILABLE] DESTPORT=[UNAVAILABLE]"):
        anew(trusted(s), good)
    s = trusted(s)
    for wrong in ("ADDR", "ADDR=", "ADDR=192.0.2", "ADDR=192.0.2.256", "ADDR=2001:db8::1", "ADDR=x", "ADDR=[TEMPUNAVAIL]", "NAME=a..b", "NAME=-x", "PROTO=LMTP", "FOO=1", "IDENT=x", "HELO=" + "x" * 300,
                  "DESTADDR=x", "PORT=x"):
        s.say("XCLIENT " + wrong, r"501 5\.5\.4")


def xclient_ipv6(s):
    s = trusted(s)
    if not s.differs("it runs here without IPv6"):
        for address in "IPV6:2001:db8::7", "ipv6:::1":
            anew(trusted(s), "ADDR=" + address)


def xclient_values_that_only_postfix_takes(s):
    if s.differs("Postfix makes such names harmless where it shows them; and it takes the last of two, and any number for a port"):
        return
    s = trusted(s)
    for wrong in ("HELO=a+20b", "HELO=a+0D+0AMAIL", "HELO=a+", "NAME=a+0A", "ADDR=192.0.2.7 ADDR=192.0.2.8", "PORT=70000", "LOGIN=a+0A", "LOGIN=+FF"):
        s.say("XCLIENT " + wrong, r"501 5\.5\.4")


def xforward_refused_to_others(s):
    s.ehlo()
    s.say("XFORWARD ADDR=192.0.2.7", r"550 5\.7\.0")
    s.say("NOOP", "250")


def xforward_decides_nothing(s):
    s = trusted(s)
    s.say("XFORWARD ADDR=127.0.0.1 NAME=localhost SOURCE=LOCAL", "250")
    s.mail()
    s.say("RCPT TO:<%s>" % AWAY, "554 5")
    s.text(b"Subject: forwarded\r\n\r\n.\r\n")
    message = delivered(s, b"Subject: forwarded\n").replace(b"\n\t", b" ")
    s.expect(("[%s]" % TRUSTED).encode() in message, "the trace line does not name who spoke")


def xforward_in_two_lines(s):
    s = trusted(s)
    s.say("XFORWARD NAME=spike.example ADDR=192.0.2.7 PROTO=ESMTP", r"250 2\.0\.0")
    s.say("XFORWARD HELO=spike.helo IDENT=3CF6B2AAE8 SOURCE=REMOTE PORT=40000", r"250 2\.0\.0")
    s.mail()
    s.text(b"Subject: x\r\n\r\n.\r\n")


def xforward_not_inside_of_a_transaction(s):
    s = trusted(s)
    s.mail()
    s.say("XFORWARD ADDR=192.0.2.7", r"503 5\.5\.1")
    s.say("RSET", "250")
    s.say("XFORWARD ADDR=192.0.2.7", "250")


def xforward_values(s):
    s = trusted(s)
    for good in ("NAME=[UNAVAILABLE]", "ADDR=[unavailable]", "PROTO=UUCP", "SOURCE=local", "SOURCE=[UNAVAILABLE]", "IDENT=" + "x" * 255, "PORT=[UNAVAILABLE]"):
        s.say("XFORWARD " + good, r"250 2\.0\.0")
    for wrong in ("ADDR", "ADDR=x", "ADDR=::1", "SOURCE=x", "PROTO=" + "x" * 65, "IDENT=" + "x" * 256, "NAME=a..b", "LOGIN=x", "DESTADDR=192.0.2.1", "FOO=1", "PORT=x"):
        s.say("XFORWARD " + wrong, r"501 5\.5\.4")
