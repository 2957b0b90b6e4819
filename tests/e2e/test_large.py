"""A message of 100 MiB on its whole way, to another host and to a mailbox: byte for byte, and through programs that never hold more than a piece of it."""
import hashlib
import os
import re
import socket
import sys
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from host import Host, wait_for  # noqa: E402
from listening import Listener

LINE = b"%08d " + b"abcdefghij" * 6 + b"\r\n"
LINES = 100 * 1024 * 1024 // len(LINE % 0)
MIB = 1024 * 1024


class Sink:
    """A next host that takes one message, and keeps its digest."""

    def __init__(self, chunking):
        self.chunking, self.by = chunking, None
        self.digest, self.octets = None, 0
        self.listener = Listener(socket.create_server(("127.0.0.1", 0)), self.serve)
        self.port = self.listener.port

    def serve(self, sock):
        f = sock.makefile("rwb")

        def say(words):
            f.write(words + b"\r\n")
            f.flush()
        say(b"220 sink.example")
        for line in f:
            self.by = line[:4] if line[:4] in (b"DATA", b"BDAT") else self.by
            if line.startswith(b"EHLO") and self.chunking:
                say(b"250-sink.example\r\n250-PIPELINING\r\n250 CHUNKING")
            elif line.startswith(b"BDAT"):
                self.take_chunk(f, int(line.split()[1]))
                say(b"250 2.0.0 taken")
            elif line.upper().startswith(b"DATA"):
                say(b"354 go on")
                self.take(f)
                say(b"250 2.0.0 taken")
            else:
                say(b"250 ok")

    def take(self, f):
        digest, header = hashlib.sha256(), True
        for line in iter(f.readline, b".\r\n"):
            if not header:
                digest.update(line[1:] if line.startswith(b".") else line)
                self.octets += len(line)
            header = header and line != b"\r\n"
        self.digest = digest.hexdigest()

    def take_chunk(self, f, size):
        digest = hashlib.sha256()
        for line in iter(f.readline, b"\r\n"):
            size -= len(line)
        size -= 2
        while self.octets < size:
            piece = f.read(min(MIB, size - self.octets))
            digest.update(piece)
            self.octets += len(piece)
        self.digest = digest.hexdigest()


def by_data(smtp, text):
    smtp.sendmail("large@local.example", ["x@elsewhere.example", "alice@local.example"], text)


def by_chunks(smtp, text):
    """Of a MiB each, and a last one of nothing."""
    smtp.ehlo()
    smtp.mail("large@local.example")
    for recipient in "x@elsewhere.example", "alice@local.example":
        smtp.rcpt(recipient)
    for at in range(0, len(text), MIB):
        chunk = text[at : at + MIB]
        smtp.sock.sendall(b"BDAT %d\r\n" % len(chunk) + chunk)
        assert smtp.getreply()[0] == 250
    smtp.sock.sendall(b"BDAT 0 LAST\r\n")
    assert smtp.getreply()[0] == 250


def peak(pid):
    with open("/proc/%d/status" % pid) as f:
        return int(re.search(r"^VmHWM:\s+(\d+) kB", f.read(), re.M).group(1)) / 1024


class Large(unittest.TestCase):
    def test_a_hundred_MiB_stream_through(self):
        self.stream(by_data, chunking=False)

    def test_a_hundred_MiB_in_chunks(self):
        self.stream(by_chunks, chunking=True)

    def stream(self, send, chunking):
        body = b"".join(LINE % i for i in range(LINES))
        digest = hashlib.sha256(body).hexdigest()
        sink = Sink(chunking)
        self.addCleanup(sink.listener.close)
        with Host(routes={"*": "smtp:[127.0.0.1]:%d" % sink.port}, settings="limit { message_size = 200M } smtpd_processes = 1") as host:
            before = {name: peak(host.pid_of(name)) for name in ("smtpd", "qmgr", "remote", "local")}
            with host.smtp(timeout=300) as smtp:
                send(smtp, b"Subject: large\r\n\r\n" + body)
            wait_for(lambda: sink.digest, 180)
            wait_for(lambda: host.messages("alice"), 180)
            wait_for(host.queue_is_empty, 60)
            grown = {name: peak(host.pid_of(name)) - before[name] for name in before}
            self.assertEqual(sink.by, b"BDAT" if chunking else b"DATA")
            print("    peak memory of a message of 100 MiB by %s: " % sink.by.decode() + ", ".join("%s +%.1f MiB" % item for item in grown.items()))
            self.assertEqual((sink.octets, sink.digest), (len(body), digest))
            kept = host.messages("alice")[0]
            self.assertEqual(hashlib.sha256(kept[kept.index(b"\n\n") + 2:].replace(b"\n", b"\r\n")).hexdigest(), digest)
            for name, mib in grown.items():
                self.assertLess(mib, 8, "%s: %s" % (name, grown))


if __name__ == "__main__":
    unittest.main(verbosity=2)
