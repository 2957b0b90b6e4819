"""What `postino check` says of the host: each program must be able to read what it needs, as the user that it will be."""
import os
import re
import shutil
import subprocess
import tempfile
import unittest

from host import FIRST_UID, bin_directory, certificate, program

ORDER = ("smtpd", "auth", "qmgr", "remote", "local", "dns", "route", "tlsmgr", "sts")


@unittest.skipIf(os.geteuid(), "only root can look as another user")
class Check(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="postino-test-", dir="/var/tmp")
        os.chmod(self.directory, 0o755)
        self.addCleanup(shutil.rmtree, self.directory)
        self.pair = certificate(self.directory)

    def path(self, name):
        return os.path.join(self.directory, name)

    def file(self, name, mode=0o644, text="x", owner=0):
        with open(self.path(name), "w") as f:
            f.write(text)
        os.chmod(self.path(name), mode)
        os.chown(self.path(name), owner, owner)
        return self.path(name)

    def check(self, settings, listener='address = { "127.0.0.1" } port = 2525', programs=None):
        text = ('hostname = "mx.example"\nusers = "%d"\ndirectory { spool = "%s" run = "%s" empty = "%s" sts = "%s" programs = "%s" }\n'
                'log { to = stderr }\nlistener "smtp" { %s }\n%s\n' % (
                    FIRST_UID, self.path("spool"), self.path("run"), self.path("empty"), self.path("sts"), programs or bin_directory(), listener,
                    settings))
        with open(self.path("conf"), "w") as f:
            f.write(text)
        done = subprocess.run([program("postino"), "-c", self.path("conf"), "check"], capture_output=True, text=True)
        return done.returncode, done.stdout + done.stderr

    def says(self, settings, *words, status=0, **more):
        code, said = self.check(settings, **more)
        for word in words:
            self.assertIn(word, said)
        self.assertEqual(code, status, said)

    def says_nothing(self, settings, **more):
        code, said = self.check(settings, **more)
        self.assertEqual(code, 0, said)
        for word in ("can't be read", "has no address", "belongs to", "hides nothing"):
            self.assertNotIn(word, said)

    def test_a_host_on_which_all_is_there(self):
        self.says_nothing("")

    def test_a_table_of_access(self):
        rule = 'access = "check_client_access hash:%s"' % self.path("clients")
        self.says(rule, "map hash:%s" % self.path("clients"), "No such file", "postino map hash:%s" % self.path("clients"))
        self.file("clients.db", 0o600)
        self.says(rule, "can't be read by postino-route", self.path("clients.db") + " is closed to uid %d" % (FIRST_UID + ORDER.index("route")))
        os.chmod(self.path("clients.db"), 0o644)
        self.says_nothing(rule)

    def test_a_table_of_text_and_of_a_listener(self):
        rule = 'access = "warn_if_reject check_sender_access cidr:%s"' % self.path("networks")
        self.says("", "map cidr:%s: %s can't be read" % (self.path("networks"), self.path("networks")), listener="port = 2525 " + rule)
        self.file("networks", 0o640)
        self.says("", "can't be read by postino-route", listener="port = 2525 " + rule)

    def test_a_directory_in_the_way(self):
        os.mkdir(self.path("closed"), 0o700)
        self.file("closed/aliases.db")
        self.says('aliases = "hash:%s"' % self.path("closed/aliases"), "can't be read by postino-route", self.path("closed") + " is closed to uid")
        os.chmod(self.path("closed"), 0o711)
        self.says_nothing('aliases = "hash:%s"' % self.path("closed/aliases"))

    def test_a_password_file(self):
        listener = 'port = 2525 tls = required auth = required'
        settings = 'password_file = "%s"\ntls { certificate = "%s" key = "%s" }' % ((self.path("passwords"),) + tuple(self.pair))
        self.file("passwords", 0o600)
        self.says(settings, "can't be read by postino-auth", listener=listener)
        auth = FIRST_UID + ORDER.index("auth")
        self.file("passwords", 0o600, owner=auth)
        self.says_nothing(settings, listener=listener)
        os.chown(self.path("passwords"), 0, auth)
        os.chmod(self.path("passwords"), 0o640)
        self.says_nothing(settings, listener=listener)

    def test_a_spool_of_somebody_else(self):
        os.mkdir(self.path("spool"), 0o700)
        self.says("", "spool %s belongs to uid 0" % self.path("spool"), "chown -R", status=78)
        os.chown(self.path("spool"), FIRST_UID + ORDER.index("qmgr"), FIRST_UID + ORDER.index("qmgr"))
        self.says_nothing("")

    def test_mailboxes_of_a_programs_user(self):
        self.file("boxes.db")
        domain = 'domain "here.example" { mailboxes = "hash:%s" directory = "%s" owner = "%%d" }' % (self.path("boxes"), self.path("mail"))
        self.says(domain % (FIRST_UID + ORDER.index("sts")), "is the user of postino-sts", status=78)
        self.says_nothing(domain % (FIRST_UID + 40))

    def test_a_trust_anchor_that_is_none(self):
        self.says('dns { trust_anchor = "%s" }' % self.file("junk"), "has no DS or DNSKEY record", status=78)
        self.says('dns { trust_anchor = "%s" }' % self.path("nothing"), "can't be read", "DNSSEC proves nothing")
        self.says_nothing('dns { trust_anchor = "%s" }' % self.file("anchor", text=". IN DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65D08458E880409BBC683457104237C7F8EC8D\n"))

    def test_what_v_prints_is_a_configuration(self):
        login = 'login "smart" { user = "office@example.org" secret = "%s" }' % self.file("secret", 0o600)
        self.check(login + '\nroute "*" { via = "smtp:[mx.example]:587" login = smart }\nsite "x.example" { sessions = 3 }\n'
                   'reply "y" { match = "421 *" }\nsource "s" { address = "127.0.0.1" }\nremote { sources = s }\ndomain "here.example" { mailboxes = system }')
        done = subprocess.run([program("postino"), "-c", self.path("conf"), "check", "-v"], capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stderr.count(", ok\n")), (0, 1), done.stderr)
        with open(self.path("conf"), "w") as f:
            f.write(done.stdout)
        again = subprocess.run([program("postino"), "-c", self.path("conf"), "check", "-v"], capture_output=True, text=True)
        self.assertEqual(again.returncode, 0, again.stderr)
        self.assertEqual([line.split("    # ")[0] for line in again.stdout.splitlines()], [line.split("    # ")[0] for line in done.stdout.splitlines()])

    def test_errors_come_by_their_lines(self):
        code, said = self.check('nonsense = 1\nsource "out 1" { address = "192.0.2.1" }\nremote { sources = "out 1" }\n'
                                'route "*" { via = "here" }\nlistener "sub" { port = 26 tls = implicit }\ndomain "Ä" { }')
        lines = [int(n) for n in re.findall(r"(?m)^\S+/conf:(\d+): ", said)]
        self.assertEqual((code, lines), (78, sorted(lines)), said)
        self.assertGreater(len(lines), 3)
        self.assertNotIn("there is no source", said)
        self.assertNotIn("changed", said)

    def test_reports_without_a_sender(self):
        self.says('tlsrpt { organization = "x" mail = yes }', "tlsrpt has no from, so that nothing is counted or sent; add from = ")
        self.assertNotIn("tlsrpt", self.check('tlsrpt { organization = "x" from = "a@b.example" }')[1])

    def test_a_source_of_another_host(self):
        source = 'source "s" { address = "%s" }\nremote { sources = s }'
        self.says(source % "192.0.2.44", "this host has no address 192.0.2.44 now", "give it to an interface")
        self.says_nothing(source % "127.0.0.1")

    def test_a_tunnel_by_name(self):
        route = 'route "*" { via = "smtp:%slocalhost%s" }'
        for form in (("", ""), ("[", "]"), ("[", "]:3587"), ("", ":3587")):
            self.says(route % form, "localhost is this host's loopback", "write [127.0.0.1], or remote { loopback = yes }")
            self.assertNotIn("localhost is", self.check(route % form + "\nremote { loopback = yes }")[1])
        self.assertNotIn("localhost is", self.check('route "*" { via = "smtp:[localhost.example]:25" }\nroute "a.example" { via = "smtp:[127.0.0.1]:26" }')[1])

    def test_authorities_that_are_none(self):
        """A reload would refuse them."""
        junk, route = self.file("junk"), 'route "*" { via = "smtp:[mx.example]" tls = %s }'
        for tls in ("verify", "may"):
            self.says('tls { authorities = "%s" }\n%s' % (junk, route % tls), "authorities %s can't be loaded" % junk, "as PEM", status=78)
            self.says_nothing('tls { authorities = "%s" }\n%s' % (self.pair[0], route % tls))

    def test_an_address_of_another_host(self):
        self.says("", "this host has no address 192.0.2.99 now", listener='address = { "127.0.0.1", "192.0.2.99" } port = 2525')

    def test_a_keyword_that_there_is_not(self):
        self.says("", 'hide "CHUNKIN" is no keyword of EHLO', listener='port = 2525 hide = { "chunking", "CHUNKIN" }')

    def test_why_knows_what_a_listener_demands(self):
        pair = 'tls { certificate = "%s" key = "%s" }' % tuple(self.pair)
        self.file("passwords", 0o600)
        self.check('listener "in" { port = 2526 tls = required auth = required }\nlistener "few" { port = 2527 clients = "10.0.0.0/8" }\n'
                   'domain "here.example" { mailboxes = system }\nrelay_from = "10.1.0.0/16"\npassword_file = "%s"\n%s' % (self.path("passwords"), pair))

        def why(client, *more):
            done = subprocess.run([program("postino"), "-c", self.path("conf"), "why", "--client", client, "--to", "x@far.example"] + list(more),
                                  capture_output=True, text=True)
            return done.returncode, done.stdout + done.stderr
        for client, more, status, words in (
                ("10.1.2.3", (), 0, ("verdict: 250", "by relay_from")),
                ("192.0.2.1", (), 77, ("verdict: 5",)),
                ("192.0.2.1", ("--login", "ann"), 0, ("verdict: 250", "by the login")),
                ("10.1.2.3", ("--listener", "in"), 77, ("verdict: 530 5.7.0", "by listener { auth = required }")),
                ("192.0.2.1", ("--listener", "in", "--login", "ann"), 0, ("verdict: 250",)),
                ("192.0.2.1", ("--listener", "few"), 77, ("verdict: 554 5.7.1", "by listener { clients }")),
                ("10.1.2.3", ("--listener", "few"), 0, ("verdict: 250",))):
            with self.subTest(client=client, more=more):
                code, said = why(client, *more)
                self.assertEqual(code, status, said)
                for word in words:
                    self.assertIn(word, said)

    def test_each_program_must_be_there(self):
        every = [f[len("postino-"):] for f in os.listdir(bin_directory()) if f.startswith("postino-") and f != "postino-master"]
        self.assertGreaterEqual(len(every), len(ORDER))
        for missing in every + [""]:
            shutil.rmtree(self.path("programs"), ignore_errors=True)
            os.mkdir(self.path("programs"))
            for name in every:
                if name != missing:
                    os.symlink(program("postino-" + name), self.path("programs/postino-" + name))
            if missing:
                self.says("", "postino-%s can't be executed" % missing, status=78, programs=self.path("programs"))
            else:
                self.says_nothing("", programs=self.path("programs"))


if __name__ == "__main__":
    unittest.main()
