"""Tokens that tell the server who a browser is (docs/protocol.md, section 2.5): JSON Web Tokens, signed with HS256. Needs no Django."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, Optional

from . import names
from .errors import InvalidEvent

#: Groups that a token may name.
GROUPS = 100
_HEADER = {"alg": "HS256", "typ": "JWT"}


def make(
    user: str,
    secret: str,
    *,
    ttl: float,
    groups: Sequence[str] = (),
    rights: Optional[Mapping[str, Sequence[str]]] = None,
    now: Optional[float] = None,
) -> str:
    """A token for a user, good for `ttl` seconds, whose sessions follow `groups` without asking.

    `rights` are patterns of groups under `subscribe`, `publish` and `presence`. Raises `InvalidEvent` if a name breaks its rule.
    """
    issued = int(time.time() if now is None else now)
    claims: dict[str, Any] = {"sub": names.user(user), "iat": issued, "exp": issued + int(ttl)}
    if len(groups) > GROUPS:
        raise InvalidEvent(f"{len(groups)} groups for user {user!r}: a token names at most {GROUPS}")
    if groups:
        claims["groups"] = [names.group(name) for name in groups]
    if rights:
        claims["rights"] = {right: list(patterns) for right, patterns in rights.items()}
    return sign(claims, secret)


def sign(claims: Mapping[str, Any], secret: str) -> str:
    """These claims as a signed token (RFC 7519, RFC 7515)."""
    signed = f"{_encode(_json(_HEADER))}.{_encode(_json(claims))}"
    return f"{signed}.{_encode(hmac.new(secret.encode(), signed.encode(), hashlib.sha256).digest())}"


def _json(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _encode(value: bytes) -> str:
    return base64.urlsafe_b64encode(value).rstrip(b"=").decode()
