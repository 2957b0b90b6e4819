"""RFC 4865: FUTURERELEASE. What becomes of the mail is in tests/e2e/test_times.py. Postfix has none of it."""
import calendar
import re
import time

from rules import one_by_one

M = "MAIL FROM:<a@client.example> "
NONE = "Postfix has no FUTURERELEASE"


def date(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + seconds))


def rfc4865_4_what_is_offered(s):
    if s.differs(NONE):
        return
    t = s.again("127.0.0.1")
    t.ehlo()
    words = t.extensions.get("FUTURERELEASE", [])
    t.expect(len(words) == 2 and words[0] == "604800" and re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", words[1]), "FUTURERELEASE with %r" % words)
    t.expect(abs(calendar.timegm(time.strptime(words[1], "%Y-%m-%dT%H:%M:%SZ")) - time.time() - 604800) < 100, "the latest time is %s" % words[1])


def rfc4865_4_strangers_are_not_offered_it(s):
    s.ehlo()
    s.expect("FUTURERELEASE" not in s.extensions, "it is offered to a stranger")
    s.say(M + "HOLDFOR=60", "555 5.5.4")
    s.say(M + "HOLDUNTIL=" + date(60), "555 5.5.4")


def rfc4865_4_who_logged_in_is_offered_it(s):
    if s.differs(NONE):
        return
    from dialogue import plain
    s.secured()
    s.say("AUTH PLAIN " + plain(s.server.user, s.server.password), "235")
    s.ehlo()
    s.expect("FUTURERELEASE" in s.extensions, "it is not offered behind AUTH")
    s.say(M + "HOLDFOR=60", "250")


def rfc4865_4_values(s):
    if s.differs(NONE):
        return
    t = s.again("127.0.0.1")
    t.ehlo()
    good = ["HOLDFOR=1", "holdfor=604800", "HOLDUNTIL=" + date(100), "HOLDUNTIL=" + date(100).lower(), "HOLDUNTIL=" + date(100)[:-1] + ".5Z", "HOLDFOR=60 SIZE=10"]
    bad = ["HOLDFOR=0", "HOLDFOR=01", "HOLDFOR=-1", "HOLDFOR=604801", "HOLDFOR=999999999", "HOLDFOR=4294967297", "HOLDFOR=18446744073709551617", "HOLDFOR=1m", "HOLDFOR=",
           "HOLDFOR", "HOLDFOR=5 HOLDFOR=5", "HOLDFOR=5 HOLDUNTIL=" + date(5), "HOLDUNTIL=" + date(-5), "HOLDUNTIL=" + date(605000), "HOLDUNTIL=2023-02-29T00:00:00Z",
           "HOLDUNTIL=9999-12-31T23:59:59Z", "HOLDUNTIL=" + date(100)[:-1], "HOLDUNTIL=" + date(100)[:-1] + "+00:00", "HOLDUNTIL=" + date(100).replace("T", "_"), "HOLDUNTIL=tomorrow",
           "HOLDUNTIL="]
    for words in good:
        t.all((M + words, "250"), ("RSET", "250"))
    for words in bad:
        t.say(M + words, "501 5.5.4")


one_by_one("rfc4865_4_it_is_a_parameter_of_mail", "RCPT TO:<alice@local.example> ", {"HOLDFOR=60": "555 5.5.4"}, "")
