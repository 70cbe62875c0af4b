"""What can go wrong, as types that say what the caller can do."""

from __future__ import annotations

import json
from typing import Any, Optional

PROBLEM = "urn:fanfare:problem:"


class FanfareError(Exception):
    """Anything that kept a request from being done."""


class InvalidEvent(FanfareError, ValueError):
    """It breaks a rule that is known here, so nothing was sent: a name, a kind, a value that has no JSON. Repeating it is no use."""


class Unreachable(FanfareError):
    """No answer came in time. The request may have been carried out all the same; an idempotency key makes a repetition safe."""


class BreakerOpen(Unreachable):
    """Not tried: the server did not answer a moment ago."""


class Refused(FanfareError):
    """The server's answer says no."""

    def __init__(self, status: int, kind: str, detail: str, retry_after: Optional[float] = None, code: Optional[int] = None) -> None:
        super().__init__(f"{status} {kind}: {detail}" if kind else f"{status}: {detail}")
        #: The HTTP status; in a batch the one that the event alone would have got.
        self.status = status
        #: The stable name of the sort of problem, such as `bad_group_name`; empty if the answer is none of a fanfare server.
        self.kind = kind
        #: A sentence for people: where, what was found, and the rule.
        self.detail = detail
        #: When a repetition makes sense, in seconds from now.
        self.retry_after = retry_after
        #: The code of the protocol for the same failure (docs/protocol.md, section 9).
        self.code = code

    @property
    def temporary(self) -> bool:
        """Whether the same request may be accepted later."""
        return self.retry_after is not None or self.status in (408, 425, 429, 500, 502, 503, 504)


class Unauthorized(Refused):
    """The API key is not known to the server, or may not do this."""


def from_problem(status: int, problem: Any) -> Refused:
    """The error for a problem document (RFC 9457)."""
    kind = str(problem.get("type", "")).removeprefix(PROBLEM)
    after = problem.get("retry_after_ms")
    error = Unauthorized if status in (401, 403) else Refused
    return error(status, kind, str(problem.get("detail", "")), None if after is None else after / 1000, problem.get("code"))


def from_answer(status: int, body: bytes) -> Refused:
    """The error for an answer that is no success, whoever gave it: a proxy's page has no problem in it."""
    try:
        problem = json.loads(body)
    except ValueError:
        problem = None
    if isinstance(problem, dict) and str(problem.get("type", "")).startswith(PROBLEM):
        return from_problem(status, problem)
    return Refused(status, "", "this is no answer of a fanfare server; is its URL right, and what stands before it?")
