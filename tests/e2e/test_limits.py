"""What the administrator sets and says holds: limits of sites and routes, seen by the next host itself."""
import os
import re
import socket
import threading
import time
import unittest

from host import DOMAIN, Host, free_port, wait_for

MESSAGE = b"From: alice@local.example\r\nTo: x@elsewhere.example\r\nSubject: limits\r\n\r\nhello\r\n"


class Meter:
    """How many transactions are open at a time, in all the sinks that share it."""

    def __init__(self):
        self.lock, self.now, self.most = threading.Lock(), 0, 0

    def __enter__(self):
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)

    def __exit__(self, *exception):
        with self.lock:
            self.now -= 1


class Sink:
    """A next host that takes `pause` seconds for each message, and counts. .taken: (time, recipients, subject) of each message; .sessions: how many messages
    each session had."""

    def __init__(self, pause=0.0, meter=None, port=0, rcpt="250 ok"):
        self.pause, self.meter, self.rcpt, self.taken, self.sessions = pause, meter or Meter(), rcpt, [], []
        self.socket = socket.create_server(("127.0.0.1", port))
        self.port = self.socket.getsockname()[1]
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        while True:
            try:
                client, _ = self.socket.accept()
            except OSError:
                return
            self.sessions.append(0)
            threading.Thread(target=self.session, args=(client, len(self.sessions) - 1), daemon=True).start()

    def close(self):
        self.socket.close()

    def session(self, client, number):
        f, recipients = client.makefile("rwb"), []

        def say(text):
            f.write(text.encode() + b"\r\n")
            f.flush()
        try:
            say("220 sink.example")
            for line in iter(f.readline, b""):
                verb = line[:4].upper().strip()
                if verb == b"MAIL":
                    recipients = []
                    say("250 ok")
                elif verb == b"RCPT":
                    if self.rcpt[0] == "2":
                        recipients.append(re.search(rb"<(.*?)>", line).group(1).decode())
                    say(self.rcpt)
                elif verb == b"DATA":
                    began = time.monotonic()
                    with self.meter:
                        say("354 go on")
                        body = b""
                        while not body.endswith(b"\r\n.\r\n"):
                            body += f.readline()
                        time.sleep(self.pause)
                    self.sessions[number] += 1
                    self.taken.append((began, recipients, re.search(rb"(?m)^Subject: (.*)\r$", body).group(1).decode()))
                    say("250 2.0.0 taken")
                elif verb == b"QUIT":
                    say("221 bye")
                    return
                else:
                    say("250 ok")
        except (OSError, ValueError):
            pass
        finally:
            client.close()


class Limits(unittest.TestCase):
    def sink(self, **more):
        sink = Sink(**more)
        self.addCleanup(sink.close)
        return sink

    def host(self, routes, settings="", **more):
        host = Host(routes={name: text if isinstance(text, str) else "smtp:[127.0.0.1]:%d" % text.port for name, text in routes.items()},
                    settings=settings, tls=False, **more).__enter__()
        self.addCleanup(host.__exit__, None, None, None)
        return host

    @staticmethod
    def via(sink, limits):
        return 'via = "smtp:[127.0.0.1]:%d" %s' % (sink.port, limits)

    def send(self, host, *recipients, subject="limits", sender="alice@" + DOMAIN):
        """One message to each, in one session."""
        ids = []
        with host.smtp() as client:
            client.ehlo()
            for recipient in recipients:
                client.mail(sender)
                client.rcpt(recipient)
                code, reply = client.data(MESSAGE.replace(b"limits", subject.encode()))
                self.assertEqual(code, 250, reply)
                ids.append(reply.decode().split()[-1])
        return ids

    def taken(self, count, *sinks, seconds=30):
        def all_taken():
            """the sinks have all messages"""
            return sum(len(s.taken) for s in sinks) >= count
        wait_for(all_taken, seconds)
        self.assertEqual(sum(len(s.taken) for s in sinks), count)

    def test_all_deliveries_at_once(self):
        for most in (2, 4):
            with self.subTest(most):
                meter = Meter()
                sinks = [self.sink(pause=0.2, meter=meter) for _ in range(4)]
                host = self.host({"%d.example" % i: s for i, s in enumerate(sinks)}, "queue { active = %d }" % most)
                self.send(host, *["x@%d.example" % (i % 4) for i in range(16)])
                self.taken(16, *sinks)
                self.assertEqual(meter.most, most)

    def test_deliveries_to_a_site_at_a_time(self):
        sink, other = self.sink(pause=0.3), self.sink(pause=0.3)
        host = self.host({"a.example": sink, "*": other}, "queue { site_sessions = 2 }")
        self.send(host, *["x@a.example", "x@b.example"] * 6)
        self.taken(12, sink, other)
        self.assertEqual((sink.meter.most, other.meter.most), (2, 2))

    def test_messages_a_minute_to_a_site(self):
        sink, free = self.sink(), self.sink()
        host = self.host({"a.example": sink, "*": self.via(free, "rate = 0")}, "queue { site_rate = 60 }")
        self.send(host, *["x@a.example"] * 5 + ["x@b.example"] * 10)
        self.taken(10, free, seconds=3)
        self.taken(5, sink)
        times = sorted(t for t, _, _ in sink.taken)  # one in each second of the clock, so the first two may be close
        self.assertTrue(all(b - a > 0.7 for a, b in zip(times[1:], times[2:])), times)
        self.assertTrue(3 < times[-1] - times[0] < 8, times)

    def test_a_route_s_limits_are_for_its_own_mail(self):
        """the same next hop, in two lines"""
        sink = self.sink(pause=0.3)
        host = self.host({"a.example": self.via(sink, "sessions = 1"), "*": sink}, "queue { site_sessions = 3 }")
        self.send(host, *["x@a.example", "x@b.example"] * 4)
        self.taken(8, sink)
        mine = sorted(t for t, r, _ in sink.taken if r == ["x@a.example"])
        self.assertTrue(all(b - a > 0.25 for a, b in zip(mine, mine[1:])), mine)
        rest = sorted(t for t, r, _ in sink.taken if r == ["x@b.example"])
        self.assertLess(rest[2] - rest[0], 0.25, rest)

    def test_messages_in_a_session(self):
        sites = self.sink(), self.sink()
        host = self.host({"a.example": self.via(sites[0], "sessions = 1 session_messages = 2"), "*": self.via(sites[1], "sessions = 1")},
                         'remote { loopback = yes session_messages = 9 } site "127.0.0.1" { session_messages = 3 }')
        self.send(host, *["x@a.example", "x@b.example"] * 6)
        self.taken(12, *sites)
        self.assertEqual(sites[0].sessions, [2, 2, 2])
        self.assertEqual(sites[1].sessions, [3, 3])

    def test_a_site_s_limits_and_a_route_s_before_them(self):
        sink, other = self.sink(pause=0.3), self.sink(pause=0.3)
        host = self.host({"a.example": self.via(sink, "sessions = 2"), "*": other}, 'site "127.0.0.1" { sessions = 1 }')
        self.send(host, *["x@a.example", "x@b.example"] * 4)
        self.taken(8, sink, other)
        self.assertEqual((sink.meter.most, other.meter.most), (2, 1))

    def reloaded(self, host, **more):
        host.configure(**more)
        before = len(host.log())
        host.reload()

        def reloaded():
            """the new configuration holds"""
            return "reloaded" in host.log()[before:]
        wait_for(reloaded, 20)

    def test_a_reload_changes_the_limits_of_mail_that_waits(self):
        sink = self.sink(pause=0.5)
        host = self.host({"*": sink}, "queue { site_sessions = 5 }")
        self.send(host, *["x@a.example", "x@b.example"] * 12)
        wait_for(lambda: sink.meter.most == 5)
        self.reloaded(host, routes={"a.example": self.via(sink, "sessions = 1"), "*": self.via(sink, "sessions = 1")}, settings="")
        time.sleep(1)
        before, sink.meter.most = len(sink.taken), sink.meter.now
        self.assertLess(before, 22)
        self.taken(24, sink)
        self.assertLessEqual(sink.meter.most, 2)
        self.reloaded(host, routes={"*": self.via(sink, "")}, settings='queue { site_sessions = 1 } site "127.0.0.1" { sessions = 4 }')
        self.send(host, *["x@a.example"] * 16)
        self.taken(40, sink)
        self.assertEqual(sink.meter.most, 4)


if __name__ == "__main__":
    unittest.main()
