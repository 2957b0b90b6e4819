"""Next hosts that take their time, count, and change their minds.

    with Paced(pause=0.3) as server, Host(routes={"*": server.via}) as host:
        ... server.messages[0].began, server.meter.most
"""
import threading
import time

from hostile import Server, Session


class Meter:
    """How many transactions are open at a time, in all the servers that share it. `gather`: the first ones stay open until there are so many, thirty seconds at most: a busy
    machine has them too."""

    def __init__(self, gather=0):
        self.changed, self.gather, self.now, self.most = threading.Condition(), gather, 0, 0

    def __enter__(self):
        with self.changed:
            self.now += 1
            self.most = max(self.most, self.now)
            self.changed.notify_all()
            self.changed.wait_for(lambda: self.most >= self.gather, 30)

    def __exit__(self, *exception):
        with self.changed:
            self.now -= 1

    def release(self):
        """Those that gather go on, however many they are; and `most` begins anew when they have."""
        with self.changed:
            self.most, self.gather = self.now, 0
            self.changed.notify_all()


class PacedSession(Session):
    """.number: of the session, from 1; .mails: how many MAIL there were; .carried: how many messages came."""

    def __init__(self, server, sock):
        super().__init__(server, sock)
        self.number, self.mails, self.carried = len(server.sessions) + 1, 0, 0

    def action(self, step, counts=None):
        self.mails += step == "MAIL"
        with self.server.lock:
            said = self.server.answer(step, self.number, self.mails)
        return said or super().action(step, counts)

    def body(self):
        with self.server.meter:
            text = super().body()
            time.sleep(self.server.pause)
        self.carried += 1
        return text


class Paced(Server):
    """`pause`: seconds for each message. `answer(step, number of the session, of the message in it)`: what is said at that step; None: what the script says."""

    def __init__(self, answer=lambda *_: None, pause=0.0, meter=None, extensions=(), **more):
        self.answer, self.pause, self.meter, self.lock = answer, pause, meter or Meter(), threading.Lock()
        super().__init__(extensions=extensions, **more)

    def session(self, sock):
        return PacedSession(self, sock)
