"""Access rules with real parts: block lists and domains on a real name server, Debian's postgrey as policy service, tables that change."""
import os
import re
import signal
import subprocess
import time
import unittest

from host import wait_for
from listening import Listener, unix_socket
from netns import needs_root
from world import World

ALICE, BOB = "alice@local.example", "bob@local.example"
ZONE = """
good           MX 10 mx.good
mx.good        A 192.0.2.9
address        A 192.0.2.9
nothing        TXT "neither MX nor address"
null           MX 0 .
3.2.0.192.bl   A 127.0.0.2
4.2.0.192.bl   A 127.0.0.10
4.2.0.192.also A 127.0.0.2
5.2.0.192.bl   A 192.0.2.9
4.2.0.192.allow A 127.0.0.5
2.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.bl A 127.0.0.2
"""


@needs_root
class Access(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.world = cls.enterClassContext(World())
        cls.world.name_server({"example": ZONE})
        cls.host = cls.world.postino(start=False, relay_from=())

    def tearDown(self):
        self.host.stop()

    def start(self, *rules, settings="", listener=""):
        """Port 25 of near, for everybody."""
        words = " ".join("\"%s\"," % rule for rule in rules).rstrip(",")
        self.host.configure(listeners={"smtp": "port = 25 address = { \"192.0.2.1\", \"2001:db8::1\" } " + listener}, relay_from=("192.0.2.8",),
                            settings="access = { %s }\n%sdns { timeout = 20s client_names = no }\n%s" % (words, self.world.names, settings))
        self.host.start()

    def client(self, source="192.0.2.2", sender="x@good.example", to=ALICE, helo="client.example", body=None):
        """What the server said to RCPT, or to the end of the message when there is one: (code, words)."""
        server = "2001:db8::1" if ":" in source else "192.0.2.1"
        done = self.world.swaks("--server", server, "--local-interface", source, "--from", sender, "--to", to, "--helo", helo,
                                *(["--body", body] if body else ["--quit-after", "RCPT"]))
        lines = re.findall(r"^<[-~*]+ +(\d\d\d)[ -](.*)$", done.stdout, re.M)
        return (int(lines[-2][0]), lines[-2][1]) if lines else (0, done.stdout + done.stderr)

    def refused(self, answer, code, words):
        self.assertEqual(answer[0], code, answer)
        self.assertIn(words, answer[1])

    def taken(self, answer):
        self.assertEqual(answer[0], 250, answer)

    def test_a_client_on_a_block_list(self):
        self.start("permit_mynetworks", "reject_rbl_client bl.example")
        self.refused(self.client("192.0.2.3"), 554, "5.7.1 <192.0.2.3>: Client host [192.0.2.3] blocked using bl.example")
        self.host.wait_log(r"reject: .*client=unknown\[192\.0\.2\.3\].* rule=\"reject_rbl_client bl\.example\"")
        self.refused(self.client("2001:db8::2"), 554, "blocked using bl.example")
        self.taken(self.client("192.0.2.2"))
        self.taken(self.client("192.0.2.5"))  # an answer outside of 127.0.0.0/8 lists nobody
        self.assertEqual(self.client("192.0.2.3", to="x@elsewhere.example")[0], 554)

    def test_weights_of_lists(self):
        self.start("reject_dnsbl", settings="dnsbl { zones = { \"bl.example=127.0.0.10*2\", \"also.example\", \"allow.example*-1\" } threshold = 3 }")
        self.taken(self.client("192.0.2.4"))
        self.host.stop()
        self.start("reject_dnsbl", settings="dnsbl { zones = { \"bl.example=127.0.0.10*2\", \"also.example\", \"allow.example*-1\" } threshold = 2 }")
        self.refused(self.client("192.0.2.4"), 554, "blocked using bl.example*2, also.example*1, allow.example*-1")
        self.taken(self.client("192.0.2.3"))  # another answer than the one that counts

    def test_a_list_that_does_not_answer_refuses_nobody(self):
        self.start("reject_rbl_client bl.refused", "reject_rbl_client bl.silent", settings="dnsbl { timeout = 1s }")
        self.taken(self.client("192.0.2.3"))

    def test_sender_domains(self):
        self.start("reject_unknown_sender_domain", "reject_non_fqdn_sender")
        self.taken(self.client(sender="x@good.example"))
        self.taken(self.client(sender="x@address.example"))
        self.taken(self.client(sender="<>"))
        self.refused(self.client(sender="x@absent.example"), 550, "5.1.8 <x@absent.example>: Sender address rejected: Domain not found")
        self.refused(self.client(sender="x@nothing.example"), 550, "Domain not found")
        self.refused(self.client(sender="x@null.example"), 550, "Domain not found")
        self.refused(self.client(sender="x@zone.refused"), 450, "4.1.8")

    def test_why_tells_the_same(self):
        self.start("permit_mynetworks", "reject_rbl_client bl.example", "reject_unknown_sender_domain", "warn_if_reject reject_non_fqdn_helo_hostname")

        def why(**asked):
            options = [word for name, value in asked.items() for word in ("--" + name, value)]
            done = self.host.tool("postino", "why", *options)
            return done.returncode, done.stdout + done.stderr
        cases = [dict(client="192.0.2.3", to=ALICE), dict(client="192.0.2.8", to="x@elsewhere.example"), dict(client="192.0.2.2", to="nobody@local.example"),
                 dict(client="192.0.2.2", to=ALICE, **{"from": "x@absent.example"}), dict(client="192.0.2.2", to=ALICE, **{"from": "x@zone.refused"}),
                 dict(client="192.0.2.2", to="x@elsewhere.example"), dict(client="192.0.2.2", to=ALICE, helo="short", **{"from": "x@good.example"})]
        for case in cases:
            with self.subTest(case):
                said = self.client(case["client"], case.get("from", "x@good.example"), case["to"], case.get("helo", "client.example"))
                status, text = why(**dict({"from": "x@good.example", "helo": "client.example"}, **case))
                verdict = re.search(r"^verdict: (\d+) (.*)$", text, re.M)
                self.assertIsNotNone(verdict, text)
                self.assertEqual(int(verdict.group(1)), said[0], text)
                self.assertIn(verdict.group(2) if said[0] != 250 else "Ok", re.sub(r"^(\S+) <[^>]*>: (?=Re)", r"\1 ", said[1]) + said[1], text)
                self.assertEqual(status, 0 if said[0] == 250 else 77 if said[0] >= 500 else 75)
        text = why(client="192.0.2.3", to=ALICE)[1]
        self.assertIn("dns: 3.2.0.192.bl.example: 127.0.0.2", text)
        self.assertIn("by reject_rbl_client bl.example", text)

    def test_a_listener_has_rules_of_its_own(self):
        self.start("reject", listener="access = { \"permit_mynetworks\", \"reject_non_fqdn_helo_hostname\" }")
        self.taken(self.client())
        self.refused(self.client(helo="short"), 504, "<short>: Helo command rejected: need fully-qualified hostname")
        self.taken(self.client("192.0.2.8", helo="short"))

    def test_mail_made_here_passes_no_rules(self):
        self.start("reject")
        self.host.sendmail(BOB, sender=ALICE, text="Subject: made here\n\nx\n")
        wait_for(lambda: any(b"made here" in m for m in self.host.messages("bob")))
        self.refused(self.client(), 554, "Access denied")

    def test_a_table_changes_under_way(self):
        table = self.host.path("clients")
        with open(table, "w") as f:
            f.write("192.0.2.3/32 REJECT not from there\n")
        os.chmod(table, 0o644)
        self.start("check_client_access cidr:" + table)
        self.refused(self.client("192.0.2.3"), 554, "<unknown[192.0.2.3]>: Client host rejected: not from there")
        self.taken(self.client("192.0.2.4"))
        with open(table, "w") as f:
            f.write("192.0.2.4/32 450 4.7.0 later\n")
        time.sleep(1.1)
        self.refused(self.client("192.0.2.4"), 450, "4.7.0 <unknown[192.0.2.4]>: Client host rejected: later")
        self.taken(self.client("192.0.2.3"))
        with open(table, "w") as f:
            f.write("192.0.2.4 no action\nnonsense OK\n")
        time.sleep(1.1)
        self.refused(self.client("192.0.2.3"), 451, "Server configuration error")
        self.host.wait_log(r"clients: line 2: nonsense is not a network")

    def test_a_header_in_front(self):
        table = self.host.path("recipients")
        with open(table, "w") as f:
            f.write("%s PREPEND X-Checked: for alice\n" % ALICE)
        self.assertEqual(self.host.tool("postino", "map", "hash:" + table).returncode, 0)
        self.start("check_recipient_access hash:" + table)
        self.client(body="with a header")
        wait_for(lambda: any(b"with a header" in m for m in self.host.messages("alice")))
        message = [m for m in self.host.messages("alice") if b"with a header" in m][0]
        self.assertRegex(message, rb"X-Checked: for alice\nReceived: ")

    def test_what_a_rule_holds_waits_for_its_release(self):
        table = self.host.path("senders")
        with open(table, "w") as f:
            f.write("held@good.example HOLD have a look\n")
        self.assertEqual(self.host.tool("postino", "map", "hash:" + table).returncode, 0)
        self.start("check_sender_access hash:" + table)
        for _ in range(2):
            self.client(sender="held@good.example", body="to be looked at")
        first, second = [match.group(1) for match in re.finditer(r"qmgr\S*: (\w+): from=<held@good\.example> .*queued, and held", self.host.log())]
        self.assertIn(first + "!", self.host.queue())
        os.kill(self.host.pid_of("qmgr"), signal.SIGKILL)
        wait_for(lambda: first + "!" in self.host.queue())
        self.assertNotIn(b"to be looked at", b"".join(self.host.messages("alice")))
        self.assertEqual(self.host.tool("postino", "queue", "release", first).returncode, 0)
        wait_for(lambda: any(b"to be looked at" in m for m in self.host.messages("alice")))
        wait_for(lambda: first not in self.host.queue())
        self.assertIn(second + "!", self.host.queue())
        self.assertEqual(self.host.tool("postino", "queue", "delete", second).returncode, 0)

    def test_a_release_outlives_a_restart(self):
        """what came held is deferred after its release, and qmgr killed: it is tried again, and not held again"""
        table = self.host.path("senders")
        with open(table, "w") as f:
            f.write("far@good.example HOLD\n")
        self.assertEqual(self.host.tool("postino", "map", "hash:" + table).returncode, 0)
        self.start("check_sender_access hash:" + table, settings="queue { retry_first = 1h }\nroute \"*\" { via = \"smtp:[192.0.2.9]:2525\" }\nremote { connect_timeout = 1s }")
        self.client("192.0.2.8", sender="far@good.example", to="x@elsewhere.example", body="away")
        queue_id = re.search(r"qmgr\S*: (\w+): from=<far@good\.example> .*queued, and held", self.host.log()).group(1)
        self.assertEqual(self.host.tool("postino", "queue", "release", queue_id).returncode, 0)
        self.host.wait_log(queue_id + ": to=.*status=deferred")
        time.sleep(1.5)
        os.kill(self.host.pid_of("qmgr"), signal.SIGKILL)
        wait_for(lambda: queue_id in self.host.queue())
        self.assertNotIn(queue_id + "!", self.host.queue())
        self.assertEqual(self.host.tool("postino", "queue", "delete", queue_id).returncode, 0)

    def test_postgrey(self):
        """Debian's greylisting: the first attempt is put off, the second is taken and marked."""
        where = self.host.path("postgrey")
        os.mkdir(where)
        os.chmod(where, 0o777)
        lists = os.path.join(where, "none")
        open(lists, "w").close()
        service = subprocess.Popen(["postgrey", "--unix=" + where + "/socket", "--dbdir=" + where, "--user=nobody", "--group=nogroup", "--delay=2",
                                    "--whitelist-clients=" + lists, "--whitelist-recipients=" + lists], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        try:
            wait_for(lambda: os.path.exists(where + "/socket"))
            self.start("permit_mynetworks", "check_policy_service unix:%s/socket" % where)
            wait_for(lambda: self.client(sender="first@good.example")[0] != 451)  # its socket is there before it listens
            self.refused(self.client(body="grey"), 450, "4.7.1 <%s>: Recipient address rejected: Greylisted" % ALICE)
            self.taken(self.client("192.0.2.8"))
            time.sleep(2.5)
            self.client(body="grey")
            wait_for(lambda: any(b"grey" in m for m in self.host.messages("alice")))
            self.assertRegex([m for m in self.host.messages("alice") if b"grey" in m][0], rb"X-Greylist: delayed \d+ seconds by postgrey")
        finally:
            service.terminate()
            service.wait(60)
        self.refused(self.client("192.0.2.4"), 451, "Server configuration problem")
        self.host.wait_log(r"policy service .*socket: (Connection refused|No such file or directory); the client gets 451")

    def hostile_service(self, answer):
        path = self.host.path("hostile")
        asked = []

        def serve(connection):
            asked.append(connection.recv(65536))
            if answer is None:
                asked.append(connection)
                return
            with connection:
                connection.sendall(answer)
        self.addCleanup(Listener(unix_socket(path), serve, together=False).close)
        return path, asked

    def test_a_policy_service_gone_wrong(self):
        for answer in (b"", b"action=\n\n", b"nonsense\n\n", b"action=REJECT\x01\n\n", b"x" * 100000, b"action=PREPEND no header\n\n", b"action=OK", None):
            with self.subTest(answer=answer and answer[:30]):
                path, asked = self.hostile_service(answer)
                self.start("check_policy_service unix:" + path, settings="policy { timeout = %s }" % ("20s" if answer is not None else "1s"))
                self.refused(self.client(), 451, "4.3.5")
                wait_for(lambda: asked)
                self.assertIn(b"request=smtpd_access_policy\nprotocol_state=RCPT\n", asked[0])
                self.assertIn(b"client_address=192.0.2.2\n", asked[0])
                self.assertTrue(asked[0].endswith(b"\n\n"))
                self.host.stop()


if __name__ == "__main__":
    unittest.main(verbosity=2)
