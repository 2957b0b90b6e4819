"""Where the queues lie: a filesystem that nobody used before, the same for all; gone when the run ends."""
import os
import shutil
import statistics
import subprocess
import tempfile
import time


class Place:
    """kind: "ext4" (an image that was written through once, on a loop device past the page cache), "tmpfs", or a directory that is there."""

    def __init__(self, kind, megabytes):
        self.kind, self.megabytes = kind, megabytes
        self.image = self.mounted = None
        self.made = []

    def __enter__(self):
        try:
            self._make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _make(self):
        outside = self.kind if self.kind not in ("ext4", "tmpfs") else "/var/tmp"
        self.top = tempfile.mkdtemp(prefix="postino-bench-", dir=outside)
        self.made.append(self.top)
        os.chmod(self.top, 0o755)
        if self.kind == "tmpfs":
            subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755,size=%dm" % self.megabytes, "postino-bench", self.top], check=True)
            self.mounted = self.top
        elif self.kind == "ext4":
            self._make_ext4()
        self.flush_us = self._flush_time()

    def _make_ext4(self):
        self.image = tempfile.NamedTemporaryFile(prefix="postino-bench-", suffix=".ext4", dir="/var/tmp", delete=False).name
        block = bytes(1 << 20)
        with open(self.image, "wb", buffering=0) as f:
            for _ in range(self.megabytes):
                f.write(block)
            os.fsync(f.fileno())
        subprocess.run(["mkfs.ext4", "-q", "-F", "-i", "4096", "-E", "lazy_itable_init=0,lazy_journal_init=0", self.image], check=True)
        device = subprocess.run(["losetup", "--direct-io=on", "-f", "--show", self.image], check=True, capture_output=True, text=True).stdout.strip()
        try:
            subprocess.run(["mount", "-o", "noatime", device, self.top], check=True)
            self.mounted = self.top
        finally:
            subprocess.run(["losetup", "-d", device])  # it goes with the mount
        os.chmod(self.top, 0o755)

    def _flush_time(self):
        """Microseconds to overwrite 4 KiB of a file that was written before, and flush it: the median of 400."""
        path = os.path.join(self.top, "flush")
        fd = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            for i in range(400):
                os.pwrite(fd, b"x" * 4096, i * 4096)
            os.fsync(fd)
            took = []
            for i in range(400):
                began = time.monotonic()
                os.pwrite(fd, b"y" * 4096, i * 4096)
                os.fdatasync(fd)
                took.append((time.monotonic() - began) * 1e6)
        finally:
            os.close(fd)
            os.unlink(path)
        return statistics.median(took)

    def said(self):
        """One line for the report, without a name of this machine."""
        found = subprocess.run(["findmnt", "-no", "FSTYPE", "-T", self.top], capture_output=True, text=True).stdout.strip()
        what = {"ext4": "a fresh ext4 of %d MiB on a loop device (direct I/O, image written through before)" % self.megabytes,
                "tmpfs": "tmpfs"}.get(self.kind, "a directory on the host's " + found)
        return "%s; overwriting 4 KiB and flushing takes %.0f us (median)" % (what, self.flush_us)

    def directory(self, name):
        path = os.path.join(self.top, name)
        os.mkdir(path)
        os.chmod(path, 0o755)
        return path

    def __exit__(self, *exception):
        for _ in range(50):
            if not self.mounted or subprocess.run(["umount", self.mounted], capture_output=True).returncode == 0:
                self.mounted = None
                break
            time.sleep(0.1)
        if self.mounted:
            print("could not unmount %s: a process still uses it" % self.mounted)
            return
        for path in self.made:
            shutil.rmtree(path, ignore_errors=True)
        if self.image and os.path.exists(self.image):
            os.unlink(self.image)
