"""Accepts connections in a thread, until close().

    self.listener = Listener(socket.create_server(("127.0.0.1", 0)), self.session)      self.session(sock) runs in a thread for each connection
    self.listener.port ... self.listener.close()

close() ends the thread before the descriptor is given back. A socket that is only closed while a thread waits in its accept() leaves that thread behind, and it was seen to take
a connection from a later listener that had got the same number.
"""
import contextlib
import os
import socket
import threading


def unix_socket(path, backlog=50, mode=0o666):
    """A socket that listens at `path`; what was there is replaced."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(path)
    os.chmod(path, mode)
    listening.listen(backlog)
    return listening


class Listener:
    def __init__(self, listening, take, together=True):
        """`take`: is given each connection; its OSErrors end that connection alone. `together`: connections are served at the same time, or else one after the other."""
        self.socket, self.take, self.together, self.closing = listening, take, together, False
        name = listening.getsockname()
        self.port = name[1] if isinstance(name, tuple) else None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self):
        while True:
            try:
                sock, _ = self.socket.accept()
            except OSError:
                return
            if self.closing:
                sock.close()
            elif self.together:
                threading.Thread(target=self._serve, args=(sock,), daemon=True).start()
            else:
                self._serve(sock)

    def _serve(self, sock):
        with contextlib.suppress(OSError):
            self.take(sock)

    def close(self):
        self.closing = True
        with contextlib.suppress(OSError):
            self.socket.shutdown(socket.SHUT_RDWR)
        self.thread.join(5)
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *exception):
        self.close()
