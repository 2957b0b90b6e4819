"""Mail that Postino hands to servers of LMTP: Debian's Dovecot, on a socket and on a port; another Postino's listener; one that is down, closed, or started anew."""
import collections
import contextlib
import os
import random
import re
import shutil
import signal
import subprocess
import tempfile
import time
import unittest

from cyrus_lmtp import CyrusLmtp
from dovecot_lmtp import DovecotLmtp, delivered
from host import DOMAIN, FIRST_UID, MAIL_UID, Host, certificate, corpus, free_port, without_trace, wait_for
from hostile import DROP, RESET, Late, Raw
from hostile_lmtp import LmtpServer

BOX, SENDER = "dovecot.example", "alice@" + DOMAIN
HAS_DOVECOT = os.path.exists("/usr/lib/dovecot/lmtp") and os.geteuid() == 0
LMTP_UID = FIRST_UID + 9


def at(name, domain=BOX):
    return "%s@%s" % (name, domain)


class Base(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="postino-test-", dir="/var/tmp")
        os.chmod(self.directory, 0o755)
        self.addCleanup(shutil.rmtree, self.directory, ignore_errors=True)

    def path(self, *names):
        return os.path.join(self.directory, *names)

    def host(self, deliver=None, boxes=(), settings="", routes=None, more=None):
        """A Postino whose domain BOX is delivered by LMTP, to `boxes`."""
        with open(self.path("boxes"), "w", encoding="ascii") as f:
            f.write("".join("%s x\n" % box for box in boxes))
        host = Host(settings="queue { retry_first = \"1s\" retry_most = \"2s\" }\n" + settings, routes=routes)
        self.assertEqual(host.tool("postino", "map", "hash:" + self.path("boxes")).returncode, 0)
        domains = {DOMAIN: "mailboxes = \"hash:%s\" directory = \"%s\" owner = \"%d\"" % (host.path("mailboxes"), host.path("mail"), MAIL_UID)}
        if deliver:
            domains[BOX] = "mailboxes = \"hash:%s\" deliver = \"%s\"" % (self.path("boxes"), deliver)
        domains.update(more or {})
        self.configured = dict(settings="queue { retry_first = \"1s\" retry_most = \"2s\" }\n" + settings, routes=routes, domains=domains)
        host.configure(**self.configured)
        return host

    def send(self, host, recipients, text=b"Subject: x\r\n\r\nhello\r\n", sender=SENDER):
        with host.smtp() as client:
            return client.sendmail(sender, recipients, text)


@unittest.skipUnless(HAS_DOVECOT, "takes root, and Dovecot's LMTP server (dovecot-lmtpd)")
class RealDovecot(Base):
    def dovecot(self, users, **more):
        return DovecotLmtp(self.path("dovecot"), users, **more)

    def bytes_for_bytes(self, deliver_of):
        dovecot = self.dovecot([at("alice")])
        with dovecot, self.host(deliver_of(dovecot), [at("alice")]) as host:
            sent = []
            with host.smtp() as client:
                for number, (_, text) in enumerate(corpus()):
                    text = b"X-Number: %d\r\n" % number + text
                    client.sendmail(SENDER, [at("alice")], text)
                    sent.append(text.replace(b"\r\n", b"\n"))
            host.wait(lambda: len(dovecot.messages(at("alice"))) >= len(sent), 60)
            host.wait(host.queue_is_empty)
            got = dovecot.messages(at("alice"))
        self.assertEqual(len(got), len(sent))
        texts = {}
        for message in got:
            text = without_trace(delivered(message, SENDER, at("alice")), mailbox=False)
            texts[int(re.match(rb"X-Number: (\d+)\n", text).group(1))] = text
        self.assertEqual(len(texts), len(sent))
        for number, text in enumerate(sent):
            self.assertEqual(texts[number], text, number)

    def test_byte_for_byte_over_a_socket(self):
        self.bytes_for_bytes(lambda dovecot: "lmtp:unix:" + dovecot.socket)

    def test_byte_for_byte_over_the_network(self):
        self.bytes_for_bytes(lambda dovecot: "lmtp:[127.0.0.1]:%d" % dovecot.port)

    def test_tls_over_the_network(self):
        """STARTTLS behind LHLO, by a route that knows the certificate."""
        cert, key = certificate(self.directory)
        done = subprocess.run(["openssl", "x509", "-in", cert, "-noout", "-fingerprint", "-sha256"], check=True, capture_output=True, text=True)
        fingerprint = done.stdout.strip().split("=")[1].replace(":", "").lower()
        dovecot = self.dovecot(["a@net.example", "b@other.example"], settings="ssl = yes\nssl_cert = <%s\nssl_key = <%s\n" % (cert, key))
        routes = {"net.example": "via = \"lmtp:[127.0.0.1]:%d\" tls = fingerprint fingerprints = \"%s\"" % (dovecot.port, fingerprint),
                  "other.example": "via = \"lmtp:[127.0.0.1]:%d\" tls = fingerprint fingerprints = \"%s\"" % (dovecot.port, "0" * 64)}
        with dovecot, self.host(routes=routes) as host:
            self.send(host, ["a@net.example", "b@other.example"])
            host.wait_log(r"to=<a@net.example> .*tls=\"TLSv1\.[23] .*status=sent")
            host.wait_log(r"to=<b@other.example> .*dsn=4\.7\.5 status=deferred .*certificate is not one of the route's fingerprints")
            self.assertEqual([len(dovecot.messages(u)) for u in ("a@net.example", "b@other.example")], [1, 0])

    def replies(self, **more):
        """One has it, one is full, one Dovecot doesn't know: a result for each, and one report for both."""
        users = [at("alice"), at("full")]
        dovecot = self.dovecot(users, full=[at("full")], **more)
        with dovecot, self.host("lmtp:unix:" + dovecot.socket, users + [at("nobody")]) as host:
            self.send(host, [at("alice"), at("full"), at("nobody")], b"Subject: three\r\n\r\n" + b"x" * 70 + b"\r\n")
            host.wait(lambda: dovecot.messages(at("alice")) and host.messages("alice"))
            host.wait(host.queue_is_empty)
            [report] = host.messages("alice")
            self.assertEqual((len(dovecot.messages(at("alice"))), dovecot.messages(at("full"))), (1, []))
            host.wait_log(r"to=<alice@dovecot.example> .*relay=\"?mx.local.example\[%s\]\"? .*dsn=2\.\d\.\d status=sent" % re.escape(dovecot.socket))
        for pattern in (rb"Final-Recipient: rfc822; ?full@dovecot.example\r?\n[\s\S]*?Status: 5.2.2", rb"Final-Recipient: rfc822; ?nobody@dovecot.example\r?\n[\s\S]*?Status: 5.1.1",
                        rb"Quota exceeded", rb"Remote-MTA: dns; ?mx.local.example"):
            self.assertRegex(report, pattern)
        self.assertNotIn(b"Final-Recipient: rfc822; alice@", report)

    def test_each_recipient_has_its_own_reply(self):
        self.replies()

    def test_a_full_mailbox_at_rcpt(self):
        self.replies(settings="lmtp_rcpt_check_quota = yes")

    def test_thousands_of_recipients(self):
        users = [at("r%d" % i) for i in range(3000)]
        dovecot = self.dovecot(users)
        with dovecot, self.host("lmtp:unix:" + dovecot.socket, ["@" + BOX], settings="limit { recipients = 10000 }") as host:
            self.assertEqual(self.send(host, users + [at("nobody")]), {})
            host.wait(host.queue_is_empty, 120)
            self.assertEqual([u for u in users if len(dovecot.messages(u)) != 1], [])
            [report] = host.messages("alice")
            self.assertIn(b"nobody@dovecot.example", report)

    def test_dovecot_is_started_anew_under_mail(self):
        """Everything arrives; twice at most what the log says may."""
        dovecot = self.dovecot([at("alice"), at("bob")])
        with dovecot, self.host("lmtp:unix:" + dovecot.socket, [at("alice"), at("bob")]) as host:
            for number in range(240):
                if number == 60:
                    dovecot.stop()
                elif number == 160:
                    dovecot.kill()
                elif number in (110, 200):
                    host.wait_log("connect to socket")
                    dovecot.start()
                self.send(host, [at("alice"), at("bob")], b"Subject: %d\r\n\r\nx\r\n" % number)
            host.wait(host.queue_is_empty, 90)
            host.wait_log(r"connect to socket %s: (No such file|Connection refused)" % re.escape(dovecot.socket))
            unsure = host.log().count("delivered twice")
            for user in (at("alice"), at("bob")):
                subjects = [int(re.search(rb"\nSubject: (\d+)\n", m).group(1)) for m in dovecot.messages(user)]
                self.assertEqual(set(subjects), set(range(240)))
                self.assertLessEqual(len(subjects) - 240, unsure)
            self.assertEqual(host.messages("alice"), [])

    def test_a_socket_that_may_not_be_used(self):
        dovecot, refused = self.dovecot([at("alice")], mode="0600"), re.compile("status=deferred .*Permission denied")
        with dovecot, self.host("lmtp:unix:" + dovecot.socket, [at("alice")], settings="remote { loopback = yes idle_timeout = 0s }") as host:
            self.send(host, [at("alice")])
            host.wait_log(r"connect to socket %s: Permission denied; let the user postino-lmtp connect to it" % re.escape(dovecot.socket))
            host.wait(lambda: "Permission denied" in host.queue())
            os.chown(dovecot.socket, LMTP_UID, LMTP_UID)
            host.wait(lambda: dovecot.messages(at("alice")))
            host.wait(host.queue_is_empty)
            os.chmod(self.path("dovecot"), 0o700)  # nobody finds it
            before = len(refused.findall(host.log()))
            self.send(host, [at("alice")])
            host.wait(lambda: len(refused.findall(host.log())) > before)
            self.assertEqual(len(dovecot.messages(at("alice"))), 1)
            os.chmod(self.path("dovecot"), 0o755)
            host.wait(lambda: len(dovecot.messages(at("alice"))) == 2)

    def test_users_of_the_host(self):
        """mailboxes = system: aliases and users are looked at here, mailboxes are Dovecot's."""
        dovecot = self.dovecot(["daemon"], settings="auth_username_format = %Ln")
        with dovecot, self.host(more={"sys.example": "deliver = \"lmtp:unix:%s\"" % dovecot.socket}) as host:
            with host.smtp() as client:
                client.ehlo()
                client.mail(SENDER)
                self.assertEqual(client.rcpt("no-such-user@sys.example")[0], 550)
            for recipient in ("daemon@sys.example", "daemon+tag@sys.example"):
                self.send(host, [recipient])
            host.wait(lambda: len(dovecot.messages("daemon")) == 2)
            self.assertEqual(sorted(re.search(rb"Delivered-To: <?([^\s>]+)", m).group(1) for m in dovecot.messages("daemon")),
                             [b"daemon+tag@sys.example", b"daemon@sys.example"])


def without_return_path(text):
    """Cyrus takes out those of hosts before."""
    header, blank, body = text.partition(b"\r\n\r\n")
    return re.sub(rb"(?im)^Return-Path:.*\r\n(?:[ \t].*\r\n)*", b"", header + b"\r\n")[:-2] + blank + body


@unittest.skipUnless(os.geteuid() == 0, "takes root")
class RealCyrus(Base):
    def test_byte_for_byte(self):
        """What it refuses (a NUL, a header that is none) comes back; all else is there as it was sent."""
        sent = {}
        with CyrusLmtp() as cyrus, self.host("lmtp:unix:" + cyrus.socket, [at("alice")]) as host:
            with host.smtp() as client:
                for number, (_, text) in enumerate(corpus()):
                    sent[number] = b"X-Number: %d\r\n" % number + text
                    client.sendmail(SENDER, [at("alice")], sent[number])
            host.wait(host.queue_is_empty, 60)
            got, refused = {}, {}
            for message in cyrus.messages():
                lines = message.split(b"\r\n")
                self.assertEqual(lines[0], b"Return-Path: <%s>" % SENDER.encode())
                self.assertTrue(lines[1].startswith(b"Received: from "), lines[1])
                at_own = next(i for i in range(2, len(lines)) if lines[i].startswith(b"Received: "))
                text = without_trace(b"\n".join(lines[at_own:]), mailbox=False).replace(b"\n", b"\r\n")
                got[int(re.match(rb"X-Number: (\d+)\r\n", text).group(1))] = text
            for report in host.messages("alice"):
                refused[int(re.search(rb"\nX-Number: (\d+)\n", report).group(1))] = re.search(rb"Diagnostic-Code: (.*(?:\n .*)*)", report).group(1)
        self.assertEqual(set(got) | set(refused), set(sent))
        self.assertEqual(set(got) & set(refused), set())
        self.assertGreater(len(got), len(sent) * 0.9)
        for number, text in got.items():
            self.assertEqual(text, without_return_path(sent[number]))
        for words in refused.values():
            self.assertRegex(words, rb"smtp; 55[0-9] 5\.6\.0")


class Servers(Base):
    def test_by_route(self):
        """A route of lmtp: is for a domain that is none of ours; tls and limits are the route's."""
        port = free_port()
        with LmtpServer("127.0.0.2", port) as server, LmtpServer(self.path("lmtp")) as other:
            routes = {"net.example": "via = \"lmtp:[127.0.0.2]:%d\" tls = none sessions = 2" % port, "unix.example": "via = \"lmtp:unix:%s\" sessions = 1" % self.path("lmtp")}
            with self.host(routes=routes) as host:
                self.send(host, ["a@net.example", "b@net.example", "c@unix.example"])
                host.wait(lambda: len(server.saved) == 2 and len(other.saved) == 1)
                sites = host.tool("postino", "sites").stdout
                self.assertRegex(sites, r"lmtp:\[127\.0\.0\.2\]:%d none route net\.example" % port)
                self.assertRegex(sites, r"lmtp:unix:%s none route unix\.example" % re.escape(self.path("lmtp")))
                why = host.tool("postino", "why", "--client", "127.0.0.1", "--to", "c@unix.example").stdout
                self.assertIn("by lmtp unix:" + self.path("lmtp"), why)
                for domain, words in (("unix.example", ("via = \"lmtp:unix:%s\"" % self.path("lmtp"), "mail goes by none", "1 at a time")),
                                      ("net.example", ("mail goes by none", "2 at a time")), (DOMAIN, ("of this host, with mailboxes of its own",))):
                    site = host.tool("postino", "site", domain)
                    self.assertEqual(site.returncode, 0, site.stderr)
                    for word in words:
                        self.assertIn(word, site.stdout)

    @unittest.skipUnless(os.geteuid() == 0, "takes root")
    def test_check_looks_at_sockets(self):
        """postino check says what postino-lmtp would find."""
        with self.host("lmtp:unix:" + self.path("lmtp")) as host:
            def check(*words):
                done = host.tool("postino", "check")
                self.assertEqual(done.returncode, 0)
                line = [l for l in done.stderr.split("\n") if self.path("lmtp") in l]
                self.assertEqual(len(line), 1 if words else 0, done.stderr)
                for word in words:
                    self.assertIn(word, line[0])
            check("No such file", "start the LMTP server, or correct the path")
            with open(self.path("lmtp"), "w", encoding="ascii"):
                check("is no socket")
            with LmtpServer(self.path("lmtp")):
                check()
                os.chmod(self.path("lmtp"), 0o600)
                check("can't be connected to by postino-lmtp", "closed to uid %d" % LMTP_UID)
                os.chown(self.path("lmtp"), LMTP_UID, 0)
                check()
                os.chmod(self.directory, 0o700)
                check(self.directory + " is closed to uid")
                os.chmod(self.directory, 0o755)

    def test_it_is_delivery(self):
        """Who asked for it is told that it was delivered; a server with DSN tells by itself."""
        with LmtpServer(self.path("lmtp")) as server, self.host("lmtp:unix:" + self.path("lmtp"), [at("x")]) as host:
            def send():
                with host.smtp() as client:
                    client.ehlo()
                    client.mail(SENDER, ["ENVID=e1"])
                    client.rcpt(at("x"), ["NOTIFY=SUCCESS"])
                    self.assertEqual(client.data(b"Subject: x\r\n\r\nx\r\n")[0], 250)
            send()
            host.wait(lambda: host.messages("alice"))
            self.assertRegex(host.messages("alice")[0], rb"Final-Recipient: rfc822; ?x@dovecot.example\r?\n[\s\S]*?Action: delivered")
            host.wait(lambda: not server.sessions[-1].sock or server.sessions[-1].ended, 60)
            server.extensions = ("PIPELINING", "DSN")
            send()
            host.wait(lambda: len(server.saved) == 2)
            host.wait(host.queue_is_empty)
            self.assertIn("RCPT TO:<x@dovecot.example> NOTIFY=SUCCESS", server.sessions[-1].commands)
            self.assertEqual(len(host.messages("alice")), 1)

    def test_a_reload_with_mail_in_line(self):
        """At sites of every kind, with and without limits; qmgr does not turn in circles, and all arrives."""
        routes = {"one.example": "via = \"lmtp:unix:%s\" sessions = 1" % self.path("one"), "two.example": "via = \"lmtp:unix:%s\"" % self.path("two"),
                  "net.example": "via = \"lmtp:[127.0.0.2]:%d\" tls = none" % free_port()}
        port = int(routes["net.example"].split("]:")[1].split("\"")[0])
        with self.host("lmtp:unix:" + self.path("own"), [at("x")], routes=routes) as host:
            for number in range(5):
                for recipient in ("a@one.example", "a@two.example", "a@net.example", at("x")):
                    self.send(host, [recipient])
            host.wait_log(r"connect to socket %s: No such file" % re.escape(self.path("own")))
            for limits in ("sessions = 3", "", "sessions = 2 rate = 6000"):
                new = {k: re.sub(r" sessions = \d+( rate = \d+)?", "", v) + (" " + limits) for k, v in routes.items()}
                host.configure(**dict(self.configured, routes=new))
                before = host.log().count("reloaded: generation")
                host.reload()
                host.wait(lambda: host.log().count("reloaded: generation") > before, 60)
                self.assertIn("a@one.example", host.queue())
            pid = host.pid_of("qmgr")
            before = self.ticks(pid)
            time.sleep(1)
            self.assertLess(self.ticks(pid) - before, 50)
            with LmtpServer(self.path("one")) as one, LmtpServer(self.path("two")) as two, LmtpServer(self.path("own")) as own, LmtpServer("127.0.0.2", port) as net:
                host.wait(host.queue_is_empty, 60)
                self.assertEqual([len(s.saved) for s in (one, two, own, net)], [5] * 4)

    def ticks(self, pid):
        with open("/proc/%d/stat" % pid, encoding="ascii") as f:
            words = f.read().rsplit(")", 1)[1].split()
        return int(words[11]) + int(words[12])

    @staticmethod
    def kill_lmtp(host):
        """Whichever process it is just now."""
        def gone():
            with contextlib.suppress(ProcessLookupError, TypeError):  # it ends just now, or the next one is not there yet
                os.kill(host.pid_of("lmtp"), signal.SIGKILL)
                return True
        wait_for(gone)

    def test_the_books_balance(self):
        """A server that misbehaves by lot, postino-lmtp killed in between, and reloads: everything arrives or comes back, and nothing arrives twice that the log does not tell of."""
        lot = random.Random(2033)
        names = ["box%d" % i for i in range(6)]
        good, final = "250 2.0.0 saved", "550 5.1.1 no such box"
        trouble = ["451 4.3.0 later", "421 4.3.2 bye", DROP, RESET, Raw(b"250 2", DROP), Raw(b"\xff\x00\r\n", DROP), "354 what?", Late(good, 0.05)]

        def mood(most):
            return [good if lot.random() < most else lot.choice(trouble) for _ in range(40)]
        with LmtpServer(self.path("lmtp"), steps={"RCPT gone@": final}) as server:
            with self.host("lmtp:unix:" + self.path("lmtp"), ["@" + BOX]) as host:
                sent, returned = {}, set()
                for number in range(150):
                    if number % 10 == 0:
                        server.script.update(END=mood(0.6), GREETING=mood(0.9), MAIL=mood(0.95), RCPT=mood(0.95), DATA=["354 go on" if lot.random() < 0.95 else lot.choice(trouble) for _ in range(40)])
                        server.script["LHLO"] = [None if lot.random() < 0.9 else lot.choice(trouble) for _ in range(40)]
                    if number in (40, 90, 130):
                        self.kill_lmtp(host)
                    if number == 70:
                        host.reload()
                    to = lot.sample(names, lot.randint(1, 4)) + (["gone"] if lot.random() < 0.1 else [])
                    sent[number] = to
                    self.send(host, [at(name) for name in to], b"Subject: %d\r\n\r\nx\r\n" % number)
                for step in ("END", "GREETING", "MAIL", "RCPT", "DATA", "LHLO"):
                    del server.script[step]
                host.wait(host.queue_is_empty, 120)
                for report in host.messages("alice"):
                    returned.add(int(re.search(rb"\nSubject: (\d+)\n", report).group(1)))
                doubt, cut_off = (host.log().count(words) for words in ("in_doubt=yes", "the delivering program ended before it was done"))
        saved = collections.Counter((int(re.search(rb"\nSubject: (\d+)\r\n", m.body).group(1)), to.split("@")[0]) for to, m in server.saved)
        self.assertEqual({key for key in saved}, {(n, name) for n, to in sent.items() for name in to if name != "gone"})
        self.assertEqual(returned, {n for n, to in sent.items() if "gone" in to})
        twice = sum(count - 1 for count in saved.values())
        self.assertGreater(doubt, 3)
        self.assertLessEqual(twice, doubt + cut_off)  # a process that is killed tells nothing of what it had under way

    def test_another_postino(self):
        """Its LMTP listener on a socket: what its routing says is the result of each recipient at once."""
        path = self.path("lmtp")
        listeners = {"lmtp": "protocol = lmtp socket = \"%s\"" % path}
        with Host(hostname="in.example", listeners=listeners, mailboxes=("alice", "bob")) as inner:
            os.chmod(path, 0o666)
            with self.host(routes={}, more={"x.example": "deliver = \"lmtp:unix:%s\" mailboxes = \"hash:%s\"" % (path, self.path("boxes"))}, boxes=["@x.example"]) as host:
                self.send(host, ["alice@x.example"])
                host.wait(lambda: host.messages("alice"))  # it does not know x.example: a report
                self.assertIn(b"Relay access denied", host.messages("alice")[0])
            with Host(routes={DOMAIN: "lmtp:unix:" + path}, domains={"none.example": ""}) as host:
                self.send(host, ["alice@" + DOMAIN, "bob@" + DOMAIN, "nobody@" + DOMAIN], sender="s@elsewhere.example")
                inner.wait(lambda: inner.messages("alice") and inner.messages("bob"))
                host.wait_log(r"to=<nobody@%s> .*dsn=5\.1\.1 status=bounced" % DOMAIN)

    @unittest.skipUnless(os.geteuid() == 0, "takes root")
    def test_programs_may_not_submit(self):
        """A postino-lmtp that was taken over could connect to the sockets that are open to all; Postino's own hang up."""
        with self.host() as host:
            for name in ("submit", "queue"):
                for uid, served in ((LMTP_UID, False), (FIRST_UID + 3, False), (65534, True)):
                    code = "import socket,sys,os\nos.setgroups([]);os.setgid(%d);os.setuid(%d)\ns=socket.socket(socket.AF_UNIX);s.settimeout(%d)\ns.connect(%r)\n" % (
                        uid, uid, 1 if served else 60, host.path("run", name))
                    code += "try: sys.exit(0 if s.recv(1) == b'' else 1)\nexcept TimeoutError: sys.exit(1)\nexcept ConnectionResetError: sys.exit(0)"
                    self.assertEqual(subprocess.run(["/usr/bin/python3", "-c", code], check=False).returncode, int(served), (name, uid))
            host.wait_log("submit: uid %d, a program of Postino's" % LMTP_UID)


if __name__ == "__main__":
    unittest.main()
