"""What becomes of mail that can't be delivered at once: retries with growing delay, a report at the end, no report of a report; and nothing is lost."""
import datetime
import email
import email.policy
import json
import os
import re
import signal
import unittest

from host import DOMAIN, Host, free_port, wait_for, without_trace
from hostile import Server

MESSAGE = b"From: alice@local.example\r\nTo: x@elsewhere.example\r\nSubject: the original\r\n\r\nbody of the original\r\n"


def report_of(raw):
    return email.message_from_bytes(raw, policy=email.policy.SMTP)


class Queue(unittest.TestCase):
    def host(self, sink_port, settings="queue { retry_first = 1s retry_most = 2s lifetime = 1h }"):
        return self.enterContext(Host(routes={"*": "smtp:[127.0.0.1]:%d" % sink_port}, settings=settings))

    def sink(self, port=0, **script):
        return self.enterContext(Server(port=port, extensions=(), **script))

    def send(self, host, *recipients, sender="alice@" + DOMAIN):
        with host.smtp() as client:
            client.ehlo()
            client.mail(sender)
            for recipient in recipients:
                self.assertEqual(client.rcpt(recipient)[0], 250)
            code, reply = client.data(MESSAGE)
            self.assertEqual(code, 250)
            return reply.decode().split()[-1]

    def test_a_next_host_that_is_down_is_tried_again_until_it_is_up(self):
        port = free_port()
        host = self.host(port)
        queue_id = self.send(host, "x@elsewhere.example")
        host.wait_log(queue_id + r".*status=deferred")
        listing = host.queue()
        self.assertIn(queue_id, listing)
        self.assertIn("x@elsewhere.example", listing)
        sink = self.sink(port)
        wait_for(lambda: sink.messages, 60)
        self.assertEqual(without_trace(sink.messages[0].body, mailbox=False), MESSAGE.replace(b"\r\n", b"\n"))
        wait_for(host.queue_is_empty)
        self.assertEqual(len(sink.messages), 1)

    def deferrals(self, host, queue_id):
        """When each attempt came to nothing, by the log."""
        return [datetime.datetime.fromisoformat(when + "+00:00").timestamp() for when in
                re.findall(r"(\d{4}-\d\d-\d\dT[\d:.]+)Z [^\n]*" + queue_id + r"[^\n]*status=deferred", host.log())]

    def test_no_attempt_comes_too_early(self):
        sink = self.sink(RCPT="450 4.2.1 later")
        host = self.host(sink.port, "queue { retry_first = 1s retry_most = 4s lifetime = 1h }")
        queue_id = self.send(host, "x@elsewhere.example")

        def four():
            """four attempts"""
            return len(self.deferrals(host, queue_id)) >= 4
        wait_for(four, 60)
        times = self.deferrals(host, queue_id)
        waits = [b - a for a, b in zip(times, times[1:])]
        self.assertTrue(waits[0] > 0.4 and waits[1] > 1.4 and waits[2] > 2.8, waits)

    def test_delays_grow(self):
        """Up to retry_most; here so long that each can be read at leisure."""
        sink = self.sink(RCPT="450 4.2.1 later")
        host = self.host(sink.port, "queue { retry_first = 1h retry_most = 4h lifetime = 5d }")
        queue_id = self.send(host, "x@elsewhere.example")
        for attempt, hours in enumerate((1, 2, 4, 4), 1):
            wait_for(lambda: len(self.deferrals(host, queue_id)) == attempt)
            [recipient] = json.loads(host.tool("mailq", "-j").stdout)["recipients"]
            self.assertEqual(recipient["attempts"], attempt)
            delay = (recipient["next_attempt"] - self.deferrals(host, queue_id)[-1]) / 3600
            self.assertTrue(0.85 * hours < delay < 1.15 * hours, (attempt, delay))
            self.assertEqual(host.tool("postino", "queue", "retry", queue_id).returncode, 0)

    def test_a_final_refusal_comes_back_as_a_report(self):
        sink = self.sink(steps={"RCPT <bad": "550 5.1.1 no such user here"})
        host = self.host(sink.port)
        queue_id = self.send(host, "bad@elsewhere.example", "good@elsewhere.example")
        wait_for(lambda: host.messages("alice"), 60)
        wait_for(lambda: sink.messages)
        raw = host.messages("alice")[0]
        self.assertTrue(raw.startswith(b"Return-Path: <>\n"))
        report = report_of(raw)
        self.assertEqual(report.defects, [])
        self.assertEqual(report.get_content_type(), "multipart/report")
        self.assertEqual(report.get_param("report-type"), "delivery-status")
        self.assertEqual(report["Auto-Submitted"], "auto-replied")
        self.assertIn("MAILER-DAEMON@", report["From"])
        text, status, original = report.get_payload()
        self.assertEqual(text.get_content_type(), "text/plain")
        self.assertIn("bad@elsewhere.example", text.get_content())
        self.assertIn("no such user here", " ".join(text.get_content().split()))
        self.assertEqual(status.get_content_type(), "message/delivery-status")
        of_message, of_recipient = status.get_payload()
        self.assertEqual(of_message["Reporting-MTA"], "dns; mx.local.example")
        self.assertRegex(of_message["Arrival-Date"], r"\d{4}")
        self.assertEqual(of_recipient["Final-Recipient"].replace(" ", ""), "rfc822;bad@elsewhere.example")
        self.assertEqual(of_recipient["Action"], "failed")
        self.assertEqual(of_recipient["Status"], "5.1.1")
        self.assertIn("550 5.1.1 no such user here", of_recipient["Diagnostic-Code"])
        self.assertEqual(len(status.get_payload()), 2)
        self.assertEqual(original.get_content_type(), "message/rfc822")
        self.assertEqual(original.get_payload(0)["Subject"], "the original")
        self.assertIn(queue_id, raw.decode())
        wait_for(host.queue_is_empty)

    def test_a_report_that_can_t_be_delivered_is_not_reported(self):
        sink = self.sink(RCPT="550 5.1.1 no")
        host = self.host(sink.port)
        self.send(host, "bad@elsewhere.example", sender="nobody@elsewhere.example")
        wait_for(lambda: len(re.findall(r"status=bounced", host.log())) >= 2, 60)
        wait_for(host.queue_is_empty)
        self.assertEqual(sink.messages, [])
        self.assertEqual(len(re.findall(r"status=bounced", host.log())), 2)

    def test_after_the_lifetime_it_goes_back(self):
        sink = self.sink(RCPT="451 4.7.1 come back later")
        host = self.host(sink.port, "queue { retry_first = 1s retry_most = 1s lifetime = 3s }")
        self.send(host, "x@elsewhere.example")
        wait_for(lambda: host.messages("alice"), 60)
        raw = host.messages("alice")[0].decode()
        self.assertIn("come back later", raw)
        self.assertRegex(raw, r"(?m)^Action: failed")
        wait_for(host.queue_is_empty)

    def test_it_is_in_the_queue_as_long_as_its_sender_is_to_be_told(self):
        """No report is made while postino-route, which says where it goes, does not answer."""
        sink = self.sink(RCPT="450 4.2.1 later")
        host = self.host(sink.port, "queue { retry_first = 1h }")
        queue_id = self.send(host, "x@elsewhere.example")
        wait_for(lambda: self.deferrals(host, queue_id))
        route = host.pid_of("route")
        os.kill(route, signal.SIGSTOP)
        try:
            sink.script = {"RCPT": "550 5.1.1 no such user here"}
            self.assertEqual(host.tool("postino", "queue", "retry", queue_id).returncode, 0)
            host.wait_log(queue_id + ".*status=bounced")
            listing = host.queue()
            self.assertRegex(listing, queue_id)
            self.assertRegex(listing, r"\(its sender is still to be told: .*550 5\.1\.1 no such user here.*\)\n +x@elsewhere\.example\n")
            self.assertEqual(host.messages("alice"), [])
        finally:
            os.kill(route, signal.SIGCONT)
        wait_for(host.queue_is_empty)
        [report] = host.messages("alice")
        self.assertIn(b"no such user here", report)

    def test_results_are_kept_for_each_recipient(self):
        sink = self.sink(steps={"RCPT <later": "450 4.2.1 full", "RCPT <never": "550 5.1.1 gone"})
        host = self.host(sink.port, "queue { retry_first = 3s retry_most = 3s lifetime = 1h }")
        self.send(host, "later@elsewhere.example", "never@elsewhere.example", "now@elsewhere.example")
        wait_for(lambda: host.messages("alice"), 60)
        listing = host.queue()
        self.assertIn("later@elsewhere.example", listing)
        self.assertNotIn("never@elsewhere.example", listing)
        self.assertNotIn("now@elsewhere.example", listing)
        sink.script = {}
        wait_for(host.queue_is_empty, 60)
        self.assertEqual(len(sink.messages), 2)

    def test_kill_of_everything_loses_nothing(self):
        """messages that were answered 250 are there after a kill -9 of all programs"""
        port = free_port()
        host = self.host(port)
        ids = [self.send(host, "x%d@elsewhere.example" % i) for i in range(10)]
        host.kill()
        host.start()
        listing = host.queue()
        for queue_id in ids:
            self.assertIn(queue_id, listing)
        sink = self.sink(port)
        wait_for(host.queue_is_empty, 60)
        self.assertGreaterEqual(len(sink.messages), 10)

    def test_the_administrator_sees_retries_and_deletes(self):
        port = free_port()
        host = self.host(port, "queue { retry_first = 1h retry_most = 1h lifetime = 2d }")
        keep, drop = self.send(host, "keep@elsewhere.example"), self.send(host, "drop@elsewhere.example")
        host.wait_log(drop + r".*status=deferred")
        host.wait_log(keep + r".*status=deferred")
        shown = host.tool("postino", "queue", "show", keep)
        self.assertEqual(shown.returncode, 0, shown.stderr)
        self.assertIn("body of the original", shown.stdout)
        self.assertIn("keep@elsewhere.example", shown.stdout)
        done = host.tool("postino", "queue", "hold", "--site", "nobody.example")
        self.assertEqual((done.returncode, done.stdout), (66, ""))
        self.assertIn("nobody.example: there is no site of that name, so nothing was changed", done.stderr)
        self.assertIn("nothing in the queue fits that", host.tool("postino", "queue", "hold", "--sender", "nobody@elsewhere.example").stdout)
        self.assertNotIn("nothing", host.tool("postino", "queue", "retry", "--recipient", "drop@elsewhere.example").stdout)
        wait_for(lambda: len(re.findall(drop + r".*status=deferred", host.log())) >= 2)  # what is under way can't be deleted yet
        self.assertEqual(host.tool("postino", "queue", "delete", drop).returncode, 0)
        self.assertNotIn(drop, host.queue())
        sink = self.sink(port)
        self.assertEqual(host.tool("postino", "queue", "retry", keep).returncode, 0)
        wait_for(host.queue_is_empty, 60)
        self.assertEqual(len(sink.messages), 1)
        self.assertNotEqual(host.tool("postino", "queue", "show", keep).returncode, 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
