#!/usr/bin/env python3
"""Shows Postino at work: starts it on loopback ports, sends one message to a local mailbox and one through it to a second SMTP host (another Postino), and
shows the life of both. Then it goes on running, unless --once is given: then the exit status is 0 only if both messages arrived byte for byte."""
import argparse
import os
import pwd
import re
import shutil
import signal
import smtplib
import socket
import ssl
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PORTS = {"smtp": 2525, "submission": 2587, "submissions": 2465, "second": 2526}
AS_ROOT = os.geteuid() == 0
MAIL_UID = 64599 if AS_ROOT else os.geteuid()
USER, PASSWORD = "alice", "postino-demo"
MESSAGE = ("From: %s\r\nTo: <%s>\r\nSubject: %s\r\nDate: Sat, 21 Nov 2026 12:00:00 +0000\r\nMessage-ID: <%s@demo.example>\r\n"
           "MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
           "Buongiorno,\r\n\r\n.a line that begins with a dot, and one that is only a dot:\r\n.\r\n"
           "caff\u00e8, na\u00efve, \u20ac 5   \r\n\r\nPostino\r\n")


def say(text=""):
    print(text, flush=True)


def traversable(path):
    """Whether another user than root can reach the directory."""
    while True:
        if not os.stat(path).st_mode & 0o001:
            return False
        if path == "/":
            return True
        path = os.path.dirname(path)


def run_directory():
    """run/ under the checkout; a checkout that other users can't enter (/root/...) can't hold mailboxes of theirs."""
    if AS_ROOT and not traversable(ROOT):
        path = tempfile.mkdtemp(prefix="postino-run-", dir="/var/tmp")
        os.chmod(path, 0o755)
        say("This checkout can't be entered by other users than root, so the programs' files are in %s until this ends" % path)
        return path
    path = os.path.join(ROOT, "run")
    if os.path.exists(path):
        shutil.rmtree(path)
    os.mkdir(path, 0o755)
    return path


def remove_outside(top, ok):
    """What lies outside the checkout goes away again, unless it shows why something went wrong."""
    if top == os.path.join(ROOT, "run"):
        return
    if ok:
        shutil.rmtree(top, ignore_errors=True)
    else:
        say("The programs' files are left in %s" % top)


def busy_ports():
    busy = []
    for port in PORTS.values():
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                busy.append(port)
    return busy


class Instance:
    def __init__(self, programs, directory, hostname, first_uid, text):
        self.programs, self.directory, self.process = programs, directory, None
        os.makedirs(self.path("mail"), exist_ok=True)
        if AS_ROOT:
            os.chown(self.path("mail"), MAIL_UID, MAIL_UID)
        users = "users = \"%d\"\n" % first_uid if AS_ROOT else ""
        with open(self.path("postino.conf"), "w") as f:
            f.write("hostname = \"%s\"\n%sdirectory {\n    spool = \"%s\"\n    run = \"%s\"\n    empty = \"%s\"\n    sts = \"%s\"\n    programs = \"%s\"\n}\nlog { to = \"%s\" }\n%s" % (
                hostname, users, self.path("spool"), self.path("sockets"), self.path("empty"), self.path("sts"), programs, self.path("log"), text))
        self.first_uid = first_uid

    def path(self, *names):
        return os.path.join(self.directory, *names)

    def mailboxes(self, lines):
        with open(self.path("mailboxes"), "w") as f:
            f.write("".join(line + "\n" for line in lines))
        self.tool("postino", "map", "hash:" + self.path("mailboxes"))

    def tool(self, name, *arguments):
        done = subprocess.run([os.path.join(self.programs, name), "-c", self.path("postino.conf")] + list(arguments), capture_output=True, text=True)
        if done.returncode != 0:
            sys.exit("%s %s: %s" % (name, " ".join(arguments), (done.stderr or done.stdout).strip()))
        return done.stdout

    def log(self):
        try:
            with open(self.path("log"), errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def start(self):
        self.process = subprocess.Popen([os.path.join(self.programs, "postino-master"), "-c", self.path("postino.conf"), "-f"],
                                        stdin=subprocess.DEVNULL, start_new_session=True)
        end = time.monotonic() + 60
        while "ready as process" not in self.log():
            if self.process.poll() is not None or time.monotonic() > end:
                sys.exit("Postino did not start; its log is %s:\n%s" % (self.path("log"), self.log()[-2000:]))
            time.sleep(0.05)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(20)
            except subprocess.TimeoutExpired:
                self.process.kill()


def certificate(instance):
    cert, key = instance.path("tls.crt"), instance.path("tls.key")
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj", "/CN=localhost",
                    "-addext", "subjectAltName=DNS:localhost", "-keyout", key, "-out", cert], check=True, stderr=subprocess.DEVNULL)
    os.chmod(key, 0o600)
    return "tls { certificate = \"%s\" key = \"%s\" }\n" % (cert, key)


def first_host(programs, top):
    os.mkdir(os.path.join(top, "first"))
    host = Instance(programs, os.path.join(top, "first"), "first.demo.example", 64500, "")
    text = certificate(host)
    text += "password_file = \"%s\"\naliases = { }\n" % host.path("passwd")
    for name, more in (("smtp", "tls = may"), ("submission", "tls = required auth = required"), ("submissions", "tls = implicit auth = required")):
        text += "listener \"%s\" { port = %d address = \"127.0.0.1\" %s }\n" % (name, PORTS[name], more)
    text += "domain \"demo.example\" { mailboxes = \"hash:%s\" directory = \"%s\" owner = \"%d\" }\n" % (host.path("mailboxes"), host.path("mail"), MAIL_UID)
    text += "route \"*\" { via = \"smtp:[127.0.0.1]:%d\" tls = may }\n" % PORTS["second"]
    with open(host.path("postino.conf"), "a") as f:
        f.write(text)
    hashed = subprocess.run(["openssl", "passwd", "-6", PASSWORD], check=True, capture_output=True, text=True).stdout
    with open(host.path("passwd"), "w") as f:
        f.write("%s:%s" % (USER, hashed))
    os.chmod(host.path("passwd"), 0o640)
    if AS_ROOT:
        os.chown(host.path("passwd"), 0, host.first_uid + 1)
    host.mailboxes(["alice@demo.example alice/", "postmaster@demo.example alice/"])
    return host


def second_host(programs, top):
    os.mkdir(os.path.join(top, "second"))
    host = Instance(programs, os.path.join(top, "second"), "second.demo.example", 64550, "")
    text = certificate(host)
    text += "listener \"smtp\" { port = %d address = \"127.0.0.1\" }\naliases = { }\n" % PORTS["second"]
    text += "domain \"elsewhere.example\" { mailboxes = \"hash:%s\" directory = \"%s\" owner = \"%d\" }\n" % (host.path("mailboxes"), host.path("mail"), MAIL_UID)
    with open(host.path("postino.conf"), "a") as f:
        f.write(text)
    host.mailboxes(["bob@elsewhere.example bob/"])
    return host


def within(seconds, what):
    """What it returns when that is true for the first time, or at the end."""
    end = time.monotonic() + seconds
    while True:
        late = time.monotonic() > end
        value = what()
        if value or late:
            return value
        time.sleep(0.02)


def arrived(host, name):
    new = host.path("mail", name, "new")

    def path():
        files = os.listdir(new) if os.path.isdir(new) else []
        return os.path.join(new, files[0]) if files else None
    return within(30, path)


def logged_as_sent(host, queue_id):
    """The line comes a moment after the message."""
    return within(10, lambda: re.search(queue_id + ".* status=sent ", host.log()))


def content(path):
    """What was sent: the delivered message without the lines that transport put in front of it."""
    with open(path, "rb") as f:
        lines = f.read().split(b"\n")
    at = 0
    while re.match(rb"(?i)(return-path|received):", lines[at]) or (at and lines[at][:1] in (b" ", b"\t")):
        at += 1
    return b"\n".join(lines[at:])


def show(host, queue_id, title):
    say("    %s" % title)
    for line in host.log().splitlines():
        if queue_id in line:
            say("      " + line.split("Z ", 1)[-1])


def send(port, login, sender, recipient, text):
    with smtplib.SMTP("127.0.0.1", port, local_hostname="laptop.demo.example", timeout=60) as client:
        if login:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            client.starttls(context=context)
            client.login(USER, PASSWORD)
        client.ehlo_or_helo_if_needed()
        client.mail(sender, ["BODY=8BITMIME"])
        client.rcpt(recipient)
        code, reply = client.data(text.encode())
    if code != 250:
        sys.exit("the message was refused: %d %s" % (code, reply.decode(errors="replace")))
    return reply.decode().split()[-1]


def demonstrate(first, second):
    ok = True
    for number, (login, recipient, host, mailbox) in enumerate([
            (False, "alice@demo.example", first, "alice"), (True, "bob@elsewhere.example", second, "bob")], 1):
        port = PORTS["submission"] if login else PORTS["smtp"]
        text = MESSAGE % ("Alice <alice@demo.example>", recipient, "message %d" % number, "%d.%d" % (os.getpid(), number))
        say("\n%d. To %s, through 127.0.0.1:%d%s" % (number, recipient, port, " with STARTTLS, as user " + USER if login else ""))
        queue_id = send(port, login, "alice@demo.example", recipient, text)
        say("    queue id %s" % queue_id)
        path = arrived(host, mailbox)
        if path:
            logged_as_sent(first, queue_id)
        show(first, queue_id, "what %s logged:" % os.path.basename(first.directory))
        if path is None:
            say("    It did not arrive. The logs: %s %s" % (first.path("log"), second.path("log")))
            ok = False
            continue
        if host is second:
            with open(path, "rb") as f:
                m = re.search(rb"by second\.demo\.example.*?\sid (\w+)", f.read(), re.S)
            if m:
                logged_as_sent(second, m.group(1).decode())
                show(second, m.group(1).decode(), "what second logged:")
        same = content(path) == text.encode().replace(b"\r\n", b"\n")
        say("    mailbox file %s" % path)
        say("    its content is %s" % ("what was sent, byte for byte" if same else "NOT what was sent"))
        ok = ok and same
    return ok


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--once", action="store_true")
    parser.add_argument("--programs", default="build/release/bin")
    arguments = parser.parse_args()
    programs = os.path.join(ROOT, arguments.programs)
    busy = busy_ports()
    if busy:
        sys.exit("Something already listens on 127.0.0.1, port %s; end it, then make run again." % ", ".join(map(str, busy)))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    if not AS_ROOT:
        say("Running as %s, not as root. Weaker than in production: all programs run as this one user, none has a root directory of its own.\n"
            "Still in force for each: Landlock, seccomp, no new privileges, resource limits." % pwd.getpwuid(os.geteuid()).pw_name)
    top = run_directory()
    hosts, ok = [], False
    try:
        for make in (first_host, second_host):
            host = make(programs, top)
            hosts.append(host)
            host.start()
        say("Postino runs: ports 2525 (SMTP), 2587 (submission), 2465 (submission over TLS), all on 127.0.0.1; files in %s" % hosts[0].directory)
        say("A second Postino listens on port %d, as another host; files in %s" % (PORTS["second"], hosts[1].directory))
        ok = demonstrate(*hosts)
        if arguments.once:
            say("\n%s" % ("Both messages arrived byte for byte." if ok else "Something went wrong; see above."))
            return 0 if ok else 1
        say("\nIt goes on running; Ctrl-C ends it. Send your own, from another terminal:")
        say("    printf 'Subject: hello\\n\\nhello\\n' | POSTINO_CONF=%s %s/sendmail -f you@demo.example alice@demo.example" % (
            hosts[0].path("postino.conf"), programs))
        if shutil.which("curl"):
            say("    curl --crlf --url smtp://127.0.0.1:2525 --mail-from you@demo.example --mail-rcpt alice@demo.example -T README.md")
        say("Log: tail -f %s     Queue: %s/postino -c %s queue" % (hosts[0].path("log"), programs, hosts[0].path("postino.conf")))
        hosts[0].process.wait()
        ok = False
        return 1
    except KeyboardInterrupt:
        say("")
        return 0
    finally:
        for host in reversed(hosts):
            host.stop()
        remove_outside(top, ok)


if __name__ == "__main__":
    sys.exit(main())
