"""Debian's Dovecot as a server of LMTP, on a socket and on a port, with Maildirs in a directory of the test's own."""
import contextlib
import os
import pathlib
import signal
import subprocess

from host import MAIL_UID, free_port, wait_for


class DovecotLmtp:
    def __init__(self, directory, users, full=(), settings="", mode="0666"):
        """`users`: addresses that have a mailbox. `full`: of these, whose quota is used up."""
        self.directory, self.socket, self.port = directory, os.path.join(directory, "lmtp"), free_port()
        os.makedirs(os.path.join(directory, "mail"))
        os.chmod(directory, 0o755)
        os.chown(os.path.join(directory, "mail"), MAIL_UID, MAIL_UID)
        with open(os.path.join(directory, "users"), "w", encoding="ascii") as f:
            for user in users:
                f.write("%s::%d:%d::%s/mail/%s::userdb_quota_rule=*:storage=%s\n" % (user, MAIL_UID, MAIL_UID, directory, user, "1B" if user in full else "0"))
        self.config = os.path.join(directory, "dovecot.conf")
        with open(self.config, "w", encoding="ascii") as f:
            f.write("""base_dir = {d}/run
state_dir = {d}/run
log_path = {d}/dovecot.log
protocols = lmtp
ssl = no
default_internal_user = root
default_internal_group = root
default_login_user = nobody
first_valid_uid = 1
mail_location = maildir:{d}/mail/%u
mail_plugins = quota
hostname = dovecot.example
passdb {{
  driver = static
  args = nopassword=y
}}
userdb {{
  driver = passwd-file
  args = username_format=%u {d}/users
}}
plugin {{
  quota = maildir:User quota
  quota_grace = 0
}}
service lmtp {{
  process_min_avail = 0
  unix_listener {s} {{
    mode = {m}
  }}
  inet_listener lmtp {{
    address = 127.0.0.1
    port = {p}
  }}
}}
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service stats {{
  unix_listener stats-writer {{
    mode = 0600
  }}
}}
{more}
""".format(d=directory, s=self.socket, p=self.port, m=mode, more=settings))
        self.process = None

    def start(self):
        before = self.starts()
        self.process = subprocess.Popen(["/usr/sbin/dovecot", "-F", "-c", self.config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                        start_new_session=True)
        wait_for(lambda: self.starts() > before and os.path.exists(self.socket), 60)
        return self

    def starts(self):
        """How many there were: it says so when it listens."""
        with contextlib.suppress(FileNotFoundError):
            return self.log().count(" starting up for lmtp")
        return 0

    def stop(self, signals=(signal.SIGTERM, signal.SIGKILL)):
        """Its processes, too: one that has a session would go on. All have gone when it comes back, and have left its sockets."""
        for number in signals if self.process else ():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, number)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(5)
        if self.process:
            self.process.wait()
            wait_for(lambda: not self.left())
        self.process = None

    def left(self):
        """Who is still there of its session."""
        found = []
        for pid in filter(str.isdigit, os.listdir("/proc")):
            with contextlib.suppress(OSError), open("/proc/%s/stat" % pid, encoding="ascii", errors="replace") as f:
                state, _, _, session = f.read().rsplit(")", 1)[1].split()[:4]
                found += [pid] if int(session) == self.process.pid and state != "Z" else []
        return found

    def kill(self):
        self.stop((signal.SIGKILL,))

    def log(self):
        with open(os.path.join(self.directory, "dovecot.log"), encoding="utf-8", errors="replace") as f:
            return f.read()

    def messages(self, user):
        """Those of a mailbox, without what a server of LMTP puts in front: Return-Path, Delivered-To and one Received."""
        new = os.path.join(self.directory, "mail", user, "new")
        try:
            files = [os.path.join(new, f) for f in os.listdir(new)]
        except FileNotFoundError:
            return []
        return [pathlib.Path(f).read_bytes() for f in sorted(files, key=lambda f: os.stat(f).st_mtime_ns)]

    def __enter__(self):
        return self.start()

    def __exit__(self, *exception):
        if exception[0] and os.path.exists(os.path.join(self.directory, "dovecot.log")):
            print("---- the end of Dovecot's log ----\n" + self.log()[-3000:])
        self.stop()


def delivered(message, sender, recipient):
    """What Postino handed over of a message as Dovecot keeps it, with LF line ends."""
    lines = message.split(b"\n")
    assert lines[0] == b"Return-Path: <%s>" % sender.encode(), lines[0]
    assert lines[1] == b"Delivered-To: %s" % recipient.encode(), lines[1]
    assert lines[2].startswith(b"Received: from "), lines[2]
    at = 3
    while lines[at][:1] in (b" ", b"\t"):
        at += 1
    assert b"with LMTP" in b" ".join(lines[2:at]), lines[2:at]
    return b"\n".join(lines[at:])
