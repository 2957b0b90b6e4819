"""postino site: what is told of a domain, beside a real name server with a signed zone (NSD)."""
import os
import subprocess
import tempfile
import unittest

from host import program
from test_dns import NameServer


class Site(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = NameServer(signed=["dane.example"])
        cls.directory = tempfile.TemporaryDirectory()
        cls.config = os.path.join(cls.directory.name, "postino.conf")
        with open(cls.config, "w", encoding="ascii") as out:
            out.write("""hostname = "mx.local.example"
dns { server = "127.0.0.1@%d" trust_anchor = "%s" timeout = 4s }
route "only.example" { via = "smtp:dane.example" tls = dane-only }
route "relayed.example" { via = "smtp:[127.0.0.1]:2525" tls = encrypt }
route "few.example" { via = "smtp:good.example" rate = 7 }
site "good.example" { sessions = 3 }
site "127.0.0.1" { sessions = 4 share = no }
reply "here" { match = { "421 *too many*" } sites = { "good.example" } action = pause time = 5m }
reply "all" { match = { "421 *too many*" } }
login "smart" { user = "office@example.org" secret = "/nowhere" }
login "tokens" { user = "office@example.org" secret = "/nowhere" token_url = "https://oauth.example/t" client_id = "x" mechanisms = "XOAUTH2" }
route "login.example" { via = "smtp:[mx1.good.example]:587" login = smart }
route "loose.example" { via = "smtp:good.example" login = tokens }
route "first.example" { via = "smtps:[mx1.good.example]" login = smart }
route "dane-first.example" { via = "smtps:[mx1.good.example]:4650" tls = dane }
route "near-first.example" { via = "smtps:[127.0.0.1]:4650" tls = encrypt }
route "plain.example" { via = "smtp:[mx1.good.example]" tls = none }
""" % (cls.server.port, cls.server.anchor))

    @classmethod
    def tearDownClass(cls):
        cls.server.close()
        cls.directory.cleanup()

    def site(self, *arguments, status=0):
        done = subprocess.run([program("postino"), "-c", self.config, "site", *arguments], capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        self.error = done.stderr
        return done.stdout.split("\n")

    def host(self, text, name):
        """The lines below a host."""
        at = next(i for i, line in enumerate(text) if line.startswith("    ") and line.strip().split(" ", 1)[-1] == name)
        end = next((i for i in range(at + 1, len(text)) if not text[i].startswith("      ")), len(text))
        return [line.strip() for line in text[at + 1:end]]

    def test_hosts_of_a_signed_domain(self):
        text = self.site("dane.example")
        self.assertEqual(text[:5], ["dane.example", "  route     none: its own hosts", "  tls       dane", "  MTA-STS   none",
                                    "  hosts     proved by DNSSEC, in the order of trial:"])
        has = self.host(text, "has.dane.example")
        self.assertEqual(has[:2], ["2001:db8::31 192.0.2.31", "TLSA below has.dane.example"])
        self.assertEqual(sorted(has[2:4]), ["2 0 1 " + "22" * 32, "3 1 1 " + "11" * 32])
        self.assertEqual(has[4], "mail goes by dane: TLS with what these records name, or not at all")
        self.assertEqual(self.host(text, "none.dane.example")[-1], "mail goes by may: TLS where it is offered, with any certificate; else plain")

    def test_who_logs_in_where(self):
        text = self.site("login.example")
        self.assertEqual(text[1:4], ['  route     "login.example" { via = "smtp:[mx1.good.example]:587" }', "  tls       verify",
                                     '  login     "smart": office@example.org by the strongest mechanism that the host offers too'])
        self.assertEqual(self.host(text, "mx1.good.example")[-1], "mail goes by verify: TLS with a certificate for the host's name that an authority signed, or not at all")
        text = self.site("loose.example")
        self.assertIn('  login     "tokens": office@example.org by XOAUTH2', text)
        self.assertEqual(self.host(text, "mx1.good.example")[-1], "no login there, and so no mail: nothing would prove that it is the right host")

    def test_what_may_not_be_used(self):
        self.assertIn("mail does not go there: its TLSA records can't be had now, and it may not be used without them",
                      self.host(self.site("forged.dane.example", status=69), "hidden.dane.example"))
        self.assertIn("mail does not go there: it has no TLSA records that DNSSEC proves, and the route demands DANE",
                      self.host(self.site("only.example"), "none.dane.example"))

    def test_routes(self):
        self.assertEqual(self.site("relayed.example")[1:5], ["  route     \"relayed.example\" { via = \"smtp:[127.0.0.1]:2525\" }", "  tls       encrypt", "  host      127.0.0.1",
                                                            "      mail goes by encrypt: TLS with any certificate, or not at all"])
        self.assertIn("mail goes by none: plain, without TLS", self.host(self.site("plain.example"), "mx1.good.example"))

    def test_tls_from_the_first_byte(self):
        text = self.site("first.example")
        self.assertEqual(text[:4], ["first.example", '  route     "first.example" { via = "smtps:[mx1.good.example]" }', "  tls       verify, from the first byte",
                                    '  login     "smart": office@example.org by the strongest mechanism that the host offers too'])
        self.assertEqual(self.host(text, "mx1.good.example")[-1], "mail goes by verify: TLS with a certificate for the host's name that an authority signed, or not at all")
        text = self.site("dane-first.example")  # it has no TLSA records
        self.assertIn("  tls       dane, from the first byte", text)
        self.assertIn("mail goes by verify: ", self.host(text, "mx1.good.example")[-1])
        text = self.site("near-first.example")
        self.assertIn("      mail goes by encrypt: TLS with any certificate, or not at all", text)

    def test_an_unsigned_domain(self):
        text = self.site("good.example")
        self.assertIn("  hosts     not proved by DNSSEC, in the order of trial:", text)
        self.assertEqual([line.strip() for line in text if line.startswith("    ") and line[4] != " "], ["10 mx1.good.example", "20 mx2.good.example", "30 mx3.good.example"])

    def test_limits_and_who_shares_them(self):
        self.assertEqual(self.site("good.example")[-3:-1], ["  limits    3 at a time, 100 in a session; together with all of site good.example",
                                                            "  replies   here pauses for 300s, all slows down for 600s"])
        self.assertIn("  limits    3 at a time, 7 messages a minute, 100 in a session; together with all of site good.example route few.example", self.site("few.example"))
        self.assertEqual(self.site("relayed.example")[-3:-1], ["  limits    4 at a time, 100 in a session", "  replies   all slows down for 600s"])
        self.assertIn("  limits    20 at a time, 100 in a session", self.site("dane.example"))

    def test_without_a_trust_anchor(self):
        """Nothing is proved then, and that is said before the hosts are."""
        text = self.site("dane.example")
        self.assertFalse([line for line in text if "  DNSSEC  " in line])
        with open(self.config, encoding="ascii") as given:
            config = given.read()
        other = os.path.join(self.directory.name, "other.conf")
        with open(other, "w", encoding="ascii") as out:
            out.write(config.replace(self.server.anchor, "/nowhere/root.key"))
        done = subprocess.run([program("postino"), "-c", other, "site", "dane.example"], capture_output=True, text=True, timeout=60)
        self.assertIn('\n  DNSSEC    not checked, so there is no DANE: dns { trust_anchor = "/nowhere/root.key" }: No such file or directory; install', done.stdout)
        self.assertIn("mail goes by may", done.stdout)

    def test_what_fails_is_told(self):
        self.assertTrue(any("5.1.10 Domain null.good.example does not accept mail (nullMX)" in line for line in self.site("null.good.example", status=69)))
        self.assertTrue(any("5.1.2 " in line for line in self.site("nobody.good.example", status=69)))
        self.site("no domain", status=64)
        self.assertIn("usage: postino site DOMAIN", self.error)
        self.site(status=64)


if __name__ == "__main__":
    unittest.main()
