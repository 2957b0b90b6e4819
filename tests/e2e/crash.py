"""A Postino that is killed: the host, the load on it, the next host and the books of a crash test, and how things are ended and begun again."""
import ctypes
import fcntl
import functools
import glob
import json
import logging
import os
import random
import re
import signal
import struct
import subprocess
import sys
import time

from books import MAILBOXES, Books, Pulse, number_in, show
from host import FIRST_UID, ROOT, Host, program, wait_for
from load import Load, NextHost

logging.getLogger("asyncio").setLevel(logging.ERROR)  # a connection that ends is no news here

CLONE_NEWNS = 0x00020000
CHILDREN = ("smtpd", "auth", "qmgr", "remote", "local", "dns", "route", "tlsmgr", "sts", "lmtp", "creds")
PROGRAMS = ("master",) + CHILDREN
# Whoever dies under a delivery has it tried again soon; a test has no five minutes.
SETTINGS = "smtpd_processes = %d stop_grace = 2s\nqueue { retry_first = 1s retry_most = 2s lifetime = 1d }\n%s"


def seed():
    """Of this run: SEED=, or a new one."""
    return os.environ.get("SEED") or str(random.SystemRandom().randrange(1 << 32))


def rounds(few, share=1):
    """How many; of those that were asked for by ROUNDS=, a share."""
    return max(few, int(int(os.environ.get("ROUNDS") or 0) * share))


def say(text):
    print(text, file=sys.stderr, flush=True)


def alive(pid):
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def unread(pid):
    """Octets that wait in sockets for a process to read them."""
    sockets = subprocess.run(["ss", "-xnpH"], capture_output=True, text=True, check=True).stdout
    return sum(int(line.split()[2]) for line in sockets.splitlines() if "pid=%d," % pid in line)


@functools.cache
def mounts_of_our_own():
    """From now on what this thread and its children mount is theirs. Else whoever makes a namespace of mounts ("ip netns exec" of another test) has a copy, and a
    filesystem that is unmounted here lives on there, broken as it was; the next mount() gets it back."""
    if ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    Disk.run("mount", "--make-rprivate", "/")


class Disk:
    """A fresh ext4 on a file, mounted over a loop device, whose power can be cut."""
    SHUTDOWN, NO_LOG_FLUSH = 0x8004587D, 2  # EXT4_IOC_SHUTDOWN; neither the journal nor anything that is dirty is written

    def __init__(self, image, directory, uid, size_mb):
        self.image, self.directory = image, directory
        mounts_of_our_own()
        os.makedirs(directory, exist_ok=True)
        with open(image, "wb") as f:
            f.truncate(size_mb << 20)
        self.run("mkfs.ext4", "-q", "-F", "-E", "lazy_itable_init=0,lazy_journal_init=0", image)
        self.mount()
        os.rmdir(os.path.join(directory, "lost+found"))
        os.chmod(directory, 0o700)
        os.chown(directory, uid, uid)
        self.run("sync", "-f", directory)

    @staticmethod
    def run(*command):
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode != 0:
            raise AssertionError("%s: %s" % (" ".join(command), done.stderr.strip()))

    def mount(self):
        self.run("mount", "-t", "ext4", "-o", "loop", self.image, self.directory)

    def unmount(self):
        """Who was killed may need a moment to let go of it."""
        def is_gone():
            """the disk is let go"""
            done = subprocess.run(["umount", self.directory], capture_output=True, text=True)
            if done.returncode != 0 and "busy" not in done.stderr:
                raise AssertionError("umount %s: %s" % (self.directory, done.stderr.strip()))
            return done.returncode == 0
        wait_for(is_gone, 60, 0.1)

    def cut(self):
        fd = os.open(self.directory, os.O_RDONLY)
        try:
            fcntl.ioctl(fd, self.SHUTDOWN, struct.pack("I", self.NO_LOG_FLUSH))
        finally:
            os.close(fd)

    def break_it(self):
        """As after an error of its own: ext4 becomes read-only (errors=remount-ro)."""
        device = os.path.basename(os.path.realpath(subprocess.run(["findmnt", "-no", "SOURCE", self.directory], capture_output=True, text=True).stdout.strip()))
        self.run("mount", "-o", "remount,errors=remount-ro", self.directory)
        with open("/sys/fs/ext4/%s/trigger_fs_error" % device, "w") as f:
            f.write("a test")

    def close(self):
        if os.path.ismount(self.directory):
            self.unmount()
        os.unlink(self.image)


class CrashHost(Host):
    prefix = []  # words in front of the master's command
    disk = None

    def put_on_disk(self, size_mb):
        """The spool gets a filesystem of its own."""
        self.disk = Disk(self.path("disk.image"), self.path("spool"), FIRST_UID + 2, size_mb)

    def close(self):
        try:
            self.stop()
        finally:
            if self.disk:
                self.disk.close()
            super().close()

    def _inside(self, command):
        return self.prefix + super()._inside(command)

    def limit_descriptors(self, more):
        """From the next start on no program but the master and smtpd, which refuses to start with fewer than its sessions need, has more descriptors than
        now and `more`: the master starts a script that sets the limit. It takes a master without CAP_SYS_RESOURCE: what has that raises its own limits."""
        now = {name: len(os.listdir("/proc/%d/fd" % pid)) for pid, name in self.pids().items()}
        os.mkdir(self.path("programs"))
        for name in CHILDREN:
            with open(self.path("programs", "postino-" + name), "w") as f:
                segments = 6 if name == "qmgr" else 0  # of its log: there may be more of them at its next start
                limit = "" if name == "smtpd" else "ulimit -n %d\n" % (now[name] + more + segments)
                f.write("#!/bin/sh\n%sexec %s\n" % (limit, program("postino-" + name, self.variant)))
            os.chmod(self.path("programs", "postino-" + name), 0o755)
        self._programs(os.path.dirname(program("x", self.variant)), self.path("programs"))
        self.prefix = ["setpriv", "--bounding-set", "-sys_resource"]

    def unlimit_descriptors(self):
        self._programs(self.path("programs"), os.path.dirname(program("x", self.variant)))
        self.prefix = []

    def _programs(self, old, new):
        with open(self.config) as f:
            text = f.read()
        with open(self.config, "w") as f:
            f.write(text.replace("programs = \"%s\"" % old, "programs = \"%s\"" % new))

    def start(self, seconds=60):
        if os.path.exists(self.log_path):  # each life of the master has its own: nobody wants to read it whole again
            os.replace(self.log_path, "%s.%d" % (self.log_path, len(self.logs()) + 1))
        super().start(seconds)
        self.wait_log("ready as process", seconds)
        return self

    def logs(self):
        """Paths, the oldest first; without the present one."""
        return sorted(glob.glob(self.log_path + ".*"), key=os.path.getmtime)

    def logged(self, word):
        """All lines with it."""
        lines = []
        for path in self.logs() + [self.log_path]:
            with open(path, errors="replace") as f:
                lines += [line for line in f if word in line]
        return "".join(lines)

    def running(self, *names):
        """The processes of these programs."""
        return [pid for pid, name in self.pids().items() if name in names]

    def signal(self, number, *names):
        """Returns whom it hit."""
        hit = self.running(*names)
        for pid in hit:
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                pass
        return hit

    def has_to_read(self, name, octets=1):
        """So much was sent to a program that is stopped. Only root sees that; another waits a while."""
        if os.geteuid() != 0:
            time.sleep(1)
            return
        wait_for(lambda: sum(unread(pid) for pid in self.running(name)) >= octets, 60)

    def kill(self, *names):
        """kill -9, and the dead are gone."""
        dead = self.signal(signal.SIGKILL, *names)
        if "master" in names:
            self.process.wait()
        wait_for(lambda: not any(alive(pid) for pid in dead), 60)

    def is_whole(self):
        """all programs run"""
        return set(self.pids().values()) == set(PROGRAMS)

    def queued(self):
        """{(queue id, recipient)}"""
        done = self.tool("postino", "queue", "list", "--json", errors="replace")
        if done.returncode != 0:
            raise AssertionError("the queue can't be listed: " + done.stderr)
        found = set()
        for line in done.stdout.splitlines():
            message = json.loads(line)
            for recipient in message["recipients"]:
                found.add((message["queue_id"], recipient["address"]))
        return found

    def run_dry(self, seconds=240):
        """Retries all until nothing is left, or so many seconds have passed; what is left then."""
        end = time.monotonic() + seconds
        while True:
            self.tool("postino", "queue", "retry", "all")
            left = self.queued()
            if not left or time.monotonic() > end:
                return left
            time.sleep(0.3)


def build_shims():
    """When a test is run by hand: the queue managers with a disk of the test's."""
    if not all(os.path.exists(program("postino-qmgr", name)) for name in ("nosync", "holdsync")):
        subprocess.run(["make", "-s", "shims"], cwd=ROOT, check=True)


class World:
    """Books, next host, clients and Postino of one test. In a `with`, it ends what it began. on_disk: the MiB of a disk of its own for the spool."""

    def __init__(self, settings="", variant=None, drop=0.0, smtpd=2, on_disk=0, **more):
        if variant:
            build_shims()
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was mounted is unmounted
        self.seed = seed()
        self.random = random.Random("kills %s" % self.seed)
        self.pulse = Pulse()
        self.books = Books(self.seed, self.pulse)
        self.next = NextHost(self.books, self.seed, drop)
        self.host = CrashHost(routes={"elsewhere.example": "smtp:[localhost]:%d" % self.next.port}, settings=SETTINGS % (smtpd, settings),
                              mailboxes=MAILBOXES + ("reports",), variant=variant, **more)
        self.load = Load(self.host, self.books)
        try:
            if on_disk:
                self.host.put_on_disk(on_disk)
            self.host.start()
        except BaseException:
            self.close()
            raise

    def __enter__(self):
        return self

    def __exit__(self, kind, *exception):
        if kind:
            say("SEED=%s; the end of the log:\n%s" % (self.seed, self.host.log()[-3000:]))
        self.close()

    def close(self):
        try:
            if self.host.process:
                self.host.signal(signal.SIGCONT, *PROGRAMS)
            self.load.close()
        finally:
            try:
                self.host.close()
            finally:
                self.next.close()
                self.pulse.close()

    def send(self, *kinds, **more):
        """One message to such recipients: a future, with `message`."""
        message = self.books.message(kinds=kinds, sizes=(2000,), **more)
        future = self.load.send(message)
        future.message = message
        return future

    def strike(self, *names):
        """kill -9, now."""
        begin = time.time()
        self.host.kill(*names)
        self.books.kill(*(PROGRAMS if "master" in names else names), begin=begin)

    def recover(self):
        """All is whole again; the master, if it is gone, is started as by a service manager."""
        if self.host.process.poll() is not None:
            self.host.start()
        wait_for(self.host.is_whole, 60)

    def kill(self, *names):
        self.strike(*names)
        self.recover()

    def cut_power(self):
        """And some time later, as it falls, all programs find themselves killed, and the disk is mounted again."""
        begin = time.time()
        self.host.disk.cut()
        time.sleep(self.random.choice((0, 0.1, 0.5)))
        self.host.kill(*PROGRAMS)
        self.books.kill("power", begin=begin)
        self.host.disk.unmount()
        self.host.disk.mount()
        self.host.start()

    def settle(self, words=""):
        """The load ends, the queue runs dry, the books are closed: the sums."""
        self.load.stop()
        self.next.refuse_all, self.next.hang = None, False
        left = self.host.run_dry()
        self.books.mailboxes(self.host)
        sums, wrong = self.books.balance(self.queued(left))
        if wrong:
            raise AssertionError("the books do not balance (SEED=%s) %s\n%s\n%s\n%s" % (
                self.seed, words, "\n".join(wrong[:40]), show(sums), self.history(self.books.suspects)))
        if left:
            raise AssertionError("SEED=%s: not delivered in time: %s" % (self.seed, sorted(left)[:20]))
        say("    %s SEED=%s: %s" % (words, self.seed, show(sums)))
        return sums

    def history(self, numbers):
        """What was killed when, and what the log says of deaths and of some messages."""
        messages = [self.books.messages[n] for n in sorted(numbers)[:3]]
        kills = "".join("%s: %.3f to %.3f\n" % ("+".join(sorted(kill.what)), kill.begin, kill.end) for kill in self.books.kills[-10:])
        return kills + self.host.logged("postino-master[")[-6000:] + "\n".join("message %d, answered %s at %.3f:\n%s" % (m.number, m.answer, m.answered, self.host.logged(m.answer.split()[-1])) for m in messages)

    def queued(self, entries):
        """Pairs (number, recipient) of pairs (queue id, recipient); a report in the queue stands for those that it is about."""
        found, ids = set(), self.books.queue_ids()
        for queue_id, recipient in entries:
            if queue_id in ids:
                found.add((ids[queue_id], recipient))
                continue
            text = self.host.tool("postino", "queue", "show", queue_id, errors="replace").stdout
            found |= {(number_in(about), about) for about in re.findall(r"(?m)^Final-Recipient: rfc822; *(\S+)", text)}
        return found
