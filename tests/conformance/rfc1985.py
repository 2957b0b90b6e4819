"""RFC 1985: ETRN. backup.example is relayed by both. What becomes of the mail is in tests/e2e/test_times.py."""
COUNT = "Postfix's flush service keeps no count, and says 250 whether mail waits or not (5.3 leaves that open)"
BARE = "Postfix has no status in its replies to ETRN"


def ready(s):
    s.ehlo()
    if s.differs(BARE):
        s.statuses = False


def rfc1985_4_it_is_offered(s):
    s.ehlo()
    s.expect(s.extensions.get("ETRN") == [], "ETRN with %r" % s.extensions.get("ETRN"))


def rfc1985_5_2_a_domain_that_is_relayed(s):
    ready(s)
    s.say("ETRN backup.example", "251 2.0.0", "250 Queuing started", COUNT)
    s.say("etrn BACKUP.example", "458 4.7.0", "250 Queuing started", "Postfix does not bound how often it is done")


def rfc1985_5_2_all_below_a_domain(s):
    ready(s)
    s.say("ETRN @many.example", "251 2.0.0", "250 Queuing started", COUNT)


def rfc1985_5_3_domains_of_others_are_459(s):
    ready(s)
    s.say("ETRN elsewhere.example", "459 4.7.1", "459 <", BARE)
    s.say("ETRN x.backup.example", "459 4.7.1", "250 Queuing started", "Postfix takes all below a relayed domain for it")


def rfc1985_5_2_queues_have_no_names(s):
    ready(s)
    s.say("ETRN #uucp", "459 4.7.1", "459 <", BARE)


def rfc1985_5_3_what_is_no_domain_is_501(s):
    ready(s)
    s.say("ETRN", "501 5.5.4", "500 Syntax", "Postfix says 500 where words are missing")
    for words in "a b", "@", "a@b.example", "..":
        s.say("ETRN " + words, "501 5.5.4", "50[01] ", BARE)


def rfc1985_5_it_is_not_for_the_middle_of_a_transaction(s):
    ready(s)
    s.mail()
    s.say("ETRN backup.example", "503 5.5.1", "503 Error", BARE)


def rfc1985_5_behind_ehlo(s):
    s.say("ETRN backup.example", "503 5.5.1", "250", "Postfix asks for no EHLO; RFC 5321 4.1.4 does for all that moves mail")
