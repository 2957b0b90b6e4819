"""A name server that says what a script has it say, over UDP and TCP, and counts what it was asked.

    def script(asked):
        if asked.type == MX: return Reply(mx(asked.name, 10, "mx.example"))
    with NameServer(script) as server: ...  server.counts[("a.example", MX)], server.total()

A script gives a Reply, raw octets, a list of either (all are sent), or None: no answer. Names are text with \\DDD for any octet, as in a zone file.

A client whose patience ends asks over UDP once more. When its second question came some time after the first one, and before that was answered here (the kernel knows when,
also when this process was late), it is the same question: it gets the same answer, the script does not hear of it, and it does not count."""
import collections
import contextlib
import re
import selectors
import socket
import struct
import threading
import time

from host import free_port
from netns import SO_RCVBUFFORCE, SO_TIMESTAMPNS

A, NS, CNAME, SOA, PTR, MX, TXT, AAAA, DNAME, OPT, DS, TLSA = 1, 2, 5, 6, 12, 15, 16, 28, 39, 41, 43, 52
NOERROR, FORMERR, SERVFAIL, NXDOMAIN, REFUSED = 0, 1, 2, 3, 5
UDP_MOST = 1232
PATIENCE = 0.04  # seconds; that of libunbound is 0.05 at least

Asked = collections.namedtuple("Asked", "name type tcp id packet at")
Record = collections.namedtuple("Record", "owner type ttl data")


def labels(name):
    """The octets of a name."""
    out, label = b"", b""
    for part in re.findall(r"\\\d{3}|\\.|[^\\]", name.rstrip(".") if not name.endswith("\\.") else name):
        if part == ".":
            out, label = out + bytes([len(label)]) + label, b""
        else:
            label += bytes([int(part[1:])]) if len(part) == 4 else part[-1].encode("latin1")
    return out + (bytes([len(label)]) + label if label else b"") + b"\0"


def mx(owner, preference, host, ttl=60):
    return Record(owner, MX, ttl, struct.pack(">H", preference) + labels(host))


def a(owner, address="192.0.2.1", ttl=60):
    return Record(owner, A, ttl, socket.inet_aton(address))


def aaaa(owner, address="2001:db8::1", ttl=60):
    return Record(owner, AAAA, ttl, socket.inet_pton(socket.AF_INET6, address))


def cname(owner, target, ttl=60):
    return Record(owner, CNAME, ttl, labels(target))


def ns(owner, server, ttl=60):
    return Record(owner, NS, ttl, labels(server))


def soa(owner="example", ttl=60, minimum=60):
    return Record(owner, SOA, ttl, labels("ns." + owner) + labels("admin." + owner) + struct.pack(">IIIII", 1, 60, 60, 60, minimum))


class Reply:
    def __init__(self, *answers, rcode=NOERROR, authority=(), additional=(), flags=0x8480, counts=None, question=None, id=None):
        """`flags`: QR, AA and RA, unless told otherwise; `counts`, `question`, `id`: lies about them."""
        self.answers, self.rcode, self.authority, self.additional, self.flags = answers, rcode, authority, additional, flags
        self.counts, self.question, self.id = counts, question, id

    def octets(self, asked, most):
        question = self.question if self.question is not None else asked.packet[12 : question_end(asked.packet)]
        places, body = {}, b""

        def owner(name):
            """With a pointer to where the same stood before."""
            at = 12 + len(question) + len(body)
            if name in places:
                return struct.pack(">H", 0xC000 | places[name])
            if at < 0x3FFF:
                places[name] = at
            return labels(name)
        for r in tuple(self.answers) + tuple(self.authority) + tuple(self.additional):
            body += owner(r.owner) + struct.pack(">HHIH", r.type, 1, r.ttl & 0xFFFFFFFF, len(r.data)) + r.data
        counts = self.counts or (1, len(self.answers), len(self.authority), len(self.additional))
        flags = self.flags | self.rcode
        packet = struct.pack(">HHHHHH", asked.id if self.id is None else self.id, flags, *counts) + question + body
        if len(packet) > most:
            return struct.pack(">HHHHHH", asked.id, flags | 0x200, 1, 0, 0, 0) + question
        return packet


def question_end(packet):
    at = 12
    while packet[at]:
        at += packet[at] + 1
    return at + 5


def parse(packet, tcp, server=""):
    """`server`: the address that was asked."""
    at, name = 12, []
    while packet[at]:
        name.append("".join(chr(c) if re.match("[a-z0-9_-]", chr(c)) else "\\%03d" % c for c in packet[at + 1 : at + 1 + packet[at]].lower()))
        at += packet[at] + 1
    return Asked(".".join(name), struct.unpack(">H", packet[at + 1 : at + 3])[0], tcp, struct.unpack(">H", packet[:2])[0], packet, server)


class NameServer:
    def __init__(self, script, addresses=("127.0.0.1",), port=None):
        self.script, self.port, self.counts, self.tcp = script, port or free_port(), collections.Counter(), 0
        self.selector, self.lock, self.closing = selectors.DefaultSelector(), threading.Lock(), False
        self.sockets, self.connections, self.answered = [], [], {}
        self.open_connections = 0
        for tries in range(5):
            try:
                self.open(addresses)
                break
            except OSError:  # somebody sends from that port just now
                self.close_sockets()
                if port or tries == 4:
                    raise
                self.port = free_port()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def open(self, addresses):
        for address in addresses:
            udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            self.sockets.append(udp)
            with contextlib.suppress(PermissionError):
                udp.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 8 << 20)
            udp.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
            udp.bind((address, self.port))
            listener = socket.create_server((address, self.port), backlog=100)
            self.sockets.append(listener)
            self.selector.register(udp, selectors.EVENT_READ, self.datagram)
            self.selector.register(listener, selectors.EVENT_READ, self.connection)

    def close_sockets(self):
        for s in self.sockets:
            with contextlib.suppress(KeyError):
                self.selector.unregister(s)
            s.close()
        self.sockets = []

    def run(self):
        while not self.closing:
            for key, _ in self.selector.select(0.2):
                try:
                    key.data(key.fileobj)
                except OSError:
                    pass

    def replies(self, packet, tcp, server, came=None):
        """`came`: when, of a datagram."""
        try:
            asked = parse(packet, tcp, server)
        except (IndexError, struct.error):
            return []
        key = asked.name, asked.type, server
        before, when, said = self.answered.get(key, (0, 0, None)) if came else (0, 0, None)
        if not when or came > when or came < before + PATIENCE:
            with self.lock:
                self.counts[asked.name, asked.type] += 1
                self.tcp += tcp
            said = self.script(asked)
            said = [one for one in (said if isinstance(said, list) else [said]) if one is not None]
        out = [one.octets(asked, 65535 if tcp else UDP_MOST) if isinstance(one, Reply) else one for one in said]
        if came and out:
            self.answered[key] = came, time.time(), said
        return out

    def datagram(self, udp):
        packet, more, _, peer = udp.recvmsg(4096, 64)
        seconds, nanoseconds = struct.unpack("ll", next(octets for level, kind, octets in more if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS)))
        for octets in self.replies(packet, False, udp.getsockname()[0], seconds + nanoseconds / 1e9):
            udp.sendto(octets, peer)

    def connection(self, listener):
        sock, _ = listener.accept()
        self.connections.append(sock)
        threading.Thread(target=self.converse, args=(sock,), daemon=True).start()

    def converse(self, sock):
        with self.lock:
            self.open_connections += 1
        try:
            with sock, sock.makefile("rb") as stream:
                while True:
                    head = stream.read(2)
                    if len(head) < 2:
                        return
                    for octets in self.replies(stream.read(struct.unpack(">H", head)[0]), True, sock.getsockname()[0]):
                        sock.sendall(struct.pack(">H", len(octets)) + octets)
        except OSError:
            pass
        finally:
            with self.lock:
                self.open_connections -= 1

    def total(self):
        with self.lock:
            return sum(self.counts.values())

    def different(self):
        """How many questions there were that differ. Equal ones beyond that: over TCP again, or because an answer got lost."""
        with self.lock:
            return len(self.counts)

    def forget(self):
        with self.lock:
            self.counts.clear()
            self.tcp = 0

    def close(self):
        self.closing = True
        self.thread.join()
        for sock in self.sockets + self.connections:
            sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()
