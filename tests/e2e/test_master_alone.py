#!/usr/bin/python3
"""postino-master with stand-ins for the programs below it (actor.py): what they are told and given, and what it does when they misbehave."""
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from host import free_port, program, running, wait_for  # noqa: E402

PROGRAMS = ("smtpd", "auth", "qmgr", "remote", "local", "dns", "route", "tlsmgr", "sts", "lmtp", "creds")
EDGES = {("smtpd", "route"), ("smtpd", "auth"), ("smtpd", "qmgr"), ("smtpd", "tlsmgr"), ("qmgr", "route"), ("qmgr", "remote"), ("qmgr", "local"), ("qmgr", "lmtp"), ("qmgr", "dns"),
         ("remote", "dns"), ("remote", "sts"), ("remote", "creds"), ("creds", "dns"), ("sts", "dns"), ("sts", "route"), ("sts", "qmgr"), ("route", "dns")}
ROOT_USER = os.geteuid() == 0


class Stage:
    """A directory with actors, a configuration, and a master."""

    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="postino-master-", dir="/var/tmp")
        os.chmod(self.directory, 0o755)
        self.port, self.process = free_port(), None
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(self.path("notify"))
        self.notify.settimeout(60)
        os.mkdir(self.path("bin"))
        actor = os.path.join(os.path.dirname(os.path.abspath(__file__)), "actor.py")
        for name in PROGRAMS:
            os.symlink(actor, self.path("bin", "postino-" + name))
            self.part(name)
        self.configure()

    def path(self, *names):
        return os.path.join(self.directory, *names)

    def part(self, name, words=""):
        with open(self.path("bin", "part-" + name), "w") as f:
            f.write(words)

    def configure(self, more="", run=None, port=None, log="stderr", grace="1s"):
        with open(self.path("postino.conf"), "w") as f:
            f.write('hostname = "mx.example.org"\nusers = "64500"\nsmtpd_processes = 2\nstop_grace = %s\naliases = {}\npassword_file = "%s"\n'
                    'directory { spool = "%s" run = "%s" empty = "%s" sts = "%s" programs = "%s" }\nlog { to = "%s" level = debug }\n'
                    'listener "smtp" { port = %d address = "127.0.0.1" }\n%s\n' % (
                        grace, self.path("passwd"), self.path("spool"), run or self.path("run"), self.path("empty"), self.path("sts"), self.path("bin"), log,
                        port or self.port, more))
        open(self.path("passwd"), "w").close()

    def command(self, *options):
        return [program("postino-master"), "-c", self.path("postino.conf"), *options]

    def run(self, *options):
        """To its end: the completed process."""
        return subprocess.run(self.command(*options), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=100, env=self.environment())

    def environment(self):
        return dict(os.environ, NOTIFY_SOCKET=self.path("notify"), TZ="UTC", LD_PRELOAD="", SECRET="1")

    def start(self):
        with open(self.path("log"), "ab") as log:
            self.process = subprocess.Popen(self.command("-f"), stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=self.environment())
        self.told_manager("READY=1")
        return self

    def told_manager(self, word):
        while True:
            text = self.notify.recv(4096).decode()
            if word in text.split("\n"):
                return text

    def log(self):
        with open(self.path("log"), errors="replace") as f:
            return f.read()

    def wait_log(self, words, seconds=30):
        try:
            wait_for(lambda: words in self.log(), seconds)
        except AssertionError:
            raise AssertionError("no %r in the log:\n%s" % (words, self.log()[-3000:]))

    def told(self, name, kind=None, pid=None):
        try:
            with open(self.path("bin", "told-" + name)) as f:
                lines = [json.loads(line) for line in f.read().split("\n")[:-1]]
        except FileNotFoundError:
            return []
        return [m for m in lines if (kind is None or m["type"] == kind) and (pid is None or m["pid"] == pid)]

    def pids(self, name):
        return [m["pid"] for m in self.told(name, "BORN")]

    def alive(self, name):
        return running(self.pids(name))

    def stop(self, seconds=60):
        self.process.terminate()
        return self.process.wait(seconds)

    def close(self):
        if self.process and self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        for name in PROGRAMS:  # deaf or not, they see the end of their channel
            wait_for(lambda name=name: not self.alive(name))
        self.notify.close()
        shutil.rmtree(self.directory, ignore_errors=True)


class MasterTest(unittest.TestCase):
    def setUp(self):
        self.stage = Stage()
        self.addCleanup(self.stage.close)

    def master_error(self, *words):
        done = self.stage.run("-f")
        self.assertNotEqual(done.returncode, 0, done.stdout)
        for word in words:
            self.assertIn(word, done.stdout)
        return done.returncode


class Start(MasterTest):
    def test_every_program_is_told_all_before_it_starts(self):
        s = self.stage.start()
        for name in PROGRAMS:
            for pid in s.pids(name):
                kinds = [m["type"] for m in s.told(name, pid=pid)]
                self.assertEqual(kinds[:3], ["BORN", "LOG", "CONFIG"], name)
                self.assertEqual(kinds[-1], "START", name)
        self.assertEqual(len(s.pids("smtpd")), 2)
        self.assertEqual(sorted(m["instance"] for m in s.told("smtpd", "CONFIG")), [0, 1])
        self.assertEqual({m["name"] for m in s.told("smtpd", "LISTENER")}, {"smtp", "submit"})
        self.assertEqual([m["name"] for m in s.told("qmgr", "LISTENER")], ["queue"])
        for name in set(PROGRAMS) - {"smtpd", "qmgr"}:
            self.assertEqual(s.told(name, "LISTENER"), [])

    def test_the_edges_are_those_and_no_others(self):
        s = self.stage.start()
        pairs = {(name, m["role"]) for name in PROGRAMS for m in s.told(name, "PEER")}
        self.assertEqual(pairs, EDGES | {(b, a) for a, b in EDGES})
        self.assertTrue(all(m["fd"] for name in PROGRAMS for m in s.told(name, "PEER")))

    def test_a_program_has_no_descriptors_and_no_environment_but_its_own(self):
        s = self.stage.start()
        for name in PROGRAMS:
            for born in s.told(name, "BORN"):
                self.assertEqual(born["open"], [0, 1, 2, 3], name)
                self.assertEqual(set(born["environment"]) - {"LC_CTYPE"}, {"PATH", "TZ"}, name)

    def test_smtpd_is_last(self):
        s = self.stage.start()
        first = min(m["at"] for m in s.told("smtpd", "START"))
        for name in set(PROGRAMS) - {"smtpd"}:
            self.assertLess(s.told(name, "START")[0]["at"], first, name)

    def test_directories_and_sockets(self):
        s = self.stage.start()
        for name, mode, uid in (("run", 0o755, os.geteuid()), ("empty", 0o755, os.geteuid()), ("spool", 0o700, 64502 if ROOT_USER else os.geteuid())):
            st = os.lstat(s.path(name))
            self.assertEqual((stat.S_IMODE(st.st_mode), st.st_uid), (mode, uid), name)
        for name in ("submit", "queue"):
            st = os.lstat(s.path("run", name))
            self.assertTrue(stat.S_ISSOCK(st.st_mode))
            self.assertEqual(stat.S_IMODE(st.st_mode), 0o666)
        with open(s.path("run", "master.pid")) as f:
            self.assertEqual(f.read(), "%d\n" % s.process.pid)
        self.assertEqual(s.stop(), 0)
        self.assertEqual(os.listdir(s.path("run")), [])

    def test_a_second_master_is_refused_with_the_pid_of_the_first(self):
        s = self.stage.start()
        self.master_error("already running as process %d" % s.process.pid)
        self.assertIsNone(s.process.poll())

    def test_background_waits_until_all_are_ready(self):
        s = self.stage
        s.configure(log=s.path("log"))
        done = s.run()
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("smtp=127.0.0.1:%d" % s.port, done.stdout)
        with open(s.path("run", "master.pid")) as f:
            pid = int(f.read())
        self.assertIn("MAINPID=%d\n" % pid, s.told_manager("READY=1"))
        self.assertNotEqual(os.getsid(pid), os.getsid(0))
        for name in PROGRAMS:
            for m in s.told(name, "BORN"):
                self.assertEqual(os.readlink("/proc/%d/fd/2" % m["pid"]), "/dev/null")
        os.kill(pid, signal.SIGTERM)
        wait_for(lambda: not os.path.exists("/proc/%d" % pid))

    def test_background_tells_why_it_failed(self):
        s = self.stage
        s.configure(log=s.path("log"))
        s.part("route", "refuse")
        done = s.run()
        self.assertEqual(done.returncode, 78, done.stdout)
        self.assertIn("postino-route", done.stdout)
        self.assertIn("status 78 (configuration error)", done.stdout)


class Refused(MasterTest):
    def test_a_wrong_file_has_all_its_errors_told(self):
        self.stage.configure(more='nonsense = 1\nstop_grace = "soon"')
        self.assertEqual(self.master_error("nonsense", "stop_grace"), 78)

    def test_a_program_that_refuses_its_configuration_ends_it_all(self):
        self.stage.part("auth", "refuse")
        self.assertEqual(self.master_error("postino-auth", "configuration error"), 78)
        self.assertEqual(self.stage.alive("dns"), [])
        self.assertEqual(os.listdir(self.stage.path("run")), [])

    def test_a_program_that_crashes_at_the_first_start_ends_it_all(self):
        self.stage.part("dns", "crash")
        self.assertEqual(self.master_error("postino-dns", "SIGSEGV"), 70)

    def test_a_port_in_use_names_its_holder(self):
        with socket.socket() as other:
            other.bind(("127.0.0.1", self.stage.port))
            other.listen()
            self.master_error("127.0.0.1:%d" % self.stage.port, "in use by process %d" % os.getpid(), "another MTA?")

    def test_a_program_that_is_not_there(self):
        os.unlink(self.stage.path("bin", "postino-dns"))
        self.master_error("postino-dns", "set programs to where it is")

    def test_an_empty_directory_that_is_not_empty(self):
        os.mkdir(self.stage.path("empty"))
        open(self.stage.path("empty", "x"), "w").close()
        self.master_error("directory.empty", "not empty")

    def test_directories_that_others_may_write(self):
        for name in ("empty", "run"):
            os.mkdir(self.stage.path(name))
            os.chmod(self.stage.path(name), 0o777)
            self.master_error("directory." + name, "writable by others")
            os.rmdir(self.stage.path(name))

    def test_a_symbolic_link_is_no_spool(self):
        os.mkdir(self.stage.path("elsewhere"))
        os.symlink(self.stage.path("elsewhere"), self.stage.path("spool"))
        self.master_error("symbolic link")

    @unittest.skipUnless(ROOT_USER, "needs root")
    def test_a_strangers_spool(self):
        os.mkdir(self.stage.path("spool"))
        os.chown(self.stage.path("spool"), 64999, 64999)
        self.master_error("directory.spool", "64999")
        self.assertEqual(os.stat(self.stage.path("spool")).st_uid, 64999)

    def test_a_daemon_has_no_stderr(self):
        done = self.stage.run()
        self.assertEqual(done.returncode, 78)
        self.assertIn("-f", done.stdout)


class Supervision(MasterTest):
    def test_a_killed_program_is_back_at_once_and_wired(self):
        s = self.stage.start()
        for name in PROGRAMS:
            before, count = s.alive(name), len(s.pids(name))
            os.kill(before[0], signal.SIGKILL)
            wait_for(lambda: len(s.pids(name)) > count and s.told(name, "START", s.pids(name)[-1]))
            pid = s.pids(name)[-1]
            self.assertRegex(s.log(), r"\(process %d\) killed by SIGKILL.*; starting it anew\n" % before[0])
            peers = {m["role"] for m in s.told(name, "PEER", pid)}
            self.assertEqual(peers, {b for a, b in EDGES if a == name} | {a for a, b in EDGES if b == name}, name)
        s.wait_log("postino-smtpd 0 (process")
        self.assertIn("killed by SIGKILL", s.log())

    def test_clients_get_a_new_socket_at_once_though_the_server_is_backed_off(self):
        s = self.stage.start()
        client = s.alive("smtpd")[0]
        s.part("route", "crash")
        os.kill(s.alive("route")[0], signal.SIGKILL)
        s.wait_log("started anew in 2 s")
        s.wait_log("killed by SIGSEGV (memory error: a bug)")
        wait_for(lambda: len([m for m in s.told("smtpd", "PEER", client) if m["role"] == "route"]) >= 4)
        count = len(s.pids("route"))
        s.part("route")
        wait_for(lambda: len(s.pids("route")) > count and s.told("route", "START", s.pids("route")[-1]), 60)
        last = s.pids("route")[-1]
        self.assertEqual(len([m for m in s.told("route", "PEER", last) if m["role"] == "smtpd"]), 2)
        self.assertEqual(s.alive("smtpd")[0], client)

    def misbehaves(self, part, why):
        s = self.stage.start()
        s.part("auth", part)
        os.kill(s.alive("auth")[0], signal.SIGKILL)
        s.wait_log(why)
        count = len(s.pids("auth"))
        s.part("auth")
        wait_for(lambda: len(s.pids("auth")) > count, 60)
        wait_for(lambda: s.told("auth", "START", s.pids("auth")[-1]))
        self.assertIsNone(s.process.poll())

    def test_a_bad_frame_ends_the_program(self):
        self.misbehaves("garbage", "exited with status 75 (its master hung up on it)")
        self.assertIn("bad frame from auth", self.stage.log())

    def test_a_message_that_is_the_masters_to_say_ends_the_program(self):
        self.misbehaves("other undead", "killed by the master (its control channel ended)")

    def test_ready_before_start_ends_the_program(self):
        self.misbehaves("early", "killed by the master (it sent a message that it may not send now)")

    def test_children_end_when_the_master_is_killed(self):
        s = self.stage.start()
        s.process.kill()
        s.process.wait()
        for name in PROGRAMS:
            wait_for(lambda: not s.alive(name))
        s.start()  # the lock and the sockets of the dead one are no hindrance


class Reload(MasterTest):
    def hup(self):
        self.stage.process.send_signal(signal.SIGHUP)

    def test_a_new_generation_of_all_but_qmgr(self):
        s = self.stage.start()
        old = {name: s.alive(name) for name in PROGRAMS}
        self.hup()
        self.assertIn("MONOTONIC_USEC=", s.told_manager("RELOADING=1"))
        s.told_manager("READY=1")
        for name in set(PROGRAMS) - {"qmgr"}:
            wait_for(lambda: not set(s.alive(name)) & set(old[name]))
            self.assertEqual(len(s.alive(name)), len(old[name]), name)
            self.assertEqual({m["seconds"] for m in s.told(name, "DRAIN")}, {0})
        self.assertEqual(s.alive("qmgr"), old["qmgr"])
        wait_for(lambda: len(s.told("qmgr", "CONFIG")) == 2)
        for role in ("route", "remote", "local", "dns"):
            wait_for(lambda: len([m for m in s.told("qmgr", "PEER") if m["role"] == role]) == 2)
        wait_for(lambda: len([m for m in s.told("qmgr", "PEER") if m["role"] == "smtpd"]) == 4)

    def test_those_that_finish_are_wired_to_the_new_ones(self):
        s = self.stage
        s.part("smtpd", "stubborn")
        s.start()
        old = s.alive("smtpd")[0]
        self.hup()
        s.told_manager("READY=1")
        for role in ("route", "auth"):
            wait_for(lambda: len([m for m in s.told("smtpd", "PEER", old) if m["role"] == role]) == 2)
        self.assertEqual(len([m for m in s.told("smtpd", "PEER", old) if m["role"] == "qmgr"]), 1)
        os.kill(s.alive("qmgr")[0], signal.SIGKILL)  # and to a qmgr that is started anew
        wait_for(lambda: len([m for m in s.told("smtpd", "PEER", old) if m["role"] == "qmgr"]) == 2)
        os.kill(old, signal.SIGKILL)
        s.wait_log("while it was finishing")
        self.assertEqual(len(s.pids("smtpd")), 4)

    def refused(self, *words):
        s = self.stage
        old = {name: s.alive(name) for name in PROGRAMS}
        self.hup()
        text = s.told_manager("READY=1")
        for word in words:
            s.wait_log(word)
        self.assertIn("refused", text)
        self.assertEqual(old, {name: s.alive(name) for name in PROGRAMS})

    def test_a_bad_file_changes_nothing(self):
        self.stage.start()
        self.stage.configure(more="nonsense = 1")
        self.refused("nonsense", "the former configuration stays")

    def test_what_needs_a_restart(self):
        self.stage.start()
        self.stage.configure(run=self.stage.path("run2"))
        self.refused("directory.run", "needs a restart: postino stop, then postino start")

    def test_a_port_that_is_taken(self):
        self.stage.start()
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            self.stage.configure(port=other.getsockname()[1])
            self.refused("in use by process %d" % os.getpid())
        socket.create_connection(("127.0.0.1", self.stage.port)).close()

    def test_ports_come_and_go_and_stay(self):
        s = self.stage.start()
        more = free_port()
        s.configure(more='listener "more" { port = %d address = "127.0.0.1" }' % more)
        self.hup()
        s.told_manager("READY=1")
        socket.create_connection(("127.0.0.1", more)).close()
        s.configure()
        self.hup()
        s.told_manager("READY=1")
        wait_for(lambda: len(s.alive("smtpd")) == 2)
        with self.assertRaises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", more))
        socket.create_connection(("127.0.0.1", s.port)).close()

    def test_a_generation_that_does_not_come_up_leaves_the_old_one(self):
        s = self.stage.start()
        old = {name: s.alive(name) for name in PROGRAMS}
        for word in ("refuse", "crash"):
            s.part("remote", word)
            self.hup()
            self.assertIn("reload failed", s.told_manager("READY=1"))
        s.wait_log("before the new generation was complete")
        for name in PROGRAMS:
            wait_for(lambda: s.alive(name) == old[name])
        self.assertEqual(s.told("smtpd", "DRAIN"), [])
        self.assertEqual(len(s.told("smtpd", "START")), 2)  # nobody was let in by it
        s.part("remote")
        self.hup()
        self.assertIn("reloaded", s.told_manager("READY=1"))

    def test_a_second_hangup_is_not_forgotten(self):
        s = self.stage.start()
        self.hup()
        s.told_manager("RELOADING=1")
        self.hup()
        s.told_manager("RELOADING=1")
        s.told_manager("READY=1")
        wait_for(lambda: len(s.pids("route")) == 3)

    def test_nor_is_it_when_the_first_reload_fails(self):
        s = self.stage.start()
        s.part("remote", "deaf")
        old = s.alive("remote")
        self.hup()
        s.told_manager("RELOADING=1")
        [deaf] = wait_for(lambda: s.alive("remote") - old if isinstance(old, set) else [p for p in s.alive("remote") if p not in old])
        s.part("remote")  # the administrator has mended it meanwhile
        self.hup()
        time.sleep(0.2)
        os.kill(deaf, signal.SIGKILL)
        self.assertIn("reload failed", s.told_manager("READY=1"))
        self.assertIn("reloaded", s.told_manager("READY=1"))

    def test_logs_are_reopened(self):
        s = self.stage
        s.configure(log=s.path("mail.log"))
        s.start()
        os.rename(s.path("mail.log"), s.path("mail.log.1"))
        s.process.send_signal(signal.SIGUSR1)
        wait_for(lambda: os.path.exists(s.path("mail.log")))
        for name in PROGRAMS:
            wait_for(lambda: len(s.told(name, "LOG")) == 2 * len(s.pids(name)))
        self.assertEqual(stat.S_IMODE(os.stat(s.path("mail.log")).st_mode), 0o640)


class Stop(MasterTest):
    def test_the_order_of_a_stop(self):
        s = self.stage.start()
        self.assertEqual(s.stop(), 0)
        s.told_manager("STOPPING=1")
        drains = {name: s.told(name, "DRAIN") for name in PROGRAMS}
        self.assertEqual([m["seconds"] for m in drains["smtpd"]], [1, 1])
        self.assertLess(max(m["at"] for m in drains["smtpd"]), drains["qmgr"][0]["at"])
        for name in ("route", "dns", "auth", "remote", "local"):
            self.assertLess(drains["qmgr"][0]["at"], drains[name][0]["at"])
        self.assertEqual(len(s.pids("smtpd")), 2)

    def test_who_does_not_end_is_killed_after_the_grace(self):
        s = self.stage
        s.part("qmgr", "stubborn")
        s.start()
        begun = time.monotonic()
        self.assertEqual(s.stop(), 0)
        self.assertGreater(time.monotonic() - begun, 5.9)
        self.assertIn("it did not end in time", s.log())

    def test_a_second_signal_ends_the_waiting(self):
        s = self.stage
        s.configure(grace="60s")
        s.part("smtpd", "stubborn")
        s.start()
        s.process.send_signal(signal.SIGINT)
        s.wait_log("stopping")
        begun = time.monotonic()
        self.assertEqual(s.stop(), 0)
        self.assertLess(time.monotonic() - begun, 30)

    def test_a_stop_while_starting(self):
        s = self.stage
        s.part("dns", "deaf")
        with open(s.path("log"), "ab") as log:
            s.process = subprocess.Popen(s.command("-f"), stdout=log, stderr=log, env=s.environment())
        wait_for(lambda: s.told("dns", "START"))
        s.stop()
        self.assertEqual(s.told("smtpd", "START"), [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
