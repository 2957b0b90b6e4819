"""What a sender asks about when his mail goes, by when it must be there, and how urgent it is: RFC 4865, 2852, 6710; and ETRN (RFC 1985). Real programs,
and real next hosts: another Postino, which offers all of it, and Debian's Postfix, which offers none."""
import os
import re
import signal
import sys
import time
import unittest

from host import DOMAIN, ROOT, Host, free_port, wait_for
from hostile import Server
from test_dsn import Report

sys.path.insert(0, os.path.join(ROOT, "tests", "conformance"))

SENDER = "alice@" + DOMAIN
MESSAGE = b"From: alice@local.example\r\nTo: x@elsewhere.example\r\nSubject: the original\r\n\r\nbody of the original\r\n"
ALL = "DSN", "DELIVERBY", "MT-PRIORITY"
QUICK = "queue { retry_first = 1s retry_most = 2s lifetime = 1h }\nsmtpd { deliver_by_least = 0 }"


class Times(unittest.TestCase):
    maxDiff = None

    def start(self, **more):
        return self.enterContext(Host(**more))

    def sink(self, *extensions, **more):
        return self.enterContext(Server(extensions=extensions, **more))

    def before(self, port):
        return self.start(routes={"*": "smtp:[127.0.0.1]:%d" % port}, settings=QUICK)

    def send(self, host, parameters, recipient="x@elsewhere.example", notify=""):
        with host.smtp() as client:
            client.ehlo()
            self.assertEqual(client.docmd("MAIL FROM:<%s> %s" % (SENDER, parameters))[0], 250)
            self.assertEqual(client.docmd("RCPT TO:<%s> %s" % (recipient, notify))[0], 250)
            code, reply = client.data(MESSAGE)
            self.assertEqual(code, 250)
            return reply.decode().split()[-1]

    def report(self, host):
        wait_for(lambda: host.messages("alice"))
        self.assertEqual(len(host.messages("alice")), 1)
        return Report(host.messages("alice")[0])

    def mail_commands(self, sink):
        return [c for c in sink.commands if c.startswith("MAIL")]

    def mail_command(self, sink):
        return wait_for(lambda: self.mail_commands(sink))[0]

    # ---- RFC 4865

    def test_mail_waits_for_its_time_and_the_queue_shows_it(self):
        sink = self.sink()
        host = self.before(sink.port)
        began = time.time()
        queue_id = self.send(host, "HOLDFOR=10")
        self.assertIn("its sender wants it to wait until 20", host.queue())
        shown = host.tool("postino", "queue", "show", queue_id).stdout
        self.assertRegex(shown, r"(?m)^release: 20")
        self.assertIn('"release_time": ', host.tool("postino", "queue", "list", "--json").stdout)
        host.tool("postino", "queue", "retry", "all")
        self.assertIn("wants it to wait", host.tool("postino", "queue", "retry", queue_id).stderr)
        host.tool("postino", "queue", "flush", "127.0.0.1")
        host.reload()
        wait_for(lambda: sink.messages, 60)
        self.assertGreaterEqual(time.time() - began, 10)
        wait_for(host.queue_is_empty)
        self.assertEqual(len(sink.messages), 1)

    def test_a_crash_and_a_stop_in_between_release_it_once_at_its_time(self):
        sink = self.sink()
        host = self.before(sink.port)
        began = time.time()
        for _ in range(3):
            self.send(host, "HOLDFOR=20")
        self.send(host, "HOLDUNTIL=" + time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(began + 21)))
        for _ in range(2):
            pid = host.pid_of("qmgr")
            os.kill(pid, signal.SIGKILL)
            wait_for(lambda: host.pid_of("qmgr") not in (None, pid))
            wait_for(lambda: host.queue().count("wants it to wait") == 4)
        host.stop()
        host.start()
        self.assertEqual(host.queue().count("wants it to wait"), 4)
        self.assertEqual(sink.messages, [])
        wait_for(lambda: sink.messages, 60)
        self.assertGreaterEqual(time.time() - began, 20)
        wait_for(host.queue_is_empty, 60)
        self.assertEqual(len(sink.messages), 4)

    def test_mail_for_a_mailbox_waits_too_and_parked(self):
        host = self.start(settings="limit { queue_memory = 0 }")
        began = time.time()
        self.send(host, "HOLDFOR=4", "bob@" + DOMAIN)
        wait_for(lambda: host.messages("bob"))
        self.assertGreaterEqual(time.time() - began, 4)

    # ---- RFC 2852

    def test_at_the_deadline_it_comes_back(self):
        sink = self.sink(*ALL, RCPT="450 4.2.1 not now")
        host = self.before(sink.port)
        began = time.time()
        self.send(host, "BY=9;R")
        r = self.report(host)
        self.assertGreaterEqual(time.time() - began, 8)  # what is less than a second can't be passed on
        self.assertLess(time.time() - began, 30)  # and not the lifetime of an hour
        fields = r.recipients["x@elsewhere.example"]
        self.assertEqual((fields["Action"], fields["Status"]), ("failed", "5.4.7"))
        self.assertIsNotNone(r.about["Deliver-By-Date"])
        wait_for(host.queue_is_empty)

    def test_the_next_host_gets_the_time_that_is_left(self):
        sink = self.sink(*ALL, RCPT="450 4.2.1 not now")
        host = self.before(sink.port)
        self.send(host, "BY=100;RT MT-PRIORITY=-4")
        left = re.search(r" BY=(\d+);RT MT-PRIORITY=-4$", self.mail_command(sink))
        self.assertTrue(60 <= int(left[1]) <= 100, left[0])
        wait_for(lambda: len(self.mail_commands(sink)) >= 3)
        last = self.mail_commands(sink)[2]
        self.assertLess(int(re.search(r"BY=(\d+)", last)[1]), int(left[1]))

    def test_a_time_that_is_past_goes_on_as_such(self):
        sink = self.sink(*ALL)
        host = self.before(sink.port)
        self.send(host, "BY=-50;N")
        left = re.search(r" BY=(-\d+);N$", self.mail_command(sink))
        self.assertTrue(-90 <= int(left[1]) <= -50, left[0])

    def test_r_is_returned_by_a_host_without_it_at_once(self):
        sink = self.sink("DSN")
        host = self.before(sink.port)
        self.send(host, "BY=1000;R")
        r = self.report(host)
        fields = r.recipients["x@elsewhere.example"]
        self.assertEqual((fields["Action"], fields["Status"]), ("failed", "5.4.7"))
        self.assertIn("DELIVERBY was not offered", fields["Diagnostic-Code"])
        self.assertEqual(sink.messages, [])

    def test_r_with_less_time_than_the_host_wants_is_returned(self):
        sink = self.sink("DELIVERBY 2000")
        host = self.before(sink.port)
        self.send(host, "BY=1000;R")
        self.assertEqual(self.report(host).recipients["x@elsewhere.example"]["Status"], "5.4.7")
        self.assertEqual(sink.messages, [])

    def test_n_is_relayed_to_a_host_without_it_and_told(self):
        sink = self.sink("DSN")
        host = self.before(sink.port)
        self.send(host, "BY=1000;N")
        self.assertEqual(self.report(host).actions, {"x@elsewhere.example": "relayed"})
        self.assertIn("RCPT TO:<x@elsewhere.example> NOTIFY=FAILURE,DELAY", sink.commands)
        self.assertNotIn(" BY=", self.mail_command(sink))
        self.assertEqual(len(sink.messages), 1)

    def test_n_is_relayed_to_a_host_without_it_and_not_told_to_who_wants_nothing(self):
        sink = self.sink("DSN")
        host = self.before(sink.port)
        self.send(host, "BY=1000;NT", notify="NOTIFY=NEVER")
        wait_for(lambda: sink.messages)
        wait_for(host.queue_is_empty)
        self.assertIn("RCPT TO:<x@elsewhere.example> NOTIFY=NEVER", sink.commands)
        self.assertEqual(host.messages("alice"), [])

    def test_without_a_trace_a_host_with_it_is_not_told_of(self):
        sink = self.sink(*ALL)
        host = self.before(sink.port)
        self.send(host, "BY=1000;R")
        wait_for(lambda: sink.messages)
        wait_for(host.queue_is_empty)
        self.assertEqual(host.messages("alice"), [])

    def test_at_the_deadline_n_is_told_of_the_delay_and_goes_on(self):
        sink = self.sink(*ALL, RCPT="450 4.2.1 not now")
        host = self.before(sink.port)
        self.send(host, "BY=3;N")
        r = self.report(host)
        fields = r.recipients["x@elsewhere.example"]
        self.assertEqual((fields["Action"], fields["Status"]), ("delayed", "4.4.7"))
        tries = len(self.mail_commands(sink))
        wait_for(lambda: len(self.mail_commands(sink)) > tries)  # one that began after the deadline
        sink.script["RCPT"] = "250 2.1.5 ok"
        wait_for(lambda: sink.messages)
        wait_for(host.queue_is_empty)
        self.assertEqual(len(host.messages("alice")), 1)
        self.assertRegex(self.mail_commands(sink)[-1], r" BY=-\d+;N")

    # ---- another Postino

    def test_over_two_postinos(self):
        far = self.start(hostname="far.example", domains={}, settings="limit { queue_memory = 0 }\nsmtpd { deliver_by_least = 0 }",
                         routes={"*": "smtp:[127.0.0.1]:%d" % free_port()})
        host = self.before(far.port)
        queue_id = self.send(host, "BY=200;RT MT-PRIORITY=7")
        r = self.report(host)
        self.assertEqual(r.actions, {"x@elsewhere.example": "relayed"})
        far_id = re.search(r"queued as (\w+)", r.recipients["x@elsewhere.example"]["Diagnostic-Code"])[1]
        shown = far.tool("postino", "queue", "show", far_id).stdout
        self.assertIn("mt-priority: 7\n", shown)
        self.assertIn("priority: high\n", shown)
        self.assertRegex(shown, r"(?m)^deliver-by-or-return: 20")
        self.assertNotEqual(queue_id, far_id)

    # ---- Postfix

    @unittest.skipUnless(os.geteuid() == 0 and os.path.exists("/usr/sbin/postfix"), "needs root and Postfix")
    def test_before_a_postfix(self):
        from servers import Postfix
        with Postfix() as postfix:
            host = self.before(postfix.port)
            self.send(host, "BY=1000;R MT-PRIORITY=3 HOLDFOR=1", "r@elsewhere.example")
            self.send(host, "BY=1000;N MT-PRIORITY=3", "n@elsewhere.example")
            wait_for(lambda: len(host.messages("alice")) == 2)
            wait_for(host.queue_is_empty)
            said = {}
            for m in host.messages("alice"):
                said.update({address: (r["Action"], r["Status"]) for address, r in Report(m).recipients.items()})
            self.assertEqual(said["r@elsewhere.example"], ("failed", "5.4.7"))
            self.assertEqual(said["n@elsewhere.example"][0], "relayed")

    # ---- RFC 1985

    def test_etrn_brings_mail_when_the_host_is_back(self):
        port = free_port()
        host = self.start(routes={"backup.example": "smtp:[127.0.0.1]:%d" % port},
                          settings="relay_to = { \"backup.example\" }\nqueue { retry_first = 1h retry_most = 1h etrn_wait = 10s }")
        self.send(host, "", "x@backup.example")
        host.wait_log("status=deferred")
        sink = self.sink(port=port)
        with host.smtp() as client:
            client.ehlo()
            self.assertIn("etrn", client.esmtp_features)
            self.assertEqual(client.docmd("ETRN elsewhere.example")[0], 459)
            began = time.time()
            code, words = client.docmd("ETRN backup.example")
            self.assertEqual((code, words), (253, b"2.0.0 Ok, 1 pending deliveries started"))
            self.assertEqual(client.docmd("ETRN backup.example")[0], 458)
            wait_for(lambda: sink.messages)
            wait_for(host.queue_is_empty)
            wait_for(lambda: client.docmd("ETRN backup.example")[0] == 251, pause=2)
            self.assertGreater(time.time() - began, 9)  # its clock has whole seconds
            code, words = client.docmd("HELP")
            self.assertIn(b" ETRN ", words)


if __name__ == "__main__":
    unittest.main()
