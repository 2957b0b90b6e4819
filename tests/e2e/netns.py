"""Two network namespaces joined by a cable: `near` (where Postino runs) and `far` (a name server and next hosts), with addresses that no real network has
(RFC 5737, RFC 3849). Both are made for one test and removed after it."""
import contextlib
import ctypes
import os
import shutil
import socket
import struct
import subprocess
import tempfile
import threading
import time
import unittest

NEAR, NAME_SERVER = "192.0.2.1", "192.0.2.53"
FAR = ["192.0.2.%d" % n for n in range(2, 10)] + [NAME_SERVER]
FAR6 = ["2001:db8::%d" % n for n in range(2, 10)]


def run(*command):
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise AssertionError("%s: %s" % (" ".join(command), done.stderr.strip()))


CLONE_NEWNET = 0x40000000
SO_RCVBUFFORCE, SO_TIMESTAMPNS = 33, 35  # <asm-generic/socket.h>
ETHERTYPES = {0x0800: socket.AF_INET, 0x86DD: socket.AF_INET6}


needs_root = unittest.skipUnless(os.geteuid() == 0, "network namespaces need root")


def within(namespace):
    """The words before a command that is to run in a namespace; None: in this one."""
    return ["ip", "netns", "exec", namespace] if namespace else []


@contextlib.contextmanager
def inside(namespace):
    """Sockets that this thread makes are the namespace's, and stay there. None: this one."""
    if not namespace:
        yield
        return
    libc = ctypes.CDLL(None, use_errno=True)
    with open("/proc/thread-self/ns/net") as home, open("/run/netns/" + namespace) as away:
        if libc.setns(away.fileno(), CLONE_NEWNET) != 0:
            raise OSError(ctypes.get_errno(), "setns")
        try:
            yield
        finally:
            if libc.setns(home.fileno(), CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), "setns")


def first_segment(frame):
    """(destination, source port) of a frame that asks for a TCP connection, or None."""
    family = ETHERTYPES.get(struct.unpack("!H", frame[12:14])[0])
    if family is None:
        return None
    packet = frame[14:]
    header = (packet[0] & 15) * 4 if family == socket.AF_INET else 40
    if packet[9 if family == socket.AF_INET else 6] != socket.IPPROTO_TCP or packet[header + 13] & 0x12 != 0x02:
        return None
    destination = packet[16:20] if family == socket.AF_INET else packet[24:40]
    return socket.inet_ntop(family, destination), struct.unpack("!H", packet[header : header + 2])[0]


def offset():
    """What the clock of the kernel's times is ahead of the monotonic one; read anew when we stood still in between."""
    while True:
        before, now, after = time.monotonic(), time.time(), time.monotonic()
        if after - before < 0.001:
            return now - before


class Attempts:
    """The TCP connections that are asked for on a cable, as they come by: (address, seconds since clear()). A segment that is sent again is no new one. The time is the
    kernel's: this thread may come late."""

    def __init__(self, where):
        with inside(where):
            self.sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        self.sock.setsockopt(socket.SOL_SOCKET, SO_TIMESTAMPNS, 1)
        self.sock.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 64 << 20)  # whole messages come by while this thread has no processor
        self.sock.bind(("cable", 3))
        self.sock.settimeout(0.1)
        self.closing = False
        self.clear()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def clear(self):
        self.began, self.list, self.seen = time.monotonic(), [], set()

    def all_of(self, where):
        """Those that were asked for so far in `where`, at the other end: on the cable, ours comes behind them."""
        with inside(where), socket.socket() as sock:
            sock.bind(("", 0))
            ours = NAME_SERVER, sock.getsockname()[1]
            sock.connect_ex((NAME_SERVER, 1))
        end = time.monotonic() + 60
        while ours not in self.seen:
            assert time.monotonic() < end, "nothing comes by on the cable"
            time.sleep(0.01)
        return list(self.list)

    def run(self):
        while not self.closing:
            try:
                frame, more, _, link = self.sock.recvmsg(2048, 64)
            except TimeoutError:
                continue
            seconds, nanoseconds = struct.unpack("ll", next(octets for level, kind, octets in more if (level, kind) == (socket.SOL_SOCKET, SO_TIMESTAMPNS)))
            at = seconds + nanoseconds / 1e9 - offset()
            found = first_segment(frame) if link[2] != socket.PACKET_OUTGOING else None
            if found and found not in self.seen:
                self.seen.add(found)
                self.list.append((found[0], at - self.began))

    def close(self):
        self.closing = True
        self.thread.join()
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()


class Network:
    def __init__(self):
        self.near, self.far = ("postino-%d-%s" % (os.getpid(), side) for side in ("near", "far"))
        self.directory = tempfile.mkdtemp(prefix="postino-net-", dir="/var/tmp")
        os.chmod(self.directory, 0o755)
        self.processes = []

    def __enter__(self):
        try:
            for name in (self.near, self.far):
                run("ip", "netns", "add", name)
                run("ip", "-n", name, "link", "set", "lo", "up")
            # NSD 4.6.1 stops at an answer of which a stream takes but a part (it reads the next question into the rest): a stream here takes them whole.
            run(*within(self.far), "sysctl", "-q", "-w", "net.ipv4.tcp_wmem=4096 8388608 8388608")
            run("ip", "-n", self.near, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", self.far)
            self.address(self.near, NEAR + "/24")
            self.address(self.near, "2001:db8::1/64")
            for address in FAR:
                self.address(self.far, address + "/24")
            for address in FAR6:
                self.address(self.far, address + "/64")
            for name in (self.near, self.far):
                run("ip", "-n", name, "link", "set", "cable", "up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def address(self, name, address):
        run("ip", "-n", name, "address", "add", address, "dev", "cable", *(["nodad"] if ":" in address else []))

    def route(self, network):
        """To near, that is behind the cable; addresses of it may be added at the far end."""
        run("ip", "-n", self.near, "route", "add", network, "dev", "cable")

    def __exit__(self, *exception):
        for process in self.processes:
            process.terminate()
        for process in self.processes:
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
        for name in (self.near, self.far):
            subprocess.run(["ip", "netns", "delete", name], capture_output=True)
        shutil.rmtree(self.directory, ignore_errors=True)

    def listen(self, address, port):
        """A TCP listener at the far end."""
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        with inside(self.far):
            return socket.create_server((address, port), family=family, backlog=1000)

    def silence(self, address, silent=True):
        """What near sends to that address gets lost, without a word; or no longer."""
        words = ["lladdr", "02:00:00:00:00:99", "dev", "cable", "nud", "permanent"] if silent else ["dev", "cable"]
        run("ip", "-n", self.near, "neighbour", "replace" if silent else "delete", address, *words)

    def start(self, *command, where=None, **more):
        process = subprocess.Popen(within(where or self.far) + list(command), stdin=subprocess.DEVNULL, **more)
        self.processes.append(process)
        return process

    def nsd(self, directory, zones, addresses):
        """NSD, authoritative for {"example": file}, with its own files in a directory; other names it refuses."""
        lines = ["server:", *("  ip-address: %s" % address for address in addresses), "  username: \"\"", "  zonesdir: \"%s\"" % directory, "  database: \"\"",
                 "  pidfile: \"\"", "  xfrdfile: \"%s/xfrd\"" % directory, "  zonelistfile: \"%s/zonelist\"" % directory, "  server-count: 1", "  rrl-ratelimit: 0",
                 "remote-control:", "  control-enable: no"]
        for name, path in zones.items():
            lines += ["zone:", "  name: \"%s\"" % name, "  zonefile: \"%s\"" % path]
        config, said = os.path.join(directory, "nsd.conf"), os.path.join(directory, "nsd.log")
        with open(config, "w", encoding="ascii") as f:
            f.write("\n".join(lines) + "\n")
        with open(said, "w", encoding="ascii") as log:
            process = self.start("nsd", "-d", "-c", config, stdout=log, stderr=log)
        end = time.monotonic() + 60
        while True:
            with open(said, encoding="ascii", errors="replace") as f:
                text = f.read()
            if "error" in text or process.poll() is not None or time.monotonic() > end:
                raise AssertionError("nsd did not start: " + text)
            if "started" in text:
                return process
            time.sleep(0.05)
