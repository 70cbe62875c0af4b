"""Messages, notifications and files for groups of browsers, by a fanfare server.

The modules `client`, `events`, `errors` and `tokens` need no Django.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .testing import capture

__version__ = "0.1.0"
__all__ = ["__version__", "capture"]


def __getattr__(name: str) -> Any:
    # Looked up when it is used, so that the client can be imported where there is no Django.
    if name == "capture":
        from .testing import capture

        return capture
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
