"""postino spool check, repair and dump, on spools that Postino made, damaged in each way that a disk or a person can: what is found, what is kept, and
that Postino then delivers byte for byte what it promised."""
import fcntl
import json
import os
import pty
import re
import resource
import shutil
import signal
import struct
import subprocess
import unittest

from host import DOMAIN, FIRST_UID, Host, free_port, program, wait_for
from hostile import Server

BLOCK = 4096
HEADER = struct.Struct("<IHHQQQIII")  # docs/spool.md: magic, version, type, id, offset, body, body's checksum, rest, its checksum
MSG, SETTLE, REMOVE, MOVED = 1, 2, 3, 4
ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def id_text(number):
    return "".join(ALPHABET[number >> 5 * i & 31] for i in reversed(range(12)))


def shelf_of(text):
    number = 0
    for c in text:
        number = number << 5 | ALPHABET.index(c)
    return "%02x" % (number >> 16 & 255)


class Record:
    def __init__(self, data, at):
        self.magic, _, self.type, self.number, self.offset, self.body, _, self.rest, _ = HEADER.unpack_from(data, at)
        self.id = id_text(self.number)
        self.octets = (64 + self.body + self.rest + 63) // 64 * 64


class Segment:
    """What stands in a segment: its batches, and their records."""

    def __init__(self, path):
        self.path = path
        with open(path, "rb") as f:
            self.data = f.read()
        self.batches = {}
        at = BLOCK
        while self.data[at:at + 4] == b"PSBT":
            length, count = struct.unpack_from("<II", self.data, at + 40)
            records, r = [], at + 64
            for _ in range(count):
                records.append(Record(self.data, r))
                r += records[-1].octets
            self.batches[at] = records
            at += (length + BLOCK - 1) // BLOCK * BLOCK
        self.end = at

    def records(self, kind=None):
        return [r for records in self.batches.values() for r in records if kind in (None, r.type)]


def write_at(path, offset, octets):
    with open(path, "r+b") as f:
        f.seek(offset)
        f.write(octets)


def crc32c(octets):
    crc = 0xffffffff
    for octet in octets:
        crc ^= octet
        for _ in range(8):
            crc = crc >> 1 ^ (0x82f63b78 if crc & 1 else 0)
    return crc ^ 0xffffffff


def flip(path, offset, bit=0):
    with open(path, "rb") as f:
        f.seek(offset)
        octet = f.read(1)[0]
    write_at(path, offset, bytes([octet ^ 1 << bit]))


def open_read(path):
    with open(path, "rb") as f:
        return f.read()


def snapshot(directory):
    """{path: what is there}: to see that nothing was changed."""
    found = {}
    for top, directories, files in os.walk(directory):
        for name in directories:
            found[os.path.relpath(os.path.join(top, name), directory)] = "directory"
        for name in files:
            path = os.path.join(top, name)
            st = os.lstat(path)
            content = os.readlink(path) if os.path.islink(path) else st.st_size
            if os.path.isfile(path) and st.st_size < 1 << 22:
                with open(path, "rb") as f:
                    content = f.read()
            found[os.path.relpath(path, directory)] = (st.st_mode, st.st_uid, st.st_mtime_ns, content)
    return found


def message(name, size):
    line = b"%s 0123456789abcdef0123456789abcdef0123456789abcdef\r\n" % name.encode()
    return b"From: alice@local.example\r\nTo: x@elsewhere.example\r\nSubject: %s\r\n\r\n" % name.encode() + line * (size // len(line) + 1)


class SpoolTool(unittest.TestCase):
    """One spool is made; each test has a copy of it: four messages in files (one of them large), six in the log, all for a host that is down. `many` has three
    recipients, one of whom was served. Postino was killed at the end."""

    @classmethod
    def setUpClass(cls):
        cls.port = free_port()
        up = cls.enterClassContext(Server())
        cls.host = Host(routes={"*": "smtp:[127.0.0.1]:%d" % cls.port, "up.example": up.via},
                        settings="queue { retry_first = 1h retry_most = 1h }")
        cls.addClassCleanup(cls.host.close)
        cls.sent = {}  # id: (name, body as it was sent, recipients)
        host = cls.host
        host.start()
        cls.send("large", 1 << 20)
        for i in range(3):
            cls.send("file%d" % i, 300 << 10)
        cls.wait_for_log()
        for i in range(1, 4):
            cls.send("log%d" % i, 3000 * (i + 1))
        cls.send("many", 2000, ["one@elsewhere.example", "two@up.example", "three@elsewhere.example"])

        def settled():
            """the host that is down was tried, and one recipient is served"""
            return "status=deferred" in host.log() and re.search(cls.id_of("many") + r".*status=sent", host.log())
        wait_for(settled, 60)
        wait_for(cls.is_settled_on_disk, 60)
        cls.send("last", 1000)
        pids = host.pids()
        os.kill(host.process.pid, signal.SIGSTOP)  # it starts no other qmgr
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        host.process.wait()
        host.process = None
        wait_for(lambda: not any(os.path.exists("/proc/%d" % pid) for pid in pids))
        cls.pristine = host.path("pristine")
        os.rename(host.path("spool"), cls.pristine)

    @classmethod
    def wait_for_log(cls):
        def ready():
            """a small message goes to the log; until the first segment is whole it goes to a file, and that one is deleted"""
            i = cls.send("log0", 3000)
            path = os.path.join(cls.host.path("spool"), "msg", shelf_of(i), i)
            if not os.path.exists(path):
                return True
            del cls.sent[i]
            cls.host.tool("postino", "queue", "delete", i, check=True)
            return wait_for(lambda: not os.path.exists(path)) and False
        wait_for(ready, 120, 0.2)

    @classmethod
    def is_settled_on_disk(cls):
        """what was settled so far is written: what `many` and `large` had of it"""
        spool, large, many = cls.host.path("spool"), cls.id_of("large"), cls.id_of("many")
        path = os.path.join(spool, "msg", shelf_of(large), large)
        record = Record(open_read(path), 0)
        return os.path.getsize(path) > 64 + record.body + record.rest + 64 and any(
            r.id == many for r in Segment(os.path.join(spool, "log", "00")).records(SETTLE))

    @classmethod
    def send(cls, name, size, recipients=("x@elsewhere.example",)):
        octets = message(name, size)
        with cls.host.smtp() as client:
            client.ehlo()
            client.mail("alice@" + DOMAIN)
            for recipient in recipients:
                client.rcpt(recipient)
            code, reply = client.data(octets)
            assert code == 250, reply
        i = reply.decode().split()[-1]
        cls.sent[i] = (name, octets, list(recipients))
        return i

    @classmethod
    def id_of(cls, name):
        return next(i for i, sent in cls.sent.items() if sent[0] == name)

    def setUp(self):
        self.spool = self.host.path("spool")
        subprocess.run(["cp", "-a", "--sparse=always", self.pristine, self.spool], check=True)
        self.addCleanup(shutil.rmtree, self.spool)

    def path(self, *names):
        return os.path.join(self.spool, *names)

    def file_of(self, name):
        i = self.id_of(name)
        return self.path("msg", shelf_of(i), i)

    def segment(self):
        return Segment(self.path("log", "00"))

    def record_of(self, name, kind=MSG):
        return next(r for r in self.segment().records(kind) if r.id == self.id_of(name))

    def tool(self, *arguments, **more):
        return self.host.tool("postino", "spool", *arguments, **more)

    def check(self, status):
        """(findings, sums) of a check that must end with a status."""
        done = self.tool("check", "--json")
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        return lines[:-1], lines[-1]["summary"]

    def damaged(self, findings):
        return [f for f in findings if f["finding"] == "damaged"]

    # ---- check -----------------------------------------------------------------------------------------------------------------------

    def test_a_good_spool_is_good_and_is_not_changed(self):
        before = snapshot(self.spool)
        findings, sums = self.check(0)
        self.assertEqual(findings, [])
        self.assertEqual((sums["in_files"], sums["in_log"]), (4, 6))
        self.assertEqual((sums["recipients_waiting"], sums["recipients_done"]), (11, 1))
        self.assertEqual(snapshot(self.spool), before)
        self.assertIn("0 damaged, 0 incomplete, 0 foreign", self.tool("check").stdout)

    def test_damage_of_a_file_is_found_where_it_is(self):
        large = self.file_of("large")
        flip(large, 64 + 500000)
        findings, sums = self.check(1)
        self.assertEqual(len(findings), 1)
        self.assertEqual(findings[0]["file"], os.path.relpath(large, self.spool))
        self.assertEqual(findings[0]["queue_id"], self.id_of("large"))
        self.assertIn("body", findings[0]["what"])
        self.assertIn("x@elsewhere.example", findings[0]["meaning"])
        self.assertEqual(sums["in_files"], 3)

    def test_damage_in_the_log_is_found_where_it_is(self):
        record = self.record_of("log1")
        flip(self.path("log", "00"), record.offset + 64 + 100)
        findings, sums = self.check(1)
        self.assertEqual(sums["in_log"], 5)
        batch, message_ = self.damaged(findings)
        self.assertEqual(batch["file"], "log/00")
        self.assertLessEqual(batch["offset"], record.offset)
        self.assertEqual((message_["queue_id"], message_["offset"]), (self.id_of("log1"), record.offset))
        self.assertIn("alice@", message_["meaning"])

    # ---- dump ------------------------------------------------------------------------------------------------------------------------

    def test_dump_lists_all_messages(self):
        done = self.tool("dump")
        self.assertEqual(done.returncode, 0, done.stderr)
        for i, (_, _, recipients) in self.sent.items():
            self.assertIn(i, done.stdout)
            for recipient in recipients:
                self.assertIn("<%s>" % recipient, done.stdout)
        self.assertIn("<two@up.example> relayed", done.stdout)

    def test_dump_writes_every_message_byte_for_byte(self):
        before, to = snapshot(self.spool), self.host.path("dumped")
        done = self.tool("dump", "--to", to)
        self.addCleanup(shutil.rmtree, to)
        self.assertEqual(done.returncode, 0, done.stderr)
        for i, (_, octets, recipients) in self.sent.items():
            with open(os.path.join(to, i + ".eml"), "rb") as f:
                text = f.read()
            self.assertTrue(text.endswith(octets), i)
            self.assertTrue(text.startswith(b"Received: "), i)
            with open(os.path.join(to, i + ".envelope")) as f:
                envelope = f.read()
            self.assertIn("sender: <alice@%s>\n" % DOMAIN, envelope)
            for recipient in recipients:
                self.assertIn("recipient: <%s>\n" % recipient, envelope)
        self.assertEqual(snapshot(self.spool), before)
        if os.geteuid() == 0:
            self.assertEqual({os.stat(os.path.join(to, f)).st_uid for f in os.listdir(to)}, {FIRST_UID + 2})


    def test_dump_tells_what_an_administrator_said(self):
        self.host.start()
        try:
            for order in (["hold", self.id_of("log1")], ["priority", "high", self.id_of("file0")], ["hold", self.id_of("file0")]):
                self.assertEqual(self.host.tool("postino", "queue", *order).returncode, 0)
        finally:
            self.host.stop()
        listing = self.tool("dump").stdout
        self.assertRegex(listing, self.id_of("log1") + r".* held  <")
        self.assertRegex(listing, self.id_of("file0") + r".* held priority=high  <")
        self.assertEqual(listing.count(" held"), 2)
        self.assertIn("\nheld: yes\npriority: normal\n", self.tool("dump", self.id_of("log1")).stdout)
        self.assertIn("\nheld: yes\npriority: high\n", self.tool("dump", self.id_of("file0")).stdout)
        self.assertNotIn("held:", self.tool("dump", self.id_of("large"), text=False).stdout.decode("latin-1").split("\n\n")[0])

    def test_a_file_is_named_as_a_shell_takes_it(self):
        name = self.id_of("file0") + ".1"
        os.rename(self.file_of("file0"), self.path("bad", name))
        to_send = [line for line in self.tool("dump", self.id_of("file0")).stdout.split("\n") if line.startswith("to-send: ")]
        self.assertEqual([line.rsplit(" ", 1)[1] for line in to_send], ["<'%s.eml'" % name])

    def test_the_mail_of_a_broken_host_is_carried_to_another(self):
        to = self.host.path("carried")
        done = self.tool("dump", "--to", to)
        self.addCleanup(shutil.rmtree, to)
        self.assertEqual(done.returncode, 0, done.stderr)
        sink = self.enterContext(Server())
        with Host(routes={"*": sink.via}) as other:
            path = self.host.path("path")
            os.mkdir(path)
            os.symlink(program("sendmail"), os.path.join(path, "sendmail"))
            done = subprocess.run(["sh", "-c", "sed -n 's/^to-send: //p' *.envelope | sh -e"], cwd=to, capture_output=True, text=True,
                                  env=dict(os.environ, POSTINO_CONF=other.config, PATH=path + ":" + os.environ["PATH"]))
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            wait_for(lambda: len(sink.messages) >= len(self.sent) and other.queue_is_empty(), 60)
        for name, octets, _ in self.sent.values():
            self.assertEqual(len([m for m in sink.messages if m.body.endswith(octets)]), 1, name)
        recipients = [c for c in sink.commands if c.upper().startswith("RCPT")]
        self.assertEqual(len(recipients), 11, recipients)  # those who wait, and not two@up.example
        self.assertTrue(all("<alice@%s>" % DOMAIN in c for c in sink.commands if c.upper().startswith("MAIL")))

    def test_a_terminal_does_not_obey_a_stranger(self):
        path = self.file_of("file0")
        evil = b"\x1b]0;evil\x07\xc2\x9b2J\x80"
        record, octets = Record(open_read(path), 0), bytearray(open_read(path))
        octets[64 + record.body - len(evil) - 2:64 + record.body - 2] = evil
        at = octets.index(b"alice@local.example", 64 + record.body)
        octets[at:at + len(b"\x1b[2Je")] = b"\x1b[2Je"
        struct.pack_into("<I", octets, 32, crc32c(octets[64:64 + record.body]))
        struct.pack_into("<I", octets, 40, crc32c(octets[64 + record.body:64 + record.body + record.rest]))
        struct.pack_into("<I", octets, 60, crc32c(octets[:60]))
        write_at(path, 0, octets)
        self.check(0)
        for arguments in (["dump"], ["dump", self.id_of("file0")]):
            master, slave = pty.openpty()
            child = subprocess.Popen([program("postino"), "-c", self.host.config, "spool"] + arguments, stdout=slave)
            os.close(slave)
            shown = b""
            while True:
                try:
                    shown += os.read(master, 65536)
                except OSError:  # the other end is closed
                    break
            os.close(master)
            self.assertEqual(child.wait(), 0)
            self.assertIn(b"?[2Je@local.example", shown)
            self.assertFalse(re.search(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]", shown), arguments)
        self.assertIn(evil, self.tool("dump", self.id_of("file0"), text=False).stdout)

    @unittest.skipUnless(os.geteuid() == 0, "a mount needs root")
    def test_a_spool_on_read_only_media_can_be_looked_at(self):
        subprocess.run(["mount", "--bind", self.spool, self.spool], check=True)
        try:
            subprocess.run(["mount", "-o", "remount,bind,ro", self.spool], check=True)
            self.check(0)
            self.assertEqual(self.tool("dump").returncode, 0)
        finally:
            subprocess.run(["umount", self.spool], check=True)

    # ---- repair ----------------------------------------------------------------------------------------------------------------------

    def repair(self, status=0):
        """Repairs; then it must be good, and a second repair must change nothing. The output of the first."""
        before = snapshot(self.spool)
        dry = self.tool("repair", "--dry-run")
        self.assertIn(dry.returncode, (0, 1), dry.stderr)
        self.assertIn("to do: ", dry.stdout)
        self.assertEqual(snapshot(self.spool), before)
        first = self.tool("repair")
        self.assertEqual(first.returncode, status, first.stdout + first.stderr)
        self.assertEqual(re.findall(r"to do: (\S+?): ", dry.stdout), re.findall(r"done: (\S+?): ", first.stdout))
        self.check(status)
        after = snapshot(self.spool)
        second = self.tool("repair")
        self.assertEqual(second.returncode, status, second.stdout + second.stderr)
        self.assertIn("there is nothing to do", second.stdout)
        self.assertEqual(snapshot(self.spool), after)
        if os.geteuid() == 0:
            self.assertEqual({os.lstat(os.path.join(top, f)).st_uid for top, _, files in os.walk(self.spool) for f in files}, {FIRST_UID + 2})
        return first.stdout

    def delivered(self, but=()):
        """Postino is started on the spool, and the next host is there: all messages come, once and byte for byte, but those."""
        with Server(port=self.port) as sink:
            try:
                self.host.start()
                wanted = {name for name, _, _ in self.sent.values()} - set(but)
                self.host.tool("postino", "queue", "retry", "all")
                wait_for(self.host.queue_is_empty, 60)
            finally:
                self.host.stop()
        came = []
        for message in sink.messages:
            name = re.search(rb"\r\nSubject: (\S+)\r\n", message.body)[1].decode()
            sent = next(octets for n, octets, _ in self.sent.values() if n == name)
            self.assertTrue(message.body.endswith(sent), name)
            came.append(name)
        self.assertEqual(sorted(came), sorted(wanted))
        recipients = [c for c in sink.commands if c.upper().startswith("RCPT")]
        self.assertEqual(len(recipients), len(wanted) + ("many" in wanted), recipients)

    def aside(self):
        return sorted(os.listdir(self.path("bad")))

    def test_a_good_spool_is_left_alone(self):
        before = snapshot(self.spool)
        done = self.tool("repair")
        self.assertEqual(done.returncode, 0)
        self.assertIn("there is nothing to do", done.stdout)
        self.assertEqual(snapshot(self.spool), before)
        self.delivered()

    def test_a_damaged_body_in_a_file_is_set_aside(self):
        flip(self.file_of("large"), 64 + 500000)
        with open(self.file_of("large"), "rb") as f:
            octets = f.read()
        self.repair()
        self.assertEqual(self.aside(), [self.id_of("large")])
        with open(self.path("bad", self.id_of("large")), "rb") as f:
            self.assertEqual(f.read(), octets)
        done = self.tool("dump", self.id_of("large"), text=False)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertIn(b"recipient: <x@elsewhere.example>", done.stdout)
        self.assertIn(b"damaged: yes", done.stdout)
        self.delivered(but=["large"])

    def test_a_damaged_envelope_in_a_file_is_set_aside(self):
        path = self.file_of("file0")
        body = struct.unpack_from("<Q", open_read(path), 24)[0]
        flip(path, 64 + body + 30)
        findings, _ = self.check(1)
        self.assertIn("envelope", findings[0]["what"])
        self.repair()
        self.assertEqual(self.aside(), [self.id_of("file0")])
        self.delivered(but=["file0"])

    def test_a_damaged_header_of_a_file_is_set_aside(self):
        flip(self.file_of("file1"), 9)
        self.check(1)
        self.repair()
        self.delivered(but=["file1"])

    def settlement(self, name):
        """Where the first settlement in a message's file begins."""
        record = Record(open_read(self.file_of(name)), 0)
        at = 64 + record.body + record.rest
        self.assertGreater(os.path.getsize(self.file_of(name)), at + 64)
        return at

    def test_a_damaged_settlement_in_a_file_is_cut_off_and_the_message_kept(self):
        before = self.settlement("large")
        path = self.file_of("large")
        tail = open_read(path)[before:]
        flip(path, before + 70)
        findings, sums = self.check(1)
        self.assertEqual([(f["what"], f["offset"]) for f in findings], [("a settlement is damaged", before)])
        self.assertEqual(sums["in_files"], 4)
        self.repair()
        self.assertEqual(os.path.getsize(path), before)
        self.assertEqual(self.aside(), [self.id_of("large") + ".tail"])
        self.assertEqual(open_read(self.path("bad", self.aside()[0])), tail[:6] + tail[6:70] + bytes([tail[70] ^ 1]) + tail[71:])
        self.delivered()

    def test_a_settlement_that_was_cut_short_is_no_damage(self):
        before = self.settlement("large")
        os.truncate(self.file_of("large"), before + 80)
        findings, _ = self.check(0)
        self.assertEqual([f["finding"] for f in findings], ["incomplete"])
        self.repair()
        self.delivered()

    def test_what_a_crash_leaves_is_no_damage(self):
        i = self.id_of("file0")
        os.link(self.file_of("file0"), self.path("tmp", i))
        with open(self.path("tmp", "CR6NHEZ9DT00"), "w") as f:
            f.write("pieces")
        with open(self.path("msg", shelf_of("CR6NHEZ9DT00"), "CR6NHEZ9DT00"), "w"):
            pass
        subprocess.run(["chown", "-hR", "--reference=" + self.path("msg"), self.spool], check=True)
        findings, _ = self.check(0)
        self.assertEqual([f["finding"] for f in findings], ["incomplete"] * 3)
        self.repair()
        self.assertEqual(os.listdir(self.path("tmp")), [])
        self.assertEqual(self.aside(), ["CR6NHEZ9DT00", "CR6NHEZ9DT00.1"])
        self.delivered()

    def test_a_file_that_was_cut_short_is_incomplete(self):
        os.truncate(self.file_of("large"), 700000)
        findings, _ = self.check(0)
        self.assertEqual([f["finding"] for f in findings], ["incomplete"])
        self.repair()
        self.assertEqual(self.aside(), [self.id_of("large")])
        self.delivered(but=["large"])

    def test_a_damaged_body_in_the_log(self):
        """The others come; what is left of it is set aside; the segment too."""
        flip(self.path("log", "00"), self.record_of("log1").offset + 64 + 1000)
        self.repair()
        self.assertEqual(self.aside(), sorted([self.id_of("log1"), "log-00"]))
        self.assertEqual(os.listdir(self.path("log")), [n for n in os.listdir(os.path.join(self.pristine, "log")) if n != "00"])
        done = self.tool("dump", self.id_of("log1"), text=False)
        self.assertIn(b"recipient: <x@elsewhere.example>", done.stdout)
        self.delivered(but=["log1"])

    def test_a_damaged_envelope_in_the_log(self):
        record = self.record_of("log2")
        flip(self.path("log", "00"), record.offset + 64 + record.body + 20)
        self.repair()
        self.delivered(but=["log2"])

    def test_a_damaged_batch_header_loses_nothing(self):
        record = self.record_of("log0")
        batch = max(at for at in self.segment().batches if at < record.offset)
        flip(self.path("log", "00"), batch + 25)
        findings, sums = self.check(1)
        self.assertEqual((findings[0]["file"], findings[0]["offset"]), ("log/00", batch))
        self.assertEqual(sums["in_log"], 6)
        self.repair()
        sums = self.check(0)[1]
        self.assertEqual((sums["in_files"], sums["recipients_waiting"], sums["recipients_done"]), (10, 11, 1))
        self.assertEqual(self.aside(), ["log-00"])
        self.delivered()

    def test_a_damaged_last_batch_header_loses_nothing(self):
        """Postino itself would take it for one that was being written when the host stopped."""
        segment = self.segment()
        last = self.record_of("last")
        batch = max(at for at in segment.batches if at < last.offset)
        write_at(segment.path, batch, bytes(8))
        write_at(segment.path, batch + BLOCK, bytes(segment.end - batch - BLOCK))
        findings, sums = self.check(1)
        self.assertEqual([f["what"] for f in findings], ["the last batch does not check out"])
        self.assertEqual(sums["in_log"], 5)
        self.repair()
        self.delivered()

    def test_a_damaged_settlement_in_the_log_means_once_more(self):
        record = self.record_of("many", SETTLE)
        flip(self.path("log", "00"), record.offset + 64 + 4)
        self.check(1)
        self.repair()
        self.delivered()

    def test_damaged_headers_of_a_segment(self):
        for both in (False, True):
            flip(self.path("log", "00"), 24)
            if both:
                flip(self.path("log", "00"), 2048 + 24)
            findings, sums = self.check(1)
            self.assertIn("header", findings[0]["what"])
            self.assertEqual(sums["in_log"], 6)
        self.repair()
        self.delivered()

    def test_a_segment_that_was_cut_short(self):
        os.truncate(self.path("log", "00"), self.record_of("log3").offset // BLOCK * BLOCK)
        findings, sums = self.check(1)
        self.assertIn("cut to", findings[0]["what"])
        self.assertEqual(sums["in_log"], 3)
        self.repair()
        self.delivered(but=["log3", "many", "last"])

    def test_a_segment_of_zeros_behind_its_header(self):
        size = os.path.getsize(self.path("log", "00"))
        os.truncate(self.path("log", "00"), BLOCK)
        os.truncate(self.path("log", "00"), size)
        self.check(1)
        self.repair()
        self.delivered(but=["log0", "log1", "log2", "log3", "many", "last"])

    def test_rubbish_in_place_of_a_segment(self):
        write_at(self.path("log", "00"), 0, os.urandom(1 << 20))
        self.check(1)
        self.repair()

    # ---- what is not ours ------------------------------------------------------------------------------------------------------------

    def test_files_of_others_are_told_and_left_alone(self):
        os.mkdir(self.path("msg", "77", "CR6NHEZ9DT00"))
        os.symlink("/etc/passwd", self.path("msg", "00", "CR6NHEZ00000"))
        os.mkfifo(self.path("log", "0e"))
        os.symlink("/dev/zero", self.path("log", "0d"))
        os.mkdir(self.path("log", "0c"))
        with open(self.path("msg", "17", "note\x1b[2Jto self\n"), "w") as f:
            f.write("x")
        with open(self.path("core"), "w") as f:
            f.truncate(1 << 40)
        subprocess.run(["chown", "-hR", "--reference=" + self.path("msg"), self.spool], check=True)
        before = snapshot(self.spool)
        findings, sums = self.check(0)
        self.assertEqual({f["finding"] for f in findings}, {"foreign"})
        self.assertEqual(len(findings), 7, findings)
        self.assertNotIn("\x1b", self.tool("check").stdout)
        self.assertIn("there is nothing to do", self.tool("repair").stdout)
        self.assertEqual(snapshot(self.spool), before)
        self.delivered()

    def test_a_huge_file_is_no_trouble(self):
        """A tail of 1 TiB, sparse but for its end: found, kept and cut off in bounded memory."""
        path, size = self.file_of("large"), 1 << 40
        end = os.path.getsize(path)
        with open(path, "r+b") as f:
            f.seek(size - 5)
            f.write(b"stone")

        def limit():
            resource.setrlimit(resource.RLIMIT_AS, (400 << 20, 400 << 20))
        for what in ("check", "repair"):
            done = self.tool(what, preexec_fn=limit)
            self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
            self.assertIn("in the log, 4 in files", done.stdout)
        self.assertEqual(os.path.getsize(path), end)
        tail = self.path("bad", self.id_of("large") + ".tail")
        self.assertEqual(os.path.getsize(tail), size - end)
        self.assertLess(os.stat(tail).st_blocks, 1000)
        with open(tail, "rb") as f:
            f.seek(-5, os.SEEK_END)
            self.assertEqual(f.read(), b"stone")
        self.delivered()

    # ---- version ---------------------------------------------------------------------------------------------------------------------

    def test_a_newer_version_is_refused(self):
        with open(self.path("version"), "w") as f:
            f.write("Postino spool version 3, written by Postino 9.9\n")
        before = snapshot(self.spool)
        for what in ("check", "repair", "dump"):
            done = self.tool(what)
            self.assertEqual(done.returncode, 2)
            self.assertIn("version 3", done.stderr)
        self.assertEqual(snapshot(self.spool), before)

    def test_a_lost_or_wrong_version_is_written_anew(self):
        for wrong in (None, "hello\n", "link", "fifo"):
            with self.subTest(wrong):
                os.unlink(self.path("version"))
                if wrong == "link":
                    os.symlink("/etc/passwd", self.path("version"))
                elif wrong == "fifo":
                    os.mkfifo(self.path("version"))
                elif wrong:
                    with open(self.path("version"), "w") as f:
                        f.write(wrong)
                self.check(1)
                done = self.tool("repair")
                self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
                self.assertIn(b"Postino spool version 2", open_read(self.path("version")))
        self.assertEqual(self.aside(), ["version", "version.1", "version.2"])
        self.delivered()

    def test_a_spool_of_version_1_is_read(self):
        shutil.rmtree(self.path("log"))
        with open(self.path("version"), "w") as f:
            f.write("Postino spool version 1, written by Postino 0.0\n")
        findings, sums = self.check(0)
        self.assertEqual((findings, sums["in_files"]), ([], 4))

    def test_a_directory_that_is_no_spool_is_refused(self):
        done = self.tool("check", "--directory", self.host.path("mail"))
        self.assertEqual(done.returncode, 2)
        self.assertIn("is this a spool of Postino?", done.stderr)
        self.assertEqual(self.tool("check", "--directory", self.host.path("nowhere")).returncode, 2)
        self.assertEqual(self.tool("check", "--live=3").returncode, 64)
        self.assertEqual(self.tool("mend").returncode, 64)

    def test_lost_directories_are_told_and_made(self):
        shutil.rmtree(os.path.dirname(self.file_of("file0")))
        shutil.rmtree(self.path("tmp"))
        findings, _ = self.check(1)
        self.assertEqual({f["what"] for f in findings}, {"this directory is missing"})
        self.repair()

    # ---- who has it ------------------------------------------------------------------------------------------------------------------

    def test_a_spool_in_use_is_refused(self):
        self.host.start()
        try:
            pid = self.host.pid_of("qmgr")
            for what in ("check", "repair", "dump"):
                done = self.tool(what)
                self.assertEqual(done.returncode, 2)
                self.assertRegex(done.stderr, r"in use by postino-qmgr, process %d" % pid)
            for what in ("check", "dump"):
                done = self.tool(what, "--live")
                self.assertEqual(done.returncode, 0, done.stderr)
                self.assertIn("in use", done.stderr)
            self.assertEqual(self.tool("repair", "--live").returncode, 64)
            self.assertIn(self.id_of("log1"), self.host.tool("postino", "queue", "show", self.id_of("log1")).stdout)
        finally:
            self.host.stop()

    def test_live_takes_no_lock(self):
        """A queue manager that starts meanwhile must not be kept out: so another's lock does not matter, and there is none of ours."""
        holder = os.open(self.spool, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(holder, fcntl.LOCK_EX)
            self.assertEqual(self.tool("check").returncode, 2)
            for what in ("check", "dump"):
                self.assertEqual(self.tool(what, "--live").returncode, 0)
        finally:
            os.close(holder)
        inode = str(os.stat(self.spool).st_ino)
        for live, locks in ((["--live"], 0), ([], 1)):
            child = subprocess.Popen([program("postino"), "-c", self.host.config, "spool", "dump"] + live + [self.id_of("large")], stdout=subprocess.PIPE)
            try:
                child.stdout.read(1)  # it prints, and waits for its reader
                with open("/proc/locks", encoding="ascii") as f:
                    self.assertEqual(len([line for line in f.read().split("\n") if ":" + inode + " " in line]), locks)
            finally:
                child.kill()
                child.communicate()

    def test_two_queue_managers_on_one_spool_are_refused(self):
        self.host.start()
        try:
            with open(self.host.config) as f:
                config = f.read().replace(self.host.path("run"), self.host.path("run2"))
            config = re.sub(r'listener "[^"]*" {[^}]*}', "", config)
            with open(self.host.path("second.conf"), "w") as f:
                f.write(config)
            second = subprocess.Popen([program("postino-master"), "-c", self.host.path("second.conf"), "-f"], stdout=subprocess.PIPE,
                                      stderr=subprocess.STDOUT, text=True, start_new_session=True)
            text = ""
            for line in second.stdout:
                text += line
                if "in use by" in line:
                    break
            second.terminate()
            second.communicate()
            self.assertRegex(text, "in use by postino-qmgr, process %d" % self.host.pid_of("qmgr"))
        finally:
            self.host.stop()


if __name__ == "__main__":
    unittest.main(verbosity=2)
