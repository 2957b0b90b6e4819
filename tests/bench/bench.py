#!/usr/bin/env python3
"""Postino beside Debian's Postfix, OpenSMTPD and the bare tools, in one run on one filesystem. Prints its progress, then the tables; a whole run also writes
them into docs/performance.md. Needs root: Postfix starts as root only, and the filesystem is mounted for the run."""
import argparse
import os
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import counters  # noqa: E402
import hotspots  # noqa: E402
import load  # noqa: E402
import peers  # noqa: E402
import report  # noqa: E402
import workloads  # noqa: E402
from place import Place  # noqa: E402

PAGE = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "docs", "performance.md")
BEGAN = time.monotonic()


def say(text):
    print("%5.0f s  %s" % (time.monotonic() - BEGAN, text), flush=True)


class Bench:
    def __init__(self, a, place, sink, raw_sink, latency_sink):
        self.a, self.place, self.latency_sink, self.sink = a, place, latency_sink, sink
        self.runner = workloads.Runner(place, sink, raw_sink, a.seconds)
        self.results, self.peers = report.Results(), []

    def start(self):
        for kind in (peers.Postino, peers.Postfix, peers.OpenSMTPD):
            if kind.name.lower() not in self.a.peers:
                continue
            peer = None
            try:
                peer = kind(self.place.directory(kind.name.lower()), self.sink.port, self.latency_sink.port)
                self.peers.append(peer)
                peer.start()
                say("%s is up" % peer.name)
            except (RuntimeError, AssertionError, OSError, subprocess.CalledProcessError) as e:
                if kind is not peers.OpenSMTPD:
                    raise
                say("%s is left out: %s" % (kind.name, e))
                self.results.left_out.append("%s (%s)" % (kind.name, " ".join(str(e).split())))
                if peer:
                    self.peers.remove(peer)
                    _end(peer)

    def stop(self):
        for peer in self.peers:
            _end(peer)

    def names(self):
        return [peer.name for peer in self.peers]

    def time_left(self, what):
        if time.monotonic() - BEGAN < self.a.most:
            return True
        if what not in self.results.left_out:
            say("out of time: %s is left out" % what)
            self.results.left_out.append(what)
        return False

    # ---- the workloads -------------------------------------------------------------------------------------------------------------

    def _try(self, what, peer, action):
        """What fails for one peer is said in the tables; the others go on."""
        if (what, peer.name) in self.results.failed:
            return None
        try:
            return action()
        except (workloads.Failed, OSError, AssertionError, subprocess.CalledProcessError) as e:
            self.results.failed[(what, peer.name)] = "failed: " + " ".join(str(e).split())[:120]
            say("%s, %s: %s" % (what, peer.name, self.results.failed[(what, peer.name)]))
            self._try_fresh(peer)
            return None

    def _try_fresh(self, peer):
        try:
            peer.fresh()
        except (RuntimeError, AssertionError, OSError) as e:
            raise SystemExit("%s does not start again: %s" % (peer.name, e))

    def rounds(self, workload):
        for peer in self.peers:
            self._try(workload.name, peer, lambda: self.runner.warm(peer, workload))
        for number in range(self.a.rounds):
            if workload.how == "relay":
                self.results.add(workload, "ceiling", self.runner.ceiling(workload))
            said = []
            for peer in self.peers:
                values = self._try(workload.name, peer, lambda: self.runner.round(peer, workload))
                if values:
                    self.results.add(workload, peer.name, values)
                    said.append("%s %s/s %.3f ms" % (peer.name, report.number(values["rate"]), values["cpu"]))
            say("%s, round %d: %s" % (workload.name, number + 1, "; ".join(said)))
        if workload.calls:
            for peer in self.peers:
                found = self._try(workload.name, peer, lambda: self.runner.calls(peer, workload))
                if found:
                    key = (workload.name, peer.name)
                    self.results.calls[key], self.results.by_program[key], self.results.how_calls = found
                    say("%s, %s: %.1f system calls, %.3f flushes a message" % (workload.name, peer.name, found[0]["calls"], found[0]["flushes"]))

    def latency(self):
        for number in range(self.a.rounds):
            for peer in self.peers:
                found = self._try("latency", peer, lambda: load.latencies(peer.port, self.latency_sink, 40))
                if found:
                    kept = found[2:] or found  # the first ones open the session to the next host
                    self.results.latency.setdefault(peer.name, []).extend(kept)
                    say("latency alone, round %d, %s: %.2f ms (median)" % (number + 1, peer.name, report.median(kept)))

    def idle(self):
        for tls in (False, True):
            for peer in self.peers:
                what = "idle sessions, %s" % ("TLS" if tls else "plain")
                if not self.time_left("%s, %s" % (what, peer.name)):
                    continue
                self._try_fresh(peer)
                steps = [n for n in self.a.idle if n <= peer.idle_sessions]
                found = self._try(what, peer, lambda: workloads.idle(peer, tls, steps))
                if found:
                    self.results.idle[(peer.name, tls)] = found
                    say("%s, %s: %s" % (what, peer.name, ", ".join("%.1f KiB each of %d" % (v["pss"] / 1024, n) for n, v in found.items())))

    def deferred(self):
        postino = self.peers[0]
        postino.fresh()
        self.results.deferred = self._try("deferred", postino, lambda: workloads.deferred(postino, self.a.deferred, say))

    def run(self):
        chosen = [w for w in workloads.ALL if not self.a.quick or w is workloads.RELAY_20]
        for w in [w for w in chosen if not self.a.only or self.a.only in w.name]:
            if w.how == "intake":
                for peer in self.peers:
                    peer.intake()
            if self.time_left(w.name):
                self.rounds(w)
            if w is workloads.RELAY_1 and not self.a.quick:
                self.latency()
        if self.a.quick or self.a.only:
            return
        self.idle()
        if self.time_left("start with deferred messages"):
            self.deferred()


def _end(peer):
    try:
        peer.stop()
    except AssertionError as e:
        say("%s: %s" % (peer.name, e))
    if hasattr(peer, "remove"):
        peer.remove()


def arguments():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one workload (relay, 20 kept sessions); writes no file")
    parser.add_argument("--on", default="ext4", metavar="WHERE", help="ext4: a fresh image on a loop device (default); tmpfs; or a directory")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.5, help="how long a round is, about")
    parser.add_argument("--most", type=float, default=600, help="no new workload after so many seconds")
    parser.add_argument("--megabytes", type=int, default=0, help="size of the filesystem")
    parser.add_argument("--idle", type=int, nargs="*", default=[1000, 10000], metavar="N")
    parser.add_argument("--deferred", type=int, default=100000, metavar="N", help="messages in the queue at a start; 1000000 takes some minutes more")
    parser.add_argument("--peers", nargs="*", default=["postino", "postfix", "opensmtpd"])
    parser.add_argument("--only", default="", metavar="WORD", help="only the workloads whose name has it")
    parser.add_argument("--profile", action="store_true", help="no comparison: where Postino's time and system calls go, by program")
    parser.add_argument("--write", metavar="FILE", help="put the tables into this page (default for a whole run: docs/performance.md)")
    a = parser.parse_args()
    a.peers = ["postino"] if a.profile else [name.lower() for name in a.peers]
    if a.quick or a.profile:
        a.peers = [name for name in a.peers if name != "opensmtpd"]
    a.megabytes = a.megabytes or (1024 if a.quick or a.profile else 2048 + a.deferred // 160)
    if not a.write and not (a.quick or a.only or a.profile or a.on != "ext4") and len(a.peers) == 3:
        a.write = PAGE
    return a


def measure(a, place):
    if not os.path.exists("/dev/shm"):
        raise SystemExit("/dev/shm is not there: the sink counts into it")
    sinks = [peers.Sink(), peers.Sink(counting=False), load.LatencySink()]
    bench = Bench(a, place, *sinks)
    try:
        bench.start()
        if a.profile:
            chosen = [w for w in workloads.ALL if a.only and a.only in w.name]
            hotspots.run(bench.runner, bench.peers[0], chosen[0] if chosen else workloads.RELAY_20, say)
            return
        bench.run()
        said = "%s; %s. Rounds of about %g seconds, taken in turns; %d of each." % (report.machine(), place.said(), a.seconds, a.rounds)
        body = report.text(bench.results, place, bench.names(), said)
        print("\n" + body, flush=True)
        if a.write:
            report.write(a.write, body)
            say("written to " + os.path.relpath(a.write))
    finally:
        bench.stop()
        for sink in sinks:
            sink.stop()


def main():
    a = arguments()
    if os.geteuid() != 0:
        sys.exit("Run this as root: Postfix starts as root only, and a filesystem is mounted for the run")

    def stop(number, frame):
        raise SystemExit("ended by signal %d%s" % (number, ": it took too long" if number == signal.SIGALRM else ""))
    for number in (signal.SIGTERM, signal.SIGALRM, signal.SIGHUP):
        signal.signal(number, stop)
    signal.alarm(int(a.most) + 300)
    load.allow_descriptors()
    with counters.Tracing(), Place(a.on, a.megabytes) as place:
        say("on %s" % place.said())
        measure(a, place)
    say("done")


if __name__ == "__main__":
    main()
