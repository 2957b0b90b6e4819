"""The addresses of a host: which are tried, when, and what is remembered of them (RFC 8305); a host that refuses where we come from; hosts that can't take a message.
Real addresses of both families in two network namespaces; what is counted is what was on the cable."""
import contextlib
import errno
import os
import re
import socket
import subprocess
import tempfile
import threading
import time
import unittest

import frames
import host
from hostile import DROP, HANG, Late, Server
from netns import NAME_SERVER, Attempts, inside, needs_root, within
from remote import BODY, DEFERRED, FAILED, IN_DOUBT, RELAYED, Deliveries, Remote
from world import World

V6, V4 = "2001:db8::2", "192.0.2.2"
V6_2, V4_2 = "2001:db8::3", "192.0.2.3"
BOTH = V4 + " " + V6
NOBODY6 = ["2001:db8::%x" % n for n in range(0x20, 0x30)]
NOBODY4 = ["192.0.2.%d" % n for n in range(100, 116)]


class Away(Deliveries):
    """Each test has a postino-remote of its own, as it remembers."""
    settings = 'connect_timeout = "60s" idle_timeout = "0"'

    @classmethod
    def setUpClass(cls):
        cls.world = cls.enterClassContext(World())
        for address in NOBODY6 + NOBODY4:
            cls.world.silence(address)
        cls.attempts = cls.enterClassContext(Attempts(cls.world.far))
        for address in (V6, V6_2, V4, V4_2):
            cls.meet(address)

    @classmethod
    def meet(cls, address):
        """Neighbours that do not know each other yet lose time before the first segment."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with inside(cls.world.near), socket.socket(family) as sock:
            host.wait_for(lambda: sock.connect_ex((address, 1)) == errno.ECONNREFUSED)

    def setUp(self):
        self.start()

    def start(self, settings=""):
        """`settings`: instead of some of the class's own."""
        both = dict(part.split("=") for part in (self.settings + " " + settings).replace(" = ", "=").split())
        self.remote = Remote(" ".join("%s = %s" % pair for pair in both.items()), where=within(self.world.near))
        self.addCleanup(self.remote.close)

    def tearDown(self):
        self.assertTrue(self.remote.running(), self.remote.log())

    def host(self, name, addresses, *others):
        self.remote.names.table[name] = [("mx." + name, addresses)] + list(others)

    def server(self, address, **script):
        with inside(self.world.far):
            return Server(address, self.remote.port, **script)

    def deliver(self, name, *recipients, **more):
        """The result, how long it took, and which connections were asked for, in order."""
        self.attempts.clear()
        began = time.monotonic()
        result = self.remote.deliver(*(recipients or ("bob@" + name,)), nexthop=name, **more)
        took = time.monotonic() - began
        return result, took, self.attempted()

    def attempted(self):
        return [attempt for attempt in self.attempts.all_of(self.world.near) if attempt[0] != NAME_SERVER]

    def is_under_way(self, port):
        """A connection from that port of ours that is asked for."""
        done = subprocess.run(within(self.world.near) + ["ss", "-Htn", "state", "syn-sent"], check=True, capture_output=True, text=True)
        return re.search(r":%d\s" % port, done.stdout)

    def addresses(self, attempts):
        return [address for address, _ in attempts]


@needs_root
class Race(Away):
    SOON = "race_delay = 10000"  # for hosts that answer at once: also when this machine does not

    def test_a_host_with_one_address_has_no_race(self):
        with self.server(V4):
            self.host("one.example", V4)
            result, _, attempts = self.deliver("one.example")
            self.check(result, (RELAYED, "2.0.0", ""))
            self.assertEqual(self.addresses(attempts), [V4])

    def test_of_two_that_answer_IPv6_is_taken_and_IPv4_never_asked(self):
        self.start(self.SOON)
        with self.server(V4) as four, self.server(V6) as six:
            self.host("both.example", BOTH)
            result, _, attempts = self.deliver("both.example")
            self.check(result, (RELAYED, "2.0.0", ""))
            self.assertEqual(result.peer, "mx.both.example[%s]:%d" % (V6, self.remote.port))
            self.assertEqual((self.addresses(attempts), len(six.messages), four.sessions), ([V6], 1, []))

    def test_who_is_silent_is_overtaken_after_a_quarter_of_a_second_and_goes_second_then(self):
        with self.server(V4) as four:
            self.host("half.example", NOBODY6[0] + " " + V4)
            result, took, attempts = self.deliver("half.example")
            self.check(result, (RELAYED, "2.0.0", ""))
            self.assertEqual(self.addresses(attempts), [NOBODY6[0], V4])
            self.assertGreaterEqual(attempts[1][1] - attempts[0][1], 0.24)
            self.assertLess(took, 30)  # of connect_timeout's 60
            for _ in range(3):
                result, _, attempts = self.deliver("half.example")
                self.check(result, (RELAYED, "2.0.0", ""))
                self.assertEqual(self.addresses(attempts)[0], V4)
            self.assertEqual(len(four.messages), 4)

    def test_who_was_silent_is_not_asked_any_more_while_the_other_answers(self):
        self.start("race_delay = 2000")
        with self.server(V4):
            self.host("half.example", NOBODY6[0] + " " + V4)
            for wanted in ([NOBODY6[0], V4], [V4], [V4]):
                result, _, attempts = self.deliver("half.example")
                self.check(result, (RELAYED, "2.0.0", ""))
                self.assertEqual(self.addresses(attempts), wanted)

    def test_the_delay_is_a_setting(self):
        self.start("race_delay = 1500")
        with self.server(V4):
            self.host("half.example", NOBODY6[0] + " " + V4)
            _, _, attempts = self.deliver("half.example")
            self.assertGreaterEqual(attempts[1][1] - attempts[0][1], 1.49)

    def test_who_refuses_makes_room_at_once(self):
        self.start("race_delay = 60000")
        with self.server(V4):
            self.host("shut.example", BOTH)  # nobody listens at V6
            result, took, attempts = self.deliver("shut.example")
            self.check(result, (RELAYED, "2.0.0", ""))
            self.assertEqual(self.addresses(attempts), [V6, V4])
            self.assertLess(took, 30)
            log = host.wait_for(lambda: [line for line in self.remote.log().splitlines() if "address=" + V6 in line])[0]
            self.assertIn("Connection refused", log)

    def test_two_at_a_time_and_all_in_the_end(self):
        self.start('connect_timeout = "4s"')
        self.host("dead.example", " ".join(NOBODY4[:2] + NOBODY6[:3]))
        result, took, attempts = self.deliver("dead.example")
        self.check(result, (DEFERRED, "4.4.1", "Connection timed out"), site_failed=1)
        self.assertEqual(self.addresses(attempts), [NOBODY6[0], NOBODY4[0], NOBODY6[1], NOBODY4[1], NOBODY6[2]])
        times = [at for _, at in attempts]
        self.assertGreaterEqual(times[1] - times[0], 0.24)
        for before, after in zip(times, times[2:]):  # never three
            self.assertGreaterEqual(after - before, 3.98, times)
        for before, after in ((0, 1), (2, 3)):  # and not one alone
            self.assertLess(times[after] - times[before], 3.9, times)
        self.assertLess(took, 20)  # of 5 * 4 if they went one by one
        self.assertEqual(self.remote.log().count("Connection timed out"), 5)

    def test_hosts_do_not_race_with_each_other(self):
        """the second may have another level of security, and is of a lower preference"""
        self.start('connect_timeout = "2s"')
        with self.server(V4):
            self.host("line.example", NOBODY6[0], ("mx2.line.example", V4))
            result, _, attempts = self.deliver("line.example")
            self.check(result, (RELAYED, "2.0.0", ""))
            self.assertGreaterEqual(attempts[1][1] - attempts[0][1], 1.98)

    def test_a_family_that_fails_everywhere_goes_second(self):
        self.start("race_delay = 2000")
        with self.server(V4), self.server(V6):
            for i in range(3):
                self.host("n%d.example" % i, NOBODY6[i] + " " + V4)
                self.assertEqual(self.addresses(self.deliver("n%d.example" % i)[2]), [NOBODY6[i], V4])
            self.host("new.example", BOTH)
            self.assertEqual(self.addresses(self.deliver("new.example")[2]), [V4])
            self.host("six.example", V6)  # which shows that there is IPv6
            self.check(self.deliver("six.example")[0], (RELAYED, "2.0.0", ""))
            self.assertEqual(self.addresses(self.deliver("new.example")[2]), [V6])

    def test_what_is_remembered_leaves_no_address_out(self):
        self.host("later.example", V4)
        self.check(self.deliver("later.example")[0], (DEFERRED, "4.4.1", "refused"), site_failed=1)
        with self.server(V4):
            self.check(self.deliver("later.example")[0], (RELAYED, "2.0.0", ""))

    def test_who_lost_the_race_is_tried_when_the_winner_comes_to_nothing(self):
        """Both lose their first segment. IPv6, which began first, gets its second one through while IPv4 is still under way, and says nothing then."""
        for script in (dict(GREETING=HANG), dict(GREETING="421 4.3.2 down"), dict(EHLO=DROP), dict(MAIL="421 4.3.2 down")):
            self.start('greeting_timeout = "3s"')
            with self.subTest(script=script), self.server(V6, **script) as six, self.server(V4) as four:
                self.world.silence(V6)
                self.world.silence(V4)
                self.host("race.example", BOTH)
                self.attempts.clear()
                self.remote.send(nexthop="race.example")
                host.wait_for(lambda: len(self.attempts.list) == 2)
                [loser] = [port for address, port in self.attempts.seen if address == V4]
                self.world.silence(V6, False)
                host.wait_for(lambda: six.sessions)
                host.wait_for(lambda: not self.is_under_way(loser))
                self.world.silence(V4, False)
                self.check(self.remote.result(), (RELAYED, "2.0.0", ""))
                self.assertEqual(self.addresses(self.attempted()), [V6, V4, V4])
                self.assertEqual((len(four.messages), len(four.sessions)), (1, 1))

    def test_once_more_without_TLS_is_at_the_same_address(self):
        """which is not the first one of its host"""
        with self.server(V4, extensions=("STARTTLS",), STARTTLS=DROP) as four:
            self.host("tls.example", NOBODY6[0] + " " + V4)
            result, _, attempts = self.deliver("tls.example", tls="may")
            self.check(result, (RELAYED, "2.0.0", ""))
            self.assertEqual(self.addresses(attempts), [NOBODY6[0], V4, V4])
            self.assertEqual(len(four.sessions), 2)

    def test_no_sockets_to_be_had_is_no_fault_of_the_site(self):
        with self.server(V4):
            self.host("one.example", V4)
            pid = str(self.remote.process.pid)
            subprocess.run(["prlimit", "--pid", pid, "--nofile=0:"], check=True)  # what is open stays
            self.check(self.deliver("one.example")[0], (DEFERRED, "4.4.1", "Too many open files"), site_failed=0)
            subprocess.run(["prlimit", "--pid", pid, "--nofile=200:"], check=True)
            self.check(self.deliver("one.example")[0], (RELAYED, "2.0.0", ""))


@needs_root
class Blamed(Away):
    """A host that says no to where we come from says so over IPv6 here."""
    NO = "550 5.7.25 [2001:db8::1] has no PTR record"
    settings = Away.settings + " " + Race.SOON

    def tried(self, script, other, *recipients, extensions=("PIPELINING",), **more):
        """The result, and the servers of both families."""
        hangs = HANG in (other or {}).values()
        self.start('greeting_timeout = "3s"' if hangs else "")
        with self.server(V6, extensions=extensions, **script) as six, contextlib.ExitStack() as stack:
            four = stack.enter_context(self.server(V4, **other)) if other is not None else None
            self.host("blame.example", BOTH)
            result, _, attempts = self.deliver("blame.example", *recipients, **more)
            self.assertLessEqual(len(attempts), 2)
        return result, six, four

    def test_at_each_step_the_other_family_is_tried_once(self):
        for step in ("GREETING", "EHLO", "MAIL", "RCPT", "DATA", "END", "BDAT"):
            for extensions in ((), ("PIPELINING",)):
                for no in (self.NO, "550 we take no mail over IPv6", "554-5.7.1 your host\n554 5.7.1 lacks reverse DNS"):
                    with self.subTest(step=step, extensions=extensions, no=no):
                        script = {"EHLO": no, "HELO": no} if step == "EHLO" else {step: no}
                        extra, body = (("CHUNKING",), b"x\r\n" * 30000) if step == "BDAT" else ((), BODY)
                        result, six, four = self.tried(script, {}, "a@a.example", "b@a.example", extensions=extensions + extra, body=body)
                        self.check(result, *[(RELAYED, "2.0.0", "")] * 2)
                        self.assertEqual(result.peer, "mx.blame.example[%s]:%d" % (V4, self.remote.port))
                        self.assertEqual([m.recipients for m in four.messages], [["a@a.example", "b@a.example"]])
                        self.assertEqual((len(six.sessions), len(four.sessions), six.messages), (1, 1, []))
                        if step not in ("GREETING", "EHLO"):
                            self.assertIn("; once more over IPv4", self.remote.log())
                            host.wait_for(lambda: six.sessions[0].ended)
                            if step == "END" or not extensions:  # else replies that are on their way meet a closed door
                                self.assertEqual(six.sessions[0].commands[-1], "QUIT")

    def test_over_IPv6_when_IPv4_is_blamed(self):
        self.start()
        self.host("first.example", BOTH)
        with self.server(V4):  # IPv6 is refused, and goes second then
            self.check(self.deliver("first.example")[0], (RELAYED, "2.0.0", ""))
        with self.server(V4, MAIL="550 5.7.25 no PTR"), self.server(V6) as six:
            result, _, attempts = self.deliver("first.example")
            self.check(result, (RELAYED, "2.0.0", ""))
            self.assertEqual((self.addresses(attempts), len(six.messages)), ([V4, V6], 1))
        self.assertIn("; once more over IPv6", self.remote.log())

    def test_the_second_answer_is_the_last_word(self):
        for other, outcome in ((dict(MAIL="550 5.1.8 no such sender"), (FAILED, "5.1.8", "no such sender")),
                               (dict(MAIL="550 5.7.25 no PTR either"), (FAILED, "5.7.25", "no PTR either")),
                               (dict(RCPT="450 4.2.1 busy"), (DEFERRED, "4.2.1", "busy")), (dict(GREETING="421 4.3.2 down"), (DEFERRED, "4.3.2", "down")),
                               (dict(MAIL="421 4.3.2 down"), (DEFERRED, "4.3.2", "down")),
                               (dict(GREETING="554 5.7.1 no"), (DEFERRED, "4.7.1", "refused to talk to me")),
                               (dict(END=DROP), (IN_DOUBT, "4.4.2", "may have been taken"))):
            for step in ("MAIL", "RCPT", "DATA", "END"):
                with self.subTest(other=other, step=step):
                    result, six, four = self.tried({step: self.NO}, other)
                    self.check(result, outcome, site_failed=int("END" in other))
                    self.assertEqual((len(six.sessions), len(four.sessions)), (1, 1))

    def test_without_a_second_answer_the_first_one_stands(self):
        for other in (None, dict(GREETING=DROP), dict(GREETING=HANG), dict(MAIL=DROP)):
            for step in ("MAIL", "RCPT", "DATA", "END"):
                with self.subTest(other=other, step=step):
                    result, six, _ = self.tried({step: self.NO}, other)
                    self.check(result, (FAILED, "5.7.25", "[%s] said: 550 5.7.25 [2001:db8::1] has no PTR record (in reply to" % V6))
                    self.assertEqual(len(six.sessions), 1)

    def test_without_another_family_it_stands_at_once(self):
        with self.server(V6, MAIL=self.NO) as six, self.server(V6_2):
            self.host("six.example", V6 + " " + V6_2)
            result, _, attempts = self.deliver("six.example")
            self.check(result, (FAILED, "5.7.25", "no PTR"))
            self.assertEqual((self.addresses(attempts), len(six.sessions)), ([V6], 1))

    def test_and_not_a_third_time(self):
        with self.server(V6, MAIL=self.NO), self.server(V4, MAIL="550 5.7.25 no PTR either"), self.server(V6_2) as third:
            self.host("three.example", " ".join((V6, V4, V6_2)))
            self.check(self.deliver("three.example")[0], (FAILED, "5.7.25", "no PTR either"))
            self.assertEqual(third.sessions, [])

    def test_a_greeting_that_blames_sends_on_to_the_other_family_of_any_host(self):
        for step in ({"GREETING": self.NO}, {"EHLO": self.NO, "HELO": self.NO}):
            self.start()
            with self.server(V6, **step), self.server(V6_2) as six, self.server(V4) as four:
                self.host("pair.example", V6, ("mx2.pair.example", V6_2 + " " + V4))
                self.check(self.deliver("pair.example")[0], (RELAYED, "2.0.0", ""))
                self.assertEqual((six.sessions, len(four.messages)), ([], 1))

    def test_but_leaves_no_address_out(self):
        with self.server(V6, GREETING=self.NO), self.server(V6_2) as six:
            self.host("pair.example", V6 + " " + V4, ("mx2.pair.example", V6_2))
            result, _, attempts = self.deliver("pair.example")
            self.check(result, (RELAYED, "2.0.0", ""))
            self.assertEqual((self.addresses(attempts), len(six.messages)), ([V6, V4, V6_2], 1))

    def test_what_blames_something_else_stands(self):
        for no in ("550 5.7.1 spam", "550 5.1.1 no such user", "554 no"):
            result, _, four = self.tried(dict(RCPT=no), {})
            self.check(result, (FAILED, result.outcomes[0].status, no))
            self.assertEqual(four.sessions, [])
        for later in ("450 4.7.25 no PTR", "452 IPv6 is busy"):
            result, _, four = self.tried(dict(RCPT=later), {})
            self.assertEqual((result.outcomes[0].verdict, four.sessions), (DEFERRED, []))

    def test_recipients_that_were_not_blamed_keep_their_answers(self):
        for extensions in ((), ("PIPELINING",)):
            steps = {"RCPT b@": self.NO, "RCPT c@": "550 5.1.1 no c", "RCPT d@": self.NO, "RCPT e@": "450 4.2.1 busy"}
            result, six, four = self.tried(dict(steps=steps), dict(steps={"RCPT d@": "550 5.1.1 no d"}), *(n + "@a.example" for n in "abcde"), extensions=extensions)
            self.check(result, (RELAYED, "2.0.0", ""), (RELAYED, "2.0.0", ""), (FAILED, "5.1.1", "no c"), (FAILED, "5.1.1", "no d"), (DEFERRED, "4.2.1", "busy"))
            self.assertEqual([m.recipients for m in six.messages], [["a@a.example"]])
            self.assertEqual([m.recipients for m in four.messages], [["b@a.example"]])

    def test_a_lost_end_among_them(self):
        result, six, four = self.tried(dict(steps={"RCPT b@": self.NO}, END=DROP), {}, "a@a.example", "b@a.example")
        self.check(result, (IN_DOUBT, "4.4.2", "may have been taken"), (DEFERRED, "4.7.25", "over another"), site_failed=1)
        self.assertEqual((four.sessions, len(six.received)), ([], 1))

    def test_later_mail_begins_with_the_other_family(self):
        self.host("blame.example", BOTH)
        with self.server(V6, MAIL=self.NO) as six, self.server(V4) as four:
            for _ in range(3):
                self.check(self.deliver("blame.example")[0], (RELAYED, "2.0.0", ""))
            self.assertEqual((len(six.sessions), len(four.sessions)), (1, 3))

    def test_in_a_session_that_was_used_before(self):
        self.start('idle_timeout = "60s"')
        self.host("blame.example", BOTH)
        with self.server(V6, MAIL=["250 ok", self.NO]) as six, self.server(V4) as four:
            for _ in range(3):
                self.check(self.deliver("blame.example")[0], (RELAYED, "2.0.0", ""))
            self.assertEqual((len(six.messages), len(four.messages), len(six.sessions), len(four.sessions)), (1, 2, 1, 1))


@needs_root
class Unfit(Away):
    """Hosts that lack what a message needs as it is."""

    def two(self, first, second):
        self.host("two.example", V4, ("mx2.two.example", V4_2))
        stack = contextlib.ExitStack()
        self.addCleanup(stack.close)
        return [stack.enter_context(self.server(address, **script)) if script is not None else None for address, script in ((V4, first), (V4_2, second))]

    def test_the_next_host_may_have_SMTPUTF8(self):
        first, second = self.two({}, dict(extensions=("SMTPUTF8", "8BITMIME")))
        self.check(self.deliver("two.example", flags=frames.ENVELOPE_SMTPUTF8)[0], (RELAYED, "2.0.0", ""))
        self.assertEqual((len(first.sessions), len(second.messages)), (1, 1))
        self.assertNotIn("MAIL", " ".join(first.sessions[0].commands))
        self.check(self.deliver("two.example")[0], (RELAYED, "2.0.0", ""))  # needs nothing
        self.assertEqual(len(first.messages), 1)

    def test_recipients_in_ASCII_get_theirs_from_the_first_that_takes_it(self):
        first, second = self.two({}, dict(extensions=("SMTPUTF8", "8BITMIME")))
        result, _, _ = self.deliver("two.example", "a@a.example", "m\u00fcller@a.example", "b@a.example")
        self.check(result, *[(RELAYED, "2.0.0", "")] * 3)
        self.assertEqual([m.recipients for m in first.messages], [["a@a.example", "b@a.example"]])
        self.assertEqual([m.recipients for m in second.messages], [["m\u00fcller@a.example"]])

    def test_where_none_has_it_the_mail_goes_back(self):
        first, second = self.two({}, {})
        self.check(self.deliver("two.example", "\u00fc@a.example")[0], (FAILED, "5.6.7", "SMTPUTF8 is required, but was not offered by host mx2"))
        self.check(self.deliver("two.example", "a@a.example", "\u00fc@a.example")[0], (RELAYED, "2.0.0", ""), (FAILED, "5.6.7", "SMTPUTF8 is required"))
        self.assertEqual([m.recipients for s in (first, second) for m in s.messages], [["a@a.example"]])

    def test_a_host_that_is_down_may_have_it(self):
        _, second = self.two(None, {})
        self.check(self.deliver("two.example", "\u00fc@a.example")[0], (DEFERRED, "4.6.7", "SMTPUTF8 is required"))
        self.check(self.deliver("two.example", "a@a.example", "\u00fc@a.example")[0], (RELAYED, "2.0.0", ""), (DEFERRED, "4.6.7", "SMTPUTF8 is required"))
        self.assertEqual([m.recipients for m in second.messages], [["a@a.example"]])

    def test_and_so_may_one_behind_it(self):
        """as before, what the host said that is there is told, and as it is there its site is not down"""
        self.two({}, None)
        result, _, attempts = self.deliver("two.example", "\u00fc@a.example")
        self.check(result, (DEFERRED, "4.6.7", "SMTPUTF8 is required, but was not offered by host mx.two.example"), site_failed=0)
        self.assertEqual(self.addresses(attempts), [V4, V4_2])
        self.assertIn("Connection refused", self.remote.log())

    def test_a_session_that_is_in_use_goes_on_for_others(self):
        self.start('idle_timeout = "60s"')
        first, second = self.two({}, dict(extensions=("SMTPUTF8", "8BITMIME")))
        self.check(self.deliver("two.example", "a@a.example")[0], (RELAYED, "2.0.0", ""))
        self.check(self.deliver("two.example", "\u00fc@a.example")[0], (RELAYED, "2.0.0", ""))
        self.check(self.deliver("two.example", "b@a.example")[0], (RELAYED, "2.0.0", ""))
        self.assertEqual(len(second.messages) + len(first.messages), 3)
        self.assertFalse(first.sessions[0].ended)

    def test_a_binary_message_that_is_too_broken_to_be_converted(self):
        broken = b"Content-Type: multipart/mixed; boundary=x\r\nContent-Transfer-Encoding: base64\r\n\r\n--x\r\n\r\n\0\xff\r\n--x--\r\n"
        for extensions in ((), ("CHUNKING", "BINARYMIME", "8BITMIME")):
            self.start()
            first, second = self.two({}, dict(extensions=extensions))
            result, _, _ = self.deliver("two.example", body=broken, flags=frames.ENVELOPE_BINARY | frames.ENVELOPE_8BIT)
            self.check(result, (RELAYED, "2.0.0", "") if extensions else (FAILED, "5.6.3", "BINARYMIME is required, but was not offered by host mx2"))
            first.close()
            second.close()


@needs_root
class Whole(unittest.TestCase):
    def test_mail_is_not_late_where_IPv6_is_dead(self):
        """all programs, a name server, and three domains with AAAA records that lead nowhere: the fourth one has no wait any more"""
        zone = "".join("d%d MX 10 mx.d%d\nmx.d%d A 192.0.2.2\nmx.d%d AAAA %s\n" % (n, n, n, n, NOBODY6[n]) for n in range(4))
        world = self.enterContext(World())
        for address in NOBODY6[:4]:
            world.silence(address)
        world.name_server({"example": zone})
        sink = world.smtp_sink(V4)
        near = world.postino("remote { idle_timeout = 0s race_delay = 2000 }")
        with Attempts(world.far) as attempts:
            for n in range(4):
                attempts.clear()
                near.sendmail("x@d%d.example" % n)
                near.wait_log(r"to=<x@d%d\.example> .*relay=mx\.d%d\.example\[192\.0\.2\.2\]:25.* status=sent" % (n, n))
                asked = [address for address, _ in attempts.all_of(world.near) if address != NAME_SERVER]
                self.assertEqual(asked, [NOBODY6[n], V4] if n < 3 else [V4])
            self.assertEqual(len(sink()), 4)


class Times(unittest.TestCase):
    """RFC 5321 4.5.3.2, where test_settings does not look: commands one at a time, what a wait begins anew with, and the defaults."""
    LEAST = {"greeting_timeout": 300, "helo_timeout": 300, "mail_timeout": 300, "rcpt_timeout": 300, "data_timeout": 120, "block_timeout": 180, "end_timeout": 600}

    def remote(self, short, time="1s"):
        remote = Remote(" ".join("%s = %s" % (name, time if name == short else "30s") for name in self.LEAST) + " idle_timeout = 0s")
        self.addCleanup(remote.close)
        return remote

    def check(self, short, words, verdict, script, body=BODY):
        remote = self.remote(short)
        with remote.server(**script):
            began = time.monotonic()
            result = remote.deliver(body=body)
            self.assertEqual([(o.verdict, o.status) for o in result.outcomes], [(verdict, "4.4.2")], result)
            self.assertRegex(result.outcomes[0].reply, "timed out.*" + words)
            self.assertTrue(0.99 <= time.monotonic() - began < 25)

    def test_commands_one_at_a_time(self):
        for name, words in (("MAIL", "sending MAIL FROM"), ("RCPT", "sending RCPT TO"), ("DATA", "sending DATA command")):
            with self.subTest(name=name):
                self.check(name.lower() + "_timeout", words, DEFERRED, {name: HANG, "extensions": ()})

    def test_the_end_of_a_chunk(self):
        self.check("end_timeout", "after the end of the message was sent", IN_DOUBT, dict(BDAT=HANG, extensions=("CHUNKING",)), body=b"x\r\n" * 30000)

    def test_RCPT_begins_anew_with_each_reply(self):
        remote = self.remote("rcpt_timeout", "5s")
        with remote.server(RCPT=Late("250 ok", 1.5)):
            result = remote.deliver(*("%d@a.example" % i for i in range(4)))
            self.assertEqual([o.verdict for o in result.outcomes], [RELAYED] * 4)

    def test_a_block_begins_anew_with_what_is_taken(self):
        """six pauses of a second each"""
        remote = self.remote("block_timeout", "4s")
        with tempfile.TemporaryFile() as file:
            for _ in range(40000):
                file.write(b"x" * 998 + b"\r\n")
            file.flush()
            with socket.create_server(("127.0.0.2", remote.port)) as listener:
                thread = threading.Thread(target=self.slow_reader, args=(listener,), daemon=True)
                thread.start()
                began = time.monotonic()
                remote.send(fd=file.fileno(), size=40000000)
                self.assertEqual([o.verdict for o in remote.result().outcomes], [RELAYED])
                self.assertGreater(time.monotonic() - began, 5)
                thread.join()

    def slow_reader(self, listener):
        sock, _ = listener.accept()
        sock.sendall(b"220 x\r\n")
        text = sock.makefile("rb")
        for reply in (b"250 x\r\n", b"250 ok\r\n", b"250 ok\r\n", b"354 go on\r\n"):
            text.readline()
            sock.sendall(reply)
        octets = 0
        while octets < 40000000 + 3:
            got = len(text.read1(1 << 20))
            if octets * 6 // 40000000 != (octets + got) * 6 // 40000000:
                time.sleep(1)
            octets += got
        sock.sendall(b"250 ok\r\n")
        text.readline()
        sock.close()

    def test_the_defaults_are_what_the_RFC_asks_for(self):
        with open(os.path.join(host.ROOT, "conf/settings.def"), encoding="ascii") as file:
            defaults = dict(re.findall(r'SETTING\(TIME, remote, (\w+), "(\w+)"', file.read()))
        for name, least in self.LEAST.items():
            self.assertGreaterEqual(int(defaults[name][:-1]) * {"s": 1, "m": 60, "h": 3600}[defaults[name][-1]], least, name)


if __name__ == "__main__":
    unittest.main(verbosity=2)
