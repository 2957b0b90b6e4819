"""RFC 9422: LIMITS. What postino-remote makes of a server's limits is in tests/e2e/test_server_limits.py."""
from servers import RECIPIENTS

NONE = "Debian's Postfix does not have LIMITS"


def rfc9422_4_the_number_of_recipients_is_told(s):
    for again in range(2):
        s.ehlo()
        if not s.differs(NONE):
            s.expect(s.extensions.get("LIMITS") == ["RCPTMAX=%d" % RECIPIENTS], "LIMITS %r" % s.extensions.get("LIMITS"))
        if not again:
            s.starttls()


def rfc9422_4_as_many_are_taken_and_no_more(s):
    s.ehlo()
    most = int(dict(word.split("=") for word in s.extensions.get("LIMITS", [])).get("RCPTMAX", RECIPIENTS))
    s.say("MAIL FROM:<a@client.example>", "250")
    s.send("RCPT TO:<alice@local.example>\r\n" * most)
    for _ in range(most):
        s.hear("250 ")
    s.say("RCPT TO:<alice@local.example>", "452 4.5.3")
