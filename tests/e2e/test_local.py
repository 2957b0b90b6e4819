"""postino-local by itself: what it writes, as whom, and what it refuses. The other end of its edge (qmgr) is this test."""
import contextlib
import ctypes
import fcntl
import os
import pwd
import random
import re
import shutil
import signal
import stat
import struct
import subprocess
import tempfile
import termios
import time
import unittest
from unittest import mock

import frames
from crash import Disk, mounts_of_our_own
from driven import Driven, settings_slice
from host import wait_for

BODY = b"Received: from x by y\r\nSubject: hello\r\n\r\n.dot\r\nFrom here\r\nlone \r cr, \xff\r\n"
FILE = b"Return-Path: <sender@example.org>\n" + BODY.replace(b"\r\n", b"\n")
ROOT = os.geteuid() == 0
OWNER = 64520 if ROOT else os.geteuid()
SECOND = 64521 if ROOT else OWNER
ACCOUNT = "postinotest"


def own_user_database(test):
    """Another process would see other users: the test runs itself again in its own mount namespace, with an /etc/passwd of its own."""
    libc = ctypes.CDLL(None, use_errno=True)
    CLONE_NEWNS, MS_BIND, MS_REC, MS_PRIVATE = 0x20000, 4096, 16384, 1 << 18
    if libc.unshare(CLONE_NEWNS) != 0 or libc.mount(None, b"/", None, MS_REC | MS_PRIVATE, None) != 0:
        raise unittest.SkipTest("no mount namespaces here")
    for name, line in (("passwd", "%s:x:64530:64530::%s:/bin/sh" % (ACCOUNT, test.home)), ("group", "%s:x:64530:\nextra:x:64531:%s" % (ACCOUNT, ACCOUNT))):
        path = os.path.join(test.directory, name)
        with open("/etc/" + name) as old, open(path, "w") as new:
            new.write(old.read() + line + "\n")
        if libc.mount(path.encode(), ("/etc/" + name).encode(), None, MS_BIND, None) != 0:
            raise unittest.SkipTest("no bind mounts here")


class LocalCase(unittest.TestCase):
    settings = ""
    owner = OWNER

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="postino-local-", dir="/var/tmp")
        self.addCleanup(shutil.rmtree, self.directory, True)
        os.chmod(self.directory, 0o755)
        self.mail, self.home = os.path.join(self.directory, "mail"), os.path.join(self.directory, "home")
        for path, owner in ((self.mail, OWNER), (self.home, 64530 if ROOT else OWNER), (os.path.join(self.directory, "second"), SECOND)):
            os.mkdir(path, 0o755)
            if ROOT:
                os.chown(path, owner, owner)
        self.start()

    def start(self, privileged=ROOT):
        self.local = Driven("local", """
            users = "64500"
            domain "map.example" { mailboxes = "hash:%(d)s/boxes" directory = "%(m)s" owner = "%(o)s" }
            domain "second.example" { mailboxes = "hash:%(d)s/boxes" directory = "%(d)s/second" owner = "%(second)s" }
            domain "missing.example" { mailboxes = "hash:%(d)s/boxes" directory = "%(d)s/missing" owner = "%(o)s" }
            domain "system.example" { mailboxes = system }
            %(s)s""" % {"d": self.directory, "m": self.mail, "o": self.owner, "s": self.settings,
                           "second": SECOND}, edges=["qmgr"], privileged=privileged)
        self.addCleanup(self.local.close)
        self.edge = self.local.edges["qmgr"]

    def recipient(self, mailbox):
        return {"address": "a@map.example", "transport": "local", "nexthop": "map.example", "mailbox": mailbox}

    def ask(self, *mailboxes, domain="map.example", body=BODY, fd=None, sender="sender@example.org", **more):
        more.setdefault("size", len(body))
        return self.edge.send("DELIVER", id=77, arrived=int(time.time()), nexthop=domain, sender=sender,
                              recipients=[self.recipient(m) for m in mailboxes], body=b"" if fd else body, fd=fd, **more)

    def deliver(self, *mailboxes, timeout=60, **more):
        request = self.ask(*mailboxes, **more)
        result = self.edge.receive(timeout)
        self.assertEqual((result.type, result.request, result.site_failed), ("RESULT", request, 0))
        self.assertEqual([o.index for o in result.outcomes], list(range(len(mailboxes))))
        return result

    def deferred(self, outcome, status, words):
        self.assertEqual((outcome.verdict, outcome.status), (frames.VERDICT_DEFERRED, status), outcome)
        self.assertIn(words, outcome.reply)

    def files(self, mailbox, part="new", below=None):
        path = os.path.join(below or self.mail, mailbox, part)
        return [os.path.join(path, name) for name in sorted(os.listdir(path))]

    def make_link(self, target, name, owner):
        os.symlink(target, name)
        if ROOT:
            os.lchown(name, owner, owner)


class Delivery(LocalCase):
    def test_a_message_is_written_as_the_owner(self):
        result = self.deliver("example.org/alice/")
        self.assertEqual(result.outcomes[0].verdict, frames.VERDICT_DELIVERED, result)
        self.assertEqual(result.outcomes[0].status, "2.0.0")
        self.assertTrue(result.peer.endswith(self.mail + "/example.org/alice"), result.peer)
        [path] = self.files("example.org/alice")
        with open(path, "rb") as file:
            self.assertEqual(file.read(), FILE)
        self.assertEqual(self.files("example.org/alice", "tmp"), [])
        name = os.path.basename(path)
        self.assertRegex(name, r"^\d{10}\.M\d{6}P\d+Q00000000002D-0\.mx\.local\.example$")
        top = os.path.join(self.mail, "example.org")
        for path, mode in ((path, 0o600), (top, 0o700), (top + "/alice", 0o700), (top + "/alice/cur", 0o700), (top + "/alice/tmp", 0o700)):
            status = os.stat(path)
            self.assertEqual((stat.S_IMODE(status.st_mode), status.st_uid), (mode, OWNER), path)
            if ROOT:
                self.assertEqual(status.st_gid, OWNER)

    def test_a_large_body_comes_as_a_descriptor(self):
        large = b"".join(b"line %d\r\n" % n for n in range(200000))
        with tempfile.TemporaryFile() as file:
            file.write(b"x" * 1000 + large + b"what is behind it")
            file.flush()
            result = self.deliver("alice", "bob", body=large, fd=file.fileno(), offset=1000)
        self.assertEqual([o.verdict for o in result.outcomes], [frames.VERDICT_DELIVERED] * 2)
        for name in ("alice", "bob"):
            with open(self.files(name)[0], "rb") as file:
                self.assertEqual(file.read(), b"Return-Path: <sender@example.org>\n" + large.replace(b"\r\n", b"\n"))

    def test_a_body_whose_descriptor_there_is_no_room_for_waits(self):
        body = b"x" * 998 + b"\r\n"
        self.start(privileged=False)  # the limits of another user's process may not be ours to set
        limit = ["prlimit", "--pid", str(self.local.process.pid)]
        self.assertEqual(self.deliver("alice").own, 0)
        with tempfile.TemporaryFile() as file:
            file.write(body)
            file.flush()
            subprocess.run(limit + ["--nofile=0:"], check=True)  # what is open stays
            result = self.deliver("alice", "bob", body=body, fd=file.fileno())
            for outcome in result.outcomes:
                self.deferred(outcome, "4.3.0", "no descriptor for the message")
            self.assertEqual(result.own, frames.OWN_ROOM)  # qmgr counts it as no attempt
            subprocess.run(limit + ["--nofile=200:"], check=True)
            self.assertEqual(self.deliver("alice", body=body, fd=file.fileno()).own, 0)

    def test_a_body_that_is_cut_off_is_no_message(self):
        with tempfile.TemporaryFile() as file:
            file.write(BODY)
            file.flush()
            result = self.deliver("alice", fd=file.fileno(), size=len(BODY) + 1)
        self.deferred(result.outcomes[0], "4.3.0", "cannot write the message")
        self.assertEqual(self.files("alice") + self.files("alice", "tmp"), [])

    def test_the_null_sender(self):
        self.deliver("alice", sender="")
        with open(self.files("alice")[0], "rb") as file:
            self.assertTrue(file.read().startswith(b"Return-Path: <>\n"))

    def test_many_at_a_time_are_all_answered_once(self):
        requests = [self.ask("box%d" % (n % 7), "other") for n in range(40)]
        answers = [self.edge.receive(60) for _ in requests]
        self.assertEqual(sorted(a.request for a in answers), sorted(requests))
        self.assertEqual({o.verdict for a in answers for o in a.outcomes}, {frames.VERDICT_DELIVERED})
        self.assertEqual(len(self.files("other")), 40)
        with self.assertRaises(TimeoutError):
            self.edge.receive(0.2)

    def test_one_bad_recipient_does_not_hold_up_the_others(self):
        with open(os.path.join(self.mail, "file"), "w"):
            pass
        result = self.deliver("alice", "../bob", "file", "carol")
        verdicts = [o.verdict for o in result.outcomes]
        self.assertEqual(verdicts, [frames.VERDICT_DELIVERED, frames.VERDICT_DEFERRED, frames.VERDICT_DEFERRED, frames.VERDICT_DELIVERED])
        self.deferred(result.outcomes[1], "4.3.5", "is no path below")
        self.deferred(result.outcomes[2], "4.3.0", self.mail + "/file: it is no directory")

    def test_hostile_mailboxes(self):
        for mailbox in ("/etc", "..", "a/../../b", "a//b", "./a", "\x01", "x" * 2000):
            self.deferred(self.deliver(mailbox).outcomes[0], "4.3.5", "is no path below")
        self.deferred(self.deliver("").outcomes[0], "4.3.5", "no mailbox")
        self.assertEqual(os.listdir(self.mail), [])

    def test_what_the_configuration_lacks(self):
        self.deferred(self.deliver("alice", domain="other.example").outcomes[0], "4.3.5", 'no domain "other.example"')
        self.deferred(self.deliver("alice", domain="missing.example").outcomes[0], "4.3.0", "missing does not exist")

    def test_a_garbled_frame_ends_the_edge_and_not_the_program(self):
        self.edge.send_raw(b"\xff" * 64)
        with self.assertRaises(frames.Closed):
            self.edge.receive()
        self.edge.close()
        self.edge = self.local.connect("qmgr")
        self.assertEqual(self.deliver("alice").outcomes[0].verdict, frames.VERDICT_DELIVERED)

    def test_a_drain_finishes_what_is_there(self):
        requests = [self.ask("alice") for _ in range(10)]
        self.deliver_first = self.edge.receive()
        self.local.control.send("DRAIN", seconds=30)
        answers = [self.deliver_first] + [self.edge.receive() for _ in requests[1:]]
        self.assertEqual({a.outcomes[0].verdict for a in answers}, {frames.VERDICT_DELIVERED})
        self.assertEqual(self.local.process.wait(60), 0)
        self.assertEqual(len(self.files("alice")), 10)


def children(pid):
    try:
        with open("/proc/%d/task/%d/children" % (pid, pid)) as file:
            return [int(word) for word in file.read().split()]
    except FileNotFoundError:
        return []


class WorkerCase(LocalCase):
    def workers(self):
        """The processes that write. Their maker, which is local's one child, is never among them."""
        [self.spawner] = children(self.local.process.pid)
        return children(self.spawner)

    def status(self, pid):
        with open("/proc/%d/status" % pid) as file:
            return dict(line.split(":\t", 1) for line in file.read().splitlines() if ":\t" in line)

    def stop_one(self, mailbox="alice"):
        """Catches a worker in the act of writing 200 MB, and stops it. It may be done before we come to that: then once more."""
        large = os.path.join(self.directory, "large")
        with open(large, "wb") as file:
            file.truncate(200 << 20)
        self.large = open(large, "rb")
        self.addCleanup(self.large.close)
        return wait_for(lambda: self.caught(mailbox), 120)

    def caught(self, mailbox):
        """The worker that is stopped while it writes; None: it was done."""
        def there(part):
            path = os.path.join(self.mail, mailbox, part)
            return os.path.isdir(path) and os.listdir(path)
        self.request = self.ask(mailbox, body=b"", fd=self.large.fileno(), size=200 << 20)
        wait_for(lambda: there("tmp") or there("new"), pause=0.001)
        pids = self.workers()
        for pid in pids:
            self.stop(pid)
        if there("tmp") and not there("new"):
            [pid] = pids
            return pid
        for pid in pids:
            os.kill(pid, signal.SIGCONT)
        self.assertEqual(self.edge.receive(60).outcomes[0].verdict, frames.VERDICT_DELIVERED)
        os.unlink(self.files(mailbox)[0])
        return None

    def stop(self, pid):
        """It is stopped, or gone."""
        with contextlib.suppress(ProcessLookupError, FileNotFoundError):
            os.kill(pid, signal.SIGSTOP)
            self.addCleanup(self.end, pid)
            wait_for(lambda: self.status(pid)["State"][0] in "TZX")

    def idle_ones(self, deliver):
        """The workers that are there after deliver(), stopped: local ends one that is idle for two seconds, and may have done so before we look. Then once more."""
        def found():
            deliver()
            pids = self.workers()
            for pid in pids:
                self.stop(pid)
            return pids if pids and all(pid in self.workers() and self.status(pid)["State"][0] == "T" for pid in pids) else None
        return wait_for(found, 60)

    def taken(self):
        """local has read what was asked, all of it."""
        wait_for(lambda: struct.unpack("i", fcntl.ioctl(self.edge.fileno(), termios.TIOCOUTQ, b"\0" * 4))[0] == 0)

    def end(self, pid):
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


class OneAtATime(WorkerCase):
    settings = "queue { local_deliveries = 1 }"

    def test_a_worker_is_the_recipient_and_has_nothing_else(self):
        pid = self.stop_one()
        status = self.status(pid)
        self.assertEqual(set(status["Uid"].split()), {str(OWNER)})
        if ROOT:
            self.assertEqual(set(status["Gid"].split()), {str(OWNER)})
            self.assertEqual(status["Groups"].split(), [str(OWNER)])
        self.assertEqual((status["CapEff"], status["CapPrm"], status["NoNewPrivs"]), ("0" * 16, "0" * 16, "1"))
        others = [os.readlink("/proc/%d/fd/%s" % (pid, fd)) for fd in os.listdir("/proc/%d/fd" % pid) if int(fd) > 2]
        self.assertEqual([o for o in others if o.startswith(("pipe:", "anon_inode:"))], [])
        self.assertEqual(len([o for o in others if o.startswith("socket:")]), 1, others)
        os.kill(pid, signal.SIGKILL)
        self.assertEqual(self.edge.receive().outcomes[0].verdict, frames.VERDICT_DEFERRED)

    def test_a_worker_that_dies_is_a_deferral_and_the_next_goes_on(self):
        pid = self.stop_one()
        second = self.ask("bob")
        os.kill(pid, signal.SIGKILL)
        first = self.edge.receive()
        self.assertEqual(first.request, self.request)
        self.deferred(first.outcomes[0], "4.3.0", "ended by signal 9")
        answer = self.edge.receive()
        self.assertEqual((answer.request, answer.outcomes[0].verdict), (second, frames.VERDICT_DELIVERED))
        self.assertEqual(self.files("alice"), [])

    def test_an_edge_that_ends_takes_what_is_in_line_with_it(self):
        pid = self.stop_one()
        self.ask("bob")
        self.taken()
        self.edge.close()
        self.edge = self.local.connect("qmgr")
        for _ in range(3):  # turns of local's loop: it has seen that the former edge is gone
            self.assertEqual(self.deliver("..").outcomes[0].verdict, frames.VERDICT_DEFERRED)
        os.kill(pid, signal.SIGKILL)
        self.assertEqual(self.deliver("carol").outcomes[0].verdict, frames.VERDICT_DELIVERED)
        self.assertFalse(os.path.exists(os.path.join(self.mail, "bob")))


class Workers(WorkerCase):
    def gone(self, *pids):
        wait_for(lambda: not any(os.path.exists("/proc/%d" % pid) for pid in pids), 60)

    def writer(self, mailbox):
        """Who wrote the last message there."""
        last = max(self.files(mailbox), key=lambda path: int(re.search(r"/(\d+)\.M(\d+)P", path).expand(r"\1\2")))
        return int(re.search(r"P(\d+)Q", last)[1])

    def test_one_stays_for_the_next_message_and_ends_when_it_is_idle(self):
        self.assertEqual(self.workers(), [])
        self.deliver("alice")

        def again():
            """one process writes for two, one after the other, unless so much time is in between that it ended"""
            self.deliver("alice")
            self.deliver("bob")
            return self.writer("alice") == self.writer("bob")
        wait_for(again)
        pid = self.writer("bob")
        wait_for(lambda: not self.workers(), 60)
        self.deliver("bob")
        self.assertNotEqual(self.writer("bob"), pid)

    def test_what_comes_together_shares_flushes_and_is_all_there(self):
        requests = [self.ask("alice") for _ in range(200)]
        answers = [self.edge.receive(60) for _ in requests]
        self.assertEqual({a.outcomes[0].verdict for a in answers}, {frames.VERDICT_DELIVERED})
        self.assertEqual(len(self.files("alice")), 200)
        for path in self.files("alice"):
            with open(path, "rb") as file:
                self.assertEqual(file.read(), FILE)
        self.assertEqual(len({re.search(r"P(\d+)Q", path)[1] for path in self.files("alice")}), 1)

    def test_a_drain_does_not_wait_for_idle_ones(self):
        [pid] = self.idle_ones(lambda: self.deliver("alice"))
        self.local.control.send("DRAIN", seconds=30)
        self.assertEqual(self.local.process.wait(60), 0)
        self.assertTrue(self.status(pid)["State"].startswith("T"))  # it was not ended first, and that takes ten seconds when it is stopped
        os.kill(pid, signal.SIGCONT)
        self.gone(pid, self.spawner)

    def test_they_end_when_local_is_killed(self):
        self.deliver("alice")
        pids = self.workers() + [self.spawner]
        self.local.process.kill()
        self.gone(*pids)

    def test_one_that_was_stopped_when_local_was_killed(self):
        """It finishes what it has, and nobody hears of it: a duplicate later, no loss."""
        pid = self.stop_one()
        self.local.process.kill()
        os.kill(pid, signal.SIGCONT)
        self.gone(pid, self.spawner)
        self.assertEqual(self.files("alice", "tmp"), [])
        self.assertLessEqual(len(self.files("alice")), 1)

    def test_without_its_spawner_local_ends(self):
        self.deliver("alice")
        pids = self.workers()
        os.kill(self.spawner, signal.SIGKILL)
        self.assertNotEqual(self.local.process.wait(60), 0)
        self.assertIn("the process that makes deliveries is gone", self.local.log())
        self.gone(*pids)

    def test_one_that_is_killed_loses_nothing(self):
        """What it was writing stays in tmp, and goes with a later delivery; what it had been given besides is deferred with it."""
        pid = self.stop_one()
        others = [self.ask("bob") for _ in range(5)]
        self.taken()
        os.kill(pid, signal.SIGKILL)
        answers = {a.request: a for a in (self.edge.receive() for _ in range(6))}
        for request in [self.request] + others:
            self.deferred(answers[request].outcomes[0], "4.3.0", "ended by signal 9")
        [left] = self.files("alice", "tmp")
        self.assertEqual(self.files("alice"), [])
        self.assertEqual(self.deliver("alice").outcomes[0].verdict, frames.VERDICT_DELIVERED)
        self.assertEqual(self.files("alice", "tmp"), [left])
        os.utime(left, (1, 1))
        wait_for(lambda: not self.workers())
        self.assertEqual(self.deliver("alice").outcomes[0].verdict, frames.VERDICT_DELIVERED)
        self.assertEqual(self.files("alice", "tmp"), [])
        self.assertEqual(len(self.files("alice")), 2)

    def test_a_mailbox_that_is_replaced_under_it(self):
        own = os.path.join(self.directory, "own")
        os.mkdir(own)
        if ROOT:
            os.chown(own, OWNER, OWNER)
        self.make_link(own, os.path.join(self.mail, "carol"), OWNER)
        for mailbox in ("alice", "carol"):
            for n in range(3):
                self.assertEqual(self.deliver(mailbox).outcomes[0].verdict, frames.VERDICT_DELIVERED, (mailbox, n))
                [path] = self.files(mailbox)
                target = os.path.realpath(os.path.join(self.mail, mailbox))
                os.rename(target, target + ".%d" % n)
                if mailbox == "carol":
                    os.mkdir(target)
                    if ROOT:
                        os.chown(target, OWNER, OWNER)

    def test_what_stands_where_a_mailbox_should(self):
        self.deliver("alice")
        for part in ("", "/tmp", "/new"):
            path = os.path.join(self.mail, "alice" + part)
            for make in (os.mkfifo, lambda p: open(p, "w").close()):
                os.rename(path, path + ".away")
                make(path)
                self.deferred(self.deliver("alice").outcomes[0], "4.3.0", "directory")
                os.unlink(path)
                os.rename(path + ".away", path)
                self.assertEqual(self.deliver("alice").outcomes[0].verdict, frames.VERDICT_DELIVERED)

    def test_many_mailboxes_in_one_batch(self):
        result = self.deliver(*["box%d" % n for n in range(100)], timeout=60)
        self.assertEqual({o.verdict for o in result.outcomes}, {frames.VERDICT_DELIVERED})
        for n in range(100):
            self.assertEqual(len(self.files("box%d" % n)), 1)


@unittest.skipUnless(ROOT, "takes root")
class SeveralOwners(WorkerCase):
    def test_each_has_a_process_that_never_saw_the_others_mail(self):
        def both():
            self.ask("alice", body=b"Subject: the-first-owners-secret\r\n\r\n")
            self.ask("zoe", domain="second.example")
            for _ in range(2):
                self.assertEqual(self.edge.receive().outcomes[0].verdict, frames.VERDICT_DELIVERED)

        def by_owner():
            """{uid: pid} of the two"""
            found = {int(self.status(pid)["Uid"].split()[0]): pid for pid in self.idle_ones(both)}
            if len(found) == 2:
                return found
            for pid in found.values():
                os.kill(pid, signal.SIGCONT)
            return None
        by_uid = wait_for(by_owner)
        self.assertEqual(set(by_uid), {OWNER, SECOND})
        self.assertIn(b"the-first-owners-secret", memory(self.local.process.pid) + memory(by_uid[OWNER]))
        self.assertNotIn(b"the-first-owners-secret", memory(by_uid[SECOND]))
        self.assertNotIn(b"the-first-owners-secret", memory(self.spawner))

    def test_its_user_can_not_look_into_it(self):
        [pid] = self.idle_ones(lambda: self.deliver("alice"))
        self.assertEqual(os.stat("/proc/%d/fd" % pid).st_uid, 0)
        as_owner = ["setpriv", "--reuid", str(OWNER), "--regid", str(OWNER), "--clear-groups"]
        for look in (["ls", "/proc/%d/fd" % pid], ["head", "-c", "1", "/proc/%d/mem" % pid]):
            self.assertIn("Permission denied", subprocess.run(as_owner + look, capture_output=True, text=True).stderr)

    def test_local_itself_is_nobody_and_its_spawner_is_all_but_root(self):
        self.deliver("alice")
        self.workers()
        local, spawner = self.status(self.local.process.pid), self.status(self.spawner)
        self.assertEqual((local["CapPrm"], local["CapEff"], local["Uid"].split()[0]), ("0" * 16, "0" * 16, "64504"))
        self.assertEqual((spawner["CapPrm"], spawner["CapEff"], spawner["Uid"].split()[0]), ("00000000000000c0", "00000000000000c0", "64504"))
        self.assertEqual((spawner["NoNewPrivs"], spawner["Seccomp"], spawner["CapBnd"]), ("1", "2", "0" * 16))

    def test_one_that_is_stopped_holds_up_no_other_owner(self):
        pid = self.stop_one()
        self.assertEqual(self.deliver("zoe", domain="second.example").outcomes[0].verdict, frames.VERDICT_DELIVERED)
        os.kill(pid, signal.SIGKILL)
        self.deferred(self.edge.receive().outcomes[0], "4.3.0", "ended by signal 9")


@unittest.skipUnless(ROOT, "takes root")
class AStoppedWorker(WorkerCase):
    """A user may stop the processes that are his: so may a file system that does not answer."""

    def test_it_holds_a_quarter_and_the_others_of_its_owner_are_deferred_soon(self):
        [pid] = self.idle_ones(lambda: self.assertEqual(self.deliver("alice").outcomes[0].verdict, frames.VERDICT_DELIVERED))
        began = time.monotonic()
        for n in range(80):
            self.ask("alice" if n % 2 else "bob")
        zoe = self.ask("zoe", domain="second.example")
        answers = [self.edge.receive(60) for _ in range(61)]
        # Those that local reads when one has taken a second, and a share waits, are deferred at once: none, if local has a processor. The share that waits is, after ten.
        at = next(n for n, a in enumerate(answers) if a.request == zoe)
        self.assertLessEqual(at, 40)
        self.assertEqual(answers.pop(at).outcomes[0].verdict, frames.VERDICT_DELIVERED)
        for answer in answers:
            self.deferred(answer.outcomes[0], "4.3.0", "has taken ")
        self.assertIn(int(time.monotonic() - began), range(9, 60))  # and not the 300 seconds after which it is ended
        self.deferred(self.deliver("carol").outcomes[0], "4.3.0", "has taken ")  # while that one is stopped
        os.kill(pid, signal.SIGCONT)
        for _ in range(20):
            self.assertEqual(self.edge.receive().outcomes[0].verdict, frames.VERDICT_DELIVERED)
        self.assertEqual(self.deliver("carol").outcomes[0].verdict, frames.VERDICT_DELIVERED)


@unittest.skipUnless(ROOT, "takes root")
class OneProcess(WorkerCase):
    settings = "queue { local_deliveries = 1 }"

    def test_owners_take_turns(self):
        requests = [self.ask("alice" if n % 2 else "zoe", domain="map.example" if n % 2 else "second.example") for n in range(20)]
        most = 0
        for _ in requests:
            self.assertEqual(self.edge.receive().outcomes[0].verdict, frames.VERDICT_DELIVERED)
            most = max(most, len(self.workers()))
        self.assertEqual(most, 1)
        self.assertEqual(len(self.files("alice")), 10)


@unittest.skipUnless(ROOT, "to mount a filesystem and to cut its power takes root")
class PowerCut(WorkerCase):
    """What local said is delivered is there after the power was cut in the middle of batches."""
    FEW, SESSIONS = 3, 20

    @classmethod
    def setUpClass(cls):
        mounts_of_our_own()  # before there is a process that is to write there
        super().setUpClass()

    def put_on_disk(self):
        self.disk = Disk(os.path.join(self.directory, "image"), self.mail, OWNER, 64)
        os.chmod(self.mail, 0o755)

    def tearDown(self):
        self.local.close()
        wait_for(self.unmounted)

    def unmounted(self):
        """workers keep it busy until they end"""
        return not os.path.ismount(self.mail) or subprocess.run(["umount", self.mail], capture_output=True).returncode == 0

    def load_and_cut(self):
        """Returns the subjects of the messages that were delivered."""
        self.local.edges["qmgr"].close()
        self.edge = self.local.connect("qmgr")
        under_way, delivered, end, number = {}, [], random.randint(50, 400), 0
        while len(delivered) < end:
            while len(under_way) < self.SESSIONS:
                number += 1
                under_way[self.ask("box%d" % (number % 3), body=b"Subject: %d-%d\r\n\r\nx\r\n" % (end, number))] = b"%d-%d" % (end, number)
            answer = self.edge.receive()
            self.assertEqual(answer.outcomes[0].verdict, frames.VERDICT_DELIVERED)
            delivered.append(under_way.pop(answer.request))
        self.disk.cut()
        return delivered

    def subjects(self):
        """Of all messages that are there; each must be whole."""
        found = []
        for box in ("box0", "box1", "box2"):
            for path in self.files(box) if os.path.isdir(os.path.join(self.mail, box)) else ():
                with open(path, "rb") as file:
                    m = re.fullmatch(rb"Return-Path: <sender@example.org>\nSubject: ([\d-]+)\n\nx\n", file.read())
                self.assertTrue(m or self.may_lose, path)
                found += [m.group(1)] if m else []
        return found

    def cut(self):
        """Returns what is lost."""
        self.put_on_disk()
        delivered = self.load_and_cut()
        self.local.close()
        wait_for(self.unmounted)
        self.disk.mount()
        lost = set(delivered) - set(self.subjects())
        wait_for(self.unmounted)
        self.start()
        return lost

    may_lose = False

    def test_what_is_delivered_outlives_a_power_cut(self):
        for _ in range(self.FEW):
            self.assertEqual(self.cut(), set())

    def test_workers_that_do_not_flush_are_found_out(self):
        """Else the other test would prove nothing."""
        shim = os.path.join(self.directory, "nosync.so")
        subprocess.run(["cc", "-shared", "-fPIC", "-D_GNU_SOURCE", "-o", shim, os.path.join(os.path.dirname(__file__), "nosync.c"), "-ldl"], check=True)
        self.may_lose = True
        self.local.close()
        with mock.patch.dict(os.environ, LD_PRELOAD=shim):
            self.start()
        self.assertTrue(any(self.cut() for _ in range(3)))  # the disk may by chance have written all just then


def memory(pid):
    """All that a process could read of its own."""
    found = []
    with open("/proc/%d/maps" % pid) as maps, open("/proc/%d/mem" % pid, "rb", 0) as mem:
        for line in maps:
            area, rights = line.split()[:2]
            first, last = (int(word, 16) for word in area.split("-"))
            if not rights.startswith("rw"):
                continue
            try:
                mem.seek(first)
                found.append(mem.read(last - first))
            except OSError:
                pass
    return b"".join(found)


@unittest.skipUnless(ROOT, "takes root")
class AsRoot(WorkerCase):
    def test_the_owner_is_never_root(self):
        """The parser would refuse such a configuration; local does so itself."""
        self.local.close()
        with mock.patch("driven.settings_slice", lambda *a: settings_slice(*a).replace(b"64520", b"00000")):
            self.local = Driven("local", """
                users = "64500"
                domain "map.example" { mailboxes = "hash:/etc/boxes" directory = "%s" owner = "64520" }""" % self.mail, edges=["qmgr"], privileged=True)
        self.addCleanup(self.local.close)
        self.edge = self.local.edges["qmgr"]
        self.deferred(self.deliver("alice").outcomes[0], "4.3.5", "ever delivered as root")
        self.assertEqual(os.listdir(self.mail), [])

    def test_root_has_no_mailbox(self):
        self.deferred(self.deliver("root", domain="system.example").outcomes[0], "4.3.5", "ever delivered as root")
        self.assertFalse(os.path.exists("/root/Maildir"))

    def test_links_to_somebody_elses_maildir(self):
        other = os.path.join(self.directory, "other")
        for name in ("", "/tmp", "/new", "/cur"):
            os.mkdir(other + name)
            os.chmod(other + name, 0o777)
            os.chown(other + name, 64540, 64540)
        self.make_link(other, os.path.join(self.mail, "alice"), OWNER)
        self.deferred(self.deliver("alice").outcomes[0], "4.3.0", "a symbolic link to a directory of another user")
        os.mkdir(os.path.join(self.mail, "bob"))
        os.chown(os.path.join(self.mail, "bob"), OWNER, OWNER)
        self.make_link(other + "/new", os.path.join(self.mail, "bob", "new"), OWNER)
        self.deferred(self.deliver("bob").outcomes[0], "4.3.0", "no symbolic link")
        self.assertEqual(os.listdir(other + "/new") + os.listdir(other + "/tmp"), [])
        own = os.path.join(self.directory, "own")
        os.mkdir(own)
        os.chown(own, OWNER, OWNER)
        self.make_link(own, os.path.join(self.mail, "carol"), OWNER)
        self.assertEqual(self.deliver("carol").outcomes[0].verdict, frames.VERDICT_DELIVERED)
        self.assertEqual(len(os.listdir(own + "/new")), 1)

    def test_a_mailbox_that_the_owner_may_not_write(self):
        os.chown(self.mail, 64540, 64540)
        self.deferred(self.deliver("alice").outcomes[0], "4.3.0", "Permission denied")

    def test_a_full_disk(self):
        box = os.path.join(self.mail, "small")
        os.mkdir(box)
        subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k,uid=%d,gid=%d,mode=700" % (OWNER, OWNER), "postino-test", box], check=True)
        try:
            self.assertEqual(self.deliver("small").outcomes[0].verdict, frames.VERDICT_DELIVERED)
            self.deferred(self.deliver("small", body=b"x" * 70000 + b"\r\n").outcomes[0], "4.2.2", "full")
            self.assertEqual(self.files("small", "tmp"), [])
            self.assertEqual(len(self.files("small")), 1)
            self.assertEqual(self.deliver("small").outcomes[0].verdict, frames.VERDICT_DELIVERED)
        finally:
            wait_for(lambda: not self.workers())  # one that is there keeps its mailbox open
            subprocess.run(["umount", box], check=True)


@unittest.skipUnless(ROOT, "takes root")
class SystemUsers(LocalCase):
    """In a process of its own, as its user database is another one."""

    def setUp(self):
        pass

    def test_system_users(self):
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                self.in_own_namespace()
                status = 0
            except unittest.SkipTest as skip:
                print(skip)
                status = 2
            except BaseException:
                import traceback
                traceback.print_exc()
            finally:
                shutil.rmtree(getattr(self, "directory", "/nonexistent"), ignore_errors=True)
            os._exit(status)
        _, status = os.waitpid(pid, 0)
        status = os.waitstatus_to_exitcode(status)
        if status == 2:
            self.skipTest("no mount namespaces here")
        self.assertEqual(status, 0)

    def in_own_namespace(self):
        self.directory = tempfile.mkdtemp(prefix="postino-local-", dir="/var/tmp")
        self.home = os.path.join(self.directory, "home")
        shutil.rmtree(self.directory)
        os.mkdir(self.directory, 0o755)
        own_user_database(self)
        self.assertEqual(pwd.getpwnam(ACCOUNT).pw_uid, 64530)
        directory = self.directory
        LocalCase.setUp(self)
        self.home = os.path.join(directory, "home")
        try:
            self.deferred(self.deliver(ACCOUNT, domain="system.example").outcomes[0], "4.3.0", self.home + " does not exist")
            os.mkdir(self.home, 0o700)
            os.chown(self.home, 64530, 64530)
            result = self.deliver(ACCOUNT, "no-such-user", domain="system.example")
            self.assertEqual(result.outcomes[0].verdict, frames.VERDICT_DELIVERED, result)
            self.assertEqual((result.outcomes[1].verdict, result.outcomes[1].status), (frames.VERDICT_FAILED, "5.1.1"))
            [path] = self.files("Maildir", below=self.home)
            status = os.stat(path)
            self.assertEqual((status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode)), (64530, 64530, 0o600))
            # A directory that only a further group may write: all of the user's groups are there.
            os.mkdir(directory + "/shared")
            os.chown(directory + "/shared", 0, 64531)
            os.chmod(directory + "/shared", 0o770)
            os.rename(self.home + "/Maildir", self.home + "/Old")
            os.mkdir(directory + "/shared/box")
            os.chown(directory + "/shared/box", 64530, 64530)
            os.symlink(directory + "/shared/box", self.home + "/Maildir")
            self.assertEqual(self.deliver(ACCOUNT, domain="system.example").outcomes[0].verdict, frames.VERDICT_DELIVERED)
        finally:
            self.doCleanups()
            shutil.rmtree(directory, True)


@unittest.skipUnless(ROOT, "takes root to be another user")
class WithoutRoot(LocalCase):
    """Started by an ordinary user: only its own mailboxes."""

    owner = 64541

    def test_others_mailboxes_are_deferred(self):
        self.local.close()
        self.local = Driven("local", 'domain "map.example" { mailboxes = "hash:/etc/boxes" directory = "%s" owner = "64541" }' % self.mail,
                            edges=["qmgr"])
        self.addCleanup(self.local.close)
        self.edge = self.local.edges["qmgr"]
        self.deferred(self.deliver("alice").outcomes[0], "4.3.5", "without root only uid 0's own mailboxes")


if __name__ == "__main__":
    unittest.main(verbosity=2)
