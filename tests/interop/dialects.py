"""The frames of `fanfare.v1` and its two dialects, written from docs/protocol.md and nothing else.

A frame is a Python list in the form that the dialect `json` has: names for opcodes and kinds, text for event ids. Both dialects read into
that form, so a test says once what it expects.
"""

import json

import msgpack

# Section 5: opcode -> name, and how many elements follow the opcode.
FRAMES = {
    0x01: ("hello", 3),
    0x02: ("subscribe", 3),
    0x03: ("unsubscribe", 2),
    0x04: ("publish", 6),
    0x05: ("refresh", 2),
    0x06: ("who", 3),
    0x11: ("welcome", 3),
    0x12: ("subscribed", 7),
    0x13: ("unsubscribed", 3),
    0x14: ("published", 4),
    0x15: ("refreshed", 2),
    0x16: ("error", 4),
    0x17: ("present", 9),
    0x20: ("event", 7),
    0x21: ("gap", 6),
    0x22: ("presence", 8),
    0x23: ("interrupted", 1),
    0x24: ("resumed", 1),
    0x30: ("ping", 1),
    0x31: ("pong", 1),
    0x32: ("goodbye", 4),
}
OPCODES = {name: opcode for opcode, (name, _) in FRAMES.items()}
LENGTHS = {name: 1 + elements for name, elements in FRAMES.values()}

# Section 6: a kind's number is its place.
KINDS = ["message", "notification", "file", "task.update", "task.complete", "task.error"]

# Section 5, `gap`.
REASONS = {"expired": 1, "epoch": 2, "slow": 3, "broker": 4}

# Section 9.
CODES = {
    "going_away": 4000,
    "slow_consumer": 4001,
    "timeout": 4002,
    "internal": 4003,
    "hello_timeout": 4004,
    "overloaded": 4005,
    "token_required": 4100,
    "token_invalid": 4101,
    "token_expired": 4102,
    "malformed_frame": 4200,
    "frame_too_large": 4201,
    "too_deep": 4202,
    "unexpected_frame": 4203,
    "unsupported_version": 4204,
    "websocket_violation": 4205,
    "disconnected": 4206,
    "bad_group_name": 4300,
    "unknown_request": 4301,
    "not_allowed": 4302,
    "too_many_groups": 4303,
    "bad_event": 4304,
    "event_too_large": 4305,
    "revoked": 4306,
    "unavailable": 4400,
    "rate_limited": 4401,
}

# Where in a frame a kind and an event id stand.
KIND_AT = {"publish": 3, "event": 4}
ID_AT = {"published": 2, "event": 3}


class Msgpack:
    name = "msgpack"
    binary = True

    @staticmethod
    def pack(value):
        return msgpack.packb(value)

    @staticmethod
    def unpack(payload):
        return msgpack.unpackb(payload, strict_map_key=False)

    @classmethod
    def encode(cls, frame):
        frame = list(frame)
        name = frame[0]
        frame[0] = OPCODES[name]
        if (at := KIND_AT.get(name)) is not None and frame[at] in KINDS:
            frame[at] = KINDS.index(frame[at])
        if (at := ID_AT.get(name)) is not None:
            milliseconds, suffix = frame[at].split("-")
            frame[at] = int(milliseconds) << 22 | int(suffix)
        return cls.pack(frame)

    @classmethod
    def decode(cls, payload):
        """Raises when an element has not the type that this dialect gives it."""
        frame = cls.unpack(payload)
        name = FRAMES[integer(frame[0])][0]
        frame[0] = name
        if (at := KIND_AT.get(name)) is not None and not isinstance(frame[at], str):
            frame[at] = KINDS[integer(frame[at])]
        elif at is not None and frame[at] in KINDS:
            raise ValueError(f"a kind with a number came as its name: {frame}")
        if (at := ID_AT.get(name)) is not None:
            frame[at] = f"{integer(frame[at]) >> 22}-{frame[at] & (1 << 22) - 1}"
        return frame


class Json:
    name = "json"
    binary = False

    @staticmethod
    def pack(value):
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()

    @staticmethod
    def unpack(payload):
        return json.loads(payload, parse_constant=refuse_constant)

    @classmethod
    def encode(cls, frame):
        return cls.pack(frame)

    @classmethod
    def decode(cls, payload):
        """Raises when an element has not the type that this dialect gives it."""
        frame = cls.unpack(payload)
        if frame[0] not in OPCODES:
            raise ValueError(f"no name of an opcode: {frame}")
        for places in (KIND_AT, ID_AT):
            if (at := places.get(frame[0])) is not None and not isinstance(frame[at], str):
                raise ValueError(f"element {at} has to be text in this dialect: {frame}")
        return frame


def padded(frame):
    """Missing trailing elements are the same as null (section 3)."""
    return frame + [None] * (LENGTHS[frame[0]] - len(frame))


def integer(value):
    if type(value) is not int:
        raise ValueError(f"{value!r} has to be an integer")
    return value


def refuse_constant(word):
    raise ValueError(f"{word} is no JSON")
