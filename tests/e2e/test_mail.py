"""A message's whole way: from real clients over the wire to a Maildir, to another Postino, and to Debian's Postfix; byte for byte."""
import os
import re
import smtplib
import subprocess
import tempfile
import unittest

from host import DOMAIN, PASSWORD, Host, corpus, free_port, is_free, wait_for, without_trace

TEXT = (b"From: A <a@client.example>\r\nTo: alice@local.example\r\nSubject: one\r\n"
        b"Date: Sat, 21 Nov 2026 12:00:00 +0100\r\nMessage-ID: <one@client.example>\r\n\r\n"
        b"..two dots\r\n.one dot\r\n.\r\ncaf\xc3\xa9 \x01\x7f\r\n\r\n  trailing blanks  \r\n\r\n")


class ToMaildir(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.host = Host().__enter__()

    @classmethod
    def tearDownClass(cls):
        cls.host.__exit__(None, None, None)

    def arrives(self, name="alice", before=0, count=1):
        wait_for(lambda: len(self.host.messages(name)) >= before + count, 60)
        return self.host.messages(name)[before:]

    def test_smtplib_over_25(self):
        before = len(self.host.messages("alice"))
        with self.host.smtp(local_hostname="client.example") as client:
            client.ehlo()
            client.mail("a@client.example", ["BODY=8BITMIME", "SIZE=%d" % len(TEXT)])
            client.rcpt("alice@" + DOMAIN)
            code, reply = client.data(TEXT)
        self.assertEqual(code, 250)
        message = self.arrives(before=before)[0]
        self.assertEqual(without_trace(message), TEXT.replace(b"\r\n", b"\n"))
        self.assertTrue(message.startswith(b"Return-Path: <a@client.example>\n"))

    def test_trace_line_says_client_helo_protocol_id_and_time(self):
        before = len(self.host.messages("bob"))
        with self.host.smtp(local_hostname="helo.client.example") as client:
            client.ehlo()
            client.mail("a@client.example")
            client.rcpt("bob@" + DOMAIN)
            queue_id = client.data(TEXT)[1].decode().split()[-1]
        message = self.arrives("bob", before)[0].decode("utf-8", "replace")
        received = re.search(r"^Received: (.*?)^(?=\S)", message, re.M | re.S).group(1).replace("\n", " ")
        self.assertRegex(received, r"^from helo\.client\.example \((localhost|unknown) \[127\.0\.0\.1\]\)\s+by mx\.local\.example \(Postino\) with ESMTP id " + queue_id)
        self.assertRegex(received, r"for <bob@local\.example>;\s+\w{3}, +\d+ \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}")

    def test_submission_with_starttls_and_auth_says_ESMTPSA(self):
        before = len(self.host.messages("alice"))
        with self.host.smtp(self.host.submission_port) as client:
            client.starttls(context=self.host.tls_context())
            client.login("alice", PASSWORD)
            client.sendmail("alice@" + DOMAIN, ["alice@" + DOMAIN], TEXT)
        self.assertIn(b" with ESMTPSA ", self.arrives(before=before)[0])

    def test_submissions_with_implicit_tls(self):
        before = len(self.host.messages("alice"))
        with smtplib.SMTP_SSL("127.0.0.1", self.host.submissions_port, context=self.host.tls_context(), timeout=120) as client:
            client.login("alice", PASSWORD)
            client.sendmail("alice@" + DOMAIN, ["alice@" + DOMAIN], TEXT)
        message = self.arrives(before=before)[0]
        self.assertEqual(without_trace(message), TEXT.replace(b"\r\n", b"\n"))
        self.assertIn(b" with ESMTPSA ", message)

    def test_swaks_with_tls(self):
        before = len(self.host.messages("alice"))
        done = subprocess.run(["swaks", "--server", "127.0.0.1:%d" % self.host.port, "--tls", "--from", "s@client.example", "--to", "alice@" + DOMAIN,
                               "--header", "Subject: swaks", "--body", "a\n.b\n"], capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        message = self.arrives(before=before)[0]
        self.assertIn(b"Subject: swaks", message)
        self.assertIn(b"\n.b\n", message)
        self.assertIn(b" with ESMTPS ", message)

    def test_curl_with_auth(self):
        before = len(self.host.messages("alice"))
        path = self.host.path("curl.txt")
        with open(path, "wb") as f:
            f.write(TEXT)
        done = subprocess.run(["curl", "-sS", "--url", "smtp://127.0.0.1:%d/client.example" % self.host.submission_port, "--ssl-reqd", "--insecure", "--user",
                               "alice:" + PASSWORD, "--mail-from", "alice@" + DOMAIN, "--mail-rcpt", "alice@" + DOMAIN, "-T", path],
                              capture_output=True, text=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(without_trace(self.arrives(before=before)[0]), TEXT.replace(b"\r\n", b"\n"))

    def test_msmtp(self):
        before = len(self.host.messages("alice"))
        done = subprocess.run(["msmtp", "--host=127.0.0.1", "--port=%d" % self.host.port, "--from=m@client.example", "--tls=off", "--auth=off", "alice@" + DOMAIN],
                              input=TEXT.replace(b"\r\n", b"\n"), capture_output=True, timeout=120)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn(TEXT.split(b"\r\n\r\n", 1)[1].replace(b"\r\n", b"\n").rstrip(), self.arrives(before=before)[0])

    def test_user_with_a_tag(self):
        before = len(self.host.messages("alice"))
        with self.host.smtp() as client:
            client.sendmail("a@client.example", ["alice+lists@" + DOMAIN], TEXT)
        self.assertEqual(without_trace(self.arrives(before=before)[0]), TEXT.replace(b"\r\n", b"\n"))

    def test_a_large_message(self):
        before = len(self.host.messages("bob"))
        line = b"0123456789abcdef" * 4 + b"\r\n"
        large = b"Subject: large\r\n\r\n" + line * 150000  # about 10 MB: streamed, not held in memory
        with self.host.smtp(timeout=120) as client:
            client.sendmail("a@client.example", ["bob@" + DOMAIN], large)
        self.assertEqual(without_trace(self.arrives("bob", before)[0]), large.replace(b"\r\n", b"\n"))

    def test_several_messages_in_one_session(self):
        before = len(self.host.messages("bob"))
        with self.host.smtp() as client:
            for i in range(20):
                client.sendmail("a@client.example", ["bob@" + DOMAIN], b"Subject: %d\r\n\r\n%d\r\n" % (i, i))
        got = sorted(without_trace(m) for m in self.arrives("bob", before, 20))
        self.assertEqual(got, sorted(b"Subject: %d\n\n%d\n" % (i, i) for i in range(20)))


class ToAnotherHost(unittest.TestCase):
    def relay(self, second_settings="", **first_more):
        second = Host(hostname="second.example", **({"settings": second_settings} if second_settings else {})).__enter__()
        self.addCleanup(second.__exit__, None, None, None)
        first = Host(hostname="first.example", domains={}, routes={"*": "smtp:[127.0.0.1]:%d" % second.port}, **first_more).__enter__()
        self.addCleanup(first.__exit__, None, None, None)
        return first, second

    def test_two_hops_with_opportunistic_tls(self):
        first, second = self.relay()
        with first.smtp() as client:
            client.sendmail("a@client.example", ["alice@" + DOMAIN, "bob@" + DOMAIN], TEXT)
        for name in ("alice", "bob"):
            wait_for(lambda: second.messages(name), 60)
            self.assertEqual(without_trace(second.messages(name)[0], hops=2), TEXT.replace(b"\r\n", b"\n"))
        self.assertIn(b" with ESMTPS ", second.messages("alice")[0])
        first.wait_log(r"to=<alice@local\.example> .*tls=\"TLSv1\.3 .* status=sent")
        wait_for(first.queue_is_empty)

    def test_real_messages_to_a_maildir_and_through_a_second_host(self):
        """the whole sample of the corpus, byte for byte"""
        first, second = self.relay(second_settings="limit { line = 65536 hops = 100 }\nremote { loopback = yes }")
        first.configure(domains={}, routes={"*": "smtp:[127.0.0.1]:%d" % second.port}, settings="limit { line = 65536 hops = 100 }\nremote { loopback = yes }")
        first.reload()
        first.wait_log("reloaded: generation")
        sent = {}
        with first.smtp(timeout=120) as client:
            for number, (name, text) in enumerate(corpus()):
                client.ehlo_or_helo_if_needed()
                self.assertEqual(client.mail("n%d@client.example" % number, ["BODY=8BITMIME"])[0], 250)
                self.assertEqual(client.rcpt("alice@" + DOMAIN)[0], 250)
                code, reply = client.data(text)
                self.assertEqual(code, 250, (name, reply))
                sent[b"n%d@client.example" % number] = (name, text)
        self.assertGreater(len(sent), 150)
        wait_for(lambda: len(second.messages("alice")) >= len(sent), 120)
        for message in second.messages("alice"):
            sender = re.match(rb"Return-Path: <(.*?)>", message).group(1)
            name, text = sent.pop(sender)
            self.assertEqual(without_trace(message, hops=2), text.replace(b"\r\n", b"\n"), name)
        self.assertEqual(sent, {})
        wait_for(first.queue_is_empty)
        wait_for(second.queue_is_empty)


class ToPostfix(unittest.TestCase):
    def test_smtp_sink_takes_it_byte_for_byte(self):
        port = free_port()
        directory = tempfile.mkdtemp(prefix="postino-sink-", dir="/var/tmp")
        os.chmod(directory, 0o777)
        self.addCleanup(subprocess.run, ["rm", "-rf", directory])
        user = ["-u", "nobody"] if os.geteuid() == 0 else []
        sink = subprocess.Popen(["smtp-sink"] + user + ["-d", directory + "/m.", "127.0.0.1:%d" % port, "100"], stdin=subprocess.DEVNULL,
                                stdout=subprocess.DEVNULL)
        self.addCleanup(sink.wait)
        self.addCleanup(sink.terminate)
        wait_for(lambda: not is_free(port))  # it listens
        with Host(domains={}, routes={"*": "smtp:[127.0.0.1]:%d" % port}) as host:
            with host.smtp() as client:
                client.sendmail("a@client.example", ["x@elsewhere.example"], TEXT)
            wait_for(lambda: os.listdir(directory), 60)
            wait_for(host.queue_is_empty)
            with open(os.path.join(directory, os.listdir(directory)[0]), "rb") as f:
                got = f.read()
            # smtp-sink writes X- lines and its own Received: in front
            self.assertIn(b"X-Mail-Args: <a@client.example> BODY=8BITMIME", got)
            self.assertTrue(got.replace(b"\r\n", b"\n").rstrip(b"\n").endswith(TEXT.replace(b"\r\n", b"\n").rstrip(b"\n")), got)


if __name__ == "__main__":
    unittest.main(verbosity=2)
