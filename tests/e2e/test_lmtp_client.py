"""LMTP to others (RFC 2033): postino-remote over the network, postino-lmtp over UNIX sockets; qmgr is played by the test, the LMTP servers by
tests/e2e/hostile_lmtp.py."""
import contextlib
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
import unittest

import frames
import host
from hostile import DROP, HANG, RESET, Late, Raw
from hostile_lmtp import FEWER, LmtpServer, More
from remote import BODY, DEFERRED, FAILED, IN_DOUBT, PATIENT, TIMES, Deliveries, Delivering

DELIVERED, PASSED_ON = frames.VERDICT_DELIVERED, frames.VERDICT_PASSED_ON
THREE = ("a@x.example", "b@x.example", "c@x.example")


class Client(Delivering):
    """The program, and where its LMTP server is."""

    def __init__(self, on_socket, settings=PATIENT):
        self.directory = tempfile.mkdtemp(prefix="postino-test-", dir="/var/tmp")
        self.path, self.port = os.path.join(self.directory, "lmtp"), None if on_socket else host.free_port()
        self.nexthop = "unix:" + self.path if on_socket else "[127.0.0.2]:%d" % self.port
        text = "remote { loopback = yes %s }" % settings
        super().__init__("lmtp" if on_socket else "remote", text, edges=("qmgr",) if on_socket else ("qmgr", "dns", "sts"))
        self.qmgr = self.edges["qmgr"]

    def close(self):
        super().close()
        shutil.rmtree(self.directory)

    def server(self, **more):
        return LmtpServer(self.path, **more) if self.port is None else LmtpServer("127.0.0.2", self.port, **more)

    def one_of_many(self, number, **more):
        """A server, and the next hop that leads to it."""
        if self.port is None:
            path = "%s%d" % (self.path, number)
            return LmtpServer(path, **more), "unix:" + path
        address = "127.0.3.%d" % (number + 1)
        return LmtpServer(address, self.port, **more), "[%s]:%d" % (address, self.port)

    def send(self, *recipients, body=BODY, size=None, nexthop=None, tls="none", flags=0, transport="lmtp", **more):
        nexthop = nexthop or self.nexthop
        return self.qmgr.send("DELIVER", id=77, nexthop=nexthop, tls=tls, sender="s@from.example", flags=flags, size=len(body) if size is None else size, body=body,
                              recipients=[dict(address=r, transport=transport, nexthop=nexthop, tls=tls) for r in recipients], **more)


class Base(Deliveries):
    on_socket, settings = False, PATIENT

    @classmethod
    def setUpClass(cls):
        cls.client = Client(cls.on_socket, cls.settings)
        cls.keep(cls.client)


class Replies:
    """A result for each recipient."""

    def client_with(self, timeout, seconds):
        """One for which a server may be late."""
        client = Client(self.on_socket, PATIENT.replace('%s = "60s"' % timeout, '%s = "%ds"' % (timeout, seconds)))
        self.addCleanup(client.close)
        return client

    def test_each_recipient_has_its_own_reply(self):
        replies = ["250 2.0.0 <a> saved", "552 5.2.2 <b> Quota exceeded", "451 4.2.0 <c> later"]
        with self.client.server(END=replies) as server:
            result = self.client.deliver(*THREE)
        self.check(result, (DELIVERED, "2.0.0", "250 2.0.0 <a> saved"), (FAILED, "5.2.2", "552 5.2.2 <b> Quota exceeded (in reply to end of DATA command)"),
                   (DEFERRED, "4.2.0", "451 4.2.0 <c> later"))
        self.assertEqual([r for r, _ in server.saved], ["a@x.example"])
        self.assertEqual(server.received[0].body, BODY)
        self.assertEqual(server.sessions[0].commands[0], "LHLO mx.local.example")
        self.assertIn("MAIL FROM:<s@from.example>", server.sessions[0].commands[1])

    def test_replies_belong_to_those_that_rcpt_took(self):
        with self.client.server(steps={"RCPT b@": "550 5.1.1 <b> unknown"}, END=["250 2.0.0 <a>", "452 4.2.2 <c> full"]) as server:
            result = self.client.deliver(*THREE)
        self.check(result, (DELIVERED, "2.0.0", "<a>"), (FAILED, "5.1.1", "<b> unknown"), (DEFERRED, "4.2.2", "<c> full"))
        self.assertEqual(server.received[0].recipients, ["a@x.example", "c@x.example"])

    def test_a_full_mailbox_at_rcpt_is_final(self):
        with self.client.server(steps={"RCPT b@": "552 5.2.2 <b> Quota exceeded"}):
            result = self.client.deliver(*THREE)
        self.check(result, (DELIVERED, "2.0.0", ""), (FAILED, "5.2.2", "Quota"), (DELIVERED, "2.0.0", ""))

    def test_without_pipelining(self):
        with self.client.server(extensions=(), steps={"RCPT b@": "550 5.1.1 no"}, END=["250 2.0.0 a", "250 2.0.0 c"]) as server:
            result = self.client.deliver(*THREE)
        self.check(result, (DELIVERED, "2.0.0", ""), (FAILED, "5.1.1", "no"), (DELIVERED, "2.0.0", ""))
        self.assertEqual(len(server.sessions), 1)

    def test_a_session_goes_on_after_mixed_replies(self):
        with self.client.server(END=["250 2.0.0 a", "552 5.2.2 b", "451 4.2.0 c"]) as server:
            for _ in range(3):
                self.client.deliver(*THREE)
            self.assertEqual(len(server.sessions), 1)
            self.assertEqual(len(server.saved), 3)

    def test_nobody_is_taken(self):
        with self.client.server(RCPT="550 5.1.1 no") as server:
            result = self.client.deliver(*THREE)
            again = self.client.deliver("a@x.example")
        self.check(result, *[(FAILED, "5.1.1", "no")] * 3)
        self.check(again, (FAILED, "5.1.1", "no"))
        self.assertEqual(server.received, [])

    def test_a_server_that_takes_a_text_for_nobody_gets_none(self):
        """RFC 2033 4.2: it must say 503."""
        with self.client.server(RCPT="550 5.1.1 no", DATA="354 go on") as server:
            self.check(self.client.deliver("a@x.example"), (FAILED, "5.1.1", "no"))
            host.wait_for(lambda: server.sessions[0].ended)
        self.assertEqual((server.received, server.cut_off), ([], [b""]))

    def test_421_is_one_recipients(self):
        with self.client.server(END=["250 2.0.0 a", "421 4.3.2 shutting down", "250 2.0.0 c"]) as server:
            result = self.client.deliver(*THREE)
        self.check(result, (DELIVERED, "2.0.0", ""), (DEFERRED, "4.3.2", "shutting down"), (DELIVERED, "2.0.0", ""))
        self.assertEqual(len(server.received), 1)

    def test_a_reply_is_lost_between_recipients(self):
        """Who said yes has it; nobody knows of the others, and no other connection gets it at once."""
        client, asked = self.client_with("end_timeout", 4), {}
        actions = DROP, Late(RESET, 0.2), HANG, Raw(b"25", DROP), Raw(b"\x00\xff rubbish\r\n", HANG), "354 what?", "999 code"
        with contextlib.ExitStack() as stack:
            for number, (action, at) in enumerate((action, at) for action in actions for at in range(3)):
                server, nexthop = client.one_of_many(number, END=["250 2.0.0 ok"] * at + [action])
                asked[client.send(*THREE, nexthop=nexthop)] = action, at, stack.enter_context(server)
            for _ in range(len(asked)):
                result = client.result(3)
                action, at, server = asked[result.request]
                with self.subTest(action=repr(action), at=at):
                    self.check(result, *[(DELIVERED, "2.0.0", "ok")] * at + [(IN_DOUBT, "4.4.2", "may have been taken, and be delivered twice")] * (3 - at),
                               site_failed=int(at == 0))
                    self.assertEqual((len(server.received), len(server.saved)), (1, at))

    def test_too_few_replies(self):
        client = self.client_with("end_timeout", 4)
        with client.server(END=["250 2.0.0 ok", FEWER]):
            result = client.deliver(*THREE)
        self.check(result, (DELIVERED, "2.0.0", "ok"), *[(IN_DOUBT, "4.4.2", "timed out")] * 2)

    def test_too_many_replies(self):
        """They are nobody's: that connection is not used again, and the next message gets its own replies."""
        for more in ("250 2.0.0 ok", "550 5.0.0 no"):
            with self.subTest(more), self.client.server(END=["250 2.0.0 ok", "250 2.0.0 ok", More("250 2.0.0 ok", 1)]) as server:
                server.script["END"] = ["250 2.0.0 ok", "250 2.0.0 ok", Raw(b"250 2.0.0 ok\r\n" + more.encode() + b"\r\n")]
                self.check(self.client.deliver(*THREE), *[(DELIVERED, "2.0.0", "ok")] * 3)
                self.check(self.client.deliver(*THREE), *[(DELIVERED, "2.0.0", "ok")] * 3)
                self.assertEqual((len(server.sessions), len(server.saved)), (2, 6))

    def test_a_reply_too_many_that_comes_late(self):
        with self.client.server(END=["250 2.0.0 ok", "250 2.0.0 ok", Raw(b"250 2.0.0 ok\r\n", Late("250 2.0.0 and one more", 0.3))]) as server:
            self.check(self.client.deliver(*THREE), *[(DELIVERED, "2.0.0", "ok")] * 3)
            host.wait_for(lambda: server.sessions[0].ended)
            self.check(self.client.deliver(*THREE), *[(DELIVERED, "2.0.0", "ok")] * 3)
            self.assertEqual((len(server.sessions), len(server.saved)), (2, 6))

    def test_replies_that_come_slowly(self):
        """The first has remote { end_timeout }, and all others together the same."""
        client = self.client_with("end_timeout", 8)
        with client.server(END=[Late("250 2.0.0 ok", 4.5), Late("250 2.0.0 ok", 2), Late("250 2.0.0 ok", 2)]):
            self.check(client.deliver(*THREE), *[(DELIVERED, "2.0.0", "ok")] * 3)

    def test_replies_that_drip(self):
        """All would be there after ten seconds, each within half a second of the one before."""
        names, client = ["r%d@x.example" % i for i in range(20)], self.client_with("end_timeout", 4)
        with client.server(END=Late("250 2.0.0 ok", 0.5)):
            began = time.monotonic()
            result = client.deliver(*names)
            self.assertGreater(time.monotonic() - began, 4)
        said = [o.verdict for o in result.outcomes].count(DELIVERED)
        self.assertIn(said, range(1, 12))
        self.assertEqual([o.verdict for o in result.outcomes], [DELIVERED] * said + [IN_DOUBT] * (20 - said))

    def test_an_early_refusal_is_one_recipients(self):
        body = b"Subject: x\r\n\r\n" + b"x" * 70 + b"\r\n"
        body += (b"y" * 76 + b"\r\n") * 60000
        with self.client.server(BODY=(100000, "552 5.3.4 <a> too large"), END=["250 2.0.0 b", "250 2.0.0 c"]) as server:
            server.script["END"] = [FEWER, "250 2.0.0 b", "250 2.0.0 c"]
            with tempfile.TemporaryFile() as f:
                f.write(body)
                f.flush()
                self.client.qmgr.send("DELIVER", fd=f.fileno(), id=77, nexthop=self.client.nexthop, tls="none", sender="s@from.example", size=len(body),
                                      recipients=[dict(address=r, transport="lmtp", nexthop=self.client.nexthop, tls="none") for r in THREE])
            result = self.client.result(3)
        self.check(result, (FAILED, "5.3.4", "too large (in reply to a part of the message)"), (DELIVERED, "2.0.0", "b"), (DELIVERED, "2.0.0", "c"))
        self.assertEqual(server.received[0].body, body)

    def test_chunking_is_not_used(self):
        body = b"Subject: x\r\n\r\n" + (b"y" * 76 + b"\r\n") * 2000
        with self.client.server(extensions=("PIPELINING", "CHUNKING", "BINARYMIME", "8BITMIME")) as server:
            self.check(self.client.deliver(*THREE, body=body), *[(DELIVERED, "2.0.0", "saved")] * 3)
        self.assertEqual(server.received[0].body, body)

    def test_binary_mail_is_converted(self):
        body = b"MIME-Version: 1.0\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\n\x00\x01\n\r.\r\n\xff"
        with self.client.server(extensions=("PIPELINING", "CHUNKING", "BINARYMIME", "8BITMIME")) as server:
            self.client.deliver("a@x.example", body=body, flags=frames.ENVELOPE_BINARY | frames.ENVELOPE_8BIT)
        self.assertIn(b"base64", server.received[0].body)

    def test_a_server_with_dsn_reports_itself(self):
        with self.client.server(extensions=("PIPELINING", "DSN")) as server:
            self.check(self.client.deliver("a@x.example"), (PASSED_ON, "2.0.0", "saved"))
        self.assertTrue(server.saved)

    def test_a_deadline_is_met_by_delivery(self):
        """RFC 2852: an LMTP server delivers, and so needs no DELIVERBY."""
        with self.client.server() as server:
            self.check(self.client.deliver("a@x.example", deliver_by=int(time.time()) + 600, by_mode=frames.BY_RETURN), (DELIVERED, "2.0.0", "saved"))
            self.check(self.client.deliver("a@x.example", deliver_by=int(time.time()) - 600, by_mode=frames.BY_RETURN), (FAILED, "5.4.7", "deadline"))
            self.assertEqual(len(server.saved), 1)

    def test_a_thousand_recipients(self):
        names = ["r%d@x.example" % i for i in range(1000)]
        replies = ["250 2.0.0 ok" if i % 3 else "452 4.2.2 full" for i in range(1000)]
        with self.client.server(END=replies) as server:
            result = self.client.deliver(*names)
        self.assertEqual([o.verdict for o in result.outcomes], [DELIVERED if i % 3 else DEFERRED for i in range(1000)])
        self.assertEqual([r for r, _ in server.saved], [n for i, n in enumerate(names) if i % 3])

    def test_many_at_a_time(self):
        with self.client.server(END=Late("250 2.0.0 ok", 0.05)) as server:
            for _ in range(40):
                self.client.send(*THREE)
            for _ in range(40):
                self.check(self.client.result(3), *[(DELIVERED, "2.0.0", "ok")] * 3)
            self.assertEqual(len(server.saved), 120)


MEBIBYTE = b"250-" + b"x" * 900 + b"\r\n"
ACTIONS = {
    "4xx": "451 4.3.0 later", "421": "421 4.3.2 shutting down", "5xx": "554 5.7.1 no", "hang": HANG, "drop": DROP, "reset": RESET,
    "half reply, hang": Raw(b"25", HANG), "half reply, drop": Raw(b"250 2.0", DROP), "half of two lines": Raw(b"250-a\r\n250", DROP),
    "1 MiB": Raw(MEBIBYTE * 1200, HANG), "a line without end": Raw(b"250 " + b"y" * 70000, HANG), "3xx": "354 what?", "1xx": "199 what?", "6xx": "600 what?",
    "garbage": Raw(b"\x00\x01\xff\xfe\r\n", HANG), "empty line": Raw(b"\r\n", HANG), "two codes": "250-2.0.0 a\n550 5.0.0 b", "no text": "250", "bare LF": Raw(b"250 2.0.0 ok\n"),
    "twice": Raw(b"250 2.0.0 ok\r\n250 2.0.0 ok\r\n"), "twice, the second no": Raw(b"250 2.0.0 ok\r\n550 5.0.0 no\r\n"),
}
STEPS = ("GREETING", "LHLO", "MAIL", "RCPT", "RCPT b@", "DATA", "BODY", "END 0", "END 1", "END 2", "RSET", "QUIT")
SAYS_NO = ("5xx", "4xx", "421")


class Case:
    """One host that does one thing at one step, and the account that is taken of it."""

    def __init__(self, step, name):
        self.step, self.name = step, name

    def script(self):
        action = ACTIONS[self.name]
        if self.step.startswith("END"):
            at = int(self.step[4:])
            return dict(END=["250 2.0.0 ok"] * at + [action] + ["250 2.0.0 ok"] * 3)
        if self.step == "BODY":
            if isinstance(action, str):
                action = Raw(action.replace("\n", "\r\n").encode() + b"\r\n")
            if isinstance(action, Raw) and not action.then:
                action = Raw(action.octets, DROP)  # who speaks before the end takes nothing
            return dict(BODY=(20000, action))
        if self.step == "RSET":  # comes when nobody is taken
            return dict(RSET=action, RCPT="550 5.1.1 no")
        return dict(steps={self.step: action})

    def is_long_yes(self, i):
        """A reply that is too long still says yes."""
        return self.step == "END %d" % i and self.name in ("1 MiB", "a line without end")

    def finals(self):
        """Who may be told that it failed for good."""
        no = self.name == "5xx"
        if self.step == "RSET":
            return {0, 1, 2}
        if self.step == "RCPT b@":
            return {1} if no else {2} if self.name == "twice, the second no" else set()
        if self.step.startswith("END") and no:
            return {int(self.step[4:])}
        if self.step == "BODY" and no:
            return {0}
        if self.step in ("MAIL", "RCPT", "DATA") and no:
            return {0, 1, 2}
        if self.name == "twice, the second no":  # the second is taken for the next reply
            return {"MAIL": {0}, "RCPT": {0, 1, 2}, "END 0": {1}, "END 1": {2}}.get(self.step, set())
        return set()


class Matrix:
    """Each way to misbehave at each step. In every case each recipient has one outcome, which is true: who is delivered was told 2xx behind the dot; who is deferred did not get
    the message, or the log says that it may come twice; nobody is failed without a 5xx; and no text goes out a second time at once."""

    settings = 'idle_timeout = "0" ' + TIMES

    def test_each_step(self):
        cases = [Case(step, name) for step in STEPS for name in ACTIONS]
        body = b"Subject: x\r\n\r\n" + (b"y" * 76 + b"\r\n") * 1500
        large = tempfile.TemporaryFile()  # more than the kernel keeps for a connection
        large.write(body * 80)
        large.flush()
        self.addCleanup(large.close)
        for first in range(0, len(cases), 64):
            with contextlib.ExitStack() as stack:
                asked = {}
                for number, case in enumerate(cases[first : first + 64]):
                    server, nexthop = self.client.one_of_many(number, **case.script())
                    case.server = stack.enter_context(server)
                    more = dict(fd=large.fileno(), size=large.tell(), body=b"") if case.step == "BODY" else dict(body=body, size=len(body))
                    asked[self.client.send(*THREE, nexthop=nexthop, **more)] = case
                for _ in range(len(asked)):
                    result = self.client.result(3, timeout=60)
                    asked[result.request].result = result
                host.wait_for(lambda: all(s.ended for case in asked.values() for s in case.server.sessions), 60)
                for case in asked.values():
                    with self.subTest(step=case.step, action=case.name):
                        self.balance(case)

    def balance(self, case):
        outcomes = case.result.outcomes
        saved = [recipient for recipient, _ in case.server.saved]
        self.assertLessEqual(len(case.server.received), 1)
        for i, (recipient, outcome) in enumerate(zip(THREE, outcomes)):
            unsure = outcome.verdict == IN_DOUBT
            self.assertEqual("delivered twice" in outcome.reply, unsure)
            if outcome.verdict == DELIVERED:
                self.assertTrue(recipient in saved or case.is_long_yes(i), outcome)
            elif outcome.verdict == DEFERRED:
                self.assertNotIn(recipient, saved, outcome)
            elif not unsure:
                self.assertEqual(outcome.verdict, FAILED)
                self.assertIn(i, case.finals(), outcome)
            self.assertEqual(outcome.status[0], {DELIVERED: "2", DEFERRED: "4", IN_DOUBT: "4", FAILED: "5"}[outcome.verdict])
            self.assertTrue(outcome.reply.isprintable() and len(outcome.reply) < 1000)
            self.assertTrue(not unsure or case.server.received or (case.step == "BODY" and "hang" in case.name))  # it read all of it
        if case.name in SAYS_NO and not case.step.startswith(("RSET", "QUIT")):
            self.assertTrue([o for o in outcomes if o.status[0] in "45"], outcomes)


class NetworkMatrix(Matrix, Base):
    pass


class SocketMatrix(Matrix, Base):
    on_socket = True


class Network(Replies, Base):
    def test_smtp_and_lmtp_at_one_address_are_two(self):
        with self.client.server() as server:
            self.client.deliver("a@x.example")
            self.client.deliver("a@x.example", transport="smtp")
            self.assertEqual([s.commands[0].split()[0] for s in server.sessions], ["LHLO", "EHLO"])

    def test_no_tls_means_no_mail_where_it_is_demanded(self):
        with self.client.server():
            self.check(self.client.deliver("a@x.example", tls="encrypt"), (DEFERRED, "4.7.4", "not offered"), site_failed=1)

    def test_starttls(self):
        cert, key = host.certificate(self.client.directory)
        with self.client.server(certificate=(cert, key)) as server:
            result = self.client.deliver("a@x.example", tls="encrypt")
        self.check(result, (DELIVERED, "2.0.0", "saved"))
        self.assertEqual([c.split()[0] for c in server.sessions[0].commands[:3]], ["LHLO", "STARTTLS", "LHLO"])
        self.assertIn("TLSv1.3", result.security)

    def test_requiretls_is_not_promised_for_others(self):
        cert, key = host.certificate(self.client.directory)
        with self.client.server():
            self.check(self.client.deliver("a@x.example", flags=frames.ENVELOPE_REQUIRETLS), (FAILED, "5.7.10", "STARTTLS was not offered"))
        fingerprint = subprocess.run("openssl x509 -in %s -outform DER | sha256sum" % cert, shell=True, capture_output=True, text=True).stdout[:64]
        with self.client.server(certificate=(cert, key)):
            self.check(self.client.deliver("a@x.example", tls="fingerprint:" + fingerprint, flags=frames.ENVELOPE_REQUIRETLS),
                       (FAILED, "5.7.30", "it was not offered"))

    def test_a_socket_is_not_reached(self):
        self.check(self.client.deliver("a@x.example", nexthop="unix:/run/x"), (FAILED, "5.3.5", "no valid route"))


class Socket(Replies, Base):
    on_socket = True

    def test_the_peer_is_this_host_and_the_socket(self):
        with self.client.server():
            self.assertEqual(self.client.deliver("a@x.example").peer, "mx.local.example[%s]" % self.client.path)

    def test_mail_with_requiretls_stays_within_this_host(self):
        with self.client.server(extensions=("STARTTLS", "PIPELINING")) as server:
            self.check(self.client.deliver("a@x.example", flags=frames.ENVELOPE_REQUIRETLS), (DELIVERED, "2.0.0", "saved"))
            self.check(self.client.deliver("a@x.example", tls="verify"), (DELIVERED, "2.0.0", "saved"))
        self.assertNotIn("STARTTLS", [c for s in server.sessions for c in s.commands])

    def test_the_network_is_not_reached(self):
        self.check(self.client.deliver("a@x.example", nexthop="[127.0.0.2]:24"), (FAILED, "5.3.5", "no valid route"))

    def refused(self, path, *words, client=None):
        result = (client or self.client).deliver("a@x.example", nexthop="unix:" + path)
        self.check(result, (DEFERRED, "4.4.1", "connect to socket %s: " % path), site_failed=1)
        for word in words:
            self.assertIn(word, result.outcomes[0].reply)

    def test_no_socket(self):
        self.refused(os.path.join(self.client.directory, "none"), "No such file", "start the LMTP server, or correct the path")

    def test_nobody_listens(self):
        path = os.path.join(self.client.directory, "left")
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(path)
        self.refused(path, "Connection refused", "start the LMTP server")

    def test_a_file_is_no_socket(self):
        path = os.path.join(self.client.directory, "file")
        with open(path, "w") as f:
            f.write("x")
        self.refused(path, "Connection refused", "it is no socket")
        self.refused(path + "/lmtp", "Not a directory", "correct the path")

    def test_another_kind_of_socket(self):
        path = os.path.join(self.client.directory, "datagrams")
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            s.bind(path)
            self.refused(path, "wrong type", "another kind")

    def test_symbolic_links(self):
        link, loop = os.path.join(self.client.directory, "link"), os.path.join(self.client.directory, "loop")
        os.symlink(self.client.path, link)
        os.symlink(loop, loop)
        with self.client.server() as server:
            self.check(self.client.deliver("a@x.example", nexthop="unix:" + link), (DELIVERED, "2.0.0", "saved"))
            self.assertTrue(server.saved)
        self.refused(loop, "symbolic links", "name the socket itself")

    def test_a_line_of_connections_that_is_full(self):
        path = os.path.join(self.client.directory, "busy")
        with socket.socket(socket.AF_UNIX) as s:
            s.bind(path)
            s.listen(0)
            waiting = socket.socket(socket.AF_UNIX)
            waiting.connect(path)
            self.refused(path, "temporarily unavailable", "more processes", client=self.client_with("connect_timeout", 1))
            waiting.close()

    def test_a_line_that_was_full_moves_on(self):
        path = os.path.join(self.client.directory, "moves")
        with LmtpServer(path + "-server") as server, socket.socket(socket.AF_UNIX) as s, socket.socket(socket.AF_UNIX) as before:
            s.bind(path)
            s.listen(0)
            s.settimeout(60)
            before.connect(path)
            self.client.send("a@x.example", nexthop="unix:" + path)
            time.sleep(0.35)
            s.accept()[0].close()
            session = server.session(s.accept()[0])
            threading.Thread(target=session.run, daemon=True).start()
            self.check(self.client.result(1), (DELIVERED, "2.0.0", "saved"))

    def test_the_server_is_started_anew(self):
        with self.client.server() as server:
            self.client.deliver("a@x.example")
        with self.client.server() as server:
            self.check(self.client.deliver("a@x.example"), (DELIVERED, "2.0.0", "saved"))
            self.assertEqual(len(server.saved), 1)

    def test_the_log_names_socket_cause_and_next_step(self):
        self.refused(os.path.join(self.client.directory, "none2"))
        line = host.wait_for(lambda: [l for l in self.client.log().split("\n") if "none2" in l])[-1]
        for word in ("site=lmtp:unix:", "error=", "No such file", "start the LMTP server"):
            self.assertIn(word, line)


if __name__ == "__main__":
    unittest.main()
