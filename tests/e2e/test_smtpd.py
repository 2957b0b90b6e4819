"""smtpd in its sandbox, as the network sees it: every verb, bad input, STARTTLS, AUTH, pipelining. The programs at its edges are played here, so that they
can be silent, full or gone. A second class asks the real postino-auth."""
import base64
import errno
import os
import re
import shutil
import socket
import ssl
import stat
import subprocess
import tempfile
import threading
import time
import unittest

import frames
from driven import Driven
from host import certificate, program, wait_for

PASSWORD = "correct horse"
SETTINGS = """
relay_from = { "127.0.0.0/8" }
tls { certificate = "%s" key = "%s" }
limit { message_size = 2M  line = 2000  hops = 5  errors = 20  recipients = 100  command_line = 512  sessions = 20 sessions_client = 100 }
smtpd { auth_delay = 0s  auth_failures = 3  command_timeout = %s  tls_timeout = %s }
listener "smtp" { port = 25 tls = may }
listener "submission" { port = 587 tls = required auth = required }
listener "submissions" { port = 465 tls = implicit auth = required }
"""


def plain(user, password, identity=""):
    return base64.b64encode(("%s\0%s\0%s" % (identity, user, password)).encode()).decode()


class Edge(threading.Thread):
    """The far end of an edge: answers by a function, until it is closed."""

    def __init__(self, channel, answer):
        super().__init__(daemon=True)
        self.channel, self.answer = channel, answer
        self.start()

    def run(self):
        try:
            while True:
                self.answer(self.channel, self.channel.receive(None))
        except (frames.Closed, OSError, ValueError):
            pass


class Smtpd(Driven):
    """postino-smtpd with its listeners; route, auth and qmgr are methods of this class, and tlsmgr is the real one."""

    def __init__(self, settings):
        self.stored, self.pieces, self.dropped, self.next_id = [], {}, [], 1
        self.store_code, self.silent, self.unanswered = 250, set(), []
        self.sockets = {}
        self.directory = tempfile.mkdtemp(prefix="postino-test-", dir="/var/tmp")
        self.tlsmgr = Driven("tlsmgr", settings)
        super().__init__("smtpd", settings, edges=("route", "auth", "qmgr"))
        self.join(self.tlsmgr)
        for role in ("route", "auth", "qmgr"):
            Edge(self.edges[role], getattr(self, role))

    def _set_up(self, edges):
        listening = {name: socket.create_server(("127.0.0.1", 0)) for name in ("smtp", "submission", "submissions")}
        self.ports = {name: s.getsockname()[1] for name, s in listening.items()}
        self.submit = os.path.join(self.directory, "submit")
        unix = socket.socket(socket.AF_UNIX)
        unix.bind(self.submit)
        unix.listen()
        original = self.control.send

        def send(type_name, /, **more):
            if type_name == "START":
                for name, s in listening.items():
                    original("LISTENER", name=name, kind="inet", fd=s.fileno())
                original("LISTENER", name="submit", kind="unix", fd=unix.fileno())
            return original(type_name, **more)
        self.control.send = send
        super()._set_up(edges)
        for s in list(listening.values()) + [unix]:
            s.close()

    def close(self):
        super().close()
        self.tlsmgr.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def route(self, channel, m):
        if m.type in self.silent:
            self.unanswered.append(m)
        elif m.type == "CLIENT":
            channel.send("CLIENT_IS", request=m.request, name="client.example", may_relay=1)
        elif m.recipient.startswith("nouser"):
            channel.send("ROUTED", request=m.request, code=550, status="5.1.1", reply="no such user here")
        else:
            one = dict(address=m.recipient, transport="smtp", nexthop="example.org", tls="may")
            channel.send("ROUTED", request=m.request, code=250, status="2.1.5", reply="ok", recipients=[one])

    def auth(self, channel, m):
        if m.type == "MECHANISMS":
            channel.send("OFFERED", request=m.request, mechanisms="PLAIN")
        elif m.type == "CANCEL":
            pass
        elif m.type == "AUTH" and m.mechanism != "PLAIN":
            channel.send("AUTHED", request=m.request, verdict=frames.AUTH_UNOFFERED)
        elif m.type == "AUTH" and not m.has_response:
            channel.send("AUTHED", request=m.request, verdict=frames.AUTH_MORE)
        else:
            verdict = frames.AUTH_YES if m.response == b"\0alice\0" + PASSWORD.encode() else frames.AUTH_NO
            channel.send("AUTHED", request=m.request, verdict=verdict, login="alice")

    def qmgr(self, channel, m):
        if m.type == "LEASE":
            channel.send("LEASED", request=m.request, first=self.next_id, count=m.count)
            self.next_id += m.count
        elif m.type == "APPEND":
            self.pieces[m.id] = self.pieces.get(m.id, b"") + m.piece
            channel.send("STORED", request=m.request, code=self.store_code, reply="no room on the disk")
        elif m.type == "DROP":
            self.pieces.pop(m.id, None)
            self.dropped.append(m.id)
        elif m.type in self.silent:
            self.unanswered.append(m)
        elif m.type == "PUT":
            m.fields["body"] = self.pieces.pop(m.id, b"") + m.body
            if self.store_code == 250:
                self.stored.append(m)
            channel.send("STORED", request=m.request, code=self.store_code, reply="no room on the disk")


class Client:
    """A client that says exactly what it is told, and reads whole replies."""

    def __init__(self, where, tls=None):
        self.sock = socket.create_connection(("127.0.0.1", where)) if isinstance(where, int) else socket.socket(socket.AF_UNIX)
        if not isinstance(where, int):
            self.sock.connect(where)
        self.sock.settimeout(60)
        if tls:
            self.sock = tls.wrap_socket(self.sock)
        self.file = self.sock.makefile("rb")
        self.greeting = self.reply()

    def reply(self):
        """The lines of one reply, as one text."""
        lines = []
        while True:
            line = self.file.readline()
            if not line.endswith(b"\r\n"):
                raise AssertionError("no whole reply: %r" % line)
            lines.append(line.decode("ascii").rstrip("\r\n"))
            if len(line) > 512:
                raise AssertionError("a reply of %d octets" % len(line))
            if lines[-1][3:4] != "-":
                return "\n".join(lines)

    def raw(self, octets):
        self.sock.sendall(octets)

    def say(self, line):
        self.raw(line.encode() + b"\r\n")
        return self.reply()

    def starttls(self, context):
        reply = self.say("STARTTLS")
        assert reply.startswith("220 "), reply
        self.sock = context.wrap_socket(self.sock)
        self.file = self.sock.makefile("rb")

    def at_end(self):
        return self.file.read() == b""

    def close(self):
        self.file.close()
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()


class SmtpdTest(unittest.TestCase):
    command_timeout, tls_timeout = "10m", "10m"  # so that what ends a session is never that the machine stood still

    @classmethod
    def setUpClass(cls):
        cls.keys = tempfile.mkdtemp(prefix="postino-test-", dir="/var/tmp")
        cls.settings = SETTINGS % (certificate(cls.keys) + (cls.command_timeout, cls.tls_timeout))
        cls.context = ssl.create_default_context()
        cls.context.check_hostname, cls.context.verify_mode = False, ssl.CERT_NONE

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.keys)

    def setUp(self):
        self.smtpd = Smtpd(self.settings)

    def tearDown(self):
        running, log = self.smtpd.running(), self.smtpd.log()
        self.smtpd.close()
        self.assertTrue(running or self.may_end(), "smtpd ended:\n" + log)

    def may_end(self):
        return False

    def client(self, name="smtp", helo=True):
        client = Client(self.smtpd.ports[name], self.context if name == "submissions" else None)
        self.addCleanup(client.close)
        if helo:
            self.assertTrue(client.say("EHLO me.example").startswith("250-"))
        return client

    def expect(self, client, line, start):
        reply = client.say(line)
        self.assertTrue(reply.startswith(start), "%s: %s" % (line, reply))
        return reply

    def wait_log(self, pattern, count=1):
        wait_for(lambda: len(re.findall(pattern, self.smtpd.log())) >= count)

    def begin_data(self, client):
        self.expect(client, "MAIL FROM:<a@example.net>", "250 2.1.0 ")
        self.expect(client, "RCPT TO:<b@example.org>", "250 2.1.5 ")
        self.expect(client, "DATA", "354 ")


class Verbs(SmtpdTest):
    def test_every_verb(self):
        client = self.client(helo=False)
        self.assertEqual(client.greeting, "220 mx.local.example ESMTP Postino")
        self.assertEqual(client.say("HELO me.example"), "250 mx.local.example")
        said = re.sub(r"(FUTURERELEASE 604800) \S+", r"\1", client.say("EHLO me.example"))  # until when changes with the clock
        self.assertEqual(said.split("\n"), [
            "250-mx.local.example", "250-PIPELINING", "250-SIZE 2097152", "250-LIMITS RCPTMAX=100", "250-STARTTLS", "250-ENHANCEDSTATUSCODES", "250-DSN", "250-SMTPUTF8", "250-CHUNKING", "250-BINARYMIME", "250-FUTURERELEASE 604800", "250-DELIVERBY 60", "250-MT-PRIORITY", "250 8BITMIME"])
        self.expect(client, "VRFY root", "252 2.0.0 ")
        self.expect(client, "EXPN all", "502 5.5.1 ")
        self.expect(client, "HELP", "214 2.0.0 ")
        self.expect(client, "NOOP with words", "250 2.0.0 ")
        self.expect(client, "MAIL FROM:<a@example.net> SIZE=1000 BODY=8BITMIME", "250 2.1.0 ")
        self.expect(client, "RSET", "250 2.0.0 ")
        self.expect(client, "RCPT TO:<b@example.org>", "503 5.5.1 ")
        self.begin_data(client)
        client.raw(b"Subject: x\r\n\r\n..\r\n\x00\xff\r\n.\r\n")
        self.assertRegex(client.reply(), r"^250 2\.0\.0 Ok: queued as [0-9A-HJKMNP-TV-Z]{12}$")
        self.assertTrue(self.smtpd.stored[0].body.endswith(b"\r\nSubject: x\r\n\r\n.\r\n\x00\xff\r\n"))
        self.expect(client, "QUIT", "221 2.0.0 ")
        self.assertTrue(client.at_end())

    def test_log_says_who_sent_what(self):
        client = self.client()
        self.begin_data(client)
        client.raw(b"x\r\n.\r\n")
        queue_id = client.reply().split()[-1]
        self.expect(client, "MAIL FROM:<a@example.net>", "250")
        self.expect(client, "RCPT TO:<nouser@example.org>", "550 5.1.1 no such user here")
        self.wait_log(queue_id + r": client=client\.example\[127\.0\.0\.1\] helo=me\.example from=<a@example\.net> nrcpt=1 size=3 "
                         "proto=ESMTP")
        self.wait_log(r'reject: command=RCPT client=client\.example\[127\.0\.0\.1\] reply="550 5\.1\.1 no such '
                         r'user here" from=<a@example\.net> to=<nouser@example\.org>')

    def test_pipelined_transactions_in_one_write(self):
        client = self.client()
        one = b"MAIL FROM:<a@example.net>\r\nRCPT TO:<b@example.org>\r\nRCPT TO:<nouser@example.org>\r\nDATA\r\n"
        client.raw(one + b"one\r\n.\r\n" + one + b"two\r\n.\r\nQUIT\r\n")
        replies = [client.reply()[:3] for _ in range(11)]
        self.assertEqual(replies, ["250", "250", "550", "354", "250"] * 2 + ["221"])
        self.assertEqual([m.body.split(b"\r\n")[-2] for m in self.smtpd.stored], [b"one", b"two"])

    def test_client_that_closes_its_side_is_still_answered(self):
        client = self.client()
        client.raw(b"MAIL FROM:<>\r\nRCPT TO:<b@example.org>\r\nDATA\r\nx\r\n.\r\nQUIT\r\n")
        client.sock.shutdown(socket.SHUT_WR)
        self.assertEqual([client.reply()[:3] for _ in range(5)], ["250", "250", "354", "250", "221"])

    def test_submit_socket(self):
        client = Client(self.smtpd.submit)
        self.addCleanup(client.close)
        self.assertNotIn("STARTTLS", client.say("EHLO localhost"))
        self.expect(client, "MAIL FROM:<root>", "250")
        self.expect(client, "RCPT TO:<alice>", "250")
        self.expect(client, "DATA", "354")
        client.raw(b"Subject: x\r\n\r\nx\r\n.\r\n")
        self.assertTrue(client.reply().startswith("250"))
        message = self.smtpd.stored[0]
        self.assertEqual(message.sender, "root@mx.local.example")
        self.assertEqual(message.flow, "uid:%d" % os.getuid())
        self.assertIn(b"Received: by mx.local.example (Postino, from userid %d)\r\n" % os.getuid(), message.body)
        for field in (b"\r\nDate: ", b"\r\nFrom: <root@mx.local.example>\r\n", b"\r\nMessage-ID: <"):
            self.assertIn(field, message.body)
        self.assertTrue(message.body.endswith(b"Subject: x\r\n\r\nx\r\n"))


class BadInput(SmtpdTest):
    def test_lines(self):
        client = self.client()
        for line, start in (("FROB", "500 5.5.2"), ("", "500 5.5.2"), ("MAIL", "501 5.5.4"), ("MAIL FROM:<a@@b>", "501 5.1.7"), ("DATA", "503 5.5.1"),
                            ("MAIL FROM:<> SIZE=99999999999999999999", "552 5.3.4"), ("MAIL FROM:<> SIZE=x", "501 5.5.4"),
                            ("MAIL FROM:<> FROB", "555 5.5.4"), ("NOOP \xe9", "500 5.5.2"), ("AUTH PLAIN", "503 5.5.1"), ("x" * 5000, "500 5.5.2 line too long"),
                            ("NOOP " + "x" * 505, "250"), ("NOOP " + "x" * 506, "500 5.5.2 line too long")):
            self.expect(client, line, start)
        client.raw(b"NOOP\nNOOP\0\r\nNOOP\r\n")
        self.assertEqual([client.reply()[:9] for _ in range(3)], ["500 5.5.2", "500 5.5.2", "250 2.0.0"])

    def test_smuggling_is_refused(self):
        client = self.client()
        for text in (b"a\n.\n\r\n.\r\n", b"a\n.\r\nMAIL FROM:<evil@example.net>\r\n.\r\n", b"a\r\n.\nNOOP\r\n.\r\n", b"a\r.\r\r\n.\r\n", b"\r\n.\r.\r\n.\r\n"):
            self.begin_data(client)
            client.raw(text)
            self.assertTrue(client.reply().startswith("550 5.6.0 "))
            self.expect(client, "NOOP", "250")
        self.assertEqual(self.smtpd.stored, [])

    def test_text_over_the_limits(self):
        client = self.client()
        for text, start in ((b"x" * 2001 + b"\r\n", "550 5.6.0 "), ((b"x" * 1000 + b"\r\n") * 2200, "552 5.3.4 "), (b"Received: x\r\n" * 6, "554 5.4.6 ")):
            self.begin_data(client)
            client.raw(text + b".\r\n")
            self.assertTrue(client.reply().startswith(start))
            self.expect(client, "NOOP", "250")
        wait_for(lambda: self.smtpd.dropped)  # DROP leaves after the reply
        self.assertEqual((self.smtpd.stored, self.smtpd.pieces), ([], {}))
        self.assertEqual(len(self.smtpd.dropped), 1)

    def test_large_message_in_pieces(self):
        client = self.client()
        text = b"".join(b"%07d %s\r\n" % (i, b"x" * 100) for i in range(15000))
        self.begin_data(client)
        client.raw(text + b".\r\n")
        self.assertTrue(client.reply().startswith("250"))
        self.assertTrue(self.smtpd.stored[0].body.endswith(b"\r\n" + text))

    def test_too_many_errors(self):
        client = self.client()
        for _ in range(19):
            self.expect(client, "FROB", "500")
        client.raw(b"FROB\r\n")
        self.assertEqual([client.reply()[:9] for _ in range(2)], ["500 5.5.2", "421 4.7.0"])
        self.assertTrue(client.at_end())

    def test_http(self):
        client = self.client(helo=False)
        client.raw(b"GET / HTTP/1.1\r\nHost: mx\r\n\r\n")
        self.assertTrue(client.reply().startswith("554 5.5.1 "))
        self.assertTrue(client.at_end())

    def test_client_gone_in_the_text(self):
        client = self.client()
        self.begin_data(client)
        client.raw(b"x" * 100)
        client.close()
        self.expect(self.client(), "NOOP", "250")
        self.assertEqual(self.smtpd.stored, [])

    def test_too_many_sessions(self):
        clients = [self.client() for _ in range(20)]
        with Client(self.smtpd.ports["smtp"]) as late:
            self.assertTrue(late.greeting.startswith("421 4.7.0 "))
            self.assertTrue(late.at_end())
        clients[0].say("QUIT")
        clients[0].close()
        self.expect(wait_for(self.let_in), "NOOP", "250")

    def let_in(self):
        """A client that is greeted with 220, or None."""
        client = self.client(helo=False)
        return client if client.greeting.startswith("220") else None

    def test_full_disk(self):
        self.smtpd.store_code = 452
        client = self.client()
        for text in (b"x\r\n", b"x" * 998 + b"\r\n" + (b"y" * 998 + b"\r\n") * 1000):
            self.begin_data(client)
            client.raw(text + b".\r\n")
            self.assertEqual(client.reply(), "452 4.3.1 no room on the disk")
        self.smtpd.store_code = 250
        self.begin_data(client)
        client.raw(b"x\r\n.\r\n")
        self.assertTrue(client.reply().startswith("250"))

    def test_queue_that_dies_with_a_message(self):
        self.smtpd.silent.add("PUT")
        client = self.client()
        self.begin_data(client)
        client.raw(b"x\r\n.\r\n")
        wait_for(lambda: self.smtpd.unanswered)
        self.smtpd.edges["qmgr"].sock.shutdown(socket.SHUT_RDWR)
        self.assertTrue(client.reply().startswith("451 4.3.0 "))
        self.smtpd.silent.clear()
        Edge(self.smtpd.connect("qmgr"), self.smtpd.qmgr)
        self.begin_data(client)
        client.raw(b"x\r\n.\r\n")
        self.assertTrue(client.reply().startswith("250"))

    def test_route_that_dies_is_asked_again(self):
        self.smtpd.silent.add("RCPT")
        client = self.client()
        self.expect(client, "MAIL FROM:<a@example.net>", "250")
        client.raw(b"RCPT TO:<b@example.org>\r\n")
        wait_for(lambda: self.smtpd.unanswered)
        self.smtpd.edges["route"].sock.shutdown(socket.SHUT_RDWR)
        self.smtpd.silent.clear()
        Edge(self.smtpd.connect("route"), self.smtpd.route)
        self.assertTrue(client.reply().startswith("250 2.1.5"))


class Silence(SmtpdTest):
    command_timeout, tls_timeout = "3s", "2s"

    def test_silence(self):
        started = time.monotonic()
        client = self.client(helo=False)
        self.assertTrue(client.reply().startswith("421 4.4.2 "))
        self.assertGreater(time.monotonic() - started, 2.9)
        self.assertTrue(client.at_end())

    def test_old_versions_and_plain_text_are_refused_and_logged(self):
        old = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        old.check_hostname, old.verify_mode = False, ssl.CERT_NONE
        old.set_ciphers("ALL:@SECLEVEL=0")
        old.minimum_version = ssl.TLSVersion.TLSv1
        old.maximum_version = ssl.TLSVersion.TLSv1_1
        with self.assertRaises(ssl.SSLError):
            Client(self.smtpd.ports["submissions"], old)
        with socket.create_connection(("127.0.0.1", self.smtpd.ports["submissions"])) as s:
            s.settimeout(60)
            s.sendall(b"EHLO x\r\n")
            try:
                while s.recv(100):
                    pass
            except ConnectionResetError:
                pass
        with socket.create_connection(("127.0.0.1", self.smtpd.ports["submissions"])) as s:
            s.settimeout(60)
            self.assertEqual(s.recv(100), b"")
        self.wait_log("tls-failed: client=", 3)
        self.wait_log("reason=timeout")


class HostileRoute(SmtpdTest):
    command_timeout = "3s"  # it goes when its last session has

    def may_end(self):
        return True

    def test_bad_frame_ends_smtpd_and_not_more(self):
        client = self.client(helo=False)
        self.smtpd.edges["route"].send_raw(b"\xff" * 64)
        self.smtpd.process.wait(60)
        client.file.read()  # a 421, as nothing was said for so long; and the end
        self.assertRegex(self.smtpd.log(), "route")


class Tls(SmtpdTest):
    def test_starttls_starts_anew(self):
        client = self.client()
        self.expect(client, "MAIL FROM:<a@example.net>", "250")
        client.starttls(self.context)
        self.expect(client, "MAIL FROM:<a@example.net>", "503 5.5.1 ")
        self.assertNotIn("STARTTLS", client.say("EHLO me.example"))
        self.expect(client, "STARTTLS", "503 5.5.1 ")
        self.begin_data(client)
        client.raw(b"x\r\n.\r\n")
        self.assertTrue(client.reply().startswith("250"))
        self.assertRegex(self.smtpd.stored[0].body.decode(), r"with ESMTPS id \w+\r\n\t\(TLSv1\.3 \w+\)")

    def test_commands_smuggled_behind_starttls(self):
        client = self.client()
        client.raw(b"STARTTLS\r\nEHLO evil.example\r\nMAIL FROM:<evil@example.net>\r\n")
        self.assertTrue(client.reply().startswith("220"))
        client.sock = self.context.wrap_socket(client.sock)
        client.file = client.sock.makefile("rb")
        self.expect(client, "RCPT TO:<b@example.org>", "503 5.5.1 ")
        self.wait_log(r"starttls: dropped=\d+ client=")

    def test_listener_that_requires_tls(self):
        client = self.client("submission")
        for line in ("MAIL FROM:<a@example.net>", "RCPT TO:<a@example.net>", "DATA", "VRFY x", "AUTH PLAIN " + plain("a", PASSWORD)):
            self.expect(client, line, "530 5.7.0 ")
        for line in ("NOOP", "RSET"):
            self.expect(client, line, "250")
        self.expect(client, "QUIT", "221")

    def test_auth(self):
        client = self.client("submission")
        client.starttls(self.context)
        self.assertIn("250-AUTH PLAIN\n", client.say("EHLO me.example"))
        self.expect(client, "MAIL FROM:<a@example.net>", "530 5.7.0 ")
        self.expect(client, "AUTH CRAM-MD5", "504 5.5.4 ")
        self.expect(client, "AUTH PLAIN", "334 ")
        self.expect(client, "*", "501 5.7.0 ")
        self.expect(client, "AUTH PLAIN " + plain("alice", "wrong"), "535 5.7.8 ")
        self.expect(client, "AUTH PLAIN " + plain("alice", PASSWORD, "bob"), "535 5.7.8 ")
        self.expect(client, "AUTH PLAIN", "334 ")
        self.expect(client, plain("alice", PASSWORD), "235 2.7.0 ")
        self.begin_data(client)
        client.raw(b"x\r\n.\r\n")
        self.assertTrue(client.reply().startswith("250"))
        message = self.smtpd.stored[0]
        self.assertEqual(message.flow, "login:alice")
        self.assertIn(b" with ESMTPSA id ", message.body)
        self.wait_log("proto=ESMTPSA")
        log = self.smtpd.log()
        self.assertNotIn(PASSWORD, log)
        self.assertNotIn(plain("alice", PASSWORD), log)

    def test_guessing_ends_the_session(self):
        client = self.client("submissions")
        for _ in range(2):
            self.expect(client, "AUTH PLAIN " + plain("alice", "wrong"), "535 5.7.8 ")
        client.raw(b"AUTH PLAIN " + plain("alice", "wrong").encode() + b"\r\n")
        self.assertEqual([client.reply()[:9] for _ in range(2)], ["535 5.7.8", "421 4.7.0"])
        self.assertTrue(client.at_end())

    def test_session_is_resumed(self):
        tickets = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        tickets.check_hostname, tickets.verify_mode = False, ssl.CERT_NONE
        with Client(self.smtpd.ports["submissions"], tickets) as client:
            client.say("NOOP")
            session = client.sock.session
        with socket.create_connection(("127.0.0.1", self.smtpd.ports["submissions"])) as s:
            self.assertTrue(tickets.wrap_socket(s, session=session).session_reused)


class Drain(SmtpdTest):
    def may_end(self):
        return True

    def test_stop_lets_a_message_finish(self):
        idle, busy = self.client(), self.client()
        self.begin_data(busy)
        self.smtpd.control.send("DRAIN", seconds=60)
        self.assertTrue(idle.reply().startswith("421 4.3.2 "))
        busy.raw(b"x\r\n.\r\n")
        self.assertTrue(busy.reply().startswith("250"))
        self.assertTrue(busy.reply().startswith("421 4.3.2 "))
        self.assertEqual(self.smtpd.process.wait(60), 0)

    def test_reload_drops_no_session(self):
        client = self.client()
        self.smtpd.control.send("DRAIN", seconds=0)

        def refused():
            """nobody listens any more"""
            with socket.socket() as sock:
                return sock.connect_ex(("127.0.0.1", self.smtpd.ports["smtp"])) == errno.ECONNREFUSED
        wait_for(refused)
        self.begin_data(client)
        client.raw(b"x\r\n.\r\n")
        self.assertTrue(client.reply().startswith("250"))
        self.expect(client, "QUIT", "221")
        client.close()
        self.assertEqual(self.smtpd.process.wait(60), 0)


class Auth(unittest.TestCase):
    """The real postino-auth, in its sandbox."""

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="postino-test-", dir="/var/tmp")
        self.path = os.path.join(self.directory, "passwd")
        self.write("alice", PASSWORD)
        self.conversations = 0
        self.auth = Driven("auth", 'password_file = "%s"' % self.path, edges=("smtpd",))

    def tearDown(self):
        self.assertTrue(self.auth.running(), self.auth.log())
        self.auth.close()
        shutil.rmtree(self.directory)

    def write(self, name, password, mode=0o600):
        made = subprocess.run(["openssl", "passwd", "-6", password], check=True, capture_output=True, text=True).stdout.strip()
        with open(self.path + ".new", "w", encoding="ascii") as f:
            f.write("# users\n%s:%s\n" % (name, made))
        os.chmod(self.path + ".new", mode)
        os.rename(self.path + ".new", self.path)

    def ask(self, user, password):
        self.conversations += 1
        return self.auth.edges["smtpd"].ask("AUTH", client="192.0.2.1", conversation=self.conversations, mechanism="PLAIN", has_response=1,
                                            response=("\0%s\0%s" % (user, password)).encode()).verdict

    def test_yes_and_no(self):
        self.assertEqual(self.ask("alice", PASSWORD), frames.AUTH_YES)
        self.assertEqual(self.ask("alice", PASSWORD + "x"), frames.AUTH_NO)
        self.assertEqual(self.ask("bob", PASSWORD), frames.AUTH_NO)
        wait_for(lambda: self.auth.log().count("verdict=no") == 2)
        self.assertIn("auth: verdict=yes user=alice client=192.0.2.1", self.auth.log())
        self.assertNotIn("horse", self.auth.log())

    def test_file_changes_under_it(self):
        self.assertEqual(self.ask("alice", PASSWORD), frames.AUTH_YES)
        self.write("bob", "other")
        self.assertEqual((self.ask("alice", PASSWORD), self.ask("bob", "other")), (frames.AUTH_NO, frames.AUTH_YES))
        os.chmod(self.path, stat.S_IRUSR | stat.S_IROTH)
        self.assertEqual(self.ask("bob", "other"), frames.AUTH_NOT_NOW)
        wait_for(lambda: "chmod o-rwx" in self.auth.log())
        os.unlink(self.path)
        self.assertEqual(self.ask("bob", "other"), frames.AUTH_NOT_NOW)


if __name__ == "__main__":
    program("postino-smtpd")
    unittest.main()
