"""A small Internet of its own for a test: two network namespaces joined by a cable (netns.py), names, next hosts, and programs of Postino or a whole one. What a world
was given ends with it, in the opposite order, also when only a part of it came to be.

    @needs_root
    class Names(unittest.TestCase):
        @classmethod
        def setUpClass(cls):
            cls.world = cls.enterClassContext(World())
            cls.world.name_server({"example": "nomx A 192.0.2.2"})
            cls.next_host = cls.world.server("192.0.2.2")
            cls.host = cls.world.postino()

        def test_no_MX_means_the_address_itself(self):
            self.host.sendmail("x@nomx.example")
            self.host.outcome("x@nomx.example", "sent")
            self.assertEqual(self.next_host.messages[0].recipients, ["x@nomx.example"])

A world for each test: self.enterContext(World()). Names come from one of three: name_server() (zone files), script() (a function answers), tree() (signed zones from the
root down)."""
import contextlib
import os
import pathlib
import socket
import subprocess

import hostile
from driven import Driven
from host import Host, wait_for
from https import Https
from nameserver import NameServer
from netns import NAME_SERVER, Network, inside, within
from zones import Tree


class World(Network):
    """.names: the dns settings that lead to its names, for what is made by postino() and driven()."""

    def __init__(self):
        super().__init__()
        self.rest, self.names = contextlib.ExitStack(), ""

    def __exit__(self, *exception):
        try:
            self.rest.__exit__(*exception or (None, None, None))
        finally:
            super().__exit__(*exception)

    def path(self, name):
        return os.path.join(self.directory, name)

    # ---- names

    def name_server(self, zones):
        """NSD, authoritative for {"example": "lines of the zone file"}; other names it refuses."""
        for name, text in zones.items():
            with open(self.path(name + ".zone"), "w", encoding="ascii") as f:
                f.write("$TTL 60\n@ IN SOA ns.{0}. admin.{0}. 1 3600 600 86400 5\n@ IN NS ns.{0}.\nns IN A {1}\n{2}\n".format(name, NAME_SERVER, text))
        self.names = 'dns { server = "%s" }\n' % NAME_SERVER
        return self.nsd(self.directory, {name: self.path(name + ".zone") for name in zones}, [NAME_SERVER])

    def script(self, answer, addresses=(NAME_SERVER,)):
        """A name server that says what answer(asked) returns (nameserver.py), and counts."""
        self.names = 'dns { server = "%s" trust_anchor = "/nonexistent" }\n' % NAME_SERVER
        with inside(self.far):
            return self.rest.enter_context(NameServer(answer, addresses, 53))

    def tree(self, zones):
        """Signed zones, and broken ones, from the root down (zones.py)."""
        tree = Tree(self, zones)
        self.names = tree.settings() + "\n"
        return tree

    # ---- next hosts

    def is_up(self, address, port):
        """Waits until somebody's server takes connections there."""
        def takes():
            with inside(self.far), contextlib.suppress(OSError), socket.create_connection((address, port), 10):
                return True
        takes.__doc__ = "a server at %s, port %d" % (address, port)
        wait_for(takes)

    def server(self, address, port=25, **more):
        """One that does what a script says at each step, and takes all else (hostile.py)."""
        with inside(self.far):
            return self.rest.enter_context(hostile.Server(address, port, **more))

    def smtp_sink(self, address):
        """Debian's Postfix smtp-sink; the result is a function that returns its messages."""
        path = pathlib.Path(self.path("sink." + address))
        path.mkdir()
        path.chmod(0o777)
        target = "inet:[%s]:25" % address if ":" in address else "inet:%s:25" % address
        self.start("smtp-sink", "-u", "nobody", "-d", str(path / "m."), target, "100", stdout=subprocess.DEVNULL)
        self.is_up(address, 25)
        return lambda: [file.read_bytes() for file in sorted(path.iterdir())]

    def https(self, certificate):
        """An HTTPS server at each address of far, for policies and reports (https.py)."""
        return self.rest.enter_context(Https(certificate, within(self.far)))

    # ---- clients

    def swaks(self, *arguments, where=None):
        """What became of it, in far unless told otherwise."""
        return subprocess.run([*within(where or self.far), "swaks", *arguments], capture_output=True, text=True, timeout=60, check=False)

    # ---- Postino

    def postino(self, settings="", where=None, start=True, **more):
        """A whole one (host.py), in near unless told otherwise."""
        host = Host(namespace=where or self.near, settings=self.names + settings, **more)
        if not start:
            self.rest.callback(host.close)
            return host
        return self.rest.enter_context(host)

    def driven(self, name, settings="", edges=()):
        """One program in near, whose other ends the test plays (driven.py)."""
        return self.rest.enter_context(Driven(name, self.names + settings, edges, where=within(self.near)))
