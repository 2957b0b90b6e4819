"""TLSRPT (RFC 8460): what is told of sessions, how it is counted, and the reports."""
import unittest

import frames
import host
from hostile import DROP, Raw
from test_remote import DEFERRED, RELAYED, TIMES, Policies
from test_remote_security import BASE, Certificates, Security, sum_of

FAILURE = ("host", "address", "source", "reason")


class Listener(Policies):
    """The sts program, which also keeps what it is told."""

    def run(self):
        self.told = []
        try:
            while True:
                m = self.channel.receive(None)
                if m.type == "TLS_SESSIONS":
                    self.told.append(m)
                    continue
                self.asked.append(m.domain)
                mode, mx = self.table.get(m.domain, (frames.STS_NONE, ""))
                self.channel.send("STS_IS", request=m.request, mode=mode, mx=mx, id="1" if mode else "")
        except (frames.Closed, OSError, ValueError):
            pass


class Notices(Security):
    """postino-remote: one for each session, from what came of it."""

    settings = 'idle_timeout = "0" ' + TIMES

    @classmethod
    def setUpClass(cls):
        made = Certificates()
        cls.rest = 'tlsrpt { from = "reports@local.example" }\ntls { authorities = "%s" }' % made.authority[0]
        super().setUpClass()
        cls.made.close()
        cls.made = made
        cls.remote.policies.end()
        cls.remote.policies = Listener(cls.remote.connect("sts"))

    def setUp(self):
        del self.remote.policies.told[:]

    def policy(self, mode, mx):
        self.remote.policies.table["a.example"] = mode, mx
        self.addCleanup(self.remote.policies.table.clear)

    def told(self, policy, result, base="", tlsa="", count=1):
        """The one notice there is."""
        host.wait_for(lambda: self.remote.policies.told, 5)
        m, = self.remote.policies.told
        self.assertEqual((m.domain, m.policy, m.result, m.base, m.tlsa, m.count), ("a.example", policy, result, base, tlsa, count), m)
        if result == frames.TLS_SUCCESS:
            self.assertEqual([m[f] for f in FAILURE], [""] * 4)
        else:
            self.assertEqual((m.host, m.address), (BASE, "127.0.0.2"))
        del self.remote.policies.told[:]
        return m

    def failed(self, certificate, policy, result, words="", delivered=False, **more):
        with self.remote.server(certificate=certificate, **more):
            answer = self.remote.deliver(tls="dane")
            self.assertEqual(answer.outcomes[0].verdict, RELAYED if delivered else DEFERRED, answer)
        base, tlsa = more.pop("base", ""), more.pop("tlsa", "")
        m = self.told(policy, result, base, tlsa)
        self.assertIn(words, m.reason)
        self.assertEqual(m.source, "127.0.0.1")
        return m

    def test_success_without_a_policy_adds_up(self):
        self.publish(dane=frames.DANE_NONE)
        with self.remote.server(certificate=self.made.alone):
            for _ in range(3):
                self.remote.deliver(tls="dane")
        self.told(frames.TLS_POLICY_NONE, frames.TLS_SUCCESS, count=3)

    def test_without_tls(self):
        self.publish(dane=frames.DANE_NONE)
        self.failed(None, frames.TLS_POLICY_NONE, frames.TLS_STARTTLS_NOT_SUPPORTED, delivered=True)
        self.failed(self.made.alone, frames.TLS_POLICY_NONE, frames.TLS_STARTTLS_NOT_SUPPORTED, "454 4.7.0 not now", delivered=True, STARTTLS="454 4.7.0 not now")
        self.failed(self.made.alone, frames.TLS_POLICY_NONE, frames.TLS_VALIDATION_FAILURE, "in plain", delivered=True, STARTTLS=Raw(b"220 go on\r\n250 injected\r\n"))

    def test_sts_enforced(self):
        self.publish(dane=frames.DANE_NONE)
        self.policy(frames.STS_ENFORCE, BASE)
        with self.remote.server(certificate=self.made.signed):
            self.remote.deliver(tls="dane")
        self.told(frames.TLS_POLICY_STS, frames.TLS_SUCCESS)
        self.failed(self.made.elsewhere, frames.TLS_POLICY_STS, frames.TLS_CERTIFICATE_HOST_MISMATCH, "hostname mismatch")
        self.failed(self.made.alone, frames.TLS_POLICY_STS, frames.TLS_CERTIFICATE_NOT_TRUSTED, "certificate")
        self.failed(None, frames.TLS_POLICY_STS, frames.TLS_STARTTLS_NOT_SUPPORTED)

    def test_sts_enforced_another_host(self):
        self.publish(dane=frames.DANE_NONE)
        self.policy(frames.STS_ENFORCE, "elsewhere.example")
        self.remote.deliver(tls="dane")
        m = self.told(frames.TLS_POLICY_STS, frames.TLS_VALIDATION_FAILURE)
        self.assertIn("not among those of the policy", m.reason)
        self.assertEqual(m.source, "")

    def test_sts_for_tests_delivers_and_tells(self):
        self.publish(dane=frames.DANE_NONE)
        self.policy(frames.STS_TESTING, BASE)
        with self.remote.server(certificate=self.made.signed):
            self.remote.deliver(tls="dane")
        self.told(frames.TLS_POLICY_STS, frames.TLS_SUCCESS)
        self.failed(self.made.elsewhere, frames.TLS_POLICY_STS, frames.TLS_CERTIFICATE_HOST_MISMATCH, delivered=True)
        self.failed(self.made.alone, frames.TLS_POLICY_STS, frames.TLS_CERTIFICATE_NOT_TRUSTED, delivered=True)
        self.failed(None, frames.TLS_POLICY_STS, frames.TLS_STARTTLS_NOT_SUPPORTED, delivered=True)
        self.failed(self.made.signed, frames.TLS_POLICY_STS, frames.TLS_VALIDATION_FAILURE, delivered=True, STARTTLS=DROP)
        self.policy(frames.STS_TESTING, "elsewhere.example")
        self.failed(self.made.signed, frames.TLS_POLICY_STS, frames.TLS_VALIDATION_FAILURE, "not among those of the policy", delivered=True)

    def test_an_expired_certificate(self):
        self.remote.names.table["e.example"] = [("old." + BASE, "127.0.0.2")]
        self.publish(dane=frames.DANE_NONE)
        self.remote.policies.table["e.example"] = frames.STS_ENFORCE, "old." + BASE
        with self.remote.server(certificate=self.made.expired):
            self.remote.deliver(tls="dane", nexthop="e.example")
        host.wait_for(lambda: self.remote.policies.told, 5)
        self.assertEqual([(m.domain, m.result) for m in self.remote.policies.told], [("e.example", frames.TLS_CERTIFICATE_EXPIRED)])

    def test_dane(self):
        good, bad = ("3 1 1 " + sum_of(d) for d in (self.made.key(self.made.alone), b"other"))
        self.publish(bad, good)
        with self.remote.server(certificate=self.made.alone):
            self.remote.deliver(tls="dane")
        self.told(frames.TLS_POLICY_TLSA, frames.TLS_SUCCESS, BASE, "%s, %s" % (bad, good))
        self.publish(bad)
        with self.remote.server(certificate=self.made.alone):
            self.remote.deliver(tls="dane")
        self.assertIn("no matching DANE TLSA records", self.told(frames.TLS_POLICY_TLSA, frames.TLS_CERTIFICATE_NOT_TRUSTED, BASE, bad).reason)
        self.publish("3 1 1 00")
        with self.remote.server(certificate=self.made.alone):
            self.remote.deliver(tls="dane")
        self.told(frames.TLS_POLICY_TLSA, frames.TLS_TLSA_INVALID, BASE, "3 1 1 00")
        self.publish(dane=frames.DANE_TROUBLE)
        self.remote.deliver(tls="dane")
        self.told(frames.TLS_POLICY_TLSA, frames.TLS_DNSSEC_INVALID, BASE)
        self.publish(dane=frames.DANE_NONE)
        self.remote.deliver(tls="dane-only")
        self.told(frames.TLS_POLICY_TLSA, frames.TLS_DANE_REQUIRED, BASE)

    def test_many_records_are_cut_between_two(self):
        records = ["3 1 1 %02x" % i + "00" * 31 for i in range(40)]
        self.publish(*records)
        with self.remote.server(certificate=self.made.alone):
            self.remote.deliver(tls="dane")
        host.wait_for(lambda: self.remote.policies.told, 5)
        tlsa = self.remote.policies.told[0].tlsa
        self.assertLess(len(tlsa), 1024)
        self.assertEqual(tlsa.split(", "), records[:len(tlsa.split(", "))])
        self.assertGreater(len(tlsa), 900)

    def test_what_is_not_the_receivers_policy_is_not_told(self):
        self.publish(dane=frames.DANE_NONE)
        with self.remote.server(certificate=self.made.alone) as server:
            for tls in ("may", "encrypt", "none"):
                self.remote.deliver(tls=tls)
            self.remote.deliver(tls="dane", nexthop="[mx0.a.example]")
            self.remote.deliver(tls="dane", nexthop="a.example:%d" % self.remote.port)
            self.remote.deliver(tls="dane", flags=frames.ENVELOPE_TLS_OPTIONAL)  # a report's own session (RFC 8460 3)
            self.assertEqual(len(server.messages), 5)
            self.remote.deliver(tls="dane")
        self.told(frames.TLS_POLICY_NONE, frames.TLS_SUCCESS, count=1)

    def test_an_sts_that_does_not_read_holds_nothing_up(self):
        """... but for the policy, which it is asked for."""
        self.publish(dane=frames.DANE_NONE)
        with self.remote.server(certificate=self.made.alone):
            for _ in range(3):
                self.remote.deliver(tls="dane")
            self.remote.policies.end()
            self.remote.send(tls="dane")
            self.remote.policies = type(self).remote.policies = Listener(self.remote.connect("sts"))
            self.check(self.remote.result(), (RELAYED, "2.0.0", ""))
        host.wait_for(lambda: self.remote.policies.told, 5)


class Silent(Security):
    def test_without_an_address_to_report_from_nothing_is_told(self):
        self.remote.policies.end()
        self.remote.policies = Listener(self.remote.connect("sts"))
        self.publish(dane=frames.DANE_NONE)
        with self.remote.server(certificate=self.made.alone):
            self.remote.deliver(tls="dane")
        with self.assertRaises(AssertionError):
            host.wait_for(lambda: self.remote.policies.told, 1.5)


if __name__ == "__main__":
    unittest.main()
