"""What a program costs: CPU time, memory, system calls and flushes of a process and all below it, read from /proc, the block device and perf."""
import os
import re
import signal
import subprocess
import tempfile
import time

TICK = os.sysconf("SC_CLK_TCK")
FLUSHES = ("fsync", "fdatasync", "sync_file_range", "syncfs", "sync", "msync")
TRACING = "/sys/kernel/tracing"


def _stat(pid):
    with open("/proc/%d/stat" % pid) as f:
        return f.read().rsplit(") ", 1)[1].split()


def tree(top):
    """The process and its living descendants."""
    parents = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            try:
                parents[int(name)] = int(_stat(int(name))[1])
            except OSError:
                pass
    found, grew = {top}, True
    while grew:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        found |= more
        grew = bool(more)
    return sorted(found)


def _own_nanoseconds(pid):
    """Finer than the ticks of stat; threads that have ended are missing, and no program here ends threads under load."""
    total = 0
    for task in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/schedstat" % (pid, task)) as f:
            total += int(f.read().split()[0])
    return total


def cpu_seconds(top):
    """CPU time of a process, its living descendants, and all that ended below them."""
    total = 0.0
    for pid in tree(top):
        try:
            fields = _stat(pid)
            total += _own_nanoseconds(pid) / 1e9 + (int(fields[13]) + int(fields[14])) / TICK
        except OSError:
            continue
    return total


def memory(top):
    """{"pss", "uss"} in bytes of all processes together."""
    sums = {"pss": 0, "uss": 0}
    for pid in tree(top):
        try:
            with open("/proc/%d/smaps_rollup" % pid) as f:
                text = f.read()
        except OSError:
            continue
        value = {name: int(kib) * 1024 for name, kib in re.findall(r"^(\w+):\s+(\d+) kB", text, re.M)}
        sums["pss"] += value.get("Pss", 0)
        sums["uss"] += value.get("Private_Clean", 0) + value.get("Private_Dirty", 0)
    return sums


def forget_peak(top):
    for pid in tree(top):
        try:
            with open("/proc/%d/clear_refs" % pid, "w") as f:
                f.write("5")
        except OSError:
            pass


def peak(top):
    """The sum of the processes' peaks, in bytes; pages that they share count each time."""
    total = 0
    for pid in tree(top):
        try:
            with open("/proc/%d/status" % pid) as f:
                found = re.search(r"^VmHWM:\s+(\d+) kB", f.read(), re.M)
        except OSError:
            continue
        total += int(found.group(1)) * 1024 if found else 0
    return total


def program_of(pid):
    try:
        with open("/proc/%d/cmdline" % pid, "rb") as f:
            first = f.read().split(b"\0")[0].decode(errors="replace")
        with open("/proc/%d/comm" % pid) as f:
            return os.path.basename(first.split(" ")[0]).rstrip(":") or f.read().strip()
    except OSError:
        return "ended"


def device_flushes(path):
    """Flushes that the block device under path has done, or None where there is none (tmpfs)."""
    device = os.stat(path).st_dev
    try:
        with open("/sys/dev/block/%d:%d/stat" % (os.major(device), os.minor(device))) as f:
            fields = f.read().split()
        return int(fields[15])
    except (OSError, IndexError):
        return None


class Tracing:
    """tracefs, mounted while somebody needs it."""

    def __enter__(self):
        self.mounted = not os.path.exists(TRACING + "/events") and subprocess.run(
            ["mount", "-t", "tracefs", "tracefs", TRACING], capture_output=True).returncode == 0
        self.works = os.path.exists(TRACING + "/events/raw_syscalls")
        return self

    def __exit__(self, *exception):
        if self.mounted:
            subprocess.run(["umount", TRACING], capture_output=True)


class Calls:
    """Counts the system calls of groups of processes, and of what they fork, between enter and exit: `calls` and `flushes`, each {group: number}.
    perf counts in the kernel and slows nothing; without tracepoints it is strace, which makes everything slow, and batches so larger."""

    def __init__(self, groups):
        self.groups, self.running = groups, []
        self.calls, self.flushes = {}, {}
        self.how = "perf stat" if os.path.exists(TRACING + "/events/raw_syscalls") else "strace"

    def _command(self, pids, out):
        if self.how == "strace":
            return ["strace", "-f", "-c", "-U", "name,calls", "-o", out] + [word for pid in pids for word in ("-p", str(pid))]
        known = [name for name in FLUSHES if os.path.exists(TRACING + "/events/syscalls/sys_enter_" + name)]
        events = ["raw_syscalls:sys_enter"] + ["syscalls:sys_enter_" + name for name in known]
        return ["perf", "stat", "-x", ",", "-o", out, "-e", ",".join(events), "-p", ",".join(map(str, pids))]

    def __enter__(self):
        for group, pids in self.groups.items():
            out = tempfile.NamedTemporaryFile(prefix="postino-bench-calls-", delete=False).name
            self.running.append((group, out, subprocess.Popen(self._command(pids, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)))
        time.sleep(0.5)
        return self

    def __exit__(self, *exception):
        for group, out, process in self.running:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            with open(out) as f:
                self._read(group, f.read())
            os.unlink(out)

    def _read(self, group, text):
        calls = flushes = 0
        for line in text.splitlines():
            if self.how == "strace":
                found = re.match(r"(\w+)\s+(\d+)$", line.strip())
                name, number = (found.group(1), int(found.group(2))) if found else ("", 0)
                calls += number if name != "total" else 0
            else:
                fields = line.split(",")
                name = fields[2] if len(fields) > 2 else ""
                number = int(fields[0]) if fields[0].isdigit() else 0
                calls += number if name == "raw_syscalls:sys_enter" else 0
                name = name.replace("syscalls:sys_enter_", "")
            flushes += number if name in FLUSHES else 0
        self.calls[group], self.flushes[group] = calls, flushes
