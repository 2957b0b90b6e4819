"""The power is cut under load: the spool is on a fresh ext4 that is shut down at a random moment without its log being flushed, mounted again and
recovered. Every message that was answered with 250 is there or was delivered. And the proof that this can fail: a queue manager whose flushes do
nothing (nosync.c) loses messages.
"""
import os
import time
import unittest

from books import ACCEPTED
from crash import World, rounds, say
from host import wait_for

FEW, NOSYNC_MOST = 4, 6


@unittest.skipUnless(os.geteuid() == 0, "to mount a filesystem and to cut its power takes root")
class PowerCut(unittest.TestCase):
    def load_and_cut(self, world, keep):
        """keep: nothing is delivered, all that is taken in stays in the queue."""
        world.next.refuse_all = "451 4.3.0 not now" if keep else None
        before = world.load.accepted()
        world.load.begin()
        wait_for(lambda: world.load.accepted() > before + 20, 120)
        time.sleep(world.random.random() * 1.3)
        world.cut_power()
        world.load.stop()

    def cuts(self, few, **more):
        count = rounds(few, 1 / 20)
        with World(**more) as world:
            for number in range(1, count + 1):
                keep = world.random.random() < 0.5
                self.load_and_cut(world, keep)
                if count > few:
                    say("    power cut %d of %d; %d accepted" % (number, count, world.load.accepted()))
            sums = world.settle("%d power cuts;" % count)
            self.assertGreater(sums["accepted"], 20 * count)

    def test_what_was_acknowledged_outlives_a_power_cut(self):
        self.cuts(FEW, on_disk=1024)

    def test_what_was_acknowledged_outlives_a_power_cut_of_a_small_disk(self):
        """Its segments are small: some are always being freed, and what is alive in them moved."""
        self.cuts(FEW - 1, on_disk=96, settings="limit { queue_free = 4M }")

    def test_a_disk_that_does_not_flush_is_found_out(self):
        with World(on_disk=1024, variant="nosync") as world:
            for number in range(1, NOSYNC_MOST + 1):
                world.host.disk.run("sync", "-f", world.host.disk.directory)  # it may lose messages, and not the spool as such
                self.load_and_cut(world, keep=True)
                world.next.refuse_all = None
                left = world.host.run_dry()
                world.books.mailboxes(world.host)
                sums, _ = world.books.balance(world.queued(left))
                if sums["lost"]:
                    break
            say("    without flushes: %d of %d accepted messages lost something, at power cut %d; SEED=%s" % (
                len([m for m in world.books.of_fate(ACCEPTED) if any(p is None for _, p in world.books.places(m, ()))]), sums[ACCEPTED], number,
                world.seed))
            self.assertGreater(sums["lost"], 0, "a queue manager that does not flush lost nothing: these tests prove nothing")


if __name__ == "__main__":
    unittest.main(verbosity=2)
