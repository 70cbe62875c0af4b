"""WebSocket by RFC 6455, case by case, with the sections of the well-known test suite of the Autobahn project as the list of what to look at.

The server has no echo, so each case proves itself by what the server does: it answers a request that stands behind the case, or closes with the right code. Compression (sections 12 and
13 of that list) is never agreed on, so there is nothing to test but that.
"""

import json
import struct

from cases import InteropTest
from dialects import CODES
from raw import BINARY, CLOSE, CONTINUATION, PING, PONG, TEXT, Raw, close_payload, fragments, frame

LIMIT = 65_536
REQUEST = b'["ping",4711]'
ANSWER = (TEXT, b'["pong",4711]')
HELLO = "κόσμε".encode()
BOUNDARIES = [2, 4, 6, 8, 10]

# Name of a case and the coroutine function that is it; each becomes a test.
CASES = {}


def case(number, *arguments):
    def add(check):
        name = f"test_{number.replace('.', '_')}_{check.__name__}"
        assert name not in CASES, name

        async def test(self):
            await check(self, *arguments)

        CASES[name] = test
        return check

    return add


def cases(section, rows):
    """The same check for each row, numbered."""

    def add(check):
        for number, row in enumerate(rows, 1):
            case(f"{section}.{number:02}", *(row if isinstance(row, tuple) else (row,)))(check)
        return check

    return add


def padded(length):
    """A request in JSON of so many bytes."""
    return REQUEST + b" " * (length - len(REQUEST))


def packed(length):
    """A request in MessagePack of so many bytes: an element that a version may add later fills it."""
    filler = length - 3 - 5
    return b"\x93\x30\x07\xc6" + struct.pack(">I", filler) + b"\xfe" * filler


def said(octets):
    """A request in JSON with an element that a version may add later: text of these octets."""
    return b'["ping",4711,"' + octets + b'"]'




class Rfc6455(InteropTest):
    async def client(self, dialect="json", **options):
        client = await Raw.connect(self.server, dialect, **options)
        self.addCleanup(client.close)
        return client

    async def assert_serves(self, client, wanted=ANSWER):
        self.assertEqual(await client.receive(), wanted)

    async def assert_fails(self, client, code="websocket_violation", before=()):
        """What came before is answered, then goodbye, then a close frame with the same code, then the end."""
        *frames, goodbye, close = await client.rest()
        self.assertEqual(frames, list(before))
        self.assertEqual(json.loads(goodbye[1])[:2], ["goodbye", CODES[code]])
        self.assertEqual((close[0], struct.unpack(">H", close[1][:2])[0]), (CLOSE, CODES[code]))

    async def assert_ends(self, client, before=()):
        """What came before is answered, and the closing handshake is finished by a close frame."""
        *frames, close = await client.rest()
        self.assertEqual([frame for frame in frames if b"goodbye" not in frame[1]], list(before))
        self.assertEqual(close[0], CLOSE)


# 1: framing (section 5.2)

LENGTHS = [125, 126, 127, 128, 65_535, 65_536]


@cases("1.1", LENGTHS)
async def text_of_every_width_of_length(self, length):
    client = await self.client()
    await client.send(frame(TEXT, padded(length)))
    await self.assert_serves(client)


@cases("1.2", LENGTHS)
async def binary_of_every_width_of_length(self, length):
    client = await self.client("msgpack")
    await client.send(frame(BINARY, packed(length)))
    await self.assert_serves(client, (BINARY, b"\x92\x31\x07"))


@case("1.1.07")
async def text_in_chops(self):
    client = await self.client()
    await client.send(frame(TEXT, padded(LIMIT)), step=997)
    await self.assert_serves(client)


@case("1.2.07")
async def binary_in_chops(self):
    client = await self.client("msgpack")
    await client.send(frame(BINARY, packed(LIMIT)), step=997)
    await self.assert_serves(client, (BINARY, b"\x92\x31\x07"))


@cases("1.3", [(TEXT, "json"), (BINARY, "msgpack")])
async def an_empty_message_is_one(self, opcode, dialect):
    # It is no frame of ours, which is not a matter of RFC 6455.
    client = await self.client(dialect)
    await client.send(frame(opcode))
    frames = await client.rest()
    self.assertEqual(struct.unpack(">H", frames[-1][1][:2])[0], CODES["malformed_frame"])


@cases("1.4", [b"\0\0\0\0", b"\xff\xff\xff\xff", b"\x01\x02\x03\x04"])
async def any_mask_is_taken_off(self, mask):
    client = await self.client()
    await client.send(frame(TEXT, padded(1_000), mask=mask))
    await self.assert_serves(client)


@cases("1.5", [(TEXT, REQUEST), (PING, b"x"), (PONG, b"x"), (CLOSE, close_payload(1000))])
async def an_unmasked_frame_is_refused(self, opcode, payload):
    client = await self.client()
    await client.send(frame(opcode, payload, mask=None))
    await self.assert_fails(client)


@cases("1.6", [126, 127])
async def a_length_in_a_longer_form_than_needed_does_no_harm(self, form):
    # The shortest form has to be used (section 5.2); a receiver need not look.
    client = await self.client()
    length = struct.pack(">H" if form == 126 else ">Q", len(REQUEST))
    await client.send(bytes([0x81, 0x80 | form]) + length + b"\0\0\0\0" + REQUEST + frame(TEXT, REQUEST))
    await self.assert_serves(client)
    await self.assert_serves(client)


@cases("1.7", [(1 << 63), (1 << 63) - 1, (1 << 64) - 1, 1 << 32, LIMIT + 1])
async def a_length_beyond_the_limit_is_refused_at_the_head(self, length):
    client = await self.client()
    await client.send(frame(TEXT, b"", length=length))
    await self.assert_fails(client, "frame_too_large")


# 2: pings and pongs (sections 5.5.2 and 5.5.3)


@cases("2.1", [(b"", None), (b"Hello, world!", None), (b"\x00\xff\xfe\xfd\xfc\xfb\x00\xff", None), (b"\xfe" * 125, None), (b"\xfe" * 125, 1)])
async def a_ping_is_answered_with_what_it_said(self, payload, step):
    client = await self.client()
    await client.send(frame(PING, payload), step)
    await self.assert_serves(client, (PONG, payload))


@case("2.2")
async def a_ping_of_126_octets_is_refused(self):
    client = await self.client()
    await client.send(frame(PING, b"\xfe" * 126))
    await self.assert_fails(client)


@cases("2.3", [b"", b"unsolicited"])
async def a_pong_that_nobody_asked_for_is_ignored(self, payload):
    client = await self.client()
    await client.send(frame(PONG, payload) + frame(TEXT, REQUEST))
    await self.assert_serves(client)


@case("2.4")
async def a_pong_and_then_a_ping(self):
    client = await self.client()
    await client.send(frame(PONG, b"unsolicited") + frame(PING, b"ping"))
    await self.assert_serves(client, (PONG, b"ping"))


@cases("2.5", [None, 1])
async def ten_pings_are_answered_in_their_order(self, step):
    client = await self.client()
    payloads = [f"payload-{n}".encode() for n in range(10)]
    await client.send(b"".join(frame(PING, payload) for payload in payloads), step)
    for payload in payloads:
        await self.assert_serves(client, (PONG, payload))


# 3: reserved bits (section 5.2)


@cases("3.1", [(TEXT, bits) for bits in range(1, 8)] + [(opcode, bits) for opcode in (BINARY, PING, PONG, CLOSE) for bits in (1, 2, 4, 7)])
async def a_reserved_bit_is_refused(self, opcode, bits):
    client = await self.client()
    await client.send(frame(opcode, b"", reserved=bits))
    await self.assert_fails(client)


@cases("3.2", [None, 1])
async def what_stood_before_a_reserved_bit_is_served_and_what_follows_is_not(self, step):
    client = await self.client()
    await client.send(frame(TEXT, REQUEST) + frame(TEXT, REQUEST, reserved=2) + frame(PING), step)
    await self.assert_fails(client, before=[ANSWER])


@case("3.3")
async def a_reserved_bit_in_a_continuation_is_refused(self):
    client = await self.client()
    await client.send(frame(TEXT, REQUEST[:4], fin=False) + frame(CONTINUATION, REQUEST[4:], reserved=4))
    await self.assert_fails(client)


# 4: opcodes (section 5.2)

RESERVED = [3, 4, 5, 6, 7, 0xB, 0xC, 0xD, 0xE, 0xF]


@cases("4.1", RESERVED)
async def a_reserved_opcode_is_refused(self, opcode):
    client = await self.client()
    await client.send(frame(opcode))
    await self.assert_fails(client)


@cases("4.2", RESERVED)
async def a_reserved_opcode_with_payload_is_refused(self, opcode):
    client = await self.client()
    await client.send(frame(opcode, b"reserved opcode payload"))
    await self.assert_fails(client)


@cases("4.3", [(opcode, step) for opcode in RESERVED for step in (None, 1)])
async def what_stood_before_a_reserved_opcode_is_served(self, opcode, step):
    client = await self.client()
    await client.send(frame(TEXT, REQUEST) + frame(opcode, b"payload") + frame(PING), step)
    await self.assert_fails(client, before=[ANSWER])


# 5: fragmentation (section 5.4)


@cases("5.1", [PING, PONG, CLOSE])
async def a_control_frame_in_fragments_is_refused(self, opcode):
    client = await self.client()
    await client.send(frame(opcode, b"fr", fin=False) + frame(CONTINUATION, b"agment"))
    await self.assert_fails(client)


PIECES = {
    "two": [REQUEST[:5], REQUEST[5:]],
    "five": [REQUEST[at : at + 3] for at in range(0, len(REQUEST), 3)],
    "octets": [REQUEST[at : at + 1] for at in range(len(REQUEST))],
    "empty ends": [b"", REQUEST, b""],
    "empty between": [REQUEST[:5], b"", b"", REQUEST[5:]],
}


@cases("5.2", [(pieces, step) for pieces in PIECES.values() for step in (None, 7, 1)])
async def fragments_become_one_message(self, pieces, step):
    client = await self.client()
    await client.send(fragments(TEXT, pieces), step)
    await self.assert_serves(client)


@cases("5.3", [(pieces, step) for pieces in PIECES.values() for step in (None, 1)])
async def pings_between_fragments_are_answered_at_once(self, pieces, step):
    client = await self.client()
    await client.send(fragments(TEXT, pieces, frame(PING, b"between")), step)
    for _ in pieces[1:]:
        await self.assert_serves(client, (PONG, b"between"))
    await self.assert_serves(client)


@case("5.4")
async def a_ping_in_the_middle_is_answered_before_the_message_is_whole(self):
    client = await self.client()
    await client.send(frame(TEXT, REQUEST[:5], fin=False) + frame(PING, b"now"))
    await self.assert_serves(client, (PONG, b"now"))
    await client.send(frame(CONTINUATION, REQUEST[5:]))
    await self.assert_serves(client)


@cases("5.5", [(fin, step) for fin in (True, False) for step in (None, 7, 1)])
async def a_continuation_of_nothing_is_refused(self, fin, step):
    client = await self.client()
    await client.send(frame(CONTINUATION, b"non-continuation payload", fin=fin) + frame(TEXT, REQUEST), step)
    await self.assert_fails(client)


@cases("5.6", [True, False])
async def a_continuation_after_a_whole_message_is_refused(self, fin):
    client = await self.client()
    await client.send(fragments(TEXT, PIECES["two"]) + frame(CONTINUATION, b"more", fin=fin) + frame(TEXT, REQUEST))
    await self.assert_fails(client, before=[ANSWER])


@cases("5.7", [(TEXT, True), (TEXT, False), (BINARY, True), (BINARY, False)])
async def a_second_beginning_is_refused(self, opcode, fin):
    client = await self.client()
    await client.send(frame(TEXT, REQUEST[:5], fin=False) + frame(opcode, REQUEST[5:], fin=fin))
    await self.assert_fails(client)


@cases("5.8", ["json", "msgpack"])
async def messages_in_fragments_one_after_another(self, dialect):
    client = await self.client(dialect)
    request, opcode = (REQUEST, TEXT) if dialect == "json" else (b"\x92\x30\x07", BINARY)
    await client.send(fragments(opcode, [request[:2], request[2:]]) * 10)
    for _ in range(10):
        await self.assert_serves(client, ANSWER if dialect == "json" else (BINARY, b"\x92\x31\x07"))


# 6: UTF-8 (section 8.1)

VALID = [
    b"",
    "Hello-µ@ßöäüàá-UTF-8!!".encode(),
    HELLO,
    *[HELLO[:end] for end in BOUNDARIES],
    # The first and the last of each length, and neighbours of what is forbidden.
    b"\xc2\x80",
    b"\xe0\xa0\x80",
    b"\xf0\x90\x80\x80",
    b"\x7f",
    b"\xdf\xbf",
    b"\xef\xbf\xbf",
    b"\xf4\x8f\xbf\xbf",
    b"\xed\x9f\xbf",
    b"\xee\x80\x80",
    b"\xef\xbf\xbd",
    # Noncharacters are characters here.
    b"\xef\xb7\x90",
    *[(plane << 16 | low).to_bytes(4, "big").decode("utf-32-be").encode() for plane in range(17) for low in (0xFFFE, 0xFFFF)],
    b"\xef\xbb\xbf",
    "‮right to left‬".encode(),
]

INVALID = [
    # Beginnings of a word that end within a character.
    *[HELLO[:end] for end in range(len(HELLO)) if end not in [0, *BOUNDARIES]],
    HELLO + b"\xed\xa0\x80edited",
    # First and last of five and six octets, and four beyond Unicode.
    b"\xf8\x88\x80\x80\x80",
    b"\xfc\x84\x80\x80\x80\x80",
    b"\xf7\xbf\xbf\xbf",
    b"\xfb\xbf\xbf\xbf\xbf",
    b"\xfd\xbf\xbf\xbf\xbf\xbf",
    b"\xf4\x90\x80\x80",
    # Continuations of nothing.
    *[(b"\x80\xbf" * 4)[:count] for count in range(1, 8)],
    b"\xbf",
    bytes(range(0x80, 0xC0)),
    # Beginnings of nothing.
    *[b"".join(bytes([first]) + b" " for first in range(*bounds)) for bounds in ((0xC0, 0xE0), (0xE0, 0xF0), (0xF0, 0xF8), (0xF8, 0xFC), (0xFC, 0xFE))],
    # The last octet is missing.
    b"\xc2",
    b"\xe0\xa0",
    b"\xf0\x90\x80",
    b"\xf8\x88\x80\x80",
    b"\xfc\x84\x80\x80\x80",
    b"\xdf",
    b"\xef\xbf",
    b"\xf7\xbf\xbf",
    b"\xfb\xbf\xbf\xbf",
    b"\xfd\xbf\xbf\xbf\xbf",
    b"\xc2\xe0\xa0\xf0\x90\x80",
    # Octets that never occur.
    b"\xfe",
    b"\xff",
    b"\xfe\xfe\xff\xff",
    # Longer than needed: a slash, the last of each length, and NUL.
    *[b"\xc0\xaf", b"\xe0\x80\xaf", b"\xf0\x80\x80\xaf", b"\xf8\x80\x80\x80\xaf", b"\xfc\x80\x80\x80\x80\xaf"],
    *[b"\xc1\xbf", b"\xe0\x9f\xbf", b"\xf0\x8f\xbf\xbf", b"\xf8\x87\xbf\xbf\xbf", b"\xfc\x83\xbf\xbf\xbf\xbf"],
    *[b"\xc0\x80", b"\xe0\x80\x80", b"\xf0\x80\x80\x80", b"\xf8\x80\x80\x80\x80", b"\xfc\x80\x80\x80\x80\x80"],
    # Surrogates, alone and in pairs.
    *[b"\xed\xa0\x80", b"\xed\xad\xbf", b"\xed\xae\x80", b"\xed\xaf\xbf", b"\xed\xb0\x80", b"\xed\xbe\x80", b"\xed\xbf\xbf"],
    *[high + low for high in (b"\xed\xa0\x80", b"\xed\xad\xbf", b"\xed\xae\x80", b"\xed\xaf\xbf") for low in (b"\xed\xb0\x80", b"\xed\xbf\xbf")],
]


@cases("6.1", VALID)
async def text_that_is_utf_8_is_taken(self, octets):
    client = await self.client()
    await client.send(frame(TEXT, said(octets)))
    await self.assert_serves(client)


@cases("6.2", VALID[1:3] + VALID[8:15])
async def text_that_is_utf_8_may_be_cut_anywhere(self, octets):
    client = await self.client()
    text = said(octets)
    await client.send(fragments(TEXT, [text[at : at + 1] for at in range(len(text))], frame(PONG)), step=1)
    await self.assert_serves(client)


@cases("6.3", INVALID)
async def text_that_is_no_utf_8_is_refused(self, octets):
    client = await self.client()
    await client.send(frame(TEXT, said(octets)))
    await self.assert_fails(client)


@cases("6.4", INVALID)
async def text_in_fragments_that_is_no_utf_8_is_refused(self, octets):
    client = await self.client()
    text = said(octets)
    await client.send(fragments(TEXT, [text[at : at + 1] for at in range(len(text))]))
    await self.assert_fails(client)


@cases("6.5", [b"\xed\xa0\x80", b"\xf4\x90", b"\xff", b"\xc0", b"\x80", b"\xe0\x9f"])
async def text_that_can_not_become_utf_8_is_refused_before_its_last_fragment(self, octets):
    client = await self.client()
    await client.send(frame(TEXT, b'["ping",4711,"' + HELLO, fin=False) + frame(CONTINUATION, octets, fin=False))
    await self.assert_fails(client)


@case("6.6")
async def binary_may_hold_any_octets(self):
    client = await self.client("msgpack")
    await client.send(frame(BINARY, b"\x93\x30\x07\xc4\x04\xff\xfe\xed\xa0"))
    await self.assert_serves(client, (BINARY, b"\x92\x31\x07"))


@cases("6.7", [[b"", b"", REQUEST], [b"", REQUEST, b""], [REQUEST, b"", b""]])
async def empty_fragments_are_text(self, pieces):
    client = await self.client()
    await client.send(fragments(TEXT, pieces))
    await self.assert_serves(client)


# 7: closing (sections 5.5.1, 7.1 and 7.4)

GOOD_CODES = [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 1014, 3000, 3999, 4000, 4999]
BAD_CODES = [0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65_535]


@case("7.1.01")
async def a_message_and_then_a_close(self):
    client = await self.client()
    await client.send(frame(TEXT, REQUEST) + frame(CLOSE, close_payload(1000)))
    await self.assert_ends(client, before=[ANSWER])


@case("7.1.02")
async def a_second_close_is_ignored(self):
    client = await self.client()
    await client.send(frame(CLOSE, close_payload(1000)) * 2)
    await self.assert_ends(client)


@cases("7.1.03", [frame(PING, b"late"), frame(TEXT, REQUEST), frame(TEXT, REQUEST[:5], fin=False), frame(3, b"late"), b"\xff" * 100])
async def nothing_is_answered_after_a_close(self, late):
    client = await self.client()
    await client.send(frame(CLOSE, close_payload(1000)) + late)
    await self.assert_ends(client)


@case("7.1.04")
async def a_close_between_fragments(self):
    client = await self.client()
    await client.send(frame(TEXT, REQUEST[:5], fin=False) + frame(CLOSE) + frame(CONTINUATION, REQUEST[5:]))
    await self.assert_ends(client)


@case("7.1.05")
async def a_long_message_and_then_a_close(self):
    client = await self.client()
    await client.send(frame(TEXT, padded(LIMIT)) + frame(CLOSE, close_payload(1000)) + frame(PING))
    await self.assert_ends(client, before=[ANSWER])


@cases("7.3", [b"", close_payload(1000), close_payload(1000, b"Hello World!"), close_payload(1000, b"*" * 123), close_payload(1000, HELLO)])
async def a_close_with_this_payload_is_answered(self, payload):
    client = await self.client()
    await client.send(frame(CLOSE, payload))
    await self.assert_ends(client)


@cases("7.4", [b"\x03", close_payload(1000, b"*" * 124), close_payload(1000, b"\xff"), close_payload(1000, HELLO + b"\xed\xa0\x80edited"), close_payload(1000, HELLO[:3])])
async def a_close_with_this_payload_is_refused(self, payload):
    client = await self.client()
    await client.send(frame(CLOSE, payload))
    await self.assert_fails(client)


@cases("7.7", [(code, reason) for code in GOOD_CODES for reason in (b"", b"why")])
async def a_close_with_a_code_that_may_be_sent(self, code, reason):
    client = await self.client()
    await client.send(frame(CLOSE, close_payload(code, reason)))
    await self.assert_ends(client)


@cases("7.9", [(code, reason) for code in BAD_CODES for reason in (b"", b"why")])
async def a_close_with_a_code_that_may_not_be_sent_is_refused(self, code, reason):
    client = await self.client()
    await client.send(frame(CLOSE, close_payload(code, reason)))
    await self.assert_fails(client)


@case("7.10")
async def a_stream_that_ends_without_a_close_ends_there_too(self):
    client = await self.client()
    client.writer.write_eof()
    self.assertLessEqual({opcode for opcode, _ in await client.rest()}, {TEXT, CLOSE})


# 9: limits, as far as ours

FRAGMENT_BYTES = [64, 256, 1_024, 4_096, 16_384, 32_768]


@cases("9.1", [(TEXT, size) for size in FRAGMENT_BYTES] + [(BINARY, size) for size in FRAGMENT_BYTES])
async def the_longest_message_in_fragments(self, opcode, size):
    client = await self.client("json" if opcode == TEXT else "msgpack")
    whole = padded(LIMIT) if opcode == TEXT else packed(LIMIT)
    await client.send(fragments(opcode, [whole[at : at + size] for at in range(0, LIMIT, size)]))
    await self.assert_serves(client, ANSWER if opcode == TEXT else (BINARY, b"\x92\x31\x07"))


@cases("9.2", FRAGMENT_BYTES)
async def a_message_that_gets_too_long_by_its_fragments(self, size):
    client = await self.client()
    pieces = [b" " * size] * (LIMIT // size) + [b" "]
    await client.send(fragments(TEXT, pieces))
    await self.assert_fails(client, "frame_too_large")


@case("9.3")
async def fragments_without_end(self):
    client = await self.client()
    await client.send(frame(TEXT, b" ", fin=False) + frame(CONTINUATION, b" " * 100, fin=False) * 1_000)
    await self.assert_fails(client, "frame_too_large")


@cases("9.4", [64, 128, 256, 512, 1_024, 2_048, 4_096, 8_192])
async def the_longest_message_in_chops(self, step):
    client = await self.client()
    await client.send(frame(TEXT, padded(LIMIT)), step)
    await self.assert_serves(client)


@cases("9.7", [(TEXT, size) for size in (16, 64, 256, 1_024, 4_096)] + [(BINARY, size) for size in (16, 64, 256, 1_024, 4_096)])
async def a_thousand_messages(self, opcode, size):
    client = await self.client("json" if opcode == TEXT else "msgpack")
    message = frame(opcode, padded(size) if opcode == TEXT else packed(size))
    for _ in range(10):
        await client.send(message * 100)
        for _ in range(100):
            await self.assert_serves(client, ANSWER if opcode == TEXT else (BINARY, b"\x92\x31\x07"))


# 10: other


@case("10.1")
async def a_message_in_frames_of_1300_octets(self):
    client = await self.client()
    whole = padded(LIMIT)
    await client.send(fragments(TEXT, [whole[at : at + 1_300] for at in range(0, LIMIT, 1_300)]))
    await self.assert_serves(client)


@case("10.2")
async def frames_that_come_together_with_the_upgrade(self):
    # A client has to wait for the answer (section 4.1); one that does not is served all the same.
    client = await Raw.open(self.server)
    self.addCleanup(client.close)
    head = (
        "GET /fanfare HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    await client.send(head.encode() + frame(TEXT, b'["hello",1]') + frame(TEXT, REQUEST))
    status, headers = await client.head()
    self.assertEqual((status, headers["sec-websocket-accept"]), (101, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="))
    self.assertIn(b"welcome", (await client.receive())[1])
    await self.assert_serves(client)


# 11: the opening handshake (sections 4.2.1, 4.2.2 and 11.3)


@cases(
    "11.1",
    [
        {"connection": None},
        {"connection": "keep-alive"},
        {"upgrade": None},
        {"upgrade": "h2c"},
        {"sec_websocket_version": None},
        {"sec_websocket_version": "12"},
        {"sec_websocket_version": "8"},
        {"sec_websocket_version": "013"},
        {"key": None},
        {"key": ""},
        {"key": "dGhlIHNhbXBsZQ=="},
        {"key": "dGhlIHNhbXBsZSBub25jZSBpcyBsb25n"},
        {"key": "*" * 24},
        {"method": "POST"},
        {"method": "HEAD"},
        {"version": "HTTP/1.0"},
    ],
)
async def what_is_no_upgrade_is_told_what_is_needed(self, change):
    client = await Raw.open(self.server)
    self.addCleanup(client.close)
    status, headers = await client.upgrade(**change)
    self.assertEqual((status, headers.get("sec-websocket-version")), (426, "13"))


@cases(
    "11.2",
    [
        {"connection": "keep-alive, Upgrade"},
        {"connection": ["keep-alive", "upgrade"]},
        {"connection": "UPGRADE"},
        {"upgrade": "WebSocket"},
        {"upgrade": "h2c, websocket"},
        {"sec_websocket_extensions": "permessage-deflate; client_max_window_bits"},
        {"sec_websocket_extensions": "x-unknown"},
        {"path": "/fanfare?anything=1"},
    ],
)
async def what_is_an_upgrade_is_accepted_without_extensions(self, change):
    client = await Raw.open(self.server)
    self.addCleanup(client.close)
    status, headers = await client.upgrade(**change)
    self.assertEqual((status, headers["upgrade"].lower(), headers["connection"].lower()), (101, "websocket", "upgrade"))
    self.assertNotIn("sec-websocket-extensions", headers)
    self.assertNotIn("sec-websocket-protocol", headers)


@cases(
    "11.3",
    [
        ("fanfare.v1.json", 101, "fanfare.v1.json"),
        ("other, fanfare.v1.msgpack, fanfare.v1.json", 101, "fanfare.v1.msgpack"),
        (["other", "fanfare.v1.json"], 101, "fanfare.v1.json"),
        ("other", 400, None),
        ("FANFARE.V1.JSON", 400, None),
    ],
)
async def one_of_the_offered_subprotocols_or_none(self, offered, status, chosen):
    client = await Raw.open(self.server)
    self.addCleanup(client.close)
    got, headers = await client.upgrade(protocol=offered)
    self.assertEqual((got, headers.get("sec-websocket-protocol")), (status, chosen))


for name, test in CASES.items():
    setattr(Rfc6455, name, test)
