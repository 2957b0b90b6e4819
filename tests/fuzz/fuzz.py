#!/usr/bin/python3
"""Runs the fuzz targets for a long time each, on what former runs have kept.

    fuzz.py [--time SECONDS] [--only WORD]... [--keep]

What a target begins with: tests/fuzz/seeds/TARGET/ (written by hand), tests/fuzz/corpus/TARGET.txt (kept: an input a line, base64) and build/fuzz/corpus/TARGET/
(of this tree's former runs). --keep writes the least of all that reaches the same code to tests/fuzz/corpus/, to be committed. A finding is left in
build/fuzz/, and ends with 1. tests/fuzz/TARGET.dict has words to try."""
import argparse
import base64
import glob
import hashlib
import os
import re
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
BUILD = os.path.join(ROOT, "build", "fuzz")
INPUT_MOST, INPUTS_MOST = 1500, 300  # of a kept corpus: it is read by people, and lies in the repository


def targets(only=()):
    found = [os.path.basename(path) for path in sorted(glob.glob(os.path.join(BUILD, "fuzz_*"))) if os.access(path, os.X_OK) and os.path.isfile(path)]
    return [name for name in found if not only or any(word in name for word in only)]


def working(name):
    """The directory that a target works in, with what was kept in it."""
    directory = os.path.join(BUILD, "corpus", name)
    os.makedirs(directory, exist_ok=True)
    kept = os.path.join(HERE, "corpus", name + ".txt")
    if os.path.exists(kept):
        with open(kept) as f:
            for line in f:
                octets = base64.b64decode(line)
                with open(os.path.join(directory, hashlib.sha1(octets).hexdigest()), "wb") as out:
                    out.write(octets)
    return directory


def command(name, *options):
    """The call of a target, without its directories."""
    words = os.path.join(HERE, name + ".dict")
    return [os.path.join(BUILD, name), "-timeout=10", "-rss_limit_mb=2048", "-artifact_prefix=build/fuzz/", *options] + (["-dict=" + words] if os.path.exists(words) else [])


def directories(name):
    seeds = os.path.join(HERE, "seeds", name)
    return [working(name)] + ([seeds] if os.path.isdir(seeds) else [])


def keep(name):
    least = os.path.join(BUILD, "corpus", name + ".least")
    shutil.rmtree(least, ignore_errors=True)
    os.makedirs(least)
    small = os.path.join(BUILD, "corpus", name + ".small")
    shutil.rmtree(small, ignore_errors=True)
    os.makedirs(small)
    for directory in directories(name):
        for path in glob.glob(os.path.join(directory, "*")):
            if os.path.getsize(path) <= INPUT_MOST:
                shutil.copy(path, os.path.join(small, hashlib.sha1(open(path, "rb").read()).hexdigest()))
    subprocess.run(command(name, "-merge=1", "-verbosity=0") + [least, small], cwd=ROOT, check=True, capture_output=True)
    inputs = sorted((open(path, "rb").read() for path in glob.glob(os.path.join(least, "*"))), key=lambda octets: (len(octets), octets))[:INPUTS_MOST]
    os.makedirs(os.path.join(HERE, "corpus"), exist_ok=True)
    with open(os.path.join(HERE, "corpus", name + ".txt"), "w") as f:
        f.writelines(base64.b64encode(octets).decode() + "\n" for octets in inputs)
    shutil.rmtree(least)
    shutil.rmtree(small)
    return len(inputs)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--time", type=int, default=600)
    parser.add_argument("--only", action="append", default=[])
    parser.add_argument("--keep", action="store_true")
    options = parser.parse_args()
    failed = []
    for name in targets(options.only):
        done = subprocess.run(command(name, "-max_total_time=%d" % options.time, "-print_final_stats=1") + directories(name), cwd=ROOT, capture_output=True, text=True, errors="replace")
        runs = re.search(r"number_of_executed_units: (\d+)", done.stderr)
        reached = re.findall(r" cov: (\d+) ft: (\d+)", done.stderr)
        print("%-16s %10s runs, %s branches reached%s" % (name, runs.group(1) if runs else "?", reached[-1][0] if reached else "?",
                                                        ", %d inputs kept" % keep(name) if options.keep and done.returncode == 0 else ""), flush=True)
        if done.returncode != 0:
            failed.append(name)
            print("FAILED %s\n%s" % (name, done.stderr[-6000:]), flush=True)
    print("%d targets, %d with a finding" % (len(targets(options.only)), len(failed)))
    return 1 if failed or not targets(options.only) else 0


if __name__ == "__main__":
    sys.exit(main())
