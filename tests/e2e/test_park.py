"""Mail that waits, in little memory: parked mail is listed, shown, retried, deleted, warned about and returned as any other; it costs what it should, and
nothing of it is lost or doubled when all programs are killed."""
import collections
import re
import subprocess
import time
import unittest

from host import free_port, wait_for
from test_queue import Queue

SLOW = "limit { queue_memory = 0 } queue { retry_first = 1h retry_most = 1h lifetime = 1d %s }"


def memory(pid):
    """Octets that only this process has."""
    with open("/proc/%d/smaps_rollup" % pid) as f:
        return sum(int(kib) for kib in re.findall(r"^Private_\w+:\s+(\d+) kB", f.read(), re.M)) * 1024


class Park(Queue):
    def flood(self, host, count, sender="nobody@elsewhere.example"):
        subprocess.run(["smtp-source", "-s", "10", "-m", str(count), "-l", "600", "-f", sender, "-t", "x@elsewhere.example", "127.0.0.1:%d" % host.port],
                       check=True, timeout=400)

    def parked(self, host, ids):
        """All have been tried, and what became of it is on disk."""
        for queue_id in ids:
            host.wait_log(queue_id + r".*status=deferred")
        self.pause(3)

    @staticmethod
    def pause(seconds):
        """For what happens once a second, and says nothing. In small steps: while the machine stands still nothing happens, and no more than one of them passes."""
        for _ in range(seconds * 10):
            time.sleep(0.1)

    def test_a_message_that_waits_costs_little_and_is_delivered_once(self):
        count = 20000
        port = free_port()
        host = self.host(port, SLOW % "delay_warning = 0")
        qmgr = host.pid_of("qmgr")
        empty = memory(qmgr)
        self.flood(host, count)
        qmgr_now = host.pid_of("qmgr")
        self.assertEqual(qmgr, qmgr_now)

        def parked():
            """no more than 400 octets a message"""
            return memory(qmgr) - empty < count * 400
        wait_for(parked, 60, 0.5)
        host.kill()
        host.start()
        host.wait_log(r"%d messages are in the queue" % count)
        qmgr = host.pid_of("qmgr")
        wait_for(lambda: memory(qmgr) - empty < count * 250)
        used = memory(qmgr) - empty
        self.assertGreater(used, count * 100)
        listing = host.tool("postino", "queue", "list", "--json").stdout.splitlines()
        self.assertEqual(len(listing), count)
        sink = self.sink(port)
        host.tool("postino", "queue", "retry", "all", check=True)
        wait_for(lambda: len(sink.messages) >= count, 300, 0.2)
        wait_for(host.queue_is_empty, 60)
        ids = collections.Counter(re.search(rb"id ([0-9A-Z]{12})", m.body)[1] for m in sink.messages)
        self.assertEqual(len(ids), count)
        self.assertEqual(max(ids.values()), 1)

    def peak(self, pid):
        with open("/proc/%d/status" % pid, encoding="ascii") as f:
            return int(re.search(r"VmHWM:\s+(\d+) kB", f.read())[1]) * 1024

    def test_orders_to_all_take_no_memory_for_all(self):
        count = 20000
        host = self.host(free_port(), SLOW % "delay_warning = 0")
        qmgr = host.pid_of("qmgr")
        self.flood(host, count)
        self.pause(4)
        for order in ("hold", "release", "priority high", "retry", "delete"):
            before = memory(qmgr)
            with open("/proc/%d/clear_refs" % qmgr, "w", encoding="ascii") as f:
                f.write("5")
            began = self.peak(qmgr)
            done = host.tool("postino", "queue", *order.split(), "all" if order != "delete" else "--sender=nobody@elsewhere.example")
            self.assertEqual(done.returncode, 0, done.stderr)
            grown = self.peak(qmgr) - began
            self.assertLess(grown, 10 << 20, "%s: %d, of %d" % (order, grown, before))
            self.pause(2 if order != "delete" else 0)
        wait_for(host.queue_is_empty)

    def test_what_was_answered_survives_a_crash_at_once(self):
        host = self.host(free_port(), SLOW % "delay_warning = 0")
        self.flood(host, 300)
        self.pause(3)
        for order, expected in (("hold", 300), ("release", 0)):
            host.tool("postino", "queue", order, "all", check=True)
            host.kill()
            host.start()
            wait_for(lambda: len(re.findall(r"^\w+!", host.queue(), re.M)) == expected)
            self.assertEqual(len(host.tool("postino", "queue", "list", "--json").stdout.splitlines()), 300)
        host.tool("postino", "queue", "hold", "all", check=True)
        host.tool("postino", "queue", "delete", "--sender=nobody@elsewhere.example", check=True)
        host.kill()
        host.start()
        self.assertEqual(host.tool("postino", "queue", "list", "--json").stdout, "")

    def test_the_administrator_sees_retries_and_deletes_what_is_parked(self):
        port = free_port()
        host = self.host(port, SLOW % "")
        keep, drop, rest = (self.send(host, name + "@elsewhere.example") for name in ("keep", "drop", "rest"))
        self.parked(host, [keep, drop])
        for _ in range(2):
            listing = host.queue()
            for text in (keep, drop, rest, "keep@elsewhere.example", "Connection refused"):
                self.assertIn(text, listing)
            shown = host.tool("postino", "queue", "show", keep)
            self.assertEqual(shown.returncode, 0, shown.stderr)
            self.assertIn("body of the original", shown.stdout)
            self.assertIn("attempts: 1", shown.stdout)
            host.kill()
            host.start()
        self.assertEqual(host.tool("postino", "queue", "delete", drop).returncode, 0)
        self.assertNotIn(drop, host.queue())
        self.assertNotEqual(host.tool("postino", "queue", "delete", drop).returncode, 0)
        sink = self.sink(port)
        self.assertEqual(host.tool("postino", "queue", "retry", keep).returncode, 0)
        wait_for(lambda: keep not in host.queue())
        self.assertIn(b"keep@", sink.messages[0].body)
        host.tool("postino", "queue", "retry", "all", check=True)
        wait_for(host.queue_is_empty)
        self.assertEqual(len(sink.messages), 2)

    def test_a_warning_about_parked_mail_is_neither_lost_nor_doubled(self):
        port = free_port()
        host = self.host(port, SLOW % "delay_warning = 12s")
        queue_id = self.send(host, "x@elsewhere.example")
        self.parked(host, [queue_id])
        self.assertEqual(host.messages("alice"), [])
        host.kill()
        host.start()
        wait_for(lambda: host.messages("alice"))
        self.assertRegex(host.messages("alice")[0].decode(), r"(?m)^Action: delayed")
        self.pause(3)
        host.kill()
        host.start()
        self.pause(8)
        self.assertEqual(len(host.messages("alice")), 1)
        sink = self.sink(port)
        host.tool("postino", "queue", "retry", "all", check=True)
        wait_for(host.queue_is_empty)
        self.assertEqual(len(sink.messages), 1)

    def test_parked_mail_that_is_too_old_goes_back(self):
        sink = self.sink(RCPT="451 4.7.1 come back later")
        host = self.host(sink.port, "limit { queue_memory = 0 } queue { retry_first = 4s retry_most = 4s lifetime = 6s delay_warning = 0 }")
        self.send(host, "x@elsewhere.example")
        wait_for(lambda: host.messages("alice"), 60)
        raw = host.messages("alice")[0].decode()
        self.assertIn("come back later", raw)
        attempts = sum(command.startswith("RCPT") for command in sink.commands)  # three, unless one comes late
        self.assertIn("after %d attempts" % attempts, " ".join(raw.split()))
        self.assertGreater(attempts, 1)
        wait_for(host.queue_is_empty)


for name in [n for n in vars(Queue) if n.startswith("test_")]:  # those of the queue are run there
    setattr(Park, name, None)
del Queue

if __name__ == "__main__":
    unittest.main(verbosity=2)
