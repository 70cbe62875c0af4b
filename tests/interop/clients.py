"""One client of `fanfare.v1` for each transport, written from docs/protocol.md and nothing else.

Both have the same methods, so that a test runs over both. They do nothing by themselves: no pong, no resuming, no connecting again.
"""

import asyncio
import hashlib
import ssl
from urllib.parse import urlsplit

import websockets
from aioquic.asyncio import QuicConnectionProtocol
from aioquic.buffer import Buffer, BufferReadError, encode_uint_var
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import HeadersReceived, WebTransportStreamDataReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import ConnectionTerminated, HandshakeCompleted, StreamDataReceived, StreamReset
from cryptography.hazmat.primitives.serialization import Encoding

from dialects import padded

# No wait for the server is longer than this.
PATIENCE = 8

# Frame type and session id that open a bidirectional stream, and the capsule that ends a session, of WebTransport over HTTP/3.
WEBTRANSPORT_STREAM = 0x41
CLOSE_WEBTRANSPORT_SESSION = 0x2843


class Refused(Exception):
    """There is no connection; the answer had this HTTP status."""

    def __init__(self, status):
        super().__init__(f"HTTP status {status}")
        self.status = status


class Ended(Exception):
    """Nothing more comes."""


class Conversation:
    """Frames over one WebSocket or one stream. The transports say how bytes come and go."""

    dialect: type

    async def send(self, *frame):
        await self.send_payload(self.dialect.encode(frame))

    async def send_value(self, value):
        """Any value in place of a frame: for frames that this client doesn't know or that are wrong."""
        await self.send_payload(self.dialect.pack(value))

    async def receive(self):
        return padded(self.dialect.decode(await self.receive_payload()))

    async def expect(self, name):
        frame = await self.receive()
        if frame[0] != name:
            raise AssertionError(f"{name} has to come, not {frame}")
        return frame

    async def hello(self, token=None, **options):
        await self.send("hello", 1, token, options)
        return await self.expect("welcome")

    async def follow(self, group, request=1, **options):
        await self.send("subscribe", request, group, options)
        return await self.expect("subscribed")


class WebSocketClient(Conversation):
    transport = "websocket"

    @classmethod
    async def connect(cls, server, dialect, *, subprotocol=True, origin=None, url=None, tls=None):
        self = cls()
        self.dialect = dialect
        try:
            self.socket = await websockets.connect(
                url or server.discovery["websocket"]["url"],
                subprotocols=[f"fanfare.v1.{dialect.name}"] if subprotocol else None,
                origin=origin,
                ssl=tls,
                proxy=None,
                open_timeout=PATIENCE,
                close_timeout=PATIENCE,
            )
        except websockets.InvalidStatus as refusal:
            raise Refused(refusal.response.status_code) from None
        return self

    async def send_payload(self, payload):
        await self.socket.send(payload, text=not self.dialect.binary)

    async def receive_payload(self):
        try:
            async with asyncio.timeout(PATIENCE):
                message = await self.socket.recv()
        except websockets.ConnectionClosed:
            raise Ended from None
        if isinstance(message, bytes) != self.dialect.binary:
            raise AssertionError(f"the wrong type of message for {self.dialect.name}: {message!r}")
        return message

    async def closed(self):
        """Waits until the server has closed, and gives its code and reason."""
        async with asyncio.timeout(PATIENCE):
            await self.socket.wait_closed()
        return self.socket.close_code, self.socket.close_reason

    async def leave(self):
        await self.socket.close()


class WebTransportClient(Conversation):
    """The methods of `Conversation` are those of the main stream."""

    transport = "webtransport"

    @classmethod
    async def connect(cls, server, dialect, *, origin=None, main_is_late=False):
        """`main_is_late`: nothing goes out on the main stream, not even what it is, before streams that are opened later have spoken."""
        self = cls()
        self.dialect = dialect
        announced = server.discovery["webtransport"]
        url = urlsplit(announced["url"])
        configuration = QuicConfiguration(
            is_client=True,
            alpn_protocols=H3_ALPN,
            server_name=url.hostname,
            max_datagram_frame_size=65536,
            # The certificate is compared with the hashes instead, as a browser does when it is given any.
            verify_mode=ssl.CERT_NONE,
        )
        loop = asyncio.get_running_loop()
        self.endpoint, self.connection = await loop.create_datagram_endpoint(
            lambda: Http3(QuicConnection(configuration=configuration), announced["certificateHashes"]),
            local_addr=("127.0.0.1", 0),
        )
        self.connection.connect((url.hostname, url.port))
        try:
            async with asyncio.timeout(PATIENCE):
                await self.connection.wait_connected()
                await self.connection.request_session(url.netloc, url.path, origin)
        except BaseException:
            self.connection.close()
            self.endpoint.close()
            raise
        self.main = Stream(self.connection, self.dialect, late=main_is_late)
        return self

    def open_stream(self):
        return Stream(self.connection, self.dialect)

    async def send_payload(self, payload):
        await self.main.send_payload(payload)

    async def receive_payload(self):
        return await self.main.receive_payload()

    async def closed(self):
        """Waits until the server has closed the QUIC connection, and gives its code and reason."""
        async with asyncio.timeout(PATIENCE):
            return await asyncio.shield(self.connection.terminated)

    async def end_session(self, code=0, reason=b""):
        """Ends the session in the way of WebTransport, and waits until nothing is left of the connection."""
        self.connection.end_session(code, reason)
        return await self.closed()

    async def leave(self):
        # That the connection ends is sent at once; the library would wait for stragglers afterwards, which nobody here needs.
        self.connection.close()
        self.endpoint.close()


class Stream(Conversation):
    """A bidirectional stream of a session: frames, each after its length (section 2.3)."""

    def __init__(self, connection, dialect, late=False):
        self.connection = connection
        self.dialect = dialect
        self.id = connection.open_stream(self, late)
        self.buffer = b""
        self.finished = False
        self.reset_code = None
        self.changed = asyncio.Event()

    async def send_payload(self, payload):
        self.send_bytes(encode_uint_var(len(payload)) + payload)

    def send_bytes(self, data, finish=False):
        self.connection.write(self.id, data, finish)

    async def receive_payload(self):
        async with asyncio.timeout(PATIENCE):
            while (payload := self.take()) is None:
                if self.finished:
                    if self.buffer:
                        raise AssertionError(f"the stream ends within a frame: {self.buffer!r}")
                    raise Ended
                self.changed.clear()
                await self.changed.wait()
        return payload

    def take(self):
        buffer = Buffer(data=self.buffer)
        try:
            payload = buffer.pull_bytes(buffer.pull_uint_var())
        except BufferReadError:
            return None
        self.buffer = self.buffer[buffer.tell() :]
        return payload

    def feed(self, data, finished, reset_code=None):
        self.buffer += data
        self.finished = self.finished or finished
        self.reset_code = reset_code
        self.changed.set()


class Http3(QuicConnectionProtocol):
    """HTTP/3 with one session of WebTransport.

    The library's HTTP/3 takes what the server answers on a client's stream for HTTP, so it is not shown the streams of the session.
    """

    def __init__(self, quic, hashes):
        super().__init__(quic)
        loop = asyncio.get_running_loop()
        self.http = H3Connection(quic, enable_webtransport=True)
        self.hashes = hashes
        self.streams = {}
        self.session = None
        # A stream that has not said what it is: QUIC knows of it only by those that were opened after it.
        self.late = None
        self.status = loop.create_future()
        self.terminated = loop.create_future()
        self.opened_by_server = []

    async def request_session(self, authority, path, origin):
        if self.status.done():
            await self.status  # The certificate was not the announced one.
        self.session = self._quic.get_next_available_stream_id()
        headers = [
            (b":method", b"CONNECT"),
            (b":scheme", b"https"),
            (b":authority", authority.encode()),
            (b":path", path.encode()),
            (b":protocol", b"webtransport"),
        ]
        if origin is not None:
            headers.append((b"origin", origin.encode()))
        self.http.send_headers(self.session, headers)
        self.transmit()
        status = await self.status
        if status != 200:
            raise Refused(status)

    def open_stream(self, stream, late):
        number = self._quic.get_next_available_stream_id()
        self.streams[number] = stream
        if late:
            # It has its number, and nothing is sent.
            self._quic._get_or_create_stream_for_send(number)
            self.late = number
        else:
            self.announce(number)
        return number

    def announce(self, number):
        self._quic.send_stream_data(number, encode_uint_var(WEBTRANSPORT_STREAM) + encode_uint_var(self.session))

    def write(self, number, data, finish):
        if self.late == number:
            self.late = None
            self.announce(number)
        self._quic.send_stream_data(number, data, finish)
        self.transmit()

    def end_session(self, code, reason):
        value = code.to_bytes(4, "big") + reason
        capsule = encode_uint_var(CLOSE_WEBTRANSPORT_SESSION) + encode_uint_var(len(value)) + value
        self.http.send_data(self.session, capsule, end_stream=True)
        self.transmit()

    def quic_event_received(self, event):
        if isinstance(event, HandshakeCompleted):
            certificate = self._quic.tls._peer_certificate.public_bytes(Encoding.DER)
            if hashlib.sha256(certificate).hexdigest() not in self.hashes:
                self.fail(AssertionError("the certificate has none of the announced hashes"))
        elif isinstance(event, ConnectionTerminated):
            self.fail(ConnectionError(f"closed with {event.error_code}: {event.reason_phrase}"))
            self.terminated.set_result((event.error_code, event.reason_phrase))
            for stream in self.streams.values():
                stream.feed(b"", True)
        elif isinstance(event, StreamDataReceived) and event.stream_id in self.streams:
            self.streams[event.stream_id].feed(event.data, event.end_stream)
        elif isinstance(event, StreamReset) and event.stream_id in self.streams:
            self.streams[event.stream_id].feed(b"", True, event.error_code)
        else:
            for answer in self.http.handle_event(event):
                if isinstance(answer, HeadersReceived) and not self.status.done():
                    self.status.set_result(int(dict(answer.headers)[b":status"]))
                if isinstance(answer, WebTransportStreamDataReceived):
                    self.opened_by_server.append(answer.stream_id)

    def fail(self, error):
        if not self.status.done():
            self.status.set_exception(error)
            self.status.exception()  # It is told to whoever waits; nobody may.
