"""An HTTPS server on port 443 that answers as told, and keeps what it was asked: for policies (RFC 8461) and reports (RFC 8460). It is a process of its own, in a namespace.

    https = world.https(made.sign("mta-sts.a.example"))
    https.policy("a.example", "version: STSv1...")       https.answers("rua.example", b"HTTP/1.1 503 No\\r\\n..." or HANG)
    ... https.requests()
"""
import contextlib
import os
import select
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time

HANG = b"hang"
TAKEN = b"HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n"


class Https:
    """`where`: words before its command. A host for which nothing was told answers that it has taken what came."""

    def __init__(self, certificate, where=()):
        self.rest = tempfile.TemporaryDirectory(prefix="postino-test-", dir="/var/tmp")
        self.directory = self.rest.name
        self.process = subprocess.Popen([*where, sys.executable, os.path.abspath(__file__), self.directory, *certificate], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                        stderr=subprocess.DEVNULL)
        if self.process.stdout.readline() != b"ready\n":
            self.close()
            raise AssertionError("the HTTPS server did not start")

    def path(self, *names):
        return os.path.join(self.directory, *names)

    def answers(self, host, octets=None):
        """None: as if nothing had been told."""
        if octets is None:
            os.unlink(self.path("answer." + host))
            return
        with open(self.path("new"), "wb") as f:
            f.write(octets)
        os.rename(self.path("new"), self.path("answer." + host))

    def policy(self, domain, text):
        text = text.encode()
        self.answers("mta-sts." + domain, b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text))

    def requests(self):
        """(head, body) of each, in order."""
        found = []
        for name in sorted(n for n in os.listdir(self.directory) if n.startswith("request.")):
            with open(self.path(name), "rb") as f:
                head, body = f.read().split(b"\r\n\r\n", 1)
            found.append((head.decode(), body))
        return found

    def forget(self):
        """What it was told, and asked, also by who is gone but was not heard yet."""
        self.process.stdin.write(b"quiet?\n")
        self.process.stdin.flush()
        if self.process.stdout.readline() != b"quiet\n":
            raise AssertionError("the HTTPS server ended")
        for name in os.listdir(self.directory):
            with contextlib.suppress(FileNotFoundError):
                os.unlink(self.path(name))

    def close(self):
        self.process.terminate()
        self.process.wait(60)
        self.process.stdin.close()
        self.process.stdout.close()
        self.rest.cleanup()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()


# ---- the process


class Requests:
    """Puts down each, whole or not at all."""

    def __init__(self, directory):
        self.directory, self.lock, self.count = directory, threading.Lock(), 0

    def add(self, octets):
        with self.lock:
            self.count += 1
            new = os.path.join(self.directory, "new.%04d" % self.count)
            with open(new, "wb") as f:
                f.write(octets)
            os.rename(new, os.path.join(self.directory, "request.%04d" % self.count))


def receive(sock):
    """A request; and for which host."""
    octets = b""
    while b"\r\n\r\n" not in octets:
        octets += sock.recv(65536) or sys.exit()
    head, body = octets.split(b"\r\n\r\n", 1)
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head.decode().split("\r\n")[1:])}
    while len(body) < int(fields.get("content-length", 0)):
        body += sock.recv(65536) or sys.exit()
    return head + b"\r\n\r\n" + body, fields["host"]


def serve(plain, context, requests):
    try:
        with context.wrap_socket(plain, server_side=True) as sock:
            octets, host = receive(sock)
            requests.add(octets)
            path = os.path.join(requests.directory, "answer." + host)
            answer = TAKEN
            if os.path.exists(path):
                with open(path, "rb") as f:
                    answer = f.read()
            if answer == HANG:
                sock.recv(1)
            sock.sendall(answer)
    except OSError:
        pass


class Conversations:
    def __init__(self, listening, take):
        self.listening, self.take, self.lock, self.threads = listening, take, threading.Lock(), []

    def accept(self):
        select.select([self.listening], [], [])
        with self.lock:
            self.threads = [t for t in self.threads if t.is_alive()] + [threading.Thread(target=self.take, args=(self.listening.accept()[0],), daemon=True)]
            self.threads[-1].start()

    def quiet(self):
        """Nobody waits to be accepted, and all who were are over."""
        with self.lock:
            return not select.select([self.listening], [], [], 0)[0] and not any(t.is_alive() for t in self.threads)

    def answer(self):
        while sys.stdin.readline():
            while not self.quiet():
                time.sleep(0.005)
            print("quiet", flush=True)


def main(directory, chain, key):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    requests = Requests(directory)
    with socket.create_server(("::", 443), family=socket.AF_INET6, dualstack_ipv6=True, backlog=100) as listening:
        conversations = Conversations(listening, lambda sock: serve(sock, context, requests))
        threading.Thread(target=conversations.answer, daemon=True).start()
        print("ready", flush=True)
        while True:
            conversations.accept()


if __name__ == "__main__":
    main(*sys.argv[1:])
