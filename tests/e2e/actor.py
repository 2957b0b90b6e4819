#!/usr/bin/python3
"""A stand-in for every program below the master, for tests of the master alone: it plays a part in a file beside it, and writes down what it was told.

Beside it (named postino-smtpd and so on by links) lie:
    part-smtpd     words: "deaf" (never ready), "refuse" (ends with 78 at START), "garbage" (sends a bad frame when ready), "early" (READY before
                   START), "other" (sends a message of another edge), "crash" (killed by SIGSEGV at START), "stubborn" (does not end at DRAIN), "undead" (does not end when the master hangs up)
At SIGUSR1 it asks to be replaced.
    told-smtpd     one line of JSON for each message: pid, type, and its fields
"""
import json
import os
import resource
import signal
import sys
import time

HERE = os.path.dirname(os.path.abspath(sys.argv[0]))
NAME = os.path.basename(sys.argv[0])[len("postino-"):]
sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))


def is_open(fd):
    try:
        os.fstat(fd)
        return True
    except OSError:
        return False


OPEN = [fd for fd in range(1024) if is_open(fd)]
import socket  # noqa: E402

import frames  # noqa: E402

resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
signal.signal(signal.SIGINT, signal.SIG_IGN)
with open(os.path.join(HERE, "part-" + NAME)) as f:
    PARTS = f.read().split()


def note(**what):
    with open(os.path.join(HERE, "told-" + NAME), "a") as out:
        out.write(json.dumps(dict(what, pid=os.getpid(), at=time.monotonic())) + "\n")


def started(control, instance):
    if "refuse" in PARTS:
        os._exit(78)
    if "crash" in PARTS:
        os.kill(os.getpid(), signal.SIGSEGV)
    if "deaf" in PARTS:
        return
    control.send("READY", instance=instance)
    if "garbage" in PARTS:
        control.send_raw(b"\xff" * 64)
    if "other" in PARTS:
        control.send("DRAIN", seconds=0)


def main():
    control = frames.Channel(socket.socket(fileno=3))
    note(type="BORN", open=OPEN, environment=dict(os.environ), argv0=sys.argv[0])
    instance, kept, up = 0, [], False
    signal.signal(signal.SIGUSR1, lambda number, frame: control.send("REPLACE", instance=instance))
    if "early" in PARTS:
        control.send("READY")
    while True:
        m = control.receive(None)
        fields = {k: v for k, v in m.fields.items() if k != "slice"}
        kept.append(m.fd)
        note(type=m.type, fd=m.fd is not None, **fields)
        if m.type == "CONFIG":
            instance = m.instance
        if m.type == "CONFIG" and up:
            control.send("CONFIGURED", instance=instance)
        if m.type == "START":
            started(control, instance)
            up = True
        if m.type == "DRAIN" and "stubborn" not in PARTS:
            os._exit(0)
        if m.type == "DRAIN":
            control.send("DRAINING", instance=instance)


try:
    main()
except (frames.Closed, ConnectionError):
    while "undead" in PARTS:
        time.sleep(1)
    os._exit(75)
