"""Addresses and headers beyond ASCII (SMTPUTF8, RFC 6531 to 6533), from real clients to mailboxes, other hosts and reports."""
import os
import pathlib
import smtplib
import socket
import subprocess
import threading
import unittest

from host import DOMAIN, MAIL_UID, PASSWORD, Host, free_port, wait_for, without_trace

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
    wait_for(lambda: len(host.messages(name)) > before, 15)
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
        for sock in cls.socks:
            sock.close()

    @classmethod
    def serve_policy(cls):
        cls.asked, cls.socks = [], []
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(cls.host.path("policy"))
        os.chmod(cls.host.path("policy"), 0o666)
        listener.listen(10)

        def serve(sock):
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

        def accept():
            while True:
                sock, _ = listener.accept()
                cls.socks.append(sock)
                threading.Thread(target=serve, args=(sock,), daemon=True).start()
        threading.Thread(target=accept, daemon=True).start()

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
        self.assertIn("goes to <иван@почта.example> by local %sivan" % POST_ASCII, done.stdout)
        self.assertEqual(done.returncode, 0, done.stdout)
        done = self.host.tool("postino", "why", "--client", "192.0.2.1", "--from", "зло@почта.example", "--to", "иван@почта.example")
        self.assertIn("verdict: 554 5.7.1 <зло@почта.example>: Sender address rejected: no evil", done.stdout)
        done = self.host.tool("postino", "why", "--client", "192.0.2.1", "--from", "зло\u009b@почта.example", "--to", "info@почта.example")
        self.assertNotIn("\u009b", done.stdout)


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
