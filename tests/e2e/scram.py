"""A SASL client on an SMTP session, written for tests: it can say what no client should. SCRAM-SHA-256 from RFC 5802 and 7677 alone."""
import base64
import functools
import hashlib
import hmac
import os
import smtplib
import ssl


def b64(octets):
    return base64.b64encode(octets).decode()


class Session(smtplib.SMTP):
    """Over TLS, behind EHLO; `version` is the one TLS version to use, `source` our address, `resume` a TLS session of before."""

    def __init__(self, host, port=None, version=None, source=None, options=0, resume=None):
        super().__init__("127.0.0.1", port or host.submission_port, timeout=60, source_address=(source, 0) if source else None)
        context = host.tls_context()
        if version:
            context.minimum_version = context.maximum_version = version
        context.options |= options
        if resume:
            context.wrap_socket = functools.partial(context.wrap_socket, session=resume)
        self.starttls(context=context)
        self.ehlo("client.example")

    def mechanisms(self):
        return self.esmtp_features.get("auth", "").split()

    def say(self, line):
        code, text = self.docmd(line)
        return code, text.decode()

    def answer(self, octets):
        return self.say(b64(octets))

    def plain(self, user, password):
        return self.say("AUTH PLAIN " + b64(("\0%s\0%s" % (user, password)).encode()))[0]

    def login_mechanism(self, user, password):
        code, text = self.say("AUTH LOGIN")
        if (code, base64.b64decode(text)) != (334, b"Username:"):
            return code
        code, text = self.answer(user.encode())
        if (code, base64.b64decode(text)) != (334, b"Password:"):
            return code
        return self.answer(password.encode())[0]


class Scram:
    """One exchange. Each step returns (code, text); what is sent can be changed on the way by `first`, `final`."""

    def __init__(self, session, user, password, header="n,,", binding=b"", mechanism="SCRAM-SHA-256"):
        self.session, self.password, self.header, self.binding, self.mechanism = session, password, header, binding, mechanism
        self.bare = "n=%s,r=%s" % (user.replace("=", "=3D").replace(",", "=2C"), b64(os.urandom(18)))

    def first(self, text=None):
        self.code, text = self.session.say("AUTH %s %s" % (self.mechanism, b64((text or self.header + self.bare).encode())))
        if self.code == 334:
            self.server_first = base64.b64decode(text).decode()
            self.fields = dict(f.split("=", 1) for f in self.server_first.split(","))
        return self.code, text

    def make_final(self):
        salted = hashlib.pbkdf2_hmac("sha256", self.password.encode(), base64.b64decode(self.fields["s"]), int(self.fields["i"]))
        client = hmac.digest(salted, b"Client Key", "sha256")
        without = "c=%s,r=%s" % (b64(self.header.encode() + self.binding), self.fields["r"])
        said = ",".join((self.bare, self.server_first, without)).encode()
        signature = hmac.digest(hashlib.sha256(client).digest(), said, "sha256")
        self.expected = "v=" + b64(hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), said, "sha256"))
        return without + ",p=" + b64(bytes(a ^ b for a, b in zip(client, signature)))

    def final(self, text=None):
        self.code, text = self.session.answer((text or self.make_final()).encode())
        self.verified = self.code == 334 and base64.b64decode(text).decode() == self.expected
        return self.code, text

    def run(self):
        """The code that it ends with; 235 only from a server that has proved to know the password too."""
        if self.first()[0] != 334 or self.final()[0] != 334:
            return self.code
        assert self.verified, "the server's signature is wrong"
        return self.session.say("")[0]


def tls_unique(session):
    return session.sock.get_channel_binding("tls-unique")


NO_EXTENDED_MASTER_SECRET = 1  # OpenSSL: SSL_OP_NO_EXTENDED_MASTER_SECRET
TLS12, TLS13 = ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3
