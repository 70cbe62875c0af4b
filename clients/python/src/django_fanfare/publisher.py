"""Hands events to the server that the setting names. Nothing here raises: what goes wrong is logged, with its reason."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import partial
from threading import Lock
from typing import Any, Callable, Optional, Protocol

from django.core.exceptions import ImproperlyConfigured
from django.core.serializers.json import DjangoJSONEncoder
from django.core.signals import setting_changed
from django.db import transaction

from . import conf
from .client import Client, Receipt
from .errors import FanfareError, Unreachable
from .events import Event

logger = logging.getLogger("django_fanfare")


class Sink(Protocol):
    """Takes events instead of the server, in tests."""

    def take(self, many: Sequence[Event]) -> None: ...


_lock = Lock()
_client: Optional[Client] = None
_sinks: list[Sink] = []


def client() -> Client:
    """The client of this process. Raises `ImproperlyConfigured` if the setting says too little."""
    global _client
    with _lock:
        if _client is None:
            settings = conf.get()
            if not settings.api:
                raise ImproperlyConfigured("FANFARE has neither URL nor API_URL, so nothing can be sent")
            limits = {"timeout": settings.timeout, "retries": settings.retries}
            _client = Client(settings.api, settings.api_key, encoder=DjangoJSONEncoder, **limits)
        return _client


def deliver(make: Callable[[], Event], on_commit: Optional[bool] = None) -> bool:
    """Sends the event that `make` makes; whether it was handed over.

    With `on_commit` (None: as the setting says) inside of a transaction it is sent when that is committed, and True says that it will be.
    """
    return attempt(lambda: _deliver(make(), on_commit)) or False


def deliver_many(make: Callable[[], Sequence[Event]], on_commit: Optional[bool] = None) -> int:
    """Sends many; how many were handed over."""
    return attempt(lambda: _deliver_many(make(), on_commit)) or 0


def attempt(act: Callable[[], Any]) -> Any:
    """Does something that must not disturb the caller: what it gives, or None after a line in the log."""
    try:
        return act()
    except Unreachable as error:
        logger.debug("not sent: %s", error)  # The breaker has said it once, for all.
    except (FanfareError, ImproperlyConfigured) as error:
        logger.error("not sent: %s", error)
    except Exception:
        logger.exception("not sent")
    return None


def _deliver(event: Event, on_commit: Optional[bool]) -> bool:
    if _waits(on_commit):
        settled = event.settled(DjangoJSONEncoder)  # What can't be sent is told now.
        transaction.on_commit(partial(attempt, lambda: _send(settled)), robust=True)
        return True
    return _send(event)


def _deliver_many(many: Sequence[Event], on_commit: Optional[bool]) -> int:
    if _waits(on_commit):
        settled = [event.settled(DjangoJSONEncoder) for event in many]
        transaction.on_commit(partial(attempt, lambda: _send_many(settled)), robust=True)
        return len(many)
    return _send_many(many)


def _waits(on_commit: Optional[bool]) -> bool:
    wanted = conf.get().on_commit if on_commit is None else on_commit
    return wanted and transaction.get_connection().in_atomic_block


def _send(event: Event) -> bool:
    if _captured([event]):
        return True
    client().send(event)
    return True


def _send_many(many: Sequence[Event]) -> int:
    if _captured(many):
        return len(many)
    results = client().batch(many)
    for event, result in zip(many, results):
        if not isinstance(result, Receipt):
            logger.error("not sent to %s: %s", event.target, result)
    return sum(isinstance(result, Receipt) for result in results)


def _captured(many: Sequence[Event]) -> bool:
    if not _sinks:
        return False
    _sinks[-1].take([event.settled(DjangoJSONEncoder) for event in many])
    return True


def push_sink(sink: Sink) -> None:
    """From now on events go there, in all threads."""
    _sinks.append(sink)


def pop_sink() -> None:
    """Undoes the latest `push_sink`."""
    _sinks.pop()


def forget(*, setting: str = "FANFARE", **_: Any) -> None:
    """Makes a new client when one is asked for: after a change of the setting."""
    global _client
    if setting == "FANFARE":
        with _lock:
            gone, _client = _client, None
        if gone is not None:
            gone.close()


setting_changed.connect(forget, dispatch_uid="django_fanfare.publisher")
