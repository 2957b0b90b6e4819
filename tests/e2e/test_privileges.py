"""What the kernel says of every running program, against the table in docs/architecture.md; and what smtpd and remote can't do though they try."""
import os
import re
import unittest

from host import FIRST_UID, ROOT, Host, wait_for

ORDER = ["smtpd", "auth", "qmgr", "remote", "local", "dns", "route", "tlsmgr", "sts", "lmtp", "creds"]
CAPABILITIES = {"none": 0, "CAP_SETUID, CAP_SETGID": (1 << 7) | (1 << 6), "CAP_DAC_READ_SEARCH": 1 << 2}


def table():
    """The rows of the table "Programs": {"smtpd": {"user": ..., "root directory": ..., ...}}"""
    with open(os.path.join(ROOT, "docs", "architecture.md")) as f:
        lines = [line for line in f if line.startswith("|")]
    names = [cell.strip() for cell in lines[0].strip("|\n").split("|")]
    rows = {}
    for line in lines[2:]:
        cells = [cell.strip() for cell in line.strip("|\n").split("|")]
        m = re.match(r"`postino-(\w+)`$", cells[0])
        if m:
            rows[m.group(1)] = dict(zip(names, cells))
    return rows


def status(pid):
    with open("/proc/%d/status" % pid) as f:
        return dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)


@unittest.skipUnless(os.geteuid() == 0, "separate users need root")
class Privileges(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.host = Host(piped_log=True).__enter__()
        with cls.host.smtp() as client:  # so that everything has been at work once
            client.sendmail("a@client.example", ["alice@local.example"], b"Subject: x\r\n\r\nx\r\n")
        wait_for(lambda: cls.host.messages("alice"))

    @classmethod
    def tearDownClass(cls):
        cls.host.__exit__(None, None, None)

    def each(self):
        seen = set()
        for pid, name in sorted(self.host.pids().items()):
            seen.add(name)
            yield name, pid, status(pid), table()[name]
        self.assertEqual(seen, set(ORDER) | {"master"})

    def test_every_program_is_in_the_table_and_runs(self):
        self.assertEqual(set(table()), set(ORDER) | {"master"})
        list(self.each())

    def test_users_and_groups(self):
        for name, pid, proc, row in self.each():
            uid = 0 if name == "master" else FIRST_UID + ORDER.index(name)
            self.assertEqual(row["user"].split(";")[0].strip("` "), "root" if name == "master" else "postino-" + name)
            self.assertEqual(proc["Uid"].split(), [str(uid)] * 4, name)
            self.assertEqual(proc["Gid"].split(), [str(uid)] * 4, name)
            if name != "master":
                self.assertEqual(proc["Groups"].split(), [], name)

    def test_capabilities(self):
        for name, pid, proc, row in self.each():
            if name == "master":
                continue
            expected = CAPABILITIES[row["capabilities"].split(";")[0].strip()]
            for field in ("CapPrm", "CapEff"):
                self.assertEqual(int(proc[field], 16), expected, (name, field))
            for field in ("CapInh", "CapAmb"):
                self.assertEqual(int(proc[field], 16), 0, (name, field))
            self.assertEqual(int(proc["CapBnd"], 16) & ~expected, 0, (name, "CapBnd"))

    def test_no_new_privileges_and_seccomp_filter(self):
        for name, pid, proc, row in self.each():
            if name != "master":
                self.assertEqual(proc["NoNewPrivs"], "1", name)
                self.assertEqual(proc["Seccomp"], "2", name)

    def test_root_directories(self):
        where = {"empty": self.host.path("empty"), "the spool": self.host.path("spool"), "`/`": "/"}
        for name, pid, proc, row in self.each():
            self.assertEqual(os.readlink("/proc/%d/root" % pid), where[row["root directory"]], name)

    def test_the_empty_directory_is_empty_and_root_s(self):
        st = os.stat(self.host.path("empty"))
        self.assertEqual((st.st_uid, st.st_mode & 0o022), (0, 0))
        self.assertEqual(os.listdir(self.host.path("empty")), [])

    def test_no_core_dumps_and_bounded_files(self):
        for name, pid, proc, row in self.each():
            if name == "master":
                continue
            with open("/proc/%d/limits" % pid) as f:
                limits = {line[:26].strip(): line[26:].split() for line in f}
            self.assertEqual(limits["Max core file size"][0], "0", name)
            if name in ("smtpd", "remote", "auth", "dns", "route", "tlsmgr", "lmtp", "creds"):
                self.assertEqual(limits["Max file size"][0], "0", name)
            if name == "sts":  # it keeps policies
                self.assertLessEqual(int(limits["Max file size"][0]), 128 << 10)

    def test_open_descriptors_are_only_what_it_was_given(self):
        """no program but local has a descriptor on a directory or a file, other than its log, the spool, and the policies of sts"""
        for name, pid, proc, row in self.each():
            if name in ("master", "qmgr", "local"):
                continue
            for fd in os.listdir("/proc/%d/fd" % pid):
                try:
                    target = os.readlink("/proc/%d/fd/%s" % (pid, fd))
                except FileNotFoundError:
                    continue
                if re.match(r"(socket|pipe|anon_inode):", target) or target == "/dev/null":
                    continue
                allowed = {"route": r".*\.db$", "dns": r".*", "sts": re.escape(self.host.path("sts")) + "$"}.get(name)
                self.assertTrue(allowed and re.match(allowed, target), (name, target))

    def test_the_spool_and_the_password_file_are_closed_to_others(self):
        spool = os.stat(self.host.path("spool"))
        self.assertEqual((spool.st_uid, spool.st_mode & 0o777), (FIRST_UID + ORDER.index("qmgr"), 0o700))
        policies = os.stat(self.host.path("sts"))
        self.assertEqual((policies.st_uid, policies.st_mode & 0o777), (FIRST_UID + ORDER.index("sts"), 0o700))


class Tries(unittest.TestCase):
    """A debug build that is told to try what its sandbox forbids. Each layer is proved by itself, too."""

    def attempt(self, program, act, what, layer=""):
        """"refused: ..." or "allowed" as the program logged it, or "killed" by its filter."""
        environment = {"POSTINO_TRY": "%s:%s:%s" % (program, act, what)}
        if layer:
            environment["POSTINO_TRY_LAYER"] = layer
        host = Host(variant="try", environment=environment)
        self.addCleanup(host.close)
        what_came = []

        def came():
            """the outcome of the attempt in the log"""
            log = host.log()
            m = re.search(r"postino-%s\[\d+\]: try=.*result=\"?(refused|allowed)" % program, log)
            if m:
                what_came.append(m.group(1))
            elif re.search(r"%s.*SIGSYS" % program, log):
                what_came.append("killed")
            return what_came
        try:
            host.start()
        except AssertionError:
            pass  # a program that is killed at once never gets ready
        wait_for(came)
        return what_came[0]

    def test_smtpd_opens_a_spool_file(self):
        self.assertEqual(self.attempt("smtpd", "open", "/var/spool/postino/version"), "killed")

    def test_smtpd_opens_the_password_file(self):
        self.assertEqual(self.attempt("smtpd", "open", "/etc/passwd"), "killed")

    def test_smtpd_makes_a_socket(self):
        self.assertEqual(self.attempt("smtpd", "socket", ""), "killed")

    def test_smtpd_executes_a_program(self):
        self.assertEqual(self.attempt("smtpd", "exec", "/bin/true"), "killed")

    @unittest.skipUnless(os.geteuid() == 0, "what root may read needs root")
    def test_tlsmgr_reads_any_file_only_where_the_certificates_are(self):
        """although it has CAP_DAC_READ_SEARCH"""
        for path in ("/etc/shadow", "/etc/passwd", "/root"):
            self.assertEqual(self.attempt("tlsmgr", "open", path), "refused", path)

    def test_tlsmgr_makes_a_socket_or_executes_a_program(self):
        self.assertEqual(self.attempt("tlsmgr", "socket", ""), "killed")
        self.assertEqual(self.attempt("tlsmgr", "exec", "/bin/true"), "killed")

    def test_remote_opens_a_file(self):
        self.assertEqual(self.attempt("remote", "open", "/etc/passwd"), "killed")

    def test_remote_makes_a_unix_socket_to_somewhere_else(self):
        self.assertIn(self.attempt("remote", "unix", "/run/postino/queue"), ("killed", "refused"))

    def test_lmtp_opens_a_file_or_reaches_the_network(self):
        for act, what in (("open", "/etc/passwd"), ("socket", ""), ("exec", "/bin/true")):
            self.assertEqual(self.attempt("lmtp", act, what), "killed", act)

    def test_without_the_filter_files_are_refused_all_the_same(self):
        for program in ("smtpd", "remote", "lmtp"):
            for path in ("/etc/passwd", "/etc/hostname"):
                self.assertEqual(self.attempt(program, "open", path, layer="files"), "refused", (program, path))

    def test_without_the_other_layers_the_filter_alone_kills(self):
        self.assertEqual(self.attempt("smtpd", "open", "/etc/passwd", layer="calls"), "killed")
        self.assertEqual(self.attempt("remote", "open", "/etc/passwd", layer="calls"), "killed")

    def worker_tries(self, act, expected):
        """What the process that writes alice's mail may do when it tries to do more."""
        host = Host(variant="try", environment={"POSTINO_TRY": "worker:" + act})
        self.addCleanup(host.close)
        with host:
            with host.smtp() as client:
                client.sendmail("a@client.example", ["alice@local.example"], b"Subject: x\r\n\r\nx\r\n")
            wait_for(lambda: re.search(expected, host.log()))

    def test_a_worker_opens_the_password_file(self):
        self.worker_tries("open:/etc/passwd", r'postino-worker\[\d+\]: try=open .*result="refused: Permission denied"')

    def test_a_worker_writes_to_a_directory_that_all_may_write(self):
        for where in ("/var/tmp/postino-try", "/tmp/postino-try"):
            self.worker_tries("write:" + where, r'postino-worker\[\d+\]: try=write .*result="refused: Permission denied"')
            self.assertFalse(os.path.exists(where))

    def test_a_worker_becomes_root(self):
        self.worker_tries("setuid", r"a delivery process ended unexpectedly: .*status=0x1f")

    def test_a_worker_makes_a_socket(self):
        self.worker_tries("socket", r"a delivery process ended unexpectedly: .*status=0x1f")

    def test_a_worker_executes_a_program(self):
        self.worker_tries("exec:/bin/true", r"a delivery process ended unexpectedly: .*status=0x1f")

    def test_qmgr_makes_a_socket(self):
        self.assertEqual(self.attempt("qmgr", "socket", ""), "killed")


if __name__ == "__main__":
    unittest.main(verbosity=2)
