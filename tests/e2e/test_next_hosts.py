"""Real next hosts: Debian's Postfix, Exim and OpenSMTPD, found by the MX records of a signed zone, and Dovecot by LMTP. Each gets all of the sample of real messages, and
keeps it byte for byte; the books balance. Postfix and Exim are proved by TLSA records. OpenSMTPD has none: Debian 12's offers STARTTLS, and fails in each handshake (it does
not go with OpenSSL 3), so that all of its mail goes the way back to plain."""
import collections
import os
import re
import sys
import tempfile
import unittest

from dovecot_lmtp import DovecotLmtp
from host import ROOT, certificate, corpus, wait_for
from mtas import Exim, OpenSMTPD
from netns import needs_root, within
from world import World
from zones import Zone, spki

sys.path.insert(0, os.path.join(ROOT, "tests", "conformance"))
import servers  # noqa: E402

SENDER, BOX = "alice@client.example", "alice@dovecot.example"
BEFORE = {b"received", b"return-path", b"delivered-to", b"x-original-to", b"envelope-to", b"delivery-date"}


def handed_over(raw, by=b"mx.local.example"):
    """What Postino was given: a message behind what the next host has put in front, and behind Postino's own trace line. LF line ends."""
    lines = raw.replace(b"\r\n", b"\n").split(b"\n")
    while lines:
        field = lines.pop(0)
        while lines[0][:1] in (b" ", b"\t"):
            field += lines.pop(0)
        if field.split(b":")[0].lower() not in BEFORE:
            raise AssertionError("put in front: %r" % field)
        if field.startswith(b"Received:") and b"by " + by in field:
            return b"\n".join(lines)
    raise AssertionError("no trace line of Postino's")


class Postfix(servers.Postfix):
    def __init__(self, address, port, where, certificate, domain):
        super().__init__(address, port, where, virtual_mailbox_domains=domain, virtual_mailbox_maps="inline:{alice@%s=alice/}" % domain, mynetworks="127.0.0.1/32",
                         relay_domains="", myhostname="mx." + domain, mydestination="", message_drop_headers="", smtpd_tls_cert_file=certificate[0], smtpd_tls_key_file=certificate[1])


@needs_root
class NextHosts(unittest.TestCase):
    kinds = {"postfix": (Postfix, "192.0.2.2"), "exim": (Exim, "192.0.2.3"), "opensmtpd": (OpenSMTPD, "192.0.2.4")}
    proved = "postfix", "exim"

    @classmethod
    def setUpClass(cls):
        world = cls.enterClassContext(World())
        pairs = {name: certificate(world.directory, "mx.%s.example" % name) for name in cls.kinds}
        records = "".join("{0} MX 10 mx.{0}\nmx.{0} A {1}\n".format(name, address) for name, (_, address) in cls.kinds.items())
        records += "".join("_25._tcp.mx.%s TLSA 3 1 1 %s\n" % (name, spki(pairs[name][0])) for name in cls.proved)
        world.tree({".": Zone(), "example": Zone(records)})
        cls.hosts = {"alice@%s.example" % name: cls.enterClassContext(kind(address, 25, within(world.far), pairs[name], name + ".example")) for name, (kind, address) in cls.kinds.items()}
        directory = cls.enterClassContext(tempfile.TemporaryDirectory(prefix="postino-test-", dir="/var/tmp"))
        cls.dovecot = cls.enterClassContext(DovecotLmtp(os.path.join(directory, "dovecot"), [BOX]))
        os.chmod(directory, 0o755)
        cls.host = world.postino("remote { loopback = no }\nlimit { bare_newline = normalize }\nqueue { retry_first = 2s retry_most = 2s }",
                                 routes={"dovecot.example": "via = \"lmtp:unix:%s\"" % cls.dovecot.socket})

    def send(self, recipients, texts):
        with self.host.smtp() as client:
            for text in texts:
                client.ehlo_or_helo_if_needed()
                self.assertEqual(client.mail(SENDER, ["BODY=8BITMIME"])[0], 250)
                for recipient in recipients:
                    self.assertEqual(client.rcpt(recipient)[0], 250)
                code, reply = client.data(text)
                self.assertEqual(code, 250, reply)

    def messages(self, recipient):
        if recipient == BOX:
            return self.dovecot.messages(BOX)
        return self.hosts[recipient].messages()

    def test_each_keeps_every_message_byte_for_byte(self):
        texts = [text for _, text in corpus()]
        recipients = [*self.hosts, BOX]
        self.send(recipients, texts)
        wanted = [text.replace(b"\r\n", b"\n") for text in texts]
        wait_for(self.host.queue_is_empty, 60)
        for recipient in recipients:
            with self.subTest(recipient):
                wait_for(lambda: len(self.messages(recipient)) >= len(texts), 60)
                self.same(map(handed_over, self.messages(recipient)), wanted)
        self.balance(recipients, len(texts))

    def same(self, got, wanted):
        got, wanted = collections.Counter(got), collections.Counter(wanted)
        self.assertEqual([text[:300] for text in got - wanted], [])
        self.assertEqual([text[:300] for text in wanted - got], [])

    def balance(self, recipients, count):
        """Sent once each; proved where there is TLS."""
        lines = re.findall(r"to=<(\S+)> .*status=(\w+)(.*)", self.host.log())
        self.assertEqual([line for line in lines if "in_doubt" in line[2] or line[1] in ("bounced", "expired")], [])
        self.assertEqual(collections.Counter(line[0] for line in lines if line[1] == "sent"), {recipient: count for recipient in recipients})
        for name in self.proved:
            proved = re.findall(r"to=<alice@%s.example> .*tls=\"TLSv1\.3 [^\"]*, dane, verified [^\"]*of mx.%s.example\".* status=sent" % (name, name), self.host.log())
            self.assertEqual(len(proved), count, name)
        self.assertIn("once more without TLS", self.host.log())


if __name__ == "__main__":
    unittest.main(verbosity=2)
