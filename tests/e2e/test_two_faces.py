"""Who owns a domain can say that a provider's hosts are its own, and a moment later something else. What comes of its mail is no word about the provider."""
import collections
import json
import re
import unittest

from host import DOMAIN, wait_for
from listening import Listener
from nameserver import A, MX, SERVFAIL, Reply, a, mx, soa
from netns import needs_root
from world import World


@needs_root
class TwoFaces(unittest.TestCase):
    """evilN.example leads to mx1.big.example when it is asked for the first time, and then elsewhere."""

    def then(self, second):
        world = self.enterContext(World())
        self.asked, self.connections = collections.Counter(), []

        def script(q):
            if q.type == MX and q.name.startswith("evil"):
                self.asked[q.name] += 1
                return Reply(mx(q.name, 10, "mx1.big.example", ttl=0)) if self.asked[q.name] == 1 else second(q.name)
            if q.type == MX:
                return Reply(mx(q.name, 10, "mx1.big.example"))
            if q.type == A:
                return Reply(a(q.name, "192.0.2.3" if "evil" in q.name else "192.0.2.2"))
            return Reply(authority=[soa()])
        world.script(script)
        self.good = world.server("192.0.2.2")

        def serve(connection):
            with connection:
                self.connections.append(connection)
                connection.sendall(b"421 4.7.0 come back later\r\n")
        self.enterContext(Listener(world.listen("192.0.2.3", 25), serve, together=False))
        rule = 'reply "stop" { match = { "421 *come back later*" } sites = { "big.example" } action = pause time = "1h" }\nsite "big.example" { share = yes }\n'
        return world.postino(rule)

    def send(self, host, domain):
        with host.smtp() as client:
            client.sendmail("alice@" + DOMAIN, "x@" + domain, "Subject: x\r\n\r\nx\r\n")

    def check(self, second, words):
        host = self.then(second)
        for i in range(8):
            self.send(host, "evil%d.example" % i)
        host.wait_log(words)
        wait_for(lambda: len(re.findall(r"status=(?:deferred|bounced)", host.log())) >= 8)
        for i in range(5):
            self.send(host, "good%d.example" % i)
        wait_for(lambda: len(self.good.messages) == 5)  # and not in an hour
        self.assertEqual(sorted(m.recipients for m in self.good.messages), [["x@good%d.example" % i] for i in range(5)])
        sites = [json.loads(line) for line in host.tool("postino", "sites", "--json").stdout.splitlines()]
        big = [site for site in sites if site["site"].startswith("smtp:mx1.big.example")]
        self.assertTrue(big and not any(site["dead"] or site["paused"] or site["slowed"] for site in big), sites)
        self.assertNotIn("paused:", host.log())

    def test_other_hosts(self):
        self.check(lambda name: Reply(mx(name, 10, "mx.%s" % name, ttl=0)), "the MX hosts of evil0.example have changed")
        self.assertEqual(self.connections, [])  # nothing was tried as if it were the provider's

    def test_no_answer(self):
        self.check(lambda name: Reply(rcode=SERVFAIL), "name=evil0.example type=MX")

    def test_no_hosts(self):
        self.check(lambda name: Reply(mx(name, 0, ".", ttl=0)), "evil0.example")


if __name__ == "__main__":
    unittest.main()
