"""The user behind a connection that the server asks about: by the cookie that their browser showed it."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Optional

from django.conf import settings
from django.contrib.auth import get_user
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpRequest, parse_cookie

from . import conf


def user_of(request: HttpRequest) -> Any:
    """The user of a request that `as_request` has made: of its session, or as USER_FOR_HOOK says."""
    function = conf.get().function("USER_FOR_HOOK")
    return function(request) if function else get_user(request)


def as_request(headers: Mapping[str, str], address: Optional[str]) -> HttpRequest:
    """A request with these headers (names in lower case) and the session that its cookie names, as views get them.

    The session is only looked at: it ends, or gets another key, by requests of its own browser, which is told of it then.
    """
    request = HttpRequest()
    request.method = "GET"
    request.META = {"HTTP_" + name.upper().replace("-", "_"): value for name, value in headers.items()}
    request.META["REMOTE_ADDR"] = address or ""
    request.COOKIES = parse_cookie(headers.get("cookie", ""))
    request.session = _only_read(request.COOKIES.get(settings.SESSION_COOKIE_NAME))
    return request


def _only_read(key: Optional[str]) -> SessionBase:
    """`get_user` gives a session another key when the site's secret has been changed, and ends it when the password has been; not here."""
    session = import_module(settings.SESSION_ENGINE).SessionStore(key)
    # Not by a subclass: what is kept is signed with the name of its class.
    session.cycle_key = session.flush = lambda: None
    return session
