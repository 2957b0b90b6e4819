#!/usr/bin/python3
"""Holds every rule (rules.py) against Postino and against Debian's Postfix, and ends with 1 when one of them is not kept, or a difference has no reason.

    conformance.py [--only WORD]... [--server Postino|Postfix] [--verbose]
"""
import argparse
import os
import sys
import time
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import rules  # noqa: E402
import servers  # noqa: E402
from dialogue import Dialogue, Failed  # noqa: E402


def hold(server, name, rule, verbose):
    """True: it is kept."""
    s = None
    began = time.monotonic()
    try:
        s = Dialogue(server)
        rule(s)
        failed = "\n    ".join(s.faults)
    except (Failed, AssertionError, OSError) as why:
        failed = "\n    ".join((s.faults if s else []) + [repr(why)])
    except Exception:
        failed = traceback.format_exc()
    finally:
        if s:
            s.close()
    if failed:
        print("FAILED %s %s: %s" % (server.name, name, failed), flush=True)
        if s and not s.faults:
            print("".join("    %s\n" % line for line in s.transcript[-10:]), end="", flush=True)
    elif verbose:
        print("ok %s %s %.2f s" % (server.name, name, time.monotonic() - began), flush=True)
    return not failed


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--server", choices=("Postino", "Postfix"))
    parser.add_argument("--verbose", action="store_true")
    options = parser.parse_args()
    chosen = [(name, rule) for name, rule in rules.all_rules() if not options.only or any(word in name for word in options.only)]
    kept = failed = 0
    if options.server != "Postino" and os.geteuid() != 0:
        print("skipped: Postfix as reference needs root")
        options.server = "Postino"
    for kind in (servers.Postino, servers.Postfix):
        if options.server in (None, kind.name):
            with kind() as server:
                for name, rule in chosen:
                    good = hold(server, name, rule, options.verbose)
                    kept, failed = kept + good, failed + (not good)
    print("%d rules; %d kept, %d not kept" % (len(chosen), kept, failed))
    return 1 if failed or not chosen else 0


if __name__ == "__main__":
    sys.exit(main())
