"""What clients of a server that crashed notice: a stateless reset (RFC 9000, section 10.3), and a server that lets them in again at once."""

import asyncio

from aioquic.quic.packet import PACKET_LONG_HEADER

from cases import InteropTest
from clients import WebTransportClient
from dialects import Msgpack
from server import PATIENCE

# A stateless reset ends in so many bytes that the client was given with a connection ID.
TOKEN_BYTES = 16


class Restart(InteropTest):
    # Fewer workers than before or more may be there after a restart; connection IDs of the old ones are known all the same.
    settings = {"workers": "2"}

    async def test_packets_for_the_last_life_get_a_stateless_reset(self):
        clients = [await self.connected(WebTransportClient, Msgpack) for _ in range(4)]
        for client in clients:
            await client.hello()
        resets = [asyncio.create_task(self.reset(client.connection)) for client in clients]
        self.server.crash_and_start_again()
        for number, client in enumerate(clients):
            await client.send("ping", number)
        async with asyncio.timeout(PATIENCE):
            await asyncio.gather(*resets)
        again = await self.connected(WebTransportClient, Msgpack)
        await again.hello()
        await self.assert_alive(again)

    async def reset(self, connection):
        """Waits for a stateless reset: what the library takes for a packet that can't be decrypted."""
        found = asyncio.get_running_loop().create_future()
        take = connection.datagram_received

        def look(data, address):
            ids = [connection._quic._peer_cid, *connection._quic._peer_cid_available]
            tokens = [bytes(each.stateless_reset_token) for each in ids]
            self.assertFalse(data[0] & PACKET_LONG_HEADER and data[-TOKEN_BYTES:] in tokens)
            if data[-TOKEN_BYTES:] in tokens and not found.done():
                found.set_result(None)
            take(data, address)

        connection.datagram_received = look
        await found
