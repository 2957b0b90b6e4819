"""Delivery status notifications end to end (RFC 3461, 3464): what a sender asks for, what is passed on, and what is reported, field by field."""
import email
import email.policy
import email.utils
import os
import re
import signal
import time
import unittest

from host import DOMAIN, MAIL_UID, Host, free_port, wait_for
from hostile import Server
from netns import needs_root
from world import World

SENDER = "alice@" + DOMAIN
FAR = "far.example"
MESSAGE = b"From: alice@local.example\r\nTo: x@elsewhere.example\r\nSubject: the original\r\n\r\nbody of the original\r\n"
SLOW = "queue { retry_first = 1s retry_most = 1s lifetime = 1h %s }"


class Report:
    """A report, taken apart: .about (the message), .recipients {final address: its fields}, .text, .back."""

    def __init__(self, raw):
        self.raw = raw
        self.message = email.message_from_bytes(raw, policy=email.policy.SMTP)
        assert not self.message.defects, self.message.defects
        assert self.message.get_content_type() == "multipart/report", raw
        assert self.message.get_param("report-type") == "delivery-status", raw
        text, status, self.back = self.message.get_payload()
        self.text = " ".join(text.get_content().split())
        assert status.get_content_type() == "message/delivery-status", raw
        self.about, *recipients = status.get_payload()
        self.recipients = {r["Final-Recipient"].split(";")[1].strip(): r for r in recipients}
        assert len(self.recipients) == len(recipients)

    @property
    def actions(self):
        return {address: r["Action"] for address, r in self.recipients.items()}


class Dsn(unittest.TestCase):
    maxDiff = None

    def start(self, *arguments, **more):
        return self.enterContext(Host(*arguments, **more))

    def sink(self, steps=(), extensions=(), **script):
        return self.enterContext(Server(steps=steps, extensions=extensions, **script))

    def before(self, sink, more=""):
        """A host whose next host for all is the sink."""
        return self.start(routes={"*": sink.via}, settings=SLOW % more)

    def send(self, host, recipients, mail=(), sender=SENDER, text=MESSAGE):
        """recipients: {address: "NOTIFY=..." or ""}. The queue id."""
        with host.smtp() as client:
            client.ehlo()
            self.assertIn("dsn", client.esmtp_features)
            self.assertEqual(client.mail(sender, list(mail))[0], 250)
            for recipient, options in recipients.items():
                self.assertEqual(client.rcpt(recipient, options.split()), (250, b"2.1.5 Ok"))
            code, reply = client.data(text)
            self.assertEqual(code, 250)
            return reply.decode().split()[-1]

    def reports(self, host, count, seconds=60):
        """Exactly so many, when the queue has become empty."""
        wait_for(lambda: len(host.messages("alice")) >= count, seconds)
        wait_for(host.queue_is_empty, seconds)
        found = [Report(m) for m in host.messages("alice")]
        self.assertEqual(len(found), count, [r.raw for r in found])
        return found

    def one(self, host):
        return self.reports(host, 1)[0]

    # ---- what is passed on

    def test_a_next_host_with_dsn_gets_all_of_it_and_the_duty(self):
        sink = self.sink(extensions=("DSN",), END="250 2.0.0 taken")
        host = self.before(sink)
        self.send(host, {"x@elsewhere.example": "NOTIFY=SUCCESS,DELAY ORCPT=rfc822;X+2B1@old.example", "y@elsewhere.example": "NOTIFY=NEVER",
                         "z@elsewhere.example": ""}, ["RET=HDRS", "ENVID=a+2Bb+3Dc"])
        wait_for(lambda: sink.messages)
        wait_for(host.queue_is_empty)
        mail = next(c for c in sink.commands if c.startswith("MAIL"))
        self.assertEqual(mail, "MAIL FROM:<%s> RET=HDRS ENVID=a+2Bb+3Dc" % SENDER)
        self.assertEqual(sorted(c for c in sink.commands if c.startswith("RCPT")), [
            "RCPT TO:<x@elsewhere.example> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;X+2B1@old.example", "RCPT TO:<y@elsewhere.example> NOTIFY=NEVER",
            "RCPT TO:<z@elsewhere.example>"])
        self.assertEqual(host.messages("alice"), [])

    def test_a_next_host_without_dsn_gets_nothing_of_it_and_relaying_is_reported(self):
        sink = self.sink(extensions=("SIZE",), END="250 2.0.0 taken")
        host = self.before(sink)
        began = int(time.time())
        queue_id = self.send(host, {"x@elsewhere.example": "NOTIFY=SUCCESS ORCPT=rfc822;X@old.example", "y@elsewhere.example": "NOTIFY=NEVER",
                                    "z@elsewhere.example": "", "f@elsewhere.example": "NOTIFY=FAILURE,DELAY"}, ["RET=FULL", "ENVID=QQ314159"])
        report = self.one(host)
        self.assertRegex(next(c for c in sink.commands if c.startswith("MAIL")), r"^MAIL FROM:<%s> SIZE=\d+$" % re.escape(SENDER))
        self.assertTrue(all(re.fullmatch(r"RCPT TO:<\w@elsewhere\.example>", c) for c in sink.commands if c.startswith("RCPT")), sink.commands)
        self.assertEqual(report.about["Original-Envelope-Id"], "QQ314159")
        self.assertEqual(report.about["Reporting-MTA"], "dns; mx.local.example")
        self.assertEqual(report.about["X-Postino-Queue-ID"], queue_id)
        self.assertTrue(began <= email.utils.parsedate_to_datetime(report.about["Arrival-Date"]).timestamp() <= time.time())
        self.assertEqual(report.actions, {"x@elsewhere.example": "relayed"})
        x = report.recipients["x@elsewhere.example"]
        self.assertEqual(x["Original-Recipient"], "rfc822; X@old.example")
        self.assertEqual(x["Final-Recipient"], "rfc822; x@elsewhere.example")
        self.assertEqual(x["Status"], "2.0.0")
        self.assertEqual(x["Remote-MTA"], "dns; 127.0.0.1")
        self.assertEqual(x["Diagnostic-Code"], "smtp; 250 2.0.0 taken")
        self.assertIsNone(x["Will-Retry-Until"])
        self.assertEqual(report.back.get_content_type(), "text/rfc822-headers")  # RET is about failures
        self.assertIn("Subject: the original", report.back.get_payload())
        self.assertNotIn(b"body of the original", report.raw)
        self.assertTrue(report.raw.startswith(b"Return-Path: <>\n"))
        self.assertEqual(report.message["To"], SENDER)

    def test_two_hops_with_dsn_report_once_from_the_last(self):
        second = Host("mx.far.example", domains={}, mailboxes=())
        self.addCleanup(second.close)
        with open(second.path("far"), "w") as f:
            f.write("bob@far.example bob/\n")
        second.tool("postino", "map", "hash:" + second.path("far"), check=True)
        first = self.start(routes={FAR: "smtp:[127.0.0.1]:%d" % second.port})
        second.configure({DOMAIN: "smtp:[127.0.0.1]:%d" % first.port},
                         {FAR: 'mailboxes = "hash:%s" directory = "%s" owner = "%d"' % (second.path("far"), second.path("mail"), MAIL_UID)})
        second.start()
        self.send(first, {"bob@far.example": "NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;Robert@far.example", }, ["ENVID=two+20hops"])
        wait_for(lambda: second.messages("bob"))
        report = self.one(first)
        wait_for(second.queue_is_empty)
        self.assertEqual(report.about["Reporting-MTA"], "dns; mx.far.example")
        self.assertEqual(report.about["Original-Envelope-Id"], "two hops")
        self.assertEqual(report.actions, {"bob@far.example": "delivered"})
        bob = report.recipients["bob@far.example"]
        self.assertEqual(bob["Original-Recipient"], "rfc822; Robert@far.example")
        self.assertIsNone(bob["Diagnostic-Code"])
        self.assertNotIn(second.path("mail").encode(), report.raw)
        # and a failure at the second one
        for name in os.listdir(first.path("mail", "alice", "new")):
            os.unlink(first.path("mail", "alice", "new", name))
        with first.smtp() as client:
            client.ehlo()
            client.mail(SENDER, ["ENVID=x"])
            self.assertEqual(client.rcpt("nobody@far.example", ["NOTIFY=SUCCESS,FAILURE"])[0], 250)
            client.data(MESSAGE)
        report = self.one(first)
        self.assertEqual(report.about["Reporting-MTA"], "dns; mx.local.example")  # refused at RCPT: the first still has it
        self.assertEqual(report.actions, {"nobody@far.example": "failed"})

    # ---- success here

    def test_local_delivery_is_reported_where_asked(self):
        host = self.start(aliases="team: alice@%s, bob@%s\npostmaster: alice@%s\n" % (DOMAIN, DOMAIN, DOMAIN))
        self.send(host, {"bob@" + DOMAIN: "NOTIFY=SUCCESS"}, ["ENVID=1"])
        report = self.one(host)
        self.assertEqual(report.actions, {"bob@" + DOMAIN: "delivered"})
        bob = report.recipients["bob@" + DOMAIN]
        self.assertRegex(bob["Status"], r"^2\.\d\.\d$")
        self.assertIsNone(bob["Original-Recipient"])
        self.assertIsNone(bob["Remote-MTA"])
        self.assertEqual(report.message["Subject"], "Your mail was delivered")
        for wish in ("", "NOTIFY=NEVER", "NOTIFY=FAILURE,DELAY"):
            self.send(host, {"bob@" + DOMAIN: wish})
        wait_for(lambda: len(host.messages("bob")) == 4)
        wait_for(host.queue_is_empty)
        self.assertEqual(len(host.messages("alice")), 1)

    def test_an_alias_is_reported_by_the_name_the_sender_knows(self):
        host = self.start(aliases="team: bob@%s, carol@%s\n" % (DOMAIN, DOMAIN), mailboxes=("alice", "bob", "carol"))
        team = "team@mx.local.example"
        self.send(host, {team: "NOTIFY=SUCCESS"})
        report = self.one(host)
        self.assertEqual(report.actions, {"bob@" + DOMAIN: "delivered", "carol@" + DOMAIN: "delivered"})
        self.assertEqual({r["Original-Recipient"] for r in report.recipients.values()}, {"rfc822; " + team})

    def test_success_is_not_lost_when_its_report_has_to_wait(self):
        """killed between a delivery and its report: it is not delivered again, and the report comes"""
        host = self.start()
        route = host.pid_of("route")
        with host.smtp() as client:
            client.ehlo()
            client.mail(SENDER)
            self.assertEqual(client.rcpt("bob@" + DOMAIN, ["NOTIFY=SUCCESS"])[0], 250)
            os.kill(route, signal.SIGSTOP)  # the report's way can't be asked
            self.assertEqual(client.data(MESSAGE)[0], 250)
            wait_for(lambda: host.messages("bob"))
            wait_for(lambda: "delivered, to be reported" in host.tool("postino", "spool", "dump", "--live").stdout)
            self.assertEqual(host.messages("alice"), [])
        host.kill()
        host.start()
        report = self.one(host)
        self.assertEqual(report.actions, {"bob@" + DOMAIN: "delivered"})
        self.assertEqual(len(host.messages("bob")), 1)

    # ---- failures

    def test_failures_are_reported_where_wanted(self):
        sink = self.sink({"RCPT": "550 5.1.1 no such user"})
        host = self.before(sink)
        self.send(host, {"a@elsewhere.example": "NOTIFY=NEVER", "b@elsewhere.example": "NOTIFY=SUCCESS", "c@elsewhere.example": "",
                         "d@elsewhere.example": "NOTIFY=FAILURE ORCPT=rfc822;D@old.example", "e@elsewhere.example": "NOTIFY=DELAY"})
        report = self.one(host)
        self.assertEqual(report.actions, {"c@elsewhere.example": "failed", "d@elsewhere.example": "failed"})
        self.assertEqual(report.recipients["d@elsewhere.example"]["Original-Recipient"], "rfc822; D@old.example")
        self.assertIsNone(report.recipients["c@elsewhere.example"]["Original-Recipient"])
        self.assertEqual(report.recipients["c@elsewhere.example"]["Status"], "5.1.1")
        self.assertEqual(report.recipients["c@elsewhere.example"]["Diagnostic-Code"], "smtp; 550 5.1.1 no such user")
        self.assertIsNone(report.about["Original-Envelope-Id"])
        self.assertEqual(len(re.findall(r"its sender asked for none", host.log())), 3)

    def test_nothing_is_reported_to_nobody(self):
        sink = self.sink({"RCPT <no": "550 5.1.1 no"})
        host = self.before(sink, "delay_warning = 1s")
        self.send(host, {"no@elsewhere.example": "NOTIFY=FAILURE", "x@elsewhere.example": "NOTIFY=SUCCESS"}, sender="")
        wait_for(lambda: sink.messages)
        wait_for(host.queue_is_empty)
        self.assertNotIn("notification", host.log())

    def test_ret_is_obeyed(self):
        sink = self.sink({"RCPT": "550 5.1.1 no"})
        host = self.before(sink)
        for ret, kind in (("RET=HDRS", "text/rfc822-headers"), ("RET=FULL", "message/rfc822"), ("", "message/rfc822")):
            with self.subTest(ret=ret):
                before = len(host.messages("alice"))
                self.send(host, {"x@elsewhere.example": ""}, [ret] if ret else [])
                report = self.reports(host, before + 1)[-1]
                self.assertEqual(report.back.get_content_type(), kind)
                self.assertEqual(b"body of the original" in report.raw, kind == "message/rfc822")
                self.assertIn(b"Subject: the original", report.raw)

    def test_success_and_failure_of_one_message_are_two_reports(self):
        sink = self.sink({"RCPT <no": "550 5.1.1 no"})
        host = self.before(sink)
        self.send(host, {"no@elsewhere.example": "", "yes@elsewhere.example": "NOTIFY=SUCCESS"})
        reports = self.reports(host, 2)
        self.assertEqual(sorted(tuple(r.actions.items()) for r in reports),
                         [(("no@elsewhere.example", "failed"),), (("yes@elsewhere.example", "relayed"),)])

    # ---- delays

    def test_a_delay_is_reported_once_and_not_again_after_a_restart(self):
        sink = self.sink({"RCPT <%s" % name: "450 4.2.1 mailbox full" for name in ("wait", "never", "quiet", "ok")})
        host = self.before(sink, "delay_warning = 2s")
        began = time.time()
        self.send(host, {"wait@elsewhere.example": "NOTIFY=DELAY,FAILURE ORCPT=rfc822;W@old.example", "never@elsewhere.example": "NOTIFY=NEVER",
                         "quiet@elsewhere.example": "NOTIFY=FAILURE", "ok@elsewhere.example": ""}, ["ENVID=late", "RET=FULL"])
        wait_for(lambda: host.messages("alice"), 60)
        self.assertGreater(time.time() - began, 1)  # seconds are counted by the clock's
        report = Report(host.messages("alice")[0])
        self.assertEqual(report.actions, {"wait@elsewhere.example": "delayed", "ok@elsewhere.example": "delayed"})
        self.assertEqual(report.about["Original-Envelope-Id"], "late")
        wait = report.recipients["wait@elsewhere.example"]
        self.assertEqual(wait["Original-Recipient"], "rfc822; W@old.example")
        self.assertEqual(wait["Status"], "4.2.1")
        self.assertEqual(wait["Diagnostic-Code"], "smtp; 450 4.2.1 mailbox full")
        self.assertEqual(wait["Remote-MTA"], "dns; 127.0.0.1")
        until = email.utils.parsedate_to_datetime(wait["Will-Retry-Until"]).timestamp()
        self.assertAlmostEqual(until, began + 3600, delta=60)
        self.assertEqual(report.message["Subject"], "Your mail is delayed, and is still tried")
        self.assertEqual(report.back.get_content_type(), "text/rfc822-headers")
        time.sleep(3.5)
        self.assertEqual(len(host.messages("alice")), 1)
        host.kill()
        host.start()
        attempts = len(re.findall("status=deferred", host.log()))
        wait_for(lambda: len(re.findall("status=deferred", host.log())) >= attempts + 8, 60)
        self.assertEqual(len(host.messages("alice")), 1)
        sink.script = {}
        wait_for(host.queue_is_empty, 60)
        self.assertEqual(len(host.messages("alice")), 1)
        self.assertEqual(len(re.findall("sender delay notification", host.log())), 1)

    def test_mail_for_a_dead_site_is_warned_about_too(self):
        host = self.start(routes={"*": "smtp:[127.0.0.1]:%d" % free_port()},
                          settings="queue { retry_first = 1h retry_most = 1h lifetime = 2h delay_warning = 2s }")
        for i in range(3):
            self.send(host, {"x%d@elsewhere.example" % i: ""})
        wait_for(lambda: len(host.messages("alice")) >= 3, 60)
        reports = [Report(m) for m in host.messages("alice")]
        self.assertEqual(sorted(a for r in reports for a in r.actions.items()), [("x%d@elsewhere.example" % i, "delayed") for i in range(3)])
        for r in reports:
            for fields in r.recipients.values():
                self.assertRegex(fields["Status"], r"^4\.\d\.\d$")

    # ---- what is not for senders

    def told(self, host, words, status, not_told):
        """One report of a delay says these words, and nothing of what the queue tells the administrator."""
        wait_for(lambda: host.messages("alice"), 60)
        report = Report(host.messages("alice")[0])
        fields, = report.recipients.values()
        self.assertEqual((fields["Action"], fields["Status"]), ("delayed", status))
        self.assertIn(words, report.text)
        self.assertIn(not_told, host.queue())
        self.assertNotIn(not_told.encode(), b" ".join(report.raw.split()))
        return fields

    def test_advice_to_the_administrator_is_not_for_the_sender(self):
        """the same for mail that was deferred before it was restarted"""
        sink = self.sink(MAIL="530 5.7.0 authentication required")
        host = self.before(sink, "delay_warning = 0")
        self.send(host, {"x@elsewhere.example": "NOTIFY=DELAY"})
        host.wait_log(r"status=deferred reply=\".*; the host wants a login or TLS: add login = ")
        host.stop()
        host.configure(routes={"*": sink.via}, settings="queue { retry_first = 1h retry_most = 1h lifetime = 2h delay_warning = 2s }")
        host.start()
        fields = self.told(host, "host 127.0.0.1[127.0.0.1] said: 530 5.7.0 authentication required (in reply to MAIL FROM command)", "4.7.0",
                           "the host wants a login")
        self.assertEqual((fields["Diagnostic-Code"], fields["Remote-MTA"]), ("smtp; 530 5.7.0 authentication required", "dns; 127.0.0.1"))

    def test_a_fault_of_our_own_is_told_in_general(self):
        routes = {"*": "via = \"smtp:[127.0.0.1]:%d\" sources = far" % free_port()}
        settings = "source far { address = \"192.0.2.77\" }\n" + SLOW % "delay_warning = 2s"
        host = self.start(routes=routes, settings=settings)
        self.send(host, {"x@elsewhere.example": "NOTIFY=DELAY"})
        words = host.hostname + " could not deliver it; its postmaster can see why in its log"
        fields = self.told(host, words, "4.3.5", "source far")
        self.assertRegex(host.tool("postino", "sites").stdout, r" failing .*\n +since \S+, last \S+: connect to .* source far: its IPv4 address can't be used")
        self.assertEqual(" ".join(fields["Diagnostic-Code"].split()), "X-Postino; " + words)
        self.assertIsNone(fields["Remote-MTA"])

    def test_a_next_host_of_ours_that_is_away_is_not_named(self):
        host = self.start(routes={"*": "smtp:[127.0.0.1]:%d" % free_port()}, settings=SLOW.replace("1h", "4s") % "delay_warning = 0")
        self.send(host, {"x@elsewhere.example": ""})
        report = self.one(host)
        self.assertEqual(report.recipients["x@elsewhere.example"]["Status"], "4.4.7")
        self.assertRegex(report.text, r"delivery time expired after \d attempts; the last said: the next host could not be reached")
        self.assertRegex(host.log(), r"dsn=4\.4\.7 status=expired reply=\"connect to 127\.0\.0\.1\[127\.0\.0\.1\]:\d+: Connection refused")

    def test_no_delay_is_reported_when_off_or_delivered_in_time(self):
        sink = self.sink({"RCPT <wait": "450 4.2.1 full"})
        host = self.before(sink, "delay_warning = 0")
        self.send(host, {"wait@elsewhere.example": "NOTIFY=DELAY"})
        wait_for(lambda: len(re.findall("status=deferred", host.log())) >= 4, 60)
        self.assertEqual(host.messages("alice"), [])
        sink.script = {}
        wait_for(host.queue_is_empty, 60)
        self.assertNotIn("notification", host.log())

    def test_a_reload_sets_another_delay(self):
        sink = self.sink({"RCPT <wait": "450 4.2.1 full"})
        host = self.before(sink)
        self.send(host, {"wait@elsewhere.example": "NOTIFY=DELAY"})
        host.wait_log("status=deferred")
        host.configure({"*": sink.via}, settings=SLOW % "delay_warning = 1s")
        host.reload()
        host.wait_log("sender delay notification", 60)
        wait_for(lambda: host.messages("alice"))
        self.assertEqual(Report(host.messages("alice")[0]).actions, {"wait@elsewhere.example": "delayed"})

    # ---- what can't be

    def test_injections_and_nonsense_are_refused(self):
        host = self.start()
        with host.smtp() as client:
            client.ehlo()
            for wrong in ("ENVID=a=0D=0AX-Evil:1", "ENVID=a+0D+0AX-Evil:1", "ENVID=", "ENVID=" + "x" * 101, "ENVID=+C3+A4", "RET=ALL", "RET=FULL RET=FULL",
                          "ENVID=a ENVID=b"):
                code, reply = client.docmd("MAIL FROM:<%s> %s" % (SENDER, wrong))
                self.assertEqual((code, reply[:6]), (501, b"5.5.4 "), wrong)
            self.assertEqual(client.mail(SENDER)[0], 250)
            for wrong in ("ORCPT=rfc822;a=0D=0AX-Evil:1", "ORCPT=rfc822;a+0D+0AX-Evil:1", "ORCPT=a@b.example", "ORCPT=rfc822;", "NOTIFY=", "NOTIFY=NEVER,DELAY",
                          "NOTIFY=DELAY,DELAY", "NOTIFY=SOON", "ORCPT=rfc822;" + "x" * 494, "NOTIFY=DELAY NOTIFY=SUCCESS"):
                code, reply = client.docmd("RCPT TO:<bob@%s> %s" % (DOMAIN, wrong))
                self.assertEqual((code, reply[:6]), (501, b"5.5.4 "), wrong)
            self.assertEqual(client.docmd("DATA")[0], 503)

    def test_sendmail_asks_for_reports(self):
        sink = self.sink({"RCPT <no": "550 5.1.1 no"})
        host = self.before(sink)
        done = host.tool("sendmail", "-f", SENDER, "-N", "success,failure", "-R", "hdrs", "-V", "a+b=c d", "no@elsewhere.example",
                         "yes@elsewhere.example", input="Subject: the original\n\nbody of the original\n")
        self.assertEqual(done.returncode, 0, done.stderr)
        reports = sorted(self.reports(host, 2), key=lambda r: list(r.actions.values()))
        self.assertEqual([r.actions for r in reports], [{"no@elsewhere.example": "failed"}, {"yes@elsewhere.example": "relayed"}])
        for r in reports:
            self.assertEqual(r.about["Original-Envelope-Id"], "a+b=c d")
            self.assertEqual(r.back.get_content_type(), "text/rfc822-headers")


@needs_root
class ByDomain(unittest.TestCase):
    def test_what_happened_with_the_receivers_own_hosts_is_told(self):
        """The same words are not told where a route of this host leads there."""
        world = self.enterContext(World())
        world.name_server({"example": "dead A 192.0.2.2"})
        host = world.postino("queue { retry_first = 1s retry_most = 1s lifetime = 3s delay_warning = 0 }", routes={"routed.example": "smtp:dead.example"})
        words = {"x@dead.example": "connect to dead.example[192.0.2.2]:25: Connection refused", "x@routed.example": "the next host could not be reached",
                 "x@nobody.example": "Host or domain name not found. Name service error for name=nobody.example type=MX"}
        for address in words:
            host.sendmail(address, sender=SENDER)
        wait_for(lambda: len(host.messages("alice")) == len(words), 60)
        for report in (Report(m) for m in host.messages("alice")):
            address, = report.recipients
            self.assertIn(words[address], report.text)
        self.assertRegex(host.log(), r"to=<x@routed\.example>.* reply=\"connect to dead\.example\[192\.0\.2\.2\]:25: Connection refused")


if __name__ == "__main__":
    unittest.main(verbosity=2)
