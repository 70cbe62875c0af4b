"""A session as a browser has it, in the dialect `json` over WebSocket."""

import json

from websockets.sync.client import connect

from .server import PATIENCE


class Session:
    def __init__(self, server, token=None, headers=None, origin=None):
        url = server.url.replace("http://", "ws://") + "/fanfare"
        self.wire = connect(url, subprotocols=["fanfare.v1.json"], additional_headers=headers, origin=origin)
        self.seen = []
        self.send("hello", 1, token, {})

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.wire.close()

    def send(self, *frame):
        self.wire.send(json.dumps(frame))

    def receive(self):
        frame = json.loads(self.wire.recv(timeout=PATIENCE))
        self.seen.append(frame)
        return frame

    def until(self, name, condition=lambda frame: True):
        """Reads until a frame of this name comes, and gives it."""
        while True:
            frame = self.receive()
            if frame[0] == name and condition(frame):
                return frame

    def follows(self, *groups):
        """Waits until it follows these groups without having asked."""
        missing = set(groups)
        while missing:
            missing.discard(self.until("subscribed")[3])
        return self

    def subscribe(self, group):
        self.send("subscribe", 1, group)
        return self.until("subscribed", lambda frame: frame[3] == group)

    def event(self):
        """The kind and the body of the next event."""
        frame = self.until("event")
        return frame[4], frame[5]
