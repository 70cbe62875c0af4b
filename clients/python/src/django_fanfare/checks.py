"""What `manage.py check` says about the setting."""

from __future__ import annotations

from typing import Any

from django.core import checks

from . import conf


def check_settings(**_: Any) -> list[checks.CheckMessage]:
    """Each mistake with its number: `fanfare.E001` … where things can't work, `fanfare.W008` … where they are unwise."""
    return [_message(mistake) for mistake in conf.mistakes()]


def _message(mistake: conf.Mistake) -> checks.CheckMessage:
    kind, letter = (checks.Error, "E") if mistake.fatal else (checks.Warning, "W")
    return kind(mistake.sentence, hint=mistake.cure, id=f"fanfare.{letter}{mistake.number:03}")
