#!/usr/bin/python3
"""postino-master with the real programs: start, supervision, reload and stop of a host that mail runs through."""
import os
import re
import signal
import smtplib
import socket
import stat
import subprocess
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from host import DOMAIN, FIRST_UID, Host, program, running, wait_for  # noqa: E402

PROGRAMS = {"smtpd", "auth", "qmgr", "remote", "local", "dns", "route", "tlsmgr", "sts", "lmtp", "creds"}
ALICE = "alice@" + DOMAIN


class MasterTest(unittest.TestCase):
    settings = "smtpd_processes = 2 stop_grace = 3s"

    def setUp(self):
        self.host = Host(settings=self.settings)
        self.addCleanup(self.host.close)

    def start(self):
        self.host.start()
        self.host.wait_log("ready as process %d" % self.host.process.pid)

    def text(self, subject):
        return ("From: x@client.example\r\nSubject: %s\r\n\r\nHello.\r\n" % subject).encode()

    def arrives(self, subject):
        line = b"Subject: %s\n" % subject.encode()
        try:
            wait_for(lambda: any(line in m for m in self.host.messages("alice")))
        except AssertionError:
            raise AssertionError("%r did not arrive; the log ends:\n%s" % (subject, self.host.log()[-4000:]))

    def mail(self, subject):
        with self.host.smtp() as smtp:
            smtp.sendmail("x@client.example", [ALICE], self.text(subject))

    def mail_goes(self, subject, smtp):
        """In a session; with 4xx as long as smtpd has not been given the new process's socket."""
        def taken():
            smtp.rset()
            smtp.mail("x@client.example")
            return smtp.rcpt(ALICE)[0] == 250 and smtp.data(self.text(subject))[0] == 250
        wait_for(taken)
        self.arrives(subject)

    def session(self):
        smtp = self.host.smtp()
        smtp.ehlo()
        return smtp

    def pids(self, name):
        return {pid for pid, n in self.host.pids().items() if n == name}


class Start(MasterTest):
    def test_all_programs_run_and_mail_runs_through_them(self):
        self.start()
        self.assertEqual(set(self.host.pids().values()), PROGRAMS | {"master"})
        self.assertEqual(len(self.pids("smtpd")), 2)
        for pid, name in self.host.pids().items():
            self.assertEqual(os.sched_getscheduler(pid), os.SCHED_OTHER if name == "master" else os.SCHED_BATCH, name)
        self.mail("start")
        self.arrives("start")

    def test_a_second_master_is_refused(self):
        self.start()
        done = subprocess.run([program("postino-master"), "-c", self.host.config, "-f"], capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 75, done.stderr)
        self.assertIn("already running as process %d" % self.host.process.pid, done.stderr)
        self.mail("second")
        self.arrives("second")

    def test_directories_are_closed_to_others(self):
        self.start()
        qmgr = FIRST_UID + 2 if os.geteuid() == 0 else os.geteuid()
        for name, mode, uid in (("run", 0o755, os.geteuid()), ("empty", 0o755, os.geteuid()), ("spool", 0o700, qmgr)):
            st = os.lstat(self.host.path(name))
            self.assertEqual((stat.S_IMODE(st.st_mode), st.st_uid), (mode, uid), name)
        self.assertEqual(os.listdir(self.host.path("empty")), [])

    def test_the_service_manager_is_told(self):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.bind(self.host.path("notify"))
            manager.settimeout(60)
            self.host.environment["NOTIFY_SOCKET"] = self.host.path("notify")
            self.start()
            self.assertIn("READY=1\nMAINPID=%d\n" % self.host.process.pid, manager.recv(4096).decode())
            self.host.reload()
            self.assertIn("RELOADING=1\nMONOTONIC_USEC=", manager.recv(4096).decode())
            self.assertIn("READY=1\n", manager.recv(4096).decode())
            self.assertEqual(self.host.stop(), 0)
            self.assertIn("STOPPING=1\n", manager.recv(4096).decode())


class Supervision(MasterTest):
    def test_a_killed_program_is_back_at_once_and_mail_goes_on(self):
        self.start()
        for name in sorted(PROGRAMS):
            before = self.pids(name)
            victim = min(before)
            os.kill(victim, signal.SIGKILL)
            wait_for(lambda: len(self.pids(name)) == len(before) and victim not in self.pids(name))
            self.host.wait_log(r"\(process %d\) killed by SIGKILL.*; starting it anew\n" % victim)
            with self.session() as smtp:
                self.mail_goes("after " + name, smtp)

    def test_a_session_outlives_every_program_but_its_own(self):
        self.start()
        with self.session() as smtp:
            for name in sorted(PROGRAMS - {"smtpd"}):
                victim = self.host.pid_of(name)
                os.kill(victim, signal.SIGKILL)
                smtp.mail("x@client.example")
                wait_for(lambda: victim != self.host.pid_of(name) and self.host.pid_of(name))
                self.mail_goes("beyond " + name, smtp)

    def test_all_end_when_the_master_is_killed_and_nothing_is_lost(self):
        self.start()
        self.mail("before")
        children = set(self.host.pids()) - {self.host.process.pid}
        self.host.process.kill()
        self.host.process.wait()
        wait_for(lambda: not running(children))
        self.start()
        self.arrives("before")
        self.mail("again")
        self.arrives("again")


class Reload(MasterTest):
    def test_a_bad_file_leaves_everything_as_it_is(self):
        self.start()
        before = self.host.pids()
        with self.session() as smtp:
            with open(self.host.config, "a") as f:
                f.write("nonsense = 1\n")
            self.host.reload()
            self.host.wait_log("reload refused")
            self.host.wait_log("nonsense")
            self.assertEqual(self.host.pids(), before)
            smtp.sendmail("x@client.example", [ALICE], self.text("bad file"))
        self.arrives("bad file")

    def test_the_administrator_is_told_what_came_of_it(self):
        self.start()
        ended = self.host.tool("postino", "reload")
        self.assertEqual((ended.returncode, ended.stderr), (0, ""))
        self.assertIn("reloaded: generation 2", self.host.log())  # it has waited
        with open(self.host.config) as f:
            good = f.read()
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen(1)
            port = taken.getsockname()[1]
            with open(self.host.config, "a") as f:
                f.write('listener "taken" { address = { "127.0.0.1" } port = %d }\n' % port)
            ended = self.host.tool("postino", "reload")
        self.assertEqual(ended.returncode, 75)
        self.assertIn(":%d" % port, ended.stderr)
        self.assertIn("reload refused", ended.stderr)
        self.assertIn("reload refused", self.host.tool("postino", "status").stdout)
        with open(self.host.config, "w") as f:
            f.write(good + "nonsense = 1\n")
        self.assertEqual(self.host.tool("postino", "reload").returncode, 78)
        ended = self.host.tool("postino", "status")  # it is to be had while the file is edited
        self.assertEqual((ended.returncode, "is running as process" in ended.stdout), (0, True))
        self.assertIn("nonsense", ended.stderr)
        with open(self.host.config, "w") as f:
            f.write(good)
        self.assertEqual(self.host.tool("postino", "reload").returncode, 0)
        self.assertIn("running; reloaded", self.host.tool("postino", "status").stdout)

    def test_an_open_session_lives_through_a_reload(self):
        self.start()
        qmgr, old, count = self.host.pid_of("qmgr"), self.pids("smtpd"), len(self.host.pids())
        with self.session() as smtp, self.session() as other:
            smtp.mail("x@client.example")
            self.assertEqual(smtp.rcpt(ALICE)[0], 250)
            for generation in (2, 3):
                self.host.reload()
                self.host.wait_log("reloaded: generation %d" % generation)
            self.assertEqual(smtp.data(self.text("through"))[0], 250)
            smtp.mail("x@client.example")
            self.assertEqual(smtp.rcpt(ALICE)[0], 250)
            self.assertEqual(smtp.data(self.text("through again"))[0], 250)
            self.assertTrue(old & self.pids("smtpd"))
            other.sendmail("x@client.example", [ALICE], self.text("other"))
            self.mail("new")
        for subject in ("through", "through again", "other", "new"):
            self.arrives(subject)
        wait_for(lambda: not old & self.pids("smtpd") and len(self.pids("smtpd")) == 2)
        wait_for(lambda: len(self.host.pids()) == count)  # nobody of the former generations is left
        self.assertEqual(self.host.pid_of("qmgr"), qmgr)

    def test_a_changed_setting_holds_for_new_sessions(self):
        self.start()
        self.host.configure(settings=self.settings + " limit { message_size = 2000 }")
        self.host.reload()
        self.host.wait_log("reloaded: generation 2")
        with self.session() as smtp:
            self.assertEqual(smtp.esmtp_features["size"], "2000")

    def test_reloaded_means_that_no_former_process_lets_a_client_in(self):
        self.start()
        old = self.pids("smtpd")
        for pid in old:
            os.kill(pid, signal.SIGSTOP)
        self.host.configure(settings=self.settings + " limit { message_size = 2000 }")
        self.host.reload()
        wait_for(lambda: len(self.pids("smtpd")) == 4)
        time.sleep(0.7)
        self.assertNotIn("reloaded: generation 2", self.host.log())
        for pid in old:
            os.kill(pid, signal.SIGCONT)
        self.host.wait_log("reloaded: generation 2")
        for _ in range(20):
            with self.session() as smtp:
                self.assertEqual(smtp.esmtp_features["size"], "2000")

    def test_mail_goes_on_while_reloading(self):
        """No connection is refused, no message lost, none delivered twice."""
        self.start()
        begun, done, sent, failed = time.monotonic(), threading.Event(), [], []

        def client(who):
            while not done.is_set():
                subject = "%d-%d" % (who, len(sent))
                try:
                    self.mail(subject)
                    sent.append(subject)
                except (OSError, smtplib.SMTPException) as e:
                    failed.append("%s: %r" % (subject, e))
        clients = [threading.Thread(target=client, args=(who,)) for who in range(3)]
        for c in clients:
            c.start()

        def enough():
            """three clients have sent mail for four seconds, and over more than five reloads"""
            self.host.reload()
            passed = time.monotonic() - begun
            return passed > 4 and (failed or len(sent) > 20 and self.host.log().count("reloaded: generation") > 5)
        try:
            wait_for(enough, 60, pause=0.2)
        finally:
            done.set()
            for c in clients:
                c.join()
        self.assertEqual(failed, [])
        wait_for(lambda: len(self.host.messages("alice")) >= len(sent), 60)
        found = [re.search(rb"^Subject: (\S+)", m, re.M).group(1).decode() for m in self.host.messages("alice")]
        self.assertEqual(sorted(found), sorted(sent))


class Stop(MasterTest):
    settings = "smtpd_processes = 2 stop_grace = 60s"  # a stop that waits for what it need not is seen by the time

    def test_an_orderly_stop(self):
        self.start()
        children = set(self.host.pids())
        idle, busy = self.session(), self.session()
        self.addCleanup(idle.close)
        self.addCleanup(busy.close)
        busy.mail("x@client.example")
        busy.rcpt(ALICE)
        busy.putcmd("data")
        self.assertEqual(busy.getreply()[0], 354)
        busy.send(b"Subject: last\r\n\r\n")
        self.host.process.terminate()
        self.assertEqual(idle.getreply()[0], 421)
        busy.send(b"words\r\n.\r\n")
        self.assertEqual(busy.getreply()[0], 250)
        begun = time.monotonic()
        self.assertEqual(self.host.process.wait(100), 0)
        self.assertLess(time.monotonic() - begun, 30)
        self.assertFalse(running(children))
        self.assertEqual(os.listdir(self.host.path("run")), [])
        self.assertNotIn("killed", self.host.log())
        with self.assertRaises((ConnectionRefusedError, smtplib.SMTPServerDisconnected)):
            self.host.smtp()
        self.start()
        self.arrives("last")

    def test_a_stop_overtakes_a_reload(self):
        self.start()
        idle = self.session()
        self.addCleanup(idle.close)
        self.host.reload()
        self.host.wait_log("reloaded: generation 2")
        self.host.process.terminate()
        begun = time.monotonic()
        self.assertEqual(idle.getreply()[0], 421)
        self.assertEqual(self.host.process.wait(100), 0)
        self.assertLess(time.monotonic() - begun, 30)

    def test_an_idle_host_stops_at_once(self):
        self.start()
        begun = time.monotonic()
        self.assertEqual(self.host.stop(100), 0)
        self.assertLess(time.monotonic() - begun, 30)
        self.assertNotIn("killed", self.host.log())


if __name__ == "__main__":
    unittest.main(verbosity=2)
