#!/usr/bin/python3
"""What TLS handshakes cost: CPU of the server a session of EHLO, STARTTLS, handshake, EHLO, QUIT; Postino and Debian's Postfix in turns, in one run.

    tests/bench/handshakes.py [--sessions 1000] [--rounds 3] [--other DIR]     DIR: another build of Postino (its build/release), for a comparison
"""
import argparse
import multiprocessing
import os
import shutil
import socket
import ssl
import statistics
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "e2e"), os.path.join(os.path.dirname(HERE), "conformance")]
from counters import cpu_seconds  # noqa: E402
from host import Host  # noqa: E402
from servers import Postfix  # noqa: E402
from test_tls import make  # noqa: E402

CLIENTS = 4


def session(port, context, former):
    """One session; with TLS unless context is None. Returns the TLS session for the next."""
    with socket.create_connection(("127.0.0.1", port)) as s:
        f = s.makefile("rb")

        def say(line, s, f):
            if line:
                s.sendall(line)
            while True:
                reply = f.readline()
                if reply[3:4] != b"-":
                    return reply
        say(None, s, f)
        say(b"EHLO client.example\r\n", s, f)
        if not context:
            say(b"QUIT\r\n", s, f)
            return None
        say(b"STARTTLS\r\n", s, f)
        with context.wrap_socket(s, session=former) as t:
            f = t.makefile("rb")
            say(b"EHLO client.example\r\n", t, f)
            got = t.session
            if former and not t.session_reused:
                raise AssertionError("not resumed")
            say(b"QUIT\r\n", t, f)
            return got


def client(port, version, resume, n):
    context = None
    if version:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        context.maximum_version = version
    former = session(port, context, None) if resume else None
    for _ in range(n):
        got = session(port, context, former)
        former = got if resume else None


def run(pid, port, version, resume, n):
    """(seconds of the server's CPU a session, sessions a second of real time)"""
    before, began = cpu_seconds(pid), time.monotonic()
    clients = [multiprocessing.Process(target=client, args=(port, version, resume, n // CLIENTS)) for _ in range(CLIENTS)]
    for c in clients:
        c.start()
    for c in clients:
        c.join()
        if c.exitcode != 0:
            raise RuntimeError("a client failed")
    took = time.monotonic() - began
    time.sleep(0.5)  # so that what ended is counted
    return (cpu_seconds(pid) - before) / n, n / took


def postino(directory, pair, variant=None):
    host = Host(tls=False, users=(), listeners={}, variant=variant)
    host.configure(None, None, 'tls { certificate = "%s" key = "%s" }\ndns { client_names = no }\n' % pair, ("127.0.0.0/8",),
                   {"smtp": 'port = %d address = "127.0.0.1"' % host.port})
    with open(host.config) as f:
        text = f.read().replace('level = "debug"', 'level = "info"')
    with open(host.config, "w") as f:
        f.write(text)
    return host


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--sessions", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--other")
    options = parser.parse_args()
    directory = tempfile.mkdtemp(prefix="postino-test-handshakes.", dir="/var/tmp")
    os.chmod(directory, 0o755)
    workloads = [("no TLS", None, False), ("full, TLS 1.3", ssl.TLSVersion.TLSv1_3, False), ("full, TLS 1.2", ssl.TLSVersion.TLSv1_2, False),
                 ("resumed, TLS 1.3", ssl.TLSVersion.TLSv1_3, True)]
    for kind in ("ec", "rsa"):
        pair = make(directory, "mx.local.example", key=kind, file=kind)
        servers = {"Postino": postino(directory, pair)}
        if options.other:
            servers["other"] = postino(directory, pair, options.other)
        servers["Postfix"] = Postfix(smtpd_tls_cert_file=pair[0], smtpd_tls_key_file=pair[1])
        for s in servers.values():
            s.__enter__()
        pids = {}
        for name, s in servers.items():
            pids[name] = s.process.pid if name != "Postfix" else int(open(os.path.join(s.path("queue"), "pid", "master.pid")).read())
        figures = {}
        for _ in range(options.rounds + 1):  # the first one warms up
            for what, version, resume in workloads:
                for name, s in servers.items():
                    if resume and name == "other":  # its processes may not share ticket keys
                        continue
                    figures.setdefault((what, name), []).append(run(pids[name], s.port, version, resume, options.sessions))
        for s in servers.values():
            s.__exit__(None, None, None)
        print("| %s certificate: CPU a session, ms | %s |" % ({"ec": "ECDSA P-256", "rsa": "RSA 2048"}[kind], " | ".join(servers)))
        print("|---|%s" % ("---|" * len(servers)))
        for what, _, _ in workloads:
            cells = ["%.3f" % (1000 * statistics.median(f[0] for f in figures[what, name][1:])) if (what, name) in figures else "-" for name in servers]
            print("| %s | %s |" % (what, " | ".join(cells)), flush=True)
    shutil.rmtree(directory)


if __name__ == "__main__":
    main()
