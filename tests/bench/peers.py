"""The MTAs that are compared, each in an own directory on the same filesystem: start(), stop(), fresh() (start with an empty queue), `pid` (its first
process), `port`, `maildir`. All relay *@elsewhere.example to the sink, *@latency.example to the latency sink, keep *@hold.example in the queue, and put
alice@local.example into `maildir`. Each has its cheapest way to keep a message without delivering it."""
import os
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))
from host import MAIL_UID, Host, bin_directory, certificate, free_port, wait_for  # noqa: E402

SESSIONS_OUT = 50
RECIPIENTS_OUT = 100
IDLE_POSTFIX = 1200
CLOSED_PORT = 1


class Postino:
    name = "Postino"
    idle_sessions = 10000

    def __init__(self, top, sink, latency):
        routes = {"hold.example": "via = \"smtp:[127.0.0.1]:%d\" tls = none" % CLOSED_PORT,
                  "latency.example": "via = \"smtp:[127.0.0.1]:%d\" tls = none" % latency, "*": "via = \"smtp:[127.0.0.1]:%d\" tls = none" % sink}
        sessions = min(20000, resource.getrlimit(resource.RLIMIT_NOFILE)[1] * 3 // 4)  # a quarter more descriptors than that are for those that close
        settings = ("limit { sessions = %d sessions_client = 20000 }\nqueue { site_sessions = %d job_recipients = %d retry_first = \"4h\" }\n"
                    "remote { loopback = yes }\ndns { client_names = no }\nsmtpd { command_timeout = \"1h\" }") % (sessions, SESSIONS_OUT, RECIPIENTS_OUT)
        shutil.copytree(bin_directory(), os.path.join(top, "build", "bin"))  # what is measured stays the same when the tree is built anew meanwhile
        self.host = Host(directory=top, variant=os.path.join(top, "build"), hostname="postino.example", routes=routes, settings=settings, mailboxes=("alice",), users=())
        with open(self.host.config) as f:
            text = f.read().replace("level = \"debug\"", "level = \"info\"")
        with open(self.host.config, "w") as f:
            f.write(text)
        self.port, self.maildir = self.host.port, self.host.path("mail", "alice")

    def start(self):
        self.host.start(120)
        self.pid = self.host.process.pid

    def stop(self):
        self.host.stop(30)

    def fresh(self):
        self.stop()
        shutil.rmtree(self.host.path("spool"))
        open(self.host.log_path, "w").close()
        self.start()

    def intake(self):
        pass  # a next host that is down


class Postfix:
    name = "Postfix"
    idle_sessions = 1000

    def __init__(self, top, sink, latency):
        self.top, self.port = top, free_port()
        self.config, self.queue = os.path.join(top, "etc"), os.path.join(top, "queue")
        mail, data = os.path.join(top, "mail"), os.path.join(top, "data")
        for d in (self.config, self.queue, data, mail):
            os.mkdir(d)
        shutil.chown(data, "postfix", "postfix")
        os.chown(mail, MAIL_UID, MAIL_UID)
        self.maildir = os.path.join(mail, "alice")
        cert, key = certificate(top)
        settings = {
            "compatibility_level": "3.6", "queue_directory": self.queue, "data_directory": data, "myhostname": "postfix.example", "mydestination": "",
            "inet_interfaces": "127.0.0.1", "inet_protocols": "ipv4", "mynetworks": "127.0.0.0/8", "relayhost": "[127.0.0.1]:%d" % sink,
            "transport_maps": "inline:{latency.example=smtp:[127.0.0.1]:%d}" % latency,
            "smtpd_recipient_restrictions": "check_recipient_access inline:{hold.example=HOLD}, permit_mynetworks, reject",
            "virtual_mailbox_domains": "local.example", "virtual_mailbox_base": mail, "virtual_mailbox_maps": "inline:{alice@local.example=alice/}",
            "virtual_uid_maps": "static:%d" % MAIL_UID, "virtual_gid_maps": "static:%d" % MAIL_UID,
            "in_flow_delay": "0", "default_process_limit": str(IDLE_POSTFIX), "smtp_destination_concurrency_limit": str(SESSIONS_OUT),
            "initial_destination_concurrency": "20", "default_destination_concurrency_limit": str(SESSIONS_OUT),
            "smtp_destination_recipient_limit": str(RECIPIENTS_OUT), "smtpd_client_connection_count_limit": "0", "smtp_dns_support_level": "disabled",
            "smtpd_timeout": "3600", "alias_maps": "", "alias_database": "", "local_recipient_maps": "", "biff": "no",
            "qmgr_message_active_limit": "40000", "qmgr_message_recipient_limit": "40000", "smtpd_peername_lookup": "no",
            "smtp_tls_security_level": "none", "smtpd_tls_security_level": "may", "smtpd_tls_cert_file": cert, "smtpd_tls_key_file": key,
            "maillog_file": "", "syslog_name": "postfix-bench", "multi_instance_enable": "yes", "multi_instance_name": "",
            "authorized_submit_users": "static:anyone",
        }
        with open(os.path.join(self.config, "main.cf"), "w") as f:
            f.write("".join("%s = %s\n" % item for item in settings.items()))
        wanted = ("pickup|cleanup|qmgr|rewrite|bounce|defer|trace|verify|flush|proxymap|proxywrite|smtp +unix|relay|error|retry|discard|virtual|anvil|"
                  "scache|tlsmgr|postlog")
        services = []
        with open("/usr/share/postfix/master.cf.dist") as f:
            for line in f:
                if re.match("(%s)" % wanted, line):
                    services.append(re.sub(r"^(\S+\s+\S+\s+\S+\s+\S+\s+)[yn]", r"\1n", line))
        with open(os.path.join(self.config, "master.cf"), "w") as f:
            f.write("127.0.0.1:%d inet n - n - - smtpd\n" % self.port + "".join(services))

    def start(self):
        done = subprocess.run(["postfix", "-c", self.config, "start"], capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError("Postfix did not start: " + done.stderr + done.stdout)

        def pid():
            """Postfix's master"""
            try:
                with open(os.path.join(self.queue, "pid", "master.pid")) as f:
                    return int(f.read())
            except (OSError, ValueError):
                return 0
        self.pid = wait_for(pid)

    def stop(self):
        subprocess.run(["postfix", "-c", self.config, "stop"], capture_output=True)

    def fresh(self):
        self.stop()
        shutil.rmtree(self.queue)
        os.mkdir(self.queue)
        self.start()

    def intake(self):
        pass  # HOLD: the queue manager does not look at it


class OpenSMTPD:
    """Debian's package can't be installed beside Postfix, and its paths and users are compiled in. So it runs unpacked in a mount namespace of its own,
    where overlays put its helpers, its two users and its spool where it looks for them; the host sees nothing of that."""
    name = "OpenSMTPD"
    idle_sessions = 1000
    uids = (64530, 64531)

    def __init__(self, top, sink, latency):
        self.top, self.port, self.process = top, free_port(), None
        # Scripts and overlays need no flush: they stay off the filesystem that is measured.
        self.unpacked = tempfile.mkdtemp(prefix="postino-bench-opensmtpd-", dir="/var/tmp")
        os.chmod(self.unpacked, 0o755)
        try:
            self._unpack()
            self._configure(sink, latency)
        except BaseException:
            shutil.rmtree(self.unpacked, ignore_errors=True)
            raise

    def _unpack(self):
        got = subprocess.run(["apt-get", "-q", "-o", "APT::Sandbox::User=root", "download", "opensmtpd"], cwd=self.unpacked, capture_output=True, text=True)
        packages = [f for f in os.listdir(self.unpacked) if f.endswith(".deb")]
        if got.returncode != 0 or not packages:
            raise RuntimeError("apt-get download opensmtpd failed: " + got.stderr.strip()[-200:])
        subprocess.run(["dpkg", "-x", packages[0], "x"], cwd=self.unpacked, check=True)

    def path(self, *names):
        return os.path.join(self.unpacked, *names)

    def _configure(self, sink, latency):
        for d in ("etc", "lib/opensmtpd/empty", "spool/smtpd"):
            os.makedirs(self.path(d))
        os.chmod(self.path("lib/opensmtpd/empty"), 0o711)
        self.spool, mail = os.path.join(self.top, "spool"), os.path.join(self.top, "mail")
        os.mkdir(self.spool)
        os.mkdir(mail)
        os.chown(mail, MAIL_UID, MAIL_UID)
        self.maildir = os.path.join(mail, "alice")
        for name, line in (("passwd", "%s:x:%d:%d::%s:/usr/sbin/nologin\n"), ("group", "%s:x:%d:\n")):
            users = [("opensmtpd", self.uids[0], "/var/lib/opensmtpd/empty"), ("opensmtpq", self.uids[1], "/var/lib/opensmtpd/empty"),
                     ("alice", MAIL_UID, mail)]
            with open("/etc/" + name) as f, open(self.path("etc", name), "w") as out:
                out.write(f.read() + "".join(line % ((u, n, n, home) if name == "passwd" else (u, n)) for u, n, home in users))
        with open(self.path("etc", "resolv.conf"), "w") as f:
            f.write("lookup file\n")  # else it waits 5 seconds for a name server, for each client's name
        cert, key = certificate(self.top)
        limits = "\n".join(["mta limit max-conn-per-%s %d" % (w, SESSIONS_OUT) for w in ("host", "relay", "route", "source", "domain")] +
                           ["mta limit conn-delay-%s 0" % w for w in ("host", "source", "relay", "domain", "connector")] +
                           ["mta limit reconn-delay-route 0", "mta limit session-transaction-delay 0"])
        with open(self.path("smtpd.conf"), "w") as f:
            f.write("""pki bench cert "%s"
pki bench key "%s"
smtp limit max-mails 1000000
smtp limit max-rcpt 10000
%s
scheduler limit max-inflight 40000
listen on 127.0.0.1 port %d tls pki bench hostname opensmtpd.example
action "relay" relay host smtp://127.0.0.1:%d
action "latency" relay host smtp://127.0.0.1:%d
action "local" maildir "%s"
match from any for domain "local.example" action "local"
match from any for domain "latency.example" action "latency"
match from any for any action "relay"
""" % (cert, key, limits, self.port, sink, latency, self.maildir))
        self.script = """set -e
mount -t overlay -o lowerdir=%(u)s/x/usr/libexec:/usr/libexec overlay /usr/libexec
mount -t overlay -o lowerdir=%(u)s/etc:/etc overlay /etc
mount -t overlay -o lowerdir=%(u)s/lib:/var/lib overlay /var/lib
mount -t overlay -o lowerdir=%(u)s/spool:/var/spool overlay /var/spool
mount --bind %(s)s /var/spool/smtpd
mount -t tmpfs -o mode=755 tmpfs /run
exec %(u)s/x/usr/sbin/smtpd -d -f %(u)s/smtpd.conf""" % {"u": self.unpacked, "s": self.spool}

    def start(self):
        os.makedirs(self.spool, exist_ok=True)
        os.chmod(self.spool, 0o711)
        with open(os.path.join(self.top, "log"), "ab") as log:
            self.process = subprocess.Popen(["unshare", "-m", "--propagation", "private", "sh", "-c", self.script], stdin=subprocess.DEVNULL,
                                            stdout=log, stderr=log, start_new_session=True)
        self.pid = self.process.pid

        def listening():
            """OpenSMTPD listens"""
            if self.process.poll() is not None:
                with open(os.path.join(self.top, "log"), errors="replace") as f:
                    raise RuntimeError("OpenSMTPD ended: " + f.read()[-400:])
            done = subprocess.run(["ss", "-Hltn", "sport = :%d" % self.port], capture_output=True, text=True)
            return done.stdout.strip()
        wait_for(listening)
        time.sleep(0.3)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.process = None

    def fresh(self):
        self.stop()
        shutil.rmtree(self.spool)
        self.start()

    def intake(self):
        inside = ["nsenter", "-t", str(self.pid), "-m", "setpriv", "--regid", str(self.uids[1]), "--clear-groups"]
        subprocess.run(inside + [self.path("x/usr/sbin/smtpctl"), "pause", "mta"], check=True, capture_output=True)

    def remove(self):
        shutil.rmtree(self.unpacked, ignore_errors=True)


class Sink:
    """smtp-sink, which counts the messages it takes into a file in memory (a pipe would fill and hold it up)."""

    def __init__(self, counting=True):
        self.port = free_port()
        self.counts = tempfile.TemporaryFile(dir="/dev/shm", mode="a+b")
        self.process = subprocess.Popen(["smtp-sink", "-u", "nobody"] + (["-c"] if counting else []) + ["127.0.0.1:%d" % self.port, "1000"],
                                        stdin=subprocess.DEVNULL, stdout=self.counts, stderr=subprocess.DEVNULL)
        self.taken = 0

    def count(self):
        size = os.fstat(self.counts.fileno()).st_size
        numbers = re.findall(rb"mesg=(\d+)\r", os.pread(self.counts.fileno(), 400, max(0, size - 400)))
        if numbers:
            self.taken = int(numbers[-1])
        if size > 1 << 20:
            os.ftruncate(self.counts.fileno(), 0)
        return self.taken

    def stop(self):
        self.process.terminate()
        self.process.wait()
