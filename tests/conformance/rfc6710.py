"""RFC 6710: MT-PRIORITY. What becomes of the mail is in tests/e2e/test_times.py. Postfix has none of it."""
from rules import one_by_one

M = "MAIL FROM:<a@client.example> "
NONE = "Postfix has no MT-PRIORITY"


def rfc6710_4_values(s):
    if s.differs(NONE):
        return
    t = s.again("127.0.0.1")
    t.ehlo()
    t.expect("MT-PRIORITY" in t.extensions, "it is not offered")
    for value in list(range(-9, 10)):
        t.all((M + "MT-PRIORITY=%d" % value, "250 2.1.0"), ("RSET", "250"))
    for value in "10", "-10", "-0", "+1", "01", "", "high", "1 MT-PRIORITY=1":
        t.say(M + "MT-PRIORITY=" + value, "501 5.5.4")


def rfc6710_4_1_a_stranger_s_is_lowered_and_he_is_told_the_new_one(s):
    s.ehlo()
    if s.differs(NONE):
        return
    s.all((M + "MT-PRIORITY=9", "250 2.3.6 0 "), ("RCPT TO:<alice@local.example>", "250"), ("RSET", "250"), (M + "MT-PRIORITY=-9", "250 2.1.0"))


one_by_one("rfc6710_4_it_is_a_parameter_of_mail", "RCPT TO:<alice@local.example> ", {"MT-PRIORITY=1": "555 5.5.4"}, "")
