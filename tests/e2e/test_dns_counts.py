"""How many DNS questions a whole Postino puts on the wire for its mail: few, and none twice. A name server that counts (nameserver.py), and next hosts in another
network namespace."""
import collections
import time
import unittest

from host import DOMAIN, wait_for
from nameserver import A, AAAA, MX, TXT, Reply, a, mx, soa
from netns import needs_root
from world import World

MESSAGES = 1000


def script(asked):
    """d7.example has two hosts, the same for all; wide.example has 500, of which the last is there."""
    if asked.type == MX and asked.name == "wide.example":
        return Reply(*(mx(asked.name, 500 - i, "w%d.example" % i) for i in range(500)))
    if asked.type == MX:
        return Reply(mx(asked.name, 10, "mx1.example"), mx(asked.name, 20, "mx2.example"))
    if asked.type == A:
        return Reply(a(asked.name, "192.0.2.2"))
    return Reply(authority=[soa()])


@needs_root
class Counts(unittest.TestCase):
    def setUp(self):
        world = self.enterContext(World())
        self.server = world.script(script)
        self.next_host = world.server("192.0.2.2")
        self.host = world.postino("remote { loopback = no }")

    def send(self, domains):
        """The time until all are there."""
        began = time.monotonic()
        with self.host.smtp() as client:
            for i, domain in enumerate(domains):
                client.sendmail("alice@" + DOMAIN, "x%d@%s" % (i, domain), "Subject: x\r\n\r\nx\r\n")
        wait_for(self.host.queue_is_empty, 60, 0.2)
        self.assertEqual(len(self.next_host.messages), len(domains))
        return time.monotonic() - began

    def by_type(self):
        """How many different ones; and there are hardly more in all (a large set is asked for over UDP, then over TCP)."""
        counts = collections.Counter()
        for name, kind in list(self.server.counts):
            if name.endswith("example"):
                counts[kind, name.startswith("_mta-sts.")] += 1
        self.assertLessEqual(self.server.total(), sum(counts.values()) * 1.2 + 20, self.server.counts.most_common(9))
        return dict(counts)

    def test_a_thousand_messages_to_one_site(self):
        """the hosts, addresses of two of them, and whether there is an MTA-STS policy: each once"""
        self.send(["d1.example"] * MESSAGES)
        self.assertEqual(self.by_type(), {(MX, False): 1, (A, False): 2, (AAAA, False): 2, (TXT, True): 1}, self.server.counts)

    def test_a_thousand_domains_of_one_mx_set(self):
        """a question for each domain and its policy; the addresses once for all"""
        self.send(["d%d.example" % i for i in range(MESSAGES)])
        counts = self.by_type()
        self.assertEqual({kind: counts[kind] for kind in ((MX, False), (A, False), (AAAA, False))}, {(MX, False): MESSAGES, (A, False): 2, (AAAA, False): 2})
        self.assertLessEqual(counts[TXT, True], MESSAGES)

    def test_a_domain_of_five_hundred_mx(self):
        """asked of for its 20 best hosts alone, and not much slower than another"""
        self.server.forget()
        took = self.send(["wide.example"])
        self.assertEqual(self.by_type(), {(MX, False): 1, (A, False): 20, (AAAA, False): 20, (TXT, True): 1})
        self.assertLess(took, 30)


if __name__ == "__main__":
    unittest.main(verbosity=2)
