"""sendmail and mailq by themselves: what they say to the mail system (which is this test), and what they make of its answers."""
import contextlib
import os
import re
import shutil
import socket
import subprocess
import tempfile
import unittest

import frames
from driven import build
from host import program
from listening import Listener, unix_socket

EX_USAGE, EX_DATAERR, EX_NOINPUT, EX_NOUSER, EX_UNAVAILABLE, EX_TEMPFAIL, EX_PROTOCOL, EX_NOPERM, EX_CONFIG = 64, 65, 66, 67, 69, 75, 76, 77, 78


class Server:
    """smtpd, with replies as told: {regular expression of a command: reply}."""

    def __init__(self, path, replies=None, extensions=("PIPELINING", "SIZE 1000000", "8BITMIME", "DSN", "SMTPUTF8")):
        self.replies, self.extensions, self.commands, self.messages = replies or {}, extensions, [], []
        self.listener = Listener(unix_socket(path), self.serve, together=False)

    def serve(self, client):
        with client, client.makefile("rwb") as self.file:
            self.session()

    def say(self, text):
        self.file.write(text.encode() + b"\r\n")
        self.file.flush()

    def session(self):
        self.say("220 mx.local.example ESMTP")
        for line in iter(self.file.readline, b""):
            command = line.decode("utf-8", "surrogateescape")
            assert command.endswith("\r\n"), command
            command = command[:-2]
            self.commands.append(command)
            reply = next((r for pattern, r in self.replies.items() if re.fullmatch(pattern, command)), None)
            if callable(reply):
                reply = reply(self)
            if reply:
                self.say(reply)
            elif command.startswith("EHLO"):
                self.say("\r\n".join("250%s%s" % ("-" if n < len(self.extensions) else " ", e) for n, e in enumerate(("mx.local.example hello",) + self.extensions)))
            elif command == "DATA":
                self.say("354 go on")
                self.messages.append(self.data())
                self.say(self.replies.get("END", "250 2.0.0 queued"))
            elif command == "QUIT":
                self.say("221 bye")
                return
            else:
                self.say("250 2.1.0 ok")

    def data(self):
        lines = []
        for line in iter(self.file.readline, b".\r\n"):
            if not line:
                return None
            assert line.endswith(b"\r\n") and line.count(b"\n") == 1, line
            lines.append(line[1:] if line.startswith(b".") else line)
        return b"".join(lines)

    def close(self):
        self.listener.close()


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        build("sendmail", "mailq")

    def setUp(self):
        self.directory = tempfile.mkdtemp(prefix="postino-sendmail-")
        self.addCleanup(shutil.rmtree, self.directory, True)
        os.chmod(self.directory, 0o755)
        self.config = os.path.join(self.directory, "postino.conf")
        with open(self.config, "w") as file:
            file.write('hostname = "mx.local.example"\ndirectory { run = "%s" }\n' % self.directory)

    def server(self, replies=None, **more):
        server = Server(os.path.join(self.directory, "submit"), replies, **more)
        self.addCleanup(server.close)
        return server

    def run_tool(self, name, *arguments, data=b"", **environment):
        return subprocess.run([program(name)] + list(arguments), input=data, capture_output=True, timeout=120,
                              env=dict(os.environ, POSTINO_CONF=self.config, NAME="Test User", **environment))

    def send(self, *arguments, data=b"From: a@x.example\n\nbody\n", status=0):
        done = self.run_tool("sendmail", *arguments, data=data)
        self.assertEqual(done.returncode, status, done.stderr)
        if status:
            self.assertRegex(done.stderr.decode(), r"^sendmail: .")
        return done


class Submission(Case):
    def test_bytes_are_kept_and_lines_end_in_cr_lf(self):
        server = self.server()
        self.send("-i", "-f", "a@x.example", "b@y.example", data=b"From: a@x.example\nTo: b\r\n\n.\n..two\n\xff\x00\r\n\r\nlast")
        self.assertEqual(server.messages, [b"From: a@x.example\r\nTo: b\r\n\r\n.\r\n..two\r\n\xff\x00\r\n\r\nlast\r\n"])
        mail, rcpt = server.commands[1:3]
        self.assertRegex(mail, r"^MAIL FROM:<a@x\.example> SIZE=\d+ BODY=8BITMIME$")
        self.assertEqual(rcpt, "RCPT TO:<b@y.example>")
        self.assertEqual(server.commands[-1], "QUIT")

    def test_a_dot_ends_the_message_unless_told_otherwise(self):
        for option in ([], ["-i"], ["-oi"]):
            with self.subTest(option):
                server = self.server()
                self.send(*option, "b", data=b"From: a@x.example\n\nbody\n.\nrest\n")
                self.assertEqual(server.messages[0].split(b"\r\n\r\n")[1], b"body\r\n.\r\nrest\r\n" if option else b"body\r\n")
                server.close()
                os.unlink(os.path.join(self.directory, "submit"))

    def test_recipients_from_the_header(self):
        server = self.server()
        self.send("-t", "extra@z.example", data=b"From: a@x.example\nTo: \"B, b\" <b@y.example>,\n (c) c@y.example\nBcc: secret@y.example,\n two@y.example\n"
                  b"Cc: group: d@y.example;, b@y.example\nSubject: Bcc: no\n\nBcc: stays@y.example\n")
        self.assertEqual([c for c in server.commands if c.startswith("RCPT")],
                         ["RCPT TO:<%s>" % r for r in ("extra@z.example", "b@y.example", "c@y.example", "secret@y.example", "two@y.example", "d@y.example")])
        self.assertNotIn(b"secret", server.messages[0])
        self.assertNotIn(b"two@", server.messages[0])
        self.assertIn(b"Subject: Bcc: no\r\n\r\nBcc: stays@y.example\r\n", server.messages[0])

    def test_resent_recipients(self):
        server = self.server()
        self.send("-t", data=b"Resent-From: a@x.example\nResent-To: r@y.example\nResent-Bcc: s@y.example\nFrom: o@x.example\nTo: b@y.example\n\nx\n")
        self.assertEqual([c for c in server.commands if c.startswith("RCPT")], ["RCPT TO:<r@y.example>", "RCPT TO:<s@y.example>"])
        self.assertEqual(server.messages[0], b"Resent-From: a@x.example\r\nResent-To: r@y.example\r\nFrom: o@x.example\r\nTo: b@y.example\r\n\r\nx\r\n")

    def test_who_sends(self):
        import pwd
        user = pwd.getpwuid(os.geteuid()).pw_name
        for options, mail, front in (
                ([], "<%s>" % user, "From: Test User <%s@mx.local.example>" % user),
                (["-F", "J. Doe"], "<%s>" % user, "From: \"J. Doe\" <%s@mx.local.example>" % user),
                (["-f", "a@x.example"], "<a@x.example>", "From: a@x.example"),
                (["-r", "<a@x.example>", "-F", "A"], "<a@x.example>", "From: A <a@x.example>"),
                (["-f", ""], "<>", "From: %s@mx.local.example" % user),
                (["-f", "<>"], "<>", "From: %s@mx.local.example" % user)):
            with self.subTest(options):
                server = self.server()
                self.send(*options, "b", data=b"Subject: x\n\nbody\n")
                self.assertEqual(server.commands[1].split()[1], "FROM:" + mail)
                self.assertEqual(server.messages[0], front.encode() + b"\r\nSubject: x\r\n\r\nbody\r\n")
                server.close()
                os.unlink(os.path.join(self.directory, "submit"))

    def test_a_message_without_a_header(self):
        server = self.server()
        self.send("-f", "a@x.example", "b", data=b"hello world\n")
        self.assertEqual(server.messages, [b"From: a@x.example\r\n\r\nhello world\r\n"])

    def test_an_mbox_line_is_left_out(self):
        server = self.server()
        self.send("-f", "a@x.example", "b", data=b"From x Mon Jan  1 00:00:00 2024\nFrom: a@x.example\n\nbody\n")
        self.assertEqual(server.messages, [b"From: a@x.example\r\n\r\nbody\r\n"])

    def test_delivery_status_options(self):
        server = self.server()
        self.send("-N", "success,delay", "-R", "hdrs", "-V", "a+b=c", "b@y.example")
        self.assertIn(" RET=hdrs ENVID=a+2Bb+3Dc", server.commands[1])
        self.assertEqual(server.commands[2], "RCPT TO:<b@y.example> NOTIFY=success,delay")
        for wrong in (["-N", "never,success"], ["-N", ""], ["-N", "delay,delay"], ["-N", "success,"], ["-R", "x"], ["-V", ""], ["-V", "=" * 34],
                      ["-V", "a\r\nb"], ["-V", "\u00e4"], ["-B", "x"]):
            self.send(*wrong, "b", status=EX_USAGE)
        self.assertEqual(len(server.messages), 1)

    def test_options_of_old_are_taken(self):
        server = self.server()
        self.send("-Am", "-bm", "-em", "-G", "-h3", "-L", "x", "-m", "-n", "-U", "-oem", "-odb", "-om", "-O", "A=b", "-B8BITMIME", "-X", "/dev/null", "--", "b")
        self.assertEqual(len(server.messages), 1)

    def test_unusual_senders_and_addresses(self):
        server = self.server()
        self.send("-f", "\u00e9@x.example", "b@y.example")
        self.assertIn("SMTPUTF8", server.commands[1])
        self.send("-f", "a b", "b@y.example", status=EX_DATAERR)
        self.send("-f", "a@x.example>\r\nRCPT TO:<evil@x.example", "b@y.example", status=EX_DATAERR)
        self.send("b@y.example\r\nDATA", status=EX_DATAERR)
        self.send("-t", data=b"To: broken <b@y.example\n\nx\n", status=EX_DATAERR)
        self.send("-t", data=b"Subject: none\n\nTo: b@y.example\n", status=EX_DATAERR)
        self.send(status=EX_USAGE)
        self.send("-bv", "b", status=EX_USAGE)
        self.assertEqual(len(server.messages), 1)
        self.assertFalse([c for c in server.commands if "evil" in c])


class Answers(Case):
    def test_refusals_have_their_exit_status(self):
        for pattern, reply, status in (
                (r"MAIL.*", "451 4.3.0 later", EX_TEMPFAIL), (r"MAIL.*", "550 5.7.1 no", EX_NOPERM), (r"MAIL.*", "552 5.3.4 too large", EX_UNAVAILABLE),
                (r"RCPT.*", "550 5.1.1 no such user", EX_NOUSER), (r"RCPT.*", "450 4.2.0 later", EX_TEMPFAIL), (r"RCPT.*", "501 5.1.3 syntax", EX_DATAERR),
                (r"DATA", "452 4.3.1 disk full", EX_TEMPFAIL), (r"END", "452 4.3.1 disk full", EX_TEMPFAIL), (r"END", "554 5.6.0 no", EX_DATAERR),
                (r"EHLO.*", "554 no", EX_UNAVAILABLE), (r"RCPT.*", "nonsense", EX_TEMPFAIL)):
            with self.subTest(pattern + reply):
                server = self.server({pattern: reply})
                done = self.send("b@y.example", status=status)
                if reply != "nonsense":
                    self.assertIn(reply[4:], done.stderr.decode())
                server.close()
                os.unlink(os.path.join(self.directory, "submit"))

    def test_good_recipients_get_it_though_others_are_refused(self):
        server = self.server({r"RCPT TO:<(bad|worse).*": "550 5.1.1 no such user"})
        done = self.send("bad@y.example", "b@y.example", "worse@y.example", status=EX_NOUSER)
        self.assertEqual(len(server.messages), 1)
        self.assertIn("bad@y.example: 550 5.1.1", done.stderr.decode())
        self.assertIn("worse@y.example: 550 5.1.1", done.stderr.decode())

    def test_nobody_gets_it_when_one_must_wait(self):
        server = self.server({r"RCPT TO:<slow.*": "450 4.2.0 later"})
        self.send("b@y.example", "slow@y.example", status=EX_TEMPFAIL)
        self.assertEqual(server.messages, [])

    def test_more_recipients_than_one_transaction_takes(self):
        count = [0]

        def rcpt(server):
            count[0] += 1
            return "250 ok" if count[0] <= 100 else "452 4.5.3 too many recipients"

        def mail(server):
            count[0] = 0
            return "250 ok"
        server = self.server({r"RCPT.*": rcpt, r"MAIL.*": mail})
        self.send(*["r%d@y.example" % n for n in range(230)])
        self.assertEqual(len(server.messages), 3)

    def test_terminals_are_not_sent_what_a_server_says(self):
        self.server({r"RCPT.*": "550 5.1.1 \x1b[2J gone"})
        self.assertNotIn(b"\x1b", self.send("b@y.example", status=EX_NOUSER).stderr)

    def test_not_running(self):
        done = self.send("b@y.example", status=EX_TEMPFAIL)
        self.assertIn("is Postino running?", done.stderr.decode())
        for name in ("submit", "queue"):
            with socket.socket(socket.AF_UNIX) as s:
                s.bind(os.path.join(self.directory, name))
        self.send("b@y.example", status=EX_TEMPFAIL)
        self.assertEqual(self.run_tool("mailq").returncode, EX_TEMPFAIL)

    @unittest.skipUnless(os.geteuid() == 0, "takes root to be another user")
    def test_a_socket_that_is_not_for_everybody(self):
        self.server()
        os.chmod(os.path.join(self.directory, "submit"), 0o600)
        done = subprocess.run(["setpriv", "--reuid=64520", "--clear-groups", program("sendmail"), "-f", "a@x.example", "b"], input=b"x\n", capture_output=True,
                              env=dict(os.environ, POSTINO_CONF=self.config))
        self.assertEqual(done.returncode, EX_NOPERM, done.stderr)

    def test_a_connection_that_breaks(self):
        def hang_up(server):
            server.file.close()
            raise OSError
        self.server({r"DATA": hang_up})
        self.send("b@y.example", status=EX_TEMPFAIL)

    def configure(self, text):
        with open(self.config, "w") as file:
            file.write(text)

    def test_mail_is_taken_while_somebody_edits_the_file(self):
        """All that is wanted of it is where Postino runs."""
        server = self.server()
        place = 'directory { run = "%s" }\n' % self.directory
        whole = 'hostname = "mx.local.example"\n' + place
        for text, error in ((whole + "nonsense = 1\n", ":3: "), (whole + 'listener "smtp" { port = 25\n', ":3: "), (whole + 'include "none.conf"\n', "none.conf"),
                            (whole + 'route "*" { via = "smtp:[192.0.2.1" }\n', ":3: "), (place, "hostname")):
            self.configure(text)
            done = self.send("b@y.example")
            self.assertIn(error, done.stderr.decode())
            self.assertRegex(done.stderr.decode(), r"\nsendmail: .* has \d+ errors?; going on, its directory { run } is %s\n" % self.directory)
        self.assertEqual(len(server.messages), 5)

    def test_a_file_that_leaves_open_where_postino_runs(self):
        server = self.server()
        for text in ('directory { run = "%s }\n' % self.directory, 'listener "smtp" {\ndirectory { run = "%s" }\n' % self.directory,
                     'directoy { run = "%s" }\n' % self.directory, 'directory { run = "here" }\n'):
            self.configure(text)
            self.assertIn("postino.conf:1", self.send("b@y.example", status=EX_CONFIG).stderr.decode())
            self.assertEqual(self.run_tool("mailq").returncode, EX_CONFIG)
        os.unlink(self.config)
        self.assertIn("can't be opened", self.send("b@y.example", status=EX_CONFIG).stderr.decode())
        self.assertEqual(server.messages, [])


class Conversation(Case):
    def test_bs_is_smtp(self):
        server = self.server()
        done = self.run_tool("sendmail", "-bs", data=b"EHLO me\r\nMAIL FROM:<a@x.example>\r\nRCPT TO:<b@y.example>\r\nDATA\r\nhello\r\n.\r\nQUIT\r\n")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertTrue(done.stdout.startswith(b"220 mx.local.example ESMTP\r\n250-"))
        self.assertTrue(done.stdout.endswith(b"221 bye\r\n"))
        self.assertEqual(server.messages, [b"hello\r\n"])

    def test_bi_is_newaliases(self):
        copy = os.path.join(self.directory, "sendmail")
        shutil.copy(program("sendmail"), copy)
        with open(os.path.join(self.directory, "newaliases"), "w") as file:
            file.write("#!/bin/sh\necho ran \"$@\"\n")
        os.chmod(file.name, 0o755)
        for command in ([copy, "-bi"], [copy, "-I"]):
            done = subprocess.run(command, capture_output=True, text=True)
            self.assertEqual((done.returncode, done.stdout), (0, "ran\n"), done.stderr)
        done = subprocess.run([copy, "-bi", "-C", self.config], capture_output=True, text=True)
        self.assertEqual(done.stdout, "ran -C %s\n" % self.config)


ID, SECOND, TEXT, SECOND_TEXT = 77, 1 << 40, "00000000002D", "000100000000"


class QueueCase(Case):
    """qmgr's side is this test."""

    def qmgr(self, answer):
        self.asked = []

        def serve(sock):
            channel = frames.Channel(sock)
            with sock, contextlib.suppress(frames.Closed, TimeoutError, ValueError):
                while True:
                    question = channel.receive(60)
                    self.asked.append(question)
                    answer(channel, question)
        self.addCleanup(Listener(unix_socket(os.path.join(self.directory, "queue")), serve, together=False).close)

    def qmgr_again(self, answer):
        os.unlink(os.path.join(self.directory, "queue"))
        self.qmgr(answer)

    def entries(self):
        def entry(id, recipient, state, reason="", sender="a@x.example", size=1500):
            return {"id": id, "arrived": 1700000000, "size": size, "sender": sender, "recipient": recipient, "state": state, "due": 1700000600,
                    "attempts": 2, "reason": reason, "held": id == ID, "priority": frames.PRIORITY_LOW}
        return [entry(ID, "b@y.example", frames.RECIPIENT_WAITING, "connect to y.example: \x1b[31mrefused"),
                entry(ID, "done@y.example", frames.RECIPIENT_DONE, "550 no such user"), entry(ID, "c@y.example", frames.RECIPIENT_WAITING),
                entry(SECOND, "d@y.example", frames.RECIPIENT_ACTIVE, sender="", size=600)]

    def listing(self, channel, question):
        if question.type == "LIST" and question.after == 0:
            channel.send("LISTED", request=question.request, more=1, entries=self.entries()[:3])
        elif question.type == "LIST":
            channel.send("LISTED", request=question.request, more=0, entries=self.entries()[3:])


class Queue(QueueCase):
    def test_the_list(self):
        self.qmgr(self.listing)
        for name, arguments in (("mailq", []), ("sendmail", ["-bp"])):
            done = self.run_tool(name, *arguments, TZ="UTC")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(done.stdout.decode().splitlines(), [
                "-Queue ID-  --Size-- ----Arrival Time---- -Sender/Recipient-------",
                "00000000002D!   1500 Tue Nov 14 22:13:20  a@x.example",
                " " * 42 + "(connect to y.example: ?[31mrefused)",
                " " * 42 + "b@y.example",
                " " * 28 + "(its sender is still to be told: 550 no such user)",
                " " * 42 + "done@y.example",
                " " * 42 + "c@y.example",
                "",
                "000100000000*    600 Tue Nov 14 22:13:20  MAILER-DAEMON",
                " " * 42 + "d@y.example",
                "",
                "-- 3 Kbytes in 2 Requests."])
        self.assertEqual([q.after for q in self.asked[:2]], [0, ID])

    def test_an_empty_list(self):
        self.qmgr(lambda channel, q: channel.send("LISTED", request=q.request))
        self.assertEqual(self.run_tool("mailq").stdout, b"Mail queue is empty\n")
        self.assertEqual(self.run_tool("mailq", "-j").stdout, b"")

    def test_json(self):
        import json
        self.qmgr(self.listing)
        one, two = (json.loads(line) for line in self.run_tool("mailq", "-j").stdout.splitlines())
        self.assertEqual((one["queue_id"], one["queue_name"], one["message_size"], one["arrival_time"]), (TEXT, "hold", 1500, 1700000000))
        self.assertEqual(one["priority"], "low")
        self.assertEqual([(r["address"], r["state"]) for r in one["recipients"]], [("b@y.example", "waiting"), ("done@y.example", "done"), ("c@y.example", "waiting")])
        self.assertEqual(two["recipients"][0]["state"], "active")
        self.assertEqual(one["recipients"][0]["delay_reason"], "connect to y.example: \x1b[31mrefused")
        self.assertEqual((two["queue_name"], two["sender"]), ("active", ""))

    def test_answers_that_make_no_sense(self):
        def endless(channel, question):
            channel.send("LISTED", request=question.request, more=1)
        answers = (endless, lambda c, q: c.send("DONE", request=q.request, code=250), lambda c, q: c.send("LISTED", request=q.request + 1),
                   lambda c, q: c.send_raw(b"\xff" * 100))
        for answer in answers:
            self.qmgr(answer)
            self.assertEqual(self.run_tool("mailq").returncode, EX_PROTOCOL)
            os.unlink(os.path.join(self.directory, "queue"))
        self.qmgr(lambda c, q: c.close())
        self.assertEqual(self.run_tool("mailq").returncode, EX_TEMPFAIL)

    def test_sendmail_q_tries_again(self):
        self.qmgr(lambda c, q: c.send("DONE", request=q.request, code=250, count=3))
        for arguments, id, sender, recipient in ((["-q"], 0, "", ""), (["-q15m"], 0, "", ""), (["-qI" + TEXT], ID, "", ""),
                                                 (["-qRexample.org"], 0, "", "@example.org"), (["-qRa@example.org"], 0, "", "a@example.org"),
                                                 (["-qSexample.org"], 0, "@example.org", ""), (["-qS<>", "-qRx.example"], 0, "<>", "@x.example")):
            self.assertEqual(self.run_tool("sendmail", *arguments).returncode, 0)
            q = self.asked[-1]
            self.assertEqual((q.type, q.kind, q.id, q.sender, q.recipient, q.site), ("ORDER", frames.ORDER_RETRY, id, sender, recipient, ""))
        self.assertEqual(self.run_tool("sendmail", "-qInonsense!").returncode, EX_DATAERR)
        for argument in ("-qG", "-q!Ix", "-qS", "-qf"):
            done = self.run_tool("sendmail", argument)
            self.assertEqual(done.returncode, EX_USAGE)
            self.assertIn(b"not supported", done.stderr)


class Command(QueueCase):
    """postino queue."""

    @classmethod
    def setUpClass(cls):
        build("postino")

    def queue(self, *arguments):
        return self.run_tool("postino", "-c", self.config, "queue", *arguments)

    def test_show(self):
        text = b"Subject: x\r\n\r\nlone \r and \xff\r\n" * 100

        def answer(channel, q):
            if q.type == "LIST":
                channel.send("LISTED", request=q.request, entries=self.entries()[:3] if q.only == ID else [])
            else:
                channel.send("SHOWN", request=q.request, code=250, size=len(text), piece=text[q.offset:q.offset + 999])
        self.qmgr(answer)
        done = self.queue("show", TEXT)
        self.assertEqual(done.returncode, 0, done.stderr)
        envelope, shown = done.stdout.split(b"\n\n", 1)
        self.assertEqual(shown, text.replace(b"\r\n", b"\n"))
        self.assertIn(b"recipient: c@y.example\n  state: waiting\n  attempts: 2\n", envelope + b"\n")
        self.assertNotIn(b"\x1b", envelope)
        self.assertEqual(self.queue("show", SECOND_TEXT).returncode, EX_NOINPUT)

    def test_orders(self):
        self.qmgr(lambda c, q: c.send("DONE", request=q.request, code=250, count=2))
        for arguments, kind, id in ((["retry", "all"], frames.ORDER_RETRY, 0), (["retry", TEXT], frames.ORDER_RETRY, ID),
                                    (["delete", TEXT], frames.ORDER_DELETE, ID), (["delete", "ALL"], frames.ORDER_DELETE, 0),
                                    (["hold", "all"], frames.ORDER_HOLD, 0), (["release", TEXT, SECOND_TEXT], frames.ORDER_RELEASE, SECOND)):
            self.assertEqual(self.queue(*arguments).returncode, 0)
            q = self.asked[-1]
            self.assertEqual((q.type, q.kind, q.id, q.site, q.sender, q.recipient, q.priority), ("ORDER", kind, id, "", "", "", 0))
        for arguments, wanted in ((["hold", "--site", "mx.example", "--sender", ""], ("mx.example", "<>", "", frames.ORDER_HOLD, 0)),
                                  (["delete", "--recipient", "@y.example"], ("", "", "@y.example", frames.ORDER_DELETE, 0)),
                                  (["priority", "low", "all"], ("", "", "", frames.ORDER_PRIORITY, frames.PRIORITY_LOW)),
                                  (["priority", "high", "--sender", "a@x.example"], ("", "a@x.example", "", frames.ORDER_PRIORITY, frames.PRIORITY_HIGH)),
                                  (["flush", "y.example"], ("y.example", "", "", frames.ORDER_FLUSH, 0))):
            self.assertEqual(self.queue(*arguments).returncode, 0)
            q = self.asked[-1]
            self.assertEqual((q.site, q.sender, q.recipient, q.kind, q.priority), wanted)
        asked = len(self.asked)
        for arguments, status in ((["delete", "all"], EX_DATAERR), (["delete", "0"], EX_DATAERR), (["delete"], EX_USAGE), (["show"], EX_USAGE),
                                  (["burn"], EX_USAGE), (["--x"], EX_USAGE), (["priority", TEXT], EX_USAGE), (["priority", "high"], EX_USAGE),
                                  (["hold"], EX_USAGE), (["hold", TEXT, "--site", "x"], EX_USAGE), (["flush", "--site", "x"], EX_USAGE),
                                  (["flush"], EX_USAGE), (["list", "--site", "x"], EX_USAGE), (["hold", "Nothing!"], EX_DATAERR)):
            self.assertEqual(self.queue(*arguments).returncode, status, arguments)
        self.assertEqual(len(self.asked), asked)

    def test_refusals(self):
        def answer(channel, q):
            if q.type == "LIST":
                self.listing(channel, q)
            elif q.type == "SHOW":
                channel.send("SHOWN", request=q.request, code=554)
            else:
                channel.send("DONE", request=q.request, code=551 if q.site else 554 if q.id == ID else 550, reply="that is for root")
        self.qmgr(answer)
        for arguments in (["delete", TEXT], ["retry", TEXT], ["show", TEXT], ["hold", TEXT], ["priority", "low", TEXT]):
            done = self.queue(*arguments)
            self.assertEqual(done.returncode, EX_NOPERM, done.stderr)
            self.assertIn(b"for root", done.stderr)
        self.assertEqual(self.queue("delete", SECOND_TEXT).returncode, EX_NOINPUT)
        done = self.queue("flush", "nobody.example")
        self.assertEqual(done.returncode, EX_NOINPUT)
        self.assertIn(b"nobody.example: there is no site of that name", done.stderr)

    def test_a_mistake_in_the_file(self):
        self.qmgr(lambda c, q: self.listing(c, q) if q.type == "LIST" else c.send("DONE", request=q.request, code=250, count=2))
        with open(self.config, "a") as file:
            file.write("nonsense = 1\n")
        for done in (self.queue("list"), self.queue("retry", "all"), self.run_tool("mailq"), self.run_tool("sendmail", "-q")):
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn(b"nonsense", done.stderr)

    def test_what_is_left(self):
        self.qmgr(lambda c, q: c.send("DONE", request=q.request, code=250, count=0 if q.id else 2, left=1, reply="It is held already" if q.id else "Done"))
        done = self.queue("hold", TEXT)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(b"It is held already", done.stderr)
        done = self.queue("delete", "--recipient", "b@y.example")
        self.assertEqual(done.returncode, 0)
        self.assertIn(b"deleted (2)\n1 left: they go elsewhere", done.stdout)

    def test_sites(self):
        import json
        sites = [dict(name="smtp:mx.y.example may", jobs=9, ready=1, waiting=2, active=3, held=3, window=5, most=20, rate=60, session_messages=100),
                 dict(name="smtp:[\x1b]\" may", jobs=1, dead=1, probe=1700000600, most=20), dict(name="local", dead=1, window=1, most=2),
                 dict(name="smtp:[hub] verify route out", jobs=1, waiting=1, window=5, most=20, trouble="host hub refused login \"o\x1b\" with 535",
                      trouble_since=1700000000, trouble_at=1700003600)]

        def answer(channel, q):
            channel.send("SITES_LISTED", request=q.request, more=1 - q.more, sites=sites[2:] if q.more else sites[:2])
        self.qmgr(answer)
        done = self.run_tool("postino", "-c", self.config, "sites", TZ="UTC")
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(done.stdout.decode().splitlines(), [
            "   jobs   ready waiting   held active  window     rate/m session  state                site",
            "      9       1       2      3      3    5 of 20      60     100  ok                   smtp:mx.y.example may",
            "      1       0       0      0      0    0 of 20       -       0  dead until 22:23:20  smtp:[?]\" may",
            "      0       0       0      0      0    1 of 2        -       0  probing              local",
            "      1       0       1      0      0    5 of 20       -       0  failing              smtp:[hub] verify route out",
            "        since Nov 14 22:13, last Nov 14 23:13: host hub refused login \"o?\" with 535"])
        listed = [json.loads(line) for line in self.run_tool("postino", "-c", self.config, "sites", "--json").stdout.splitlines()]
        self.assertEqual([s["site"] for s in listed], [s["name"] for s in sites])
        self.assertEqual((listed[0]["rate"], listed[0]["held"], listed[1]["dead"], listed[1]["probe"]), (60, 3, True, 1700000600))
        self.assertEqual((listed[0]["trouble"], listed[3]["trouble"]), ("", sites[3]["trouble"]))
        self.assertEqual((listed[3]["trouble_since"], listed[3]["trouble_at"]), (1700000000, 1700003600))
        self.qmgr_again(lambda c, q: c.send("SITES_LISTED", request=q.request))
        self.assertEqual(self.run_tool("postino", "-c", self.config, "sites").stdout, b"No site has or had mail lately\n")
        self.assertEqual(self.run_tool("postino", "-c", self.config, "sites", "x").returncode, EX_USAGE)


if __name__ == "__main__":
    unittest.main(verbosity=2)
