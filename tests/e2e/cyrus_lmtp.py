"""Debian's Cyrus as a server of LMTP on a socket. It is not installed: its packages are unpacked, and it runs from there, with all of its files in one directory. Mailboxes
are made when mail comes. Missing: there is nowhere to get the packages from; the test is skipped."""
import os
import pathlib
import shutil
import signal
import subprocess
import tempfile

from host import wait_for
from mtas import download

PACKAGES = ("cyrus-common", "cyrus-imapd", "libical3", "libxapian30", "libzephyr4", "libclamav12", "libmspack0")


class CyrusLmtp:
    def __init__(self):
        self.directory, self.process = tempfile.mkdtemp(prefix="postino-test-", dir="/var/tmp"), None
        os.chmod(self.directory, 0o755)
        self.socket = self.path("run", "lmtp")
        try:
            download(PACKAGES, self.directory)
            for name in ("lib", "spool", "run"):
                os.mkdir(self.path(name))
                shutil.chown(self.path(name), "nobody")
            self.configure()
        except BaseException:
            shutil.rmtree(self.directory, ignore_errors=True)
            raise

    def path(self, *names):
        return os.path.join(self.directory, *names)

    def configure(self):
        here, programs = self.directory, self.path("x", "usr", "lib", "cyrus", "bin")
        with open(self.path("imapd.conf"), "w", encoding="ascii") as f:
            f.write("configdirectory: {0}/lib\npartition-default: {0}/spool\ndefaultpartition: default\ncyrus_user: nobody\ncyrus_group: nogroup\nadmins: cyrus\n"
                    "virtdomains: userid\nautocreate_post: 1\nautocreate_users: anyone\nautocreate_quota: 0\nlmtpsocket: {0}/run/lmtp\nunixhierarchysep: 1\n"
                    "servername: cyrus.example\nmunge8bit: 0\nproc_path: {0}/lib/proc\nmboxname_lockpath: {0}/lib/lock\n".format(here))
        with open(self.path("cyrus.conf"), "w", encoding="ascii") as f:
            f.write("START {{\n  recover cmd=\"{1}/ctl_cyrusdb -C {0}/imapd.conf -r\"\n}}\nSERVICES {{\n  lmtpunix cmd=\"{1}/lmtpd -C {0}/imapd.conf\" listen=\"{2}\" prefork=0 maxchild=20\n}}\n"
                    "EVENTS {{\n}}\n".format(here, programs, self.socket))

    def messages(self):
        """All that there are, in the order of their numbers, with CR LF line ends, and with what Cyrus puts in front: Return-Path and one Received."""
        return [path.read_bytes() for path in sorted(pathlib.Path(self.path("spool")).glob("uuid/*/*/*/*."), key=lambda p: int(p.name[:-1]))]

    def __enter__(self):
        environment = dict(os.environ, LD_LIBRARY_PATH=self.path("x", "usr", "lib", "x86_64-linux-gnu"))
        with open(self.path("log"), "ab") as log:
            self.process = subprocess.Popen([self.path("x", "usr", "lib", "cyrus", "bin", "master"), "-C", self.path("imapd.conf"), "-M", self.path("cyrus.conf"),
                                             "-p", self.path("run", "pid")], stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True)
        wait_for(lambda: os.path.exists(self.socket), 60)
        return self

    def __exit__(self, *exception):
        for number in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self.process.pid, number)
                self.process.wait(5)
            except (ProcessLookupError, subprocess.TimeoutExpired):
                pass
        shutil.rmtree(self.directory, ignore_errors=True)
