"""dns { trust_ad }: a resolver on loopback that validates is believed; all others are not even taken. With a script in its place (nameserver.py), and with Debian's
unbound over a tree of signed and broken zones."""
import os
import socket
import struct
import tempfile
import threading
import time
import unittest

from driven import Driven, settings_slice
from frames import DANE_NONE, DANE_RECORDS, DANE_TROUBLE, DANE_UNASKED, RESOLVE_ADDRESSES, RESOLVE_DEFERRED, RESOLVE_FAILED, RESOLVE_MX, RESOLVE_OK, RESOLVE_TLSA
from host import free_port, wait_for
from nameserver import A, AAAA, MX, NXDOMAIN, OPT, SERVFAIL, TLSA, NameServer, Record, Reply, a, mx, soa
from netns import needs_root
from test_dns_zones import HOST, Signed

BOTH = RESOLVE_MX | RESOLVE_ADDRESSES
ALL = BOTH | RESOLVE_TLSA
PROVED, NOT_PROVED = 0x81A0, 0x8180  # QR, RD, RA; AD
TIMEOUT, PATIENT = 5, 30  # seconds; of those that hang, and of all others


class Script(unittest.TestCase):
    def setUp(self):
        self.flags, self.seen = PROVED, []
        self.script = self.usual
        self.server = NameServer(lambda asked: self.seen.append(asked) or self.script(asked))
        self.addCleanup(self.server.close)
        self.dns = self.driven()

    def driven(self, servers=None, timeout=PATIENT):
        servers = servers or '"127.0.0.1@%d"' % self.server.port
        dns = Driven("dns", "dns { server = { %s }\n trust_ad = yes\n timeout = %ds }" % (servers, timeout), edges=("qmgr", "remote"))
        self.addCleanup(dns.close)
        return dns

    @staticmethod
    def hang_up():
        raise ConnectionResetError()

    def usual(self, asked):
        if asked.type == MX:
            return Reply(mx(asked.name, 10, "mx.example"), flags=self.flags)
        if asked.type == A:
            return Reply(a(asked.name), flags=self.flags)
        if asked.type == TLSA:
            return Reply(Record(asked.name, TLSA, 60, b"\3\1\1" + b"\x11" * 32), flags=self.flags)
        return Reply(authority=[soa()], flags=self.flags)

    def resolve(self, name="a.example", want=ALL, dns=None):
        return (dns or self.dns).edges["qmgr"].ask("RESOLVE", name=name, want=want, port=25, timeout=2 * PATIENT)

    def is_right(self, dns=None):
        answer = self.resolve(dns=dns)
        self.assertEqual((answer.verdict, answer.secure), (RESOLVE_OK, 1), answer)
        [h] = answer.hosts
        self.assertEqual((h.name, h.addresses, h.dane, h.base, h.tlsa), ("mx.example", "192.0.2.1", DANE_RECORDS, "mx.example", "3 1 1 " + "11" * 32))

    def deferred(self, words, **more):
        began = time.monotonic()
        answer = self.resolve(**more)
        self.assertEqual((answer.verdict, answer.status), (RESOLVE_DEFERRED, "4.4.3"), answer)
        self.assertIn(words, answer.reason)
        return time.monotonic() - began

    def test_the_ad_bit_is_believed(self):
        self.is_right()

    def test_without_it_nothing_is_proved(self):
        self.flags = NOT_PROVED
        answer = self.resolve()
        self.assertEqual((answer.verdict, answer.secure, answer.hosts[0].dane), (RESOLVE_OK, 0, DANE_UNASKED))

    def test_each_answer_counts_by_itself(self):
        proved = {MX, A, AAAA}
        self.script = lambda asked: setattr(self, "flags", PROVED if asked.type in proved else NOT_PROVED) or self.usual(asked)
        self.assertEqual(self.resolve().hosts[0].dane, DANE_NONE)  # the TLSA record is not proved
        proved = {MX, TLSA}
        self.assertEqual(self.resolve().hosts[0].dane, DANE_NONE)  # the address is not

    def test_what_is_asked(self):
        """RD, AD and DO, a number of its own for each, and no question twice"""
        self.is_right()
        self.assertEqual(sorted(asked.type for asked in self.seen), [A, MX, AAAA, TLSA])
        for asked in self.seen:
            self.assertEqual(asked.packet[2:12], b"\x01\x20\0\1\0\0\0\0\0\1")
            self.assertEqual(asked.packet[-11:], struct.pack(">BHHIH", 0, OPT, 1232, 0x8000, 0))
        for _ in range(30):
            self.is_right()
        self.assertGreater(len({asked.id for asked in self.seen}), 100)

    def test_equal_questions_at_once_are_one(self):
        channel = self.dns.edges["qmgr"]
        self.script = lambda asked: time.sleep(0.2) or self.usual(asked)
        for _ in range(500):
            channel.send("RESOLVE", name="a.example", want=ALL, port=25)
        self.assertEqual({channel.receive().secure for _ in range(500)}, {1})
        self.assertEqual(self.server.total(), 4)

    def test_servfail_is_temporary_and_for_tlsa_trouble(self):
        self.script = lambda asked: Reply(rcode=SERVFAIL, flags=self.flags) if asked.type == TLSA else self.usual(asked)
        self.assertEqual(self.resolve().hosts[0].dane, DANE_TROUBLE)
        self.script = lambda asked: Reply(rcode=SERVFAIL, flags=self.flags)
        self.deferred("SERVFAIL")

    def test_nxdomain_is_final(self):
        self.script = lambda asked: Reply(rcode=NXDOMAIN, authority=[soa()], flags=self.flags)
        answer = self.resolve()
        self.assertEqual((answer.verdict, answer.status), (RESOLVE_FAILED, "5.1.2"))

    def test_what_is_truncated_is_asked_over_tcp(self):
        self.script = lambda asked: Reply(*(mx(asked.name, i, "mx%d.example" % i) for i in range(300)), flags=self.flags) if asked.type == MX else self.usual(asked)
        answer = self.resolve()
        self.assertEqual((answer.secure, [h.name for h in answer.hosts]), (1, ["mx%d.example" % i for i in range(20)]))
        self.assertIn(self.server.tcp, (1, 2))  # its patience ends after two seconds

    def test_truncated_for_ever_and_tcp_that_hangs_up_or_is_silent(self):
        self.dns = self.driven(timeout=TIMEOUT)
        self.script = lambda asked: Reply(flags=self.flags | 0x200)
        self.deferred("malformed answer")
        self.script = lambda asked: Reply(flags=self.flags | 0x200) if not asked.tcp else None
        self.assertLess(self.deferred("no answer in time", name="b.example"), 4 * TIMEOUT)
        self.script = lambda asked: Reply(flags=self.flags | 0x200) if not asked.tcp else self.hang_up()
        self.deferred("", name="c.example")
        self.script = self.usual
        self.is_right()

    def test_a_resolver_whose_tcp_is_shut_is_not_asked_without_end(self):
        udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(udp.close)
        udp.bind(("127.0.0.1", free_port()))  # none to which a late answer to somebody who is gone may come
        count = [0]

        def answer():
            while True:
                try:
                    packet, peer = udp.recvfrom(4096)
                except OSError:
                    return
                count[0] += 1
                question = packet[12:packet.index(b"\0", 12) + 5]
                udp.sendto(packet[:2] + struct.pack(">HHHHH", PROVED | 0x0200, 1, 0, 0, 0) + question, peer)
        threading.Thread(target=answer, daemon=True).start()
        dns = self.driven('"127.0.0.1@%d"' % udp.getsockname()[1])
        self.deferred("the resolver hangs up", dns=dns)
        self.assertLess(count[0], 20)

    def test_what_does_not_answer_the_question_is_not_looked_at(self):
        lies = (lambda asked: Reply(mx(asked.name, 1, "evil.example"), id=asked.id ^ 1, flags=self.flags), lambda asked: b"", lambda asked: b"x" * 4096, lambda asked: asked.packet,
                lambda asked: Reply(mx("b.example", 1, "evil.example"), question=b"\1b\7example\0" + struct.pack(">HH", asked.type, 1), flags=self.flags),
                lambda asked: Reply(mx(asked.name, 1, "evil.example"), question=b"\1a\7example\0" + struct.pack(">HH", A if asked.type == MX else MX, 1), flags=self.flags),
                lambda asked: Reply(counts=(0, 0, 0, 0), question=b"", flags=self.flags))
        self.script = lambda asked: [lie(asked) for lie in lies] + [self.usual(asked)]
        self.is_right()

    def test_a_lost_question_is_asked_again(self):
        lost = set()
        self.script = lambda asked: self.usual(asked) if (asked.name, asked.type) in lost else lost.add((asked.name, asked.type))
        answer = self.resolve(want=RESOLVE_MX)
        self.assertEqual(answer.hosts[0].name, "mx.example")

    def test_a_silent_resolver_is_temporary(self):
        self.script = lambda asked: None
        self.assertLess(self.deferred("no answer in time", dns=self.driven(timeout=TIMEOUT)), 4 * TIMEOUT)
        self.assertLess(self.server.total(), 4)

    def test_the_next_server_is_asked(self):
        self.is_right(self.driven('"127.0.0.1@%d", "127.0.0.1@%d"' % (free_port(), self.server.port)))
        with NameServer(lambda asked: None) as silent:
            dns = self.driven('"127.0.0.1@%d", "127.0.0.1@%d"' % (silent.port, self.server.port))
            for _ in range(10):
                self.is_right(dns)
            self.assertLess(silent.total(), 5)  # of 40: the one that answers comes first from now on

    def test_no_resolver_is_temporary_at_once(self):
        dns = self.driven('"127.0.0.1@%d", "127.0.0.1@%d"' % (free_port(), free_port()))
        self.assertLess(self.deferred("Connection refused", dns=dns), PATIENT - 5)

    def test_names_that_can_not_be_are_final(self):
        for name in (".".join(["x" * 63] * 3 + ["y" * 62]), "x" * 64 + ".example"):
            self.assertEqual(self.resolve(name).status, "5.1.2")

    def test_three_thousand_silent_names(self):
        self.script = lambda asked: self.usual(asked) if asked.name == "a.example" or asked.name.endswith("mx.example") else None
        dns = self.driven(timeout=TIMEOUT)
        channel = dns.edges["remote"]
        for i in range(3000):
            channel.send("RESOLVE", name="n%d.example" % i, want=RESOLVE_MX)
        self.assertEqual({channel.receive().verdict for _ in range(3000)}, {RESOLVE_DEFERRED})
        self.is_right(dns)
        self.assertLess(len(os.listdir("/proc/%d/fd" % dns.process.pid)), 40)


class Settings(unittest.TestCase):
    def test_only_resolvers_on_loopback_are_believed(self):
        for servers in ('"127.0.0.1"', '"127.0.0.53@5353"', '"::1"', '"127.255.255.254", "::1@54"'):
            settings_slice("dns { server = { %s } trust_ad = yes }" % servers, "D")
        for servers in ('"192.0.2.1"', '"127.0.0.1", "192.0.2.1@53"', '"::ffff:127.0.0.1"', '"::2"', '"128.0.0.1"', '"0.0.0.0"'):
            with self.assertRaisesRegex(AssertionError, "not on loopback"):
                settings_slice("dns { server = { %s } trust_ad = yes }" % servers, "D")
        for servers in ("", 'server = "recursive"'):
            with self.assertRaisesRegex(AssertionError, "believes a resolver on this host"):
                settings_slice("dns { %s trust_ad = yes }" % servers, "D")


@needs_root
class Unbound(Signed):
    """Debian's unbound on 127.0.0.1 validates."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.directory = cls.enterClassContext(tempfile.TemporaryDirectory(prefix="postino-unbound-"))
        config = os.path.join(cls.directory, "unbound.conf")
        with open(config, "w", encoding="ascii") as f:
            f.write('server:\n username: ""\n chroot: ""\n directory: "%s"\n pidfile: ""\n use-syslog: no\n do-daemonize: no\n interface: 127.0.0.1\n trust-anchor-file: "%s"\n'
                    ' num-threads: 1\n do-ip6: no\nremote-control:\n control-enable: no\n' % (cls.directory, cls.tree.anchor))
        with open(os.path.join(cls.directory, "log"), "w", encoding="ascii") as log:
            cls.world.start("unbound", "-d", "-p", "-c", config, where=cls.world.near, stdout=log, stderr=log)
        cls.world.names = 'dns { server = "127.0.0.1" trust_ad = yes timeout = 30s }\n'
        cls.dns = cls.world.driven("dns", edges=["qmgr"])
        wait_for(lambda: cls.resolve("good.example").verdict == RESOLVE_OK, 60)
        cls.host = cls.world.postino("remote { loopback = no connect_timeout = 3s idle_timeout = 0s }")

    @classmethod
    def resolve(cls, name):
        return cls.dns.edges["qmgr"].ask("RESOLVE", name=name, want=ALL, port=25, timeout=60)

    def test_answers(self):
        for name, secure, dane in (("good.example", 1, DANE_RECORDS), ("good.three", 1, DANE_RECORDS), ("notlsa.good.example", 1, DANE_NONE), ("unsigned.example", 0, DANE_UNASKED),
                                   ("below.good.example", 1, DANE_RECORDS), ("bare.good.example", 1, DANE_NONE), ("to.good.example", 0, DANE_UNASKED),
                                   ("tlsaforged.example", 1, DANE_TROUBLE), ("tlsagone.example", 1, DANE_TROUBLE), ("nonsec3.three", 1, DANE_TROUBLE)):
            answer = self.resolve(name)
            self.assertEqual((answer.verdict, answer.secure, [h.dane for h in answer.hosts]), (RESOLVE_OK, secure, [dane]), (name, answer))
        for name in ("expired.example", "wrong.example", "stripped.example", "mxnosig.example", "aforged.example", "gone.nonsec3.three"):
            self.assertEqual(self.resolve(name).verdict, RESOLVE_DEFERRED, name)
        for name in ("gone.good.example", "gone.three"):
            self.assertEqual(self.resolve(name).status, "5.1.2", name)

    def test_mail_and_postino_site(self):
        for recipient, pattern in (("x@good.example", r"dane, verified 3 1 1.*status=sent"), ("x@unsigned.example", r"may, not verified.*status=sent"),
                                   ("x@tlsagone.example", r"status=deferred"), ("x@expired.example", r"dsn=4\.4\.3.*status=deferred")):
            self.host.sendmail(recipient)
            self.host.wait_log("to=<%s> .*%s" % (recipient, pattern))
        self.assertRegex(self.host.tool("postino", "site", "good.example").stdout, r"(?s)proved by DNSSEC, in.*%s.*mail goes by dane" % HOST)


if __name__ == "__main__":
    unittest.main(verbosity=2)
