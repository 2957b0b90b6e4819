"""The faults that sank other mail servers, a test by the name of each, against a whole instance: nobody dies, nothing is run, no line is written where it does
not belong, and mail goes on."""
import base64
import contextlib
import glob
import itertools
import os
import re
import socket
import ssl
import subprocess
import threading
import time
import unittest

from host import Host, free_port, wait_for, without_trace
from listening import Listener
from hostile import Raw, Server
from netns import NEAR, needs_root, within
from test_hostile_client import ENVELOPE, HELLO, Case, read_all
from test_hostile_frames import resident
from world import World

CANARY = "/tmp/postino-canary-%d" % os.getpid()
RUN = "touch${IFS}" + CANARY
TEXTS = [";%s;" % RUN, "`%s`" % RUN, "$(%s)" % RUN, "|%s" % RUN, "||%s" % RUN, "&%s&" % RUN, "${run{/bin/touch %s}}" % CANARY, "${run{\\x2fbin\\x2ftouch\\x20%s}}" % CANARY.replace("/", "\\x2f"),
         "${readfile{/etc/passwd}}", "%s%n%d", "() { :;};touch " + CANARY, "-oQ/tmp", "-X" + CANARY, "../../../etc/passwd", "for i in a;do %s;done;" % RUN]


class Injection(Case):
    """Into shells, expansions, queue files and reports."""
    options = dict(settings="queue { retry_first = 1s retry_most = 1s }\ndns { client_names = no }\nlimit { errors = 10000 }", relay_from=("127.0.0.0/8",), routes={})

    @classmethod
    def setUpClass(cls):
        cls.port = free_port()
        cls.options = dict(cls.options, routes={"*": "via = \"smtp:[127.0.0.1]:%d\" tls = none" % cls.port})
        cls.script = {}
        cls.server = Server("127.0.0.1", cls.port, steps=cls.script)
        super().setUpClass()
        cls.server.script = cls.script

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        cls.server.close()

    def setUp(self):
        self.script.clear()
        self.server.messages.clear()

    def log_is_clean(self):
        with open(self.host.log_path, "rb") as f:
            self.assertFalse(re.search(rb"[^\x20-\x7e\n]", f.read()))

    def restart(self):
        self.host.stop()
        self.host.start()
        type(self).first = {name: pid for pid, name in self.host.pids().items()}

    def entries(self):
        return re.findall(r"(?m)^(\w{12})\b", self.host.queue())

    def test_CVE_2020_7247_and_CVE_2019_10149_texts_of_a_shell_or_an_expansion(self):
        """in HELO, the sender, recipients here and elsewhere, ENVID, ORCPT and AUTH: taken for what it is, or refused"""
        taken = 0
        for text in TEXTS:
            quoted = '"%s"' % text.replace("\\", "\\\\").replace('"', '\\"')
            for local in (text, quoted):
                lines = [b"EHLO " + text.replace(" ", "").encode(), b"HELO " + local.encode(), HELLO.strip(), b"MAIL FROM:<" + local.encode() + b"@client.example>", b"RSET",
                         b"MAIL FROM:<a@client.example> ENVID=" + local.encode(), b"RSET", b"MAIL FROM:<a@client.example> AUTH=" + local.encode(), b"RSET",
                         b"MAIL FROM:<" + local.encode() + b"@client.example>", b"MAIL FROM:<>", b"RCPT TO:<" + local.encode() + b"@local.example>",
                         b"RCPT TO:<" + local.encode() + b"@elsewhere.example>", b"RCPT TO:<alice@" + text.encode() + b">", b"RCPT TO:<bob@local.example> ORCPT=rfc822;" + local.encode(),
                         b"RCPT TO:<bob@local.example>", b"DATA"]
                replies = self.say(b"\r\n".join(lines) + b"\r\nSubject: " + text.encode() + b"\r\nTo: " + quoted.encode() + b"@x\r\n\r\n" + text.encode() + b"\r\n.\r\nQUIT\r\n")
                self.assertTrue([r for r in replies if r.startswith(b"250 2.0.0 Ok: queued")], (text, replies))
                taken += 1
            done = self.host.tool("sendmail", "-i", "-f", quoted + "@client.example", quoted + "@elsewhere.example", input="Subject: x\n\nx\n")
            self.assertIn(done.returncode, (0, 64, 65), done.stderr)
        wait_for(self.host.queue_is_empty, 60)
        self.assertFalse(glob.glob(CANARY + "*"))
        self.assertGreaterEqual(len(self.host.messages("bob")), taken)
        for message in self.server.messages:
            for recipient in message.recipients:
                self.assertTrue(recipient.endswith("@elsewhere.example") or recipient.endswith("@client.example"), recipient)
        self.log_is_clean()
        self.works()

    def test_CVE_2020_8794_a_reply_that_writes_into_the_queue(self):
        """the next host's words are kept with a deferred message, and read again after a restart: never more than words"""
        evil = [Raw(b"450 4.2.0 later\rrecipient: evil@elsewhere.example\r\n"), Raw(b"450-4.2.0 a\r\n450-\r\n450-sender: evil@client.example\r\n450 4.2.0 z\r\n"),
                Raw(b"450 4.2.0 \x00\x01\x1e\x1f\xff<evil@elsewhere.example>\r\n"), Raw(b"450 " + b"4.2.0 " * 80 + b"\r\n"), Raw(b"450\r\n"), Raw(b"450 4.2.0 |/bin/touch " + CANARY.encode() + b"\r\n"),
                Raw(b"451-4.2.0 x\r\n" * 200 + b"451 end\r\n")]
        for n, words in enumerate(evil):
            self.script["RCPT d%d@" % n] = words
            with self.host.smtp() as client:
                client.sendmail("alice@local.example", ["d%d@deferred.example" % n], b"Subject: deferred\r\n\r\nonce\r\n")
        wait_for(lambda: len(set(re.findall(r"to=<(d\d)@deferred\.example>.*status=deferred", self.host.log()))) == len(evil))
        before = self.entries()
        self.assertEqual(len(before), len(evil))
        for id in before:
            shown = self.host.tool("postino", "queue", "show", id).stdout
            self.assertNotRegex(shown, r"(?m)^(?:sender|recipient): .*evil")
            self.assertEqual(len(re.findall(r"(?m)^recipient: ", shown)), 1, shown)
        self.restart()
        self.assertEqual(sorted(self.entries()), sorted(before))
        self.script.clear()
        wait_for(self.host.queue_is_empty, 60)
        taken = [m for m in self.server.messages if m.body.endswith(b"once\r\n")]
        self.assertEqual(sorted((m.sender, m.recipients) for m in taken), [("alice@local.example", ["d%d@deferred.example" % n]) for n in range(len(evil))])
        self.assertFalse(os.path.exists(CANARY))
        self.log_is_clean()

    def test_CVE_2020_8794_a_reply_that_writes_into_a_bounce(self):
        """a final refusal becomes a report: its words can end no part of it and begin no header"""
        count = len(self.host.messages("alice"))
        evil = [Raw(b"550 5.1.1 no\r\n550 x\r\nTo: evil@x\r\n"), Raw(b"550-5.1.1\r\n550-\r\n550-Content-Type: text/html\r\n550 \r\n"), Raw(b"550 5.1.1 a\rTo: evil@x\r\r\n"),
                Raw(b"550 5.1.1 \xe2\x80\xa8To: evil@x\x85To: evil@x\r\n"), Raw(b"550 5.1.1 --\r\n"), Raw(b"550 5.999.99999999999999999999 x\r\n"), Raw(b"550 5.1.1\tAction: delivered\r\n")]
        for n, words in enumerate(evil):
            self.script["RCPT b%d@" % n] = words
            with self.host.smtp() as client:
                client.sendmail("alice@local.example", ["b%d@bounced.example" % n], b"Subject: bounced\r\n\r\nx\r\n")
        wait_for(lambda: len(self.host.messages("alice")) >= count + len(evil))
        for report in self.host.messages("alice")[count:]:
            self.assertNotRegex(report, rb"(?m)^(?:To: evil|Content-Type: text/html|Action: delivered)")
            self.assertNotRegex(report, rb"[^\x20-\x7e\n\t]")
            self.assertEqual(len(re.findall(rb"(?m)^Action: failed$", report)), 1)
        self.log_is_clean()

    def test_CVE_2020_28021_and_28026_an_xtext_that_writes_a_line(self):
        """ENVID, ORCPT and AUTH with line ends in xtext: refused, or forgotten; nothing of them is in what goes on, now or after a restart"""
        evils = (b"a+0AX-Evil:+20yes", b"a+0D+0AX-Evil:+20yes", b"a+00b", b"a+0a", b"+0D", b"+7F", b"+C3+A9", b"a+0", b"a+", b"+", b"a+GG", b"a\nX-Evil: yes", b"x" * 3000 + b"+0A")
        for evil in evils:
            for step in (b"MAIL FROM:<a@client.example> ENVID=" + evil, b"MAIL FROM:<a@client.example> RET=FULL ENVID=" + evil):
                self.assertRegex(self.last(step + b"\r\n"), rb"^5\d\d ", step)
            for kind in (b"rfc822;", b"utf-8;", b"x" * 100 + b";", b"+0A;", b"\n;"):
                if evil == b"+C3+A9" and kind in (b"rfc822;", b"utf-8;"):
                    continue  # Postfix says that of UTF-8 addresses: it is kept as ASCII (RFC 6533 3)
                self.assertRegex(self.last(b"MAIL FROM:<a@client.example>\r\nRCPT TO:<x@elsewhere.example> ORCPT=" + kind + evil + b"\r\n"), rb"^5\d\d ", (kind, evil))
        replies = self.say(HELLO + b"MAIL FROM:<a@client.example> AUTH=<a+0AX-Evil:+20yes>\r\nRSET\r\nMAIL FROM:<a@client.example> AUTH=a+0AX-Evil:+20yes ENVID=mine\r\n"
                           b"RCPT TO:<xtext@elsewhere.example> ORCPT=rfc822;z+40y NOTIFY=FAILURE\r\nDATA\r\nSubject: x\r\n\r\nx\r\n.\r\nQUIT\r\n")
        self.assertTrue(any(b"queued as" in r for r in replies) or any(r.startswith(b"50") for r in replies))
        wait_for(self.host.queue_is_empty, 60)
        for message in self.server.messages:
            self.assertNotIn(b"X-Evil", message.body)
        for session in self.server.sessions:
            for command in session.commands:
                self.assertNotRegex(command, r"X-Evil|[\x00-\x1f]")

    def test_a_refused_verb_leaves_no_state(self):
        """neither a sender, nor a recipient, nor a size, nor a wish of a refused command is in the next message"""
        count = len(self.host.messages("bob"))
        replies = self.say(HELLO + b"MAIL FROM:<evil@client.example> SIZE=99999999999\r\nMAIL FROM:<evil@client.example> RET=FULL ENVID=evil X=1\r\nMAIL FROM:<evil@client.example> BODY=8BITMIME SIZE=x\r\n"
                           b"RCPT TO:<alice@local.example>\r\nDATA\r\nMAIL FROM:<good@client.example>\r\nMAIL FROM:<evil@client.example>\r\nRCPT TO:<alice@local.example> NOTIFY=NEVER X=1\r\n"
                           b"RCPT TO:<alice@local.example> ORCPT=evil\r\nRCPT TO:<alice@local.example>x\r\nRCPT TO:<bob@local.example>\r\nDATA x\r\nEHLO\r\nRSET x\r\nDATA\r\nSubject: state\r\n\r\n.\r\nQUIT\r\n")
        self.assertTrue(replies[-1].startswith(b"221") and replies[-2].startswith(b"250 2.0.0 Ok: queued"), replies)
        wait_for(lambda: len(self.host.messages("bob")) > count)
        self.assertTrue(self.host.messages("bob")[-1].startswith(b"Return-Path: <good@client.example>\n"))
        self.assertFalse([m for m in self.host.messages("alice") if b"Subject: state" in m])


class Numbers(Case):
    options = dict(settings="limit { message_size = 4G recipients = 10000 errors = 10000 }\ndns { client_names = no }", relay_from=("127.0.0.0/8",), routes={"*": "smtp:[127.0.0.1]:9"})

    def test_CVE_2005_1513_and_CVE_2020_28017_numbers_that_overflow(self):
        for size, code in ((2**32, b"250"), (2**32 + 1, b"552"), (2**32 + 2**31, b"552"), (2**63 - 1, b"552"), (2**63, b"552"), (2**64 - 1, b"552"), (2**64, b"552"), (2**64 + 1, b"552"),
                           (10**20 - 1, b"552"), (10**20, b"501"), (2**128, b"501")):
            self.assertEqual(self.last(b"MAIL FROM:<a@client.example> SIZE=%d\r\n" % size)[:3], code, size)
        self.assertEqual(self.last(b"MAIL FROM:<a@client.example> SIZE=00000000000000000001\r\n")[:3], b"250")
        self.assertEqual(self.last(b"MAIL FROM:<a@client.example> SIZE=000000000000000000001\r\n")[:3], b"501")

    def test_CVE_2020_28017_sizes_of_chunks_that_overflow(self):
        """4294967297 is not 1, nor is 2**64 + 1: what follows would be read as commands"""
        evil = b"xMAIL FROM:<evil@client.example>\r\nRCPT TO:<alice@local.example>\r\nBDAT 21 LAST\r\nSubject: smuggled\r\n\r\nQUIT\r\n"
        for envelope in b"", ENVELOPE:
            for size in (b"4294967297", b"4294967297 LAST", b"18446744073709551617", b"18446744073709551617 LAST", b"18446744073709551615", b"-1", b"-4294967295 LAST", b"+1", b"01", b"1e0", b"0x1", b""):
                lines = self.say(HELLO + envelope + b"BDAT " + size + b"\r\n" + evil)
                self.assertRegex(lines[-1], rb"^(501 5\.5\.4|503 5\.5\.1|552 5\.3\.4) ", size)
                self.assertFalse([line for line in lines if line.startswith((b"354", b"221"))], size)
        self.works()
        self.assertFalse([m for m in self.host.messages("alice") if m.startswith(b"Return-Path: <evil")])

    def test_CVE_2020_28017_ten_thousand_recipients_and_more(self):
        before = resident(self.first["smtpd"])
        lines = self.say(HELLO + b"MAIL FROM:<>\r\n" + b"".join(b"RCPT TO:<r%d@other.example>\r\n" % i for i in range(12000)) + b"DATA\r\nSubject: many\r\n\r\n.\r\nQUIT\r\n")
        taken = len([line for line in lines if line.startswith(b"250 2.1.5")])
        refused = len([line for line in lines if line.startswith(b"452 4.5.3")])
        self.assertEqual(taken + refused, 12000)
        self.assertEqual(taken, 10000)
        self.assertIn(b"queued as", lines[-2] if b"queued" in lines[-2] else lines[-3])
        if "asan" not in self.host.variant:
            self.assertLess(resident(self.first["smtpd"]) - before, 30000)
        self.works()


class Chunks(Case):
    """CVE-2017-16943, -16944 and kin: what BDAT leaves behind when something else comes than the next chunk."""
    options = dict(settings="limit { errors = 10000 message_size = 1M }\ndns { client_names = no }", relay_from=())

    def test_CVE_2017_16943_BDAT_behind_an_error_or_a_RSET(self):
        first = HELLO + ENVELOPE + b"BDAT 6\r\nevil: " + b"BDAT 300000\r\n" + b"x: " + b"e" * 299995 + b"\r\n"
        between = (b"RSET\r\n", HELLO, b"HELO x\r\n", b"STARTTLS x\r\nRSET\r\n", b"BDAT 999999\r\n" + b"MAIL FROM:<evil@client.example>\r\n".ljust(999999, b"y"),
                   b"BDAT 2\r\n\n\n", b"BDAT 1\r\n\rBDAT 1\r\nx", b"DATA\r\nRCPT TO:<bob@local.example>\r\nMAIL FROM:<>\r\nVRFY x\r\n\x80\r\nRSET\r\n")
        good = b"MAIL FROM:<good@client.example>\r\nRCPT TO:<alice@local.example>\r\nBDAT 16\r\nSubject: good\r\n\r" + b"BDAT 6 LAST\r\n\n.\r\n\r\nQUIT\r\n"
        before = len(self.host.messages("alice"))
        for words in between:
            for step in (0, 1021):
                lines = self.say(first + words + good, step)
                self.assertEqual(len([line for line in lines if b"queued as" in line]), 1, (words[:40], lines))
        wait_for(lambda: len(self.host.messages("alice")) == before + 2 * len(between))
        self.assertEqual({without_trace(m) for m in self.host.messages("alice")[before:]}, {b"Subject: good\n\n.\n\n"})

    def test_CVE_2017_16944_a_dot_ends_nothing_in_a_chunk(self):
        before = len(self.host.messages("bob"))
        text = b"Subject: dots\r\n\r\n.\r\nQUIT\r\n.\r\n"
        lines = self.say(HELLO + ENVELOPE.replace(b"alice", b"bob") + b"BDAT %d LAST\r\n" % len(text) + text + b"NOOP\r\nQUIT\r\n")
        self.assertEqual([line[:3] for line in lines[-5:]], [b"250"] * 4 + [b"221"])
        wait_for(lambda: len(self.host.messages("bob")) > before)
        self.assertEqual(without_trace(self.host.messages("bob")[-1]), text.replace(b"\r\n", b"\n"))

    def test_a_client_that_vanishes_between_chunks_leaves_nothing(self):
        for end in (b"", b"BDAT 5\r\nab", b"QUIT\r\n"):
            for size in (10, 600000):
                self.say(HELLO + ENVELOPE + b"BDAT %d\r\n" % size + (b"z" * 98 + b"\r\n") * (size // 100) + b"y" * (size % 100) + end)
        self.works()
        self.assertFalse([m for m in self.host.messages("alice") if b"zzz" in m])
        wait_for(self.host.queue_is_empty)


class Octets(Case):
    """Of handshakes, base64, names and other languages."""
    options = dict(settings="limit { errors = 10000 }\ndns { client_names = no }\nsmtpd { auth_delay = 0 auth_failures = 100 }", relay_from=())

    def tls(self):
        sock = self.host.tls_context().wrap_socket(self.connect(self.host.submissions_port))
        self.addCleanup(sock.close)
        return sock

    def test_CVE_2019_15846_names_in_a_handshake(self):
        for name in ("a\\", "\\", "..", ".", "a\\x00", "x" * 255, "a.example\\n", "%s%n", "${run{x}}", "../../x", "\u00e9.example", "-", "*"):
            subprocess.run(["openssl", "s_client", "-connect", "127.0.0.1:%d" % self.host.submissions_port, "-servername", name, "-quiet"], input=b"EHLO x\r\nQUIT\r\n", capture_output=True, timeout=100)
        self.works()

    def test_CVE_2019_15846_handshakes_of_garbage(self):
        hello = b"\x16\x03\x01\x00\xc8\x01\x00\x00\xc4\x03\x03"
        for n in range(120):
            sock = self.connect(self.host.submissions_port if n % 2 else self.host.port)
            with contextlib.suppress(OSError):
                if n % 2 == 0:
                    sock.recv(1000)
                    sock.sendall(b"EHLO x\r\nSTARTTLS\r\n")
                    time.sleep(0.005)
                sock.sendall(hello[: n % 12] + os.urandom(1 + n * 37 % 3000))
            sock.close()
        self.works()

    def test_CVE_2018_6789_base64_of_any_length(self):
        alphabet = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
        sock = self.tls()
        file = sock.makefile("rb")
        sock.sendall(HELLO)
        for line in iter(file.readline, b""):
            if line.startswith(b"250 "):
                break
        texts = [(alphabet * 40)[:n] for n in (*range(1, 70), 254, 255, 256, 257, 1023, 1024, 1025, 2047, 2048, 2049)]
        texts += [t + pad for t in texts[:12] for pad in (b"=", b"==", b"===", b"=a", b"\xff", b"=" * 50)]
        for text in texts:
            sock.sendall(b"AUTH PLAIN " + text + b"\r\n")
            self.assertRegex(file.readline(), rb"^5(01|00|35) ", text)
        sock.sendall(b"AUTH PLAIN " + base64.b64encode(b"\0alice\0correct horse") + b"\r\n")
        self.assertRegex(file.readline(), rb"^235 ")

    def test_CVE_2019_16928_a_long_HELO(self):
        before = len(self.host.messages("alice"))
        for word in (b"HELO", b"EHLO"):
            for n in (254, 255, 256, 510, 1000, 4000, 4096, 10000, 65536, 200000):
                name = (b"x" * 62 + b".") * (n // 63) + b"y" * (n % 63)
                replies = self.say(word + b" " + name + b"\r\n" + ENVELOPE + b"DATA\r\nSubject: long\r\n\r\n.\r\nQUIT\r\n")
                queued = any(b"queued as" in r for r in replies)
                self.assertEqual(queued, n <= 255, (n, replies[:3]))
        self.works()
        wait_for(lambda: len(self.host.messages("alice")) == before + 4)
        self.assertTrue(all(b"xx" in m for m in self.host.messages("alice")[before:]))

    def test_CVE_2011_0411_commands_behind_starttls(self):
        count = len(self.host.messages("alice"))
        plain = self.connect()
        plain.recv(1000)
        plain.sendall(b"EHLO x\r\nSTARTTLS\r\n" + HELLO + b"MAIL FROM:<evil@client.example>\r\nRCPT TO:<alice@local.example>\r\nDATA\r\n")
        octets = b""
        while not re.search(rb"\r\n220 [^\n]*\n", octets):
            piece = plain.recv(1000)
            self.assertTrue(piece, octets)
            octets += piece
        self.assertEqual(octets.count(b"\r\n220 "), 1)
        self.assertTrue(octets.endswith(b"\r\n") and octets.rsplit(b"\r\n", 2)[1].startswith(b"220 "), octets)
        with self.host.tls_context().wrap_socket(plain) as sock:
            sock.sendall(b"Subject: injected\r\n\r\n.\r\nRCPT TO:<alice@local.example>\r\nMAIL FROM:<>\r\nQUIT\r\n")
            replies = read_all(sock)
        self.assertNotIn(b"queued as", replies)
        self.assertNotIn(b"354", replies)
        self.assertIn(b"503 5.5.1", replies)
        self.host.wait_log("starttls: dropped=")
        self.assertEqual(len(self.host.messages("alice")), count)

    def test_CVE_2011_0411_replies_behind_the_next_hosts_220(self):
        """all that a client would hear of a delivery, in clear, ahead of TLS: nothing of it is taken for a reply, and the handshake does not even begin"""
        port, said = free_port(), []

        def serve(sock):
            with sock:
                sock.settimeout(60)
                sock.sendall(b"220 next.example\r\n")
                said.append(sock.recv(1000))
                sock.sendall(b"250-next.example\r\n250 STARTTLS\r\n")
                said.append(sock.recv(1000))
                sock.sendall(b"220 go\r\n250 next.example\r\n250 ok\r\n250 ok\r\n354 go\r\n250 taken\r\n221 bye\r\n")
                said.append(sock.recv(1000))
        with Listener(socket.create_server(("127.0.0.1", port)), serve, together=False), Host(routes={"*": "via = \"smtp:[127.0.0.1]:%d\" tls = encrypt" % port}) as host:
            with host.smtp() as client:
                client.sendmail("a@client.example", ["x@elsewhere.example"], b"Subject: x\r\n\r\nx\r\n")
            host.wait_log(r"to=<x@elsewhere\.example>.*status=deferred reply=.*in plain behind the reply to STARTTLS")
            self.assertNotRegex(host.log(), r"status=sent")
            wait_for(lambda: len(said) >= 3)
            self.assertEqual([octets[:4] for octets in said[:3]], [b"EHLO", b"STAR", b""])

    def test_an_HTTP_POST_to_the_port(self):
        count = len(self.host.messages("alice"))
        body = HELLO + ENVELOPE + b"DATA\r\nSubject: posted\r\n\r\n.\r\nQUIT\r\n"
        for method in ("POST", "PUT", "GET", "OPTIONS", "HEAD", "CONNECT"):
            sock = self.connect()
            sock.sendall(("%s / HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % (method, len(body))).encode() + body)
            octets = read_all(sock)
            self.assertNotIn(b"queued as", octets)
            self.assertIn(b"554 5.5.1", octets)
        # A method that nobody lists: header by header it is nonsense, and what is in the body was the client's to say.
        self.assertRegex(self.say(b"PROPFIND / HTTP/1.1\r\nHost: x\r\n")[1], rb"^500 ")
        time.sleep(0.2)
        self.assertEqual(len(self.host.messages("alice")), count)

    def test_replies_longer_than_512_octets(self):
        """none is, whatever it has to repeat"""
        local, domain = "l" * 64, ".".join(["d" * 60] * 3) + ".ddddd"
        lines = [b"RCPT TO:<%s@%s>" % (local.encode(), domain.encode()), b"RCPT TO:<%s@local.example>" % (b"n" * 64), b"EHLO " + b"x" * 4000, b"X" * 4000, b"VRFY " + b"v" * 4000,
                 b"RCPT TO:<" + b"@r.example," * 300 + b":a@local.example>", b"MAIL FROM:<" + b"a" * 4000 + b">", b"AUTH " + b"A" * 4000]
        for reply in self.say(HELLO + b"MAIL FROM:<>\r\n" + b"\r\n".join(lines) + b"\r\nQUIT\r\n"):
            self.assertLessEqual(len(reply) + 2, 512)


class Bombs(Case):
    options = dict(settings="limit { message_size = 60M hops = 50 }\nqueue { bounce_size = 50K }\ndns { client_names = no }", relay_from=("127.0.0.0/8",), routes={})

    @classmethod
    def setUpClass(cls):
        cls.port = free_port()
        cls.options = dict(cls.options, routes={"*": "via = \"smtp:[127.0.0.1]:%d\" tls = none" % cls.port})
        cls.server = Server("127.0.0.1", cls.port, extensions=("PIPELINING", "SIZE 100000000", "8BITMIME"), RCPT="550 5.1.1 no")
        super().setUpClass()

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        cls.server.close()

    def send(self, text, sender=b"a@client.example", recipient=b"alice@local.example"):
        """What the end of the text is answered, what came into the mailbox, and by how much smtpd grew."""
        before, mail = resident(self.first["smtpd"]), len(self.host.messages("alice"))
        reply = self.say(HELLO + b"MAIL FROM:<" + sender + b">\r\nRCPT TO:<" + recipient + b">\r\nDATA\r\n" + text + b"\r\n.\r\nQUIT\r\n")[-2]
        if "asan" not in self.host.variant:
            self.assertLess(resident(self.first["smtpd"]) - before, 8000)
        if reply.startswith(b"250"):
            wait_for(lambda: len(self.host.messages("alice")) > mail, 60)
            return reply, self.host.messages("alice")[-1]
        return reply, None

    def test_ten_megabytes_of_headers(self):
        text = b"".join(b"X-Bomb-%06d: %s\r\n" % (n, b"b" * 80) for n in range(100000)) + b"Subject: end\r\n\r\nx"
        reply, message = self.send(text)
        self.assertRegex(reply, rb"^250 ")
        self.assertEqual(without_trace(message), text.replace(b"\r\n", b"\n") + b"\n")

    def test_one_header_of_ten_megabytes(self):
        text = b"Subject: x\r\nX-Bomb:" + b" bomb\r\n" * 1500000 + b"\r\nx"
        reply, message = self.send(text)
        self.assertRegex(reply, rb"^250 ")
        self.assertEqual(len(without_trace(message)), len(text.replace(b"\r\n", b"\n")) + 1)

    def test_a_hundred_thousand_received_lines_are_a_loop(self):
        self.assertRegex(self.send(b"Received: from x by y; Mon, 1 Jan 2024 00:00:00 +0000\r\n" * 100000 + b"\r\nx")[0], rb"^554 5\.4\.6 ")
        self.assertRegex(self.send(b"received:\r\n" * 100000 + b"\r\nx")[0], rb"^554 5\.4\.6 ")

    def test_a_hundred_thousand_to_lines(self):
        self.assertRegex(self.send(b"".join(b"To: r%d@elsewhere.example\r\n" % n for n in range(100000)) + b"\r\nx")[0], rb"^250 ")
        self.assertRegex(self.send(b"To: " + b"".join(b"r%d@elsewhere.example,\r\n " % n for n in range(100000)) + b"x@y\r\n\r\nx")[0], rb"^250 ")

    def test_a_report_on_headers_without_end_is_small(self):
        """ten megabytes of headers came; a stranger gets no more than bounce_size of them back"""
        text = b"".join(b"X-Bomb-%06d: %s\r\n" % (n, b"b" * 80) for n in range(100000)) + b"\r\nx"
        reply, report = self.send(text, b"alice@local.example", b"x@refused.example")
        self.assertRegex(reply, rb"^250 ")
        self.assertIn(b"multipart/report", report)
        self.assertLess(len(report), 200000)

    def test_a_line_without_end(self):
        self.assertRegex(self.send(b"Subject: x\r\n\r\n" + b"x" * (30 << 20))[0], rb"^550 5\.6\.0 ")
        self.assertRegex(self.send(b"x" * (30 << 20))[0], rb"^550 5\.6\.0 ")

    def test_NUL_in_headers_and_text(self):
        """passed on octet for octet (RFC 5321 4.5.2), and nothing is cut off at it"""
        for text in (b"Subject: a\0b\r\n\r\nc\0d\r\n\0\r\n\0\0\0", b"\0", b"Received\0: x\r\n\r\n" + b"\0" * 100000, b"From: a\0<alice@local.example>\r\nTo:\0\r\n\r\nx"):
            reply, message = self.send(text)
            self.assertRegex(reply, rb"^250 ")
            self.assertEqual(without_trace(message), text.replace(b"\r\n", b"\n") + b"\n")


class Patience(Case):
    """Who takes his time in any state, who says nothing that counts, and who vanishes."""
    options = dict(settings="smtpd { command_timeout = 1s data_timeout = 1s tls_timeout = 1s session_time = 4s auth_delay = 0 }\ndns { client_names = no }", relay_from=())

    def states(self):
        """What is said to come into each state, then what is said octet by octet; and whether by TLS from the first octet."""
        auth = HELLO + b"AUTH PLAIN\r\n"
        return {"greeting": (b"", b"", 0), "EHLO by octets": (b"", b"EHLO client.example.of.a.name.that.is.long", 0), "behind EHLO": (HELLO, b"", 0), "a line by octets": (HELLO, b"N" * 100, 0),
                "blanks by octets": (HELLO, b"NOOP" + b" " * 100, 0), "MAIL": (HELLO + b"MAIL FROM:<>\r\n", b"RCPT TO:<" + b"a" * 60, 0), "RCPT": (HELLO + ENVELOPE, b"", 0),
                "DATA": (HELLO + ENVELOPE + b"DATA\r\n", b"", 0), "text by octets": (HELLO + ENVELOPE + b"DATA\r\n", b"x\r\n" * 100, 0), "a dot": (HELLO + ENVELOPE + b"DATA\r\n.\r", b"", 0),
                "STARTTLS": (HELLO + b"STARTTLS\r\n", b"", 0), "handshake by octets": (HELLO + b"STARTTLS\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"r" * 200, 0),
                "TLS, nothing": (None, b"", 0), "TLS by octets": (None, b"\x16\x03\x01\x02\x00" + b"q" * 100, 0), "inside of TLS": (HELLO, b"", 1), "AUTH": (auth, b"", 1),
                "AUTH by octets": (auth, b"A" * 100, 1), "QUIT and stays": (HELLO + b"QUIT\r\n", b"x" * 100, 0)}

    STAYS = 40  # seconds, who is let

    def works(self):
        """All is said at once: who is a second late in between is hung up on."""
        before = len(self.host.messages("bob"))

        def taken():
            replies = self.say(HELLO + ENVELOPE.replace(b"alice", b"bob") + b"DATA\r\nSubject: works\r\n\r\n.\r\nQUIT\r\n")
            self.assertTrue(any(b"queued as" in r for r in replies) or b"421 4.4.2" in b"".join(replies), replies)
            return any(b"queued as" in r for r in replies)
        wait_for(taken)
        wait_for(lambda: len(self.host.messages("bob")) > before)

    def hold(self, name, first, slowly, secure, results):
        began = time.monotonic()
        with contextlib.suppress(OSError):
            sock = socket.create_connection(("127.0.0.1", self.host.submissions_port if secure or first is None else self.host.port), 10)
            sock = self.host.tls_context().wrap_socket(sock) if secure else sock
            with sock:
                sock.sendall(first or b"")
                sock.settimeout(0.15)
                for octet in itertools.chain((bytes([o]) for o in slowly), itertools.repeat(b"")):
                    with contextlib.suppress(TimeoutError, ssl.SSLWantReadError):
                        while octets := sock.recv(1000):
                            pass
                        if octets == b"":
                            break
                    if octet:
                        sock.sendall(octet)
                    if time.monotonic() - began > self.STAYS:
                        break
        results[name] = max(results.get(name, 0), time.monotonic() - began)

    def test_slowloris_in_every_state(self):
        results = {}
        threads = [threading.Thread(target=self.hold, args=(name, *state, results)) for name, state in self.states().items() for _ in range(2)]
        for thread in threads:
            thread.start()
        self.works()
        for thread in threads:
            thread.join()
        for name, seconds in results.items():
            self.assertLess(seconds, self.STAYS - 10, name)
        self.assertEqual(len(results), len(self.states()))

    def test_clients_that_vanish_in_every_state(self):
        descriptors = "/proc/%d/fd" % self.first["smtpd"]
        if os.access(descriptors, os.R_OK):
            time.sleep(1.5)
            before = len(os.listdir(descriptors))
        for first, slowly, secure in self.states().values():
            for how in (socket.SHUT_RDWR, socket.SHUT_WR, None):
                with contextlib.suppress(OSError):
                    sock = socket.create_connection(("127.0.0.1", self.host.submissions_port if secure or first is None else self.host.port), 10)
                    sock = self.host.tls_context().wrap_socket(sock) if secure else sock
                    sock.sendall((first or b"") + slowly[:20])
                    if how is not None:
                        sock.shutdown(how)
                    sock.close()
        self.works()
        if os.access(descriptors, os.R_OK):
            wait_for(lambda: len(os.listdir(descriptors)) <= before)

    def flooded(self, flood):
        """The replies, or nothing if the test was a second late with what it says."""
        sock = self.connect()
        with contextlib.suppress(OSError):
            sock.sendall(HELLO + flood * 3000)
        replies = read_all(sock).split(b"\r\n")
        return [] if b"421 4.4.2" in b"".join(replies) else replies

    def test_floods_of_commands_that_bring_no_mail(self):
        for flood in (b"NOOP\r\n", b"RSET\r\n", b"VRFY x\r\n", b"HELP\r\n", b"EHLO x\r\n", b"HELO x\r\n", b"NOOP\r\nRSET\r\n", b"MAIL FROM:<>\r\nRSET\r\n", b"EXPN x\r\n", b"XYZZY\r\n"):
            replies = wait_for(lambda flood=flood: self.flooded(flood))
            self.assertLess(len([r for r in replies if r[3:4] == b" "]), 250, flood)
            self.assertTrue(replies[-2].startswith(b"421 4.7.0 "), (flood, replies[-3:]))
        self.works()


@needs_root
class Names(unittest.TestCase):
    """Whoever has an address writes its name."""

    def test_hostile_PTR_names(self):
        label = "x" * 63
        names = ["evil\\013\\010X-Evil:\\032yes", "evil\\010X-Evil:\\032yes", "a\\000b", "a\\041\\032by\\032evil.example\\032\\040x", "a\\\\b", "\\\"quoted\\\"", "\\036{run{x}}", "\\;id\\;", "a\\032b", "\\195\\169",
                 "[127.0.0.1]", "127.0.0.1", "%s%n", "%.3s.%.3s.%.3s" % (label, label, label), "-dash-", "a\\.b", "good"]
        zone = "".join("%s A 198.18.0.%d\n" % (name, n + 2) for n, name in enumerate(names)) + "many A 198.18.0.100\n" + "loop CNAME loop\n"
        reverse = "".join("%d PTR %s.example.\n" % (n + 2, name) for n, name in enumerate(names)) + "".join("100 PTR many%d.example.\n" % n for n in range(100)) + "101 PTR loop.example.\n102 CNAME 102\n"
        world = self.enterContext(World())
        world.address(world.near, "198.18.0.1/24")
        for n in [*range(2, 2 + len(names)), 100, 101, 102]:
            world.address(world.far, "198.18.0.%d/24" % n)
        world.name_server({"example": zone, "0.18.198.in-addr.arpa": reverse})
        port = free_port()
        host = world.postino("dns { client_names = yes client_name_timeout = 20s }", relay_from=(), tls=False,
                             listeners={"smtp": "port = %d address = \"%s\" tls = none" % (port, NEAR)})
        for n in [*range(2, 2 + len(names)), 100, 101, 102]:
            done = subprocess.run([*within(world.far), "/usr/bin/python3", "-c", """
import smtplib, sys
client = smtplib.SMTP(sys.argv[1], int(sys.argv[2]), source_address=(sys.argv[3], 0), local_hostname="client.example", timeout=60)
client.sendmail("a@client.example", ["alice@local.example"], "Subject: from %s\\r\\n\\r\\nx\\r\\n" % sys.argv[3])
client.quit()
""", NEAR, str(port), "198.18.0.%d" % n], capture_output=True, text=True, timeout=100)
            self.assertEqual(done.returncode, 0, done.stderr)
        wait_for(lambda: len(host.messages("alice")) == len(names) + 3)
        named = {}
        for message in host.messages("alice"):
            head = message[: message.index(b"Subject:")].decode("ascii")
            self.assertNotIn("X-Evil", head)
            self.assertEqual(len(re.findall(r"(?m)^\S", head)), 2, head)  # Return-Path:, Received:
            found = re.search(r"Received: from client\.example \((\S+) \[(198\.18\.0\.\d+)\]\)\n", head)
            self.assertTrue(found, head)
            self.assertRegex(found.group(1), r"^(unknown|[\w.-]+)$")
            named[found.group(2)] = found.group(1)
        self.assertEqual(named["198.18.0.%d" % (names.index("good") + 2)], "good.example")
        self.assertEqual({named["198.18.0.%d" % (n + 2)] for n in range(11)}, {"unknown"})
        self.assertEqual({named["198.18.0.%d" % n] for n in (100, 101, 102)}, {"unknown"})  # none of the hundred leads back to the address
        with open(host.log_path, "rb") as f:
            self.assertFalse(re.search(rb"[^\x20-\x7e\n]|X-Evil: yes$", f.read()))


if __name__ == "__main__":
    unittest.main()
