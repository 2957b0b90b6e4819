"""What postino-remote makes of every kind of trouble at every step of a conversation, with and without PIPELINING, in plain and over TLS, with one address of the next hop, with two hosts, and
with one host of two addresses. qmgr and dns are played by the test, the next hosts by tests/e2e/hostile.py.

MATRIX is all that is expected. A message goes to three recipients, a, b and c; the step RCPT is b's alone. A cell says what became of them:

    rrr rdr rfr ddd fff   relayed, deferred, failed: each by this host's own word; no other host is asked
    plain                 relayed by this host, over a connection without TLS
    next                  nobody is decided: with a second address all are relayed there, without one they are deferred, and the site has failed
    doubt                 deferred, and said to be so in doubt (RFC 1047): the host may have the message, and no other one is asked

Deferred recipients are sent again to a host that has come to its senses, as qmgr would do it. In the end the books must balance: each recipient got the message, or was
refused for good; nobody got it twice but where the cell says doubt.
"""
import collections
import json
import os
import re
import shutil
import tempfile
import types
import unittest

import host
import remote
from hostile import DROP, HANG, Late, Raw, Server
from remote import BODY, DEFERRED, FAILED, IN_DOUBT, RELAYED, Base

MATRIX = """
                  4xx    421    5xx    hang   drop   half   huge   wrong  junk   endless  nul
GREETING          next   next   next   next   next   next   next   next   next   next     rrr
EHLO              next   next   rrr    next   next   next   next   next   next   next     rrr
STARTTLS          plain  next   plain  plain  plain  plain  plain  plain  plain  plain    rrr
STARTTLS-demanded next   next   next   next   next   next   next   next   next   next     rrr
EHLO-again        next   next   rrr    next   next   next   next   next   next   next     rrr
MAIL              ddd    next   fff    next   next   next   next   next   next   next     rrr
RCPT              rdr    next   rfr    next   next   next   next   next   next   next     rrr
DATA              ddd    next   fff    next   next   next   next   next   next   next     rrr
body              ddd    next   fff    next   next   next   next   next   next   next     next
dot               ddd    next   fff    doubt  doubt  doubt  rrr    doubt  doubt  rrr      rrr
BDAT-octets       ddd    next   fff    next   next   next   next   next   next   next     next
BDAT              ddd    next   fff    doubt  doubt  doubt  rrr    doubt  doubt  rrr      rrr
RSET              fff    fff    fff    fff    fff    fff    fff    fff    fff    fff      fff
QUIT              rrr    rrr    rrr    rrr    rrr    rrr    rrr    rrr    rrr    rrr      rrr
"""
COLUMNS, *LINES = (line.split() for line in MATRIX.strip().splitlines())
CELLS = {(line[0], column): cell for line in LINES for column, cell in zip(COLUMNS, line[1:])}

# Hosts that are well answer within it even on a machine that stands still for three seconds.
TIMES = remote.TIMES.replace('"1s"', '"4s"')
YES = {"GREETING": 220, "STARTTLS": 220, "DATA": 354, "QUIT": 221}
WRONG = {"DATA": 250}
LETTERS = {RELAYED: "r", DEFERRED: "d", FAILED: "f", IN_DOUBT: "?"}
LARGE = (b"x" * 998 + b"\r\n") * 12000  # more than a connection holds
LONG = b"Subject: long\r\n\r\n" + (b"y" * 98 + b"\r\n") * 700
WHO = "abc"
ONE, TWO_HOSTS, ONE_HOST = "one address", "two hosts", "one host of two addresses"


def action(column, row):
    """What the host does at this step."""
    step = row.split("-")[0]
    code = YES.get(step, 250)
    huge = b"%d-%s\r\n" % (code, b"z" * 500)
    return {
        "4xx": "450 4.7.1 later",
        "421": "421 4.3.2 going down",
        "5xx": "550 5.7.1 never",
        "hang": Late(DROP, 60) if step == "body" or row == "BDAT-octets" else HANG,
        "drop": DROP,
        "half": Raw(b"%d-half\r\n%d" % (code, code // 10), DROP),
        "huge": Raw(huge * (2 ** 20 // len(huge)) + b"%d end\r\n" % code, HANG),
        "wrong": "%d 2.0.0 what?" % WRONG.get(step, 354),
        "junk": Raw(b"\xff\xfe rubbish\r\n", HANG),
        "endless": Raw(b"%d %s" % (code, b"z" * 2 ** 17), HANG),
        "nul": Raw(b"%d 2.0.0 o\0k\0\r\n" % code),
    }[column]


def refuses(column):
    """Whether this reply behind a message says clearly that it was not taken."""
    return column in ("4xx", "421", "5xx")


class Case:
    """One cell, in one of its six variants: its next hop, hosts, and recipients."""

    def __init__(self, test, number, row, column, pipelining, layout):
        self.test, self.row, self.column, self.cell, self.layout = test, row, column, CELLS[row, column], layout
        self.words = "%s %s%s, %s" % (row, column, ", PIPELINING" if pipelining else "", layout)
        self.name = "m%d.example" % number
        self.recipients = [who + "@" + self.name for who in WHO]
        where = ["127.%d.%d.%d" % (1 + number // 250, number % 250, 1 + i) for i in range(1 if layout == ONE else 2)]
        test.remote.names.table[self.name] = [("mx0." + self.name, " ".join(where))] if layout == ONE_HOST else " ".join(where)
        extensions = ["SIZE 100000000", "8BITMIME", "ENHANCEDSTATUSCODES"] + ["PIPELINING"] * pipelining + ["CHUNKING"] * row.startswith("BDAT")
        self.tls = "required" if row == "STARTTLS-demanded" or test.over_tls else "may" if row in ("STARTTLS", "EHLO-again") else "none"
        certificate = test.certificate if self.tls != "none" else None
        self.hosts = [test.remote.server(address, extensions=extensions, certificate=certificate, window=65536 if self.is_large() else None,
                                         **(self.script() if i == 0 else {})) for i, address in enumerate(where)]
        self.round = 0

    def is_large(self):
        return self.row in ("body", "BDAT-octets")

    def script(self):
        what = action(self.column, self.row)
        if self.test.at_second:
            what = [None, what]
        step = self.row.split("-")[0]
        if self.is_large():
            return dict(BODY=(100000, Raw(what.encode() + b"\r\n", HANG) if isinstance(what, str) else what))
        if self.row == "RCPT":
            return dict(steps={"RCPT b@": what})
        if self.row == "EHLO-again":
            return dict(EHLO=[None, what])
        if self.row == "RSET":
            return dict(RSET=what, steps={"RCPT %s@" % who: "550 5.1.1 no such user" for who in WHO})
        return {"END" if step == "dot" else step: what}

    def send(self, recipients):
        """As qmgr does; the request's number."""
        if self.is_large():
            return self.test.remote.send(*recipients, nexthop=self.name, tls=self.tls, fd=self.test.large.fileno(), size=len(LARGE))
        return self.test.remote.send(*recipients, nexthop=self.name, tls=self.tls, body=LONG if self.row == "BDAT" else BODY)

    def copies(self):
        """{recipient: how many times he has the message}, as far as anybody can tell."""
        count = collections.Counter()
        for number, server in enumerate(self.hosts):
            for message in server.received:
                if message in server.messages or not (number == 0 and refuses(self.column)):
                    count.update(message.recipients)
        return count

    # ---- what is expected

    def letters(self):
        """Of the first attempt."""
        return {"next": "ddd" if len(self.hosts) == 1 else "rrr", "plain": "rrr", "doubt": "???"}.get(self.cell, self.cell)

    def expect_first(self, result):
        check = self.test
        one, last = len(self.hosts) == 1, self.hosts[-1]
        check.assertEqual("".join(LETTERS[o.verdict] for o in result.outcomes), self.letters(), result)
        for o in result.outcomes:
            check.assertEqual(o.status[:2], {"r": "2.", "f": "5."}.get(LETTERS[o.verdict], "4."), o)
            check.assertRegex(o.reply, r"\A[ -~]+\Z")
            check.assertTrue(LETTERS[o.verdict] == "r" or "mx0." + self.name in o.reply, o)
        check.assertEqual(result.site_failed, int(self.cell == "doubt" or self.cell == "next" and one), result)
        left = self.cell == "next" and not one
        check.assertTrue(result.peer.startswith("mx%d.%s[127." % (left and self.layout == TWO_HOSTS, self.name)), result)
        check.assertIn(".%d]:" % (1 + left), result.peer)
        if not one and self.cell != "next":
            check.assertEqual(last.sessions, [])
        if self.tls != "none" and self.cell in ("plain", "rrr"):
            check.assertEqual([bool(m.secured) for m in self.hosts[0].received], [self.cell == "rrr"])
        check.assertEqual("delivered twice" in " ".join(o.reply for o in result.outcomes), self.cell == "doubt", result)

    def expect_books(self, first, second):
        """`second`: of those that were deferred."""
        self.test.assertTrue(all(o.verdict == RELAYED for o in second.outcomes) if second else self.cell in ("rrr", "fff", "rfr", "plain", "next"))
        return self.expect_copies("".join(LETTERS[o.verdict] for o in first.outcomes))

    def expect_copies(self, letters):
        """After all was tried again. How many have two."""
        copies, doubled = self.copies(), 0
        for letter, who in zip(letters, self.recipients):
            self.test.assertEqual(copies[who], {"r": 1, "f": 0, "d": 1, "?": 2 if self.hosts[0].received else 1}[letter], (who, copies))
            doubled += copies[who] == 2
        return doubled


class Rows(Base):
    over_tls, at_second, layouts = False, False, (ONE, TWO_HOSTS, ONE_HOST)
    settings = 'idle_timeout = "0" race_delay = 60000 ' + TIMES

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.directory = tempfile.mkdtemp(prefix="postino-test-")
        os.chmod(cls.directory, 0o755)
        cls.certificate = host.certificate(cls.directory, "mx0.m.example")
        cls.large = tempfile.TemporaryFile()
        cls.large.write(LARGE)
        cls.large.flush()
        cls.number = 0

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        shutil.rmtree(cls.directory)
        cls.large.close()

    def results(self, requests, timeout=60):
        """{request: RESULT} of all of them, in whatever order they come."""
        found = {}
        while len(found) < len(requests):
            answer = self.remote.qmgr.receive(timeout)
            self.assertIn(answer.request, requests)
            self.assertNotIn(answer.request, found)
            found[answer.request] = answer
        return found

    def make(self, row):
        large = row in ("body", "BDAT-octets")  # much to send, and nothing of what the others vary has a part in it
        for column in COLUMNS:
            for pipelining in (True,) if large else (False, True):
                for layout in self.layouts[:2] if large else self.layouts:
                    type(self).number += 1
                    yield Case(self, self.number, row, column, pipelining, layout)

    def round(self, cases, recipients):
        """{case: RESULT} of each that has recipients to be sent to."""
        requests = {case.send(recipients(case)): case for case in cases if recipients(case)}
        return {requests[request]: result for request, result in self.results(requests).items()}

    def run_row(self, row):
        """(sent, relayed, failed, doubled) recipients."""
        cases = list(self.make(row))
        descriptors = len(os.listdir("/proc/%d/fd" % self.remote.process.pid))
        try:
            first = self.round(cases, lambda case: case.recipients)
            for case in cases:
                with self.subTest(case.words):
                    case.expect_first(first[case])
            if row in ("RSET", "QUIT"):  # whatever happens there, the next message does not suffer
                for case, result in self.round(cases, lambda case: ["x@" + case.name]).items():
                    with self.subTest(case.words + ", the next message"):
                        self.check(result, (RELAYED, "2.0.0", ""))
            for case in cases:
                case.hosts[0].script = {}
            late = lambda case: [who for who, o in zip(case.recipients, first[case].outcomes) if o.verdict not in (RELAYED, FAILED)]
            second, doubled = self.round(cases, late), 0
            for case in cases:
                with self.subTest(case.words + ", books"):
                    doubled += case.expect_books(first[case], second.get(case))
            host.wait_for(lambda: len(os.listdir("/proc/%d/fd" % self.remote.process.pid)) == descriptors)
        finally:
            for case in cases:
                for server in case.hosts:
                    server.close()
        self.balance(row, cases, first, second, doubled)

    def balance(self, row, cases, first, second, doubled):
        sent = sum(len(case.recipients) for case in cases)
        counted = collections.Counter(LETTERS[o.verdict] for result in first.values() for o in result.outcomes)
        later = collections.Counter(LETTERS[o.verdict] for result in second.values() for o in result.outcomes)
        self.assertEqual(counted.total(), sent)
        self.assertEqual(later.total(), counted["d"] + counted["?"])
        self.assertEqual(sent, counted["r"] + later["r"] + counted["f"], row)
        self.assertLessEqual(doubled, counted["?"])
        said = [line for line in self.remote.log().splitlines() if "delivered twice" in line and any("=%s " % case.name in line for case in cases)]
        self.assertEqual(3 * len(said), counted["?"])


class Matrix(Rows):
    def test_the_table_is_whole(self):
        self.assertEqual(len(CELLS), len(LINES) * len(COLUMNS))
        self.assertLessEqual(set(CELLS.values()), {"rrr", "rdr", "rfr", "ddd", "fff", "plain", "next", "doubt"})


@unittest.skipUnless(os.geteuid() == 0, "takes root, as the users of a whole Postino do")
class Books(unittest.TestCase):
    """The same with a whole Postino and its queue, at next hops of one address: the log, the queue's listing, the reports and the counts of `postino sites` agree."""
    over_tls = at_second = False
    rows = [line[0] for line in LINES if line[0] not in ("body", "BDAT-octets")]  # which take much room, and end like a drop at DATA

    def setUp(self):
        port, directory = host.free_port(), tempfile.mkdtemp(prefix="postino-test-")
        self.addCleanup(shutil.rmtree, directory)
        os.chmod(directory, 0o755)
        self.certificate = host.certificate(directory, "mx0.m.example")
        self.remote = types.SimpleNamespace(names=types.SimpleNamespace(table={}), server=lambda address, **more: Server(address, port, **more))
        self.cases = [Case(self, i + 1, row, column, True, ONE) for i, (row, column) in enumerate((row, column) for row in self.rows for column in COLUMNS)]
        for case in self.cases:
            self.addCleanup(case.hosts[0].close)
        levels = {"none": "none", "may": "may", "required": "encrypt"}
        self.host = host.Host(routes={case.name: "via = \"smtp:[%s]:%d\" tls = %s" % (self.remote.names.table[case.name], port, levels[case.tls]) for case in self.cases},
                              settings='remote { loopback = yes idle_timeout = "0" race_delay = 60000 %s }\nqueue { retry_first = 1h retry_most = 1h }\ndns { client_names = no }' % TIMES)

    def send(self):
        with self.host.smtp() as client:
            for case in self.cases:
                self.assertEqual(client.sendmail("alice@" + host.DOMAIN, case.recipients, LONG if case.row == "BDAT" else BODY), {})

    def outcomes(self):
        """{recipient: [(status, in doubt)]} of others than mailboxes here, in order."""
        found = collections.defaultdict(list)
        for recipient, status, doubt in re.findall(r"to=<(\S+@m\d+\.example)> .* status=(\w+)( in_doubt=yes)? reply=", self.host.log()):
            found[recipient].append((status, bool(doubt)))
        return found

    def all_have(self, n):
        def known():
            """each recipient's outcome is in the log"""
            found = self.outcomes()
            return found if all(len(found[who]) >= (n if letter in "d?" else 1) for case in self.cases for letter, who in zip(case.letters(), case.recipients)) else None
        return host.wait_for(known, 90)

    def test_the_books(self):
        with self.host:
            self.send()
            found, words = self.all_have(1), {"r": ("sent", False), "d": ("deferred", False), "?": ("deferred", True), "f": ("bounced", False)}
            for case in self.cases:
                with self.subTest(case.words):
                    self.assertEqual([found[who] for who in case.recipients], [[words[letter]] for letter in case.letters()])
            letters = collections.Counter("".join(case.letters() for case in self.cases))
            self.expect_listings(letters)
            for case in self.cases:
                case.hosts[0].script = {}
            self.assertEqual(self.host.tool("postino", "queue", "retry", "all").returncode, 0)
            found = self.all_have(2)
            host.wait_for(self.host.queue_is_empty)
            self.expect_end(letters, found)

    def expect_listings(self, letters):
        """What is in doubt is counted for each site, and said in the queue."""
        sites = [json.loads(line) for line in self.host.tool("postino", "sites", "--json").stdout.splitlines()]
        self.assertEqual(sum(site["in_doubt"] for site in sites), letters["?"])
        self.assertEqual({site["in_doubt"] for site in sites}, {0, 3})
        queue = json.loads("[%s]" % ",".join(self.host.tool("postino", "queue", "list", "--json").stdout.splitlines()))
        reasons = [recipient["delay_reason"] for message in queue for recipient in message["recipients"]]
        self.assertEqual(len(reasons), letters["d"] + letters["?"])
        self.assertEqual(len([reason for reason in reasons if "be delivered twice" in reason]), letters["?"])

    def expect_end(self, letters, found):
        """sent = delivered + returned, twice where it was in doubt and the host had it."""
        doubled = 0
        for case in self.cases:
            with self.subTest(case.words + ", books"):
                doubled += case.expect_copies(case.letters())
                self.assertEqual([found[who][-1] for who in case.recipients], [("bounced", False) if letter == "f" else ("sent", False) for letter in case.letters()])
        self.assertEqual(letters.total(), 3 * len(self.cases))
        self.assertLessEqual(doubled, letters["?"])
        self.assertGreater(doubled, 0)

        def told():
            """those of whom reports tell; one that is just being stored is in no listing of the queue"""
            recipients = [who for report in self.host.messages("alice") for who in re.findall(rb"Final-Recipient: rfc822; ?(\S+)", report)]
            return recipients if len(recipients) >= letters["f"] else None
        self.assertEqual(sorted(host.wait_for(told)), sorted(who.encode() for case in self.cases for letter, who in zip(case.letters(), case.recipients) if letter == "f"))


class OverTls(Rows):
    """What comes behind STARTTLS, within TLS."""
    over_tls, layouts = True, (ONE, TWO_HOSTS)


class Reused(Rows):
    """Trouble with the second message of a session. What is no word about that message ("next") is the session's: the message gets a fresh one, with the same host."""
    settings = 'idle_timeout = "5m" race_delay = 60000 ' + TIMES
    at_second, layouts = True, (ONE,)

    def run_row(self, row):
        cases = list(self.make(row))
        try:
            for case, result in self.round(cases, lambda case: case.recipients).items():
                self.assertEqual([o.verdict for o in result.outcomes], [RELAYED] * 3, case.words)
            host.wait_for(lambda: all(len(case.hosts[0].messages) == 1 for case in cases))
            second = self.round(cases, lambda case: case.recipients)
            for case in cases:
                with self.subTest(case.words):
                    self.expect(case, second[case])
        finally:
            for case in cases:
                case.hosts[0].close()

    def expect(self, case, result):
        letters = {"next": "rrr"}.get(case.cell, case.letters())
        self.assertEqual("".join(LETTERS[o.verdict] for o in result.outcomes), letters, result)
        self.assertEqual(result.site_failed, int(case.cell == "doubt"))
        self.assertEqual(len(case.hosts[0].sessions), 2 if case.cell == "next" else 1)
        copies = case.copies()
        for letter, who in zip(letters, case.recipients):
            self.assertIn(copies[who] - 1, {"r": (1,), "?": (0, 1)}.get(letter, (0,)), who)


def add_rows(case, rows):
    for row in rows:
        def test(self, row=row):
            self.run_row(row)
        setattr(case, "test_" + row.replace("-", "_"), test)


ROWS = [line[0] for line in LINES]
add_rows(Matrix, ROWS)
add_rows(OverTls, ROWS[ROWS.index("MAIL"):])
add_rows(Reused, ("MAIL", "RCPT", "DATA", "dot", "BDAT"))

if __name__ == "__main__":
    unittest.main(verbosity=2)
