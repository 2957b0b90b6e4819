"""An SMTP server that does what a script says at each step, and writes down what it was told.

    with Server(RCPT=["250 ok", "550 5.1.1 no"], END="451 4.3.0 later") as server, Host(routes={"*": server.via}) as host:
        ... server.sessions[0].commands, server.messages[0].body

A step (GREETING, EHLO, HELO, STARTTLS, MAIL, RCPT, DATA, END, BDAT, RSET, QUIT, IDLE) has one action, or a list: one action for each time that it comes, and the last one
for all later times. "RCPT bob" is the step of one recipient (a part of the command). GREETING counts connections of the server; the others count in a session.
Actions:
    "250 ok"            a reply; several lines with \\n in between
    HANG                says nothing any more, and waits until the client hangs up
    DROP, RESET         closes the connection, orderly or not
    Raw(b"25")          just these octets (a half reply, garbage), and goes on
    Raw(b"25", HANG)    ... and then this
    Late("250 ok", 2)   after so many seconds
    When("250 ok", so)  as soon as so() is true
BODY = (octets, action): after so many octets of a message have come.
BDAT is answered when all octets of the chunk have come; BDAT = Early(action): as soon as the command has.
"""
import re
import socket
import ssl
import struct
import threading
import time

from listening import Listener

EXTENSIONS = ("PIPELINING", "SIZE 100000000", "8BITMIME", "ENHANCEDSTATUSCODES")


class Mark:
    def __init__(self, name):
        self.name = name

    def __repr__(self):
        return self.name


HANG, DROP, RESET = Mark("HANG"), Mark("DROP"), Mark("RESET")


class Raw:
    def __init__(self, octets, then=None):
        self.octets, self.then = octets, then


class Late:
    def __init__(self, action, seconds):
        self.action, self.seconds = action, seconds


class When:
    def __init__(self, action, so):
        self.action, self.so = action, so


class Early:
    def __init__(self, action):
        self.action = action


def accepts(action):
    if isinstance(action, (Late, When)):
        return accepts(action.action)
    return isinstance(action, str) and action.startswith("2")


class Over(Exception):
    """The conversation is over."""


class Message:
    """.began: when DATA was answered, by the monotonic clock."""

    def __init__(self, sender, recipients, body, secured, began=None):
        self.sender, self.recipients, self.body, self.secured, self.began = sender, recipients, body, secured, began


class Session:
    """.answered: how many of its .commands got their whole answer, a text too; .ended: it is over."""

    def __init__(self, server, sock):
        self.server, self.sock = server, sock
        self.commands, self.pending, self.times = [], bytearray(), {}
        self.secured, self.resumed, self.body_octets = None, None, 0
        self.sender, self.accepted, self.mail, self.chunks = "", [], False, bytearray()
        self.answered, self.ended = 0, False

    # ---- what goes out

    def action(self, step, counts=None):
        counts = self.times if counts is None else counts
        actions = self.server.script.get(step)
        if not isinstance(actions, list):
            return actions
        n = counts.get(step, 0)
        counts[step] = n + 1
        return actions[min(n, len(actions) - 1)]

    def send(self, octets):
        try:
            self.sock.sendall(octets)
        except OSError:
            raise Over() from None

    def play(self, action):
        """Does it; the code of the reply that was given, or 0."""
        if isinstance(action, Late):
            time.sleep(action.seconds)
            return self.play(action.action)
        if isinstance(action, When):
            self.until(action.so)
            return self.play(action.action)
        if isinstance(action, Raw):
            self.send(action.octets)
            return self.play(action.then) if action.then else int(action.octets[:3]) if action.octets[:3].isdigit() else 0
        if action is HANG:
            while self.fill():
                self.pending.clear()
            raise Over()
        if action is RESET:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        if action in (DROP, RESET):
            raise Over()
        lines = action.split("\n")
        for i, line in enumerate(lines):
            self.send((line + "\r\n").encode("utf-8", "surrogateescape"))
        return int(lines[-1][:3]) if lines[-1][:3].isdigit() else 0

    @staticmethod
    def until(so):
        end = time.monotonic() + 60
        while not so():
            if time.monotonic() > end:
                raise Over()
            time.sleep(0.005)

    # ---- what comes in

    def fill(self):
        try:
            octets = self.sock.recv(65536)
        except (OSError, ssl.SSLError):
            return False
        self.pending += octets
        return bool(octets)

    def line(self):
        while b"\n" not in self.pending:
            if not self.fill():
                raise Over()
        line, _, rest = bytes(self.pending).partition(b"\n")
        self.pending = bytearray(rest)
        return line.rstrip(b"\r").decode("utf-8", "surrogateescape")

    def body(self):
        limit, action = self.server.script.get("BODY", (None, None))
        octets, seen = self.pending, 0
        self.pending = bytearray()
        while True:
            if octets == b".\r\n":
                end = 0
                break
            end = octets.find(b"\r\n.\r\n", max(0, seen - 5))
            if end >= 0:
                break
            seen = len(octets)
            self.body_octets = seen
            if limit is not None and seen >= limit:
                self.play(action)
                limit = None
            if not self.fill():
                self.server.cut_off.append(bytes(octets))
                raise Over()
            octets += self.pending
            self.pending = bytearray()
        text = octets[: end + 2] if octets[:3] != b".\r\n" or end else b""
        self.pending = bytearray(octets[end + 5 :] if text else octets[3:])
        return b"".join(line[1:] if line.startswith(b".") else line for line in re.findall(rb"[^\n]*\n", bytes(text)))

    def chunk(self, size):
        """So many octets."""
        limit, action = self.server.script.get("BODY", (None, None))
        while len(self.pending) < size:
            if limit is not None and len(self.pending) >= limit:
                self.play(action)
                limit = None
            if not self.fill():
                self.server.cut_off.append(bytes(self.pending))
                raise Over()
        octets, self.pending = bytes(self.pending[:size]), bytearray(self.pending[size:])
        return octets

    def bdat(self, line):
        words = line.split(" ")
        if not self.accepted:
            self.chunk(int(words[1]))
            return self.play(self.action("BDAT") or "503 5.5.1 no valid recipients")
        action = self.action("BDAT")
        if isinstance(action, Early):
            return self.play(action.action)
        self.chunks += self.chunk(int(words[1]))
        if words[2:] != ["LAST"]:
            return self.play(action or "250 2.0.0 ok")
        message = Message(self.sender, self.accepted, bytes(self.chunks), self.secured)
        self.server.received.append(message)
        if accepts(action or "250"):
            self.server.messages.append(message)
        self.chunks, self.accepted, self.mail = bytearray(), [], False
        return self.play(action or "250 2.0.0 ok: queued as A1")

    # ---- the conversation

    def start_tls(self):
        context = self.server.context
        self.pending.clear()
        try:
            self.sock = context.wrap_socket(self.sock, server_side=True)
        except (OSError, ssl.SSLError):
            raise Over() from None
        self.secured, self.resumed = self.sock.version(), self.sock.session_reused

    def hello(self, word):
        extensions = list(self.server.extensions)
        if self.server.context and not self.secured:
            extensions.append("STARTTLS")
        if word == "HELO" or not extensions:
            return "250 " + self.server.name
        return "\n".join(["250-" + self.server.name] + ["250-" + e for e in extensions[:-1]] + ["250 " + extensions[-1]])

    def command(self, line):
        word = line.split(" ")[0].split(":")[0].upper()
        self.commands.append(line)
        default = {"EHLO": self.hello("EHLO"), "HELO": self.hello("HELO"), "MAIL": "250 2.1.0 ok", "RCPT": "250 2.1.5 ok",
                   "DATA": "354 go on", "RSET": "250 2.0.0 ok", "QUIT": "221 2.0.0 bye", "STARTTLS": "220 go on"}
        action = None
        for step in self.server.script:
            if step.startswith(word + " ") and step[len(word) + 1 :] in line:
                action = self.action(step)
        if word == "BDAT" and any(e == "CHUNKING" for e in self.server.extensions):
            if self.bdat(line) == 421:
                raise Over()
            return
        if word == "DATA" and not self.accepted:
            default["DATA"] = "554 5.5.1 no valid recipients"
        if word == "RCPT" and not self.mail:
            default["RCPT"] = "503 5.5.1 MAIL first"
        action = action or self.action(word) or default.get(word, "500 5.5.2 what?")
        code = self.play(action)
        self.after(word, line, code)

    def after(self, word, line, code):
        if word == "MAIL" and code == 250:
            self.mail = True
            self.sender, self.accepted = line.partition("<")[2].partition(">")[0], []
        elif word == "RCPT" and 250 <= code <= 252:
            self.accepted.append(line.partition("<")[2].partition(">")[0])
        elif word == "DATA" and code == 354:
            began = time.monotonic()
            message = Message(self.sender, self.accepted, self.body(), self.secured, began)
            self.server.received.append(message)
            action = self.action("END") or "250 2.0.0 ok: queued as A1"
            if accepts(action):  # noted before it is told, so that a test finds it when the client knows
                self.server.messages.append(message)
            self.play(action)
            self.accepted, self.mail = [], False
        elif word == "RSET":
            self.accepted, self.mail = [], False
        elif word == "STARTTLS" and code == 220:
            self.start_tls()
        elif word == "QUIT" or code == 421:
            raise Over()

    def run(self):
        try:
            if self.server.implicit:
                self.start_tls()
            code = self.play(self.action("GREETING", self.server.times) or "220 %s ESMTP" % self.server.name)
            if code == 421:
                raise Over()
            while True:
                self.command(self.line())
                self.answered += 1
        except Over:
            pass
        except OSError:
            pass
        self.ended = True
        self.sock.close()


class Server:
    def __init__(self, address="127.0.0.1", port=0, name="mx.hostile.example", extensions=EXTENSIONS, certificate=None, context=None, window=None, implicit=False, **script):
        """Without a port it takes a free one. `certificate`: (certificate file, key file): STARTTLS is offered; or, if `implicit`, TLS comes before the greeting. Steps with a blank in their name come as {"RCPT bob": ...} in `steps`.
        `window`: octets that may be under way to it, so that a client which is not read from notices soon."""
        self.script = dict(script.pop("steps", {}), **script)
        self.name, self.extensions, self.times = name, extensions, {}
        self.sessions, self.messages, self.received, self.cut_off = [], [], [], []
        self.context, self.implicit = context, implicit
        if certificate and not context:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(*certificate)
        listening = self.listen(address, port)
        if window:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        self.listener = Listener(listening, self.accept, together=False)
        self.address, self.port = address, self.listener.port

    def listen(self, address, port):
        return socket.create_server((address, port), family=socket.AF_INET6 if ":" in address else socket.AF_INET, backlog=1000)

    @property
    def via(self):
        """The way to it, for a route."""
        return "smtp:[%s]:%d" % (self.address, self.port)

    @property
    def commands(self):
        """Those of all sessions."""
        return [command for session in self.sessions for command in session.commands]

    def session(self, sock):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return Session(self, sock)

    def accept(self, sock):
        session = self.session(sock)
        self.sessions.append(session)
        threading.Thread(target=session.run, daemon=True).start()

    def close(self):
        self.listener.close()
        for session in self.sessions:
            try:
                session.sock.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()
