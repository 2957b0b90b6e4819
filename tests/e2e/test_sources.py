"""From where mail goes: routes with settings of their own, sources, and what becomes of a job whose route or source is not there."""
import json
import os
import re
import socket
import subprocess
import time
import unittest

import frames
from host import DOMAIN, free_port, wait_for
from listening import Listener
from netns import needs_root
from remote import DEFERRED, FAILED, RELAYED, Base, Remote
from world import World

# What answers does so at once, if this machine gives it a processor; and a session that is idle stays.
PATIENT = 'connect_timeout = "60s" idle_timeout = "60s"'


class OwnLines(Base):
    settings = PATIENT
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


SOURCES = """
source "one" { address = { "127.0.0.11", "::1" } hostname = "out1.example" }
source "two" { address = "127.0.0.12" }
source "gone" { address = "192.0.2.99" hostname = "gone.example" }
source "half" { address = { "::1", "192.0.2.99" } }
source "six" { address = "::1" hostname = "six.example" }
"""


class Sources(Base):
    """remote alone, on loopback addresses."""
    settings = PATIENT
    rest = SOURCES + """remote { sources = { one, two } }
route "gone.example" { via = "smtp:" sources = { gone } } route "six.example" { via = "smtp:" sources = { six, two } } route "alone.example" { via = "smtp:" sources = { six } }
route "half.example" { via = "smtp:" sources = { half } }"""

    def setUp(self):
        super().setUp()
        self.server = self.remote.server()

    def tearDown(self):
        self.server.close()
        super().tearDown()

    def deliver(self, **way):
        result = self.remote.deliver(**way)
        return result, result.outcomes[0]

    def last(self):
        session = self.server.sessions[-1]
        return session.sock.getpeername()[0], session.commands[0]

    def test_address_and_name_are_the_sources_own(self):
        for source, seen in (("one", ("127.0.0.11", "EHLO out1.example")), ("two", ("127.0.0.12", "EHLO mx.local.example")),
                             ("", ("127.0.0.1", "EHLO mx.local.example"))):
            result, outcome = self.deliver(source=source)
            self.assertEqual((outcome.verdict, result.source, result.own), (RELAYED, source, frames.OWN_NONE))
            self.assertEqual(self.last(), seen)
        self.deliver(source="one")
        self.assertEqual(len(self.server.sessions), 3)

    def test_an_address_that_is_not_here_is_our_own_fault(self):
        result, outcome = self.deliver(source="gone", route="gone.example")
        self.assertEqual((outcome.verdict, outcome.status, result.site_failed, result.own, result.source), (DEFERRED, "4.3.5", 0, frames.OWN_SOURCE, "gone"))
        self.assertIn("source gone: its IPv4 address can't be used: Cannot assign requested address", outcome.reply)
        self.assertEqual(self.server.sessions, [])

    def test_a_host_that_did_answer_is_what_the_mail_waits_for(self):
        """and not our own address of the other family, which would have it tried as soon as that is there"""
        self.remote.names.table["both.example"] = "::1 127.0.0.2"
        for script, failed in ((dict(GREETING="421 4.3.2 not now"), 1), (dict(EHLO="550 5.3.2 no", HELO="550 5.3.2 no"), 1)):
            with self.remote.server("::1", **script) as six:
                result, outcome = self.deliver(source="half", route="half.example", nexthop="both.example")
                self.assertEqual((outcome.verdict, result.site_failed, result.own, len(six.sessions)), (DEFERRED, failed, frames.OWN_NONE, 1), result)
                self.assertRegex(outcome.reply, "not now|5.3.2 no")
                self.assertIn("[::1]", result.peer)
        self.assertEqual(self.server.sessions, [])

    def test_a_source_of_the_wrong_family_gives_way_to_one_of_its_pool(self):
        result, outcome = self.deliver(source="six", route="six.example")
        self.assertEqual((outcome.verdict, result.source), (RELAYED, "two"))
        self.assertEqual(self.last()[0], "127.0.0.12")
        result, outcome = self.deliver(source="six", route="alone.example")
        self.assertEqual((outcome.verdict, outcome.status, result.site_failed, result.own), (DEFERRED, "4.3.5", 0, frames.OWN_NONE))
        self.assertIn("has no address of a family that source six or another of its pool has", outcome.reply)

    def test_addresses_that_the_source_can_not_reach_are_left_out(self):
        self.remote.names.table["both.example"] = "::1 127.0.0.2"
        with self.remote.server("::1") as six:
            result, outcome = self.deliver(source="two", nexthop="both.example")
            self.assertEqual((outcome.verdict, result.peer), (RELAYED, "mx1.both.example[127.0.0.2]:%d" % self.remote.port))
            self.assertEqual(six.sessions, [])
            result, outcome = self.deliver(source="one", nexthop="both.example")
            self.assertEqual((outcome.verdict, len(six.sessions)), (RELAYED, 1))


class Socks:
    """A SOCKS proxy that says what it is told; what it was told is in .heard."""

    def __init__(self, *answers):
        self.answers, self.heard = answers, []
        self.listener = Listener(socket.create_server(("127.0.0.1", 0)), self.serve, together=False)
        self.port = self.listener.port

    def serve(self, client):
        with client:
            for answer in self.answers:
                self.heard.append(client.recv(100))
                client.sendall(answer)

    def close(self):
        self.listener.close()


class Proxies(unittest.TestCase):
    """remote alone, and proxies that fail."""

    def deliver(self, port, address="192.0.2.7 192.0.2.8"):
        rest = 'route "p.example" { via = "smtp:" proxy = "socks5:127.0.0.1:%d" }' % port
        with Remote(PATIENT, rest) as remote:
            remote.names.table["p.example"] = address
            result = remote.deliver("x@p.example", nexthop="p.example", route="p.example")
            self.assertTrue(remote.running(), remote.log())
        return result, result.outcomes[0]

    def fails(self, words, own, site_failed, *answers, heard=None, **more):
        proxy = Socks(*answers)
        self.addCleanup(proxy.close)
        result, outcome = self.deliver(proxy.port, **more)
        self.assertEqual((outcome.verdict, result.own, result.site_failed), (DEFERRED, own, site_failed), outcome)
        self.assertIn(words, outcome.reply)
        if heard is not None:
            self.assertEqual(len(proxy.heard), heard)

    def test_the_proxys_own_faults(self):
        for words, answers in (("it does not speak SOCKS 5", [b"HTTP/1.0 400 no\r\n"]), ("it wants a login", [b"\5\2"]), ("it wants a login", [b"\5\xff"]),
                               ("it hung up", [b"\5"]), ("it failed", [b"\5\0", b"\5\1"]), ("its reply is broken", [b"\5\0", b"\5\0\0\2xxxxxxx"])):
            self.fails("by proxy socks5:127.0.0.1:", frames.OWN_PROXY, 0, *answers, heard=len(answers))
            self.fails(words, frames.OWN_PROXY, 0, *answers)

    def test_an_address_that_the_proxy_can_not_reach(self):
        self.fails("Connection refused", frames.OWN_NONE, 1, b"\5\0", b"\5\5", heard=4)  # both addresses
        self.fails("Network is unreachable", frames.OWN_NONE, 1, b"\5\0", b"\5\3\0\1\0\0\0\0\0\0")

    def test_loopback_behind_a_proxy_is_not_ours(self):
        proxy = Socks()
        self.addCleanup(proxy.close)
        result, outcome = self.deliver(proxy.port, "127.0.0.1")
        self.assertEqual((outcome.verdict, outcome.status), (FAILED, "5.4.4"))
        self.assertIn("behind the route's proxy a loopback address is the proxy's own", outcome.reply)

    def test_mail_that_was_taken_before_the_route_led_elsewhere(self):
        rest = 'route "p.example" { via = "smtp:[new.example]" proxy = "socks5:127.0.0.1:9" } route "q.example" { via = "smtp::26" proxy = "socks5:127.0.0.1:9" }'
        with Remote(rest=rest) as remote:
            for route, nexthop, gone in (("p.example", "[old.example]", True), ("p.example", "[new.example]", False), ("q.example", "q.example", True),
                                         ("q.example", "[q.example]:26", True), ("q.example", "q.example:26", False)):
                remote.names.table.update({"q.example": "192.0.2.7", "new.example": "192.0.2.7"})
                outcome = remote.deliver("x@p.example", nexthop=nexthop, route=route).outcomes[0]
                self.assertEqual((outcome.verdict, outcome.status), (DEFERRED, "4.3.5"))
                self.assertEqual("not where its route leads now" in outcome.reply, gone, (route, nexthop, outcome.reply))

    def test_no_proxy_there(self):
        result, outcome = self.deliver(free_port())
        self.assertEqual((outcome.verdict, result.own, result.site_failed), (DEFERRED, frames.OWN_PROXY, 0))
        self.assertIn("Connection refused", outcome.reply)


HAPROXY = """
defaults
    mode tcp
    timeout connect 5s
    timeout client 1m
    timeout server 1m
listen out
    bind 192.0.2.9:2525 accept-proxy
    source 0.0.0.0 usesrc clientip
    server next 0.0.0.0
"""

ZONE = """
socks          MX 10 mx.many
ha             MX 10 mx.many
down           MX 10 mx.many
many           MX 10 mx.many
mx.many        A 192.0.2.2
six            MX 10 mx.six
mx.six         AAAA 2001:db8::5
ill            MX 10 mx.many
wait           MX 10 mx.many
share          MX 10 mx.many
only           MX 10 mx.many
quick          MX 10 mx.many
"""


@needs_root
class AddressesOfTheHost(unittest.TestCase):
    """The whole of it: a host with several addresses."""
    @classmethod
    def setUpClass(cls):
        left = 86400 - time.time() % 86400
        time.sleep(left if left < 300 else 0)  # what a source in warm-up has sent is of one day (UTC)
        cls.world = cls.enterClassContext(World())
        cls.world.name_server({"example": ZONE})
        for address in ("192.0.2.101/24", "192.0.2.102/24", "192.0.2.104/24", "2001:db8::101/64"):
            cls.world.address(cls.world.near, address)
        cls.sinks = cls.world.smtp_sink("192.0.2.2"), cls.world.smtp_sink("2001:db8::5")
        cls.world.start("microsocks", "-i", "192.0.2.9", "-p", "1080", "-b", "192.0.2.7", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        cls.world.is_up("192.0.2.9", 1080)
        with open(os.path.join(cls.world.directory, "haproxy.cfg"), "w") as f:
            f.write(HAPROXY)
        cls.world.start("haproxy", "-db", "-f", f.name)
        cls.world.is_up("192.0.2.9", 2525)
        cls.host = cls.world.postino("""
remote { connect_timeout = 3s idle_timeout = 0s sources = { "out1 3", out2 } }
source "out1" { address = { "192.0.2.101", "2001:db8::101" } hostname = "out1.local.example" }
source "out2" { address = "192.0.2.102" hostname = "out2.local.example" }
source "warm" { address = "192.0.2.104" hostname = "warm.local.example" warm_up = "%s" warm_up_plan = 1 }
source "quick" { address = "192.0.2.104" hostname = "quick.local.example" warm_up = "%s" warm_up_plan = { 43200, 43200, 43200 } }
route "share.example" { via = "smtp:" sources = { "warm 1000", out2 } }
route "only.example" { via = "smtp:" sources = { warm } }
route "quick.example" { via = "smtp:" sources = { quick } }
source "late" { address = "192.0.2.103" hostname = "late.local.example" }
route "ill.example" { via = "smtp:" sources = { "late 1000", out2 } }
source "far" { address = "192.0.2.8" hostname = "far.local.example" }
route "socks.example" { via = "smtp:" proxy = "socks5:192.0.2.9:1080" sources = { far } }
route "ha.example" { via = "smtp:" proxy = "haproxy:192.0.2.9:2525" sources = { far } }
route "down.example" { via = "smtp:" proxy = "socks5:192.0.2.9:1081" }
route "wait.example" { via = "smtp:" sources = { late } }
dns { timeout = 4s } queue { retry_first = 2s retry_most = 4s lifetime = 1h }""" % (time.strftime("%Y-%m-%d", time.gmtime()), time.strftime("%Y-%m-%d", time.gmtime())))

    def send(self, recipient):
        self.host.sendmail(recipient, text="From: alice@%s\nSubject: %s\n\nx\n" % (DOMAIN, recipient))

    def came(self, domain, sink=0):
        """(address, name) of each message for a domain."""
        found = []
        for m in self.sinks[sink]():
            if re.search(rb"X-Rcpt-Args: <[^>]*@%s>" % domain.encode(), m):
                found.append((re.search(rb"X-Client-Addr: (\S+)", m).group(1).decode(), re.search(rb"X-Helo-Args: (\S+)", m).group(1).decode()))
        return found

    def test_shares_as_the_weights_say(self):
        for i in range(60):
            self.send("x%d@many.example" % i)
        wait_for(lambda: len(self.came("many.example")) == 60, 60)
        came = self.came("many.example")
        self.assertEqual(set(came), {("192.0.2.101", "out1.local.example"), ("192.0.2.102", "out2.local.example")})
        self.assertTrue(30 <= came.count(("192.0.2.101", "out1.local.example")) <= 58, came)
        self.host.wait_log(r"to=<x0@many.example> .* source=out[12] status=sent")

    def test_a_host_of_IPv6_alone_gets_it_from_the_source_that_has_IPv6(self):
        for i in range(8):
            self.send("x%d@six.example" % i)
        wait_for(lambda: len(self.came("six.example", 1)) == 8)
        self.assertEqual(set(self.came("six.example", 1)), {("ipv6:2001:db8::101", "out1.local.example")})

    def lines(self):
        """The lines of sources, with how many jobs are in them."""
        return {m.group(1): m.group(0) for m in re.finditer(r"(?m)^.*source (\S+).*$", self.host.tool("postino", "sites").stdout)}

    def test_a_source_in_warm_up_gets_what_the_plan_says_and_others_the_rest(self):
        for i in range(5):
            self.send("x%d@share.example" % i)
        wait_for(lambda: len(self.came("share.example")) == 5)
        self.assertEqual(sorted(self.came("share.example")), [("192.0.2.102", "out2.local.example")] * 4 + [("192.0.2.104", "warm.local.example")])
        for i in range(3):
            self.send("x%d@only.example" % i)
        wait_for(lambda: self.came("only.example"))
        time.sleep(2)
        self.assertEqual(self.came("only.example"), [("192.0.2.104", "warm.local.example")])
        self.assertIn("(warm-up: 1 message a day)", self.lines()["warm"])
        self.assertIn(" warm-up ", self.lines()["warm"])

        def waiting():
            """the other two"""
            return self.host.tool("postino", "queue").stdout.count('source "warm" is in warm-up: 1 message a day to this site, evenly (warm_up_plan)') == 2
        wait_for(waiting)
        self.assertIn('"a_day": 1,', self.host.tool("postino", "sites", "--json").stdout)
        told = self.host.tool("postino", "site", "only.example").stdout
        self.assertIn('  source    "warm" 192.0.2.104, in warm-up: 1 message a day to each site\n', told)

    def test_a_plan_is_kept_evenly(self):
        """43,200 a day are one in two seconds."""
        began = time.monotonic()
        for i in range(5):
            self.send("x%d@quick.example" % i)
        wait_for(lambda: len(self.came("quick.example")) == 5)
        self.assertGreater(time.monotonic() - began, 6.5)
        self.assertEqual(set(self.came("quick.example")), {("192.0.2.104", "quick.local.example")})

    def test_by_a_SOCKS_proxy(self):
        """microsocks: the address is its own, the name the source's."""
        self.send("x@socks.example")
        wait_for(lambda: self.came("socks.example"))
        self.assertEqual(self.came("socks.example"), [("192.0.2.7", "far.local.example")])

    def test_by_an_haproxy(self):
        """It is told from which of its addresses to go."""
        self.send("x@ha.example")
        wait_for(lambda: self.came("ha.example"))
        self.assertEqual(self.came("ha.example"), [("192.0.2.8", "far.local.example")])

    def test_a_proxy_that_is_down_is_no_fault_of_the_site(self):
        self.send("x@down.example")
        self.host.wait_log(r"a route's proxy can't be used: .* route=down.example")
        self.host.wait_log(r"to=<x@down.example> ")
        time.sleep(4)
        self.assertEqual(len(re.findall(r"to=<x@down.example> ", self.host.log())), 1)
        sites = [json.loads(line) for line in self.host.tool("postino", "sites", "--json").stdout.splitlines()]
        self.assertEqual([s for s in sites if s.get("dead")], [])

    def test_a_source_that_fails_gives_way_and_kills_no_site(self):
        for i in range(4):  # one of a thousand begins with out2
            self.send("x%d@ill.example" % i)
        wait_for(lambda: len(self.came("ill.example")) == 4)
        self.assertEqual(self.came("ill.example"), [("192.0.2.102", "out2.local.example")] * 4)
        self.host.wait_log(r"a source can't be used: .* source=late")
        self.send("x@wait.example")
        time.sleep(3)
        self.world.address(self.world.near, "192.0.2.103/24")
        began = time.monotonic()
        wait_for(lambda: self.came("wait.example"), 110)
        self.assertEqual(self.came("wait.example"), [("192.0.2.103", "late.local.example")])
        self.assertLess(time.monotonic() - began, 110)


if __name__ == "__main__":
    unittest.main()
