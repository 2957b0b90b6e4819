"""SMTP smuggling, in and out (CVE-2023-51764, -51765, -51766 and kin): one message in is one message, and one message out, for whoever reads it. The parser and
the dot-stuffing alone, for every text there is, are in tests/unit/test_smuggling.c; here is the whole way."""
import contextlib
import itertools
import os
import re
import smtplib
import socket
import ssl
import sys
import time
import unittest

from host import DOMAIN, Host, free_port, wait_for
from listening import Listener
from hostile import Raw, Server
from mtas import Exim, OpenSMTPD

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "conformance"))
import servers  # noqa: E402

LINE_ENDS = [b"\r\n", b"\n", b"\r", b"\r\r\n", b"\n\r", b"\r\0\n", b"\0\r\n", b"\r\n\0", b"\0\n", b"\r\n\r", b"\r\n\n", b"\x0b", b"\x0c", b"\x85", b"\xe2\x80\xa8", b"\r\n ", b"\r\n\t"]
DOTS = [b".", b"..", b"\0.", b".\0", b". "]
ENDS = [before + dot + behind for before, dot, behind in itertools.product(LINE_ENDS, DOTS, LINE_ENDS)]
NASTY = [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r", b"\r.\r\n", b"\r\n\0.\r\n", b"\r\n.\r\0\n"]
EVIL = b"MAIL FROM:<evil@client.example>\r\nRCPT TO:<alice@local.example>\r\nDATA\r\nSubject: smuggled\r\n\r\nsmuggled\r\n"
ENVELOPE = b"MAIL FROM:<a@client.example>\r\nRCPT TO:<alice@local.example>\r\nDATA\r\n"
PATIENCE = 120  # seconds that a test waits for what comes
INPUT, PIECE = 128 << 10, 256 << 10  # smtpd's buffers


def ends_in(text):
    """How often a text ends and begins a message: at CR LF . CR LF, and nowhere else."""
    return (b"\r\n" + text).count(b"\r\n.\r\n")


class In(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        settings = "smtpd_processes = 1\nlimit { errors = 10000 bare_newline = %s }\ndns { client_names = no }"
        cls.hosts = {how: Host(settings=settings % how, relay_from=()).__enter__() for how in ("refuse", "normalize")}

    @classmethod
    def tearDownClass(cls):
        for host in cls.hosts.values():
            host.__exit__(None, None, None)

    def connect(self, host):
        sock = socket.create_connection(("127.0.0.1", host.port), PATIENCE)
        self.addCleanup(sock.close)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        file = sock.makefile("rb")
        file.readline()
        sock.sendall(b"EHLO x\r\n")
        self.reply(file)
        return sock, file

    def reply(self, file):
        line = file.readline()
        while line[3:4] == b"-":
            line = file.readline()
        return line

    def smuggle(self, host, sock, file, end, cuts=(), pad=b""):
        """A text with `end` in it and commands behind that, sent in pieces: the replies to all of it."""
        text = pad + b"Subject: carrier\r\n\r\nx" + end + EVIL + b".\r\n"
        sock.sendall(ENVELOPE)
        for _ in range(3):
            self.reply(file)
        at = 0
        for cut in cuts:
            sock.sendall(text[at:cut])
            at = cut
            time.sleep(0.002)
        sock.sendall(text[at:] + b"VRFY end\r\n")
        replies = []
        while not replies or not replies[-1].startswith(b"252"):
            replies.append(self.reply(file))
            self.assertTrue(replies[-1], (end, replies))
        return text, replies

    def check(self, how, end, text, replies):
        bare = re.search(rb"\r(?!\n)|(?<!\r)\n", text[: (b"\r\n" + text).index(b"\r\n.\r\n") + 3])
        self.assertEqual(len([r for r in replies if r.startswith(b"354")]), ends_in(text) - 1, (end, replies))
        self.assertEqual(replies[0][:3], b"550" if bare and how == "refuse" else b"250", (end, replies))

    def test_every_line_end_and_dot(self):
        self.assertIn(b"\n.\r\n", ENDS)
        for how, host in self.hosts.items():
            sock, file = self.connect(host)
            for end in ENDS:
                if ends_in(b"x" + end + b"x") == 0:
                    text, replies = self.smuggle(host, sock, file, end)
                    self.check(how, end, text, replies)
            sock.sendall(b"QUIT\r\n")

    def test_nothing_was_smuggled(self):
        """whatever came, in this test or in another one: none of it is from evil@"""
        for how, host in self.hosts.items():
            sock, file = self.connect(host)
            wait_for(host.queue_is_empty, PATIENCE)
            count = len(host.messages("alice"))
            for end in NASTY:
                self.smuggle(host, sock, file, end)
            wait_for(host.queue_is_empty, PATIENCE)
            self.assertFalse([m for m in host.messages("alice") if m.startswith(b"Return-Path: <evil")])
            if how == "normalize":  # it is text now: all of it is there, and with LF ends no line of it is a dot in the wrong place
                self.assertEqual(len([m for m in host.messages("alice")[count:] if b"\nsmuggled\n" in m]), len(NASTY))

    def test_in_any_two_packets(self):
        for how, host in self.hosts.items():
            sock, file = self.connect(host)
            for end in NASTY:
                first = len(b"Subject: carrier\r\n\r\nx")
                for cut in range(first, first + len(end) + 1):
                    text, replies = self.smuggle(host, sock, file, end, (cut,))
                    self.check(how, end, text, replies)

    def test_octet_by_octet(self):
        for how, host in self.hosts.items():
            sock, file = self.connect(host)
            for end in NASTY:
                first = len(b"Subject: carrier\r\n\r\nx")
                text, replies = self.smuggle(host, sock, file, end, range(first, first + len(end) + 4))
                self.check(how, end, text, replies)

    def test_across_the_buffers_of_a_large_message(self):
        for how, host in self.hosts.items():
            sock, file = self.connect(host)
            for boundary in (INPUT, PIECE, 3 * PIECE):
                for end, back in zip(NASTY, itertools.cycle((0, 1, 2, 3))):
                    pad = b"X-Pad: " + b"p" * 90 + b"\r\n"
                    room = boundary - back - len(b"Subject: carrier\r\n\r\nx")
                    head = pad * (room // len(pad))
                    head += b"X: " + b"q" * (room - len(head) - 5) + b"\r\n" if room - len(head) >= 6 else b""
                    text, replies = self.smuggle(host, sock, file, end, (), head)
                    self.check(how, end, text, replies)

    def test_over_tls(self):
        for how, host in self.hosts.items():
            plain, file = self.connect(host)
            plain.sendall(b"STARTTLS\r\n")
            self.reply(file)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            sock = context.wrap_socket(plain)
            self.addCleanup(sock.close)
            file = sock.makefile("rb")
            sock.sendall(b"EHLO x\r\n")
            self.reply(file)
            for end in NASTY:
                first = len(b"Subject: carrier\r\n\r\nx")
                for cuts in ((), (first + 1,), (first + 2,), (first + 3,)):
                    text, replies = self.smuggle(host, sock, file, end, cuts)
                    self.check(how, end, text, replies)

    def test_a_command_ends_with_cr_lf_alone(self):
        host = self.hosts["refuse"]
        for line in b"NOOP\nMAIL FROM:<evil@client.example>\r\n", b"NOOP\rMAIL FROM:<evil@client.example>\r\n", b"NOOP\0\r\n":
            sock, file = self.connect(host)
            sock.sendall(line + b"RCPT TO:<alice@local.example>\r\nQUIT\r\n")
            replies = file.read().split(b"\r\n")
            self.assertEqual(replies[0][:3], b"500", line)
            # What follows a line that ended with LF is a line of its own, and was the client's to send.
            self.assertEqual([r[:3] for r in replies[1:-1]], [b"250", b"250", b"221"] if b"\nMAIL" in line else [b"503", b"221"], line)


class Sink:
    """A next host that keeps every octet of every connection, and the texts of messages with their final dots."""

    def __init__(self):
        self.port, self.streams, self.texts = free_port(), [], []
        self.listener = Listener(socket.create_server(("127.0.0.1", self.port), backlog=100), self.serve)

    def serve(self, sock):
        stream = bytearray()
        self.streams.append(stream)
        with contextlib.suppress(OSError), sock:
            sock.sendall(b"220 sink.example ESMTP\r\n")
            at, text = 0, False
            while octets := sock.recv(65536):
                stream += octets
                while True:
                    end = stream.find(b"\r\n.\r\n", at - 2) + 5 if text else stream.find(b"\r\n", at) + 2
                    if end < 5 and text or end < 2:
                        break
                    line, at = bytes(stream[at:end]), end
                    if text:
                        text = False
                        self.texts.append(line)
                        sock.sendall(b"250 2.0.0 taken\r\n")
                    elif line.upper().startswith(b"EHLO"):
                        sock.sendall(b"250-sink.example\r\n250-PIPELINING\r\n250 8BITMIME\r\n")
                    elif line.upper().startswith(b"DATA"):
                        text = True
                        sock.sendall(b"354 go on\r\n")
                    else:
                        sock.sendall(b"250 2.1.0 ok\r\n")

    def close(self):
        self.listener.close()


# What comes in and may not come out as more than one message: texts with LF ends, as programs write them.
LETTERS = [b"Subject: %d\n\nx%sMAIL FROM:<evil@client.example>\nRCPT TO:<victim@elsewhere.example>\nDATA\nSubject: smuggled\n\nsmuggled\n" % (n, end) for n, end in enumerate(
    [b"\n.\n", b"\n.\r\n", b"\r\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r", b"\r.\n", b"\n.\r", b"\r\r\n.\r\r\n", b"\n\r.\n\r", b"\n..\n", b"\n...\n", b"\n. \n", b"\0\n.\0\n", b"\n\0.\n", b"\r\0\n.\r\0\n"])] + [
    b".\n", b"..\n", b".", b"\n.\n", b"Subject: header\n.\n\nx\n", b"Subject: a\r\n.\r\n\r\nx\r\n", b"x\n.", b"x\r", b"Subject: cr\rX: y\n\nx\n", b"Subject: " + b"a" * 300000 + b"\n.\n",
    b"Subject: boundary\n\n" + b"y" * 65517 + b"\n.\n.\n", b"Subject: boundary\n\n" + (b"z" * 62 + b"\n.\n") * 9000]


class Out(unittest.TestCase):
    """Postino in the middle; the next host keeps every octet."""

    def setUp(self):
        self.sink = Sink()
        self.addCleanup(self.sink.close)

    def start(self, **more):
        more.setdefault("settings", "limit { bare_newline = normalize line = 1M }\ndns { client_names = no }")
        host = Host(routes={"*": "via = \"smtp:[127.0.0.1]:%d\" tls = none" % self.sink.port}, **more)
        host.__enter__()
        self.addCleanup(host.__exit__, None, None, None)
        return host

    def look(self, host, count):
        wait_for(lambda: len(self.sink.texts) >= count, PATIENCE)
        wait_for(host.queue_is_empty, PATIENCE)  # nothing more comes
        streams = [bytes(s) for s in self.sink.streams]
        for stream in streams:
            self.assertFalse(re.search(rb"\r(?!\n)|(?<!\r)\n", stream), "a bare CR or LF has left")
            self.assertFalse(re.search(rb"(?m)^(?:MAIL FROM|RCPT TO):.*(?:evil|victim)", re.sub(rb"(?s)\r\nDATA\r\n.*?\r\n\.\r\n", b"\r\n", stream)))
        texts = self.sink.texts
        self.assertEqual(len(texts), count)
        for text in texts:
            self.assertEqual((b"\r\n" + text).find(b"\r\n.\r\n") + 3, len(text), "the text ends before its end")
            for line in text[:-3].split(b"\r\n"):
                self.assertTrue(not line.startswith(b".") or line.startswith(b".."), "an unstuffed dot: %r" % line)
        return texts

    def test_from_sendmail(self):
        host = self.start()
        for letter in LETTERS:
            done = host.tool("sendmail", "-i", "-f", "a@client.example", "x@elsewhere.example", input=letter, text=False)
            self.assertEqual(done.returncode, 0, (letter[:100], done.stderr))
        texts = self.look(host, len(LETTERS))
        self.assertEqual(len([t for t in texts if b"\r\nsmuggled\r\n" in t]), len([letter for letter in LETTERS if b"\nsmuggled\n" in letter]))

    def test_from_sendmail_where_bare_line_ends_are_refused(self):
        """from the network they are: what a program of this host writes is mended all the same, not lost"""
        host = self.start(settings="limit { line = 1M }")
        for letter in LETTERS:
            done = host.tool("sendmail", "-i", "-f", "a@client.example", "x@elsewhere.example", input=letter, text=False)
            self.assertEqual(done.returncode, 0, (letter[:100], done.stderr))
        self.look(host, len(LETTERS))

    def test_from_the_network_and_a_submission(self):
        host = self.start()
        count = 0
        for how in "smtp", "submission":
            with smtplib.SMTP("127.0.0.1", host.submission_port if how == "submission" else host.port) as client:
                if how == "submission":
                    client.starttls(context=host.tls_context())
                    client.login("alice", "correct horse")
                client.ehlo()
                for letter in LETTERS:
                    if count % 2:  # as it should be
                        text = re.sub(rb"\r?\n", b"\r\n", letter).replace(b"\n.", b"\n..")
                        text = b"." + text if text.startswith(b".") else text
                    else:  # with its bare line ends as they are, but without an end
                        text = (b"x: y\r\n" + letter + b"\r\n").replace(b"\r\n.\r\n", b"\r\n..\r\n")
                    for line in "MAIL FROM:<a@client.example>", "RCPT TO:<x@elsewhere.example>", "DATA":
                        self.assertLess(client.docmd(line)[0], 400)
                    client.send(text + b"\r\n.\r\n")
                    self.assertEqual(client.getreply()[0], 250, text[:80])
                    count += 1
                self.assertEqual(client.noop()[0], 250)
        self.look(host, count)

    def test_in_a_report(self):
        """what a next host says, and what came in, in a report that goes out"""
        port = free_port()
        said = [Raw(b"550 5.1.1 no\r.\rMAIL FROM:<evil@client.example>\r\n"), Raw(b"550-5.1.1 no\r\n550-.\r\n550 .\r\n"), Raw(b"550 5.1.1 \n.\n\r\n"), Raw(b"550 .\r\n"), Raw(b"550 5.1.1 a\0b\r\r\n")]
        with Server("127.0.0.1", port, RCPT=said[0], steps={"RCPT r%d" % n: one for n, one in enumerate(said)}):
            host = self.start()
            host.configure(routes={"refused.example": "via = \"smtp:[127.0.0.1]:%d\" tls = none" % port, "*": "via = \"smtp:[127.0.0.1]:%d\" tls = none" % self.sink.port},
                           settings="limit { bare_newline = normalize }\nqueue { bounce_size = 1M }")
            host.stop()
            host.start()
            for n in range(len(said)):
                letter = LETTERS[n]
                done = host.tool("sendmail", "-i", "-f", "a@client.example", "r%d@refused.example" % n, input=letter, text=False)
                self.assertEqual(done.returncode, 0, done.stderr)
            texts = self.look(host, len(said))
            self.assertTrue(all(b"multipart/report" in t for t in texts))


@unittest.skipUnless(os.geteuid() == 0, "Postfix needs root")
class ForPostfix(unittest.TestCase):
    """Debian's Postfix as next host, as it comes: it takes LF for a line end."""

    def test_as_many_messages_arrive_as_were_sent(self):
        with servers.Postfix(smtpd_recipient_restrictions="permit_mynetworks, reject") as postfix:
            host = Host(routes={"*": "via = \"smtp:[127.0.0.1]:%d\" tls = none" % postfix.port}, domains={"other.example": "mailboxes = \"hash:/nonexistent\" directory = \"/nonexistent\" owner = \"1\""},
                        settings="limit { bare_newline = normalize line = 1M }\ndns { client_names = no }")
            with host:
                for letter in LETTERS:
                    done = host.tool("sendmail", "-i", "-f", "a@client.example", "alice@" + DOMAIN, input=letter, text=False)
                    self.assertEqual(done.returncode, 0, done.stderr)
                wait_for(lambda: len(postfix.messages()) >= len(LETTERS), PATIENCE)
                wait_for(host.queue_is_empty, PATIENCE)
                wait_for(postfix.queue_is_empty, PATIENCE)
                self.assertEqual(len(postfix.messages()), len(LETTERS))
                self.assertFalse([m for m in postfix.messages() if b"Return-Path: <evil" in m])
            # And that the test would see it: the same trick, played on Postfix itself.
            client = smtplib.SMTP("127.0.0.1", postfix.port)
            self.addCleanup(client.close)
            client.ehlo()
            for line in "MAIL FROM:<a@client.example>", "RCPT TO:<bob@local.example>", "DATA":
                client.docmd(line)
            client.send(b"Subject: x\r\n\r\nx\n.\nMAIL FROM:<evil@client.example>\r\nRCPT TO:<bob@local.example>\r\nDATA\r\nsmuggled\r\n.\r\n")
            wait_for(lambda: len(postfix.messages("bob")) == 2, PATIENCE)


# What is in the middle of a text, where a next host could take it for its end: each line end that somebody takes for one, a dot, and each line end again.
CRAFTY = [b"\r\n", b"\n", b"\r", b"\r\r\n", b"\n\r", b"\r\0\n", b"\0\r\n", b"\r\n\0", b"\0\n", b"\r\n\r", b"\r\n\n"]
MIDDLES = [a + dot + b for a, dot, b in itertools.product(CRAFTY, [b".", b"\0.", b".\0", b".."], CRAFTY)]


class NextHosts:
    """Hostile mail from the network, and from a program of this host, through Postino to another's server, as Debian has it: each message that was taken arrives
    once, and nothing else does."""
    next_host = None

    def setUp(self):
        self.next = self.enter(self.next_host())
        self.counts = {}

    def enter(self, thing):
        thing.__enter__()
        self.addCleanup(thing.__exit__, None, None, None)
        return thing

    def start(self, how):
        return self.enter(Host(routes={"*": "via = \"smtp:[127.0.0.1]:%d\" tls = none" % self.next.port}, domains={"other.example": "mailboxes = \"hash:/nonexistent\" directory = \"/nonexistent\" owner = \"1\""},
                               settings="smtpd_processes = 1\nlimit { errors = 10000 line = 1M bare_newline = %s }\ndns { client_names = no }" % how))

    def connect(self, host):
        sock = socket.create_connection(("127.0.0.1", host.port), PATIENCE)
        self.addCleanup(sock.close)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        file = sock.makefile("rb")
        file.readline()
        sock.sendall(b"EHLO x\r\n")
        self.replies(file, 1)
        return sock, file

    def replies(self, file, n):
        out = []
        while len(out) < n:
            line = file.readline()
            self.assertTrue(line, "the connection has ended")
            out += [line] if line[3:4] == b" " else []
        return out

    def text(self, name, middle):
        return b"Subject: carrier-%s.\r\n\r\nx%sMAIL FROM:<evil@client.example>\r\nRCPT TO:<alice@local.example>\r\nDATA\r\nSubject: smuggled\r\n\r\nsmuggled\r\n" % (name, middle)

    def by_data(self, sock, file, name, middle, cut=None):
        """Counts the message if it is taken; what ends the text is sent with it, so that a wrong end is seen by the replies."""
        text = self.text(name, middle)
        end = text.find(b"\r\n.\r\n")
        if end >= 0:  # it ends there by right: what follows are commands
            return
        sock.sendall(ENVELOPE)
        self.assertEqual([r[:3] for r in self.replies(file, 3)], [b"250", b"250", b"354"], middle)
        text = re.sub(rb"(?<=\r\n)\.(?=MAIL)", b"..", text)
        at = len(text) if cut is None else text.index(b"\r\n\r\nx") + 5 + cut
        sock.sendall(text[:at])
        if cut is not None:
            time.sleep(0.002)
        sock.sendall(text[at:] + b".\r\nVRFY end\r\n")
        first, second = self.replies(file, 2)
        self.assertEqual(second[:3], b"252", (middle, first, second))
        self.assertIn(first[:3], (b"250", b"550"), (middle, first))
        self.counts[name] = int(first.startswith(b"250"))

    def by_bdat(self, sock, file, name, middle, binary):
        text = self.text(name, middle)
        sock.sendall(b"MAIL FROM:<a@client.example>%s\r\nRCPT TO:<alice@local.example>\r\nBDAT %d LAST\r\n" % (b" BODY=BINARYMIME" if binary else b"", len(text)) + text + b"VRFY end\r\n")
        *_, last, end = self.replies(file, 4)
        self.assertEqual(end[:3], b"252")
        self.counts[name] = int(last.startswith(b"250"))

    def look(self, host, may_bounce=()):
        """Each carrier that was taken has arrived once, and nothing of what it carried by itself. A binary text may come back instead, where the next host takes none."""
        wait_for(host.queue_is_empty, PATIENCE)
        wanted = sum(n for name, n in self.counts.items() if name not in may_bounce)
        wait_for(lambda: len(self.next.messages()) >= wanted, PATIENCE)
        time.sleep(0.7)
        arrived, messages = {}, self.next.messages()
        for message in messages:
            self.assertNotIn(b"Return-Path: <evil", message)
            names = re.findall(rb"(?m)^Subject: carrier-(\w+)\.", message)
            self.assertTrue(names, message[:300])
            arrived[names[0]] = arrived.get(names[0], 0) + 1
        for name, n in self.counts.items():
            self.assertIn(arrived.get(name, 0), (0, n) if name in may_bounce else (n,), name)
        return arrived

    def test_from_the_network_normalized(self):
        host = self.start("normalize")
        sock, file = self.connect(host)
        for n, middle in enumerate(MIDDLES):
            self.by_data(sock, file, b"d%d" % n, middle)
        for n, middle in enumerate(NASTY):
            for cut in range(len(middle) + 1):
                self.by_data(sock, file, b"c%dx%d" % (n, cut), middle, cut)
        binary = set()
        for n, middle in enumerate(NASTY):
            self.by_bdat(sock, file, b"b%d" % n, middle, False)
            self.by_bdat(sock, file, b"m%d" % n, middle, True)
            binary.add(b"m%d" % n)
        self.assertGreater(len(self.look(host, binary)), 400)

    def test_from_the_network_refused(self):
        host = self.start("refuse")
        sock, file = self.connect(host)
        for n, middle in enumerate(MIDDLES):
            self.by_data(sock, file, b"d%d" % n, middle)
        for n, middle in enumerate(NASTY):
            self.by_bdat(sock, file, b"b%d" % n, middle, False)
        self.by_data(sock, file, b"good", b"\r\n..\r\n")
        self.assertEqual(self.counts[b"good"], 1)
        self.look(host)

    def test_from_a_program_of_this_host(self):
        for how in "refuse", "normalize":
            host = self.start(how)
            for n, middle in enumerate(NASTY + [b"\r\n.\r\n", b"\r\r\n.\r\r\n", b"\n.\r", b"\r.\n"]):
                name = b"%s%d" % (how.encode(), n)
                done = host.tool("sendmail", "-i", "-f", "a@client.example", "alice@" + DOMAIN, input=self.text(name, middle).replace(b"\r\n", b"\n") if n % 2 else self.text(name, middle), text=False)
                self.assertEqual(done.returncode, 0, (middle, done.stderr))
                self.counts[name] = 1
            self.look(host)


@unittest.skipUnless(os.geteuid() == 0, "the next host needs root")
class ToPostfix(NextHosts, unittest.TestCase):
    next_host = staticmethod(lambda: servers.Postfix(smtpd_recipient_restrictions="permit_mynetworks, reject"))


@unittest.skipUnless(os.geteuid() == 0, "the next host needs root")
class ToExim(NextHosts, unittest.TestCase):
    next_host = Exim


@unittest.skipUnless(os.geteuid() == 0, "the next host needs root")
class ToOpenSMTPD(NextHosts, unittest.TestCase):
    next_host = OpenSMTPD


if __name__ == "__main__":
    unittest.main()
