"""An idle session of one domain serves the mail of another, when its host is that of both and it is all that a connection of the other's own would have to be; and no
session serves mail that wants more, or something else."""
import random
import socket
import ssl
import time
import unittest

import frames
import host
from certificates import BASE, sum_of
from hostile import DROP, HANG, RESET, Late, Raw, Server, When
from netns import needs_root
from remote import DEFERRED, FAILED, IN_DOUBT, PATIENT, RELAYED, Base, Remote, Security
from test_tlsrpt import Noticed
from world import World

MX = BASE
SETTINGS = 'idle_timeout = "60s" ' + PATIENT
DOMAINS = ["d%d.example" % i for i in range(50)]
ESTABLISHED, CLOSE_WAIT = "01", "08"


def connections(server):
    """Both ends of each that the server has, or that its client has not closed yet, by the kernel's list (tcp(7)): what each end has sent and the other has not taken, and what has come and
    was not read yet."""
    name = ("" if server.address == "0.0.0.0" else socket.inet_aton(server.address)[::-1].hex().upper()) + ":%04X" % server.port
    with open("/proc/net/tcp", encoding="ascii") as f:
        lines = [line.split() for line in f.readlines()[1:]]
    return [tuple(int(n, 16) for n in line[4].split(":")) for line in lines if line[3] in (ESTABLISHED, CLOSE_WAIT) and (line[1].endswith(name) or line[2].endswith(name))]


class Sharing:
    """For tests of remote: all of DOMAINS have the one host."""

    def setUp(self):
        self.names = self.remote.names.table
        for domain in ["a.example", *DOMAINS]:
            self.names[domain] = [(MX, "127.0.0.2")]

    def serve(self, address="127.0.0.2", **more):
        """Idle sessions end with the server, before the next test."""
        server = self.remote.server(address, **more)
        self.addCleanup(self.forget, server)
        return server

    def forget(self, server):
        server.close()
        host.wait_for(lambda: all(s.ended for s in server.sessions))
        host.wait_for(lambda: not connections(server))

    def ok(self, domain, **more):
        result = self.remote.deliver("x@" + domain, nexthop=more.pop("nexthop", domain), **more)
        self.check(result, (RELAYED, "2.0.0", ""))
        return result

    def breaks_under_the_message(self, action):
        for extensions in (("PIPELINING",), ()):
            server = self.serve(MAIL=["250 ok", action], extensions=extensions)
            self.ok("d1.example")
            self.ok("d2.example")
            self.assertEqual([m.recipients for m in server.messages], [["x@d1.example"], ["x@d2.example"]])
            self.assertEqual(self.loads(server), [2, 1], (action, extensions))
            self.forget(server)

    def loads(self, server):
        """How many messages each session was told of."""
        return [sum(c.startswith("MAIL") for c in s.commands) for s in server.sessions]

    def has_heard(self, session, command):
        """The client knows all that was said in a session, up to the answer to this command."""
        host.wait_for(lambda: session.commands and session.commands[-1].startswith(command) and session.answered == len(session.commands))
        host.wait_for(lambda: not any(n for queues in connections(session.server) for n in queues))


class OneHost(Sharing, Base):
    settings = SETTINGS
    rest = """source "one" { address = "127.0.0.11" } source "two" { address = "127.0.0.12" }
route "r.example" { via = "smtp:" sessions = 3 } route "q.example" { via = "smtp:" sessions = 3 }
route "p.example" { via = "smtp:" sources = { one, two } }"""

    def test_fifty_domains_one_after_the_other(self):
        server = self.serve()
        for domain in DOMAINS:
            self.ok(domain)
        self.assertEqual(self.loads(server), [50])
        self.assertEqual([m.recipients for m in server.messages], [["x@" + d] for d in DOMAINS])

    def test_fifty_domains_five_at_a_time(self):
        server = self.serve()
        server.script["END"] = [When("250 2.0.0 ok", lambda: len(server.received) >= 5), Late("250 2.0.0 ok", 0.05)]
        waiting = list(DOMAINS)
        for _ in range(5):
            domain = waiting.pop()
            self.remote.send("x@" + domain, nexthop=domain)
        for _ in DOMAINS:
            self.check(self.remote.result(), (RELAYED, "2.0.0", ""))
            if waiting:
                domain = waiting.pop()
                self.remote.send("x@" + domain, nexthop=domain)
        self.assertEqual(len(server.sessions), 5)
        self.assertEqual(sorted(m.recipients[0] for m in server.messages), sorted("x@" + d for d in DOMAINS))

    def test_it_goes_back_to_a_domain_that_had_it(self):
        server = self.serve()
        for _ in range(4):
            self.ok("d1.example")
            self.ok("d2.example")
        self.assertEqual(self.loads(server), [8])

    def test_a_domain_that_has_a_session_keeps_to_it(self):
        server = self.serve()
        server.script["END"] = When("250 2.0.0 ok", lambda: len(server.received) >= 2)
        self.remote.send("x@d1.example", nexthop="d1.example")
        self.remote.send("x@d2.example", nexthop="d2.example")
        for _ in range(2):
            self.check(self.remote.result(), (RELAYED, "2.0.0", ""))
        for _ in range(2):
            self.ok("d1.example")
            self.ok("d2.example")
        self.assertEqual(self.loads(server), [3, 3])

    def test_the_name_is_compared_without_case(self):
        self.names["d2.example"] = [(MX.upper(), "127.0.0.2")]
        server = self.serve()
        self.ok("d1.example")
        self.assertIn(MX.upper(), self.ok("d2.example").peer)
        self.assertEqual(self.loads(server), [2])

    def test_another_address_of_the_host(self):
        self.names["d1.example"] = [(MX, "127.0.0.3")]
        self.names["d2.example"] = [(MX, "127.0.0.2 127.0.0.3")]
        first, second = self.serve(), self.serve("127.0.0.3")
        self.ok("d1.example")
        self.assertEqual(self.ok("d2.example").peer, "%s[127.0.0.3]:%d" % (MX, self.remote.port))
        self.assertEqual((self.loads(first), self.loads(second)), ([], [2]))

    def test_the_second_host_when_the_first_is_away(self):
        for domain in "d1.example", "d2.example":
            self.names[domain] = [("away." + domain, "127.0.0.9"), (MX, "127.0.0.2")]
        server = self.serve()
        self.ok("d1.example")
        self.ok("d2.example")
        self.assertEqual(self.loads(server), [2])

    def test_the_better_host_comes_first(self):
        self.names["d1.example"] = [(MX, "127.0.0.2")]
        self.names["d2.example"] = [("best.example", "127.0.0.3"), (MX, "127.0.0.2")]
        worse, better = self.serve(), self.serve("127.0.0.3")
        self.ok("d1.example")
        self.ok("d2.example")
        self.assertEqual((self.loads(worse), self.loads(better)), ([1], [1]))

    # ---- not the same host

    def apart(self, first=None, second=None, server=None):
        """Each gets a connection of its own, and both stay open for their own mail."""
        server = server or self.serve()
        first, second = first or {}, second or {}
        for _ in range(2):
            self.ok("d1.example", **first)
            self.ok("d2.example", **second)
        self.assertEqual(self.loads(server), [2, 2])
        return server

    def test_another_name(self):
        self.names["d2.example"] = [("mx1.a.example", "127.0.0.2")]
        self.apart()

    def test_another_address(self):
        self.names["d2.example"] = [(MX, "127.0.0.3")]
        first, second = self.serve(), self.serve("127.0.0.3")
        self.ok("d1.example")
        self.ok("d2.example")
        self.assertEqual((self.loads(first), self.loads(second)), ([1], [1]))

    def test_a_hundred_addresses_of_one_name(self):
        server, chance = self.serve("0.0.0.0"), random.Random(1)
        addresses = ["127.%d.%d.%d" % tuple(chance.randrange(1, 255) for _ in range(3)) for _ in range(120)]
        for n, address in enumerate(addresses):
            self.names["n%d.example" % n] = [(MX, address)]
            self.ok("n%d.example" % n)
            self.assertEqual(server.sessions[-1].sock.getsockname()[0], address)
        self.assertEqual(len(server.sessions), len(addresses))

    def test_another_port(self):
        with Server("127.0.0.2") as other:
            server = self.serve()
            self.ok("d1.example", nexthop="d1.example:%d" % self.remote.port)
            self.ok("d2.example", nexthop="d2.example:%d" % other.port)
            self.assertEqual((self.loads(server), self.loads(other)), ([1], [1]))

    def test_a_host_in_brackets_that_may_be_ourselves(self):
        """Who is found by MX must not be (RFC 5321 5.1); who is named by a route may."""
        server = self.serve(name="mx.local.example")
        self.names[MX] = [(MX, "127.0.0.2")]
        self.ok("d1.example", nexthop="[%s]" % MX)
        self.check(self.remote.deliver("x@d2.example", nexthop="d2.example"), (FAILED, "5.4.6", "loops back to myself"))
        self.ok("d3.example", nexthop="d3.example:%d" % self.remote.port)
        self.check(self.remote.deliver("x@d4.example", nexthop="d4.example"), (FAILED, "5.4.6", "loops back to myself"))
        self.assertEqual(len(server.messages), 2)

    # ---- not the same way

    def test_another_route(self):
        self.apart(dict(route="r.example"), dict(route="q.example"))

    def test_a_route_and_none(self):
        self.apart(dict(route="r.example"))

    def test_the_same_route(self):
        server = self.serve()
        self.ok("d1.example", route="r.example")
        self.ok("d2.example", route="r.example")
        self.assertEqual(self.loads(server), [2])

    def test_another_source(self):
        self.apart(dict(route="p.example", source="one"), dict(route="p.example", source="two"))

    def test_the_same_source(self):
        server = self.serve()
        self.assertEqual(self.ok("d1.example", route="p.example", source="one").source, "one")
        self.assertEqual(self.ok("d2.example", route="p.example", source="one").source, "one")
        self.assertEqual(self.loads(server), [2])

    def test_another_policy_for_tls(self):
        self.apart(dict(tls="may"), dict(tls="none"))

    def test_lmtp(self):
        server = self.serve()
        hop = "[127.0.0.2]:%d" % self.remote.port
        self.ok("d1.example", nexthop=hop)
        self.check(self.remote.deliver("x@d2.example", nexthop=hop, transport="lmtp"), (DEFERRED, "4.5.2", "LHLO"), site_failed=1)
        self.assertEqual(len(server.sessions), 2)

    # ---- not room for more

    def test_the_number_of_messages_that_the_mail_allows(self):
        server = self.serve()
        self.ok("d1.example")
        self.ok("d1.example")
        self.ok("d2.example", session_messages=2)
        self.assertEqual(self.loads(server), [2, 1])
        self.ok("d3.example", session_messages=2)
        self.assertEqual(self.loads(server), [2, 2])
        host.wait_for(lambda: server.sessions[1].commands[-1] == "QUIT")
        self.ok("d4.example", session_messages=3)
        host.wait_for(lambda: server.sessions[0].commands[-1] == "QUIT")
        self.assertEqual(self.loads(server), [3, 2])

    def test_the_number_that_an_earlier_message_allowed(self):
        server = self.serve()
        self.ok("d1.example", session_messages=2)
        self.ok("d2.example", session_messages=9)
        self.ok("d3.example", session_messages=9)
        self.assertEqual(self.loads(server), [2, 1])

    def test_the_number_that_the_host_allows(self):
        server = self.serve(extensions=("PIPELINING", "LIMITS MAILMAX=3"))
        for domain in DOMAINS[:7]:
            self.ok(domain)
        self.assertEqual(self.loads(server), [3, 3, 1])

    def test_the_domains_that_the_host_allows(self):
        server = self.serve(extensions=("PIPELINING", "LIMITS RCPTDOMAINMAX=1"))
        self.apart(server=server)
        self.assertEqual([set(c for c in s.commands if c.startswith("RCPT")) for s in server.sessions],
                         [{"RCPT TO:<x@d1.example>"}, {"RCPT TO:<x@d2.example>"}])
        self.forget(server)
        server = self.serve(extensions=("PIPELINING", "LIMITS RCPTDOMAINMAX=2"))
        for domain in DOMAINS[:6]:
            self.ok(domain)
        self.assertEqual(self.loads(server), [2, 2, 2])
        self.remote.deliver("x@d4.example", nexthop="d5.example")  # a domain that it had already
        self.assertEqual(self.loads(server), [2, 2, 3])
        self.assertNotIn("QUIT", server.commands)

    # ---- what a host says of all that went before

    def test_a_refusal_that_is_for_the_others(self):
        """A host that counts messages, or domains, says so to whoever is next."""
        for step, reply in (("MAIL", "421 4.4.2 too many messages"), ("MAIL", "452 4.5.3 too many messages"), ("MAIL", "550 5.7.1 one domain a session"),
                            ("RCPT", "452 4.5.3 too many recipients"), ("RCPT", "550 5.7.1 one domain a session"), ("DATA", "451 4.3.0 that is enough")):
            for extensions in ((), ("PIPELINING",)):
                with self.subTest(reply, step=step, extensions=extensions):
                    good = "354 go ahead" if step == "DATA" else "250 ok"
                    server = self.serve(extensions=extensions, **{step: [good, good, reply]})
                    self.ok("d1.example")
                    self.ok("d1.example")
                    result = self.ok("d2.example")
                    self.assertEqual((result.said_at, result.said), (0, ""))
                    self.assertEqual(self.loads(server), [3, 1])
                    self.assertEqual([m.recipients for m in server.messages], [["x@d1.example"]] * 2 + [["x@d2.example"]])
                    self.forget(server)

    def test_a_refusal_that_is_meant(self):
        """The connection of its own gives it, too; its words are told, and the `reply` sections hear of it."""
        server = self.serve(steps={"RCPT <x@d2": "450 4.2.1 not now"})
        self.ok("d1.example")
        result = self.remote.deliver("x@d2.example", nexthop="d2.example")
        self.check(result, (DEFERRED, "4.2.1", "450 4.2.1 not now"))
        self.assertIn("not now", result.said)
        self.assertEqual(self.loads(server), [2, 1])

    def test_a_refusal_of_the_text_is_its_own(self):
        server = self.serve(END=["250 2.0.0 ok", "554 5.6.0 no"])
        self.ok("d1.example")
        self.check(self.remote.deliver("x@d2.example", nexthop="d2.example"), (FAILED, "5.6.0", "554 5.6.0 no"))
        self.assertEqual(self.loads(server), [2])

    def test_one_whose_host_refused_something(self):
        for step, reply, last in (("RCPT", "550 5.1.1 no", "RSET"), ("RCPT", "450 4.2.0 later", "RSET"), ("MAIL", "550 5.7.1 no", "DATA"), ("END", "554 5.6.0 no", "DATA")):
            script = {step: reply}
            server = self.serve(**script)
            self.assertNotEqual(self.remote.deliver("x@d1.example", nexthop="d1.example").outcomes[0].verdict, RELAYED)
            self.has_heard(server.sessions[0], last)  # the result comes before the session is free again
            server.script.clear()
            self.ok("d2.example")
            self.ok("d1.example")
            self.assertEqual(self.loads(server), [2, 1], script)
            self.forget(server)

    def test_one_without_a_message_so_far(self):
        """If it broke under its first one, that would count as the host's failure."""
        server = self.serve(END=[When("250 2.0.0 ok", lambda: len(server.sessions) == 2), "250 2.0.0 ok"])
        server.script["GREETING"] = ["220 mx ESMTP", When("220 mx ESMTP", lambda: len(server.messages) == 2)]
        for _ in range(2):
            self.remote.send("x@d1.example", nexthop="d1.example")
        for _ in range(2):
            self.check(self.remote.result(), (RELAYED, "2.0.0", ""))
        host.wait_for(lambda: len(server.sessions) == 2)
        self.has_heard(server.sessions[1], "EHLO")
        self.ok("d2.example")
        self.assertEqual(self.loads(server), [3, 0])

    def test_what_another_host_refused_does_not_count(self):
        self.names["d1.example"] = [("other.example", "127.0.0.3"), (MX, "127.0.0.2")]
        other, server = self.serve("127.0.0.3", MAIL="421 4.3.0 not now"), self.serve()
        self.ok("d1.example")
        self.ok("d2.example")
        self.assertEqual((self.loads(other), self.loads(server)), ([1], [2]))

    # ---- it breaks

    def test_one_that_the_host_closes_under_the_message(self):
        for action in (DROP, RESET, "421 4.4.2 idle too long"):
            self.breaks_under_the_message(action)

    def test_the_next_one_is_fresh_though_another_is_idle(self):
        server = self.serve(MAIL=["250 ok", DROP])
        server.script["END"] = When("250 2.0.0 ok", lambda: len(server.received) >= 2)
        for domain in "d1.example", "d2.example":
            self.remote.send("x@" + domain, nexthop=domain)
        for _ in range(2):
            self.check(self.remote.result(), (RELAYED, "2.0.0", ""))
        self.ok("d3.example")
        self.assertEqual(sorted(self.loads(server)), [1, 1, 2])
        self.assertEqual(len(server.messages), 3)

    def test_a_message_that_was_tried_elsewhere_gets_a_fresh_one(self):
        self.names["d1.example"] = [("mx1.example", "127.0.0.3")]
        self.names["d2.example"] = [(MX, "127.0.0.2"), ("mx1.example", "127.0.0.3")]
        second = self.serve("127.0.0.3")
        first = self.serve(GREETING=["220 mx ESMTP", When("220 mx ESMTP", lambda: len(second.messages) == 3)], MAIL="421 4.3.0 not now")
        self.ok("d1.example")
        for _ in range(2):
            self.remote.send("x@d2.example", nexthop="d2.example")
        for _ in range(2):
            self.check(self.remote.result(), (RELAYED, "2.0.0", ""))
        self.assertEqual(self.loads(first)[0], 1)
        self.assertEqual(self.loads(second), [1, 2])

    def test_one_that_the_host_closes_at_the_same_time(self):
        for _ in range(20):
            server = self.serve(END=Raw(b"250 2.0.0 ok\r\n", Late(DROP, 0.001)))
            self.ok("d1.example")
            self.remote.deliver("x@d2.example", nexthop="d2.example")
            self.assertEqual([m.recipients for m in server.received], [["x@d1.example"], ["x@d2.example"]])
            self.forget(server)

    def test_after_the_end_of_the_message_it_is_in_doubt(self):
        server = self.serve(END=["250 2.0.0 ok", DROP])
        self.ok("d1.example")
        self.check(self.remote.deliver("x@d2.example", nexthop="d2.example"), (IN_DOUBT, "4.4.2", "may have been taken"), site_failed=1)
        self.assertEqual(len(server.received), 2)

    def test_one_that_began_to_say_something(self):
        for more in (b"4", b"421-4.4.2 idle\r\n"):
            server = self.serve(END=[Raw(b"250 2.0.0 ok\r\n", Late(Raw(more), 0.1))])
            self.ok("d1.example")
            self.has_heard(server.sessions[0], "DATA")
            self.ok("d2.example")
            self.assertEqual(self.loads(server), [1, 1])
            self.forget(server)

    def test_one_that_ended_is_not_looked_for(self):
        with Remote('idle_timeout = "4s" ' + PATIENT) as remote, remote.server() as server:
            remote.names.table.update({d: [(MX, "127.0.0.2")] for d in DOMAINS})
            for _ in range(2):
                for domain in "d1.example", "d2.example":
                    self.check(remote.deliver(nexthop=domain), (RELAYED, "2.0.0", ""))
                host.wait_for(lambda: server.sessions[-1].commands[-1] == "QUIT")
            self.assertEqual(self.loads(server), [2, 2])


class Silent(Sharing, Base):
    settings = SETTINGS.replace('mail_timeout = "60s"', 'mail_timeout = "4s"')

    def test_one_whose_host_says_nothing_to_the_message(self):
        self.breaks_under_the_message(HANG)


class Apart(Sharing, Base):
    settings = SETTINGS + ' share_time = "0"'

    def test_each_domain_has_its_own(self):
        server = self.serve()
        for _ in range(2):
            for domain in DOMAINS[:3]:
                self.ok(domain)
        self.assertEqual(self.loads(server), [2, 2, 2])


class Young(Sharing, Base):
    settings = SETTINGS + ' share_time = "2s"'

    def test_an_old_connection_serves_its_own_domain_alone(self):
        server = self.serve()
        began = time.monotonic()
        for domain in DOMAINS:
            self.ok(domain)
            if len(server.sessions) > 1:
                break
            time.sleep(0.1)
        self.assertGreater(time.monotonic() - began, 2)
        self.assertEqual(len(server.sessions), 2)
        self.assertFalse(server.sessions[0].ended)

    def test_nor_does_one_that_has_grown_old_while_it_was_idle(self):
        server = self.serve()
        self.ok("d1.example")
        time.sleep(2.1)
        self.ok("d2.example")
        self.assertEqual(self.loads(server), [1, 1])


class OneCertificate(Sharing, Security):
    settings = SETTINGS
    rest = 'tls { authorities = "AUTHORITY" }'

    def pair(self, server, first, second, tls="dane", second_tls=None, **more):
        """Mail for d1.example, then for d2.example; before each, what is to be published. How many connections there were."""
        before = len(server.sessions)
        first()
        self.ok("d1.example", tls=tls, **more)
        second()
        result = self.ok("d2.example", tls=second_tls or tls, **more)
        self.security = result.security
        return len(server.sessions) - before

    def dane(self, *records, **more):
        return lambda: self.publish(*records, **more)

    def test_fifty_domains(self):
        key = "3 1 1 " + sum_of(self.made.key(self.made.alone))
        server = self.serve(certificate=self.made.alone)
        self.publish(key)
        for domain in DOMAINS:
            self.assertIn("TLSv1.3 ", self.ok(domain, tls="dane").security)
        self.assertEqual(self.loads(server), [50])
        self.assertEqual({m.secured for m in server.messages}, {"TLSv1.3"})

    def test_levels_that_are_the_same(self):
        fingerprint = "fingerprint:" + sum_of(self.made.der(self.made.signed))
        for tls, proof in (("may", "may, not verified"), ("encrypt", "encrypt, not verified"), ("verify", "verify, verified"), (fingerprint, "fingerprint, verified"),
                           ("dane", "may, not verified")):
            server = self.serve(certificate=self.made.signed)
            self.assertEqual(self.pair(server, self.dane(dane=frames.DANE_NONE), self.dane(dane=frames.DANE_NONE), tls), 1, tls)
            self.assertIn(proof, self.security)
            self.forget(server)

    def test_routes_that_demand_something_else(self):
        server = self.serve(certificate=self.made.signed)
        fingerprints = ["fingerprint:" + sum_of(self.made.der(self.made.signed)), "fingerprint:%s,%s" % (sum_of(self.made.der(self.made.signed)), "00" * 32)]
        policies = ["none", "may", "encrypt", "verify", *fingerprints]
        for n, tls in enumerate(policies):
            self.ok("d%d.example" % n, tls=tls)
        self.assertEqual(self.loads(server), [1] * len(policies))

    def test_tls_records_that_are_the_same(self):
        key = "3 1 1 " + sum_of(self.made.key(self.made.alone))
        server = self.serve(certificate=self.made.alone)
        self.assertEqual(self.pair(server, self.dane(key), self.dane(key)), 1)
        self.assertIn("dane, verified 3 1 1 of " + BASE, self.security)

    def test_other_records(self):
        """Each is proved by itself, and says nothing for the other."""
        key = "3 1 1 " + sum_of(self.made.key(self.made.alone))
        whole = "3 0 1 " + sum_of(self.made.der(self.made.alone))
        other = "3 1 1 " + "00" * 32
        for first, second in ((self.dane(key), self.dane(whole)), (self.dane(key), self.dane(key, other)), (self.dane(key, other), self.dane(key)),
                              (self.dane(key), self.dane(key, base="else.example"))):
            server = self.serve(certificate=self.made.alone)
            self.assertEqual(self.pair(server, first, second), 2)
            self.forget(server)

    def test_records_that_the_host_does_not_fit(self):
        server = self.serve(certificate=self.made.alone)
        self.publish("3 1 1 " + sum_of(self.made.key(self.made.alone)))
        self.ok("d1.example", tls="dane")
        self.publish("3 1 1 " + "00" * 32)
        self.check(self.remote.deliver("x@d2.example", nexthop="d2.example", tls="dane"), (DEFERRED, "4.7.5", "no matching DANE TLSA"), site_failed=1)
        self.publish(dane=frames.DANE_TROUBLE)
        self.assertEqual(self.remote.deliver("x@d2.example", nexthop="d2.example", tls="dane").outcomes[0].verdict, DEFERRED)
        self.assertEqual([m.recipients for m in server.messages], [["x@d1.example"]])

    def test_records_and_none(self):
        key = "3 1 1 " + sum_of(self.made.key(self.made.alone))
        none, unusable = self.dane(dane=frames.DANE_NONE), self.dane("1 1 1 " + "00" * 32)
        for first, second in ((none, self.dane(key)), (self.dane(key), none), (none, unusable), (unusable, none), (unusable, self.dane(key))):
            server = self.serve(certificate=self.made.alone)
            self.assertEqual(self.pair(server, first, second), 2)
            self.forget(server)

    def test_an_authority_that_is_named_may_have_signed_the_next_hop(self):
        authority = "2 1 1 " + sum_of(self.made.key(self.made.authority))
        server = self.serve(certificate=self.made.signed)
        self.assertEqual(self.pair(server, self.dane(authority), self.dane(authority)), 2)
        self.forget(server)
        server = self.serve(certificate=self.made.of_domain)
        self.publish(authority, "3 1 1 " + "00" * 32)
        self.ok("a.example", tls="dane")
        self.check(self.remote.deliver("x@d2.example", nexthop="d2.example", tls="dane"), (DEFERRED, "4.7.5", "certificate"), site_failed=1)
        self.assertEqual(len(server.messages), 1)

    # ---- MTA-STS

    def policy(self, **policies):
        for name, (mode, mx) in policies.items():
            self.remote.policies.table[name + ".example"] = mode, mx
        self.addCleanup(self.remote.policies.table.clear)
        self.publish(dane=frames.DANE_NONE)

    def sts(self, server, d1, d2):
        self.remote.policies.table.clear()
        self.policy(d1=d1, d2=d2)
        return self.pair(server, lambda: None, lambda: None)

    def test_policies_that_both_name_the_host(self):
        server = self.serve(certificate=self.made.signed)
        self.assertEqual(self.sts(server, (frames.STS_ENFORCE, BASE), (frames.STS_ENFORCE, "*.a.example")), 1)
        self.assertIn("sts, verified", self.security)

    def test_a_policy_that_names_another_host(self):
        server = self.serve(certificate=self.made.signed)
        self.policy(d1=(frames.STS_ENFORCE, BASE), d2=(frames.STS_ENFORCE, "elsewhere.example"))
        self.ok("d1.example", tls="dane")
        self.check(self.remote.deliver("x@d2.example", nexthop="d2.example", tls="dane"), (DEFERRED, "4.7.5", "not among the hosts of the domain's MTA-STS policy"))
        self.assertEqual(len(server.messages), 1)

    def test_a_host_before_it_that_the_policy_does_not_name(self):
        """... is the domain's fault, and the one that took the message has none."""
        self.names["d2.example"] = [("other.example", "127.0.0.3"), (BASE, "127.0.0.2")]
        server = self.serve(certificate=self.made.signed)
        self.policy(d1=(frames.STS_ENFORCE, BASE), d2=(frames.STS_ENFORCE, BASE))
        self.ok("d1.example", tls="dane")
        self.assertEqual(self.ok("d2.example", tls="dane").own, 0)
        self.assertEqual(self.loads(server), [2])

    def test_a_policy_and_none(self):
        enforce, testing, none = (frames.STS_ENFORCE, BASE), (frames.STS_TESTING, BASE), (frames.STS_NONE, "")
        for first in (enforce, testing, none):
            for second in (enforce, testing, none):
                server = self.serve(certificate=self.made.signed)
                self.assertEqual(self.sts(server, first, second), 1 if first == second else 2, (first, second))
                self.forget(server)

    # ---- what was not had

    def test_one_that_fell_back_to_plain(self):
        """The next domain tries TLS for itself."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.made.alone)
        for script in (dict(STARTTLS="454 4.7.0 not now"), dict(STARTTLS=DROP)):
            server = self.serve(context=context, **script)
            self.ok("d1.example", tls="may")
            self.assertIsNone(server.messages[0].secured)
            del server.script["STARTTLS"]
            self.ok("d2.example", tls="may")
            self.assertEqual(server.messages[1].secured, "TLSv1.3", script)
            self.forget(server)

    def test_one_that_is_free_when_tls_has_failed(self):
        server, told = self.serve(certificate=self.made.alone), []
        server.script["END"] = [When("250 2.0.0 ok", lambda: len(server.sessions) == 2 and "STARTTLS" in server.sessions[1].commands), "250 2.0.0 ok"]
        self.remote.send("x@d1.example", nexthop="d1.example", tls="may")
        host.wait_for(lambda: server.received)
        server.script["STARTTLS"] = When(DROP, lambda: told)
        self.remote.send("x@d2.example", nexthop="d2.example", tls="may")
        for _ in range(2):
            told.append(self.remote.result())
            self.check(told[-1], (RELAYED, "2.0.0", ""))
        self.ok("d3.example", tls="may")
        self.assertEqual(self.loads(server), [3, 0])
        self.assertEqual({m.secured for m in server.messages}, {"TLSv1.3"})

    def test_one_without_tls(self):
        server = self.serve()
        self.assertEqual(self.pair(server, lambda: None, lambda: None, "may"), 1)
        self.check(self.remote.deliver("x@d3.example", nexthop="d3.example", tls="encrypt"), (DEFERRED, "4.7.4", "TLS is required"), site_failed=1)

    # ---- REQUIRETLS

    def test_required_tls(self):
        plain = self.remote.names.answer
        self.addCleanup(setattr, self.remote.names, "answer", plain)
        self.remote.names.answer = lambda name: dict(plain(name), secure=name != "d4.example")
        required = dict(tls="verify", flags=frames.ENVELOPE_REQUIRETLS)
        server = self.serve(certificate=self.made.signed, extensions=("PIPELINING", "REQUIRETLS"))
        self.ok("d1.example", tls="verify")
        self.ok("d2.example", **required)
        self.assertEqual(self.loads(server), [1, 1])
        self.ok("d3.example", **required)
        self.assertEqual(self.loads(server), [1, 2])

    def test_required_tls_where_the_host_is_not_proved_to_be_the_next_hops(self):
        plain = self.remote.names.answer
        self.addCleanup(setattr, self.remote.names, "answer", plain)
        self.remote.names.answer = lambda name: dict(plain(name), secure=name == "d1.example")
        required = dict(tls="may", flags=frames.ENVELOPE_REQUIRETLS)
        server = self.serve(certificate=self.made.signed, extensions=("PIPELINING", "REQUIRETLS"))
        self.ok("d1.example", **required)
        self.check(self.remote.deliver("x@d2.example", nexthop="d2.example", **required), (FAILED, "5.7.10", "DNSSEC does not prove"))
        self.assertEqual(len(server.messages), 1)

    def test_tls_that_its_sender_does_not_require(self):
        server = self.serve(certificate=self.made.alone)
        self.publish(dane=frames.DANE_NONE)
        self.ok("d1.example", tls="dane", flags=frames.ENVELOPE_TLS_OPTIONAL)
        self.ok("d2.example", tls="dane")
        self.ok("d3.example", tls="dane", flags=frames.ENVELOPE_TLS_OPTIONAL)
        self.assertEqual(self.loads(server), [2, 1])

    def test_tls_from_the_first_byte(self):
        hop = "[%s]:%d" % (BASE, self.remote.port)
        self.names[BASE] = [(BASE, "127.0.0.2")]
        server = self.serve(certificate=self.made.signed)
        self.ok("d1.example", nexthop=hop, tls="verify")
        self.check(self.remote.deliver("x@d2.example", nexthop=hop, tls="verify", transport="smtps"), (DEFERRED, "4.7.5", "TLS from the first byte"), site_failed=1)
        self.assertEqual(len(server.messages), 1)


class Told(Sharing, Noticed):
    """Reports (RFC 8460): a domain's count is of the sessions that its mail had, by its own policy."""
    settings = SETTINGS

    def told(self, certificate, *policies, dane=frames.DANE_NONE):
        """Of d0.example, d1.example ... with these MTA-STS policies, over one session."""
        del self.remote.policies.told[:]
        self.publish(dane=dane)
        self.addCleanup(self.remote.policies.table.clear)
        server = self.serve(certificate=certificate)
        for n, policy in enumerate(policies):
            self.remote.policies.table["d%d.example" % n] = policy
            self.ok("d%d.example" % n, tls="dane")
        self.assertEqual(self.loads(server), [len(policies)])
        host.wait_for(lambda: len(self.remote.policies.told) >= len(policies))
        self.forget(server)
        return [(m.domain, m.policy, m.result, m.count) for m in self.remote.policies.told]

    def test_success(self):
        none = frames.STS_NONE, ""
        self.assertEqual(self.told(self.made.alone, none, none), [("d%d.example" % n, frames.TLS_POLICY_NONE, frames.TLS_SUCCESS, 1) for n in range(2)])
        enforced = frames.STS_ENFORCE, BASE
        self.assertEqual(self.told(self.made.signed, enforced, enforced), [("d%d.example" % n, frames.TLS_POLICY_STS, frames.TLS_SUCCESS, 1) for n in range(2)])

    def test_no_tls(self):
        none = frames.STS_NONE, ""
        self.assertEqual(self.told(None, none, none), [("d%d.example" % n, frames.TLS_POLICY_NONE, frames.TLS_STARTTLS_NOT_SUPPORTED, 1) for n in range(2)])

    def test_a_policy_for_tests_is_its_own(self):
        good, bad = (frames.STS_TESTING, BASE), (frames.STS_TESTING, "elsewhere.example")
        self.assertEqual(self.told(self.made.signed, good, bad), [("d0.example", frames.TLS_POLICY_STS, frames.TLS_SUCCESS, 1),
                                                                 ("d1.example", frames.TLS_POLICY_STS, frames.TLS_VALIDATION_FAILURE, 1)])


@needs_root
class Whole(unittest.TestCase):
    """All of Postino: qmgr's limits hold, and most messages of a provider's domains go over few connections."""

    def test_fifty_domains(self):
        world = self.enterContext(World())
        world.name_server({"example": "mx A 192.0.2.2\n" + "\n".join("d%d MX 10 mx" % i for i in range(50))})
        server = world.server("192.0.2.2", END=Late("250 2.0.0 ok", 0.02))
        sender = world.postino('queue { site_sessions = 4 } remote { session_messages = 40 idle_timeout = 60s }')
        for i in range(200):
            sender.sendmail("x%d@d%d.example" % (i, i % 50))
        host.wait_for(lambda: len(server.messages) == 200, 120)
        self.assertEqual(sorted(m.recipients[0] for m in server.messages), sorted("x%d@d%d.example" % (i, i % 50) for i in range(200)))
        loads = [sum(c.startswith("MAIL") for c in s.commands) for s in server.sessions]
        self.assertLessEqual(len(loads), 20, loads)
        self.assertLessEqual(max(loads), 40)
        self.assertEqual(sum(loads), 200)


if __name__ == "__main__":
    unittest.main()
