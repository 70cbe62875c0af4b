"""The functions by which an application sends to users and groups, under the names that it knows.

Each gives True when the server has taken the event, and False on any error, which is logged and never raised; `ws_broadcast_message` gives a
number. True does not say that somebody saw it. `on_commit=True` inside of a transaction sends when it is committed, and not if it is rolled
back; without it the setting `FANFARE["ON_COMMIT"]` says so. A user is a username, or a user object.

`django_fanfare.aio` has the same for code that runs in an event loop.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from typing import Any, Optional, Union

from . import conf, events, publisher
from .events import Event

__all__ = [
    "test_websocket_connection",
    "ws_broadcast_message",
    "ws_connect",
    "ws_send_file",
    "ws_send_group_file",
    "ws_send_group_message",
    "ws_send_group_notification",
    "ws_send_message",
    "ws_send_notification",
    "ws_send_task_complete",
    "ws_send_task_error",
    "ws_send_task_update",
]

logger = logging.getLogger("django_fanfare")

Data = Optional[Mapping[str, Any]]
FILE_READY = "File ready for download"


def ws_send_message(username: Any, message: str, data: Data = None, *, on_commit: Optional[bool] = None) -> bool:
    """Sends a text to all sessions of a user."""
    return publisher.deliver(lambda: events.message(_text(message), user=_user(username), data=data), on_commit)


def ws_send_notification(
    username: Any,
    message: str,
    notification_type: str = "info",
    title: str = "",
    data: Data = None,
    *,
    on_commit: Optional[bool] = None,
) -> bool:
    """Sends a notification to a user. A type other than success, error, info and warning is logged, and goes as info."""

    def make() -> Event:
        return events.notification(_text(message), user=_user(username), type=_level(notification_type), title=_text(title), data=data)

    return publisher.deliver(make, on_commit)


def ws_send_file(
    username: Any,
    file_url: str,
    file_name: str = "",
    message: str = FILE_READY,
    file_size: Optional[int] = None,
    data: Data = None,
    *,
    on_commit: Optional[bool] = None,
) -> bool:
    """Tells a user that a file is ready; `file_size` in bytes. An empty name is the last part of the URL's path."""

    def make() -> Event:
        return events.file(_text(file_url), user=_user(username), name=_text(file_name), text=_text(message), size=file_size, data=data)

    return publisher.deliver(make, on_commit)


def ws_broadcast_message(
    message: str, usernames: Optional[Iterable[Any]] = None, data: Data = None, *, on_commit: Optional[bool] = None
) -> int:
    """Sends a text to each of these users, or to all active ones; how many of these events the server has taken.

    For more than a few thousand users a group that all follow is much cheaper: `ws_send_group_message("all_users", …)`.
    """

    def one(user: Any) -> Optional[Event]:
        return publisher.attempt(lambda: events.message(_text(message), user=_user(user), data=data))

    return publisher.deliver_many(lambda: [event for event in map(one, _users(usernames)) if event is not None], on_commit)


def ws_send_task_update(
    username: Any,
    task_id: str,
    task_name: str,
    message: str,
    progress: int = 0,
    status: str = "processing",
    data: Data = None,
    *,
    on_commit: Optional[bool] = None,
) -> bool:
    """Tells a user how far a task is; `progress` in per cent."""
    body = {"task_id": task_id, "task_name": task_name, "status": status, "message": message, "progress": progress, "data": data or {}}
    return _task(username, "task.update", body, on_commit)


def ws_send_task_complete(
    username: Any, task_id: str, task_name: str, message: str, result: Any = None, *, on_commit: Optional[bool] = None
) -> bool:
    """Tells a user that a task is done."""
    body = {"task_id": task_id, "task_name": task_name, "status": "completed", "message": message, "result": result}
    return _task(username, "task.complete", body, on_commit)


def ws_send_task_error(
    username: Any, task_id: str, task_name: str, error: Any, message: str = "", *, on_commit: Optional[bool] = None
) -> bool:
    """Tells a user that a task has failed; `error` may be an exception."""
    body = {"task_id": task_id, "task_name": task_name, "error": _text(error), "message": message}
    return _task(username, "task.error", body, on_commit)


def test_websocket_connection(username: Any) -> bool:
    """Sends a test message to a user."""
    return ws_send_message(username, "This is a test message: the connection works.")


test_websocket_connection.__test__ = False  # type: ignore[attr-defined]  # No test, whatever its name says to pytest.


def ws_send_group_message(group_name: str, message: str, data: Data = None, *, on_commit: Optional[bool] = None) -> bool:
    """Sends a text to all who follow a group."""
    return publisher.deliver(lambda: events.message(_text(message), group=group_name, data=data), on_commit)


def ws_send_group_notification(
    group_name: str,
    message: str,
    notification_type: str = "info",
    title: str = "",
    data: Data = None,
    *,
    on_commit: Optional[bool] = None,
) -> bool:
    """Sends a notification to all who follow a group. A type other than success, error, info and warning is logged, and goes as info."""

    def make() -> Event:
        return events.notification(_text(message), group=group_name, type=_level(notification_type), title=_text(title), data=data)

    return publisher.deliver(make, on_commit)


def ws_send_group_file(
    group_name: str,
    file_url: str,
    file_name: str = "",
    message: str = FILE_READY,
    file_size: Optional[int] = None,
    data: Data = None,
    *,
    on_commit: Optional[bool] = None,
) -> bool:
    """Tells all who follow a group that a file is ready; `file_size` in bytes. An empty name is the last part of the URL's path."""

    def make() -> Event:
        return events.file(_text(file_url), group=group_name, name=_text(file_name), text=_text(message), size=file_size, data=data)

    return publisher.deliver(make, on_commit)


#: An older name.
ws_connect = ws_send_message


def _task(username: Any, kind: str, body: Mapping[str, Any], on_commit: Optional[bool]) -> bool:
    return publisher.deliver(lambda: events.custom(kind, body, user=_user(username)), on_commit)


def _user(user: Any) -> Any:
    return conf.user_id(user) if hasattr(user, "get_username") else user


def _users(usernames: Union[Iterable[Any], str, None]) -> Iterable[Any]:
    if usernames is not None:
        return [usernames] if isinstance(usernames, str) else usernames
    from django.contrib.auth import get_user_model

    return get_user_model()._default_manager.filter(is_active=True).iterator()


def _text(value: Any) -> str:
    """Texts that wait for a language to be known, numbers and exceptions become text here."""
    return "" if value is None else str(value)


def _level(level: Any) -> str:
    if level in events.LEVELS:
        return level
    logger.warning("notification type %r is none of %s; it goes as info", level, ", ".join(events.LEVELS))
    return "info"
