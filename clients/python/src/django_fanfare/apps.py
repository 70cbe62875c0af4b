from __future__ import annotations

from django.apps import AppConfig
from django.core import checks


class FanfareConfig(AppConfig):
    name = "django_fanfare"
    label = "fanfare"
    verbose_name = "fanfare"

    def ready(self) -> None:
        from .checks import check_settings

        checks.register(check_settings)
