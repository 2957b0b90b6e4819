"""The crash matrix of docs/spool.md names its tests: they are there, and each line has one."""
import glob
import os
import re
import unittest

from host import ROOT


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


class Matrix(unittest.TestCase):
    def named(self):
        """Those that are run: in a unit test's table, or a method."""
        text = "".join(read(path) for path in glob.glob(os.path.join(ROOT, "tests", "unit", "test_spool*.c")))
        names = set(re.findall(r"\bT\((\w+)\),", text))
        for path in glob.glob(os.path.join(ROOT, "tests", "e2e", "test_*.py")):
            names |= set(re.findall(r"^    def (test_\w+)\(self", read(path), re.M))
        return names

    def test_each_line_names_tests_that_exist(self):
        section = read(os.path.join(ROOT, "docs", "spool.md")).split("## What a crash leaves")[1].split("\n## ")[0]
        lines = [line.strip("|").split("|") for line in section.splitlines() if line.startswith("| ")][1:]
        self.assertGreaterEqual(len(lines), 13)
        known = self.named()
        for line in lines:
            with self.subTest(line[0].strip()):
                names = [name.strip() for name in line[3].split(",")]
                self.assertTrue(names[0])
                self.assertEqual([name for name in names if name not in known], [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
