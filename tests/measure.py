#!/usr/bin/env python3
"""Postino beside Debian's Postfix in one run: smtp-source sends through each to smtp-sink; messages a second, and CPU milliseconds a message of the
MTA's own processes, min / median / max of the rounds, taken in turns. Both queues are on the same filesystem; both flush before they say 250."""
import argparse
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "e2e"))
from host import Host, free_port, wait_for  # noqa: E402

TICK = os.sysconf("SC_CLK_TCK")


def processes():
    """{pid: (parent, own ticks, ticks of ended children)}"""
    found = {}
    for pid in os.listdir("/proc"):
        if pid.isdigit():
            try:
                with open("/proc/%s/stat" % pid) as f:
                    fields = f.read().rsplit(") ", 1)[1].split()
            except OSError:
                continue
            found[int(pid)] = (int(fields[1]), int(fields[11]) + int(fields[12]), int(fields[13]) + int(fields[14]))
    return found


def cpu_seconds(top):
    """CPU time of a process, its living descendants, and all that ended below them."""
    every = processes()
    tree, grew = {top}, True
    while grew:
        more = {pid for pid, (parent, _, _) in every.items() if parent in tree} - tree
        grew = bool(more)
        tree |= more
    return sum(sum(every[pid][1:]) for pid in tree if pid in every) / TICK


class Postfix:
    name = "Postfix"

    def __init__(self, sink):
        self.top = tempfile.mkdtemp(prefix="postino-measure-postfix-", dir="/var/tmp")
        os.chmod(self.top, 0o755)
        self.port = free_port()
        config, queue, data = (os.path.join(self.top, d) for d in ("etc", "queue", "data"))
        for d in (config, queue, data):
            os.mkdir(d)
        shutil.chown(data, "postfix", "postfix")
        self.config = config
        self.log = os.path.join(self.top, "log")
        settings = {
            "compatibility_level": "3.6", "queue_directory": queue, "data_directory": data, "myhostname": "postfix.example", "mydestination": "",
            "inet_interfaces": "127.0.0.1", "inet_protocols": "ipv4", "mynetworks": "127.0.0.0/8", "relayhost": "[127.0.0.1]:%d" % sink,
            "in_flow_delay": "0", "default_process_limit": "200", "smtp_destination_concurrency_limit": "50", "initial_destination_concurrency": "20",
            "default_destination_concurrency_limit": "50", "smtpd_client_connection_count_limit": "0", "smtp_dns_support_level": "disabled",
            "alias_maps": "", "alias_database": "", "local_recipient_maps": "", "biff": "no", "qmgr_message_active_limit": "40000",
            "smtpd_peername_lookup": "no", "smtp_tls_security_level": "none", "maillog_file": "", "syslog_name": "postfix-measure",
            "multi_instance_enable": "yes", "multi_instance_name": "", "authorized_submit_users": "static:anyone",
        }
        with open(os.path.join(config, "main.cf"), "w") as f:
            f.write("".join("%s = %s\n" % item for item in settings.items()))
        services = []
        with open("/usr/share/postfix/master.cf.dist") as f:
            for line in f:
                if re.match(r"(pickup|cleanup|qmgr|rewrite|bounce|defer|trace|verify|flush|proxymap|proxywrite|smtp +unix|relay|error|retry|discard|anvil|scache|tlsmgr|postlog)", line):
                    services.append(re.sub(r"^(\S+\s+\S+\s+\S+\s+\S+\s+)[yn]", r"\1n", line))
        with open(os.path.join(config, "master.cf"), "w") as f:
            f.write("127.0.0.1:%d inet n - n - - smtpd\n" % self.port + "".join(services))

    def start(self):
        done = subprocess.run(["postfix", "-c", self.config, "start"], capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit("Postfix did not start: " + done.stderr + done.stdout)

        def pid():
            """Postfix's master"""
            try:
                with open(os.path.join(self.top, "queue", "pid", "master.pid")) as f:
                    return int(f.read())
            except (OSError, ValueError):
                return 0
        self.pid = wait_for(pid)

    def stop(self):
        subprocess.run(["postfix", "-c", self.config, "stop"], capture_output=True)
        shutil.rmtree(self.top, ignore_errors=True)


class Postino:
    name = "Postino"

    def __init__(self, sink):
        self.host = Host(tls=False, domains={"postino.example": "mailboxes = system"}, hostname="postino.example", routes={"*": "via = \"smtp:[127.0.0.1]:%d\" tls = none" % sink},
                         settings="limit { sessions_client = 1000 }\nqueue { site_sessions = 50 }\nremote { loopback = yes }\ndns { client_names = no }")
        with open(self.host.config) as f:
            text = f.read().replace("level = \"debug\"", "level = \"info\"")
        with open(self.host.config, "w") as f:
            f.write(text)
        self.port = self.host.port

    def start(self):
        self.host.start()
        self.pid = self.host.process.pid

    def stop(self):
        self.host.close()


class Sink:
    """smtp-sink, which prints how many messages it has taken."""

    def __init__(self):
        self.port = free_port()
        self.process = subprocess.Popen(["smtp-sink"] + (["-u", "nobody"] if os.geteuid() == 0 else []) + ["-c", "127.0.0.1:%d" % self.port, "200"],
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        os.set_blocking(self.process.stdout.fileno(), False)
        self.taken = 0

    def count(self):
        try:
            text = os.read(self.process.stdout.fileno(), 1 << 20).decode()
        except BlockingIOError:
            text = ""
        numbers = re.findall(r"(\d+)\r", text)
        if numbers:
            self.taken = int(numbers[-1])
        return self.taken

    def stop(self):
        self.process.terminate()
        self.process.wait()


def one_round(port, pid, sink, messages, sessions, size):
    before_cpu, before, began = cpu_seconds(pid) if pid else 0.0, sink.count(), time.monotonic()
    # -d: the sessions are kept for all their messages
    subprocess.run(["smtp-source", "-d", "-m", str(messages), "-s", str(sessions), "-l", str(size), "-f", "a@client.example", "-t", "x@elsewhere.example",
                    "127.0.0.1:%d" % port], check=True, timeout=600)
    end = time.monotonic() + 300
    while sink.count() - before < messages:
        if time.monotonic() > end:
            raise SystemExit("%d of %d messages arrived within 300 seconds" % (sink.count() - before, messages))
        time.sleep(0.005)
    seconds = time.monotonic() - began
    time.sleep(0.3)
    cpu = (cpu_seconds(pid) - before_cpu) if pid else 0.0
    return messages / seconds, cpu * 1000 / messages


def spread(values, form):
    return " / ".join(form % v for v in (min(values), statistics.median(values), max(values)))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=3000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--sessions", type=int, nargs="*", default=[1, 20])
    parser.add_argument("--size", type=int, default=4096)
    a = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("Postfix starts as root only: run this as root")
    sink = Sink()
    mtas = [Postino(sink.port), Postfix(sink.port)]
    results = {}
    try:
        for mta in mtas:
            mta.start()
        filesystem = subprocess.run(["findmnt", "-no", "FSTYPE,SOURCE", "-T", "/var/tmp"], capture_output=True, text=True).stdout.strip()
        print("%d messages of %d bytes a round, %d rounds in turns; both queues on %s" % (a.messages, a.size, a.rounds, filesystem), flush=True)
        for sessions in a.sessions:
            for number in range(a.rounds):
                rates, _ = one_round(sink.port, 0, sink, a.messages, sessions, a.size)
                results.setdefault(("ceiling", sessions), []).append((rates, 0.0))
                for mta in mtas:
                    result = one_round(mta.port, mta.pid, sink, a.messages, sessions, a.size)
                    results.setdefault((mta.name, sessions), []).append(result)
                    print("  round %d, %d sessions, %s: %.0f messages a second, %.3f CPU ms a message" % ((number + 1, sessions, mta.name) + result), flush=True)
        print("| sessions | MTA | messages a second (min / median / max) | CPU ms a message (min / median / max) |\n|---|---|---|---|")
        for sessions in a.sessions:
            for name in ("Postino", "Postfix", "ceiling"):
                values = results[(name, sessions)]
                cpu = spread([v[1] for v in values], "%.3f") if name != "ceiling" else "-"
                label = name if name != "ceiling" else "smtp-source straight to smtp-sink"
                print("| %d | %s | %s | %s |" % (sessions, label, spread([v[0] for v in values], "%.0f"), cpu))
            ratio = [statistics.median(v[i] for v in results[("Postino", sessions)]) / statistics.median(v[i] for v in results[("Postfix", sessions)]) for i in (0, 1)]
            print("%d sessions: Postino relays %.1f times Postfix's messages a second, at %.2f of its CPU a message" % (sessions, ratio[0], ratio[1]))
    finally:
        for mta in mtas:
            mta.stop()
        sink.stop()


if __name__ == "__main__":
    main()
