"""One program of Postino, driven by its channels alone: this side is the master, and the programs at the other ends of its edges.

    with Driven("dns", 'dns { server = "127.0.0.1@5353" }', edges=["qmgr"]) as dns:
        answer = dns.edges["qmgr"].ask("RESOLVE", name="a.example", want=RESOLVE_MX)

The program runs without other users and root directories (as under an ordinary user), but in its sandbox; unless `privileged` is set.
"""
import os
import subprocess
import tempfile

import frames
from host import ROOT, program

LETTERS = {"smtpd": "S", "auth": "A", "qmgr": "Q", "remote": "R", "local": "L", "dns": "D", "route": "O", "tlsmgr": "T", "sts": "P", "lmtp": "R", "creds": "C"}
START_SECONDS = 60


def build(*names):
    """Makes sure that programs are there when a test is run by hand."""
    missing = [name for name in names if not os.path.exists(program(name))]
    if missing:
        subprocess.run(["make", "-s"] + [os.path.relpath(program(name), ROOT) for name in missing], cwd=ROOT, check=True)


def settings_slice(text, letter, hostname="mx.local.example"):
    with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
        file.write('hostname = "%s"\n%s\n' % (hostname, text))
        file.flush()
        done = subprocess.run([program("settings-slice"), file.name, letter], capture_output=True, check=False)
    if done.returncode != 0:
        raise AssertionError("configuration: " + done.stderr.decode())
    return done.stdout


class Driven:
    def __init__(self, name, settings="", edges=(), hostname="mx.local.example", where=(), privileged=False):
        """`where`: words put before the command (ip netns exec ...). `privileged`: with users and capabilities; that takes root."""
        build("settings-slice", "postino-" + name)
        self.name, self.where, self.edges, self.privileged = name, list(where), {}, privileged
        self.slice = settings_slice(settings, LETTERS[name], hostname)
        self.log_file = tempfile.TemporaryFile()
        self.control, theirs = frames.pair()
        self.process = self._start(theirs)
        theirs.close()
        try:
            self._set_up(edges)
        except BaseException:
            self.close()
            raise

    def _start(self, control):
        command = self.where + [program("postino-" + self.name)]
        # The shell (one that knows descriptors above 9) puts the control channel where the program looks for it.
        return subprocess.Popen(["bash", "-c", "exec \"$@\" 3<&%d" % control.fileno(), "bash"] + command, pass_fds=[control.fileno()],
                                stdin=subprocess.DEVNULL, stderr=self.log_file)

    def _set_up(self, edges):
        self.control.send("CONFIG", slice=self.slice)
        for role in edges:
            self.connect(role)
        self.control.send("START", unprivileged=0 if self.privileged else 1)
        try:
            ready = self.control.receive(START_SECONDS)
        except (frames.Closed, TimeoutError) as error:
            raise AssertionError("postino-%s did not start (%r):\n%s" % (self.name, error, self.log())) from None
        assert ready.type == "READY", ready

    def connect(self, role):
        """A new edge to the program that is called `role`; this side has the other end."""
        ours, theirs = frames.pair()
        self.control.send("PEER", fd=theirs.fileno(), role=role)
        theirs.close()
        self.edges[role] = ours
        return ours

    def join(self, server):
        """An edge to another program that is driven: this one is the client."""
        ours, theirs = frames.pair()
        server.control.send("PEER", fd=theirs.fileno(), role=self.name)
        self.control.send("PEER", fd=ours.fileno(), role=server.name)
        ours.sock.close()  # and not the conversation
        theirs.close()

    def log(self):
        """What it wrote so far. Read by pread(): the place in the file is the program's own, which would write over its lines if it were moved."""
        return os.pread(self.log_file.fileno(), os.fstat(self.log_file.fileno()).st_size, 0).decode(errors="replace")

    def running(self):
        return self.process.poll() is None

    def close(self):
        self.control.close()
        for channel in self.edges.values():
            channel.close()
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log_file.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()
