"""REQUIRETLS and TLS-Required (RFC 8689): who asks for TLS at each hop gets it, proved, or his mail back."""
import unittest

import frames
import host
from certificates import BASE, Certificates
from hostile import Server
from host import DOMAIN, Host, wait_for
from remote import DEFERRED, FAILED, RELAYED, Remote, Security

TEXT = b"From: alice@local.example\r\nSubject: secret\r\n\r\nthe body of it\r\n"


class ToAHost(Security):
    """postino-remote alone."""
    rest = 'tls { authorities = "AUTHORITY" }'

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.remote.names.table["b.example"] = [("mx0.a.example", "127.0.0.2"), (BASE, "127.0.0.3")]
        plain = cls.remote.names.answer
        cls.secure = 1
        cls.remote.names.answer = lambda name: dict(plain(name), secure=cls.secure)

    def serve(self, *extensions, certificate="signed", address="127.0.0.2", **script):
        server = self.remote.server(address, extensions=("PIPELINING",) + extensions, certificate=certificate and getattr(self.made, certificate), **script)
        self.addCleanup(server.close)
        return server

    def deliver(self, *recipients, **more):
        more.setdefault("tls", "may")
        return self.remote.deliver(*recipients, flags=frames.ENVELOPE_REQUIRETLS, **more)

    def test_it_goes_on_with_the_parameter_over_tls_that_is_proved(self):
        for policy in "none", "may", "encrypt", "dane", "verify":
            with self.subTest(policy):
                server = self.serve("REQUIRETLS")
                result = self.deliver(tls=policy)
                self.check(result, (RELAYED, "2.0.0", ""))
                self.assertIn("verify, verified", result.security)
                self.assertTrue(server.messages[0].secured)
                self.assertIn("MAIL FROM:<s@from.example> REQUIRETLS", server.sessions[0].commands)
                server.close()

    def test_a_host_that_does_not_offer_it(self):
        server = self.serve("REQUIRETLSX")
        self.check(self.deliver(), (FAILED, "5.7.30", "REQUIRETLS is required"))
        self.assertNotIn("MAIL", " ".join(server.sessions[0].commands))

    def test_a_host_that_offers_it_without_tls(self):
        server = self.serve("REQUIRETLS", certificate=None)
        self.check(self.deliver(), (FAILED, "5.7.10", "STARTTLS was not offered"))
        self.assertEqual(server.received, [])

    def test_a_certificate_that_proves_nothing_holds_it_back(self):
        for certificate in "alone", "elsewhere", "expired":
            with self.subTest(certificate):
                server = self.serve("REQUIRETLS", certificate=certificate)
                self.check(self.deliver(), (DEFERRED, "4.7.5", "TLS with host"), site_failed=1)
                self.assertEqual(server.received, [])
                server.close()

    def test_starttls_that_is_refused_holds_it_back(self):
        server = self.serve("REQUIRETLS", STARTTLS="454 4.7.0 not now")
        self.check(self.deliver(), (DEFERRED, "4.7.4", ""), site_failed=1)
        self.assertEqual(server.received, [])

    def test_a_host_that_only_dns_names_must_be_proved_by_dnssec(self):
        self.serve("REQUIRETLS")
        type(self).secure = 0
        self.addCleanup(setattr, type(self), "secure", 1)
        self.check(self.deliver(), (FAILED, "5.7.10", "DNSSEC"))
        self.check(self.deliver(tls="verify"), (RELAYED, "2.0.0", ""))  # the administrator relies on the name
        self.check(self.deliver(nexthop="[mx0.a.example]"), (FAILED, "5.4.4", "not found"))

    def test_the_next_host_of_the_domain_may_do(self):
        first, second = self.serve(), self.serve("REQUIRETLS", address="127.0.0.3")
        self.check(self.deliver("x@b.example", nexthop="b.example"), (RELAYED, "2.0.0", ""))
        self.assertEqual((len(first.messages), len(second.messages)), (0, 1))
        first.close()  # down for now: it may do later
        second.close()
        self.serve(address="127.0.0.3")
        result = self.deliver("x@b.example", nexthop="b.example")
        self.check(result, (DEFERRED, "4.7.30", "REQUIRETLS is required"))

    def test_a_host_that_can_not_have_it_is_no_host_that_is_down(self):
        """The other is. Mail that does not ask for it still goes to the first."""
        first = self.serve()
        for _ in range(4):
            result = self.deliver("x@b.example", nexthop="b.example")
            self.check(result, (DEFERRED, "4.7.30", "REQUIRETLS is required"))  # site_failed=0
        self.check(self.remote.deliver("x@b.example", nexthop="b.example"), (RELAYED, "2.0.0", ""))
        self.assertEqual(len(first.messages), 1)
        first.close()
        self.check(self.deliver("x@b.example", nexthop="b.example"), (DEFERRED, "4.4.1", "refused"), site_failed=1)

    def test_sessions_are_not_shared_with_other_mail(self):
        with Remote('idle_timeout = "5m"') as remote, Server("127.0.0.2", remote.port, extensions=("PIPELINING",)) as server:
            remote.deliver()
            remote.qmgr.send("DELIVER", id=9, nexthop="a.example", tls="none", sender="s@from.example", flags=frames.ENVELOPE_REQUIRETLS, size=3, body=b"x\r\n",
                             recipients=[dict(address="r@a.example", transport="smtp", nexthop="a.example", tls="none")])
            self.assertEqual(remote.result().outcomes[0].verdict, FAILED)
            self.assertEqual(len(server.messages), 1)

    def test_tls_required_no_waives_what_the_receiver_publishes_and_no_more(self):
        server = self.serve(certificate=None)
        plain = self.remote.names.answer
        self.addCleanup(setattr, self.remote.names, "answer", plain)

        def troubled(name):
            found = plain(name)
            for h in found.get("hosts", ()):
                h.update(dane=frames.DANE_TROUBLE)
            return found
        self.remote.names.answer = troubled
        self.check(self.remote.deliver(tls="dane"), (DEFERRED, "4.7.5", "TLSA"))
        self.check(self.remote.deliver(tls="dane", flags=frames.ENVELOPE_TLS_OPTIONAL), (RELAYED, "2.0.0", ""))
        self.check(self.remote.deliver(tls="encrypt", flags=frames.ENVELOPE_TLS_OPTIONAL), (DEFERRED, "4.7.4", "TLS is required"), site_failed=1)
        self.check(self.remote.deliver(tls="dane", flags=frames.ENVELOPE_TLS_OPTIONAL | frames.ENVELOPE_REQUIRETLS), (DEFERRED, "4.7.5", ""))
        self.assertEqual(len(server.messages), 1)


class BetweenHosts(unittest.TestCase):
    """Two Postinos, with an authority of their own."""

    def start(self, *arguments, **more):
        started = Host(*arguments, **more)
        self.addCleanup(started.close)
        return started.start()

    def first(self, second_port, authorities):
        return self.start(hostname="first.example", routes={"far.example": "smtp:[localhost]:%d" % second_port}, tls=True,
                          settings='tls { authorities = "%s" }\nremote { loopback = yes address_family = ipv4 }\nqueue { retry_first = 1s }' % authorities)

    def send(self, first, recipient, options, text=TEXT):
        with first.smtp(local_hostname="client.example") as client:
            client.starttls(context=first.tls_context())
            client.ehlo("client.example")
            self.assertTrue(client.has_extn("requiretls"))
            self.assertEqual(client.mail("alice@" + DOMAIN, options)[0], 250)
            self.assertEqual(client.rcpt(recipient)[0], 250)
            self.assertEqual(client.data(text)[0], 250)

    def test_a_promise_is_kept_from_host_to_host(self):
        made = self.enterContext(Certificates())
        pair = made.sign("localhost")
        second = Host(hostname="second.example")
        self.addCleanup(second.close)
        second.configure(domains={"far.example": 'mailboxes = "hash:%s" directory = "%s" owner = "%d"' % (second.path("boxes"), second.path("mail"), host.MAIL_UID)},
                         routes={}, relay_from=())
        with open(second.path("boxes"), "w") as f:
            f.write("bob@far.example bob/\n")
        second.tool("postino", "map", "hash:" + second.path("boxes"), check=True)
        with open(second.config) as f:
            text = f.read().replace(second.cert, pair[0]).replace(second.key, pair[1])
        with open(second.config, "w") as f:
            f.write(text)
        second.start()
        first = self.first(second.port, made.authority[0])
        self.send(first, "bob@far.example", ["REQUIRETLS"])
        wait_for(lambda: second.messages("bob"), 60)
        self.assertIn(b" with ESMTPS id ", second.messages("bob")[0])
        first.wait_log(r"to=<bob@far\.example> .*verify, verified.* status=sent")
        wait_for(first.queue_is_empty)

    def test_what_can_not_be_kept_comes_back_without_its_body(self):
        made = self.enterContext(Certificates())
        port = host.free_port()
        first = self.first(port, made.authority[0])
        with Server("127.0.0.1", port, certificate=made.sign("localhost")) as server:
            self.send(first, "bob@far.example", ["REQUIRETLS", "RET=FULL"])
            wait_for(lambda: first.messages("alice"), 60)
            self.assertEqual(server.received, [])
        report = first.messages("alice")[0]
        self.assertIn(b"\nStatus: 5.7.30\n", report)
        self.assertIn(b"\nSubject: secret\n", report)
        self.assertIn(b"Content-Type: text/rfc822-headers\n", report)
        self.assertNotIn(b"the body of it", report)

    def test_its_report_asks_for_the_same(self):
        made = self.enterContext(Certificates())
        port = host.free_port()
        first = self.first(port, made.authority[0])
        with Server("127.0.0.1", port, certificate=made.sign("localhost"), extensions=("PIPELINING", "REQUIRETLS"), steps={"RCPT bad": "550 5.1.1 no"}) as server:
            with first.smtp(local_hostname="client.example") as client:
                client.starttls(context=first.tls_context())
                client.sendmail("back@far.example", ["bad@far.example"], TEXT, ["REQUIRETLS"])
            wait_for(lambda: server.messages, 60)
            self.assertEqual(server.messages[0].recipients, ["back@far.example"])
            self.assertNotIn(b"the body of it", server.messages[0].body)
            self.assertIn("REQUIRETLS", next(c for s in server.sessions for c in s.commands if c.startswith("MAIL FROM:<>")))

    def test_tls_required_no_travels_in_the_envelope(self):
        port = host.free_port()
        first = self.first(port, "/etc/ssl/certs/ca-certificates.crt")
        with Server("127.0.0.1", port) as server:
            self.send(first, "bob@far.example", [], b"TLS-Required: No\r\n" + TEXT)
            wait_for(lambda: server.messages, 60)
            self.assertIn(b"TLS-Required: No\r\n", server.messages[0].body)


if __name__ == "__main__":
    unittest.main()
