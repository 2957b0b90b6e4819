"""RFC 8689: REQUIRETLS. What becomes of such mail is in tests/e2e/test_requiretls.py."""
NONE = "Debian's Postfix does not have REQUIRETLS"


def rfc8689_2_it_is_offered_within_tls_alone(s):
    s.ehlo()
    s.expect("REQUIRETLS" not in s.extensions, "REQUIRETLS without TLS")
    s.starttls()
    s.ehlo()
    if not s.differs(NONE):
        s.expect(s.extensions.get("REQUIRETLS") == [], "REQUIRETLS %r" % s.extensions.get("REQUIRETLS"))


def rfc8689_2_it_is_refused_without_tls(s):
    s.ehlo()
    s.say("MAIL FROM:<a@client.example> REQUIRETLS", "530 5.7.10", "555 5.5.4", NONE)
    s.say("RCPT TO:<alice@local.example>", "503")


def rfc8689_2_it_has_no_value(s):
    s.secured()
    s.say("MAIL FROM:<a@client.example> REQUIRETLS", "250", "555", NONE)
    s.say("RSET", "250")
    for wrong in "REQUIRETLS=", "REQUIRETLS=yes", "REQUIRETLS REQUIRETLS":
        s.say("MAIL FROM:<a@client.example> " + wrong, "501 5.5.4", "555", NONE)
    s.say("MAIL FROM:<a@client.example>", "250")
    s.say("RCPT TO:<alice@local.example> REQUIRETLS", "555")
