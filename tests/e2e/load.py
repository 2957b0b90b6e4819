"""Load for crash tests: clients that hand in numbered messages without end, and a next host that writes down exactly what it said 250 to.

Both are one asyncio loop in a thread of its own; `Books` (books.py) are kept by it.
"""
import asyncio
import base64
import random
import re
import ssl
import threading
import time

from books import ACCEPTED, REFUSED, UNKNOWN
from host import PASSWORD


class Loop:
    """An event loop in a thread."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, daemon=True)
        self.thread.start()

    def start(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def call(self, coroutine, seconds=30):
        return self.start(coroutine).result(seconds)

    def close(self):
        async def end():
            tasks = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        self.call(end())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(10)
        self.loop.close()


# ---- the next host -------------------------------------------------------------------------------------------------------------------

class NextHost:
    """Takes mail on a port of loopback. What it can be told, at any time:

        refuse_all   "451 ...": the answer to every MAIL
        hang         whole messages wait for their 250 while this is set; then they get it, or the connection is closed (`hang_up`)
        drop         the share of messages whose connection is closed at their end, without an answer
    """

    def __init__(self, books, seed=0, drop=0.0):
        self.books, self.drop, self.random = books, drop, random.Random("next host %s" % seed)
        self.refuse_all, self.hang, self.hang_up = None, False, False
        self.attempts, self.waiting, self.sessions = {}, 0, 0
        self.loop = Loop()
        self.server = self.loop.call(asyncio.start_server(self._client, "127.0.0.1", 0, limit=1 << 22))
        self.port = self.server.sockets[0].getsockname()[1]

    def close(self):
        self.server.close()
        self.loop.close()

    def _recipient(self, address):
        kind = address.split(".", 1)[0]
        if kind == "bad":
            return "550 5.1.1 no such user"
        if kind == "later":
            n = self.attempts[address] = self.attempts.get(address, 0) + 1
            if n <= 1 + len(address) % 2:
                return "450 4.2.1 come back later"
        return "250 2.1.5 ok"

    async def _client(self, reader, writer):
        self.sessions += 1
        try:
            await self._session(reader, writer)
        except (OSError, EOFError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass
        finally:
            writer.close()

    async def _session(self, reader, writer):
        def say(text):
            writer.write(text.encode() + b"\r\n")
        say("220 next.example ESMTP")
        sender, recipients = None, []
        while True:
            line = (await reader.readuntil(b"\r\n")).decode("latin-1")
            verb, address = line[:4].upper().strip(), re.search(r"<([^>]*)>", line)
            if verb == "EHLO":
                say("250-next.example\r\n250-PIPELINING\r\n250-8BITMIME\r\n250 SIZE 100000000")
            elif verb == "MAIL":
                refusal = self.refuse_all  # once: another thread changes it
                sender, recipients = None if refusal else address.group(1), []
                say(refusal or "250 2.1.0 ok")
            elif verb == "RCPT":
                answer = self._recipient(address.group(1)) if sender is not None else "503 5.5.1 MAIL first"
                if answer[0] == "2":
                    recipients.append(address.group(1))
                say(answer)
            elif verb == "DATA" and recipients:
                say("354 go on")
                body = b"\r\n" + await reader.readuntil(b"\r\n")
                while not body.endswith(b"\r\n.\r\n"):
                    body += await reader.readuntil(b"\r\n")
                if not await self._taken(sender, recipients, body[2:-3].replace(b"\r\n..", b"\r\n."), say):
                    return
                recipients = []
            elif verb == "QUIT":
                say("221 2.0.0 bye")
                return
            else:
                say("250 2.0.0 ok" if verb in ("RSET", "NOOP") else "503 5.5.1 no")
            await writer.drain()

    async def _taken(self, sender, recipients, raw, say):
        if self.hang:
            self.waiting += 1
            while self.hang:
                await asyncio.sleep(0.005)
            self.waiting -= 1
            if self.hang_up:
                return False
        if self.drop and self.random.random() < self.drop:
            return False
        if sender == "":
            self.books.report(raw, "next host")
        else:
            self.books.delivery(recipients, raw, "next host")
        say("250 2.0.0 taken")
        return True


# ---- the clients ---------------------------------------------------------------------------------------------------------------------

class Refused(Exception):
    pass


class Client:
    """One SMTP session of a client."""

    def __init__(self, host, submission):
        self.host, self.submission, self.reader, self.writer = host, submission, None, None

    async def reply(self):
        while True:
            line = (await asyncio.wait_for(self.reader.readuntil(b"\r\n"), 30)).decode("latin-1")
            if line[3:4] != "-":
                return int(line[:3]), line[4:].strip()

    async def command(self, text, wanted=2):
        self.writer.write(text.encode() + b"\r\n")
        code, words = await self.reply()
        if code // 100 != wanted:
            raise Refused("%s: %d %s" % (text, code, words))

    async def connect(self):
        context = None
        if self.submission:
            context = ssl.create_default_context()
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        port = self.host.submissions_port if self.submission else self.host.port
        self.reader, self.writer = await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port, ssl=context), 20)
        code, words = await self.reply()
        if code != 220:
            raise Refused("%d %s" % (code, words))
        await self.command("EHLO client.example")
        if self.submission:
            await self.command("AUTH PLAIN " + base64.b64encode(b"\0alice\0" + PASSWORD.encode()).decode())

    async def send(self, message, cut=False):
        """Sets the message's fate. cut: the connection is closed in the middle of the text."""
        await self.command("MAIL FROM:<%s>" % message.sender)
        for recipient in message.recipients:
            try:
                await self.command("RCPT TO:<%s>" % recipient)
                message.taken.append(recipient)
            except Refused:
                pass
        if not message.taken:
            raise Refused("no recipient was taken")
        await self.command("DATA", 3)
        text = re.sub(rb"(?m)^\.", b"..", message.text())
        if cut:
            self.writer.write(text[:len(text) // 2])
            await self.writer.drain()
            raise Refused("cut by the client")
        at = 0
        while at < len(text):  # the end goes with the last piece
            piece = text[at:at + 60000]
            at += len(piece)
            if at == len(text):
                message.fate = UNKNOWN
                piece += b".\r\n"
            self.writer.write(piece)
            await self.writer.drain()
        code, words = await self.reply()
        message.answer = "%d %s" % (code, words)
        # 451 may mean that qmgr's answer was lost on the way.
        message.fate = ACCEPTED if code == 250 else UNKNOWN if code == 451 else REFUSED
        message.answered = time.time()

    def close(self):
        if self.writer:
            self.writer.close()


class Load:
    """`sessions` clients at a time; each hands in a few messages, ends, and is followed by another. cut: the share that is broken off in the text."""

    def __init__(self, host, books):
        self.host, self.books, self.pause, self.cut, self.sizes = host, books, 0, 0, {}
        self.random = random.Random("load %s" % books.seed)
        self.ending, self.refusals = False, []
        self.loop = Loop()
        self.clients = []

    def begin(self, sessions=12, pause=0.05, cut=0.02, **sizes):
        self.pause, self.cut, self.sizes = pause, cut, sizes
        self.clients = [self.loop.start(self._client()) for _ in range(sessions)]

    async def _client(self):
        while not self.ending:
            client = Client(self.host, submission=self.random.random() < 0.2)
            try:
                await client.connect()
                for _ in range(self.random.choice((1, 1, 3, 10))):
                    if self.ending:
                        break
                    message = self.books.message(**self.sizes)
                    await client.send(message, cut=self.random.random() < self.cut)
                    if message.fate == REFUSED:
                        self.refusals.append(message.answer)
                    await asyncio.sleep(self.random.random() * 2 * self.pause)
            except Refused as why:
                self.refusals.append(str(why))
                await asyncio.sleep(self.pause)
            except (OSError, EOFError, asyncio.IncompleteReadError, asyncio.TimeoutError, ssl.SSLError):
                await asyncio.sleep(self.pause)
            finally:
                client.close()

    def send(self, message):
        """One message in a session of its own: a future, whose result is the message."""
        async def one():
            client = Client(self.host, submission=False)
            try:
                await client.connect()
                await client.send(message)
            except (OSError, EOFError):
                pass  # the message's fate says how far it came
            finally:
                client.close()
            return message
        return self.loop.start(one())

    def accepted(self):
        return len(self.books.of_fate(ACCEPTED))

    def stop(self, seconds=60):
        """Lets every session finish its message."""
        clients, self.clients, self.ending = self.clients, [], True
        for client in clients:
            client.result(seconds)
        self.ending = False

    def close(self):
        self.stop()
        self.loop.close()

