"""From where mail goes: routes with settings of their own, and what becomes of a job whose route or source is not there."""
import unittest

import test_remote
from test_remote import DEFERRED, RELAYED


class OwnLines(test_remote.Base):
    rest = 'route "a.example" { via = "smtp:" sessions = 3 } route "b.example" { via = "smtp:" rate = 60 }'

    def setUp(self):
        super().setUp()
        self.server = self.remote.server()

    def tearDown(self):
        self.server.close()
        super().tearDown()

    def sessions(self):
        return len(self.server.sessions)

    def test_a_session_carries_mail_of_one_route_alone(self):
        for route in ("", "a.example", "b.example", "a.example", "", "b.example"):
            self.assertEqual(self.remote.deliver(route=route).outcomes[0].verdict, RELAYED)
        self.assertEqual(self.sessions(), 3)

    def refused(self, words, **way):
        outcome = self.remote.deliver(**way).outcomes[0]
        self.assertEqual((outcome.verdict, outcome.status), (DEFERRED, "4.3.5"))
        self.assertEqual(outcome.reply, words)
        self.assertEqual(self.sessions(), 0)

    def test_a_route_that_is_not_there_defers(self):
        self.refused("the configuration has changed, or lacks route gone.example", route="gone.example")

    def test_a_source_that_is_not_there_defers(self):
        self.refused("the configuration has changed, or lacks source out9", route="a.example", source="out9")


if __name__ == "__main__":
    unittest.main()
