"""The HTTP API of a fanfare server, for any Python: this module and those that it imports know nothing of Django.

    from django_fanfare import events
    from django_fanfare.client import Client

    client = Client("http://127.0.0.1:8080", api_key)
    client.message("New leads", group="sales_team")
    client.send(events.notification("Backup failed", group="admins", type="error"))

A client may be used by any number of threads and survives a fork; there should be one in a process.
"""

from __future__ import annotations

import json
import os
import random
import ssl
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional, Union
from urllib.parse import quote, urlencode

from . import events, names
from .breaker import Breaker
from .errors import BreakerOpen, FanfareError, InvalidEvent, Refused, Unauthorized, Unreachable, from_answer, from_problem
from .events import Event
from .pool import Pool

__all__ = ["BreakerOpen", "Client", "FanfareError", "InvalidEvent", "Receipt", "Refused", "Unauthorized", "Unreachable"]

#: Events in one request, at most.
BATCH = 1000
#: A pause before a repetition, in seconds, where the server names none.
RETRY_PAUSE = 0.05


@dataclass(frozen=True)
class Receipt:
    """What became of an event that the server has taken."""

    #: The event's id, the same that browsers get.
    id: str
    #: When it was taken, ISO 8601, UTC.
    timestamp: str
    #: Its position in the group; zeros if the group keeps no history.
    epoch: int
    offset: int
    #: To how many sessions it was handed on the node that answered. None is no failure: who comes later may still get it.
    subscribers: int
    #: Nothing was sent, because the idempotency key was known.
    duplicate: bool

    @classmethod
    def of(cls, answer: Mapping[str, Any]) -> Receipt:
        return cls(*(answer[name] for name in ("id", "timestamp", "epoch", "offset", "subscribers", "duplicate")))


class Client:
    """A server's API. Every method raises a `FanfareError` if it can't do what it says."""

    def __init__(
        self,
        url: str,
        api_key: str,
        *,
        timeout: float = 2.0,
        retries: int = 2,
        context: Optional[ssl.SSLContext] = None,
        encoder: Optional[type[json.JSONEncoder]] = None,
        breaker: Optional[Breaker] = None,
    ) -> None:
        """`timeout` is for a whole call with its repetitions, in seconds; `encoder` says what JSON other objects become."""
        self._pool = Pool(url, context)
        self._headers = {"Authorization": f"Bearer {api_key}", "Content-Type": "application/json", "User-Agent": "django-fanfare"}
        self._timeout, self._retries, self._encoder = timeout, retries, encoder
        self._breaker = breaker or Breaker()

    @classmethod
    def from_environment(cls, **options: Any) -> Client:
        """The server of `FANFARE_URL` (default: http://localhost:8080) with the key of `FANFARE_API_KEY`."""
        return cls(os.environ.get("FANFARE_URL", "http://localhost:8080"), os.environ.get("FANFARE_API_KEY", ""), **options)

    def close(self) -> None:
        """Closes the connections that nobody uses. The client may be used again."""
        self._pool.close()

    # Sending.

    def send(self, event: Event) -> Receipt:
        """Sends one event. It is repeated where no answer comes, and comes once all the same: its key tells the server."""
        body = events.encode(event.body(), self._encoder)
        return Receipt.of(self._call("POST", event.path(), body, {"Idempotency-Key": event.key}))

    def message(self, text: str, **to: Any) -> Receipt:
        """Sends a text; `group=` or `user=`, `data=`."""
        return self.send(events.message(text, **to))

    def notification(self, text: str, **to: Any) -> Receipt:
        """Sends a text with a level: `group=` or `user=`, `type=`, `title=`, `data=`."""
        return self.send(events.notification(text, **to))

    def file(self, url: str, **to: Any) -> Receipt:
        """Tells that a file is ready: `group=` or `user=`, `name=`, `text=`, `size=`, `data=`."""
        return self.send(events.file(url, **to))

    def event(self, kind: str, body: Any, **to: Any) -> Receipt:
        """Sends an event of the application's own kind: `group=` or `user=`, `data=`."""
        return self.send(events.custom(kind, body, **to))

    def batch(self, many: Iterable[Event]) -> list[Union[Receipt, Refused]]:
        """Sends many, in order, in requests of at most 1,000; one result for each.

        When the server can't take one at the moment, the later ones of its request are refused, too, so that a repetition keeps the order.
        """
        every = list(many)
        results: list[Union[Receipt, Refused]] = []
        for start in range(0, len(every), BATCH):
            part = every[start : start + BATCH]
            answer = self._call("POST", "/v1/batch", events.encode([event.in_batch() for event in part], self._encoder))
            results += [_result(one) for one in answer["results"]]
        return results

    # Who follows what.

    def follow(self, user: str, groups: Sequence[str], *, standing: bool = False) -> Mapping[str, int]:
        """Has all open sessions of a user follow groups, and with `standing` those that are opened later, too.

        Gives `sessions` that were told, `nodes` that confirmed, and `pending_nodes` that will do so later.
        """
        body = events.encode({"groups": [names.group(name) for name in groups], "standing": standing})
        return self._call("POST", f"{_user(user)}/groups", body)

    def unfollow(self, user: str, group: Optional[str] = None) -> Mapping[str, int]:
        """Has no session of a user follow a group any more; without one: none of those that were granted."""
        return self._call("DELETE", f"{_user(user)}/groups" + ("" if group is None else f"/{quote(names.group(group), '')}"))

    def standing(self, user: str) -> list[str]:
        """The groups that every session of the user follows from its beginning."""
        return list(self._call("GET", f"{_user(user)}/groups")["standing"])

    def disconnect(
        self, user: str, *, code: Optional[int] = None, reason: Optional[str] = None, delay_ms: Optional[int] = None
    ) -> Mapping[str, int]:
        """Ends the sessions of a user; with code 4101 they come back with a new token, with 4000 as they are."""
        given = {name: value for name, value in (("code", code), ("reason", reason), ("delay_ms", delay_ms)) if value is not None}
        return self._call("POST", f"{_user(user)}/disconnect", events.encode(given))

    # Looking.

    def health(self) -> Mapping[str, Any]:
        """How the node is that answers: `version`, `node`, `broker`, `connections`, `members`, `ready`."""
        return self._call("GET", "/v1/health")

    def group(self, name: str) -> Mapping[str, Any]:
        """What is known of a group: `members` on the node that answers, `policy`, `position`."""
        return self._call("GET", f"/v1/groups/{quote(names.group(name), '')}")

    def history(self, name: str, *, after: int = 0, limit: int = 100) -> Mapping[str, Any]:
        """The past of a group, as far as it is kept: `events`, oldest first, `epoch`, `top`, `start`, `next`."""
        query = urlencode({"after": after, "limit": limit})
        return self._call("GET", f"/v1/groups/{quote(names.group(name), '')}/history?{query}")

    def presence(self, name: str) -> Mapping[str, Any]:
        """Who is in a group whose policy has presence: `users`, `anonymous`, `connections`, `list`."""
        return self._call("GET", f"/v1/groups/{quote(names.group(name), '')}/presence")

    # Asking.

    def _call(self, method: str, path: str, body: Optional[bytes] = None, more: Optional[dict[str, str]] = None) -> Any:
        self._breaker.admit()
        deadline = time.monotonic() + self._timeout
        try:
            answer = self._repeated(method, path, body, {**self._headers, **(more or {})}, deadline)
        except Unreachable as error:
            self._breaker.failed(str(error))
            raise
        except Refused:
            self._breaker.succeeded()
            raise
        self._breaker.succeeded()
        return answer

    def _repeated(self, method: str, path: str, body: Optional[bytes], headers: dict[str, str], deadline: float) -> Any:
        """Everything that is asked here bears repetition: by its nature, or by a key."""
        for left in range(self._retries, -1, -1):
            try:
                return self._once(method, path, body, headers, deadline)
            except (Unreachable, Refused) as error:
                after = error.retry_after if isinstance(error, Refused) else None
                pause = (RETRY_PAUSE if after is None else after) * random.uniform(1, 1.5)
                again = isinstance(error, Unreachable) or error.temporary
                if left == 0 or not again or time.monotonic() + pause >= deadline:
                    raise
            time.sleep(pause)
        raise AssertionError("the last attempt either answers or raises")

    def _once(self, method: str, path: str, body: Optional[bytes], headers: dict[str, str], deadline: float) -> Any:
        answer = self._pool.request(method, path, body, headers, deadline)
        if not 200 <= answer.status < 300:
            raise from_answer(answer.status, answer.body)
        try:
            return json.loads(answer.body)
        except ValueError as error:
            raise from_answer(answer.status, answer.body) from error


def _user(user: str) -> str:
    return f"/v1/users/{quote(names.user(user), '')}"


def _result(answer: Mapping[str, Any]) -> Union[Receipt, Refused]:
    if answer["ok"]:
        return Receipt.of(answer)
    problem = answer["error"]
    return from_problem(problem["status"], problem)
