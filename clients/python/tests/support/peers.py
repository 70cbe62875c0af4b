"""Peers that are no server of ours: what they do with a connection is up to the test."""

import json
import socket
import threading


def answer(value, status=200):
    body = json.dumps(value).encode()
    return b"HTTP/1.1 %d x\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


class Peer:
    """Accepts connections one after the other and gives each to `behave`, which closes it by returning."""

    def __init__(self, behave):
        self.behave = behave
        self.accepted = 0
        self.seen = []  # The heads (names in lower case) and bodies of requests.
        self.ended = threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self.listener.getsockname()[1]}"
        self.thread = threading.Thread(target=self._serve, daemon=True)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.thread.join(20)
        self.listener.close()

    def _serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            if self.ended.is_set():
                connection.close()
                return
            self.accepted += 1
            self.stream = connection.makefile("rwb")
            try:
                self.behave(self)
            except OSError:
                pass  # The client has gone.
            finally:
                try:
                    self.stream.close()
                except OSError:
                    pass
                connection.close()

    def requests(self):
        """Each request that comes on the connection."""
        while True:
            first = self.stream.readline()
            if not first:
                return
            head = {}
            for line in iter(self.stream.readline, b"\r\n"):
                if not line:
                    return
                name, _, value = line.decode().partition(":")
                head[name.lower()] = value.strip()
            body = self.stream.read(int(head.get("content-length", 0)))
            self.seen.append((head, body))
            yield first.decode()

    def say(self, what):
        self.stream.write(what)
        self.stream.flush()

    def stay_silent(self):
        self.stream.read(1)  # Until the client gives up.
