"""What the tests against a server have in common."""

import re
import unittest

from clients import Ended, WebSocketClient, WebTransportClient
from dialects import CODES, Json, Msgpack
from server import Server

EVERY_WAY = [(transport, dialect) for transport in (WebTransportClient, WebSocketClient) for dialect in (Msgpack, Json)]


class InteropTest(unittest.IsolatedAsyncioTestCase):
    """Tests that share one server, started with these settings."""

    settings = {}

    @classmethod
    def setUpClass(cls):
        cls.server = Server(cls.settings)
        cls.addClassCleanup(cls.server.stop)

    async def connected(self, transport, dialect, **options):
        client = await transport.connect(self.server, dialect, **options)
        self.addAsyncCleanup(client.leave)
        return client

    def group(self, prefix=""):
        """A group that no other test has."""
        return (prefix + re.sub(r"[^\w.]", "_", self.id()))[:99]

    async def assert_goodbye(self, client, code, reconnect):
        """The last frame has this code, and the connection or stream is closed after it."""
        name, given, sentence, may_return, delay = await client.expect("goodbye")
        self.assertEqual((name, given, may_return), ("goodbye", CODES[code], reconnect), sentence)
        self.assertIsInstance(sentence, str)
        self.assertGreaterEqual(delay or 0, 0)
        with self.assertRaises(Ended):
            await client.receive()
        if isinstance(client, WebSocketClient):
            self.assertEqual(await client.closed(), (CODES[code], sentence))

    async def assert_alive(self, client, number=4711):
        """The connection goes on, and nothing but the answer comes."""
        await client.send("ping", number)
        self.assertEqual(await client.receive(), ["pong", number])
