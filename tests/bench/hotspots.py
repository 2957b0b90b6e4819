"""Where Postino's time goes during a relay: the functions each program spends most in (perf record), and its system calls a message by name (perf stat)."""
import re
import signal
import subprocess
import tempfile

import counters

CALLS = ("read write readv writev recvmsg sendmsg recvfrom sendto recvmmsg sendmmsg epoll_wait epoll_pwait2 epoll_ctl accept4 connect shutdown close socket "
         "setsockopt getsockname getpeername fcntl futex clock_gettime getpid openat unlinkat renameat2 newfstatat fstat ftruncate fallocate lseek pread64 pwrite64 "
         "preadv pwritev fdatasync fsync sync_file_range io_uring_enter mmap munmap madvise brk getrandom timerfd_settime eventfd2").split()


def _while_running(command, action):
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        action()
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)


def _functions(pids, action, top):
    with tempfile.NamedTemporaryFile(prefix="postino-bench-perf-") as data:
        _while_running(["perf", "record", "-q", "-e", "cpu-clock", "-F", "9999", "-o", data.name, "-p", ",".join(map(str, pids))], action)
        done = subprocess.run(["perf", "report", "-i", data.name, "--stdio", "-q", "--sort", "comm,symbol"], capture_output=True, text=True)
    rows = re.findall(r"^\s*([\d.]+)%\s+(\S+)\s+\[(.)\] (\S+)", done.stdout, re.M)
    programs = {}
    for share, program, where, symbol in rows:
        programs.setdefault(program, []).append((float(share), where, symbol))
    for program, found in sorted(programs.items(), key=lambda item: -sum(share for share, _, _ in item[1])):
        kernel = sum(share for share, where, _ in found if where == "k")
        own = [(share, symbol) for share, where, symbol in found if where != "k"]
        print("\n%s: %.1f %% of the time of all programs, of that %.1f in the kernel, %.1f in user space" % (
            program, kernel + sum(share for share, _ in own), kernel, sum(share for share, _ in own)))
        for title, some in (("kernel", [(share, symbol) for share, where, symbol in found if where == "k"]), ("user", own)):
            print("  %-7s %s" % (title, ", ".join("%s %.1f" % (symbol, share) for share, symbol in some[:top])))


def _calls(pids, action, messages):
    known = [name for name in CALLS if subprocess.run(["test", "-e", counters.TRACING + "/events/syscalls/sys_enter_" + name]).returncode == 0]
    programs, running, total = {}, [], 0.0
    for pid in pids:
        programs.setdefault(counters.program_of(pid).replace("postino-", ""), []).append(pid)
    for program, some in programs.items():
        out = tempfile.NamedTemporaryFile(prefix="postino-bench-calls-", mode="r")
        events = ["raw_syscalls:sys_enter"] + ["syscalls:sys_enter_" + name for name in known]
        running.append((program, out, subprocess.Popen(["perf", "stat", "-x", ",", "-o", out.name, "-e", ",".join(events), "-p", ",".join(map(str, some))],
                                                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)))
    action()
    for program, out, process in running:
        process.send_signal(signal.SIGINT)
        process.wait(60)
        counts = {name: int(n) / messages for n, name in re.findall(r"^(\d+),[^,]*,(?:raw_)?syscalls:sys_enter_?(\w*),", out.read(), re.M)}
        out.close()
        every = counts.pop("", 0.0)
        total += every
        most = ", ".join("%s %.2f" % (name, n) for name, n in sorted(counts.items(), key=lambda item: -item[1]) if n >= 0.01)
        if every >= 0.01:
            print("  %-8s %6.2f  %s" % (program, every, most))
    print("  %-8s %6.2f" % ("all", total))


def run(runner, peer, workload, say, top=16):
    runner.warm(peer, workload)
    messages = int(runner.rates[(peer.name, workload)] * 3)
    pids = counters.tree(peer.pid)
    say("%d messages, %s" % (messages, workload.name))
    _functions(pids, lambda: runner.once(peer, workload, messages), top)
    print("\nsystem calls a message:")
    _calls(pids, lambda: runner.once(peer, workload, messages), messages)
