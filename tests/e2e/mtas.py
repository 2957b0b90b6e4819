"""Debian's Exim and OpenSMTPD as next hosts. They can't be installed beside Postfix, and their paths and users are compiled in: each runs unpacked, in a mount
namespace of its own, where overlays put its files and users where it looks for them. The host sees nothing of that. They take everything for alice, into one
Maildir. Missing: there is nowhere to get the package from; the test is skipped."""
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

from host import MAIL_UID, free_port, wait_for


class Missing(unittest.SkipTest):
    pass


def download(packages, directory):
    for name in packages:
        got = subprocess.run(["timeout", "120", "apt-get", "-q", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=3", "download", name], cwd=directory, capture_output=True,
                             text=True)
        files = [f for f in os.listdir(directory) if f.startswith(name + "_") and f.endswith(".deb")]
        if got.returncode != 0 or not files:
            raise Missing("apt-get download %s: %s" % (name, got.stderr.strip()[-200:]))
        subprocess.run(["dpkg", "-x", files[0], "x"], cwd=directory, check=True)


class Unpacked:
    """`where`: words in front of its command (ip netns exec ...). `certificate`: (certificate file, key file): STARTTLS is offered."""
    packages, users, key_owner = (), (), 0

    def __init__(self, address="127.0.0.1", port=None, where=(), certificate=None, domain="local.example"):
        self.top, self.port, self.process = tempfile.mkdtemp(prefix="postino-test-mta-", dir="/var/tmp"), port or free_port(), None
        self.address, self.where, self.domain = address, list(where), domain
        os.chmod(self.top, 0o755)
        self.certificate = [self.own(name) for name in certificate or ()]
        try:
            download(self.packages, self.top)
            for name in ("etc", "lib", "var-spool", "spool", "mail"):
                os.mkdir(self.path(name))
                os.chmod(self.path(name), 0o755)
            os.chown(self.path("mail"), MAIL_UID, MAIL_UID)
            for name, line in (("passwd", "%s:x:%d:%d::%s:/usr/sbin/nologin\n"), ("group", "%s:x:%d:\n")):
                with open("/etc/" + name) as f, open(self.path("etc", name), "w") as out:
                    out.write(f.read() + "".join(line % ((u, n, n, home) if name == "passwd" else (u, n)) for u, n, home in self.users + (("alice", MAIL_UID, self.path("mail")),)))
            self.configure()
        except BaseException:
            shutil.rmtree(self.top, ignore_errors=True)
            raise

    def path(self, *names):
        return os.path.join(self.top, *names)

    def own(self, name):
        """A copy of a key or certificate that it may read, and nobody else."""
        copy = shutil.copy(name, self.top)
        os.chmod(copy, 0o600)
        os.chown(copy, self.key_owner, self.key_owner)
        return copy

    def write(self, name, text):
        with open(self.path(name), "w") as f:
            f.write(text)

    def __enter__(self):
        with open(self.path("log"), "ab") as log:
            self.process = subprocess.Popen(self.where + ["unshare", "-m", "--propagation", "private", "sh", "-c", "set -e\n" + self.script()], stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                                            start_new_session=True)

        def listens():
            """the next host listens"""
            if self.process.poll() is not None:
                raise RuntimeError("%s ended: %s" % (type(self).__name__, pathlib.Path(self.path("log")).read_text(errors="replace")[-400:]))
            return subprocess.run(self.where + ["ss", "-Hltn", "sport = :%d" % self.port], capture_output=True, text=True).stdout.strip()
        try:
            wait_for(listens)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        shutil.rmtree(self.top, ignore_errors=True)

    def messages(self, name="alice"):
        new = pathlib.Path(self.path("mail", "alice", "new"))
        return [f.read_bytes() for f in new.iterdir()] if new.is_dir() else []


class OpenSMTPD(Unpacked):
    packages = ("opensmtpd",)
    users = (("opensmtpd", 64530, "/var/lib/opensmtpd/empty"), ("opensmtpq", 64531, "/var/lib/opensmtpd/empty"))

    def configure(self):
        os.makedirs(self.path("lib", "opensmtpd", "empty"))
        os.chmod(self.path("lib", "opensmtpd", "empty"), 0o711)
        os.chmod(self.path("spool"), 0o711)
        os.makedirs(self.path("var-spool", "smtpd"))
        self.write("etc/resolv.conf", "lookup file\n")
        tls = "pki here cert \"%s\"\npki here key \"%s\"\n" % tuple(self.certificate) if self.certificate else ""
        self.write("smtpd.conf", tls + "smtp limit max-mails 100000\nlisten on %s port %d %s hostname opensmtpd.example\naction \"local\" maildir \"%s\"\nmatch from any for domain \"%s\" action \"local\"\n"
                   % (self.address, self.port, "tls pki here" if tls else "", self.path("mail", "alice"), self.domain))

    def script(self):
        return """mount -t overlay -o lowerdir=%(t)s/x/usr/libexec:/usr/libexec overlay /usr/libexec
mount -t overlay -o lowerdir=%(t)s/etc:/etc overlay /etc
mount -t overlay -o lowerdir=%(t)s/lib:/var/lib overlay /var/lib
mount -t overlay -o lowerdir=%(t)s/var-spool:/var/spool overlay /var/spool
mount --bind %(t)s/spool /var/spool/smtpd
mount -t tmpfs -o mode=755 tmpfs /run
exec %(t)s/x/usr/sbin/smtpd -d -f %(t)s/smtpd.conf""" % {"t": self.top}


class Exim(Unpacked):
    packages, key_owner = ("exim4-daemon-light", "exim4-base"), 64532
    users = (("Debian-exim", 64532, "/var/spool/exim4"),)

    def configure(self):
        os.makedirs(self.path("etc", "exim4"))
        os.makedirs(self.path("var-spool", "exim4"))
        os.chown(self.path("spool"), 64532, 64532)
        os.mkdir(self.path("logs"))
        os.chown(self.path("logs"), 64532, 64532)
        self.write("etc/exim4/exim4.conf", """primary_hostname = exim.example
exim_path = %(t)s/x/usr/sbin/exim4
spool_directory = /var/spool/exim4
log_file_path = %(t)s/logs/%%slog
local_interfaces = %(a)s
daemon_smtp_ports = %(p)d
acl_smtp_rcpt = all
acl_smtp_data = all
%(tls)s
host_lookup =
return_path_remove = false
delivery_date_remove = false
envelope_to_remove = false
keep_environment =
smtp_accept_max = 0
smtp_accept_queue_per_connection = 0
message_size_limit = 100M
begin acl
all:
  accept
begin routers
all:
  driver = accept
  transport = maildir
begin transports
maildir:
  driver = appendfile
  directory = %(t)s/mail/alice
  maildir_format
  return_path_add
  user = %(u)d
  group = %(u)d
""" % {"t": self.top, "p": self.port, "u": MAIL_UID, "a": self.address,
       "tls": "tls_advertise_hosts = *\ntls_certificate = %s\ntls_privatekey = %s" % tuple(self.certificate) if self.certificate else "tls_advertise_hosts ="})

    def script(self):
        return """mount -t overlay -o lowerdir=%(t)s/etc:/etc overlay /etc
mount -t overlay -o lowerdir=%(t)s/var-spool:/var/spool overlay /var/spool
mount --bind %(t)s/spool /var/spool/exim4
mount -t tmpfs -o mode=755 tmpfs /run
exec %(t)s/x/usr/sbin/exim4 -bdf -q1m""" % {"t": self.top}
