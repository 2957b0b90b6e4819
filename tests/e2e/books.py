"""The books of a crash test: which messages were handed in and what the client was told, what arrived where and when, and whether it balances.

    accepted - (delivered + reported + queued) = 0       for each recipient of each message that was answered with 250

A message carries its number and a checksum. The local part of a recipient says what becomes of it: `ok.7.0@...` is taken at once, `bad.7.1@...` is
refused for good (its sender gets a report), `later.7.2@...` is taken at the second or third attempt; alice and bob are mailboxes.
"""
import collections
import email
import email.policy
import hashlib
import os
import random
import re
import threading
import time

from host import DOMAIN

REMOTE = "elsewhere.example"
REPORTS = "reports@" + DOMAIN
MAILBOXES = ("alice", "bob")

# What the client was told. UNKNOWN: the end of the message was sent, and no clear answer came.
ACCEPTED, REFUSED, UNKNOWN, UNSENT = "accepted", "refused", "unknown", "unsent"

# Seconds. A delivery is settled within SETTLED after the next host's yes; the yes of a session whose client was killed can come LATE.
SETTLED, LATE = 2.5, 1.5


class Message:
    """Everything about message `number` follows from the seed."""

    def __init__(self, seed, number, kinds=None, sizes=(300, 300, 1000, 1000, 2000, 2000, 4000, 4000, 30000, 400000)):
        r = random.Random("%s/%d" % (seed, number))
        self.number, self.fate, self.taken, self.answer, self.answered = number, UNSENT, [], "", time.time()
        self.sender = REPORTS if r.random() < 0.5 else "sender.%d@%s" % (number, REMOTE)
        if kinds is None:
            kinds = ["ok"] + [r.choice(("ok", "bad", "later", "local")) for _ in range(r.choice((0, 1, 2, 3, 8)))]
            r.shuffle(kinds)
        self.recipients = ["%s.%d.%d@%s" % (kind, number, i, REMOTE) for i, kind in enumerate(kinds) if kind != "local"]
        self.recipients += ["%s@%s" % (name, DOMAIN) for name in MAILBOXES[:kinds.count("local")]]
        self.size = r.choice(sizes)
        self.seed = seed

    def text(self):
        r, lines, size = random.Random("%s/%d/text" % (self.seed, self.number)), ["X-Length: %d" % self.size], 0
        while size < self.size:
            line = r.choice(("", "", "", ".", "..")) + "%x" % r.getrandbits(4 * r.choice((10, 60, 70)))
            lines.append(line)
            size += len(line) + 2
        body = "\r\n".join(lines) + "\r\n"
        return ("From: %s\r\nTo: %s\r\nSubject: message %d\r\nX-Number: %d\r\n\r\n" % (self.sender, self.recipients[0], self.number, self.number)
                + body + "Checksum: %s\r\n" % checksum(self.number, body)).encode()


def checksum(number, body):
    return hashlib.sha256(("%d\r\n" % number + body).encode()).hexdigest()


def number_of(raw):
    """The number of a message that came as it was sent, or None: it is damaged."""
    text = raw.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n").decode("ascii", "replace")
    head, _, body = text.partition("\r\n\r\n")
    number, last = re.search(r"^X-Number: (\d+)\r?$", head, re.M), re.search(r"\r\nChecksum: (\w+)\r\n\Z", body)
    if not number or not last or last.group(1) != checksum(int(number.group(1)), body[:last.start() + 2]):
        return None
    return int(number.group(1))


def contents_of_report(raw):
    """Its Message-ID and whom it is about, or None: it is damaged."""
    report = email.message_from_bytes(raw, policy=email.policy.SMTP)
    boundary = report.get_param("boundary")
    if report.get_content_type() != "multipart/report" or not boundary or not raw.rstrip().endswith(b"--" + boundary.encode() + b"--"):
        return None
    parts = report.get_payload()
    if len(parts) != 3 or parts[1].get_content_type() != "message/delivery-status":
        return None
    fields = [block["Final-Recipient"] for block in parts[1].get_payload()[1:]]
    return report["Message-ID"], [str(f).split(";", 1)[1].strip() for f in fields if f]


def number_in(address):
    """Of a recipient that has it in its name."""
    return int(re.match(r"\w+\.(\d+)\.\d+@", address).group(1))


def killers(recipient):
    """Whose end can make a delivery be repeated."""
    return {"qmgr", "power", "local" if recipient.endswith("@" + DOMAIN) else "remote"}


class Kill:
    """What was killed, stopped or cut, from when to when."""

    def __init__(self, what, begin=None, end=None):
        self.what, self.begin = set(what), begin or time.time()
        self.end = end or self.begin


class Pulse:
    """Wants to run twenty times a second, and notes how late it was at most: as long as that the machine, or this process, stood still."""

    def __init__(self):
        self.late, self.ending = 0.0, threading.Event()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        last = time.monotonic()
        while not self.ending.wait(0.05):
            now = time.monotonic()
            self.late = max(self.late, now - last - 0.2)
            last = now

    def close(self):
        self.ending.set()
        self.thread.join()


class Books:
    def __init__(self, seed, pulse):
        self.seed, self.pulse, self.settled = seed, pulse, SETTLED
        self.messages = {}                            # number: Message
        self.arrived = collections.defaultdict(list)  # (number, recipient): times
        self.reported = collections.defaultdict(lambda: collections.defaultdict(list))  # (number, recipient): Message-ID of the report: times
        self.kills, self.damaged, self.suspects = [], [], set()

    # ---- entries -------------------------------------------------------------------------------------------------------------------

    def message(self, **more):
        number = len(self.messages) + 1
        self.messages[number] = Message(self.seed, number, **more)
        return self.messages[number]

    def kill(self, *what, begin=None):
        self.kills.append(Kill(what, begin, time.time()))

    def delivery(self, recipients, raw, where, when=None):
        number = number_of(raw)
        if number is None:
            self.damaged.append("%s: not as it was sent: %d octets that begin %r" % (where, len(raw), raw[:200]))
            return
        for recipient in recipients:
            self.arrived[number, recipient].append(when or time.time())

    def report(self, raw, where, when=None):
        contents = contents_of_report(raw)
        if not contents or not contents[0] or not contents[1]:
            self.damaged.append("%s: a damaged report: %r" % (where, raw[-300:]))
            return
        for recipient in contents[1]:
            self.reported[number_in(recipient), recipient][contents[0]].append(when or time.time())

    def mailboxes(self, host):
        """Enters what came to mailboxes, and empties them."""
        for name in MAILBOXES + ("reports",):
            for entry in os.scandir(host.path("mail", name, "new")) if os.path.isdir(host.path("mail", name, "new")) else ():
                self._mailbox_file(name, entry)
                os.unlink(entry.path)

    def _mailbox_file(self, name, entry):
        with open(entry.path, "rb") as f:
            raw = f.read()
        if name == "reports":
            self.report(raw, entry.path, entry.stat().st_mtime)
        else:
            self.delivery(["%s@%s" % (name, DOMAIN)], raw, entry.path, entry.stat().st_mtime)

    # ---- the balance ---------------------------------------------------------------------------------------------------------------

    def queue_ids(self):
        """{queue id: number} of what was accepted."""
        return {m.answer.split()[-1]: m.number for m in self.messages.values() if m.fate == ACCEPTED}

    def of_fate(self, fate):
        return [m for m in self.messages.values() if m.fate == fate]

    def place(self, number, recipient, queued):
        """Where a recipient's copy is: "delivered", "reported", "queued" or None."""
        if recipient.startswith("bad."):
            if self.reported.get((number, recipient)):
                return "reported"
        elif self.arrived.get((number, recipient)):
            return "delivered"
        return "queued" if (number, recipient) in queued else None

    def places(self, message, queued):
        return [(r, self.place(message.number, r, queued)) for r in message.taken]

    def explained(self, times, programs):
        """Whether before each time but the first something was killed: after the delivery before it, and before that was settled. One kill, one
        duplicate."""
        kills = [kill for kill in self.kills if kill.what & programs]
        for first, again in zip(times, times[1:]):
            late = self.pulse.late
            fits = [k for k in kills if k.begin - self.settled - late <= first <= k.end + LATE + late and k.begin <= again]
            if not fits:
                return False
            kills.remove(fits[0])
        return True

    def duplicates(self):
        """All that came more than once: (what, number, recipient, times, explained)."""
        for (number, recipient), times in self.arrived.items():
            if len(times) > 1:
                yield "mail", number, recipient, times, self.explained(sorted(times), killers(recipient))
        for (number, recipient), reports in self.reported.items():
            for times in reports.values():
                if len(times) > 1:
                    yield "reports", number, recipient, times, self.explained(sorted(times), killers(self.messages[number].sender))
            if len(reports) > 1:  # made anew: qmgr was killed when one was stored and the failure not yet settled
                last, first = max(map(min, reports.values())), self.messages[number].answered
                kills = [k for k in self.kills if k.what & {"qmgr", "power"} and first - LATE - self.pulse.late <= k.end and k.begin <= last]
                yield "reports made anew", number, recipient, [t for times in reports.values() for t in times[:1]], len(reports) <= 1 + len(kills)

    def strangers(self):
        """What came though it can't have: of messages that were refused or never sent whole, or to the wrong recipient."""
        for number, recipient in list(self.arrived) + list(self.reported):
            message = self.messages.get(number)
            if message is None or message.fate in (REFUSED, UNSENT):
                yield "%s of message %s (%s) came" % (recipient, number, message.fate if message else "unknown")
            elif recipient not in message.taken:
                yield "message %d came for %s, who is none of its recipients" % (number, recipient)
        for number, recipient in self.arrived:
            if recipient.startswith("bad."):
                yield "%s, who was refused, got message %d" % (recipient, number)
        for number, recipient in self.reported:
            if not recipient.startswith("bad."):
                yield "message %s is reported as failed for %s" % (number, recipient)

    def balance(self, queued=()):
        """The sums, and what is wrong: (Counter, [words]). queued: pairs (number, recipient)."""
        queued, sums, wrong = set(queued), collections.Counter(), list(self.damaged) + list(self.strangers())
        self.suspects = set()
        for message in self.messages.values():
            sums[message.fate] += 1
            places = self.places(message, queued)
            if message.fate == ACCEPTED:
                for recipient, place in places:
                    sums["recipients"] += 1
                    sums[place or "lost"] += 1
                    if place is None:
                        self.suspects.add(message.number)
                        wrong.append("LOST: message %d for %s" % (message.number, recipient))
            elif message.fate == UNKNOWN and any(place for _, place in places):
                sums["unknown and there"] += 1
                wrong += ["message %d came by half: not to %s" % (message.number, r) for r, place in places if place is None]
        for what, number, recipient, times, explained in self.duplicates():
            sums["duplicates (%s)" % what] += len(times) - 1
            if not explained:
                self.suspects.add(number)
                wrong.append("DUPLICATE (%s): message %d for %s at %s, and nothing was killed then" % (
                    what, number, recipient, ", ".join("%.3f" % t for t in sorted(times))))
        sums["kills"] = len(self.kills)
        return sums, wrong


def show(sums):
    """One line; the equation first."""
    s = dict(sums)
    line = "%d recipients accepted - (%d delivered + %d reported + %d queued) = %d lost" % tuple(
        s.pop(k, 0) for k in ("recipients", "delivered", "reported", "queued", "lost"))
    return line + "; " + ", ".join("%d %s" % (n, k) for k, n in sorted(s.items()))
