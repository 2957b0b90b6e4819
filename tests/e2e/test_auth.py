"""AUTH against a whole Postino: each mechanism with real clients and with one that lies; each back end; guessing, and who is locked out by it."""
import base64
import os
import re
import socket
import subprocess
import time
import unittest

from host import FIRST_UID, Host, PASSWORD, program
from scram import Scram, Session, TLS12, TLS13, b64, tls_unique

QUICK = "smtpd { auth_delay = 0s auth_failures = 20 }\n"
LISTEN = {"submission": "tls = required auth = required"}


def run(*command, **more):
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **more)


def password_line(name, password=PASSWORD, *options):
    done = subprocess.run([program("postino"), "password", *options, name], input=password + "\n", capture_output=True, text=True, check=True)
    return done.stdout


def write_passwords(host, *lines):
    path = host.path("passwd")
    with open(path + ".new", "w", encoding="utf-8") as f:
        f.write("".join(lines))
    os.chmod(path + ".new", 0o640)
    if os.geteuid() == 0:
        os.chown(path + ".new", 0, FIRST_UID + 1)
    os.rename(path + ".new", path)


class AuthTest(unittest.TestCase):
    settings = ""
    passwords = ()
    listeners = None

    def setUp(self):
        self.host = Host(settings=QUICK + self.settings, listeners=self.listeners)
        if self.passwords:
            write_passwords(self.host, *self.passwords)
        self.addCleanup(self.host.close)
        self.before_start()
        self.host.start()

    def before_start(self):
        pass

    def session(self, **more):
        session = Session(self.host, **more)
        self.addCleanup(session.close)
        return session

    def scram(self, session=None, user="alice", password=PASSWORD, **more):
        return Scram(session or self.session(), user, password, **more)


class Crypt(AuthTest):
    """A password file as it always was."""

    def test_plain_and_login_are_offered_and_work(self):
        session = self.session()
        self.assertEqual(session.mechanisms(), ["PLAIN", "LOGIN"])
        self.assertEqual(session.plain("alice", "wrong"), 535)
        self.assertEqual(session.login_mechanism("alice", "wrong"), 535)
        self.assertEqual(session.login_mechanism("nobody", PASSWORD), 535)
        self.assertEqual(session.login_mechanism("alice", PASSWORD), 235)
        self.assertEqual(session.say("AUTH PLAIN")[0], 503)
        self.assertEqual(self.session().plain("alice", PASSWORD), 235)
        self.assertNotIn(PASSWORD, self.host.log())

    def test_scram_is_not_offered_where_it_would_fail(self):
        self.assertEqual(self.session().say("AUTH SCRAM-SHA-256 biws")[0], 504)

    def test_log_line_in_postfix_words(self):
        self.session().plain("ali\x1bce=x", "wrong")
        self.session().plain("alice x", "wrong")
        found = self.host.wait_log(r"warning: \S+\[127\.0\.0\.1\]: SASL PLAIN authentication failed: authentication failed, sasl_username=\"alice x\"")
        self.assertTrue(found)
        self.assertNotIn("\x1b", self.host.log())

    def test_clients_that_people_have(self):
        host = self.host
        with open(host.path("mail.txt"), "w", encoding="ascii", newline="\r\n") as f:
            f.write("From: a@local.example\n\nhello\n")
        for mechanism in ("PLAIN", "LOGIN"):
            with self.subTest(mechanism=mechanism):
                done = run("swaks", "--server", "127.0.0.1:%d" % host.submission_port, "-tls", "--auth", mechanism, "--auth-user", "alice",
                           "--auth-password", PASSWORD, "--from", "alice@local.example", "--to", "bob@local.example")
                self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
                done = run("curl", "-sS", "-k", "--ssl-reqd", "--login-options", "AUTH=" + mechanism, "--user", "alice:" + PASSWORD, "--mail-from",
                           "alice@local.example", "--mail-rcpt", "bob@local.example", "--upload-file", host.path("mail.txt"),
                           "smtp://127.0.0.1:%d" % host.submission_port)
                self.assertEqual(done.returncode, 0, done.stderr)
                done = run("msmtp", "--host=127.0.0.1", "--port=%d" % host.submissions_port, "--tls=on", "--tls-starttls=off", "--tls-certcheck=off",
                           "--auth=" + mechanism.lower(), "--user=alice", "--passwordeval=echo '%s'" % PASSWORD, "--from=alice@local.example",
                           "bob@local.example", input="Subject: x\n\nx\n")
                self.assertEqual(done.returncode, 0, done.stderr)
        host.wait(lambda: len(host.messages("bob")) == 6)


class ScramFile(AuthTest):
    """A password file in which everybody has a SCRAM secret; dora's is one that Dovecot made."""

    def before_start(self):
        dora = run("doveadm", "pw", "-s", "SCRAM-SHA-256", "-p", PASSWORD).stdout
        self.assertTrue(dora.startswith("{SCRAM-SHA-256}"))
        write_passwords(self.host, password_line("alice"), password_line("böb", "pa\u00a0ss"), password_line("a,b=c"), "dora:" + dora)

    def test_all_are_offered(self):
        self.assertEqual(self.session().mechanisms(), ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN"])

    def test_the_right_password(self):
        for user in ("alice", "dora", "a,b=c"):
            with self.subTest(user=user):
                self.assertEqual(self.scram(user=user).run(), 235)
                self.assertEqual(self.session().plain(user, PASSWORD), 235)
        self.assertEqual(self.session().login_mechanism("alice", PASSWORD), 235)

    def test_names_and_passwords_are_normalised(self):
        self.assertEqual(self.session().plain("bo\u0308b", "pa ss"), 235)  # o and a combining diaeresis; a blank for a no-break space
        self.assertEqual(self.scram(user="bo\u0308b", password="pa ss").run(), 235)

    def test_the_wrong_password(self):
        session = self.session()
        for user, password in (("alice", "wrong"), ("nobody", PASSWORD), ("dora", "")):
            self.assertEqual(self.scram(session, user, password).run(), 535)
        self.assertEqual(self.scram(session).run(), 235)

    def test_who_is_not_there_looks_as_if(self):
        def first(user):
            exchange = self.scram(user=user)
            self.assertEqual(exchange.first()[0], 334)
            return exchange.fields["i"], exchange.fields["s"]
        before = first("nobody"), first("nobody2")
        self.assertEqual(before[0], first("nobody"))
        self.assertNotEqual(before[0][1], before[1][1])
        self.assertEqual(before[0][0], first("alice")[0])
        self.assertEqual(len(before[0][1]), len(first("alice")[1]))
        self.host.stop()
        self.host.start()
        self.assertEqual(before[0], first("nobody"))

    def test_channel_binding_tls_1_2(self):
        session = self.session(version=TLS12)
        plus = {"header": "p=tls-unique,,", "binding": tls_unique(session), "mechanism": "SCRAM-SHA-256-PLUS"}
        self.assertEqual(self.scram(session, **dict(plus, binding=b"x" * 12)).run(), 535)
        self.assertEqual(self.scram(session, password="wrong", **plus).run(), 535)
        self.assertEqual(self.scram(session, **plus).run(), 235)

    def test_tls_unique_does_not_exist_in_tls_1_3(self):
        session = self.session(version=TLS13)
        self.assertEqual(self.scram(session, header="p=tls-unique,,", binding=b"", mechanism="SCRAM-SHA-256-PLUS").run(), 535)

    def test_gsasl_with_channel_binding(self):
        for version in ("1.2", "1.3"):
            for mechanism in ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-256"):
                with self.subTest(version=version, mechanism=mechanism):
                    base = ["gsasl", "--smtp", "--verbose", "--connect=localhost:%d" % self.host.submission_port, "--mechanism=" + mechanism,
                            "--authentication-id=alice", "--hostname=localhost",
                            "--x509-ca-file=" + self.host.cert, "--priority=NORMAL:-VERS-ALL:+VERS-TLS" + version]
                    if mechanism == "SCRAM-SHA-256":
                        base.append("--no-cb")
                    done = run(*base, "--password=" + PASSWORD, input="")
                    self.assertIn("235 2.7.0", done.stdout + done.stderr)
                    done = run(*base, "--password=wrong", input="")
                    self.assertIn("535 5.7.8", done.stdout + done.stderr)

    def test_downgrade(self):
        """A client that could bind, and was told that we can't (RFC 5802 6)."""
        session = self.session()
        self.assertEqual(self.scram(session, header="y,,").run(), 535)
        self.host.wait_log("somebody is in between")
        self.assertEqual(self.scram(session, header="p=tls-unique,,", binding=b"x").run(), 535)
        self.assertEqual(self.scram(session, mechanism="SCRAM-SHA-256-PLUS").run(), 535)
        self.assertEqual(self.scram(session).run(), 235)

    def test_other_identities(self):
        session = self.session()
        self.assertEqual(self.scram(session, header="n,a=bob,").run(), 535)
        self.assertEqual(self.scram(session, header="n,a=alice,").run(), 235)

    def test_mangled_messages(self):
        session = self.session()
        for first in ("", "n", "n,,", "n,,n=alice", "x,,n=alice,r=abc", "n,,r=abc,n=alice", "n,,m=x,n=alice,r=abc", "n,,n=al=ice,r=abc", "n,,n=,r=abc",
                      "p=,,n=alice,r=abc", "n,b=x,n=alice,r=abc", "n,,n=alice,r=", "n,,n=alice,r=a\0b", "n,,n=alice,x=y"):
            with self.subTest(first=first):
                code = session.say("AUTH SCRAM-SHA-256 " + (b64(first.encode()) or "="))[0]
                self.assertIn(code, (501, 535))
        session = self.session()
        for change in (lambda t: t.replace("r=", "r=x", 1), lambda t: t.replace("c=biws", "c=eSws"), lambda t: t.replace("c=biws", "c="), lambda t: "",
                       lambda t: t[:-4] + "AAA=", lambda t: t + ",x=y", lambda t: t.split(",p=")[0], lambda t: t + "A" * 4000, lambda t: "\0" + t):
            exchange = self.scram(session)
            exchange.first()
            self.assertIn(exchange.final(change(exchange.make_final()) or "\1")[0], (501, 535))
        self.assertEqual(self.scram(session).run(), 235)

    def test_replay(self):
        """What was heard of one exchange opens no other."""
        heard = self.scram()
        heard.first()
        final = heard.make_final()
        self.assertEqual(heard.final(final)[0], 334)
        self.assertEqual(heard.session.say("")[0], 235)
        other = self.scram()
        other.bare = heard.bare
        other.first()
        self.assertNotEqual(other.fields["r"], heard.fields["r"])
        self.assertEqual(other.final(final)[0], 535)

    def test_nothing_but_an_empty_line_behind_the_proof(self):
        exchange = self.scram()
        exchange.first()
        exchange.final()
        self.assertEqual(exchange.session.answer(b"x")[0], 501)
        self.assertEqual(exchange.session.say("MAIL FROM:<a@local.example>")[0], 530)
        exchange = self.scram()
        exchange.first()
        exchange.final()
        self.assertEqual(exchange.session.say("*")[0], 501)
        self.assertEqual(exchange.session.say("MAIL FROM:<a@local.example>")[0], 530)

    def test_cancelled_at_each_step(self):
        session = self.session()
        for mechanism, steps in (("PLAIN", 0), ("LOGIN", 0), ("LOGIN", 1), ("SCRAM-SHA-256", 0)):
            self.assertEqual(session.say("AUTH " + mechanism)[0], 334)
            if steps:
                self.assertEqual(session.answer(b"alice")[0], 334)
            self.assertEqual(session.say("*")[0], 501)
        exchange = self.scram(session)
        exchange.first()
        self.assertEqual(session.say("*")[0], 501)
        self.assertEqual(session.say("NOOP")[0], 250)
        self.assertEqual(self.scram(session).run(), 235)

    def test_more_exchanges_than_may_be(self):
        """The oldest of an address is given up, and the others live."""
        sessions = [self.session() for _ in range(70)]
        for session in sessions:
            self.assertEqual(session.say("AUTH LOGIN")[0], 334)
        self.assertEqual(sessions[0].answer(b"alice")[0], 454)
        self.assertEqual(sessions[-1].answer(b"alice")[0], 334)

    def test_login_file_changes_what_is_offered(self):
        write_passwords(self.host, password_line("alice"), password_line("old", PASSWORD, "-c"))
        self.assertEqual(self.session().mechanisms(), ["PLAIN", "LOGIN"])
        self.assertEqual(self.session().plain("old", PASSWORD), 235)
        self.assertEqual(self.session().plain("alice", PASSWORD), 235)


if __name__ == "__main__":
    unittest.main()
