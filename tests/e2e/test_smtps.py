"""Smarthosts with TLS from the first byte (RFC 8314 3.3): postino-remote alone against scripted hosts, and whole Postinos against real servers."""
import contextlib
import hashlib
import os
import pathlib
import re
import socket
import ssl
import struct
import sys
import time
import unittest

import frames
import host
import mtas
import test_login
import test_next_hosts
from certificates import Certificates
from hostile import DROP, HANG, Raw, Server
from host import wait_for
from remote import BODY, DEFERRED, FAILED, PATIENT, RELAYED, Base, Remote
from test_login import NAME, SECRET, USER

sys.path.insert(0, os.path.join(host.ROOT, "tests", "conformance"))
import servers  # noqa: E402


def sum_of(certificate):
    with open(certificate[0], encoding="ascii") as f:
        text = f.read()
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(text[:text.index("-----END") + 25])).hexdigest()


class Smarthost(Base):
    """remote alone; the smarthost is 127.0.0.2, on a port of its own."""
    settings = 'idle_timeout = "0" ' + PATIENT
    routes = ""

    @classmethod
    def setUpClass(cls):
        cls.made = Certificates()
        cls.good, cls.bad = cls.made.sign(NAME), cls.made.sign("other.example")
        cls.rest = 'tls { authorities = "%s" }\n%s' % (cls.made.authority[0], cls.routes)
        super().setUpClass()
        cls.remote.names.table[NAME] = [(NAME, "127.0.0.2")]

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        cls.made.close()

    def send(self, *recipients, nexthop=None, tls="verify", transport="smtps", **more):
        return self.remote.deliver(*recipients, nexthop=nexthop or "[%s]:%d" % (NAME, self.remote.port), tls=tls, transport=transport, **more)

    def at_an_address_of_its_own(self):
        """NAME is, where nobody else has the port 465."""
        address = "127.44.%d.%d" % divmod(self.remote.port, 256)
        self.remote.names.table[NAME] = [(NAME, address)]
        self.addCleanup(self.remote.names.table.update, {NAME: [(NAME, "127.0.0.2")]})
        return address

    def smart(self, certificate=None, **more):
        more.setdefault("implicit", True)
        return self.remote.server(certificate=certificate or self.good, **more)

    def relayed(self, *proof, certificate=None, **more):
        with self.smart(certificate) as server:
            result = self.send(**more)
            self.check(result, (RELAYED, "2.0.0", ""))
            self.assertEqual([(m.body, m.secured) for m in server.messages], [(BODY, "TLSv1.3")])
            for words in proof:
                self.assertIn(words, result.security)
        return server

    def waits(self, server, status, words, sends=None):
        """The mail waits, and not a word was said to the host."""
        with server:
            result = self.send(**(sends or {}))
            self.check(result, (DEFERRED, status, words), site_failed=1)
            heard = [c[:4] for s in server.sessions for c in s.commands]
            self.assertFalse({"EHLO", "HELO", "MAIL", "AUTH"} & set(heard), heard)
        return result


class FirstByte(Smarthost):
    def test_tls_comes_before_the_greeting_and_nothing_asks_for_it_again(self):
        server = self.relayed("TLSv1.3 ", ", verify, verified")
        wait_for(lambda: server.sessions[0].commands[-1] == "QUIT")
        self.assertEqual([c.split(" ")[0] for c in server.sessions[0].commands], ["EHLO", "MAIL", "RCPT", "DATA", "QUIT"])

    def test_starttls_within_tls_is_not_looked_for(self):
        with self.smart(extensions=("PIPELINING", "STARTTLS")) as server:
            self.check(self.send(), (RELAYED, "2.0.0", ""))
            self.assertNotIn("STARTTLS", server.sessions[0].commands)

    def test_helo_will_do(self):
        with self.smart(EHLO="502 5.5.1 what?") as server:
            self.check(self.send(), (RELAYED, "2.0.0", ""))
            self.assertEqual(len(server.messages), 1)

    def test_the_port_is_465_where_none_is_given(self):
        """Whatever remote { port } says."""
        with Server(self.at_an_address_of_its_own(), 465, certificate=self.good, implicit=True) as server:
            result = self.send(nexthop="[%s]" % NAME)
            self.check(result, (RELAYED, "2.0.0", ""))
            self.assertEqual((result.peer, len(server.messages)), (NAME + "[%s]:465" % server.address, 1))

    def test_a_session_is_resumed(self):
        with self.smart() as server:
            for _ in range(3):
                self.check(self.send(), (RELAYED, "2.0.0", ""))
            self.assertEqual([s.resumed for s in server.sessions], [False, True, True])

    def test_one_session_for_more_than_one_message(self):
        remote = Remote('idle_timeout = "60s" ' + PATIENT, self.rest)
        self.addCleanup(remote.close)
        with remote.server(certificate=self.good, implicit=True) as server:
            for _ in range(3):
                self.check(remote.deliver(nexthop="[127.0.0.2]:%d" % remote.port, tls="encrypt", transport="smtps"), (RELAYED, "2.0.0", ""))
            self.assertEqual((len(server.sessions), len(server.messages)), (1, 3))

    def test_the_next_address_where_one_is_not_the_host(self):
        self.remote.names.table["two.smart.example"] = [(NAME, "127.0.0.4 127.0.0.2 127.0.0.3")]
        with self.smart(self.bad) as bad, self.smart(address="127.0.0.3") as good:
            self.check(self.send(nexthop="[two.smart.example]:%d" % self.remote.port), (RELAYED, "2.0.0", ""))
            self.assertEqual((bad.received, len(good.messages)), ([], 1))


class Proof(Smarthost):
    def test_a_certificate_of_another(self):
        result = self.waits(self.smart(self.bad), "4.7.5", "certificate: hostname mismatch")
        self.assertIn("TLS with host %s[127.0.0.2]: " % NAME, result.outcomes[0].reply)

    def test_a_certificate_that_nobody_signed(self):
        self.waits(self.smart(self.made.alone), "4.7.5", "self-signed certificate")

    def test_encrypt_takes_any(self):
        self.relayed(", encrypt, not verified", certificate=self.made.alone, tls="encrypt")

    def test_fingerprints(self):
        self.relayed(", fingerprint, verified", certificate=self.made.alone, tls="fingerprint:" + sum_of(self.made.alone))
        self.waits(self.smart(), "4.7.5", "is not one of the route's fingerprints", dict(tls="fingerprint:" + sum_of(self.made.alone)))

    def publish(self, *records):
        self.remote.names.more = dict(dane=frames.DANE_RECORDS, base=NAME, tlsa=", ".join(records))
        self.addCleanup(setattr, self.remote.names, "more", {})

    def test_dane_where_there_are_records(self):
        self.publish("3 0 1 " + sum_of(self.made.alone))
        self.relayed(", dane, verified 3 0 1 of " + NAME, certificate=self.made.alone, tls="dane")
        self.waits(self.smart(), "4.7.5", "no matching DANE TLSA records", dict(tls="dane"))

    def test_dane_is_verify_where_there_are_none(self):
        """A route that is content with what the receiver publishes is not content with nothing; no header of a stranger changes that."""
        for flags in (0, frames.ENVELOPE_TLS_OPTIONAL):
            self.relayed(", verify, verified", tls="dane", flags=flags)
            self.waits(self.smart(self.made.alone), "4.7.5", "self-signed certificate", dict(tls="dane", flags=flags))
        self.publish("3 0 9 " + sum_of(self.made.alone))  # none that can be used
        self.waits(self.smart(self.made.alone), "4.7.5", "self-signed certificate", dict(tls="dane"))

    def test_dane_only(self):
        with self.smart() as server:
            self.check(self.send(tls="dane-only"), (DEFERRED, "4.7.5", "it has no TLSA records"))
            self.assertEqual(server.sessions, [])

    def test_no_record_of_the_queue_makes_it_plain(self):
        """Nobody makes such a record: a route can't say it, and qmgr takes it from nobody."""
        for tls in ("none", "may"):
            with self.smart() as server, self.remote.server("127.0.0.3") as plain:
                self.check(self.send(tls=tls), (FAILED, "5.3.5", "no valid route"))
                self.assertEqual((server.sessions, plain.sessions), ([], []))

    def test_no_domain_is_such_a_host(self):
        self.check(self.send(nexthop="a.example"), (FAILED, "5.3.5", "no valid route"))

    def test_requiretls(self):
        with self.smart(extensions=("PIPELINING", "REQUIRETLS")) as server:
            self.check(self.send(flags=frames.ENVELOPE_REQUIRETLS), (RELAYED, "2.0.0", ""))
            self.assertTrue(server.sessions[0].commands[1].endswith("REQUIRETLS"), server.sessions[0].commands)
        with self.smart():
            self.check(self.send(flags=frames.ENVELOPE_REQUIRETLS), (FAILED, "5.7.30", "REQUIRETLS is required"))


class Trouble(Smarthost):
    NOT_TLS = "it doesn't speak TLS from the first byte; smtp: is for STARTTLS"

    def test_a_host_that_greets_in_plain(self):
        for greeting in (None, Raw(b"220 x"), "421 4.3.2 too busy", Raw(b"220 smart.example ESMTP\r\n", DROP)):
            with self.subTest(greeting=greeting):
                self.waits(self.smart(implicit=False, GREETING=greeting), "4.7.5", self.NOT_TLS)

    def test_a_host_that_hangs_up(self):
        with socket.create_server(("127.0.0.2", self.remote.port)) as listener:
            request = self.remote.send(nexthop="[%s]:%d" % (NAME, self.remote.port), tls="verify", transport="smtps")
            listener.accept()[0].close()
            answer = self.remote.result()
            self.assertEqual(answer.request, request)
            self.check(answer, (DEFERRED, "4.7.5", "TLS with host"), site_failed=1)

    def test_a_host_that_refuses_in_tls(self):
        self.waits(self.smart(GREETING="554 5.7.1 go away"), "4.7.1", "refused to talk to me: 554 5.7.1 go away")

    def test_it_is_not_once_more_in_plain(self):
        with self.smart(implicit=False) as server:
            self.send()
            self.send()
            self.assertEqual(len(server.sessions), 2)
        self.assertNotIn("once more without TLS", self.remote.log())

    def test_recipients_of_two_transports_are_no_job(self):
        nexthop = "[%s]:%d" % (NAME, self.remote.port)
        recipients = [dict(address="%s@a.example" % t, transport=t, nexthop=nexthop, tls="verify") for t in ("smtps", "smtp")]
        with self.smart() as server:
            self.remote.qmgr.send("DELIVER", id=77, nexthop=nexthop, tls="verify", sender="s@a.example", size=len(BODY), body=BODY, recipients=recipients)
            self.check(self.remote.result(2), (RELAYED, "2.0.0", ""), (DEFERRED, "4.3.5", "wrong transport"))
            self.assertEqual([m.recipients for m in server.messages], [["smtps@a.example"]])


class Silent(Smarthost):
    settings = 'idle_timeout = "0" ' + PATIENT.replace('greeting_timeout = "60s"', 'greeting_timeout = "1s"').replace('tls_timeout = "60s"', 'tls_timeout = "5s"')

    def test_a_host_that_says_nothing(self):
        with socket.create_server(("127.0.0.2", self.remote.port)):
            begun = time.monotonic()
            self.check(self.send(), (DEFERRED, "4.7.5", "TLS with host %s[127.0.0.2]: timeout" % NAME), site_failed=1)
            self.assertLess(time.monotonic() - begun, 40)  # 60 are the other times

    def test_a_host_that_says_nothing_in_tls(self):
        self.waits(self.smart(GREETING=HANG), "4.4.2", "timed out in the conversation with %s[127.0.0.2] while receiving the initial server greeting" % NAME)

    def test_smtp_to_a_host_that_waits_for_tls(self):
        result = self.waits(self.smart(), "4.4.2", "while receiving the initial server greeting", dict(transport="smtp"))
        self.assertIn("; a host that waits for TLS from the first byte takes smtps: in via", result.outcomes[0].reply)


# ---- by a proxy, from a source ---------------------------------------------------------------------------------------------------------


def exactly(sock, n):
    octets = b""
    while len(octets) < n:
        more = sock.recv(n - len(octets))
        if not more:
            raise OSError("it hung up")
        octets += more
    return octets


class BehindSocks(Server):
    """A SOCKS proxy, and the host behind it in one."""

    def session(self, sock):
        exactly(sock, exactly(sock, 2)[1])
        sock.sendall(b"\5\0")
        self.asked = exactly(sock, 10)
        sock.sendall(b"\5\0\0\1" + bytes(6))
        return super().session(sock)


class BehindHaproxy(Server):
    def session(self, sock):
        self.asked = exactly(sock, 16)
        self.asked += exactly(sock, struct.unpack("!H", self.asked[14:])[0])
        return super().session(sock)


class Seen(Server):
    def session(self, sock):
        self.peer = sock.getpeername()[0]
        return super().session(sock)


class Ways(Smarthost):
    """What stands between is told what it must be told in plain, and then the first octet is TLS's."""
    address = "192.0.2.7"

    @classmethod
    def setUpClass(cls):
        cls.socks_port, cls.haproxy_port = host.free_port(), host.free_port()
        cls.routes = """source "out" { address = "127.0.0.11" hostname = "out.example" }
route "socks.example" { via = "smtps:[smart.example]" proxy = "socks5:127.0.0.1:%d" }
route "ha.example" { via = "smtps:[smart.example]" proxy = "haproxy:127.0.0.1:%d" sources = { out } }
route "from.example" { via = "smtps:[smart.example]" sources = { out } }""" % (cls.socks_port, cls.haproxy_port)
        super().setUpClass()

    def through(self, kind, **more):
        port, route, source = (self.socks_port, "socks.example", "") if kind is BehindSocks else (self.haproxy_port, "ha.example", "out")
        self.remote.names.table[NAME] = [(NAME, self.address)]
        self.addCleanup(self.remote.names.table.update, {NAME: [(NAME, "127.0.0.2")]})
        more.setdefault("implicit", True)
        with kind("127.0.0.1", port, certificate=more.pop("certificate", self.good), **more) as server:
            result = self.send(nexthop="[%s]" % NAME, route=route, source=source)
            return server, result

    def test_socks(self):
        server, result = self.through(BehindSocks)
        self.check(result, (RELAYED, "2.0.0", ""))
        self.assertEqual(server.asked, b"\5\1\0\1" + socket.inet_aton(self.address) + struct.pack("!H", 465))
        self.assertEqual([m.secured for m in server.messages], ["TLSv1.3"])

    def test_haproxy(self):
        server, result = self.through(BehindHaproxy)
        self.check(result, (RELAYED, "2.0.0", ""))
        self.assertEqual(server.asked[16:], socket.inet_aton("127.0.0.11") + socket.inet_aton(self.address) + struct.pack("!HH", 0, 465))
        self.assertEqual([(m.secured, server.sessions[0].commands[0]) for m in server.messages], [("TLSv1.3", "EHLO out.example")])

    def test_a_certificate_of_another_and_plain_text_behind_a_proxy(self):
        for kind in (BehindSocks, BehindHaproxy):
            server, result = self.through(kind, certificate=self.bad)
            self.check(result, (DEFERRED, "4.7.5", "certificate: hostname mismatch"), site_failed=1)
            server, result = self.through(kind, implicit=False)
            self.check(result, (DEFERRED, "4.7.5", Trouble.NOT_TLS), site_failed=1)
            self.assertEqual(server.received, [])

    def test_from_a_source(self):
        with Seen(self.at_an_address_of_its_own(), 465, certificate=self.good, implicit=True) as server:
            self.check(self.send(nexthop="[%s]" % NAME, route="from.example", source="out"), (RELAYED, "2.0.0", ""))
            self.assertEqual((server.peer, server.sessions[0].commands[0]), ("127.0.0.11", "EHLO out.example"))


# ---- logins ----------------------------------------------------------------------------------------------------------------------------


class Login(test_login.Base):
    transport = "smtps"

    def smart(self, **more):
        more.setdefault("implicit", True)
        return super().smart(**more)

    def test_a_password_is_said_within_tls(self):
        server = self.delivered("PLAIN")
        self.assertEqual(len(server.said("AUTH PLAIN ")), 1)
        self.assertNotIn("STARTTLS", server.sessions[0].commands)

    def test_nothing_is_said_to_another(self):
        self.waits("4.7.5", "TLS with host", certificate=self.bad)
        self.waits("4.7.5", Trouble.NOT_TLS, implicit=False)

    def test_a_wrong_password(self):
        self.waits("4.7.8", "with 535", secret="another")

    def test_mail_that_was_taken_when_the_route_said_smtp_goes_where_the_login_is(self):
        """In whatever way the queue has it: by TLS from the first byte, and to nobody else."""
        with Server("127.0.0.3", self.port, certificate=self.good) as former:
            self.names.table["a.example"] = [(NAME, "127.0.0.3")]
            for nexthop, tls in ((None, "verify"), (None, "may"), ("[127.0.0.3]:%d" % self.port, "none"), ("a.example:%d" % self.port, "dane")):
                with self.smart() as server:
                    self.assertEqual(self.outcome(self.deliver(transport="smtp", nexthop=nexthop, tls=tls)), (RELAYED, "2.0.0"))
                    self.assertEqual([m.secured for m in server.messages], ["TLSv1.3"])
            self.assertEqual(former.sessions, [])


class LoginBack(test_login.Base):
    """The other way round: the route says smtp: now, and some mail in the queue is of smtps:."""

    def test_it_goes_by_starttls(self):
        with self.smart() as server:
            self.assertEqual(self.outcome(self.deliver(transport="smtps")), (RELAYED, "2.0.0"))
            self.assertEqual(server.sessions[0].commands[1], "STARTTLS")


class LoginNear(test_login.Base):
    transport, via, route = "smtps", "[127.0.0.2]", "tls = encrypt"

    def test_an_address_of_this_host_has_tls_as_well(self):
        self.good = self.made.sign("other.example")
        with self.smart(implicit=True) as server:
            self.assertEqual(self.outcome(self.deliver(tls="encrypt")), (RELAYED, "2.0.0"))
            self.assertEqual([m.secured for m in server.messages], ["TLSv1.3"])


# ---- whole hosts -----------------------------------------------------------------------------------------------------------------------


class Postfix(servers.Postfix):
    """smtps of its master.cf."""

    def _configure(self, more):
        super()._configure(more)
        self.first_byte = host.free_port()
        with open(self.path("etc", "master.cf"), "a", encoding="ascii") as f:
            f.write("127.0.0.1:%d inet n - n - - smtpd -o smtpd_tls_wrappermode=yes\n" % self.first_byte)


class Exim(mtas.Exim):
    def configure(self):
        super().configure()
        self.first_byte = host.free_port()
        path = self.path("etc", "exim4", "exim4.conf")
        with open(path, encoding="ascii") as f:
            text = f.read()
        both = "daemon_smtp_ports = %d : %d\ntls_on_connect_ports = %d\n" % (self.port, self.first_byte, self.first_byte)
        with open(path, "w", encoding="ascii") as f:
            f.write(text.replace("daemon_smtp_ports = %d\n" % self.port, both))


@unittest.skipUnless(os.geteuid() == 0, "takes root: the servers' own users")
class Whole(unittest.TestCase):
    def directory(self):
        made = test_login.tempfile.mkdtemp(prefix="postino-test-", dir="/var/tmp")
        os.chmod(made, 0o755)
        self.addCleanup(test_login.shutil.rmtree, made)
        return made

    def sender(self, routes, authorities, more=""):
        bundle = os.path.join(self.directory(), "authorities")
        with open(bundle, "w", encoding="ascii") as out:
            for path in authorities:
                with open(path, encoding="ascii") as f:
                    out.write(f.read())
        return host.Host(hostname="sender.example", domains={}, tls=False, routes=routes, settings=(
            "tls { authorities = \"%s\" }\nremote { loopback = yes address_family = ipv4 }\nqueue { retry_first = 2s retry_most = 2s }\nlimit { bare_newline = normalize }\n%s" % (bundle, more)))

    def submit(self, sender, recipients, texts):
        with sender.smtp() as client:
            for text in texts:
                client.ehlo_or_helo_if_needed()
                self.assertEqual(client.mail("s@sender.example", ["BODY=8BITMIME"])[0], 250)
                for recipient in recipients:
                    self.assertEqual(client.rcpt(recipient)[0], 250)
                self.assertEqual(client.data(text)[0], 250)

    def test_real_servers_keep_every_message_byte_for_byte(self):
        """Postfix, Exim, and Postino behind a login that is bound to the TLS."""
        texts = [text for _, text in host.corpus()]
        with contextlib.ExitStack() as stack:
            postfix = stack.enter_context(Postfix(virtual_mailbox_domains="postfix.example", virtual_mailbox_maps="inline:{alice@postfix.example=alice/}", message_drop_headers=""))
            made = self.directory()
            exim = stack.enter_context(Exim(certificate=host.certificate(made), domain="exim.example"))
            receiver = stack.enter_context(test_login.Real.postino(["SCRAM-SHA-256-PLUS"]))
            secret = os.path.join(made, "secret")
            with open(secret, "w", encoding="ascii") as f:
                f.write(SECRET + "\n")
            os.chmod(secret, 0o600)
            own = test_login.Sender.domain("SCRAM-SHA-256-PLUS")
            routes = {"postfix.example": "smtps:[localhost]:%d" % postfix.first_byte, "exim.example": "smtps:[localhost]:%d" % exim.first_byte,
                      own: "via = \"smtps:[localhost]:%d\" login = plus" % receiver.submissions_port}
            login = 'login "plus" { user = "%s" secret = "%s" mechanisms = "SCRAM-SHA-256-PLUS" }' % (USER, secret)
            sender = stack.enter_context(self.sender(routes, [postfix.path("localhost.crt"), exim.certificate[0], receiver.cert], login))
            boxes = {"alice@postfix.example": postfix.messages, "alice@exim.example": exim.messages, "alice@" + own: lambda: receiver.messages("alice")}
            self.submit(sender, list(boxes), texts)
            wait_for(sender.queue_is_empty, 240)
            for recipient, messages in boxes.items():
                with self.subTest(recipient):
                    wait_for(lambda: len(messages()) >= len(texts), 120)
                    got = [test_next_hosts.handed_over(message, b"sender.example") for message in messages()]
                    test_next_hosts.NextHosts.same(self, got, [text.replace(b"\r\n", b"\n") for text in texts])
                    sent = re.findall(r'to=<%s> .*tls="TLSv1\.3 [^"]*, verify, verified[^"]*".* status=sent' % re.escape(recipient), sender.log())
                    self.assertEqual(len(sent), len(texts))
            self.assertEqual(len(re.findall(r"login plus by SCRAM-SHA-256-PLUS\".* status=sent", sender.log())), len(texts))
            self.assertNotRegex(sender.log(), "status=(bounced|expired|deferred)")

    def test_the_queue_keeps_it(self):
        """Over a restart, and when the route is gone: it goes by TLS from the first byte, or not at all."""
        port, made = host.free_port(), self.directory()
        certificate = host.certificate(made)
        name = "[localhost]:%d" % port
        with self.sender({"*": "smtps:" + name}, [certificate[0]]) as sender:
            self.submit(sender, ["x@a.example"], [b"Subject: kept\r\n\r\nx\r\n"])
            sender.wait_log(r"site=.?smtps:\[localhost\]:%d.* error=.*Connection refused" % port)
            self.assertIn("smtps:%s verify" % name, sender.tool("postino", "sites").stdout)
            why = sender.tool("postino", "why", "--client", "127.0.0.1", "--from", "s@sender.example", "--to", "x@a.example")
            self.assertIn("by smtps " + name, why.stdout + why.stderr)
            with Server("127.0.0.1", port) as plain:
                sender.tool("postino", "queue", "flush", name)
                sender.wait_log(re.escape(Trouble.NOT_TLS))
                self.assertEqual(plain.received, [])
            sender.stop()
            sender.configure(domains={}, routes={}, settings="tls { authorities = \"%s\" }\nremote { loopback = yes address_family = ipv4 }\nqueue { retry_first = 2s retry_most = 2s }" % certificate[0])
            dump = sender.path("dump")
            done = sender.tool("postino", "spool", "dump", "--to", dump)
            self.assertEqual(done.returncode, 0, done.stderr)
            said = "".join(f.read_text(errors="replace") for f in pathlib.Path(dump).glob("*.envelope"))
            self.assertRegex(said, r"transport\W+smtps\b")
            with Server("127.0.0.1", port, certificate=certificate, implicit=True) as server:
                sender.start()
                wait_for(lambda: server.messages)
                wait_for(sender.queue_is_empty)
                self.assertEqual([(m.recipients, m.secured) for m in server.messages], [(["x@a.example"], "TLSv1.3")])

    def test_a_file_that_would_do_without_tls_is_refused(self):
        for tls in ("none", "may"):
            sender = self.sender({"*": 'via = "smtps:[localhost]" tls = %s' % tls}, [])
            self.addCleanup(sender.close)
            done = sender.tool("postino", "check")
            self.assertEqual(done.returncode, 78, done.stdout + done.stderr)
            self.assertIn("tls = %s would do without the TLS that smtps: begins with" % tls, done.stdout + done.stderr)


if __name__ == "__main__":
    unittest.main()
