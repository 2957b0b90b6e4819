"""The root's keys change while postino-dns has a directory to keep its trust anchor in (RFC 5011): a root of our own that rolls over. The hold-down time of 30 days
can't be shortened in libunbound, so the test sets the time back that the file has for the new key."""
import os
import re
import shutil
import stat
import tempfile
import unittest

from frames import RESOLVE_ADDRESSES, RESOLVE_DEFERRED, RESOLVE_MX, RESOLVE_OK
from host import wait_for
from netns import needs_root
from world import World
from zones import Zone, generate

BOTH = RESOLVE_MX | RESOLVE_ADDRESSES
MONTH = 31 * 86400


@needs_root
class Anchor(unittest.TestCase):
    def setUp(self):
        self.world = self.enterContext(World())
        self.tree = self.world.tree({".": Zone(ttl=1), "good": Zone("@ MX 10 mx\nmx A 192.0.2.2", ttl=1)})
        self.directory = tempfile.mkdtemp(prefix="postino-test-", dir="/var/tmp")
        os.chmod(self.directory, 0o755)
        self.addCleanup(shutil.rmtree, self.directory)
        self.kept = os.path.join(self.directory, "root.key")

    def dns(self, directory=None):
        return self.world.driven("dns", 'directory { dns = "%s" }' % (self.directory if directory is None else directory), edges=["qmgr"])

    def answer(self, dns):
        return dns.edges["qmgr"].ask("RESOLVE", name="good", want=BOTH)

    def is_proved(self, dns):
        answer = self.answer(dns)
        self.assertEqual((answer.verdict, answer.secure), (RESOLVE_OK, 1), (answer, dns.log()))

    def is_bogus(self, dns):
        answer = self.answer(dns)
        self.assertEqual(answer.verdict, RESOLVE_DEFERRED, answer)
        self.assertIn("DNSSEC validation failed", answer.reason)

    def logged(self, dns, pattern):
        wait_for(lambda: re.search(pattern, dns.log()))

    def text(self):
        with open(self.kept, encoding="ascii") as f:
            return f.read()

    def states(self):
        return sorted(re.findall(r";;state=\d \[ *(\w+) *\]", self.text()))

    def root_has(self, *keys):
        self.tree.zones["."].keys = list(keys)
        self.tree.write(".")
        self.tree.serve()

    def test_a_rollover(self):
        old = self.tree.zones["."].keys[0]
        new = generate(self.tree.directory, ".")
        with self.dns() as dns:
            self.logged(dns, "begins anew from .*: it is the first one")
            wait_for(lambda: "autotrust trust anchor file" in self.text())
            self.assertEqual(self.states(), ["VALID"])
            self.is_proved(dns)
            self.root_has(old, new)

            def seen_twice():
                """the new key was seen at two looks, each after the former one's TTL"""
                self.is_proved(dns)
                return self.states() == ["ADDPEND", "VALID"] and re.search(r"ADDPEND.*;;count=([2-9]|\d\d)", self.text())
            wait_for(seen_twice, 60, 0.5)
        with self.dns() as dns:  # too early
            self.is_proved(dns)
            self.assertEqual(self.states(), ["ADDPEND", "VALID"])
        self.later()
        with self.dns() as dns:
            wait_for(lambda: self.is_proved(dns) or self.states() == ["VALID", "VALID"], 60, 0.5)
            self.root_has(new)

            def goes_on():
                """the former key is no longer there"""
                self.is_proved(dns)
                return self.states() == ["MISSING", "VALID"]
            wait_for(goes_on, 60, 0.5)
        with self.dns() as dns:
            self.is_proved(dns)
            self.assertNotIn("anew", dns.log())
        with self.dns("") as dns:  # the packaged file is too old now
            self.is_bogus(dns)
        host = self.world.postino()
        told = host.tool("postino", "site", "good").stdout
        self.assertIn("DNSSEC validation failed", told)
        with open(host.config, "a", encoding="ascii") as f:
            f.write('directory { dns = "%s" }\n' % self.directory)
        self.assertIn("proved by DNSSEC, in the order of trial", host.tool("postino", "site", "good").stdout)

    def later(self):
        """A month passes for the file."""
        text = re.sub(r"(ADDPEND.*;;lastchange=)(\d+)", lambda m: m.group(1) + str(int(m.group(2)) - MONTH), self.text())
        with open(self.kept, "w", encoding="ascii") as f:
            f.write(text)

    def test_a_key_that_only_its_own_signature_speaks_for_is_never_taken(self):
        """the root is taken over: all records and the new key are signed by the new key alone"""
        with self.dns() as dns:
            self.is_proved(dns)
            self.root_has(generate(self.tree.directory, "."))
            wait_for(lambda: self.answer(dns).verdict == RESOLVE_DEFERRED, 60, 0.5)
            self.assertEqual(self.states(), ["VALID"])

    def test_a_file_that_is_no_good_begins_anew(self):
        with open(self.tree.anchor, encoding="ascii") as f:
            key = re.search(r" 257 3 13 (\S+)", f.read().replace("\t", " ")).group(1)
        bad = {"": "it was not there, or empty", "\0\xff\n": "no key in the former one", "; nothing\n": "no key in the former one",
               ". IN DNSKEY 257 3 13 %s ;;state=4 [ REVOKED ] ;;count=0\n" % key: "no key in the former one", ". IN DNSKEY 257 3 13 AAA\n": "no key in the former one",
               ". IN DNSKEY what is this%s\n" % (" and that" * 9): "libunbound does not take", "x" * 70000: "it was not there, or empty"}
        with self.dns() as dns:
            self.is_proved(dns)
        for text, why in bad.items():
            with open(self.kept, "w", encoding="latin1") as f:
                f.write(text)
            with self.subTest(text[:40]), self.dns() as dns:
                self.logged(dns, "root.key begins anew from .*: " + why)
                self.is_proved(dns)
                self.assertEqual(self.states(), ["VALID"])

    def test_another_packaged_file_is_taken_up(self):
        with self.dns() as dns:
            self.is_proved(dns)
        key = generate(self.tree.directory, ".")
        self.root_has(key)
        with self.dns() as dns:
            self.is_bogus(dns)
        shutil.copy(key + ".key", self.tree.anchor)
        with self.dns() as dns:
            self.logged(dns, "dns { trust_anchor } is another file than before")
            self.is_proved(dns)

    def test_without_the_packaged_file_what_is_kept_goes_on(self):
        with self.dns() as dns:
            self.is_proved(dns)
        os.remove(self.tree.anchor)
        with self.dns() as dns:
            self.is_proved(dns)
            self.assertNotIn("anew", dns.log())

    def test_without_a_directory_to_write_to_the_packaged_file_is_used(self):
        with self.dns("/proc/nonexistent") as dns:
            self.logged(dns, "the trust anchor is not kept up to date: .* can't be opened")
            self.is_proved(dns)

    def test_the_directory_is_made_for_the_dns_user_alone(self):
        place = os.path.join(self.directory, "made")
        host = self.world.postino('directory { dns = "%s" }' % place)
        seen = os.stat(place)
        uid = os.stat("/proc/%d" % host.pid_of("dns")).st_uid
        self.assertEqual((seen.st_uid, stat.S_IMODE(seen.st_mode)), (uid, 0o700))
        self.assertNotEqual(uid, 0)
        wait_for(lambda: "state=2" in open(os.path.join(place, "root.key"), encoding="ascii").read())
        host.reload()
        host.wait_log("reloaded: generation")
        self.assertIn("proved by DNSSEC", host.tool("postino", "site", "good").stdout)


if __name__ == "__main__":
    unittest.main(verbosity=2)
