"""One conversation with an SMTP server: say this, expect that. What holds for every reply is looked at with every reply."""
import base64
import re
import socket
import ssl

REPLY_LINE_MOST = 512  # RFC 5321 4.5.3.1.5
PATIENCE = 60  # seconds, with a server on a busy machine


class Failed(Exception):
    """The server did not keep the rule."""


class Dialogue:
    """`server`: one of servers.py. `source`: the client's address; 127.0.0.1 may relay, every other is a stranger."""

    def __init__(self, server, source="127.0.0.2", port=None):
        self.server, self.source = server, source
        self.sock = socket.create_connection((server.address, port or server.port), PATIENCE, (source, 0))
        self.sock.settimeout(PATIENCE)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.pending, self.transcript, self.faults = b"", [], []
        self.extensions, self.statuses = {}, False
        self.greeting = self.hear("220 ", bare=True)

    def close(self):
        self.sock.close()

    # ---- what is said

    def send(self, octets):
        octets = octets.encode("latin-1") if isinstance(octets, str) else octets
        self.transcript.append("> %r" % octets[:200])
        self.sock.sendall(octets)

    def say(self, line, expect, postfix=None, why=None):
        """A command line without its line end, and the reply: a regular expression for the beginning of its last line. Where Postfix differs, what it
        says instead, and why it is right that we differ."""
        self.send((line.encode("latin-1") if isinstance(line, str) else line) + b"\r\n")
        return self.hear(expect, postfix, why, bare=re.match(r"(?i)(EHLO|HELO|LHLO)\b", line if isinstance(line, str) else "") is not None)

    def all(self, *steps):
        for step in steps:
            self.say(*step)

    # ---- what is heard

    def fill(self):
        try:
            octets = self.sock.recv(65536)
        except (TimeoutError, socket.timeout):
            raise Failed("no reply within %s seconds" % self.sock.gettimeout()) from None
        except OSError:
            octets = b""
        self.pending += octets
        return bool(octets)

    def line(self):
        while b"\n" not in self.pending:
            if not self.fill():
                raise Failed("the connection ended, behind %r" % self.pending)
        line, _, self.pending = self.pending.partition(b"\n")
        return line + b"\n"

    def reply(self):
        """All lines of one reply, without their ends, after a look at its form (RFC 5321 4.2)."""
        lines = []
        while True:
            line = self.line()
            self.transcript.append("< %r" % line[:200])
            if not re.fullmatch(rb"[2-5][0-5][0-9][ -][\t -~]*\r\n", line):
                raise Failed("not a reply line: %r" % line)
            if len(line) > REPLY_LINE_MOST:
                raise Failed("a reply line of %d octets" % len(line))
            lines.append(line[:-2].decode("ascii"))
            if lines[0][:3] != lines[-1][:3]:
                raise Failed("a reply with two codes: %r" % lines)
            if lines[-1][3] == " ":
                return lines

    def hear(self, expect, postfix=None, why=None, bare=False):
        """`bare`: the replies to connect, EHLO and HELO, which have no enhanced status (RFC 2034 3)."""
        lines = self.reply()
        self.look_at_status(lines, bare)
        theirs = self.server.name == "Postfix" and postfix is not None
        if postfix is not None and not why:
            raise Failed("a difference without a reason")
        if theirs and re.match(expect, lines[-1]):
            self.fault("Postfix does not differ: %r" % lines[-1])
        elif not re.match(postfix if theirs else expect, lines[-1]):
            self.fault("expected %r, heard %r" % (postfix if theirs else expect, lines[-1]))
        return lines

    def differs(self, why):
        """True for Postfix, where a whole step is left out for this reason."""
        return bool(why) and self.server.name == "Postfix"

    def fault(self, what):
        """Noted; the conversation goes on."""
        said = next((t for t in reversed(self.transcript) if t.startswith(">")), "")
        self.faults.append("%s behind %s" % (what, said[2:]))

    def look_at_status(self, lines, bare):
        if bare and re.match(r"[245]\d\d[ -][245]\.\d{1,3}\.\d{1,3} ", lines[0]):
            raise Failed("a status where there is none (RFC 2034 3): %r" % lines)
        if bare or not self.statuses or lines[0][0] == "3":
            return
        for line in lines:
            if not re.match(r"([245])\d\d[ -]\1\.\d{1,3}\.\d{1,3}( |$)", line):
                raise Failed("no enhanced status, or one of another class (RFC 2034 3): %r" % line)

    def hear_end(self):
        while self.fill():
            pass
        if self.pending:
            raise Failed("more was said before the connection ended: %r" % self.pending)

    def expect(self, truth, what):
        if not truth:
            raise Failed(what)

    # ---- what is said often

    def ehlo(self, name="client.example"):
        self.statuses = False
        lines = self.say("EHLO " + name, "250")
        self.extensions = {line[4:].split(" ")[0].upper(): line[4:].split(" ")[1:] for line in lines[1:]}
        self.statuses = "ENHANCEDSTATUSCODES" in self.extensions
        return lines

    def mail(self, sender="a@client.example", *recipients):
        self.say("MAIL FROM:<%s>" % sender, "250")
        for recipient in recipients or ("alice@local.example",):
            self.say("RCPT TO:<%s>" % recipient, "250")

    def text(self, octets, expect="250", postfix=None, why=None):
        """DATA and a text, which ends by itself."""
        self.say("DATA", "354")
        self.send(octets)
        return self.hear(expect, postfix, why)

    def starttls(self, context=None):
        self.say("STARTTLS", "220")
        self.secure(context)

    def secure(self, context=None):
        if not context:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        self.sock = context.wrap_socket(self.sock)
        self.statuses = False

    def secured(self):
        self.ehlo()
        self.starttls()
        self.ehlo()

    def again(self, source=None, port=None):
        """Another connection, which ends with this one."""
        other = Dialogue(self.server, source or self.source, port)
        self.transcript.append("-- another connection")
        other.transcript, other.faults = self.transcript, self.faults
        close, self.close = self.close, lambda: (other.close(), close())
        return other


def plain(user, password, identity=""):
    return base64.b64encode(("%s\0%s\0%s" % (identity, user, password)).encode()).decode()
