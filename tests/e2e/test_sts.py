"""postino-sts: MTA-STS policies of other domains (RFC 8461), from a real HTTPS server on port 443 in a network namespace. dns is played by the test."""
import contextlib
import os
import re
import tempfile
import threading
import time
import unittest

import frames
from certificates import Certificates
from driven import Driven
from frames import RESOLVE_DEFERRED, RESOLVE_FAILED, RESOLVE_OK, STS_ENFORCE, STS_NONE, STS_TESTING
from host import wait_for
from https import HANG
from movedclock import Clock
from netns import needs_root, within
from world import World

POLICY = "version: STSv1\r\nmode: enforce\r\nmax_age: 604800\r\nmx: mx1.%s\r\nmx: *.%s\r\n"


class Dns:
    """Answers TXT from `records`, RESOLVE from `addresses`; counts them."""

    def __init__(self, channel, records=None, addresses=None):
        self.channel, self.asked = channel, []
        self.records, self.addresses = {} if records is None else records, {} if addresses is None else addresses
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        with contextlib.suppress(frames.Closed, OSError, ValueError):
            while True:
                q = self.channel.receive(None)
                self.asked.append(q.name)
                if q.type == "TXT":
                    found = self.records.get(q.name, [])
                    verdict = found if isinstance(found, int) else RESOLVE_OK if found else RESOLVE_FAILED
                    self.channel.send("TXTS", request=q.request, verdict=verdict, records=[] if isinstance(found, int) else [dict(data=r) for r in found])
                else:
                    address = self.addresses.get(q.name)
                    hosts = [dict(name=q.name, addresses=address)] if address else []
                    self.channel.send("RESOLVED", request=q.request, verdict=RESOLVE_OK if hosts else RESOLVE_FAILED, status="" if hosts else "5.4.4", hosts=hosts)


@needs_root
class Sts(unittest.TestCase):
    names = ["other", "html", "moved", "gone", "long", "broken", "slow", "none", "tests", "old", "new", "six", "kept", "empty", "type"]

    @classmethod
    def setUpClass(cls):
        cls.made = cls.enterClassContext(Certificates())
        cls.world = cls.enterClassContext(World())
        cls.https = cls.world.https(cls.made.sign("mta-sts.good.example", more=["mta-sts.%s.example" % n for n in cls.names]))

    def setUp(self):
        self.store = tempfile.mkdtemp(prefix="store-", dir=self.world.directory)
        self.https.forget()
        self.begin()

    def begin(self, timeout=60, records=None, addresses=None, clock=None):
        self.sts = Driven("sts", "directory { sts = \"%s\" }\nsts { timeout = %ds }\ntls { authorities = \"%s\" }" % (self.store, timeout, self.made.authority[0]),
                          edges=("remote", "dns"), where=within(self.world.near) + (clock.words() if clock else []))
        self.dns = Dns(self.sts.edges["dns"], records, addresses)
        self.addCleanup(self.sts.close)

    def again(self):
        """Another process, with what the former one has kept."""
        records, addresses = self.dns.records, self.dns.addresses
        self.sts.close()
        self.begin(records=records, addresses=addresses)

    def publish(self, domain, policy=None, record=b"v=STSv1; id=1;", answer=None, address="192.0.2.2"):
        self.dns.records["_mta-sts." + domain] = [record]
        self.dns.addresses["mta-sts." + domain] = address
        if answer is None:
            self.https.policy(domain, POLICY % (domain, domain) if policy is None else policy)
        else:
            self.https.answers("mta-sts." + domain, answer)

    def ask(self, domain, timeout=90):
        m = self.sts.edges["remote"].ask("STS", timeout=timeout, domain=domain)
        return m.mode, m.mx, m.id

    def asked(self):
        """The host and the first line of each request."""
        return [re.search(r"(?im)^host: *([^\s:]+)", head).group(1) + " " + head.split("\r\n")[0] for head, _ in self.https.requests()]

    def refused(self, domain, words):
        self.assertEqual(self.ask(domain), (STS_NONE, "", ""))
        wait_for(lambda: re.search(r"domain=%s reason=\"[^\n]*%s" % (re.escape(domain), re.escape(words)), self.sts.log()))
        self.assertEqual(os.listdir(self.store), [])

    def test_a_policy_is_fetched_once_and_told(self):
        self.publish("good.example")
        for name in ("good.example", "Good.Example", "good.example"):
            self.assertEqual(self.ask(name), (STS_ENFORCE, "mx1.good.example *.good.example", "1"))
        self.assertEqual(self.asked(), ["mta-sts.good.example GET /.well-known/mta-sts.txt HTTP/1.1"])
        self.assertEqual(self.dns.asked, ["_mta-sts.good.example", "mta-sts.good.example"])

    def test_over_ipv6_and_past_an_address_where_nobody_is(self):
        self.publish("six.example", address="198.51.100.81 2001:db8::2")
        self.assertEqual(self.ask("six.example")[0], STS_ENFORCE)

    def test_a_domain_can_not_have_our_own_networks_asked(self):
        for i, address in enumerate(("127.0.0.1", "::1", "::ffff:127.0.0.1", "10.0.0.1 127.0.0.1")):
            domain = self.names[i] + ".example"
            self.publish(domain, address=address)
            self.assertEqual(self.ask(domain)[0], STS_NONE)
        self.assertEqual(self.asked(), [])

    def test_a_failed_look_is_repeated_after_five_minutes_or_when_the_clock_was_set_back(self):
        clock = Clock(tempfile.mkdtemp(prefix="clock-", dir=self.world.directory))
        self.sts.close()
        self.begin(clock=clock)
        self.publish("gone.example", answer=b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        for wall, looks in ((0, 1), (0, 1), (200, 1), (310, 2), (310, 2), (-3600, 3), (-3600, 3), (-3200, 4)):
            clock.set(0, wall)
            self.assertEqual(self.ask("gone.example")[0], STS_NONE)
            self.assertEqual(len(self.asked()), looks, wall)

    def test_modes(self):
        self.publish("tests.example", "version: STSv1\nmode: testing\nmax_age: 86400\nmx: mx.tests.example\n")
        self.publish("none.example", "version: STSv1\nmode: none\nmax_age: 86400\n")
        self.assertEqual(self.ask("tests.example"), (STS_TESTING, "mx.tests.example", "1"))
        self.assertEqual(self.ask("none.example")[0], STS_NONE)

    def test_without_a_record_nothing_is_fetched(self):
        self.publish("good.example")
        for records in ([], [b"v=spf1 -all"], [b"v=STSv1; id=1", b"v=STSv1; id=2"], [b"v=STSv1"], RESOLVE_DEFERRED):
            self.dns.records["_mta-sts.good.example"] = records
            self.assertEqual(self.ask("good.example"), (STS_NONE, "", ""))
        for name in ("", "no domain", "..", "[192.0.2.1]", "x" * 300):
            self.assertEqual(self.ask(name), (STS_NONE, "", ""))
        self.assertEqual(self.asked(), [])

    def test_what_is_no_policy(self):
        self.publish("html.example", answer=b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 3\r\n\r\nx\r\n")
        self.refused("html.example", "it is not of the type text/plain")
        self.publish("moved.example", answer=b"HTTP/1.1 302 Found\r\nLocation: https://mta-sts.good.example/.well-known/mta-sts.txt\r\nContent-Length: 0\r\n\r\n")
        self.refused("moved.example", "the answer is not 200 OK")
        self.publish("gone.example", answer=b"HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: 0\r\n\r\n")
        self.refused("gone.example", "the answer is not 200 OK")
        self.publish("long.example", "version: STSv1\n" + "x" * 70000)
        self.refused("long.example", "it is too long")
        self.publish("broken.example", "version: STSv1\nmode: enforce\nmax_age: 1\nmx: ../../etc\n")
        self.refused("broken.example", "an mx of it is no name of a host")
        self.publish("empty.example", answer=b"")
        self.refused("empty.example", "mta-sts.empty.example")
        self.assertEqual(len(self.asked()), 6)

    def test_the_certificate_must_prove_the_name(self):
        self.publish("stranger.example")  # not among the names of the certificate
        self.refused("stranger.example", "mta-sts.stranger.example")
        self.assertEqual(self.asked(), [])

    def test_a_server_that_hangs_is_given_up_in_time_and_holds_up_nobody_else(self):
        self.sts.close()
        self.begin(timeout=8)
        self.publish("slow.example", answer=HANG)
        self.publish("good.example")
        self.sts.edges["remote"].send("STS", domain="slow.example")
        wait_for(self.asked)
        fast = self.sts.edges["remote"].ask("STS", domain="good.example")  # its answer comes first
        self.assertEqual(fast.mode, STS_ENFORCE)
        self.assertEqual(self.sts.edges["remote"].receive(25).mode, STS_NONE)  # the default is 30 s

    def test_a_failed_look_is_not_repeated_at_once(self):
        self.publish("gone.example", answer=b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")
        for _ in range(5):
            self.assertEqual(self.ask("gone.example")[0], STS_NONE)
        self.assertEqual(len(self.asked()), 1)

    def test_many_that_ask_at_once_are_one_question(self):
        self.publish("good.example")
        for _ in range(50):
            self.sts.edges["remote"].send("STS", domain="good.example")
        self.assertEqual({self.sts.edges["remote"].receive(60).mode for _ in range(50)}, {STS_ENFORCE})
        self.assertEqual(len(self.asked()), 1)

    def test_a_policy_is_kept_over_a_restart_though_nobody_can_be_asked(self):
        self.publish("kept.example")
        self.assertEqual(self.ask("kept.example")[0], STS_ENFORCE)
        self.again()
        self.dns.records.clear()
        self.dns.addresses.clear()
        self.assertEqual(self.ask("kept.example"), (STS_ENFORCE, "mx1.kept.example *.kept.example", "1"))
        self.assertEqual(len(self.asked()), 1)
        self.assertEqual(self.dns.asked, [])

    def fetched(self, domain, seconds_ago):
        """As if the policy had been fetched then."""
        path = os.path.join(self.store, domain)
        with open(path) as f:
            text = f.read()
        with open(path, "w") as f:
            f.write(re.sub(r"fetched: \d+", "fetched: %d" % (time.time() - seconds_ago), text))
        self.again()

    def test_after_a_day_it_is_looked_at_behind_the_answer(self):
        self.publish("new.example")
        self.ask("new.example")
        self.publish("new.example", "version: STSv1\nmode: testing\nmax_age: 86400\nmx: mx2.new.example\n", record=b"v=STSv1; id=2;")
        self.fetched("new.example", 90000)
        self.assertEqual(self.ask("new.example"), (STS_ENFORCE, "mx1.new.example *.new.example", "1"))
        wait_for(lambda: self.ask("new.example") == (STS_TESTING, "mx2.new.example", "2"))

    def test_a_look_that_fails_takes_nothing_away(self):
        self.publish("old.example")
        self.ask("old.example")
        self.publish("old.example", answer=b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n", record=b"v=STSv1; id=2;")
        self.fetched("old.example", 400000)
        self.assertEqual(self.ask("old.example")[0], STS_ENFORCE)
        wait_for(lambda: "the policy that is known goes on" in self.sts.log())
        self.assertEqual(self.ask("old.example")[0], STS_ENFORCE)

    def test_an_expired_policy_counts_no_longer(self):
        self.publish("old.example")
        self.ask("old.example")
        self.dns.records.clear()
        self.fetched("old.example", 604801)
        self.assertEqual(self.ask("old.example"), (STS_NONE, "", ""))
        self.assertEqual(os.listdir(self.store), [])

    def test_a_broken_file_is_as_none(self):
        self.publish("good.example")
        for text in ("", "rubbish", "Postino STS 1\nid: 1\nfetched: 99999999999999\n\n" + POLICY % ("x.example", "x.example")):
            with open(os.path.join(self.store, "good.example"), "w") as f:
                f.write(text)
            self.again()
            self.assertEqual(self.ask("good.example"), (STS_ENFORCE, "mx1.good.example *.good.example", "1"))


if __name__ == "__main__":
    unittest.main()
