"""What one transport has and the other has not, and what is only seen by waiting."""

import asyncio
import hashlib
import ssl
import unittest

from aioquic.buffer import encode_uint_var

from cases import EVERY_WAY, InteropTest
from clients import Ended, Refused, WebSocketClient, WebTransportClient
from dialects import CODES, REASONS, Json, Msgpack
from server import ORIGIN


class Connecting(InteropTest):
    async def test_discovery_says_where_and_how(self):
        found = self.server.discovery
        self.assertEqual(found["protocols"], ["fanfare.v1"])
        self.assertRegex(found["webtransport"]["url"], r"^https://127\.0\.0\.1:\d+/fanfare$")
        self.assertRegex(found["websocket"]["url"], r"^ws://[^/]+/fanfare$")
        for digest in found["webtransport"]["certificateHashes"]:
            self.assertRegex(digest, r"^[0-9a-f]{64}$")
        for rule in found["rules"]:
            self.assertIn(rule["engine"], ("chromium", "firefox", "webkit"))
            self.assertIsInstance(rule["minVersion"], int)
            self.assertIsInstance(rule["allow"], bool)

    async def test_a_listed_origin_is_let_through(self):
        for way in EVERY_WAY:
            client = await self.connected(*way, origin=ORIGIN)
            await client.hello()

    async def test_an_origin_that_is_not_listed_is_refused_with_403(self):
        for way in EVERY_WAY:
            with self.assertRaises(Refused) as refusal:
                await self.connected(*way, origin="https://evil.example")
            self.assertEqual(refusal.exception.status, 403)


class WebTransport(InteropTest):
    async def client(self, dialect=Msgpack):
        client = await self.connected(WebTransportClient, dialect)
        await client.hello()
        return client

    async def test_frames_byte_by_byte_and_many_at_once(self):
        for dialect in (Msgpack, Json):
            client = await self.connected(WebTransportClient, dialect)
            frames = [dialect.encode(frame) for frame in (["hello", 1, None, {"client": "x" * 80}], ["ping", 1], ["ping", 2])]
            hello, *pings = [encode_uint_var(len(frame)) + frame for frame in frames]
            for byte in hello + pings[0]:
                client.main.send_bytes(bytes([byte]))
                await asyncio.sleep(0)
            await client.expect("welcome")
            self.assertEqual(await client.receive(), ["pong", 1])
            client.main.send_bytes(pings[0] + pings[1])
            self.assertEqual([await client.receive(), await client.receive()], [["pong", 1], ["pong", 2]])

    async def test_a_length_may_take_more_bytes_than_it_needs(self):
        client = await self.client()
        frame = Msgpack.encode(["ping", 7])
        for size, mark in ((2, 0x40), (4, 0x80), (8, 0xC0)):
            length = bytearray(len(frame).to_bytes(size, "big"))
            length[0] |= mark
            client.main.send_bytes(bytes(length) + frame)
            self.assertEqual(await client.receive(), ["pong", 7])

    async def test_text_that_is_no_utf_8_is_malformed(self):
        client = await self.client(Json)
        await client.send_payload(b'["subscribe",1,"\xff"]')
        await self.assert_goodbye(client, "malformed_frame", False)

    async def test_the_server_opens_no_streams(self):
        group = self.group()
        client = await self.client()
        await client.follow(group)
        await self.server.message(group, "x")
        await client.expect("event")
        await self.assert_alive(client)
        self.assertEqual(client.connection.opened_by_server, [])

    async def test_a_replay_stream_has_the_past_and_the_main_stream_goes_on(self):
        group = self.group()
        for dialect in (Msgpack, Json):
            with self.subTest(dialect.name):
                receipts = [await self.server.message(group, f"m{index}") for index in range(5)]
                epoch, top = receipts[-1]["epoch"], receipts[-1]["offset"]
                client = await self.client(dialect)
                replay = client.open_stream()
                _, request, number, name, *rest = await replay.follow(group, request=3, since=[epoch, top - 4])
                self.assertEqual((request, name, rest), (3, group, [epoch, top, True, 4]))
                for receipt in receipts[1:]:
                    self.assertEqual((await replay.expect("event"))[1:4], [number, receipt["offset"], receipt["id"]])
                with self.assertRaises(Ended):
                    await replay.receive()
                self.assertIsNone(replay.reset_code)
                live = await self.server.message(group, "live")
                self.assertEqual((await client.expect("event"))[1:4], [number, top + 1, live["id"]])
                await self.assert_alive(client)

    async def test_a_replay_stream_reports_a_gap(self):
        group = self.group("short.")
        receipts = [await self.server.message(group, f"m{index}") for index in range(5)]
        client = await self.client()
        replay = client.open_stream()
        _, _, number, _, epoch, *rest = await replay.follow(group, since=[receipts[0]["epoch"], 1])
        self.assertEqual(rest, [5, False, 3])
        self.assertEqual(await replay.receive(), ["gap", number, epoch, 2, 2, 1, REASONS["expired"]])
        self.assertEqual([(await replay.expect("event"))[2] for _ in range(3)], [3, 4, 5])
        with self.assertRaises(Ended):
            await replay.receive()

    async def test_a_replay_stream_reports_an_error(self):
        client = await self.client()
        replay = client.open_stream()
        await replay.send("subscribe", 9, "bad name", {"since": [1, 1]})
        self.assertEqual((await replay.expect("error"))[1:3], [9, CODES["bad_group_name"]])
        with self.assertRaises(Ended):
            await replay.receive()
        await self.assert_alive(client)

    async def test_many_replay_streams_at_once(self):
        receipts = {group: await self.server.message(group, group) for group in (self.group(f"g{index}.") for index in range(8))}
        client = await self.client()
        replays = {group: client.open_stream() for group in receipts}
        for request, (group, replay) in enumerate(replays.items(), 1):
            await replay.send("subscribe", request, group, {"since": [receipts[group]["epoch"], 0]})
        numbers = set()
        for group, replay in replays.items():
            subscribed = await replay.expect("subscribed")
            numbers.add(subscribed[2])
            self.assertEqual(subscribed[3], group)
            self.assertEqual((await replay.expect("event"))[5], group)
            with self.assertRaises(Ended):
                await replay.receive()
        self.assertEqual(len(numbers), 8)

    async def test_a_malformed_frame_on_a_replay_stream_ends_the_connection(self):
        client = await self.client()
        await client.open_stream().send_payload(b"\xc1")
        await self.assert_goodbye(client, "malformed_frame", False)

    async def test_the_main_stream_is_the_first_whichever_speaks_first(self):
        group = self.group()
        receipt = await self.server.message(group, "before")
        for main_is_late in (False, True):
            with self.subTest(main_is_late=main_is_late):
                client = await self.connected(WebTransportClient, Msgpack, main_is_late=main_is_late)
                replay = client.open_stream()
                await replay.send("subscribe", 1, group, {"since": [receipt["epoch"], 0]})
                # Round trips in which the server could take the one for the other.
                for _ in range(3):
                    await client.connection.ping()
                await client.hello()
                self.assertEqual((await replay.expect("subscribed"))[3], group)
                self.assertEqual((await replay.expect("event"))[3], receipt["id"])
                await self.assert_alive(client)

    async def test_another_frame_on_a_replay_stream_ends_the_connection(self):
        group = self.group()
        client = await self.client()
        await client.follow(group)
        await client.open_stream().send("unsubscribe", 5, group)
        self.assertEqual((await client.expect("goodbye"))[1], CODES["unexpected_frame"])
        await self.server.message(group, "after goodbye")
        with self.assertRaises(Ended):
            await client.receive()
        self.assertEqual((await client.closed())[0], CODES["unexpected_frame"])

    async def test_after_goodbye_the_server_closes_the_connection_with_the_same_code(self):
        client = await self.client()
        await client.send("hello", 1)
        await self.assert_goodbye(client, "unexpected_frame", False)
        self.assertEqual((await client.closed())[0], CODES["unexpected_frame"])

    async def test_a_session_that_the_client_ends_leaves_its_groups(self):
        group = self.group()
        client = await self.client()
        await client.follow(group)
        self.assertEqual((await self.server.message(group, "x"))["subscribers"], 1)
        await client.end_session(CODES["going_away"], b"enough")
        self.assertEqual((await self.server.message(group, "x"))["subscribers"], 0)


class WebSocket(InteropTest):
    async def client(self, dialect=Msgpack, **options):
        client = await self.connected(WebSocketClient, dialect, **options)
        await client.hello()
        return client

    async def test_the_subprotocol_is_agreed_on(self):
        for dialect in (Msgpack, Json):
            client = await self.client(dialect)
            self.assertEqual(client.socket.subprotocol, f"fanfare.v1.{dialect.name}")

    async def test_without_a_subprotocol_the_first_byte_decides(self):
        for dialect in (Msgpack, Json):
            client = await self.client(dialect, subprotocol=False)
            self.assertIsNone(client.socket.subprotocol)
            await self.assert_alive(client)

    async def test_over_tls_with_the_announced_certificate(self):
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        client = await self.client(url=self.server.secure_url, tls=context)
        certificate = client.socket.transport.get_extra_info("ssl_object").getpeercert(binary_form=True)
        self.assertIn(hashlib.sha256(certificate).hexdigest(), self.server.discovery["webtransport"]["certificateHashes"])
        await self.assert_alive(client)

    async def test_a_message_in_fragments(self):
        for dialect in (Msgpack, Json):
            client = await self.client(dialect)
            payload = dialect.encode(["ping", 7])
            pieces = [payload[at : at + 1] for at in range(len(payload))]
            await client.socket.send(pieces, text=not dialect.binary)
            self.assertEqual(await client.receive(), ["pong", 7])

    async def test_a_ping_of_websocket_itself_is_answered(self):
        client = await self.client()
        async with asyncio.timeout(5):
            await (await client.socket.ping(b"are you there"))

    async def test_a_client_that_closes_without_goodbye(self):
        client = await self.client()
        await client.socket.close(1000)
        self.assertIsNotNone(client.socket.protocol.close_rcvd, "the closing handshake has to be finished")

    async def test_violations_of_rfc_6455(self):
        for name, data in {
            "unmasked": b"\x82\x03\x92\x30\x07",
            "a reserved opcode": b"\x83\x80\0\0\0\0",
            "a reserved bit": b"\xa2\x80\0\0\0\0",
            "a continuation of nothing": b"\x80\x80\0\0\0\0",
            "a second beginning": b"\x02\x80\0\0\0\0\x82\x80\0\0\0\0",
            "a fragmented ping": b"\x09\x80\0\0\0\0",
            "text that is no UTF-8": b"\x81\x81\0\0\0\0\xff",
        }.items():
            with self.subTest(name):
                client = await self.client(subprotocol=False)
                client.socket.transport.write(data)
                await self.assert_goodbye(client, "websocket_violation", False)


class Waiting(InteropTest):
    """Deadlines, all ways at once, because each takes its time."""

    settings = {"limits.ping_interval": "1s", "limits.hello_deadline": "1s", "limits.handshake_deadline": "2s"}

    async def each_way(self, converse):
        clients = [await self.connected(*way) for way in EVERY_WAY]
        await asyncio.gather(*(converse(client) for client in clients))

    async def assert_alive(self, client, number=4711):
        """As elsewhere, but here the server's pings may come between."""
        await client.send("ping", number)
        while (frame := await client.receive())[0] == "ping":
            await client.send("pong", frame[1])
        self.assertEqual(frame, ["pong", number])

    async def test_no_hello(self):
        async def wait(client):
            # Nothing has told the dialect on WebTransport; on WebSocket the subprotocol has.
            if isinstance(client, WebTransportClient):
                client.dialect = Msgpack
                client.main.send_bytes(b"")
            await self.assert_goodbye(client, "hello_timeout", True)

        await self.each_way(wait)

    async def test_half_a_hello(self):
        client = await self.connected(WebTransportClient, Msgpack)
        client.main.send_bytes(b"\x05\x94\x01")
        await self.assert_goodbye(client, "hello_timeout", True)

    async def test_a_quiet_client_gets_pings_and_stays_if_it_answers(self):
        async def answer(client):
            self.assertEqual((await client.hello())[3]["ping"], 1000)
            # Without the answers the end would come after two.
            for _ in range(3):
                await client.send("pong", (await client.expect("ping"))[1])
            await self.assert_alive(client)

        await self.each_way(answer)

    async def test_a_silent_client_is_closed(self):
        async def keep_silent(client):
            await client.hello()
            await client.expect("ping")
            await self.assert_goodbye(client, "timeout", True)

        await self.each_way(keep_silent)

    async def test_a_stream_without_a_first_frame_is_reset_and_nothing_else_happens(self):
        client = await self.connected(WebTransportClient, Msgpack)
        await client.hello()
        stream = client.open_stream()
        stream.send_bytes(b"\x10\x92")

        async def ends():
            with self.assertRaises(Ended):
                await stream.receive()

        ending = asyncio.create_task(ends())
        while not ending.done():
            name, number = await client.expect("ping")
            await client.send("pong", number)
        await ending
        self.assertIsNotNone(stream.reset_code)
        await self.assert_alive(client)


class Draining(InteropTest):
    async def test_a_server_that_is_told_to_stop_says_goodbye(self):
        group = self.group()
        clients = [await self.connected(*way) for way in EVERY_WAY]
        for client in clients:
            await client.hello()
            await client.follow(group)
        await self.server.message(group, "the last")
        self.server.terminate()
        for client in clients:
            self.assertEqual((await client.expect("event"))[5], "the last")
            await self.assert_goodbye(client, "going_away", True)
        for client in clients:
            self.assertEqual((await client.closed())[0], CODES["going_away"])
        self.assertEqual(await self.server.exit_status(), 0)
