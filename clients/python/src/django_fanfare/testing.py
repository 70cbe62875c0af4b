"""For the tests of an application: what it sends, without a server.

with fanfare.capture() as events:
    announce()
self.assertEqual([event.message for event in events.to("sales_team")], ["New leads"])
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from . import publisher
from .events import Event


class Captured(list[Event]):
    """What was sent, in order."""

    def take(self, many: Sequence[Event]) -> None:
        self.extend(many)

    def to(self, group: str) -> list[Event]:
        """What was sent to a group."""
        return [event for event in self if event.group == group]

    def to_user(self, user: str) -> list[Event]:
        """What was sent to a user."""
        return [event for event in self if event.user == user]

    def of(self, kind: str) -> list[Event]:
        """What was sent of a kind: `message`, `notification`, `file`, `task.update` …"""
        return [event for event in self if event.kind == kind]


@contextmanager
def capture() -> Iterator[Captured]:
    """Nothing reaches the server inside of this; everything that is sent, by any thread, is in the list instead.

    Names and values are checked as always. What waits for a commit comes when that happens: in a `TestCase` nothing is ever committed,
    so such a test needs `captureOnCommitCallbacks(execute=True)`, too.
    """
    events = Captured()
    publisher.push_sink(events)
    try:
        yield events
    finally:
        publisher.pop_sink()
