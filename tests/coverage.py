#!/usr/bin/python3
"""How much of smtpd its unit tests and the kept corpora of its fuzz targets reach, line by line (make coverage builds them for that).

    coverage.py [--show FILE]      the lines of one file that nothing reaches

The end-to-end tests are not counted: a program in its sandbox can write no such file."""
import argparse
import glob
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(ROOT, "build", "coverage")
sys.path.insert(0, os.path.join(ROOT, "tests", "fuzz"))
import fuzz  # noqa: E402


def tool(*command):
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit("%s: %s" % (command[0], done.stderr))
    return done.stdout


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--show")
    options = parser.parse_args()
    programs = sorted(p for p in glob.glob(os.path.join(BUILD, "*_*")) if os.access(p, os.X_OK))
    if not programs:
        sys.exit("nothing is built for it; call make coverage")
    for path in glob.glob(os.path.join(BUILD, "*.profraw")):
        os.unlink(path)
    for program in programs:
        name = os.path.basename(program)
        inputs = fuzz.directories(name) if name.startswith("fuzz_") else []
        done = subprocess.run([program] + (["-runs=0", "-verbosity=0"] + inputs if inputs else []), cwd=ROOT, capture_output=True, env=dict(os.environ, LLVM_PROFILE_FILE=program + ".%p.profraw"))
        if done.returncode != 0:
            sys.exit("%s ended with %d:\n%s" % (name, done.returncode, done.stderr.decode(errors="replace")[-3000:]))
    data = os.path.join(BUILD, "all.profdata")
    tool("llvm-profdata", "merge", "-sparse", "-o", data, *glob.glob(os.path.join(BUILD, "*.profraw")))
    objects = [programs[0]] + [word for p in programs[1:] for word in ("-object", p)]
    if options.show:
        text = tool("llvm-cov", "show", *objects, "-instr-profile=" + data, options.show)
        print("\n".join(line for line in text.split("\n") if re.match(r"\s*\d+\|\s+0\|", line)))
        return
    sources = sorted(glob.glob(os.path.join(ROOT, "smtpd", "*.c")))
    print("%-24s %8s %8s %8s" % ("", "lines", "reached", "branches"), flush=True)
    total = [0, 0]
    for source in sources:
        text = tool("llvm-cov", "report", *objects, "-instr-profile=" + data, source)
        words = next((line.split() for line in text.split("\n") if re.match(r"(?:\S*/)?%s\s" % re.escape(os.path.basename(source)), line)), None)
        lines, missed = (int(words[7]), int(words[8])) if words else (0, 0)
        if lines == 0:
            print("%-24s %8s" % (os.path.relpath(source, ROOT), "in none of them"))
            continue
        print("%-24s %8d %7.1f%% %8s" % (os.path.relpath(source, ROOT), lines, 100 * (lines - missed) / lines, words[12]))
        total = [total[0] + lines, total[1] + missed]
    print("%-24s %8d %7.1f%%" % ("all", total[0], 100 * (total[0] - total[1]) / total[0]))


if __name__ == "__main__":
    main()
