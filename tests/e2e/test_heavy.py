"""What is far too much, and who is gone in mid-word: with the door in force (greeting delay, limits of strangers), so that a session that leaks is seen in the counts."""
import contextlib
import os
import re
import socket
import ssl
import struct
import time
import unittest

from host import Host, wait_for

ENVELOPE = b"MAIL FROM:<a@client.example>\r\nRCPT TO:<alice@local.example>\r\n"


def resident(pid):
    with open("/proc/%d/status" % pid) as f:
        return int(re.search(r"RssAnon:\s+(\d+)", f.read()).group(1))


class Case(unittest.TestCase):
    settings = ""

    @classmethod
    def setUpClass(cls):
        cls.host = Host(settings="smtpd_processes = 1\ndns { client_names = no }\n" + cls.settings, relay_from=()).__enter__()
        cls.smtpd = cls.host.pid_of("smtpd")

    @classmethod
    def tearDownClass(cls):
        cls.host.__exit__(None, None, None)

    def connect(self, port=None):
        sock = socket.create_connection(("127.0.0.1", port or self.host.port), 60)
        self.addCleanup(sock.close)
        sock.settimeout(60)
        return sock

    def read_to(self, sock, pattern):
        text = b""
        while not re.search(pattern, text):
            octets = sock.recv(65536)
            if not octets:
                break
            text += octets
        return text

    def all_said(self, octets):
        """Sends all of it while it reads, and gives every reply line. What is not sent when the other side has gone is not wanted."""
        sock = self.connect()
        out, at = b"", 0
        sock.setblocking(False)
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                if at < len(octets):
                    at += sock.send(octets[at:at + 65536])
            except BlockingIOError:
                pass
            except ConnectionError:
                at = len(octets)
            try:
                piece = sock.recv(65536)
            except BlockingIOError:
                time.sleep(0.001)
                continue
            except ConnectionError:
                piece = b""
            if not piece:
                break
            out += piece
        return out.split(b"\r\n")[:-1]


class Huge(Case):
    settings = "limit { message_size = 60M errors = 200 }"

    def send(self, text):
        before, mail = resident(self.smtpd), len(self.host.messages("alice"))
        replies = self.all_said(b"EHLO x\r\n" + ENVELOPE + b"DATA\r\n" + text + b"\r\n.\r\nQUIT\r\n")
        if "asan" not in self.host.variant:
            self.assertLess(resident(self.smtpd) - before, 8000)
        if replies[-2].startswith(b"250"):
            wait_for(lambda: len(self.host.messages("alice")) > mail, 60)
        return replies[-2]

    def test_a_million_header_lines(self):
        self.assertRegex(self.send(b"X: y\r\n" * 1000000 + b"\r\nx"), rb"^250 ")

    def test_a_header_line_of_ten_megabytes(self):
        self.assertRegex(self.send(b"X: " + b"y" * (10 << 20) + b"\r\n\r\nx"), rb"^550 5\.6\.0 ")

    def test_a_hundred_thousand_received_lines(self):
        self.assertRegex(self.send(b"Received: x\r\n" * 100000 + b"\r\nx"), rb"^554 5\.4\.6 ")

    def test_nothing_but_NUL(self):
        self.assertRegex(self.send((b"\0" * 990 + b"\r\n") * 5000), rb"^250 ")
        replies = self.all_said((b"\0" * 500 + b"\r\n") * 300)
        self.assertRegex(replies[-1], rb"^421 4\.7\.0 \S+ too many errors")

    def test_ten_thousand_recipients_refused(self):
        before = resident(self.smtpd)
        replies = self.all_said(b"EHLO x\r\nMAIL FROM:<>\r\n" + b"".join(b"RCPT TO:<nobody%d@local.example>\r\n" % n for n in range(10000)) + b"QUIT\r\n")
        self.assertEqual(len([r for r in replies if r.startswith(b"550 5.1.1")]), 200)
        self.assertRegex(replies[-1], rb"^421 4\.7\.0 \S+ too many errors")
        self.assertLess(resident(self.smtpd) - before, 8000)

    def test_a_command_without_end(self):
        for octets in b"x" * (5 << 20), b"EHLO " + b"y" * (5 << 20), b"\0" * (5 << 20):
            replies = self.all_said(octets + b"\r\nQUIT\r\n")
            self.assertRegex(replies[-2], rb"^500 5\.5\.2 line too long")
            self.assertRegex(replies[-1], rb"^221 ")

    def test_no_reply_is_longer_than_512_octets_or_not_printable(self):
        """each command with what is long, and with what is none: at the limit of a line, and far beyond"""
        parts = [b"x" * 64 + b"@" + b".".join([b"d" * 63] * 3) + b".dddd", b"n" * 64 + b"@local.example", b"\"" + b"q\\\"" * 30 + b"\"@local.example", b"a" * 4000, b"\xff" * 300, b"\x01\x7f" * 150,
                 b"@r.example," * 200 + b":b@local.example", b"%s%n%x" * 50]
        lines = []
        for part in parts:
            lines += [b"HELO " + part, b"EHLO " + part, b"EHLO x", b"MAIL FROM:<" + part + b">", b"RSET", b"MAIL FROM:<a@client.example> " + part, b"MAIL FROM:<a@client.example>", b"RCPT TO:<" + part + b">",
                      b"RCPT TO:<b@elsewhere.example> " + part, b"RSET", b"VRFY " + part, b"EXPN " + part, b"HELP " + part, b"NOOP " + part, b"AUTH " + part, b"STARTTLS " + part, b"ETRN " + part, part]
        replies = self.all_said(b"\r\n".join(lines) + b"\r\nQUIT\r\n")
        self.assertGreater(len(replies), len(lines))
        for part in parts:
            replies += self.all_said(b"EHLO x\r\nBDAT " + part + b"\r\nQUIT\r\n")
        for reply in replies:
            self.assertLessEqual(len(reply) + 2, 512)
            self.assertRegex(reply, rb"^\d\d\d[ -][ -~]*$")


class Vanishing(Case):
    settings = "smtpd { greet_delay = 1s command_timeout = 20s data_timeout = 20s tls_timeout = 20s greet_passed = 0 }\nclient { sessions = 40 networks = 0 }"

    def test_in_every_state_in_every_way(self):
        hello = b"EHLO x\r\n"
        to = hello + ENVELOPE
        states = {"at once": None, "early": b"EHLO", "greeted": b"", "half a command": b"EHL", "behind EHLO": hello, "MAIL": to[:-1], "RCPT": to, "DATA": to + b"DATA\r\n", "text": to + b"DATA\r\nSubject: x\r\n\r\nx",
                  "a dot": to + b"DATA\r\nx\r\n.", "a long text": to + b"DATA\r\n" + b"long text\r\n" * 60000, "BDAT": to + b"BDAT 1000\r\nx", "STARTTLS": hello + b"STARTTLS\r\n", "handshake": hello + b"STARTTLS\r\n\x16\x03\x01",
                  "the end": to + b"DATA\r\nx\r\n.\r\n", "QUIT": hello + b"QUIT\r\n"}
        descriptors = "/proc/%d/fd" % self.smtpd
        before = len(os.listdir(descriptors))
        for round_ in range(3):
            waiting = []
            for name, words in states.items():
                for how in ("RST", "FIN", "half"):
                    sock = self.connect()
                    if name == "early":
                        sock.sendall(words)
                    waiting.append((name, words, how, sock))
                if len(waiting) >= 36:
                    self.vanish(waiting)
            self.vanish(waiting)
        wait_for(lambda: len(os.listdir(descriptors)) <= before + 1, 60)
        # and route has counted them out: as many as ever get in
        held = [self.connect() for _ in range(41)]
        codes = [self.read_to(sock, rb"\d\d\d[ -][^\n]*\n")[:3] for sock in held]
        self.assertEqual(codes.count(b"220"), 40, codes)
        self.assertEqual(codes.count(b"421"), 1)

    def vanish(self, waiting):
        for name, words, how, sock in waiting:
            with contextlib.suppress(OSError):
                if name not in ("at once", "early"):
                    self.read_to(sock, rb"220 [^\n]*\n")
                    sock.sendall(words)
                if how == "RST":
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                elif how == "half":
                    sock.shutdown(socket.SHUT_WR)
                    continue
            sock.close()
        time.sleep(0.3)
        for *_, sock in waiting:
            sock.close()
        waiting.clear()
        time.sleep(0.3)

    def test_in_a_session_over_tls(self):
        descriptors = "/proc/%d/fd" % self.smtpd
        time.sleep(1)
        before = len(os.listdir(descriptors))
        for words in (b"", b"EHLO x\r\n", b"EHLO x\r\nAUTH PLAIN\r\n", b"EHLO x\r\nAUTH PLAIN AHgAeQ==\r\n", b"EHLO x\r\n" + ENVELOPE + b"DATA\r\nx"):
            for linger in (True, False):
                raw = self.connect(self.host.submissions_port)
                if linger:
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                with contextlib.suppress(OSError, ssl.SSLError):
                    sock = self.host.tls_context().wrap_socket(raw)
                    sock.sendall(words)
                    sock.close()
        wait_for(lambda: len(os.listdir(descriptors)) <= before, 60)


if __name__ == "__main__":
    unittest.main(verbosity=2)
