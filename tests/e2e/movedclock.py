"""The clocks of a program, which a test moves while it runs (movedclock.c)."""
import os
import struct
import subprocess
import time


class Clock:
    """Its words() stand in front of the program's."""

    def __init__(self, directory):
        self.library, self.file = os.path.join(directory, "movedclock.so"), os.path.join(directory, "clock")
        subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", self.library, os.path.join(os.path.dirname(os.path.abspath(__file__)), "movedclock.c"), "-ldl"], check=True)
        self.set(0)

    def set(self, ahead, wall=0):
        """All clocks by `ahead` seconds, and the one that tells the date by `wall` more."""
        self.ahead = ahead + wall
        with open(self.file, "r+b" if os.path.exists(self.file) else "wb") as f:
            f.write(struct.pack("<qq", ahead, wall))

    def now(self):
        return time.time() + self.ahead

    def words(self):
        return ["env", "LD_PRELOAD=" + self.library, "CLOCK_FILE=" + self.file, "ASAN_OPTIONS=verify_asan_link_order=0:" + os.environ.get("ASAN_OPTIONS", "")]
