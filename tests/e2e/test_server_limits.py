"""What postino-remote makes of the LIMITS (RFC 9422) of a next host, which is played by tests/e2e/hostile.py: a message for more recipients than fit into one
transaction goes in several, each recipient once, and a session ends in time."""
import unittest

import host
from hostile import DROP
from remote import BODY, DEFERRED, FAILED, IN_DOUBT, PATIENT, RELAYED, Base, Remote

NAMES = ["r%d@a.example" % i for i in range(10)]


def transactions(server):
    """The recipients of each MAIL, session by session."""
    found = []
    for session in server.sessions:
        for line in session.commands:
            if line.startswith("MAIL"):
                found.append([])
            elif line.startswith("RCPT"):
                found[-1].append(line[9:-1])
    return found


class ServerLimits(Base):
    settings = 'idle_timeout = "0"' + " " + PATIENT

    def offers(self, limits, *more, **script):
        return self.remote.server(extensions=("PIPELINING", "LIMITS " + limits) + more, **script)

    def take(self, server, names=NAMES):
        """All arrive, each once."""
        self.check(self.remote.deliver(*names), *[(RELAYED, "2.0.0", "250 ")] * len(names))
        host.wait_for(lambda: all(s.ended for s in server.sessions))
        self.assertEqual(sorted(r for m in server.messages for r in m.recipients), sorted(names))
        self.assertTrue(all(m.body == BODY for m in server.messages))
        return transactions(server)

    def test_recipients_beyond_rcptmax_get_a_transaction_of_their_own(self):
        for extensions in ("PIPELINING", "LIMITS RCPTMAX=4"), ("LIMITS RCPTMAX=4",):
            with self.remote.server(extensions=extensions) as server:
                self.assertEqual(self.take(server), [NAMES[:4], NAMES[4:8], NAMES[8:]])
                self.assertEqual(len(server.sessions), 1)
                self.assertEqual(server.sessions[0].commands[-1], "QUIT")

    def test_mailmax_ends_a_session(self):
        with self.offers("RCPTMAX=3 MAILMAX=2") as server:
            self.assertEqual(self.take(server), [NAMES[:3], NAMES[3:6], NAMES[6:9], NAMES[9:]])
            self.assertEqual([sum(c.startswith("MAIL") for c in s.commands) for s in server.sessions], [2, 2])

    def test_mailmax_counts_messages_of_all_kinds(self):
        with Remote('idle_timeout = "5m"') as remote, remote.server(extensions=("LIMITS MAILMAX=2",)) as server:
            for _ in range(5):
                remote.deliver()
            self.assertEqual([sum(c.startswith("MAIL") for c in s.commands) for s in server.sessions], [2, 2, 1])

    def test_domains_of_a_session(self):
        names = ["a@a.example", "b@b.example", "c@A.example", "d@c.example", "e@b.example"]
        with self.offers("RCPTDOMAINMAX=1") as server:
            self.assertEqual(sorted(self.take(server, names)), [["a@a.example", "c@A.example"], ["b@b.example", "e@b.example"], ["d@c.example"]])
            self.assertEqual(len(server.sessions), 3)
        with self.offers("RCPTDOMAINMAX=2") as server:
            self.assertEqual(self.take(server, names), [["a@a.example", "b@b.example", "c@A.example", "e@b.example"], ["d@c.example"]])

    def test_values_that_cannot_be_are_no_limits(self):
        for limits in ("RCPTMAX=0", "RCPTMAX=1000000000000000000000000000000", "RCPTMAX=-1 MAILMAX=x RCPTDOMAINMAX=", "MAILMAX=0 RCPTDOMAINMAX=0", "", "= =1 RCPTMAX"):
            with self.offers(limits) as server:
                self.assertEqual(self.take(server), [NAMES])

    def test_what_is_refused_in_one_transaction_is_not_refused_in_another(self):
        with self.offers("RCPTMAX=4", steps={"RCPT r5": "550 5.1.1 no"}) as server:
            answers = [(RELAYED, "2.0.0", "250 ")] * 5 + [(FAILED, "5.1.1", "550 5.1.1 no")] + [(RELAYED, "2.0.0", "250 ")] * 4
            self.check(self.remote.deliver(*NAMES), *answers)
        with self.offers("RCPTMAX=4", END=["250 ok", "451 4.3.0 later", "250 ok"]) as server:
            self.check(self.remote.deliver(*NAMES), *[(RELAYED, "2.0.0", "250 ok")] * 4 + [(DEFERRED, "4.3.0", "451")] * 4 + [(RELAYED, "2.0.0", "250 ok")] * 2)
        with self.offers("RCPTMAX=4", RCPT="550 5.1.1 no") as server:
            self.check(self.remote.deliver(*NAMES), *[(FAILED, "5.1.1", "550 5.1.1 no")] * 10)
            self.assertEqual(len(transactions(server)), 3)
        with self.offers("RCPTMAX=4", MAIL=["250 ok", "550 5.7.1 no", "250 ok"]) as server:
            self.check(self.remote.deliver(*NAMES), *[(RELAYED, "2.0.0", "250 ")] * 4 + [(FAILED, "5.7.1", "550")] * 4 + [(RELAYED, "2.0.0", "250 ")] * 2)

    def test_a_connection_that_breaks_between(self):
        with self.offers("RCPTMAX=4", END=["250 ok", DROP]) as server:
            result = self.remote.deliver(*NAMES)
            self.assertEqual([o.verdict for o in result.outcomes], [RELAYED] * 4 + [IN_DOUBT] * 4 + [RELAYED] * 2)
            self.assertEqual([m.recipients for m in server.messages], [NAMES[:4], NAMES[8:]])
        with self.offers("RCPTMAX=4", MAIL=["250 ok", DROP]) as server:
            self.assertEqual([t for t in self.take(server) if t], [NAMES[:4], NAMES[4:8], NAMES[8:]])
            self.assertEqual(len(server.sessions), 3)


if __name__ == "__main__":
    unittest.main()
