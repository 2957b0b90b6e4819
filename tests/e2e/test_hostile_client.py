"""Strangers and users of the host who mean harm, against a whole instance: nothing that was accepted is lost, nothing is smuggled in, nobody dies of it."""
import base64
import contextlib
import os
import re
import socket
import struct
import threading
import time
import unittest

import frames
from host import DOMAIN, Host, free_port, wait_for, without_trace
from hostile import Raw, Server
from test_hostile_frames import resident

AS_ROOT = os.geteuid() == 0
NOBODY = 65534
HELLO = b"EHLO x\r\n"
ENVELOPE = b"MAIL FROM:<a@client.example>\r\nRCPT TO:<alice@local.example>\r\n"


PATIENCE = 60  # seconds that a test waits for what comes


def read_all(sock):
    sock.settimeout(PATIENCE)
    octets = b""
    with contextlib.suppress(OSError):
        while piece := sock.recv(65536):
            octets += piece
    return octets


class Case(unittest.TestCase):
    options = {}

    @classmethod
    def setUpClass(cls):
        options = dict(dict(settings="", relay_from=()), **cls.options)
        options["settings"] += "\nsmtpd_processes = 1\n"
        cls.host = Host(**options).__enter__()
        cls.first = {name: pid for pid, name in cls.host.pids().items()}

    @classmethod
    def tearDownClass(cls):
        cls.host.__exit__(None, None, None)

    def tearDown(self):
        log = self.host.log()
        self.assertNotRegex(log, r"ERROR: AddressSanitizer|runtime error:")
        self.assertNotRegex(log, r"killed by SIG(?!KILL)")
        for name, pid in self.first.items():
            if name not in self.killed():
                self.assertEqual(self.host.pid_of(name), pid, "%s died" % name)

    def killed(self):
        return ()

    def connect(self, port=None):
        sock = socket.create_connection(("127.0.0.1", port or self.host.port), PATIENCE)
        self.addCleanup(sock.close)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def say(self, octets, step=0):
        """All that is answered to these octets, sent at once or in small pieces, as lines."""
        sock = self.connect()
        for at in range(0, len(octets), step or len(octets)):
            sock.sendall(octets[at : at + (step or len(octets))])
        sock.shutdown(socket.SHUT_WR)
        answers = read_all(sock).split(b"\r\n")
        sock.close()
        return answers[:-1]

    def last(self, octets):
        """The answer to the last command."""
        return self.say(HELLO + octets + b"QUIT\r\n")[-2]

    def works(self):
        """It still takes and delivers mail."""
        before = len(self.host.messages("bob"))
        with self.host.smtp() as client:
            client.sendmail("a@client.example", ["bob@" + DOMAIN], b"Subject: works\r\n\r\n.\r\n")
        wait_for(lambda: len(self.host.messages("bob")) > before, PATIENCE)

    def arrived(self, name="alice"):
        """The messages of a mailbox when nothing more is under way."""
        wait_for(self.host.queue_is_empty, PATIENCE)
        return self.host.messages(name)


class Stranger(Case):
    def test_no_mix_of_line_ends_and_dots_ends_a_message_but_the_one(self):
        evil = b"MAIL FROM:<evil@client.example>\r\nRCPT TO:<alice@local.example>\r\nDATA\r\nSubject: smuggled\r\n\r\n.\r\nQUIT\r\n"
        ends = [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r\n.\r", b"\r.\r\n", b"\r\r\n.\r\r\n", b"\r\n.\r\r\n", b"\n\n.\r\n", b"\r\n.\n\r", b"\r\n.\r\0\n", b"\r\n..\r\n",
                b"\r\n. \r\n", b"\r\n\0.\r\n"]
        for end in ends:
            for step in (0, 1):
                lines = self.say(HELLO + ENVELOPE + b"DATA\r\nSubject: x\r\n\r\nx" + end + evil, step)
                self.assertEqual(len([line for line in lines if line.startswith(b"354")]), 1, (end, lines))
        self.works()
        self.assertFalse([m for m in self.arrived() if m.startswith(b"Return-Path: <evil")])

    def test_pipelined_messages_in_any_pieces(self):
        before = len(self.arrived())
        one = ENVELOPE + b"DATA\r\nSubject: p\r\n\r\n..\r\n.\r\n"
        for step in (0, 1, 7):
            lines = self.say(HELLO + one + one + b"RSET\r\n" + one + b"QUIT\r\n", step)
            self.assertEqual(len([line for line in lines if b"queued as" in line]), 3)
        messages = self.arrived()
        self.assertEqual(len(messages), before + 9)
        self.assertEqual({without_trace(m) for m in messages[before:]}, {b"Subject: p\n\n.\n"})

    def test_relaying_is_refused_however_it_is_written(self):
        for path in ("x@other.example", "@local.example:x@other.example", "x%other.example@local.example", '"x@other.example"@local.example', "other.example!x@local.example",
                     "x@[192.0.2.1]", "alice@local.example@other.example", "x@other.example%local.example", "x@local.example.other.example", '"alice@local.example>"@x.example'):
            answer = self.last(b"MAIL FROM:<>\r\nRCPT TO:<" + path.encode() + b">\r\n")
            self.assertRegex(answer, rb"^5\d\d ", path)

    def test_paths_in_local_parts_lead_nowhere(self):
        for local in ("../alice", '"../alice"', "alice/../bob", '"alice/../../x"', "alice+/../../x", '"alice+/../../x"', '"/etc/passwd"', '".."', '""', "|id", "-f"):
            before = sorted(os.listdir(self.host.path("mail")))
            answer = self.last(b"MAIL FROM:<>\r\nRCPT TO:<" + local.encode() + b"@local.example>\r\n")
            if answer.startswith(b"250"):  # a tag: it is alice all the same
                self.assertIn("alice+", local)
                self.say(HELLO + b"MAIL FROM:<>\r\nRCPT TO:<" + local.encode() + b"@local.example>\r\nDATA\r\n\r\n.\r\nQUIT\r\n")
            self.works()
            self.assertEqual([n for n in sorted(os.listdir(self.host.path("mail"))) if n not in ("alice", "bob")], [n for n in before if n not in ("alice", "bob")])

    def test_octets_that_no_command_has(self):
        for octets in (b"MAIL FROM:<a\0@b.example>", b"MA\0IL FROM:<a@b.example>", b"MAIL FROM:<\xe9@b.example>", b"MAIL FROM:<a@b.example>\r", b"HELO a\x0bb", b"MAIL\x00FROM:<>",
                       b"MAIL FROM:<a@b.example> X=\r", b"\x80\x80", b"NOOP \x1b[2J"):
            self.assertRegex(self.last(octets + b"\r\n"), rb"^50[01] ", octets)
        self.assertRegex(self.last(b"MAIL FROM:<\xc3\xa9@b.example>\r\n"), rb"^550 5\.6\.7 ")  # text, but not without SMTPUTF8 (RFC 6531 3.5)
        with open(self.host.log_path, "rb") as f:
            self.assertFalse(re.search(rb"[^\x20-\x7e\n]", f.read()))

    def test_parameters_that_can_t_be(self):
        for parameter in (b"SIZE=99999999999999999999", b"SIZE=18446744073709551616", b"SIZE=-1", b"SIZE=", b"SIZE=1 SIZE=1", b"BODY=BINARY", b"ENVID=a+0D+0Ab", b"RET=FULL RET=HDRS",
                          b"X-Y=1", b"X" * 3000, b"X=" * 5000):
            self.assertRegex(self.last(b"MAIL FROM:<a@b.example> " + parameter + b"\r\n"), rb"^5\d\d ", parameter[:40])

    def test_lines_without_end(self):
        sock = self.connect()
        before = resident(self.first["smtpd"])
        sock.sendall(HELLO)
        for _ in range(500):
            sock.sendall(b"x" * 65536)
        sock.sendall(b"\r\nQUIT\r\n")
        self.assertIn(b"500 5.5.2 line too long", read_all(sock))
        if "asan" not in self.host.variant:  # which keeps what was freed
            self.assertLess(resident(self.first["smtpd"]) - before, 4000)

    def test_a_client_that_reads_nothing_is_not_listened_to(self):
        sock = self.connect()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sock.sendall(HELLO + b"MAIL FROM:<>\r\n")
        sock.setblocking(False)
        # Neither errors nor idle: what is over the limit of recipients gets a temporary reply each.
        flood, sent, moved = b"RCPT TO:<alice@local.example>\r\n" * 8192, 0, time.monotonic()
        while time.monotonic() - moved < 0.7:
            try:
                sent += sock.send(flood[sent % len(flood):])
                moved = time.monotonic()
            except BlockingIOError:
                time.sleep(0.01)
            self.assertLess(sent, 40 << 20)
        self.works()

    @unittest.skipUnless(AS_ROOT, "to count its descriptors takes root")
    def test_connections_that_vanish_in_any_state_leave_nothing(self):
        whole = HELLO + ENVELOPE + b"RCPT TO:<nobody@local.example>\r\nDATA\r\nSubject: x\r\n\r\n" + b"z" * 70000 + b"\r\n.\r\nRSET\r\n" + ENVELOPE + b"DATA\r\n" + b"y\r\n" * 150000
        cuts = list(range(0, 170, 5)) + [70000, 70150, 70200, 70300, 300000, len(whole) - 1]

        def descriptors():
            return len(os.listdir("/proc/%d/fd" % self.first["smtpd"]))

        def vanish(cut, reset):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.host.port), PATIENCE) as sock:
                sock.sendall(whole[:cut])
                if reset:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

        self.works()
        time.sleep(0.5)  # the last one's connection has lingered
        before = descriptors()
        threads = [threading.Thread(target=vanish, args=(cut, reset)) for cut in cuts for reset in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        wait_for(lambda: descriptors() <= before, PATIENCE)
        wait_for(lambda: not os.listdir(self.host.path("spool", "tmp")), PATIENCE)
        self.works()


class Limits(Case):
    options = dict(settings="limit { message_size = 300K line = 1000 recipients = 100 sessions = 40 }", relay_from=("127.0.0.0/8",), tls=True, routes={"*": "smtp:[127.0.0.1]:9"})

    def test_messages_of_any_length_near_a_limit(self):
        for size in (262144 - 4096 - 250, 262144 - 1, 262144, 262144 + 1, 300 * 1024 - 1, 300 * 1024, 300 * 1024 + 1):
            text = b"Subject: s\r\n\r\n"
            text += (b"y" * 998 + b"\r\n") * ((size - len(text) - 2) // 1000)
            text += b"z" * (size - len(text) - 2) + b"\r\n"
            before = len(self.arrived())
            code = self.say(HELLO + ENVELOPE + b"DATA\r\n" + text + b".\r\nQUIT\r\n")[-2][:3]
            self.assertEqual(code, b"552" if size > 300 * 1024 else b"250", size)
            if code == b"250":
                messages = self.arrived()
                self.assertEqual(len(messages), before + 1)
                self.assertEqual(without_trace(messages[-1]), text.replace(b"\r\n", b"\n"))
        for length, code in ((998, b"250"), (999, b"550")):
            self.assertEqual(self.say(HELLO + ENVELOPE + b"DATA\r\n\r\n" + b"l" * length + b"\r\n.\r\nQUIT\r\n")[-2][:3], code)

    def test_ten_thousand_recipients(self):
        lines = self.say(HELLO + b"MAIL FROM:<>\r\n" + b"".join(b"RCPT TO:<r%d@other.example>\r\n" % i for i in range(10000)) + b"RSET\r\nQUIT\r\n")
        self.assertEqual(len([line for line in lines if line.startswith(b"250 2.1.5")]), 100)
        self.assertEqual(len([line for line in lines if line.startswith(b"452 4.5.3")]), 9900)

    def test_more_connections_than_sessions(self):
        def greeted():
            """all the sessions that there may be, now that those of others are over"""
            with contextlib.ExitStack() as stack:
                socks = [stack.enter_context(socket.create_connection(("127.0.0.1", self.host.port), PATIENCE)) for _ in range(300)]
                count = [sock.recv(3) for sock in socks].count(b"220")
            self.assertLessEqual(count, 40)
            return count == 40
        wait_for(greeted)

        def free():
            """the sessions are free again"""
            with contextlib.suppress(OSError), self.host.smtp():
                return True
        wait_for(free, PATIENCE)
        self.works()

    def test_credentials_that_are_none(self):
        context = self.host.tls_context()
        for response in (b"=", b"====", b"A", b"AAAA", b"!" * 40, base64.b64encode(b"\0alice\0x\0y"), base64.b64encode(b"root\0alice\0correct horse"), base64.b64encode(b"\0" * 300),
                         base64.b64encode(b"\0alice\r\nX: y\0p"), base64.b64encode(b"\0" + b"u" * 2900 + b"\0p"), b"AGFsaWNlAGNvcnJlY3QgaG9yc2U", b"*", b"A" * 9000):
            with self.connect(self.host.submissions_port) as plain, context.wrap_socket(plain) as sock:
                sock.sendall(HELLO + b"AUTH PLAIN\r\n" + response + b"\r\nMAIL FROM:<a@b.example>\r\nQUIT\r\n")
                answers = read_all(sock)
            self.assertNotIn(b"\r\n235 ", answers, response[:60])
            self.assertIn(b"\r\n530 5.7.0", answers, response[:60])
        self.assertNotIn("correct horse", self.host.log())


class NextHost(unittest.TestCase):
    def test_what_it_says_breaks_neither_report_nor_log(self):
        port = free_port()
        replies = {"RCPT crlf": Raw(b"550-5.1.1 one\r\n550-\rX-Evil: yes\r\n550 5.1.1 end\r\n"), "RCPT control": Raw(b"550 5.1.1 \x1b[31m\x00\xff\xfe \xc3\xa9 to=<x> status=sent\r\n"),
                   "RCPT boundary": "550 5.1.1 --=_Postino/", "RCPT lines": Raw(b"550-" + b"A" * 400 + b"\r\n550-" + b"B" * 400 + b"\r\n550 " + b"C" * 400 + b"\r\n")}
        names = [step.split()[1] for step in replies]
        with Server("127.0.0.1", port, steps=replies), Host(routes={"*": "smtp:[127.0.0.1]:%d" % port}) as host:
            for name in names:
                with host.smtp() as client:
                    client.sendmail("alice@" + DOMAIN, [name + "@other.example"], b"Subject: s\r\n\r\nx\r\n")
            wait_for(lambda: len(host.messages("alice")) == len(names), PATIENCE)
            for report in host.messages("alice"):
                self.assertNotRegex(report, rb"(?m)^X-Evil")
                self.assertNotRegex(report, rb"[^\x20-\x7e\n\t]")
                self.assertLess(max(map(len, report.split(b"\n"))), 999)
            with open(host.log_path, "rb") as f:
                self.assertFalse(re.search(rb"[^\x20-\x7e\n]", f.read()))


class Deaths(Case):
    def killed(self):
        return ("qmgr", "route", "local", "dns", "auth", "remote")

    def kill(self, name):
        pid = self.host.pid_of(name)
        if pid:
            os.kill(pid, 9)
        return pid

    def test_a_large_message_whose_beginning_died_with_qmgr_is_refused(self):
        before = len(self.arrived())
        sock = self.connect()
        sock.sendall(HELLO + ENVELOPE + b"DATA\r\nSubject: large\r\n\r\n" + b"first half\r\n" * 60000)
        tmp = self.host.path("spool", "tmp")
        wait_for(lambda: sum(os.stat(os.path.join(tmp, name)).st_size for name in os.listdir(tmp)) > 0)  # its beginning
        pid = self.kill("qmgr")
        wait_for(lambda: self.host.pid_of("qmgr") not in (None, pid))
        sock.sendall(b"second half\r\n" * 60000 + b".\r\n")
        sock.shutdown(socket.SHUT_WR)
        self.assertRegex(read_all(sock), rb"\r\n451 [^\r]*\r\n$")
        self.works()
        self.assertEqual(len(self.arrived()), before)

    def test_programs_that_die_in_mid_session_lose_nothing_and_take_none_with_them(self):
        done, accepted = threading.Event(), []

        def client(number):
            count = 0
            while not done.is_set():
                count += 1
                tag = b"%d-%d" % (number, count)
                text = b"Subject: T" + tag + b"\r\n\r\n" + b"x" * 70 * (number == 0) + b"line\r\n" * (100000 if number == 0 else 3)
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.host.port), PATIENCE) as sock:
                    sock.sendall(HELLO + ENVELOPE + b"DATA\r\n" + text + b".\r\nQUIT\r\n")
                    if b"queued as" in read_all(sock):
                        accepted.append(tag)

        threads = [threading.Thread(target=client, args=(n,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for name in ("route", "qmgr", "dns", "local", "auth", "qmgr", "dns", "route"):
            time.sleep(0.6)
            self.kill(name)
        time.sleep(1.5)
        with contextlib.suppress(AssertionError):
            wait_for(lambda: len(accepted) > 10, PATIENCE)
        done.set()
        for thread in threads:
            thread.join()
        wait_for(lambda: "queue is empty" in self.host.tool("mailq").stdout, 2 * PATIENCE)  # qmgr may yet come back
        arrived = {}
        for message in self.host.messages("alice"):
            tag = re.search(rb"(?m)^Subject: T(\S+)$", message)
            if tag:
                arrived[tag.group(1)] = message.count(b"line\n")
        self.assertGreater(len(accepted), 10)
        self.assertFalse([tag for tag in accepted if tag not in arrived])
        self.assertEqual({lines for tag, lines in arrived.items() if tag.startswith(b"0-")} - {100000}, set())

    def test_an_alias_map_that_is_replaced_under_traffic(self):
        done, codes = threading.Event(), set()

        def client():
            while not done.is_set():
                codes.add(self.last(b"MAIL FROM:<>\r\nRCPT TO:<postmaster@local.example>\r\n")[:3])

        thread = threading.Thread(target=client)
        thread.start()
        for n in range(30):
            self.host._aliases("postmaster: %s@%s\n" % ("bob" if n % 2 else "alice", DOMAIN) + "".join("a%d: alice\n" % i for i in range(n)))
        done.set()
        thread.join()
        self.assertEqual(codes, {b"250"})


@unittest.skipUnless(AS_ROOT, "to be another user takes root")
class User(Case):
    """An ordinary user of the host at the UNIX sockets."""

    options = dict(settings="limit { sessions = 60 }", routes={"*": "smtp:[127.0.0.1]:9"}, relay_from=("127.0.0.0/8",))

    @contextlib.contextmanager
    def as_user(self):
        os.setegid(NOBODY)
        os.seteuid(NOBODY)
        try:
            yield
        finally:
            os.seteuid(0)
            os.setegid(0)

    def sockets(self, name, count):
        found = []
        with self.as_user(), contextlib.suppress(OSError):
            for _ in range(count):
                sock = socket.socket(socket.AF_UNIX)
                self.addCleanup(sock.close)
                sock.settimeout(PATIENCE)
                sock.connect(self.host.path("run", name))
                found.append(sock)
        return found

    def test_submissions_without_end_leave_room_for_the_network(self):
        socks = self.sockets("submit", 200)
        time.sleep(0.3)
        self.assertGreater(len(socks), 50)
        self.works()
        for sock in socks:
            sock.close()
        wait_for(lambda: any(s.recv(3) == b"220" for s in self.sockets("submit", 1)))

    def test_listings_that_nobody_reads_are_bounded_and_the_administrator_gets_in(self):
        with self.host.smtp() as client:
            for _ in range(40):
                client.sendmail("a" * 60 + "@client.example", ["u%d@other.example" % i for i in range(20)], b"Subject: x\r\n\r\nx\r\n")
        socks = self.sockets("queue", 120)
        before = resident(self.first["qmgr"])
        flood = frames.encode("LIST", 1) * 2000
        for sock in socks:
            sock.setblocking(False)
            with contextlib.suppress(OSError):
                sock.send(flood)
        time.sleep(1)
        listing = self.host.tool("mailq", timeout=PATIENCE)
        self.assertEqual(listing.returncode, 0, listing.stderr)
        if "asan" not in self.host.variant:  # which keeps what was freed
            self.assertLess(resident(self.first["qmgr"]) - before, 200000)

    def test_garbage_and_half_frames(self):
        for n in range(150):
            for sock in self.sockets("queue", 1):
                octets = os.urandom(1 + n * 7) if n % 2 else struct.pack("<IHHI", 4 << 20, 70, 0, 1) + b"x" * n
                with contextlib.suppress(OSError):
                    sock.sendall(octets)
                if n % 2 == 0:  # numbers alone are never 4 MiB long: it is not gathered, but refused
                    with contextlib.suppress(ConnectionError):
                        self.assertEqual(sock.recv(1), b"")
                sock.close()
        self.assertEqual(self.host.tool("mailq").returncode, 0)

    def test_what_only_an_administrator_may(self):
        with self.host.smtp() as client:
            client.sendmail("a@client.example", ["u@other.example"], b"Subject: secret\r\n\r\nx\r\n")
        wait_for(lambda: "bob@" not in self.host.queue())  # another test's
        ids = re.findall(r"(?m)^(\w{12})\b", self.host.queue())
        (sock,) = self.sockets("queue", 1)
        sock.settimeout(None)
        user = frames.Channel(sock)
        id = user.ask("LIST").entries[0].id
        self.assertEqual(user.ask("SHOW", id=id).code, 550)
        for kind in range(0, frames.ORDER_REROUTE + 2):
            self.assertEqual(user.ask("ORDER", kind=kind, id=id, priority=frames.PRIORITY_HIGH).code, 550)
            self.assertEqual(user.ask("ORDER", kind=kind, site="127.0.0.1").code, 550)
        self.assertEqual({e.held for e in user.ask("LIST").entries}, {0})
        self.assertGreater(len(user.ask("SITES").sites), 0)
        self.assertEqual(user.ask("SITES", more=1).sites, [])
        self.assertEqual(re.findall(r"(?m)^(\w{12})\b", self.host.queue()), ids)


if __name__ == "__main__":
    unittest.main()
