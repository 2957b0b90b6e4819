#!/usr/bin/python3
"""A full smtpd process: who waits goes for who comes, and what it needs to be so full is there or it does not start."""
import os
import socket
import subprocess
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from host import DOMAIN, Host, program, wait_for  # noqa: E402


def hear(sock):
    sock.settimeout(60)
    try:
        return sock.recv(4096).decode()
    except ConnectionError:
        return ""


def connect(host, address):
    sock = socket.create_connection(("127.0.0.1", host.port), source_address=(address, 0), timeout=60)
    return sock, hear(sock)


# Connections that are reset as soon as they were asked for, as many as go, until it is ended.
FLOOD = """import socket, struct, sys
while True:
    with socket.socket() as sock:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.connect_ex(("127.0.0.1", int(sys.argv[1])))
"""


class Shed(unittest.TestCase):
    def host(self, settings, **more):
        host = Host(settings="smtpd_processes = 1 " + settings, relay_from=(), **more)
        self.addCleanup(host.close)
        return host

    def test_who_waits_longest_makes_room(self):
        host = self.host("limit { sessions = 20 } smtpd { stress_timeout = 1m }").start()
        held = []
        for i in range(20):
            sock, greeting = connect(host, "127.0.%d.1" % i)
            self.assertEqual(greeting[:4], "220 ")
            sock.sendall(b"EHLO x\r\n")
            self.assertIn("250 ", hear(sock))
            held.append(sock)
        self.addCleanup(lambda: [sock.close() for sock in held])
        writer = held[0]
        writer.sendall(b"MAIL FROM:<x@client.example>\r\nRCPT TO:<alice@%s>\r\nDATA\r\n" % DOMAIN.encode())
        wait_for(lambda: "354 " in hear(writer))
        time.sleep(1.1)
        sock, greeting = connect(host, "127.1.0.1")
        self.assertEqual(greeting[:4], "220 ")
        self.assertIn("421 4.3.2 ", hear(held[1]))
        self.assertEqual(hear(held[1]), "")
        writer.sendall(b"Subject: in the middle\r\n\r\nx\r\n.\r\n")
        self.assertIn("250 2.0.0 ", hear(writer))
        host.wait_log(r"shed: client=\S*127\.0\.1\.1\S* .*reason=\"waited [1-9]\d* s\"")
        host.wait_log(r"stress begins: sessions=18 of 20")
        sock.close()

    def test_a_flood_does_not_keep_others_out_of_a_process_that_is_nearly_full(self):
        """It lets other processes take what comes first, and there is none: the line of the listener is emptied all the same."""
        greeted = []
        while len(greeted) < 3 and max(greeted, default=0) <= 10:  # the machine may stand still in one
            host = self.host("limit { sessions = 100 sessions_client = 1000 }").start()
            held = [connect(host, "127.0.%d.1" % i)[0] for i in range(95)]
            for sock in held:
                sock.sendall(b"EHLO x\r\n")
                self.assertIn("250 ", hear(sock))
            greeted.append(self.greeted_in_a_flood(host))
            for sock in held:
                sock.close()
            host.stop()
        self.assertGreater(greeted[-1], 10, greeted)

    def greeted_in_a_flood(self, host):
        """How many are, one after the other, in two seconds."""
        flood = subprocess.Popen([sys.executable, "-c", FLOOD, str(host.port)])
        self.addCleanup(flood.wait)
        self.addCleanup(flood.kill)
        time.sleep(0.5)
        count, end = 0, time.monotonic() + 2
        while time.monotonic() < end:
            sock, greeting = connect(host, "127.1.0.1")
            count += greeting.startswith("220 ")
            sock.sendall(b"QUIT\r\n")
            sock.close()
            time.sleep(0.01)
        flood.kill()
        return count

    def test_who_says_quit_and_stays_keeps_nobody_out(self):
        host = self.host("limit { sessions = 20 }").start()
        stay = []
        self.addCleanup(lambda: [sock.close() for sock in stay])
        for _ in range(100):
            sock, greeting = connect(host, "127.0.0.9")
            stay.append(sock)
            self.assertEqual(greeting[:4], "220 ")
            sock.sendall(b"QUIT\r\nNOOP\r\n")
            self.assertEqual(hear(sock)[:4], "221 ")

    def test_a_limit_without_descriptors_is_refused_in_words(self):
        host = self.host("limit { sessions = 10000 }")
        less = ["prlimit", "--nofile=5000:5000"]
        if os.geteuid() == 0:
            less = ["setpriv", "--bounding-set", "-sys_resource"] + less
        done = subprocess.run(less + [program("postino-master"), "-c", host.config, "-f"], capture_output=True, text=True, timeout=60)
        self.assertNotEqual(done.returncode, 0)
        self.assertRegex(done.stderr, r"limit \{ sessions = 10000 \} needs 125\d\d open files .* the hard limit is 5000: raise it")


if __name__ == "__main__":
    unittest.main()
