"""Names, and the rules that the server has for them (docs/protocol.md, section 4)."""

from __future__ import annotations

import re

from .errors import InvalidEvent

#: Personal groups: `user.` and the user id.
PERSONAL = "user."

_GROUP = re.compile(r"[A-Za-z0-9_.-]{1,99}")
_USER = re.compile(r"[A-Za-z0-9_.@+-]{1,150}")
_KIND = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_KEY = re.compile(r"[!-~]([ -~]{0,98}[!-~])?")


def group(name: object) -> str:
    """The name of a group, a personal one among them, as it was given.

    Raises `InvalidEvent` with the rule that it breaks.
    """
    if isinstance(name, str) and (_GROUP.fullmatch(name) or (name.startswith(PERSONAL) and _USER.fullmatch(name[len(PERSONAL) :]))):
        return name
    raise InvalidEvent(f"group {name!r}: a group's name is 1 to 99 characters out of A-Z a-z 0-9 _ - .")


def user(name: object) -> str:
    """The id of a user, as it was given. Raises `InvalidEvent` with the rule that it breaks."""
    if isinstance(name, str) and _USER.fullmatch(name):
        return name
    raise InvalidEvent(f"user {name!r}: a user's id is 1 to 150 characters out of A-Z a-z 0-9 _ - . @ +")


def kind(name: object) -> str:
    """The kind of an event. Raises `InvalidEvent` with the rule that it breaks."""
    if isinstance(name, str) and _KIND.fullmatch(name):
        return name
    raise InvalidEvent(f"kind {name!r}: a kind is 1 to 64 characters out of A-Z a-z 0-9 _ - .")


def key(text: object) -> str:
    """An idempotency key. Raises `InvalidEvent` with the rule that it breaks."""
    if isinstance(text, str) and _KEY.fullmatch(text):
        return text
    raise InvalidEvent(f"idempotency key {text!r}: a key is 1 to 100 printable ASCII characters, with no space at either end")
