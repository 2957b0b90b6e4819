"""RFC 4954: AUTH, and PLAIN (RFC 4616)."""
from dialogue import plain


def rfc4954_3_auth_is_offered_inside_of_tls_alone(s):
    s.ehlo()
    s.expect("AUTH" not in s.extensions, "offered in clear")
    s.starttls()
    s.ehlo()
    s.expect("PLAIN" in s.extensions.get("AUTH", []), "not offered inside of TLS")


def rfc4954_4_no_password_in_clear(s):
    s.ehlo()
    s.say("AUTH PLAIN " + plain(s.server.user, s.server.password), r"538 5\.7\.11", r"50[03] 5\.5\.", "Postfix acts as if it did not know AUTH where it does not offer it")


def rfc4954_4_the_initial_response(s):
    s.secured()
    s.say("AUTH PLAIN " + plain(s.server.user, s.server.password), r"235 2\.7\.0")


def rfc4954_4_the_response_to_an_empty_challenge(s):
    s.secured()
    s.say("AUTH PLAIN", r"334 *$")
    s.say(plain(s.server.user, s.server.password), r"235 2\.7\.0")


def rfc4954_4_mechanisms_in_any_case(s):
    s.secured()
    s.say("auth plain " + plain(s.server.user, s.server.password), r"235 2\.7\.0")


def rfc4954_4_an_authorization_identity_of_ones_own(s):
    s.secured()
    s.say("AUTH PLAIN " + plain(s.server.user, s.server.password, s.server.user), r"235 2\.7\.0")


def rfc4954_4_wrong_credentials(s):
    s.secured()
    s.say("AUTH PLAIN " + plain(s.server.user, "wrong"), r"535 5\.7\.8")
    s.say("AUTH PLAIN " + plain("nobody", s.server.password), r"535 5\.7\.8")
    s.say("AUTH PLAIN " + plain(s.server.user, s.server.password), r"235 2\.7\.0")


def rfc4954_4_after_success_no_other(s):
    s.secured()
    s.say("AUTH PLAIN " + plain(s.server.user, s.server.password), "235")
    s.say("AUTH PLAIN " + plain(s.server.user, s.server.password), "503 5.5.1")


def rfc4954_4_not_inside_of_a_transaction(s):
    s.secured()
    s.mail()
    s.say("AUTH PLAIN " + plain(s.server.user, s.server.password), "503 5.5.1")
    s.say("RCPT TO:<alice@local.example>", "250")


def rfc4954_4_not_before_ehlo(s):
    s.ehlo()
    s.starttls()
    s.say("AUTH PLAIN " + plain(s.server.user, s.server.password), "503", "235", "Postfix asks for EHLO only if smtpd_helo_required is set; what is offered is known from EHLO")
    s.say("HELO client.example", "250")


def rfc4954_4_an_unknown_mechanism(s):
    s.secured()
    s.say("AUTH X-NONE", r"504 5\.5\.4", r"535 5\.7\.8", "Postfix asks its back end, and says what that says")
    s.say("AUTH", r"501 5\.5\.4")
    s.say("NOOP", "250")


def rfc4954_4_cancelled(s):
    s.secured()
    s.say("AUTH PLAIN", "334")
    s.say("*", r"501 5\.7\.0")
    s.say("NOOP", "250")
    s.say("AUTH PLAIN " + plain(s.server.user, s.server.password), "235")


def rfc4954_4_not_base64(s):
    s.secured()
    for octets in "!!!!", "=", "AGE", "AGFsaWNlAHg\x01":
        s.say("AUTH PLAIN " + octets, "50[01] 5", "535|501", "Postfix lets its back end decode it")
    s.say("AUTH PLAIN", "334")
    s.say("not base64 at all", "501 5.5.2", "535|501", "Postfix lets its back end decode it")
    s.say("NOOP", "250")


def rfc4954_4_no_more_than_two_words(s):
    s.secured()
    s.say("AUTH PLAIN %s more" % plain(s.server.user, s.server.password), r"501 5\.5\.4")


def rfc4954_4_a_listener_that_requires_auth(s):
    s = s.again(port=s.server.closed_port)
    s.secured()
    s.say("MAIL FROM:<a@client.example>", r"530 5\.7\.0", "250", "Postfix says it at RCPT, by its relay restrictions")
    if s.server.name == "Postino":
        s.say("AUTH PLAIN " + plain(s.server.user, s.server.password), "235")
        s.mail("alice@local.example", "x@elsewhere.example")


def rfc4954_5_the_auth_parameter(s):
    s.ehlo()
    s.say("MAIL FROM:<a@client.example> AUTH=<>", "250")
    s.say("RSET", "250")
    s.starttls()
    s.ehlo()
    s.say("MAIL FROM:<a@client.example> AUTH=<>", "250")
    s.say("RSET", "250")
    s.say("MAIL FROM:<a@client.example> AUTH=e+2Bmc2@client.example", "250")


def rfc4954_6_with_esmtpsa(s):
    from rfc5321 import delivered
    s.secured()
    s.say("AUTH PLAIN " + plain(s.server.user, s.server.password), "235")
    s.mail("alice@local.example")
    s.text(b"Subject: with a login\r\n\r\n.\r\n")
    message = delivered(s, b"Subject: with a login\n")
    s.expect(b" with ESMTPSA id " in message.replace(b"\n\t", b" "), "not 'with ESMTPSA' (RFC 3848)")


def rfc4954_4_responses_may_be_longer_than_commands(s):
    s.secured()
    s.say("AUTH PLAIN", "334")
    s.say("A" * 12000, "5(01|35) 5")
    s.say("AUTH PLAIN", "334")
    s.say("A" * 20000, r"500 5\.5\.[26]")
    s.say("NOOP", "250")
    s.say("AUTH PLAIN " + plain(s.server.user, s.server.password), "235")
