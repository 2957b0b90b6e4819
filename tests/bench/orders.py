#!/usr/bin/env python3
"""How an administrator's orders go through a large queue: how long each takes, how long qmgr answers nobody else meanwhile, its memory, and what it writes.

Messages wait for a next host that is down; its route is changed; `postino queue reroute` moves them to another one that is down, too. Orders that touch
nothing stand beside it. Then other messages are held, each for a domain of its own, and orders look for a site among all these. Everything is removed at the end."""
import argparse
import os
import socket
import sys
import threading
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import counters  # noqa: E402
import peers  # noqa: E402
import workloads  # noqa: E402
from place import Place  # noqa: E402

import frames  # noqa: E402 (of tests/e2e, as peers has it)

BEGAN = time.monotonic()
NOBODY = 5  # the id of no message


def say(text):
    print("%5.0f s  %s" % (time.monotonic() - BEGAN, text), flush=True)


class Probe:
    """Asks qmgr for a message that is not there, every few milliseconds. What an answer took, less what qmgr and this thread waited for a processor, is what
    qmgr did first."""

    def __init__(self, path, qmgr):
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(path)
        self.channel, self.qmgr, self.stopped = frames.Channel(sock), qmgr, False
        self.latencies, self.turns = [], []
        self.thread = threading.Thread(target=self.run)

    def waited(self):
        waits = 0
        for process, thread in (self.qmgr, self.qmgr), (os.getpid(), threading.get_native_id()):
            with open("/proc/%d/task/%d/schedstat" % (process, thread), encoding="ascii") as f:
                waits += int(f.read().split()[1])
        return waits / 1e6

    def run(self):
        while not self.stopped:
            before, began = self.waited(), time.monotonic()
            self.channel.ask("SHOW", id=NOBODY, timeout=120)
            took = (time.monotonic() - began) * 1e3
            self.latencies.append(took)
            self.turns.append(took - (self.waited() - before))
            time.sleep(0.002)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exception):
        self.stopped = True
        self.thread.join()
        self.channel.close()

    def said(self):
        ordered = sorted(self.turns)
        return "qmgr was busy for %.1f ms at a time at most, 99 %% %.1f, half %.1f; the longest answer took %.0f (%d asked)" % (
            ordered[-1], ordered[len(ordered) * 99 // 100], ordered[len(ordered) // 2], max(self.latencies), len(ordered))


def written(pid):
    """What it has given to write(), octets: on a filesystem in memory the kernel counts nothing else."""
    with open("/proc/%d/io" % pid, encoding="ascii") as f:
        return int(dict(line.split(": ") for line in f)["wchar"])


class Orders:
    def __init__(self, postino):
        self.postino, self.host = postino, postino.host

    def qmgr(self):
        return next(pid for pid in counters.tree(self.postino.pid) if counters.program_of(pid) == "postino-qmgr")

    def order(self, *words, tool="postino"):
        qmgr, log = self.qmgr(), os.path.getsize(self.host.log_path)
        time.sleep(2)
        counters.forget_peak(qmgr)
        before, memory, began, cpu = written(qmgr), counters.memory(qmgr)["uss"], time.monotonic(), counters.cpu_seconds(qmgr)
        with Probe(self.host.path("run/queue"), qmgr) as probe:
            done = self.host.tool(tool, *words, timeout=3600)
            took = time.monotonic() - began
        say("%s: %.2f s, %.2f of CPU in qmgr; %s\n         %s\n         memory of qmgr %.0f MiB before, %.0f at most; written %.1f MiB, log %.1f MiB" % (
            " ".join(words), took, counters.cpu_seconds(qmgr) - cpu, (done.stdout + done.stderr).strip(), probe.said(), memory / 2**20,
            counters.peak(qmgr) / 2**20, (written(qmgr) - before) / 2**20, (os.path.getsize(self.host.log_path) - log) / 2**20))

    def idle(self, seconds=3):
        with Probe(self.host.path("run/queue"), self.qmgr()) as probe:
            time.sleep(seconds)
        say("nothing: " + probe.said())

    def lead(self, to):
        """Where the route of the messages leads."""
        with open(self.host.config, encoding="utf-8") as f:
            text = f.read()
        start = text.index('"smtp:[127.0.0.', text.index("hold.example"))
        end = text.index('"', start + 1)
        with open(self.host.config, "w", encoding="utf-8") as f:
            f.write(text[:start] + '"smtp:[%s]:1' % to + text[end:])
        self.order("reload")

    def fill(self, count):
        fill = workloads.Workload("deferred", 20, size=512, to="x@hold.example", how="intake")
        for done in range(0, count, 20000):
            workloads.source(self.postino.port, fill, min(count - done, 20000), 300)
            if done % 100000 == 0:
                say("%d messages" % done)
        time.sleep(5)

    def reroute(self, count):
        self.fill(count)
        self.idle()
        self.order("queue", "hold", "--recipient", "nobody@hold.example")
        self.order("queue", "hold", "--site", "no.example")
        self.order("queue", "reroute", "all")
        self.lead("127.0.0.2")
        self.order("queue", "reroute", "--site", "127.0.0.1:1")
        self.lead("127.0.0.3")
        self.order("queue", "reroute", "all")
        self.order("queue", "delete", "ALL")

    def sites(self, count):
        """Messages of 100 recipients, each in a domain of its own; they are held as they come, so that no resolver is asked."""
        self.postino.stop()
        table = self.host.path("senders")
        with open(table, "w", encoding="ascii") as f:
            f.write("a@client.example HOLD\n")
        self.host.tool("postino", "map", "hash:" + table, check=True)
        self.host.configure(routes={}, settings="access = { \"check_sender_access hash:%s\" }" % table)
        self.postino.start()
        with self.host.smtp() as client:
            client.ehlo()
            for at in range(0, count, 100):
                client.sendmail("a@client.example", ["x@d%d.sites.example" % n for n in range(at, at + 100)], b"Subject: x\r\n\r\nx\r\n")
        say("%d sites" % count)
        self.idle()
        self.order("queue", "hold", "--site", "no.example")
        self.order("queue", "hold", "--site", "d7.sites.example")
        self.order("queue", "release", "--site", "d7.sites.example")
        self.order("queue", "flush", "no.example")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=1000000, metavar="N")
    parser.add_argument("--sites", type=int, default=200000, metavar="N")
    parser.add_argument("--on", default="/var/tmp", metavar="WHERE", help="a directory (default: /var/tmp); ext4 or tmpfs as in bench.py")
    a = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("Run this as root: Postino's programs get users of their own")
    with Place(a.on, 2048 + max(a.messages, a.sites) // 160) as place:
        say(place.said())
        postino = peers.Postino(place.directory("postino"), peers.CLOSED_PORT, peers.CLOSED_PORT)
        try:
            postino.start()
            orders = Orders(postino)
            if a.messages:
                orders.reroute(a.messages)
            if a.sites:
                orders.sites(a.sites)
        finally:
            postino.stop()


if __name__ == "__main__":
    main()
