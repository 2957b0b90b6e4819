"""Maps and aliases at work: newaliases and `postino map` take effect at once; a broken map makes mail wait, and never refuses it."""
import os
import smtplib
import unittest

from host import DOMAIN, Host, wait_for

TEXT = b"Subject: x\r\n\r\nx\r\n"
ALIASES = "postmaster: root\nroot: alice@local.example\nteam: alice@local.example, \"bob\"@local.example\nnested: team\nloop: pool\npool: loop\nrun: |/bin/true\n"


class Maps(unittest.TestCase):
    def setUp(self):
        self.host = Host(aliases=ALIASES).__enter__()
        self.addCleanup(self.host.__exit__, None, None, None)

    def rcpt(self, recipient):
        with self.host.smtp() as client:
            client.ehlo()
            client.mail("a@client.example")
            return client.rcpt(recipient)

    def send(self, recipient):
        with self.host.smtp() as client:
            client.sendmail("a@client.example", [recipient], TEXT)

    def test_an_alias_of_several_delivers_to_each(self):
        self.send("nested@mx.local.example")
        for name in ("alice", "bob"):
            wait_for(lambda: len(self.host.messages(name)) == 1)

    def test_postmaster_works_with_and_without_a_domain(self):
        self.send("postmaster")
        self.send("Postmaster@mx.local.example")
        wait_for(lambda: len(self.host.messages("alice")) == 2)

    def test_an_alias_that_leads_to_itself_or_to_a_command_waits_for_the_administrator(self):
        self.assertEqual(self.rcpt("loop@mx.local.example")[0] // 100, 4)
        self.assertEqual(self.rcpt("run@mx.local.example")[0], 451)

    def test_newaliases_takes_effect_without_a_reload(self):
        self.assertEqual(self.rcpt("later@mx.local.example")[0], 550)
        with open(self.host.path("aliases"), "a") as f:
            f.write("later: bob@local.example\n")
        done = self.host.tool("newaliases")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("8 aliases", done.stdout)
        wait_for(lambda: self.rcpt("later@mx.local.example")[0] == 250)

    def test_a_broken_source_leaves_the_map_as_it_was(self):
        with open(self.host.path("aliases"), "a") as f:
            f.write("team: bob@local.example\n")  # a second time
        done = self.host.tool("newaliases")
        self.assertNotEqual(done.returncode, 0)
        self.assertRegex(done.stderr, r"aliases: line 8: ")
        self.send("team@mx.local.example")
        wait_for(lambda: self.host.messages("alice"))

    def test_a_broken_map_makes_mail_wait(self):
        path = self.host.path("mailboxes.db")
        with open(path, "rb") as f:
            good = f.read()
        for damage in (b"", b"garbage" * 1000, good[:len(good) // 2], good[:100] + bytes(len(good) - 100)):
            with open(path + ".new", "wb") as f:
                f.write(damage)
            os.chmod(path + ".new", 0o644)
            os.rename(path + ".new", path)
            wait_for(lambda: self.rcpt("alice@" + DOMAIN)[0] == 451)
        self.host.wait_log(r"mailboxes")
        with open(path + ".new", "wb") as f:
            f.write(good)
        os.chmod(path + ".new", 0o644)
        os.rename(path + ".new", path)
        wait_for(lambda: self.rcpt("alice@" + DOMAIN)[0] == 250)
        self.assertEqual(self.rcpt("nobody-of-that-name@" + DOMAIN)[0], 550)

    def test_a_map_that_is_not_there_makes_mail_wait(self):
        os.unlink(self.host.path("mailboxes.db"))
        wait_for(lambda: self.rcpt("bob@" + DOMAIN)[0] == 451)
        self.host.tool("postino", "map", "hash:" + self.host.path("mailboxes"), check=True)
        wait_for(lambda: self.rcpt("bob@" + DOMAIN)[0] == 250)


class WrongConfiguration(unittest.TestCase):
    def check(self, text):
        host = Host(settings=text)
        self.addCleanup(host.close)
        return host.tool("postino", "check")

    def test_errors_name_file_line_cause_and_next_step(self):
        done = self.check("queue { lifetimes = 3d }\nlimit { message_size = 1 }\n")
        self.assertEqual(done.returncode, 78)
        self.assertRegex(done.stderr + done.stdout, r"postino\.conf:\d+: .*lifetimes.*lifetime")
        self.assertRegex(done.stderr + done.stdout, r"postino\.conf:\d+: .*message_size")

    def test_a_start_is_refused(self):
        host = Host(settings="queue { lifetimes = 3d }\n")
        self.addCleanup(host.close)
        with self.assertRaises(AssertionError):
            host.start(60)
        self.assertIn("lifetimes", host.log())

    def test_a_reload_is_refused_and_mail_goes_on(self):
        with Host() as host:
            with host.smtp() as client:
                client.ehlo()
                host.configure(settings="queue { lifetimes = 3d }")
                host.reload()
                host.wait_log(r"lifetimes")
                client.sendmail("a@client.example", ["alice@" + DOMAIN], TEXT)
            wait_for(lambda: host.messages("alice"))
            with smtplib.SMTP("127.0.0.1", host.port, timeout=60) as client:
                self.assertEqual(client.noop()[0], 250)


if __name__ == "__main__":
    unittest.main(verbosity=2)
