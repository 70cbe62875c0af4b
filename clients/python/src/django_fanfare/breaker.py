"""A server that does not answer must not hold up every page that has something to tell."""

from __future__ import annotations

import logging
import threading
import time
from typing import Callable, Optional

from . import _fork
from .errors import BreakerOpen

logger = logging.getLogger("django_fanfare")


class Breaker:
    """After a failure one request in a while is let through, and the others fail at once, until one is answered.

    The log has one line for the beginning, with the reason, and one for the end.
    """

    def __init__(self, first_pause: float = 0.5, longest_pause: float = 10.0, clock: Callable[[], float] = time.monotonic) -> None:
        """Pauses in seconds: each failure doubles them."""
        self._first, self._longest, self._clock = first_pause, longest_pause, clock
        self._reason: Optional[str] = None
        self._pause = self._until = 0.0
        self._kept_back = 0
        self.reset_after_fork()
        _fork.register(self)

    def reset_after_fork(self) -> None:
        """A lock of its own; what is known of the server stays."""
        self._lock = threading.Lock()

    @property
    def reason(self) -> Optional[str]:
        """Why it is open; None while requests go through."""
        return self._reason

    def admit(self) -> None:
        """Lets a request through, or raises `BreakerOpen`."""
        with self._lock:
            if self._reason is None:
                return
            if self._clock() >= self._until:
                # This one tries; others go on failing until it knows, or until this pause is over, too.
                self._until = self._clock() + self._pause
                return
            self._kept_back += 1
            reason = self._reason
        raise BreakerOpen(f"not tried, for {reason}")

    def failed(self, reason: str) -> None:
        """A request got no answer."""
        with self._lock:
            opens = self._reason is None
            self._pause = self._first if opens else min(self._pause * 2, self._longest)
            self._until = self._clock() + self._pause
            self._reason = reason
        if opens:
            logger.error("%s; what is sent meanwhile fails at once", reason)

    def succeeded(self) -> None:
        """A request was answered, whatever the answer was."""
        if self._reason is None:
            return
        with self._lock:
            kept_back, self._kept_back, self._reason = self._kept_back, 0, None
        logger.warning("the fanfare server answers again; %d requests were not tried meanwhile", kept_back)
