"""TLS as clients see it, with the real programs: keys that are elsewhere, names, renewal, tickets, and a tlsmgr that is away or hostile."""
import os
import random
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import unittest

import frames
from driven import Driven
from host import VARIANT, Host, wait_for

PATIENCE = 60  # seconds that a test waits for what comes; the product's own times are shorter or far longer


def make(directory, name, names=None, key="ec", days=30, file=None):
    """A self-signed certificate: (certificate, key)."""
    stem = os.path.join(directory, file or name)
    kind = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"] if key == "ec" else ["-newkey", "rsa:2048"]
    subprocess.run(["openssl", "req", "-x509"] + kind + ["-nodes", "-days", str(days), "-subj", "/CN=" + name, "-addext",
                    "subjectAltName=" + ",".join("DNS:" + n for n in names or [name]), "-keyout", stem + ".key", "-out", stem + ".crt"],
                   check=True, stderr=subprocess.DEVNULL)
    os.chmod(stem + ".key", 0o600)
    return stem + ".crt", stem + ".key"


def context(most=None, ciphers=None, least=None):
    c = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    c.check_hostname, c.verify_mode = False, ssl.CERT_NONE
    c.maximum_version = most or ssl.TLSVersion.TLSv1_3
    if least:
        c.minimum_version = least
    if ciphers:
        c.set_ciphers(ciphers)
    return c


def connect(port, c=None, name=None, session=None):
    """An open TLS session over an implicit listener, behind its greeting."""
    s = (c or context()).wrap_socket(socket.create_connection(("127.0.0.1", port), PATIENCE), server_hostname=name, session=session)
    if not reply(s).startswith("220 "):
        raise AssertionError("no greeting")
    return s


def reply(s):
    """A whole one, or what came of it before the end."""
    got = b""
    while not re.search(rb"(?m)^\d{3} .*\r\n\Z", got):
        more = s.recv(4000)
        if not more:
            break
        got += more
    return got.decode()


def subject(s):
    der = s.getpeercert(True)
    text = subprocess.run(["openssl", "x509", "-inform", "DER", "-noout", "-subject", "-serial"], input=der, capture_output=True, check=True).stdout.decode()
    return re.search(r"CN ?= ?([^\s,]+)", text).group(1)


def say(s, line, code):
    s.sendall(line.encode() + b"\r\n")
    got = reply(s)
    if not got.startswith(str(code)):
        raise AssertionError("%s: %s" % (line, got))
    return got


def key_name(c, session):
    """The name of the ticket's key, in the ClientHello with which the session would be resumed (RFC 5077 3.2, 4)."""
    hello = client_hello(c, session=session)
    at, size = extension(hello, 35)
    assert size > 16, size
    return hello[at:at + 16]


def client_hello(c, name=None, session=None):
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    o = c.wrap_bio(incoming, outgoing, server_hostname=name, session=session)
    try:
        o.do_handshake()
    except ssl.SSLWantReadError:
        pass
    return outgoing.read()


def extensions(hello):
    """Where their length stands in a ClientHello, in its record (RFC 8446 4.1.2)."""
    suites = 44 + hello[43]
    compressions = suites + 2 + int.from_bytes(hello[suites:suites + 2], "big")
    return compressions + 1 + hello[compressions]


def extension(hello, wanted):
    """Where the content of an extension begins, and its size."""
    at = extensions(hello) + 2
    while at < len(hello):
        kind, size = int.from_bytes(hello[at:at + 2], "big"), int.from_bytes(hello[at + 2:at + 4], "big")
        if kind == wanted:
            return at + 4, size
        at += 4 + size
    raise AssertionError("no extension %d" % wanted)


class TLSHost(unittest.TestCase):
    """Hosts whose tls { } a test gives."""

    def setUp(self):
        self.keys = tempfile.mkdtemp(prefix="postino-test-keys.", dir="/var/tmp")
        os.chmod(self.keys, 0o711)
        self.addCleanup(shutil.rmtree, self.keys, True)

    def host(self, *pairs, tls="", settings="", **more):
        files = "tls { certificate = { %s } key = { %s } %s }\n" % (", ".join('"%s"' % c for c, k in pairs), ", ".join('"%s"' % k for c, k in pairs), tls)
        host = Host(tls=False, users=(), listeners={}, **more)
        listeners = {"smtp": "port = %d address = \"127.0.0.1\" tls = may" % host.port,
                     "submissions": "port = %d address = \"127.0.0.1\" tls = implicit" % host.submissions_port}
        host.configure(None, None, files + settings, ("127.0.0.0/8",), listeners)
        self.addCleanup(host.__exit__, None, None, None)
        return host.__enter__()


class Keys(TLSHost):
    @unittest.skipIf(VARIANT == "asan", "its memory is too large to look through")
    def test_smtpd_has_no_private_key_in_its_memory(self):
        """nor a descriptor of one; while tlsmgr has it"""
        cert, key = make(self.keys, "mx.example")
        text = subprocess.run(["openssl", "ec", "-in", key, "-noout", "-text"], capture_output=True, text=True, check=True).stdout
        secret = bytes.fromhex(re.sub(r"[^0-9a-f]", "", re.search(r"priv:(.*?)pub:", text, re.S).group(1)))[-32:]
        host = self.host((cert, key))
        for _ in range(4):
            connect(host.submissions_port).close()
        found = {}
        for pid, name in host.pids().items():
            found.setdefault(name, False)
            found[name] |= self.has(pid, secret) or self.has(pid, secret[::-1])
        self.assertTrue(found["tlsmgr"])
        self.assertFalse(found["smtpd"])

    @staticmethod
    def has(pid, secret):
        with open("/proc/%d/maps" % pid) as maps, open("/proc/%d/mem" % pid, "rb", 0) as mem:
            for line in maps:
                m = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw", line)
                if m:
                    first, last = (int(x, 16) for x in m.groups())
                    mem.seek(first)
                    try:
                        if secret in mem.read(last - first):
                            return True
                    except OSError:
                        pass
        return False

    def test_every_version_and_kind_of_key(self):
        host = self.host(make(self.keys, "mx.example", file="ec"), make(self.keys, "mx.example", key="rsa", file="rsa"))
        for most, ciphers, kind in ((ssl.TLSVersion.TLSv1_3, None, "TLSv1.3"), (ssl.TLSVersion.TLSv1_2, "aECDSA", "ECDHE-ECDSA"),
                                    (ssl.TLSVersion.TLSv1_2, "aRSA+kECDHE", "ECDHE-RSA"), (ssl.TLSVersion.TLSv1_2, "aRSA+kDHE", "DHE-RSA")):
            s = connect(host.submissions_port, context(most, ciphers))
            self.assertIn(kind, s.cipher()[0] + s.version())
            say(s, "EHLO x", 250)
            s.close()
        for sigalgs in ("rsa_pss_rsae_sha256", "rsa_pss_rsae_sha384", "rsa_pss_rsae_sha512", "ecdsa_secp256r1_sha256", "RSA+SHA256", "RSA+SHA512", "ECDSA+SHA384"):
            done = subprocess.run(["openssl", "s_client", "-connect", "127.0.0.1:%d" % host.submissions_port, "-ign_eof", "-sigalgs", sigalgs] +
                                  (["-tls1_2"] if "+" in sigalgs else []), input=b"QUIT\r\n", capture_output=True, timeout=PATIENCE)
            self.assertIn(b"220 mx.local.example", done.stdout, (sigalgs, done.stderr))

    def test_a_thousand_handshakes_at_once(self):
        """more than may wait for signatures at a time: all come through"""
        host = self.host(make(self.keys, "mx.example", key="rsa"), settings="limit { sessions = 1000 sessions_client = 1000 }\n")
        failed, c = [], context()

        def one():
            try:
                for _ in range(10):
                    s = connect(host.submissions_port, c)
                    say(s, "NOOP", 250)
                    s.close()
            except Exception as error:
                failed.append(error)
        threads = [threading.Thread(target=one) for _ in range(100)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(failed, [])
        self.assertNotIn("tls-failed", host.log())

    def test_clients_that_vanish_in_the_handshake(self):
        """at every moment of it; then others come in, and nobody has died"""
        host = self.host(make(self.keys, "mx.example", key="rsa"))
        hello = client_hello(context())
        before = host.pids()
        for i in range(300):
            s = socket.create_connection(("127.0.0.1", host.submissions_port))
            s.sendall(hello[:len(hello) * (i % 4 + 1) // 4])
            if i % 3 == 0:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            s.close()
        connect(host.submissions_port).close()
        self.assertEqual(host.pids(), before)


class Names(TLSHost):
    def test_sni_chooses(self):
        host = self.host(make(self.keys, "mx.example"), make(self.keys, "other.example", ["other.example", "*.other.example"]),
                         make(self.keys, "rsa.other.example", ["mx.other.example"], key="rsa"))
        for name, expected in ((None, "mx.example"), ("mx.example", "mx.example"), ("other.example", "other.example"), ("A.Other.Example", "other.example"),
                               ("unknown.example", "mx.example"), ("a.b.other.example", "mx.example"), ("mx.other.example", "other.example")):
            s = connect(host.submissions_port, name=name)
            self.assertEqual(subject(s), expected, name)
            s.close()
        s = connect(host.submissions_port, context(ssl.TLSVersion.TLSv1_2, "aRSA"), name="mx.other.example")
        self.assertEqual(subject(s), "rsa.other.example")
        s.close()

    def test_both_kinds_of_key_are_offered_with_and_without_a_name(self):
        host = self.host(make(self.keys, "mx.example", file="e"), make(self.keys, "mx.example", key="rsa", file="r"))
        for name in (None, "mx.example", "unknown.example"):
            for ciphers, kind in (("aECDSA", "ECDSA"), ("aRSA", "RSA")):
                s = connect(host.submissions_port, context(ssl.TLSVersion.TLSv1_2, ciphers), name=name)
                self.assertIn(kind, s.cipher()[0])
                s.close()

    def test_resumed_with_a_name_and_not_with_another(self):
        host = self.host(make(self.keys, "mx.example"), make(self.keys, "other.example"))
        c = context()
        s = connect(host.submissions_port, c, "other.example")
        session = s.session
        s.close()
        s = connect(host.submissions_port, c, "other.example", session)
        self.assertTrue(s.session_reused)
        s.close()


class Renewal(TLSHost):
    def certificate_of(self, host):
        s = connect(host.submissions_port)
        try:
            return subject(s)
        finally:
            s.close()

    @unittest.skipUnless(os.geteuid() == 0, "keys that are root's alone need root")
    def test_renewed_as_certbot_does_it_without_a_restart(self):
        """live/*.pem lead to archive/*N.pem, in a directory of root's alone; an open session goes on"""
        live, archive = os.path.join(self.keys, "live"), os.path.join(self.keys, "archive")
        os.chmod(self.keys, 0o700)
        os.mkdir(live, 0o700)
        os.mkdir(archive, 0o700)
        for n in (1, 2):
            make(archive, "renewal%d.example" % n)

        def lead_to(n, *kinds):
            for kind in kinds:
                path = os.path.join(live, "new")
                os.symlink("../archive/renewal%d.example.%s" % (n, kind), path)
                os.rename(path, os.path.join(live, "mx." + kind))
        lead_to(1, "crt", "key")
        host = self.host((os.path.join(live, "mx.crt"), os.path.join(live, "mx.key")))
        before = host.pids()
        old = connect(host.submissions_port)
        self.assertEqual(subject(old), "renewal1.example")
        lead_to(2, "crt")
        host.wait_log(r"mx.key is not the key of the certificate .*mx.crt.*the former certificate and key go on", PATIENCE)
        self.assertEqual(self.certificate_of(host), "renewal1.example")
        lead_to(2, "key")
        host.wait_log(r"renewed: certificate=", PATIENCE)
        wait_for(lambda: self.certificate_of(host) == "renewal2.example")
        say(old, "NOOP", 250)
        old.close()
        self.assertEqual(host.pids(), before)
        self.assertEqual(len(re.findall("is not the key of the certificate", host.log())), 1)

    def test_soon_at_its_end_is_said(self):
        host = self.host(make(self.keys, "mx.example", days=3), make(self.keys, "good.example"))
        host.wait_log(r"certificate \S*/mx.example.crt expires in [23] days: renew it")
        self.assertNotIn("good.example.crt expires", host.log())


class Tickets(TLSHost):
    def resumed(self, host, c, session):
        s = connect(host.submissions_port, c, session=session)
        try:
            return s.session_reused
        finally:
            s.close()

    def test_resumed_by_every_process(self):
        for most in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            host = self.host(make(self.keys, "mx.example", file=most.name), settings="smtpd_processes = 4\n")
            c = context(most)
            s = connect(host.submissions_port, c)
            session = s.session
            s.close()
            for _ in range(24):
                self.assertTrue(self.resumed(host, c, session), most)

            def another():
                """one more process has resumed it"""
                self.assertTrue(self.resumed(host, c, session), most)
                return len(set(re.findall(r"postino-smtpd\[(\d+)\]: connect:", host.log()))) > 1
            wait_for(another, PATIENCE)

    def fresh(self, host, c):
        """A new session, and the name of the key of its ticket."""
        s = connect(host.submissions_port, c)
        session = s.session
        s.close()
        return session, key_name(c, session)

    def rotation(self, host, c):
        """(a session, whether it was resumed when there was a newer key than its own, and whether that was within the time for which its own is taken)"""
        looked = time.monotonic()
        session, name = first = self.fresh(host, c)
        while name == first[1]:
            time.sleep(0.05)
            born, looked = looked, time.monotonic()  # not before the look before the last one
            session, name = self.fresh(host, c)
        while self.fresh(host, c)[1] == name:
            time.sleep(0.05)
        resumed = self.resumed(host, c, session)
        return session, resumed, time.monotonic() < born + 2 * 4

    def test_a_key_is_taken_for_one_rotation_and_forgotten_then(self):
        host = self.host(make(self.keys, "mx.example"), tls="ticket_time = 4s", settings="smtpd_processes = 1\n")
        c = context(ssl.TLSVersion.TLSv1_2)
        for _ in range(5):  # a machine that stands still misses a rotation
            session, resumed, in_time = self.rotation(host, c)
            if in_time:
                break
        self.assertTrue(in_time, "the machine stood still")
        self.assertTrue(resumed)
        wait_for(lambda: not self.resumed(host, c, session), PATIENCE)


class Away(TLSHost):
    def test_tlsmgr_dies_and_handshakes_go_on(self):
        host = self.host(make(self.keys, "mx.example"))
        open_one = connect(host.submissions_port)
        for _ in range(2):
            pid = host.pid_of("tlsmgr")
            os.kill(pid, signal.SIGKILL)
            connect(host.submissions_port).close()
            wait_for(lambda: host.pid_of("tlsmgr") not in (pid, None))
        say(open_one, "NOOP", 250)
        open_one.close()
        self.assertNotIn("tls-failed", host.log())

    def test_tlsmgr_hangs_and_smtpd_does_not(self):
        """a handshake waits; other sessions, and new ones without TLS, go on; with tlsmgr it goes on too"""
        host = self.host(make(self.keys, "mx.example"), settings="smtpd_processes = 1\n")
        open_one = connect(host.submissions_port)
        pid = host.pid_of("tlsmgr")
        os.kill(pid, signal.SIGSTOP)
        self.addCleanup(lambda: os.path.exists("/proc/%d" % pid) and os.kill(pid, signal.SIGCONT))
        done = []
        threads = [threading.Thread(target=lambda: done.append(connect(host.submissions_port))) for _ in range(80)]
        for t in threads:
            t.start()
        time.sleep(0.5)  # for most of them to come that far
        say(open_one, "NOOP", 250)
        with host.smtp() as plain:
            self.assertEqual(plain.ehlo("x")[0], 250)
        self.assertEqual(done, [])
        os.kill(pid, signal.SIGCONT)
        for t in threads:
            t.join(PATIENCE)
        self.assertEqual(len(done), 80)
        for s in done + [open_one]:
            s.close()

    def test_a_handshake_that_waits_too_long_is_ended(self):
        host = self.host(make(self.keys, "mx.example"), settings="smtpd_processes = 1 smtpd { tls_timeout = 1s }\n")
        pid, smtpd = host.pid_of("tlsmgr"), host.pid_of("smtpd")
        os.kill(pid, signal.SIGSTOP)
        for _ in range(3):
            with self.assertRaises(OSError):
                connect(host.submissions_port)
        os.kill(pid, signal.SIGCONT)

        def comes_in():
            """a client; the time for a handshake is short here"""
            try:
                connect(host.submissions_port).close()
                return True
            except OSError:
                return False
        wait_for(comes_in)
        host.wait_log(r"tls-failed: .*reason=timeout")
        self.assertEqual(host.pid_of("smtpd"), smtpd)


class OldDevices(TLSHost):
    """A listener for a few devices that know nothing newer than TLS 1.0."""

    def setUp(self):
        super().setUp()
        self.mine = self.network = '"127.0.0.1"'

    def old_host(self, clients, minimum="TLSv1", more=""):
        cert, key = make(self.keys, "mx.example", key="rsa")
        host = Host(tls=False, users=(), listeners={})
        self.addCleanup(host.__exit__, None, None, None)
        host.configure(None, None, 'tls { certificate = "%s" key = "%s" }\n' % (cert, key), ("127.0.0.0/8",), {
            "submissions": 'port = %d address = "127.0.0.1" tls = implicit' % host.submissions_port,
            "old": 'port = %d address = "127.0.0.1" tls = implicit clients = { %s } tls_minimum = "%s" %s' % (host.port, clients, minimum, more)})
        return host

    @staticmethod
    def handshake(port, *options):
        done = subprocess.run(["openssl", "s_client", "-connect", "127.0.0.1:%d" % port, "-ign_eof", "-cipher", "ALL:@SECLEVEL=0"] + list(options),
                              input=b"QUIT\r\n", capture_output=True, timeout=PATIENCE)
        return b"220 mx.local.example" in done.stdout and re.search(rb"Protocol *: (\S+)|New, (TLSv1.3)", done.stdout).group(0).split()[-1].decode()

    def test_tls_1_0_where_it_is_allowed_and_nowhere_else(self):
        with self.old_host('"127.0.0.1"') as host:
            for version, name in (("-tls1", "TLSv1"), ("-tls1_1", "TLSv1.1"), ("-tls1_2", "TLSv1.2"), ("-tls1_3", "TLSv1.3")):
                self.assertEqual(self.handshake(host.port, version), name)
            for version in ("-tls1", "-tls1_1"):
                self.assertFalse(self.handshake(host.submissions_port, version))
            self.assertTrue(self.handshake(host.submissions_port, "-tls1_2"))

    def test_other_networks_are_turned_away(self):
        with self.old_host('"192.0.2.0/24", "127.0.0.2"') as host:
            with socket.create_connection(("127.0.0.1", host.port), PATIENCE) as s:
                self.assertRegex(reply(s), r"^554 5\.7\.1 ")
            with socket.create_connection(("127.0.0.1", host.port), PATIENCE, source_address=("127.0.0.2", 0)) as s, context().wrap_socket(s) as secured:
                self.assertRegex(reply(secured), "^220 ")
            host.wait_log(r'reject: command=connect client=127\.0\.0\.1 .*rule="listener { clients }"')

    def test_ciphers_of_the_listener(self):
        with self.old_host('"127.0.0.1"', "TLSv1.2", 'tls_ciphers = "ECDHE-RSA-AES128-SHA"') as host:
            self.assertTrue(self.handshake(host.port, "-tls1_2", "-cipher", "ECDHE-RSA-AES128-SHA"))
            self.assertFalse(self.handshake(host.port, "-tls1_2", "-cipher", "ECDHE-RSA-AES256-GCM-SHA384"))

    def test_weak_for_everybody_is_refused_by_check(self):
        for clients, minimum, more, wrong in (("", "TLSv1", "", True), ('"0.0.0.0/0"', "TLSv1.1", "", True), ("", "TLSv1.2", 'tls_ciphers = "ALL"', True),
                                              ('"::/0", "10.0.0.0/8"', "TLSv1", "", True), ('"10.0.0.0/8"', "TLSv1", "", False), ("", "TLSv1.3", "", False),
                                              ('"10.0.0.0/8"', "TLSv1.2", 'tls_ciphers = "nonsense"', True), ('"10.0.0.0/99"', "TLSv1.2", "", True)):
            host = self.old_host(clients, minimum, more)
            done = host.tool("postino", "check")
            self.assertEqual(done.returncode != 0, wrong, (clients, minimum, more, done.stdout + done.stderr))
            host.close()


class ClientCertificates(TLSHost):
    """What a client shows goes to the rules, the trace line and the log; it can hurt nobody."""

    def setUp(self):
        super().setUp()
        self.pair = make(self.keys, "mx.example")
        run = lambda *words: subprocess.run(["openssl"] + list(words), check=True, capture_output=True, cwd=self.keys)
        run("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "9", "-subj", "/CN=Test CA", "-keyout", "ca.key", "-out", "ca.crt")
        run("req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=printer.example", "-keyout", "known.key", "-out", "known.csr")
        run("x509", "-req", "-in", "known.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", "9", "-out", "known.crt")
        make(self.keys, "stranger.example", file="stranger")

    def fingerprint(self, name):
        text = subprocess.run(["openssl", "x509", "-in", os.path.join(self.keys, name + ".crt"), "-noout", "-fingerprint", "-sha256"], capture_output=True, text=True, check=True).stdout
        return text.split("=")[1].strip()

    def client_host(self, kind, settings="", access="", relay_from=("192.0.2.1",), **more):
        host = Host(tls=False, users=(), listeners={}, **more)
        self.addCleanup(host.__exit__, None, None, None)
        host.configure({"*": "smtp:[127.0.0.1]:1"}, None, 'tls { certificate = "%s" key = "%s" client_authorities = "%s" }\n%s\n' % (self.pair + (os.path.join(self.keys, "ca.crt"), settings)),
                       relay_from, {"submissions": 'port = %d address = "127.0.0.1" tls = implicit tls_client = %s %s' % (host.submissions_port, kind, access)})
        return host.__enter__()

    def shown(self, name=None, most=None):
        c = context(most)
        if name:
            c.load_cert_chain(os.path.join(self.keys, name + ".crt"), os.path.join(self.keys, name + ".key"))
        return c

    def rcpt(self, host, c, to="x@elsewhere.example", session=None):
        s = connect(host.submissions_port, c, session=session)
        say(s, "EHLO client.example", 250)
        say(s, "MAIL FROM:<a@client.example>", 250)
        s.sendall(b"RCPT TO:<%s>\r\n" % to.encode())
        return s, reply(s)

    def test_a_listed_fingerprint_relays_and_the_trace_says_so(self):
        maps = os.path.join(self.keys, "certs")
        with open(maps, "w") as f:
            f.write("%s printer\n" % self.fingerprint("stranger"))
        os.chmod(self.keys, 0o755)
        host = Host(tls=False)  # for its tools
        self.addCleanup(host.close)
        host.tool("postino", "map", "hash:" + maps, check=True)
        host = self.client_host("ask", 'relay_clientcerts = { "hash:%s" }' % maps)
        for name, expected in (("stranger", "250"), ("known", "554 5.7.1"), (None, "554 5.7.1")):
            s, reply = self.rcpt(host, self.shown(name))
            self.assertTrue(reply.startswith(expected), (name, reply))
            s.close()
        s, reply = self.rcpt(host, self.shown("stranger"), "alice@local.example")
        say(s, "DATA", 354)
        say(s, "Subject: x\r\n\r\nx\r\n.", 250)
        s.close()
        wait_for(lambda: host.messages("alice"))
        trace = re.sub(rb"\s+", b" ", host.messages("alice")[0])
        self.assertIn(b"(client certificate stranger.example not verified SHA256:%s)" % self.fingerprint("stranger").encode(), trace)
        self.assertRegex(host.log(), r"tls=\"TLSv1.3 .*ccert=%s ccert_subject=stranger.example ccert_verified=no" % self.fingerprint("stranger"))

    def test_all_that_the_authorities_vouch_for_relay_by_rule(self):
        host = self.client_host("ask", access='access = { "permit_tls_all_clientcerts" }')
        for name, expected in (("known", "250"), ("stranger", "554 5.7.1"), (None, "554 5.7.1")):
            s, reply = self.rcpt(host, self.shown(name))
            self.assertTrue(reply.startswith(expected), (name, reply))
            s.close()
        host = self.client_host("ask")  # without the rule
        self.assertTrue(self.rcpt(host, self.shown("known"))[1].startswith("554"))

    def test_a_resumed_session_has_its_certificate(self):
        host = self.client_host("ask", access='access = { "permit_tls_all_clientcerts" }')
        for most in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            c = self.shown("known", most)
            s, reply = self.rcpt(host, c)
            session = s.session
            s.close()
            s, reply = self.rcpt(host, c, session=session)
            self.assertTrue(s.session_reused)
            self.assertTrue(reply.startswith("250"), reply)
            s.close()

    def test_rules_by_certificate(self):
        maps = os.path.join(self.keys, "ccert")
        with open(maps, "w") as f:
            f.write("%s REJECT go away\n" % self.fingerprint("stranger"))
        os.chmod(self.keys, 0o755)
        host = Host(tls=False)
        self.addCleanup(host.close)
        host.tool("postino", "map", "hash:" + maps, check=True)
        host = self.client_host("ask", access='access = { "check_ccert_access hash:%s" }' % maps)
        for name, expected in (("stranger", "554 5.7.1"), ("known", "250"), (None, "250")):
            s, reply = self.rcpt(host, self.shown(name), "alice@local.example")
            self.assertTrue(reply.startswith(expected), (name, reply))
            s.close()

    def comes_in(self, host, c):
        try:
            connect(host.submissions_port, c).close()
            return True
        except (OSError, AssertionError):
            return False

    def test_required_and_verified(self):
        for kind, expected in (("required", {None: False, "stranger": True, "known": True}), ("verified", {None: False, "stranger": False, "known": True})):
            host = self.client_host(kind)
            for name, came in expected.items():
                for most in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
                    self.assertEqual(self.comes_in(host, self.shown(name, most)), came, (kind, name, most))
            host.wait_log(r"tls-failed: client=\S+ reason=\"TLS handshake failed")

    def test_hostile_certificates(self):
        """names with NUL, quotes, line ends and control characters, a subject of 60 KiB, a hundred alternative names, a chain of 100, a huge key, garbage"""
        host = self.client_host("ask")
        before = host.pids()
        evil = ["a\\x00b".replace("\\x00", "\0"), 'x" fingerprint=', "mx.example\r\nBcc: x", "\x1b[31mred", "(comment) \\", "\u202eevil", "x" * 64]
        from cryptography import x509
        from cryptography.hazmat.primitives import hashes, serialization
        from cryptography.hazmat.primitives.asymmetric import ec, rsa
        from cryptography.x509.oid import NameOID
        import datetime
        now = datetime.datetime.utcnow()

        def write(names, key, path, extensions=()):
            name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, n) for n in names])
            builder = x509.CertificateBuilder(subject_name=name, issuer_name=name, public_key=key.public_key(), serial_number=7,
                                              not_valid_before=now - datetime.timedelta(1), not_valid_after=now + datetime.timedelta(9))
            for e in extensions:
                builder = builder.add_extension(e, False)
            cert = builder.sign(key, hashes.SHA256())
            with open(path + ".crt", "wb") as f:
                f.write(cert.public_bytes(serialization.Encoding.PEM))
            with open(path + ".key", "wb") as f:
                f.write(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()))
        key = ec.generate_private_key(ec.SECP256R1())
        for i, text in enumerate(evil):
            write([text], key, os.path.join(self.keys, "evil%d" % i))
            s, reply = self.rcpt(host, self.shown("evil%d" % i), "alice@local.example")
            self.assertTrue(reply.startswith("250"), reply)
            say(s, "DATA", 354)
            say(s, "Subject: x\r\n\r\nx\r\n.", 250)
            s.close()
        write(["many.example"] * 300, key, os.path.join(self.keys, "many"))
        write(["alt.example"], key, os.path.join(self.keys, "alt"), [x509.SubjectAlternativeName([x509.DNSName("n%d.example" % i) for i in range(100)])])
        write(["big.example"], key, os.path.join(self.keys, "big"), [x509.SubjectAlternativeName([x509.DNSName("n%d.example" % i) for i in range(5000)])])
        write(["huge.example"], rsa.generate_private_key(3, 4096), os.path.join(self.keys, "huge"))
        chain = open(os.path.join(self.keys, "alt.crt")).read()
        with open(os.path.join(self.keys, "chain.crt"), "w") as f:
            f.write(chain * 100)
        shutil.copy(os.path.join(self.keys, "alt.key"), os.path.join(self.keys, "chain.key"))
        came = {name: self.comes_in(host, self.shown(name)) for name in ("many", "alt", "big", "huge", "chain")}
        self.assertTrue(came["alt"] and came["huge"])
        self.assertFalse(came["big"] or came["chain"])
        wait_for(lambda: len(host.messages("alice")) == len(evil))
        for message in host.messages("alice"):
            head = message.split(b"\n\n")[0].replace(b"\r", b"")
            self.assertNotRegex(head, rb"(?m)^Bcc:")
            self.assertNotRegex(head, rb"[\x00-\x08\x0b-\x1f\x7f-\xff]")
        self.assertEqual(host.pids(), before)


class Hostile(TLSHost):
    """What is no handshake, or one that was made to break a server. Afterwards nobody has died, and others come in."""

    def setUp(self):
        super().setUp()
        self.server = self.host(make(self.keys, "mx.example"), make(self.keys, "mx.example", key="rsa", file="rsa"), settings="smtpd { tls_timeout = 10m }\n")
        self.before = self.server.pids()

    def tearDown(self):
        s = connect(self.server.submissions_port)
        say(s, "NOOP", 250)
        s.close()
        self.assertEqual(self.server.pids(), self.before)
        self.assertNotRegex(self.server.log(), "SIGSYS|signal|starting it anew")

    def send(self, octets, close=False, starttls=False, pieces=0, enough=None):
        """What the server says to it, until it hangs up (which is no matter of time: tls_timeout), or `enough` is in that."""
        got = b""
        with socket.create_connection(("127.0.0.1", self.server.port if starttls else self.server.submissions_port), PATIENCE) as s:
            try:
                if starttls:
                    reply(s)
                    s.sendall(b"EHLO x\r\n")
                    reply(s)
                    s.sendall(b"STARTTLS\r\n")
                    reply(s)
                for i in range(0, len(octets), pieces or max(len(octets), 1)):
                    s.sendall(octets[i:i + pieces] if pieces else octets)
                if close:
                    s.shutdown(socket.SHUT_WR)
                while enough is None or not got or enough not in got:
                    more = s.recv(65536)
                    if not more:
                        return got, True
                    got += more
                return got, False
            except TimeoutError:
                raise AssertionError("it waits: %r" % octets[:40]) from None
            except OSError:
                return got, True

    @staticmethod
    def hello(name=None, most=None):
        return client_hello(context(most), name)

    @classmethod
    def hello_for(cls, octets):
        """A ClientHello with these octets as the name in SNI (RFC 6066 3): lengths are right, the name is not."""
        record = cls.hello("a" * 10 + ".example")
        old = b"a" * 10 + b".example"
        at = record.index(old)
        grow = len(octets) - len(old)

        def longer(r, position, size):
            n = int.from_bytes(r[position:position + size], "big") + grow
            return r[:position] + n.to_bytes(size, "big") + r[position + size:]
        record = record[:at] + octets + record[at + len(old):]
        for position, size in ((at - 2, 2), (at - 5, 2), (at - 7, 2), (3, 2), (6, 3)):
            record = longer(record, position, size)
        return longer(record, extensions(record), 2)

    def test_sni_garbage(self):
        """CVE-2019-15846: a backslash at the end; and shell, expansion, format and line ends; NUL; too long; empty"""
        self.assertEqual(self.hello_for(b"a" * 10 + b".example")[5:11], self.hello("a" * 10 + ".example")[5:11])
        came = 0
        for name in (b"mx.example\\", b"\\", b"\\" * 255, b"${run{/bin/sh}}", b"`id`", b"$(id)", b"%s%s%n", b"a\r\nb", b"a b", b"\xff" * 63, b".mx.example",
                     b"mx..example", b"*.example", b"*", b"[127.0.0.1]", b"../../etc/passwd", b"' OR 1=1", b"a" * 255, b".", b""):
            got, ended = self.send(self.hello_for(name), enough=b"")
            came += got[:1] == b"\x16"  # a ServerHello: with the default certificate
        self.assertGreater(came, 15)
        for name in (b"a\0b", b"mx.example\0", b"a" * 256, b"a" * 4000, b"\0" * 100):
            got, ended = self.send(self.hello_for(name), enough=b"")
            self.assertTrue(got[:1] == b"\x15" or ended, (name[:20], got[:20]))  # an alert

    def test_truncated_client_hellos(self):
        hello = self.hello("mx.example")
        for n in list(range(0, 60)) + list(range(60, len(hello), 23)):
            got, ended = self.send(hello[:n], close=True)
            self.assertTrue(ended, n)
            self.assertNotEqual(got[:1], b"\x16", n)

    def test_a_client_hello_octet_by_octet(self):
        got, _ = self.send(self.hello("mx.example"), pieces=1, enough=b"")
        self.assertEqual(got[:1], b"\x16")

    def test_lengths_that_lie(self):
        hello = self.hello("mx.example")
        for at, size in ((3, 2), (6, 3), (43, 1), (76, 2)):
            for value in (0, 1, 2 ** (8 * size) - 1, 2 ** (8 * size - 1)):
                self.send(hello[:at] + value.to_bytes(size, "big") + hello[at + size:], close=True)

    def test_a_changed_octet_anywhere(self):
        hello = self.hello("mx.example")
        for at in range(0, len(hello), 7):
            self.send(hello[:at] + bytes([hello[at] ^ 0xff]) + hello[at + 1:], close=True)

    def test_records_of_every_kind(self):
        """instead of a ClientHello, and behind one; with and without content; of versions that there never were"""
        hello = self.hello("mx.example")
        for kind in (0, 20, 21, 22, 23, 24, 25, 128, 255):
            for version in (b"\x00\x00", b"\x02\x00", b"\x03\x00", b"\x03\x03", b"\x03\x7f", b"\xfe\xff"):
                for body in (b"", b"\1", b"\2\x28", b"\0" * 100):
                    self.send(bytes([kind]) + version + len(body).to_bytes(2, "big") + body, close=True)
            self.send(hello + bytes([kind]) + b"\x03\x03\x00\x02\x01\x00", close=True)

    def test_heartbleed_early_change_cipher_spec_and_floods(self):
        """CVE-2014-0160, CVE-2014-0224; alerts, empty records and ChangeCipherSpec without end (RFC 8446 5, D.4)"""
        hello = self.hello("mx.example", ssl.TLSVersion.TLSv1_2)
        got, ended = self.send(hello + b"\x18\x03\x02\x00\x03\x01\x40\x00")
        self.assertLess(len(got), 5000)
        got, ended = self.send(hello + b"\x14\x03\x03\x00\x01\x01")
        self.assertTrue(ended)
        for flood in (b"\x15\x03\x03\x00\x02\x01\x5a", b"\x14\x03\x03\x00\x01\x01", b"\x16\x03\x03\x00\x00", b"\x17\x03\x03\x00\x00"):
            got, ended = self.send(flood * 20000)
            self.assertTrue(ended, flood)

    def test_what_is_no_tls_at_all(self):
        for octets in (b"EHLO x\r\nMAIL FROM:<a@b.c>\r\n" * 100, b"GET / HTTP/1.1\r\n\r\n", b"\x80\x2e\x01\x00\x02\x00\x15\x00\x00\x00\x10" + b"\1" * 37,
                       b"SSH-2.0-x\r\n", random.Random(1).randbytes(65536), b"\0" * 65536, b"\xff" * 65536, b"\x16\x03\x01\xff\xff" + b"\1" * 65535):
            for starttls in (False, True):
                got, ended = self.send(octets, starttls=starttls)
                self.assertTrue(ended, octets[:20])

    def test_renegotiation_is_refused(self):
        """CVE-2009-3555"""
        with tempfile.TemporaryFile() as told, subprocess.Popen(
                ["openssl", "s_client", "-connect", "127.0.0.1:%d" % self.server.submissions_port, "-tls1_2", "-legacy_renegotiation"],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=told) as client:
            try:
                while not client.stdout.readline().startswith(b"220 "):  # a greeting that comes later is for openssl an answer that can't be
                    self.assertIsNone(client.poll())
                client.stdin.write(b"R\n")
                client.stdin.flush()
                self.assertEqual(client.wait(20), 1)  # it gives up, though its input has not ended
            finally:
                client.kill()
            told.seek(0)
            self.assertRegex(told.read(), rb"RENEGOTIATING\n(?!.*verify return)[^\n]*no renegotiation")

    def test_ticket_garbage(self):
        """tickets of nobody's key, truncated, of other lengths: a full handshake, or the end"""
        c = context(ssl.TLSVersion.TLSv1_2)
        s = connect(self.server.submissions_port, c)
        session = s.session
        s.close()
        hello = client_hello(c, session=session)
        at, size = extension(hello, 35)
        self.assertGreater(size, 100)
        for offset in list(range(0, size, 11)) + [size - 1]:
            i = at + offset
            got, _ = self.send(hello[:i] + bytes([hello[i] ^ 1]) + hello[i + 1:], enough=b"mx.example")
            self.assertEqual(got[:1], b"\x16", offset)
            self.assertIn(b"mx.example", got)  # the certificate: not resumed


class Frames(unittest.TestCase):
    """postino-tlsmgr, asked by a hostile smtpd."""

    def setUp(self):
        self.keys = tempfile.mkdtemp(prefix="postino-test-keys.", dir="/var/tmp")
        self.addCleanup(shutil.rmtree, self.keys, True)
        self.tlsmgr = Driven("tlsmgr", 'tls { certificate = "%s" key = "%s" }' % make(self.keys, "mx.example", key="rsa"), edges=["smtpd"])
        self.addCleanup(self.tlsmgr.close)
        self.smtpd = self.tlsmgr.edges["smtpd"]

    def key_name(self):
        got = self.smtpd.ask("CERTIFICATES", known=0)
        der = subprocess.run(["openssl", "x509", "-inform", "DER", "-noout", "-pubkey"], input=got.chains[0].certificates, capture_output=True, check=True).stdout
        done = subprocess.run("openssl pkey -pubin -outform DER | openssl dgst -sha256 -binary", shell=True, input=der, capture_output=True, check=True)
        return done.stdout

    def test_what_smtpd_gets_has_no_key_in_it(self):
        got = self.smtpd.ask("CERTIFICATES", known=0)
        self.assertEqual(len(got.chains), 1)
        self.assertEqual(len(got.ticket_keys), 1)
        parsed = subprocess.run(["openssl", "x509", "-inform", "DER", "-noout"], input=got.chains[0].certificates)
        self.assertEqual(parsed.returncode, 0)

    def test_it_signs_nothing_but_tls(self):
        key = self.key_name()
        for form in (0, frames.SIGN_ECDSA, frames.SIGN_RSA_PKCS1, frames.SIGN_RSA_PSS, 99, 65535):
            for octets in (b"", b"\0" * 32, b"\xff" * 256, os.urandom(256), b"\x00\x02" + b"\x11" * 254, b"x" * 1024, b"x" * 1025, b"x" * 100000):
                self.assertEqual(self.smtpd.ask("SIGN", key=key, form=form, input=octets).octets, b"", (form, octets[:8], len(octets)))
        for name in (b"", key[:-1], key + b"x", b"\0" * 32):
            self.assertEqual(self.smtpd.ask("SIGN", key=name, form=frames.SIGN_RSA_PKCS1, input=b"x" * 36).octets, b"")
        self.assertEqual(len(self.smtpd.ask("SIGN", key=key, form=frames.SIGN_RSA_PKCS1, input=b"x" * 36).octets), 256)
        self.assertEqual(self.tlsmgr.log().count("a signature was refused"), 1)

    def test_one_smtpd_that_asks_for_too_many_is_bounded_and_others_are_served(self):
        key = self.key_name()
        other = self.tlsmgr.connect("smtpd")
        flood = b"".join(frames.encode("SIGN", i + 1000, key=key, form=frames.SIGN_RSA_PKCS1, input=b"x" * 36) for i in range(1000))
        os.kill(self.tlsmgr.process.pid, signal.SIGSTOP)  # so that they come all at once
        try:
            self.smtpd.send_raw(flood)
            other.send("SIGN", key=key, form=frames.SIGN_RSA_PKCS1, input=b"x" * 36)
        finally:
            os.kill(self.tlsmgr.process.pid, signal.SIGCONT)
        self.assertEqual(len(other.receive().octets), 256)
        refused = 0
        for i in range(1000):
            refused += self.smtpd.receive().octets == b""
        self.assertGreater(refused, 0)
        self.assertTrue(self.tlsmgr.running())


if __name__ == "__main__":
    unittest.main(verbosity=2)
