"""What the administrator sets and says holds: limits of sites and routes, seen by the next host itself."""
import json
import os
import re
import signal
import time
import unittest

from host import DOMAIN, Host, free_port, wait_for
from paced import Meter, Paced

MESSAGE = b"From: alice@local.example\r\nTo: x@elsewhere.example\r\nSubject: limits\r\n\r\nhello\r\n"


class Case(unittest.TestCase):
    def sink(self, **more):
        return self.enterContext(Paced(**more))

    def host(self, routes, settings="", **more):
        """`routes`: to next hosts, or as the settings have them."""
        return self.enterContext(Host(routes={name: to if isinstance(to, str) else to.via for name, to in routes.items()}, settings=settings, tls=False, **more))

    @staticmethod
    def via(sink, limits):
        return 'via = "%s" %s' % (sink.via, limits)

    def send(self, host, *recipients, subject="limits", sender="alice@" + DOMAIN):
        """One message to each, in one session."""
        ids = []
        with host.smtp() as client:
            client.ehlo()
            for recipient in recipients:
                client.mail(sender)
                client.rcpt(recipient)
                code, reply = client.data(MESSAGE.replace(b"limits", subject.encode()))
                self.assertEqual(code, 250, reply)
                ids.append(reply.decode().split()[-1])
        return ids

    def taken(self, count, *sinks, seconds=60):
        def all_taken():
            """the sinks have all messages"""
            return sum(len(s.messages) for s in sinks) >= count
        wait_for(all_taken, seconds)
        self.assertEqual(sum(len(s.messages) for s in sinks), count)


class Limits(Case):
    def test_all_deliveries_at_once(self):
        for most in (2, 4):
            with self.subTest(most):
                meter = Meter(gather=most)
                sinks = [self.sink(pause=0.2, meter=meter) for _ in range(4)]
                host = self.host({"%d.example" % i: s for i, s in enumerate(sinks)}, "queue { active = %d }" % most)
                self.send(host, *["x@%d.example" % (i % 4) for i in range(16)])
                self.taken(16, *sinks)
                self.assertEqual(meter.most, most)

    def test_deliveries_to_a_site_at_a_time(self):
        sink, other = (self.sink(pause=0.3, meter=Meter(gather=2)) for _ in range(2))
        host = self.host({"a.example": sink, "*": other}, "queue { site_sessions = 2 }")
        self.send(host, *["x@a.example", "x@b.example"] * 6)
        self.taken(12, sink, other)
        self.assertEqual((sink.meter.most, other.meter.most), (2, 2))

    def test_messages_a_minute_to_a_site(self):
        sink, free = self.sink(), self.sink()
        host = self.host({"a.example": sink, "*": self.via(free, "rate = 0")}, "queue { site_rate = 60 }")
        began = time.monotonic()
        self.send(host, *["x@a.example"] * 6 + ["x@b.example"] * 12)
        self.taken(12, free)
        self.taken(6, sink)
        # One in each second of the clock, so the first two may be close. Who is late makes none of them earlier.
        times = sorted(m.began - began for m in sink.messages)
        self.assertTrue(all(at > n - 1.1 for n, at in enumerate(times)), times)
        self.assertLess(times[-1], 15)
        self.assertLess(max(m.began - began for m in free.messages), times[-1])  # by that rate they would take twice as long

    def test_a_route_s_limits_are_for_its_own_mail(self):
        """the same next hop, in two lines"""
        sink = self.sink(pause=0.3, meter=Meter(gather=4))
        host = self.host({"a.example": self.via(sink, "sessions = 1"), "*": sink}, "queue { site_sessions = 3 }")
        self.send(host, *["x@a.example", "x@b.example"] * 4)
        self.taken(8, sink)
        mine = sorted(m.began for m in sink.messages if m.recipients == ["x@a.example"])
        self.assertTrue(all(b - a > 0.25 for a, b in zip(mine, mine[1:])), mine)
        self.assertEqual(sink.meter.most, 1 + 3)

    def test_messages_in_a_session(self):
        sites = self.sink(), self.sink()
        host = self.host({"a.example": self.via(sites[0], "sessions = 1 session_messages = 2"), "*": self.via(sites[1], "sessions = 1")},
                         'remote { loopback = yes session_messages = 9 idle_timeout = 5m } site "127.0.0.1" { session_messages = 3 }')
        self.send(host, *["x@a.example", "x@b.example"] * 6)
        self.taken(12, *sites)
        self.assertEqual([s.carried for s in sites[0].sessions], [2, 2, 2])
        self.assertEqual([s.carried for s in sites[1].sessions], [3, 3])

    def test_a_site_s_limits_and_a_route_s_before_them(self):
        sink, other = self.sink(pause=0.3), self.sink(pause=0.3)
        host = self.host({"a.example": self.via(sink, "sessions = 2"), "*": other}, 'site "127.0.0.1" { sessions = 1 }')
        self.send(host, "x@a.example")
        host.outcome("x@a.example", "sent")  # who has not answered yet has half of the sessions
        sink.meter.gather = 2
        self.send(host, *["x@a.example", "x@b.example"] * 4)
        self.taken(9, sink, other)
        self.assertEqual((sink.meter.most, other.meter.most), (2, 1))

    def reloaded(self, host, **more):
        host.configure(**more)
        before = len(host.log())
        host.reload()

        def reloaded():
            """the new configuration holds"""
            return "reloaded" in host.log()[before:]
        wait_for(reloaded, 60)

    def test_a_reload_changes_the_limits_of_mail_that_waits(self):
        count = 40
        sink = self.sink(pause=0.3, meter=Meter(gather=6))  # five are taken, and stay until the limits are others
        host = self.host({"*": sink}, "queue { site_sessions = 5 }")
        self.send(host, *["x@a.example", "x@b.example"] * (count // 2))
        wait_for(lambda: sink.meter.most == 5)
        former = list(sink.sessions)
        self.reloaded(host, routes={"a.example": self.via(sink, "sessions = 1"), "*": self.via(sink, "sessions = 1")}, settings="")
        self.assertEqual(sink.messages, [])
        sink.meter.release()
        wait_for(lambda: all(session.carried for session in former))
        sink.meter.release()
        self.assertLess(len(sink.messages), count - 2)
        self.taken(count, sink)
        self.assertLessEqual(sink.meter.most, 2)
        self.reloaded(host, routes={"*": self.via(sink, "")}, settings='queue { site_sessions = 1 } site "127.0.0.1" { sessions = 4 }')
        sink.meter.gather = 4
        self.send(host, *["x@a.example"] * 16)
        self.taken(count + 16, sink)
        self.assertEqual(sink.meter.most, 4)


class Orders(Case):
    """hold, release, priority, flush, and the list of sites"""
    LATER = "queue { retry_first = 1h retry_most = 1h lifetime = 5d }"

    def queue(self, host, *arguments, status=0):
        done = host.tool("postino", "queue", *arguments)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def listing(self, host):
        """{queue id: its mark, one of "", "!" and "*"}"""
        return {m[0]: m[1] for m in re.findall(r"(?m)^(\w{12})([*!]?) ", host.queue())}

    def sites(self, host):
        done = host.tool("postino", "sites", "--json")
        self.assertEqual(done.returncode, 0, done.stderr)
        return {s["site"]: s for s in map(json.loads, done.stdout.splitlines())}

    def deferred(self, host, *ids):
        for queue_id in ids:
            host.wait_log(queue_id + r".*status=deferred")

    def test_held_mail_stays_held_over_a_kill_of_everything(self):
        port = free_port()
        host = self.host({"*": "smtp:[127.0.0.1]:%d" % port}, self.LATER)
        held, other, both = self.send(host, "a@a.example", "b@b.example", "c@c.example")
        self.deferred(host, held, other, both)
        self.queue(host, "hold", held, both)
        self.assertIn("held already", self.queue(host, "hold", held, status=69))
        self.assertIn("no such message", self.queue(host, "hold", "00000000002D", status=66))
        self.assertEqual(self.listing(host), {held: "!", other: "", both: "!"})
        host.kill()
        host.start()
        self.assertEqual(self.listing(host), {held: "!", other: "", both: "!"})
        sink = self.sink(port=port)
        self.queue(host, "retry", "all")
        self.taken(1, sink)
        wait_for(lambda: self.listing(host) == {held: "!", both: "!"})
        self.assertIn("release it first", self.queue(host, "retry", held, status=69))
        self.assertIn("held: yes", self.queue(host, "show", held))
        time.sleep(1)
        self.assertEqual([m.recipients for m in sink.messages], [["b@b.example"]])
        self.queue(host, "release", both)
        host.kill()
        host.start()
        self.assertEqual(self.listing(host), {held: "!", both: ""})
        self.queue(host, "retry", "all")
        self.taken(2, sink)
        self.queue(host, "release", "all")
        self.queue(host, "retry", "all")
        wait_for(host.queue_is_empty)
        self.assertEqual([m.recipients for m in sink.messages], [["b@b.example"], ["c@c.example"], ["a@a.example"]])

    def test_what_is_under_way_is_held_when_it_comes_back(self):
        sink = self.sink(RCPT="450 4.2.1 later")
        host = self.host({"*": self.via(sink, "")}, "queue { retry_first = 1s retry_most = 1s lifetime = 10s bounce_lifetime = 10s delay_warning = 1s }")
        (queue_id,) = self.send(host, "a@a.example", sender="alice@" + DOMAIN)
        os.kill(host.pid_of("remote"), signal.SIGSTOP)  # the attempt that comes next is under way for as long as it takes
        wait_for(lambda: self.listing(host)[queue_id] == "*")  # a warning may be there, too
        self.queue(host, "hold", queue_id)
        self.assertEqual(self.listing(host)[queue_id], "*")
        os.kill(host.pid_of("remote"), signal.SIGCONT)
        wait_for(lambda: self.listing(host) == {queue_id: "!"})
        attempts = len(re.findall(queue_id + ".*status=", host.log()))
        time.sleep(11)  # longer than its lifetime
        self.assertEqual(len(re.findall(queue_id + ".*status=", host.log())), attempts)
        self.assertEqual(self.listing(host), {queue_id: "!"})
        self.assertLessEqual(len(host.messages("alice")), 1)  # a warning from before the hold
        sink.script["RCPT"] = "250 ok"
        self.queue(host, "release", queue_id)
        self.taken(1, sink)

    def test_selections(self):
        sink, other = self.sink(RCPT="450 4.2.1 later"), self.sink(RCPT="450 4.2.1 later")
        host = self.host({".a.example": sink, "*": other}, self.LATER)
        one, two, three = self.send(host, "x@1.a.example", "y@2.a.example", "z@b.example")
        (four,) = self.send(host, "x@1.a.example", sender="bob@" + DOMAIN)
        with host.smtp() as client:
            client.sendmail("", ["x@1.a.example", "z@b.example"], MESSAGE)
        (both,) = set(self.listing(host)) - {one, two, three, four}
        self.deferred(host, one, two, three, four)
        self.deferred(host, *[both + ".*to=<%s>" % who for who in ("x@1.a.example", "z@b.example")])

        def held(*arguments):
            self.queue(host, "hold", *arguments)
            found = {i for i, mark in self.listing(host).items() if mark == "!"}
            self.queue(host, "release", "all")
            self.assertNotIn("!", self.listing(host).values())
            return found
        self.assertEqual(held("all"), {one, two, three, four, both})
        self.assertEqual(held("--sender", "BOB@" + DOMAIN), {four})
        self.assertEqual(held("--sender", "@" + DOMAIN), {one, two, three, four})
        self.assertEqual(held("--sender", "<>"), {both})
        self.assertEqual(held("--recipient", "x@1.a.example"), {one, four, both})
        self.assertEqual(held("--recipient", "@b.example"), {three, both})
        self.assertEqual(held("--recipient", "@a.example"), set())
        self.assertEqual(held("--site", "[127.0.0.1]:%d" % other.port), {three, both})
        self.assertEqual(held("--site", "127.0.0.1"), {one, two, three, four, both})
        self.assertEqual(held("--site", "smtp:[127.0.0.1]:%d dane" % sink.port, "--sender", "alice@" + DOMAIN), {one, two})
        self.assertIn("1 left", self.queue(host, "delete", "--recipient", "@b.example"))
        self.assertEqual(set(self.listing(host)), {one, two, four, both})
        self.queue(host, "delete", "all", status=65)
        self.assertEqual(len(self.listing(host)), 4)
        sink.script["RCPT"] = "250 ok"
        done = host.tool("sendmail", "-qR1.a.example")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.taken(3, sink)
        self.queue(host, "delete", "ALL")
        wait_for(host.queue_is_empty)
        self.assertEqual((len(sink.messages), len(other.messages)), (3, 0))

    def test_priority_is_seen_at_the_sink(self):
        sink = self.sink()
        ports = {name: free_port() for name in ("high", "normal", "low")}
        host = self.host({"*": self.via(sink, "sessions = 1")}, self.LATER, listeners={
            name: 'port = %d address = "127.0.0.1" tls = none priority = %s' % (port, name) for name, port in ports.items()})
        os.kill(host.pid_of("remote"), signal.SIGSTOP)
        self.send_by(host, ports["normal"], "first")  # is under way now, and all others stand behind it
        for name in ("low", "normal", "high"):
            for i in range(3):
                self.send_by(host, ports[name], name)
        (moved,) = self.send_by(host, ports["low"], "moved")
        (back,) = self.send_by(host, ports["high"], "back")
        self.queue(host, "priority", "high", moved)
        self.queue(host, "priority", "low", back)
        self.assertIn("priority: high", self.queue(host, "show", moved))
        os.kill(host.pid_of("remote"), signal.SIGCONT)
        self.taken(12, sink)
        self.assertEqual([re.search(rb"(?m)^Subject: (.*)\r$", m.body).group(1).decode() for m in sink.messages], ["first"] + ["high"] * 3 + ["moved"] + ["normal"] * 3 + ["low"] * 3 + ["back"])

    def send_by(self, host, port, subject):
        with host.smtp(port) as client:
            client.ehlo()
            client.mail("alice@" + DOMAIN)
            client.rcpt("x@a.example")
            return [client.data(MESSAGE.replace(b"limits", subject.encode()))[1].decode().split()[-1]]

    def test_priority_survives_a_kill(self):
        port = free_port()
        host = self.host({"*": "smtp:[127.0.0.1]:%d" % port}, self.LATER)
        one, two, three = self.send(host, *["x@a.example"] * 3)
        self.deferred(host, one)
        self.queue(host, "priority", "low", one)
        self.queue(host, "priority", "high", two)
        host.kill()
        host.start()
        shown = [self.queue(host, "show", i) for i in (one, two, three)]
        self.assertEqual([re.search("priority: (.*)", s).group(1) for s in shown], ["low", "high", "normal"])

    def test_a_flush_is_of_one_site_alone(self):
        sink, other = self.sink(RCPT="450 4.2.1 later"), self.sink(RCPT="450 4.2.1 later")
        host = self.host({"a.example": sink, "b.example": other}, self.LATER)
        ids = self.send(host, *["x@a.example", "x@b.example"] * 3)
        self.deferred(host, *ids)
        name = "smtp:[127.0.0.1]:%d dane" % sink.port
        self.assertEqual([self.sites(host)[name][n] for n in ("jobs", "waiting", "ready", "held", "active")], [3, 3, 0, 0, 0])
        sink.script["RCPT"] = other.script["RCPT"] = "250 ok"
        self.assertIn("no site of that name", self.queue(host, "flush", "[nowhere.example]", status=66))
        self.assertIn("(3)", self.queue(host, "flush", "[127.0.0.1]:%d" % sink.port))
        self.taken(3, sink)
        wait_for(lambda: len(self.listing(host)) == 3)
        time.sleep(1)
        self.assertEqual(len(other.messages), 0)
        self.assertEqual(len(self.listing(host)), 3)
        self.assertIn("(3)", self.queue(host, "flush", "smtp:[127.0.0.1]:%d dane" % other.port))
        self.taken(3, other)

    def test_a_dead_site_is_seen_and_flushed(self):
        port = free_port()
        host = self.host({"*": "smtp:[127.0.0.1]:%d" % port}, self.LATER + " queue { site_sessions = 7 site_rate = 600 }")
        (held,) = self.send(host, "x@a.example")
        self.deferred(host, held)
        self.queue(host, "hold", held)
        name, count = "smtp:[127.0.0.1]:%d dane" % port, 8
        self.send(host, *["x@a.example"] * count)
        wait_for(lambda: self.sites(host)[name]["dead"] and not self.sites(host)[name]["active"])
        site = self.sites(host)[name]
        self.assertEqual((site["jobs"], site["held"], site["most"], site["rate"], site["session_messages"]), (count + 1, 1, 7, 600, 100))
        self.assertTrue(time.time() < site["probe"] < time.time() + 4000, site)
        self.assertEqual(site["ready"] + site["waiting"], count)
        table = host.tool("postino", "sites").stdout
        self.assertRegex(table, r"(?m) 1 of 7 +600 +100  dead until .* smtp:\[127\.0\.0\.1\]:%d dane$" % port)
        sink = self.sink(port=port)
        self.queue(host, "flush", "127.0.0.1")
        self.taken(count, sink)
        wait_for(lambda: self.sites(host)[name]["jobs"] == 1)
        site = self.sites(host)[name]
        self.assertEqual((site["dead"], site["jobs"], site["held"]), (False, 1, 1))


class OrdersToParked(Orders):
    """The same for mail of which qmgr has nothing but the id in memory."""
    LATER = Orders.LATER + " limit { queue_memory = 0 }"
    test_priority_is_seen_at_the_sink = test_what_is_under_way_is_held_when_it_comes_back = test_a_dead_site_is_seen_and_flushed = None

    def deferred(self, host, *ids):
        super().deferred(host, *ids)
        time.sleep(2.5)  # settled, and parked in the next second


if __name__ == "__main__":
    unittest.main()
