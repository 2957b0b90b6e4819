"""To which host a message goes (RFC 5321 5.1): backup MX, loops to oneself under each name that this host may have, null MX, literal addresses. A whole Postino
at 192.0.2.1 with names and next hosts in another network namespace."""
import re
import smtplib
import unittest

from host import wait_for
from netns import NEAR, inside, needs_root
from world import World

DEAD = "192.0.2.9"  # nobody listens there
ZONE = """
mx.local        A %s
local           MX 10 mx.local
alias           CNAME mx.local
second          A %s
dead            A %s
taker           A 192.0.2.2
backup          MX 10 dead
backup          MX 20 mx.local
backup          MX 20 taker
up              MX 10 taker
up              MX 20 mx.local
aliased         MX 10 dead
aliased         MX 20 alias
aliased         MX 30 taker
renamed         MX 10 dead
renamed         MX 20 second
vanished        MX 10 gone
vanished        MX 20 second
only            MX 10 mx.local
onlyalias       MX 10 alias
onlyrenamed     MX 10 second
equal           MX 10 mx.local
equal           MX 10 taker
best            MX 10 mx.local
best            MX 20 taker
self            A %s
null            MX 0 .
nullandmore     MX 0 .
nullandmore     MX 10 taker
relayed         MX 10 late
relayed         MX 20 mx.local
late            A 192.0.2.8
""" % (NEAR, NEAR, DEAD, NEAR)


@needs_root
class Routing(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.world = cls.enterClassContext(World())
        cls.world.name_server({"example": ZONE})
        cls.sinks = {2: cls.world.smtp_sink("192.0.2.2"), 6: cls.world.smtp_sink("2001:db8::5")}
        cls.host = cls.world.postino(
            "relay_to = { \"relayed.example\" }\nremote { loopback = no connect_timeout = 30s idle_timeout = 0s }\n"
            "dns { timeout = 30s }\nqueue { retry_first = 2s retry_most = 4s lifetime = 1h }", listeners={"smtp": "port = 25 address = \"%s\" tls = may" % NEAR})

    def send(self, recipient, status):
        """The line of the log about it."""
        self.host.sendmail(recipient)
        return self.host.outcome(recipient, status)

    def has(self, sink, recipient):
        return any(b"x-rcpt-args: <%s>" % recipient.lower().encode() in m.lower() for m in self.sinks[sink]())

    def is_loop(self, domain):
        line = self.send("x@" + domain, "bounced")
        self.assertIn("dsn=5.4.6", line)
        self.assertIn("loops back to myself", line)
        self.assertFalse(self.has(2, "x@" + domain))

    def waits(self, domain):
        self.assertIn("dsn=4.", self.send("x@" + domain, "deferred"))
        self.assertNotRegex(self.host.log(), r"to=<x@%s> .*status=bounced" % re.escape(domain))
        self.assertFalse(self.has(2, "x@" + domain))

    def test_the_only_host_is_this_one(self):
        for domain in ("only.example", "onlyalias.example", "onlyrenamed.example", "self.example"):
            self.is_loop(domain)

    def test_hosts_that_are_not_better_are_not_used(self):
        for domain in ("equal.example", "best.example"):
            self.is_loop(domain)

    def test_a_better_host_is_used(self):
        self.send("x@up.example", "sent")
        wait_for(lambda: self.has(2, "x@up.example"))

    def test_mail_waits_while_the_better_host_is_away(self):
        """whether our name is in the MX record, behind an alias, or seen in our own greeting alone"""
        for domain in ("backup.example", "aliased.example", "renamed.example", "vanished.example"):
            self.waits(domain)

    def test_a_backup_takes_mail_of_strangers_and_brings_it_when_the_better_host_is_back(self):
        with inside(self.world.far), smtplib.SMTP(NEAR, 25, timeout=60) as client:
            client.sendmail("a@elsewhere.example", "x@relayed.example", "Subject: later\r\n\r\nx\r\n")
        self.host.wait_log(r"to=<x@relayed\.example> .*status=deferred")
        self.sinks[8] = self.world.smtp_sink("192.0.2.8")
        wait_for(lambda: self.has(8, "x@relayed.example"))

    def test_null_mx(self):
        self.assertIn("dsn=5.1.10", self.send("x@null.example", "bounced"))
        self.send("x@nullandmore.example", "sent")  # RFC 7505 3: not one alone, so it is none

    def test_literal_addresses(self):
        for recipient, sink in (("x@[192.0.2.2]", 2), ("x@[IPv6:2001:db8::5]", 6)):
            self.send(recipient, "sent")
            wait_for(lambda: self.has(sink, recipient))
        self.send("x@[%s]" % DEAD, "deferred")
        self.assertIn("dsn=5.", self.send("x@[127.0.0.1]", "bounced"))


if __name__ == "__main__":
    unittest.main(verbosity=2)
