"""What `manage.py check` says about the setting."""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.conf import settings
from django.core import checks

from . import conf

LAYER = "django_fanfare.layers.FanfareChannelLayer"


def check_settings(**_: Any) -> list[checks.CheckMessage]:
    """Each mistake with its number: `fanfare.E001` … where things can't work, `fanfare.W008` … where they are unwise."""
    return [_message(mistake) for mistake in conf.mistakes()]


def check_layers(**_: Any) -> list[checks.CheckMessage]:
    """A channel layer that only publishes, under an application that has consumers, loses what these wait for."""
    layers = getattr(settings, "CHANNEL_LAYERS", {})
    consumers = getattr(settings, "ASGI_APPLICATION", None) and apps.is_installed("channels")
    return [
        checks.Warning(
            f"CHANNEL_LAYERS[{name!r}] publishes to fanfare only, so consumers of this project receive nothing",
            hint='give it "CONFIG": {"inner": {"BACKEND": "channels_redis.core.RedisChannelLayer", …}} while there are consumers',
            id="fanfare.W010",
        )
        for name, layer in layers.items()
        if consumers and layer.get("BACKEND") == LAYER and not layer.get("CONFIG", {}).get("inner")
    ]


def _message(mistake: conf.Mistake) -> checks.CheckMessage:
    kind, letter = (checks.Error, "E") if mistake.fatal else (checks.Warning, "W")
    return kind(mistake.sentence, hint=mistake.cure, id=f"fanfare.{letter}{mistake.number:03}")
