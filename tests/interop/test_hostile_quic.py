"""Hostile peers over QUIC and HTTP/3: what docs/hostile-peers.md says of each is done here to a real server, with `aioquic` as the peer that misbehaves."""

import asyncio
import os
import socket
import ssl
import time
from urllib.parse import urlsplit

from aioquic.asyncio import QuicConnectionProtocol
from aioquic.buffer import encode_uint_var
from aioquic.h3.connection import H3_ALPN
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, StopSendingReceived, StreamDataReceived, StreamReset

from dialects import CODES, Msgpack
from hostile import HostileTest

# RFC 9114, section 8.1.
STREAM_CREATION, CLOSED_CRITICAL, UNEXPECTED, FRAME, LOAD = 0x103, 0x104, 0x105, 0x106, 0x107
MISSING_SETTINGS, REJECTED, MESSAGE = 0x10A, 0x10B, 0x10E
# RFC 9000, section 20.1.
STREAM_LIMIT = 0x4
DATA, HEADERS, SETTINGS, PUSH_PROMISE, GOAWAY, MAX_PUSH = 0x0, 0x1, 0x4, 0x5, 0x7, 0xD
CONTROL, PUSH, ENCODER, DECODER = b"\0", b"\1", b"\2", b"\3"
# RFC 9114, section 7.2.8: reserved, so that somebody uses them and everybody skips them.
GREASE = 0x1F * 7 + 0x21
WEBTRANSPORT_STREAM = b"\x40\x41"


def configuration(**options):
    return QuicConfiguration(
        is_client=True, alpn_protocols=H3_ALPN, server_name="localhost", max_datagram_frame_size=65_536, verify_mode=ssl.CERT_NONE, **options
    )


def h3(kind, payload=b"", length=None):
    """A frame of HTTP/3; `length` claims another one than there is."""
    return encode_uint_var(kind) + encode_uint_var(len(payload) if length is None else length) + payload


def literal(name, value):
    """A field line with a name of its own (RFC 9204, section 4.5.6), without Huffman's code."""
    return prefixed(0x20, 3, len(name)) + name + prefixed(0x00, 7, len(value)) + value


def prefixed(flags, bits, number):
    """A number with a prefix (RFC 7541, section 5.1)."""
    most = (1 << bits) - 1
    if number < most:
        return bytes([flags | number])
    out, number = bytes([flags | most]), number - most
    while number >= 128:
        out, number = out + bytes([number % 128 | 128]), number // 128
    return out + bytes([number])


SETTINGS_FRAME = h3(SETTINGS, b"".join(encode_uint_var(n) for n in (0x33, 1, 0x2B603742, 1, GREASE, 7)))


def connect_head(path=b"/fanfare", method=b"CONNECT", protocol=b"webtransport", others=()):
    fields = [(b":method", method), (b":scheme", b"https"), (b":authority", b"localhost"), (b":path", path)]
    if protocol:
        fields.append((b":protocol", protocol))
    return h3(HEADERS, b"\0\0" + b"".join(literal(*field) for field in [*fields, *others]))


class Peer(QuicConnectionProtocol):
    """A QUIC connection that says nothing by itself."""

    def __init__(self, quic):
        super().__init__(quic)
        self.ended = asyncio.get_running_loop().create_future()
        self.said, self.refused, self.changed = {}, {}, asyncio.Event()

    def quic_event_received(self, event):
        if isinstance(event, ConnectionTerminated) and not self.ended.done():
            self.ended.set_result(event.error_code)
        elif isinstance(event, StreamDataReceived):
            self.said[event.stream_id] = self.said.get(event.stream_id, b"") + event.data
        elif isinstance(event, (StreamReset, StopSendingReceived)):
            self.refused[event.stream_id] = event.error_code
        self.changed.set()

    def say(self, data, *, uni=False, end=False):
        stream = self._quic.get_next_available_stream_id(is_unidirectional=uni)
        self._quic.send_stream_data(stream, data, end)
        self.transmit()
        return stream

    def go_on(self, stream, data, end=False):
        self._quic.send_stream_data(stream, data, end)
        self.transmit()

    async def until(self, holds):
        async with asyncio.timeout(20):
            while not holds():
                self.changed.clear()
                await self.changed.wait()

    async def code(self):
        """The code that the server closes the connection with."""
        async with asyncio.timeout(20):
            return await asyncio.shield(self.ended)


class HostileQuic(HostileTest):
    async def peer(self, **options):
        address = urlsplit(self.server.discovery["webtransport"]["url"])
        endpoint, peer = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: Peer(QuicConnection(configuration=configuration(**options))), local_addr=("127.0.0.1", 0)
        )

        async def leave():
            peer.close()
            endpoint.close()

        self.addAsyncCleanup(leave)
        peer.connect((address.hostname, address.port))
        async with asyncio.timeout(20):
            await peer.wait_connected()
        return peer

    async def session(self, **options):
        """A peer with a session, and the stream of its request."""
        peer = await self.peer(**options)
        peer.say(CONTROL + SETTINGS_FRAME, uni=True)
        request = peer.say(connect_head())
        await peer.until(lambda: peer.said.get(request) or peer.ended.done())
        self.assertFalse(peer.ended.done(), "the session was let in")
        return peer, request

    def main_stream(self, peer, request, data=b""):
        return peer.say(WEBTRANSPORT_STREAM + encode_uint_var(request) + data)

    async def welcomed(self, **options):
        peer, request = await self.session(**options)
        main = self.main_stream(peer, request, b"\x03\x92\x01\x01")
        await peer.until(lambda: peer.said.get(main))
        return peer, request, main

    async def assert_pong(self, peer, main):
        before = len(peer.said[main])
        peer.go_on(main, b"\x03\x92\x30\x07")
        await peer.until(lambda: peer.said[main][before:].endswith(b"\x03\x92\x31\x07"))

    def udp(self):
        address = urlsplit(self.server.discovery["webtransport"]["url"])
        sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(sender.close)
        sender.connect((address.hostname, address.port))
        return sender


class ControlStream(HostileQuic):
    """What stands on streams in one direction."""

    CASES = {
        "settings twice": ([CONTROL + SETTINGS_FRAME * 2], UNEXPECTED),
        "settings missing": ([CONTROL + h3(GOAWAY, b"\0")], MISSING_SETTINGS),
        "grease before settings": ([CONTROL + h3(GREASE, b"xyz") + SETTINGS_FRAME], MISSING_SETTINGS),
        "data": ([CONTROL + SETTINGS_FRAME + h3(DATA, b"x")], UNEXPECTED),
        "headers": ([CONTROL + SETTINGS_FRAME + connect_head()], UNEXPECTED),
        "a promise of a push": ([CONTROL + SETTINGS_FRAME + h3(PUSH_PROMISE, b"\0x")], UNEXPECTED),
        "settings cut off": ([CONTROL + h3(SETTINGS, b"\x01\x40")], FRAME),
        "settings too long": ([CONTROL + h3(SETTINGS, b"", length=1 << 30)], LOAD),
        "a length of 62 bits": ([CONTROL + SETTINGS_FRAME + h3(SETTINGS, b"", length=(1 << 62) - 1)], LOAD),
        "a second control stream": ([CONTROL + SETTINGS_FRAME, CONTROL + SETTINGS_FRAME], STREAM_CREATION),
        "a third stream of QPACK": ([CONTROL + SETTINGS_FRAME, ENCODER, DECODER, ENCODER], STREAM_CREATION),
    }

    async def test_what_violates_http3_ends_the_connection_with_the_code_of_the_rfc(self):
        async with self.nobody_notices():
            for name, (streams, code) in self.CASES.items():
                with self.subTest(name):
                    peer = await self.peer()
                    for stream in streams:
                        peer.say(stream, uni=True)
                    self.assertEqual(await peer.code(), code)

    async def test_a_control_stream_that_ends(self):
        for stream in (CONTROL + SETTINGS_FRAME, ENCODER):
            peer = await self.peer()
            peer.say(CONTROL + SETTINGS_FRAME, uni=True) if stream == ENCODER else None
            peer.say(stream, uni=True, end=True)
            self.assertEqual(await peer.code(), CLOSED_CRITICAL)

    async def test_grease_and_what_is_unknown_is_skipped(self):
        peer = await self.peer()
        skipped = h3(GREASE, b"x" * 5_000) + h3(GOAWAY, b"\0") + h3(MAX_PUSH, b"\5") + h3(0xF0700, b"u=1")
        peer.say(CONTROL + SETTINGS_FRAME + skipped, uni=True)
        peer.say(encode_uint_var(GREASE) + b"anything", uni=True, end=True)
        request = peer.say(h3(GREASE, b"before") + connect_head())
        await peer.until(lambda: peer.said.get(request))
        main = self.main_stream(peer, request, b"\x03\x92\x01\x01")
        await peer.until(lambda: peer.said.get(main))
        await self.assert_pong(peer, main)

    async def test_streams_of_a_type_that_nobody_opens_are_refused_and_nothing_else(self):
        peer, _, main = await self.welcomed()
        for kind in (PUSH, encode_uint_var(GREASE), encode_uint_var(0x54), encode_uint_var((1 << 62) - 1)):
            stream = peer.say(kind + b"anything", uni=True)
            await peer.until(lambda: stream in peer.refused)
        await self.assert_pong(peer, main)


class Request(HostileQuic):
    """What stands on streams in both directions."""

    async def test_heads_that_are_none_end_the_connection(self):
        bad = {
            "no QPACK": (h3(HEADERS, b"\xff\xff\xff\xff"), MESSAGE),
            "a dynamic table that is not there": (h3(HEADERS, b"\x05\x00\x80"), MESSAGE),
            "a static entry that is not there": (h3(HEADERS, b"\0\0" + prefixed(0xC0, 6, 5_000)), MESSAGE),
            "a number without end": (h3(HEADERS, b"\0\0\x27" + b"\xaa" * 1_000 + b"\0"), MESSAGE),
            "no path": (h3(HEADERS, b"\0\0" + literal(b":method", b"CONNECT")), MESSAGE),
            "data first": (h3(DATA, b"x") + connect_head(), UNEXPECTED),
            "settings": (SETTINGS_FRAME, UNEXPECTED),
            "a head that is too long": (h3(HEADERS, b"", length=1 << 20), LOAD),
            "a head that is much too long": (h3(HEADERS, b"", length=(1 << 62) - 1), LOAD),
            "long frames that are skipped": (h3(GREASE, b"", length=1 << 20), LOAD),
        }
        async with self.nobody_notices():
            for name, (head, code) in bad.items():
                with self.subTest(name):
                    peer = await self.peer()
                    peer.say(CONTROL + SETTINGS_FRAME, uni=True)
                    peer.say(head)
                    self.assertEqual(await peer.code(), code)

    async def test_a_head_of_a_megabyte(self):
        async with self.nobody_notices():
            peer = await self.peer()
            peer.say(connect_head(others=[(b"x-%d" % n, b"y" * 1_000) for n in range(1_000)]))
            self.assertEqual(await peer.code(), LOAD)

    async def test_requests_for_something_else_are_refused(self):
        for head in (
            connect_head(path=b"/elsewhere"),
            connect_head(path=b"/fanfare/../fanfare"),
            connect_head(method=b"GET", protocol=None),
            connect_head(protocol=b"websocket"),
            connect_head(protocol=None),
            connect_head(others=[(b"origin", b"https://evil.example")]),
            connect_head(others=[(b"origin", b"null")]),
        ):
            peer = await self.peer()
            peer.say(CONTROL + SETTINGS_FRAME, uni=True)
            request = peer.say(head)
            await peer.until(lambda: peer.said.get(request))
            self.assertNotIn(b"\xd9", peer.said[request][:8], "200 is entry 25 of the static table")
            await peer.code()

    async def test_a_request_on_a_stream_in_one_direction(self):
        peer = await self.peer()
        stream = peer.say(connect_head(), uni=True)
        # Its first byte is that of a push.
        await peer.until(lambda: stream in peer.refused)

    async def test_a_request_cut_off_is_given_up(self):
        for head in (b"\x01", b"\x01\x40", connect_head()[:20], h3(GREASE, b"x")):
            peer = await self.peer()
            stream = peer.say(head, end=True)
            await peer.until(lambda: stream in peer.refused or peer.ended.done())

    async def test_a_second_request_is_refused_and_the_session_lives(self):
        peer, request, main = await self.welcomed()
        second = peer.say(connect_head())
        await peer.until(lambda: second in peer.refused)
        self.assertEqual(peer.refused[second], REJECTED)
        await self.assert_pong(peer, main)

    async def test_streams_of_a_session_that_is_not_there_are_refused(self):
        peer, request, main = await self.welcomed()
        for session in (4_000, (1 << 62) - 1):
            stream = peer.say(WEBTRANSPORT_STREAM + encode_uint_var(session) + b"\x03\x92\x30\x07")
            await peer.until(lambda: stream in peer.refused)
        await self.assert_pong(peer, main)

    async def test_capsules_that_are_none(self):
        async with self.nobody_notices():
            for bytes_ in (h3(DATA, b"", length=1 << 30), h3(DATA, encode_uint_var(0x2843) + encode_uint_var(1 << 30))):
                peer, request, _ = await self.welcomed()
                peer.go_on(request, bytes_)
                self.assertEqual(await peer.code(), LOAD)

    async def test_frames_over_the_limit_are_refused_at_their_length(self):
        peer, _, main = await self.welcomed()
        peer.go_on(main, encode_uint_var((1 << 62) - 1) + b"x")
        self.assertEqual(await peer.code(), CODES["frame_too_large"])


class Floods(HostileQuic):
    """More than anybody needs, and waiting without end."""

    async def test_connections_that_ask_for_nothing(self):
        async with self.nobody_notices():
            peers = [await self.peer() for _ in range(20)]
            for peer in peers:
                await peer.code()

    async def test_a_session_without_a_stream_and_a_stream_without_a_frame(self):
        async with self.nobody_notices():
            without_stream, _ = await self.session()
            without_frame, request = await self.session()
            self.main_stream(without_frame, request, b"\x10\x92")
            await without_stream.code()
            await without_frame.code()

    async def test_streams_that_are_opened_and_never_used(self):
        peer, request, main = await self.welcomed()
        async with self.nobody_notices():
            # As many as it may open: some say nothing, some half of what they are, some what they are and no frame.
            beginnings = [b"\x40", WEBTRANSPORT_STREAM, WEBTRANSPORT_STREAM + encode_uint_var(request), WEBTRANSPORT_STREAM + encode_uint_var(request) + b"\x10\x92"]
            streams = [peer.say(beginnings[n % 4]) for n in range(14)]
            await peer.until(lambda: all(stream in peer.refused for stream in streams))
            await self.assert_pong(peer, main)

    async def test_streams_that_are_opened_and_reset_without_end(self):
        peer, request, main = await self.welcomed()
        async with self.nobody_notices():
            for _ in range(2_000):
                stream = peer.say(WEBTRANSPORT_STREAM + encode_uint_var(request) + b"\x10")
                peer._quic.reset_stream(stream, 0)
                peer._quic.stop_stream(stream, 0)
                peer.transmit()
                # The server lets it open another one when the earlier are over.
                async with asyncio.timeout(20):
                    while peer._quic._remote_max_streams_bidi <= stream // 4 + 1:
                        await asyncio.sleep(0.001)
            await self.assert_pong(peer, main)

    async def test_more_streams_than_it_may_have(self):
        peer, request, _ = await self.welcomed()
        peer._quic._remote_max_streams_bidi = 1_000
        for _ in range(100):
            peer.say(WEBTRANSPORT_STREAM + encode_uint_var(request))
        self.assertEqual(await peer.code(), STREAM_LIMIT)

    async def test_datagrams_without_end(self):
        peer, request, main = await self.welcomed()
        async with self.nobody_notices():
            for n in range(20_000):
                peer._quic.send_datagram_frame(os.urandom(1_000))
                if n % 10 == 0:
                    peer.transmit()
                    await asyncio.sleep(0)
            await self.assert_pong(peer, main)

    async def test_replays_that_nobody_reads(self):
        group = self.group("deep.")
        for _ in range(50):
            await self.server.message(group, "x" * 20_000)
        peer, request, main = await self.welcomed(max_stream_data=65_536)
        # No stream is granted more than it had at first.
        peer._quic._write_stream_limits = lambda *_, **__: None
        async with self.nobody_notices():
            streams = []
            for n in range(14):
                subscribe = Msgpack.encode(["subscribe", n + 1, group, {"since": [1, 1]}])
                streams.append(self.main_stream(peer, request, encode_uint_var(len(subscribe)) + subscribe))
            await peer.until(lambda: any(len(peer.said.get(stream, b"")) >= 60_000 for stream in streams))
            await self.assert_pong(peer, main)

    async def test_garbage(self):
        udp = self.udp()
        async with self.nobody_notices():
            for n in range(20_000):
                # Long heads of version 1, of versions that are none, short heads, and anything.
                head = (b"\xc0\0\0\0\1\x08", b"\xc0\xba\xba\xba\xba\x14", b"\x40", b"")[n % 4]
                try:
                    udp.send(head + os.urandom(n % 1_400))
                except ConnectionError:
                    pass
                if n % 100 == 0:
                    await asyncio.sleep(0)
        await self.newcomer_is_served()

    async def test_ten_thousand_handshakes_that_nobody_goes_on_with(self):
        udp = self.udp()
        retries = self.metric('fanfare_handshakes_total{transport="webtransport",outcome="retry"}')
        # Each is a first flight of its own as far as the server can know: another connection and another address would look no different.
        async with self.nobody_notices(memory_mib=128):
            for n in range(10_000):
                quic = QuicConnection(configuration=configuration())
                quic.connect(udp.getpeername(), time.time())
                for datagram, _ in quic.datagrams_to_send(time.time()):
                    try:
                        udp.send(datagram)
                    except ConnectionError:
                        pass
                await asyncio.sleep(0)
        self.assertGreater(self.metric('fanfare_handshakes_total{transport="webtransport",outcome="retry"}'), retries, "addresses had to be proved")
        await self.newcomer_is_served()
        await self.until("the room is free", lambda: self.metric('fanfare_connections{transport="webtransport"}') == 2)
