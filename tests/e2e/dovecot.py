"""Debian's Dovecot as an authentication server alone, on a socket in a directory of the test's own."""
import base64
import hashlib
import hmac
import json
import os
import signal
import subprocess
import time

from host import wait_for

KEY = b"a key for tests, and for tests alone"


def token(user, seconds=600, key=KEY):
    """An OAuth 2.0 access token (a JWT) that Dovecot checks by itself."""
    def encode(part):
        return base64.urlsafe_b64encode(part).rstrip(b"=")
    head = encode(json.dumps({"alg": "HS256", "typ": "JWT"}).encode())
    now = int(time.time())
    body = encode(json.dumps({"sub": user, "email": user, "iat": now - 10, "nbf": now - 10, "exp": now + seconds}).encode())
    return (head + b"." + body + b"." + encode(hmac.digest(key, head + b"." + body, hashlib.sha256))).decode()


class Dovecot:
    def __init__(self, directory, lines, mechanisms="plain login scram-sha-256 oauthbearer xoauth2"):
        self.directory, self.socket = directory, os.path.join(directory, "auth-client")
        os.makedirs(os.path.join(directory, "keys", "default", "HS256"), exist_ok=True)
        with open(os.path.join(directory, "keys", "default", "HS256", "default"), "wb") as f:
            f.write(base64.b64encode(KEY))
        with open(os.path.join(directory, "users"), "w", encoding="utf-8") as f:
            f.write("".join(lines))
        with open(os.path.join(directory, "oauth2.conf"), "w", encoding="ascii") as f:
            f.write("introspection_mode = local\nlocal_validation_key_dict = fs:posix:prefix=%s/keys/\nusername_attribute = sub\n" % directory)
        self.config = os.path.join(directory, "dovecot.conf")
        with open(self.config, "w", encoding="ascii") as f:
            f.write("""base_dir = {d}/run
state_dir = {d}/run
log_path = {d}/dovecot.log
auth_debug = yes
protocols =
ssl = no
auth_mechanisms = {m}
auth_failure_delay = 0
default_internal_user = root
default_internal_group = root
default_login_user = nobody
passdb {{
  driver = oauth2
  mechanisms = oauthbearer xoauth2
  args = {d}/oauth2.conf
}}
passdb {{
  driver = passwd-file
  mechanisms = plain login scram-sha-256
  args = {d}/users
}}
userdb {{
  driver = static
  args = uid=65534 gid=65534 home=/nowhere
}}
service auth {{
  unix_listener {d}/auth-client {{
    mode = 0666
  }}
}}
service anvil {{
  unix_listener anvil-auth-penalty {{
    mode = 0
  }}
}}
service stats {{
  unix_listener stats-writer {{
    mode = 0600
  }}
}}
""".format(d=directory, m=mechanisms))
        self.process = None

    def start(self):
        self.process = subprocess.Popen(["/usr/sbin/dovecot", "-F", "-c", self.config], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                                        start_new_session=True)
        wait_for(lambda: os.path.exists(self.socket), 60)
        return self

    def auth_pid(self):
        for line in subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(self.process.pid)], capture_output=True, text=True).stdout.splitlines():
            pid, args = line.split(None, 1)
            if args.startswith("dovecot/auth") and "worker" not in args:
                return int(pid)
        return None

    def log(self):
        with open(os.path.join(self.directory, "dovecot.log"), encoding="utf-8", errors="replace") as f:
            return f.read()

    def stop(self):
        """Its authentication process would go on for those who are connected."""
        auth = self.process and self.auth_pid()
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(5)
        if auth:
            try:
                os.kill(auth, signal.SIGKILL)
            except ProcessLookupError:
                pass
        self.process = None
