"""postino-dns against a real name server (NSD) on a loopback port: what it says of a next hop, and of a client's address."""
import collections
import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import unittest

from driven import Driven
from frames import Closed, DANE_NONE, DANE_RECORDS, DANE_TROUBLE, DANE_UNASKED, RESOLVE_ADDRESSES, RESOLVE_DEFERRED, RESOLVE_FAILED, RESOLVE_MX, RESOLVE_OK, RESOLVE_TLSA
from host import free_port, wait_for

BOTH = RESOLVE_MX | RESOLVE_ADDRESSES
SOA = "@ 60 IN SOA ns.%s. admin.%s. 1 60 60 60 60\n@ 60 IN NS ns.%s.\n"
ZONES = {
    "good.example": """
@       MX 20 mx2
@       MX 10 mx1
@       MX 30 mx3.good.example.
mx1     A 192.0.2.1
mx1     AAAA 2001:db8::1
mx2     A 192.0.2.2
mx2     A 192.0.2.22
mx3     AAAA 2001:db8::3
equal   MX 5 a.equal
equal   MX 5 b.equal
equal   MX 5 c.equal
equal   MX 9 last.equal
*.equal A 192.0.2.9
null    MX 0 .
nomx    A 192.0.2.4
empty   TXT "neither MX nor address"
_text   TXT "v=STSv1; " "id=1;" "%s"
alias   CNAME good.example.
aliasmx MX 10 viaalias
viaalias CNAME mx1
literal MX 10 192.0.2.5.
literal MX 20 mx1
onlyliteral MX 10 192.0.2.5.
partly  MX 10 gone
partly  MX 20 mx2
lost    MX 10 gone
lost    MX 20 gone2
dead    MX 10 mx.unreachable.example.
half    MX 10 mx.unreachable.example.
half    MX 20 mx2
dup     MX 20 mx1
dup     MX 10 mx1
us      MX 20 mx.local.example.
us      MX 10 mx1
us      MX 20 mx2
us      MX 30 mx3
onlyus  MX 10 mx.local.example.
xn--bcher-kva MX 10 mx1
loop    CNAME loop2
loop2   CNAME loop
""" % ("x" * 250),
    "2.0.192.in-addr.arpa": """
1   PTR mx1.good.example.
2   PTR mx1.good.example.
3   PTR gone.good.example.
4   PTR evil\\013\\010name.good.example.
5   PTR 192.0.2.5.
6   PTR gone.good.example.
6   PTR six.many.example.
""",
    "8.b.d.0.1.0.0.2.ip6.arpa": "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0 PTR mx1.good.example.\n",
    "dane.example": """
@       MX 10 has
@       MX 20 none
@       MX 30 outside.many.example.
has     A 192.0.2.31
has     AAAA 2001:db8::31
none    A 192.0.2.32
there   MX 10 alias
alias   CNAME target
target  A 192.0.2.33
here    MX 10 ownalias
ownalias CNAME plain
plain   A 192.0.2.34
away    MX 10 awayalias
awayalias CNAME six.many.example.
forged  MX 10 hidden
hidden  A 192.0.2.35
huge    A 192.0.2.36
nomx    A 192.0.2.37
_25._tcp.has TLSA 3 1 1 %s
_25._tcp.has TLSA 2 0 1 %s
_2525._tcp.has TLSA 3 1 2 %s
_25._tcp.target TLSA 3 1 1 %s
_25._tcp.ownalias TLSA 3 1 1 %s
_25._tcp.awayalias TLSA 3 1 1 %s
_25._tcp.hidden TLSA 3 1 1 %s
_25._tcp.nomx TLSA 3 1 1 %s
""" % ("11" * 32, "22" * 32, "33" * 64, "44" * 32, "55" * 32, "66" * 32, "ab" * 32, "77" * 32) +
    "".join("_25._tcp.huge TLSA 3 0 0 %s\n" % ("%02x" % i * 1900) for i in range(20)),
    "many.example": "outside A 192.0.2.38\n_25._tcp.outside TLSA 3 1 1 %s\nsigned MX 10 has.dane.example.\n" % ("88" * 32) + "six A 192.0.2.6\n" + "".join("@ MX 10 h%d\nh%d A 192.0.2.%d\n" % (i, i, i + 1) for i in range(60)),
}


class NameServer:
    """`signed`: zones that are signed (DNSSEC); `anchor` is then a file with their keys."""

    def __init__(self, port=None, signed=()):
        self.directory = tempfile.mkdtemp(prefix="postino-nsd.")
        self.port = port or free_port()
        self.anchor = os.path.join(self.directory, "anchor")
        for name, text in ZONES.items():
            with open(os.path.join(self.directory, name), "w", encoding="ascii") as file:
                file.write("$ORIGIN %s.\n$TTL 60\n" % name + SOA % (name, name, name) + "ns 60 IN A 127.0.0.1\n" + text)
        for name in signed:
            self.sign(name)
        lines = ["server:", "  ip-address: 127.0.0.1", "  port: %d" % self.port, "  username: \"\"", "  chroot: \"\"", "  zonesdir: \"%s\"" % self.directory,
                 "  pidfile: \"\"", "  database: \"\"", "  server-count: 1", "  rrl-ratelimit: 0",
                 "  xfrdfile: \"%s/xfrd\"" % self.directory, "  zonelistfile: \"%s/zonelist\"" % self.directory,
                 "  cookie-secret-file: \"%s/cookie\"" % self.directory, "remote-control:", "  control-enable: no"]
        for name in ZONES:
            lines += ["zone:", "  name: %s" % name, "  zonefile: %s" % name]
        config = os.path.join(self.directory, "nsd.conf")
        with open(config, "w", encoding="ascii") as file:
            file.write("\n".join(lines) + "\n")
        self.log = open(os.path.join(self.directory, "log"), "w+", encoding="ascii", errors="replace")
        self.process = subprocess.Popen(["nsd", "-d", "-c", config], stdout=self.log, stderr=self.log)
        try:
            wait_for(self.up, 60)
        except AssertionError:
            self.log.seek(0)
            raise AssertionError("nsd did not start: " + self.log.read()) from None

    def sign(self, name):
        """Signs a zone, and then changes a signed record of it behind the signature's back."""
        key = subprocess.run(["ldns-keygen", "-k", "-a", "ECDSAP256SHA256", name], cwd=self.directory, check=True, stdout=subprocess.PIPE).stdout.decode().strip()
        subprocess.run(["ldns-signzone", "-f", name + ".signed", name, key], cwd=self.directory, check=True)
        with open(os.path.join(self.directory, name + ".signed"), encoding="ascii") as file:
            text = file.read()
        forgeries = {"192.0.2.22": "192.0.2.23", "ab" * 32: "ac" * 32}
        assert any(true in text for true in forgeries)
        for true, false in forgeries.items():
            text = text.replace(true, false)
        with open(os.path.join(self.directory, name), "w", encoding="ascii") as file:
            file.write(text)
        with open(os.path.join(self.directory, key + ".key"), encoding="ascii") as file, open(self.anchor, "a", encoding="ascii") as anchor:
            anchor.write(file.read())

    def up(self):
        """nsd answers"""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(0.2)
            try:
                s.sendto(b"\0\1\1\0\0\1\0\0\0\0\0\0\4good\7example\0\0\6\0\1", ("127.0.0.1", self.port))
                return len(s.recv(512)) > 12
            except OSError:
                return False

    def close(self):
        self.process.terminate()
        self.process.wait()
        self.log.close()
        shutil.rmtree(self.directory)


class FakeServer:
    """Answers every question with one rcode, or not at all (None); counts them."""

    def __init__(self, rcode):
        self.rcode, self.seen = rcode, collections.Counter()
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.port = free_port()  # none to which a late answer to somebody who is gone may come
        self.socket.bind(("127.0.0.1", self.port))
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while True:
            packet, peer = self.socket.recvfrom(4096)
            if not packet:  # it is shut down
                return
            self.seen[packet[12:]] += 1
            if self.rcode is not None:
                self.socket.sendto(packet[:2] + bytes([0x81, 0x80 | self.rcode]) + packet[4:], peer)

    def close(self):
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.thread.join(5)
        self.socket.close()


def names(answer):
    return [host.name for host in answer.hosts]


def dns(port, more="", timeout=20):
    return Driven("dns", 'dns { server = "127.0.0.1@%d"\n timeout = %ds\n %s }' % (port, timeout, more), edges=("qmgr", "route"))


class Resolving(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = NameServer()
        cls.dns = dns(cls.server.port)

    @classmethod
    def tearDownClass(cls):
        cls.dns.close()
        cls.server.close()

    def resolve(self, name, want=BOTH):
        return self.dns.edges["qmgr"].ask("RESOLVE", name=name, want=want)

    def named(self, address):
        return self.dns.edges["route"].ask("NAME", address=address)["name"]

    def failed(self, name, status, words, verdict=RESOLVE_FAILED):
        answer = self.resolve(name)
        self.assertEqual((answer.verdict, answer.status), (verdict, status), answer)
        self.assertIn(words, answer.reason)
        self.assertEqual(answer.hosts, [])

    def test_hosts_come_by_preference_with_all_their_addresses(self):
        answer = self.resolve("Good.Example.")
        self.assertEqual(answer.verdict, RESOLVE_OK, answer)
        self.assertEqual([(h.preference, h.name) for h in answer.hosts], [(10, "mx1.good.example"), (20, "mx2.good.example"), (30, "mx3.good.example")])
        self.assertEqual(answer.hosts[0].addresses, "2001:db8::1 192.0.2.1")
        self.assertEqual(sorted(answer.hosts[1].addresses.split()), ["192.0.2.2", "192.0.2.22"])
        self.assertEqual(answer.hosts[2].addresses, "2001:db8::3")

    def test_without_addresses_wanted_there_are_none(self):
        answer = self.resolve("good.example", RESOLVE_MX)
        self.assertEqual(names(answer), ["mx1.good.example", "mx2.good.example", "mx3.good.example"])
        self.assertEqual([h.addresses for h in answer.hosts], ["", "", ""])

    def test_equal_preferences_are_shuffled_evenly(self):
        seen = collections.Counter()
        rounds = 1200
        for _ in range(rounds):
            hosts = names(self.resolve("equal.good.example", RESOLVE_MX))
            self.assertEqual(hosts[3], "last.equal.good.example")
            seen[tuple(host[0] for host in hosts[:3])] += 1
        self.assertEqual(len(seen), 6)
        for order, count in seen.items():  # six deviations of a fair binomial
            self.assertAlmostEqual(count, rounds / 6, delta=6 * (rounds * 5 / 36) ** 0.5, msg=str(order))

    def test_null_mx_is_final(self):
        self.failed("null.good.example", "5.1.10", "does not accept mail (nullMX)")

    def test_no_mx_means_the_name_itself(self):
        answer = self.resolve("nomx.good.example")
        self.assertEqual([(h.name, h.addresses) for h in answer.hosts], [("nomx.good.example", "192.0.2.4")])

    def test_no_such_domain_is_final(self):
        self.failed("nobody.good.example", "5.1.2", "Name service error for name=nobody.good.example type=MX: Host not found")

    def test_a_name_without_mx_and_address_is_final(self):
        self.failed("empty.good.example", "5.4.4", "name=empty.good.example type=A")

    def test_a_server_that_refuses_is_temporary(self):
        self.failed("elsewhere.invalid-zone-of-nobody.example", "4.4.3", "try again (", RESOLVE_DEFERRED)

    def test_mx_hosts_without_addresses_are_final(self):
        self.failed("lost.good.example", "5.4.4", "name=gone.good.example")

    def test_one_host_without_addresses_does_not_matter(self):
        answer = self.resolve("partly.good.example")
        self.assertEqual([(h.name, bool(h.addresses)) for h in answer.hosts], [("gone.good.example", False), ("mx2.good.example", True)])

    def test_one_host_that_can_not_be_asked_now_does_not_matter(self):
        answer = self.resolve("half.good.example")
        self.assertEqual([(h.name, bool(h.addresses)) for h in answer.hosts], [("mx.unreachable.example", False), ("mx2.good.example", True)])

    def test_the_only_host_that_can_not_be_asked_now_is_temporary(self):
        self.failed("dead.good.example", "4.4.3", "name=mx.unreachable.example", RESOLVE_DEFERRED)

    def test_aliases_are_followed(self):
        self.assertEqual(names(self.resolve("alias.good.example"))[0], "mx1.good.example")
        answer = self.resolve("aliasmx.good.example")
        self.assertEqual([(h.name, h.addresses) for h in answer.hosts], [("viaalias.good.example", "2001:db8::1 192.0.2.1")])
        self.assertEqual(self.resolve("loop.good.example").verdict, RESOLVE_DEFERRED)

    def test_an_mx_that_is_an_address_is_passed_over(self):
        self.assertEqual(names(self.resolve("literal.good.example")), ["mx1.good.example"])
        self.failed("onlyliteral.good.example", "5.4.4", "Malformed or unexpected name server reply")

    def test_a_host_that_is_there_twice_has_its_better_preference(self):
        self.assertEqual([(h.preference, h.name) for h in self.resolve("dup.good.example").hosts], [(10, "mx1.good.example")])

    def test_hosts_that_are_not_better_than_ourselves_are_left_out(self):
        self.assertEqual(names(self.resolve("us.good.example")), ["mx1.good.example"])
        self.failed("onlyus.good.example", "5.4.6", "loops back to myself")

    def test_only_so_many_hosts_are_given(self):
        answer = self.resolve("many.example")
        self.assertEqual(len(answer.hosts), 20)
        self.assertEqual(len(set(names(answer))), 20)

    def test_a_host_itself_is_asked_for_without_mx(self):
        self.assertEqual(self.resolve("mx1.good.example", RESOLVE_ADDRESSES).hosts[0].addresses, "2001:db8::1 192.0.2.1")
        self.assertEqual(names(self.resolve("[good.example]", RESOLVE_MX)), ["good.example"])

    def test_addresses_are_their_own_answer(self):
        for name, address in (("[192.0.2.7]", "192.0.2.7"), ("192.0.2.7", "192.0.2.7"), ("[IPv6:2001:DB8::7]", "2001:db8::7"), ("[::1]", "::1")):
            self.assertEqual([(h.name, h.addresses) for h in self.resolve(name).hosts], [(address, address)])

    def test_names_in_other_scripts_are_asked_for_in_their_ascii_form(self):
        self.assertEqual(names(self.resolve("B\u00fccher.good.example")), ["mx1.good.example"])

    def test_what_is_no_name_is_final(self):
        for name in ("", ".", "a b", "a..b", "x" * 64 + ".example", "x." * 130, "[1.2.3]x", "\u2028.example", "a\u0000b".replace("\0", "\x01")):
            answer = self.resolve(name)
            self.assertEqual((answer.verdict, answer.status), (RESOLVE_FAILED, "5.1.2"), name)

    def test_text_records_come_in_one_piece_each(self):
        sts = self.dns.connect("sts")
        try:
            ask = lambda name: sts.ask("TXT", name=name)
            self.assertEqual((ask("empty.good.example").verdict, [r.data for r in ask("empty.good.example").records]), (RESOLVE_OK, [b"neither MX nor address"]))
            self.assertEqual([r.data for r in ask("_text.good.example").records], [b"v=STSv1; id=1;" + b"x" * 250])
            self.assertEqual((ask("nobody.good.example").verdict, ask("nobody.good.example").records), (RESOLVE_FAILED, []))
            self.assertEqual(ask("mx1.good.example").verdict, RESOLVE_FAILED)
            self.assertEqual(ask("x.invalid-zone-of-nobody.example").verdict, RESOLVE_DEFERRED)
            for name in ("", "a b", "..", "x" * 300):
                self.assertEqual(ask(name).verdict, RESOLVE_FAILED)
        finally:
            sts.close()
            del self.dns.edges["sts"]

    def test_equal_questions_at_once_all_get_their_answer(self):
        channel = self.dns.edges["qmgr"]
        asked = {channel.send("RESOLVE", name=name, want=BOTH) for name in ["six.many.example", "good.example"] * 100}
        got = {channel.receive().request for _ in asked}
        self.assertEqual(got, asked)

    def test_names_of_clients_are_confirmed_forward(self):
        self.assertEqual(self.named("192.0.2.1"), "mx1.good.example")
        self.assertEqual(self.named("2001:db8::1"), "mx1.good.example")
        self.assertEqual(self.named("::ffff:192.0.2.1"), "mx1.good.example")
        self.assertEqual(self.named("192.0.2.6"), "six.many.example")
        for liar in ("192.0.2.2", "192.0.2.3", "192.0.2.4", "192.0.2.5", "192.0.2.99", "2001:db8::3", "198.51.100.1", "", "nonsense"):
            self.assertEqual(self.named(liar), "unknown", liar)

    def test_an_asker_that_leaves_takes_its_questions_along(self):
        other = self.dns.connect("remote")
        other.send("RESOLVE", name="dead.good.example", want=BOTH)
        other.send("RESOLVE", name="good.example", want=BOTH)
        other.close()
        del self.dns.edges["remote"]
        self.assertEqual(self.resolve("nomx.good.example").verdict, RESOLVE_OK)

    def test_a_broken_frame_ends_its_edge_alone(self):
        other = self.dns.connect("remote")
        other.send_raw(b"\xff" * 64)
        with self.assertRaises((Closed, ConnectionResetError)):
            other.receive()
        other.close()
        del self.dns.edges["remote"]
        self.assertEqual(self.resolve("nomx.good.example").verdict, RESOLVE_OK)

    def test_it_stays_one_process_with_one_thread(self):
        self.resolve("good.example")
        task = "/proc/%d/task" % self.dns.process.pid
        self.assertEqual(len(os.listdir(task)), 1)
        with open(os.path.join(task, str(self.dns.process.pid), "children"), encoding="ascii") as file:
            self.assertEqual(file.read(), "")


class Trouble(unittest.TestCase):
    def test_one_family_alone_when_told_so(self):
        server = NameServer()
        try:
            for family, addresses in (("ipv4", "192.0.2.1"), ("ipv6", "2001:db8::1")):
                with Driven("dns", 'dns { server = "127.0.0.1@%d" }\nremote { address_family = %s }' % (server.port, family), edges=["qmgr"]) as one:
                    answer = one.edges["qmgr"].ask("RESOLVE", name="mx1.good.example", want=RESOLVE_ADDRESSES)
                    self.assertEqual(answer.hosts[0].addresses, addresses)
        finally:
            server.close()

    def test_servfail_is_temporary(self):
        fake = FakeServer(2)
        with dns(fake.port) as one:
            answer = one.edges["qmgr"].ask("RESOLVE", name="good.example", want=BOTH)
        fake.close()
        self.assertEqual((answer.verdict, answer.status), (RESOLVE_DEFERRED, "4.4.3"))

    def test_a_silent_server_is_temporary_and_equal_questions_are_asked_once(self):
        fake = FakeServer(None)
        with dns(fake.port, timeout=4) as one:
            began = time.monotonic()
            channel = one.edges["qmgr"]
            for _ in range(50):
                channel.send("RESOLVE", name="good.example", want=BOTH)
            answers = [channel.receive() for _ in range(50)]
            took = time.monotonic() - began
            self.assertEqual({(a.verdict, a.status) for a in answers}, {(RESOLVE_DEFERRED, "4.4.3")})
            self.assertTrue(all("no answer in time" in a.reason for a in answers), answers[0])  # ours, not that of libunbound
            self.assertLess(took, 20)
            self.assertEqual(one.edges["route"].ask("NAME", address="192.0.2.1")["name"], "unknown")
            self.assertTrue(one.running())
        fake.close()
        self.assertLess(sum(fake.seen.values()), 40)  # or fifty times as many as in a few tries

    def test_it_answers_what_is_under_way_before_it_ends(self):
        fake = FakeServer(None)
        with dns(fake.port, timeout=4) as one:
            one.edges["qmgr"].send("RESOLVE", name="good.example", want=BOTH)
            wait_for(lambda: fake.seen)
            one.control.send("DRAIN", seconds=60)
            self.assertEqual(one.edges["qmgr"].receive().verdict, RESOLVE_DEFERRED)
            self.assertEqual(one.process.wait(30), 0)
        fake.close()

    def test_what_fails_validation_is_temporary(self):
        server = NameServer(signed=["good.example"])
        try:
            with dns(server.port, 'trust_anchor = "%s"' % server.anchor) as one:
                ask = one.edges["qmgr"].ask
                self.assertEqual(ask("RESOLVE", name="mx1.good.example", want=RESOLVE_ADDRESSES).hosts[0].addresses, "2001:db8::1 192.0.2.1")
                answer = ask("RESOLVE", name="mx2.good.example", want=RESOLVE_ADDRESSES)
                self.assertEqual((answer.verdict, answer.status), (RESOLVE_DEFERRED, "4.4.3"), answer)
                self.assertIn("DNSSEC validation failed", answer.reason)
                self.assertEqual(ask("RESOLVE", name="nobody.good.example", want=BOTH).status, "5.1.2")
                self.assertEqual(ask("RESOLVE", name="many.example", want=BOTH).verdict, RESOLVE_OK)
        finally:
            server.close()

    def test_a_forwarder_that_has_no_dnssec_is_used_all_the_same(self):
        server = NameServer()
        try:
            with open(server.anchor, "w", encoding="ascii") as anchor:
                anchor.write(". IN DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D\n")
            with dns(server.port, 'trust_anchor = "%s"' % server.anchor) as one:
                self.assertEqual(one.edges["qmgr"].ask("RESOLVE", name="good.example", want=BOTH).verdict, RESOLVE_OK)
        finally:
            server.close()

    def test_a_missing_trust_anchor_is_told_at_the_start(self):
        server = NameServer()
        try:
            with dns(server.port, 'trust_anchor = "/nowhere/root.key"') as one:
                self.assertEqual(one.edges["qmgr"].ask("RESOLVE", name="good.example", want=BOTH).verdict, RESOLVE_OK)
                self.assertIn('DNSSEC is not checked, so there is no DANE: dns { trust_anchor = "/nowhere/root.key" }: No such file or directory; install', one.log())
        finally:
            server.close()

    def test_a_server_that_was_away_is_used_when_it_is_back(self):
        port = free_port()
        with dns(port, timeout=4) as one:
            ask = one.edges["qmgr"].ask
            for name in ("many.example", "good.example"):
                self.assertEqual(ask("RESOLVE", name=name, want=BOTH).verdict, RESOLVE_DEFERRED)
            server = NameServer(port)
            try:
                wait_for(lambda: ask("RESOLVE", name="good.example", want=BOTH).verdict == RESOLVE_OK, 60, 0.5)
            finally:
                server.close()


class Dane(unittest.TestCase):
    """RFC 7672 2: which TLSA records hold for which host, in a zone that is signed and one that is not."""

    @classmethod
    def setUpClass(cls):
        cls.server = NameServer(signed=["dane.example"])
        cls.dns = dns(cls.server.port, 'trust_anchor = "%s"' % cls.server.anchor)

    @classmethod
    def tearDownClass(cls):
        cls.dns.close()
        cls.server.close()

    def resolve(self, name, want=BOTH | RESOLVE_TLSA, port=25):
        answer = self.dns.edges["qmgr"].ask("RESOLVE", name=name, want=want, port=port)
        self.assertEqual(answer.verdict, RESOLVE_OK, answer)
        return answer

    def one(self, name, verdict, base="", tlsa="", **more):
        [host] = self.resolve(name, **more).hosts
        self.assertEqual((host.dane, host.base, host.tlsa), (verdict, base, tlsa))

    def test_each_host_has_its_own_records(self):
        answer = self.resolve("dane.example")
        self.assertEqual(answer.secure, 1)
        has, none, outside = answer.hosts
        self.assertEqual((has.dane, has.base), (DANE_RECORDS, "has.dane.example"))
        self.assertEqual(sorted(has.tlsa.split(", ")), ["2 0 1 " + "22" * 32, "3 1 1 " + "11" * 32])
        self.assertEqual([(h.dane, h.base, h.tlsa) for h in (none, outside)], [(DANE_NONE, "", "")] * 2)

    def test_the_port_is_the_services(self):
        self.one("[has.dane.example]", DANE_RECORDS, "has.dane.example", "3 1 2 " + "33" * 64, port=2525)
        self.one("[has.dane.example]", DANE_NONE, port=26)

    def test_what_is_not_wanted_is_not_asked(self):
        self.assertEqual({h.dane for h in self.resolve("dane.example", want=BOTH).hosts}, {DANE_UNASKED})

    def test_where_the_alias_leads_comes_first(self):
        self.one("there.dane.example", DANE_RECORDS, "target.dane.example", "3 1 1 " + "44" * 32)

    def test_then_the_name_of_the_alias(self):
        self.one("here.dane.example", DANE_RECORDS, "ownalias.dane.example", "3 1 1 " + "55" * 32)

    def test_a_proved_alias_to_what_is_not_proved_counts_by_its_own_name(self):
        self.one("away.dane.example", DANE_RECORDS, "awayalias.dane.example", "3 1 1 " + "66" * 32)

    def test_records_that_fail_validation_forbid_the_host(self):
        self.one("forged.dane.example", DANE_TROUBLE)

    def test_behind_mx_records_that_are_not_proved_there_is_no_dane(self):
        answer = self.resolve("signed.many.example")
        self.assertEqual((answer.secure, [(h.name, h.dane) for h in answer.hosts]), (0, [("has.dane.example", DANE_UNASKED)]))

    def test_a_domain_that_provably_has_no_mx_has_dane_by_its_own_name(self):
        self.one("nomx.dane.example", DANE_RECORDS, "nomx.dane.example", "3 1 1 " + "77" * 32)

    def test_a_host_that_is_named_itself_has_dane(self):
        self.one("[nomx.dane.example]", DANE_RECORDS, "nomx.dane.example", "3 1 1 " + "77" * 32)

    def test_many_and_huge_records_are_bounded_and_still_demand_tls(self):
        [host] = self.resolve("[huge.dane.example]").hosts
        records = host.tlsa.split(", ")
        self.assertEqual((host.dane, len(records)), (DANE_RECORDS, 16))
        self.assertLess(len(host.tlsa), 25 << 10)
        self.assertEqual(len([r for r in records if r == "3 0 255 "]), 16 - len([r for r in records if len(r) == 6 + 3800]))
        self.assertTrue(any(r == "3 0 255 " for r in records))


if __name__ == "__main__":
    unittest.main()
