"""DNSSEC as postino-dns sees it and as a whole Postino acts on it: a tree of zones from the root down, signed, broken and unsigned (zones.py), walked without a
forwarder; next hosts on port 25. RFC 4035 5, RFC 5155, RFC 7672 2."""
import re
import unittest

from frames import DANE_NONE, DANE_RECORDS, DANE_TROUBLE, DANE_UNASKED, RESOLVE_ADDRESSES, RESOLVE_DEFERRED, RESOLVE_FAILED, RESOLVE_MX, RESOLVE_OK, RESOLVE_TLSA
from host import certificate
from netns import needs_root
from world import World
from zones import Zone, forged, replaced, spki, without

ALL = RESOLVE_MX | RESOLVE_ADDRESSES | RESOLVE_TLSA
HOST, PLAIN_HOST = "192.0.2.2", "192.0.2.3"  # one with a certificate that TLSA records name, and one without STARTTLS


def site(sum_, address=HOST):
    return "@ MX 10 mx\nmx A %s\n_25._tcp.mx TLSA 3 1 1 %s" % (address, sum_)


def tree_of(sum_):
    """`sum_`: of the key that the host has."""
    good, other = site(sum_), "66" * 32
    return {
        ".": Zone(), "example": Zone(), "three": Zone(signed="nsec3"), "out": Zone(signed="optout"),
        # proved
        "good.example": Zone(good + "\nnotlsa MX 10 plain\nplain A %s\nstrange MX 10 mx.strange\nmx.strange A %s\n_25._tcp.mx.strange TLSA 3 1 1 %s\n" % (PLAIN_HOST, HOST, other)
                             + "null MX 0 .\nnomx A %s\n_25._tcp.nomx TLSA 3 1 1 %s\n*.wild MX 10 mx\nto CNAME unsigned.example.\nbelow MX 10 outside\n" % (HOST, sum_)
                             + "outside CNAME mx.unsigned.example.\n_25._tcp.outside TLSA 3 1 1 %s\nbare MX 10 bareout\nbareout CNAME mx.unsigned.example.\n" % sum_
                             + "inner MX 10 alias\nalias CNAME mx\nfar MX 10 mx.unsigned.example.\ncross MX 10 mx.three.\ntobad MX 10 hop\nhop CNAME mx.expired.example.\n"
                             + "many MX 10 mx.expired.example.\nmany MX 20 mx\nelsewhere CNAME good.three.\n"
                             + "star MX 10 h.star\nh.star A %s\n*._tcp.h.star TLSA 3 1 1 %s\n" % (HOST, sum_)),
        "good.three": Zone(good + "\nnomx A %s\nplain MX 10 host\nhost A %s\n" % (HOST, PLAIN_HOST), signed="nsec3"),
        "good.out": Zone(good, signed="optout"),
        "two.example": Zone(good, ds="both"),
        # not proved, and rightly so
        "unsigned.example": Zone(good, signed=""),
        "unsigned.three": Zone(good, signed=""),
        "unsigned.out": Zone(good, signed=""),
        "island.example": Zone(good, ds="none"),
        "unknown.example": Zone(good, ds="unknown"),
        # broken
        "expired.example": Zone(good, days=(-30, -3)),
        "early.example": Zone(good, days=(3, 30)),
        "wrong.example": Zone(good, ds="wrong"),
        "stripped.example": Zone(good, mend=lambda lines: [line for line in lines if not re.search(r"\sIN\s+(RRSIG|DNSKEY|NSEC)\s", line)]),
        "nokey.example": Zone(good, mend=without("DNSKEY")),
        "mxnosig.example": Zone(good, mend=without("RRSIG MX")),
        "anosig.example": Zone(good, mend=without("RRSIG A", "mx.anosig.example.")),
        "tlsanosig.example": Zone(good, mend=without("RRSIG TLSA")),
        "tlsaforged.example": Zone(good, mend=forged("TLSA")),
        "tlsachanged.example": Zone(good, mend=replaced(sum_, other)),
        "tlsagone.example": Zone(good, mend=without("TLSA")),
        "aforged.example": Zone(good, mend=replaced(HOST, PLAIN_HOST)),
        "nonsec.example": Zone("@ MX 10 mx\nmx A %s" % HOST, mend=without("NSEC")),
        "nonsec3.three": Zone("@ MX 10 mx\nmx A %s" % HOST, signed="nsec3", mend=without("NSEC3")),
        "nsecforged.example": Zone("@ MX 10 mx\nmx A %s" % HOST, mend=forged("NSEC")),
        "nsec3forged.three": Zone("@ MX 10 mx\nmx A %s" % HOST, signed="nsec3", mend=forged("NSEC3")),
        "mxgone.example": Zone(good, mend=without("MX")),
    }


class Signed(unittest.TestCase):
    """The tree and the hosts, made once for a class."""

    @classmethod
    def setUpClass(cls):
        cls.world = cls.enterClassContext(World())
        pair = certificate(cls.world.directory, "nobody.knows.example")
        cls.tree = cls.world.tree(tree_of(spki(pair[0])))
        cls.secure = cls.world.server(HOST, certificate=pair)
        cls.plain = cls.world.server(PLAIN_HOST)


@needs_root
class Answers(Signed):
    """What postino-dns says."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.dns = cls.world.driven("dns", edges=["qmgr"])

    def resolve(self, name):
        return self.dns.edges["qmgr"].ask("RESOLVE", name=name, want=ALL, port=25, timeout=60)

    def is_proved(self, name, *dane):
        answer = self.resolve(name)
        self.assertEqual((answer.verdict, answer.secure), (RESOLVE_OK, 1), (name, answer))
        self.assertEqual([h.dane for h in answer.hosts], list(dane), (name, answer))
        return answer.hosts

    def is_not_proved(self, name):
        answer = self.resolve(name)
        self.assertEqual((answer.verdict, answer.secure, [h.dane for h in answer.hosts]), (RESOLVE_OK, 0, [DANE_UNASKED]), (name, answer))
        self.assertTrue(answer.hosts[0].addresses)

    def is_bogus(self, name):
        answer = self.resolve(name)
        self.assertEqual((answer.verdict, answer.status, answer.hosts), (RESOLVE_DEFERRED, "4.4.3", []), (name, answer))
        self.assertIn("DNSSEC validation failed", answer.reason)

    def test_chains_from_the_root_are_proved(self):
        for name in ("good.example", "good.three", "good.out", "two.example"):
            [h] = self.is_proved(name, DANE_RECORDS)
            self.assertEqual((h.name, h.base, h.addresses), ("mx." + name, "mx." + name, HOST))

    def test_zones_that_need_not_be_signed_are_used_without_proof(self):
        """no DS, proved by NSEC, NSEC3 and opt-out; a signed zone without DS; a DS of an algorithm that nobody has (RFC 4035 5.2)"""
        for name in ("unsigned.example", "unsigned.three", "unsigned.out", "island.example", "unknown.example"):
            self.is_not_proved(name)

    def test_broken_chains_and_signatures_are_temporary(self):
        """expired, not valid yet, the wrong DS, an unsigned zone below a DS, no DNSKEY, MX without signature, MX taken away"""
        for name in ("expired.example", "early.example", "wrong.example", "stripped.example", "nokey.example", "mxnosig.example", "mxgone.example"):
            self.is_bogus(name)

    def test_addresses_that_are_not_signed_or_not_the_signed_ones_are_temporary(self):
        for name in ("anosig.example", "aforged.example"):
            self.is_bogus(name)

    def test_tlsa_that_is_not_proved_forbids_the_host(self):
        """no signature, a false one, another record, and the record taken away where NSEC says that there is one"""
        for name in ("tlsanosig.example", "tlsaforged.example", "tlsachanged.example", "tlsagone.example"):
            [h] = self.is_proved(name, DANE_TROUBLE)
            self.assertEqual(h.tlsa, "")

    def test_that_there_is_no_tlsa_must_be_proved(self):
        """RFC 7672 2.2: a denial that is missing or false is no denial"""
        self.is_proved("notlsa.good.example", DANE_NONE)
        self.is_proved("plain.good.three", DANE_NONE)
        for name in ("nonsec.example", "nonsec3.three", "nsecforged.example", "nsec3forged.three"):
            self.is_proved(name, DANE_TROUBLE)

    def test_that_there_is_no_domain_must_be_proved(self):
        for name in ("gone.good.example", "gone.good.three", "gone.example", "gone.three"):
            answer = self.resolve(name)
            self.assertEqual((answer.verdict, answer.status), (RESOLVE_FAILED, "5.1.2"), (name, answer))
        for name in ("gone.nonsec.example", "gone.nonsec3.three", "gone.nsecforged.example", "gone.nsec3forged.three", "gone.expired.example"):
            self.is_bogus(name)

    def test_null_mx_no_mx_and_wildcards_are_proved_like_others(self):
        answer = self.resolve("null.good.example")
        self.assertEqual((answer.verdict, answer.status), (RESOLVE_FAILED, "5.1.10"))
        self.assertEqual(self.is_proved("nomx.good.example", DANE_RECORDS)[0].base, "nomx.good.example")
        self.is_proved("nomx.good.three", DANE_NONE)
        self.assertEqual(self.is_proved("any.wild.good.example", DANE_RECORDS)[0].base, "mx.good.example")
        self.is_proved("star.good.example", DANE_RECORDS)

    def test_a_domain_that_is_an_alias_into_an_unsigned_zone_is_not_proved(self):
        self.is_not_proved("to.good.example")

    def test_a_domain_that_is_an_alias_into_a_signed_zone_is_proved(self):
        self.assertEqual(self.is_proved("elsewhere.good.example", DANE_RECORDS)[0].base, "mx.good.three")

    def test_a_host_that_is_an_alias_into_an_unsigned_zone_counts_by_its_own_name(self):
        self.assertEqual(self.is_proved("below.good.example", DANE_RECORDS)[0].base, "outside.good.example")
        self.is_proved("bare.good.example", DANE_NONE)

    def test_a_host_that_is_an_alias_into_a_signed_zone_counts_by_where_it_leads(self):
        self.assertEqual(self.is_proved("inner.good.example", DANE_RECORDS)[0].base, "mx.good.example")

    def test_a_host_in_an_unsigned_zone_has_no_dane(self):
        [h] = self.is_proved("far.good.example", DANE_NONE)
        self.assertEqual((h.name, h.addresses), ("mx.unsigned.example", HOST))

    def test_an_alias_into_a_broken_zone_is_temporary(self):
        self.is_bogus("tobad.good.example")

    def test_a_host_in_a_broken_zone_keeps_mail_from_no_other(self):
        broken, good = self.is_proved("many.good.example", DANE_UNASKED, DANE_RECORDS)
        self.assertEqual((broken.name, broken.addresses, good.name), ("mx.expired.example", "", "mx.good.example"))


@needs_root
class Huge(unittest.TestCase):
    def test_a_hundred_hosts_with_all_that_a_host_may_have(self):
        """more than two MiB in one answer: 40 of 60 addresses and 16 of 20 large TLSA records for each of a hundred hosts"""
        text = []
        for i in range(100):
            text.append("@ MX %d h%d\n" % (i, i) + "".join("h%d A 192.0.2.%d\nh%d AAAA 2001:db8:1111:2222:3333:4444:%x:%x\n" % (i, n, i, 0x5555 + i, 0x6666 + n) for n in range(30)))
            text += ["_25._tcp.h%d TLSA 3 0 0 %s\n" % (i, "%02x%04x" % (i, n) * 320) for n in range(20)]
        world = self.enterContext(World())
        world.tree({".": Zone(), "huge": Zone("".join(text))})
        dns = world.driven("dns", "dns { mx_hosts = 100 }", edges=["qmgr"])
        answer = dns.edges["qmgr"].ask("RESOLVE", name="huge", want=ALL, port=25, timeout=90)
        self.assertEqual((answer.verdict, answer.secure, len(answer.hosts)), (RESOLVE_OK, 1, 100))
        for h in answer.hosts:
            self.assertEqual((h.dane, len(h.addresses.split()), len(h.tlsa.split(", "))), (DANE_RECORDS, 40, 16))
        self.assertGreater(sum(len(h.addresses) + len(h.tlsa) for h in answer.hosts), 2 << 20)
        self.assertEqual(dns.edges["qmgr"].ask("RESOLVE", name="gone", want=ALL, timeout=90).status, "5.1.2")


@needs_root
class Mail(Signed):
    """What becomes of a message."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.host = cls.world.postino("remote { loopback = no connect_timeout = 30s idle_timeout = 0s }\nqueue { retry_first = 30s retry_most = 60s lifetime = 1h }")

    def send(self, recipient):
        self.host.sendmail(recipient, text="Subject: %s\n\nx\n" % recipient)

    def taken(self, recipient):
        return [m.secured for server in (self.secure, self.plain) for m in server.messages if recipient in m.recipients]

    def all(self, domains, check):
        recipients = ["x@" + domain for domain in domains]
        for recipient in recipients:
            self.send(recipient)
        for recipient in recipients:
            with self.subTest(recipient):
                check(recipient, self.host.outcome(recipient, seconds=60))

    def test_by_dane(self):
        def check(recipient, line):
            self.assertRegex(line, r"dane, verified 3 1 1 of .*status=sent")
            self.assertEqual(self.taken(recipient), ["TLSv1.3"])
        self.all(("good.example", "good.three", "two.example", "below.good.example", "nomx.good.example", "many.good.example"), check)

    def test_opportunistic(self):
        def check(recipient, line):
            self.assertRegex(line, r"may, not verified.*status=sent")
            self.assertEqual(self.taken(recipient), ["TLSv1.3"])
        self.all(("unsigned.example", "island.example", "far.good.example", "to.good.example"), check)

    def test_plain_where_the_host_has_no_tls_and_provably_no_tlsa(self):
        def check(recipient, line):
            self.assertIn("status=sent", line)
            self.assertEqual(self.taken(recipient), [None])
        self.all(("notlsa.good.example", "plain.good.three"), check)

    def test_deferred_without_a_word(self):
        def check(recipient, line):
            self.assertIn("status=deferred", line)
            self.assertEqual(self.taken(recipient), [])
        self.all(("expired.example", "wrong.example", "stripped.example", "mxnosig.example", "anosig.example", "aforged.example", "tlsanosig.example", "tlsaforged.example",
                  "tlsagone.example", "nonsec.example", "nonsec3.three", "nsec3forged.three", "strange.good.example", "gone.nsec3forged.three"), check)

    def test_returned(self):
        def check(recipient, line):
            self.assertIn("status=bounced", line)
        self.all(("null.good.example", "gone.good.example", "gone.good.three", "gone.example"), check)


if __name__ == "__main__":
    unittest.main(verbosity=2)
