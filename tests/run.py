#!/usr/bin/env python3
"""Runs all tests of Postino and ends in one line: N passed, N failed.

    tests/run.py [--only WORD]...      parts whose name has WORD in it
Parts: unit tests (release and with sanitizers), fuzz targets (a short run each), static analysis, man pages, the rules of SMTP (tests/conformance), end-to-end tests.
"""
import argparse
import concurrent.futures
import glob
import os
import re
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "fuzz"))
import fuzz  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
FUZZ_SECONDS = int(os.environ.get("FUZZ_SECONDS", "6"))
# These end what hangs; none of them says how fast something has to be, on whatever machine this runs.
UNIT_SECONDS, FUZZ_MORE_SECONDS, LINT_SECONDS, CONFORMANCE_SECONDS, E2E_SECONDS = 900, 600, 3600, 900, 1800


class Results:
    def __init__(self):
        self.passed, self.failures, self.skipped = 0, [], []

    def add(self, name, ok, text=""):
        if ok:
            self.passed += 1
        else:
            self.failures.append(name)
            print("FAILED %s\n%s" % (name, text[-6000:]), flush=True)


def run(command, seconds=600, **more):
    """Into a file: of a pipe the end would come with that of the last process that a test has left behind."""
    with tempfile.TemporaryFile() as out:
        try:
            code, late = subprocess.run(command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT, timeout=seconds, **more).returncode, ""
        except subprocess.TimeoutExpired:
            code, late = -1, "\nnot done in %d seconds" % seconds
        return code, os.pread(out.fileno(), os.fstat(out.fileno()).st_size, 0).decode(errors="replace") + late


def several(commands, seconds):
    """Their results, in their order; as many at a time as there are processors. Most of them wait more than they compute."""
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        yield from pool.map(lambda command: run(command, seconds), commands)


def unit_tests(results, variant):
    tests = [t for t in sorted(glob.glob(os.path.join(ROOT, "build", variant, "unit", "test_*"))) if not t.endswith((".d", ".o"))]
    for test, (code, text) in zip(tests, several([[test] for test in tests], UNIT_SECONDS)):
        ok = re.findall(r"^\[ +OK +\] (\S+)", text, re.M)
        bad = sorted(set(re.findall(r"^\[ +FAILED +\] (?:\w+: )?(\w+)$", text, re.M)))
        for _ in ok:
            results.add("", True)
        for name in bad:
            results.add("%s %s: %s" % (variant, os.path.basename(test), name), False, text)
        if code != 0 and not bad or not ok:
            results.add("%s %s: ended with %d" % (variant, os.path.basename(test), code), False, text)


def fuzzers(results):
    """What is kept, and some seconds of the same choices each time, whose number is the machine's: `make fuzz` makes others, and is stricter with time."""
    names = list(fuzz.targets())
    commands = [fuzz.command(name, "-max_total_time=%d" % FUZZ_SECONDS, "-verbosity=0", "-seed=1", "-timeout=60") + fuzz.directories(name) for name in names]
    for name, (code, text) in zip(names, several(commands, FUZZ_SECONDS + FUZZ_MORE_SECONDS)):
        results.add("fuzz " + name, code == 0, text)


def static_analysis(results):
    code, text = run(["make", "-s", "-k", "-j2", "lint"], LINT_SECONDS)
    results.add("static analysis", code == 0, text)


def manuals(results):
    pages = run(["make", "-s", "list-manuals"])[1].split()
    results.add("there are man pages", len(pages) > 10, " ".join(pages))
    for page in pages:
        code, text = run(["mandoc", "-Tlint", "-Wwarning", page])
        results.add("man page " + page, code == 0, text)


def conformance(results):
    """Each rule against Postino, and against Debian's Postfix."""
    code, text = run(["/usr/bin/python3", "tests/conformance/conformance.py"], CONFORMANCE_SECONDS, stdin=subprocess.DEVNULL)
    verdict = re.search(r"^(\d+) rules; (\d+) kept, (\d+) not kept$", text, re.M)
    for _ in range(int(verdict.group(2)) if verdict else 0):
        results.add("", True)
    for failure in re.findall(r"^FAILED (\w+ \w+): ", text, re.M):
        results.add("conformance " + failure, False, text)
    if not verdict or code != 0 and verdict.group(3) == "0":
        results.add("conformance: ended with %d" % code, False, text)
    results.skipped += re.findall(r"^skipped: (.*)$", text, re.M)


# They measure how long something takes or how much of the machine it needs, or have little time for much.
ALONE = {"test_dns_zones", "test_heavy", "test_load", "test_login", "test_park", "test_race", "test_settings", "test_shed", "test_strangers"}


def end_to_end_file(name):
    began = time.monotonic()
    code, text = run(["/usr/bin/python3", "-m", "unittest", "-v", name], E2E_SECONDS,
                     env=dict(os.environ, PYTHONPATH=os.path.join(ROOT, "tests", "e2e")), stdin=subprocess.DEVNULL)
    return name, code, text, time.monotonic() - began


def end_to_end_outcome(results, name, code, text, seconds):
    outcomes = re.findall(r"^(\w+) \(([\w.]+)\)(?:\n.*?)?? \.\.\. (?:[\s\S]*?)(ok|FAIL|ERROR|skipped [^\n]*)$", text, re.M)
    bad = re.findall(r"^(?:FAIL|ERROR): (.*)$", text, re.M)
    skipped = ["%s (%s)" % (test, outcome[8:].strip("'\"")) for test, where, outcome in outcomes if outcome.startswith("skipped ")]
    ran = re.search(r"Ran (\d+) tests? in [\d.]+s", text)  # perhaps behind half a line of a test's program
    count = int(ran.group(1)) if ran else 0
    # What a test's programs still say can come after unittest's own last line.
    verdict = re.findall(r"^(?:OK|FAILED)(?: \(.*\))?$", text, re.M)
    counts = dict(re.findall(r"(failures|errors|skipped)=(\d+)", verdict[-1] if verdict else ""))
    failed = int(counts.get("failures", 0)) + int(counts.get("errors", 0))
    skips = int(counts.get("skipped", 0))
    for _ in range(max(0, count - failed - skips)):
        results.add("", True)
    for i in range(failed):
        results.add("e2e %s: %s" % (name, bad[i] if i < len(bad) else "?"), False, text if i == 0 else "")
    if skips:
        results.skipped += ["e2e %s: %d: %s" % (name, skips, ", ".join(skipped))]
    if code != 0 and not failed or not count:
        results.add("e2e %s: ended with %d" % (name, code), False, text)
    print("    %-24s %3d tests, %d failed, %d skipped, %5.1f s" % (name, count, failed, skips, seconds), flush=True)


def end_to_end(results, only):
    names = [os.path.basename(path)[:-3] for path in sorted(glob.glob(os.path.join(ROOT, "tests", "e2e", "test_*.py")))]
    names = [name for name in names if not only or any(word in "e2e " + name for word in only)]
    with concurrent.futures.ThreadPoolExecutor(min(os.cpu_count() or 1, 4)) as pool:
        for done in pool.map(end_to_end_file, [name for name in names if name not in ALONE]):
            end_to_end_outcome(results, *done)
    for name in names:
        if name in ALONE:
            end_to_end_outcome(results, *end_to_end_file(name))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", action="append", default=[])
    only = parser.parse_args().only
    results = Results()
    parts = [
        ("unit release", lambda: unit_tests(results, "release")),
        ("unit asan", lambda: unit_tests(results, "asan")),
        ("fuzz", lambda: fuzzers(results)),
        ("lint", lambda: static_analysis(results)),
        ("man", lambda: manuals(results)),
        ("conformance", lambda: conformance(results)),
        ("e2e", lambda: end_to_end(results, [w for w in only if w.startswith("e2e ") or w.startswith("test_")])),
    ]
    for name, part in parts:
        if only and not any(word in name or (name == "e2e" and word.startswith("test_")) for word in only):
            continue
        began = time.monotonic()
        before = results.passed
        print("== %s" % name, flush=True)
        part()
        print("   %s: %d passed, %.0f s" % (name, results.passed - before, time.monotonic() - began), flush=True)
    for name in results.skipped:
        print("skipped: %s" % name)
    for name in results.failures:
        print("failed: %s" % name)
    print("%d passed, %d failed" % (results.passed, len(results.failures)))
    return 1 if results.failures else 0


if __name__ == "__main__":
    sys.exit(main())
