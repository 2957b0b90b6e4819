"""Strangers at the door: who speaks before the greeting, who waited for it, and the limits of client { }, over all smtpd processes, over the death of one, and of
route."""
import os
import re
import signal
import smtplib
import socket
import time
import unittest

from host import Host, wait_for

ENVELOPE = b"MAIL FROM:<a@client.example>\r\nRCPT TO:<alice@local.example>\r\n"


class Case(unittest.TestCase):
    def start(self, settings, **more):
        more.setdefault("relay_from", ())
        self.host = Host(settings="smtpd_processes = 2\ndns { client_names = no }\n" + settings, **more)
        self.host.__enter__()
        self.addCleanup(self.host.__exit__, None, None, None)
        return self.host

    def connect(self, source="127.0.0.1", say=b""):
        sock = socket.create_connection(("127.0.0.1", self.host.port), 60, source_address=(source, 0))
        self.addCleanup(sock.close)
        sock.sendall(say)
        return sock

    def lines(self, sock, until):
        """What is said up to a line that begins so, or to the end."""
        text = b""
        while not re.search(rb"(?m)^" + until, text):
            octets = sock.recv(4096)
            if not octets:
                break
            text += octets
        return text.decode()

    def greeting(self, source="127.0.0.1"):
        """The last line of the greeting, whether one came before that (so for those who are to wait), after how many seconds, and the connection."""
        began = time.monotonic()
        sock = self.connect(source)
        text = self.lines(sock, rb"\d\d\d [^\n]*\n")
        return text.splitlines()[-1] if text else "", "220-" in text, time.monotonic() - began, sock


class Greeting(Case):
    def test_a_stranger_waits_once(self):
        self.start("smtpd { greet_delay = 2s }")
        sock = self.connect()
        self.assertRegex(self.lines(sock, rb"220-.*\n"), r"^220-\S+\r\n$")
        line, waited, seconds, _ = self.greeting("127.0.0.2")
        self.assertRegex(line, r"^220 \S+ ESMTP")
        self.assertTrue(waited)
        self.assertGreater(seconds, 1.8)
        for _ in range(6):  # whichever process it comes to
            line, waited, seconds, sock = self.greeting("127.0.0.2")
            self.assertRegex(line, r"^220 \S+ ESMTP")
            self.assertFalse(waited, seconds)
        _, waited, seconds, _ = self.greeting("127.0.0.3")
        self.assertTrue(waited)
        self.assertGreater(seconds, 1.8)

    def test_own_networks_and_the_exempt_do_not_wait(self):
        self.start("smtpd { greet_delay = 20s }\nclient { exempt = { \"127.0.0.3/32\" } sessions = 1 }", relay_from=("127.0.0.2",))
        for source in "127.0.0.2", "127.0.0.3":
            held = [self.greeting(source) for _ in range(3)]
            self.assertTrue(all(line.startswith("220 ") and not waited and seconds < 15 for line, waited, seconds, _ in held), held)

    def test_who_speaks_first_gets_no_mail_in(self):
        self.start("smtpd { greet_delay = 4s }")
        sock = self.connect(say=b"EHLO robot\r\n" + ENVELOPE + b"DATA\r\nQUIT\r\n")
        text = self.lines(sock, b"221 ")
        self.assertRegex(text, r"\n550 5\.5\.1 Protocol error\r\n554 5\.5\.1 no valid recipients\r\n221 ")
        self.host.wait_log(r"pregreet: client=unknown\[127\.0\.0\.1\] after=\d+ms said=\"EHLO robot.* rule=\"smtpd \{ greet_action = enforce \}\"")
        self.host.wait_log(r"reject: command=RCPT .*to=<alice@local\.example> rule=\"smtpd \{ greet_action = enforce \}\"")
        _, waited, seconds, _ = self.greeting()
        self.assertTrue(waited)  # it did not pass
        self.assertGreater(seconds, 3.8)

    def test_an_HTTP_request_is_dropped_at_once(self):
        self.start("smtpd { greet_delay = 20s greet_action = drop }")
        began = time.monotonic()
        text = self.lines(self.connect(say=b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"), b"never")
        self.assertRegex(text, r"521 5\.5\.1 Protocol error\r\n$")
        self.assertLess(time.monotonic() - began, 15)

    def test_waiting_costs_little(self):
        """a thousand sessions that wait: what each takes of smtpd's memory, and that nothing is done meanwhile"""
        self.start("smtpd { greet_delay = 60s }\nlimit { sessions_client = 10000 sessions = 10000 }")
        pids = [int(pid) for pid in re.findall(r"postino-smtpd\[(\d+)\]", self.host.log())]
        pids = [pid for pid in dict.fromkeys(pids) if os.path.exists("/proc/%d" % pid)]

        def private():
            return sum(int(re.search(r"RssAnon:\s+(\d+)", open("/proc/%d/status" % pid).read()).group(1)) for pid in pids)

        def ticks():
            return sum(sum(map(int, open("/proc/%d/stat" % pid).read().rsplit(")", 1)[1].split()[11:13])) for pid in pids)
        before = private()
        socks = [self.connect("127.0.0.%d" % (2 + n % 200)) for n in range(1000)]
        for sock in socks:
            self.lines(sock, rb"220-.*\n")

        def used():
            before = ticks()
            time.sleep(2)
            return ticks() - before
        self.assertTrue(any(used() <= 2 for _ in range(3)))  # what the machine does beside may cost one
        if "asan" not in self.host.variant:
            self.assertLess(private() - before, 4500)  # KiB


class Limits(Case):
    def held(self, n, source="127.0.0.1"):
        return [self.greeting(source) for _ in range(n)]

    def codes(self, held):
        return [line[:3] for line, *_ in held]

    def test_sessions_over_all_processes(self):
        self.start("client { sessions = 5 networks = 2 }")
        held = self.held(8)
        self.assertEqual(self.codes(held), ["220"] * 5 + ["421"] * 3)
        self.assertRegex(held[-1][0], r"^421 4\.7\.0 \S+ Error: too many connections from 127\.0\.0\.1$")
        self.host.wait_log(r"reject: command=connect client=unknown\[127\.0\.0\.1\] reply=\"421 .*rule=\"client \{ sessions \}: 5 of 5 by 127\.0\.0\.1\"")
        for *_, sock in held[:2]:
            sock.close()
        wait_for(lambda: self.codes(self.held(1)) == ["220"])
        others = [self.greeting("127.0.0.%d" % n) for n in range(2, 12)]
        self.assertIn("421", self.codes(others))
        self.host.wait_log(r"rule=\"client \{ sessions \}: 10 of 10 by 127\.0\.0\.0/24\"")

    def test_a_dead_smtpd_and_a_dead_route(self):
        self.start("client { sessions = 6 }")
        held = self.held(6)
        self.assertEqual(self.codes(self.held(1)), ["421"])
        os.kill(self.host.pid_of("route"), signal.SIGKILL)  # a new one is told what there is

        def is_told():
            """the new route knows of the sessions"""  # who is let in before that is not one of them
            (line, *_, sock), = self.held(1)
            sock.close()
            return line.startswith("421")
        wait_for(is_told)
        pids = [pid for pid, name in self.host.pids().items() if name == "smtpd"]
        self.assertEqual(len(pids), 2)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        wait_for(lambda: self.codes(self.held(1)) == ["220"])
        self.assertEqual(len(held), 6)

    def test_connections_messages_recipients(self):
        self.start("client { connections = 4 messages = 3 recipients = 6 }")  # ten seconds and more until there is room for another
        with smtplib.SMTP("127.0.0.1", self.host.port, source_address=("127.0.0.2", 0)) as client:
            client.ehlo("x")
            for n in range(3):
                self.assertEqual(client.sendmail("a@client.example", ["alice@local.example", "bob@local.example"], "Subject: %d\r\n\r\nx" % n), {})
            self.assertEqual(client.mail("a@client.example"), (450, b"4.7.1 Error: too much mail from 127.0.0.2"))
            self.assertEqual(client.rcpt("alice@local.example")[0], 503)
        self.host.wait_log(r"reject: command=MAIL .*rule=\"client \{ messages \}: 3 of 3 by 127\.0\.0\.2\"")
        with smtplib.SMTP("127.0.0.1", self.host.port, source_address=("127.0.0.3", 0)) as client:
            client.ehlo("x")
            client.mail("a@client.example")
            said = [client.rcpt("alice@local.example")[0] for _ in range(8)]
            self.assertEqual(said, [250] * 6 + [450] * 2)
            self.assertEqual(client.data("Subject: x\r\n\r\nx")[0], 250)
        self.host.wait_log(r"reject: command=RCPT .*rule=\"client \{ recipients \}: 6 of 6 by 127\.0\.0\.3\"")
        self.assertEqual(self.codes(self.held(6, "127.0.0.4")), ["220"] * 4 + ["421"] * 2)
        self.host.wait_log(r"rule=\"client \{ connections \}: 4 of 4 by 127\.0\.0\.4\"")

    def test_errors(self):
        self.start("client { errors = 5 }")
        self.lines(self.connect(say=b"EHLO x\r\n" + b"XYZZY\r\n" * 6 + b"QUIT\r\n"), b"221 ")
        wait_for(lambda: self.codes(self.held(1)) == ["421"])
        self.host.wait_log(r"rule=\"client \{ errors \}: 5 of 5 by 127\.0\.0\.1\"")
        self.assertEqual(self.codes(self.held(1, "127.0.0.2")), ["220"])

    def test_handshakes_and_logins(self):
        host = self.start("client { tls = 3 auth = 2 networks = 0 }")
        for n in range(4):
            with smtplib.SMTP("127.0.0.1", host.port, source_address=("127.0.0.2", 0)) as client:
                client.ehlo("x")
                code, words = client.docmd("STARTTLS")
                self.assertEqual(code, 220 if n < 3 else 421)
                if n == 3:
                    self.assertIn(b"too many new TLS sessions from 127.0.0.2", words)
                client.close()
        with self.assertRaises(Exception), smtplib.SMTP_SSL("127.0.0.1", host.submissions_port, context=host.tls_context(), source_address=("127.0.0.2", 0)) as client:
            client.ehlo("x")
        with smtplib.SMTP_SSL("127.0.0.1", host.submissions_port, context=host.tls_context(), source_address=("127.0.0.3", 0)) as client:
            client.ehlo("x")
            self.assertEqual(client.docmd("AUTH PLAIN " + "AHgAeQ==")[0], 535)
            client.login("alice", "correct horse")
        with smtplib.SMTP_SSL("127.0.0.1", host.submissions_port, context=host.tls_context(), source_address=("127.0.0.3", 0)) as client:
            client.ehlo("x")
            self.assertEqual(client.docmd("AUTH PLAIN " + "AHgAeQ=="), (450, b"4.7.1 Error: too many AUTH commands from 127.0.0.3"))
        host.wait_log(r"reject: command=AUTH .*rule=\"client \{ auth \}: 2 of 2 by 127\.0\.0\.3\"")


class OutOfTurn(Case):
    def test_it_is_logged_or_refused_or_dropped(self):
        letter = b"EHLO x\r\n" + ENVELOPE + b"DATA\r\nSubject: x\r\n\r\nx\r\n.\r\nQUIT\r\n"
        self.start("access = { \"permit_mynetworks\" }")
        self.assertRegex(self.lines(self.connect(say=letter), b"221 "), r"\r\n250 2\.0\.0 Ok: queued")
        self.host.wait_log(r"pipelining: client=unknown\[127\.0\.0\.1\] behind=EHLO said=\"MAIL FROM.*\" rule=\"smtpd \{ pipelining = pass \}\"")
        for settings, words in (("access = { \"reject_unauth_pipelining\" }", r"\n503 5\.5\.0 <alice@local\.example>: Recipient address rejected: Improper use of SMTP command pipelining\r\n554 "),
                                ("smtpd { pipelining = drop }", r"ESMTP Postino\r\n521 5\.5\.1 Protocol error\r\n$")):
            self.start(settings)
            self.assertRegex(self.lines(self.connect(say=letter), b"221 "), words)
            with smtplib.SMTP("127.0.0.1", self.host.port) as client:  # who waits for replies is served
                self.assertEqual(client.sendmail("a@client.example", ["alice@local.example"], "Subject: x\r\n\r\nx"), {})
            sock = self.connect()  # and who pipelines as it is offered
            self.lines(sock, b"220 .*\n")
            sock.sendall(b"EHLO x\r\n")
            self.lines(sock, b"250 .*\n")
            sock.sendall(ENVELOPE + b"DATA\r\n")
            self.assertRegex(self.lines(sock, b"354 .*\n"), r"^250 .*\r\n250 .*\r\n354 ")


class Lines(Case):
    """Each decision is in the log once, with what made it."""

    def table(self, name, text):
        path = self.host.path(name)
        with open(path, "w") as f:
            f.write(text)
        self.host.tool("postino", "map", "hash:" + path, check=True)
        return path

    def said(self, *lines, text=None):
        sock = self.connect()
        self.lines(sock, b"220 .*\n")
        out = []
        for line in (b"EHLO x",) + lines:
            sock.sendall(line + b"\r\n")
            out.append(self.lines(sock, rb"\d\d\d .*\n"))
            if line == b"DATA" and out[-1].startswith("354"):
                sock.sendall(text + b"\r\n.\r\n")
                out.append(self.lines(sock, rb"\d\d\d .*\n"))
        return out[-1]

    def test_every_rule_is_named(self):
        self.start("limit { recipients = 100 hops = 5 message_size = 10000 line = 1000 nul = refuse }")
        rules = ["permit@client.example OK", "hold@client.example HOLD look at it", "prepend@client.example PREPEND X-Seen: yes", "warn@client.example WARN strange", "reject@client.example REJECT",
                 "later@client.example DEFER"]
        table = self.table("senders", "\n".join(rules) + "\n")
        self.host.stop()
        self.host.configure(relay_from=(), settings="smtpd_processes = 1\ndns { client_names = no }\nlimit { recipients = 100 hops = 5 message_size = 10000 line = 1000 nul = refuse }\n"
                            "access = { \"check_sender_access hash:%s\", \"warn_if_reject reject_non_fqdn_helo_hostname\" }" % table)
        self.host.start()
        rule = "check_sender_access hash:" + table
        to = b"RCPT TO:<alice@local.example>"

        def by(sender):
            return self.said(b"MAIL FROM:<%s@client.example>" % sender, to)
        cases = [
            (by(b"permit"), "250", r'access: .*from=permit@client\.example to=alice@local\.example rule="%s" says=permit$' % rule),
            (by(b"hold"), "250", r'access: .*from=hold@.* rule="%s" says="hold: <hold@client\.example>: look at it"$' % rule),
            (by(b"prepend"), "250", r'access: .*rule="%s" says="prepend: <prepend@client\.example>: X-Seen: yes"$' % rule),
            (by(b"warn"), "250", r'access: .*rule="%s" says="warn: <warn@client\.example>: strange"$' % rule),
            (by(b"reject"), "554", r'reject: command=RCPT .*from=<reject@client\.example> to=<alice@local\.example> rule="%s"' % rule),
            (by(b"later"), "450", r'reject: command=RCPT .*from=<later@client\.example> .*rule="%s"' % rule),
            (by(b"none"), "250", r'access: .*from=none@.* rule="warn_if_reject reject_non_fqdn_helo_hostname" says="reject_warning: 504 5\.5\.2 <x>: Helo command rejected'),
            (self.said(b"MAIL FROM:<>", b"RCPT TO:<x@elsewhere.example>"), "554", r'reply="554 5\.7\.1 <x@elsewhere\.example>: Relay access denied" .*to=<x@elsewhere\.example> rule="relay_from, relay_to"'),
            (self.said(b"MAIL FROM:<>", b"RCPT TO:<nobody@local.example>"), "550", r'to=<nobody@local\.example> rule="domain \{ mailboxes \}"'),
            (self.said(b"MAIL FROM:<> SIZE=20000"), "552", r'reject: command=MAIL .*rule="limit \{ message_size \}"'),
            (self.said(b"MAIL FROM:<>", to, b"DATA", text=b"x\ny"), "550", r'reject: command="end of data" .*rule="limit \{ bare_newline \}"'),
            (self.said(b"MAIL FROM:<>", to, b"DATA", text=b"x\0y"), "550", r'rule="limit \{ nul \}"'),
            (self.said(b"MAIL FROM:<>", to, b"DATA", text=b"x" * 1100), "550", r'rule="limit \{ line \}"'),
            (self.said(b"MAIL FROM:<>", to, b"DATA", text=b"x\r\n" * 9000), "552", r'command="end of data" .*reply="552 .*rule="limit \{ message_size \}"'),
            (self.said(b"MAIL FROM:<>", to, b"DATA", text=b"Received: x\r\n" * 9), "554", r'rule="limit \{ hops \}"'),
            (self.said(*[b"MAIL FROM:<>"] + [to] * 101), "452", r'reject: command=RCPT .*rule="limit \{ recipients \}"'),
        ]
        for said, code, line in cases:
            self.assertTrue(said.startswith(code), (said, line))
            wait_for(lambda line=line: re.search("(?m)" + line, self.host.log()))
            self.assertEqual(len(re.findall("(?m)" + line, self.host.log())), 1, line)

    def test_why_tells_of_the_door(self):
        self.start("smtpd { greet_delay = 4s greet_action = drop }\nclient { sessions = 7 messages = 30 exempt = { \"192.0.2.0/28\" } }\nlistener \"in\" { port = 1 tls = none }\n"
                   "listener \"out\" { port = 2 auth = required }", listeners={})

        def why(client, *more):
            return self.host.tool("postino", "why", "--client", client, "--to", "alice@local.example", *more).stdout
        text = why("2001:db8::1")
        self.assertIn("greeting: after 4 s, by smtpd { greet_delay }, or at once within 86400 s of that\n  who speaks before it is dropped with 521\n", text)
        self.assertIn("limit: client { sessions }: 7 at a time for 2001:db8::/64, 70 for 2001:db8::/48\nlimit: client { messages }: 30 a minute for 2001:db8::/64, 300 for 2001:db8::/48\n", text)
        self.assertIn("greeting: at once, and no limits, by client { exempt }\n", why("192.0.2.7"))
        text = why("192.0.2.70", "--listener", "out")
        self.assertIn("greeting: at once, by listener \"out\"\nlimit: client { sessions }: 7 at a time for 192.0.2.70, 70 for 192.0.2.0/24\n", text)
        self.assertIn("by relay_from, relay_to", self.host.tool("postino", "why", "--client", "192.0.2.70", "--to", "x@elsewhere.example").stdout)


if __name__ == "__main__":
    unittest.main(verbosity=2)
