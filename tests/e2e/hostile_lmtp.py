"""An LMTP server (RFC 2033) that does what a script says, as tests/e2e/hostile.py; on a port, or on a UNIX socket.

    with LmtpServer("/var/tmp/x/lmtp", END=["250 2.0.0 <a> saved", "552 5.2.2 <b> full", DROP]) as server:
        ... server.saved: [(recipient, message)] of those that got a 2xx

END is one action for all recipients, or a list: one for each in turn, counted anew for each message; the last one for all that are left. END with FEWER says nothing for the
recipient, MORE(action, n) says it n times.
"""
from hostile import Message, Raw, Server, Session, accepts
from listening import unix_socket

EXTENSIONS = ("PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES")


class More:
    def __init__(self, action, n):
        self.action, self.n = action, n


FEWER = More("", 0)


class LmtpSession(Session):
    def command(self, line):
        word = line.split(" ")[0].upper()
        if word in ("EHLO", "HELO"):
            self.commands.append(line)
            self.play("500 5.5.1 this is LMTP")
        elif word == "LHLO":
            self.commands.append(line)
            self.play(self.action("LHLO") or self.hello("LHLO"))
        else:
            super().command(line)

    def ends(self, n):
        """The action for recipient `n` of a message."""
        actions = self.server.script.get("END") or "250 2.0.0 saved"
        return actions[min(n, len(actions) - 1)] if isinstance(actions, list) else actions

    def after(self, word, line, code):
        if word != "DATA" or code != 354:
            super().after(word, line, code)
            return
        message = Message(self.sender, self.accepted, self.body(), self.secured)
        self.server.received.append(message)
        for n, recipient in enumerate(message.recipients):
            action = self.ends(n)
            times = action.n if isinstance(action, More) else 1
            action = action.action if isinstance(action, More) else action
            if times and (accepts(action) or isinstance(action, Raw) and action.octets[:1] == b"2" and b"\n" in action.octets):
                self.server.saved.append((recipient, message))
            for _ in range(times):
                self.play(action)
        self.accepted, self.mail = [], False


class LmtpServer(Server):
    def __init__(self, address, port=None, **more):
        self.saved = []
        more.setdefault("extensions", EXTENSIONS)
        super().__init__(address, port, **more)

    def listen(self, address, port):
        if port is not None:
            return super().listen(address, port)
        return unix_socket(address, backlog=1000)

    def session(self, sock):
        return LmtpSession(self, sock)
