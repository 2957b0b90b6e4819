"""Addresses and headers beyond ASCII (SMTPUTF8, RFC 6531 to 6533), from real clients to mailboxes, other hosts and reports."""
import os
import pathlib
import re
import smtplib
import subprocess
import sys
import unittest

from host import DOMAIN, MAIL_UID, PASSWORD, ROOT, Host, free_port, wait_for, without_trace
from listening import Listener, unix_socket
from hostile import Server

sys.path.insert(0, os.path.join(ROOT, "tests", "conformance"))
from servers import Postfix  # noqa: E402

IVAN, POST, POST_ASCII = "иван", "почта.example", "xn--80a1acny.example"
TEXT = ("From: Юрий <юрий@почта.example>\r\nTo: Иван <иван@почта.example>\r\nSubject: привет\r\nDate: Sat, 21 Nov 2026 12:00:00 +0100\r\n"
        "Message-ID: <one@client.example>\r\n\r\nздравствуй\r\n").encode()
ASCII = b"From: a@client.example\r\nSubject: one\r\nDate: Sat, 21 Nov 2026 12:00:00 +0100\r\nMessage-ID: <two@client.example>\r\n\r\nhello\r\n"
UTF8 = ["SMTPUTF8", "BODY=8BITMIME"]


def boxes(host):
    """What the domain почта.example has: keys in either form, and one in NFC that is asked for in NFD."""
    path = host.path("boxes")
    pathlib.Path(path).write_text("иван@почта.example ivan/\ninfo@%s info/\nйод iod/\n" % POST_ASCII, encoding="utf-8")
    host.tool("postino", "map", "hash:" + path, check=True)
    return path


class Utf8Host(Host):
    def configure(self, *arguments, **more):
        super().configure(*arguments, **more)
        path = boxes(self)
        with open(self.config, "a", encoding="utf-8") as f:
            f.write('domain "ПОЧТА.example" { mailboxes = "hash:%s" directory = "%s" owner = "%d" }\n' % (path, self.path("mail"), MAIL_UID))


def new(host, name, before):
    wait_for(lambda: len(host.messages(name)) > before, 60)
    return host.messages(name)[-1]


class ToMailboxes(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.host = Utf8Host(domains=None, aliases="postmaster: alice@%s\nйорг: alice@%s\n" % (DOMAIN, DOMAIN))
        with open(cls.host.path("senders"), "w", encoding="utf-8") as f:
            f.write("зло@почта.example REJECT no evil\nxn--bcher-kva.example REJECT no books\n")
        cls.host.tool("postino", "map", "hash:" + cls.host.path("senders"), check=True)
        with open(cls.host.config, "a", encoding="utf-8") as f:
            f.write('access = { "check_sender_access hash:%s", "reject_non_fqdn_sender", "check_policy_service unix:%s" }\n' % (
                cls.host.path("senders"), cls.host.path("policy")))
        cls.serve_policy()
        cls.host.__enter__()

    @classmethod
    def tearDownClass(cls):
        cls.host.__exit__(None, None, None)
        cls.policy.close()
        for sock in cls.socks:
            sock.close()

    @classmethod
    def serve_policy(cls):
        cls.asked, cls.socks = [], []

        def serve(sock):
            cls.socks.append(sock)
            text = b""
            while True:
                got = sock.recv(65536)
                if not got:
                    return
                text += got
                while b"\n\n" in text:
                    question, _, text = text.partition(b"\n\n")
                    cls.asked.append(dict(line.split("=", 1) for line in question.decode().split("\n")))
                    sock.sendall(b"action=DUNNO\n\n")
        cls.policy = Listener(unix_socket(cls.host.path("policy")), serve)

    def send(self, sender, *recipients, text=TEXT, options=UTF8, port=None):
        with self.host.smtp(port, local_hostname="client.example") as client:
            return client.sendmail(sender, recipients, text, options)

    def refused(self, code, status, sender, recipient, options):
        with self.host.smtp(local_hostname="client.example") as client:
            client.ehlo()
            client.command_encoding = "utf-8"
            got = client.mail(sender, options)
            if got[0] == 250:
                got = client.rcpt(recipient)
            self.assertEqual((got[0], got[1].split()[0].decode()), (code, status))

    def test_a_message_arrives_with_all_its_letters(self):
        before = len(self.host.messages("ivan"))
        self.send("юрий@почта.example", "иван@почта.example")
        message = new(self.host, "ivan", before)
        self.assertTrue(message.startswith("Return-Path: <юрий@почта.example>\n".encode()))
        self.assertIn(b" with UTF8SMTP id ", message)
        self.assertNotIn(b"\tfor <", message)
        self.assertEqual(without_trace(message), TEXT.replace(b"\r\n", b"\n"))
        self.assertEqual(self.asked[-1]["sender"], "юрий@почта.example")
        self.assertEqual(self.asked[-1]["recipient"], "иван@почта.example")

    def test_one_mailbox_in_all_its_forms(self):
        for box, address in (("ivan", "иван@" + POST_ASCII), ("ivan", "иван@XN--80A1ACNY.Example"), ("ivan", "иван@ПОЧТА.example"), ("ivan", "иван+метка@почта.example"),
                             ("ivan", '"иван"@почта.example'), ("info", "info@почта.example"), ("info", "INFO@" + POST_ASCII), ("iod", "йод@почта.example"),
                             ("iod", "\u0438\u0306од@почта.example")):
            before = len(self.host.messages(box))
            self.send("a@client.example", address, text=ASCII)
            self.assertIn(b" with UTF8SMTP id ", new(self.host, box, before))
        self.refused(550, "5.1.1", "a@client.example", "Иван@почта.example", UTF8)  # no case folding beyond ASCII

    def test_an_alias_beyond_ascii(self):
        before = len(self.host.messages("alice"))
        self.send("a@client.example", "йорг@mx.local.example", text=ASCII)
        new(self.host, "alice", before)

    def test_protocol_names_of_tls_and_login(self):
        before = len(self.host.messages("ivan"))
        with self.host.smtp(self.host.submission_port) as client:
            client.starttls(context=self.host.tls_context())
            client.login("alice", PASSWORD)
            client.sendmail("a@client.example", ["иван@почта.example"], TEXT, UTF8)
        self.assertIn(b" with UTF8SMTPSA id ", new(self.host, "ivan", before))
        before = len(self.host.messages("alice"))
        with self.host.smtp() as client:
            client.starttls(context=self.host.tls_context())
            client.sendmail("a@client.example", ["alice@" + DOMAIN], ASCII, UTF8)
            client.sendmail("a@client.example", ["alice@" + DOMAIN], ASCII)
        wait_for(lambda: len(self.host.messages("alice")) > before + 1)
        both = b"".join(self.host.messages("alice")[before:])
        self.assertIn(b" with UTF8SMTPS id ", both)
        self.assertIn(b" with ESMTPS id ", both)
        self.assertIn(b"\tfor <alice@local.example>", both)

    def test_an_address_without_the_parameter(self):
        self.refused(550, "5.6.7", "юрий@почта.example", "alice@" + DOMAIN, [])
        self.refused(553, "5.6.7", "a@client.example", "иван@почта.example", [])
        self.refused(553, "5.6.7", "a@client.example", "info@почта.example", ["BODY=8BITMIME"])

    def test_rules_know_a_sender_in_both_forms(self):
        self.refused(554, "5.7.1", "зло@почта.example", "alice@" + DOMAIN, UTF8)
        self.refused(554, "5.7.1", "зло@" + POST_ASCII, "alice@" + DOMAIN, UTF8)
        self.refused(554, "5.7.1", "a@bücher.example", "alice@" + DOMAIN, UTF8)
        self.refused(504, "5.5.2", "a@bücher", "alice@" + DOMAIN, UTF8)

    def test_sendmail_takes_addresses_of_any_script(self):
        text = "To: Иван <иван@почта.example>\nSubject: привет\n\nздравствуй\n"
        for arguments in (("-t",), ("иван@почта.example",), ("-f", "юрий@почта.example", "иван@почта.example")):
            before = len(self.host.messages("ivan"))
            done = self.host.tool("sendmail", *arguments, input=text)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            self.assertIn("Subject: привет\n\nздравствуй\n".encode(), new(self.host, "ivan", before))
        done = self.host.tool("sendmail", "-t", input="To: иван\u202eя@почта.example\n\nx\n")
        self.assertEqual(done.returncode, 65)
        self.assertTrue(done.stderr.isascii())

    def test_sendmail_says_what_it_can_not_take(self):
        done = self.host.tool("sendmail", "-t", input=b"To: <x\x9b31m\xc2\x9b@y z\n\nx\n", text=False)
        self.assertEqual(done.returncode, 65)
        self.assertTrue(done.stderr.isascii() and done.stderr.rstrip(b"\n").decode().isprintable(), done.stderr)

    def test_why(self):
        done = self.host.tool("postino", "why", "--client", "192.0.2.1", "--from", "a@client.example", "--to", "иван@почта.example")
        self.assertIn("goes to <иван@почта.example> by local %s to mailbox ivan" % POST_ASCII, done.stdout)
        self.assertEqual(done.returncode, 0, done.stdout)
        done = self.host.tool("postino", "why", "--client", "192.0.2.1", "--from", "зло@почта.example", "--to", "иван@почта.example")
        self.assertIn("verdict: 554 5.7.1 <зло@почта.example>: Sender address rejected: no evil", done.stdout)
        done = self.host.tool("postino", "why", "--client", "192.0.2.1", "--from", "зло\u009b@почта.example", "--to", "info@почта.example")
        self.assertNotIn("\u009b", done.stdout)


def next_host(**more):
    """A host whose next host for all is `server`, and which keeps the senders of почта.example."""
    port = free_port()
    return port, Utf8Host(routes={"*": "smtp:[127.0.0.1]:%d" % port}, **more)


class Report:
    """A report by its parts, as bytes; the header lines of the whole."""

    def __init__(self, raw):
        self.raw = raw
        self.header, _, body = raw.partition(b"\n\n")
        boundary = re.search(rb'boundary="(.*?)"', self.header).group(1)
        self.text, self.status, self.back = body.split(b"--" + boundary)[1:4]


class Onwards(unittest.TestCase):
    """To the next host, and back as a report."""

    def start(self, **more):
        port, host = next_host(**more)
        self.addCleanup(host.close)
        return port, host.start()

    def serve(self, port, *extensions, **script):
        server = Server("127.0.0.1", port, extensions=("PIPELINING", "8BITMIME") + extensions, **script)
        self.addCleanup(server.close)
        return server

    def send(self, host, sender, recipients, text, options=UTF8):
        with host.smtp(local_hostname="client.example") as client:
            client.sendmail(sender, recipients, text, options)

    def report(self, host, box):
        wait_for(lambda: host.messages(box), 60)
        wait_for(host.queue_is_empty)
        self.assertEqual(len(host.messages(box)), 1)
        return Report(host.messages(box)[0])

    def test_what_needs_it_goes_with_it_and_nothing_else_does(self):
        port, host = self.start()
        server = self.serve(port, "SMTPUTF8")
        self.send(host, "юрий@почта.example", ["ü@bücher.example"], TEXT)
        self.send(host, "a@client.example", ["b@far.example"], TEXT)  # its header
        self.send(host, "a@client.example", ["b@far.example", "ü@far.example"], ASCII)
        self.send(host, "a@client.example", ["b@bücher.example"], ASCII)
        self.send(host, "a@client.example", ["b@far.example"], ASCII)
        self.send(host, "a@client.example", ["b@far.example"], b"Subject: j\xf6rg\r\n\r\nx\r\n", [])  # of old
        wait_for(lambda: len(server.messages) == 6, 60)
        wait_for(host.queue_is_empty)
        mails = {}
        for session in server.sessions:
            for line in session.commands:
                if line.startswith("MAIL"):
                    mail = line
                elif line.startswith("RCPT"):
                    mails.setdefault(line[9:-1], []).append(mail)
        told = {r: sorted("SMTPUTF8" in m.split() for m in found) for r, found in mails.items()}
        self.assertEqual(told, {"ü@bücher.example": [True], "b@far.example": [False, False, True, True], "ü@far.example": [True], "b@xn--bcher-kva.example": [False]})
        self.assertTrue(all("BODY=8BITMIME" in m for m in mails["ü@bücher.example"]))
        self.assertEqual(mails["ü@bücher.example"][0].split()[1], "FROM:<юрий@почта.example>")

    def test_addresses_with_ascii_local_parts_go_on_with_a_labels(self):
        """RFC 6531 3.2: sender and recipient, to a host without SMTPUTF8, and to one with it"""
        for offered in ((), ("SMTPUTF8",)):
            port, host = self.start()
            server = self.serve(port, *offered)
            self.send(host, "yuri@почта.example", ["b@bücher.example"], ASCII)
            wait_for(lambda: server.messages, 60)
            self.assertEqual((server.messages[0].sender, server.messages[0].recipients), ("yuri@" + POST_ASCII, ["b@xn--bcher-kva.example"]))
            self.assertNotIn("SMTPUTF8", " ".join(server.sessions[0].commands))

    def test_orcpt_goes_on_in_ascii(self):
        port, host = self.start()
        server = self.serve(port, "SMTPUTF8", "DSN")
        with host.smtp(local_hostname="client.example") as client:
            client.ehlo()
            client.mail("a@client.example", UTF8)
            client.command_encoding = "utf-8"
            self.assertEqual(client.rcpt("ü@far.example", ["ORCPT=utf-8;старый@почта.example", "NOTIFY=FAILURE"])[0], 250)
            client.data(ASCII)
        wait_for(lambda: server.messages, 60)
        rcpt = next(line for line in server.sessions[0].commands if line.startswith("RCPT"))
        self.assertEqual(rcpt, "RCPT TO:<ü@far.example> NOTIFY=FAILURE ORCPT=utf-8;" + "".join("\\x{%X}" % ord(c) for c in "старый") + "@" +
                         "".join("\\x{%X}" % ord(c) for c in "почта") + ".example")

    def test_a_next_host_without_it_and_an_ascii_sender(self):
        port, host = self.start()
        server = self.serve(port)
        self.send(host, "alice@" + DOMAIN, ["ü@bücher.example", "b@far.example"], ASCII)
        report = self.report(host, "alice")
        self.assertEqual([m.recipients for m in server.messages], [["b@far.example"]])
        self.assertTrue(report.header.isascii())
        self.assertIn(b"Content-Type: text/plain; charset=utf-8\n", report.text)
        self.assertIn("<ü@bücher.example>:\n".encode(), report.text)
        self.assertIn(b"Content-Type: message/delivery-status\n", report.status)
        self.assertIn(rb"Final-Recipient: utf-8; \x{FC}@b\x{FC}cher.example" + b"\nAction: failed\nStatus: 5.6.7\n", report.status)
        self.assertIn(b"Content-Type: message/rfc822\n", report.back)

    def test_a_header_that_the_next_host_can_not_have(self):
        port, host = self.start()
        server = self.serve(port)
        self.send(host, "alice@" + DOMAIN, ["b@far.example"], TEXT)
        report = self.report(host, "alice")
        self.assertEqual(server.messages, [])
        self.assertIn(b"Final-Recipient: rfc822; b@far.example\nAction: failed\nStatus: 5.6.7\n", report.status)
        self.assertIn(b"Content-Type: message/global\nContent-Transfer-Encoding: 8bit\n", report.back)
        self.assertIn("Subject: привет\n".encode(), report.back)
        self.assertIn(b"Content-Type: text/plain; charset=us-ascii\n", report.text)

    def test_a_sender_beyond_ascii_gets_a_report_beyond_ascii(self):
        port, host = self.start()
        self.serve(port, "SMTPUTF8", RCPT="550 5.1.1 no such user")
        self.send(host, "иван@почта.example", ["ü@bücher.example"], TEXT)
        report = self.report(host, "ivan")
        self.assertIn("\nTo: иван@почта.example\n".encode(), report.header)
        self.assertIn(b"Content-Type: message/global-delivery-status\nContent-Transfer-Encoding: 8bit\n", report.status)
        self.assertIn("Final-Recipient: utf-8; ü@bücher.example\nAction: failed\nStatus: 5.1.1\n".encode(), report.status)
        self.assertIn(b"Content-Type: message/global\n", report.back)
        self.assertTrue(report.raw.decode())

    def test_a_report_asks_for_smtputf8_only_where_its_sender_needs_it(self):
        for sender, asked in (("a@client.example", False), ("ü@client.example", True)):
            with self.subTest(sender):
                port, host = self.start()
                server = self.serve(port, "SMTPUTF8", steps={"RCPT bad": "550 5.1.1 no"})
                self.send(host, sender, ["bad@far.example"], TEXT)
                wait_for(lambda: server.messages, 60)
                self.assertEqual([m.recipients for m in server.messages], [[sender]])
                mail = [line for s in server.sessions for line in s.commands if line.startswith("MAIL FROM:<>")]
                self.assertEqual(["SMTPUTF8" in line.split() for line in mail], [asked])
                self.assertIn(b"Content-Type: message/global\r\n", server.messages[0].body)

    def test_sendmail_asks_for_what_its_header_needs(self):
        port, host = self.start()
        server = self.serve(port, "SMTPUTF8")
        for text in ("Subject: привет\n\nx\n".encode(), b"Subject: x\n\n\xd0\xbf\n", b"Subject: j\xf6rg\n\nx\n"):
            self.assertEqual(host.tool("sendmail", "-f", "a@client.example", "b@far.example", input=text, text=False).returncode, 0)
        wait_for(lambda: len(server.messages) == 3, 60)
        mails = [line for s in server.sessions for line in s.commands if line.startswith("MAIL")]
        self.assertEqual(sorted("SMTPUTF8" in m.split() for m in mails), [False, False, True])

    def test_the_queue_on_a_terminal(self):
        _, host = self.start(settings="remote { loopback = yes connect_timeout = 1s }")
        self.send(host, "юрий@почта.example", ["ü@bücher.example"], TEXT)
        self.assertIn("ü@bücher.example", host.queue())
        self.assertIn("юрий@почта.example", host.queue())
        done = host.tool("postino", "queue", "list", "--json")
        if done.returncode == 0:
            self.assertIn('"ü@bücher.example"', done.stdout)

    def test_debians_postfix_takes_it_byte_for_byte(self):
        with Postfix(virtual_mailbox_domains="почта.example", virtual_mailbox_maps="inline:{иван@почта.example=ivan/}") as postfix:
            host = Utf8Host(domains={}, routes={"*": "smtp:[127.0.0.1]:%d" % postfix.port})
            with open(host.config, encoding="utf-8") as f:
                text = f.read()
            with open(host.config, "w", encoding="utf-8") as f:
                f.write("".join(line for line in text.splitlines(True) if not line.startswith('domain "ПОЧТА')))
            with host:
                self.send(host, "юрий@bücher.example", ["иван@почта.example"], TEXT)
                wait_for(lambda: postfix.messages("ivan"), 60)
                wait_for(host.queue_is_empty)
            message = postfix.messages("ivan")[0]
            self.assertTrue(message.endswith(TEXT.replace(b"\r\n", b"\n")))
            self.assertIn("Return-Path: <юрий@bücher.example>".encode(), message)
            self.assertIn(b"with UTF8SMTPS id", message.replace(b"\n\t", b" "))

    def test_what_debians_postfix_sends_arrives(self):
        with Utf8Host() as host, Postfix(relayhost="[127.0.0.1]:%d" % host.port, smtp_tls_security_level="may") as postfix:
            with smtplib.SMTP("127.0.0.1", postfix.port, local_hostname="client.example") as client:
                client.sendmail("юрий@client.example", ["иван@почта.example"], TEXT, UTF8)
            message = new(host, "ivan", 0)
        self.assertTrue(message.startswith("Return-Path: <юрий@client.example>\n".encode()))
        self.assertIn(b" with UTF8SMTPS id ", message)
        self.assertTrue(message.endswith(TEXT.replace(b"\r\n", b"\n")))

    def test_swaks(self):
        with Utf8Host() as host:
            done = subprocess.run(["swaks", "--server", "127.0.0.1:%d" % host.port, "--ehlo", "client.example", "--from", "юрий@client.example SMTPUTF8", "--to",
                                   "иван@почта.example", "--suppress-data"], capture_output=True, text=True)
            self.assertIn("\n<-  250-SMTPUTF8\n", done.stdout)


class Off(unittest.TestCase):
    def test_smtputf8_can_be_switched_off(self):
        with Host(settings="smtpd { smtputf8 = no }") as host, host.smtp(local_hostname="client.example") as client:
            client.ehlo()
            self.assertFalse(client.has_extn("smtputf8"))
            client.command_encoding = "utf-8"
            self.assertEqual(client.docmd("MAIL FROM:<a@client.example> SMTPUTF8")[0], 555)
            self.assertEqual(client.mail("ü@client.example")[0], 550)
            self.assertEqual(client.docmd("VRFY ü")[0], 501)
            self.assertEqual(client.mail("a@client.example")[0], 250)
            self.assertEqual(client.rcpt("ü@" + DOMAIN)[0], 553)
            done = host.tool("sendmail", "ü@" + DOMAIN, input="x\n")
            self.assertEqual(done.returncode, 65)
            self.assertIn("SMTPUTF8", done.stderr)


if __name__ == "__main__":
    unittest.main()
