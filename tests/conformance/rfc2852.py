"""RFC 2852: DELIVERBY. What becomes of the mail is in tests/e2e/test_times.py. Postfix has none of it."""
from rules import one_by_one

M = "MAIL FROM:<a@client.example> "
NONE = "Postfix has no DELIVERBY"


def trusted(s):
    t = s.again("127.0.0.1")
    t.ehlo()
    return t


def rfc2852_3_it_is_offered_with_the_shortest_deadline(s):
    if s.differs(NONE):
        return
    t = trusted(s)
    t.expect(t.extensions.get("DELIVERBY") == ["60"], "DELIVERBY with %r" % t.extensions.get("DELIVERBY"))


def rfc2852_3_less_than_that_with_r_is_a_55z(s):
    if s.differs(NONE):
        return
    trusted(s).all((M + "BY=59;R", "55[0-9] 5"), (M + "BY=1;rt", "55[0-9] 5"), (M + "BY=59;N", "250"), ("RSET", "250"), (M + "BY=60;R", "250"))


def rfc2852_4_values(s):
    if s.differs(NONE):
        return
    t = trusted(s)
    for value in "120;R", "120;RT", "+120;r", "120;n", "0;N", "-1;N", "-999999999;NT", "999999999;R":
        t.all((M + "BY=" + value, "250"), ("RSET", "250"))
    for value in "0;R", "-1;R", "1000000000;N", "120", ";R", "120;", "120;T", "120;RN", "120;RTT", "1 20;R", "x;R", "120;R BY=120;R", "--1;N", "+;N":
        t.say(M + "BY=" + value, "5[05][15] 5.5.4")


def rfc2852_3_strangers_are_not_offered_it(s):
    """7 warns of deadlines by which strangers have mail returned; they get none unless a setting says otherwise."""
    s.ehlo()
    s.expect("DELIVERBY" not in s.extensions, "it is offered to a stranger")
    s.say(M + "BY=120;R", "555 5.5.4")


one_by_one("rfc2852_4_it_is_a_parameter_of_mail", "RCPT TO:<alice@local.example> ", {"BY=60;R": "555 5.5.4"}, "")
