"""Names and hosts as on the Internet: a real authoritative name server and next hosts on port 25, in network namespaces."""
import unittest

from host import DOMAIN, MAIL_UID, Host, wait_for
from netns import needs_root
from world import World

ZONE = """
first          MX 10 mx1.first
first          MX 20 mx2.first
mx1.first      A 192.0.2.9
mx2.first      A 192.0.2.2
equal          MX 10 a.equal
equal          MX 10 b.equal
a.equal        A 192.0.2.3
b.equal        A 192.0.2.4
nomx           A 192.0.2.2
null           MX 0 .
six            MX 10 mx.six
mx.six         AAAA 2001:db8::5
nothing        TXT "neither MX nor address"
dangling       MX 10 absent.dangling
loop           MX 10 local
local          A 127.0.0.1
addresses      MX 10 mx.addresses
mx.addresses   A 192.0.2.9
mx.addresses   A 192.0.2.2
"""


@needs_root
class Names(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.world = cls.enterClassContext(World())
        cls.world.name_server({"example": ZONE})
        cls.sinks = {n: cls.world.smtp_sink("192.0.2.%d" % n) for n in (2, 3, 4)}
        cls.sinks[6] = cls.world.smtp_sink("2001:db8::5")
        cls.host = cls.world.postino(
            "remote { loopback = no connect_timeout = 30s idle_timeout = 0s }\ndns { timeout = 30s }\nqueue { retry_first = 2s retry_most = 4s lifetime = 1h }")

    def send(self, *recipients):
        self.host.sendmail(*recipients, text="From: alice@%s\nSubject: %s\n\nx\n" % (DOMAIN, recipients[0]))

    def taken(self, sink, recipient):
        return [m for m in self.sinks[sink]() if b"X-Rcpt-Args: <%s>" % recipient.encode() in m]

    def test_the_second_host_is_tried_when_the_first_is_down(self):
        self.send("x@first.example")
        wait_for(lambda: self.taken(2, "x@first.example"))
        self.assertIn("mx2.first.example[192.0.2.2]:25", self.host.outcome("x@first.example", "sent"))

    def test_all_addresses_of_a_host_are_tried(self):
        self.send("x@addresses.example")
        wait_for(lambda: self.taken(2, "x@addresses.example"))

    def test_equal_hosts_share(self):
        for sent in range(24, 240, 24):  # a connection may carry many of them when this machine is slow
            for i in range(sent - 24, sent):
                self.send("x%d@equal.example" % i)
            wait_for(lambda: len(self.sinks[3]()) + len(self.sinks[4]()) >= sent)
            if min(len(self.sinks[3]()), len(self.sinks[4]())) > 1:
                return
        self.fail("one of two has all")

    def test_no_MX_means_the_address_itself(self):
        self.send("x@nomx.example")
        wait_for(lambda: self.taken(2, "x@nomx.example"))

    def test_IPv6(self):
        self.send("x@six.example")
        wait_for(lambda: self.taken(6, "x@six.example"))

    def test_null_MX_is_final(self):
        self.send("x@null.example")
        self.assertRegex(self.host.outcome("x@null.example", "bounced"), r"dsn=5\.1\.10")

    def test_no_such_domain_is_final(self):
        self.send("x@absent.example")
        self.assertRegex(self.host.outcome("x@absent.example", "bounced"), r"dsn=5\.")

    def test_a_name_without_any_address_is_final(self):
        self.send("x@nothing.example")
        self.host.outcome("x@nothing.example", "bounced")
        self.send("x@dangling.example")
        self.host.outcome("x@dangling.example", "bounced")

    def test_a_name_server_that_refuses_is_temporary(self):
        self.send("x@zone.refused")
        self.assertRegex(self.host.outcome("x@zone.refused", "deferred"), r"dsn=4\.4\.3")

    def test_a_name_server_that_does_not_answer_is_temporary(self):
        """no host has the address 192.0.2.99"""
        with Host(namespace=self.world.near, settings="dns { server = \"192.0.2.99\" timeout = 2s }") as host:
            host.sendmail("x@first.example")
            host.wait_log(r"to=<x@first\.example> .*dsn=4\.4\.3.* status=deferred")

    def test_loopback_addresses_are_not_delivered_to(self):
        self.send("x@loop.example")
        self.host.outcome("x@loop.example", "(bounced|deferred)")
        self.assertNotRegex(self.host.log(), r"to=<x@loop\.example> .*status=sent")


@needs_root
class WellKnownPorts(unittest.TestCase):
    def test_ports_25_465_587_between_two_hosts(self):
        """three hosts as in use (a): a stranger's relay in one namespace, the domain's host in the other, found by its MX"""
        world = self.enterContext(World())
        world.name_server({"example": "local MX 10 mx.local\nmx.local A 192.0.2.2\n"})
        far = world.postino("remote { loopback = yes }", where=world.far, hostname="mx.local.example", listeners={
            "smtp": "port = 25 address = \"192.0.2.2\"", "submission": "port = 587 address = \"192.0.2.2\" tls = required auth = required",
            "submissions": "port = 465 address = \"192.0.2.2\" tls = implicit auth = required"})
        near = world.postino(hostname="relay.example", domains={"relay.example": "mailboxes = \"hash:%s\" directory = \"%s\" owner = \"%d\"" % (
            "/nonexistent", "/nonexistent", MAIL_UID)})
        near.sendmail("alice@local.example", sender="a@relay.example", text="Subject: over 25\n\nhello\n")
        wait_for(lambda: far.messages("alice"))
        self.assertIn(b"from relay.example (unknown [192.0.2.1])", far.messages("alice")[0])
        for port, how in ((587, ["--tls"]), (465, ["--tlsc"])):
            done = world.swaks("--server", "192.0.2.2:%d" % port, "--from", "alice@local.example", "--to", "bob@local.example",
                               "--auth", "PLAIN", "--auth-user", "alice", "--auth-password", "correct horse", *how, where=world.near)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        wait_for(lambda: len(far.messages("bob")) == 2)
        # a stranger may not relay
        done = world.swaks("--server", "192.0.2.2:25", "--from", "a@relay.example", "--to", "x@elsewhere.example", where=world.near)
        self.assertNotEqual(done.returncode, 0)
        self.assertRegex(done.stdout, r"<\*\* +5\d\d 5\.7\.1 .*[Rr]elay")


if __name__ == "__main__":
    unittest.main(verbosity=2)
