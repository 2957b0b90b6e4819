"""Every timeout and limit that can be set is obeyed, and at its own step: each is made small alone, while all others keep their long defaults."""
import concurrent.futures
import contextlib
import os
import re
import select
import shutil
import socket
import ssl
import subprocess
import tempfile
import time
import unittest

import frames
from driven import Driven
from host import DOMAIN, Host, certificate, free_port, program, wait_for
from hostile import HANG, Late, Raw, Server
from paced import Meter, Paced
from remote import Remote
from test_smtpd import PASSWORD, Client, Smtpd, plain

BODY = b"Subject: x\r\n\r\nhello\r\n"


def at_once(cases):
    """Runs all cases beside each other, as most of each is waiting; the first failure is raised, with the case's name."""
    with concurrent.futures.ThreadPoolExecutor(len(cases)) as pool:
        running = {name: pool.submit(case) for name, case in cases.items()}
    for name, future in running.items():
        if future.exception():
            raise AssertionError("%s: %s" % (name, future.exception())) from future.exception()


class Clock:
    """Is started before what begins the time, so that what is late adds to it and never takes away. The least is what tells a setting from a shorter one; the most,
    which is far off, from a default that is longer still."""

    def __init__(self):
        self.began = time.monotonic()

    def shows(self, least, most):
        passed = time.monotonic() - self.began
        if not least <= passed <= most:
            raise AssertionError("after %.2f s, and not %g to %g" % (passed, least, most))


class Keys(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.keys = tempfile.mkdtemp(prefix="postino-test-", dir="/var/tmp")
        cls.pair = certificate(cls.keys)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.keys)


# ---- out ----------------------------------------------------------------------------------------------------------------------------------


class RemoteSettings(Keys):
    @contextlib.contextmanager
    def remote(self, settings):
        remote = Remote(settings)
        try:
            yield remote
            assert remote.running(), remote.log()
        finally:
            remote.close()

    def gives_up(self, setting, words, script, tls="none", certificate=None, **more):
        """With `setting` of one second a server that does what the script says is given up after one."""
        with self.remote('idle_timeout = "0" %s = "1s"' % setting) as remote, remote.server(certificate=certificate, **script):
            clock = Clock()
            result = remote.deliver(tls=tls, **more)
            clock.shows(0.9, 25)
            verdict = frames.VERDICT_IN_DOUBT if setting == "end_timeout" else frames.VERDICT_DEFERRED
            assert result.outcomes[0].verdict == verdict and words in result.outcomes[0].reply, result

    def nobody_answers(self):
        """A listener whose queue is full: the kernel answers no further SYN."""
        with self.remote('connect_timeout = "1s"') as remote, contextlib.ExitStack() as stack:
            listener = stack.enter_context(socket.socket())
            listener.bind(("127.0.0.2", remote.port))
            listener.listen(0)
            stack.enter_context(socket.create_connection(("127.0.0.2", remote.port), 30))
            assert select.select([listener], [], [], 30)[0]  # the one that its queue holds
            clock = Clock()
            result = remote.deliver()
            clock.shows(0.9, 25)
            assert "Connection timed out" in result.outcomes[0].reply, result

    def takes_no_more(self):
        """More than all the buffers of the kernel hold."""
        with tempfile.TemporaryFile() as body:
            size = 40 * body.write((b"x" * 998 + b"\r\n") * 1000)
            for _ in range(39):
                body.write((b"x" * 998 + b"\r\n") * 1000)
            body.flush()
            self.gives_up("block_timeout", "while sending message body", {"BODY": (1000, Late("250 ok", 60))}, fd=body.fileno(), size=size)

    def test_timeouts(self):
        given_up = {
            "greeting_timeout": ("receiving the initial server greeting", dict(GREETING=HANG)),
            "helo_timeout": ("performing the EHLO handshake", dict(EHLO=HANG)),
            "helo_timeout of HELO": ("performing the EHLO handshake", dict(EHLO="500 what", HELO=HANG)),
            "mail_timeout": ("sending MAIL FROM", dict(MAIL=HANG)),
            "rcpt_timeout": ("sending RCPT TO", dict(RCPT=HANG)),
            "data_timeout": ("sending DATA", dict(DATA=HANG)),
            "end_timeout": ("after the end of the message was sent", dict(END=HANG)),
        }
        cases = {name: (lambda n=name, w=words, s=script: self.gives_up(n.split()[0], w, s)) for name, (words, script) in given_up.items()}
        cases["tls_timeout"] = lambda: self.gives_up("tls_timeout", "TLS with host", dict(STARTTLS=HANG), "required", self.pair)
        cases["tls_timeout of the handshake"] = lambda: self.gives_up(
            "tls_timeout", "TLS with host", dict(STARTTLS=Raw(b"220 go on\r\n", HANG)), "required", self.pair)
        cases["connect_timeout"] = self.nobody_answers
        cases["block_timeout"] = self.takes_no_more
        at_once(cases)

    def session_ends(self, settings, script, seconds, most, command):
        with self.remote(settings) as remote, remote.server(**script) as server:
            clock = Clock()
            remote.deliver()
            wait_for(lambda: server.sessions[0].ended)
            clock.shows(seconds - 0.2, most)
            assert command in server.sessions[0].commands, server.sessions[0].commands

    def test_a_session_after_its_message(self):
        at_once({
            "quit_timeout": lambda: self.session_ends('idle_timeout = "0" quit_timeout = "1s"', dict(QUIT=HANG), 1, 9, "QUIT"),
            "quit_timeout of RSET": lambda: self.session_ends(
                'idle_timeout = "0" quit_timeout = "1s"', dict(extensions=(), RCPT="550 5.1.1 no", RSET=HANG), 1, 9, "RSET"),
            "idle_timeout": lambda: self.session_ends('idle_timeout = "7s"', {}, 7, 25, "QUIT"),  # longer than the default of 5
            "idle_timeout of none": lambda: self.session_ends('idle_timeout = "0"', {}, 0, 4.8, "QUIT"),
        })

    def test_session_messages(self):
        with self.remote("idle_timeout = 5m session_messages = 2") as remote, remote.server() as server:
            for _ in range(5):
                remote.deliver()
            self.assertEqual([s.commands.count("DATA") for s in server.sessions], [2, 2, 1])

    def test_session_messages_as_qmgr_wants_them(self):
        """its number goes before the setting's; what no setting can be is not taken from it"""
        for wanted, sessions in (([3] * 5, [3, 2]), ([0, 1, 0, 0, 0], [1, 1, 2, 1]), ([5, 5, 5, 1, 5], [3, 1, 1]), ([100001, 2**32 - 1, 0, 2, 2], [2, 2, 1]),
                                 ([9, 9, 9, 2, 2], [3, 2])):
            with self.subTest(wanted), self.remote("idle_timeout = 5m session_messages = 2") as remote, remote.server() as server:
                for number in wanted:
                    remote.deliver(session_messages=number)
                self.assertEqual([s.commands.count("DATA") for s in server.sessions], sessions)

    def test_address_family(self):
        for family, used in (("any", ["::1", "127.0.0.2"]), ("ipv4", ["127.0.0.2"]), ("ipv6", ["::1"])):
            with self.subTest(family), self.remote("address_family = %s race_delay = 60000" % family) as remote:
                remote.names.table["both.example"] = [("mx.both.example", "::1 127.0.0.2")]
                remote.deliver(nexthop="both.example")  # nobody listens
                tried = lambda: re.findall(r"error=\"connect to [^\[]*\[([^]]*)\]", remote.log())  # noqa: E731
                wait_for(lambda: len(tried()) >= len(used))  # lines leave after results
                self.assertEqual(tried(), used)


# ---- in -----------------------------------------------------------------------------------------------------------------------------------


class SmtpdSettings(Keys):
    @contextlib.contextmanager
    def smtpd(self, section="", name="smtp", settings=""):
        smtpd = Smtpd("""
            tls { certificate = "%s" key = "%s" }
            listener "smtp" { port = 25 tls = may auth = may }
            listener "submission" { port = 587 tls = required auth = required }
            listener "submissions" { port = 465 tls = implicit auth = may }
            %s %s""" % (self.pair + (section, settings)))
        try:
            yield smtpd
            assert smtpd.running(), smtpd.log()
        finally:
            smtpd.close()

    def context(self):
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return context

    def begin_data(self, client):
        for line in ("EHLO me.example", "MAIL FROM:<a@example.net>", "RCPT TO:<b@example.org>"):
            assert client.say(line).startswith("250")
        assert client.say("DATA").startswith("354")

    def command_timeout(self):
        with self.smtpd('smtpd { command_timeout = "5s" }') as smtpd, Client(smtpd.ports["smtp"]) as client:
            self.begin_data(client)
            time.sleep(5.5)  # of no meaning inside of a message
            clock = Clock()
            client.raw(b"x\r\n.\r\n")
            assert client.reply().startswith("250")
            assert client.reply().startswith("421 4.4.2")
            clock.shows(4.9, 60)

    def data_timeout(self):
        with self.smtpd('smtpd { data_timeout = "5s" }') as smtpd, Client(smtpd.ports["smtp"]) as client:
            time.sleep(5.5)  # of no meaning between commands
            clock = Clock()
            self.begin_data(client)
            client.raw(b"half a line")
            assert client.reply().startswith("421 4.4.2")
            clock.shows(4.9, 60)
            assert client.at_end()

    def session_time(self):
        with self.smtpd('smtpd { session_time = "2s" }') as smtpd:
            clock, reply = Clock(), "250"
            with Client(smtpd.ports["smtp"]) as client:
                while reply.startswith("250"):
                    client.raw(b"NOOP\r\n")
                    reply = client.reply()
                    time.sleep(0.1)
            assert reply.startswith("421 4.4.2"), reply
            clock.shows(1.9, 60)

    def tls_timeout(self):
        with self.smtpd('smtpd { tls_timeout = "1s" }') as smtpd:
            with socket.create_connection(("127.0.0.1", smtpd.ports["submissions"])) as s, Client(smtpd.ports["smtp"]) as client:
                clock = Clock()
                assert client.say("EHLO me.example") and client.say("STARTTLS").startswith("220")
                s.settimeout(60)
                assert s.recv(100) == b"" and client.at_end()
                clock.shows(0.9, 50)

    def auth(self, client, password):
        return client.say("AUTH PLAIN " + plain("alice", password))

    def auth_delay(self):
        with self.smtpd('smtpd { auth_delay = "6s" }') as smtpd, Client(smtpd.ports["submissions"], self.context()) as client:
            client.say("EHLO me.example")
            clock = Clock()
            assert self.auth(client, "wrong").startswith("535")
            clock.shows(5.9, 60)
            clock = Clock()
            assert self.auth(client, PASSWORD).startswith("235")
            clock.shows(0, 5.5)

    def auth_failures(self):
        with self.smtpd("smtpd { auth_failures = 2 auth_delay = 0 }") as smtpd, Client(smtpd.ports["submissions"], self.context()) as client:
            client.say("EHLO me.example")
            assert self.auth(client, "wrong").startswith("535")
            assert self.auth(client, "wrong").startswith("535")
            assert client.reply().startswith("421 4.7.0") and client.at_end()

    def test_timeouts(self):
        at_once({name: getattr(self, name) for name in (
            "command_timeout", "data_timeout", "session_time", "tls_timeout", "auth_delay", "auth_failures")})

    def message(self, client, text):
        """The reply to a message with this text."""
        self.begin_data(client)
        client.raw(text + b".\r\n")
        return client.reply()

    def test_limits_of_a_message(self):
        with self.smtpd("limit { message_size = 2000 line = 1000 hops = 5 }") as smtpd, Client(smtpd.ports["smtp"]) as client:
            client.say("EHLO me.example")
            self.assertEqual(client.say("MAIL FROM:<a@example.net> SIZE=2001")[:9], "552 5.3.4")
            for text, reply in ((b"x" * 998 + b"\r\n", "250"), (b"x" * 999 + b"\r\n", "550 5.6.0"), (b"x" * 98 + b"\r\n", "250"),
                                ((b"x" * 98 + b"\r\n") * 20, "250"), ((b"x" * 98 + b"\r\n") * 20 + b"\r\n", "552 5.3.4"),
                                (b"Received: x\r\n" * 5 + b"\r\n", "250"), (b"Received: x\r\n" * 6 + b"\r\n", "554 5.4.6")):
                with self.subTest(text=text[:20], octets=len(text)):
                    self.assertTrue(self.message(client, text).startswith(reply))

    def test_limits_of_a_session(self):
        with self.smtpd("limit { command_line = 512 recipients = 100 errors = 3 }") as smtpd:
            with Client(smtpd.ports["smtp"]) as client:
                self.assertEqual(client.say("NOOP " + "x" * 505)[:3], "250")
                self.assertEqual(client.say("NOOP " + "x" * 506)[:9], "500 5.5.2")
                self.assertEqual(client.say("EHLO me.example")[:3], "250")
                self.assertEqual(client.say("MAIL FROM:<a@example.net>")[:3], "250")
                replies = [client.say("RCPT TO:<b%d@example.org>" % i)[:9] for i in range(101)]
                self.assertEqual((set(replies[:100]), replies[100]), ({"250 2.1.5"}, "452 4.5.3"))
            with Client(smtpd.ports["smtp"]) as client:
                self.assertEqual([client.say("WHAT")[:3] for _ in range(3)], ["500"] * 3)
                self.assertEqual(client.reply()[:9], "421 4.7.0")

    def sessions(self, limits, relay_from, least):
        """How many sessions are let in beside each other, of six."""
        with self.smtpd("limit { %s }" % limits, settings="relay_from = { %s }" % relay_from) as smtpd, contextlib.ExitStack() as stack:
            clients = [stack.enter_context(Client(smtpd.ports["smtp"])) for _ in range(6)]
            greetings = [c.greeting[:3] for c in clients]
            assert greetings == ["220"] * least + ["421"] * (6 - least), greetings

    def test_limits_of_sessions(self):
        at_once({
            "sessions": lambda: self.sessions("sessions = 4", '"127.0.0.0/8"', 4),
            "sessions_client": lambda: self.sessions("sessions_client = 2", "", 2),
            "sessions_client is not for relay_from": lambda: self.sessions("sessions_client = 2", '"127.0.0.0/8"', 6),
        })

    def test_bare_newline(self):
        for choice, reply in (("refuse", "550 5.6.0"), ("normalize", "250")):
            with self.subTest(choice), self.smtpd("limit { bare_newline = %s }" % choice) as smtpd, Client(smtpd.ports["smtp"]) as client:
                self.assertTrue(self.message(client, b"a\nb\rc\r\n").startswith(reply))
                if choice == "normalize":
                    self.assertTrue(smtpd.stored[0].body.endswith(b"\r\na\r\nb c\r\n"))

    def test_nul(self):
        for choice, reply in (("pass", "250"), ("refuse", "550 5.6.0 the message has a NUL")):
            with self.subTest(choice), self.smtpd("limit { nul = %s }" % choice) as smtpd, Client(smtpd.ports["smtp"]) as client:
                self.assertTrue(self.message(client, b"Subject: a\0b\r\n\r\nc\0\r\n\0\r\n").startswith(reply))
                if choice == "pass":
                    self.assertTrue(smtpd.stored[0].body.endswith(b"Subject: a\0b\r\n\r\nc\0\r\n\0\r\n"))
                self.assertTrue(self.message(client, b"x\r\n").startswith("250"))

    def test_header_hidden(self):
        for hidden in (0, 1):
            with self.subTest(hidden=hidden), self.smtpd("limit { header_hidden = %d }" % hidden) as smtpd:
                with Client(smtpd.ports["submissions"], self.context()) as client:
                    client.say("EHLO me.example")
                    self.assertTrue(self.auth(client, PASSWORD).startswith("235"))
                    self.assertTrue(self.message(client, b"x\r\n").startswith("250"))
                    self.assertEqual(b"127.0.0.1" in smtpd.stored[0].body, not hidden, smtpd.stored[0].body)


# ---- where it goes ------------------------------------------------------------------------------------------------------------------------


class RouteSettings(unittest.TestCase):
    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="postino-test-", dir="/var/tmp")
        self.addCleanup(shutil.rmtree, self.directory)
        path = os.path.join(self.directory, "aliases")
        with open(path, "w", encoding="ascii") as file:
            file.write("one: a@far.example\ntwo: a@far.example, b@far.example\nthree: two, c@far.example\ndeep: deeper\ndeeper: deepest\ndeepest: one\n")
        subprocess.run([program("postino"), "map", "-a", "hash:" + path], check=True, stdout=subprocess.DEVNULL)
        self.settings = 'aliases = { "hash:%s" }\n' % path

    def code(self, route, name):
        return route.edges["smtpd"].ask("RCPT", client="192.0.2.1", helo="x", sender="s@far.example", recipient=name + "@mx.local.example").code

    def codes(self, settings, *names):
        with Driven("route", self.settings + settings, edges=("smtpd", "dns")) as route:
            return [self.code(route, name) for name in names]

    def test_aliases(self):
        self.assertEqual(self.codes("limit { alias_recipients = 2 }", "one", "two", "three"), [250, 250, 451])
        self.assertEqual(self.codes("limit { alias_depth = 2 }", "one", "deepest", "deeper", "deep"), [250, 250, 451, 451])
        self.assertEqual(self.codes("", "three", "deep"), [250, 250])

    def test_recipient_delimiter(self):
        for text, codes in (("", [250, 550]), ('recipient_delimiter = "-"', [550, 250]), ('recipient_delimiter = ""', [550, 550])):
            with self.subTest(text):
                self.assertEqual(self.codes(text, "one+tag", "one-tag"), codes)

    def test_client_names(self):
        with Driven("route", self.settings + "dns { client_names = no }", edges=("smtpd", "dns")) as route:
            answer = route.edges["smtpd"].ask("CLIENT", address="127.0.0.1", listener="smtp")
            self.assertEqual(answer["name"], "unknown")
            with self.assertRaises(TimeoutError):
                route.edges["dns"].receive(0.5)

    def test_client_name_timeout(self):
        with Driven("route", self.settings + 'dns { client_name_timeout = "6s" }', edges=("smtpd", "dns")) as route:
            clock = Clock()
            self.assertEqual(route.edges["smtpd"].ask("CLIENT", address="127.0.0.1", listener="smtp")["name"], "unknown")
            clock.shows(5.9, 25)  # the default is 5


# ---- the queue ----------------------------------------------------------------------------------------------------------------------------


class QueueSettings(unittest.TestCase):
    @contextlib.contextmanager
    def host(self, settings, **script):
        """A host, and the next host of all its mail."""
        port = free_port()
        with Server("127.0.0.1", port, **script) as server, Host(routes={"*": "smtp:[127.0.0.1]:%d" % port}, settings=settings) as host:
            yield host, server

    def send(self, host, *recipients, sender="alice@" + DOMAIN, body=BODY):
        with host.smtp() as client:
            return client.sendmail(sender, recipients or ["x@far.example"], body)

    def leaves_after(self, settings, sender, report):
        with self.host("queue { retry_first = 1s retry_most = 1s %s }" % settings, RCPT="451 4.2.0 later") as (host, _):
            clock = Clock()
            self.send(host, sender=sender)
            wait_for(host.queue_is_empty, 60, 0.1)
            clock.shows(2, 60)
            wait_for(lambda: len(host.messages("alice")) >= report)  # a report that is just being stored is in no list
            assert len(host.messages("alice")) == report, host.messages("alice")

    def job_recipients(self):
        with self.host("queue { job_recipients = 2 }") as (host, server):
            self.send(host, *["x%d@far.example" % i for i in range(5)])
            wait_for(host.queue_is_empty)
            assert sorted(len(m.recipients) for m in server.messages) == [1, 2, 2], [m.recipients for m in server.messages]

    def site_sessions(self):
        with Paced(pause=0.5, meter=Meter(gather=2)) as server, \
                Host(routes={"*": server.via}, settings="remote { loopback = yes idle_timeout = 5m } queue { site_sessions = 2 }") as host:
            for _ in range(6):
                self.send(host)
            wait_for(host.queue_is_empty)
            assert len(server.messages) == 6 and len(server.sessions) == server.meter.most == 2, (len(server.sessions), server.meter.most)

    def bounce_size(self):
        with self.host("queue { bounce_size = 1K }", RCPT="550 5.1.1 no") as (host, _):
            for body in (BODY + b"the text\r\n" * 10, BODY + b"the text\r\n" * 500):
                self.send(host, body=body)
            reports = wait_for(lambda: len(host.messages("alice")) == 2 and host.messages("alice"))
            assert sorted(b"the text" in r for r in reports) == [False, True], reports
            assert all(b"Subject: x" in r for r in reports), reports

    def queue_free(self):
        with self.host("limit { queue_free = 1024G }") as (host, _), host.smtp() as client:
            client.ehlo()
            client.mail("a@b.example")
            client.rcpt("x@far.example")
            code, reply = client.data(BODY)
            assert (code, reply[:5]) == (452, b"4.3.1"), (code, reply)

    def port_and_loopback(self):
        port = free_port()
        domains = {"far.example": "via = \"smtp:[localhost]\" tls = none"}
        settings = "remote { loopback = %s port = %d }\nqueue { retry_first = 1h }"
        for loopback, count in (("no", 0), ("yes", 1)):
            with Server("127.0.0.1", port) as server, Host(routes=domains, settings=settings % (loopback, port)) as host:
                self.send(host)
                wait_for(lambda: server.messages or "loopback is not set" in host.log() or re.search("remote { loopback } is not set", host.log()))
                assert len(server.messages) == count, host.log()

    def test_all(self):
        at_once({
            "lifetime": lambda: self.leaves_after("lifetime = 3s", "alice@" + DOMAIN, 1),
            "bounce_lifetime": lambda: self.leaves_after("bounce_lifetime = 3s", "", 0),
            "job_recipients": self.job_recipients,
            "site_sessions": self.site_sessions,
            "bounce_size": self.bounce_size,
            "queue_free": self.queue_free,
            "port, loopback": self.port_and_loopback,
        })


class HostSettings(unittest.TestCase):
    def test_smtpd_processes(self):
        with Host(settings="smtpd_processes = 3") as host:
            self.assertEqual(list(host.pids().values()).count("smtpd"), 3)

    def test_stop_grace(self):
        with Host(settings="stop_grace = 2s") as host, Client(host.port) as client:
            for line in ("EHLO me.example", "MAIL FROM:<a@example.net>", "RCPT TO:<alice@%s>" % DOMAIN):
                self.assertTrue(client.say(line).startswith("250"))
            self.assertTrue(client.say("DATA").startswith("354"))
            clock = Clock()
            self.assertEqual(host.stop(), 0)
            clock.shows(1.9, 9)

    def lines_at(self, level):
        """Which of a line of each kind a host with that log level writes while it takes in a message."""
        host = Host()
        self.addCleanup(host.close)
        with open(host.config, encoding="ascii") as file:
            text = file.read()
        with open(host.config, "w", encoding="ascii") as file:
            file.write(text.replace('level = "debug"', 'level = "%s"' % level))
        with open(host.log_path, "ab") as log:
            host.process = subprocess.Popen([program("postino-master"), "-c", host.config, "-f"], stdin=subprocess.DEVNULL, stderr=log)

        def takes_mail():
            with contextlib.suppress(OSError), host.smtp() as client:
                return not client.sendmail("a@b.example", ["alice@" + DOMAIN], BODY)
        wait_for(takes_mail)
        wait_for(lambda: host.messages("alice"))
        host.stop()
        return [word for word, part in (("info", "nrcpt=1"), ("debug", "is ready")) if part in host.log()]

    def test_log_level(self):
        for level, words in (("error", []), ("info", ["info"]), ("debug", ["info", "debug"])):
            with self.subTest(level):
                self.assertEqual(self.lines_at(level), words)


if __name__ == "__main__":
    unittest.main()
