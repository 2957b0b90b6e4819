"""kill -9 of each program, of several and of all at random times under load: the books must balance. And the lines of the crash matrix by name.

    make crash ROUNDS=500 SEED=1234     the long form
"""
import concurrent.futures
import contextlib
import fcntl
import os
import signal
import time
import unittest

from books import ACCEPTED, UNKNOWN
from crash import CHILDREN, PROGRAMS, World, rounds, say
from host import wait_for

FEW = 12
QUIET = 2.5  # seconds after which nothing of former deliveries is left to be written


class Rounds(unittest.TestCase):
    """Each round: a random moment, random victims, a random way to die."""

    def victims(self, random, count):
        """Every program by itself, several, all; then as it falls."""
        plan = [[name] for name in PROGRAMS] + [["qmgr", "remote"], random.sample(CHILDREN, 3), PROGRAMS, PROGRAMS]
        while len(plan) < count:
            n = random.choice((1, 1, 1, 2, 3, len(PROGRAMS)))
            plan.append(random.sample(PROGRAMS, n) if random.random() < 0.6 else ["qmgr"])
        random.shuffle(plan)
        return plan[:count]

    def kill(self, world, names):
        host, random, begin = world.host, world.random, time.time()
        if random.random() < 0.3:  # it hangs for a while first; perhaps it comes to again
            host.signal(signal.SIGSTOP, *names)
            time.sleep(random.random() * 0.7)
            if random.random() < 0.3:
                host.signal(signal.SIGCONT, *names)
                world.books.kill(*names, begin=begin)
                return "stopped for a while"
        world.strike(*names)  # without their master all end by themselves; the new one doesn't wait for it
        return "killed"

    def test_the_books_balance_when_programs_are_killed_at_random(self):
        count = rounds(FEW)
        with World(drop=0.01) as world:
            say("    %d rounds, SEED=%s" % (count, world.seed))
            world.load.begin()
            for number, names in enumerate(self.victims(world.random, count), 1):
                time.sleep(0.1 + world.random.random() * 1.1)
                how = self.kill(world, names)
                world.recover()
                wait_for(lambda: world.load.accepted() > 20 * number, 120)
                if count > FEW:
                    world.books.mailboxes(world.host)
                    say("    round %d of %d: %s %s; %d accepted" % (number, count, "+".join(names), how, world.load.accepted()))
            time.sleep(0.5)
            sums = world.settle("%d rounds" % count)
            self.assertGreater(sums["accepted"], 20 * count)
            self.assertGreater(sums["delivered"], 20 * count)
            self.assertGreater(sums["reported"], 2 * count)

    @unittest.skipUnless(os.geteuid() == 0, "a small filesystem needs root")
    def test_the_books_balance_on_a_small_disk(self):
        """Where the segments of the log are small: some are always being freed, and mail that stays is moved out of them."""
        count = rounds(FEW // 3, 1 / 4)
        with World(size_mb=64, settings="limit { queue_free = 4M }") as world:
            world.load.begin(pause=0.02, sizes=(2000, 20000, 60000))
            for number in range(1, count + 1):
                world.next.refuse_all = "451 4.3.0 not now" if number % 3 else None
                time.sleep(0.3 + world.random.random() * 1.2)
                world.kill(*world.random.choice((["qmgr"], ["qmgr"], PROGRAMS)))
                wait_for(lambda: world.load.accepted() > 20 * number, 120)
            sums = world.settle("%d rounds on a small disk;" % count)
            self.assertGreater(sums["accepted"], 20 * count)


class Matrix(unittest.TestCase):
    """Each line of the crash matrix that can be met from outside. "During reclaim: one of the two copies" can't: nothing that is seen from
    outside says that a reclaim is under way. The small disks (here and in test_powercut.py) meet it by chance; the unit tests of the spool at every
    record boundary."""

    def world(self, **more):
        """One message has been through: smtpd has queue ids, and need not ask for them."""
        if more and os.geteuid() != 0:
            self.skipTest("to hold the flushes of a program takes its root directory, and so root")
        world = World(smtpd=1, **more)
        self.addCleanup(world.close)
        self.held = {}
        self.comes(world, world.send("ok").result(60), 1)
        return world

    def hold(self, world, when):
        """From now on flushes wait, `before` they begin or `after` they are done, until release(). What happened before is on disk."""
        self.release(when)
        self.quiet(world)
        fd = os.open(world.host.path("spool", "hold." + when), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        os.fchmod(fd, 0o644)
        fcntl.flock(fd, fcntl.LOCK_EX)
        self.held[when] = fd
        self.addCleanup(self.release, when)

    def quiet(self, world):
        """Nothing is written to the spool for a while; counted in looks at it, as all may stand still for a time."""
        def files():
            found = {}
            for top, _, names in os.walk(world.host.path("spool")):
                for name in names:
                    with contextlib.suppress(FileNotFoundError):
                        st = os.lstat(os.path.join(top, name))
                        found[top, name] = st.st_size, st.st_mtime_ns
            return found
        looks, last = 0, None
        while looks < QUIET / 0.1:
            now = files()
            looks, last = looks + 1 if now == last else 0, now
            time.sleep(0.1)

    def is_held(self, when):
        """a flush waits for release()"""
        inode = ":%d " % os.fstat(self.held[when]).st_ino
        with open("/proc/locks", encoding="ascii") as f:
            return any("-> FLOCK" in line and inode in line for line in f)

    def release(self, when):
        if when in self.held:
            os.close(self.held.pop(when))

    def waits(self, future, seconds=0.7):
        """The end of the message is sent, and no answer comes."""
        wait_for(lambda: future.message.fate == UNKNOWN, 60)
        for when in self.held:
            wait_for(lambda: self.is_held(when), 60)
        with self.assertRaises(concurrent.futures.TimeoutError):
            future.result(seconds)

    def came(self, world, message):
        """How often, for each recipient."""
        world.books.mailboxes(world.host)
        return [len(world.books.arrived[message.number, r]) for r in message.taken]

    def comes(self, world, message, *times):
        wait_for(lambda: self.came(world, message) == list(times), 60)

    def test_before_the_flush_no_250(self):
        world = self.world(variant="holdsync")
        with self.subTest("the flush takes long"):
            self.hold(world, "before")
            future = world.send("ok", "local")
            self.waits(future)
            self.assertEqual(self.came(world, future.message), [0, 0])
            self.release("before")
            self.assertEqual(future.result(60).fate, ACCEPTED)
            self.comes(world, future.result(), 1, 1)
        for victims in (["qmgr"], PROGRAMS):
            with self.subTest("killed before the flush", victims=victims):
                self.hold(world, "before")
                future = world.send("ok", "local")
                self.waits(future)
                world.strike(*victims)
                self.assertEqual(future.result(60).fate, UNKNOWN)  # 451, or the connection broke
                self.release("before")
                world.recover()
        world.settle("before the flush")

    def test_before_the_flush_a_qmgr_that_hangs_gives_no_250(self):
        world = self.world()
        world.host.signal(signal.SIGSTOP, "qmgr")
        future = world.send("ok")
        self.waits(future)
        world.host.has_to_read("qmgr", 1000)
        world.kill("qmgr")
        self.assertRegex(future.result(60).answer, "^451 4")
        world.settle("the PUT was never read")
        self.assertEqual(self.came(world, future.result()), [0])

    def test_after_the_flush_before_the_answer_a_duplicate_at_most(self):
        world = self.world(variant="holdsync")
        for victims in (["qmgr"], PROGRAMS):
            with self.subTest("killed between flush and answer", victims=victims):
                self.hold(world, "after")
                future = world.send("ok", "local")
                self.waits(future)
                self.assertEqual(self.came(world, future.message), [0, 0])
                world.strike(*victims)
                self.assertEqual(future.result(60).fate, UNKNOWN)
                self.release("after")
                world.recover()
                self.comes(world, future.result(), 1, 1)  # and when the client sends it again: the duplicate
        world.settle("after the flush")

    def test_after_the_flush_before_the_answer_smtpd_dies(self):
        world = self.world()
        world.host.signal(signal.SIGSTOP, "qmgr")
        future = world.send("ok")
        self.waits(future)
        world.host.has_to_read("qmgr", 1000)
        world.host.signal(signal.SIGSTOP, "smtpd")
        world.host.signal(signal.SIGCONT, "qmgr")
        self.comes(world, future.message, 1)
        world.kill("smtpd")
        self.assertEqual(future.result(60).fate, UNKNOWN)
        world.settle("the answer was never read")
        self.assertEqual(self.came(world, future.result()), [1])

    def test_pieces_of_a_large_message_are_none_when_qmgr_dies_between_them(self):
        world = self.world()
        with world.host.smtp() as client:
            client.ehlo()
            client.mail("a@client.example")
            client.rcpt("x@elsewhere.example")
            client.putcmd("data")
            self.assertEqual(client.getreply()[0], 354)
            client.send(b"Subject: half\r\n\r\n" + b"x" * 70 + b"\r\n" * 1 + (b"y" * 70 + b"\r\n") * 10000)
            wait_for(lambda: os.listdir(world.host.path("spool", "tmp")), 60)
            world.kill("qmgr")
            client.send((b"z" * 70 + b"\r\n") * 10000 + b".\r\n")
            self.assertEqual(client.getreply()[0], 451)
        world.settle("half a message")
        self.assertEqual(len(world.books.arrived), 1)

    def test_mid_delivery_retried(self):
        world = self.world()
        for victims in (["remote"], ["qmgr"], ["remote", "qmgr"], PROGRAMS):
            with self.subTest(victims=victims):
                world.next.hang, world.next.hang_up = True, True
                message = world.send("ok").result(60)
                self.assertEqual(message.fate, ACCEPTED)
                wait_for(lambda: world.next.waiting == 1, 60)
                world.strike(*victims)
                world.next.hang = False  # before anything is tried again: that must not hang up as well
                wait_for(lambda: world.next.waiting == 0)
                world.recover()
                self.comes(world, message, 1)
        world.settle("mid-delivery")

    def test_mid_delivery_to_a_mailbox_retried(self):
        world = self.world()
        world.host.signal(signal.SIGSTOP, "local")
        message = world.send("local").result(60)
        world.host.has_to_read("local")
        world.kill("local")
        self.comes(world, message, 1)
        world.settle("mid-delivery to a mailbox")
        self.assertEqual(self.came(world, message), [1])

    def test_after_the_remote_250_before_the_settlement_one_duplicate(self):
        world = self.world()
        for victim in ("remote", "qmgr"):
            with self.subTest("the next host's 250 is never read", victim=victim):
                self.quiet(world)  # what was settled before is on disk: it does not come again
                world.next.hang, world.next.hang_up = True, False
                message = world.send("ok").result(60)
                wait_for(lambda: world.next.waiting == 1, 60)
                world.host.signal(signal.SIGSTOP, victim)
                world.next.hang = False
                self.comes(world, message, 1)
                time.sleep(0.2)
                world.kill(victim)
                self.comes(world, message, 2)
        world.settle("after the next host's 250")
        self.assertEqual([len(times) for times in world.books.arrived.values()], [1, 2, 2])

    def test_after_the_remote_250_before_the_settlement_is_durable_a_duplicate_at_most(self):
        world = self.world(variant="holdsync")
        for victims in (["qmgr"], PROGRAMS):
            with self.subTest(victims=victims):
                world.next.hang, world.next.hang_up = True, False
                message = world.send("ok").result(60)
                wait_for(lambda: world.next.waiting == 1, 60)
                self.hold(world, "before")
                world.next.hang = False
                self.comes(world, message, 1)
                wait_for(lambda: self.is_held("before"), 60)  # written, but for the flush
                world.strike(*victims)
                self.release("before")
                world.recover()
        world.settle("before the settlement is durable")
        self.assertLessEqual(max(len(times) for times in world.books.arrived.values()), 2)

    def test_after_a_mailbox_has_it_before_the_settlement_one_duplicate(self):
        world = self.world()
        world.host.signal(signal.SIGSTOP, "local")
        message = world.send("local").result(60)
        world.host.has_to_read("local")
        world.host.signal(signal.SIGSTOP, "qmgr")
        world.host.signal(signal.SIGCONT, "local")
        self.comes(world, message, 1)
        world.kill("qmgr")
        self.comes(world, message, 2)
        world.settle("after the mailbox has it")
        self.assertEqual(self.came(world, message), [2])

    def test_a_report_is_stored_before_its_settlement_a_second_at_most(self):
        world = self.world(variant="holdsync")
        for when in ("before", "after"):
            with self.subTest(when):
                world.next.refuse_all = "451 4.3.0 not now"
                message = world.send("bad").result(60)
                world.host.wait_log("%s.*status=deferred" % message.answer.split()[-1])
                world.host.signal(signal.SIGSTOP, "remote")
                self.hold(world, when)
                world.next.refuse_all = None
                world.host.signal(signal.SIGCONT, "remote")
                world.host.tool("postino", "queue", "retry", "all")
                world.host.wait_log("%s.*status=bounced" % message.answer.split()[-1])
                time.sleep(0.3)
                world.strike("qmgr")
                self.release(when)
                world.recover()
                wait_for(world.host.queue_is_empty, 60)  # or it is tried, and returned once more, in the next round
        world.settle("a report")
        self.assertEqual(len(world.books.reported), 2)
        self.assertLessEqual(max(len(reports) for reports in world.books.reported.values()), 2)


class Start(unittest.TestCase):
    @unittest.skipUnless(os.geteuid() == 0, "to see who has a port takes root")
    def test_a_new_master_waits_for_a_program_that_is_late_to_end(self):
        """It has the port, or the spool, until it sees that its master is gone."""
        for name in ("smtpd", "qmgr"):
            with self.subTest(name):
                self.late(name)

    def late(self, name):
        with World(smtpd=1) as world, concurrent.futures.ThreadPoolExecutor() as pool:
            [late] = world.host.signal(signal.SIGSTOP, name)
            try:
                world.host.process.kill()
                world.host.process.wait()
                started = pool.submit(world.host.start)
                world.host.wait_log("is still in use by process %d .postino-%s., whose master is gone" % (late, name))
                self.assertFalse(started.done())
                with open(world.host.path("run", "master.pid"), encoding="ascii") as pid:
                    self.assertEqual(pid.read(), "%d\n" % world.host.process.pid)  # postino stop sends its signal there
            finally:
                os.kill(late, signal.SIGCONT)
            started.result()
            self.assertEqual(world.send("ok").result(60).fate, ACCEPTED)
            world.settle("a late end;")


class Shortage(unittest.TestCase):
    """Killed while something has run out: nothing is lost. A settlement that could not be written is written again only after ten seconds."""

    @unittest.skipUnless(os.geteuid() == 0, "a small filesystem needs root")
    def test_the_disk_is_full(self):
        with World(settings="limit { queue_free = 256K }", size_mb=24) as world:
            world.books.settled = 15
            world.next.refuse_all = "451 4.3.0 not now"
            world.load.begin(pause=0.005, sizes=(1000, 30000, 200000, 700000))

            def full():
                """452"""
                return sum("452 4.3.1" in words for words in world.load.refusals)
            wait_for(full, 120)
            for names in (["qmgr"], ["smtpd"], PROGRAMS, ["qmgr"]):
                before = full()
                time.sleep(world.random.random())
                world.kill(*names)
                wait_for(lambda: full() > before, 120)
            world.next.refuse_all = None
            time.sleep(1)
            world.kill("qmgr")
            world.load.stop()
            self.assertEqual(world.host.run_dry(), set())
            before = world.load.accepted()
            world.load.begin()
            wait_for(lambda: world.load.accepted() > before + 20, 120)
            world.settle("full disk, %d times 452;" % full())

    @unittest.skipUnless(os.geteuid() == 0, "to take away CAP_SYS_RESOURCE takes root")
    def test_no_descriptor_is_left(self):
        with World() as world:
            world.books.settled = 15
            world.host.limit_descriptors(3)
            world.host.stop()
            world.host.start()
            world.load.begin(sessions=20)
            for names in [[name] for name in CHILDREN] + [PROGRAMS]:
                time.sleep(0.3 + world.random.random() / 2)
                world.kill(*names)
            wait_for(lambda: "Too many open files" in world.host.log(), 60)
            self.assertEqual(world.host.logged("closing it") + world.host.logged("was not replaced"), "")  # who has no room brings nobody down
            time.sleep(1)
            wait_for(lambda: world.load.accepted() > 50, 120)
            world.load.stop()
            world.strike(*PROGRAMS)
            world.host.unlimit_descriptors()
            world.recover()
            sums = world.settle("few descriptors;")
            self.assertGreater(sums["accepted"], 50)


if __name__ == "__main__":
    unittest.main(verbosity=2)
