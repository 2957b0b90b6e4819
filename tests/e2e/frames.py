"""The frames that Postino's programs exchange, read from common/messages.def.

    channel, theirs = pair()                             or Channel(a socket)
    channel.send("RESOLVE", request=7, name="a.example", want=RESOLVE_MX)
    answer = channel.receive(timeout=5)                  Message: .type, .request, .fd, and its fields: answer.verdict, answer.hosts[0].name

encode() and decode_at() work on bytes alone, for tests that send broken ones. Texts are str (UTF-8, surrogateescape), bytes are bytes, a list is a
list of Records. The enums of common/messages.h are constants of this module (RESOLVE_MX, VERDICT_FAILED ...).
"""

import array
import contextlib
import os
import re
import select
import socket
import struct
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
HEADER = struct.Struct("<IHHI")
FLAG_DESCRIPTOR = 1
INTEGERS = {"u16": "<H", "u32": "<I", "u64": "<Q"}


class FrameError(Exception):
    pass


class Record:
    """A bag of named fields, comparable, for records and messages alike."""

    def __init__(self, **fields):
        self.__dict__.update(fields)

    def __eq__(self, other):
        return isinstance(other, Record) and self.__dict__ == other.__dict__

    def __repr__(self):
        return "%s(%s)" % (type(self).__name__, ", ".join("%s=%r" % item for item in self.__dict__.items()))


class Message(Record):
    """One frame: its type ("RESOLVE"), request id, descriptor, and the fields as attributes or as message["field"]."""

    def __init__(self, type_name, request, fd, fields):
        super().__init__()
        self.type, self.request, self.fd, self.fields = type_name, request, fd, fields

    def __getitem__(self, field):
        return self.fields[field]

    def __getattr__(self, field):
        try:
            return self.__dict__["fields"][field]
        except KeyError:
            raise AttributeError(field) from None


def _read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8") as file:
        text = file.read()
    text = re.sub(r"/\*.*?\*/", " ", text, flags=re.S)
    return text.replace("\\\n", " ")


def _load():
    text = _read("common/messages.def")
    fields = {}
    for name, body in re.findall(r"^#define\s+((?:FIELDS|RECORD)_\w+)\([^)]*\)(.*)$", text, flags=re.M):
        fields[name] = [tuple(part) for part in re.findall(r"([FL])\(\s*(\w+)\s*,\s*(\w+)\s*\)", body)]
    records = {name: fields["RECORD_" + name] for name in re.findall(r"^RECORD\((\w+)\)", text, flags=re.M)}
    messages = {}
    for name, number, edge, side, flags in re.findall(r"^MESSAGE\((\w+),\s*\w+,\s*(\d+),\s*(\w+),\s*(\w+),\s*([\w| ]+)\)", text, flags=re.M):
        messages[name] = Record(name=name, number=int(number), edge=edge, side=side.lower(), flags=flags, fields=fields["FIELDS_" + name])
    return records, messages


def _load_constants():
    constants = {}
    for body in re.findall(r"^enum \w+ \{([^}#]*)\}", _read("common/messages.h"), flags=re.M):
        value = -1
        for part in filter(None, (p.strip() for p in body.split(","))):
            name, _, given = part.partition("=")
            value = int(given, 0) if given else value + 1
            constants[name.strip()] = value
    return constants


RECORDS, MESSAGES = _load()
BY_NUMBER = {message.number: message for message in MESSAGES.values()}
globals().update(_load_constants())


def _text(value):
    return value if isinstance(value, (bytes, bytearray)) else str(value).encode("utf-8", "surrogateescape")


def _encode_fields(fields, values, where):
    out, values = bytearray(), dict(values)
    for kind, type_name, name in fields:
        if kind == "L":
            items = values.pop(name, [])
            body = b"".join(_encode_fields(RECORDS[type_name], getattr(i, "__dict__", i), type_name) for i in items)
            out += struct.pack("<II", len(items), len(body)) + body
        elif type_name in INTEGERS:
            out += struct.pack(INTEGERS[type_name], values.pop(name, 0))
        else:
            octets = _text(values.pop(name, b""))
            out += struct.pack("<I", len(octets)) + octets
    if values:
        raise FrameError("%s has no field %s" % (where, ", ".join(values)))
    return bytes(out)


def encode(type_name, request=0, descriptor=False, /, **fields):
    """The whole frame. Fields that are not given are 0, "" or empty."""
    message = MESSAGES[type_name]
    body = _encode_fields(message.fields, fields, type_name)
    return HEADER.pack(len(body), message.number, FLAG_DESCRIPTOR if descriptor else 0, request) + body


class _Reader:
    def __init__(self, octets):
        self.octets, self.at = octets, 0

    def take(self, n):
        if n > len(self.octets) - self.at:
            raise FrameError("a field is longer than its frame")
        self.at += n
        return self.octets[self.at - n : self.at]

    def integer(self, form):
        return struct.unpack(form, self.take(struct.calcsize(form)))[0]

    def fields(self, fields):
        return {name: self.field(kind, type_name) for kind, type_name, name in fields}

    def field(self, kind, type_name):
        if kind == "L":
            count, length = self.integer("<I"), self.integer("<I")
            inner = _Reader(self.take(length))
            items = [Record(**inner.fields(RECORDS[type_name])) for _ in range(count)]
            if inner.at != length:
                raise FrameError("octets behind the last record")
            return items
        if type_name in INTEGERS:
            return self.integer(INTEGERS[type_name])
        octets = self.take(self.integer("<I"))
        return bytes(octets) if type_name == "bytes" else bytes(octets).decode("utf-8", "surrogateescape")


def decode_at(octets):
    """(Message, octets used), or None when the frame is not whole yet. The message's fd is True when a descriptor travels with it."""
    if len(octets) < HEADER.size:
        return None
    length, number, flags, request = HEADER.unpack_from(octets)
    if len(octets) < HEADER.size + length:
        return None
    if number not in BY_NUMBER:
        raise FrameError("no message has number %d" % number)
    message = BY_NUMBER[number]
    reader = _Reader(memoryview(octets)[HEADER.size : HEADER.size + length])
    fields = reader.fields(message.fields)
    if reader.at != length:
        raise FrameError("%s: octets behind the last field" % message.name)
    return Message(message.name, request, bool(flags & FLAG_DESCRIPTOR) or None, fields), HEADER.size + length


class Closed(Exception):
    """The other side hung up."""


class Channel:
    """One end of an edge, blocking. `fileno()` makes it usable with select."""

    def __init__(self, sock):
        self.sock, self.pending, self.descriptors, self.last = sock, bytearray(), [], 0
        self.readers, self.left, self.closing = 0, threading.Condition(), False

    def fileno(self):
        return self.sock.fileno()

    def close(self):
        """Not before a thread that waits in receive() has left: its select() would hold what gets the descriptor's number next. If that is the end of a pipe, who waits
        for the pipe's end (subprocess does, at each start) waits for ever."""
        with self.left:
            self.closing = True
            with contextlib.suppress(OSError):
                self.sock.shutdown(socket.SHUT_RDWR)
            self.left.wait_for(lambda: self.readers == 0)
            self.sock.close()

    @contextlib.contextmanager
    def _reading(self):
        with self.left:
            if self.closing:
                raise Closed()
            self.readers += 1
        try:
            yield
        finally:
            with self.left:
                self.readers -= 1
                self.left.notify_all()

    def send(self, type_name, /, request=None, fd=None, **fields):
        """Sends one message, with a descriptor if `fd` is given (the caller keeps its own). Returns the request id, a new one if none is given."""
        if request is None:
            self.last += 1
            request = self.last
        self.send_raw(encode(type_name, request, fd is not None, **fields), fd)
        return request

    def send_raw(self, octets, fd=None):
        octets = bytes(octets)
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [fd]))] if fd is not None else []
        sent = self.sock.sendmsg([octets], rights)
        if sent < len(octets):
            self.sock.sendall(octets[sent:])

    def _fill(self, deadline):
        wait = None if deadline is None else max(0, deadline - time.monotonic())
        if not select.select([self.sock], [], [], wait)[0]:
            raise TimeoutError("no frame came")
        octets, rights, _, _ = self.sock.recvmsg(1 << 18, socket.CMSG_SPACE(64 * 4))
        for level, kind, data in rights:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                got = array.array("i")
                got.frombytes(data[: len(data) - len(data) % got.itemsize])
                self.descriptors.extend(got)
        if not octets:
            raise Closed()
        self.pending += octets

    def receive(self, timeout=30):
        """The next Message. TimeoutError or Closed when there is none."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            got = decode_at(self.pending)
            if got:
                message, used = got
                del self.pending[:used]
                message.fd = self.descriptors.pop(0) if message.fd else None
                return message
            with self._reading():
                self._fill(deadline)

    def ask(self, type_name, /, timeout=30, **fields):
        """Sends a question and waits for its answer. Other answers that come meanwhile are an error."""
        request = self.send(type_name, **fields)
        answer = self.receive(timeout)
        if answer.request != request:
            raise FrameError("answer %d to question %d" % (answer.request, request))
        return answer


def pair():
    """Two connected ends: a Channel for us, a socket for a program."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    return Channel(ours), theirs
