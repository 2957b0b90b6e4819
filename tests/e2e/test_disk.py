"""A disk that is full: 452 to the client, nothing that was acknowledged is lost, and mail flows again when there is room."""
import os
import unittest

from host import DOMAIN, Host, free_port, wait_for
from test_queue import Sink

BODY = b"Subject: full\r\n\r\n" + b"x" * 70 + b"\r\n"


@unittest.skipUnless(os.geteuid() == 0, "a small filesystem needs root")
class FullDisk(unittest.TestCase):
    def send(self, host, size):
        with host.smtp() as client:
            client.ehlo()
            client.mail("a@client.example")
            client.rcpt("x@elsewhere.example")
            return client.data(BODY + b"0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcd\r\n" * (size // 64))

    def test_452_and_nothing_is_lost(self):
        for free, note in (("0", "no reserve: the write itself fails"), ("1M", "a reserve: refused before the disk is full")):
            with self.subTest(note):
                port = free_port()
                with Host(size_mb=4, routes={"*": "smtp:[127.0.0.1]:%d" % port},
                          settings="limit { queue_free = %s }\nqueue { retry_first = 1h retry_most = 1h }\nremote { loopback = yes }" % free) as host:
                    accepted = 0
                    for _ in range(60):
                        code, reply = self.send(host, 200000)
                        if code != 250:
                            break
                        accepted += 1
                    self.assertEqual(code, 452, reply)
                    self.assertRegex(reply.decode(), r"^4\.3\.1 ")
                    self.assertGreater(accepted, 5)
                    code, reply = self.send(host, 3000000)  # streamed in pieces
                    self.assertEqual(code, 452, reply)
                    host.wait_log(r"(?i)space")
                    self.assertEqual(host.queue().count("x@elsewhere.example"), accepted)
                    sink = Sink(port)
                    self.addCleanup(sink.close)
                    done = host.tool("postino", "queue", "retry", "all")
                    self.assertEqual(done.returncode, 0, done.stderr)
                    wait_for(host.queue_is_empty, 30)
                    self.assertEqual(len(sink.messages), accepted)
                    self.assertEqual(self.send(host, 200000)[0], 250)
                    wait_for(lambda: len(sink.messages) == accepted + 1, 15)


if __name__ == "__main__":
    unittest.main(verbosity=2)
