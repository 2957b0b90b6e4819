"""postino-remote driven alone, for tests of it: qmgr, dns and sts are played by the test, the next hosts by hostile.py.

    class Refused(Base):
        def test_a_refusal_is_told(self):
            self.check_one(dict(RCPT="550 5.1.1 no"), FAILED, "5.1.1", "no")
"""
import contextlib
import socket
import threading
import unittest

import frames
import host
from certificates import BASE, Certificates
from driven import Driven
from hostile import Server

BODY = b"Subject: x\r\n\r\nhello\r\n.\r\n..two\r\n"
STEPS = ("connect", "greeting", "helo", "tls", "mail", "rcpt", "data", "block", "end", "quit")


def patient(**short):
    """The timeouts of all steps. A machine that stands still for some seconds makes no silent host of one that answers; where a silent one is waited for, patient(mail="1s") gives
    that step alone a short one."""
    assert set(short) <= set(STEPS), short
    return " ".join('%s_timeout = "%s"' % (step, short.get(step, "60s")) for step in STEPS)


PATIENT = patient()
# Each can be waited for.
TIMES = PATIENT.replace("60s", "1s")
RELAYED, DEFERRED, FAILED, IN_DOUBT = frames.VERDICT_RELAYED, frames.VERDICT_DEFERRED, frames.VERDICT_FAILED, frames.VERDICT_IN_DOUBT
OWN_DOMAIN = 3  # enum own_failure


class Names:
    """The dns program: answers RESOLVE from a table of {name: addresses, hosts, or a verdict}; `more` stands in each of these hosts."""

    def __init__(self, channel, **table):
        self.channel, self.table, self.asked, self.more = channel, dict(table), [], {}
        threading.Thread(target=self.run, daemon=True).start()

    def answer(self, name):
        found = self.table.get(name)
        if found is None:
            return dict(verdict=frames.RESOLVE_FAILED, status="5.4.4", reason="Host or domain name not found: " + name)
        if isinstance(found, tuple):
            return dict(zip(("verdict", "status", "reason"), found))
        if isinstance(found, str):
            found = [("mx%d.%s" % (i, name), address) for i, address in enumerate(found.split())]
        return dict(verdict=frames.RESOLVE_OK, hosts=[dict(preference=10 * i, name=n, addresses=a, **self.more) for i, (n, a) in enumerate(found)])

    def run(self):
        with contextlib.suppress(frames.Closed, OSError, ValueError):
            while True:
                question = self.channel.receive(None)
                self.asked.append((question.name, question.want))
                self.channel.send("RESOLVED", request=question.request, **self.answer(question.name))


class Policies:
    """The sts program: answers STS from a table of {domain: (mode, hosts)}."""

    def __init__(self, channel):
        self.channel, self.table, self.asked = channel, {}, []
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def end(self):
        self.channel.sock.shutdown(socket.SHUT_RDWR)
        self.thread.join(60)
        self.channel.close()

    def run(self):
        with contextlib.suppress(frames.Closed, OSError, ValueError):
            while True:
                question = self.channel.receive(None)
                self.asked.append(question.domain)
                mode, mx = self.table.get(question.domain, (frames.STS_NONE, ""))
                self.channel.send("STS_IS", request=question.request, mode=mode, mx=mx, id="1" if mode else "")


class Delivering(Driven):
    """A program that delivers; .qmgr is the test. send() is the program's own."""

    def result(self, count=1, timeout=60):
        answer = self.qmgr.receive(timeout)
        assert answer.type == "RESULT", answer
        assert [o.index for o in answer.outcomes] == list(range(count)), answer
        return answer

    def deliver(self, *recipients, **more):
        request = self.send(*recipients, **more)
        answer = self.result(max(1, len(recipients)))
        assert answer.request == request
        return answer


class Remote(Delivering):
    def __init__(self, settings="", rest="", where=()):
        self.port = host.free_port()
        text = "remote { loopback = yes port = %d %s %s }\n%s" % (self.port, PATIENT if "_timeout" not in settings else "", settings, rest)
        super().__init__("remote", text, edges=("qmgr", "dns", "sts"), where=where)
        self.policies = Policies(self.edges["sts"])
        self.names = Names(self.edges["dns"])
        self.names.table["a.example"] = "127.0.0.2"
        self.names.table["two.example"] = "127.0.0.2 127.0.0.3"
        self.qmgr = self.edges["qmgr"]

    def send(self, *recipients, body=BODY, nexthop="a.example", tls="none", sender="s@from.example", flags=0, fd=None, offset=0, size=None,
             session_messages=0, transport="smtp", **more):
        recipients = recipients or ("bob@a.example",)
        return self.qmgr.send("DELIVER", fd=fd, id=77, nexthop=nexthop, tls=tls, sender=sender, flags=flags, offset=offset,
                              size=len(body) if size is None else size, body=b"" if fd is not None else body, session_messages=session_messages, **more,
                              recipients=[dict(address=r, transport=transport, nexthop=nexthop, tls=tls) for r in recipients])

    def server(self, address="127.0.0.2", **more):
        return Server(address, self.port, **more)

    def at_once(self, cases, *users, second=None, **more):
        """Each case (what it is, a script) is a host of its own, and behind it one that does what `second` says, if that is given. They get a message all at once, so that those that
        hang are waited for together: (what it is, its server, that of the second host or None, the result) as they come. The result of a host that hangs is there long before the
        timeouts of all other steps are over."""
        with contextlib.ExitStack() as stack:
            asked = {}
            for n, (case, script) in enumerate(cases):
                name, addresses = "n%d.example" % n, ["127.0.1.%d" % (n + 1), "127.0.2.%d" % (n + 1)][:1 if second is None else 2]
                self.names.table[name] = " ".join(addresses)
                servers = [stack.enter_context(self.server(a, **what)) for a, what in zip(addresses, (script, second))] + [None]
                asked[self.send(*["%s@%s" % (user, name) for user in users], nexthop=name, **more)] = case, *servers[:2]
            for _ in cases:
                result = self.result(len(users), 40)
                yield *asked[result.request], result


class Deliveries(unittest.TestCase):
    """Tests of one program that delivers: none of them ends it."""

    @classmethod
    def keep(cls, program):
        """For all tests of the class."""
        cls.program = program
        cls.addClassCleanup(cls.end)

    @classmethod
    def end(cls):
        log, running = cls.program.log(), cls.program.running()
        cls.program.close()
        if not running:
            raise AssertionError("the program ended:\n" + log)

    def tearDown(self):
        self.assertTrue(self.program.running(), self.program.log())

    def check(self, result, *outcomes, site_failed=0):
        """Each outcome: (verdict, status, a part of the words)."""
        self.assertEqual([(o.verdict, o.status) for o in result.outcomes], [o[:2] for o in outcomes], result)
        for got, wanted in zip(result.outcomes, outcomes):
            self.assertIn(wanted[2], got.reply)
        self.assertEqual(result.site_failed, site_failed, result)


class Base(Deliveries):
    """... of postino-remote."""
    settings, rest = "", ""

    @classmethod
    def setUpClass(cls):
        cls.remote = Remote(cls.settings, cls.rest)
        cls.keep(cls.remote)

    def check_one(self, script, verdict, status, words, site_failed=0, **more):
        with self.remote.server(**script) as server:
            result = self.remote.deliver(**more)
            self.check(result, (verdict, status, words), site_failed=site_failed)
        return server


class Security(Base):
    """... among certificates, and what dns says of them. `rest`: AUTHORITY is the authority's certificate."""
    settings = 'idle_timeout = "0" ' + PATIENT

    @classmethod
    def setUpClass(cls):
        cls.made = cls.enterClassContext(Certificates())
        cls.rest = cls.rest.replace("AUTHORITY", cls.made.authority[0])
        super().setUpClass()

    def publish(self, *records, dane=frames.DANE_RECORDS, base=BASE):
        """What dns says of the one host of a.example."""
        self.remote.names.more = dict(dane=dane, base=base if dane == frames.DANE_RECORDS else "", tlsa=", ".join(records))
        self.addCleanup(setattr, self.remote.names, "more", {})

    def delivered(self, certificate, *proof, tls="dane", **more):
        with self.remote.server(certificate=certificate, **more) as server:
            result = self.remote.deliver(tls=tls)
            self.check(result, (RELAYED, "2.0.0", ""))
            self.assertEqual([(m.body, m.secured) for m in server.messages], [(BODY, "TLSv1.3")])
            for words in proof:
                self.assertIn(words, result.security)
        return result

    def deferred(self, certificate, words, status="4.7.5", tls="dane", own=0, **more):
        """`own`: what was published is the fault, and the site is told nothing of it."""
        with self.remote.server(certificate=certificate, **more) as server:
            result = self.remote.deliver(tls=tls)
            self.check(result, (DEFERRED, status, words), site_failed=0 if own else 1)
            self.assertEqual(result.own, own)
            self.assertEqual(server.received, [])
            self.assertNotIn("MAIL", " ".join(c for s in server.sessions for c in s.commands))
        return server
