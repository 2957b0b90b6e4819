"""What a next host says about how much it wants is heeded: slower, a pause, and back again; receivers of one provider have their limits together."""
import datetime
import json
import re
import time
import unittest

from host import free_port, wait_for
from paced import Meter
from test_limits import Case

RULES = '''reply "many"  { match = { "421 4.7.0 *too many*", "451 4.7.1 *slower*" } time = 10s }
reply "stop"  { match = { "421 *come back later*" } action = pause time = 10s }
reply "boxes" { match = { "450 4.2.1 *rate of this mailbox*" } recipients = yes time = 10s }
'''
# Jobs are tried again soon, so that what holds them back is the brake.
QUICK = "queue { retry_first = 1s retry_most = 1s } remote { loopback = yes idle_timeout = 1s } "

KEPT = QUICK.replace("idle_timeout = 1s", "idle_timeout = 5m")  # where the words come at a message of a session that was used


class ShapingCase(Case):
    def talker(self, answer=lambda *_: None, **more):
        return self.sink(answer=answer, **more)

    def sites(self, host):
        done = host.tool("postino", "sites", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        return {s["site"]: s for s in map(json.loads, done.stdout.splitlines())}

    def line(self, host, pattern):
        return host.wait_log(pattern).group(0)

    @staticmethod
    def seconds(line):
        """When it was written, by the clock of who wrote it."""
        return datetime.datetime.fromisoformat(line.split("Z ")[0]).timestamp()

    def site(self, host, talker):
        return next(s for name, s in self.sites(host).items() if name.startswith("smtp:[127.0.0.1]:%d " % talker.port))

    def took(self, talker, count, seconds=60):
        def took():
            """the host took them"""
            return len(talker.messages) >= count
        wait_for(took, seconds)
        self.assertEqual(len(talker.messages), count)


class Replies(ShapingCase):
    def test_a_host_that_wants_less_gets_less_and_then_more_again(self):
        busy = [True]

        def answer(step, session, message):
            if step == "MAIL" and busy and message == 3 and session == 1:
                busy.clear()
                return "421 4.7.0 Too many messages from you"
        talker = self.talker(answer)
        host = self.host({"*": self.via(talker, "sessions = 1")}, KEPT + RULES)
        ids = self.send(host, *["x@a.example"] * 12)
        line = self.line(host, r'slowed down: site="?smtp:\[127\.0\.0\.1\].*')
        self.assertRegex(line, r"rule=many to=5/min sessions=1 for=10s reply=.*Too many messages")
        site = self.site(host, talker)
        self.assertEqual((site["slowed"], site["paused"], site["rule"], site["dead"], site["rate"]), (True, False, "many", False, 5))
        self.assertRegex(host.tool("postino", "sites").stdout, r"slowed until \d\d:\d\d:\d\d")
        before = len(talker.messages)
        time.sleep(5)
        self.assertLessEqual(len(talker.messages) - before, 1)
        host.wait_log(r"goes faster: site=.* to=10/min ")
        host.wait_log(r"goes faster: site=.* to=20/min ")
        self.took(talker, 12)
        host.wait_log(r"no longer slowed down: site=.* rule=many", 100)
        wait_for(host.queue_is_empty)
        self.assertFalse(self.site(host, talker)["slowed"])
        self.assertEqual(len(re.findall(": slowed down: ", host.log())), 1)
        self.assertEqual({i for i in ids if re.search(i + ".*status=sent", host.log())}, set(ids))

    def test_a_pause_is_one_and_does_not_make_the_host_dead(self):
        """421 at the greeting, to all: without a rule the host would be dead after three"""
        until = [None]

        def answer(step, session, message):
            if step == "GREETING" and (until[0] is None or time.monotonic() < until[0]):
                until[0] = until[0] or time.monotonic() + 5
                return "421 busy, come back later"
        talker = self.talker(answer)
        host = self.host({"*": talker}, QUICK + RULES.replace("pause time = 10s", "pause time = 15s"))
        self.send(host, *["x@a.example"] * 5)
        line = self.line(host, r".*paused: site=.*")
        self.assertRegex(line, r"rule=stop to=nothing for=15s reply=.*421 busy")
        site = self.site(host, talker)
        self.assertEqual((site["paused"], site["dead"], site["slowed"]), (True, False, True))
        self.assertRegex(host.tool("postino", "sites").stdout, r"paused until \d\d:\d\d:\d\d")
        time.sleep(3)
        sessions = len(talker.sessions)
        time.sleep(4)
        self.assertEqual(len(talker.sessions), sessions)  # nobody knocks
        self.assertGreater(self.seconds(self.line(host, r".*goes on slowly: site=.*rule=stop")) - self.seconds(line), 12)
        self.took(talker, 5, 90)
        self.assertNotIn("dead", json.dumps([s for s in self.sites(host).values() if s["dead"]]))

    def test_the_first_words_count_though_another_session_took_the_message(self):
        """421 in a session that was used: the message goes by a fresh one at once, and is slowed down for all that"""
        talker = self.talker(lambda step, session, message: "421 4.7.0 too many" if step == "MAIL" and session == 1 and message == 2 else None)
        host = self.host({"*": self.via(talker, "sessions = 1")}, KEPT + RULES)
        ids = self.send(host, "x@a.example", "x@a.example")
        self.took(talker, 2)
        host.wait_log(r"slowed down: .*too many")
        host.wait_log("%s.*status=sent" % ids[1])
        self.assertEqual(len(re.findall("%s.*status=sent" % ids[1], host.log())), 1)
        self.assertNotIn("status=deferred", host.log())

    def test_what_is_said_of_a_mailbox_slows_nothing_down_unless_a_rule_wants_it(self):
        words = {"a": "451 4.7.1 slower", "b": "450 4.2.1 rate of this mailbox", "c": "550 5.7.1 slower"}
        talkers = {}
        for name, text in words.items():
            step = "END" if name == "c" else "RCPT"
            talkers[name] = self.talker(lambda at, session, message, step=step, text=text: text if at == step and (session, message) == (1, 1) else None)
        host = self.host({name + ".example": talker for name, talker in talkers.items()}, QUICK + RULES)
        self.send(host, "x@a.example", "x@b.example", "x@c.example")
        host.wait_log(r"slowed down: .*rule=boxes")
        self.took(talkers["a"], 1)
        host.wait_log(r"status=bounced.*550 5.7.1")
        self.assertEqual(len(re.findall(": slowed down: ", host.log())), 1)

    def test_an_administrator_ends_it(self):
        said = []

        def answer(step, session, message):
            if step == "GREETING" and not said:
                said.append(1)
                return "421 come back later"
        talker = self.talker(answer)
        host = self.host({"*": talker}, "queue { retry_first = 1h retry_most = 1h } " + RULES.replace("10s", "1h"))
        self.send(host, "x@a.example")
        host.wait_log(r"paused: ")
        done = host.tool("postino", "queue", "flush", "127.0.0.1")
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        host.wait_log(r"no longer slowed down: ")
        self.took(talker, 1)

    def test_rules_come_and_go_with_a_reload(self):
        talker = self.talker(lambda step, session, message: "451 4.7.1 slower please" if step == "END" else None)
        host = self.host({"*": talker}, QUICK)
        self.send(host, "x@a.example")
        host.wait_log("status=deferred.*slower")
        self.assertNotIn("slowed down", host.log())
        host.configure(routes={"*": talker.via}, settings=QUICK + RULES)
        host.reload()
        host.wait_log(r"slowed down: .*slower please")


class Shares(ShapingCase):
    def test_all_receivers_of_a_section_have_its_sessions_together(self):
        meter = Meter()
        talkers = [self.talker(pause=0.5, meter=meter) for _ in range(4)]
        for share, most in (("yes", 2), ("no", 8)):
            with self.subTest(share):
                host = self.host({"%d.example" % i: t for i, t in enumerate(talkers)}, QUICK + 'site "127.0.0.1" { sessions = 2 share = %s }' % share)
                self.send(host, "x@0.example")
                host.outcome("x@0.example", "sent")  # who has not answered yet has half of the sessions
                meter.most, meter.gather = 0, most
                for t in talkers:
                    t.messages.clear()
                self.send(host, *["x@%d.example" % (i % 4) for i in range(24)])
                for t in talkers:
                    self.took(t, 6)
                self.assertEqual(meter.most, most)
                self.assertEqual({s["share"] for s in self.sites(host).values() if s["site"].startswith("smtp:")}, {"127.0.0.1" if share == "yes" else ""})
                host.stop()

    def test_the_rate_is_one_and_no_receiver_waits_for_the_others(self):
        talkers = [self.talker() for _ in range(3)]
        host = self.host({"%d.example" % i: t for i, t in enumerate(talkers)}, QUICK + 'site "127.0.0.1" { rate = 120 }')
        began = time.monotonic()
        self.send(host, *["x@0.example"] * 12 + ["x@1.example"] * 2 + ["x@2.example"] * 2)
        for talker, count in zip(talkers, (12, 2, 2)):
            self.took(talker, count)
        times = [sorted(m.began - began for m in talker.messages) for talker in talkers]
        # Two in each second of the clock, so the first four may be close: six seconds at least. If each had a rate of its own, five at most.
        last = max(map(max, times))
        self.assertTrue(5.9 < last < 20, times)
        self.assertTrue(max(times[1] + times[2]) < times[0][-1], times)  # those that were there before them were twelve

    def test_421_slows_all_of_them_and_a_word_about_one_domain_that_one(self):
        said = set()

        def answer(text, number, at="MAIL"):
            def words(step, session, message):
                if step == at and number not in said:
                    said.add(number)
                    return text
            return words
        talkers = [self.talker(answer("421 4.7.0 too many", 0, "RCPT")), self.talker(answer("451 4.7.1 slower", 1)), self.talker()]
        section = 'site "127.0.0.1" { } '
        host = self.host({"%d.example" % i: t for i, t in enumerate(talkers)}, QUICK + section + RULES)
        self.send(host, "x@1.example")
        line = self.line(host, r"slowed down: site=.*")
        self.assertRegex(line, r"site=\S*smtp:\[127.0.0.1\]:%d " % talkers[1].port)
        self.send(host, "x@2.example", "x@2.example", "x@2.example")
        self.took(talkers[2], 3, 15)
        self.send(host, "x@0.example")
        line = self.line(host, r"slowed down: site=127.*")
        self.assertRegex(line, r"site=127.0.0.1 rule=many")
        self.assertTrue(self.site(host, talkers[2])["slowed"])

    def test_a_receiver_that_is_down_is_down_alone(self):
        talkers = [None, self.talker()]
        host = self.host({"0.example": "smtp:[127.0.0.1]:%d" % free_port(), "1.example": talkers[1]}, 'remote { loopback = yes } queue { retry_first = 1h retry_most = 1h } site "127.0.0.1" { sessions = 2 }')
        self.send(host, *["x@0.example"] * 8)

        def dead():
            """it is known to be dead"""
            return any(s["dead"] for s in self.sites(host).values())
        wait_for(dead)
        self.send(host, *["x@1.example"] * 10)
        self.took(talkers[1], 10)  # and not in an hour
        self.assertFalse(self.site(host, talkers[1])["dead"])


if __name__ == "__main__":
    unittest.main()
