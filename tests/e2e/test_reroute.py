"""What waits while routes change: found by its domain, told where it goes, and moved to where routes lead today."""
import json
import os
import signal
import threading
import time
import unittest

from host import MAIL_UID, free_port, wait_for
from test_limits import Case

LATER = "queue { retry_first = 1h retry_most = 1h lifetime = 5d }"


class Base(Case):
    def queue(self, host, *arguments, status=0):
        done = host.tool("postino", "queue", *arguments)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done.stdout + done.stderr

    def deferred(self, host, *recipients, **more):
        """One message to each waits for a second attempt; their ids."""
        ids = self.send(host, *recipients, **more)
        for i in ids:
            host.wait_log(i + r": .*status=deferred")
        return ids

    def reloaded(self, host, routes, settings=LATER):
        host.configure(routes={n: v if isinstance(v, str) else v.via for n, v in routes.items()}, settings=settings)
        done = host.tool("postino", "reload")
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout + done.stderr


class Sites(Base):
    def test_a_domain_means_where_its_route_leads(self):
        dead, other = free_port(), free_port()
        host = self.host({"a.example": "smtp:[127.0.0.1]:%d" % dead, "*": "smtp:[127.0.0.1]:%d" % other}, LATER)
        first, second = self.deferred(host, "x@a.example", "x@b.example")
        self.assertIn("flush a.example".split()[1] + ": deliveries that waited are tried now (1)", self.queue(host, "flush", "a.example"))
        host.wait_log(first + r": .*status=deferred.*\n(?:.*\n)*.*" + first + r": .*status=deferred")
        self.assertIn("(1)", self.queue(host, "flush", "b.example"))
        for name in ("a.example", "b.example"):  # others' mail may go there, too
            self.assertIn("there is no site of that name", self.queue(host, "hold", "--site", name, status=66))
        self.assertIn("held (1)", self.queue(host, "hold", "--recipient", "@a.example"))
        for name in ("smtp:[127.0.0.1]:%d" % dead, "127.0.0.1:%d" % dead, "smtp:[127.0.0.1]:%d dane" % dead):
            self.assertIn("released (1)", self.queue(host, "release", "--site", name))
            self.assertIn("held (1)", self.queue(host, "hold", "--site", name))
        self.assertIn("there is no site of that name", self.queue(host, "delete", "--site", "127.0.0.1:1", status=66))

    def test_an_address_that_no_route_names_waits(self):
        """Loopback was allowed while the route named it: what waits for it is not returned when it does not any more."""
        dead = free_port()
        host = self.host({"*": "smtp:[127.0.0.1]:%d" % dead}, LATER + " remote { loopback = no }")
        queue_id, = self.deferred(host, "x@a.example")
        self.reloaded(host, {"*": "smtp:[127.0.0.2]:%d" % dead}, LATER + " remote { loopback = no }")
        self.queue(host, "retry", queue_id)
        host.wait_log(queue_id + r": .*dsn=4\.4\.3 status=deferred reply=\"no address of next hop 127\.0\.0\.1 may get mail: .*is not set; correct that, or "
                      "postino queue reroute")
        self.assertIn("postino queue reroute", host.queue())


class Reroute(Base):
    def moved(self, host, *which, count, **more):
        self.assertIn("go another way now (%d)" % count, self.queue(host, "reroute", *which, **more))

    def test_a_dead_smarthost_is_replaced(self):
        dead = free_port()
        host = self.host({"*": "smtp:[127.0.0.1]:%d" % dead}, LATER)
        ids = self.deferred(host, "x@a.example", "y@b.example", "z@a.example")
        self.assertEqual(self.reloaded(host, {"*": "smtp:[127.0.0.1]:%d" % dead, "c.example": "smtp:[127.0.0.1]:9"}), "")
        self.assertIn("  way: smtp:[127.0.0.1]:%d\n" % dead, self.queue(host, "show", ids[0]))
        living = self.sink()
        told = "messages that wait for hosts which no route names any more: 3; postino queue reroute all"
        self.assertIn(told, self.reloaded(host, {"*": living}))
        host.wait_log(told)
        self.moved(host, ids[0], count=1)
        self.taken(1, living)
        host.wait_log(ids[0] + r': to=<x@a\.example> goes another way now: an administrator asked for it way="?smtp:\[127\.0\.0\.1\]:\d+"? now="?smtp:\[127\.0\.0\.1\]:%d'
                      % living.port)
        wait_for(lambda: ids[0] not in self.queue(host, "list", "--json"))
        ways = {r["address"]: r["way"] for line in self.queue(host, "list", "--json").splitlines() for r in json.loads(line)["recipients"]}
        self.assertEqual(ways, {a: "smtp:[127.0.0.1]:%d" % dead for a in ("y@b.example", "z@a.example")})
        self.moved(host, "--recipient", "@b.example", count=1)
        self.taken(2, living)
        self.moved(host, "all", count=1)
        self.taken(3, living)
        host.wait(host.queue_is_empty)
        self.assertEqual(sorted(m.recipients[0] for m in living.messages), ["x@a.example", "y@b.example", "z@a.example"])

    def test_attempts_are_those_of_the_new_way(self):
        """The back-off that it had at the old one says nothing of the new one; how old the message is stays true."""
        settings = "queue { retry_first = 10m retry_most = 10h lifetime = %s }"
        old, new = free_port(), free_port()
        host = self.host({"*": "smtp:[127.0.0.1]:%d" % old}, settings % "5d")
        queue_id, = self.deferred(host, "x@a.example")

        def attempts():
            message = json.loads(self.queue(host, "list", "--json"))
            return message["recipients"][0]["attempts"], message["recipients"][0]["next_attempt"] - time.time()
        for count in range(2, 6):
            self.queue(host, "retry", queue_id)
            host.wait(lambda: attempts()[0] == count)
        self.assertGreater(attempts()[1], 8000)
        self.reloaded(host, {"*": "smtp:[127.0.0.1]:%d" % new}, settings % "5d")
        self.moved(host, queue_id, count=1)
        host.wait_log(queue_id + r": .*relay=\"?127\.0\.0\.1\[127\.0\.0\.1\]:%d.*status=deferred" % new)
        host.stop()  # what is on disk says the same
        host.start()
        count, wait = attempts()
        self.assertEqual(count, 1)
        self.assertTrue(400 < wait < 700, wait)  # of ten minutes
        self.reloaded(host, {"*": "smtp:[127.0.0.1]:%d" % old}, settings % "1s")
        self.moved(host, queue_id, count=1)
        host.wait_log(queue_id + r": .*status=expired")

    def test_held_mail_stays_held_and_goes_the_new_way_when_it_is_released(self):
        """of several recipients one, by a route that has moved away from an address of loopback"""
        loopback = " remote { loopback = no }"
        living, dead = self.sink(), free_port()
        host = self.host({"a.example": "smtp:[127.0.0.1]:%d" % dead, "*": living}, LATER + loopback)
        queue_id, = self.deferred(host, "x@a.example")
        self.queue(host, "hold", queue_id)
        self.reloaded(host, {"*": living}, LATER + loopback)
        self.moved(host, "all", count=1)
        self.assertRegex(host.queue(), queue_id + "!")
        host.stop()
        host.start()
        self.assertEqual(living.messages, [])
        self.queue(host, "release", queue_id)
        self.taken(1, living)

    def test_what_has_no_other_way_stays_and_is_told_so(self):
        dead = free_port()
        host = self.host({"*": "smtp:[127.0.0.1]:%d" % dead}, LATER)
        first, second = self.deferred(host, "x@a.example", "bob@b.example")
        self.assertIn("It goes where routes lead today", self.queue(host, "reroute", first, status=69))
        self.assertIn("2 left as they were", self.queue(host, "reroute", "all"))
        self.reloaded(host, {"*": "smtp:[127.0.0.1]:%d" % dead}, LATER + ' relay_to = { "a.example" } relay_recipients = { "hash:%s" }' % host.path("mailboxes"))
        self.assertIn("the log says why", self.queue(host, "reroute", first, status=69))
        host.wait_log(first + r": to=<x@a\.example> keeps its way way=.* reply=")
        self.assertIn("there is no such message", self.queue(host, "reroute", "000000000001", status=66))
        self.assertNotIn("bounced", host.log())

    def test_a_domain_that_is_ours_now(self):
        """and a host that was ours: what waits for its mailboxes goes to its new host"""
        host = self.host({"*": "smtp:[127.0.0.1]:%d" % free_port()}, LATER)
        self.deferred(host, "alice@new.example", "nobody@new.example")
        with open(host.path("mailboxes"), "a") as f:
            f.write("alice@new.example alice/\n")
        host.tool("postino", "map", "hash:" + host.path("mailboxes"), check=True)
        ours = 'mailboxes = "hash:%s" directory = "%s" owner = "%d"' % (host.path("mailboxes"), host.path("mail"), MAIL_UID)
        host.configure(routes={}, domains={"local.example": ours, "new.example": ours}, settings=LATER)
        self.assertEqual(host.tool("postino", "reload").returncode, 0)
        said = self.queue(host, "reroute", "--recipient", "@new.example")
        self.assertIn("go another way now (1)", said)
        self.assertIn("1 left as they were", said)
        host.wait(lambda: len(host.messages("alice")) == 1)
        self.assertIn("nobody@new.example", host.queue())

    def test_the_books_balance_when_qmgr_is_killed_in_the_midst(self):
        """Of 1,500 held messages all go the new way in the end, each once; some of them are parked."""
        count = 1500
        living = self.sink()
        host = self.host({"*": "smtp:[127.0.0.1]:%d" % free_port()}, LATER + " limit { queue_memory = 256k }")
        ids = self.send(host, *["x%d@a.example" % i for i in range(count)])
        self.queue(host, "hold", "all")
        self.reloaded(host, {"*": living}, LATER + " limit { queue_memory = 256k }")
        cut = []

        def order_all():
            cut.append(host.tool("postino", "queue", "reroute", "all").returncode != 0)
        for starts in range(1, 4):
            before, order, log = host.pid_of("qmgr"), threading.Thread(target=order_all), len(host.log())
            os.kill(before, signal.SIGSTOP)
            order.start()

            def begun():
                """some go another way: qmgr runs for a millisecond at a time, so that it is seen before all do"""
                os.kill(before, signal.SIGCONT)
                time.sleep(0.001)
                os.kill(before, signal.SIGSTOP)
                return host.log().count("goes another way now", log) > 30 or not order.is_alive()
            wait_for(begun, 60, pause=0)
            os.kill(before, signal.SIGKILL)
            order.join()
            host.wait(lambda: host.pid_of("qmgr") not in (None, before))
            host.wait(lambda: host.log().count("%d messages are in the queue" % count) == starts)
        self.assertTrue(any(cut), cut)  # a test that is late may find one done
        self.assertIn("go another way now", self.queue(host, "reroute", "all"))
        self.assertIn("(0)", self.queue(host, "reroute", "all"))
        self.assertEqual(living.messages, [])
        self.queue(host, "release", "all")
        self.taken(count, living, seconds=200)
        host.wait(host.queue_is_empty, 30)
        self.assertEqual(sorted(m.recipients[0] for m in living.messages), sorted("x%d@a.example" % i for i in range(count)))
        self.assertEqual(len(set(ids)), count)


if __name__ == "__main__":
    unittest.main()
