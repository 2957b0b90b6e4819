"""Peers that speak for others: HAProxy's PROXY protocol, by the real HAProxy and by hand; XCLIENT by swaks, XFORWARD by Debian's Postfix.
And LMTP, by Postfix, swaks, msmtp and Python."""
import os
import re
import signal
import smtplib
import socket
import ssl
import struct
import subprocess
import sys
import time
import unittest

from host import ROOT, Host, free_port, wait_for
from listening import Listener
from netns import needs_root
from world import World

ALICE = "alice@local.example"
HEALTH = "connect: client=unknown[127.0.0.1]"
V2 = b"\r\n\r\n\0\r\nQUIT\n"


def crc32c(octets):
    crc = 0xffffffff
    for octet in octets:
        crc ^= octet
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


def v2(client="192.0.2.7", command=0x21, family=0x11, tlvs=b"", addresses=None):
    if addresses is None:
        addresses = socket.inet_aton(client) + socket.inet_aton("198.51.100.1") + struct.pack(">HH", 40000, 25)
    return V2 + bytes([command, family]) + struct.pack(">H", len(addresses + tlvs)) + addresses + tlvs


class Client:
    """A connection that says what it is told, and hears whole replies."""

    def __init__(self, port, source="127.0.0.1"):
        self.sock = socket.create_connection(("127.0.0.1", port), 60, (source, 0))
        self.pending = b""

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.sock.close()

    def send(self, octets):
        self.sock.sendall(octets.encode() if isinstance(octets, str) else octets)

    def hear(self):
        """One reply, all its lines; "" when the connection has ended."""
        lines = []
        while True:
            while b"\n" not in self.pending:
                try:
                    more = self.sock.recv(65536)
                except ConnectionResetError:
                    more = b""
                if not more:
                    return ""
                self.pending += more
            line, _, self.pending = self.pending.partition(b"\n")
            lines.append(line.decode().rstrip("\r"))
            if lines[-1][3:4] == " ":
                return "\n".join(lines)

    def say(self, line):
        self.send(line + "\r\n")
        return self.hear()

    def silent(self, seconds=0.3):
        self.sock.settimeout(seconds)
        try:
            return self.sock.recv(1) is None
        except socket.timeout:
            return True
        finally:
            self.sock.settimeout(60)

    def mail(self, *recipients, sender="x@client.example", text="Subject: x\r\n\r\nx\r\n"):
        """The replies to the recipients, and to the end of the text."""
        replies = [self.say("MAIL FROM:<%s>" % sender)] + [self.say("RCPT TO:<%s>" % r) for r in recipients]
        if any(r.startswith("250") for r in replies[1:]):
            replies.append(self.say("DATA"))
            self.send(text + ".\r\n")
            replies.append(self.hear())
        return replies


def has_done_all(pid, sock):
    """That process has read what was sent by `sock`, and sleeps: its turn is over, and what it had to say to others has left."""
    ours, theirs = (":%04X" % name[1] for name in (sock.getsockname(), sock.getpeername()))
    with open("/proc/net/tcp", encoding="ascii") as f:
        waiting = [line[4].partition(":")[2] for line in map(str.split, f) if line[1].endswith(theirs) and line[2].endswith(ours)]
    with open("/proc/%d/stat" % pid, encoding="ascii") as f:
        return waiting == ["00000000"] and f.read().rsplit(")", 1)[1].split()[0] == "S"


class ProxyByHand(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.port, cls.tls_port = free_port(), free_port()
        proxied = "address = \"127.0.0.1\" proxy = yes proxy_from = { \"127.0.0.1\" } port = "
        cls.host = Host(relay_from=("127.0.0.0/8", "192.0.2.8"), settings="smtpd_processes = 1\ndns { client_names = no }\nlimit { sessions_client = 2 sessions = 40 }",
                        listeners={"proxied": proxied + str(cls.port), "proxied-tls": proxied + "%d tls = implicit" % cls.tls_port}).__enter__()

    @classmethod
    def tearDownClass(cls):
        cls.host.close()

    def refused(self, header, reason):
        before = self.host.log().count(reason)
        with Client(self.port) as c:
            c.send(header)
            self.assertEqual(c.hear(), "")
        wait_for(lambda: re.search(r"reject: command=proxy peer=127\.0\.0\.1 reason=\"[^\"]*%s" % re.escape(reason), self.host.log()) and self.host.log().count(reason) > before)

    def test_nothing_is_said_before_the_header(self):
        with Client(self.port) as c:
            self.assertTrue(c.silent())
            c.send("PROXY TCP4 192.0.2.7 ")
            self.assertTrue(c.silent())
            c.send("198.51.100.1 40000 25\r\nEHLO x\r\n")
            self.assertRegex(c.hear(), "^220 ")
            self.assertRegex(c.hear(), "^250-")
            self.assertRegex(c.mail(ALICE)[-1], "^250")
        self.host.wait_log(r"client=\"?unknown\[192\.0\.2\.7\]\"? peer=127\.0\.0\.1 ")

    def test_octet_by_octet(self):
        with Client(self.port) as c:
            c.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for octet in v2("192.0.2.9", tlvs=b"\x20\0\x05\x01\0\0\0\0"):
                c.send(bytes([octet]))
            self.assertRegex(c.hear(), "^220 ")
            self.assertRegex(c.say("HELO x"), "^250")
            self.assertIn("Relay", c.mail("x@elsewhere.example")[-1])
        self.host.wait_log(r"reject: command=RCPT client=\"?unknown\[192\.0\.2\.9\]\"? peer=127\.0\.0\.1")

    def test_who_may_relay_is_the_client(self):
        """and not the proxy, though it is in relay_from"""
        for client, code in (("192.0.2.8", "250"), ("192.0.2.7", "554")):
            with Client(self.port) as c:
                c.send(v2(client))
                c.hear()
                c.say("EHLO x")
                self.assertEqual(c.mail("x@elsewhere.example")[1][:3], code)

    def test_the_proxys_own_connection_brings_no_mail(self):
        unix = b"/run/x".ljust(216, b"\0")
        for header in (b"PROXY UNKNOWN\r\n", b"PROXY UNKNOWN 192.0.2.8 192.0.2.1 1 2\r\n", v2(command=0x20), v2(command=0x20, family=0, addresses=b""),
                       v2(family=0, addresses=b""), v2(family=0x31, addresses=unix)):
            with self.subTest(header), Client(self.port) as c:
                c.send(header)
                self.assertRegex(c.hear(), "^220 ")
                self.assertRegex(c.say("EHLO x"), "^250")
                self.assertRegex(c.say("MAIL FROM:<x@client.example>"), "^550 5.7.0")
                self.assertRegex(c.say("QUIT"), "^221")

    def test_what_is_no_header_ends_the_connection(self):
        self.refused(b"EHLO client.example\r\n", "no PROXY header")
        self.refused(b"\x16\x03\x01\x02\x00", "no PROXY header")
        self.refused(b"PROXY TCP4 192.0.2.300 192.0.2.1 1 2\r\n", "can't be")
        self.refused(b"PROXY UNKNOWN " + b"x" * 200 + b"\r\n", "more than 107 octets")
        self.refused(v2(family=0x12), "not TCP")
        self.refused(V2 + b"\x21\x11\xff\xff", "too long")
        self.refused(v2(tlvs=b"\x04\x00\x09x"), "TLV that reaches")
        good = v2(tlvs=b"\x03\0\x04" + bytes(4))
        self.refused(good[:-4] + struct.pack(">I", crc32c(good) ^ 1), "checksum")
        with Client(self.port) as c:
            c.send(good[:-4] + struct.pack(">I", crc32c(good)))
            self.assertRegex(c.hear(), "^220 ")

    def test_a_header_that_does_not_come(self):
        began = time.monotonic()
        with Client(self.port) as c:
            c.send(b"PROXY TCP4 ")
            self.assertEqual(c.hear(), "")
        self.assertTrue(4 < time.monotonic() - began < 40)
        self.host.wait_log("reject: command=proxy .*no whole PROXY header in time")

    def test_who_is_not_listed_is_turned_away(self):
        with Client(self.port, "127.0.0.2") as c:
            c.send(v2("192.0.2.8"))
            self.assertRegex(c.hear(), "^421 4.7.0 .*for proxies")
            self.assertEqual(c.hear(), "")
        self.host.wait_log(r"reject: command=connect client=127\.0\.0\.2 reason=\"this port is for proxies\" rule=\"listener { proxy_from }\"")

    def test_sessions_are_counted_by_client(self):
        clients = [Client(self.port) for _ in range(4)]
        replies = []
        for i, c in enumerate(clients):
            c.send("PROXY TCP4 203.0.113.%d 192.0.2.1 1 2\r\n" % (5 if i < 3 else 6))
            replies.append(c.hear()[:3])
        self.assertEqual(replies, ["220", "220", "421", "220"])
        for c in clients:
            c.sock.close()

    def test_connections_without_a_header_are_counted_as_sessions(self):
        clients = [Client(self.port) for _ in range(45)]
        self.assertRegex(clients[-1].hear(), "^421 .*too many sessions")
        for c in clients:
            c.sock.close()

        def again():
            with Client(self.port) as c:
                c.send(v2())
                return c.hear().startswith("220")
        wait_for(again)

    def test_the_header_comes_before_tls(self):
        """in one piece with the first octets of TLS"""
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = self.host.tls_context()
        tls = context.wrap_bio(incoming, outgoing)
        with Client(self.tls_port) as c:
            try:
                tls.do_handshake()
            except ssl.SSLWantReadError:
                pass
            c.send(v2("192.0.2.7") + outgoing.read())
            while True:
                try:
                    greeting = tls.read(1000) if tls.version() else tls.do_handshake()
                    if greeting:
                        break
                except ssl.SSLWantReadError:
                    c.send(outgoing.read())
                    more = c.sock.recv(65536)
                    self.assertTrue(more)
                    incoming.write(more)
            self.assertTrue(greeting.startswith(b"220 "))


@needs_root
class ProxyHAProxy(unittest.TestCase):
    """The real HAProxy before us, by both versions, for clients of both families; it looks whether we are well."""

    @classmethod
    def setUpClass(cls):
        cls.world = cls.enterClassContext(World())
        proxied = "address = \"127.0.0.1\" proxy = yes proxy_from = { \"127.0.0.1\" } port = "
        cls.host = cls.world.postino("dns { client_names = no }", relay_from=("127.0.0.0/8", "192.0.2.8", "2001:db8::8"), listeners={"mx": proxied + "2025", "submissions": proxied + "2465 tls = implicit auth = may"})
        config = cls.host.path("haproxy.cfg")
        with open(config, "w") as f:
            f.write("defaults\n mode tcp\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n timeout check 60s\n")
            for name, port, server, options in (("one", 25, 2025, "send-proxy"), ("two", 26, 2025, "send-proxy-v2 proxy-v2-options crc32c,unique-id"),
                                                ("tls", 465, 2465, "send-proxy-v2")):
                f.write("listen %s\n bind 192.0.2.1:%d\n bind [2001:db8::1]:%d\n%s unique-id-format %%{+X}o%%ci-%%ts\n server postino 127.0.0.1:%d %s%s\n" % (
                    name, port, port, "" if name == "tls" else " option smtpchk EHLO haproxy.example\n", server, options, "" if name == "tls" else " check check-send-proxy inter 500ms"))
        with open(cls.host.path("haproxy.log"), "w") as log:
            cls.world.start("haproxy", "-db", "-f", config, where=cls.world.near, stdout=subprocess.DEVNULL, stderr=log)
        wait_for(lambda: cls.swaks("192.0.2.2", 25, "--quit-after", "BANNER").returncode == 0)

    @classmethod
    def swaks(cls, source, port, *more):
        server = "2001:db8::1" if ":" in source else "192.0.2.1"
        return cls.world.swaks("--server", server, "--port", str(port), "--local-interface", source, "--from", "x@client.example", "--helo", "client.example", *more)

    def test_both_versions_and_families(self):
        for port in (25, 26, 465):
            for source in ("192.0.2.3", "2001:db8::3"):
                with self.subTest(port=port, source=source):
                    body = "by %d from %s" % (port, source)
                    done = self.swaks(source, port, "--to", ALICE, "--body", body, *(["--tls-on-connect"] if port == 465 else []))
                    self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
                    wait_for(lambda: any(body.encode() in m for m in self.host.messages("alice")))
                    message = [m for m in self.host.messages("alice") if body.encode() in m][0]
                    literal = "[IPv6:%s]" % source if ":" in source else "[%s]" % source
                    self.assertIn(("from client.example (unknown %s)" % literal).encode(), message)
                    self.host.wait_log(r"client=\"?unknown\[%s\]\"? peer=127\.0\.0\.1 helo=client\.example" % re.escape(source))

    def test_relaying_is_for_the_client_to_be_allowed(self):
        for source, good in (("192.0.2.8", True), ("192.0.2.3", False), ("2001:db8::8", True), ("2001:db8::3", False)):
            for port in (25, 26):
                done = self.swaks(source, port, "--to", "x@elsewhere.example", "--quit-after", "RCPT")
                self.assertEqual(done.returncode == 0, good, (source, port, done.stdout))

    def test_haproxy_finds_us_well(self):
        checks = self.host.log().count(HEALTH)
        wait_for(lambda: self.host.log().count(HEALTH) > checks + 10, 60)
        with open(self.host.path("haproxy.log")) as f:
            self.assertNotIn("DOWN", f.read())
        self.assertEqual(self.swaks("192.0.2.3", 25, "--quit-after", "EHLO").returncode, 0)


class Xclient(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.host = Host(relay_from=("192.0.2.8",))
        table = cls.host.path("clients")
        with open(table, "w") as f:
            f.write("203.0.113.0/24 REJECT not from there\n")
        cls.host.configure(relay_from=("192.0.2.8",), listeners={"smtp": "port = %d address = \"127.0.0.1\" auth = may" % cls.host.port}, settings="xclient_from = { \"127.0.0.1\" }\nxforward_from = { \"127.0.0.1\" }\nsmtpd_processes = 1\ndns { client_names = no }\n"
                           "access = { \"check_client_access cidr:%s\" }\nlimit { sessions_client = 2 }\nauth { failures_address = 3 }\nsmtpd { auth_delay = 0 }" % table)
        os.chmod(table, 0o644)
        cls.host.start()

    @classmethod
    def tearDownClass(cls):
        cls.host.close()

    def swaks(self, *more):
        return subprocess.run(["swaks", "--server", "127.0.0.1", "--port", str(self.host.port), "--from", "x@client.example", "--helo", "proxy.example"] + list(more),
                              capture_output=True, text=True, timeout=60)

    def test_swaks(self):
        done = self.swaks("--to", ALICE, "--xclient", "ADDR=192.0.2.3 NAME=spike.example", "--body", "by xclient")
        self.assertEqual(done.returncode, 0, done.stdout)
        wait_for(lambda: any(b"by xclient" in m for m in self.host.messages("alice")))
        message = [m for m in self.host.messages("alice") if b"by xclient" in m][0]
        self.assertIn(b"from proxy.example (spike.example [192.0.2.3])", message)
        self.host.wait_log(r"xclient: client=\"?spike\.example\[192\.0\.2\.3\]\"? peer=127\.0\.0\.1 ")
        self.host.wait_log(r": client=\"?spike\.example\[192\.0\.2\.3\]\"? peer=127\.0\.0\.1 helo=proxy\.example from=\"?<x@client\.example>")

    def test_rules_and_relaying_are_for_the_client(self):
        for address, to, words in (("203.0.113.9", ALICE, "554.*not from there"), ("192.0.2.3", "x@elsewhere.example", "554.*Relay"), ("192.0.2.8", "x@elsewhere.example", "250 2.1.5")):
            done = self.swaks("--to", to, "--xclient-addr", address, "--quit-after", "RCPT")
            self.assertRegex(done.stdout, words)

    def test_ipv6(self):
        with Client(self.host.port) as c:
            c.hear()
            c.say("EHLO x")
            self.assertRegex(c.say("XCLIENT ADDR=IPV6:2001:db8::7 NAME=[UNAVAILABLE] HELO=six.example PROTO=ESMTP"), "^220 ")
            self.assertRegex(c.mail(ALICE, text="Subject: six\r\n\r\nby six\r\n")[-1], "^250")
        wait_for(lambda: any(b"by six" in m for m in self.host.messages("alice")))
        self.assertIn(b"from six.example (unknown [IPv6:2001:db8::7])", [m for m in self.host.messages("alice") if b"by six" in m][0])

    def test_others_may_not(self):
        with Client(self.host.port, "127.0.0.2") as c:
            c.hear()
            self.assertNotIn("XCLIENT", c.say("EHLO x"))
            self.assertRegex(c.say("XCLIENT ADDR=192.0.2.8"), "^550 5.7.0")
            self.assertRegex(c.say("XFORWARD ADDR=192.0.2.8"), "^550 5.7.0")
            self.assertIn("Relay", c.mail("x@elsewhere.example")[-1])
        self.host.wait_log(r"reject: command=XCLIENT client=\"?unknown\[127\.0\.0\.2\]")

    def test_sessions_are_counted_by_client(self):
        clients, replies = [Client(self.host.port, "127.0.0.1") for _ in range(2)], []
        for _ in range(4):
            c = Client(self.host.port)
            if not c.hear().startswith("220"):
                c.sock.close()
                break
            replies.append(c)
        self.assertEqual(len(replies), 0)  # two of the peer's own, and no more
        told = []
        for c in clients:
            c.hear()
            told.append(c.say("XCLIENT ADDR=192.0.2.99")[:3])
        third = Client(self.host.port)  # as those two are another's now
        self.assertRegex(third.hear(), "^220")
        told.append(third.say("XCLIENT ADDR=192.0.2.99")[:3])
        self.assertEqual(told, ["220", "220", "421"])
        for c in clients + [third]:
            c.sock.close()

    def test_failed_logins_are_the_clients(self):
        """four wrong passwords of one told client refuse that one, and no other"""
        def login(address):
            with Client(self.host.port) as c:
                c.hear()
                c.say("EHLO x")
                self.assertRegex(c.say("STARTTLS"), "^220")
                c.sock = self.host.tls_context().wrap_socket(c.sock)
                c.say("EHLO x")
                self.assertRegex(c.say("XCLIENT ADDR=" + address), "^220")
                c.say("EHLO x")
                return c.say("AUTH PLAIN AGFsaWNlAHdyb25n")[:3]
        replies = [login("192.0.2.50") for _ in range(6)]
        self.assertEqual(replies[:3], ["535"] * 3)
        self.assertEqual(replies[-1], "421")
        self.assertEqual(login("198.51.100.50"), "535")

    @unittest.skipUnless(os.geteuid() == 0, "Postfix needs root")
    def test_postfix_tells_the_log_by_xforward(self):
        sys.path.insert(0, os.path.join(ROOT, "tests", "conformance"))
        import servers
        with servers.Postfix(relayhost="[127.0.0.1]:%d" % self.host.port, mydestination="", virtual_mailbox_domains="", smtp_send_xforward_command="yes",
                             smtpd_authorized_xclient_hosts="127.0.0.1") as postfix:
            done = subprocess.run(["swaks", "--server", "127.0.0.1", "--port", str(postfix.port), "--from", "x@client.example", "--to", ALICE, "--helo", "proxy.example",
                                   "--body", "by postfix"], capture_output=True, text=True, timeout=60)
            self.assertEqual(done.returncode, 0, done.stdout)
            queued = re.search(r"queued as (\w+)", done.stdout).group(1)
            wait_for(lambda: any(b"by postfix" in m for m in self.host.messages("alice")), 60)
        self.host.wait_log(r"client=\"?unknown\[127\.0\.0\.1\].* orig_client=\S*127\.0\.0\.1\].* orig_helo=proxy\.example orig_proto=ESMTP orig_id=%s" % queued)


class Strangers(unittest.TestCase):
    """The limits of client { } and the greeting's delay are for the client who is meant, and not for who speaks for him."""

    @classmethod
    def setUpClass(cls):
        cls.host, cls.proxied = Host(), free_port()
        cls.host.configure(relay_from=(), listeners={"smtp": "port = %d address = \"127.0.0.1\"" % cls.host.port, "proxied": "address = \"127.0.0.1\" proxy = yes proxy_from = { \"127.0.0.1\" } port = %d" % cls.proxied},
                           settings="xclient_from = { \"127.0.0.1\" }\ndns { client_names = no }\nclient { connections = 2 exempt = { \"127.0.0.1\" } }\nsmtpd { greet_delay = 5s greet_action = enforce }")
        cls.host.start()

    @classmethod
    def tearDownClass(cls):
        cls.host.close()

    def test_xclient(self):
        replies = []
        for address in ("192.0.2.70",) * 3 + ("192.0.2.71",):
            with Client(self.host.port) as c:
                self.assertRegex(c.hear(), "^220 ")  # at once: the peer is exempt
                c.say("EHLO x")
                replies.append(c.say("XCLIENT ADDR=" + address)[:3])
                if replies[-1] == "421":
                    self.assertEqual(c.hear(), "")
        self.assertEqual(replies, ["220", "220", "421", "220"])
        self.host.wait_log(r"reject: command=connect client=\S*\[192\.0\.2\.70\]\S* peer=127\.0\.0\.1 .*rule=")

    def test_proxy(self):
        replies, waits = [], []
        for address in ("203.0.113.70",) * 3 + ("198.51.100.71",):
            with Client(self.proxied) as c:
                c.send(v2(address))
                began = time.monotonic()
                replies.append(c.hear()[:3])
                waits.append(time.monotonic() - began > 4)
        self.assertEqual(replies, ["220", "220", "421", "220"])
        self.assertEqual(waits, [True, False, False, True])  # once for each

    def test_who_speaks_early_behind_a_proxy(self):
        with Client(self.proxied) as c:
            c.send(v2("198.51.100.200") + b"EHLO x\r\n")
            self.assertRegex(c.hear(), "^220-")
            self.assertRegex(c.hear(), "^250")
            self.assertIn("550 5.5.1", c.mail(ALICE)[1])
        self.host.wait_log(r"pregreet: client=\S*\[198\.51\.100\.200\]")


class Lmtp(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.host = Host(mailboxes=("alice", "bob", "carol"), relay_from=("127.0.0.9",))
        cls.lmtp_port, cls.socket = free_port(), cls.host.path("lmtp")
        cls.listeners = {"smtp": "port = %d address = \"127.0.0.1\"" % cls.host.port, "lmtp": "port = %d address = \"127.0.0.1\" protocol = lmtp" % cls.lmtp_port,
                         "local-lmtp": "protocol = lmtp socket = \"%s\"" % cls.socket}
        cls.host.configure(relay_from=("127.0.0.9",), listeners=cls.listeners, settings="smtpd_processes = 1\ndns { client_names = no }\naccess = { \"reject_non_fqdn_helo_hostname\" }")
        cls.host.start()

    @classmethod
    def tearDownClass(cls):
        cls.host.close()

    def wait_for_mail(self, mark, *names):
        for name in names:
            wait_for(lambda: any(mark in m for m in self.host.messages(name)), 60)
        return [m for m in self.host.messages(names[0]) if mark in m][0]

    def test_a_reply_for_each_recipient(self):
        for where in (self.lmtp_port, self.socket):
            mark = b"to each by %d" % (where == self.socket)
            with smtplib.LMTP(where if isinstance(where, str) else "127.0.0.1", 0 if isinstance(where, str) else where, "client.example") as client:
                client.ehlo_or_helo_if_needed()
                client.mail("x@client.example")
                codes = [client.rcpt(name + "@local.example")[0] for name in ("alice", "nobody", "bob", "alice")]
                self.assertEqual(codes, [250, 550, 250, 250])
                code, words = client.data(b"Subject: x\r\n\r\n" + mark + b"\r\n")
                self.assertEqual(code, 250)
                for _ in range(2):  # and two more
                    self.assertEqual(client.getreply()[0], 250)
                self.assertEqual(client.docmd("NOOP")[0], 250)
            message = self.wait_for_mail(mark, "alice", "bob")
            self.assertEqual(sum(mark in m for m in self.host.messages("alice")), 1)
            self.assertRegex(message.replace(b"\n\t", b" "), rb"Received: from client\.example \((userid \d+|unknown \[127\.0\.0\.1\])\) by \S+ \(Postino\) with LMTP id ")
        self.host.wait_log(r"client=\"local\[uid %d\]\" helo=client\.example .* proto=LMTP" % os.geteuid())

    def test_nobody_relays_who_is_not_listed(self):
        for where, source, code in ((self.lmtp_port, "127.0.0.1", "554"), (self.lmtp_port, "127.0.0.9", "250")):
            with Client(where, source) as c:
                c.hear()
                c.say("LHLO client.example")
                self.assertEqual(c.mail("x@elsewhere.example")[1][:3], code)
        with smtplib.LMTP(self.socket, local_hostname="x") as client:
            client.ehlo_or_helo_if_needed()
            self.assertEqual(client.mail("")[0], 250)  # and no rules: its HELO has no dot
            self.assertEqual(client.rcpt("x@elsewhere.example")[0], 554)
            self.assertEqual(client.rcpt("alice")[0], 501)
            self.assertEqual(client.rcpt(ALICE)[0], 250)

    def test_rules_are_for_clients_of_the_network(self):
        with Client(self.lmtp_port) as c:
            c.hear()
            c.say("LHLO x")
            self.assertRegex(c.mail(ALICE)[1], "^504 ")

    def test_each_hears_that_it_is_not_stored(self):
        """nothing is said before the commit, and then the same to all"""
        with Client(self.lmtp_port) as c:
            c.hear()
            c.say("LHLO client.example")
            for line in ("MAIL FROM:<x@client.example>", "RCPT TO:<%s>" % ALICE, "RCPT TO:<bob@local.example>"):
                self.assertRegex(c.say(line), "^250")
            self.assertRegex(c.say("DATA"), "^354")
            qmgr = self.host.pid_of("qmgr")
            os.kill(qmgr, signal.SIGSTOP)
            c.send("Subject: x\r\n\r\nlost\r\n.\r\n")
            wait_for(lambda: has_done_all(self.host.pid_of("smtpd"), c.sock))
            self.assertTrue(c.silent(1))
            os.kill(qmgr, signal.SIGKILL)
            self.assertRegex(c.hear(), "^451")
            self.assertRegex(c.hear(), "^451")
            self.assertRegex(c.say("NOOP"), "^250")

    def test_swaks(self):
        for where in (["--server", "127.0.0.1", "--port", str(self.lmtp_port)], ["--socket", self.socket]):
            done = subprocess.run(["swaks", "--protocol", "LMTP", "--from", "x@client.example", "--to", ALICE, "--helo", "swaks.example", "--body", "by swaks %s" % where[0]] + where,
                                  capture_output=True, text=True, timeout=60)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.wait_for_mail(b"by swaks %s" % where[0].encode(), "alice")

    def test_msmtp(self):
        done = subprocess.run(["msmtp", "--file=/dev/null", "--protocol=lmtp", "--host=127.0.0.1", "--port=%d" % self.lmtp_port, "--domain=msmtp.example", "--from=x@client.example",
                               ALICE, "carol@local.example"], input="Subject: x\n\nby msmtp\n", capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.wait_for_mail(b"by msmtp", "alice", "carol")

    @unittest.skipUnless(os.geteuid() == 0, "Postfix needs root")
    def test_postfix_delivers_to_us(self):
        sys.path.insert(0, os.path.join(ROOT, "tests", "conformance"))
        import servers
        for number, where in enumerate(("lmtp:unix:" + self.socket, "lmtp:inet:127.0.0.1:%d" % self.lmtp_port)):
            recipients = "inline:{%s}" % ", ".join("%s@local.example=x" % name for name in ("alice", "bob", "carol", "nobody"))
            postfix = servers.Postfix(virtual_transport=where, virtual_mailbox_maps=recipients, virtual_alias_maps="", lmtp_destination_recipient_limit="50")
            with open(postfix.path("etc", "master.cf"), "a") as f:  # its LMTP client, which its minimal master.cf lacks
                f.write("lmtp unix - - n - - lmtp\n")
            with postfix:
                body = "by postfix %d" % number
                done = subprocess.run(["swaks", "--server", "127.0.0.1", "--port", str(postfix.port), "--from", "x@client.example", "--helo", "client.example", "--body", body,
                                       "--to", "alice@local.example,bob@local.example,carol@local.example,nobody@local.example"], capture_output=True, text=True, timeout=60)
                self.assertEqual(done.returncode, 0, done.stdout)
                message = self.wait_for_mail(body.encode(), "alice", "bob", "carol")
                self.assertIn(b" with LMTP id ", message.replace(b"\n\t", b" "))
        self.host.wait_log(r"proto=LMTP")
        self.assertEqual(sum(b"by postfix 0" in m for m in self.host.messages("bob")), 1)

    def test_the_socket_comes_and_goes_with_reloads(self):
        self.assertTrue(os.path.exists(self.socket))
        other = self.host.path("other")
        without = dict(self.listeners)
        without["local-lmtp"] = "protocol = lmtp socket = \"%s\"" % other
        self.host.configure(relay_from=(), listeners=without)
        generation = self.host.log().count("reloaded: ")
        self.host.reload()
        wait_for(lambda: self.host.log().count("reloaded: ") > generation)
        self.assertFalse(os.path.exists(self.socket))
        smtplib.LMTP(other).quit()
        self.host.configure(relay_from=("127.0.0.9",), listeners=self.listeners, settings="smtpd_processes = 1\ndns { client_names = no }\naccess = { \"reject_non_fqdn_helo_hostname\" }")
        self.host.reload()
        wait_for(lambda: self.host.log().count("reloaded: ") > generation + 1)
        smtplib.LMTP(self.socket).quit()

    def test_a_socket_of_another_program_is_left_alone(self):
        path = self.host.path("taken")
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(path)
            s.listen(5)
            other = Host()
            try:
                other.configure(listeners={"lmtp": "protocol = lmtp socket = \"%s\"" % path})
                with self.assertRaisesRegex(AssertionError, "Address already in use"):
                    other.start()
            finally:
                other.close()
            self.assertTrue(os.path.exists(path))


class PolicyOverInet(unittest.TestCase):
    """check_policy_service inet: with the real postgrey and postfwd."""

    def setUp(self):
        self.host = Host(relay_from=())
        self.addCleanup(self.host.close)
        self.where = self.host.path("service")
        os.mkdir(self.where)
        os.chmod(self.where, 0o777)

    def start(self, *services, timeout="60s"):
        self.host.configure(relay_from=(), settings="access = { %s }\ndns { client_names = no }\npolicy { timeout = %s }" % (
            ", ".join("\"check_policy_service inet:%s\"" % s for s in services), timeout))
        self.host.start()

    def service(self, *command):
        log = open(os.path.join(self.where, "log"), "w")
        self.addCleanup(log.close)
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)

        def end():
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(10)
        self.addCleanup(end)
        return process

    def listens(self, port, family=socket.AF_INET):
        def up():
            with socket.socket(family) as s:
                return s.connect_ex(("::1" if family == socket.AF_INET6 else "127.0.0.1", port)) == 0
        wait_for(up, 60)

    def rcpt(self, sender="x@client.example"):
        with Client(self.host.port) as c:
            c.hear()
            c.say("EHLO client.example")
            return c.mail(ALICE, sender=sender)

    @unittest.skipUnless(os.geteuid() == 0, "postgrey changes its user")
    def test_postgrey(self):
        port, none = free_port(), os.path.join(self.where, "none")
        open(none, "w").close()
        self.service("postgrey", "--inet=127.0.0.1:%d" % port, "--dbdir=" + self.where, "--user=nobody", "--group=nogroup", "--delay=2", "--whitelist-clients=" + none,
                     "--whitelist-recipients=" + none)
        self.listens(port)
        self.start("127.0.0.1:%d" % port)
        self.assertRegex(self.rcpt()[1], "^450 4.7.1 .*Greylisted")
        time.sleep(2.5)
        self.assertRegex(self.rcpt()[-1], "^250 .*queued")
        wait_for(lambda: any(b"X-Greylist: delayed" in m for m in self.host.messages("alice")))

    @unittest.skipUnless(os.geteuid() == 0, "postfwd changes its user")
    def test_postfwd(self):
        port, pid = free_port(), os.path.join(self.where, "pid")
        subprocess.run(["postfwd1", "--daemon", "--interface=127.0.0.1", "--port=%d" % port, "--user=nobody", "--group=nogroup", "--pidfile=" + pid, "--nodns",
                        "--rule=id=one; sender=~^bad@; action=REJECT not you, $$client_address", "--rule=id=two; action=DUNNO"], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, timeout=60)
        self.listens(port)
        with open(wait_for(lambda: os.path.exists(pid) and os.stat(pid).st_size and pid)) as f:
            self.addCleanup(os.kill, int(f.read()), signal.SIGTERM)
        self.start("127.0.0.1:%d" % port)
        self.assertRegex(self.rcpt("bad@client.example")[1], "^554 5.7.1 .*not you, 127.0.0.1")
        self.assertRegex(self.rcpt("good@client.example")[-1], "^250 .*queued")

    def test_ipv6_and_services_gone_wrong(self):
        answers = [b"action=DEFER_IF_PERMIT by six\n\n", b"", b"action=\x01\n\n", b"x" * 9000, None]
        left, held = list(answers), []

        def serve(connection):
            asked, answer = b"", left.pop(0)
            while not asked.endswith(b"\n\n"):
                more = connection.recv(65536)
                if not more:
                    break
                asked += more
            if answer is None:
                held.append(connection)
                return
            with connection:
                connection.sendall(answer if asked.endswith(b"\n\n") else b"action=REJECT half a request\n\n")
        listener = Listener(socket.create_server(("::1", 0), family=socket.AF_INET6), serve, together=False)
        self.addCleanup(lambda: [connection.close() for connection in held])
        self.addCleanup(listener.close)
        self.start("[::1]:%d" % listener.port, timeout="5s")
        self.assertRegex(self.rcpt()[1], "^450 4.7.1 .*by six")
        for _ in answers[1:]:
            self.assertRegex(self.rcpt()[1], "^451 4.3.5")
        for why in ("hung up without an answer", "has no action", "too long|reset", "no answer in time"):
            self.host.wait_log(r"policy service \[::1\]:\d+: .*(%s)" % why)

    def test_nobody_listens(self):
        self.start("127.0.0.1:%d" % free_port())
        self.assertRegex(self.rcpt()[1], "^451 4.3.5")
        self.host.wait_log("policy service 127.0.0.1:.*: Connection refused; the client gets 451")
        self.assertIsNotNone(self.host.pid_of("route"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
