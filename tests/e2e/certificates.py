"""An authority, and certificates that it signed, for next hosts, HTTPS servers and MTA-STS."""
import hashlib
import os
import shutil
import subprocess
import tempfile

import host

BASE = "mx0.a.example"


def openssl(*arguments, data=None):
    return subprocess.run(["openssl", *arguments], input=data, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout


def sum_of(data, bits=256):
    return hashlib.new("sha%d" % bits, data).hexdigest()


class Certificates:
    """An authority that nobody trusts, and what it signed; and a self-signed one."""

    def __init__(self):
        self.directory = tempfile.mkdtemp(prefix="postino-test-")
        os.chmod(self.directory, 0o755)
        self.alone = host.certificate(self.directory, "alone.example")
        self.authority = self.path("authority.crt"), self.path("authority.key")
        openssl("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30", "-subj", "/CN=authority", "-keyout", self.authority[1],
                "-out", self.authority[0])
        self.signed, self.elsewhere = self.sign(BASE), self.sign("elsewhere.example")
        self.of_domain, self.expired = self.sign("a.example"), self.sign("old." + BASE, days="-1")

    def path(self, name):
        return os.path.join(self.directory, name)

    def sign(self, name, days="30", more=()):
        key, request, leaf, chain = (self.path(name + end) for end in (".key", ".csr", ".leaf", ".crt"))
        with open(self.path("extensions"), "w", encoding="ascii") as out:
            out.write("subjectAltName=%s\n" % ",".join("DNS:" + n for n in (name, *more)))
        openssl("req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=" + name, "-keyout", key, "-out", request)
        openssl("x509", "-req", "-in", request, "-CA", self.authority[0], "-CAkey", self.authority[1], "-CAcreateserial", "-days", days, "-extfile", self.path("extensions"),
                "-out", leaf)
        with open(chain, "wb") as out:
            for part in (leaf, self.authority[0]):
                with open(part, "rb") as f:
                    out.write(f.read())
        return chain, key

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()

    @staticmethod
    def der(pair):
        return openssl("x509", "-in", pair[0], "-outform", "DER")

    @staticmethod
    def key(pair):
        return openssl("pkey", "-pubin", "-outform", "DER", data=openssl("x509", "-in", pair[0], "-noout", "-pubkey"))

    def close(self):
        shutil.rmtree(self.directory)
