"""postino-route in its sandbox: with the host's real user database, a real alias map, and this test as the name server's program."""
import os
import pwd
import shutil
import subprocess
import tempfile
import time
import unittest

from driven import Driven, build
from frames import Closed
from host import program, wait_for


def a_user():
    """Somebody of this host who is not root, or None."""
    return next((u.pw_name for u in pwd.getpwall() if u.pw_uid > 0 and u.pw_name.isalnum() and u.pw_name.islower()), None)


class Route(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        build("postino")
        cls.directory = tempfile.mkdtemp(prefix="postino-route.")
        cls.user = a_user()
        cls.aliases = os.path.join(cls.directory, "aliases")
        with open(cls.aliases, "w", encoding="ascii") as file:
            file.write("root: %s\nteam: %s, far@elsewhere.example\n" % (cls.user, cls.user))
        subprocess.run([program("postino"), "map", "-a", "hash:" + cls.aliases], check=True, stdout=subprocess.DEVNULL)
        cls.settings = 'aliases = { "hash:%s" }\nrelay_from = { "127.0.0.0/8" }\ndns { client_name_timeout = "1s" }' % cls.aliases

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.directory)

    def rcpt(self, route, recipient, client="192.0.2.1", **more):
        return route.edges["smtpd"].ask("RCPT", client=client, helo="x", sender="s@far.example", recipient=recipient, **more)

    def test_recipients_get_their_verdict(self):
        with Driven("route", self.settings, edges=("smtpd", "qmgr", "dns")) as route:
            answer = self.rcpt(route, self.user + "@mx.local.example")
            self.assertEqual((answer.code, [r.mailbox for r in answer.recipients]), (250, [self.user]), answer)
            self.assertEqual(self.rcpt(route, "no-such-user@mx.local.example").code, 550)
            self.assertEqual(self.rcpt(route, "postmaster").recipients[0].mailbox, self.user)
            team = self.rcpt(route, "team@mx.local.example").recipients
            self.assertEqual([(r.transport, r.nexthop) for r in team], [("local", "mx.local.example"), ("smtp", "elsewhere.example")])
            self.assertEqual((self.rcpt(route, "x@far.example").code, self.rcpt(route, "x@far.example", client="127.0.0.1").code), (554, 250))
            self.assertEqual(route.edges["qmgr"].ask("RCPT", recipient="x@far.example", may_relay=1).recipients[0].transport, "smtp")
            self.assertTrue(route.running(), route.log())

    def test_recipients_of_relayed_domains(self):
        known = os.path.join(self.directory, "recipients", "known")
        os.mkdir(os.path.dirname(known))  # of its own: the sandbox has to let it in
        with open(known, "w", encoding="ascii") as file:
            file.write("ann@behind.example x\n")
        subprocess.run([program("postino"), "map", "hash:" + known], check=True, stdout=subprocess.DEVNULL)
        settings = self.settings + '\nrelay_to = { "behind.example" }\nrelay_recipients = { "hash:%s" }' % known
        with Driven("route", settings, edges=("smtpd", "dns")) as route:
            self.assertEqual(self.rcpt(route, "ann+tag@Behind.Example").code, 250)
            refused = self.rcpt(route, "bob@behind.example")
            self.assertEqual((refused.code, refused["status"], refused["rule"]), (550, "5.1.1", "relay_recipients"))
            self.assertEqual(self.rcpt(route, "postmaster@behind.example").code, 250)

    def test_clients_get_their_name_or_none_in_time(self):
        with Driven("route", self.settings.replace('"1s"', '"60s"'), edges=("smtpd", "dns")) as route:
            smtpd, dns = route.edges["smtpd"], route.edges["dns"]
            request = smtpd.send("CLIENT", address="127.0.0.1", listener="smtp")
            question = dns.receive()
            self.assertEqual((question.type, question["address"]), ("NAME", "127.0.0.1"))
            dns.send("NAMED", request=question.request, name="localhost")
            answer = smtpd.receive()
            self.assertEqual((answer.request, answer["name"], answer.may_relay), (request, "localhost", 1))
        with Driven("route", self.settings, edges=("smtpd", "dns")) as route:
            smtpd, dns = route.edges["smtpd"], route.edges["dns"]
            answer = smtpd.ask("CLIENT", address="192.0.2.1", listener="smtp")
            self.assertEqual((answer["name"], answer.may_relay), ("unknown", 0))
            dns.receive()

    def test_names_that_come_too_late_or_to_nobody_do_no_harm(self):
        with Driven("route", self.settings, edges=("smtpd", "dns")) as route:
            smtpd, dns = route.edges["smtpd"], route.edges["dns"]
            smtpd.send("CLIENT", address="192.0.2.1", listener="smtp")
            late = dns.receive()
            self.assertEqual(smtpd.receive()["name"], "unknown")
            dns.send("NAMED", request=late.request, name="late.example")
            smtpd.send("CLIENT", address="192.0.2.2", listener="smtp")
            dns.receive()
            smtpd.close()
            route.edges["smtpd"] = route.connect("smtpd")
            self.assertEqual(self.rcpt(route, "postmaster").code, 250)
            self.assertTrue(route.running(), route.log())

    def test_a_broken_map_holds_mail_back_until_it_is_mended(self):
        with Driven("route", self.settings, edges=("smtpd",)) as route:
            with open(self.aliases + ".db", "rb") as file:
                good = file.read()
            with open(self.aliases + ".db", "r+b") as file:
                file.truncate(5000)
            answer = self.rcpt(route, "team@mx.local.example")
            self.assertEqual((answer.code, answer.status), (451, "4.3.0"))
            wait_for(lambda: "aliases.db: damaged" in route.log())
            with open(self.aliases + ".db", "wb") as file:
                file.write(good)

            time.sleep(2.1)
            self.assertEqual(self.rcpt(route, "team@mx.local.example").code, 250)

    def test_qmgr_may_not_ask_what_smtpd_may(self):
        with Driven("route", self.settings, edges=("smtpd", "qmgr")) as route:
            route.edges["qmgr"].send("CLIENT", address="192.0.2.1", listener="smtp")
            with self.assertRaises((Closed, ConnectionResetError)):
                route.edges["qmgr"].receive()
            self.assertEqual(self.rcpt(route, "postmaster").code, 250)


if __name__ == "__main__":
    unittest.main()
