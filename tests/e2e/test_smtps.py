"""Smarthosts with TLS from the first byte (RFC 8314 3.3): postino-remote alone against scripted hosts, and whole Postinos against real servers."""
import hashlib
import socket
import ssl
import time
import unittest

import frames
import host
import test_remote
from hostile import DROP, HANG, Raw, Server
from test_remote import BODY, DEFERRED, FAILED, RELAYED, TIMES
from test_remote_security import Certificates

NAME = "smart.example"


def sum_of(certificate):
    with open(certificate[0], encoding="ascii") as f:
        text = f.read()
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(text[:text.index("-----END") + 25])).hexdigest()


class Smarthost(test_remote.Base):
    """remote alone; the smarthost is 127.0.0.2, on a port of its own."""
    settings = 'idle_timeout = "0" ' + TIMES
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
        with Server("127.0.0.2", 465, certificate=self.good, implicit=True) as server:
            result = self.send(nexthop="[%s]" % NAME)
            self.check(result, (RELAYED, "2.0.0", ""))
            self.assertEqual((result.peer, len(server.messages)), (NAME + "[127.0.0.2]:465", 1))

    def test_a_session_is_resumed(self):
        with self.smart() as server:
            for _ in range(3):
                self.check(self.send(), (RELAYED, "2.0.0", ""))
            self.assertEqual([s.resumed for s in server.sessions], [False, True, True])

    def test_one_session_for_more_than_one_message(self):
        remote = test_remote.Remote(TIMES, self.rest)
        self.addCleanup(remote.close)
        with remote.server(certificate=self.good, implicit=True) as server:
            for _ in range(3):
                self.check(remote.deliver(nexthop="[127.0.0.2]:%d" % remote.port, tls="encrypt", transport="smtps"), (RELAYED, "2.0.0", ""))
            self.assertEqual((len(server.sessions), len(server.messages)), (1, 3))

    def test_the_next_address_where_one_is_not_the_host(self):
        self.remote.names.table["two.smart.example"] = [(NAME, "127.0.0.2 127.0.0.3")]
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

    def publish(self, *records, dane=frames.DANE_RECORDS):
        def answer(name, plain=type(self.remote.names).answer):
            found = plain(self.remote.names, name)
            for h in found.get("hosts", ()):
                h.update(dane=dane, base=NAME if dane == frames.DANE_RECORDS else "", tlsa=", ".join(records))
            return found
        self.remote.names.answer = answer
        self.addCleanup(self.remote.names.__dict__.pop, "answer", None)

    def test_dane_where_there_are_records(self):
        self.publish("3 0 1 " + sum_of(self.made.alone))
        self.relayed(", dane, verified 3 0 1 of " + NAME, certificate=self.made.alone, tls="dane")
        self.waits(self.smart(), "4.7.5", "no matching DANE TLSA records", dict(tls="dane"))

    def test_dane_is_verify_where_there_are_none(self):
        """A route that is content with what the receiver publishes is not content with nothing; no header of a stranger changes that."""
        for flags in (0, frames.ENVELOPE_TLS_OPTIONAL):
            self.relayed(", verify, verified", tls="dane", flags=flags)
            self.waits(self.smart(self.made.alone), "4.7.5", "self-signed certificate", dict(tls="dane", flags=flags))

    def test_dane_only(self):
        with self.smart() as server:
            self.check(self.send(tls="dane-only"), (DEFERRED, "4.7.5", "it has no TLSA records"))
            self.assertEqual(server.sessions, [])

    def test_no_record_of_the_queue_makes_it_plain(self):
        """Nobody makes such a record: a route can't say it, and qmgr takes it from nobody."""
        for tls in ("none", "may"):
            with self.smart() as server, self.remote.server("127.0.0.3") as plain:
                self.check(self.send(tls=tls), (FAILED, "5.4.4", "no valid route"))
                self.assertEqual((server.sessions, plain.sessions), ([], []))

    def test_no_domain_is_such_a_host(self):
        self.check(self.send(nexthop="a.example"), (FAILED, "5.4.4", "no valid route"))

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

    def test_a_host_that_says_nothing(self):
        with socket.create_server(("127.0.0.2", self.remote.port)):
            begun = time.monotonic()
            self.check(self.send(), (DEFERRED, "4.7.5", "TLS with host %s[127.0.0.2]: timeout" % NAME), site_failed=1)
            self.assertLess(time.monotonic() - begun, 10)

    def test_a_host_that_says_nothing_in_tls(self):
        self.waits(self.smart(GREETING=HANG), "4.4.2", "timed out in the conversation with %s[127.0.0.2] while receiving the initial server greeting" % NAME)

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

    def test_smtp_to_a_host_that_waits_for_tls(self):
        result = self.waits(self.smart(), "4.4.2", "while receiving the initial server greeting", dict(transport="smtp"))
        self.assertIn("; a host that waits for TLS from the first byte takes smtps: in via", result.outcomes[0].reply)

    def test_recipients_of_two_transports_are_no_job(self):
        nexthop = "[%s]:%d" % (NAME, self.remote.port)
        recipients = [dict(address="%s@a.example" % t, transport=t, nexthop=nexthop, tls="verify") for t in ("smtps", "smtp")]
        with self.smart() as server:
            self.remote.qmgr.send("DELIVER", id=77, nexthop=nexthop, tls="verify", sender="s@a.example", size=len(BODY), body=BODY, recipients=recipients)
            self.check(self.remote.result(2), (RELAYED, "2.0.0", ""), (DEFERRED, "4.3.5", "wrong transport"))
            self.assertEqual([m.recipients for m in server.messages], [["smtps@a.example"]])


if __name__ == "__main__":
    unittest.main()
