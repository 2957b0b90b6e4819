"""postino-remote alone: qmgr and dns are played by the test, the next hosts by tests/e2e/hostile.py."""
import contextlib
import os
import random
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import unittest

import frames
import host
from driven import Driven
from hostile import DROP, HANG, RESET, Late, Raw, Server, When
from remote import BODY, DEFERRED, FAILED, IN_DOUBT, PATIENT, RELAYED, Base, Deliveries, Names, Policies, Remote, patient


LOST = {"GREETING": "receiving the initial server greeting", "EHLO": "performing the EHLO handshake", "MAIL": "sending MAIL FROM",
        "RCPT": "sending RCPT TO", "DATA": "sending DATA command", "END": "after the end of the message was sent"}


class Delivery(Base):
    settings = 'idle_timeout = "0"' + " " + PATIENT

    def test_a_message_arrives_byte_for_byte(self):
        with self.remote.server() as server:
            result = self.remote.deliver("bob@a.example", flags=frames.ENVELOPE_8BIT)
            self.check(result, (RELAYED, "2.0.0", "250 2.0.0 ok: queued as A1"))
            self.assertEqual(result.peer, "mx0.a.example[127.0.0.2]:%d" % self.remote.port)
            self.assertEqual(result.security, "")
            host.wait_for(lambda: server.sessions[0].ended)
            self.assertEqual(server.sessions[0].commands, ["EHLO mx.local.example", "MAIL FROM:<s@from.example> SIZE=%d BODY=8BITMIME" % len(BODY),
                                                           "RCPT TO:<bob@a.example>", "DATA", "QUIT"])
            self.assertEqual(server.messages[0].body, BODY)

    def test_the_same_without_any_extension(self):
        with self.remote.server(extensions=()) as server:
            self.check(self.remote.deliver("a@a.example", "b@a.example", flags=frames.ENVELOPE_8BIT, sender=""), *[(RELAYED, "2.0.0", "250 ")] * 2)
            self.assertEqual(server.sessions[0].commands[1:5], ["MAIL FROM:<>", "RCPT TO:<a@a.example>", "RCPT TO:<b@a.example>", "DATA"])
            self.assertEqual(server.messages[0].body, BODY)

    def test_wishes_for_reports_go_to_a_host_with_dsn_and_the_duty_with_them(self):
        wishes = [dict(address="a@a.example", notify=frames.NOTIFY_SUCCESS | frames.NOTIFY_FAILURE | frames.NOTIFY_DELAY, orcpt="rfc822;A+=1 @old.example"),
                  dict(address="b@a.example", notify=frames.NOTIFY_NEVER), dict(address="c@a.example", orcpt="no semicolon"), dict(address="d@a.example")]
        for r in wishes:
            r.update(transport="smtp", nexthop="a.example", tls="none")
        for ret, word in ((frames.RET_FULL, "FULL"), (frames.RET_HDRS, "HDRS")):
            with self.remote.server(extensions=("DSN", "PIPELINING")) as server:
                self.remote.qmgr.send("DELIVER", id=78, nexthop="a.example", tls="none", sender="s@from.example", envid="x=+ y", ret=ret, body=BODY,
                                      size=len(BODY), recipients=wishes)
                self.check(self.remote.result(4), *[(frames.VERDICT_PASSED_ON, "2.0.0", "250")] * 4)
                self.assertEqual(server.sessions[0].commands[1:6], [
                    "MAIL FROM:<s@from.example> RET=%s ENVID=x+3D+2B+20y" % word,
                    "RCPT TO:<a@a.example> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;A+2B+3D1+20@old.example", "RCPT TO:<b@a.example> NOTIFY=NEVER",
                    "RCPT TO:<c@a.example>", "RCPT TO:<d@a.example>"])
        with self.remote.server(extensions=("PIPELINING",)) as server:
            self.remote.qmgr.send("DELIVER", id=79, nexthop="a.example", tls="none", sender="s@from.example", envid="x", ret=frames.RET_FULL, body=BODY,
                                  size=len(BODY), recipients=wishes)
            self.check(self.remote.result(4), *[(RELAYED, "2.0.0", "250")] * 4)
            self.assertEqual(server.sessions[0].commands[1:6],
                             ["MAIL FROM:<s@from.example>"] + ["RCPT TO:<%s@a.example>" % who for who in "abcd"])

    def test_odd_bodies(self):
        for body in (b"", b"\r\n", b".", b".\r\n", b"a", b"\r\n.\r\n", b"..\r\n.\r\n", bytes(range(128, 256)) + b"\0\r\n", b"x" * 70000 + b"\r\n"):
            with self.remote.server() as server:
                self.check(self.remote.deliver(body=body), (RELAYED, "2.0.0", ""))
                wanted = body if body.endswith(b"\r\n") or not body else body + b"\r\n"
                self.assertEqual(server.messages[0].body, wanted)

    def test_a_bare_line_end_never_leaves(self):
        for body in (b"a\nb\r\n", b"a\r\n.\n\r\n", b"a\rb\r\n", b"a\r"):
            with self.remote.server() as server:
                self.check(self.remote.deliver(body=body), (FAILED, "5.6.0", "bare CR or LF"))
                host.wait_for(lambda: server.sessions[0].ended)
                self.assertEqual(server.received, [])

    def test_replies_of_each_step(self):
        """Every step refused for now, and for good, with and without pipelining."""
        for extensions in ((), ("PIPELINING",)):
            for step, name in (("MAIL", "MAIL FROM command"), ("RCPT", "RCPT TO command"), ("DATA", "DATA command"), ("END", "end of DATA command")):
                for reply, verdict, status in (("450 4.7.1 later", DEFERRED, "4.7.1"), ("451 later", DEFERRED, "4.0.0"), ("452 5.3.4 odd", DEFERRED, "4.0.0"),
                                               ("550 5.1.1 never", FAILED, "5.1.1"), ("554 never", FAILED, "5.0.0")):
                    with self.subTest(step=step, reply=reply, extensions=extensions), self.remote.server(extensions=extensions, **{step: reply}) as server:
                        result = self.remote.deliver()
                        self.check(result, (verdict, status, "host mx0.a.example[127.0.0.2] said: %s (in reply to %s)" % (reply, name)))
                        self.assertEqual(server.messages, [])

    def test_a_reply_in_many_lines_is_one_in_the_result(self):
        self.check_one(dict(RCPT="550-5.1.1 no\n550-5.1.1 such\n550 5.1.1 user"), FAILED, "5.1.1", "said: 550 5.1.1 no such user (in")

    def test_what_a_server_says_is_made_harmless(self):
        self.check_one(dict(RCPT="550 5.1.1 \x1b[31m \xe9 " + "y" * 900), FAILED, "5.1.1", "550 5.1.1 ?[31m ?? yyy")

    def test_recipients_have_each_their_own_fate(self):
        steps = {"RCPT b@": "550 5.1.1 no b", "RCPT c@": "451 4.2.1 c later", "RCPT d@": "552 5.5.3 too many", "RCPT e@": "251 will forward"}
        for extensions in ((), ("PIPELINING",)):
            with self.remote.server(extensions=extensions, steps=steps) as server:
                result = self.remote.deliver(*[c + "@a.example" for c in "abcde"])
                self.check(result, (RELAYED, "2.0.0", "250"), (FAILED, "5.1.1", "no b"), (DEFERRED, "4.2.1", "c later"), (DEFERRED, "4.5.3", "too many"),
                           (RELAYED, "2.0.0", "250"))
                self.assertEqual(server.messages[0].recipients, ["a@a.example", "e@a.example"])

    def test_data_refused_spares_what_was_decided(self):
        steps = {"RCPT b@": "550 5.1.1 no b", "DATA": "451 4.3.0 not now"}
        for extensions in ((), ("PIPELINING",)):
            with self.remote.server(extensions=extensions, steps=steps):
                self.check(self.remote.deliver("a@a.example", "b@a.example"), (DEFERRED, "4.3.0", "not now"), (FAILED, "5.1.1", "no b"))

    def test_354_though_nobody_was_accepted(self):
        with self.remote.server(RCPT="550 5.1.1 no", DATA="354 go on") as server:
            self.check(self.remote.deliver("a@a.example", "b@a.example"), (FAILED, "5.1.1", "no"), (FAILED, "5.1.1", "no"))
            host.wait_for(lambda: server.sessions[0].ended)
            self.assertEqual([m.body for m in server.received], [b""])
        with self.remote.server(MAIL="451 4.7.0 no", RCPT="250 ok", DATA="354 go on") as server:  # what we ended now would be delivered
            self.check(self.remote.deliver("a@a.example", "b@a.example"), (DEFERRED, "4.7.0", "no"), (DEFERRED, "4.7.0", "no"))
            host.wait_for(lambda: server.sessions[0].ended)
            self.assertEqual(server.received, [])
        with self.remote.server(MAIL="451 4.7.0 no", DATA="354 go on") as server:
            self.check(self.remote.deliver("a@a.example", "b@a.example"), (DEFERRED, "4.7.0", "no"), (DEFERRED, "4.7.0", "no"))
            host.wait_for(lambda: server.sessions[0].ended)
            self.assertEqual([m.body for m in server.received], [b""])

    def test_a_break_at_each_step(self):
        for extensions in ((), ("PIPELINING",)):
            for step, words in LOST.items():
                for action in (DROP, RESET, Raw(b"250 hal", DROP)):
                    with self.subTest(step=step, action=action, extensions=extensions):
                        result = self.connected({step: action}, extensions)
                        self.check(result, *[(IN_DOUBT if step == "END" else DEFERRED, "4.4.2", words)] * 2, site_failed=1)
                        self.assertIn("lost connection", result.outcomes[0].reply)

    def connected(self, script, extensions):
        """A reset that comes before the connection was seen to be there is another thing: then once more."""
        for seconds in 0.1, 1, 5:
            if script == {"GREETING": RESET}:
                script = {"GREETING": Late(RESET, seconds)}
            with self.remote.server(extensions=extensions, **script):
                result = self.remote.deliver("a@a.example", "b@a.example")
            if not ("GREETING" in script and result.outcomes[0].status == "4.4.1"):
                break
        return result

    def test_garbage_at_each_step(self):
        for step in ("GREETING", "EHLO", "MAIL", "RCPT", "DATA", "END"):
            for octets in (b"hello there\r\n", b"250-a\r\n550 b\r\n", b"250 " + b"x" * 5000, b"\0\0\0\0\r\n", b"250-x\r\n" * 5000):
                with self.subTest(step=step, octets=octets[:20]), self.remote.server(**{step: Raw(octets, HANG)}):
                    result = self.remote.deliver()
                    if step == "END" and len(octets) > 5000:  # too long, but a yes
                        self.check(result, (RELAYED, "2.0.0", "250 x"))
                        continue
                    self.assertEqual([o.verdict for o in result.outcomes], [IN_DOUBT if step == "END" else DEFERRED])
                    self.assertEqual(result.outcomes[0].status, "4.5.0" if step in ("GREETING", "EHLO") else "4.4.2")
                    self.assertIn("broken reply", result.outcomes[0].reply)

    def test_replies_out_of_protocol(self):
        for script in (dict(MAIL="354 what"), dict(RCPT="354 what"), dict(DATA="250 what")):
            for extensions in ((), ("PIPELINING",)):
                self.check_one(dict(script, extensions=extensions), DEFERRED, "4.5.0", "protocol error", site_failed=1)

    def test_replies_ahead_of_their_commands_are_no_acceptance(self):
        """All replies at once, from the start: nothing was accepted by those."""
        early = Raw(b"220 x\r\n250 x\r\n250 ok\r\n250 ok\r\n354 go\r\n250 ok\r\n", HANG)
        self.check_one(dict(GREETING=early), DEFERRED, "4.5.0", "more replies than", site_failed=1)
        server = self.check_one(dict(extensions=(), DATA=Raw(b"354 go on\r\n250 2.0.0 taken\r\n", HANG)), DEFERRED, "4.5.0", "protocol error", site_failed=1)
        self.assertEqual(server.messages, [])

    def test_a_refusal_in_the_middle_of_the_message(self):
        body = b"x" * 998 + b"\r\n"
        with self.remote.server(BODY=(100000, Raw(b"552 5.3.4 enough\r\n", HANG))) as server:
            self.check(self.remote.deliver(body=body * 250), (FAILED, "5.3.4", "enough"))
            self.assertEqual(server.received, [])

    def test_a_break_in_the_middle_of_the_message(self):
        with tempfile.TemporaryFile() as body:
            body.write((b"x" * 998 + b"\r\n") * 20000)  # more than the sockets hold
            body.flush()
            for action in (DROP, RESET):
                with self.remote.server(BODY=(100000, action)):
                    result = self.remote.deliver(fd=body.fileno(), size=20000000)
                    self.check(result, (DEFERRED, "4.4.2", "while sending message body"), site_failed=1)

    def test_421_with_some_decided(self):
        steps = {"RCPT a@": "550 5.1.1 no a", "RCPT c@": "421 4.3.2 going down"}
        with self.remote.server(steps=steps):
            result = self.remote.deliver("a@a.example", "b@a.example", "c@a.example")
            self.check(result, (FAILED, "5.1.1", "no a"), (DEFERRED, "4.3.2", "going down"), (DEFERRED, "4.3.2", "going down"))

    def test_helo_when_ehlo_is_unknown(self):
        with self.remote.server(EHLO="502 what?") as server:
            self.check(self.remote.deliver(), (RELAYED, "2.0.0", ""))
            self.assertEqual(server.sessions[0].commands[:2], ["EHLO mx.local.example", "HELO mx.local.example"])
        self.check_one(dict(EHLO="502 what?", HELO="550 5.7.1 go away"), DEFERRED, "4.7.1", "in reply to HELO command", site_failed=1)
        self.check_one(dict(EHLO="450 4.7.1 grey"), DEFERRED, "4.7.1", "in reply to EHLO command", site_failed=1)

    def test_too_large_for_the_server(self):
        with self.remote.server(extensions=("SIZE 10",)) as server:
            self.check(self.remote.deliver(), (FAILED, "5.3.4", "exceeds size limit 10 of host"))
            self.assertNotIn("MAIL", " ".join(server.sessions[0].commands))
        with self.remote.server(extensions=("SIZE 0",)):
            self.check(self.remote.deliver(), (RELAYED, "2.0.0", ""))

    def test_smtputf8(self):
        server = self.check_one({}, FAILED, "5.6.7", "SMTPUTF8 is required", flags=frames.ENVELOPE_SMTPUTF8)
        self.assertNotIn("MAIL", " ".join(server.sessions[0].commands))
        with self.remote.server(extensions=("SMTPUTF8", "8BITMIME")) as server:
            self.check(self.remote.deliver("m\u00fcller@a.example"), (RELAYED, "2.0.0", ""))
            self.assertEqual(server.sessions[0].commands[1:3], ["MAIL FROM:<s@from.example> SMTPUTF8", "RCPT TO:<m\u00fcller@a.example>"])
            self.check(self.remote.deliver("a@a.example"), (RELAYED, "2.0.0", ""))
            self.assertEqual(server.sessions[1].commands[1], "MAIL FROM:<s@from.example>")
            self.check(self.remote.deliver("a@a.example", sender="\u00fc@a.example"), (RELAYED, "2.0.0", ""))
            self.assertEqual(server.sessions[2].commands[1], "MAIL FROM:<\u00fc@a.example> SMTPUTF8")
        with self.remote.server() as server:  # who has an address in ASCII gets the message
            self.check(self.remote.deliver("a@a.example", "m\u00fcller@a.example", "b@a.example"), (RELAYED, "2.0.0", ""), (FAILED, "5.6.7", "SMTPUTF8 is required"),
                       (RELAYED, "2.0.0", ""))
            self.assertEqual(server.messages[0].recipients, ["a@a.example", "b@a.example"])
            self.assertNotIn("SMTPUTF8", server.sessions[0].commands[1])
        with self.remote.server(extensions=("SMTPUTF8", "LIMITS RCPTMAX=1")) as server:
            self.check(self.remote.deliver("a@a.example", "\u00fc@a.example"), *[(RELAYED, "2.0.0", "")] * 2)
            self.assertEqual([c for c in server.sessions[0].commands if c.startswith("MAIL")], ["MAIL FROM:<s@from.example>", "MAIL FROM:<s@from.example> SMTPUTF8"])

    def test_addresses_that_are_none_go_nowhere(self):
        with self.remote.server() as server:
            result = self.remote.deliver("a@a.example", "x> SIZE=1", "b@a.example")
            self.check(result, (RELAYED, "2.0.0", ""), (FAILED, "5.1.3", "not well formed"), (RELAYED, "2.0.0", ""))
            self.assertEqual(server.messages[0].recipients, ["a@a.example", "b@a.example"])
        self.check(self.remote.deliver(sender="a> AUTH=<x"), (FAILED, "5.1.7", "not well formed"))

    def test_a_thousand_recipients(self):
        names = ["r%d@a.example" % i for i in range(1000)]
        for extensions in ((), ("PIPELINING",)):
            with self.remote.server(extensions=extensions, steps={"RCPT r5": "550 5.1.1 no"}) as server:
                result = self.remote.deliver(*names)
                refused = [i for i, name in enumerate(names) if name.startswith("r5")]
                self.assertEqual([i for i, o in enumerate(result.outcomes) if o.verdict == FAILED], refused)
                self.assertEqual(len(server.messages[0].recipients), 1000 - len(refused))


class Hangs(unittest.TestCase):
    """A host that says nothing more, in each step; that step alone has a short timeout."""
    check = Deliveries.check

    def hangs(self, cases, *users, second=None, **short):
        with Remote('idle_timeout = "0" ' + patient(**short)) as remote:
            yield from remote.at_once([(script, script) for script in cases], *users, second=second)

    def test_at_each_step(self):
        for (step, words), timeout in zip(LOST.items(), ("greeting", "helo", "mail", "rcpt", "data", "end")):
            cases = [dict({step: action}, extensions=extensions) for extensions in ((), ("PIPELINING",)) for action in (HANG, Raw(b"25", HANG))]
            for script, _, _, result in self.hangs(cases, "a", "b", **{timeout: "1s"}):
                with self.subTest(script):
                    self.check(result, *[(IN_DOUBT if step == "END" else DEFERRED, "4.4.2", words)] * 2, site_failed=1)
                    self.assertIn("timed out", result.outcomes[0].reply)

    def test_the_next_address_gets_its_turn(self):
        cases = [dict({step: HANG}, extensions=extensions) for step in ("GREETING", "DATA") for extensions in ((), ("PIPELINING",))]
        for script, first, second, result in self.hangs(cases, "a", second={}, greeting="5s", data="5s"):  # the second host has as much
            with self.subTest(script):
                self.check(result, (RELAYED, "2.0.0", ""))
                self.assertIn("[%s]:" % second.address, result.peer)
                self.assertEqual((first.messages, [m.body for m in second.messages]), ([], [BODY]))

    def test_but_not_when_the_message_may_be_taken(self):
        for _, first, second, result in self.hangs([dict(END=HANG)], "a", second={}, end="1s"):
            self.check(result, (IN_DOUBT, "4.4.2", ""), site_failed=1)
            self.assertEqual((len(first.received), second.sessions), (1, []))

    def test_in_a_handshake(self):
        with tempfile.TemporaryDirectory(prefix="postino-test-") as directory:
            certificate = host.certificate(directory, "mx0.a.example")
            for tls in ("may", "required"):
                with Remote('idle_timeout = "0" ' + patient(tls="1s")) as remote:
                    cases = [(action, dict(certificate=certificate, STARTTLS=action)) for action in (HANG, Raw(b"220 go on\r\n", HANG))]
                    for action, server, _, result in remote.at_once(cases, "a", tls=tls):
                        with self.subTest(action=action, tls=tls):
                            if tls == "may":
                                self.check(result, (RELAYED, "2.0.0", ""))
                                self.assertEqual([(m.body, m.secured) for m in server.messages], [(BODY, None)])
                                self.assertEqual(len(server.sessions), 2)
                            else:
                                self.check(result, (DEFERRED, "4.7.5", "TLS with host"), site_failed=1)
                                self.assertEqual(server.received, [])

    def test_a_server_that_takes_nothing(self):
        over = threading.Event()
        with tempfile.TemporaryFile() as body:
            for _ in range(40000):
                body.write(b"x" * 998 + b"\r\n")
            body.flush()
            with Remote(patient(block="1s")) as remote, remote.server(extensions=("PIPELINING",), BODY=(1000, When(DROP, over.is_set))) as server:
                result = remote.deliver(fd=body.fileno(), size=40000000)
                over.set()
                self.check(result, (DEFERRED, "4.4.2", "timed out"), site_failed=1)
                self.assertIn("while sending message body", result.outcomes[0].reply)
                self.assertEqual(server.received, [])


class Hosts(Base):
    settings = 'idle_timeout = "0"' + " " + PATIENT

    def test_which_names_are_asked_for(self):
        self.remote.names.table["h.example"] = [("h.example", "127.0.0.2")]
        port = self.remote.port
        with self.remote.server() as server:
            for nexthop, question in (("a.example", ("a.example", frames.RESOLVE_MX | frames.RESOLVE_ADDRESSES)),
                                      ("a.example:%d" % port, ("a.example", frames.RESOLVE_MX | frames.RESOLVE_ADDRESSES)),
                                      ("[h.example]", ("h.example", frames.RESOLVE_ADDRESSES)), ("[127.0.0.2]", None), ("[127.0.0.2]:%d" % port, None)):
                before = len(self.remote.names.asked)
                self.check(self.remote.deliver(nexthop=nexthop), (RELAYED, "2.0.0", ""))
                self.assertEqual(self.remote.names.asked[before:], [question] if question else [])
            self.assertEqual(len(server.messages), 5)

    def test_no_such_domain(self):
        self.check(self.remote.deliver("a@no.example", "b@no.example", nexthop="no.example"), *[(FAILED, "5.4.4", "not found: no.example")] * 2)
        self.remote.names.table["null.example"] = (frames.RESOLVE_FAILED, "5.1.10", "null MX")
        self.check(self.remote.deliver(nexthop="null.example"), (FAILED, "5.1.10", "null MX"))
        self.remote.names.table["late.example"] = (frames.RESOLVE_DEFERRED, "4.4.3", "SERVFAIL")
        self.check(self.remote.deliver(nexthop="late.example"), (DEFERRED, "4.4.3", "SERVFAIL"), site_failed=1)
        self.remote.names.table["bare.example"] = [("mx.bare.example", "")]
        self.check(self.remote.deliver(nexthop="bare.example"), (DEFERRED, "4.4.3", "no address is known"), site_failed=1)

    def test_a_route_that_is_none(self):
        for nexthop, tls in (("", "none"), ("[x", "none"), ("a..b", "none"), ("a.example:0", "none"), ("a.example", "maybe"), ("x" * 3000, "none")):
            self.check(self.remote.deliver(nexthop=nexthop, tls=tls), (FAILED, "5.3.5", "no valid route"))

    def test_another_transport_is_a_mistake_of_ours(self):
        self.remote.qmgr.send("DELIVER", id=1, nexthop="a.example", tls="none", body=BODY, recipients=[dict(address="a@a.example", transport="local")])
        self.check(self.remote.result(), (DEFERRED, "4.3.5", "internal error"))

    def test_the_next_address_gets_its_turn(self):
        for script in (None, dict(GREETING="450 4.7.1 busy"), dict(GREETING="421 4.7.1 busy"), dict(GREETING="554 5.7.1 no"), dict(GREETING=DROP),
                       dict(GREETING=Raw(b"junk\r\n")), dict(EHLO="421 4.3.2 x"), dict(EHLO="451 x"), dict(EHLO=DROP),
                       dict(EHLO="500 x", HELO="550 x"), dict(MAIL="421 4.3.2 down"), dict(MAIL=DROP), dict(RCPT="421 4.3.2 down"), dict(DATA="421 4.3.2 x"),
                       dict(END="421 4.3.2 down"), dict(name="mx.hostile.example", RCPT=RESET)):
            for extensions in ((), ("PIPELINING",)):
                with self.subTest(script=script, extensions=extensions), contextlib.ExitStack() as stack:
                    if script is not None:
                        stack.enter_context(self.remote.server(extensions=extensions, **script))
                    second = stack.enter_context(self.remote.server("127.0.0.3"))
                    result = self.remote.deliver(nexthop="two.example")
                    self.check(result, (RELAYED, "2.0.0", ""))
                    self.assertEqual(result.peer, "mx1.two.example[127.0.0.3]:%d" % self.remote.port)
                    self.assertEqual([m.body for m in second.messages], [BODY])

    def test_but_not_when_something_is_decided_or_may_be(self):
        for script, verdict, status in ((dict(END=DROP), IN_DOUBT, "4.4.2"), (dict(RCPT="450 4.2.0 x"), DEFERRED, "4.2.0"),
                                        (dict(MAIL="450 4.2.0 x"), DEFERRED, "4.2.0")):
            with self.remote.server(**script), self.remote.server("127.0.0.3") as second:
                self.check(self.remote.deliver(nexthop="two.example"), (verdict, status, ""), site_failed=int("END" in script))
                self.assertEqual(second.sessions, [])

    def test_what_has_not_left_this_host_is_in_no_doubt(self):
        """The connection is reset while the end of the message is still in a buffer, be it the kernel's."""
        for lines in (200, 500, 1000, 2000):
            with self.subTest(lines), self.remote.server(window=65536, BODY=(30000, Late(RESET, 0.3))) as first, self.remote.server("127.0.0.3") as second, \
                    tempfile.TemporaryFile() as body:
                body.write((b"x" * 998 + b"\r\n") * lines)
                body.flush()
                result = self.remote.deliver(nexthop="two.example", fd=body.fileno(), size=1000 * lines)
                self.check(result, (RELAYED, "2.0.0", ""))
                self.assertEqual((first.received, len(second.messages)), ([], 1))

    def test_the_rest_waits_when_one_is_decided(self):
        steps = {"RCPT a@": "550 5.1.1 no a"}
        for script in ({"RCPT b@": "421 4.3.2 down"}, {"RCPT b@": DROP}, {"DATA": "421 4.3.2 down"}, {"DATA": DROP}):
            with self.remote.server(steps=dict(steps, **script)), self.remote.server("127.0.0.3") as second:
                result = self.remote.deliver("a@a.example", "b@a.example", nexthop="two.example")
                self.assertEqual([o.verdict for o in result.outcomes], [FAILED, DEFERRED])
                self.assertEqual((second.sessions, result.site_failed), ([], 0))

    def test_the_lost_end_is_said_and_logged(self):
        """RFC 1047."""
        self.check_one(dict(END=DROP), IN_DOUBT, "4.4.2", "may have been taken, and be delivered twice", site_failed=1)
        host.wait_for(lambda: "delivered twice" in self.remote.log())

    def test_nobody_there(self):
        result = self.remote.deliver(nexthop="two.example")
        self.check(result, (DEFERRED, "4.4.1", "connect to mx1.two.example[127.0.0.3]:%d: Connection refused" % self.remote.port), site_failed=1)
        log = host.wait_for(lambda: [line for line in self.remote.log().splitlines() if "address=127.0.0.2" in line and "refused" in line])[-1]
        self.assertIn(": 00000000002D: site=two.example host=mx0.two.example address=127.0.0.2 error=", log)  # 77: whose connection it was to be

    def test_refused_by_all_is_deferred(self):
        with self.remote.server(GREETING="554 5.7.1 no"), self.remote.server("127.0.0.3", GREETING="554 5.7.1 no"):
            self.check(self.remote.deliver(nexthop="two.example"), (DEFERRED, "4.7.1", "refused to talk to me: 554 5.7.1 no"), site_failed=1)

    def test_what_an_address_said_is_told_and_not_that_another_is_silent(self):
        with self.remote.server(GREETING="554 5.7.1 no"):  # nobody is at the second one
            for _ in range(2):
                result = self.remote.deliver(nexthop="two.example")
                self.check(result, (DEFERRED, "4.7.1", "host mx0.two.example[127.0.0.2] refused to talk to me: 554 5.7.1 no"), site_failed=1)
                self.assertEqual(result.peer, "mx0.two.example[127.0.0.2]:%d" % self.remote.port)

    def test_a_site_is_there_if_a_host_is_that_one_message_can_not_go_to(self):
        """whatever the others do: mail that does not need SMTPUTF8 goes to that host, and must not wait for a site that is taken for dead"""
        self.remote.names.table["three.example"] = "127.0.0.2 127.0.0.3 127.0.0.4"
        addresses = ("127.0.0.2", "127.0.0.3", "127.0.0.4")
        down, unfit, busy, broken = None, {}, dict(GREETING="421 4.7.1 busy"), dict(EHLO=DROP)
        ours, breaks = dict(name="mx.local.example"), dict(extensions=("SMTPUTF8",), MAIL=DROP)
        for hosts, status, failed in (((unfit, down, down), "4.6.7", 0), ((down, unfit, down), "4.6.7", 0), ((down, down, unfit), "4.6.7", 0),
                                      ((unfit, busy, down), "4.7.1", 0), ((unfit, busy, busy), "4.7.1", 0), ((unfit, down, broken), "4.4.2", 0),
                                      ((unfit, breaks, down), "4.4.2", 0), ((unfit, down, ours), "4.4.6", 0),
                                      ((down, down, busy), "4.7.1", 1), ((breaks, down, down), "4.4.2", 1), ((down, down, ours), "4.4.6", 1)):
            with self.subTest(hosts=hosts), contextlib.ExitStack() as stack:
                for address, script in zip(addresses, hosts):
                    if script is not None:
                        stack.enter_context(self.remote.server(address, **script))
                result = self.remote.deliver(nexthop="three.example", flags=frames.ENVELOPE_SMTPUTF8)
                self.check(result, (DEFERRED, status, ""), site_failed=failed)

    def test_addresses_of_nobody(self):
        for i, address in enumerate(("0.0.0.0", "224.0.0.1", "255.255.255.255", "::", "ff02::1", "::ffff:0.0.0.0")):
            name = "n%d.example" % i
            self.remote.names.table[name] = address
            self.check(self.remote.deliver(nexthop=name), (FAILED, "5.4.4", "no host has such an address"))
        self.remote.names.table["mix.example"] = "0.0.0.0 ::ffff:127.0.0.2"
        with self.remote.server() as server:
            self.check(self.remote.deliver(nexthop="mix.example"), (RELAYED, "2.0.0", ""))
            self.assertEqual(len(server.messages), 1)

    def test_ourselves(self):
        with self.remote.server(name="MX.local.example") as server:
            self.check(self.remote.deliver(), (FAILED, "5.4.6", "loops back to myself"))
            self.check(self.remote.deliver(nexthop="a.example:%d" % self.remote.port), (RELAYED, "2.0.0", ""))
            self.assertEqual(len(server.messages), 1)


class Loopback(Deliveries):
    def setUp(self):
        self.port = host.free_port()

    @classmethod
    def setUpClass(cls):
        cls.smarthost = host.free_port()
        cls.remote = Driven("remote", 'remote { %s }\nroute "*" { via = "smtp:[127.0.0.1]:%d" }' % (PATIENT, cls.smarthost), edges=("qmgr", "dns", "sts"))
        cls.keep(cls.remote)
        cls.policies = Policies(cls.remote.edges["sts"])
        cls.remote.names = Names(cls.remote.edges["dns"])
        cls.remote.names.table["lo.example"] = "127.0.0.2 ::1"

    def ask(self, nexthop, address="a@a.example"):
        return self.remote.edges["qmgr"].ask("DELIVER", id=1, nexthop=nexthop, tls="none", body=BODY, recipients=[dict(address=address, transport="smtp")])

    def test_is_closed(self):
        self.check(self.ask("lo.example"), (FAILED, "5.4.4", "loopback"))
        for literal in ("[127.0.0.1]", "[IPv6:::1]"):
            for port in ("", ":%d" % self.port):
                self.check(self.ask(literal + port, "a@" + literal), (FAILED, "5.4.4", "loopback"))

    def test_what_a_route_names_or_named_waits(self):
        """Brackets are this host's file's, as it was when the message came, unless the mail itself has such an address."""
        for nexthop in ("[127.0.0.1]:%d" % self.port, "[127.0.0.1]", "[IPv6:::1]", "[lo.example]", "[lo.example]:%d" % self.port):
            self.check(self.ask(nexthop), (DEFERRED, "4.4.3", "loopback } is not set; correct that, or postino queue reroute"), site_failed=1)

    def test_but_for_what_the_file_names(self):
        with Server("127.0.0.1", self.smarthost) as server:
            self.check(self.ask("[127.0.0.1]:%d" % self.smarthost), (RELAYED, "2.0.0", ""))
            self.assertEqual(len(server.messages), 1)


class Reuse(Base):
    settings = 'idle_timeout = "5m" session_messages = 3 ' + PATIENT

    def test_a_session_takes_the_next_message(self):
        with self.remote.server() as server:
            for i in range(7):
                self.check(self.remote.deliver(body=b"%d\r\n" % i), (RELAYED, "2.0.0", ""))
            self.assertEqual([m.body for m in server.messages], [b"%d\r\n" % i for i in range(7)])
            self.assertEqual(len(server.sessions), 3)
            host.wait_for(lambda: [s.commands[-1] == "QUIT" for s in server.sessions] == [True, True, False])

    def test_one_that_is_idle_for_long_ends(self):
        with Remote('idle_timeout = "1s" ' + PATIENT) as remote, remote.server() as server:
            self.check(remote.deliver(), (RELAYED, "2.0.0", ""))
            host.wait_for(lambda: server.sessions[0].commands[-1] == "QUIT")

    def free_again(self, session, last):
        """The result of a refusal comes before the session is free again. It is when the answer to the last command has been read."""
        place = "0100007F:%04X" % session.sock.getpeername()[1]

        def unread():
            with open("/proc/net/tcp", encoding="ascii") as table:
                return next(int(row[4].split(":")[1], 16) for row in map(str.split, table) if row[1] == place and row[3] == "01")

        def free():
            """the answer to the last command has been read"""
            return session.commands[-1].startswith(last) and session.answered == len(session.commands) and unread() == 0
        host.wait_for(free)

    def test_after_refusals_too(self):
        for extensions in ((), ("PIPELINING",)):
            script = dict(MAIL=["550 5.7.1 no", "250 ok"], RCPT=["550 5.1.1 no", "250 ok"])
            with self.remote.server(extensions=extensions, **script) as server:
                results = []
                for last in ("DATA", "", "") if extensions else ("MAIL", "RSET", ""):
                    results.append(self.remote.deliver().outcomes[0].verdict)
                    if last:
                        self.free_again(server.sessions[0], last)
                self.assertEqual(len(server.sessions), 1)
                self.assertEqual(results, [FAILED, RELAYED if extensions else FAILED, RELAYED])

    def test_rset_after_nobody_was_accepted(self):
        for extensions in ((), ("PIPELINING",)):
            with self.remote.server(extensions=extensions, RCPT=["550 5.1.1 no", "250 ok"]) as server:
                self.assertEqual(self.remote.deliver().outcomes[0].verdict, FAILED)
                self.free_again(server.sessions[0], "RSET")
                self.assertEqual(self.remote.deliver().outcomes[0].verdict, RELAYED)
                self.assertEqual(len(server.sessions), 1)
                self.assertIn("RSET", server.sessions[0].commands)
                self.assertEqual(server.sessions[0].commands.count("DATA"), 2 if extensions else 1)

    def test_an_idle_session_that_broke_is_no_failure(self):
        for action in (DROP, "421 4.4.2 idle too long", RESET):
            with self.remote.server(MAIL=["250 ok", action]) as server:
                self.check(self.remote.deliver(), (RELAYED, "2.0.0", ""))
                self.check(self.remote.deliver(), (RELAYED, "2.0.0", ""))
                self.assertEqual(len(server.sessions), 2)
                self.assertEqual(len(server.messages), 2)

    def test_nor_one_that_broke_before_it_carried_anything(self):
        """Two are opened for two messages, and one of them takes both: the other is idle from its greeting on."""
        for action in (DROP, "421 4.4.2 idle too long", RESET):
            with self.remote.server(GREETING=["220 x", When("220 x", lambda: len(server.messages) == 2)], MAIL=["250 ok", "250 ok", action]) as server:
                for _ in range(2):
                    self.remote.send()
                for _ in range(2):
                    self.check(self.remote.result(), (RELAYED, "2.0.0", ""))
                host.wait_for(lambda: len(server.sessions) == 2 and server.sessions[1].answered == 1)
                idle = server.sessions[1]
                self.free_again(idle, "EHLO")
                idle.times["MAIL"] = 2  # its first is the third
                self.check(self.remote.deliver(), (RELAYED, "2.0.0", ""))
                self.assertEqual([sum(c.startswith("MAIL") for c in s.commands) for s in server.sessions], [2, 1, 1])
                self.assertEqual(len(server.messages), 3)

    def test_a_host_that_is_unfit_for_a_message_is_not_asked_anew(self):
        """... though its session was idle from its greeting on: that one says the same as a fresh one would."""
        self.remote.names.table["v.example"] = [("mx1.example", "127.0.0.2"), ("mx2.example", "127.0.0.3")]
        with self.remote.server(GREETING=["220 x", When("220 x", lambda: len(server.messages) == 2)]) as server, \
                self.remote.server("127.0.0.3", extensions=("SMTPUTF8", "8BITMIME")) as other:
            for _ in range(2):
                self.remote.send(nexthop="v.example")
            for _ in range(2):
                self.check(self.remote.result(), (RELAYED, "2.0.0", ""))
            host.wait_for(lambda: len(server.sessions) == 2 and server.sessions[1].answered == 1)
            self.free_again(server.sessions[1], "EHLO")
            self.check(self.remote.deliver(nexthop="v.example", flags=frames.ENVELOPE_SMTPUTF8), (RELAYED, "2.0.0", ""))
            self.assertEqual((len(server.sessions), len(other.messages)), (2, 1))

    def test_one_session_a_job_and_no_more(self):
        with self.remote.server(END=When("250 2.0.0 ok", lambda: len(server.received) == 5)) as server:
            for _ in range(5):
                self.remote.send()
            for _ in range(5):
                self.check(self.remote.result(), (RELAYED, "2.0.0", ""))
            self.assertEqual(len(server.sessions), 5)

    def test_sites_do_not_share(self):
        self.remote.names.table["b.example"] = "127.0.0.2"
        with self.remote.server() as server:
            self.remote.deliver(nexthop="a.example")
            self.remote.deliver(nexthop="b.example")
            self.remote.deliver(nexthop="a.example", tls="may")
            self.assertEqual(len(server.sessions), 3)

    def test_many_at_once(self):
        with self.remote.server() as server:
            for i in range(200):
                self.remote.send(body=b"%d\r\n" % i)
            for _ in range(200):
                self.check(self.remote.result(), (RELAYED, "2.0.0", ""))
            self.assertEqual(sorted(int(m.body) for m in server.messages), list(range(200)))


class Large(Base):
    settings = PATIENT

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="postino-test-")
        self.addCleanup(shutil.rmtree, self.directory)

    def file(self, octets):
        path = os.path.join(self.directory, "body")
        with open(path, "wb") as out:
            out.write(octets)
        fd = os.open(path, os.O_RDONLY)
        self.addCleanup(os.close, fd)
        return fd

    def memory(self):
        with open("/proc/%d/status" % self.remote.process.pid, encoding="ascii") as status:
            return [int(line.split()[1]) for line in status if line.startswith("VmHWM")][0]

    def test_a_large_body_from_a_descriptor(self):
        chance = random.Random(1)
        line = [bytes(chance.choice(b".abc\xe4\xf6") for _ in range(chance.randrange(990))) + b"\r\n" for _ in range(500)]
        body = b"".join(chance.choice(line) for _ in range(130000))
        fd = self.file(b"head of the file" + body + b"what follows it")
        with self.remote.server(extensions=("PIPELINING",)) as server:
            self.check(self.remote.deliver(), (RELAYED, "2.0.0", ""))
            before = self.memory()
            self.remote.send(fd=fd, offset=16, size=len(body))
            self.check(self.remote.result(timeout=120), (RELAYED, "2.0.0", ""))
            self.assertTrue(server.messages[1].body == body)
            self.assertGreater(len(body), 50 << 20)
            if host.VARIANT != "asan":  # which keeps freed memory for a while
                self.assertLess(self.memory() - before, 4096)

    def test_a_body_whose_descriptor_there_is_no_room_for_waits(self):
        """and what came with it, and after it, does not"""
        body = b"x" * 998 + b"\r\n"
        fd = self.file(body)
        limit = ["prlimit", "--pid", str(self.remote.process.pid)]
        with self.remote.server() as server:
            self.check(self.remote.deliver(), (RELAYED, "2.0.0", ""))
            subprocess.run(limit + ["--nofile=0:"], check=True)  # what is open stays
            for _ in range(3):
                result = self.remote.deliver(fd=fd, size=len(body))
                self.check(result, (DEFERRED, "4.3.0", "no descriptor for the message"))
                self.assertEqual(result.own, frames.OWN_ROOM)  # qmgr counts it as no attempt
            subprocess.run(limit + ["--nofile=200:"], check=True)
            self.check(self.remote.deliver(fd=fd, size=len(body)), (RELAYED, "2.0.0", ""))
            self.assertEqual([m.body for m in server.messages], [BODY, body])

    def test_a_file_that_is_cut_off_is_no_message(self):
        body = b"x" * 998 + b"\r\n"
        for size in (0, 1, 100 * 1000, 99 * 1000 + 500):
            fd = self.file((body * 100)[:size])
            with self.remote.server() as server:
                self.check(self.remote.deliver(fd=fd, size=100 * 1000 + 5), (DEFERRED, "4.3.0", "can't be read"))
                host.wait_for(lambda: server.sessions[0].ended)
                self.assertEqual(server.received, [])


class Tls(Base):
    settings = 'idle_timeout = "0" ' + PATIENT

    @classmethod
    def setUpClass(cls):
        cls.directory = tempfile.mkdtemp(prefix="postino-test-")
        os.chmod(cls.directory, 0o755)
        cls.good = host.certificate(cls.directory, "mx0.a.example")
        cls.other = host.certificate(cls.directory, "other.example")
        with open(os.path.join(cls.directory, "authorities"), "wb") as out:
            for path in (cls.good[0], cls.other[0]):
                with open(path, "rb") as certificate:
                    out.write(certificate.read())
        cls.stranger = host.certificate(cls.directory, "localhost")
        cls.rest = 'tls { authorities = "%s/authorities" }' % cls.directory
        super().setUpClass()

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        shutil.rmtree(cls.directory)

    def test_every_mode_with_a_good_certificate(self):
        for tls in ("may", "required", "verify"):
            with self.remote.server(certificate=self.good) as server:
                result = self.remote.deliver(tls=tls)
                self.check(result, (RELAYED, "2.0.0", ""))
                self.assertRegex(result.security, r"^TLSv1\.3 TLS_")
                self.assertEqual([(m.body, m.secured) for m in server.messages], [(BODY, "TLSv1.3")])
                self.assertEqual(server.sessions[0].commands[:3], ["EHLO mx.local.example", "STARTTLS", "EHLO mx.local.example"])
        with self.remote.server(certificate=self.good) as server:
            self.check(self.remote.deliver(tls="none"), (RELAYED, "2.0.0", ""))
            self.assertEqual(server.messages[0].secured, None)

    def test_any_certificate_will_do_unless_verified(self):
        for certificate in (self.stranger, self.other):
            for tls in ("may", "required"):
                with self.remote.server(certificate=certificate) as server:
                    self.check(self.remote.deliver(tls=tls), (RELAYED, "2.0.0", ""))
                    self.assertTrue(server.messages[0].secured)
            with self.remote.server(certificate=certificate) as server:
                self.check(self.remote.deliver(tls="verify"), (DEFERRED, "4.7.5", "certificate"), site_failed=1)
                self.assertEqual(server.received, [])

    def test_verify_finds_the_host_that_can_prove_itself(self):
        self.remote.names.table["v.example"] = [("mx1.example", "127.0.0.2"), ("mx0.a.example", "127.0.0.3")]
        with self.remote.server(certificate=self.good) as first, self.remote.server("127.0.0.3", certificate=self.good) as second:
            result = self.remote.deliver(nexthop="v.example", tls="verify")
            self.check(result, (RELAYED, "2.0.0", ""))
            self.assertEqual((len(first.messages), len(second.messages)), (0, 1))

    def test_not_offered(self):
        with self.remote.server() as server:
            self.check(self.remote.deliver(tls="may"), (RELAYED, "2.0.0", ""))
            self.assertNotIn("STARTTLS", server.sessions[0].commands)
        for tls in ("required", "verify"):
            server = self.check_one({}, DEFERRED, "4.7.4", "TLS is required, but was not offered", site_failed=1, tls=tls)
            self.assertEqual(server.received, [])
            self.assertNotIn("MAIL", " ".join(server.sessions[0].commands))

    def test_refused(self):
        with self.remote.server(certificate=self.good, STARTTLS="454 4.7.0 not now") as server:
            self.check(self.remote.deliver(tls="may"), (RELAYED, "2.0.0", ""))
            self.assertEqual(len(server.sessions), 1)
        for tls in ("required", "verify"):
            self.check_one(dict(certificate=self.good, STARTTLS="454 4.7.0 not now"), DEFERRED, "4.7.4", "in reply to STARTTLS", site_failed=1, tls=tls)

    def test_a_handshake_that_fails(self):
        for action in (DROP, RESET, Raw(b"220 go on\r\n", DROP), Raw(b"220 go on\r\n", Late(Raw(b"rubbish" * 99, DROP), 0.2)),
                       Raw(b"220 go on\r\n250 injected\r\n")):
            with self.subTest(action=action), self.remote.server(certificate=self.good, STARTTLS=action) as server:
                self.check(self.remote.deliver(tls="may"), (RELAYED, "2.0.0", ""))
                self.assertEqual([(m.body, m.secured) for m in server.messages], [(BODY, None)])
                self.assertEqual(len(server.sessions), 2)
            with self.subTest(action=action), self.remote.server(certificate=self.good, STARTTLS=action) as server:
                self.check(self.remote.deliver(tls="required"), (DEFERRED, "4.7.5", "TLS with host"), site_failed=1)
                self.assertEqual(server.received, [])

    def test_old_tls_is_none(self):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.good)
        context.set_ciphers("DEFAULT:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
        with self.remote.server(context=context) as server:
            self.check(self.remote.deliver(tls="may"), (RELAYED, "2.0.0", ""))
            self.assertEqual(server.messages[0].secured, None)
            self.check(self.remote.deliver(tls="required"), (DEFERRED, "4.7.5", "TLS"), site_failed=1)

    def test_sessions_are_resumed(self):
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            for tls in ("may", "verify"):
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                context.load_cert_chain(*self.good)
                context.maximum_version = version
                with self.remote.server(context=context) as server:
                    for _ in range(3):
                        self.check(self.remote.deliver(tls=tls), (RELAYED, "2.0.0", ""))
                    self.assertEqual([s.resumed for s in server.sessions], [False, True, True])

    def test_what_was_offered_before_tls_is_forgotten(self):
        script = dict(EHLO=["250-x\n250-STARTTLS\n250-SIZE 1\n250 PIPELINING", "250 x"])
        with self.remote.server(certificate=self.good, **script) as server:
            self.check(self.remote.deliver(tls="may"), (RELAYED, "2.0.0", ""))
            self.assertIn("MAIL FROM:<s@from.example>", server.sessions[0].commands)

        with self.remote.server(certificate=self.good, EHLO=["250-x\n250-STARTTLS\n250 SIZE 1", "502 what?"]) as server:
            self.check(self.remote.deliver(tls="may"), (RELAYED, "2.0.0", ""))
            self.assertTrue(server.messages[0].secured)

    def test_the_name_is_told(self):
        seen = []
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.good)
        context.sni_callback = lambda sock, name, ctx: seen.append(name)
        with self.remote.server(context=context):
            self.remote.deliver(tls="may")
            self.remote.deliver(tls="may", nexthop="[127.0.0.2]")
        self.assertEqual(seen, ["mx0.a.example", None])


class Life(unittest.TestCase):
    def test_drain_finishes_what_is_under_way(self):
        with Remote('idle_timeout = "5m" ' + PATIENT) as remote:
            with remote.server(END=Late("250 2.0.0 ok", 1)) as server:
                remote.deliver()
                remote.send()
                host.wait_for(lambda: len(server.received) == 2)
                remote.control.send("DRAIN", seconds=120)
                self.assertEqual(remote.result().outcomes[0].verdict, RELAYED)
                self.assertEqual(remote.process.wait(40), 0)
                host.wait_for(lambda: all(s.commands[-1] == "QUIT" for s in server.sessions))

    def test_drain_when_idle(self):
        with Remote('idle_timeout = "5m" ' + PATIENT) as remote, remote.server() as server:
            remote.deliver()
            remote.control.send("DRAIN", seconds=120)
            self.assertEqual(remote.process.wait(40), 0)
            host.wait_for(lambda: server.sessions[0].commands[-1] == "QUIT")

    def test_qmgr_goes_and_comes_back(self):
        """What is under way for a qmgr that is gone is stopped before its last dot: the next qmgr will ask for it again."""
        body = b"x" * 998 + b"\r\n"
        with Remote('idle_timeout = "0" ' + PATIENT) as remote:
            with remote.server(MAIL=HANG) as server, remote.server("127.0.0.3", END=Late("250 ok", 1)) as second:
                remote.names.table["b.example"] = "127.0.0.3"
                for _ in range(3):
                    remote.send(body=body)
                remote.send(nexthop="b.example")
                host.wait_for(lambda: len(server.sessions) == 3 and all(len(s.commands) > 1 for s in server.sessions) and second.received)
                remote.qmgr.close()
                host.wait_for(lambda: all(s.ended for s in server.sessions))
                self.assertEqual(server.received, [])
                host.wait_for(lambda: second.sessions[0].commands[-1] == "QUIT")
                remote.qmgr = remote.connect("qmgr")
                self.assertEqual(remote.deliver(nexthop="b.example").outcomes[0].verdict, RELAYED)

    def test_dns_goes_and_comes_back(self):
        with Remote(PATIENT) as remote, remote.server():
            remote.edges["dns"].close()
            remote.send()
            time.sleep(0.3)
            Names(remote.connect("dns"), **{"a.example": "127.0.0.2"})
            self.assertEqual(remote.result().outcomes[0].verdict, RELAYED)

    def test_a_bad_frame_from_qmgr_ends_its_channel_alone(self):
        with Remote(PATIENT) as remote, remote.server():
            for octets in (b"\xff" * 64, frames.encode("RESULT", 1), frames.encode("DELIVER", 1, nexthop="a.example", tls="none")):
                remote.qmgr.send_raw(octets)
                with self.assertRaises((frames.Closed, ConnectionResetError)):
                    remote.qmgr.receive(60)
                remote.qmgr = remote.connect("qmgr")
            self.assertEqual(remote.deliver().outcomes[0].verdict, RELAYED)

    def test_descriptors_do_not_leak(self):
        with Remote('idle_timeout = "0" ' + PATIENT) as remote, tempfile.TemporaryFile() as body:
            body.write(BODY)
            body.flush()
            count = lambda: len(os.listdir("/proc/%d/fd" % remote.process.pid))
            before = count()
            for script in (dict(), dict(GREETING=DROP), dict(MAIL="550 no"), dict(RCPT=DROP), dict(DATA="450 x"), dict(END=DROP)):
                with remote.server(**script):
                    for _ in range(10):
                        remote.deliver(fd=body.fileno(), size=len(BODY))
            host.wait_for(lambda: count() == before)


class PostfixSink(unittest.TestCase):
    @unittest.skipUnless(shutil.which("smtp-sink", path="/usr/sbin:/usr/bin"), "Debian's postfix is not installed")
    def test_smtp_sink(self):
        with tempfile.TemporaryDirectory(prefix="postino-test-") as directory, Remote(PATIENT) as remote:
            os.chmod(directory, 0o777)
            command = ["/usr/sbin/smtp-sink", "-c", "-d", os.path.join(directory, "m.")] + (["-u", "nobody"] if os.geteuid() == 0 else [])
            sink = subprocess.Popen(command + ["127.0.0.2:%d" % remote.port, "100"], stdout=subprocess.DEVNULL)
            try:
                host.wait_for(lambda: socket.socket().connect_ex(("127.0.0.2", remote.port)) == 0)
                for i in range(50):
                    remote.send("r%d@a.example" % i, body=b"Subject: %d\r\n\r\n.dot\r\n" % i)
                for _ in range(50):
                    self.assertEqual(remote.result().outcomes[0].verdict, frames.VERDICT_PASSED_ON)
                texts = host.wait_for(lambda: self.dumped(directory, 50))
                self.assertEqual(sorted(texts), sorted("Subject: %d\n\n.dot\n" % i for i in range(50)))
            finally:
                sink.terminate()
                sink.wait()

    @staticmethod
    def dumped(directory, count):
        texts = []
        for name in os.listdir(directory):
            with open(os.path.join(directory, name), encoding="latin-1") as file:
                text = file.read()
            at = text.find("Subject: ")
            if at >= 0 and text.rstrip("\n").endswith(".dot"):
                texts.append(text[at:].rstrip("\n") + "\n")
        return texts if len(texts) == count else None


class ManyHosts(unittest.TestCase):
    """An answer with hundreds of addresses, none of which is of any use, costs no more stack than HOSTS_MAX of them do: they are given up one within the other."""
    STACK = 128 << 10

    def setUp(self):
        limit = "--stack=%d:%d" % (self.STACK, self.STACK)
        self.remote = Remote(rest='source "gone" { address = 192.0.2.77 }', where=["prlimit", limit])
        self.addCleanup(self.remote.close)

    def deferred(self, hosts, status, words, **more):
        hosts = [dict(preference=i, name="mx%d.many.example" % i, **h) for i, h in enumerate(hosts)]
        self.remote.names.answer = lambda name: dict(verdict=frames.RESOLVE_OK, hosts=hosts)
        outcome = self.remote.deliver(nexthop="many.example", **more).outcomes[0]
        self.assertEqual((outcome.verdict, outcome.status), (DEFERRED, status), outcome)
        self.assertIn(words, outcome.reply)
        self.assertTrue(self.remote.running(), self.remote.log())

    def test_that_cannot_be_secure(self):
        self.deferred([dict(addresses="127.0.0.2", dane=frames.DANE_TROUBLE)] * 800, "4.7.5", "TLS with host mx63.many.example", tls="dane")

    def test_from_a_source_that_is_no_address_of_this_host(self):
        self.deferred([dict(addresses="127.0.%d.2" % (i % 250)) for i in range(800)], "4.3.5", "Cannot assign requested address", source="gone")

    def test_of_few_hosts_with_many_addresses_each(self):
        many = [dict(addresses=" ".join("127.0.%d.%d" % (i, k) for k in range(1, 101))) for i in range(8)]
        self.deferred(many, "4.3.5", "Cannot assign requested address", source="gone")


if __name__ == "__main__":
    unittest.main()
