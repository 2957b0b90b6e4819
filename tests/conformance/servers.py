"""The servers that the rules are held against: Postino, and Debian's Postfix as reference, each in a directory of its own, on ports of its own. Both are
mx.local.example, keep alice@ and bob@local.example, relay for 127.0.0.1 alone, and know the login alice."""
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))
from host import DOMAIN, MAIL_UID, PASSWORD, Host, certificate, free_port, wait_for  # noqa: E402
from listening import Listener, unix_socket  # noqa: E402

HOSTNAME = "mx." + DOMAIN
SIZE_LIMIT = 2 << 20
RECIPIENTS = 1000
TRUSTED = "127.0.0.9"  # may XCLIENT and XFORWARD
HOPS = 50


class Postino:
    name, address = "Postino", "127.0.0.1"

    def __init__(self, variant=None):
        self.port, self.closed_port, self.lmtp_port = free_port(), free_port(), free_port()
        self.host = Host(hostname=HOSTNAME, relay_from=("127.0.0.1/32",), routes={"*": "smtp:[127.0.0.1]:%d" % free_port()}, variant=variant, listeners={
            "smtp": "port = %d address = \"127.0.0.1\" tls = may auth = may" % self.port,
            "submission": "port = %d address = \"127.0.0.1\" tls = required auth = required" % self.closed_port,
            "lmtp": "port = %d address = \"127.0.0.1\" protocol = lmtp auth = may" % self.lmtp_port},
            settings="smtpd_processes = 1\nrelay_to = { \"backup.example\", \".many.example\" }\nlimit { message_size = %d recipients = %d hops = %d errors = 100 }\nsmtpd { auth_delay = 0 auth_failures = 100 }\n"
                     "dns { client_names = no }\nxclient_from = { \"%s\" }\nxforward_from = { \"%s\" }" % (SIZE_LIMIT, RECIPIENTS, HOPS, TRUSTED, TRUSTED))
        self.user, self.password = "alice", PASSWORD

    def __enter__(self):
        self.host.__enter__()
        return self

    def __exit__(self, *exception):
        self.host.__exit__(None, None, None)

    def messages(self, name="alice"):
        return self.host.messages(name)

    def log(self):
        return self.host.log()


class Logins:
    """As much of Dovecot's authentication protocol as Postfix needs to ask about PLAIN."""

    def __init__(self, path, user, password):
        self.user, self.password = user, password
        self.listener = Listener(unix_socket(path), self.serve)

    def serve(self, sock):
        import base64
        sock.sendall(b"VERSION\t1\t1\nMECH\tPLAIN\tplaintext\nSPID\t1\nCUID\t1\nCOOKIE\t00112233445566778899aabbccddeeff\nDONE\n")
        for line in sock.makefile("rb"):
            words = line.rstrip(b"\n").split(b"\t")
            if words[0] not in (b"AUTH", b"CONT"):
                continue
            response = words[2] if words[0] == b"CONT" else next((w[5:] for w in words if w.startswith(b"resp=")), None)
            if response is None:
                sock.sendall(b"CONT\t%s\t\n" % words[1])
                continue
            try:
                _, user, password = base64.b64decode(response, validate=True).split(b"\0")
            except ValueError:
                user = password = b""
            good = (user.decode("latin-1"), password.decode("latin-1")) == (self.user, self.password)
            sock.sendall(b"OK\t%s\tuser=%s\n" % (words[1], user) if good else b"FAIL\t%s\tuser=%s\n" % (words[1], user))

    def close(self):
        self.listener.close()


class Postfix:
    """With its defaults, but for what has to be as on the other side, and for its sleeps."""
    name, address = "Postfix", "127.0.0.1"

    def __init__(self, address="127.0.0.1", port=None, where=(), **settings):
        """`where`: words in front of its commands (ip netns exec ...)."""
        self.top = tempfile.mkdtemp(prefix="postino-test-postfix-", dir="/var/tmp")
        self.address, self.where = address, list(where)
        self.port, self.closed_port = port or free_port(), free_port()
        self.user, self.password = "alice", PASSWORD
        os.chmod(self.top, 0o755)
        try:
            self._configure(settings)
        except BaseException:
            shutil.rmtree(self.top, ignore_errors=True)
            raise

    def path(self, *names):
        return os.path.join(self.top, *names)

    def _configure(self, more):
        for name in ("etc", "queue", "data", "mail"):
            os.mkdir(self.path(name))
        shutil.chown(self.path("data"), "postfix", "postfix")
        os.chown(self.path("mail"), MAIL_UID, MAIL_UID)
        cert, key = certificate(self.top)
        settings = {
            "compatibility_level": "3.6", "queue_directory": self.path("queue"), "data_directory": self.path("data"), "myhostname": HOSTNAME, "mydestination": HOSTNAME,
            "inet_interfaces": self.address, "inet_protocols": "ipv4", "mynetworks": "127.0.0.1/32", "relay_domains": "backup.example, many.example", "relayhost": "[127.0.0.1]:%d" % free_port(),
            "virtual_mailbox_domains": DOMAIN, "virtual_mailbox_base": self.path("mail"),
            "virtual_mailbox_maps": "inline:{alice@%s=alice/, bob@%s=bob/, postmaster@%s=alice/}" % (DOMAIN, DOMAIN, DOMAIN),
            "virtual_alias_maps": "inline:{postmaster=alice@%s, postmaster@%s=alice@%s}" % (DOMAIN, HOSTNAME, DOMAIN),
            "virtual_uid_maps": "static:%d" % MAIL_UID, "virtual_gid_maps": "static:%d" % MAIL_UID,
            "smtpd_relay_restrictions": "permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination",
            "smtp_dns_support_level": "disabled", "smtpd_peername_lookup": "no", "alias_maps": "", "alias_database": "", "local_recipient_maps": "", "biff": "no",
            "smtpd_tls_security_level": "may", "smtpd_tls_cert_file": cert, "smtpd_tls_key_file": key, "smtpd_tls_auth_only": "yes",
            "smtpd_sasl_auth_enable": "yes", "smtpd_sasl_type": "dovecot", "smtpd_sasl_path": self.path("logins"),
            "message_size_limit": str(SIZE_LIMIT), "smtpd_error_sleep_time": "0", "smtpd_soft_error_limit": "100", "smtpd_hard_error_limit": "100",
            "smtpd_client_connection_rate_limit": "0", "smtpd_authorized_xclient_hosts": TRUSTED, "smtpd_authorized_xforward_hosts": TRUSTED, "maillog_file": "", "syslog_name": "postfix-conformance", "multi_instance_enable": "yes", "multi_instance_name": "",
            "anvil_status_update_time": "600s", "smtpd_client_connection_count_limit": "0",
        }
        settings.update(more)
        with open(self.path("etc", "main.cf"), "w") as f:
            f.write("".join("%s = %s\n" % item for item in settings.items()))
        wanted = ("pickup|cleanup|qmgr|rewrite|bounce|defer|trace|verify|flush|proxymap|proxywrite|smtp +unix|relay|error|retry|discard|virtual|anvil|"
                  "scache|tlsmgr|postlog")
        with open("/usr/share/postfix/master.cf.dist") as f:
            services = [re.sub(r"^(\S+\s+\S+\s+\S+\s+\S+\s+)[yn]", r"\1n", line) for line in f if re.match("(%s)" % wanted, line)]
        with open(self.path("etc", "master.cf"), "w") as f:
            f.write("%s:%d inet n - n - - smtpd\n" % (self.address, self.port) +
                    "%s:%d inet n - n - - smtpd -o smtpd_tls_security_level=encrypt -o smtpd_relay_restrictions=permit_sasl_authenticated,reject\n" % (self.address, self.closed_port) +
                    "".join(services))

    def __enter__(self):
        self.logins = Logins(self.path("logins"), self.user, self.password)
        done = subprocess.run(self.where + ["postfix", "-c", self.path("etc"), "start"], capture_output=True, text=True, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            self.__exit__()
            raise RuntimeError("Postfix did not start: " + done.stderr + done.stdout)

        def listens():
            """Postfix listens"""
            ports = "sport = :%d or sport = :%d" % (self.port, self.closed_port)
            return len(subprocess.run(self.where + ["ss", "-Hltn", ports], capture_output=True, text=True).stdout.splitlines()) >= 2
        wait_for(listens, 60)
        return self

    def __exit__(self, *exception):
        subprocess.run(self.where + ["postfix", "-c", self.path("etc"), "stop"], capture_output=True, stdin=subprocess.DEVNULL)
        self.logins.close()
        shutil.rmtree(self.top, ignore_errors=True)

    def queue_is_empty(self):
        done = subprocess.run(self.where + ["postqueue", "-c", self.path("etc"), "-p"], capture_output=True, text=True, stdin=subprocess.DEVNULL)
        return done.stdout.strip() == "Mail queue is empty"

    def messages(self, name="alice"):
        new = self.path("mail", name, "new")
        try:
            files = sorted((os.path.join(new, f) for f in os.listdir(new)), key=lambda f: (os.stat(f).st_mtime_ns, f))
        except FileNotFoundError:
            return []
        return [pathlib.Path(f).read_bytes() for f in files]
