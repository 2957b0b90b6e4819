"""Logins at next hosts (RFC 4954): postino-remote and postino-creds together, against scripted hosts; whole Postinos against real servers."""
import base64
import hashlib
import hmac
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.parse

import frames
import host
import mtas
from certificates import Certificates
from dovecot import Dovecot, token
from driven import Driven
from hostile import DROP, HANG, Raw, Server, Session
from host import wait_for
from listening import Listener
from movedclock import Clock
from remote import BODY, DEFERRED, FAILED, PATIENT, RELAYED, Names, Policies

sys.path.insert(0, os.path.join(host.ROOT, "tests", "conformance"))
from servers import Postfix  # noqa: E402

USER, SECRET = "office@example.org", "Tr0ub4dor&3-horse-battery"
NAME = "smart.example"


def b64(octets):
    return base64.b64encode(octets).decode()


class Clerk(Session):
    """A session that knows AUTH: as server.auth says, a function of the session and of the words behind AUTH; without one, honestly."""

    def command(self, line):
        if line.upper().startswith("AUTH "):
            self.commands.append(line)
            (self.server.auth or honest)(self, *line.split(" ")[1:])
        elif line.upper().startswith("LHLO "):
            self.commands.append(line)
            self.play(self.hello("LHLO"))
        else:
            super().command(line)

    def ask(self, text):
        """A challenge, and what the client says to it."""
        self.send(b"334 " + text.encode() + b"\r\n")
        answer = self.line()
        self.commands.append(answer)
        return answer

    def verdict(self, good):
        self.send(b"235 2.7.0 welcome\r\n" if good else b"535 5.7.8 no\r\n")


def honest(session, mechanism, initial=None):
    server = session.server
    if mechanism == "PLAIN":
        said = base64.b64decode(initial if initial else session.ask(""))
        session.verdict(said == b"\0%s\0%s" % (USER.encode(), server.secret))
    elif mechanism == "LOGIN":
        user = base64.b64decode(session.ask(b64(b"Username:")))
        session.verdict((user, base64.b64decode(session.ask(b64(b"Password:")))) == (USER.encode(), server.secret))
    elif mechanism == "CRAM-MD5":
        said = base64.b64decode(session.ask(b64(b"<1.2@smart.example>")))
        session.verdict(said == USER.encode() + b" " + hmac.new(server.secret, b"<1.2@smart.example>", hashlib.md5).hexdigest().encode())
    elif mechanism in ("XOAUTH2", "OAUTHBEARER"):
        said = base64.b64decode(initial if initial else session.ask(""))
        who = b"user=" + USER.encode() if mechanism == "XOAUTH2" else b"n,a=%s," % USER.encode()
        good = said == who + b"\1auth=Bearer " + server.secret + b"\1\1"
        if not good:
            session.ask(b64(b'{"status":"401","schemes":"bearer"}'))
        session.verdict(good)
    else:
        session.send(b"504 5.5.4 what?\r\n")


class SmartHost(Server):
    def __init__(self, address, port, auth=None, mechanisms="PLAIN", secret=SECRET, **more):
        self.auth, self.secret = auth, secret.encode()
        super().__init__(address, port, extensions=("PIPELINING", "8BITMIME", "AUTH " + mechanisms), **more)

    def session(self, sock):
        return Clerk(self, super().session(sock).sock)

    def said(self, word):
        return [c for s in self.sessions for c in s.commands if c.startswith(word)]


class TokenServer:
    """HTTPS on 127.0.0.1: each POST is kept, and answered by the next of `answers` (the last one for all later ones): a dict, octets, or HANG."""

    def __init__(self, certificate, *answers, address=None):
        """`address`: one of its own, at which nobody else can be met; None: all, as "localhost" is two."""
        self.answers, self.asked, self.port = list(answers), [], host.free_port()
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(*certificate)
        self.listener = Listener(socket.create_server((address, self.port)) if address else
                                 socket.create_server(("", self.port), family=socket.AF_INET6, dualstack_ipv6=True), self.serve)

    def serve(self, plain):
        with self.context.wrap_socket(plain, server_side=True) as sock:
            request = b""
            while b"\r\n\r\n" not in request:
                request += self.more(sock)
            head, _, body = request.partition(b"\r\n\r\n")
            size = int(re.search(rb"(?i)content-length: *(\d+)", head).group(1))
            while len(body) < size:
                body += self.more(sock)
            self.asked.append((head.split(b"\r\n")[0].decode(), dict(urllib.parse.parse_qsl(body.decode()))))
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if answer is HANG:
                self.more(sock)
            if isinstance(answer, dict):
                text = json.dumps(answer).encode()
                answer = b"HTTP/1.1 %d x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (400 if "error" in answer else 200, len(text), text)
            sock.sendall(answer)

    @staticmethod
    def more(sock):
        octets = sock.recv(65536)
        if not octets:
            raise OSError("the client hung up")
        return octets

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.listener.close()


class Base(unittest.TestCase):
    route, login, more, credential = "", "", "", "secret = \"%s\""
    secret = SECRET
    via, transport = "[%s]" % NAME, "smtp"
    login_of_route = "login = smart"
    times = PATIENT
    clock = None  # of creds

    @classmethod
    def setUpClass(cls):
        cls.made = cls.enterClassContext(Certificates())
        cls.good, cls.bad = cls.made.sign(NAME), cls.made.sign("other.example")

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="postino-test-")
        self.addCleanup(shutil.rmtree, self.directory)
        self.begin()

    def write_secret(self, secret, mode=0o600):
        path = os.path.join(self.directory, "secret")
        with open(path, "w", encoding="utf-8") as f:
            f.write(secret + "\n")
        os.chmod(path, mode)
        return path

    def begin(self, secret=None, mode=0o600):
        """remote and creds, with an edge between them; each test has its own, as a refused login is remembered."""
        self.port = host.free_port()
        path = self.write_secret(self.secret if secret is None else secret, mode)
        self.text = text = self.more + ("remote { loopback = yes idle_timeout = 60s %s }\ntls { authorities = \"%s\" }\nroute \"*\" { via = \"%s:%s:%d\" %s %s }\n"
                "login smart { user = \"%s\" %s %s }" % (self.times, self.made.authority[0], self.transport, self.via, self.port, self.login_of_route, self.route, USER, self.credential % path if "%s" in self.credential else self.credential, self.login))
        self.creds = Driven("creds", text, edges=("dns",), where=self.clock.words() if self.clock else ())
        self.addCleanup(self.creds.close)
        self.creds_names = Names(self.creds.edges["dns"])
        self.remote = Driven("remote", text, edges=("qmgr", "dns", "sts"))
        self.addCleanup(self.remote.close)
        self.remote.join(self.creds)
        Policies(self.remote.edges["sts"])
        self.names = Names(self.remote.edges["dns"])
        self.names.table[NAME] = [(NAME, "127.0.0.2")]
        self.qmgr = self.remote.edges["qmgr"]

    def tearDown(self):
        for one in (self.remote, self.creds):
            self.assertTrue(one.running(), one.log())

    def send(self, nexthop=None, tls="verify", flags=0, transport=None, route="*", **more):
        nexthop = nexthop or "%s:%d" % (self.via, self.port)
        return self.qmgr.send("DELIVER", id=77, nexthop=nexthop, tls=tls, sender="s@from.example", flags=flags, size=len(BODY), body=BODY, route=route, **more,
                              recipients=[dict(address="bob@a.example", transport=transport or self.transport, nexthop=nexthop, tls=tls)])

    def deliver(self, **more):
        self.send(**more)
        return self.qmgr.receive(60)

    def smart(self, **more):
        more.setdefault("certificate", self.good)
        return SmartHost(more.pop("address", "127.0.0.2"), self.port, **more)

    def outcome(self, result):
        return result.outcomes[0].verdict, result.outcomes[0].status

    def delivered(self, by, **more):
        with self.smart(**more) as server:
            result = self.deliver()
            self.assertEqual(self.outcome(result), (RELAYED, "2.0.0"), result)
            self.assertTrue(result.security.endswith("login smart by " + by), result.security)
            self.assertEqual([m.body for m in server.messages], [BODY])
        return server

    def waits(self, status, words, site_failed=1, deliver=None, **more):
        """The mail waits, none of it was said, and no word of it has the secret."""
        with self.smart(**more) as server:
            result = self.deliver(**(deliver or {}))
            self.assertEqual(self.outcome(result), (DEFERRED, status), result)
            self.assertIn(words, result.outcomes[0].reply)
            self.assertEqual(result.site_failed, site_failed, result)
            self.assertEqual(server.said("MAIL"), [])
        for text in (result.outcomes[0].reply, self.remote.log(), self.creds.log()):
            for secret in (self.secret, b64(self.secret.encode()), b64(("\0%s\0%s" % (USER, self.secret)).encode())):
                self.assertNotIn(secret, text)
        return server


class Mechanisms(Base):
    def test_plain(self):
        server = self.delivered("PLAIN")
        self.assertEqual(server.said("AUTH"), ["AUTH PLAIN " + b64(("\0%s\0%s" % (USER, SECRET)).encode())])

    def test_login(self):
        self.assertEqual(self.delivered("LOGIN", mechanisms="LOGIN").said("AUTH"), ["AUTH LOGIN"])

    def test_login_as_old_servers_offer_it(self):
        with self.smart() as server:
            server.extensions = ("AUTH=LOGIN",)
            self.assertEqual(self.outcome(self.deliver()), (RELAYED, "2.0.0"))

    def test_cram_md5_is_better_than_plain(self):
        self.delivered("CRAM-MD5", mechanisms="PLAIN LOGIN CRAM-MD5 DIGEST-MD5 GSSAPI")

    def test_one_login_for_all_that_goes_over_a_session(self):
        with self.smart() as server:
            for _ in range(3):
                self.assertEqual(self.outcome(self.deliver()), (RELAYED, "2.0.0"))
            self.assertEqual((len(server.sessions), len(server.said("AUTH")), len(server.messages)), (1, 1, 3))

    def test_a_host_that_the_route_does_not_lead_to_hears_nothing(self):
        """Mail that was taken when there was no route, or another one, keeps its next hop in the queue; it goes where the secret belongs."""
        with SmartHost("127.0.0.3", self.port, certificate=self.good) as former:
            self.names.table["a.example"] = [(NAME, "127.0.0.3")]
            for nexthop in ("[127.0.0.3]:%d" % self.port, "a.example:%d" % self.port, "[%s]" % NAME, "[%s]:%d" % (NAME, self.port + 1)):
                with self.smart() as smart:
                    self.assertEqual(self.outcome(self.deliver(nexthop=nexthop, hosts="" if nexthop[0] == "[" else NAME)), (RELAYED, "2.0.0"))
                    self.assertLessEqual(len(smart.messages), 1)
            self.assertEqual(former.sessions, [])


class Lmtp(Base):
    transport = "lmtp"

    def test_lmtp(self):
        with self.smart() as server:
            self.assertEqual(self.outcome(self.deliver())[1], "2.0.0")
            self.assertEqual([s.commands[0][:4] for s in server.sessions], ["LHLO"])
            self.assertEqual((len(server.said("AUTH PLAIN ")), len(server.messages)), (1, 1))

    def test_mail_of_another_protocol_is_not_told_the_login(self):
        with self.smart() as server:
            self.assertEqual(self.outcome(self.deliver(transport="smtp")), (DEFERRED, "4.3.5"))
            self.assertEqual(server.sessions, [])


class NearAndVerified(Base):
    route, via = "tls = verify", "[127.0.0.2]"

    def test_an_address_of_this_host_is_held_to_the_route(self):
        with self.smart(certificate=None):
            self.assertEqual(self.outcome(self.deliver()), (DEFERRED, "4.7.4"))


class Near(Base):
    route, via = "tls = dane", "[127.0.0.2]"

    def test_an_address_of_this_host_needs_no_tls(self):
        with self.smart(certificate=None) as server:
            self.assertEqual(self.outcome(self.deliver()), (RELAYED, "2.0.0"))
            self.assertEqual(len(server.said("AUTH PLAIN ")), 1)


class Long(Base):
    secret = "x" * 3000

    def test_a_line_that_would_be_too_long_waits_for_an_empty_challenge(self):
        server = self.delivered("PLAIN", secret=self.secret)
        self.assertEqual(server.said("AUTH"), ["AUTH PLAIN"])


class Proof(Base):
    """Nothing is said to a host that nothing has proved to be the right one, whatever it offers."""
    all = "SCRAM-SHA-256-PLUS SCRAM-SHA-256 CRAM-MD5 PLAIN LOGIN"

    def test_without_tls(self):
        server = self.waits("4.7.4", "TLS is required, but was not offered", certificate=None, mechanisms=self.all)
        self.assertEqual(server.said("AUTH"), [])

    def test_with_the_certificate_of_another(self):
        server = self.waits("4.7.5", "TLS with host", certificate=self.bad, mechanisms=self.all)
        self.assertEqual(server.said("AUTH"), [])

    def test_mail_that_was_taken_when_the_route_had_no_login(self):
        """It holds to what the route demands today."""
        server = self.waits("4.7.4", "TLS is required, but was not offered", certificate=None, deliver=dict(tls="may"))
        self.assertEqual(server.said("AUTH"), [])
        server = self.waits("4.7.5", "TLS with host", certificate=self.bad, deliver=dict(tls="dane"))
        self.assertEqual(server.said("AUTH"), [])

    def test_a_header_of_a_stranger_waives_nothing(self):
        server = self.waits("4.7.5", "TLS with host", certificate=self.bad, deliver=dict(tls="dane", flags=frames.ENVELOPE_TLS_OPTIONAL))
        self.assertEqual(server.said("AUTH"), [])


class ByMx(Base):
    via = "a.example"

    def test_a_name_from_dns_that_is_not_proved_is_nobody(self):
        self.names.table["a.example"] = [(NAME, "127.0.0.2")]
        server = self.waits("4.7.0", "nothing has proved that it is the right one")
        self.assertEqual(server.said("AUTH"), [])


class ProofOfMay(Base):
    route = "tls = dane"

    def test_opportunistic_tls_proves_nothing(self):
        for certificate in (None, self.good, self.bad):
            with self.subTest(certificate=certificate):
                server = self.waits("4.7.0", "nothing has proved that it is the right one", certificate=certificate, mechanisms=Proof.all)
                self.assertEqual(server.said("AUTH"), [])
        self.assertRegex(self.creds.log(), r'login=smart host="?smart.example\[127.0.0.2\]:%d"? error=".*look at tls of the route' % self.port)


class Insecure(Base):
    route, login = "tls = may", "insecure = yes"

    def test_the_administrator_may_not_care(self):
        server = self.delivered("PLAIN", certificate=None)
        self.assertEqual(len(server.said("AUTH PLAIN ")), 1)


class Chosen(Base):
    login = "mechanisms = { LOGIN }"

    def test_no_other_mechanism_is_used(self):
        self.delivered("LOGIN", mechanisms="SCRAM-SHA-256 CRAM-MD5 PLAIN LOGIN")
        self.begin()
        server = self.waits("4.7.0", "it offers SCRAM-SHA-256 PLAIN, and the login allows LOGIN", mechanisms="SCRAM-SHA-256 PLAIN")
        self.assertEqual(server.said("AUTH"), [])


class NoLogin(Base):
    """A route without one, to a host that wants one: the file is wrong, and not the mail."""
    route = "tls = may"
    login_of_route = ""

    def refused(self, words, **more):
        for step in ("MAIL", "RCPT", "DATA"):
            with self.subTest(step=step), self.smart(**{step: "530 5.7.0 authentication required"}):
                result = self.deliver(tls="may", route="", **more)
                self.assertEqual(self.outcome(result), (DEFERRED, "4.7.0"), result)
                self.assertRegex(result.outcomes[0].reply, r"said: 530 5.7.0 authentication required \(in reply to %s.*\); the host wants %s: add login = " % (step, words))

    def test_a_host(self):
        self.refused("a login")

    def test_an_address(self):
        self.refused("a login", nexthop="[127.0.0.2]:%d" % self.port)

    def test_without_tls_it_may_want_that(self):
        with self.smart(certificate=None, MAIL="530 5.7.0 Must issue a STARTTLS command first"):
            self.assertIn("wants a login or TLS: ", self.deliver(tls="may", route="").outcomes[0].reply)

    def test_other_refusals_and_receivers_hosts_are_as_ever(self):
        with self.smart(MAIL="550 5.7.1 no"):
            self.assertEqual(self.outcome(self.deliver(tls="may", route="")), (FAILED, "5.7.1"))
        self.names.table["a.example"] = [(NAME, "127.0.0.2")]
        with self.smart(MAIL="530 5.7.0 authentication required"):
            result = self.deliver(nexthop="a.example:%d" % self.port, tls="may", route="")
            self.assertEqual(self.outcome(result), (FAILED, "5.7.0"), result)
            self.assertNotIn("add login", result.outcomes[0].reply)


class NoLoginByMx(NoLogin):
    via = NAME


class Refusals(Base):
    def test_a_wrong_password_is_said_once_and_nothing_is_returned(self):
        server = self.waits("4.7.8", 'refused login "smart" (PLAIN) with 535 5.7.8', secret="another")
        self.assertEqual(len(server.said("AUTH")), 1)
        self.assertNotIn("refused login", self.remote.log())  # the line of creds and the delivery's own say it
        self.assertRegex(self.creds.log(), r'login=smart host="?smart.example\[127.0.0.2\]:%d"? error=".*look at user and secret of the login' % self.port)
        server = self.waits("4.7.8", "was refused with 535 5.7.8 just now, and is tried again in a minute; correct its user or secret, then postino reload", secret="another")
        self.assertEqual(server.said("AUTH"), [])
        self.assertEqual(self.creds.log().count("error="), 1)

    def test_it_is_said_again_after_a_minute(self):
        """also when the clock was set back meanwhile"""
        self.clock = Clock(self.directory)
        self.begin()
        self.waits("4.7.8", "with 535", secret="another")
        for ahead, wall, said in ((30, 3600, []), (61, -3600, ["AUTH PLAIN"])):
            self.clock.set(ahead, wall)
            server = self.waits("4.7.8", "with 535", secret="another")
            self.assertEqual([line[:10] for line in server.said("AUTH")], said)

    def test_not_now(self):
        self.waits("4.7.0", "with 454 4.7.0", auth=lambda session, *words: session.send(b"454 4.7.0 later\r\n"))
        self.delivered("PLAIN")

    def test_no_auth(self):
        with self.smart() as server:
            server.extensions = ("PIPELINING",)
            result = self.deliver()
            self.assertEqual(self.outcome(result), (DEFERRED, "4.7.0"))
            self.assertIn("it offers no AUTH that is known here", result.outcomes[0].reply)
            self.assertNotIn("offers no AUTH", self.remote.log())
            self.assertEqual(server.said("MAIL"), [])

    def test_the_next_address_gets_its_turn(self):
        self.names.table[NAME] = [(NAME, "127.0.0.2 127.0.0.3")]
        with self.smart(auth=lambda session, *words: session.send(b"421 4.3.2 bye\r\n")), self.smart(address="127.0.0.3") as second:
            self.assertEqual(self.outcome(self.deliver()), (RELAYED, "2.0.0"))
            self.assertEqual(len(second.messages), 1)

    def test_a_host_that_wants_more_of_a_login_is_no_reason_to_return_mail(self):
        for step, reply in (("MAIL", "530 5.7.0 authentication required"), ("RCPT", "535 5.7.8 no"), ("DATA", "530 5.7.0 authentication required")):
            with self.subTest(step=step), self.smart(**{step: reply}):
                self.assertEqual(self.outcome(self.deliver())[0], DEFERRED)

    def test_a_host_that_repeats_what_it_was_told(self):
        """It stands in no log, and in no report."""
        def echo(session, mechanism, initial):
            session.send(b"535-you said %s\r\n535 5.7.8 that is %s\r\n" % (initial.encode(), base64.b64decode(initial).replace(b"\0", b" ")))

        def unknown(session, mechanism, initial):
            session.send(b"500 what is %s\r\n" % initial.encode())

        def bye(session, mechanism, initial):
            session.send(b"421 you said %s\r\n" % initial.encode())

        def broken(session, mechanism, initial):
            session.send(b"5 %s %s\r\n" % (initial.encode(), base64.b64decode(initial)))

        def challenge(session, mechanism, initial):
            session.send(b"334 %s\r\n" % initial.encode())

        for auth in (echo, unknown, bye, broken, challenge):
            with self.subTest(auth=auth.__name__):
                self.begin()
                self.waits({"echo": "4.7.8", "unknown": "4.7.8", "broken": "4.5.0"}.get(auth.__name__, "4.7.0"), NAME, auth=auth)


class Hostile(Base):
    login = "mechanisms = { LOGIN, SCRAM-SHA-256 }"

    def never_ends(self, session, *words):
        for _ in range(1000):
            session.ask("")

    def test_challenges(self):
        cases = {
            "without end": (self.never_ends, "4.7.0", "it asks on after name and password (LOGIN)"),
            "bad base64": (lambda s, *w: s.ask("###"), "4.5.0", "a challenge (AUTH) that is not base64"),
            "cut base64": (lambda s, *w: s.ask("QUJ"), "4.5.0", "a challenge (AUTH) that is not base64"),
            "long": (lambda s, *w: s.ask("A" * 100000), "4.5.0", "broken reply"),
            "many lines": (lambda s, *w: s.send(b"334-QUJD\r\n334 QUJD\r\n"), "4.5.0", "a challenge (AUTH) that is not base64"),
            "two at once": (lambda s, *w: s.send(b"334 QUJD\r\n334 QUJD\r\n"), "4.5.0", "more replies than it was sent commands"),
            "yes at once": (lambda s, *w: s.verdict(True), "4.7.0", "it said yes before the end of LOGIN"),
            "yes too soon": (lambda s, *w: (s.ask("QUJD"), s.verdict(True)), "4.7.0", "it said yes before the end of LOGIN"),
            "drop": (lambda s, *w: s.play(DROP), "4.4.2", "while logging in"),
            "354": (lambda s, *w: s.send(b"354 go on\r\n"), "4.7.0", "with 354"),
        }
        for name, (auth, status, words) in cases.items():
            with self.subTest(name):
                self.waits(status, words, mechanisms="LOGIN", auth=auth)
        self.delivered("LOGIN", mechanisms="LOGIN")

    def scram(self, first, final=None):
        """What a host says to SCRAM's two messages; {n} is the client's nonce. None: 235."""
        def auth(session, mechanism, initial):
            nonce = re.search(rb"r=([^,]*)", base64.b64decode(initial)).group(1).decode()
            session.ask(b64(first.format(n=nonce).encode()))
            if final:
                session.ask(b64(final.encode()))
            session.verdict(True)
        return auth

    def test_scram(self):
        good = "r={n}host,s=QSXCR+Q6sek8bf92,i=%s"
        cases = {
            "few": (good % 1, None, "so few or so many iterations"),
            "many": (good % 2000000000, None, "so few or so many iterations"),
            "another nonce": ("r=host,s=QSXCR+Q6sek8bf92,i=4096", None, "has not our nonce"),
            "ours alone": ("r={n},s=QSXCR+Q6sek8bf92,i=4096", None, "has not our nonce"),
            "no salt": ("r={n}host,s=,i=4096", None, "none of SCRAM"),
            "garbage": ("hello", None, "none of SCRAM"),
            "yes without proof": (good % 4096, None, "it said yes before the end of SCRAM-SHA-256"),
            "a wrong proof": (good % 4096, "v=" + b64(b"x" * 32), "it can't prove that it knows the secret"),
            "an empty proof": (good % 4096, "v=", "it can't prove that it knows the secret"),
            "an error": (good % 4096, "e=invalid-proof", "it refuses the proof"),
        }
        for name, (first, final, words) in cases.items():
            with self.subTest(name):
                self.waits("4.7.0", words, mechanisms="SCRAM-SHA-256 LOGIN", auth=self.scram(first, final))


class Silent(Base):
    times, login = PATIENT.replace('helo_timeout = "60s"', 'helo_timeout = "5s"'), "mechanisms = { LOGIN }"

    def test_in_the_middle_of_a_login(self):
        cases = {
            "hang": lambda s, *w: s.play(HANG),
            "hang later": lambda s, *w: (s.ask("QUJD"), s.play(HANG)),
            "half a reply": lambda s, *w: s.play(Raw(b"33", HANG)),
        }
        for name, auth in cases.items():
            with self.subTest(name):
                self.waits("4.4.2", "timed out in the conversation", mechanisms="LOGIN", auth=auth)


class Secrets(Base):
    def memory(self, pid):
        found = b""
        with open("/proc/%d/maps" % pid, encoding="ascii") as maps, open("/proc/%d/mem" % pid, "rb", 0) as mem:
            for line in maps:
                m = re.match(r"([0-9a-f]+)-([0-9a-f]+) rw", line)
                if m:
                    begin, end = (int(x, 16) for x in m.groups())
                    mem.seek(begin)
                    try:
                        found += mem.read(end - begin)
                    except OSError:
                        pass
        return found

    def traces(self, pid, secret):
        memory = self.memory(pid)
        forms = {"plain": secret.encode(), "PLAIN": b64(("\0%s\0%s" % (USER, secret)).encode()).encode(), "LOGIN": b64(secret.encode()).encode()}
        return [name for name, form in forms.items() if form in memory]

    @unittest.skipUnless(os.geteuid() == 0, "takes root: the memory of a process that may not be looked at")
    def test_remote_forgets_what_it_has_said(self):
        self.assertIn("plain", self.traces(self.creds.process.pid, SECRET))  # so it would be found
        for mechanism in ("PLAIN", "LOGIN"):
            with self.smart(mechanisms=mechanism) as server:
                self.assertEqual(self.outcome(self.deliver()), (RELAYED, "2.0.0"))
                self.assertEqual(len(server.messages), 1)
                self.assertEqual(self.traces(self.remote.process.pid, SECRET), [])

    @unittest.skipUnless(os.geteuid() == 0, "takes root: the memory of a process that may not be looked at")
    def test_remote_forgets_what_a_host_repeats(self):
        with self.smart(auth=lambda s, m, i: s.send(b"535 %s %s\r\n" % (i.encode(), base64.b64decode(i)))):
            self.assertEqual(self.outcome(self.deliver())[0], DEFERRED)
        self.assertEqual(self.traces(self.remote.process.pid, SECRET), [])

    def test_neither_program_can_be_dumped(self):
        for one in (self.creds, self.remote):
            with open("/proc/%d/limits" % one.process.pid, encoding="ascii") as f:
                self.assertRegex(f.read(), r"Max core file size +0 +0 ")
            for name in ("cmdline", "environ"):
                try:
                    with open("/proc/%d/%s" % (one.process.pid, name), "rb") as f:
                        self.assertNotIn(SECRET.encode(), f.read())
                except PermissionError:
                    pass


class Trouble(Base):
    def test_a_secret_that_others_may_read_is_not_used(self):
        self.begin(mode=0o644)
        server = self.waits("4.3.5", "is open to other users (mode 0644); run chmod 600", site_failed=0)
        self.assertEqual(server.said("AUTH"), [])
        self.assertIn('login "smart": secret file', self.creds.log())

    def test_creds_dies_in_the_middle(self):
        """The mail waits, and that is nobody's fault but ours."""
        def die(session, *words):
            self.creds.process.kill()
            self.creds.process.wait()
            self.creds = Driven("creds", self.text)
            self.addCleanup(self.creds.close)
            self.remote.join(self.creds)
            session.ask("QUJD")
        with self.smart(mechanisms="LOGIN", auth=die) as server:
            result = self.deliver()
            self.assertEqual((self.outcome(result), result.site_failed), ((DEFERRED, "4.3.5"), 0), result)
            self.assertEqual(server.said("MAIL"), [])
        self.delivered("PLAIN")

    def test_creds_dies_while_it_is_asked(self):
        os.kill(self.creds.process.pid, signal.SIGSTOP)
        with self.smart(mechanisms="LOGIN") as server:
            self.send()
            wait_for(lambda: server.said("EHLO")[1:])  # LOGIN is on its way
            time.sleep(0.3)
            self.creds.process.kill()
            self.creds.process.wait()
            self.creds = Driven("creds", self.text)
            self.addCleanup(self.creds.close)
            self.remote.join(self.creds)
            self.assertEqual(self.outcome(self.qmgr.receive(60)), (RELAYED, "2.0.0"))  # the next one is asked

    def test_a_route_that_the_slice_lacks(self):
        self.qmgr.send("DELIVER", id=1, nexthop="[%s]:%d" % (NAME, self.port), tls="verify", sender="", size=len(BODY), body=BODY, route="gone.example",
                       recipients=[dict(address="bob@a.example", transport="smtp", nexthop="x", tls="verify")])
        self.assertEqual(self.outcome(self.qmgr.receive(60)), (DEFERRED, "4.3.5"))


class Tokens(Base):
    """OAUTHBEARER (RFC 7628) and XOAUTH2, with tokens by the refresh token grant (RFC 6749 6)."""
    refresh = "1//0refresh-token&of=mine"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.of_tokens, cls.of_others = cls.made.sign("oauth.example"), cls.made.sign("more.example")

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="postino-test-")
        self.addCleanup(shutil.rmtree, self.directory)

    def tearDown(self):
        super().tearDown()
        for log in (self.creds.log(), self.remote.log()):
            for secret in (self.refresh, "client-secret", "ya29"):
                self.assertNotIn(secret, log)

    def serve(self, *answers, certificate=None, credential=None):
        server = TokenServer(certificate or self.of_tokens, *answers, address="127.0.0.77")
        self.addCleanup(server.__exit__)
        with open(os.path.join(self.directory, "client"), "w", encoding="ascii") as f:
            f.write("client-secret\n")
        os.chmod(os.path.join(self.directory, "client"), 0o600)
        self.credential = (credential or "secret = \"%s\"" % self.write_secret(self.refresh)) + " token_url = \"https://oauth.example:%d/token\" client_id = \"me & you\" client_secret = \"%s\"" % (
            server.port, os.path.join(self.directory, "client"))
        self.begin(secret=self.refresh)
        self.creds_names.table["oauth.example"] = "127.0.0.77"
        return server

    def granted(self, token="ya29.one", **more):
        return dict(access_token=token, token_type="Bearer", expires_in=3600, **more)

    def test_a_token_is_had_and_used_by_all_sessions(self):
        server = self.serve(self.granted())
        for mechanism in ("XOAUTH2", "OAUTHBEARER"):
            self.delivered(mechanism, mechanisms="PLAIN LOGIN " + mechanism, secret="ya29.one")
        self.assertEqual(server.asked, [("POST /token HTTP/1.1", dict(grant_type="refresh_token", refresh_token=self.refresh, client_id="me & you", client_secret="client-secret"))])

    def test_the_better_one_is_taken_and_a_password_is_never_said(self):
        self.serve(self.granted())
        self.delivered("OAUTHBEARER", mechanisms="XOAUTH2 OAUTHBEARER", secret="ya29.one")
        server = self.waits("4.7.0", "it offers PLAIN LOGIN, and the login allows OAUTHBEARER XOAUTH2", mechanisms="PLAIN LOGIN")
        self.assertEqual(server.said("AUTH"), [])

    def test_client_credentials(self):
        server = self.serve(self.granted(), credential="scope = \"https://outlook.example/.default\"")
        self.delivered("XOAUTH2", mechanisms="XOAUTH2", secret="ya29.one")
        self.assertEqual(server.asked[0][1], dict(grant_type="client_credentials", client_id="me & you", client_secret="client-secret", scope="https://outlook.example/.default"))

    def test_a_long_token_goes_behind_an_empty_challenge(self):
        token = "ya29." + "x" * 2000
        self.serve(self.granted(token))
        self.assertEqual(self.delivered("XOAUTH2", mechanisms="XOAUTH2", secret=token).said("AUTH"), ["AUTH XOAUTH2"])

    def no_token(self, server, words):
        with self.smart(mechanisms="XOAUTH2") as smart:
            for _ in range(2):
                result = self.deliver()
                self.assertEqual((self.outcome(result), result.site_failed), ((DEFERRED, "4.3.5"), 0), result)
                self.assertEqual(smart.said("AUTH") + smart.said("MAIL"), [])
        self.assertLessEqual(len(server.asked), 1)  # a minute is between two
        self.assertRegex(self.creds.log(), r'login=smart error="no token from oauth.example: [^"]*' + re.escape(words))

    def test_what_is_no_token(self):
        cases = {
            "invalid_grant (400); look at secret, client_id and client_secret": dict(error="invalid_grant", error_description="Token has been revoked: " + self.refresh),
            "the answer is 404; look at token_url": b"HTTP/1.1 404 no\r\nContent-Length: 0\r\n\r\n",
            "the answer is 302": b"HTTP/1.1 302 there\r\nLocation: https://more.example/\r\nContent-Length: 0\r\n\r\n",
            "the answer has no bearer token": b"HTTP/1.1 200 ok\r\nContent-Length: 6\r\n\r\n<html>",
            "the answer has no bearer token ": dict(access_token="ya29.x y", token_type="Bearer"),
            "the answer has no bearer token  ": dict(access_token="ya29.x", token_type="mac"),
            "the answer is too long": b"HTTP/1.1 200 ok\r\nContent-Length: 70000\r\n\r\n" + b"x" * 70000,
            "Empty reply": b"",
        }
        for words, answer in cases.items():
            with self.subTest(words):
                self.no_token(self.serve(answer), words.strip())

    def test_a_server_that_is_not_the_one(self):
        server = self.serve(self.granted(), certificate=self.of_others)
        self.no_token(server, "SSL")
        self.assertEqual(server.asked, [])

    def test_no_address(self):
        server = self.serve(self.granted())
        self.creds_names.table.clear()
        self.no_token(server, "it has no address")

    def test_the_session_ends_while_a_token_is_fetched(self):
        server = self.serve(HANG)
        with self.smart(mechanisms="XOAUTH2") as smart:
            self.send()
            wait_for(lambda: server.asked)
            smart.close()
            self.assertEqual(self.qmgr.receive(60).outcomes[0].status, "4.4.2")

    @unittest.skipUnless(os.geteuid() == 0, "takes root: the memory of a process that may not be looked at")
    def test_the_courier_forgets_what_it_carried(self):
        self.serve(self.granted())
        self.delivered("XOAUTH2", mechanisms="XOAUTH2", secret="ya29.one")
        pid = int(subprocess.run(["pgrep", "-P", str(self.creds.process.pid)], capture_output=True, text=True, check=True).stdout)

        def forgotten():
            """the courier has forgotten what it was given and what it got"""  # which it does when creds has got it
            memory = Secrets.memory(self, pid)
            return not any(secret in memory for secret in (b"0refresh-token", b"client-secret", b"ya29.one"))
        wait_for(forgotten)
        self.assertFalse(b"ya29.one" in Secrets.memory(self, self.remote.process.pid))
        self.creds.process.kill()
        self.creds.process.wait()
        wait_for(lambda: subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True).stdout[:1] in ("", "Z"))
        self.begin(secret=self.refresh)

    def test_another_refresh_token_is_kept_over_a_restart(self):
        """Until the administrator has a new one."""
        store = os.path.join(self.directory, "store")
        os.mkdir(store, 0o700)
        self.more = "directory { creds = \"%s\" }\n" % store
        server = self.serve(self.granted(refresh_token="1//0another"), self.granted("ya29.two", refresh_token="1//0third"), self.granted("ya29.three"))
        for secret in ("ya29.one", "ya29.two"):
            self.delivered("XOAUTH2", mechanisms="XOAUTH2", secret=secret)
            self.begin(secret=self.refresh)
            self.creds_names.table["oauth.example"] = "127.0.0.77"
        self.assertEqual(sorted(os.listdir(store)), [".lock", "smart.token"])
        self.assertEqual(os.stat(os.path.join(store, "smart.token")).st_mode & 0o777, 0o600)
        self.begin(secret="1//0new")
        self.creds_names.table["oauth.example"] = "127.0.0.77"
        self.delivered("XOAUTH2", mechanisms="XOAUTH2", secret="ya29.three")
        self.assertEqual([body["refresh_token"] for _, body in server.asked], [self.refresh, "1//0another", "1//0new"])

    def test_two_processes_do_not_renew_at_a_time(self):
        """As during a reload: the second one waits, and has what the first one got."""
        store = os.path.join(self.directory, "store")
        os.mkdir(store, 0o700)
        self.more = "directory { creds = \"%s\" }\n" % store
        slow = self.granted(refresh_token="1//0another")
        server = self.serve(HANG, slow)
        with self.smart(mechanisms="XOAUTH2", secret="ya29.one"):
            self.send()
            wait_for(lambda: server.asked)
            first, self.creds = self.creds, Driven("creds", self.text, edges=("dns",))
            self.addCleanup(self.creds.close)
            Names(self.creds.edges["dns"]).table["oauth.example"] = "127.0.0.77"
            second = self.creds.connect("remote")
            second.send("LOGIN", number=1, login="smart", peer="x", offered=256, proved=1)
            time.sleep(2.5)
            self.assertEqual(len(server.asked), 1)
            first.process.kill()  # its lock goes with it
            first.process.wait()
            self.remote.join(self.creds)
            step = second.receive(60)
            self.assertEqual((step.type, step.mechanism, len(server.asked)), ("LOGIN_STEP", "XOAUTH2", 2), step)
            self.assertEqual(self.outcome(self.qmgr.receive(60)), (RELAYED, "2.0.0"))  # LOGIN was asked again

    def test_a_refused_token_is_renewed_once(self):
        """With the refresh token that the last answer had; also when the clock was set back meanwhile."""
        self.clock = Clock(self.directory)
        server = self.serve(self.granted(refresh_token="1//0another"), self.granted("ya29.two"))
        self.delivered("XOAUTH2", mechanisms="XOAUTH2", secret="ya29.one")
        self.clock.set(61, -3600)
        smart = self.delivered("XOAUTH2", mechanisms="XOAUTH2", secret="ya29.two")
        self.assertEqual(len(smart.said("AUTH")), 2)
        self.assertEqual([body["refresh_token"] for _, body in server.asked], [self.refresh, "1//0another"])
        self.assertEqual(self.creds.log().count("another refresh token with each answer"), 1)
        smart = self.waits("4.7.8", "with 535", mechanisms="XOAUTH2", secret="ya29.three")  # it is new, and refused
        self.assertEqual((len(smart.said("AUTH")), len(server.asked)), (1, 2))


# ---- real servers ----------------------------------------------------------------------------------------------------------------


class Sender(host.Host):
    """A Postino that sends the mail for each domain of `routes` to localhost:port by a login with that one mechanism."""

    def __init__(self, authority, port, mechanisms, user=USER, more="", tokens=""):
        secret = tempfile.NamedTemporaryFile("w", prefix="postino-test-", suffix=".secret")
        secret.write(SECRET + "\n")
        secret.flush()
        self.secret_file = secret  # root's, 0600
        self.mechanisms = mechanisms
        super().__init__(hostname="sender.example", domains={}, tls=False,
                         routes={self.domain(m): 'via = "smtp:[localhost]:%d" login = "%s"' % (port, m) for m in mechanisms},
                         settings="tls { authorities = \"%s\" }\nremote { loopback = yes address_family = ipv4 idle_timeout = 0 }\n%s\n%s" % (
                             authority, "\n".join('login "%s" { user = "%s" secret = "%s" mechanisms = "%s" %s }' % (m, user, secret.name, m, tokens) for m in mechanisms), more))

    def has_wrong_secret(self):
        """From now on, before a message was sent."""
        with open(self.secret_file.name, "w", encoding="ascii") as f:
            f.write("wrong\n")
        self.reload()
        self.wait_log(r"generation 2 serves")

    @staticmethod
    def domain(mechanism):
        return mechanism.lower() + ".example"

    def close(self):
        super().close()
        self.secret_file.close()

    def submit(self, mechanism):
        with self.smtp() as client:
            client.sendmail("s@sender.example", ["alice@" + self.domain(mechanism)], "Subject: by %s\r\n\r\nx\r\n" % mechanism)

    def sent(self, mechanism):
        self.submit(mechanism)
        return self.wait_log(r"to=<?\"?alice@%s.*" % re.escape(self.domain(mechanism))).group(0)


def trouble_of(sender):
    """The sites of smarthosts."""
    sites = [json.loads(line) for line in sender.tool("postino", "sites", "--json").stdout.splitlines()]
    return [site for site in sites if site["site"].startswith("smtp:")]


@unittest.skipUnless(os.geteuid() == 0, "takes root: the servers' own users")
class Real(unittest.TestCase):
    maxDiff = None

    def all_pass(self, sender, arrived):
        for mechanism in sender.mechanisms:
            with self.subTest(mechanism):
                line = sender.sent(mechanism)
                self.assertRegex(line, "login %s by %s" % (mechanism, mechanism))
        wait_for(lambda: len(arrived()) == len(sender.mechanisms))
        self.assertEqual(sorted(re.search(rb"Subject: by (.*?)\r?\n", m).group(1).decode() for m in arrived()), sorted(sender.mechanisms))
        self.assertNotIn(SECRET, sender.log())
        wait_for(sender.queue_is_empty)
        for directory, _, files in os.walk(sender.path("spool")):
            for name in files:
                with open(os.path.join(directory, name), "rb") as f:
                    self.assertNotIn(SECRET.encode(), f.read())

    @staticmethod
    def postino(mechanisms):
        receiver = host.Host(users=())
        line = subprocess.run([host.program("postino"), "password", USER], input=SECRET + "\n", capture_output=True, text=True, check=True).stdout
        with open(receiver.path("passwd"), "w", encoding="utf-8") as f:
            f.write(line)
        with open(receiver.path("mailboxes"), "w", encoding="ascii") as f:
            f.write("".join("alice@%s alice/\n" % Sender.domain(m) for m in mechanisms))
        receiver.tool("postino", "map", "hash:" + receiver.path("mailboxes"), check=True)
        mail = 'mailboxes = "hash:%s" directory = "%s" owner = "%d"' % (receiver.path("mailboxes"), receiver.path("mail"), host.MAIL_UID)
        receiver.configure(domains={Sender.domain(m): mail for m in mechanisms}, settings='auth { mechanisms = { "SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN" } }')
        return receiver

    def test_postfix_with_dovecot_and_tokens(self):
        """Dovecot looks at the token's signature itself."""
        made = tempfile.mkdtemp(prefix="postino-test-")
        self.addCleanup(shutil.rmtree, made)
        os.chmod(made, 0o755)
        store = os.path.join(made, "store")
        with TokenServer(host.certificate(made), dict(access_token=token(USER), token_type="Bearer", expires_in=600, refresh_token="1//0another")) as server:
            self.with_dovecot(["OAUTHBEARER", "XOAUTH2"], host.certificate(made)[0], 'token_url = "https://localhost:%d/t" client_id = x' % server.port,
                              'directory { creds = "%s" }' % store)
            self.assertEqual([body["refresh_token"] for _, body in server.asked], [SECRET, SECRET])
        made_by_master = os.stat(store)
        self.assertEqual((made_by_master.st_uid, made_by_master.st_mode & 0o777), (host.FIRST_UID + 10, 0o700))
        self.assertEqual(sorted(os.listdir(store)), [".lock", "OAUTHBEARER.token", "XOAUTH2.token"])

    def test_postfix_with_dovecot(self):
        self.with_dovecot(["PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256"])

    def with_dovecot(self, mechanisms, authority=None, tokens="", more=""):
        directory = tempfile.mkdtemp(prefix="postino-test-dovecot-", dir="/var/tmp")
        self.addCleanup(shutil.rmtree, directory)
        os.chmod(directory, 0o755)
        dovecot = Dovecot(directory, ["%s:{PLAIN}%s::::::\n" % (USER, SECRET)], "plain login cram-md5 scram-sha-1 scram-sha-256 oauthbearer xoauth2")
        with open(dovecot.config, encoding="ascii") as f:
            config = f.read().replace("mechanisms = plain login scram-sha-256", "mechanisms = plain login cram-md5 scram-sha-1 scram-sha-256")
        with open(dovecot.config, "w", encoding="ascii") as f:
            f.write(config)
        dovecot.start()
        self.addCleanup(dovecot.stop)
        domains = [Sender.domain(m) for m in mechanisms]
        with Postfix(smtpd_sasl_path=dovecot.socket, virtual_mailbox_domains=", ".join(domains),
                     virtual_mailbox_maps="inline:{ %s }" % ", ".join("alice@%s=alice/" % d for d in domains)) as postfix:
            authorities = os.path.join(directory, "authorities")
            with open(authorities, "w", encoding="ascii") as out:
                for path in (postfix.path("localhost.crt"), authority):
                    if path:
                        with open(path, encoding="ascii") as f:
                            out.write(f.read())
            with Sender(authorities, postfix.closed_port, mechanisms, tokens=tokens, more=more) as sender:
                self.all_pass(sender, lambda: postfix.messages("alice"))

    def test_a_wrong_password_holds_mail_until_it_is_mended(self):
        """Nothing is returned; a reload with the right one sends it at once, though the site is dead."""
        receiver = self.postino(["PLAIN"])
        with receiver, Sender(receiver.cert, receiver.submission_port, ["PLAIN"]) as sender:
            sender.has_wrong_secret()
            for _ in range(4):
                sender.submit("PLAIN")
            sender.wait_log(r'login=PLAIN host="?localhost\[127.0.0.1\]:\d+"? error=".*refused login .*look at user and secret')
            wait_for(lambda: sender.queue().count("refused") >= 4)
            self.assertLessEqual(receiver.log().count("verdict=no"), 5)  # the sessions that were open when it was refused
            self.assertNotIn("<> ", sender.queue())
            self.assertRegex(sender.tool("postino", "sites").stdout, r"(failing|dead until \S+|probing) +smtp:\[localhost\]:%d \S+ route plain.example\n"
                             r" +since \d\d:\d\d:\d\d, last \d\d:\d\d:\d\d: .*refused.* 535 " % receiver.submission_port)
            with open(sender.secret_file.name, "w", encoding="ascii") as f:
                f.write(SECRET + "\n")
            sender.reload()
            sender.wait_log(r"generation 3 serves")
            wait_for(lambda: len(receiver.messages("alice")) == 4)
            wait_for(sender.queue_is_empty)
            self.assertEqual([(site["trouble"], site["dead"]) for site in trouble_of(sender)], [("", False)])

    def test_one_refused_login_is_seen_at_the_site(self):
        """One message does not make a site dead: what the host said, since when, and what to do stand there until a delivery goes through."""
        receiver = self.postino(["PLAIN"])
        with receiver, Sender(receiver.cert, receiver.submission_port, ["PLAIN"]) as sender:
            sender.has_wrong_secret()
            began = int(time.time())
            sender.submit("PLAIN")
            sender.wait_log(r"status=deferred")
            site, = trouble_of(sender)
            self.assertFalse(site["dead"])
            self.assertRegex(site["trouble"], r'^host localhost\[127\.0\.0\.1\]:%d refused login "PLAIN" \(PLAIN\) with 535 5\.7\.8; look at user and secret' % receiver.submission_port)
            self.assertTrue(began <= site["trouble_since"] == site["trouble_at"] <= time.time(), site)
            self.assertIn(" failing  ", sender.tool("postino", "sites").stdout)
            sender.submit("PLAIN")
            wait_for(lambda: "is tried again in a minute; correct its user or secret, then postino reload" in trouble_of(sender)[0]["trouble"])
            self.assertEqual(trouble_of(sender)[0]["trouble_since"], site["trouble_since"])

    def test_a_host_that_wants_a_login_and_has_none(self):
        """and one that says so is not one that says no to a recipient"""
        with Server(MAIL="530 5.7.0 authentication required") as smart, host.Host(routes={"*": smart.via}, tls=False) as sender:
            with sender.smtp() as client:
                client.sendmail("s@sender.example", ["x@a.example"], "Subject: x\r\n\r\nx\r\n")
            sender.wait_log(r"status=deferred")
            self.assertRegex(trouble_of(sender)[0]["trouble"], r"said: 530 5\.7\.0 authentication required .*; the host wants a login or TLS: add login = ")
            smart.script = {"RCPT": "450 4.2.1 full"}
            sender.tool("postino", "queue", "retry", "all", check=True)
            sender.wait_log(r"450 4\.2\.1 full")
            self.assertEqual(trouble_of(sender)[0]["trouble"], "")

    def test_exim(self):
        with AuthExim() as exim, Sender(exim.path("localhost.crt"), exim.port, ["PLAIN", "LOGIN", "CRAM-MD5"]) as sender:
            self.all_pass(sender, exim.messages)

    def test_postino(self):
        """SCRAM bound to TLS: the strongest there is."""
        mechanisms = ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN"]
        receiver = self.postino(mechanisms)
        with receiver, Sender(receiver.cert, receiver.submission_port, mechanisms) as sender:
            self.all_pass(sender, lambda: receiver.messages("alice"))
            for mechanism in mechanisms:
                self.assertRegex(receiver.log(), r"auth: verdict=yes user=%s client=127.0.0.1 mechanism=%s\s" % (re.escape(USER), mechanism))


class AuthExim(mtas.Exim):
    def configure(self):
        super().configure()
        certificate = host.certificate(self.top)
        for path in certificate:
            os.chmod(path, 0o644)
        path = self.path("etc", "exim4", "exim4.conf")
        with open(path, encoding="ascii") as f:
            text = f.read().replace("tls_advertise_hosts =\n", "tls_advertise_hosts = *\ntls_certificate = %s\ntls_privatekey = %s\n" % certificate)
        text = text.replace("all:\n  accept\n", "all:\n  deny !authenticated = *\n  accept\n", 1)
        text += """
begin authenticators
plain:
  driver = plaintext
  public_name = PLAIN
  server_prompts = :
  server_condition = ${if and{{eq{$auth2}{%(u)s}}{eq{$auth3}{%(s)s}}}}
login:
  driver = plaintext
  public_name = LOGIN
  server_prompts = <| Username: | Password:
  server_condition = ${if and{{eq{$auth1}{%(u)s}}{eq{$auth2}{%(s)s}}}}
cram:
  driver = cram_md5
  public_name = CRAM-MD5
  server_secret = ${if eq{$auth1}{%(u)s}{%(s)s}fail}
""" % {"u": USER, "s": SECRET}
        with open(path, "w", encoding="ascii") as f:
            f.write(text)


if __name__ == "__main__":
    unittest.main()
