"""What must not be shared with a child process: locks that a thread of the parent may hold, and sockets."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Forks(Protocol):
    def reset_after_fork(self) -> None:
        """Begins anew in the child."""


_known: weakref.WeakSet[Forks] = weakref.WeakSet()


def register(thing: Forks) -> None:
    """Has it begin anew in every child, for as long as it lives."""
    _known.add(thing)


def _in_child() -> None:
    for thing in list(_known):
        thing.reset_after_fork()


if hasattr(os, "register_at_fork"):  # Not where processes are not forked.
    os.register_at_fork(after_in_child=_in_child)
