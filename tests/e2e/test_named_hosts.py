"""Next hosts that fail in what their domain promised: a whole Postino, a tree of signed zones from the root down (zones.py), MTA-STS policies from a real HTTPS server,
and hosts on port 25 that refuse EHLO or STARTTLS, break TLS, or have a wrong certificate. RFC 7672, RFC 8461.

HOSTS is all that is expected. Each line is a domain with a host of its own: what the domain promises, what its host does, and what becomes of a message:

    plain        sent, without TLS
    tls          sent over TLS that proves nothing
    dane, sts, verify   sent over TLS that was proved so
    4.7.x        deferred with that status, and the host was told nothing of the message
    unasked      deferred, and the host was not even called
"""
import collections
import re
import unittest

from certificates import Certificates
from hostile import DROP, Raw
from netns import needs_root
from world import World
from zones import Zone, forged, replaced, spki

HOSTS = """
promise       host              becomes
nothing       well              tls
nothing       no-starttls       plain
nothing       ehlo-refused      plain
nothing       starttls-refused  plain
nothing       starttls-421      4.3.2
nothing       starttls-drops    plain
nothing       starttls-injects  plain
nothing       expired           tls
nothing       wrong-name        tls
tlsa-key      well              dane
tlsa-key      no-starttls       4.7.4
tlsa-key      ehlo-refused      4.7.4
tlsa-key      starttls-refused  4.7.4
tlsa-key      starttls-421      4.7.4
tlsa-key      starttls-drops    4.7.5
tlsa-key      starttls-injects  4.7.5
tlsa-key      expired           dane
tlsa-key      wrong-name        dane
tlsa-ca       well              dane
tlsa-ca       expired           4.7.5
tlsa-ca       wrong-name        4.7.5
tlsa-ca       alone             4.7.5
tlsa-wrong    well              4.7.5
tlsa-useless  well              tls
tlsa-useless  no-starttls       4.7.4
tlsa-bogus    well              unasked
tlsa-changed  well              unasked
sts           well              sts
sts           no-starttls       4.7.4
sts           ehlo-refused      4.7.4
sts           starttls-refused  4.7.4
sts           starttls-drops    4.7.5
sts           expired           4.7.5
sts           wrong-name        4.7.5
sts           alone             4.7.5
sts-mismatch  well              unasked
sts-testing   alone             tls
sts-testing   no-starttls       plain
sts-and-tlsa  expired           dane
encrypt       wrong-name        tls
encrypt       no-starttls       4.7.4
encrypt       starttls-refused  4.7.4
encrypt       starttls-drops    4.7.5
verify        well              verify
verify        expired           4.7.5
verify        wrong-name        4.7.5
verify        alone             4.7.5
verify        starttls-refused  4.7.4
"""
SCRIPTS = {
    "ehlo-refused": dict(EHLO="502 5.5.1 what?"),
    "starttls-refused": dict(STARTTLS="454 4.7.0 not now"),
    "starttls-421": dict(STARTTLS="421 4.3.2 going down"),
    "starttls-drops": dict(STARTTLS=Raw(b"220 go on\r\n", DROP)),
    "starttls-injects": dict(STARTTLS=Raw(b"220 go on\r\n250 injected\r\n")),
}
POLICY = "version: STSv1\nmode: %s\nmax_age: 86400\nmx: %s\n"
POLICIES, WRONG = "192.0.2.8", "66" * 32


class Domain:
    def __init__(self, number, promise, what, becomes):
        self.promise, self.what, self.becomes = promise, what, becomes
        self.address = "198.51.100.%d" % number
        zone = {"tlsa-bogus": "bogus.example", "tlsa-changed": "changed.example", "nothing": "unsigned.example", "sts": "unsigned.example", "sts-mismatch": "unsigned.example",
                "sts-testing": "unsigned.example"}.get(promise, "signed.example")
        self.label, self.name = "h%d" % number, "h%d.%s" % (number, zone)
        self.zone, self.mx, self.recipient = zone, "mx." + self.name, "x@" + self.name
        self.words = "%s, %s" % (promise, what)

    def certificate(self, made):
        if self.what == "no-starttls":
            return None
        if self.what == "alone":
            return made.alone
        if self.what == "wrong-name":
            return made.elsewhere
        return made.sign(self.mx, days="-1" if self.what == "expired" else "30")

    def tlsa(self, made, pair):
        key = spki((pair or made.alone)[0])
        return {"tlsa-key": "3 1 1 " + key, "sts-and-tlsa": "3 1 1 " + key, "tlsa-bogus": "3 1 1 " + key, "tlsa-changed": "3 1 1 " + key, "tlsa-wrong": "3 1 1 " + WRONG,
                "tlsa-ca": "2 1 1 " + spki(made.authority[0]), "tlsa-useless": "3 1 9 00"}.get(self.promise)

    def records(self, tlsa):
        lines = ["%s MX 10 mx.%s" % (self.label, self.label), "mx.%s A %s" % (self.label, self.address)]
        if tlsa:
            lines.append("_25._tcp.mx.%s TLSA %s" % (self.label, tlsa))
        if self.promise.startswith("sts"):
            lines += ["_mta-sts.%s TXT \"v=STSv1; id=1;\"" % self.label, "mta-sts.%s A %s" % (self.label, POLICIES)]
        return "\n".join(lines) + "\n"

    def policy(self):
        return POLICY % ("testing" if self.promise == "sts-testing" else "enforce", self.mx if self.promise == "sts" else "elsewhere.example")

    def route(self):
        return self.promise if self.promise in ("encrypt", "verify") else None


@needs_root
class Promises(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.domains = [Domain(i + 1, *line.split()) for i, line in enumerate(HOSTS.strip().splitlines()[1:])]
        cls.made = cls.enterClassContext(Certificates())
        cls.world = cls.enterClassContext(World())
        cls.world.route("198.51.100.0/24")
        cls.serve()
        cls.publish_policies()
        routes = {d.name: "via = \"smtp:\" tls = %s" % d.route() for d in cls.domains if d.route()}
        cls.host = cls.world.postino(
            "remote { loopback = no idle_timeout = 0s }\nqueue { retry_first = 10m retry_most = 10m }\ntls { authorities = \"%s\" }" % cls.made.authority[0],
            tls=False, routes=routes)

    @classmethod
    def serve(cls):
        zones, cls.servers = collections.defaultdict(str), {}
        for d in cls.domains:
            pair = d.certificate(cls.made)
            zones[d.zone] += d.records(d.tlsa(cls.made, pair))
            cls.world.address(cls.world.far, d.address + "/32")
            cls.servers[d] = cls.world.server(d.address, name=d.mx, certificate=pair, **SCRIPTS.get(d.what, {}))
        changed = re.search(r"TLSA 3 1 1 (\w+)", zones["changed.example"]).group(1)
        cls.world.tree({".": Zone(), "example": Zone(), "signed.example": Zone(zones["signed.example"]), "unsigned.example": Zone(zones["unsigned.example"], signed=""),
                        "bogus.example": Zone(zones["bogus.example"], mend=forged("TLSA")), "changed.example": Zone(zones["changed.example"], mend=replaced(changed, WRONG))})

    @classmethod
    def publish_policies(cls):
        those = [d for d in cls.domains if d.promise.startswith("sts")]
        https = cls.world.https(cls.made.sign("mta-sts." + those[0].name, more=["mta-sts." + d.name for d in those[1:]]))
        for d in those:
            https.policy(d.name, d.policy())

    def expect(self, d, line):
        server = self.servers[d]
        said = " ".join(c for s in server.sessions for c in s.commands)
        if d.becomes == "unasked" or d.becomes[0] == "4":
            self.assertIn("status=deferred", line)
            self.assertRegex(line, r"dsn=%s" % ("4\\." if d.becomes == "unasked" else re.escape(d.becomes + " ")))
            self.assertEqual(bool(server.sessions), d.becomes != "unasked")
            self.assertNotIn("MAIL", said)
            self.assertEqual(server.received, [])
            return
        self.assertRegex(line, r"dsn=2\.0\.0 .*status=sent")
        self.assertEqual([m.recipients for m in server.messages], [[d.recipient]])
        self.assertEqual([m.secured for m in server.messages], [None if d.becomes == "plain" else "TLSv1.3"])
        proof = re.search(r"tls=\"([^\"]*)\"", line)
        self.assertEqual(bool(proof), d.becomes != "plain")
        if proof:
            self.assertRegex(proof.group(1), r", (may|encrypt|sts testing), not verified" if d.becomes == "tls" else ", %s, verified" % d.becomes)

    def test_each_promise_is_kept(self):
        for d in self.domains:
            self.host.sendmail(d.recipient, text="Subject: %s\n\nx\n" % d.words)
        for d in self.domains:
            with self.subTest(d.words):
                self.expect(d, self.host.outcome(d.recipient, seconds=60))
        self.balance()

    def balance(self):
        """Each message is where its domain's line says, once; the queue lists what was deferred, with the reason."""
        sent = [d for d in self.domains if d.becomes not in ("unasked",) and d.becomes[0] != "4"]
        queue = self.host.queue()
        self.assertEqual(sum(len(server.messages) for server in self.servers.values()), len(sent))
        self.assertEqual({d.recipient for d in self.domains if d.recipient in queue}, {d.recipient for d in self.domains} - {d.recipient for d in sent})
        self.assertEqual(re.findall(r"status=bounced.*|in_doubt=yes.*", self.host.log()), [])
        self.mended(sent)

    def mended(self, sent):
        """What only the host was to blame for goes when it has come to its senses, over TLS where that was demanded."""
        those = [d for d in self.domains if d not in sent and d.what in SCRIPTS]
        for d in those:
            self.servers[d].script = {}
            self.assertEqual(self.host.tool("postino", "queue", "flush", d.name).returncode, 0)
        for d in those:
            with self.subTest(d.words + ", mended"):
                self.host.wait_log(r"to=<%s> .*status=sent" % re.escape(d.recipient), 60)
                self.assertEqual([m.secured for m in self.servers[d].messages], ["TLSv1.3"])


if __name__ == "__main__":
    unittest.main(verbosity=2)
