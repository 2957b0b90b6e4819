#!/usr/bin/python3
"""`make load`: 10,000 sessions are held, good clients send mail, and 200 hostile ones do their worst among them; then floods of connections fill a small
process. States good-put and latency with them and without in the same run, asserts what docs/performance.md promises, and writes nothing elsewhere.
All of it is in namespaces of its own (network, processes, mounts), which end with it. --postfix: the same beside Debian's Postfix, with as much as its processes can hold."""
import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [os.path.join(ROOT, "tests", "e2e"), os.path.join(ROOT, "tests", "bench")]
import peers  # noqa: E402
from host import Host  # noqa: E402

TICK = os.sysconf("SC_CLK_TCK")
OVERHEAD = 14           # seconds of TIME for starts, ends, and sessions that open
OVERHEAD_SHORT = 10
PHASES = 9              # that share the rest
GOODPUT_LEAST = 0.95    # of what good clients offer, as without hostile ones
MEMORY_MOST = 64        # MiB that smtpd may grow by for all that hostile clients do
SESSION_MOST = 6        # KiB for a held session, one in 20 of them with TLS
MEASURES_MOST = 3       # of what a machine that stands still for a second can spoil: the last one counts
FLOOD_RATE = 3000
POSTFIX_HELD = 800
SPOOL_MB = 512          # in memory: it is not the disk that is measured here
HOSTILE_NONE = 0


# ---- the load generator --------------------------------------------------------------------------------------------------------------

def number(text):
    try:
        return float(text) if "." in text else int(text)
    except ValueError:
        return text


class Generator:
    def __init__(self, program):
        self.process = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1)
        self.sink, self.cpu = self.answer()["sink"], 0

    def answer(self):
        line = self.process.stdout.readline()
        if not line:
            raise AssertionError("the load generator ended with %s" % self.process.wait())
        return {k: number(v) for k, v in re.findall(r"(\S+?)=(\S+)", line)}

    def tell(self, *words):
        self.process.stdin.write(" ".join(str(w) for w in words) + "\n")
        return self.answer()

    def close(self):
        self.process.stdin.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


# ---- what is measured ----------------------------------------------------------------------------------------------------------------

class Postino:
    name, ended = "Postino", "smtpd"  # no other program ends in a run: when it is replaced

    def __init__(self, sink, sessions):
        processes = max(2, len(os.sched_getaffinity(0)))  # the default, but two at least: the sessions that are held need the room of two
        self.host = Host(hostname="mx.load.example", routes={"sink.example": "smtp:[127.0.0.1]:%d" % sink}, relay_from=("127.0.0.1/32",), size_mb=SPOOL_MB,
                         settings="relay_to = { \"sink.example\" } dns { client_names = no } smtpd_processes = %d limit { sessions = %d }" % (processes, sessions))
        with open(self.host.config) as f:
            text = f.read().replace("level = \"debug\"", "level = \"info\"").replace("tls = may", "tls = may auth = may")
        with open(self.host.config, "w") as f:
            f.write(text)
        self.port = self.host.port

    def start(self):
        self.host.start()
        self.pid = self.host.process.pid

    def replaced(self):
        """How many smtpd processes have been, meanwhile."""
        return self.host.log().count("has served long enough: it finishes")

    def stress(self):
        """What smtpd said when it came near its limits."""
        return [line for line in self.host.log().splitlines() if " stress " in line]

    def close(self):
        self.host.close()


class Postfix:
    name, ended = "Postfix", "(ended)"

    def __init__(self, sink, sessions):
        self.top = tempfile.mkdtemp(prefix="postino-load-", dir="/var/tmp")
        subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=755,size=%dm" % SPOOL_MB, "postino-load", self.top], check=True)
        self.mta = peers.Postfix(self.top, sink, sink)
        with open(os.path.join(self.mta.config, "main.cf"), "a") as f:
            f.write("smtpd_timeout = ${stress?{10}:{300}}s\n")  # as Debian ships it
        self.port = self.mta.port

    def start(self):
        self.mta.start()
        self.pid = self.mta.pid

    def replaced(self):
        return 0

    def stress(self):
        return []

    def close(self):
        self.mta.stop()
        subprocess.run(["umount", "-l", self.top], check=False)
        shutil.rmtree(self.top, ignore_errors=True)


def processes(top):
    """{pid: name} of an MTA's first process and all below it."""
    below, names = {}, {}
    for line in subprocess.run(["ps", "-eo", "pid=,ppid=,comm="], capture_output=True, text=True).stdout.splitlines():
        pid, parent, name = line.split(None, 2)
        below.setdefault(int(parent), []).append(int(pid))
        names[int(pid)] = name.replace("postino-", "")
    found, left = {}, [top]
    while left:
        pid = left.pop()
        found[pid] = names.get(pid, "?")
        left += below.get(pid, [])
    return found


def processor_seconds(mta):
    """By name, of those that live and of those that the first process has waited for."""
    used, top = {}, mta.pid
    for pid, name in processes(top).items():
        try:
            with open("/proc/%d/stat" % pid) as f:
                fields = f.read().rpartition(")")[2].split()
        except OSError:
            continue
        used[name] = used.get(name, 0) + (int(fields[11]) + int(fields[12])) / TICK
        if pid == top:
            used[mta.ended] = used.get(mta.ended, 0) + (int(fields[13]) + int(fields[14])) / TICK
    return used


def memory(top, name):
    """MiB (PSS) of all processes of that name."""
    total = 0
    for pid in (pid for pid, n in processes(top).items() if n == name):
        try:
            with open("/proc/%d/smaps_rollup" % pid) as f:
                total += int(re.search(r"^Pss:\s+(\d+)", f.read(), re.M).group(1))
        except OSError:
            continue
    return total / 1024


class Phase:
    def __init__(self, name, kind, report, cpu, mib):
        self.name, self.kind, self.report, self.cpu, self.mib = name, kind, report, cpu, mib
        self.rate = report["sent"] / report["seconds"]
        offered = report["sent"] + report["refused"] + report["broken"] + report["missed"]
        self.served = report["sent"] / offered if offered else 0
        self.bad = report["refused"] + report["broken"]


# ---- a run -----------------------------------------------------------------------------------------------------------------------------

class Run:
    """One MTA and a generator of its own."""

    def __init__(self, arguments, mta, sessions):
        self.arguments, self.phases, self.wrong = arguments, [], []
        self.generator = Generator(arguments.generator)
        self.mta = mta(self.generator.sink, sessions)

    def __enter__(self):
        try:
            self.mta.start()
            self.generator.tell("server", self.mta.port)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception):
        self.generator.close()
        self.mta.close()

    def check(self, holds, words):
        if not holds:
            self.wrong.append("%s: %s" % (self.mta.name, words))

    def hold(self, sessions, tls):
        before, began = memory(self.mta.pid, "smtpd"), time.monotonic()
        answer = self.generator.tell("hold", sessions - tls, tls)
        self.took, self.open = time.monotonic() - began, answer["held_open"]
        time.sleep(0.5)
        self.kib = (memory(self.mta.pid, "smtpd") - before) * 1024 / max(1, sessions)

    def phase(self, name, kind, settle=0.7):
        time.sleep(settle)
        before = processor_seconds(self.mta)
        self.generator.tell("mark")
        time.sleep(max(0.5, self.arguments.phase - settle))
        report = self.generator.tell("report")
        after = processor_seconds(self.mta)
        cpu = {k: (v - before.get(k, 0)) / report["seconds"] for k, v in after.items()}
        cpu["(generator)"], self.generator.cpu = (report["own_cpu"] - self.generator.cpu) / (report["seconds"] + settle), report["own_cpu"]
        phase = Phase(name, kind, report, cpu, memory(self.mta.pid, "smtpd"))
        self.phases.append(phase)
        return phase

    def pair(self, name, rounds=1):
        for _ in range(rounds):
            for kind in ("alone", "hostile"):
                self.generator.tell("hostile", self.arguments.hostile if kind == "hostile" else HOSTILE_NONE)
                self.phase(name, kind)
        self.generator.tell("hostile", HOSTILE_NONE)

    def until_kept(self, measure, count, kept):
        """Measures, `count` phases, and again if what was promised is not kept: a machine that stands still for a second is not Postino's fault, and not there each time."""
        for n in range(MEASURES_MOST):
            measure()
            if n + 1 == MEASURES_MOST or kept(self.phases[-count:]):
                return
            for p in self.phases[-count:]:
                print("measured again: %s, %s: %.3f of what was offered was served, %d refused" % (p.name, p.kind, p.served, p.bad))
            del self.phases[-count:]

    def of(self, name, kind):
        return [p for p in self.phases if p.name == name and p.kind == kind]

    def goodput(self, name, kind):
        """What was served of what was offered; where as much is offered as goes, messages a second."""
        found = [p.rate if name == PRESSED else p.served for p in self.of(name, kind)]
        return sum(found) / len(found)

    def ratio(self, name, kind="hostile"):
        return self.goodput(name, kind) / self.goodput(name, "alone") if self.goodput(name, "alone") else 0

    def balance(self):
        """Every 250 has come to the next host exactly once, and no good client was sent away."""
        books = self.books = self.generator.tell("finish")
        for word in ("lost", "twice", "unexpected"):
            self.check(books[word] == 0, "%d messages %s" % (books[word], word))
        for p in self.phases:
            self.check(p.bad == 0, "%d times a good client was refused or cut off (%s, %s)" % (p.bad, p.name, p.kind))


OFFERED, PRESSED = "offered", "pressed"


def among_hostile(arguments, mta, sessions, rounds):
    """The first part: held sessions, good clients, hostile clients."""
    with Run(arguments, mta, sessions) as run:
        run.hold(sessions, sessions // 20)
        run.generator.tell("good", arguments.good, arguments.interval)
        run.until_kept(lambda: run.pair(OFFERED, rounds), 2 * rounds, lambda found: run.ratio(OFFERED) >= GOODPUT_LEAST or any(p.bad for p in found))
        if not arguments.short:
            run.generator.tell("pace", 0)
            run.pair(PRESSED)
            run.generator.tell("pace", arguments.interval)
        run.held = run.generator.tell("report")
        run.balance()
        run.replaced, run.stress = run.mta.replaced(), run.mta.stress()
        return run


def in_a_flood(arguments, mta, sessions):
    """The second: a small limit, and more connections than it has room for."""
    with Run(arguments, mta, sessions) as run:
        run.generator.tell("good", arguments.good, arguments.interval)
        run.phase("flood", "alone")

        def flood(kind, many):
            run.generator.tell("flood", arguments.flood, many)
            run.phase("flood", kind, settle=1.5)
            run.generator.tell("flood", 0, 0)
        for kind, many in (("one /24", 0), ("everywhere", 1)):  # what waits while smtpd stands still is more than it has room for: then a good client may be refused
            run.until_kept(lambda: flood(kind, many), 1, lambda found: run.ratio("flood", kind) >= GOODPUT_LEAST and not found[0].bad)
        run.balance()
        return run


# ---- what it says ------------------------------------------------------------------------------------------------------------------------

HEADS = ("phase", "good clients", "messages/s", "missed", "median ms", "99 % ms", "refused", "cut off", "CPU smtpd", "others", "generator", "smtpd MiB")


def row(run, p):
    others = sum(v for k, v in p.cpu.items() if k not in ("smtpd", "(generator)"))
    r = p.report
    return (p.name, p.kind, "%.0f" % p.rate, str(r["missed"]), "%.1f" % r["median"], "%.1f" % r["p99"], str(r["refused"]), str(r["broken"]), "%.2f" % p.cpu.get("smtpd", 0),
            "%.2f" % others, "%.2f" % p.cpu["(generator)"], "%.1f" % p.mib)


def print_table(rows):
    widths = [max(len(r[i]) for r in rows) for i in range(len(rows[0]))]
    for n, r in enumerate(rows):
        print("| " + " | ".join(c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(r, widths))) + " |")
        if n == 0:
            print("|" + "|".join("-" * (w + 2) for w in widths) + "|")
    print()


def print_bars(run):
    most = max(p.rate for p in run.phases) or 1
    slowest = max(p.report["p99"] for p in run.phases) or 1
    for p in run.phases:
        label = "%-8s %-10s" % (p.name, p.kind)
        print("%s messages/s %-40s %.0f" % (label, "#" * round(40 * p.rate / most), p.rate))
        print("%s 99 %% ms     %-40s %.1f" % (" " * len(label), "=" * round(40 * p.report["p99"] / slowest), p.report["p99"]))
    print()


def print_hostile(run):
    hostile = [p.report for p in run.phases if p.kind == "hostile"]
    sums = {}
    for report in hostile:
        for key, value in report.items():
            m = re.fullmatch(r"(\d+)/(\d+)/(\d+)", str(value))
            if m:
                sums[key] = [a + int(b) for a, b in zip(sums.get(key, (0, 0, 0)), m.groups())]
    print_table([("hostile kind", "", "connections", "ended by the server", "421")] + [(k, "", *map(str, v)) for k, v in sums.items()])


def print_run(run):
    print_table([HEADS] + [row(run, p) for p in run.phases])
    print_bars(run)


def print_first(run):
    print("%s: %d sessions opened in %.1f s, %.1f KiB of smtpd's memory each; %d lost on the way\n" % (
        run.mta.name, run.open, run.took, run.kib, run.held["held_lost"]))
    print_run(run)
    print_hostile(run)
    print("good-put among hostile clients, of that without them: %.3f offered%s" % (
        run.ratio(OFFERED), ", %.3f as fast as they can" % run.ratio(PRESSED) if run.of(PRESSED, "alone") else ""))
    print("books: %(accepted)d accepted, %(lost)d lost, %(twice)d twice, %(refused)d refused, %(unknown)d unknown" % run.books)
    print("smtpd processes replaced meanwhile: %d\n" % run.replaced)
    print("".join(line + "\n" for line in run.stress))


def print_second(run):
    print("%s: %d connections a second that say nothing, and room for less\n" % (run.mta.name, run.arguments.flood))
    print_run(run)
    for p in run.phases[1:]:
        r = p.report
        print("%-10s %d connections: %d greeted, %d sent away at the door, %d shed" % (
            p.kind, r["flood_opened"], r["flood_greeted"], r["flood_refused"], r["flood_shed"]))
    print("good-put in the flood, of that without it: %s" % ", ".join("%.3f from %s" % (run.ratio("flood", k), k) for k in ("one /24", "everywhere")))
    print("books: %(accepted)d accepted, %(lost)d lost, %(twice)d twice\n" % run.books)


def expect(run, sessions):
    run.check(run.open == sessions, "%d sessions of %d could be held" % (run.open, sessions))
    run.check(run.held["held_lost"] == 0, "%d held sessions ended" % run.held["held_lost"])
    run.check(not run.stress, "a process of smtpd came near its limit, while others had room")
    run.check(run.kib <= SESSION_MOST, "a held session takes %.1f KiB, more than %d" % (run.kib, SESSION_MOST))
    run.check(run.ratio(OFFERED) >= GOODPUT_LEAST, "good-put falls to %.3f, below %.2f" % (run.ratio(OFFERED), GOODPUT_LEAST))
    grown = max(p.mib for p in run.phases) - run.phases[0].mib
    run.check(grown <= MEMORY_MOST, "smtpd grew by %.0f MiB, more than %d" % (grown, MEMORY_MOST))


def parse():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--time", type=float, default=60, help="seconds in all")
    parser.add_argument("--sessions", type=int, default=10000)
    parser.add_argument("--hostile", type=int, default=200)
    parser.add_argument("--good", type=int, default=200)
    parser.add_argument("--interval", type=int, default=400, help="ms between a good client's messages")
    parser.add_argument("--flood", type=int, default=FLOOD_RATE)
    parser.add_argument("--short", action="store_true", help="one pair and the floods, for make check")
    parser.add_argument("--postfix", action="store_true")
    parser.add_argument("--generator", default=os.path.join(ROOT, "build", "release", "load", "load"))
    arguments = parser.parse_args()
    phases = PHASES - (4 if arguments.short else 0)
    arguments.flood = min(arguments.flood, arguments.sessions // 2)
    arguments.phase = max(1.5, (arguments.time - (OVERHEAD_SHORT if arguments.short else OVERHEAD)) / phases)
    return arguments


def main():
    arguments = parse()
    if "POSTINO_LOAD_INSIDE" not in os.environ:
        os.environ["POSTINO_LOAD_INSIDE"] = "1"
        inside = ["sh", "-c", "ip link set lo up && exec \"$@\"", "load", sys.executable, "-W", "ignore"]
        os.execvp("unshare", ["unshare", "--net", "--pid", "--fork", "--kill-child", "--mount-proc", "--"] + inside + sys.argv)
    signal.signal(signal.SIGALRM, lambda number, frame: os._exit(3))
    signal.alarm(round(2 * arguments.time) + 30)  # whatever hangs ends with us
    if arguments.postfix:
        run = among_hostile(arguments, Postfix, POSTFIX_HELD, 1)
        print_first(run)
        run = among_hostile(arguments, Postino, POSTFIX_HELD, 1)
        print_first(run)
        return 0
    first = among_hostile(arguments, Postino, arguments.sessions, 1 if arguments.short else 2)
    expect(first, arguments.sessions)
    print_first(first)
    second = in_a_flood(arguments, Postino, arguments.sessions // 5)
    print_second(second)
    for kind in ("one /24", "everywhere"):
        second.check(second.ratio("flood", kind) >= GOODPUT_LEAST, "good-put falls to %.3f in a flood from %s" % (second.ratio("flood", kind), kind))
    for words in first.wrong + second.wrong:
        print("WRONG: " + words)
    print("all as promised" if not first.wrong + second.wrong else "%d promises are not kept" % len(first.wrong + second.wrong))
    return 1 if first.wrong + second.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
