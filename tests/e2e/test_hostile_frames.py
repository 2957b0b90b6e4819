"""A program that was taken over speaks to the others: frames that lie, come too early, or are none. Those that it speaks to live on, and lose nothing."""
import re
import tempfile
import time
import unittest

import frames
from driven import Driven
from host import VARIANT

BODY = b"Subject: x\r\n\r\nx\r\n"
REMOTE = dict(address="x@away.example", transport="smtp", nexthop="[192.0.2.1]", tls="may")


def resident(pid):
    """Kilobytes of memory."""
    with open("/proc/%d/status" % pid) as f:
        return int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1))


class Early(Driven):
    """Its edges have something to say before START."""

    def __init__(self, name, settings, role, questions):
        self.questions = questions
        super().__init__(name, settings, edges=[role])

    def connect(self, role):
        channel = super().connect(role)
        for type_name, fields in self.questions:
            channel.send(type_name, **fields)
        time.sleep(0.3)  # it would look at them now
        return channel


class BeforeStart(unittest.TestCase):
    """A program reads nothing but the master's words until it is in its sandbox."""

    def answers(self, name, settings, role, *questions):
        with Early(name, settings, role, questions) as program:
            answers = [program.edges[role].receive() for _ in questions]
            self.assertTrue(program.running(), program.log())
        return answers

    def test_dns(self):
        got = self.answers("dns", 'dns { server = "127.0.0.1@9" timeout = "1s" }', "route", ("NAME", dict(address="192.0.2.7")))
        self.assertEqual(got[0].type, "NAMED")

    def test_qmgr(self):
        with tempfile.TemporaryDirectory(dir="/var/tmp") as spool:
            got = self.answers("qmgr", 'directory { spool = "%s" }' % spool, "smtpd", ("LEASE", dict(count=3)))
        self.assertEqual(got[0].type, "LEASED")
        self.assertGreater(got[0].first, 1 << 50)

    def test_route(self):
        got = self.answers("route", 'aliases = {}\nroute "*" { via = "smtp:" }', "smtpd", ("RCPT", dict(may_relay=1, recipient="x@away.example")))
        self.assertEqual(got[0].code, 250)

    def test_auth(self):
        got = self.answers("auth", "", "smtpd", ("AUTH", dict(conversation=1, client="192.0.2.7", mechanism="PLAIN", has_response=1, response=b"\0u\0p")))
        self.assertEqual(got[0].verdict, frames.AUTH_NOT_NOW)


class Qmgr(unittest.TestCase):
    def setUp(self):
        spool = tempfile.TemporaryDirectory(dir="/var/tmp")
        self.addCleanup(spool.cleanup)
        settings = 'directory { spool = "%s" }\nqueue { retry_first = "1s" retry_most = "1s" job_recipients = 1000 }' % spool.name
        self.qmgr = Driven("qmgr", settings, edges=["smtpd", "remote", "lmtp", "local", "dns", "route"])
        self.addCleanup(self.qmgr.close)
        self.smtpd, self.remote = self.qmgr.edges["smtpd"], self.qmgr.edges["remote"]
        self.addCleanup(self.smtpd.close)
        self.id = self.smtpd.ask("LEASE", count=100).first

    def another(self):
        """An edge to another smtpd."""
        channel = self.qmgr.connect("smtpd")
        self.addCleanup(channel.close)
        return channel

    def put(self, channel=None, id=None, **fields):
        fields = dict(dict(flow="f", sender="a@client.example", recipients=[REMOTE], body=BODY), **fields)
        return (channel or self.smtpd).ask("PUT", id=id or self.id, **fields).code

    def delivers(self, id, body=BODY):
        """The next job is this one."""
        job = self.remote.receive()
        self.assertEqual((job.type, job.id, bytes(job.body)), ("DELIVER", id, body))
        return job

    def settle(self, job, *outcomes):
        self.remote.send("RESULT", request=job.request, outcomes=[dict(index=i, verdict=v, status="2.0.0", reply="ok") for i, v in outcomes])

    def fine(self, id=99):
        self.assertTrue(self.qmgr.running(), self.qmgr.log())
        self.assertEqual(self.put(id=self.id + id), 250)
        self.settle(self.delivers(self.id + id), (0, frames.VERDICT_DELIVERED))

    def test_a_message_that_lacks_pieces_is_none(self):
        """as when the queue manager was started anew between two pieces"""
        late = self.smtpd.ask("APPEND", id=self.id, before=5, piece=b"part\r\n")
        self.assertEqual(late.code, 451)
        self.assertEqual(self.put(before=5), 451)
        self.assertEqual(self.smtpd.ask("APPEND", id=self.id + 1, before=0, piece=b"S: 1\r\n").code, 250)
        for before in (0, 5, 7, 1 << 63):
            self.assertEqual(self.put(id=self.id + 1, before=before), 451)
        self.assertEqual(self.put(id=self.id + 1, before=6), 250)
        self.settle(self.delivers(self.id + 1, b"S: 1\r\n" + BODY), (0, frames.VERDICT_DELIVERED))
        self.fine()

    def test_one_smtpd_can_t_add_to_the_message_of_another(self):
        """ids from before a restart belong to no lease that is known"""
        other = self.another()
        self.assertEqual(self.smtpd.ask("APPEND", id=5, before=0, piece=b"S: 1\r\n").code, 250)
        self.assertEqual(other.ask("APPEND", id=5, before=0, piece=b"evil\r\n").code, 451)
        self.assertEqual(self.put(other, id=5), 451)
        other.send("DROP", id=5)
        self.assertEqual(self.put(id=5, before=6), 250)
        self.delivers(5, b"S: 1\r\n" + BODY)

    def test_ids_that_are_not_its_own(self):
        other = self.another()
        for channel, id in ((other, self.id), (self.smtpd, self.id + 100), (self.smtpd, (1 << 64) - 1)):
            self.assertEqual(self.put(channel, id), 451)
        self.assertEqual(self.put(), 250)
        self.assertEqual(self.put(), 451)
        self.delivers(self.id)
        with self.assertRaises(TimeoutError):
            self.remote.receive(1)

    def test_envelopes_that_can_t_be(self):
        huge = "x" * 2500000
        lies = [dict(recipients=[]), dict(recipients=[REMOTE] * 20001), dict(sender=huge), dict(flow=huge), dict(envid=huge)]
        lies += [dict(recipients=[dict(REMOTE, **{field: huge})]) for field in ("address", "original", "orcpt", "transport", "nexthop", "mailbox", "tls")]
        lies += [dict(recipients=[dict(REMOTE, **{field: ""})]) for field in ("address", "transport", "nexthop", "tls")]
        lmtp = dict(REMOTE, transport="lmtp", nexthop="unix:/run/lmtp", tls="none")
        lies += [dict(recipients=[dict(lmtp, nexthop=n)]) for n in ("a.example", "a.example:24", "unix:", "unix:/", "unix:run/lmtp", "unix:/a b", "")]
        lies += [dict(recipients=[dict(lmtp, tls=t)]) for t in ("", "x")] + [dict(recipients=[dict(lmtp, transport="LMTP")])]
        smtps = dict(REMOTE, transport="smtps", tls="verify")
        lies += [dict(recipients=[dict(smtps, tls=t)]) for t in ("none", "may", "", "x")]  # TLS from the first byte is never waived
        lies += [dict(recipients=[dict(smtps, nexthop=n)]) for n in ("a.example", "a.example:465", "unix:/run/lmtp", "[a b]", "")] + [dict(recipients=[dict(smtps, transport="SMTPS")])]
        for n, lie in enumerate(lies):
            self.assertEqual(self.put(id=self.id + n, **lie), 451, lie.keys())
        self.fine()

    def test_who_delivers(self):
        """A socket is lmtp's, all other hosts are remote's; at one address SMTP, SMTP with TLS from the first byte and LMTP are three sites."""
        lmtp = dict(REMOTE, transport="lmtp")
        recipients = [REMOTE, dict(REMOTE, transport="smtps", tls="encrypt"), dict(lmtp, address="a@away.example"), dict(lmtp, address="b@away.example", nexthop="unix:/run/lmtp", tls="none"),
                      dict(lmtp, address="c@away.example", nexthop="unix:/run/lmtp", tls="none")]
        self.assertEqual(self.put(recipients=recipients), 250)
        jobs = [self.remote.receive(), self.remote.receive(), self.remote.receive(), self.qmgr.edges["lmtp"].receive()]
        self.assertEqual({(j.nexthop, j.recipients[0].transport, len(j.recipients)) for j in jobs},
                         {("[192.0.2.1]", "smtp", 1), ("[192.0.2.1]", "smtps", 1), ("[192.0.2.1]", "lmtp", 1), ("unix:/run/lmtp", "lmtp", 2)})

    def test_recipients_that_fill_a_frame_go_in_several_jobs(self):
        """a PUT as large as a frame may be would make a DELIVER that is larger"""
        wide = dict(REMOTE, original="o" * 1000, nexthop="[%s]" % ("n" * 1000), mailbox="m" * 1000)
        many = [dict(wide, address="%d%s@away.example" % (i, "a" * 980)) for i in range(1000)]
        room = (4 << 20) - len(frames.encode("PUT", 1, flow="f", sender="a@client.example", recipients=many)) + frames.HEADER.size
        body = b"x" * (room - 2) + b"\r\n"
        self.assertEqual(self.put(recipients=many, body=body), 250)
        seen = 0
        while seen < len(many):
            job = self.delivers(self.id, body)
            seen += len(job.recipients)
            self.settle(job, *((i, frames.VERDICT_DELIVERED) for i in range(len(job.recipients))))
        self.fine()

    def test_results_that_can_t_be(self):
        two = [REMOTE, dict(REMOTE, address="y@away.example")]
        self.assertEqual(self.put(recipients=two), 250)
        job = self.delivers(self.id)
        self.settle(frames.Record(request=job.request + 1), (0, frames.VERDICT_DELIVERED))
        self.settle(job, (0, frames.VERDICT_DELIVERED), (0, frames.VERDICT_FAILED), (7, frames.VERDICT_DELIVERED), (65535, 1), (1, 0), (1, 9))
        self.settle(job, (1, frames.VERDICT_DELIVERED))  # the question is answered already
        again = self.delivers(self.id)
        self.assertEqual([r.address for r in again.recipients], ["y@away.example"])
        self.settle(again, (0, frames.VERDICT_DELIVERED))
        self.fine()

    def test_results_with_words_of_any_length(self):
        self.assertEqual(self.put(), 250)
        huge = "\x1b[2J status=sent " * 50000
        for verdict in (frames.VERDICT_DEFERRED, frames.VERDICT_FAILED):
            job = self.delivers(self.id)
            self.remote.send("RESULT", request=job.request, site_failed=1, peer=huge, security=huge, outcomes=[dict(verdict=verdict, status=huge, reply=huge)])
        question = self.qmgr.edges["route"].receive()  # where the report goes
        self.assertEqual((question.type, question.recipient), ("RCPT", "a@client.example"))
        self.qmgr.edges["route"].send("ROUTED", request=question.request, code=250, recipients=[dict(REMOTE, address="a@client.example", nexthop="[192.0.2.2]")])
        report = self.remote.receive()
        self.assertEqual(report.sender, "")
        self.assertIn(b"Status: 5.0.0\r\n", report.body)
        self.assertLess(max(map(len, report.body.split(b"\r\n"))), 999)
        self.assertNotIn(b"\x1b", report.body)
        self.assertNotIn("\x1b", self.qmgr.log())
        self.assertLess(max(map(len, self.qmgr.log().splitlines())), 16384)
        self.settle(report, (0, frames.VERDICT_DELIVERED))
        self.fine()

    def test_a_bad_frame_ends_one_edge_alone(self):
        for octets in (b"\xff" * 64, frames.encode("STORED", 1, code=250), frames.encode("DELIVER", 1), frames.HEADER.pack(5 << 20, 44, 0, 1),
                       frames.HEADER.pack(4 << 20, 40, 0, 1), frames.encode("PUT", 1, sender="a\r\nb", recipients=[REMOTE]), frames.encode("PUT", 1, sender="a\0b")):
            other = self.another()
            other.send_raw(octets)
            with self.assertRaises((frames.Closed, ConnectionError)):
                other.receive()
        self.fine()

    def test_an_edge_that_breaks_in_its_message_leaves_nothing(self):
        for n in range(20):
            other = self.another()
            id = other.ask("LEASE", count=1).first
            other.send("APPEND", id=id, before=0, piece=b"x" * 1000)
            other.send_raw(frames.encode("PUT", 9, id=id, before=1000, recipients=[REMOTE], body=b"y" * 1000)[:n * 50])
            other.close()
        self.fine()
        self.assertFalse([line for line in self.qmgr.log().splitlines() if "size=2000" in line and "queued" in line])

    def test_answers_that_nobody_reads_are_bounded(self):
        """its questions wait, and go on when it reads"""
        other = self.another()
        other.sock.setblocking(False)
        question = frames.encode("LEASE", 1, count=1)
        flood, sent, moved = question * 4096, 0, time.monotonic()
        before = resident(self.qmgr.process.pid)
        while time.monotonic() - moved < 0.7:
            try:
                sent += other.sock.send(flood[sent % len(flood):])
                moved = time.monotonic()
            except BlockingIOError:
                time.sleep(0.01)
            self.assertLess(sent, 20 << 20)
        if "asan" not in VARIANT:  # which keeps what was freed
            self.assertLess(resident(self.qmgr.process.pid) - before, 20000)
        self.fine()
        other.sock.setblocking(True)
        for _ in range(sent // len(question)):
            self.assertEqual(other.receive().type, "LEASED")
        self.fine(98)


class Remote(unittest.TestCase):
    def test_a_resolver_that_names_thousands_of_hosts(self):
        with Driven("remote", 'remote { connect_timeout = "1s" loopback = yes }', edges=["qmgr", "dns"]) as remote:
            qmgr, dns = remote.edges["qmgr"], remote.edges["dns"]
            asked = qmgr.send("DELIVER", id=1, nexthop="away.example:9", tls="may", sender="a@b.example", size=len(BODY), body=BODY, recipients=[dict(REMOTE, nexthop="away.example:9")])
            hosts = [dict(preference=i % 65536, name="h%d.example" % i, addresses="127.0.0.1 " * 20 + "nonsense ::1 999.1.1.1") for i in range(5000)]
            dns.send("RESOLVED", request=dns.receive().request, verdict=frames.RESOLVE_OK, hosts=hosts)
            result = qmgr.receive(60)
            self.assertEqual((result.request, result.outcomes[0].verdict), (asked, frames.VERDICT_DEFERRED))
            self.assertTrue(remote.running(), remote.log())

    def test_hosts_with_names_that_are_none(self):
        with Driven("remote", 'remote { connect_timeout = "1s" }', edges=["qmgr", "dns"]) as remote:
            qmgr, dns = remote.edges["qmgr"], remote.edges["dns"]
            for hosts in ([], [dict(name="", addresses="")], [dict(name="x" * 100000, addresses="y" * 100000)], [dict(name="a b\x01", addresses="  ")]):
                asked = qmgr.send("DELIVER", id=1, nexthop="away.example", tls="may", size=len(BODY), body=BODY, recipients=[dict(REMOTE, nexthop="away.example")])
                dns.send("RESOLVED", request=dns.receive().request, verdict=frames.RESOLVE_OK, hosts=hosts)
                result = qmgr.receive(60)
                self.assertEqual((result.request, result.outcomes[0].verdict), (asked, frames.VERDICT_DEFERRED))
            self.assertTrue(remote.running(), remote.log())


if __name__ == "__main__":
    unittest.main()
