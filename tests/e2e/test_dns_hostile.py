"""postino-dns against a name server that lies, floods and hangs (nameserver.py): what it says stays right, bounded and in time; and how many questions it
asks: equal ones once, known ones not at all."""
import os
import random
import struct
import time
import unittest

import nameserver
from driven import Driven
from frames import RESOLVE_ADDRESSES, RESOLVE_DEFERRED, RESOLVE_FAILED, RESOLVE_MX, RESOLVE_OK
from host import wait_for
from nameserver import A, AAAA, MX, NXDOMAIN, PTR, SERVFAIL, TXT, NameServer, Record, Reply, a, aaaa, cname, labels, mx, ns, soa
from netns import NAME_SERVER, needs_root
from world import World
from zones import ROOT_SERVERS, at_the_root

BOTH = RESOLVE_MX | RESOLVE_ADDRESSES

def nothing(rcode=0, **more):
    return Reply(rcode=rcode, authority=[soa(**more)])


def address(asked):
    """What every host has here: 192.0.2.1, and no other family."""
    return Reply(a(asked.name)) if asked.type == A else nothing()


class Hostile(unittest.TestCase):
    """`script` is a test's own; `good.example` is as it should be in each of them."""

    settings, timeout = "", 30  # what hangs takes as long

    def setUp(self):
        self.server = NameServer(lambda asked: self.well(asked) if asked.name.endswith("good.example") else self.script(asked))
        self.addCleanup(self.server.close)
        # Without an anchor each question on the wire is one of ours.
        self.dns = Driven("dns", 'dns { server = "127.0.0.1@%d"\n timeout = %ds\n trust_anchor = "/nonexistent"\n %s }' % (self.server.port, self.timeout, self.settings),
                          edges=("qmgr", "remote", "route", "sts"))
        self.addCleanup(self.dns.close)
        self.script = address

    def well(self, asked):
        return Reply(mx(asked.name, 10, "mx.good.example")) if asked.type == MX else address(asked)

    def resolve(self, name, want=BOTH):
        return self.dns.edges["qmgr"].ask("RESOLVE", name=name, want=want, timeout=60)

    def is_well(self):
        answer = self.resolve("%08x.good.example" % random.getrandbits(32))
        self.assertEqual([(h.name, h.addresses) for h in answer.hosts], [("mx.good.example", "192.0.2.1")], answer)

    def deferred(self, name, want=BOTH):
        began = time.monotonic()
        answer = self.resolve(name, want)
        self.assertEqual((answer.verdict, answer.status, answer.hosts), (RESOLVE_DEFERRED, "4.4.3", []), answer)
        self.assertLess(time.monotonic() - began, 20)
        self.is_well()
        return answer


class Sets(Hostile):
    """Huge sets of records."""

    def test_the_best_of_five_hundred_mx_are_used(self):
        order = list(range(500))
        random.Random(1).shuffle(order)

        def script(asked):
            if asked.type == MX:
                return Reply(*(mx(asked.name, 1000 + i, "mx%d.many.example" % i) for i in order))
            return address(asked)
        self.script = script
        answer = self.resolve("many.example")
        self.assertEqual([h.name for h in answer.hosts], ["mx%d.many.example" % i for i in range(20)])
        self.assertEqual({h.addresses for h in answer.hosts}, {"192.0.2.1"})
        self.assertIn(self.server.tcp, (1, 2))  # libunbound's patience ends after three seconds
        self.assertEqual(self.server.different(), 1 + 20 * 2)

    def test_five_hundred_equal_mx_are_shuffled_and_cut(self):
        self.script = lambda asked: Reply(*(mx(asked.name, 10, "mx%d.many.example" % i) for i in range(500))) if asked.type == MX else address(asked)
        first, second = ([h.name for h in self.resolve("many.example", RESOLVE_MX).hosts] for _ in range(2))
        self.assertEqual((len(set(first)), len(set(second))), (20, 20))
        self.assertNotEqual(first, second)

    def test_we_are_found_among_five_hundred_mx(self):
        """the best of all, last in the packet"""
        self.script = lambda asked: Reply(*(mx(asked.name, 20, "mx%d.many.example" % i) for i in range(499)), mx(asked.name, 10, "mx.local.example")) \
            if asked.type == MX else address(asked)
        answer = self.resolve("many.example")
        self.assertEqual((answer.verdict, answer.status), (RESOLVE_FAILED, "5.4.6"), answer)

    def test_four_thousand_addresses_of_a_host(self):
        self.script = lambda asked: Reply(*(a(asked.name, "10.%d.%d.1" % divmod(i, 256)) for i in range(4000))) if asked.type == A else nothing()
        [h] = self.resolve("mx.example", RESOLVE_ADDRESSES).hosts
        self.assertEqual(len(h.addresses.split()), 20)

    def test_ten_thousand_addresses_of_a_domain(self):
        """100 hosts with 50 of each family"""
        def script(asked):
            if asked.type == MX:
                return Reply(*(mx(asked.name, i, "h%d.example" % i) for i in range(100)))
            one = a if asked.type == A else aaaa
            return Reply(*(one(asked.name, "192.0.2.%d" % i if asked.type == A else "2001:db8::%x" % i) for i in range(1, 51)))
        self.script = script
        hosts = self.resolve("many.example").hosts
        self.assertEqual({(len(h.addresses.split()), len(set(h.addresses.split()))) for h in hosts}, {(40, 40)})
        self.assertEqual(len(hosts), 20)

    def test_text_records_of_sixty_kibibytes(self):
        self.script = lambda asked: Reply(*(Record(asked.name, TXT, 60, b"\xff" + b"x" * 255 + bytes([9]) + b"%09d" % i) for i in range(220)))
        answer = self.dns.edges["sts"].ask("TXT", name="t.example", timeout=60)
        self.assertEqual((answer.verdict, len(answer.records)), (RESOLVE_OK, 200))
        self.assertEqual({len(r.data) for r in answer.records}, {264})
        self.is_well()

    def test_more_than_a_packet_can_hold_is_temporary(self):
        """64 KiB is the most over TCP, too: such an answer never ends to be cut short"""
        self.script = lambda asked: Reply(*(Record(asked.name, TXT, 60, b"\xff" + b"x" * 255 + bytes([9]) + b"%09d" % i) for i in range(400)))
        self.assertEqual(self.dns.edges["sts"].ask("TXT", name="t.example", timeout=60).verdict, RESOLVE_DEFERRED)
        self.is_well()

    def test_many_names_of_an_address_are_not_all_tried(self):
        self.script = lambda asked: Reply(*(Record(asked.name, PTR, 60, labels("h%d.example" % i)) for i in range(1000))) if asked.type == PTR else Reply(a(asked.name, "10.0.0.1"))
        self.assertEqual(self.dns.edges["route"].ask("NAME", address="192.0.2.77", timeout=60)["name"], "unknown")
        self.assertEqual(self.server.different(), 1 + 3)


class HundredHosts(Hostile):
    settings = "mx_hosts = 100"

    def test_all_of_a_hundred_hosts(self):
        def script(asked):
            if asked.type == MX:
                return Reply(*(mx(asked.name, i, ("h%03d" % i) + ".x" * 110 + ".example") for i in range(250)))
            one = a if asked.type == A else aaaa
            return Reply(*(one(asked.name, "192.0.2.%d" % i if asked.type == A else "2001:db8:1111:2222:3333:4444:5555:%x" % (0x6666 + i)) for i in range(1, 51)))
        self.script = script
        hosts = self.resolve("many.example").hosts
        self.assertEqual([h.name[:4] for h in hosts], ["h%03d" % i for i in range(100)])
        self.assertEqual({len(h.addresses.split()) for h in hosts}, {40})


class Names(Hostile):
    """Names that are none, and names that lie."""

    def hosts_of(self, *targets):
        self.script = lambda asked: Reply(*(mx(asked.name, i, target) for i, target in enumerate(targets))) if asked.type == MX else address(asked)
        return self.resolve("%08x.example" % random.getrandbits(32))

    def test_mx_names_that_are_no_host_names_are_passed_over(self):
        bad = ("a\\000b.example", "a\\032b.example", "a\\.b.example", "\\000", "a\\013\\010b.example", "\\064mx.example", "a\\255.example", "a\\092.example", "192.0.2.1",
               "a\\044b.example", "\\040.example", "mx\\009.example", "-mx.example")
        answer = self.hosts_of(*bad, "mx.good.example")
        self.assertEqual([h.name for h in answer.hosts], ["mx.good.example"])
        self.assertEqual(self.hosts_of(*bad).verdict, RESOLVE_FAILED)

    def test_the_longest_names(self):
        longest = ".".join(["x" * 63, "y" * 63, "z" * 63, "w" * 61])
        self.assertEqual(len(labels(longest)), 255)
        self.assertEqual([h.name for h in self.hosts_of(longest).hosts], [longest])
        self.script = lambda asked: Reply(mx(asked.name, 1, "mx.good.example")) if asked.type == MX else address(asked)
        self.assertEqual([h.name for h in self.resolve(longest).hosts], ["mx.good.example"])
        self.assertEqual(self.resolve(longest + "w").status, "5.1.2")

    def test_a_name_of_escapes_is_as_long_as_it_can_be(self):
        """254 octets that are all written as \\\\DDD: 1016 letters"""
        worst = ".".join(["\\007" * 63] * 3 + ["\\007" * 61])
        self.assertEqual([h.name for h in self.hosts_of(worst, "mx.good.example").hosts], ["mx.good.example"])
        self.script = lambda asked: Reply(cname(asked.name, worst), a(worst, "192.0.2.9")) if asked.type == A else nothing()
        self.resolve("alias.example", RESOLVE_ADDRESSES)
        self.is_well()

    def test_a_target_in_capitals_is_the_same(self):
        self.assertEqual([(h.preference, h.name) for h in self.hosts_of("MX.Good.Example", "mx.gOOD.example").hosts], [(0, "mx.good.example")])

    def test_records_of_other_names_are_not_taken(self):
        def script(asked):
            if asked.name == "liar.example" and asked.type == MX:
                return Reply(mx("victim.example", 1, "evil.example"), mx(asked.name, 10, "mx.good.example"), a("mx.good.example", "192.0.2.66"),
                             additional=[a("mx.good.example", "192.0.2.66"), a("victim.example", "192.0.2.66")])
            return Reply(a(asked.name, "192.0.2.4")) if asked.name == "victim.example" and asked.type == A else nothing()
        self.script = script
        answer = self.resolve("liar.example")
        self.assertEqual([(h.name, h.addresses) for h in answer.hosts], [("mx.good.example", "192.0.2.1")])
        self.assertEqual([(h.name, h.addresses) for h in self.resolve("victim.example").hosts], [("victim.example", "192.0.2.4")])

    def test_an_answer_of_another_type_is_none(self):
        self.script = lambda asked: Reply(a(asked.name)) if asked.type == MX else nothing()
        self.assertIn(self.resolve("mixed.example").verdict, (RESOLVE_FAILED, RESOLVE_DEFERRED))
        self.is_well()


class Aliases(Hostile):
    def chain(self, length, split):
        """n0.example -> n1.example ... ; `split`: one step in each answer."""
        def script(asked):
            if not asked.name.startswith("n"):
                return address(asked)
            at = int(asked.name[1:].split(".")[0])
            steps = [cname("n%d.example" % i, "n%d.example" % (i + 1)) for i in range(at, min(at + 1, length) if split else length)]
            end = a("n%d.example" % length)
            return Reply(*steps, *([end] if asked.type == A and (not split or at == length) else ()))
        self.script = script

    def test_short_chains_are_followed(self):
        for split in (False, True):
            self.chain(8, split)
            [h] = self.resolve("n%d.example" % (0 if split else 1), RESOLVE_ADDRESSES).hosts
            self.assertEqual(h.addresses, "192.0.2.1")

    def test_long_chains_are_not(self):
        for split in (False, True):
            self.chain(1000, split)
            self.server.forget()
            self.deferred("n%d.example" % (0 if split else 1), RESOLVE_ADDRESSES)
            self.assertLess(self.server.total(), 100)

    def test_loops(self):
        other = {"x.example": "y.example", "y.example": "x.example", "self.example": "self.example"}
        self.script = lambda asked: Reply(cname(asked.name, other[asked.name]))
        for name in ("x.example", "self.example"):
            self.server.forget()
            self.deferred(name)
            self.assertLess(self.server.total(), 100)

    def test_a_loop_within_one_answer(self):
        self.script = lambda asked: Reply(cname("x.example", "y.example"), cname("y.example", "x.example"))
        self.deferred("x.example")

    def test_an_endless_chain_of_new_names(self):
        self.script = lambda asked: Reply(cname(asked.name, "%08x.example" % random.getrandbits(32)))
        self.deferred("begin.example")
        self.assertLess(self.server.total(), 100)


class Packets(Hostile):
    """What is no answer, or the answer to something else."""

    timeout = 6

    def test_garbage_is_temporary(self):
        def cut(asked, n):
            return Reply(mx(asked.name, 10, "mx.good.example")).octets(asked, 4096)[:n]
        ways = {
            "empty": lambda asked: b"", "one octet": lambda asked: b"x", "the header alone": lambda asked: cut(asked, 12), "half": lambda asked: cut(asked, 40),
            "noise": lambda asked: asked.packet[:2] + bytes(random.Random(2).randrange(256) for _ in range(400)),
            "the question itself": lambda asked: asked.packet,
            "more records than there are": lambda asked: Reply(mx(asked.name, 10, "mx.good.example"), counts=(1, 65535, 65535, 65535)),
            "no question": lambda asked: Reply(mx(asked.name, 10, "mx.good.example"), counts=(0, 1, 0, 0), question=b""),
            "another question": lambda asked: Reply(mx("other.example", 10, "evil.example"), question=labels("other.example") + struct.pack(">HH", MX, 1)),
            "a pointer to itself": lambda asked: Reply(Record(asked.name, MX, 60, struct.pack(">HH", 1, 0xC000 | (nameserver.question_end(asked.packet) + len(labels(asked.name)) + 12)))),
            "a length beyond the end": lambda asked: cut(asked, 4096)[:-8],
            "a reply from another number": lambda asked: Reply(mx(asked.name, 10, "evil.example"), id=asked.id ^ 1),
            "another class": lambda asked: Reply(mx(asked.name, 10, "evil.example"), question=labels(asked.name) + struct.pack(">HH", MX, 3)),
        }
        channel, words = self.dns.edges["qmgr"], list(ways)
        self.script = lambda asked: ways[words[int(asked.name[1:].split(".")[0])]](asked)
        sent = {channel.send("RESOLVE", name="w%d.example" % i, want=BOTH): what for i, what in enumerate(words)}
        for _ in words:
            answer = channel.receive()
            self.assertEqual((answer.verdict, answer.status), (RESOLVE_DEFERRED, "4.4.3"), (sent[answer.request], answer))
        self.is_well()

    def test_a_forgery_in_front_of_the_answer_is_not_taken(self):
        self.script = lambda asked: [Reply(mx(asked.name, 10, "evil.example"), id=asked.id ^ 7), Reply(mx(asked.name, 10, "mx.good.example"))] if asked.type == MX else address(asked)
        self.assertEqual([h.name for h in self.resolve("forged.example").hosts], ["mx.good.example"])

    def test_truncated_for_ever(self):
        self.script = lambda asked: Reply(flags=0x8680)
        self.deferred("short.example")

    def test_tcp_that_says_nothing(self):
        self.script = lambda asked: None if asked.tcp else Reply(flags=0x8680)
        self.assertIn("no answer in time", self.deferred("silent.example").reason)  # ours: libunbound gives up after 15 seconds

    def test_every_error_is_temporary_but_nxdomain(self):
        channel, rcodes = self.dns.edges["qmgr"], [rcode for rcode in range(1, 16) if rcode != NXDOMAIN]
        self.script = lambda asked: Reply(rcode=int(asked.name[1:].split(".")[0]))
        sent = {channel.send("RESOLVE", name="r%d.example" % rcode, want=BOTH): rcode for rcode in rcodes}
        for _ in rcodes:
            answer = channel.receive()
            self.assertEqual((answer.verdict, answer.status), (RESOLVE_DEFERRED, "4.4.3"), (sent[answer.request], answer))
        self.is_well()

    def test_a_mx_record_too_short_to_be_one(self):
        for data in (b"", b"\0", b"\0\1", b"\0\1\3ab"):
            self.script = lambda asked, data=data: Reply(Record(asked.name, MX, 60, data))
            answer = self.resolve("%08x.example" % random.getrandbits(32))
            self.assertNotEqual(answer.verdict, RESOLVE_OK, answer)
        self.is_well()


class Flood(Hostile):
    timeout = 4

    def ask(self, count):
        self.script = lambda asked: None
        for i in range(count):
            self.dns.edges["remote"].send("RESOLVE", name="n%d.example" % i, want=RESOLVE_MX)

    def test_five_thousand_names_that_nobody_answers(self):
        began = time.monotonic()
        self.ask(5000)
        answers = [self.dns.edges["remote"].receive() for _ in range(5000)]
        took = time.monotonic() - began
        self.assertEqual({a.verdict for a in answers}, {RESOLVE_DEFERRED})
        self.assertTrue(all("no answer in time" in a.reason for a in answers), answers[0])
        self.assertLess(took, 30)
        self.assertLess(len(os.listdir("/proc/%d/fd" % self.dns.process.pid)), 3500)
        self.assertEqual(self.resolve("[192.0.2.1]").hosts[0].addresses, "192.0.2.1")

    def test_two_thousand_of_them_hold_up_no_other(self):
        self.ask(2000)
        took = []
        for _ in range(6):
            began = time.monotonic()
            self.is_well()
            took.append(time.monotonic() - began)
            time.sleep(0.5)
        self.assertLess(sorted(took)[3], 1, took)  # this machine may stand still


class Counts(Hostile):
    """How many questions go out."""

    def setUp(self):
        super().setUp()
        self.ttl, self.shared = 60, "shared.example"
        self.script = lambda asked: Reply(*(mx(asked.name, 10 * i, "mx%d.%s" % (i, self.shared), self.ttl) for i in (1, 2))) if asked.type == MX \
            else Reply(a(asked.name, ttl=self.ttl)) if asked.type == A else nothing(ttl=self.ttl, minimum=self.ttl)

    def test_a_thousand_times_the_same_question_at_once_is_one(self):
        """one message each of us asks: qmgr the hosts, remote their addresses"""
        for _ in range(500):
            for edge, want in (("qmgr", RESOLVE_MX), ("remote", BOTH)):
                self.dns.edges[edge].send("RESOLVE", name="site.example", want=want)
        for edge in ("qmgr", "remote"):
            for _ in range(500):
                self.assertEqual(self.dns.edges[edge].receive().verdict, RESOLVE_OK)
        self.assertEqual(set(self.server.counts), {("site.example", MX), *(("mx%d.shared.example" % i, t) for i in (1, 2) for t in (A, AAAA))})
        self.assertLess(self.server.total(), 5 + 10)  # or 500 of each

    def test_a_thousand_domains_of_one_mx_set_share_its_addresses(self):
        channel = self.dns.edges["remote"]
        for i in range(1000):
            channel.send("RESOLVE", name="d%d.example" % i, want=BOTH)
        self.assertEqual({channel.receive().verdict for _ in range(1000)}, {RESOLVE_OK})
        self.assertEqual(self.server.different(), 1000 + 2 * 2)
        # A busy machine answers a thousand questions late, so that some of them are asked again; of those that are shared there are four, or a thousand each.
        self.assertLess(sum(count for (_, kind), count in self.server.counts.items() if kind != MX), 100)

    def asked(self, name, want):
        self.server.forget()
        answer = self.resolve(name, want)
        return self.server.different(), answer

    def asked_again(self, name, seconds, want=BOTH):
        """How many questions go out: at first, at once again, after so many seconds. Of another name when it took a second to ask at once."""
        for i in range(20):
            began = time.monotonic()
            first, second = (self.asked("%d%s" % (i, name), want)[0] for _ in range(2))
            was_quick = time.monotonic() - began < 1
            time.sleep(seconds)
            if was_quick:
                third, answer = self.asked("%d%s" % (i, name), want)
                return [first, second, third], answer
        self.fail("nothing is answered within a second")

    def test_answers_are_kept_as_long_as_they_say_and_no_longer(self):
        self.ttl = 2
        self.assertEqual(self.asked_again("brief.example", 3.1)[0], [5, 0, 5])
        self.ttl, self.shared = 60, "lasting.example"
        self.assertEqual(self.asked_again("long.example", 3.1)[0][1:], [0, 0])

    def test_an_answer_for_no_time_is_asked_for_each_time(self):
        self.ttl = 0
        self.assertEqual(self.asked_again("never.example", 0, RESOLVE_MX)[0], [1, 1, 1])

    def test_that_there_is_no_such_name_is_kept_as_long_as_the_zone_says(self):
        self.script = lambda asked: nothing(NXDOMAIN, ttl=60, minimum=2)
        counts, answer = self.asked_again("gone.example", 3.1)
        self.assertEqual((counts, answer.status), ([1, 0, 1], "5.1.2"))

    def test_that_there_is_no_such_record_is_kept_too(self):
        self.script = lambda asked: Reply(a(asked.name)) if asked.type == A else nothing(ttl=60, minimum=2)
        counts, answer = self.asked_again("nomx.example", 3.1)
        self.assertEqual((counts, answer.hosts[0].addresses), ([3, 0, 2], "192.0.2.1"))

    def all_of(self, domains, dns):
        """How many questions it takes."""
        self.server.forget()
        for begin in range(0, domains, 200):
            for i in range(begin, begin + 200):
                dns.edges["qmgr"].send("RESOLVE", name="d%d.example" % i, want=BOTH)
            self.assertEqual({dns.edges["qmgr"].receive().verdict for _ in range(200)}, {RESOLVE_OK})
        return self.server.total()

    def test_what_is_known_of_thousands_of_domains_is_kept_in_as_much_memory_as_may_be(self):
        self.ttl = 3600
        self.script = lambda asked: Reply(*(mx(asked.name, i, "mx%d.%s" % (i, asked.name), self.ttl) for i in (1, 2))) if asked.type == MX \
            else Reply(a(asked.name, ttl=self.ttl)) if asked.type == A else nothing(ttl=self.ttl, minimum=self.ttl)
        first, second = (self.all_of(4000, self.dns) for _ in range(2))
        self.assertGreaterEqual(first, 4000 * 5)  # more when this server was slow
        self.assertEqual(second, 0)
        with Driven("dns", 'dns { server = "127.0.0.1@%d" trust_anchor = "/nonexistent" cache = "1M" }' % self.server.port, edges=["qmgr"]) as small:
            self.assertGreater(min(self.all_of(4000, small) for _ in range(2)), 4000)
            with open("/proc/%d/status" % small.process.pid, encoding="ascii") as f:
                self.assertLess(int(f.read().split("VmRSS:")[1].split()[0]), 40 << 10)

    def test_a_name_that_fails_is_not_asked_for_at_once_again(self):
        self.script = lambda asked: Reply(rcode=SERVFAIL)
        self.assertEqual(self.resolve("fails.example").verdict, RESOLVE_DEFERRED)
        self.server.forget()
        for _ in range(100):
            self.assertEqual(self.resolve("fails.example").verdict, RESOLVE_DEFERRED)
        self.assertLess(self.server.total(), 20)  # of a hundred; it is known for five seconds


@needs_root
class Delegations(unittest.TestCase):
    """Without a forwarder, from the root down: servers that send a resolver in circles, or have it ask others in great numbers."""

    MUTE = ["198.51.100.%d" % i for i in range(1, 61)]  # they want TCP, and then say nothing

    @classmethod
    def setUpClass(cls):
        world = cls.enterClassContext(World())
        at_the_root(world)
        world.route("198.51.100.0/24")
        for server in cls.MUTE:
            world.address(world.far, server + "/32")
        cls.server = world.script(cls.answer, ROOT_SERVERS + [NAME_SERVER] + cls.MUTE)
        world.names = 'dns { server = "recursive"\n timeout = 8s\n trust_anchor = "/nonexistent" }'
        cls.dns = world.driven("dns", edges=["qmgr", "remote"])

    @staticmethod
    def answer(asked):
        """One server for the root and all below it."""
        name, last = asked.name, ".".join(asked.name.split(".")[-2:])
        if name in ("", "root-servers.net") or name.endswith("root-servers.net"):
            return Reply(a(name, ROOT_SERVERS[0])) if asked.type == A else Reply(ns("", "a.root-servers.net"), additional=[a("a.root-servers.net", ROOT_SERVERS[0])])
        if last == "good.example":
            return Reply(mx(name, 10, "mx.good.example")) if asked.type == MX else address(asked)
        if last == "large.example" and asked.at in ROOT_SERVERS:
            return Reply(authority=[ns(last, "ns." + last)], additional=[a("ns." + last, NAME_SERVER)], flags=0x8000)
        if last == "large.example":
            return Reply(*(mx(name, i, "mx%d.good.example" % i) for i in range(200))) if asked.type == MX else nothing()
        if last.startswith("mute") and asked.at in ROOT_SERVERS:
            return Reply(authority=[ns(last, "ns." + last)], additional=[a("ns." + last, "198.51.100." + last[4:].split(".")[0])], flags=0x8000)
        if last.startswith("mute"):
            return None if asked.tcp else Reply(flags=0x8680)
        if last == "circle.example":  # the servers of each are below the other
            return Reply(authority=[ns("circle.example", "ns.round.example")], flags=0x8000)
        if last == "round.example":
            return Reply(authority=[ns("round.example", "ns.circle.example")], flags=0x8000)
        if last == "many.example":  # a hundred servers, of which there is none
            return Reply(authority=[ns("many.example", "ns%d.victim.example" % i) for i in range(100)], flags=0x8000)
        if last == "fan.example":  # each of fifty servers has fifty others
            below = name.split(".")[-3:]
            if len(below) < 3 or not below[0].startswith("f"):
                return Reply(authority=[ns("fan.example", "ns.f%d.fan.example" % i) for i in range(50)], flags=0x8000)
            return Reply(authority=[ns(".".join(below), "ns%d.victim.example" % i) for i in range(50)], flags=0x8000)
        if last == "up.example" and asked.at != NAME_SERVER:
            return Reply(authority=[ns(last, "ns.up.example")], additional=[a("ns.up.example", NAME_SERVER)], flags=0x8000)
        if last == "up.example":  # back to the root
            return Reply(authority=[ns("", "a.root-servers.net")], additional=[a("a.root-servers.net", ROOT_SERVERS[0])], flags=0x8000)
        if last == "deep.example":  # a zone below each label, and each zone's server below itself
            zone = ".".join(name.split(".")[-random.randint(3, 60):])
            return Reply(authority=[ns(zone, "ns.%08x.deep.example" % random.getrandbits(32))], flags=0x8000)
        if last == "steal.example":  # glue for somebody else's name
            return Reply(mx(name, 10, "mx.steal.example"), authority=[ns("good.example", "ns.steal.example")],
                         additional=[a("ns.steal.example", "192.0.2.66"), a("mx.good.example", "192.0.2.66"), a("good.example", "192.0.2.66")]) if asked.type == MX else address(asked)
        return nothing(NXDOMAIN)

    def ask(self, name, most):
        self.server.forget()
        began = time.monotonic()
        answer = self.dns.edges["qmgr"].ask("RESOLVE", name=name, want=BOTH)
        self.assertLess(time.monotonic() - began, 20)
        self.assertLess(self.server.total(), most, dict(self.server.counts.most_common(5)))
        return answer

    def is_deferred(self, name, most):
        answer = self.ask(name, most)
        self.assertEqual((answer.verdict, answer.status), (RESOLVE_DEFERRED, "4.4.3"), answer)
        self.is_well()

    def is_well(self):
        answer = self.ask("%08x.good.example" % random.getrandbits(32), 10)
        self.assertEqual([(h.name, h.addresses) for h in answer.hosts], [("mx.good.example", "192.0.2.1")], answer)

    def test_servers_in_a_circle(self):
        self.is_deferred("x.circle.example", 50)

    def test_a_hundred_servers_that_there_are_not(self):
        self.is_deferred("x.many.example", 50)

    def test_servers_that_have_servers(self):
        self.is_deferred("x.fan.example", 50)

    def test_the_way_up_again(self):
        self.is_deferred("x.up.example", 50)

    def test_zones_without_end(self):
        self.is_deferred(".".join("a" for _ in range(60)) + ".deep.example", 50)

    def test_silence_over_tcp_holds_up_no_answer_that_takes_tcp(self):
        took = []
        for servers in ((1, 3), (3, 61)):
            for i in range(*servers):
                self.dns.edges["remote"].send("RESOLVE", name="mute%d.example" % i, want=RESOLVE_MX)
            wait_for(lambda: self.server.open_connections >= servers[1] - servers[0])  # libunbound would have ten
            began = time.monotonic()
            self.assertEqual(len(self.ask("x%d.large.example" % servers[0], 1000).hosts), 20)
            took.append(time.monotonic() - began)
        self.assertLess(min(took), 1, took)  # and not as long as libunbound waits for one that is silent
        self.assertEqual({self.dns.edges["remote"].receive().verdict for _ in range(60)}, {RESOLVE_DEFERRED})

    def test_addresses_for_others_names_are_not_taken(self):
        self.ask("x.steal.example", 20)
        self.is_well()
        answer = self.ask("good.example", 10)
        self.assertEqual([(h.name, h.addresses) for h in answer.hosts], [("mx.good.example", "192.0.2.1")], answer)


if __name__ == "__main__":
    unittest.main(verbosity=2)
