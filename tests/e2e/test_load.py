#!/usr/bin/python3
"""The short form of `make load` (tests/load/load.py): 2,000 sessions held, hostile clients among them, and floods; all its promises must hold."""
import os
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from host import ROOT  # noqa: E402

GENERATOR = os.path.join(ROOT, "build", "release", "load", "load")


@unittest.skipUnless(os.geteuid() == 0, "a network namespace needs root")
class Load(unittest.TestCase):
    def test_good_clients_are_served_among_hostile_ones_and_floods(self):
        self.assertTrue(os.path.exists(GENERATOR), "make build/release/load/load")
        done = subprocess.run([sys.executable, os.path.join(ROOT, "tests", "load", "load.py"), "--short", "--time", "20", "--sessions", "2000"],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, stdin=subprocess.DEVNULL)
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn("all as promised", done.stdout)


if __name__ == "__main__":
    unittest.main()
