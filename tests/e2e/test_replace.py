#!/usr/bin/python3
"""smtpd processes are replaced while they work: no client is refused, no session drops, and neither a reload, nor a stop, nor a death at any moment of it
leaves one too many or one too few."""
import os
import signal
import smtplib
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from host import DOMAIN, Host, wait_for  # noqa: E402
from test_master_alone import EDGES, Stage  # noqa: E402

FINISHING_MOST = 4  # REPLACED_MOST of master/replace.h


class Alone(unittest.TestCase):
    """With stand-ins for the programs, which ask to be replaced at SIGUSR1."""

    def setUp(self):
        self.stage = Stage()
        self.addCleanup(self.stage.close)

    def start(self, smtpd=""):
        self.stage.part("smtpd", smtpd)
        return self.stage.start()

    def ask(self, pid):
        os.kill(pid, signal.SIGUSR1)

    def hup(self):
        os.kill(self.stage.process.pid, signal.SIGHUP)

    def replaced_by(self, old):
        """The process that was started because this one asked."""
        s, before = self.stage, len(self.stage.pids("smtpd"))
        self.ask(old)
        wait_for(lambda: len(s.pids("smtpd")) == before + 1)
        return s.pids("smtpd")[-1]

    def instance(self, pid):
        return self.stage.told("smtpd", "CONFIG", pid)[0]["instance"]

    def test_a_fresh_one_has_all_before_the_old_one_is_told(self):
        s = self.start()
        for old in list(s.alive("smtpd")):
            new = self.replaced_by(old)
            wait_for(lambda: old not in s.alive("smtpd"))
            self.assertEqual(self.instance(old), self.instance(new))
            told = s.told("smtpd", pid=new)
            kinds = [m["type"] for m in told]
            self.assertEqual(kinds.count("LISTENER"), 2)
            self.assertEqual({m["role"] for m in told if m["type"] == "PEER"}, {server for client, server in EDGES if client == "smtpd"})
            self.assertEqual([m["seconds"] for m in s.told("smtpd", "DRAIN", old)], [0])
            self.assertGreater(s.told("smtpd", "DRAIN", old)[0]["at"], s.told("smtpd", "START", new)[0]["at"])
        self.assertEqual(len(s.alive("smtpd")), 2)
        self.assertEqual(s.stop(), 0)

    def test_one_that_does_not_come_up_changes_nothing(self):
        s = self.start()
        old = s.alive("smtpd")
        s.part("smtpd", "refuse")
        self.ask(old[0])
        s.wait_log("lives of it were shorter")
        self.assertTrue(set(old) <= set(s.alive("smtpd")))
        self.assertEqual(s.told("smtpd", "DRAIN"), [])
        s.part("smtpd")
        wait_for(lambda: old[0] not in s.alive("smtpd"), 60)
        wait_for(lambda: len(s.alive("smtpd")) == 2)
        self.assertIn(old[1], s.alive("smtpd"))

    def test_the_old_one_dies_before_its_successor_is_there(self):
        s = self.start()
        old = s.alive("smtpd")
        s.part("smtpd", "deaf")
        new = self.replaced_by(old[0])
        os.kill(old[0], signal.SIGKILL)
        s.wait_log("the one that replaces it is being started")
        time.sleep(0.3)
        self.assertEqual(set(s.alive("smtpd")), {old[1], new})
        s.part("smtpd")
        os.kill(new, signal.SIGKILL)  # which had no other beside it any more
        wait_for(lambda: len(s.alive("smtpd")) == 2 and new not in s.alive("smtpd"))

    def test_a_stop_in_the_middle(self):
        s = self.start()
        s.part("smtpd", "deaf")
        self.replaced_by(s.alive("smtpd")[0])
        self.assertEqual(s.stop(), 0)
        self.assertEqual(s.alive("smtpd"), [])

    def test_a_reload_in_the_middle(self):
        s = self.start()
        s.part("smtpd", "deaf")
        new = self.replaced_by(s.alive("smtpd")[0])
        old = s.alive("smtpd")
        self.assertIn(new, old)
        s.part("smtpd")
        self.hup()
        s.told_manager("RELOADING=1")
        self.assertIn("reloaded", s.told_manager("READY=1"))
        wait_for(lambda: not set(old) & set(s.alive("smtpd")))
        wait_for(lambda: len(s.alive("smtpd")) == 2)

    def test_who_asks_during_a_reload_that_fails_is_replaced_after_it(self):
        s = self.start()
        old = s.alive("smtpd")
        s.part("remote", "deaf")
        before = s.alive("remote")
        self.hup()
        s.told_manager("RELOADING=1")
        [deaf] = wait_for(lambda: [p for p in s.alive("remote") if p not in before])
        wait_for(lambda: len(s.pids("smtpd")) == 4)
        self.ask(old[0])
        time.sleep(0.3)
        self.assertEqual(len(s.pids("smtpd")), 4)
        os.kill(deaf, signal.SIGKILL)
        self.assertIn("reload failed", s.told_manager("READY=1"))
        wait_for(lambda: old[0] not in s.alive("smtpd") and len(s.alive("smtpd")) == 2)
        self.assertIn(old[1], s.alive("smtpd"))

    def test_so_many_finish_at_a_time_and_no_more(self):
        s = self.start("stubborn")
        other, oldest = s.alive("smtpd")[1], s.alive("smtpd")[0]
        last = oldest
        for _ in range(FINISHING_MOST):
            asked, last = last, self.replaced_by(last)
            wait_for(lambda: s.told("smtpd", "DRAIN", asked))
        self.ask(last)
        time.sleep(0.5)
        self.assertEqual(len(s.alive("smtpd")), FINISHING_MOST + 2)
        self.assertEqual(s.told("smtpd", "DRAIN", last), [])
        self.assertNotEqual(self.instance(other), self.instance(oldest))
        self.replaced_by(other)  # the other place has a count of its own
        os.kill(oldest, signal.SIGKILL)
        wait_for(lambda: s.told("smtpd", "DRAIN", last))

    def test_asking_twice_or_without_a_right_to_ends_it(self):
        s = self.start()
        old = s.alive("smtpd")[0]
        s.part("smtpd", "deaf")
        self.replaced_by(old)
        self.ask(old)
        s.wait_log("it sent a message that it may not send now")
        wait_for(lambda: old not in s.alive("smtpd"))
        dns = s.alive("dns")[0]
        self.ask(dns)
        wait_for(lambda: dns not in s.alive("dns"))


class Clients(threading.Thread):
    """One after the other, each with one message; each of them must be served."""

    def __init__(self, host):
        super().__init__(daemon=True)
        self.host, self.sent, self.wrong, self.ending = host, 0, [], False

    def run(self):
        while not self.ending:
            try:
                with self.host.smtp() as smtp:
                    smtp.sendmail("x@client.example", ["alice@" + DOMAIN], "Subject: one\r\n\r\none\r\n")
                self.sent += 1
            except (OSError, smtplib.SMTPException) as why:
                self.wrong.append(repr(why))


class Real(unittest.TestCase):
    def host(self, settings):
        host = Host(settings="smtpd_processes = 2 stop_grace = 1m " + settings)
        self.addCleanup(host.close)
        return host.start()

    def smtpds(self, host):
        return {pid for pid, name in host.pids().items() if name == "smtpd"}

    def replacements(self, host):
        return host.log().count("has served long enough: it finishes")

    def test_no_client_is_refused_while_they_are_replaced_and_reloaded(self):
        host = self.host("smtpd { process_sessions = 20 }")
        held = [host.smtp() for _ in range(3)]
        for smtp in held:
            smtp.ehlo()
        first = self.smtpds(host)
        clients = [Clients(host) for _ in range(6)]
        for client in clients:
            client.start()
        wait_for(lambda: self.replacements(host) >= 6, 120)
        host.reload()
        host.wait_log("reloaded: generation 2")
        after = self.replacements(host)
        wait_for(lambda: self.replacements(host) >= after + 6, 120)
        self.assertLessEqual(len(self.smtpds(host)), 2 * (FINISHING_MOST + 2))
        for client in clients:
            client.ending = True
        for client in clients:
            client.join(60)
        self.assertEqual([w for client in clients for w in client.wrong], [])
        for smtp in held:  # in processes of which nothing else is left
            smtp.sendmail("x@client.example", ["alice@" + DOMAIN], "Subject: held\r\n\r\nheld\r\n")
            smtp.quit()
        sent = sum(client.sent for client in clients) + len(held)
        self.assertGreater(sent, 200)
        wait_for(lambda: not first & self.smtpds(host))
        wait_for(lambda: len(self.smtpds(host)) == 2)
        wait_for(lambda: len(host.messages("alice")) == sent, 60)

    def test_a_held_session_does_not_stop_it_and_a_stop_does_not_wait(self):
        host = self.host("smtpd { process_time = 1s }")
        held = []
        for _ in range(12):  # a session in each process that finishes
            held.append(host.smtp())
            held[-1].ehlo()
            time.sleep(0.4)
        most = len(self.smtpds(host))
        wait_for(lambda: self.replacements(host) > 3)
        self.assertLessEqual(most, 2 * (FINISHING_MOST + 2))
        for smtp in held:
            self.assertEqual(smtp.noop()[0], 250)
        began = time.monotonic()
        self.assertEqual(host.stop(), 0)
        self.assertLess(time.monotonic() - began, 30)
        self.assertEqual(held[0].noop()[0], 421)


if __name__ == "__main__":
    unittest.main()
