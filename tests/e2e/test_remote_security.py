"""What postino-remote demands of a next host's TLS: DANE (RFC 7672), fingerprints. qmgr and dns are played by the test; dns' own part is in test_dns.Dane."""
import ssl
import unittest

import frames
from certificates import BASE, sum_of
from hostile import DROP, Raw
from remote import DEFERRED, OWN_DOMAIN, RELAYED, Policies, Security


class Dane(Security):
    def test_the_key_or_the_certificate_itself_by_every_sum(self):
        for selector, data in ((0, self.made.der(self.made.alone)), (1, self.made.key(self.made.alone))):
            for matching, text in ((0, data.hex()), (1, sum_of(data)), (2, sum_of(data, 512))):
                with self.subTest(selector=selector, matching=matching):
                    record = "3 %d %d %s" % (selector, matching, text)
                    self.publish(record)
                    self.delivered(self.made.alone, ", dane, verified 3 %d %d of %s" % (selector, matching, BASE))

    def test_names_and_dates_do_not_matter_for_the_key_itself(self):
        self.publish("3 1 1 " + sum_of(self.made.key(self.made.expired)))
        self.delivered(self.made.expired, "verified 3 1 1")

    def test_an_authority_with_the_right_name(self):
        for data, selector in ((self.made.der(self.made.authority), 0), (self.made.key(self.made.authority), 1)):
            self.publish("2 %d 1 %s" % (selector, sum_of(data)))
            self.delivered(self.made.signed, "dane, verified 2 %d 1" % selector)
            self.delivered(self.made.of_domain, "dane, verified 2 %d 1" % selector)

    def test_an_authority_with_another_name_or_an_old_certificate(self):
        self.publish("2 1 1 " + sum_of(self.made.key(self.made.authority)))
        self.deferred(self.made.elsewhere, "certificate: hostname mismatch")
        self.publish("2 1 1 " + sum_of(self.made.key(self.made.authority)), base="old." + BASE)
        self.deferred(self.made.expired, "certificate: certificate has expired")

    def test_another_key_is_refused_and_no_mail_is_said(self):
        self.publish("3 1 1 " + sum_of(b"another"))
        server = self.deferred(self.made.alone, "certificate: no matching DANE TLSA records")
        self.assertEqual(len(server.sessions), 1)

    def test_one_of_several_records_is_enough(self):
        self.publish("3 1 1 " + sum_of(b"old"), "3 1 1 " + sum_of(self.made.key(self.made.alone)), "2 1 1 " + sum_of(b"x"))
        self.delivered(self.made.alone, "verified 3 1 1")

    def test_there_is_no_way_back_to_plain(self):
        self.publish("3 1 1 " + sum_of(self.made.key(self.made.alone)))
        self.deferred(None, "TLS is required, but was not offered", "4.7.4")
        self.deferred(self.made.alone, "in reply to STARTTLS", "4.7.4", STARTTLS="454 4.7.0 not now")
        self.deferred(self.made.alone, "TLS with host", STARTTLS=DROP)
        self.deferred(self.made.alone, "TLS with host", STARTTLS=Raw(b"220 go on\r\n250 injected\r\n"))
        self.deferred(self.made.alone, "TLS is required, but was not offered", "4.7.4", EHLO="502 what?")

    def test_records_that_are_of_no_use_demand_tls_and_no_more(self):
        for record in ("0 0 1 " + "00" * 32, "1 1 1 " + "00" * 32, "3 1 1 00", "3 9 1 " + "00" * 32, "3 1 9 00", "3 0 255 ", "nonsense", "3 1 1 zz", "3 1 0 ", "33 1 1 " + "00" * 32):
            self.publish(record)
            self.delivered(self.made.alone, ", encrypt, not verified")
            self.deferred(None, "TLS is required, but was not offered", "4.7.4")

    def test_a_full_certificate_that_is_none_is_of_no_use_for_openssl_and_defers(self):
        self.publish("3 0 0 " + "ff" * 100)
        self.deferred(self.made.alone, "TLS with host")

    def test_a_host_whose_records_can_not_be_had_is_not_used(self):
        self.publish(dane=frames.DANE_TROUBLE)
        server = self.deferred(self.made.alone, "its TLSA records can't be had now", own=OWN_DOMAIN)
        self.assertEqual(server.sessions, [])

    def test_what_dns_can_not_have_said_is_trouble(self):
        self.publish("3 1 1 " + "00" * 32, base="no domain")
        self.deferred(self.made.alone, "its TLSA records can't be had now", own=OWN_DOMAIN)
        self.publish(dane=77)
        self.deferred(self.made.alone, "its TLSA records can't be had now", own=OWN_DOMAIN)

    def test_without_records_it_is_opportunistic(self):
        for dane in (frames.DANE_NONE, frames.DANE_UNASKED):
            self.publish(dane=dane)
            self.delivered(self.made.alone, ", may, not verified")
            with self.remote.server() as server:
                self.check(self.remote.deliver(tls="dane"), (RELAYED, "2.0.0", ""))
                self.assertIsNone(server.messages[0].secured)

    def test_dane_only_waits_for_records(self):
        self.publish(dane=frames.DANE_NONE)
        self.deferred(self.made.alone, "has no TLSA records that DNSSEC proves", own=OWN_DOMAIN, tls="dane-only")
        self.publish("1 1 1 " + "00" * 32)
        self.deferred(self.made.alone, "none of its TLSA records is of use", own=OWN_DOMAIN, tls="dane-only")
        self.publish("3 1 1 " + sum_of(self.made.key(self.made.alone)))
        self.delivered(self.made.alone, "dane, verified", tls="dane-only")

    def test_the_next_host_is_tried(self):
        self.remote.names.table["v.example"] = [("mx1.example", "127.0.0.2"), ("mx2.example", "127.0.0.3")]
        self.publish("3 1 1 " + sum_of(self.made.key(self.made.signed)), base="mx.example")
        with self.remote.server(certificate=self.made.alone) as first, self.remote.server("127.0.0.3", certificate=self.made.signed) as second:
            self.check(self.remote.deliver(nexthop="v.example", tls="dane"), (RELAYED, "2.0.0", ""))
            self.assertEqual((len(first.messages), len(second.messages)), (0, 1))

    def test_the_base_of_the_records_is_told_as_the_name(self):
        seen = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.made.alone)
        context.sni_callback = lambda sock, name, ctx: seen.append(name)
        self.publish("3 1 1 " + sum_of(self.made.key(self.made.alone)), base="target.example")
        with self.remote.server(context=context):
            self.check(self.remote.deliver(tls="dane"), (RELAYED, "2.0.0", ""))
        self.assertEqual(seen, ["target.example"])

    def test_a_session_is_resumed_under_the_same_records_only(self):
        good = "3 1 1 " + sum_of(self.made.key(self.made.alone))
        with self.remote.server(certificate=self.made.alone) as server:
            for records in ((good,), (good,), (good, "3 1 1 " + "00" * 32), ("3 1 1 " + "00" * 32,)):
                self.publish(*records)
                result = self.remote.deliver(tls="dane")
                self.assertEqual(result.outcomes[0].verdict, RELAYED if good in records else DEFERRED)
            self.assertEqual([s.resumed for s in server.sessions], [False, True, False, None])  # the last handshake fails

    def test_a_session_of_one_next_hop_proves_nothing_to_another(self):
        """DANE-TA lets a certificate have the next hop's name (RFC 7672 3.2.2)."""
        self.remote.names.table["b.example"] = [(BASE, "127.0.0.2")]
        self.publish("2 1 1 " + sum_of(self.made.key(self.made.authority)))
        with self.remote.server(certificate=self.made.of_domain) as server:
            self.check(self.remote.deliver(tls="dane"), (RELAYED, "2.0.0", ""))
            self.check(self.remote.deliver(tls="dane", nexthop="b.example"), (DEFERRED, "4.7.5", "hostname mismatch"), site_failed=1)
            self.assertEqual(len(server.messages), 1)

    def test_they_are_asked_for_where_they_count_alone(self):
        for tls, wanted in (("dane", True), ("dane-only", True), ("may", False), ("none", False), ("encrypt", False), ("verify", False)):
            del self.remote.names.asked[:]
            with self.remote.server(certificate=self.made.alone):
                self.remote.deliver(tls=tls)
            self.assertEqual([bool(want & frames.RESOLVE_TLSA) for _, want in self.remote.names.asked], [wanted], tls)


class Sts(Security):
    """RFC 8461: what postino-remote makes of a policy. postino-sts, which fetches it, is tested in test_sts."""

    rest = 'tls { authorities = "AUTHORITY" }'

    def policy(self, mode, mx, dane=frames.DANE_NONE):
        self.remote.policies.table["a.example"] = mode, mx
        self.addCleanup(self.remote.policies.table.clear)
        self.publish(dane=dane)

    def test_a_host_of_the_policy_with_its_name_proved(self):
        for mx in (BASE, "*.a.example", "other.example MX0.A.Example"):
            self.policy(frames.STS_ENFORCE, mx)
            self.delivered(self.made.signed, ", sts, verified")

    def test_a_certificate_that_proves_it_not(self):
        self.policy(frames.STS_ENFORCE, BASE)
        for certificate in (self.made.alone, self.made.elsewhere, self.made.of_domain):
            self.deferred(certificate, "certificate")

    def test_a_host_that_is_not_in_the_policy_is_not_used(self):
        for mx in ("", "a.example", "*.example", "*.mx0.a.example", "x" + BASE, "*"):
            self.policy(frames.STS_ENFORCE, mx)
            server = self.deferred(self.made.signed, "not among the hosts of the domain's MTA-STS policy", own=OWN_DOMAIN)
            self.assertEqual(server.sessions, [])

    def test_there_is_no_way_back_to_plain(self):
        self.policy(frames.STS_ENFORCE, BASE)
        self.deferred(None, "TLS is required, but was not offered", "4.7.4")
        self.deferred(self.made.signed, "in reply to STARTTLS", "4.7.4", STARTTLS="454 4.7.0 not now")

    def test_testing_and_none_change_nothing(self):
        for mode, words in ((frames.STS_TESTING, "sts testing, not verified"), (frames.STS_NONE, "may, not verified"), (77, "may, not verified")):
            self.policy(mode, "elsewhere.example")
            self.delivered(self.made.alone, ", " + words)
            with self.remote.server() as server:  # without TLS
                self.check(self.remote.deliver(tls="dane"), (RELAYED, "2.0.0", ""))
                self.assertIsNone(server.messages[0].secured)

    def test_testing_looks_at_what_would_be(self):
        self.policy(frames.STS_TESTING, BASE)
        self.delivered(self.made.signed, ", sts testing, verified")
        self.delivered(self.made.elsewhere, ", sts testing, not verified")

    def test_dane_comes_first(self):
        self.policy(frames.STS_ENFORCE, "elsewhere.example")
        self.publish("3 1 1 " + sum_of(self.made.key(self.made.alone)))
        self.delivered(self.made.alone, "dane, verified 3 1 1")
        self.publish(dane=frames.DANE_TROUBLE)
        self.deferred(self.made.signed, "its TLSA records can't be had now", own=OWN_DOMAIN)

    def test_it_is_asked_for_domains_whose_route_says_nothing_else(self):
        for tls, nexthop, wanted in (("dane", "a.example", ["a.example"]), ("dane", "[mx0.a.example]", []), ("dane", "a.example:%d" % self.remote.port, []),
                                     ("may", "a.example", []), ("dane-only", "a.example", []), ("encrypt", "a.example", [])):
            del self.remote.policies.asked[:]
            self.remote.deliver(tls=tls, nexthop=nexthop)
            self.assertEqual(self.remote.policies.asked, wanted, (tls, nexthop))

    def test_an_sts_that_dies_keeps_no_mail(self):
        self.remote.policies.end()
        self.publish(dane=frames.DANE_NONE)
        with self.remote.server():
            self.remote.send(tls="dane")
            self.remote.policies = Policies(self.remote.connect("sts"))
            self.check(self.remote.result(), (RELAYED, "2.0.0", ""))


class Fingerprints(Security):
    def test_the_certificate_or_its_key(self):
        for data in (self.made.der(self.made.alone), self.made.key(self.made.alone)):
            self.delivered(self.made.alone, ", fingerprint, verified", tls="fingerprint:%s,%s" % ("00" * 32, sum_of(data).upper()))

    def test_another_one(self):
        self.deferred(self.made.alone, "not one of the route's fingerprints", tls="fingerprint:" + "00" * 32)
        self.deferred(None, "TLS is required, but was not offered", "4.7.4", tls="fingerprint:" + "00" * 32)

    def test_what_is_none_is_no_policy(self):
        for text in ("fingerprint", "fingerprint:", "fingerprint:00", "fingerprint:" + "zz" * 32, "fingerprint:%s,," % ("00" * 32), "dane:" + "00" * 32):
            self.check(self.remote.deliver(tls=text), (frames.VERDICT_FAILED, "5.3.5", "no valid route"))


if __name__ == "__main__":
    unittest.main()
