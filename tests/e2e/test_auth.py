"""AUTH against a whole Postino: each mechanism with real clients and with one that lies; each back end; guessing, and who is locked out by it."""
import base64
import os
import re
import shutil
import signal
import smtplib
import socket
import subprocess
import tempfile
import time
import unittest

import frames
from dovecot import Dovecot, token
from driven import Driven
from host import FIRST_UID, Host, PASSWORD, program, wait_for
from listening import Listener, unix_socket
from scram import NO_EXTENDED_MASTER_SECRET, Scram, Session, TLS12, TLS13, b64, tls_unique

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


def places(began):
    """How many more guesses at an account under attack may have had a place in its line by now: one is free again every five seconds, by auth's clock of whole seconds."""
    return -(-(int(time.monotonic()) - int(began)) // 5)


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
        refused = self.host.wait_log("reject: command=AUTH.*").group()
        self.assertIn("proto=ESMTPS", refused)  # nobody is logged in, whatever the name was
        self.assertNotIn("proto=ESMTPSA", refused)
        self.assertNotIn("login=", refused)
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

    settings = "smtpd_processes = 1\n"  # a TLS session is resumed by the process that made it

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

    def test_channel_binding_of_a_resumed_session(self):
        context = self.host.tls_context()
        self.host.tls_context = lambda: context
        first = self.session(version=TLS12)
        resumed = self.session(version=TLS12, resume=first.sock.session)
        self.assertTrue(resumed.sock.session_reused)
        plus = {"header": "p=tls-unique,,", "binding": tls_unique(resumed), "mechanism": "SCRAM-SHA-256-PLUS"}
        self.assertEqual(self.scram(resumed, **dict(plus, binding=tls_unique(first))).run(), 535)
        self.assertEqual(self.scram(resumed, **plus).run(), 235)

    def test_no_channel_binding_that_can_be_shared(self):
        """TLS 1.2 without extended master secret (RFC 7627): another session can be made to have the same."""
        session = self.session(version=TLS12, options=NO_EXTENDED_MASTER_SECRET)
        self.assertEqual(session.mechanisms(), ["SCRAM-SHA-256", "PLAIN", "LOGIN"])
        self.assertEqual(self.scram(session, header="p=tls-unique,,", binding=tls_unique(session), mechanism="SCRAM-SHA-256-PLUS").first()[0], 504)
        self.assertEqual(self.scram(session, header="y,,").run(), 235)  # we have none, and so the client was told the truth

    def test_msmtp(self):
        for mechanism in ("scram-sha-256", "plain", "login"):
            done = run("msmtp", "--host=127.0.0.1", "--port=%d" % self.host.submission_port, "--tls=on", "--tls-starttls=on", "--tls-certcheck=off",
                       "--auth=" + mechanism, "--user=alice", "--passwordeval=echo '%s'" % PASSWORD, "--from=alice@local.example",
                       "bob@local.example", input="Subject: x\n\nx\n")
            self.assertEqual(done.returncode, 0, mechanism + done.stderr)
        self.host.wait(lambda: len(self.host.messages("bob")) == 3)

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
                       lambda t: t[:-4] + ("BBA=" if t.endswith("AAA=") else "AAA="), lambda t: t + ",x=y", lambda t: t.split(",p=")[0], lambda t: t + "A" * 4000, lambda t: "\0" + t):
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


class HostileSmtpd(unittest.TestCase):
    """postino-auth alone, asked by an smtpd that has been taken over."""

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="postino-test-", dir="/var/tmp")
        self.addCleanup(shutil.rmtree, self.directory, True)
        path = os.path.join(self.directory, "passwd")
        with open(path, "w", encoding="ascii") as f:
            f.write(password_line("alice"))
        os.chmod(path, 0o600)
        self.settings = 'password_file = "%s"' % path
        self.auth = Driven("auth", self.settings, edges=("smtpd",))
        self.addCleanup(self.auth.close)
        self.edge = self.auth.edges["smtpd"]

    def tearDown(self):
        self.assertTrue(self.auth.running(), self.auth.log())

    def begin(self, edge, number, mechanism="LOGIN", response=None, client="192.0.2.1"):
        return edge.ask("AUTH", conversation=number, client=client, mechanism=mechanism, has_response=response is not None, response=response or b"")

    def test_an_exchange_belongs_to_its_edge(self):
        other = self.auth.connect("smtpd")
        self.assertEqual(self.begin(self.edge, 1).challenge, b"Username:")
        self.assertEqual(other.ask("RESPONSE", conversation=1, response=b"alice").verdict, frames.AUTH_NOT_NOW)
        other.send("CANCEL", conversation=1)
        self.assertEqual(self.begin(other, 1).challenge, b"Username:")
        self.assertEqual(self.edge.ask("RESPONSE", conversation=1, response=b"alice").challenge, b"Password:")
        self.assertEqual(self.edge.ask("RESPONSE", conversation=1, response=PASSWORD.encode()).verdict, frames.AUTH_YES)
        other.close()
        self.assertEqual(self.begin(self.edge, 2).verdict, frames.AUTH_MORE)

    def test_numbers_out_of_turn(self):
        for number in (0, 1, 2 ** 64 - 1):
            self.edge.send("CANCEL", conversation=number)
            self.assertEqual(self.edge.ask("RESPONSE", conversation=number, response=b"x").verdict, frames.AUTH_NOT_NOW)
        self.begin(self.edge, 7)
        self.assertEqual(self.edge.ask("RESPONSE", conversation=7, response=b"alice").verdict, frames.AUTH_MORE)
        self.assertEqual(self.begin(self.edge, 7).challenge, b"Username:")  # anew
        self.assertEqual(self.edge.ask("RESPONSE", conversation=7, response=b"alice").challenge, b"Password:")
        self.edge.send("CANCEL", conversation=7)
        self.assertEqual(self.edge.ask("RESPONSE", conversation=7, response=PASSWORD.encode()).verdict, frames.AUTH_NOT_NOW)

    def test_odd_values(self):
        for mechanism in ("", "ANONYMOUS", "EXTERNAL", "PLAIN\t", "OAUTHBEARER", "x" * 100000):
            self.assertEqual(self.begin(self.edge, 1, mechanism, b"x").verdict, frames.AUTH_UNOFFERED)
        self.assertEqual(self.begin(self.edge, 1, "PLAIN", b"\0alice\0" + b"x" * 20000).verdict, frames.AUTH_MALFORMED)
        self.assertEqual(self.begin(self.edge, 1, "PLAIN", b"\0alice\0" + b"x" * 1025).verdict, frames.AUTH_MALFORMED)
        self.assertEqual(self.begin(self.edge, 1, "PLAIN", b"\0" + b"a" * 256 + b"\0x").verdict, frames.AUTH_MALFORMED)
        self.assertEqual(self.begin(self.edge, 1, "PLAIN", b"\0\xff\0x").verdict, frames.AUTH_MALFORMED)
        self.assertEqual(self.begin(self.edge, 1, "PLAIN", b"\0alice\0" + PASSWORD.encode(), client="x" * 100000).verdict, frames.AUTH_YES)
        self.assertEqual(self.edge.ask("MECHANISMS", binding=0).mechanisms, "SCRAM-SHA-256 PLAIN LOGIN")
        self.assertEqual(self.edge.ask("USAGE", login="", recipients=2 ** 32 - 1).beyond, 0)

    def test_one_that_is_given_up_for_another_was_a_guess(self):
        """64 of one address: else wrong guesses would be given up before they are told."""
        self.auth.close()
        self.auth = Driven("auth", self.settings + "\nauth { failures_address = 5 }", edges=("smtpd",))
        self.addCleanup(self.auth.close)
        edge = self.auth.edges["smtpd"]
        for n in range(1, 65):
            self.assertEqual(self.begin(edge, n).verdict, frames.AUTH_MORE)
        plain = b"\0alice\0" + PASSWORD.encode()
        self.assertEqual(self.begin(edge, 100, "PLAIN", plain, "192.0.2.9").verdict, frames.AUTH_YES)
        for n in range(65, 70):
            edge.send("AUTH", conversation=n, client="192.0.2.1", mechanism="LOGIN", has_response=False, response=b"")
        answers = [edge.receive(60) for _ in range(5)]
        self.assertEqual({a.verdict for a in answers}, {frames.AUTH_MORE})
        self.assertEqual(self.begin(edge, 200, "PLAIN", plain).verdict, frames.AUTH_REFUSED)

    def test_more_exchanges_than_there_are_places(self):
        def memory():
            with open("/proc/%d/status" % self.auth.process.pid, encoding="ascii") as f:
                return int(next(line for line in f if line.startswith("VmRSS:")).split()[1])
        def fill(first, n):
            for i in range(first, first + n):
                self.assertEqual(self.begin(self.edge, i + 1, client="10.%d.%d.1" % (i // 250, i % 250)).verdict, frames.AUTH_MORE)
        fill(0, 4200)
        before = memory()
        fill(4200, 4200)
        self.assertLess(memory() - before, 2000)
        self.assertEqual(self.edge.ask("RESPONSE", conversation=4304, response=b"alice").verdict, frames.AUTH_NOT_NOW)
        self.assertEqual(self.edge.ask("RESPONSE", conversation=4306, response=b"alice").verdict, frames.AUTH_MORE)


class SlowHashes(unittest.TestCase):
    """A hash that takes a quarter of a second and more: auth's other answers do not wait for it."""
    HASH = "$6$rounds=%d$saltsalt$" + "x" * 86

    def start(self, rounds):
        directory = tempfile.mkdtemp(prefix="postino-test-", dir="/var/tmp")
        self.addCleanup(shutil.rmtree, directory, True)
        path = os.path.join(directory, "passwd")
        with open(path, "w", encoding="ascii") as f:
            f.write("alice:%s\n" % (self.HASH % rounds))
        os.chmod(path, 0o600)
        self.auth = Driven("auth", 'password_file = "%s"\nauth { messages_hour = 5 failures_address = 0 failures_network = 0 failures_account = 0 }' % path,
                           edges=("smtpd",))
        self.addCleanup(self.auth.close)
        self.edge = self.auth.edges["smtpd"]

    def tearDown(self):
        self.assertTrue(self.auth.running(), self.auth.log())

    def try_one(self, number, client="192.0.2.1"):
        return "AUTH", dict(conversation=number, client=client, mechanism="PLAIN", has_response=True, response=b"\0alice\0secret")

    def say(self, *questions):
        """All in one piece, so that no hash is done before auth has read the last one. Their numbers."""
        self.edge.send_raw(b"".join(frames.encode(name, number, **fields) for number, (name, fields) in enumerate(questions, 1)))
        return list(range(1, len(questions) + 1))

    def test_usage_is_answered_while_passwords_are_tried(self):
        self.start(1000000)
        *tries, usage, mechanisms = self.say(*[self.try_one(n, "192.0.2.%d" % n) for n in range(1, 7)], ("USAGE", dict(login="alice", recipients=1)),
                                             ("MECHANISMS", dict(binding=0)))
        answers = [self.edge.receive(60) for _ in range(8)]
        self.assertEqual([a.request for a in answers[:2]], [usage, mechanisms])
        self.assertEqual(sorted(a.request for a in answers[2:]), sorted(tries))
        self.assertEqual({a.verdict for a in answers[2:]}, {frames.AUTH_NO})

    def test_one_address_has_its_share_of_the_line(self):
        self.start(200000)
        *_, other = self.say(*[self.try_one(n, "2001:db8::%d" % n) for n in range(1, 41)], self.try_one(50))
        answers = [self.edge.receive(60) for _ in range(41)]
        self.assertEqual([a.verdict for a in answers[:24]], [frames.AUTH_NOT_NOW] * 24)
        self.assertEqual([a.verdict for a in answers[24:]], [frames.AUTH_NO] * 17)
        self.assertIn(other, [a.request for a in answers[24:]])

    def test_what_is_cancelled_makes_room(self):
        self.start(200000)
        *_, last = self.say(*[self.try_one(n) for n in range(1, 17)], *[("CANCEL", dict(conversation=n)) for n in range(1, 17)], self.try_one(20))
        answer = self.edge.receive(60)
        self.assertEqual((answer.request, answer.verdict), (last, frames.AUTH_NO))


class DovecotByHand(unittest.TestCase):
    """postino-auth alone, between an smtpd and a Dovecot that are both this test."""

    def setUp(self):
        directory = tempfile.mkdtemp(prefix="postino-test-", dir="/var/tmp")
        self.addCleanup(shutil.rmtree, directory, True)
        path = os.path.join(directory, "auth")
        self.listener = socket.socket(socket.AF_UNIX)
        self.addCleanup(self.listener.close)
        self.listener.bind(path)
        self.listener.listen(5)
        self.listener.settimeout(60)
        self.auth = Driven("auth", 'auth { backend = dovecot dovecot_socket = "%s" timeout = 50s failures_account = 3 failures_address = 0 failures_network = 0 }' % path,
                           edges=("smtpd",))
        self.addCleanup(self.auth.close)
        self.edge = self.auth.edges["smtpd"]
        self.dovecot, _ = self.listener.accept()
        self.addCleanup(self.dovecot.close)
        self.dovecot.settimeout(60)
        self.lines = self.dovecot.makefile("rb")
        self.dovecot.sendall(b"VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tSCRAM-SHA-256\nSPID\t1\nDONE\n")
        self.assertEqual([self.lines.readline().split(b"\t")[0] for _ in range(2)], [b"VERSION", b"CPID"])
        wait_for(lambda: "PLAIN" in self.edge.ask("MECHANISMS", binding=0).mechanisms)

    def tearDown(self):
        self.assertTrue(self.auth.running(), self.auth.log())

    def begin(self, number, user="alice", password="wrong", client=None, mechanism="PLAIN", response=None):
        return self.edge.send("AUTH", conversation=number, client=client or "192.0.%d.%d" % (number // 200, number % 200 + 1), mechanism=mechanism,
                              has_response=True, response=response or ("\0%s\0%s" % (user, password)).encode())

    def question(self):
        return self.lines.readline().rstrip(b"\n").split(b"\t")

    def answer(self, text):
        """To the next question."""
        number = self.question()[1]
        self.dovecot.sendall(text.replace(b"%d", number))

    def guess(self, number, user, text):
        self.begin(number, user)
        self.answer(text)
        return self.edge.receive(60)

    def test_a_dovecot_that_reads_late_loses_nobody(self):
        asked = {self.begin(n, "user%d" % n, "x" * 1000) for n in range(200)}  # more than a socket takes
        time.sleep(0.5)
        began = time.monotonic()
        for _ in range(200):
            self.answer(b"FAIL\t%d\tuser=x\n")
        answers = [self.edge.receive(60) for _ in range(200)]
        self.assertEqual({a.request for a in answers}, asked)
        verdicts = [a.verdict for a in answers]
        self.assertIn(verdicts.count(frames.AUTH_NO), range(9, 10 + places(began)))  # all are x for Dovecot: three, and six in line
        self.assertEqual({a.verdict for a in answers}, {frames.AUTH_NO, frames.AUTH_BUSY})

    def test_a_dovecot_that_does_not_read_refuses_newcomers_alone(self):
        asked = [self.begin(n, "user%d" % n, "x" * 1000) for n in range(800)]
        refused = []
        self.edge.send("MECHANISMS", binding=0)
        for answer in iter(lambda: self.edge.receive(60), None):
            if not hasattr(answer, "verdict"):
                break
            self.assertEqual(answer.verdict, frames.AUTH_NOT_NOW)
            refused.append(answer.request)
        self.assertGreater(len(refused), 100)
        self.assertEqual(refused, asked[-len(refused):])
        taken = asked[:-len(refused)]
        self.assertGreater(len(taken), 150)
        for n in range(len(taken)):
            self.answer(b"FAIL\t%%d\tuser=user%d\n" % n)
        answers = [self.edge.receive(60) for _ in taken]
        self.assertEqual([(a.request, a.verdict) for a in answers], [(request, frames.AUTH_NO) for request in taken])

    def test_spellings_of_an_account_are_counted_as_one(self):
        verdicts = [self.guess(n, "ann@%d.example" % n, b"FAIL\t%d\tuser=ann\n").verdict for n in range(1, 4)]
        self.assertEqual(verdicts, [frames.AUTH_NO] * 3)
        began = time.monotonic()
        answers = [self.guess(n, "ANN@%d.example" % n, b"FAIL\t%d\tuser=ann\n") for n in range(4, 14)]
        self.assertEqual([(a.verdict, a.delay > 0) for a in answers[:6]], [(frames.AUTH_NO, True)] * 6)
        # Whether a guess was right is not told either.
        answers.append(self.guess(20, "ann@x.example", b"OK\t%d\tuser=ann\n"))
        had_place = [a for a in answers if a.verdict != frames.AUTH_BUSY]
        self.assertIn(len(had_place), range(6, 7 + places(began)))
        self.assertTrue(all(a.delay > 0 for a in had_place), had_place)
        self.assertEqual(self.guess(21, "bob@x.example", b"OK\t%d\tuser=bob\n").verdict, frames.AUTH_YES)

    def test_an_account_that_dovecot_does_not_name_is_counted_in_any_case(self):
        for n, name in enumerate(("carl", "Carl", "CARL")):
            self.assertEqual(self.guess(n + 1, name, b"FAIL\t%d\n").verdict, frames.AUTH_NO)
        self.assertGreater(self.guess(9, "cArL", b"FAIL\t%d\n").delay, 0)

    def test_a_challenge_to_a_password_ends_it(self):
        """What Dovecot says about it afterwards is about nobody."""
        for text in (b"CONT\t%d\t\n", b"CONT\t%d\teA==\n"):
            self.assertEqual(self.guess(1, "dan", text + b"OK\t%d\tuser=dan\nCONT\t%d\teA==\n").verdict, frames.AUTH_NOT_NOW)
            answer = self.edge.ask("RESPONSE", conversation=1, response=b"x")
            self.assertEqual(answer.verdict, frames.AUTH_NOT_NOW)
        self.assertEqual(self.guess(1, "dan", b"OK\t%d\tuser=dan\n").verdict, frames.AUTH_YES)

    def test_a_place_in_line_is_taken_with_the_proof(self):
        for n in range(1, 4):
            self.guess(n, "eve", b"FAIL\t%d\tuser=eve\n")
        for n in range(10, 30):  # names alone
            self.begin(n, mechanism="SCRAM-SHA-256", response=b"n,,n=eve,r=abc")
            self.answer(b"CONT\t%d\teA==\n")
            self.assertEqual(self.edge.receive(60).verdict, frames.AUTH_MORE)
        began = int(time.monotonic())
        self.assertEqual(self.guess(30, "eve", b"FAIL\t%d\tuser=eve\n").delay, 5)
        self.edge.send("RESPONSE", conversation=10, response=b"c=biws,r=abcd,p=eA==")
        self.answer(b"FAIL\t%d\tuser=eve\n")
        delay = self.edge.receive(60).delay
        self.assertIn(delay, range(max(5, 10 - (int(time.monotonic()) - began)), 11))  # five behind the other's


class Senders(AuthTest):
    """sender_logins: who may send as whom."""

    def before_start(self):
        with open(self.host.path("owners"), "w", encoding="ascii") as f:
            f.write("alice@local.example alice\nshared@local.example bob, alice\n@alice.example alice\nbob@local.example bob\n")
        self.host.tool("postino", "map", "hash:" + self.host.path("owners"), check=True)
        self.host.configure(settings=QUICK + 'sender_logins = "hash:%s"\n' % self.host.path("owners"))

    def test_senders(self):
        session = self.session()
        self.assertEqual(session.plain("alice", PASSWORD), 235)
        for sender, code in (("alice@local.example", 250), ("shared@local.example", 250), ("x@alice.example", 250), ("", 250), ("ALICE+x@local.example", 250),
                             ("bob@local.example", 553), ("x@unlisted.example", 553), ("alice@local.example.evil.example", 553)):
            with self.subTest(sender=sender):
                self.assertEqual(session.say("MAIL FROM:<%s>" % sender)[0], 250)
                said, words = session.say("RCPT TO:<bob@local.example>")
                self.assertEqual(said, code)
                if code == 553:
                    self.assertEqual(words, "5.7.1 <%s>: Sender address rejected: not owned by user alice" % sender)
                session.say("RSET")
        self.host.wait_log("reply=\"553 5.7.1 .*rule=sender_logins")
        with self.host.smtp() as stranger:  # what comes from elsewhere is no matter of logins
            stranger.ehlo("x")
            self.assertEqual(stranger.docmd("MAIL FROM:<alice@local.example>")[0], 250)
            self.assertEqual(stranger.docmd("RCPT TO:<bob@local.example>")[0], 250)

    def test_owners_that_can_not_be_read(self):
        os.unlink(self.host.path("owners.db"))
        session = self.session()
        session.plain("alice", PASSWORD)
        session.say("MAIL FROM:<alice@local.example>")
        self.host.wait(lambda: session.say("RCPT TO:<bob@local.example>")[0] == 451)


class Hourly(AuthTest):
    settings = "auth { messages_hour = 3 recipients_hour = 5 }"

    def send(self, session, recipients=1):
        return session.sendmail("alice@local.example", ["bob@local.example", "alice@local.example", "postmaster@local.example"][:recipients],
                                b"Subject: x\r\n\r\nx\r\n")

    def test_what_is_beyond_is_taken_and_told(self):
        sessions = [self.session(), self.session()]
        for session in sessions:
            self.assertEqual(session.plain("alice", PASSWORD), 235)
        for i in range(3):
            self.send(sessions[i % 2])
        self.assertNotIn("limit: login=alice", self.host.log())
        for i in range(3):
            self.send(sessions[i % 2])
        self.host.wait_log("limit: login=alice messages_hour=3 recipients_hour=5 reason=")
        self.assertEqual(self.host.log().count("limit: login=alice"), 1)
        wait_for(lambda: len(re.findall(r"^\w+!", self.host.queue(), re.M)) == 3)  # nothing is lost: it waits for the administrator
        self.assertEqual(self.host.tool("postino", "queue", "release", "all").returncode, 0)
        wait_for(self.host.queue_is_empty)

    def held(self):
        return len(re.findall(r"^\w+!", self.host.queue(), re.M))

    def test_what_is_beyond_twice_the_limit_is_refused(self):
        session = self.session()
        self.assertEqual(session.plain("alice", PASSWORD), 235)
        for _ in range(6):
            self.send(session)
        for _ in range(3):
            with self.assertRaises(smtplib.SMTPDataError) as refused:
                self.send(session)
            self.assertEqual(refused.exception.smtp_code, 452)
            self.assertRegex(refused.exception.smtp_error, rb"^4\.7\.1 .*twice")
        session.say("MAIL FROM:<alice@local.example>")
        session.say("RCPT TO:<bob@local.example>")
        session.send("BDAT 14 LAST\r\n" + "Subject: y\r\n\r\n")
        self.assertEqual(session.getreply()[0], 452)
        self.assertEqual(session.say("NOOP")[0], 250)
        wait_for(lambda: self.held() == 3)
        self.host.wait_log("reply=\"452 4.7.1 this login has sent more than twice")

    def test_without_auth_mail_waits_in_the_queue(self):
        session = self.session()
        self.assertEqual(session.plain("alice", PASSWORD), 235)
        pid = self.host.pid_of("auth")
        os.kill(pid, signal.SIGSTOP)
        try:
            self.send(session)
            self.assertEqual(self.held(), 1)
            self.host.wait_log("limit: login=alice reason=.*did not say in time")
        finally:
            os.kill(pid, signal.SIGCONT)
        self.assertEqual(self.host.tool("postino", "queue", "release", "all").returncode, 0)
        wait_for(self.host.queue_is_empty)


class Guessing(AuthTest):
    settings = "auth { failures_address = 5 failures_network = 40 failures_account = 12 }"

    def guess(self, source, user="alice", password="wrong"):
        session = self.session(source=source)
        code = session.plain(user, password)
        session.close()
        return code

    def test_an_address(self):
        session = self.session(source="127.0.1.1")
        self.assertEqual([session.plain("user%d" % i, "x") for i in range(6)], [535] * 5 + [421])
        self.assertEqual(session.sock.recv(10), b"")
        self.assertEqual(self.guess("127.0.1.1", password=PASSWORD), 421)
        self.assertEqual(self.guess("127.0.1.2", password=PASSWORD), 235)
        self.host.wait_log(r"auth: verdict=refused user=alice client=127.0.1.1 .*too many failed logins from its network")
        self.host.wait_log(r"warning: \S+\[127.0.1.1\]: SASL PLAIN authentication failed: too many failures")

    def test_a_network(self):
        codes = [self.guess("127.0.3.%d" % (1 + i // 4), "user%d" % i) for i in range(40)]
        self.assertEqual(codes, [535] * 40)
        self.assertEqual(self.guess("127.0.3.200", password=PASSWORD), 421)
        self.assertEqual(self.guess("127.0.4.1", password=PASSWORD), 235)

    def test_an_attack_from_everywhere_and_the_owner_at_once(self):
        self.assertEqual(self.guess("127.1.0.1", password=PASSWORD), 235)
        self.assertEqual([self.guess("127.2.%d.1" % i) for i in range(12)], [535] * 12)
        strangers = [self.session(source="127.3.%d.1" % i) for i in range(12)]
        began = time.monotonic()
        for session in strangers:
            session.putcmd("AUTH PLAIN " + b64(b"\0alice\0wrong"))
            session.sock.settimeout(120)
        self.host.wait(lambda: len(self.verdicts(r"127\.3\.\d+\.1")) == 12)
        more = places(began)
        delays = [delay for verdict, delay in self.verdicts(r"127\.3\.\d+\.1") if verdict == "no"]
        self.assertIn(len(delays), range(6, 7 + more))
        self.assertTrue(all(delay >= 5 for delay in delays), delays)
        self.assertGreaterEqual(max(delays), 30)
        own = time.monotonic()
        self.assertEqual(self.guess("127.1.0.1", password=PASSWORD), 235)
        self.assertEqual(self.guess("127.1.0.1", password="wrong"), 535)
        self.assertEqual(self.guess("127.3.9.1", "bob", "wrong"), 535)
        self.assertLess(time.monotonic() - own, 20)  # and not behind the strangers, which is 30
        self.assertEqual(self.verdicts(r"127\.1\.0\.1"), [("yes", 0), ("yes", 0), ("no", 0)])
        codes = [session.getreply()[0] for session in strangers]
        self.assertEqual(sorted(codes), [454] * (12 - len(delays)) + [535] * len(delays))
        self.assertGreater(time.monotonic() - began, 5 * len(delays) - 1)
        for _ in range(2):
            self.assertEqual(self.guess("127.4.0.1", password=PASSWORD), 235)
        (first, delay), second = self.verdicts(r"127\.4\.0\.1")
        self.assertEqual((first, second), ("yes", ("yes", 0)))  # the owner on a journey
        self.assertGreaterEqual(delay, 5)

    def verdicts(self, client):
        """On alice, as they were found: (word, seconds until it is told)."""
        found = re.findall(r"auth: verdict=(\S+) user=alice client=%s mechanism=PLAIN(?: delay=(\d+))?(?: reason=.*)?\n" % client, self.host.log())
        return [(verdict, int(delay or 0)) for verdict, delay in found]


@unittest.skipUnless(os.geteuid() == 0, "Dovecot is started as root")
class DovecotTest(AuthTest):
    timeout = 50
    offered = ["SCRAM-SHA-256", "OAUTHBEARER", "XOAUTH2", "PLAIN", "LOGIN"]

    def before_start(self):
        self.directory = tempfile.mkdtemp(prefix="postino-test-", dir="/var/tmp")
        self.addCleanup(shutil.rmtree, self.directory, True)
        os.chmod(self.directory, 0o755)
        secret = run("doveadm", "pw", "-s", "SCRAM-SHA-256", "-p", PASSWORD).stdout
        self.dovecot = Dovecot(self.directory, ["alice:" + secret, "bob:{PLAIN}%s\n" % PASSWORD])
        self.dovecot.start()
        self.addCleanup(self.dovecot.stop)
        self.host.configure(settings=QUICK + 'auth { backend = dovecot dovecot_socket = "%s" timeout = %d }' % (self.dovecot.socket, self.timeout))

    def setUp(self):
        super().setUp()
        self.host.wait(lambda: self.mechanisms() == self.offered)

    def mechanisms(self):
        session = Session(self.host)
        with session:
            return session.mechanisms()


class RealDovecot(DovecotTest):
    def test_mechanisms(self):
        session = self.session()
        self.assertEqual(session.mechanisms(), self.offered)
        for user in ("alice", "bob"):
            self.assertEqual(self.session().plain(user, PASSWORD), 235)
            self.assertEqual(self.session().login_mechanism(user, PASSWORD), 235)
            self.assertEqual(self.scram(user=user).run(), 235)
            self.assertEqual(session.plain(user, "wrong"), 535)
            self.assertEqual(session.login_mechanism(user, "wrong"), 535)
            self.assertEqual(self.scram(session, user, "wrong").run(), 535)
        self.assertEqual(self.scram(session, "nobody").run(), 535)
        self.assertEqual(session.say("AUTH SCRAM-SHA-256-PLUS")[0], 504)
        self.assertEqual(session.plain("alice", PASSWORD), 235)
        session.sendmail("alice@local.example", ["bob@local.example"], b"Subject: x\r\n\r\nx\r\n")
        self.host.wait_log("login=alice|login:alice")

    def test_oauth(self):
        session = self.session()
        bearer = "n,a=alice,\1host=x\1port=587\1auth=Bearer %s\1\1"
        xoauth2 = "user=alice\1auth=Bearer %s\1\1"
        for mechanism, text in (("OAUTHBEARER", bearer), ("XOAUTH2", xoauth2)):
            for bad in (token("alice", key=b"another key that is not the one at all"), token("alice", seconds=-60), "x"):
                code, more = session.say("AUTH %s %s" % (mechanism, b64((text % bad).encode())))
                if code == 334:  # RFC 7628 3.2.2: what is wrong, in JSON; the client answers with ^A
                    self.assertIn(b"status", base64.b64decode(more))
                    code = session.answer(b"\1")[0]
                self.assertEqual(code, 535)
            self.assertEqual(self.session().say("AUTH %s %s" % (mechanism, b64((text % token("alice")).encode())))[0], 235)
        self.assertNotIn("eyJ", self.host.log())

    def test_dovecot_dies_in_mid_exchange(self):
        session = self.session()
        exchange = self.scram(session)
        self.assertEqual(exchange.first()[0], 334)
        os.kill(self.dovecot.auth_pid(), signal.SIGKILL)
        self.assertEqual(exchange.final()[0], 454)
        self.assertEqual(session.say("NOOP")[0], 250)
        self.host.wait(lambda: session.plain("alice", PASSWORD) == 235)


class DovecotAway(DovecotTest):
    timeout = 3

    def test_dovecot_hangs_and_is_away(self):
        session, other = self.session(), self.session()
        self.assertEqual(other.say("AUTH LOGIN")[0], 334)
        pid = self.dovecot.auth_pid()
        os.kill(pid, signal.SIGSTOP)
        began = time.monotonic()
        self.assertEqual(session.plain("alice", PASSWORD), 454)
        self.assertLess(time.monotonic() - began, 30)  # smtpd's own patience is 60
        self.host.wait_log("Dovecot took too long")
        os.kill(pid, signal.SIGCONT)
        self.host.wait(lambda: session.plain("alice", PASSWORD) == 235)
        self.dovecot.stop()
        self.host.wait_log("dovecot: .*logins have to wait")
        self.assertIn("PLAIN", self.mechanisms())
        self.assertEqual(other.answer(b"alice")[0], 334)
        self.assertEqual(other.answer(PASSWORD.encode())[0], 454)
        self.dovecot.start()
        self.host.wait(lambda: other.plain("alice", PASSWORD) == 235)
        self.host.wait_log("it can be reached again")


@unittest.skipUnless(os.geteuid() == 0, "a mount namespace takes root")
class PamTest(AuthTest):
    """PAM with a service of its own, which is in /etc/pam.d for this Postino alone. `hang` and `down` are users that its modules have trouble with."""

    SERVICE = """auth [success=1 default=ignore] pam_succeed_if.so quiet user notin hang:down
auth required pam_exec.so quiet {d}/trouble
auth required pam_userdb.so db={d}/users crypt=none
account required pam_listfile.so item=user sense=deny file={d}/expired onerr=succeed
"""
    timeout = 50

    def before_start(self):
        self.directory = tempfile.mkdtemp(prefix="postino-test-", dir="/var/tmp")
        self.addCleanup(shutil.rmtree, self.directory, True)
        os.mkdir(os.path.join(self.directory, "pam.d"))
        files = {"pam.d/postino-test": self.SERVICE.format(d=self.directory), "expired": "old\n",
                 "trouble": "#!/bin/sh\n[ $PAM_USER = down ] && exit 1\necho $$ >%s/pid.$$\nsleep 600 & wait\n" % self.directory}
        for name, text in files.items():
            with open(os.path.join(self.directory, name), "w", encoding="ascii") as f:
                f.write(text)
        os.chmod(os.path.join(self.directory, "trouble"), 0o755)
        done = run("perl", "-MDB_File", "-e", 'tie %h, "DB_File", $ARGV[0], O_RDWR|O_CREAT, 0600, $DB_HASH or die; $h{$_} = $ARGV[1] for @ARGV[2..$#ARGV]',
                   os.path.join(self.directory, "users.db"), PASSWORD, "alice", "old")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.host._inside = lambda command: ["unshare", "--mount", "sh", "-c", 'mount --bind "$0" /etc/pam.d && exec "$@"',
                                             os.path.join(self.directory, "pam.d")] + command
        self.host.configure(settings=QUICK + "auth { backend = pam pam_service = postino-test timeout = %d pam_checks = 2 failures_address = 0 failures_account = 0 }"
                            % self.timeout)

    def hanging(self):
        """Processes of the module that hangs."""
        pids = [int(name[4:]) for name in os.listdir(self.directory) if name.startswith("pid.")]
        return [pid for pid in pids if os.path.exists("/proc/%d" % pid)]

    def hang(self, session):
        session.putcmd("AUTH PLAIN " + b64(("\0hang\0" + PASSWORD).encode()))

    def warden(self):
        return int(run("ps", "-o", "pid=", "--ppid", str(self.host.pid_of("auth"))).stdout.split()[0])


class Pam(PamTest):
    def test_passwords(self):
        session = self.session()
        self.assertEqual(session.mechanisms(), ["PLAIN", "LOGIN"])
        for user, password, code in (("alice", "wrong", 535), ("nobody", PASSWORD, 535), ("old", PASSWORD, 535), ("old", "wrong", 535),
                                     ("alice", PASSWORD + "\t", 501), ("down", PASSWORD, 454)):
            with self.subTest(user=user, password=password):
                self.assertEqual(session.plain(user, password), code if "\t" not in password else 535)
                self.assertEqual(session.login_mechanism(user, password), code if "\t" not in password else 535)
        self.assertEqual(session.say("AUTH SCRAM-SHA-256 biws")[0], 504)
        self.assertEqual(session.plain("alice", PASSWORD), 235)
        self.assertEqual(self.session().login_mechanism("alice", PASSWORD), 235)
        self.assertNotIn(PASSWORD, self.host.log())

    def test_it_ends_with_auth(self):
        session = self.session()
        self.hang(session)
        self.host.wait(self.hanging)
        warden = self.warden()
        os.kill(self.host.pid_of("auth"), signal.SIGKILL)
        self.assertEqual(session.getreply()[0], 454)
        self.host.wait(lambda: not os.path.exists("/proc/%d" % warden) and not self.hanging())
        self.host.wait(lambda: self.session().plain("alice", PASSWORD) == 235)
        warden = self.warden()
        os.kill(warden, signal.SIGKILL)
        self.host.wait_log("the process that asks PAM is gone")
        self.host.wait(lambda: self.session().plain("alice", PASSWORD) == 235)
        self.host.stop()
        self.host.wait(lambda: not os.path.exists("/proc/%d" % warden))


class PamHangs(PamTest):
    timeout = 5

    def test_a_module_that_hangs_is_killed(self):
        session = self.session()
        began = time.monotonic()
        self.assertEqual(session.plain("hang", PASSWORD), 454)
        self.assertLess(time.monotonic() - began, 40)  # smtpd's own patience is 60, and the module's 600
        self.host.wait_log("PAM took too long")
        self.host.wait(lambda: not self.hanging())
        self.host.wait(lambda: session.plain("alice", PASSWORD) == 235)

    def test_those_who_hang_do_not_keep_others_out_for_long(self):
        sessions = [self.session() for _ in range(5)]
        began = time.monotonic()
        for session in sessions:
            self.hang(session)
        self.host.wait(lambda: len(self.hanging()) >= 2)
        most = 0
        while True:
            found = len(self.hanging())
            if time.monotonic() - began >= self.timeout:  # now one may be given up, and another in his place before he is quite gone
                break
            most = max(most, found)
            time.sleep(0.05)
        self.assertLessEqual(most, 2)
        self.assertEqual([session.getreply()[0] for session in sessions], [454] * 5)
        self.host.wait(lambda: self.session().plain("alice", PASSWORD) == 235)

    def test_one_address_has_its_share_of_the_line(self):
        sessions = [self.session(source="127.0.5.1") for _ in range(20)]
        other = self.session(source="127.0.5.2")
        for session in sessions:
            self.hang(session)
        self.host.wait(lambda: len(self.refused()) == 2)  # two are with PAM, sixteen wait
        other.putcmd("AUTH PLAIN " + b64(("\0alice\0" + PASSWORD).encode()))
        self.assertEqual([session.getreply()[0] for session in sessions], [454] * 20)
        self.assertIn(other.getreply()[0], (235, 454))  # whether its turn came in time
        self.assertEqual(self.refused(), ["127.0.5.1"] * 2)

    def refused(self):
        """Where they come from who were not let into the line."""
        return re.findall(r"client=(\S+) mechanism=PLAIN reason=.*too many of its address", self.host.log())


class FakeDovecotTest(AuthTest):
    """A Dovecot that says what no Dovecot should."""
    timeout = 50

    def before_start(self):
        self.directory = tempfile.mkdtemp(prefix="postino-test-", dir="/var/tmp")
        self.addCleanup(shutil.rmtree, self.directory, True)
        os.chmod(self.directory, 0o755)
        self.answers = []  # to the next questions: bytes with %d for the number, or None: none
        self.asked = []
        self.addCleanup(Listener(unix_socket(os.path.join(self.directory, "auth")), self.serve, together=False).close)
        self.host.configure(settings=QUICK + 'auth { backend = dovecot dovecot_socket = "%s/auth" timeout = %d failures_address = 0 failures_account = 0 }'
                            % (self.directory, self.timeout))

    def serve(self, conn):
        with conn:
            self.talk(conn)

    def talk(self, conn):
        conn.sendall(b"VERSION\t1\t2\nMECH\tPLAIN\tplaintext\nMECH\tANONYMOUS\nMECH\tSCRAM-SHA-256-PLUS\nSPID\t1\nCOOKIE\tx\nDONE\n")
        for line in conn.makefile("rb"):
            self.asked.append(line)
            if line.startswith((b"AUTH", b"CONT")):
                answer = self.answers.pop(0) if self.answers else b"FAIL\t%d\n"
                if answer is not None:
                    number = int(line.split(b"\t")[1])
                    conn.sendall(answer.replace(b"%d", b"%d" % number))
                    if answer.endswith(b"BYE"):
                        return


class FakeDovecot(FakeDovecotTest):
    def test_what_is_offered_is_what_we_know(self):
        self.assertEqual(self.session().mechanisms(), ["PLAIN", "LOGIN"])

    def test_odd_answers(self):
        session = self.session()
        table = [(b"FAIL\t%d\tuser=alice\n", 535), (b"FAIL\t%d\tuser=alice\ttemp\treason=x\n", 454), (b"FAIL\t%d\tcode=temp_fail\n", 454),
                 (b"OK\t%d\n", 454), (b"OK\t%d\tuser=\n", 454), (b"OK\t%d\tuser=a\1tb\n", 454), (b"OK\t%d\tuser=" + b"x" * 300 + b"\n", 454),
                 (b"CONT\t%d\t!!\n", 454), (b"OK\tx\tuser=alice\n", 454), (b"OK\n", 454), (b"OK\t99999999999999999999\tuser=alice\n", 454),
                 (b"OK\t-1\tuser=alice\n", 454), (b"BYE", 454),
                 (b"\0" * 40000, 454), (b"VERSION\t2\t0\n", 454), (b"X\tY\n\n\t\nFAIL\t%d\n", 535)]
        for answer, code in table:
            with self.subTest(answer=answer):
                self.answers = [answer]
                self.assertEqual(session.plain("alice", PASSWORD), code)
                self.assertEqual(session.say("MAIL FROM:<a@local.example>")[0], 530)
                session.say("RSET")
                if session.sock is None or len(self.asked) > 8:
                    session = self.session()
                time.sleep(1.1 if code == 454 else 0)  # a connection is made once a second
        self.answers = [b"OK\t%d\tuser=alice\n"]
        self.host.wait(lambda: self.session().plain("alice", PASSWORD) == 235)
        self.answers = []

    def test_the_name_is_what_dovecot_says(self):
        session = self.session()
        self.answers = [b"OK\t%d\tuser=Alice.Long@example.org\n"]
        self.assertEqual(session.plain("al", PASSWORD), 235)
        self.host.wait_log("user=al login=Alice.Long@example.org")
        self.assertEqual(self.asked[2].split(b"\t")[2:6], [b"PLAIN", b"service=smtp", b"secured", b"rip=127.0.0.1"])
        self.assertEqual(self.asked[2].split(b"resp=")[1], b64(b"\0al\0" + PASSWORD.encode()).encode() + b"\n")


class LateDovecot(FakeDovecotTest):
    timeout = 5

    def test_a_late_answer_is_for_nobody(self):
        session = self.session()
        self.answers = [None, b"OK\t1\tuser=alice\nFAIL\t%d\n"]
        self.assertEqual(session.plain("alice", PASSWORD), 454)
        self.host.wait(lambda: b"CANCEL\t1\n" in self.asked)
        self.assertEqual(session.plain("alice", PASSWORD), 535)

    def test_no_answer(self):
        session = self.session()
        for answer in (None, b"FAIL\t%d", b"\nOK\t4000000000\tuser=alice\n"):
            with self.subTest(answer=answer):
                asked = len(self.asked)
                self.answers = [answer]
                self.assertEqual(session.plain("alice", PASSWORD), 454)
                self.assertEqual([line[:4] for line in self.asked[asked:] if line.startswith(b"AUTH")], [b"AUTH"])
                self.assertEqual(session.say("MAIL FROM:<a@local.example>")[0], 530)
        self.assertEqual(self.host.log().count("Dovecot took too long"), 3)


if __name__ == "__main__":
    unittest.main()
