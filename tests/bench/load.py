"""What smtp-source can't do: sessions that do nothing, and one message at a time with a clock at both ends."""
import os
import resource
import select
import socket
import ssl
import struct
import threading
import time


def allow_descriptors():
    """For us and for the programs that we start: all that the host allows."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def reply(sock):
    """One whole reply, or an error when it is no success."""
    got = b""
    while True:
        piece = sock.recv(4096)
        got += piece
        if not piece:
            raise ConnectionError("closed after %r" % got)
        lines = got.split(b"\r\n")
        if got.endswith(b"\r\n") and lines[-2][3:4] == b" ":
            break
    if got[:1] not in b"23":
        raise ConnectionError("refused: %r" % got)
    return got


def ask(sock, line):
    sock.sendall(line)
    return reply(sock)


def open_session(port, context=None):
    sock = socket.create_connection(("127.0.0.1", port), timeout=60)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    reply(sock)
    ask(sock, b"EHLO client.example\r\n")
    if context:
        ask(sock, b"STARTTLS\r\n")
        sock = context.wrap_socket(sock)
        ask(sock, b"EHLO client.example\r\n")
    return sock


class Idle:
    """Sessions that have said EHLO (over TLS, if asked) and nothing more."""

    def __init__(self, port, tls):
        self.port, self.sessions = port, []
        self.context = ssl._create_unverified_context() if tls else None

    def grow(self, to, seconds=60):
        end = time.monotonic() + seconds
        while len(self.sessions) < to:
            if time.monotonic() > end:
                raise TimeoutError("no more within %d seconds" % seconds)
            self.sessions.append(open_session(self.port, self.context))

    def close(self):
        for sock in self.sessions:
            sock.close()
        self.sessions = []


def _take_mail(sock, clock):
    file = sock.makefile("rb")
    sock.sendall(b"220 latency.example ESMTP\r\n")
    for line in file:
        verb = line[:4].upper()
        if verb == b"DATA":
            sock.sendall(b"354 go on\r\n")
            for text in file:
                if text == b".\r\n":
                    break
            os.write(clock, struct.pack("q", time.monotonic_ns()))
            sock.sendall(b"250 2.0.0 taken\r\n")
        elif verb == b"EHLO":
            sock.sendall(b"250-latency.example\r\n250-PIPELINING\r\n250 8BITMIME\r\n")
        elif verb == b"QUIT":
            sock.sendall(b"221 bye\r\n")
            break
        else:
            sock.sendall(b"250 2.0.0 yes\r\n")
    sock.close()


class LatencySink:
    """An SMTP host in a process of its own, which says when each message was complete."""

    def __init__(self):
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        self.port = listener.getsockname()[1]
        self.clock, write = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            os.close(self.clock)
            try:
                while True:
                    sock, _ = listener.accept()
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    threading.Thread(target=_take_mail, args=(sock, write), daemon=True).start()
            finally:
                os._exit(0)
        listener.close()
        os.close(write)

    def stop(self):
        os.kill(self.pid, 15)
        os.waitpid(self.pid, 0)
        os.close(self.clock)


def latencies(port, sink, count, seconds=4, size=4096, pause=0.02):
    """Milliseconds from our end of data to the sink's, one message at a time over one session. Fewer than `count` after so
    many seconds."""
    took, end = [], time.monotonic() + seconds
    sock = open_session(port)
    body = (b"Subject: latency\r\n\r\n" + (b"x" * 70 + b"\r\n") * (size // 72))
    while len(took) < count and time.monotonic() < end:
        ask(sock, b"MAIL FROM:<a@client.example>\r\n")
        ask(sock, b"RCPT TO:<x@latency.example>\r\n")
        ask(sock, b"DATA\r\n")
        sock.sendall(body)
        time.sleep(pause)
        began = time.monotonic_ns()
        ask(sock, b".\r\n")
        took.append((_next_time(sink) - began) / 1e6)
        time.sleep(pause)
    ask(sock, b"QUIT\r\n")
    sock.close()
    return took


def _next_time(sink):

    if not select.select([sink.clock], [], [], 15)[0]:
        raise TimeoutError("the message did not arrive within 15 seconds")
    return struct.unpack("q", os.read(sink.clock, 8))[0]
