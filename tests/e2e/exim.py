"""Debian's Exim, unpacked in a mount namespace of its own (its package can't be installed beside Postfix): takes mail for exim.example into one file a message, relays
all else to one host, and speaks CHUNKING both ways."""
import glob
import os
import pathlib
import shutil
import socket
import subprocess
import tempfile

from host import wait_for
from mtas import download

UID = 64533


class Exim:
    def __init__(self, port, next_port):
        self.top, self.port = tempfile.mkdtemp(prefix="postino-test-exim-", dir="/var/tmp"), port
        os.chmod(self.top, 0o755)
        try:
            self._unpack()
            self._configure(next_port)
        except BaseException:
            shutil.rmtree(self.top, ignore_errors=True)
            raise

    def path(self, *names):
        return os.path.join(self.top, *names)

    def _unpack(self):
        download(["exim4-daemon-light"], self.top)

    def _configure(self, next_port):
        for name in ("etc", "spool", "mail", "log"):
            os.mkdir(self.path(name))
            if name != "etc":
                os.chown(self.path(name), UID, UID)
        for name, line in (("passwd", "Debian-exim:x:%d:%d::/:/usr/sbin/nologin\n" % (UID, UID)), ("group", "Debian-exim:x:%d:\n" % UID)):
            with open("/etc/" + name) as f, open(self.path("etc", name), "w") as out:
                out.write(f.read() + line)
        os.mkdir(self.path("etc", "exim4"))
        with open(self.path("etc", "exim4", "exim4.conf"), "w") as f:  # where it looks by itself: with -C it would give up rights that it needs
            f.write("""primary_hostname = exim.example
exim_path = %(top)s/x/usr/sbin/exim4
spool_directory = %(top)s/spool
log_file_path = %(top)s/log/%%s
exim_user = Debian-exim
exim_group = Debian-exim
never_users =
host_lookup =
rfc1413_query_timeout = 0s
message_size_limit = 100M
acl_smtp_rcpt = accept
acl_smtp_data = accept
chunking_advertise_hosts = *
tls_advertise_hosts =
smtp_accept_max = 0
smtp_accept_queue_per_connection = 0
queue_only = false
keep_environment =
begin acl
accept:
  accept
begin routers
here:
  driver = accept
  domains = exim.example
  transport = file
next:
  driver = manualroute
  route_list = * 127.0.0.1::%(port)d
  self = send
  transport = smtp
begin transports
file:
  driver = appendfile
  user = Debian-exim
  maildir_format
  directory = %(top)s/mail
  use_crlf = false
  message_prefix =
  message_suffix =
smtp:
  driver = smtp
  allow_localhost
  hosts_try_chunking = *
  message_linelength_limit = 1000000
  hosts_avoid_tls = *
""" % {"top": self.top, "port": next_port})

    def __enter__(self):
        script = "mount -t overlay -o lowerdir=%s:/etc overlay /etc && exec %s -bdf -oX 127.0.0.1.%d" % (self.path("etc"), self.path("x/usr/sbin/exim4"), self.port)
        self.output = open(self.path("output"), "wb")
        self.process = subprocess.Popen(["unshare", "-m", "--propagation", "private", "sh", "-c", script], stdin=subprocess.DEVNULL, stdout=self.output, stderr=self.output)

        def listens():
            """Exim listens"""
            if self.process.poll() is not None:
                raise RuntimeError("Exim ended: " + pathlib.Path(self.path("output")).read_text() + self.log())
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return True
            except OSError:
                return False
        try:
            wait_for(listens)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception):
        self.process.terminate()
        self.process.wait()
        self.output.close()
        shutil.rmtree(self.top, ignore_errors=True)

    def log(self):
        return "".join(pathlib.Path(p).read_text(errors="replace") for p in sorted(glob.glob(self.path("log", "*"))))

    def messages(self):
        return [pathlib.Path(p).read_bytes() for p in sorted(glob.glob(self.path("mail", "new", "*")), key=lambda p: os.stat(p).st_mtime_ns)]
