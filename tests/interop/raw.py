"""A WebSocket of bare bytes: what RFC 6455 allows and what it forbids, put together by hand."""

import asyncio
import base64
import hashlib
import os
import socket
import struct

from urllib.parse import urlsplit

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA

# No wait for the server is longer than this.
PATIENCE = 8

# Section 1.3.
GUID = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


def frame(opcode, payload=b"", *, fin=True, reserved=0, mask=b"\x37\xfa\x21\x3d", length=None):
    """A frame of a client (section 5.2). `mask=None` leaves the mask out; `length` claims another length than there is."""
    claimed = len(payload) if length is None else length
    masked = 0x80 if mask is not None else 0
    head = bytes([fin << 7 | reserved << 4 | opcode])
    if claimed <= 125:
        head += bytes([masked | claimed])
    elif claimed <= 0xFFFF:
        head += struct.pack(">BH", masked | 126, claimed)
    else:
        head += struct.pack(">BQ", masked | 127, claimed)
    if mask is None:
        return head + payload
    repeated = (mask * (len(payload) // 4 + 1))[: len(payload)]
    return head + mask + (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(len(payload), "big")


def fragments(opcode, pieces, between=b""):
    """One message in several frames, with these bytes between each two."""
    last = len(pieces) - 1
    return between.join(frame(opcode if at == 0 else CONTINUATION, piece, fin=at == last) for at, piece in enumerate(pieces))


def close_payload(code, reason=b""):
    return struct.pack(">H", code) + reason


class Raw:
    """A TCP connection to the server, its WebSocket frames taken apart."""

    @classmethod
    async def open(cls, server):
        """Only the connection."""
        self = cls()
        url = urlsplit(server.url)
        self.reader, self.writer = await asyncio.open_connection(url.hostname, url.port, limit=1 << 22)
        self.writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self

    @classmethod
    async def connect(cls, server, dialect="json", hello=True):
        """A WebSocket whose session is open."""
        self = await cls.open(server)
        key = base64.b64encode(os.urandom(16)).decode()
        status, headers = await self.upgrade(key=key, protocol=f"fanfare.v1.{dialect}")
        accept = base64.b64encode(hashlib.sha1((key + GUID).encode()).digest()).decode()
        if status != 101 or headers.get("sec-websocket-accept") != accept:
            raise AssertionError(f"the upgrade was answered with {status} {headers}")
        if hello:
            greeting = (TEXT, b'["hello",1]') if dialect == "json" else (BINARY, b"\x92\x01\x01")
            await self.send(frame(*greeting))
            opcode, payload = await self.receive()
            if opcode != greeting[0]:
                raise AssertionError(f"no welcome: {opcode} {payload}")
        return self

    async def upgrade(self, *, key="dGhlIHNhbXBsZSBub25jZQ==", protocol=None, method="GET", version="HTTP/1.1", path="/fanfare", **other):
        """Asks for the upgrade and gives status and headers of the answer. Other headers by their name with underscores; None leaves one out, a list repeats it."""
        headers = {
            "host": "localhost",
            "connection": "Upgrade",
            "upgrade": "websocket",
            "sec_websocket_version": "13",
            "sec_websocket_key": key,
            "sec_websocket_protocol": protocol,
        } | other
        lines = [f"{method} {path} {version}"]
        for name, values in headers.items():
            for value in values if isinstance(values, list) else [values]:
                if value is not None:
                    lines.append(f"{name.replace('_', '-')}: {value}")
        await self.send(("\r\n".join(lines) + "\r\n\r\n").encode())
        return await self.head()

    async def head(self):
        """Status and headers of an answer."""
        async with asyncio.timeout(PATIENCE):
            lines = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        fields = (line.partition(":") for line in lines[1:] if line)
        return int(lines[0].split()[1]), {name.lower(): value.strip() for name, _, value in fields}

    async def send(self, data, step=None):
        """Writes, `step` bytes at a time if that is given. A server that has gone already takes nothing, which is no mistake."""
        try:
            for at in range(0, len(data), step or max(len(data), 1)):
                self.writer.write(data[at : at + (step or len(data))])
                async with asyncio.timeout(PATIENCE):
                    await self.writer.drain()
                if step:
                    await asyncio.sleep(0)
        except ConnectionError:
            pass

    async def receive(self):
        """Opcode and payload of the server's next frame; None at the end of the stream."""
        try:
            async with asyncio.timeout(PATIENCE):
                first, second = await self.reader.readexactly(2)
                length = second & 0x7F
                if length == 126:
                    (length,) = struct.unpack(">H", await self.reader.readexactly(2))
                elif length == 127:
                    (length,) = struct.unpack(">Q", await self.reader.readexactly(8))
                payload = await self.reader.readexactly(length)
        except (asyncio.IncompleteReadError, ConnectionError):
            return None
        if second & 0x80 or first & 0x70 or not first & 0x80:
            raise AssertionError(f"the server's frames are whole, unmasked and without reserved bits: {first:#x} {second:#x}")
        return first & 0x0F, payload

    async def rest(self):
        """All frames up to the end of the stream."""
        frames = []
        while (received := await self.receive()) is not None:
            frames.append(received)
        return frames

    def close(self):
        self.writer.close()
