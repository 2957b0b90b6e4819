"""A whole Postino on loopback for a test: its own directory, ports, users and log; started, asked, stopped.

    with Host(routes={"*": "smtp:[127.0.0.1]:%d" % port}) as host:
        host.smtp() ... host.mailbox("alice") ... host.wait(lambda: ...)

As root every program gets its own numeric uid (64500 and up) without touching the host's user database; mailboxes belong to uid 64520.
Otherwise everything runs as the caller, and so do the mailboxes.
"""
import contextlib
import errno
import fcntl
import os
import pathlib
import re
import shutil
import signal
import smtplib
import socket
import ssl
import subprocess
import tempfile
import threading
import time

from netns import inside, within

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
VARIANT = os.environ.get("POSTINO_VARIANT", "release")
FIRST_UID = 64500
MAIL_UID = 64520 if os.geteuid() == 0 else os.geteuid()
DOMAIN = "local.example"
PASSWORD = "correct horse"


def bin_directory(variant=None):
    return os.path.join(ROOT, "build", variant or VARIANT, "bin")


def program(name, variant=None):
    return os.path.join(bin_directory(variant), name)


def port_range():
    """A hundred ports that no other test on this machine has: its lock is held as long as the process lives."""
    for i in range(200):
        n = (os.getpid() + i) % 200
        lock = os.open("/var/tmp/postino-test-ports-%d" % n, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            fcntl.fcntl(lock, fcntl.F_DUPFD_CLOEXEC, 800)  # a test that closes a descriptor once too often does not give the range away
            return 10000 + n * 100
        except OSError:
            os.close(lock)
    raise AssertionError("all ranges of ports are in use by other tests")


def is_free(port):
    """Nobody listens there, at whatever address."""
    for family, address in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        try:
            with socket.socket(family) as s:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                if family == socket.AF_INET6:
                    s.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
                s.bind((address, port))
        except OSError as why:
            if why.errno not in (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT):  # a host without IPv6
                return False
    return True


def ports():
    """Ports below those that the system gives to outgoing connections, each once, so that what is down stays down."""
    first = port_range()
    while True:
        for port in range(first, first + 100):
            if is_free(port):
                yield port


PORTS, PORTS_LOCK = ports(), threading.Lock()


def free_port():
    with PORTS_LOCK:
        return next(PORTS)


def wait_for(what, seconds=30.0, pause=0.02):
    """The first true value of what(), or an AssertionError after so many seconds."""
    end = time.monotonic() + seconds
    while True:
        value = what()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("not within %g seconds: %s" % (seconds, getattr(what, "__doc__", None) or what))
        time.sleep(pause)


def running(pids):
    """Those of these processes that are not over. One that is has closed its descriptors, its ports too, though its parent may not have looked yet: /proc/PID/fd and
    the command line are gone before that."""
    def state(pid):
        try:
            with open("/proc/%d/stat" % pid) as f:
                return f.read().rsplit(")", 1)[1].split()[0]
        except OSError:
            return "X"
    return [pid for pid in pids if state(pid) not in "ZX"]


def certificate(directory, name="localhost"):
    """A self-signed certificate, made once for a directory."""
    cert, key = os.path.join(directory, name + ".crt"), os.path.join(directory, name + ".key")
    if not os.path.exists(cert):
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
                        "-subj", "/CN=" + name, "-addext", "subjectAltName=DNS:" + name, "-keyout", key, "-out", cert],
                       check=True, stderr=subprocess.DEVNULL)
        os.chmod(key, 0o600)
    return cert, key


class Host:
    def __init__(self, hostname="mx.local.example", routes=None, domains=None, settings="", mailboxes=("alice", "bob"), users=("alice",),
                 variant=None, relay_from=("127.0.0.0/8",), listeners=None, namespace=None, environment=None, directory=None, tls=True,
                 aliases=None, size_mb=0, piped_log=False):
        self.hostname, self.variant, self.namespace, self.piped_log = hostname, variant or VARIANT, namespace, piped_log
        self.environment = dict(os.environ, **(environment or {}))
        self.directory = directory or tempfile.mkdtemp(prefix="postino-test-", dir="/var/tmp")
        os.chmod(self.directory, 0o755)
        self.spool_mounted = False
        if size_mb:  # a small filesystem for the spool
            os.mkdir(self.path("spool"))
            subprocess.run(["mount", "-t", "tmpfs", "-o", "size=%dm,mode=700,uid=%d,gid=%d" % (size_mb, FIRST_UID + 2, FIRST_UID + 2), "postino-test",
                            self.path("spool")], check=True)
            self.spool_mounted = True
        self.port, self.submission_port, self.submissions_port = free_port(), free_port(), free_port()
        self.config = self.path("postino.conf")
        self.log_path = self.path("log")
        self.process = None
        self.cert, self.key = certificate(self.directory) if tls else ("", "")
        self._mailboxes(mailboxes)
        self._passwords(users)
        self._aliases(aliases)
        self.configure(routes, domains, settings, relay_from, listeners)

    # ---- set-up ----------------------------------------------------------------------------------------------------------------------

    def path(self, *names):
        return os.path.join(self.directory, *names)

    def _mailboxes(self, names):
        os.makedirs(self.path("mail"), exist_ok=True)
        if os.geteuid() == 0:
            os.chown(self.path("mail"), MAIL_UID, MAIL_UID)
        with open(self.path("mailboxes"), "w") as f:
            for name in names:
                f.write("%s@%s %s/\n" % (name, DOMAIN, name))
        self.tool("postino", "map", "hash:" + self.path("mailboxes"), check=True)

    def _passwords(self, users):
        with open(self.path("passwd"), "w") as f:
            for name in users:
                done = subprocess.run(["openssl", "passwd", "-6", PASSWORD], check=True, capture_output=True, text=True)
                f.write("%s:%s\n" % (name, done.stdout.strip()))
        os.chmod(self.path("passwd"), 0o640)
        if os.geteuid() == 0:
            os.chown(self.path("passwd"), 0, FIRST_UID + 1)

    def _aliases(self, text):
        with open(self.path("aliases"), "w") as f:
            f.write(text or "postmaster: alice@%s\n" % DOMAIN)
        self.tool("postino", "map", "-a", "hash:" + self.path("aliases"), check=True)

    def configure(self, routes=None, domains=None, settings="", relay_from=("127.0.0.0/8",), listeners=None):
        routes = {} if routes is None else routes
        if listeners is None:
            listeners = {
                "smtp": "port = %d address = \"127.0.0.1\" tls = %s" % (self.port, "may" if self.cert else "none"),
            }
            if self.cert:
                listeners["submission"] = "port = %d address = \"127.0.0.1\" tls = required auth = required" % self.submission_port
                listeners["submissions"] = "port = %d address = \"127.0.0.1\" tls = implicit auth = required" % self.submissions_port
        lines = ["hostname = \"%s\"" % self.hostname]
        if os.geteuid() == 0:
            lines.append("users = \"%d\"" % FIRST_UID)
        lines += [
            "relay_from = { %s }" % ", ".join("\"%s\"" % n for n in relay_from),
            "password_file = \"%s\"" % self.path("passwd"),
            "aliases = \"hash:%s\"" % self.path("aliases"),
            "directory {\n  spool = \"%s\"\n  run = \"%s\"\n  empty = \"%s\"\n  sts = \"%s\"\n  programs = \"%s\"\n}" % (
                self.path("spool"), self.path("run"), self.path("empty"), self.path("sts"), bin_directory(self.variant)),
            "log { to = \"stderr\" level = \"debug\" }",
            "remote { loopback = yes }" if "loopback" not in settings else "",
        ]
        if self.cert:
            lines.append("tls { certificate = \"%s\" key = \"%s\" }" % (self.cert, self.key))
        lines += ["listener \"%s\" { %s }" % item for item in listeners.items()]
        domains = {DOMAIN: "mailboxes = \"hash:%s\" directory = \"%s\" owner = \"%d\"" % (self.path("mailboxes"), self.path("mail"), MAIL_UID)} \
            if domains is None else domains
        lines += ["domain \"%s\" { %s }" % item for item in domains.items()]
        lines += ["route \"%s\" { %s }" % (name, text if "=" in text else "via = \"%s\"" % text) for name, text in routes.items()]
        lines.append(settings)
        with open(self.config, "w") as f:
            f.write("\n".join(lines) + "\n")
        os.chmod(self.config, 0o644)

    # ---- life ------------------------------------------------------------------------------------------------------------------------

    def _inside(self, command):
        return within(self.namespace) + command

    def start(self, seconds=60):
        before = len(self.log())
        log = open(self.log_path, "ab")
        if self.piped_log:  # stderr is a pipe, as under a supervisor, and no program holds a file
            writer = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=log)
            log.close()
            log = writer.stdin
        self.process = subprocess.Popen(self._inside([program("postino-master", self.variant), "-c", self.config, "-f"]), stdin=subprocess.DEVNULL,
                                        stdout=log, stderr=log, env=self.environment, start_new_session=True)
        log.close()

        def up():
            """Postino is ready"""
            if self.process.poll() is not None:
                raise AssertionError("postino-master ended with %d:\n%s" % (self.process.returncode, self.log()[-3000:]))
            return "ready as process" in self.log()[before:]
        wait_for(up, seconds)
        return self

    def stop(self, seconds=60):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(seconds)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError("postino-master did not stop within %d seconds:\n%s" % (seconds, self.log()[-3000:]))
        code = self.process.returncode if self.process else 0
        self.process = None
        return code

    def kill(self):
        """No orderly end, for none of its programs. When it comes back all are gone, so that ports and spool are free."""
        pids = list(self.pids())
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):  # a program whose master is gone ends by itself
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        wait_for(lambda: not running(pids))

    def close(self):
        try:
            self.stop()
            reports = re.findall(r"runtime error: .*|ERROR: (?:Address|Leak)Sanitizer[\s\S]*?SUMMARY: .*|LeakSanitizer has encountered a fatal error", self.log())
            if reports:
                raise AssertionError("%d reports of a sanitizer, the first: %s" % (len(reports), reports[0][:4000]))
        finally:
            if self.spool_mounted:
                subprocess.run(["umount", self.path("spool")], check=False)
            if not os.environ.get("POSTINO_KEEP"):
                shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self):
        try:
            return self.start()
        except BaseException:
            self.close()
            raise

    def __exit__(self, *exception):
        if exception[0]:
            print("---- the end of the log of %s ----\n%s" % (self.hostname, self.log()[-4000:]))
        self.close()

    def log(self):
        try:
            with open(self.log_path, errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def wait(self, what, seconds=30):
        return wait_for(what, seconds)

    def wait_log(self, pattern, seconds=30):
        def found():
            return re.search(pattern, self.log())
        found.__doc__ = "log line like %s" % pattern
        try:
            return wait_for(found, seconds)
        except AssertionError:
            raise AssertionError("no log line like %r within %g seconds; the log ends:\n%s" % (pattern, seconds, self.log()[-3000:]))

    def pids(self):
        """{pid: "smtpd"...} of the running programs, the master too."""
        found, top = {}, self.process.pid
        if self.namespace:  # ip netns exec replaces itself
            pass
        found[top] = "master"
        children = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(top)], capture_output=True, text=True).stdout
        for line in children.splitlines():
            pid, args = line.split(None, 1)
            m = re.search(r"postino-(\w+)", args)
            if m:
                found[int(pid)] = m.group(1)
        return found

    def pid_of(self, name):
        return next((pid for pid, n in self.pids().items() if n == name), None)

    def reload(self):
        os.kill(self.process.pid, signal.SIGHUP)

    # ---- use -------------------------------------------------------------------------------------------------------------------------

    def tool(self, name, *arguments, check=False, **more):
        """Runs one of the administrator's commands with this host's configuration."""
        more.setdefault("capture_output", True)
        more.setdefault("text", True)
        options = ["-c", self.config] if name == "postino" and os.path.exists(self.config) else []
        if name in ("sendmail", "mailq", "newaliases"):
            more["env"] = dict(self.environment, POSTINO_CONF=self.config)
        return subprocess.run(self._inside([program(name, self.variant)] + options + list(arguments)), check=check, **more)

    def sendmail(self, *recipients, sender="alice@" + DOMAIN, text="Subject: x\n\nx\n"):
        """A message by sendmail(1), which must take it."""
        done = self.tool("sendmail", "-i", "-f", sender, *recipients, input=text, text=isinstance(text, str))
        if done.returncode != 0:
            raise AssertionError("sendmail ended with %d: %s" % (done.returncode, done.stderr))

    def outcome(self, recipient, status=r"\w+", seconds=30):
        """The first line of the log that tells this of a recipient."""
        return self.wait_log(r"to=<%s> .*status=%s.*" % (re.escape(recipient), status), seconds).group(0)

    def smtp(self, port=None, **more):
        more.setdefault("timeout", 60)
        with inside(self.namespace):
            return smtplib.SMTP("127.0.0.1", port or self.port, **more)

    def tls_context(self):
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        return context

    def messages(self, name):
        """The messages of a mailbox, as bytes, in order of arrival."""
        new = self.path("mail", name, "new")
        try:
            files = [os.path.join(new, f) for f in os.listdir(new)]
        except FileNotFoundError:
            return []
        files.sort(key=lambda f: (os.stat(f).st_mtime_ns, f))
        return [pathlib.Path(f).read_bytes() for f in files]

    def queue(self):
        done = self.tool("mailq")
        assert done.returncode == 0, done.stderr
        return done.stdout

    def queue_is_empty(self):
        return "queue is empty" in self.queue()


def without_trace(message, hops=1, mailbox=True):
    """A message as it came out, without exactly what transport put in front of it: one Return-Path: (by a mailbox) and one Received: for each hop.
    With LF line ends, as a Maildir has them."""
    lines = message.replace(b"\r\n", b"\n").split(b"\n")
    if mailbox:
        if not lines[0].startswith(b"Return-Path: <"):
            raise AssertionError("no Return-Path: in front: %r" % lines[0])
        lines.pop(0)
    for _ in range(hops):
        if not lines[0].startswith(b"Received: "):
            raise AssertionError("no Received: in front: %r" % lines[0])
        lines.pop(0)
        while lines[0][:1] in (b" ", b"\t"):
            lines.pop(0)
    return b"\n".join(lines)


def corpus(directory=None):
    """The sample of real messages: (name, bytes with CR LF line ends). Bare CR, which SMTP can't carry, is turned into a blank."""
    directory = directory or os.path.join(ROOT, "tests", "corpus")
    for name in sorted(os.listdir(directory)):
        if name.endswith(".txt"):
            with open(os.path.join(directory, name), "rb") as f:
                yield name, as_smtp(f.read())


def as_smtp(text):
    if text.startswith(b"From "):
        text = text.split(b"\n", 1)[1]
    text = text.replace(b"\r\n", b"\n").replace(b"\r", b" ").replace(b"\n", b"\r\n")
    return text if text.endswith(b"\r\n") else text + b"\r\n"
