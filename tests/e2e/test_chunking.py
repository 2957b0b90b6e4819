"""BDAT and BODY=BINARYMIME (RFC 3030) on the way out: what a next host is told, and what becomes of a message when it does not do its part, or can't take it as
it is."""
import email
import email.policy
import os
import random
import re
import smtplib
import sys
import tempfile
import unittest

import frames
import host
from exim import Exim
from host import Host, corpus, free_port, wait_for
from hostile import DROP, HANG, RESET, Early, Raw, Server
from remote import DEFERRED, FAILED, IN_DOUBT, PATIENT, RELAYED, Base

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "conformance"))
import servers  # noqa: E402

LARGE = b"Subject: large\r\n\r\n" + b"".join(b".%063d\r\n" % i for i in range(2000)) + b"QUIT\r\n.\r\n"
CHUNKING = ("PIPELINING", "SIZE 100000000", "8BITMIME", "CHUNKING")
BINARYMIME = CHUNKING + ("BINARYMIME",)
BINARY = b"Subject: binary\r\nMIME-Version: 1.0\r\nContent-Type: application/octet-stream\r\nContent-Transfer-Encoding: binary\r\n\r\n" + bytes(range(256)) * 3 + b"\r.\n.\r\nQUIT\r"
BOTH = (CHUNKING, ("CHUNKING",))


class Bdat(Base):
    settings = 'idle_timeout = "0"' + " " + PATIENT

    def test_a_large_message_is_one_chunk_byte_for_byte(self):
        for extensions in BOTH:
            with self.remote.server(extensions=extensions) as server:
                self.check(self.remote.deliver(body=LARGE), (RELAYED, "2.0.0", "250 2.0.0 ok: queued as A1"))
                host.wait_for(lambda: server.sessions[0].ended)
                self.assertEqual([c.split(" ")[0] for c in server.sessions[0].commands], ["EHLO", "MAIL", "RCPT", "BDAT", "QUIT"])
                self.assertEqual(server.sessions[0].commands[3], "BDAT %d LAST" % len(LARGE))
                self.assertEqual(server.messages[0].body, LARGE)

    def test_a_message_on_disk_too(self):
        body = LARGE * 60
        with tempfile.TemporaryFile() as f, self.remote.server(extensions=CHUNKING) as server:
            f.write(b"front" + body)
            f.flush()
            self.check(self.remote.deliver(fd=f.fileno(), offset=5, size=len(body)), (RELAYED, "2.0.0", "250"))
            self.assertEqual(server.messages[0].body, body)

    def test_small_ones_and_hosts_without_it_have_data(self):
        with self.remote.server(extensions=CHUNKING) as server:
            self.check(self.remote.deliver(), (RELAYED, "2.0.0", "250"))
            self.assertIn("DATA", server.sessions[0].commands)
        with self.remote.server(extensions=("PIPELINING",)) as server:
            self.check(self.remote.deliver(body=LARGE), (RELAYED, "2.0.0", "250"))
            self.assertIn("DATA", server.sessions[0].commands)
            self.assertEqual(server.messages[0].body, LARGE)

    def test_no_octet_goes_to_a_host_that_takes_nobody(self):
        for extensions in BOTH:
            with self.remote.server(extensions=extensions, RCPT="550 5.1.1 no") as server:
                self.check(self.remote.deliver("a@a.example", "b@a.example", body=LARGE), *[(FAILED, "5.1.1", "no")] * 2)
                host.wait_for(lambda: server.sessions[0].ended)
                self.assertEqual([c.split(" ")[0] for c in server.sessions[0].commands], ["EHLO", "MAIL", "RCPT", "RCPT", "RSET", "QUIT"])
            with self.remote.server(extensions=extensions, MAIL="451 4.7.1 later") as server:
                self.check(self.remote.deliver(body=LARGE), (DEFERRED, "4.7.1", "later"))
                host.wait_for(lambda: server.sessions[0].ended)
                self.assertNotIn("BDAT", " ".join(server.sessions[0].commands))
            with self.remote.server(extensions=extensions, MAIL="451 4.7.1 later", RCPT="250 2.1.5 why not") as server:
                self.check(self.remote.deliver(body=LARGE), (DEFERRED, "4.7.1", "later"))
                host.wait_for(lambda: server.sessions[0].ended)
                self.assertNotIn("BDAT", " ".join(server.sessions[0].commands))

    def test_recipients_have_each_their_own_fate(self):
        steps = {"RCPT b@": "550 5.1.1 no b", "RCPT c@": "451 4.2.1 c later"}
        for extensions in BOTH:
            with self.remote.server(extensions=extensions, steps=steps) as server:
                self.check(self.remote.deliver(*[c + "@a.example" for c in "abcd"], body=LARGE), (RELAYED, "2.0.0", "250"), (FAILED, "5.1.1", "no b"),
                           (DEFERRED, "4.2.1", "c later"), (RELAYED, "2.0.0", "250"))
                self.assertEqual(server.messages[0].recipients, ["a@a.example", "d@a.example"])

    def test_refusals_and_a_session_that_goes_on(self):
        """behind a refused chunk the state is not known: RSET comes before the next message"""
        for reply, verdict, status in (("451 4.3.0 later", DEFERRED, "4.3.0"), ("554 5.7.1 never", FAILED, "5.7.1"), ("503 5.5.1 what", FAILED, "5.5.1")):
            for extensions in BOTH:
                with self.remote.server(extensions=extensions, BDAT=[reply, "250 2.0.0 ok"]) as server:
                    self.check(self.remote.deliver(body=LARGE), (verdict, status, "said: %s (in reply to BDAT command)" % reply))
                    host.wait_for(lambda: server.sessions[0].ended)
                    self.assertEqual(server.sessions[0].commands[-2:], ["RSET", "QUIT"])
                    self.assertEqual(server.messages, [])

    def test_a_host_that_offers_bdat_and_does_not_know_it_gets_data(self):
        for reply in ("500 5.5.1 unrecognized", "502 5.5.1 not implemented"):
            for action in (reply, Early(Raw(reply.encode() + b"\r\n", HANG))):
                for extensions in BOTH:
                    with self.subTest(reply=reply, action=action), self.remote.server(extensions=extensions, BDAT=action) as server:
                        self.check(self.remote.deliver("a@a.example", body=LARGE), (RELAYED, "2.0.0", "250"))
                        self.assertEqual(len(server.sessions), 2)
                        self.assertIn("DATA", server.sessions[1].commands)
                        self.assertEqual(server.messages[-1].body, LARGE)

    def test_who_was_refused_is_not_asked_again_with_data(self):
        with self.remote.server(extensions=CHUNKING, BDAT="502 5.5.1 not implemented", steps={"RCPT b@": "550 5.1.1 no b"}) as server:
            self.check(self.remote.deliver("a@a.example", "b@a.example", body=LARGE), (RELAYED, "2.0.0", "250"), (FAILED, "5.1.1", "no b"))
            self.assertEqual(len([c for c in server.sessions[1].commands if c.startswith("RCPT")]), 1)

    def test_a_file_that_is_too_short_completes_no_chunk(self):
        with tempfile.TemporaryFile() as f, self.remote.server(extensions=CHUNKING) as server:
            f.write(LARGE)
            f.flush()
            self.check(self.remote.deliver(fd=f.fileno(), size=len(LARGE) + 1), (DEFERRED, "4.3.0", "can't be read"))
            host.wait_for(lambda: server.sessions[0].ended)
            self.assertEqual(server.received, [])

    def test_a_refusal_before_the_chunk_is_read(self):
        with self.remote.server(extensions=CHUNKING, BDAT=Early(Raw(b"552 5.3.4 enough\r\n", HANG))) as server:
            self.check(self.remote.deliver(body=LARGE), (FAILED, "5.3.4", "enough"))
            self.assertEqual(server.received, [])

    def test_replies_that_nobody_asked_for(self):
        """one too many at any step is no acceptance of what follows"""
        for step in ("MAIL", "RCPT"):
            with self.remote.server(extensions=CHUNKING, **{step: Raw(b"250 ok\r\n250 ok\r\n250 ok\r\n")}) as server:
                result = self.remote.deliver(body=LARGE)
                self.assertEqual([o.verdict for o in result.outcomes], [DEFERRED])
                self.assertEqual(server.messages, [])
        with self.remote.server(extensions=CHUNKING, BDAT=[Raw(b"250 ok\r\n250 ok\r\n")]) as server:
            self.check(self.remote.deliver(body=LARGE), (RELAYED, "2.0.0", "250 ok"))
            host.wait_for(lambda: server.sessions[0].ended)

    def test_a_bare_line_end_never_leaves_in_a_chunk_either(self):
        for body in (LARGE + b"a\nb\r\n", LARGE[:-2] + b"\r", b"\n" + LARGE):
            with self.remote.server(extensions=CHUNKING) as server:
                self.check(self.remote.deliver(body=body), (FAILED, "5.6.0", "bare CR or LF"))
                host.wait_for(lambda: server.sessions[0].ended)
                self.assertEqual(server.received, [])

    def test_421_behind_the_chunk(self):
        with self.remote.server(extensions=CHUNKING, BDAT="421 4.3.2 going down"):
            self.check(self.remote.deliver(body=LARGE), (DEFERRED, "4.3.2", "going down"), site_failed=1)


class BdatLost(Base):
    settings = 'idle_timeout = "0"' + " " + PATIENT.replace('end_timeout = "60s"', 'end_timeout = "4s"')

    def test_a_hang_or_a_break_behind_the_chunk(self):
        actions = ((HANG, "timed out"), (DROP, "lost connection"), (RESET, "lost connection"), (Raw(b"250 hal", DROP), "lost connection"), (Raw(b"25", HANG), "timed out"),
                   (Raw(b"hello\r\n", HANG), "broken reply"))
        cases = [((action, how, extensions), dict(extensions=extensions, BDAT=action)) for extensions in BOTH for action, how in actions]
        for (action, how, extensions), _, _, result in self.remote.at_once(cases, "a", "b", body=LARGE):
            with self.subTest(action=action, extensions=extensions):
                self.check(result, *[(IN_DOUBT, "4.4.2", "after the end of the message was sent")] * 2, site_failed=1)
                self.assertIn(how, result.outcomes[0].reply)

    def test_a_break_in_the_chunk_is_no_delivery(self):
        body = LARGE * 60
        with tempfile.TemporaryFile() as f:
            f.write(body)
            f.flush()
            actions = (DROP, DEFERRED, "lost connection"), (HANG, IN_DOUBT, "timed out")  # HANG reads on
            cases = [(case, dict(extensions=CHUNKING, BODY=(100000, case[0]))) for case in actions]
            for (_, verdict, words), server, _, result in self.remote.at_once(cases, "a", fd=f.fileno(), size=len(body)):
                self.assertEqual([o.verdict for o in result.outcomes], [verdict])
                self.assertIn(words, result.outcomes[0].reply)
                self.assertEqual(server.received, [])


class NoChunking(Base):
    settings = 'chunking = no idle_timeout = "0"' + " " + PATIENT

    def test_data_by_setting_but_for_binary(self):
        with self.remote.server(extensions=BINARYMIME) as server:
            self.check(self.remote.deliver(body=LARGE), (RELAYED, "2.0.0", "250"))
            self.assertIn("DATA", server.sessions[0].commands)
        with self.remote.server(extensions=BINARYMIME) as server:
            self.check(self.remote.deliver(body=BINARY, flags=frames.ENVELOPE_BINARY), (RELAYED, "2.0.0", "250"))
            self.assertEqual(server.messages[0].body, BINARY)


class Reused(Base):
    settings = 'idle_timeout = "60s"' + " " + PATIENT

    def test_chunks_and_texts_in_one_session(self):
        bodies = [LARGE, b"Subject: small\r\n\r\n.\r\n", BINARY, LARGE, BINARY]
        with self.remote.server(extensions=BINARYMIME) as server:
            for body in bodies:
                self.check(self.remote.deliver(body=body, flags=frames.ENVELOPE_BINARY if body is BINARY else 0), (RELAYED, "2.0.0", "250"))
            self.assertEqual(len(server.sessions), 1)
            self.assertEqual([m.body for m in server.messages], bodies)

    def test_a_session_that_ended_meanwhile_costs_nothing(self):
        with self.remote.server(extensions=CHUNKING, MAIL=["250 ok", DROP]) as server:
            for _ in range(2):
                self.check(self.remote.deliver(body=LARGE), (RELAYED, "2.0.0", "250"))
            self.assertEqual(len(server.messages), 2)


class Binary(Base):
    settings = 'idle_timeout = "0"' + " " + PATIENT

    def test_binary_goes_byte_for_byte(self):
        for extensions in (BINARYMIME, ("CHUNKING", "BINARYMIME")):
            with self.remote.server(extensions=extensions) as server:
                self.check(self.remote.deliver(body=BINARY, flags=frames.ENVELOPE_BINARY | frames.ENVELOPE_8BIT), (RELAYED, "2.0.0", "250"))
                self.assertTrue(server.sessions[0].commands[1].endswith(" BODY=BINARYMIME"))
                self.assertEqual(server.messages[0].body, BINARY)

    def test_binary_is_converted_for_hosts_that_can_t_have_it(self):
        for extensions in (("PIPELINING",), CHUNKING, ("PIPELINING", "BINARYMIME"), ()):
            with self.remote.server(extensions=extensions) as server:
                self.check(self.remote.deliver(body=BINARY, flags=frames.ENVELOPE_BINARY), (RELAYED, "2.0.0", "250"))
                self.assertNotIn("BINARYMIME", server.sessions[0].commands[1])
                self.assertIn("DATA", server.sessions[0].commands)
                self.assertEqual(leaves(server.messages[0].body), leaves(BINARY))

    def test_broken_binary_is_returned(self):
        body = BINARY.replace(b"Content-Transfer-Encoding: binary", b"Content-Transfer-Encoding: base64")
        with self.remote.server(extensions=CHUNKING) as server:
            self.check(self.remote.deliver(body=body, flags=frames.ENVELOPE_BINARY), (FAILED, "5.6.3", "BINARYMIME is required, but was not offered by host mx0.a.example"))
            self.assertEqual(server.received, [])

    def test_the_second_host_gets_it_anew(self):
        """behind a conversion that broke off, one that goes to its end; and a host that takes it as it is"""
        body = BINARY + bytes(range(256)) * 3000
        for extensions in (CHUNKING, BINARYMIME):
            with self.remote.server(extensions=CHUNKING, MAIL="421 4.3.2 down"), self.remote.server("127.0.0.3", extensions=extensions) as second:
                self.check(self.remote.deliver("bob@two.example", nexthop="two.example", body=body, flags=frames.ENVELOPE_BINARY), (RELAYED, "2.0.0", "250"))
                self.assertEqual(leaves(second.messages[0].body), leaves(body))

    def test_a_file_that_can_t_be_read_is_not_converted(self):
        with tempfile.TemporaryFile() as f, self.remote.server(extensions=CHUNKING) as server:
            f.write(BINARY)
            f.flush()
            self.check(self.remote.deliver(fd=f.fileno(), size=len(BINARY) + 1, flags=frames.ENVELOPE_BINARY), (DEFERRED, "4.3.0", "can't be read"))
            self.assertEqual(server.received, [])


def leaves(message):
    """What a reader of MIME sees: (type, octets) of each leaf, as decoded by Python."""
    found = []
    for part in email.message_from_bytes(message, policy=email.policy.compat32).walk():
        if not part.is_multipart():
            found.append((part.get_content_type(), part.get_payload(decode=True)))
    return found


class Maker:
    """Random MIME messages of CR LF lines, 8-bit here and there. `lines`: text parts end their lines with CR LF alone, and octets of others are of such lines, too."""

    def __init__(self, seed):
        self.random, self.boundaries = random.Random(seed), 0

    def text(self):
        r = self.random
        words = ["", " ", "x", "=", "=3D", ".", "..", "-", "--", "--=_b", "From ", "\t", "h\u00f6h\u00e4", "\u20ac" * r.randrange(40), "long " * r.randrange(60), "x" * r.randrange(200), " \t "]
        return b"".join("".join(r.choice(words) for _ in range(r.randrange(4))).encode() + b"\r\n" for _ in range(r.randrange(6)))

    def leaf(self):
        r = self.random
        kind = r.choice(["text/plain; charset=utf-8", "TEXT/html", "application/octet-stream", "image/png; name=\"a b\"", None])
        encoding = r.choice([None, "8bit", "8BIT", "7bit", "quoted-printable", "base64"])
        text = self.text()
        if encoding == "quoted-printable":
            text = b"=C3=B6 x=\r\ny\r\n"
        if encoding == "base64":
            text = b"/////w==\r\n"
        fields = [b"X-A: 1\r\n", b"Content-Disposition: attachment;\r\n filename=\"x\"\r\n"][: r.randrange(3)]
        fields += [b"Content-Type: " + kind.encode() + b"\r\n"] if kind else []
        fields += [b"Content-Transfer-Encoding: " + encoding.encode() + b"\r\n"] if encoding else []
        r.shuffle(fields)
        return b"".join(fields), text

    def part(self, depth):
        r = self.random
        what = r.randrange(6) if depth < 4 else 0
        if what == 1:
            header, body = self.part(depth + 1)
            return b"Content-Type: message/rfc822\r\n" + r.choice([b"", b"Content-Transfer-Encoding: 8bit\r\n"]), b"Subject: in\r\n" + header + b"\r\n" + body
        if what < 4:
            return self.leaf()
        self.boundaries += 1
        boundary = b"=_b%d" % self.boundaries
        body = r.choice([b"", b"preamble\r\n"])
        for _ in range(r.randrange(1, 4)):
            header, text = self.part(depth + 1)
            body += b"--" + boundary + b"\r\n" + header + b"\r\n" + text + b"\r\n"
        return b"Content-Type: multipart/mixed;\r\n\tboundary=\"" + boundary + b"\"\r\n" + r.choice([b"", b"Content-Transfer-Encoding: 8bit\r\n"]), body + b"--" + boundary + b"--\r\n"

    def message(self):
        header, body = self.part(0)
        return b"Subject: x\r\nMIME-Version: 1.0\r\n" + header + b"\r\n" + body


class EightBit(Base):
    settings = 'idle_timeout = "60s"' + " " + PATIENT

    def test_parts_have_the_same_octets_in_seven_bits(self):
        """500 random trees; ROUNDS= for more"""
        converted = 0
        with self.remote.server(extensions=("PIPELINING",)) as server:
            for seed in range(int(os.environ.get("ROUNDS", 500))):
                text = Maker(seed).message()
                self.check(self.remote.deliver(body=text, flags=0 if text.isascii() else frames.ENVELOPE_8BIT), (RELAYED, "2.0.0", "250"))
                got = server.messages[-1].body
                self.assertTrue(got.isascii(), (seed, text, got))
                self.assertEqual(leaves(got), leaves(text), (seed, text, got))
                self.assertEqual(got == text, text.isascii(), seed)
                self.assertLessEqual(max(map(len, got.split(b"\r\n"))), 998)
                converted += got != text
            self.assertGreater(converted, 100)
            self.assertFalse([c for s in server.sessions for c in s.commands if "BODY" in c])

    def test_real_messages(self):
        """those that are MIME, or 7-bit; the others as they are"""
        as_they_are = 0
        with self.remote.server(extensions=("PIPELINING",)) as server:
            for name, text in corpus():
                self.check(self.remote.deliver(body=text, flags=0 if text.isascii() else frames.ENVELOPE_8BIT), (RELAYED, "2.0.0", "250"))
                got = server.messages[-1].body
                if got != text:
                    self.assertEqual([(t, o.rstrip(b"\r\n")) for t, o in leaves(got)], [(t, o.rstrip(b"\r\n")) for t, o in leaves(text)], name)
                as_they_are += got == text and not text.isascii()
        print("    %d messages, %d with 8-bit octets went as they are" % (len(server.messages), as_they_are))

    def test_a_host_with_8BITMIME_gets_it_as_it_is(self):
        body = b"Subject: x\r\n\r\nh\xc3\xb6\r\n"
        with self.remote.server() as server:
            self.check(self.remote.deliver(body=body, flags=frames.ENVELOPE_8BIT), (RELAYED, "2.0.0", "250"))
            self.assertEqual(server.messages[0].body, body)

    def test_what_is_broken_goes_as_it_is(self):
        body = b"Subject: x\r\nContent-Transfer-Encoding: base64\r\n\r\nh\xc3\xb6\r\n"
        with self.remote.server(extensions=()) as server:
            self.check(self.remote.deliver(body=body, flags=frames.ENVELOPE_8BIT), (RELAYED, "2.0.0", "250"))
            self.assertEqual(server.messages[0].body, body)


class EightBitPassed(Base):
    settings = 'eight_bit = pass idle_timeout = "0"' + " " + PATIENT

    def test_it_goes_as_it_is_by_setting(self):
        body = b"Subject: x\r\n\r\nh\xc3\xb6\r\n"
        with self.remote.server(extensions=()) as server:
            self.check(self.remote.deliver(body=body, flags=frames.ENVELOPE_8BIT), (RELAYED, "2.0.0", "250"))
            self.assertEqual(server.messages[0].body, body)


def body_of(message):
    return message.replace(b"\r\n", b"\n").partition(b"\n\n")[2]


class Chain(unittest.TestCase):
    """A binary message on its whole way."""

    def test_to_hosts_with_and_without_BINARYMIME_to_a_mailbox_and_back(self):
        ports = [free_port() for _ in range(3)]
        body = BINARY + bytes(range(256)) * 2000  # it comes in pieces, and lies in a file
        routes = {name: "via = \"smtp:[127.0.0.1]:%d\" tls = none" % port for name, port in zip(("binary.example", "lines.example", "refuses.example"), ports)}
        with Host(routes=routes, settings="dns { client_names = no }") as postino, Server("127.0.0.1", ports[0], extensions=BINARYMIME) as binary, \
                Server("127.0.0.1", ports[1], extensions=CHUNKING) as lines, Server("127.0.0.1", ports[2], extensions=BINARYMIME, RCPT="550 5.1.1 no"):
            with smtplib.SMTP("127.0.0.1", postino.port, timeout=60) as client:
                client.ehlo()
                self.assertTrue(client.has_extn("binarymime"))
                self.assertEqual(client.mail("bob@local.example", ["BODY=BINARYMIME", "RET=FULL"])[0], 250)
                for recipient in "x@binary.example", "x@lines.example", "x@refuses.example", "alice@local.example":
                    self.assertEqual(client.rcpt(recipient)[0], 250)
                for at in range(0, len(body), 99999):
                    chunk = body[at : at + 99999]
                    client.sock.sendall(b"BDAT %d%s\r\n" % (len(chunk), b" LAST" if at + 99999 >= len(body) else b"") + chunk)
                    self.assertEqual(client.getreply()[0], 250)
            wait_for(lambda: binary.messages and lines.messages and postino.messages("alice") and postino.messages("bob"), 60)
            wait_for(postino.queue_is_empty)
            self.assertTrue(binary.messages[0].body.endswith(body))
            self.assertIn("BODY=BINARYMIME", binary.sessions[0].commands[1])
            for got in lines.messages[0].body, postino.messages("alice")[0].replace(b"\n", b"\r\n"):
                self.assertEqual(leaves(got), leaves(body))
                self.assertTrue(got.isascii())
            report = postino.messages("bob")[0]
            self.assertIn(b"5.1.1", report)
            self.assertIn(b"text/rfc822-headers", report)  # the header of it: a report is lines
            self.assertIn(b"Subject: binary\n", report)
            self.assertTrue(report.isascii())


def letters():
    """Real messages, and one for BDAT out."""
    return [text for _, text in list(corpus())[::8]] + [LARGE, LARGE * 10]


@unittest.skipUnless(os.geteuid() == 0, "Exim and Postfix need root")
class Real(unittest.TestCase):
    """Byte for byte; what each of them writes into its log says that it was BDAT."""

    def deliver(self, port, recipient, texts):
        for text in texts:
            with smtplib.SMTP("127.0.0.1", port, timeout=60) as client:
                client.ehlo()
                client.mail("a@client.example", ["BODY=8BITMIME"])
                self.assertEqual(client.rcpt(recipient)[0], 250)
                code, reply = client.data(text)
                self.assertEqual(code, 250, reply)

    def test_exim_as_next_host_and_as_client(self):
        port = free_port()
        texts = letters()
        with Host(routes={"exim.example": "via = \"smtp:[127.0.0.1]:%d\" tls = none" % port}, settings="limit { bare_newline = normalize }\ndns { client_names = no }") as postino:
            with Exim(port, postino.port) as exim:
                self.deliver(postino.port, "x@exim.example", texts)
                wait_for(lambda: len(exim.messages()) == len(texts), 60)
                self.assertEqual(sorted(map(body_of, exim.messages())), sorted(map(body_of, texts)))
                chunks = len([line for line in exim.log().splitlines() if re.search(r" <= .* K ", line)])
                self.assertEqual(chunks, len([t for t in texts if len(t) + 300 >= 65536]), exim.log())
                self.deliver(exim.port, "alice@local.example", texts)
                wait_for(lambda: len(postino.messages("alice")) == len(texts), 60)
                self.assertEqual(sorted(map(body_of, postino.messages("alice"))), sorted(map(body_of, texts)))
                wait_for(lambda: exim.log().count(" => alice@") == len(texts), 60)  # it writes that behind the reply
                self.assertEqual(len([line for line in exim.log().splitlines() if re.search(r" => alice@.* K ", line)]), len(texts), exim.log())

    def test_postfix_as_next_host(self):
        texts = letters()
        with servers.Postfix(smtpd_recipient_restrictions="permit_mynetworks, reject") as postfix:
            with Host(routes={"*": "via = \"smtp:[127.0.0.1]:%d\" tls = none" % postfix.port}, domains={}, settings="limit { bare_newline = normalize }\ndns { client_names = no }") as postino:
                self.deliver(postino.port, "alice@local.example", texts)
                wait_for(lambda: len(postfix.messages()) == len(texts), 60)
                self.assertEqual(sorted(map(body_of, postfix.messages())), sorted(map(body_of, texts)))


if __name__ == "__main__":
    unittest.main(verbosity=2)
