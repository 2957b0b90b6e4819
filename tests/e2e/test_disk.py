"""A disk that is full: 452 to the client, nothing that was acknowledged is lost, and mail flows again when there is room."""
import glob
import os
import time
import unittest

from books import ACCEPTED
from crash import PROGRAMS, World
from host import Host, free_port, wait_for
from hostile import Server

BODY = b"Subject: full\r\n\r\n" + b"x" * 70 + b"\r\n"


@unittest.skipUnless(os.geteuid() == 0, "a small filesystem needs root")
class FullDisk(unittest.TestCase):
    def send(self, host, size):
        with host.smtp() as client:
            client.ehlo()
            client.mail("a@client.example")
            client.rcpt("x@elsewhere.example")
            return client.data(BODY + b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n" * (size // 64))

    def test_452_and_nothing_is_lost(self):
        for free, note in (("0", "no reserve: the write itself fails"), ("1M", "a reserve: refused before the disk is full")):
            with self.subTest(note):
                port = free_port()
                with Host(size_mb=4, routes={"*": "smtp:[127.0.0.1]:%d" % port},
                          settings="limit { queue_free = %s }\nqueue { retry_first = 1h retry_most = 1h }\nremote { loopback = yes }" % free) as host:
                    accepted = 0
                    for _ in range(60):
                        code, reply = self.send(host, 200000)
                        if code != 250:
                            break
                        accepted += 1
                    self.assertEqual(code, 452, reply)
                    self.assertRegex(reply.decode(), r"^4\.3\.1 ")
                    self.assertGreater(accepted, 5)
                    code, reply = self.send(host, 3000000)  # streamed in pieces
                    self.assertEqual(code, 452, reply)
                    host.wait_log(r"(?i)space")
                    self.assertEqual(host.queue().count("x@elsewhere.example"), accepted)
                    sink = self.enterContext(Server(port=port))
                    done = host.tool("postino", "queue", "retry", "all")
                    self.assertEqual(done.returncode, 0, done.stderr)
                    wait_for(host.queue_is_empty, 60)
                    self.assertEqual(len(sink.messages), accepted)
                    wait_for(lambda: self.send(host, 200000)[0] == 250)  # the files of what is delivered are removed a moment later
                    wait_for(lambda: len(sink.messages) == accepted + 1, 60)


@unittest.skipUnless(os.geteuid() == 0, "a disk that fails takes root")
class FailingDisk(unittest.TestCase):
    """Each with its line in the log; what was acknowledged is there when the disk is well again."""

    def log_is_ready(self, world):
        """small mail goes to a segment of the log"""
        def files():
            return sum(len(names) for _, _, names in os.walk(world.host.path("spool", "msg")))

        def in_log():
            """mail in the log"""
            before = files()
            self.assertEqual(world.send("ok").result(60).fate, ACCEPTED)
            return files() == before
        world.next.refuse_all = "451 4.3.0 not now"
        wait_for(in_log, 120)

    def test_a_flush_that_fails_is_451_and_the_segment_is_not_written_any_more(self):
        with World(variant="holdsync", smtpd=1) as world:
            self.log_is_ready(world)
            flag = world.host.path("spool", "fail.flush")
            open(flag, "w").close()
            os.chmod(flag, 0o644)
            refused = world.send("ok").result(60)
            self.assertRegex(refused.answer, "^451 ")
            world.host.wait_log("flush of the log failed at [0-9]+: Input/output error; this segment is not written any more: look at the disk")
            os.unlink(flag)
            wait_for(lambda: world.send("ok").result(60).fate == ACCEPTED, 60)
            world.kill("qmgr")
            self.assertEqual(world.settle("a flush failed;")["lost"], 0)

    def test_a_filesystem_that_becomes_read_only_under_load(self):
        with World(on_disk=256) as world:
            world.next.refuse_all = "451 4.3.0 not now"
            world.load.begin()
            time.sleep(1)
            wait_for(lambda: world.load.accepted() > 5, 60)
            world.host.disk.break_it()
            world.host.wait_log("the message can't be stored now, try again later", 60)
            world.load.stop()
            world.host.wait_log("Read-only file system")
            world.strike(*PROGRAMS)
            world.host.disk.unmount()
            world.host.disk.mount()
            world.recover()
            sums = world.settle("a filesystem that became read-only;")
            self.assertGreater(sums["accepted"], 5)
            self.assertEqual(sums["lost"], 0)

    def test_a_truncated_segment_and_foreign_files(self):
        with World(smtpd=1) as world:
            self.log_is_ready(world)
            for _ in range(5):
                self.assertEqual(world.send("ok").result(60).fate, ACCEPTED)
            world.host.wait_log("status=deferred")
            world.host.stop()
            for path in glob.glob(world.host.path("spool", "log", "*")):
                if os.path.getsize(path) > 2 << 20:
                    os.truncate(path, 2 << 20)
            for path in (("log", "README"), ("msg", "00", "core"), ("tmp", "note")):
                with open(world.host.path("spool", *path), "w") as f:
                    f.write("mine")
            world.host.start()
            world.host.wait_log("log/[0-9a-f]+: it is 2097152 octets long and was [0-9]+")
            for where, name in (("log", "README"), ("msg/00", "core"), ("tmp", "note")):
                world.host.wait_log("in %s: file=%s is none of ours; ignored" % (where, name))
                self.assertTrue(os.path.exists(world.host.path("spool", where, name)))
            self.assertEqual(world.settle("a truncated segment;")["lost"], 0)


if __name__ == "__main__":
    unittest.main(verbosity=2)
