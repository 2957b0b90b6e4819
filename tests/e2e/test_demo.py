"""`make run ONCE=1`, as a newcomer calls it: as root and as an ordinary user, in a clone that holds nothing but the repository's files."""
import fcntl
import os
import pwd
import shutil
import subprocess
import tempfile
import unittest

from host import ROOT


class Demo(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        """Its ports are fixed: one at a time."""
        lock = cls.enterClassContext(open("/var/tmp/postino-test-demo", "w"))
        fcntl.flock(lock, fcntl.LOCK_EX)

    def clone(self, owner=None):
        """The checkout's files (as they are now) and the programs that are built, in a directory of its own."""
        top = tempfile.mkdtemp(prefix="postino-demo-", dir="/var/tmp")
        self.addCleanup(shutil.rmtree, top, ignore_errors=True)
        os.chmod(top, 0o755)
        tree = os.path.join(top, "postino")
        os.mkdir(tree)
        sources = [name for name in os.listdir(ROOT) if os.path.exists(os.path.join(ROOT, name, "files.mk"))]
        for name in ["Makefile", "tests", "build/release", "build/flags"] + sources:
            source, target = os.path.join(ROOT, name), os.path.join(tree, name)
            if os.path.isdir(source):
                shutil.copytree(source, target, symlinks=True, ignore=shutil.ignore_patterns("corpus", "__pycache__"))
            elif os.path.exists(source):
                shutil.copy2(source, target)
        if owner:
            subprocess.run(["chown", "-R", owner, top], check=True)
        return tree

    def check(self, done):
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(done.stdout.count("what was sent, byte for byte"), 2, done.stdout)
        for word in ("queue id", "status=sent", "TLSv1.3", "mailbox file"):
            self.assertIn(word, done.stdout)

    def test_as_this_user(self):
        done = subprocess.run(["make", "run", "ONCE=1"], cwd=self.clone(), capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL)
        self.check(done)

    @unittest.skipUnless(os.geteuid() == 0, "already an ordinary user")
    def test_as_an_ordinary_user(self):
        tree = self.clone("nobody")
        done = subprocess.run(["setpriv", "--reuid", "nobody", "--regid", str(pwd.getpwnam("nobody").pw_gid), "--clear-groups", "make", "run", "ONCE=1"],
                              cwd=tree, capture_output=True, text=True, timeout=300, stdin=subprocess.DEVNULL, env=dict(os.environ, HOME=tree))
        self.check(done)
        self.assertIn("Weaker than in production", done.stdout)


if __name__ == "__main__":
    unittest.main(verbosity=2)
