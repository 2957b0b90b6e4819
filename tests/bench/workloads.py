"""What is done to each peer, and what is measured while it is done. A round of one workload gives {measure: value}."""
import os
import subprocess
import time
from dataclasses import dataclass

import counters
import load

SETTLE = 0.3  # for the processes' last work after the last message


class Failed(Exception):
    """This peer can't do this workload; the others go on."""


@dataclass(frozen=True)
class Workload:
    name: str
    sessions: int
    size: int = 4096
    keep: bool = True           # a session for many messages, or one for each
    recipients: int = 1         # of a message; the rate then counts recipients
    to: str = "x@elsewhere.example"
    how: str = "relay"          # relay: until the sink has it; local: until the file is there; intake: until it is taken
    least: int = 40             # messages a round
    calls: bool = False         # count system calls in a round of its own

    @property
    def unit(self):
        return "recipient" if self.recipients > 1 else "message"


RELAY_1 = Workload("4 KiB, 1 session, kept", 1, calls=True)
RELAY_20 = Workload("4 KiB, 20 sessions, kept", 20, calls=True)
RELAY_20_NEW = Workload("4 KiB, 20 sessions, a new one each message", 20, keep=False, calls=True)
ALL = (
    RELAY_1,
    RELAY_20,
    Workload("4 KiB, 100 sessions, kept", 100),
    Workload("4 KiB, 1 session, a new one each message", 1, keep=False),
    RELAY_20_NEW,
    Workload("4 KiB, 100 sessions, a new one each message", 100, keep=False),
    Workload("64 KiB, 20 sessions, kept", 20, size=64 << 10),
    Workload("1 MiB, 20 sessions, kept", 20, size=1 << 20, least=20),
    Workload("4 KiB to 1,000 recipients, 1 session", 1, recipients=1000, least=1),
    Workload("local Maildir, 4 KiB, 20 sessions", 20, to="alice@local.example", how="local", least=200, calls=True),
    Workload("intake only, 4 KiB, 20 sessions", 20, to="x@hold.example", how="intake", least=200, calls=True),
)


def source(port, workload, messages, timeout):
    command = ["smtp-source"] + (["-d"] if workload.keep else []) + [
        "-m", str(messages), "-s", str(min(workload.sessions, messages)), "-l", str(workload.size), "-r", str(workload.recipients),
        "-f", "a@client.example", "-t", workload.to, "127.0.0.1:%d" % port]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=timeout)
    except subprocess.TimeoutExpired:
        raise Failed("smtp-source did not end within %d seconds" % timeout)
    if done.returncode != 0:
        raise Failed("smtp-source: " + (done.stderr.strip().splitlines() or ["status %d" % done.returncode])[-1])


class Runner:
    def __init__(self, place, sink, raw_sink, seconds):
        self.place, self.sink, self.raw_sink, self.seconds = place, sink, raw_sink, seconds
        self.rates, self.transactions = {}, {}

    # ---- one round -----------------------------------------------------------------------------------------------------------------

    def _arrived(self, peer, workload):
        if workload.how == "relay":
            return self.sink.count()
        try:
            return len(os.listdir(os.path.join(peer.maildir, "new")))
        except FileNotFoundError:
            return 0

    def _wait(self, peer, workload, before, expected):
        last, moved = -1, time.monotonic()
        while True:
            now = self._arrived(peer, workload) - before
            if now >= expected:
                return
            if now != last:
                last, moved = now, time.monotonic()
            elif time.monotonic() - moved > 20:
                raise Failed("%d of %d arrived, and nothing more for 20 seconds" % (now, expected))
            time.sleep(0.003 if workload.how == "relay" else 0.01)

    def _clear(self, peer, workload):
        if workload.how == "local":
            new = os.path.join(peer.maildir, "new")
            for name in os.listdir(new) if os.path.exists(new) else ():
                os.unlink(os.path.join(new, name))

    def once(self, peer, workload, messages):
        """The time until all has arrived, which the caller's clock stops at."""
        self._clear(peer, workload)
        before, began = self._arrived(peer, workload) if workload.how != "intake" else 0, time.monotonic()
        source(peer.port, workload, messages, 90)
        if workload.how != "intake":
            self._wait(peer, workload, before, messages * self.transactions.get((peer.name, workload), 1))
        return time.monotonic() - began

    def warm(self, peer, workload):
        """A short round that tells how many messages fill the time of a real one; and for many recipients, how many transactions a message becomes."""
        if workload.recipients > 1:
            self._count_transactions(peer, workload)
        messages = workload.least
        took = self.once(peer, workload, messages)
        rate = messages / took
        if took < 0.5:
            messages = max(workload.least, int(rate * 0.5))
            rate = messages / self.once(peer, workload, messages)
        self.rates[(peer.name, workload)] = rate

    def _count_transactions(self, peer, workload):
        before = self.sink.count()
        source(peer.port, workload, 1, 90)
        last, moved = before, time.monotonic()
        while time.monotonic() - moved < 1.0 or last == before:
            if self.sink.count() != last:
                last, moved = self.sink.count(), time.monotonic()
            if time.monotonic() - moved > 20:
                raise Failed("nothing arrived")
            time.sleep(0.02)
        self.transactions[(peer.name, workload)] = last - before

    def messages(self, peer, workload):
        return max(workload.least, int(self.rates[(peer.name, workload)] * self.seconds))

    def round(self, peer, workload):
        messages = self.messages(peer, workload)
        units = messages * workload.recipients
        counters.forget_peak(peer.pid)
        flushes, cpu = counters.device_flushes(self.place.top), counters.cpu_seconds(peer.pid)
        took = self.once(peer, workload, messages)
        time.sleep(SETTLE)
        values = {"rate": units / took, "cpu": (counters.cpu_seconds(peer.pid) - cpu) * 1000 / units, "peak": counters.peak(peer.pid) / 2**20}
        if flushes is not None:
            values["device_flushes"] = (counters.device_flushes(self.place.top) - flushes) / units
        return values

    def ceiling(self, workload):
        """The same from smtp-source straight to smtp-sink."""
        def run(messages):
            began = time.monotonic()
            source(self.raw_sink.port, workload, messages, 90)
            return messages / (time.monotonic() - began)
        key = ("ceiling", workload)
        if key not in self.rates:
            self.rates[key] = run(max(workload.least, 200))
        return {"rate": run(max(workload.least, int(self.rates[key] * min(self.seconds, 1.0)))) * workload.recipients}

    def calls(self, peer, workload):
        """System calls and calls for a flush, a message; by program where the peer is Postino."""
        messages = max(workload.least, int(self.rates[(peer.name, workload)] * min(self.seconds, 1.0)))
        pids = counters.tree(peer.pid)
        groups = {peer.name: pids}
        if peer.name == "Postino":
            groups = {}
            for pid in pids:
                groups.setdefault(counters.program_of(pid).replace("postino-", ""), []).append(pid)
        with counters.Calls(groups) as counted:
            self.once(peer, workload, messages)
            time.sleep(1.2)  # what is written later belongs to it
        units = messages * workload.recipients
        by_program = {name: n / units for name, n in counted.calls.items() if n / units >= 0.005}
        return {"calls": sum(counted.calls.values()) / units, "flushes": sum(counted.flushes.values()) / units}, by_program, counted.how


# ---- workloads that are not rounds ---------------------------------------------------------------------------------------------------------

def idle(peer, tls, steps):
    """{sessions: bytes a session, by PSS} of idle sessions; a peer that was just started."""
    warm = load.Idle(peer.port, tls)
    warm.grow(4)
    warm.close()
    time.sleep(0.5)
    before, found = counters.memory(peer.pid), {}
    sessions = load.Idle(peer.port, tls)
    try:
        for n in steps:
            sessions.grow(n)
            time.sleep(0.7)
            now = counters.memory(peer.pid)
            found[n] = {kind: (now[kind] - before[kind]) / n for kind in now}
    except OSError as e:
        raise Failed("%d sessions, then %s" % (len(sessions.sessions), e))
    finally:
        sessions.close()
    return found


def deferred(postino, count, tell):
    """Fills the queue with messages whose next host is down, and starts anew with them."""
    qmgr = next(pid for pid in counters.tree(postino.pid) if counters.program_of(pid) == "postino-qmgr")
    empty = counters.memory(qmgr)["uss"]
    began, done = time.monotonic(), 0
    fill = Workload("deferred", 20, size=512, to="x@hold.example", how="intake")
    while done < count:
        piece = min(count - done, 20000)
        source(postino.port, fill, piece, 120)
        done += piece
        tell("%d of %d messages deferred, %.0f a second" % (done, count, done / (time.monotonic() - began)))
    time.sleep(1.5)
    postino.stop()
    began = time.monotonic()
    postino.start()
    seconds = time.monotonic() - began
    qmgr = next(pid for pid in counters.tree(postino.pid) if counters.program_of(pid) == "postino-qmgr")
    return {"count": count, "seconds": seconds, "bytes": (counters.memory(qmgr)["uss"] - empty) / count, "peak": counters.peak(qmgr) / 2**20}
