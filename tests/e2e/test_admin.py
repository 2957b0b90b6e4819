"""The socket "queue": who may have how much of it. Users who are no administrators are this test's children, with other uids."""
import os
import subprocess
import sys
import time
import unittest

from host import DOMAIN, Host, free_port, wait_for

HERE = os.path.dirname(os.path.abspath(__file__))
CONNECT = """
import socket, sys, time
sys.path.insert(0, %r)
import frames

def connect():
    sock = socket.socket(socket.AF_UNIX)
    sock.connect(sys.argv[1])
    return frames.Channel(sock)
""" % HERE
COUNT = CONNECT + """
channels, answered = [connect() for _ in range(int(sys.argv[2]))], 0
for channel in channels:
    try:
        channel.ask("LIST")
        answered += 1
    except (frames.Closed, OSError):
        pass
print(answered, flush=True)
sys.stdin.read()
"""
FLOOD = CONNECT + """
def exactly(sock, n):
    octets = b""
    while len(octets) < n:  # MSG_WAITALL gives less to who was stopped meanwhile
        octets += sock.recv(n - len(octets)) or sys.exit("qmgr hung up")
    return octets

question = frames.encode("LIST", 1)
socks, end, pages = [connect().sock for _ in range(4)], time.monotonic() + float(sys.argv[2]), 0
for sock in socks:
    sock.sendall(question)
while time.monotonic() < end:
    for sock in socks:
        exactly(sock, frames.HEADER.unpack(exactly(sock, frames.HEADER.size))[0])
        pages += 1
        sock.sendall(question)
print(pages)
"""
TWICE = CONNECT + """
channel = connect()
channel.send_raw(frames.encode("LIST", 1) + frames.encode("LIST", 2))
try:
    channel.receive(60)
    channel.receive(60)
except frames.Closed:
    print("closed")
"""


@unittest.skipUnless(os.geteuid() == 0, "to be other users takes root")
class Admin(unittest.TestCase):
    def setUp(self):
        self.host = Host(routes={"*": "smtp:[127.0.0.1]:%d" % free_port()}, settings="queue { retry_first = 1h }").__enter__()
        self.addCleanup(self.host.__exit__, None, None, None)
        self.socket = self.host.path("run/queue")

    def child(self, uid, script, *arguments):
        child = subprocess.Popen(["/usr/bin/python3", "-c", script, self.socket] + [str(a) for a in arguments], user=uid, group=uid, extra_groups=[],
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=sys.stderr, text=True, cwd="/")
        self.addCleanup(child.communicate)
        return child

    def send(self, count):
        with self.host.smtp() as client:
            client.ehlo()
            for _ in range(count):
                client.sendmail("alice@" + DOMAIN, ["%d@elsewhere.example" % n for n in range(100)], b"Subject: x\r\n\r\nx\r\n")

    def cpu(self):
        with open("/proc/%d/stat" % self.host.pid_of("qmgr"), encoding="ascii") as f:
            fields = f.read().rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rests(self):
        """what it had to do is done"""
        before = self.cpu()
        time.sleep(0.5)
        return self.cpu() == before

    def test_a_user_has_four_connections(self):
        first, second = self.child(65533, COUNT, 8), self.child(65532, COUNT, 3)
        self.assertEqual([first.stdout.readline(), second.stdout.readline()], ["4\n", "3\n"])
        root = self.child(0, COUNT, 20)
        self.assertEqual(root.stdout.readline(), "20\n")
        first.communicate()

        def has_four_again():
            """its connections of before are gone, and it has four others"""
            again = self.child(65533, COUNT, 4)
            return again.communicate()[0] == "4\n"
        wait_for(has_four_again)

    def test_a_client_has_one_question_at_a_time(self):
        self.assertEqual(self.child(65533, TWICE).stdout.readline(), "closed\n")

    def test_those_who_list_all_the_time_take_a_fifth_of_its_time(self):
        self.send(25)
        wait_for(self.rests)
        before = self.cpu()
        began = time.monotonic()
        floods = [self.child(65533, FLOOD, 4), self.child(65532, FLOOD, 4)]
        pages = [int(flood.stdout.readline()) for flood in floods]
        used = (self.cpu() - before) / (time.monotonic() - began)
        self.assertGreater(min(pages), 4)  # they are served, one as the other
        self.assertLess(used, 0.25)
