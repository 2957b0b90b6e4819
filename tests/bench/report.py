"""The tables: on the terminal, and in docs/performance.md between its two markers."""
import os
import platform
import re
import statistics

import workloads

BEGIN, END = "<!-- measured: begin (written by `make bench`) -->", "<!-- measured: end -->"


def median(values):
    return statistics.median(values) if values else None


def number(v):
    if v >= 100:
        return "{:,.0f}".format(v)
    return "%.1f" % v if v >= 10 else "%.2f" % v if v >= 1 else "%.3f" % v


def spread(values):
    return " / ".join(number(v) for v in (min(values), statistics.median(values), max(values))) if values else "-"


def machine():
    with open("/proc/meminfo") as f:
        memory = int(re.search(r"MemTotal:\s+(\d+)", f.read()).group(1)) / 2**20
    with open("/proc/cpuinfo") as f:
        kind = re.search(r"model name\s*:\s*(.*)", f.read())
    kernel = re.match(r"\d+\.\d+", platform.release()).group(0)
    return "%d cores (%s), %.0f GiB of memory, Linux %s" % (os.cpu_count(), kind.group(1).strip() if kind else platform.machine(), memory, kernel)


class Results:
    """rounds[(workload, peer)][measure] is a list, a value a round; the rest is by its own name."""

    def __init__(self):
        self.rounds, self.calls, self.by_program, self.failed = {}, {}, {}, {}
        self.latency, self.idle, self.deferred, self.how_calls, self.left_out = {}, {}, None, "", []

    def add(self, workload, peer, values):
        into = self.rounds.setdefault((workload.name, peer), {})
        for measure, value in values.items():
            into.setdefault(measure, []).append(value)

    def of(self, workload, peer, measure):
        return median(self.rounds.get((workload.name, peer), {}).get(measure, []))


def _ratio(results, workload, peer, measure):
    ours, theirs = results.of(workload, peer, measure), results.of(workload, "Postfix", measure)
    if not ours or not theirs or peer == "Postfix":
        return "-"
    return "%.1f" % (ours / theirs) if ours >= theirs else "1/%.1f" % (theirs / ours)


def _rounds_table(results, peers):
    lines = ["| workload | MTA | messages a second | to Postfix | CPU ms a message | to Postfix | device flushes a message | peak memory, MiB |",
             "|---|---|---|---|---|---|---|---|"]
    for w in workloads.ALL:
        for peer in peers + ["ceiling"]:
            found = results.rounds.get((w.name, peer))
            why = results.failed.get((w.name, peer))
            if found or why:
                cells = [spread(found["rate"]) if found else why, _ratio(results, w, peer, "rate"), spread(found.get("cpu", [])) if found else "-",
                         _ratio(results, w, peer, "cpu"), spread(found.get("device_flushes", [])) if found else "-",
                         number(max(found["peak"])) if found and "peak" in found else "-"]
                lines.append("| %s%s | %s |" % (w.name, " (a recipient)" if w.recipients > 1 else "", " | ".join(
                    ["smtp-source to smtp-sink" if peer == "ceiling" else peer] + cells)))
    return lines


def _calls_table(results, peers):
    lines = ["| workload | MTA | system calls a message | calls for a flush a message | of these calls, by program |", "|---|---|---|---|---|"]
    for w in workloads.ALL:
        for peer in peers:
            found = results.calls.get((w.name, peer))
            if found:
                programs = sorted(results.by_program.get((w.name, peer), {}).items(), key=lambda item: -item[1])
                by = ", ".join("%s %.1f" % item for item in programs) if peer == "Postino" else "-"
                lines.append("| %s | %s | %.1f | %.3f | %s |" % (w.name, peer, found["calls"], found["flushes"], by))
    return lines


def _other_tables(results, peers):
    lines = ["| latency alone, ms from end of data to the next host's end of data | min / median / max |", "|---|---|"]
    lines += ["| %s | %s |" % (peer, spread(results.latency.get(peer, [])) if peer in results.latency else results.failed.get(("latency", peer), "-")) for peer in peers]
    lines += ["", "| idle sessions | MTA | KiB a session (PSS) | KiB a session (USS) |", "|---|---|---|---|"]
    for (peer, tls), found in results.idle.items():
        for n, values in found.items():
            lines.append("| {:,} {} | {} | {:.1f} | {:.1f} |".format(n, "TLS" if tls else "plain", peer, values["pss"] / 1024, values["uss"] / 1024))
    for (what, peer), why in results.failed.items():
        if what.startswith("idle"):
            lines.append("| %s | %s | %s | - |" % (what, peer, why))
    if results.deferred:
        d = results.deferred
        lines += ["", "| start with deferred messages (Postino) | seconds until ready | bytes of memory a recipient | peak of qmgr, MiB |", "|---|---|---|---|",
                  "| {:,} | {:.2f} | {:.0f} | {:.0f} |".format(d["count"], d["seconds"], d["bytes"], d["peak"])]
    return lines


def _part(value):
    return "1/%.1f" % (1 / value) if value else "-"


def goals(results, place):
    """(measure, goal, measured, reached: True, False or None for not measured)"""
    W, rows = workloads, []

    def add(measure, goal, value, form, reached):
        rows.append((measure, goal, form(value) if value is not None else "not measured", None if value is None else reached(value)))

    def ratio(w, measure, other):
        ours, theirs = results.of(w, "Postino", measure), results.of(w, other, measure)
        return ours / theirs if ours and theirs else None

    add("CPU a relayed 4 KiB message, kept connections, of Postfix's", "1/15", ratio(W.RELAY_20, "cpu", "Postfix"), _part, lambda v: v <= 1 / 15)
    add("the same, a new connection each message", "1/10", ratio(W.RELAY_20_NEW, "cpu", "Postfix"), _part, lambda v: v <= 1 / 10)
    for w in (W.RELAY_20, W.ALL[2]):
        add("messages a second at %d sessions, of the ceiling" % w.sessions, "0.5", ratio(w, "rate", "ceiling"), lambda v: "%.2f" % v, lambda v: v >= 0.5)
    for w, most in ((W.RELAY_20, 0.2), (W.RELAY_1, 1.0)):
        add("flushes a message, %s" % ("20 sessions" if w.sessions > 1 else "alone"), "%g" % most,
            results.calls.get((w.name, "Postino"), {}).get("flushes"), lambda v: "%.3f" % v, lambda v, most=most: v <= most + 0.005)
    add("system calls a message, all programs, kept connections", "25", results.calls.get((W.RELAY_20.name, "Postino"), {}).get("calls"),
        lambda v: "%.1f" % v, lambda v: v <= 25)
    bound = 3 * place.flush_us / 1000 + 1
    add("latency alone, ms (median)", "3 flushes + 1 ms = %.2f" % bound, median(results.latency.get("Postino", [])), lambda v: "%.2f" % v, lambda v: v < bound)
    for tls, most in ((False, 8), (True, 40)):
        found = results.idle.get(("Postino", tls))
        n = max(found) if found else 0
        add("an idle %ssession, KiB in all programs%s" % ("TLS " if tls else "", " (of {:,})".format(n) if n else ""), str(most),
            found[n]["pss"] / 1024 if found else None, lambda v: "%.1f" % v, lambda v, most=most: v <= most)
    d = results.deferred
    add("a deferred recipient in memory, bytes", "200", d and d["bytes"], lambda v: "%.0f" % v, lambda v: v <= 200)
    million = d and d["count"] >= 1000000
    said = "{:.2f}{}".format(d["seconds"], "" if million else " with {:,}".format(d["count"])) if d else "not measured"
    rows.append(("start with 1,000,000 deferred, seconds", "10", said,
                 d["seconds"] < 10 if million else None))
    return rows


def text(results, place, peers, said):
    words = {True: "reached", False: "**not reached**", None: "not measured"}
    lines = [said, "", "| measure | goal | measured | |", "|---|---|---|---|"]
    lines += ["| %s | %s | %s | %s |" % (m, g, v, words[r]) for m, g, v, r in goals(results, place)]
    lines += ["", "Min / median / max of the rounds:", ""] + _rounds_table(results, peers)
    if results.calls:
        lines += ["", "Counted in a round of its own (%s):" % results.how_calls, ""] + _calls_table(results, peers)
    lines += [""] + _other_tables(results, peers)
    if results.left_out:
        lines += ["", "Left out: " + "; ".join(results.left_out) + "."]
    return "\n".join(lines)


def write(path, body):
    with open(path) as f:
        page = f.read()
    if BEGIN not in page or END not in page:
        raise SystemExit("%s has not the two lines between which the tables go: %s" % (path, BEGIN))
    before, after = page.split(BEGIN)[0], page.split(END)[1]
    with open(path, "w") as f:
        f.write(before + BEGIN + "\n\n" + body + "\n\n" + END + after)
