"""What waits while routes change: found by its domain, told where it goes, and moved to where routes lead today."""
import unittest

from host import free_port
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
        host.configure(routes=routes, settings=settings)
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
        self.assertIn("held (1)", self.queue(host, "hold", "--site", "a.example"))
        self.assertIn("there is no site of that name", self.queue(host, "hold", "--site", "b.example", status=66))
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
