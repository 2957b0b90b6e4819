"""TLSRPT (RFC 8460): what is told of sessions, how it is counted, and the reports."""
import contextlib
import email
import email.policy
import gzip
import json
import os
import re
import resource
import signal
import tempfile
import threading
import time
import unittest

import frames
import host
import test_sts
from certificates import BASE, Certificates, sum_of
from driven import Driven
from hostile import DROP, Raw
from https import HANG
from movedclock import Clock
from netns import needs_root, within
from remote import DEFERRED, RELAYED, Policies, Security
from world import World

FAILURE = ("host", "address", "source", "reason")


class Listener(Policies):
    """The sts program, which also keeps what it is told."""

    def __init__(self, channel):
        self.told = []
        super().__init__(channel)

    def run(self):
        try:
            while True:
                m = self.channel.receive(None)
                if m.type == "TLS_SESSIONS":
                    self.told.append(m)
                    continue
                self.asked.append(m.domain)
                mode, mx = self.table.get(m.domain, (frames.STS_NONE, ""))
                self.channel.send("STS_IS", request=m.request, mode=mode, mx=mx, id="1" if mode else "")
        except (frames.Closed, OSError, ValueError):
            pass


class Noticed(Security):
    """postino-remote, and whom it tells of its sessions."""
    rest = 'tlsrpt { from = "reports@local.example" }\ntls { authorities = "AUTHORITY" }'

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.remote.policies.end()
        cls.remote.policies = Listener(cls.remote.connect("sts"))


class Notices(Noticed):
    """One for each session, from what came of it."""

    def setUp(self):
        del self.remote.policies.told[:]

    def policy(self, mode, mx):
        self.remote.policies.table["a.example"] = mode, mx
        self.addCleanup(self.remote.policies.table.clear)

    def told(self, policy, result, base="", tlsa="", count=1):
        """The one notice there is."""
        host.wait_for(lambda: self.remote.policies.told, 60)
        m, = self.remote.policies.told
        self.assertEqual((m.domain, m.policy, m.result, m.base, m.tlsa, m.count), ("a.example", policy, result, base, tlsa, count), m)
        if result == frames.TLS_SUCCESS:
            self.assertEqual([m[f] for f in FAILURE], [""] * 4)
        else:
            self.assertEqual((m.host, m.address), (BASE, "127.0.0.2"))
        del self.remote.policies.told[:]
        return m

    def failed(self, certificate, policy, result, words="", delivered=False, **more):
        with self.remote.server(certificate=certificate, **more):
            answer = self.remote.deliver(tls="dane")
            self.assertEqual(answer.outcomes[0].verdict, RELAYED if delivered else DEFERRED, answer)
        base, tlsa = more.pop("base", ""), more.pop("tlsa", "")
        m = self.told(policy, result, base, tlsa)
        self.assertIn(words, m.reason)
        self.assertEqual(m.source, "127.0.0.1")
        return m

    def test_success_without_a_policy_adds_up(self):
        """remote tells once a second: three sessions are in two notices if one ends just then, and not every time."""
        self.publish(dane=frames.DANE_NONE)
        told = self.remote.policies.told
        with self.remote.server(certificate=self.made.alone):
            for _ in range(5):
                del told[:]
                for _ in range(3):
                    self.remote.deliver(tls="dane")
                host.wait_for(lambda: sum(m.count for m in told) == 3, 60)
                if len(told) == 1:
                    break
        self.told(frames.TLS_POLICY_NONE, frames.TLS_SUCCESS, count=3)

    def test_without_tls(self):
        self.publish(dane=frames.DANE_NONE)
        self.failed(None, frames.TLS_POLICY_NONE, frames.TLS_STARTTLS_NOT_SUPPORTED, delivered=True)
        self.failed(self.made.alone, frames.TLS_POLICY_NONE, frames.TLS_STARTTLS_NOT_SUPPORTED, "454 4.7.0 not now", delivered=True, STARTTLS="454 4.7.0 not now")
        self.failed(self.made.alone, frames.TLS_POLICY_NONE, frames.TLS_VALIDATION_FAILURE, "in plain", delivered=True, STARTTLS=Raw(b"220 go on\r\n250 injected\r\n"))

    def test_sts_enforced(self):
        self.publish(dane=frames.DANE_NONE)
        self.policy(frames.STS_ENFORCE, BASE)
        with self.remote.server(certificate=self.made.signed):
            self.remote.deliver(tls="dane")
        self.told(frames.TLS_POLICY_STS, frames.TLS_SUCCESS)
        self.failed(self.made.elsewhere, frames.TLS_POLICY_STS, frames.TLS_CERTIFICATE_HOST_MISMATCH, "hostname mismatch")
        self.failed(self.made.alone, frames.TLS_POLICY_STS, frames.TLS_CERTIFICATE_NOT_TRUSTED, "certificate")
        self.failed(None, frames.TLS_POLICY_STS, frames.TLS_STARTTLS_NOT_SUPPORTED)

    def test_sts_enforced_another_host(self):
        self.publish(dane=frames.DANE_NONE)
        self.policy(frames.STS_ENFORCE, "elsewhere.example")
        self.remote.deliver(tls="dane")
        m = self.told(frames.TLS_POLICY_STS, frames.TLS_VALIDATION_FAILURE)
        self.assertIn("not among those of the policy", m.reason)
        self.assertEqual(m.source, "")

    def test_sts_for_tests_delivers_and_tells(self):
        self.publish(dane=frames.DANE_NONE)
        self.policy(frames.STS_TESTING, BASE)
        with self.remote.server(certificate=self.made.signed):
            self.remote.deliver(tls="dane")
        self.told(frames.TLS_POLICY_STS, frames.TLS_SUCCESS)
        self.failed(self.made.elsewhere, frames.TLS_POLICY_STS, frames.TLS_CERTIFICATE_HOST_MISMATCH, delivered=True)
        self.failed(self.made.alone, frames.TLS_POLICY_STS, frames.TLS_CERTIFICATE_NOT_TRUSTED, delivered=True)
        self.failed(None, frames.TLS_POLICY_STS, frames.TLS_STARTTLS_NOT_SUPPORTED, delivered=True)
        self.failed(self.made.signed, frames.TLS_POLICY_STS, frames.TLS_VALIDATION_FAILURE, delivered=True, STARTTLS=DROP)
        self.policy(frames.STS_TESTING, "elsewhere.example")
        self.failed(self.made.signed, frames.TLS_POLICY_STS, frames.TLS_VALIDATION_FAILURE, "not among those of the policy", delivered=True)

    def test_an_expired_certificate(self):
        self.remote.names.table["e.example"] = [("old." + BASE, "127.0.0.2")]
        self.publish(dane=frames.DANE_NONE)
        self.remote.policies.table["e.example"] = frames.STS_ENFORCE, "old." + BASE
        with self.remote.server(certificate=self.made.expired):
            self.remote.deliver(tls="dane", nexthop="e.example")
        host.wait_for(lambda: self.remote.policies.told, 60)
        self.assertEqual([(m.domain, m.result) for m in self.remote.policies.told], [("e.example", frames.TLS_CERTIFICATE_EXPIRED)])

    def test_dane(self):
        good, bad = ("3 1 1 " + sum_of(d) for d in (self.made.key(self.made.alone), b"other"))
        self.publish(bad, good)
        with self.remote.server(certificate=self.made.alone):
            self.remote.deliver(tls="dane")
        self.told(frames.TLS_POLICY_TLSA, frames.TLS_SUCCESS, BASE, "%s, %s" % (bad, good))
        self.publish(bad)
        with self.remote.server(certificate=self.made.alone):
            self.remote.deliver(tls="dane")
        self.assertIn("no matching DANE TLSA records", self.told(frames.TLS_POLICY_TLSA, frames.TLS_CERTIFICATE_NOT_TRUSTED, BASE, bad).reason)
        self.publish("3 1 1 00")
        with self.remote.server(certificate=self.made.alone):
            self.remote.deliver(tls="dane")
        self.told(frames.TLS_POLICY_TLSA, frames.TLS_TLSA_INVALID, BASE, "3 1 1 00")
        self.publish(dane=frames.DANE_TROUBLE)
        self.remote.deliver(tls="dane")
        self.told(frames.TLS_POLICY_TLSA, frames.TLS_DNSSEC_INVALID, BASE)
        self.publish(dane=frames.DANE_NONE)
        self.remote.deliver(tls="dane-only")
        self.told(frames.TLS_POLICY_TLSA, frames.TLS_DANE_REQUIRED, BASE)

    def test_many_records_are_cut_between_two(self):
        records = ["3 1 1 %02x" % i + "00" * 31 for i in range(40)]
        self.publish(*records)
        with self.remote.server(certificate=self.made.alone):
            self.remote.deliver(tls="dane")
        host.wait_for(lambda: self.remote.policies.told, 60)
        tlsa = self.remote.policies.told[0].tlsa
        self.assertLess(len(tlsa), 1024)
        self.assertEqual(tlsa.split(", "), records[:len(tlsa.split(", "))])
        self.assertGreater(len(tlsa), 900)

    def test_what_is_not_the_receivers_policy_is_not_told(self):
        self.publish(dane=frames.DANE_NONE)
        with self.remote.server(certificate=self.made.alone) as server:
            for tls in ("may", "encrypt", "none"):
                self.remote.deliver(tls=tls)
            self.remote.deliver(tls="dane", nexthop="[mx0.a.example]")
            self.remote.deliver(tls="dane", nexthop="a.example:%d" % self.remote.port)
            self.remote.deliver(tls="dane", flags=frames.ENVELOPE_TLS_OPTIONAL)  # a report's own session (RFC 8460 3)
            self.assertEqual(len(server.messages), 5)
            self.remote.deliver(tls="dane")
        self.told(frames.TLS_POLICY_NONE, frames.TLS_SUCCESS, count=1)

    def test_an_sts_that_does_not_read_holds_nothing_up(self):
        """... but for the policy, which it is asked for."""
        self.publish(dane=frames.DANE_NONE)
        with self.remote.server(certificate=self.made.alone):
            for _ in range(3):
                self.remote.deliver(tls="dane")
            self.remote.policies.end()
            self.remote.send(tls="dane")
            self.remote.policies = Listener(self.remote.connect("sts"))
            self.check(self.remote.result(), (RELAYED, "2.0.0", ""))
            host.wait_for(lambda: self.remote.policies.told, 60)
            self.remote.names.table["last.example"] = "127.0.0.2"
            self.remote.deliver(tls="dane", nexthop="last.example")  # what is told of it is behind what is told of the others
        host.wait_for(lambda: [m for m in self.remote.policies.told if m.domain == "last.example"], 60)


class Silent(Security):
    def test_without_an_address_to_report_from_nothing_is_told(self):
        self.remote.policies.end()
        self.remote.policies = Listener(self.remote.connect("sts"))
        self.publish(dane=frames.DANE_NONE)
        with self.remote.server(certificate=self.made.alone):
            self.remote.deliver(tls="dane")
        with self.assertRaises(AssertionError):
            host.wait_for(lambda: self.remote.policies.told, 1.5)


# ---- the reports --------------------------------------------------------------------------------------------------------------------------

DAY = 86400


class Route:
    """The route program: every recipient goes to its domain."""

    def __init__(self, channel):
        self.channel, self.asked = channel, []
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        with contextlib.suppress(frames.Closed, OSError, ValueError):
            while True:
                m = self.channel.receive(None)
                self.asked.append(m)
                self.channel.send("ROUTED", request=m.request, code=250, recipients=[dict(address=m.recipient, transport="smtp", nexthop=m.recipient.split("@")[1], tls="dane")])


class Queue:
    """The qmgr program: keeps what is put."""

    def __init__(self, channel):
        self.channel, self.mails, self.code = channel, [], 250
        threading.Thread(target=self.run, daemon=True).start()

    def run(self):
        with contextlib.suppress(frames.Closed, OSError, ValueError):
            while True:
                m = self.channel.receive(None)
                if m.type == "LEASE":
                    self.channel.send("LEASED", request=m.request, first=4711, count=1)
                else:
                    if self.code == 250:
                        self.mails.append(m)
                    self.channel.send("STORED", request=m.request, code=self.code, reply="No" if self.code != 250 else "")


@needs_root
class Alone(unittest.TestCase):
    """postino-sts, with a real HTTPS server; remote, dns, route and qmgr are the test."""

    @classmethod
    def setUpClass(cls):
        cls.made = cls.enterClassContext(Certificates())
        cls.world = cls.enterClassContext(World())
        cls.https = cls.world.https(cls.made.sign("rua.example", more=["mta-sts.b.example"]))
        cls.clock = Clock(cls.world.directory)

    def setUp(self):
        self.store = tempfile.mkdtemp(prefix="store-", dir=self.world.directory)
        self.https.forget()
        self.records, self.addresses = {}, {"rua.example": "192.0.2.5"}
        # Noon of a day far off: nothing here depends on when it runs.
        self.clock.set((int(time.time()) // DAY + 2) * DAY + DAY // 2 - int(time.time()))
        self.day = int(self.clock.now()) // DAY
        self.settings = 'from = "tls-reports@local.example" organization = "Local \\"Inc\\"" contact = "postmaster@local.example" delay = "0"'
        self.begin()

    def begin(self):
        self.sts = self.process()
        self.addCleanup(self.sts.close)

    def process(self):
        sts = Driven("sts", 'directory { sts = "%s" }\nsts { timeout = 60s }\ntls { authorities = "%s" }\ntlsrpt { %s }' % (self.store, self.made.authority[0], self.settings),
                     edges=("remote", "dns", "route", "qmgr"), where=within(self.world.near) + self.clock.words())
        self.dns, self.route, self.queue = test_sts.Dns(sts.edges["dns"], self.records, self.addresses), Route(sts.edges["route"]), Queue(sts.edges["qmgr"])
        return sts

    def again(self, kill=False):
        """Another process, with what the former one has kept."""
        if kill:
            os.kill(self.sts.process.pid, signal.SIGKILL)
        self.sts.close()
        self.begin()

    def want(self, domain, *places):
        self.records["_smtp._tls." + domain] = [b"v=TLSRPTv1; rua=" + ",".join(places).encode()]

    def tell(self, domain="b.example", count=1, policy=None, result=None, **more):
        self.sts.edges["remote"].send("TLS_SESSIONS", domain=domain, count=count, policy=policy or 0, result=result or 0, **more)
        self.policy(domain)

    def policy(self, domain):
        """The answer to a question is behind all that was told before."""
        return self.sts.edges["remote"].ask("STS", timeout=60, domain=domain)

    def later(self, seconds):
        """It wakes up, and does what is due by now. What is under way with others (an answer from them, its timeout) has as much less time left: it must be over."""
        self.clock.set(self.clock.ahead + seconds)
        self.policy("elsewhere.example")
        self.policy("elsewhere.example")

    def settled(self, sent=0, failed=0):
        """... that is when so many reports were sent, or failed."""
        def said():
            """what became of all reports"""
            log = self.sts.log()
            return (log.count("a report was sent"), log.count("a report did not go")) == (sent, failed)
        host.wait_for(said, 60)
        self.policy("elsewhere.example")

    def midnight(self):
        self.later(DAY - int(self.clock.now()) % DAY + 61)

    def files(self):
        return sorted(n for n in os.listdir(self.store) if n.startswith(".tlsrpt.") and n[len(".tlsrpt."):][:1].isdigit())

    def posted(self, count=1, seconds=60):
        """The (headers, report) of POSTs, as many as are waited for."""
        def there():
            """POSTs"""
            requests = self.https.requests()
            return requests if len(requests) >= count else None
        requests = host.wait_for(there, seconds) if count else there()
        found = [(head, json.loads(gzip.decompress(body))) for head, body in requests]
        self.assertEqual(len(found), count)
        return found

    def over(self):
        host.wait_for(lambda: not [n for n in self.files() if ".%d." % self.day in n], 60)

    def publish(self, record=b"v=STSv1; id=1;", answer=None, address="192.0.2.5", policy="version: STSv1\nmode: testing\nmx: *.b.example\nmx: mx.c.example\nmax_age: 604800\n"):
        self.records["_mta-sts.b.example"] = [record]
        self.addresses["mta-sts.b.example"] = address
        if answer is None:
            self.https.policy("b.example", policy)
        else:
            self.https.answers("mta-sts.b.example", answer)


class Reports(Alone):
    # ---- what is in it

    def test_a_report_field_by_field(self):
        self.want("b.example", "https://rua.example/v1/x?y=1")
        self.tell(count=5)
        self.tell(policy=frames.TLS_POLICY_TLSA, count=2, base="mx.b.example", tlsa="3 1 1 aa, 2 0 1 bb")
        failed = dict(policy=frames.TLS_POLICY_TLSA, base="mx.b.example", tlsa="3 1 1 aa, 2 0 1 bb", host="mx1.b.example", address="203.0.113.9", source="198.51.100.2")
        self.tell(result=frames.TLS_CERTIFICATE_NOT_TRUSTED, count=3, reason='no "good" \\ one', **failed)
        self.tell(result=frames.TLS_STARTTLS_NOT_SUPPORTED, **failed)
        self.midnight()
        (head, report), = self.posted()
        self.assertEqual(head.split("\r\n")[0], "POST /v1/x?y=1 HTTP/1.1")
        self.assertIn("Content-Type: application/tlsrpt+gzip", head)
        date = time.strftime("%Y-%m-%d", time.gmtime(self.day * DAY))
        self.assertEqual(report, {
            "organization-name": 'Local "Inc"', "contact-info": "postmaster@local.example",
            "date-range": {"start-datetime": date + "T00:00:00Z", "end-datetime": date + "T23:59:59Z"},
            "report-id": date.replace("-", "") + ".b.example@mx.local.example",
            "policies": [
                {"policy": {"policy-type": "no-policy-found", "policy-domain": "b.example"},
                 "summary": {"total-successful-session-count": 5, "total-failure-session-count": 0}},
                {"policy": {"policy-type": "tlsa", "policy-domain": "mx.b.example", "policy-string": ["3 1 1 aa", "2 0 1 bb"]},
                 "summary": {"total-successful-session-count": 2, "total-failure-session-count": 4},
                 "failure-details": [
                     {"result-type": "certificate-not-trusted", "sending-mta-ip": "198.51.100.2", "receiving-mx-hostname": "mx1.b.example",
                      "receiving-ip": "203.0.113.9", "failed-session-count": 3, "failure-reason-code": 'no "good" \\ one'},
                     {"result-type": "starttls-not-supported", "sending-mta-ip": "198.51.100.2", "receiving-mx-hostname": "mx1.b.example",
                      "receiving-ip": "203.0.113.9", "failed-session-count": 1}]}]})
        self.over()
        self.later(3600)
        self.posted(1)

    def test_by_mail(self):
        self.settings += " mail = yes"
        self.again()
        self.want("b.example", "mailto:reports%2btls@b.example")
        self.tell(count=7)
        self.midnight()
        put = host.wait_for(lambda: self.queue.mails and self.queue.mails[0])
        self.assertEqual((put.sender, put.flags, put.id), ("tls-reports@local.example", frames.ENVELOPE_TLS_OPTIONAL | frames.ENVELOPE_LOW, 4711))
        self.assertEqual([(r.address, r.notify, r.nexthop) for r in put.recipients], [("reports+tls@b.example", frames.NOTIFY_NEVER, "b.example")])
        self.assertEqual([(m.recipient, m.may_relay, m.sender) for m in self.route.asked], [("reports+tls@b.example", 1, "tls-reports@local.example")])
        mail = email.message_from_bytes(put.body, policy=email.policy.SMTP)
        date = time.strftime("%Y%m%d", time.gmtime(self.day * DAY))
        name = "%s.b.example@mx.local.example" % date
        self.assertEqual({k: mail[k] for k in ("From", "To", "TLS-Report-Domain", "TLS-Report-Submitter", "TLS-Required", "MIME-Version", "Subject")},
                         {"From": "tls-reports@local.example", "To": "reports+tls@b.example", "TLS-Report-Domain": "b.example", "TLS-Report-Submitter": "mx.local.example",
                          "TLS-Required": "No", "MIME-Version": "1.0", "Subject": "Report Domain: b.example Submitter: mx.local.example Report-ID: <%s>" % name})
        self.assertTrue(mail["Message-ID"].endswith("@mx.local.example>"))
        self.assertLess(abs(mail["Date"].datetime.timestamp() - self.clock.now()), 120)
        self.assertEqual((mail.get_content_type(), mail.get_param("report-type")), ("multipart/report", "tlsrpt"))
        text, report = mail.iter_parts()
        self.assertIn("aggregate report", text.get_content())
        self.assertEqual((report.get_content_type(), report.get_content_disposition()), ("application/tlsrpt+gzip", "attachment"))
        self.assertEqual(report.get_filename(), "mx.local.example!b.example!%d!%d.json.gz" % (self.day * DAY, self.day * DAY + DAY - 1))
        found = json.loads(gzip.decompress(report.get_payload(decode=True)))
        self.assertEqual((found["report-id"], found["policies"][0]["summary"]["total-successful-session-count"]), (name, 7))
        self.assertEqual(mail.defects + text.defects + report.defects, [])
        self.over()

    def test_by_mail_only_where_it_is_set(self):
        self.want("b.example", "mailto:reports@b.example", "https://rua.example/")
        self.tell()
        self.midnight()
        self.posted()
        self.over()
        self.assertEqual(self.queue.mails, [])

    # ---- who gets one

    def test_who_does_not_ask_for_it_gets_none(self):
        good = b"v=TLSRPTv1; rua=https://rua.example/"
        for i, records in enumerate(([], [good, good], [b"v=TLSRPTv2; rua=https://rua.example/"], [b"v=TLSRPTv1; rua=https://rua.example:8443/"], [b"x"])):
            self.records["_smtp._tls.no%d.example" % i] = records
            self.tell("no%d.example" % i)
        self.records["_smtp._tls.b.example"] = [b"v=spf1 -all", good]
        self.tell()
        self.midnight()
        self.assertEqual(self.posted()[0][1]["policies"][0]["policy"]["policy-domain"], "b.example")
        self.over()

    def test_a_host_that_is_not_anybodys_gets_none(self):
        for i, address in enumerate(("127.0.0.1", "10.0.0.1", "::1", "fd00::1", "")):
            self.addresses["h%d.example" % i] = address
            self.want("p%d.example" % i, "https://h%d.example/" % i)
            self.tell("p%d.example" % i)
        self.midnight()
        host.wait_for(lambda: self.sts.log().count("none that a report may go to") == 5)
        self.posted(0)

    def test_its_certificate_must_prove_the_host(self):
        self.addresses["other.example"] = "192.0.2.5"
        self.want("b.example", "https://other.example/")
        self.tell()
        self.midnight()
        host.wait_for(lambda: "a report did not go" in self.sts.log())
        self.posted(0)

    def test_mail_to_one_domain_about_others_is_bounded(self):
        self.settings += " mail = yes mail_most = 3"
        self.again()
        for i in range(9):
            self.want("mine%d.example" % i, "mailto:a@victim.example")
            self.tell("mine%d.example" % i)
        self.midnight()
        self.over()
        self.assertEqual(len(self.queue.mails), 3)

    # ---- failures, and the end of a process

    def test_what_fails_is_tried_again_and_no_more_than_that(self):
        self.https.answers("rua.example", b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")
        self.settings += " mail = yes"
        self.again()
        self.want("b.example", "mailto:r@b.example", "https://rua.example/")
        self.want("c.example", "mailto:r@c.example")
        self.tell()
        self.tell("c.example")
        self.midnight()
        self.settled(sent=2, failed=1)
        self.posted(1)
        self.later(200)
        self.posted(1)
        self.https.answers("rua.example")
        self.later(161)
        self.posted(2)
        self.over()
        self.assertEqual(sorted(m.recipients[0].address for m in self.queue.mails), ["r@b.example", "r@c.example"])

    def test_a_queue_that_has_no_room_gets_it_later(self):
        self.settings += " mail = yes"
        self.again()
        self.queue.code = 452
        self.want("b.example", "mailto:r@b.example")
        self.tell()
        self.midnight()
        self.settled(failed=1)
        self.assertIn("the queue: 452 No", self.sts.log())
        self.queue.code = 250
        self.later(400)
        host.wait_for(lambda: self.queue.mails)
        self.over()

    def test_it_is_given_up_after_a_day(self):
        self.want("b.example", "https://gone.example/")
        self.tell()
        self.midnight()
        self.settled(failed=1)
        self.later(DAY)
        host.wait_for(lambda: "are not tried any more" in self.sts.log())
        self.over()

    def test_kill_9_loses_what_is_younger_than_a_minute(self):
        self.want("b.example", "https://rua.example/")
        self.tell(count=3)
        self.later(61)
        host.wait_for(self.files)
        self.tell(count=100)
        self.again(kill=True)
        self.tell(count=20)
        self.later(61)
        host.wait_for(lambda: len(self.files()) == 2)
        self.again(kill=True)
        self.assertEqual(len(self.files()), 2)
        self.tell(count=4)  # until midnight, which puts it down
        self.midnight()
        (_, report), = self.posted()
        self.assertEqual(report["policies"][0]["summary"], {"total-successful-session-count": 27, "total-failure-session-count": 0})
        self.over()

    def test_kill_9_amid_the_reports_sends_none_twice(self):
        self.https.answers("rua.example", b"HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n")
        self.settings += " mail = yes"
        self.again()
        for i in range(20):
            self.want("m%d.example" % i, "mailto:r@m%d.example" % i)
            self.tell("m%d.example" % i)
        self.want("b.example", "mailto:r@b.example", "https://rua.example/")
        self.tell()
        self.midnight()
        self.settled(sent=21, failed=1)
        self.posted(1)
        first = [m.recipients[0].address for m in self.queue.mails]
        self.https.answers("rua.example")
        self.again(kill=True)
        self.posted(2)
        self.over()
        self.assertEqual(self.queue.mails, [])
        self.assertEqual(len(set(first)), 21)

    def test_a_stop_and_a_reload_lose_nothing(self):
        self.want("b.example", "https://rua.example/")
        self.tell(count=2)
        former = self.sts
        self.addCleanup(former.close)
        self.sts = self.process()  # both are there, as in a reload
        self.addCleanup(self.sts.close)
        self.tell(count=3)
        former.edges["remote"].send("TLS_SESSIONS", domain="b.example", count=10)
        former.edges["remote"].ask("STS", timeout=60, domain="b.example")
        former.control.send("DRAIN", seconds=0)
        former.process.wait(60)
        self.midnight()
        (_, report), = self.posted()
        self.assertEqual(report["policies"][0]["summary"]["total-successful-session-count"], 15)
        self.over()

    def test_one_of_two_processes_sends(self):
        self.want("b.example", "https://gone.example/")
        self.tell()
        self.midnight()
        host.wait_for(lambda: "go out to those that want them" in self.sts.log())
        other = self.process()
        self.addCleanup(other.close)
        self.policy("x.example")
        self.assertNotIn("go out to those", other.log())

    def test_each_day_for_itself(self):
        self.want("b.example", "https://rua.example/")
        self.tell(count=1)
        self.later(DAY - int(self.clock.now()) % DAY - 30)
        self.tell(count=10)
        self.later(31)  # past midnight, and no tick in between
        self.tell(count=100)
        self.later(61)
        self.posted(1)
        self.over()
        self.midnight()
        counts = [r["policies"][0]["summary"]["total-successful-session-count"] for _, r in self.posted(2)]
        self.assertEqual(counts, [11, 100])

    def test_what_damaged_files_hold_is_not_sent(self):
        for name, text in ((".tlsrpt.%d.1", "rubbish"), (".tlsrpt.%d.2", "Postino TLSRPT 1\nday %d\ndomain b.example\n" % self.day), (".tlsrpt.%d.3", "Postino TLSRPT 1\nday 5\nend\n")):
            with open(os.path.join(self.store, name % self.day), "w") as f:
                f.write(text)
        os.symlink("/etc/passwd", os.path.join(self.store, ".tlsrpt.%d.4" % self.day))
        self.want("b.example", "https://rua.example/")
        self.tell(count=3)
        self.midnight()
        self.assertEqual(self.posted()[0][1]["policies"][0]["summary"]["total-successful-session-count"], 3)
        self.over()
        self.assertEqual(self.sts.log().count("or is damaged"), 4)

    def test_days_of_long_ago_are_removed(self):
        for day in (self.day - 4, self.day + 1):
            with open(os.path.join(self.store, ".tlsrpt.%d.1" % day), "w") as f:
                f.write("Postino TLSRPT 1\nday %d\nend\n" % day)
        self.again()
        self.assertEqual(self.files(), [])

    def test_hosts_that_hang_do_not_hold_up_the_next_day(self):
        self.https.answers("rua.example", HANG)
        for i in range(30):
            self.want("h%d.example" % i, "https://rua.example/")
            self.tell("h%d.example" % i)
        self.midnight()
        self.posted(8)
        self.later(DAY)
        host.wait_for(lambda: "30 reports of a day could not be sent" in self.sts.log(), 60)
        self.over()
        self.assertEqual(self.sts.log().count("a report did not go"), 8)  # those that were under way

    def test_a_process_that_dies_often_leaves_few_files(self):
        for i in range(40):
            with open(os.path.join(self.store, ".tlsrpt.%d.%d" % (self.day, i)), "w") as f:
                f.write("Postino TLSRPT 1\nday %d\ndomain b.example\npolicy sts 1 0 b.example\nend\n" % self.day)
        self.again()
        self.assertEqual(len(self.files()), 1)
        self.want("b.example", "https://rua.example/")
        self.midnight()
        self.assertEqual(self.posted()[0][1]["policies"][0]["summary"]["total-successful-session-count"], 40)

    def test_a_process_that_still_counts_is_not_joined(self):
        for i in range(16):
            with open(os.path.join(self.store, ".tlsrpt.%d.%d" % (self.day, i)), "w") as f:
                f.write("Postino TLSRPT 1\nday %d\ndomain b.example\npolicy sts 1 0 b.example\nend\n" % self.day)
        self.tell(count=100)
        self.later(61)
        host.wait_for(lambda: len(self.files()) == 17)
        former, (of_former,) = self.sts, [n for n in self.files() if len(n) > 20]
        self.addCleanup(former.close)
        self.begin()  # both are there, as in a reload
        self.assertEqual(len(self.files()), 2)
        self.assertIn(of_former, self.files())
        former.edges["remote"].send("TLS_SESSIONS", domain="b.example", count=1000)
        former.edges["remote"].ask("STS", timeout=60, domain="b.example")
        former.control.send("DRAIN", seconds=0)
        former.process.wait(60)
        self.want("b.example", "https://rua.example/")
        self.midnight()
        self.assertEqual(sum(p["summary"]["total-successful-session-count"] for p in self.posted()[0][1]["policies"]), 1116)
        self.over()

    # ---- a disk that does not take it

    def no_writing(self):
        """What the process writes has to be put under a name that is a directory's. Ends by what is returned."""
        self.tell(count=3)
        self.later(61)
        (name,) = host.wait_for(self.files)
        way = os.path.join(self.store, ".new.tlsrpt." + name.split(".")[-1])
        os.mkdir(way)
        self.tell(count=4)
        return lambda: os.rmdir(way)

    def test_a_day_that_can_not_be_written_is_reported_from_memory(self):
        self.want("b.example", "https://rua.example/")
        self.no_writing()
        self.midnight()
        (_, report), = self.posted()
        self.assertEqual(report["policies"][0]["summary"]["total-successful-session-count"], 7)
        self.assertIn("can't be kept in directory { sts }: Is a directory; trying again in a minute", self.sts.log())
        self.over()
        self.tell(count=20)
        self.midnight()
        self.assertEqual(self.posted(2)[1][1]["policies"][0]["summary"]["total-successful-session-count"], 20)

    def test_a_day_that_could_not_be_written_is_written_later(self):
        self.settings = self.settings.replace('delay = "0"', 'delay = "3m"')
        self.again()
        self.want("b.example", "https://rua.example/")
        ends = self.no_writing()
        self.midnight()
        host.wait_for(lambda: "can't be kept" in self.sts.log())
        ends()
        self.later(61)
        self.again(kill=True)
        self.later(121)
        (_, report), = self.posted()
        self.assertEqual(report["policies"][0]["summary"]["total-successful-session-count"], 7)
        self.over()

    def test_one_that_ends_says_what_is_lost(self):
        self.no_writing()
        self.sts.control.send("DRAIN", seconds=0)
        self.sts.process.wait(60)
        self.assertIn("they are lost, if that is still so when this process ends", self.sts.log())

    def test_a_limit_of_file_sizes_does_not_kill(self):
        for i in range(3000):
            self.sts.edges["remote"].send("TLS_SESSIONS", domain="d%d.example" % i, count=1, policy=2, result=5, host="h" * 250, reason="r" * 190)
        pid, most = self.sts.process.pid, 256 << 10
        before = resource.prlimit(pid, resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
        self.later(61)
        host.wait_for(lambda: "can't be kept in directory { sts }: File too large" in self.sts.log())
        self.policy("elsewhere.example")
        self.assertEqual([n for n in os.listdir(self.store) if "tlsrpt" in n and n != ".tlsrpt.alive"], [])
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
        self.later(61)
        self.assertGreater(os.stat(os.path.join(self.store, host.wait_for(self.files)[0])).st_size, most)

    def test_a_flood_of_domains_is_bounded(self):
        def memory():
            with open("/proc/%d/statm" % self.sts.process.pid) as f:
                return int(f.read().split()[1]) * 4096
        before = memory()
        for i in range(60000):
            self.sts.edges["remote"].send("TLS_SESSIONS", domain="d%d.example" % i, count=1, policy=2, result=5, host="h" * 250, reason="r" * 190)
        self.policy("x.example")
        self.assertLess(memory() - before, 40 << 20)
        self.want("d5.example", "https://rua.example/")
        self.later(61)
        size = sum(os.stat(os.path.join(self.store, n)).st_size for n in self.files())
        self.assertTrue(1 << 20 < size < 32 << 20, size)
        self.assertTrue(self.sts.running())

    # ---- policies that can't be had

    def policies(self):
        """Of the report; what the server was asked beside that does not count."""
        self.want("b.example", "https://rua.example/")
        self.midnight()

        def there():
            """the report"""
            return next((json.loads(gzip.decompress(body)) for head, body in self.https.requests() if head.startswith("POST")), None)
        return host.wait_for(there)["policies"]

    def test_the_text_of_a_policy(self):
        self.publish()
        self.assertEqual(self.policy("b.example").mode, frames.STS_TESTING)
        self.tell(policy=frames.TLS_POLICY_STS, count=2)
        found, = self.policies()
        self.assertEqual(found["policy"], {"policy-type": "sts", "policy-domain": "b.example", "mx-host": ["*.b.example", "mx.c.example"],
                                           "policy-string": ["version: STSv1", "mode: testing", "max_age: 604800", "mx: *.b.example", "mx: mx.c.example"]})

    def trouble(self, word):
        self.policy("b.example")
        self.tell(count=4)
        found, = self.policies()
        self.assertEqual(found["policy"], {"policy-type": "sts", "policy-domain": "b.example"})
        self.assertEqual(found["summary"], {"total-successful-session-count": 0, "total-failure-session-count": 4})
        self.assertEqual(found["failure-details"], [{"result-type": word, "failed-session-count": 4}])

    def test_a_policy_that_can_not_be_fetched(self):
        self.publish(answer=b"HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n")
        self.trouble("sts-policy-fetch-error")

    def test_a_policy_that_is_none(self):
        self.publish(answer=b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 2\r\n\r\nhi")
        self.trouble("sts-policy-invalid")

    def test_a_policy_whose_host_is_not_proved(self):
        self.publish()
        self.records["_mta-sts.b.example"], self.records["_mta-sts.wrong.example"] = [], self.records["_mta-sts.b.example"]
        self.addresses["mta-sts.wrong.example"] = "192.0.2.5"
        self.policy("wrong.example")
        self.tell("wrong.example")
        self.want("wrong.example", "https://rua.example/")
        found, = self.policies()
        self.assertEqual(found["failure-details"][0]["result-type"], "sts-webpki-invalid")

    def test_a_look_that_fails_while_a_policy_holds(self):
        self.publish()
        self.policy("b.example")
        self.publish(record=b"v=STSv1; id=2;", answer=b"HTTP/1.1 500 No\r\nContent-Length: 0\r\n\r\n")
        self.later(DAY)
        self.day += 1
        self.assertEqual(self.policy("b.example").mode, frames.STS_TESTING)
        host.wait_for(lambda: "the policy that is known goes on" in self.sts.log())
        self.tell(policy=frames.TLS_POLICY_STS, count=6)
        found, = self.policies()
        self.assertEqual(found["summary"], {"total-successful-session-count": 6, "total-failure-session-count": 1})
        self.assertEqual(found["failure-details"][0]["result-type"], "sts-policy-fetch-error")


class Prefetched(Alone):
    """Policies that are looked at before mail asks for them (RFC 8461 3.3, 10.2)."""

    def asked(self, wanted, kept=True):
        """So often, and no more; and what was to be fetched is kept."""
        host.wait_for(lambda: self.dns.asked.count("_mta-sts.b.example") == wanted, 60)
        if kept:
            host.wait_for(self.fresh, 60)
        time.sleep(0.1)
        self.assertEqual(self.dns.asked.count("_mta-sts.b.example"), wanted)

    def fresh(self):
        """half of max_age is not over since it was fetched"""
        return self.clock.now() - int(re.search(r"^fetched: (\d+)$", self.kept(), re.M).group(1)) < 302400

    def fetches(self):
        return len(self.https.requests())

    def kept(self):
        with open(os.path.join(self.store, "b.example")) as f:
            return f.read()

    def fetched_after(self, seconds, wanted):
        """... and kept: from there the next one counts."""
        before = self.kept()
        self.later(seconds)
        host.wait_for(lambda: self.fetches() == wanted and self.kept() != before)

    def setUp(self):
        super().setUp()
        self.publish()
        self.assertEqual(self.policy("b.example").mode, frames.STS_TESTING)

    def test_daily_while_mail_goes_there_and_for_a_week(self):
        for day in range(1, 12):
            self.later(DAY + 61)
            self.asked(min(1 + day, 7), kept=day < 7)
        self.assertGreaterEqual(self.fetches(), 2)  # half of max_age was over

    def test_a_short_one_twice_in_its_life(self):
        self.publish(policy="version: STSv1\nmode: enforce\nmx: *.b.example\nmax_age: 7200\n", record=b"v=STSv1; id=2;")
        self.fetched_after(DAY + 61, 2)
        for n in range(3, 8):
            self.fetched_after(3700, n)
        self.assertEqual(self.policy("b.example").mode, frames.STS_ENFORCE)
        self.assertEqual(self.fetches(), 7)

    def test_over_a_restart_too(self):
        self.later(3 * DAY)
        self.asked(2)
        self.again()
        self.asked(1)  # of this process, and without a question: it is older than a day
        self.later(3 * DAY + 61)
        self.asked(2)
        self.again()
        self.later(2 * DAY)
        self.asked(0)  # it was fetched two days ago, and the week is over

    def test_an_expired_one_is_removed_at_the_start(self):
        self.assertIn("b.example", os.listdir(self.store))
        self.clock.set(self.clock.ahead + 604801)
        self.again()
        host.wait_for(lambda: "b.example" not in os.listdir(self.store))

    def test_many_are_known_again(self):
        with open(os.path.join(self.store, "b.example")) as f:
            text = f.read()
        for i in range(3000):
            with open(os.path.join(self.store, "d%d.example" % i), "w") as f:
                f.write(text)
            os.utime(os.path.join(self.store, "d%d.example" % i), (self.clock.now() - 60,) * 2)
        self.again()
        self.assertEqual(self.policy("d2999.example").mode, frames.STS_TESTING)
        self.later(DAY + 61)
        host.wait_for(lambda: len(self.dns.asked) >= 40)
        time.sleep(0.2)
        self.assertLess(len(self.dns.asked), 120)  # not all at once


class TakenOver(unittest.TestCase):
    """What postino-qmgr takes from a postino-sts that is another's: reports, if there are any."""

    def codes(self, settings, **fields):
        with tempfile.TemporaryDirectory(dir="/var/tmp") as spool, Driven("qmgr", 'directory { spool = "%s" }\n%s' % (spool, settings), edges=("sts", "smtpd", "remote")) as qmgr:
            put = dict(dict(sender="tls@local.example", recipients=[dict(address="x@b.example", transport="smtp", nexthop="b.example", tls="dane")], body=b"Subject: x\r\n\r\n"), **fields)
            codes = []
            for role in ("sts", "smtpd"):
                channel = qmgr.edges[role]
                codes.append(channel.ask("PUT", id=channel.ask("LEASE", count=1).first, **put).code)
            qmgr.edges["sts"].send("FLUSH", domain="b.example")
            qmgr.edges["sts"].send("APPEND", id=1, before=0, piece=b"x")
            with self.assertRaises(TimeoutError):
                qmgr.edges["sts"].receive(0.3)
            self.assertTrue(qmgr.running(), qmgr.log())
            for role, code in zip(("sts", "smtpd"), codes):
                self.assertEqual(qmgr.log().count("the PUT of %s is refused" % role), code != 250)
        return codes

    def test_nothing_but_reports(self):
        on = 'tlsrpt { from = "tls@local.example" mail = yes }'
        self.assertEqual(self.codes(on), [250, 250])
        self.assertEqual(self.codes(on, sender="boss@local.example"), [451, 250])
        self.assertEqual(self.codes(on, sender=""), [451, 250])
        self.assertEqual(self.codes('tlsrpt { from = "tls@local.example" }'), [451, 250])
        self.assertEqual(self.codes("", sender=""), [451, 250])


@needs_root
class Whole(unittest.TestCase):
    """Two Postinos, their names in a real zone, the policy from a real HTTPS server: from the first session to the report in a mailbox."""

    ZONE = """
local                MX 10 mx.local
mx.local             A 192.0.2.2
mta-sts.local        A 192.0.2.4
_mta-sts.local       TXT "v=STSv1; id=20261122;"
rua.local            A 192.0.2.4
_smtp._tls.local     TXT "v=TLSRPTv1; rua=mailto:alice@local.example," "https://rua.local.example/"
silent               MX 10 mx.silent
last                 MX 10 mx.silent
mx.silent            A 192.0.2.2
"""
    POLICY = "version: STSv1\r\nmode: testing\r\nmx: *.local.example\r\nmax_age: 604800\r\n"

    @classmethod
    def setUpClass(cls):
        cls.made = cls.enterClassContext(Certificates())
        cls.world = world = cls.enterClassContext(World())
        world.name_server({"example": cls.ZONE})
        cls.https = world.https(cls.made.sign("mta-sts.local.example", more=["rua.local.example"]))
        cls.https.policy("local.example", cls.POLICY)
        cls.clock = Clock(world.directory)
        cls.clock.set((int(time.time()) // DAY + 2) * DAY + DAY // 2 - int(time.time()))
        cls.day = int(cls.clock.now()) // DAY
        loopback = "remote { loopback = yes idle_timeout = \"0\" }\n"
        cls.far = world.postino(loopback, where=world.far, hostname="mx.local.example", listeners={"smtp": "port = 25 address = \"192.0.2.2\""})
        cls.near = world.postino(loopback + "tls { authorities = \"%s\" }\ntlsrpt { from = \"tls@relay.example\" mail = yes delay = \"0\" }" % cls.made.authority[0],
                                 hostname="relay.example", variant=cls.programs(), listeners={"smtp": "port = 2525 address = \"127.0.0.1\""},
                                 domains={"relay.example": "mailboxes = \"hash:/nonexistent\" directory = \"/nonexistent\" owner = \"%d\"" % host.MAIL_UID})

    @classmethod
    def programs(cls):
        """A directory of programs of which postino-sts alone has the moved clock."""
        os.mkdir(os.path.join(cls.world.directory, "bin"))
        for name in os.listdir(host.bin_directory()):
            path = os.path.join(cls.world.directory, "bin", name)
            if name != "postino-sts":
                os.symlink(host.program(name), path)
                continue
            with open(path, "w") as f:
                f.write("#!/bin/sh\nexec %s %s\n" % (" ".join(cls.clock.words()), host.program(name)))
            os.chmod(path, 0o755)
        return cls.world.directory

    def send(self, recipient):
        self.near.sendmail(recipient, sender="a@relay.example", text="Subject: x\n\nhello\n")
        self.near.wait_log(r"to=<%s> .*status=" % recipient)

    def counts(self):
        """What is on the disk of the sender."""
        text = ""
        for name in os.listdir(self.near.path("sts")):
            if name.startswith(".tlsrpt.") and name.split(".")[3:] != ["told"]:
                with contextlib.suppress(FileNotFoundError), open(self.near.path("sts", name)) as f:
                    text += f.read()
        return text

    def counted(self, domain, sessions):
        """remote tells once a second, and postino-sts writes once a minute, when it wakes up: as a session with another domain has it do."""
        for _ in range(60):
            self.clock.set(self.clock.ahead + 61)
            self.send("x@silent.example")
            time.sleep(0.5)
            found = re.findall(r"^domain %s\npolicy \S+ (\d+) (\d+) " % re.escape(domain), self.counts(), re.M)
            if sum(int(n) for pair in found for n in pair) == sessions:
                return
        raise AssertionError("no %d sessions with %s are counted:\n%s" % (sessions, domain, self.counts()))

    def posted(self):
        """the report by HTTPS"""
        return next((json.loads(gzip.decompress(body)) for head, body in self.https.requests() if head.startswith("POST / ")), None)

    def test_what_the_administrator_is_shown(self):
        done = self.near.tool("postino", "site", "local.example")
        self.assertEqual(done.returncode, 0, done.stderr)
        for words in ("  MTA-STS   testing, id 20261122, for 604800 s; mx: *.local.example\n", "  reports   alice@local.example\n  reports   https://rua.local.example/\n",
                      "mail goes by sts testing: TLS where it is offered, with any certificate, else plain; what MTA-STS would refuse is counted\n"):
            self.assertIn(words, done.stdout)
        self.assertNotIn("reports ", self.near.tool("postino", "site", "silent.example").stdout)

    def test_from_a_session_to_the_report_in_a_mailbox(self):
        for i in range(3):
            if i == 2:  # other processes of all but qmgr; those before put down what they know
                time.sleep(1.2)
                before = self.near.pid_of("sts")
                self.near.reload()
                host.wait_for(lambda: self.near.pid_of("sts") not in (None, before))
            self.send("alice@local.example")
        host.wait_for(lambda: len(self.far.messages("alice")) == 3)
        self.counted("local.example", 3)
        self.clock.set(self.clock.ahead + DAY // 2)
        self.send("x@silent.example")

        def arrived():
            """the report"""
            return [m for m in self.far.messages("alice") if b"TLS-Report-Domain" in m]
        raw, = host.wait_for(arrived, 60)
        mail = email.message_from_bytes(raw, policy=email.policy.SMTP)
        self.assertEqual((mail["From"], mail["To"], mail["TLS-Report-Domain"], mail["TLS-Report-Submitter"], mail["TLS-Required"]),
                         ("tls@relay.example", "alice@local.example", "local.example", "relay.example", "No"))
        _, part = mail.iter_parts()
        self.assertEqual(part.get_filename(), "relay.example!local.example!%d!%d.json.gz" % (self.day * DAY, self.day * DAY + DAY - 1))
        report = json.loads(gzip.decompress(part.get_payload(decode=True)))
        self.assertEqual((report["organization-name"], report["contact-info"]), ("relay.example", "tls@relay.example"))
        self.assertEqual(host.wait_for(self.posted), report)
        found, = report["policies"]
        self.assertEqual(found["policy"], {"policy-type": "sts", "policy-domain": "local.example", "mx-host": ["*.local.example"],
                                           "policy-string": ["version: STSv1", "mode: testing", "max_age: 604800", "mx: *.local.example"]})
        self.assertEqual(found["summary"], {"total-successful-session-count": 0, "total-failure-session-count": 3})
        failure, = found["failure-details"]
        self.assertIn("self", failure.pop("failure-reason-code"))
        self.assertEqual(failure, {"result-type": "certificate-not-trusted", "sending-mta-ip": "192.0.2.1", "receiving-mx-hostname": "mx.local.example",
                                   "receiving-ip": "192.0.2.2", "failed-session-count": 3})
        host.wait_for(lambda: not [n for n in os.listdir(self.near.path("sts")) if ".%d." % self.day in n], 60)
        self.send("x@last.example")  # behind the report's own session, which is in none
        self.counted("last.example", 1)
        self.assertNotIn("local.example", self.counts())


if __name__ == "__main__":
    unittest.main()
