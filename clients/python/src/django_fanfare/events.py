"""Events: one thing sent to one group or one user (docs/protocol.md, section 6)."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Optional
from urllib.parse import quote

from . import names
from .errors import InvalidEvent

#: How serious a notification may be.
LEVELS = ("success", "error", "info", "warning")

#: The kinds that have a route, and fields, of their own.
_ROUTES = {"message": "messages", "notification": "notifications", "file": "files"}


def new_key() -> str:
    """An idempotency key that nobody else has."""
    return uuid.uuid4().hex


@dataclass(frozen=True)
class Event:
    """One thing to be sent, whose names are known to be good. Made by the functions below."""

    #: `message`, `notification`, `file`, `task.update`, … or the application's own.
    kind: str
    #: The fields of the kind, by the names of the HTTP API: `message`, `title`, `url`, … and for every other kind `body`.
    fields: Mapping[str, Any]
    #: To which group; either this or `user`.
    group: Optional[str] = None
    #: To which user.
    user: Optional[str] = None
    #: A second event with the same key to the same group within 5 minutes is not sent.
    key: str = field(default_factory=new_key)

    def __post_init__(self) -> None:
        if (self.group is None) == (self.user is None):
            raise InvalidEvent(f"an event is for a group or for a user, one of them: group={self.group!r}, user={self.user!r}")
        if self.group is not None:
            names.group(self.group)
        else:
            names.user(self.user)
        names.kind(self.kind)
        names.key(self.key)
        data = self.fields.get("data")
        if data is not None and not isinstance(data, Mapping):
            raise InvalidEvent(f"data {data!r}: data is a dict, or None")

    @property
    def target(self) -> str:
        """The group that it goes to, the personal one of its user among them."""
        return self.group if self.group is not None else f"{names.PERSONAL}{self.user}"

    @property
    def data(self) -> Mapping[str, Any]:
        """What was given as data; empty if nothing was."""
        return self.fields.get("data") or {}

    @property
    def message(self) -> Optional[str]:
        """The text of a message, notification or file."""
        return self.fields.get("message")

    def path(self) -> str:
        """The route that takes it."""
        whose = f"/v1/groups/{quote(self.group, '')}" if self.group is not None else f"/v1/users/{quote(self.user or '', '')}"
        return f"{whose}/{_ROUTES.get(self.kind, 'events')}"

    def body(self) -> dict[str, Any]:
        """The body for that route."""
        fields = dict(self.fields)
        return fields if self.kind in _ROUTES else {"kind": self.kind, **fields}

    def in_batch(self) -> dict[str, Any]:
        """What it is as one of a batch."""
        whose = {"group": self.group} if self.group is not None else {"user": self.user}
        return {**whose, "kind": self.kind, "key": self.key, **self.fields}

    def settled(self, encoder: Optional[type[json.JSONEncoder]] = None) -> Event:
        """The same event with the values that a page gets: what its maker changes later does not change it, and it is known to have JSON."""
        return replace(self, fields=json.loads(encode(dict(self.fields), encoder)))

    def with_key(self, key: str) -> Event:
        """The same event under another idempotency key."""
        return replace(self, key=key)


def encode(value: Any, encoder: Optional[type[json.JSONEncoder]] = None) -> bytes:
    """A value as JSON. Raises `InvalidEvent` if it has none: NaN and infinities have none either."""
    try:
        return json.dumps(value, cls=encoder, allow_nan=False, separators=(",", ":")).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidEvent(f"this can't be said in JSON: {error}") from error


def message(text: str, *, group: Optional[str] = None, user: Optional[str] = None, data: Optional[Mapping[str, Any]] = None) -> Event:
    """A text."""
    return Event("message", _given(message=text, data=data), group, user)


def notification(
    text: str,
    *,
    group: Optional[str] = None,
    user: Optional[str] = None,
    type: str = "info",
    title: str = "",
    data: Optional[Mapping[str, Any]] = None,
) -> Event:
    """A text with a level and perhaps a title."""
    if type not in LEVELS:
        raise InvalidEvent(f"type {type!r}: a notification's type is one of {', '.join(LEVELS)}")
    return Event("notification", _given(message=text, type=type, title=title or None, data=data), group, user)


def file(
    url: str,
    *,
    group: Optional[str] = None,
    user: Optional[str] = None,
    name: str = "",
    text: str = "",
    size: Optional[int] = None,
    data: Optional[Mapping[str, Any]] = None,
) -> Event:
    """Something to download; `size` in bytes. The server fills in an empty name (last part of the URL's path) and text."""
    if size is not None and not (isinstance(size, int) and size >= 0):
        raise InvalidEvent(f"size {size!r}: the size of a file is a number of bytes, or None")
    return Event("file", _given(url=url, name=name or None, message=text or None, size=size, data=data), group, user)


def custom(
    kind: str, body: Any, *, group: Optional[str] = None, user: Optional[str] = None, data: Optional[Mapping[str, Any]] = None
) -> Event:
    """An event of the application's own kind, with any body; or `task.update` and its like, whose body is a dict."""
    return Event(kind, {"body": body, **_given(data=data)}, group, user)


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
