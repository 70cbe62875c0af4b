"""The functions of `django_fanfare.ws_utils` for code that runs in an event loop: the same names, to be awaited.

    from django_fanfare import aio
    await aio.ws_send_group_message("sales_team", "New leads")

The request is made in another thread, so the loop goes on meanwhile. Django has no transactions in asynchronous code, so nothing waits for
a commit here.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable
from typing import Any, Callable, TypeVar

from asgiref.sync import sync_to_async

from . import ws_utils

__all__ = list(ws_utils.__all__)

T = TypeVar("T")


def _awaitable(function: Callable[..., T], *, database: bool = False) -> Callable[..., Awaitable[T]]:
    # What asks the database has to do so in the one thread that has the loop's connections.
    threaded = sync_to_async(function, thread_sensitive=database)

    @functools.wraps(function)
    async def call(*arguments: Any, **named: Any) -> T:
        return await threaded(*arguments, **named, on_commit=False)

    return call


async def test_websocket_connection(username: Any) -> bool:
    """Sends a test message to a user."""
    return await sync_to_async(ws_utils.test_websocket_connection, thread_sensitive=False)(username)


test_websocket_connection.__test__ = False  # type: ignore[attr-defined]

ws_send_message = _awaitable(ws_utils.ws_send_message)
ws_send_notification = _awaitable(ws_utils.ws_send_notification)
ws_send_file = _awaitable(ws_utils.ws_send_file)
ws_broadcast_message = _awaitable(ws_utils.ws_broadcast_message, database=True)
ws_send_task_update = _awaitable(ws_utils.ws_send_task_update)
ws_send_task_complete = _awaitable(ws_utils.ws_send_task_complete)
ws_send_task_error = _awaitable(ws_utils.ws_send_task_error)
ws_send_group_message = _awaitable(ws_utils.ws_send_group_message)
ws_send_group_notification = _awaitable(ws_utils.ws_send_group_notification)
ws_send_group_file = _awaitable(ws_utils.ws_send_group_file)
ws_connect = ws_send_message
