"""A tree of zones from the root down, signed and broken on purpose, on one NSD that answers at the addresses of the root servers: for resolvers that
walk it themselves, inside a World (world.py).

    with World() as world:
        world.tree({".": Zone(), "example": Zone(), "good.example": Zone("@ MX 10 mx\nmx A 192.0.2.2")})
        ... world.postino()
"""
import hashlib
import os
import re
import socket
import subprocess
import time

from host import wait_for
from netns import NAME_SERVER, inside

ROOT_SERVERS = ["198.41.0.4", "199.9.14.201", "170.247.170.2", "192.33.4.12", "199.7.91.13", "192.203.230.10", "192.5.5.241", "192.112.36.4", "198.97.190.53",
                "192.36.148.17", "192.58.128.30", "193.0.14.129", "199.7.83.42", "202.12.27.33"]
DAY = 86400


class Zone:
    """`text`: its records, without SOA and NS. `ds`: what the zone above says of its key: "right", "wrong" (of another key), "both", "unknown" (an algorithm that
    nobody has), "none". `signed`: "nsec", "nsec3", "optout" or "". `days`: when its signatures begin and end, from now (libunbound gives a tenth of their time, a day at most, on either side). `mend`: what is done to the
    lines of the signed zone before it is served."""

    def __init__(self, text="", signed="nsec", ds="right", days=(-1, 30), mend=None, ttl=60):
        self.text, self.signed, self.ds, self.days, self.mend, self.ttl = text, signed, ds if signed else "none", days, mend, ttl
        self.keys = []


def without(kind, name=None):
    """Takes records away: those of a type ("A"), or the signatures over one ("RRSIG A"), of one owner or of all."""
    def mend(lines):
        pattern = re.compile(r"^(\S+)\s+\d+\s+IN\s+%s\b" % kind.replace(" ", r"\s+"))
        kept = [line for line in lines if not (pattern.match(line) and name in (None, pattern.match(line).group(1)))]
        assert len(kept) < len(lines), "nothing to take away: %s %s" % (kind, name)
        return kept
    return mend


def replaced(old, new):
    def mend(lines):
        assert any(old in line for line in lines), old
        return [line.replace(old, new) for line in lines]
    return mend


def forged(kind, name=None):
    """Signatures over a type are there, and wrong."""
    def mend(lines):
        pattern, changed = re.compile(r"^(\S+)\s+\d+\s+IN\s+RRSIG\s+%s\b.* (\S+)$" % kind), 0
        for i, line in enumerate(lines):
            found = pattern.match(line)
            if found and name in (None, found.group(1)):
                signature = found.group(2)
                lines[i], changed = line[: -len(signature)] + signature[:8] + ("B" if signature[8] != "B" else "C") + signature[9:], changed + 1
        assert changed, "no signature over %s of %s" % (kind, name)
        return lines
    return mend


def spki(certificate):
    """SHA-256 of a certificate's public key, as TLSA x 1 1 has it."""
    key = subprocess.run(["openssl", "x509", "-in", certificate, "-noout", "-pubkey"], check=True, capture_output=True).stdout
    return hashlib.sha256(subprocess.run(["openssl", "pkey", "-pubin", "-outform", "DER"], input=key, check=True, capture_output=True).stdout).hexdigest()


def generate(directory, name):
    """A key's file, without its end."""
    done = subprocess.run(["ldns-keygen", "-k", "-a", "ECDSAP256SHA256", name], cwd=directory, check=True, capture_output=True, text=True)
    return os.path.join(directory, done.stdout.strip())


def at_the_root(network):
    """The root servers' addresses are the far end's."""
    for address in ROOT_SERVERS:
        network.address(network.far, address + "/32")
        network.route(address)


class Tree:
    def __init__(self, network, zones):
        self.network, self.zones, self.directory = network, zones, os.path.join(network.directory, "zones")
        self.anchor = os.path.join(self.directory, "anchor")
        os.makedirs(self.directory, exist_ok=True)
        os.chmod(self.directory, 0o755)
        self.delegations, self.process = {name: "" for name in zones}, None
        at_the_root(network)
        for name in sorted(zones, key=lambda name: -len([l for l in name.split(".") if l])):
            self.write(name)
        with open(self.anchor, "w", encoding="ascii") as anchor:
            for key in zones["."].keys:
                with open(key + ".key", encoding="ascii") as f:
                    anchor.write(f.read())
        self.serve()

    def settings(self, server="recursive", more=""):
        return 'dns { server = "%s"\n trust_anchor = "%s"\n timeout = 30s\n %s }' % (server, self.anchor, more)

    def path(self, name):
        return os.path.join(self.directory, (name.strip(".") or "root") + ".zone")

    def above(self, name):
        labels = name.split(".")[1:]
        while ".".join(labels) not in self.zones and labels:
            labels.pop(0)
        return ".".join(labels) or "."

    def write(self, name):
        zone = self.zones[name]
        origin = name if name == "." else name + "."
        server = "a.root-servers.net." if name == "." else "ns." + origin
        lines = ["$ORIGIN " + origin, "$TTL %d" % zone.ttl, "@ %d IN SOA %s admin.%s 1 3600 600 86400 %d" % (zone.ttl, server, origin.lstrip("."), zone.ttl),
                 "@ IN NS " + server, "%s IN A %s" % (server, ROOT_SERVERS[0] if name == "." else NAME_SERVER), zone.text, self.delegations[name]]
        with open(self.path(name), "w", encoding="ascii") as f:
            f.write("\n".join(lines) + "\n")
        if zone.signed:
            self.sign(name, origin, zone)
        if name != ".":
            self.delegate(name, zone)

    def sign(self, name, origin, zone):
        zone.keys = zone.keys or [generate(self.directory, origin)]
        now = int(time.time())
        options = {"nsec": [], "nsec3": ["-n", "-a", "1", "-t", "0"], "optout": ["-n", "-p", "-a", "1", "-t", "0"]}[zone.signed]
        done = subprocess.run(["ldns-signzone", "-A", "-i", str(now + int(zone.days[0] * DAY)), "-e", str(now + int(zone.days[1] * DAY)), "-o", origin, *options,
                               self.path(name)] + zone.keys, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        with open(self.path(name) + ".signed", encoding="ascii") as f:
            lines = f.read().splitlines()
        with open(self.path(name), "w", encoding="ascii") as f:
            f.write("\n".join(zone.mend(lines) if zone.mend else lines) + "\n")

    def ds_of(self, key):
        return subprocess.run(["ldns-key2ds", "-n", "-2", key + ".key"], check=True, capture_output=True, text=True).stdout.strip()

    def delegate(self, name, zone):
        lines = ["%s. IN NS ns.%s." % (name, name), "ns.%s. IN A %s" % (name, NAME_SERVER)]
        if zone.ds in ("wrong", "both"):
            lines.append(self.ds_of(generate(self.directory, name + ".")))
        if zone.ds in ("right", "both"):
            lines += [self.ds_of(key) for key in zone.keys]
        if zone.ds == "unknown":
            lines.append("%s. IN DS 12345 199 2 %s" % (name, "ab" * 32))
        self.delegations[self.above(name)] += "\n".join(lines) + "\n"

    def is_free(self):
        """nobody serves there"""
        with inside(self.network.far), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            try:
                s.bind((NAME_SERVER, 53))
            except OSError:
                return False
        return True

    def serve(self):
        if self.process:
            self.process.terminate()
            self.process.wait()
            wait_for(self.is_free)  # a child of it may outlive it
        self.process = self.network.nsd(self.directory, {name: self.path(name) for name in self.zones}, [NAME_SERVER] + ROOT_SERVERS)
