"""Hostile peers over TCP: what docs/hostile-peers.md says of each is done here to a real server."""

import asyncio
import json
import socket
import struct
import urllib.error
import urllib.request
from urllib.parse import urlsplit

from dialects import CODES
from hostile import HostileTest
from raw import BINARY, CONTINUATION, PING, TEXT, Raw, frame

UPGRADE = (
    b"GET /fanfare HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: fanfare.v1.json\r\n\r\n"
)


async def dial(url):
    address = urlsplit(url)
    return await asyncio.open_connection(address.hostname, address.port)


async def drip(url, beginning, again, pause=0.05):
    """Says `beginning` a byte at a time, then `again` without end, until the server has enough; gives what it said."""
    reader, writer = await dial(url)
    reading = asyncio.create_task(read_all(reader))
    try:
        for byte in beginning:
            writer.write(bytes([byte]))
            await writer.drain()
            await asyncio.wait([reading], timeout=pause)
            if reading.done():
                break
        while not reading.done():
            writer.write(again)
            await writer.drain()
            await asyncio.wait([reading], timeout=pause)
    except ConnectionError:
        pass
    finally:
        writer.close()
    return await reading


async def read_all(reader):
    """Up to the end, whether that is an end or a reset."""
    said = b""
    try:
        while data := await reader.read(65_536):
            said += data
    except ConnectionError:
        pass
    return said


class Slow(HostileTest):
    """Peers that take their time. Each is closed when a total deadline is over, however busy it looks."""

    async def swarm(self, count, connection):
        async with self.nobody_notices():
            async with asyncio.timeout(60):
                said = await asyncio.gather(*(connection() for _ in range(count)))
        await self.until("no connection is left", lambda: self.metric("fanfare_http_connections") <= 1)
        await self.newcomer_is_served()
        return said

    async def test_connections_that_say_nothing(self):
        async def silent():
            reader, writer = await dial(self.server.url)
            said = await read_all(reader)
            writer.close()
            return said

        await self.swarm(500, silent)

    async def test_tls_that_drips(self):
        hello = bytes.fromhex("160301020001 0001fc0303".replace(" ", ""))
        await self.swarm(200, lambda: drip(self.server.secure_url, hello, b"\0"))
        self.assertGreaterEqual(self.metric('fanfare_handshakes_total{transport="tls",outcome="timeout"}'), 200)

    async def test_tls_that_is_none(self):
        async def plain():
            reader, writer = await dial(self.server.secure_url)
            writer.write(UPGRADE)
            said = await read_all(reader)
            writer.close()
            return said

        await self.swarm(200, plain)

    async def test_requests_that_drip(self):
        await self.swarm(200, lambda: drip(self.server.url, b"GET /fanfare HTTP/1.1\r\nHost: x\r\n", b"X-A: b\r\n"))

    async def test_bodies_that_never_come(self):
        for head in (b"POST /v1/groups/a/messages", b"POST /healthz", b"GET /readyz", b"POST /nowhere"):
            request = head + b" HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000000000\r\n\r\n"
            with self.subTest(head):
                said = await self.swarm(50, lambda: drip(self.server.url, request[:1], request[1:]))
                self.assertTrue(all(answer.count(b"HTTP/1.1 ") <= 1 for answer in said))

    async def test_hellos_that_drip(self):
        hello = frame(TEXT, b'["hello",1,null,{"client":"' + b"x" * 4000 + b'"}]')

        async def hesitant():
            reader, writer = await dial(self.server.url)
            writer.write(UPGRADE)
            await reader.readuntil(b"\r\n\r\n")
            reading = asyncio.create_task(read_all(reader))
            for byte in hello:
                if reading.done():
                    break
                try:
                    writer.write(bytes([byte]))
                    await writer.drain()
                except ConnectionError:
                    break
                await asyncio.wait([reading], timeout=0.05)
            writer.close()
            return await reading

        for said in await self.swarm(100, hesitant):
            self.assertIn(b'["goodbye",4004', said)

    async def test_websockets_without_a_hello_that_ping_all_the_time(self):
        async def pinging():
            reader, writer = await dial(self.server.url)
            writer.write(UPGRADE)
            await reader.readuntil(b"\r\n\r\n")
            reading = asyncio.create_task(read_all(reader))
            while not reading.done():
                try:
                    writer.write(frame(PING, b"x"))
                    await writer.drain()
                except ConnectionError:
                    break
                await asyncio.wait([reading], timeout=0.05)
            writer.close()
            return await reading

        for said in await self.swarm(100, pinging):
            self.assertIn(b'["goodbye",4004', said)


class Crowds(HostileTest):
    """More of something than anybody needs."""

    settings = HostileTest.settings | {"workers": "1", "limits.http_connections": "40", "limits.connections": "60", "limits.handshake_deadline": "500ms"}

    async def test_more_tcp_connections_than_there_is_room_for(self):
        most = 0
        async with self.nobody_notices():
            idle = [await dial(self.server.url) for _ in range(300)]
            # The question itself stands in the queue, and is answered when those before it have been closed.
            for _ in range(5):
                most = max(most, await asyncio.to_thread(self.metric, "fanfare_http_connections"))
            await asyncio.gather(*(read_all(reader) for reader, _ in idle))
            for _, writer in idle:
                writer.close()
        self.assertLessEqual(most, 40)
        await self.newcomer_is_served()

    async def test_who_stays_for_another_answer_has_to_queue_when_room_is_scarce(self):
        idle = [await dial(self.server.url) for _ in range(25)]
        reader, writer = await dial(self.server.url)
        writer.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        said = await read_all(reader)
        for connection in [*idle, (reader, writer)]:
            connection[1].close()
        self.assertEqual((said.count(b"HTTP/1.1 200"), said.lower().count(b"connection: close")), (1, 1))

    async def test_more_websockets_than_there_is_room_for(self):
        clients = []
        async with self.nobody_notices():
            for _ in range(100):
                client = await Raw.open(self.server)
                self.addCleanup(client.close)
                status, headers = await client.upgrade()
                clients.append(status)
                if status == 503:
                    self.assertIn("retry-after", headers)
        self.assertEqual(set(clients), {101, 503})
        self.assertLessEqual(clients.count(101), 60)
        await self.until("those without a hello are gone", lambda: self.metric('fanfare_connections{transport="websocket"}') <= len(self.witnesses))
        await self.newcomer_is_served()


class Many(HostileTest):
    async def test_connections_that_are_reset_at_once(self):
        async with self.nobody_notices():
            for _ in range(2_000):
                reader, writer = await dial(self.server.url)
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                writer.write(UPGRADE)
                writer.transport.abort()
        await self.until("all are gone", lambda: self.metric("fanfare_connections{") == len(self.witnesses))
        await self.newcomer_is_served()

    async def test_requests_without_end_whose_answers_nobody_reads(self):
        request = b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n" * 100
        async with self.nobody_notices():
            connections = [await dial(self.server.url) for _ in range(20)]

            async def flood(writer):
                try:
                    while True:
                        writer.write(request)
                        await writer.drain()
                except ConnectionError:
                    pass

            flooding = [asyncio.create_task(flood(writer)) for _, writer in connections]
            # Nothing is read, so after the lifetime of a connection there is nothing but to cut it off.
            for reader, _ in connections:
                reader._transport.pause_reading()
            async with asyncio.timeout(60):
                await asyncio.gather(*flooding)
        await self.newcomer_is_served()

    async def test_pings_without_end_whose_answers_nobody_reads(self):
        pings = frame(PING, b"p" * 125) * 500
        async with self.nobody_notices():
            clients = [await Raw.connect(self.server) for _ in range(10)]
            for client in clients:
                client.reader._transport.pause_reading()

            async def flood(client):
                try:
                    for _ in range(200):
                        client.writer.write(pings)
                        async with asyncio.timeout(2):
                            await client.writer.drain()
                except (TimeoutError, ConnectionError):
                    # The server listens no longer to who takes no answers.
                    pass

            await asyncio.gather(*(flood(client) for client in clients))
        for client in clients:
            client.writer.transport.abort()
        await self.newcomer_is_served()

    async def test_subscriptions_without_end(self):
        client = await Raw.connect(self.server)
        self.addCleanup(client.close)
        count = 50_000
        async with self.nobody_notices(memory_mib=128):
            requests = (json.dumps(["subscribe", n, f"crowd.{n}"]).encode() for n in range(1, count + 1))
            sending = asyncio.create_task(client.send(b"".join(frame(TEXT, request) for request in requests)))
            answers = {"subscribed": 0, "error": 0}
            while sum(answers.values()) < count:
                name, _, code, *_ = json.loads((await client.receive())[1])
                answers[name] = answers.get(name, 0) + 1
                if name == "error":
                    self.assertEqual(code, CODES["too_many_groups"])
            await sending
        self.assertEqual(answers["subscribed"], 200)

    async def test_groups_that_are_followed_and_left_leave_nothing(self):
        client = await Raw.connect(self.server)
        self.addCleanup(client.close)
        async with self.nobody_notices(memory_mib=48):
            for first in range(0, 20_000, 500):
                pairs = ((f'["subscribe",1,"gone.{n}"]', f'["unsubscribe",1,"gone.{n}"]') for n in range(first, first + 500))
                await client.send(b"".join(frame(TEXT, text.encode()) for pair in pairs for text in pair))
                for _ in range(1_000):
                    self.assertIn(json.loads((await client.receive())[1])[0], ("subscribed", "unsubscribed"))

    async def test_empty_fragments_without_end(self):
        client = await Raw.connect(self.server)
        self.addCleanup(client.close)
        async with self.nobody_notices():
            await client.send(frame(TEXT, b"", fin=False))
            for _ in range(200):
                await client.send(frame(CONTINUATION, b"", fin=False) * 1_000)
            await client.send(frame(CONTINUATION, b'["ping",1]'))
            self.assertEqual(await client.receive(), (TEXT, b'["pong",1]'))

    async def test_publishing_as_fast_as_it_goes(self):
        client = await Raw.connect(self.server)
        self.addCleanup(client.close)
        count = 5_000
        async with self.nobody_notices(memory_mib=200):
            requests = (json.dumps(["publish", n, "flood", "message", "x" * 1_000]).encode() for n in range(1, count + 1))
            sending = asyncio.create_task(client.send(b"".join(frame(TEXT, request) for request in requests)))
            for _ in range(count):
                self.assertIn(json.loads((await client.receive())[1])[0], ("published", "error"))
            await sending


class NeverReading(HostileTest):
    settings = HostileTest.settings | {"limits.outbox_bytes": "128KiB", "limits.outbox_age": "2s", "limits.hello_deadline": "20s"}

    async def test_a_thousand_readers_that_never_read(self):
        group = self.group("still.")
        async with self.nobody_notices(memory_mib=192):
            clients = []
            for _ in range(1_000):
                client = await Raw.open(self.server)
                client.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                await client.send(UPGRADE + b"")
                await client.head()
                await client.send(frame(TEXT, b'["hello",1]') + frame(TEXT, json.dumps(["subscribe", 1, group]).encode()))
                await client.receive()
                await client.receive()
                client.reader._transport.pause_reading()
                clients.append(client)
            members = len(clients)
            receipt = await self.server.message(group, "x")
            self.assertEqual(receipt["subscribers"], members)
            # What the kernel and the outbox of each take, several times over.
            for _ in range(150):
                await self.server.message(group, "x" * 50_000)
            await self.until("all have been given up", lambda: self.metric('fanfare_connections_closed_total{transport="websocket",code="slow_consumer"}') >= members)
        for client in clients:
            client.writer.transport.abort()
        self.assertEqual(self.metric("fanfare_outbox_bytes"), 0)
        await self.newcomer_is_served()


BOMBS = {
    "nested ten thousand deep": (b"\x91" * 10_000 + b"\x01", "too_deep"),
    "an array of four billion": (b"\xdd\xff\xff\xff\xff" + b"\x01" * 100, "malformed_frame"),
    "a map of four billion": (b"\x93\x01\x01\xc0\xdf\xff\xff\xff\xff", "malformed_frame"),
    "maps of four billion in one another": (b"\xdf\xff\xff\xff\xff" * 12, "malformed_frame"),
    "text of four gigabytes": (b"\x93\x02\x01\xdb\xff\xff\xff\xffx", "malformed_frame"),
    "binary of four gigabytes": (b"\x93\x02\x01\xc6\xff\xff\xff\xffx", "malformed_frame"),
    "an extension of four gigabytes": (b"\x92\xc9\xff\xff\xff\xff\x01x", "malformed_frame"),
    "an extension as the opcode": (b"\x92\xd4\x01\x01\x01", "malformed_frame"),
    "an extension as the request": (b"\x93\x02\xd6\xff\0\0\0\0\xa1a", "malformed_frame"),
    "text that is no UTF-8": (b"\x93\x02\x01\xa2\xc3\x28", "malformed_frame"),
    "a reserved byte": (b"\x92\x30\xc1", "malformed_frame"),
    "a float as the opcode": (b"\x92\xca\x41\x40\0\0\x01", "malformed_frame"),
    "a negative request": (b"\x93\x02\xff\xa1a", "malformed_frame"),
    "a request beyond 32 bits": (b"\x93\x02\xcf\xff\xff\xff\xff\xff\xff\xff\xff\xa1a", "malformed_frame"),
    "bytes after the frame": (b"\x92\x30\x01\x92\x30\x02", "malformed_frame"),
    "nothing": (b"", "malformed_frame"),
    "a server's frame": (b"\x92\x16\x01", "unexpected_frame"),
}

JSON_BOMBS = {
    "nested ten thousand deep": b"[" * 10_000,
    "nested and closed": b'["ping",' + b"[" * 120 + b"]" * 120 + b"]",
    "maps nested": b'{"a":' * 5_000,
    "a number without end": b'["ping",' + b"9" * 60_000 + b"]",
    "an exponent without end": b'["ping",1e' + b"9" * 1_000 + b"]",
    "a lone surrogate": b'["subscribe",1,"\\ud800"]',
    "a string without end": b'["subscribe",1,"' + b"a" * 60_000,
    "NUL behind the frame": b'["ping",1]\0',
}


class Frames(HostileTest):
    async def test_bombs_of_messagepack(self):
        async with self.nobody_notices(memory_mib=32):
            for name, (bomb, code) in BOMBS.items():
                with self.subTest(name):
                    client = await Raw.connect(self.server, "msgpack")
                    await client.send(frame(BINARY, bomb))
                    frames = await client.rest()
                    self.assertEqual(struct.unpack(">H", frames[-1][1][:2])[0], CODES[code], frames)
                    client.close()

    async def test_duplicated_keys_and_unknown_ones_do_no_harm(self):
        client = await Raw.connect(self.server, "msgpack")
        self.addCleanup(client.close)
        since = b"\xa5since\x92\x01\x01"
        await client.send(frame(BINARY, b"\x94\x02\x01\xa1a\x83" + since + since + b"\xa5later\x01"))
        opcode, answer = await client.receive()
        self.assertEqual((opcode, answer[1]), (BINARY, 0x12))

    async def test_bombs_of_json(self):
        async with self.nobody_notices(memory_mib=32):
            for name, bomb in JSON_BOMBS.items():
                with self.subTest(name):
                    client = await Raw.connect(self.server)
                    await client.send(frame(TEXT, bomb))
                    frames = await client.rest()
                    self.assertIn(struct.unpack(">H", frames[-1][1][:2])[0], (CODES["malformed_frame"], CODES["too_deep"]), frames)
                    client.close()

    async def test_names_that_are_traps(self):
        traps = ["", "\0", "a\0b", "\u202eevil", "a\u200bb", "../../etc/passwd", "a/b", "a b", "a\r\nb", "*", "gr\u00fc\u00dfe", "x" * 100, "x" * 60_000, "user.somebody"]
        client = await Raw.connect(self.server)
        self.addCleanup(client.close)
        for name in traps:
            for request in (["subscribe", 1, name], ["publish", 1, name, "message", "x"], ["who", 1, name]):
                await client.send(frame(TEXT, json.dumps(request).encode()))
                answer = json.loads((await client.receive())[1])
                self.assertEqual(answer[:2], ["error", 1], name)
                self.assertIn(answer[2], (CODES["bad_group_name"], CODES["not_allowed"]), name)
                self.assertLess(len(answer[3]), 500, "a name is not repeated at length")

    async def test_tokens_that_are_too_long(self):
        async with self.nobody_notices(memory_mib=32):
            for length, code in ((8_193, "token_invalid"), (60_000, "token_invalid"), (1_000_000, "frame_too_large")):
                client = await Raw.connect(self.server, hello=False)
                await client.send(frame(TEXT, json.dumps(["hello", 1, "x" * length]).encode()))
                frames = await client.rest()
                self.assertEqual(struct.unpack(">H", frames[-1][1][:2])[0], CODES[code])
                client.close()

    async def test_strangers_of_another_site(self):
        for origin in ("https://evil.example", "null", "https://app.example.evil.example", "https://app.example:444", "http://app.example", "https://app.example "[:-1] + "."):
            client = await Raw.open(self.server)
            status, _ = await client.upgrade(origin=origin)
            self.assertEqual(status, 403, origin)
            client.close()


# What two servers in a row could take for requests of different length. `marker` stands where a second request would begin.
MARKER = b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n"
POST = b"POST /nowhere HTTP/1.1\r\nHost: x\r\n"
SMUGGLING = {
    "length and chunks": POST + b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + MARKER,
    "chunks and length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n" + MARKER,
    "two lengths": POST + b"Content-Length: 0\r\nContent-Length: 36\r\n\r\n" + MARKER,
    "two lengths in one": POST + b"Content-Length: 0, 36\r\n\r\n" + MARKER,
    "a length with a sign": POST + b"Content-Length: +0\r\n\r\n" + MARKER,
    "a negative length": POST + b"Content-Length: -1\r\n\r\n" + MARKER,
    "a length in hexadecimal": POST + b"Content-Length: 0x0\r\n\r\n" + MARKER,
    "a length beyond 64 bits": POST + b"Content-Length: 18446744073709551616\r\n\r\n" + MARKER,
    "an unknown encoding": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n" + MARKER,
    "chunked not last": POST + b"Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n" + MARKER,
    "chunked quoted": POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n' + MARKER,
    "a vertical tab": POST + b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n" + MARKER,
    "a NUL": POST + b"Transfer-Encoding: chunked\0\r\n\r\n0\r\n\r\n" + MARKER,
    "a space before the colon": POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n" + MARKER,
    "a folded line": POST + b"X: y\r\n Transfer-Encoding: chunked\r\n\r\n" + MARKER,
    "a bare LF within": POST + b"X: y\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + MARKER,
    "a bare CR": POST + b"X: y\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + MARKER,
    "a size that is none": POST + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n\r\n" + MARKER,
    "a size beyond 64 bits": POST + b"Transfer-Encoding: chunked\r\n\r\n10000000000000000\r\n" + MARKER,
    "a size with a sign": POST + b"Transfer-Encoding: chunked\r\n\r\n+0\r\n\r\n" + MARKER,
    "a bare LF in an extension": POST + b"Transfer-Encoding: chunked\r\n\r\n0;x\n\r\n" + MARKER,
    "chunks in HTTP/1.0": b"POST /nowhere HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + MARKER,
    "a version that is none": b"POST /nowhere HTTP/1.10\r\nHost: x\r\n\r\n" + MARKER,
    "two spaces": b"POST  /nowhere HTTP/1.1\r\nHost: x\r\n\r\n" + MARKER,
    "a preface of HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + MARKER,
}


class Requests(HostileTest):
    async def exchange(self, request):
        """All answers to these bytes. Nothing follows them, so a connection that stays open is closed when the time for the next head is over."""
        reader, writer = await dial(self.server.url)
        reading = asyncio.create_task(read_all(reader))
        try:
            writer.write(request)
            await writer.drain()
        except ConnectionError:
            pass  # It is refused before all is sent.
        try:
            async with asyncio.timeout(30):
                return await reading
        finally:
            writer.close()

    async def test_requests_that_two_servers_read_differently(self):
        async def shape(name, request):
            said = await self.exchange(request)
            # Either all is refused, or what follows is one request of its own and not a part of another. Never more.
            self.assertLessEqual(said.count(b"HTTP/1."), 2, name)
            first = said.split(b"\r\n")[0]
            return name, first, said.count(b"HTTP/1.")

        async with self.nobody_notices():
            outcomes = await asyncio.gather(*(shape(*row) for row in SMUGGLING.items()))
        # A single LF may end a line (RFC 9112, section 2.2); then the chunks are read, and the request behind them.
        self.assertEqual({name for name, _, answers in outcomes if answers > 1}, {"a bare LF within"}, outcomes)
        told = {name for name, first, _ in outcomes if first.startswith((b"HTTP/1.1 400", b"HTTP/1.1 404", b"HTTP/1.1 505"))}
        self.assertEqual(set(SMUGGLING) - told, {"a preface of HTTP/2"}, "who is refused is told")

    async def test_forms_of_a_target(self):
        for target, status in ((b"http://evil.example/healthz", b"200"), (b"*", b"404"), (b"//healthz", b"404"), (b"/../healthz", b"404"), (b"/healthz%00", b"404"), (b"/%2e%2e/healthz", b"404")):
            said = await self.exchange(b"GET " + target + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            self.assertIn(said[9:12], (status, b"404", b"400"), target)

    async def test_heads_without_end(self):
        async with self.nobody_notices():
            for head in (
                b"GET /" + b"a" * 1_000_000,
                b"GET / HTTP/1.1\r\nX: " + b"a" * 1_000_000,
                b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 10_000 + b"\r\n",
                b"GET / HTTP/1.1\r\n" + b"".join(b"X-%d: y\r\n" % n for n in range(200)) + b"\r\n",
            ):
                said = await self.exchange(head)
                self.assertNotIn(b"HTTP/1.1 200", said)

    async def test_bodies_that_are_too_long(self):
        async with self.nobody_notices(memory_mib=32):
            key = b"Authorization: Bearer interop-key\r\nContent-Type: application/json\r\n"
            request = b"POST /v1/groups/a/messages HTTP/1.1\r\nHost: x\r\n" + key
            said = await self.exchange(request + b"Content-Length: 100000000\r\n\r\n" + b" " * 1_000_000)
            self.assertIn(b"HTTP/1.1 413", said)
            chunk = b"10000\r\n" + b" " * 65_536 + b"\r\n"
            said = await self.exchange(request + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 100)
            self.assertIn(b"HTTP/1.1 413", said)

    async def test_chunk_extensions_without_end(self):
        async with self.nobody_notices(memory_mib=32):
            key = b"Authorization: Bearer interop-key\r\nContent-Type: application/json\r\n"
            request = b"POST /v1/groups/a/messages HTTP/1.1\r\nHost: x\r\n" + key + b"Transfer-Encoding: chunked\r\n\r\n"
            said = await self.exchange(request + (b"1;" + b"x" * 1_000 + b"\r\n \r\n") * 2_000)
            self.assertNotIn(b"HTTP/1.1 20", said)

    async def test_a_form_of_another_site(self):
        body = b'{"message":"evil"}'
        for content_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/json"):
            for headers in ({}, {"Authorization": "Bearer interop-key"}):
                headers = headers | {"Origin": "https://evil.example", "Content-Type": content_type}
                request = urllib.request.Request(f"{self.server.url}/v1/groups/a/messages", body, headers, method="POST")
                with self.assertRaises(urllib.error.HTTPError) as refusal:
                    await asyncio.to_thread(urllib.request.urlopen, request, timeout=10)
                self.assertIn(refusal.exception.code, (401, 403))
                self.assertNotIn("Access-Control-Allow-Origin", refusal.exception.headers)
                refusal.exception.close()
