"""testssl.sh finds nothing worse on Postino than on Debian's Postfix, both with its defaults, the same certificates, in the same run. Two minutes."""
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "conformance"))
from servers import Postfix, Postino  # noqa: E402
from test_tls import make  # noqa: E402

RANKS = {"OK": 0, "INFO": 0, "WARN": 0, "DEBUG": 0, "LOW": 1, "MEDIUM": 2, "HIGH": 3, "CRITICAL": 4}
# Protocols, kinds of ciphers, forward secrecy, the server's preference and defaults, vulnerabilities.
OPTIONS = ["--starttls", "smtp", "--nodns", "none", "--quiet", "--color", "0", "--warnings", "batch", "-p", "-s", "-f", "-P", "-S", "-U"]
# What a scan that ran to its end has said something of.
EXPECTED = {"SSLv2", "SSLv3", "TLS1", "TLS1_1", "TLS1_2", "TLS1_3", "cipherlist_NULL", "cipherlist_aNULL", "cipherlist_EXPORT", "cipherlist_LOW", "heartbleed", "CCS",
            "ROBOT", "secure_renego", "secure_client_renego", "CRIME_TLS", "POODLE_SSL", "SWEET32", "FREAK", "DROWN", "LOGJAM", "BEAST", "LUCKY13", "RC4"}


class TestSSL(unittest.TestCase):
    def scan(self, port, name):
        out = os.path.join(self.directory, name + ".json")
        text = open(os.path.join(self.directory, name + ".txt"), "wb")
        self.addCleanup(text.close)
        return out, subprocess.Popen(["testssl"] + OPTIONS + ["--jsonfile", out, "127.0.0.1:%d" % port], stdin=subprocess.DEVNULL, stdout=text, stderr=text)

    def test_nothing_is_worse_than_on_postfix(self):
        self.directory = tempfile.mkdtemp(prefix="postino-test-testssl.", dir="/var/tmp")
        self.addCleanup(shutil.rmtree, self.directory, True)
        rsa, ec = make(self.directory, "mx.local.example", key="rsa", days=90, file="rsa"), make(self.directory, "mx.local.example", days=90, file="ec")
        with Postfix(smtpd_tls_cert_file=rsa[0], smtpd_tls_key_file=rsa[1], smtpd_tls_eccert_file=ec[0], smtpd_tls_eckey_file=ec[1]) as postfix:
            postino = Postino()
            with open(postino.host.config) as f:
                config = f.read()
            config = config.replace('certificate = "%s" key = "%s"' % (postino.host.cert, postino.host.key),
                                    'certificate = { "%s", "%s" } key = { "%s", "%s" }' % (ec[0], rsa[0], ec[1], rsa[1]))
            self.assertIn(ec[0], config)
            with open(postino.host.config, "w") as f:
                f.write(config)
            with postino:
                scans = [self.scan(s.port, s.name) for s in (postino, postfix)]
                for _, process in scans:
                    process.wait(600)
                log = postino.log()
        found = []
        for out, _ in scans:
            with open(out) as f:
                found.append({one["id"]: one for one in json.load(f)})
        ours, theirs = found
        self.assertEqual(EXPECTED - set(ours), set())
        self.assertEqual(EXPECTED - set(theirs), set())
        worse = {i: (one["severity"], one["finding"], theirs.get(i)) for i, one in ours.items()
                 if RANKS[one["severity"]] > RANKS[theirs.get(i, {"severity": "OK"})["severity"]]}
        self.assertEqual(worse, {})
        # And by itself: nothing but what CBC suites with TLS 1.2 cost, and what a self-signed certificate is.
        bad = {i for i, one in ours.items() if RANKS[one["severity"]] > 0 and not i.startswith("cert_")}
        self.assertEqual(bad - {"LUCKY13", "cipherlist_AVERAGE"}, set())
        self.assertNotIn("SIGSYS", log)
        self.assertNotIn("killed", log)


if __name__ == "__main__":
    unittest.main(verbosity=2)
