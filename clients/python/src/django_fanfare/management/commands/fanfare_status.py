from __future__ import annotations

import json
import time
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from ... import conf, publisher
from ...errors import FanfareError
from ...pool import Pool


class Command(BaseCommand):
    help = "Says whether the fanfare server can be reached by the application and by browsers, and what it says of itself"

    def handle(self, *_: Any, **__: Any) -> None:
        failures = sum(not self._try(name, look) for name, look in (("API", self._api), ("browsers", self._browsers)))
        for mistake in conf.mistakes():
            failures += mistake.fatal
            self.stdout.write(f"setting    {mistake.sentence}; {mistake.cure}")
        if failures:
            raise CommandError(f"{failures} of these can't work")

    def _try(self, name: str, look: Any) -> bool:
        try:
            self.stdout.write(f"{name:<10} {look()}")
        except (FanfareError, ImproperlyConfigured, ValueError) as error:
            self.stdout.write(f"{name:<10} {error}")
            return False
        return True

    def _api(self) -> str:
        health = publisher.client().health()
        ready = "ready" if health["ready"] else "not ready for new connections"
        where = f"{conf.get().api} is fanfare {health['version']}, node {health['node']}"
        return f"{where}, {ready}; broker {health['broker']}, {health['connections']} connections"

    def _browsers(self) -> str:
        settings = conf.get()
        if not settings.url:
            raise ImproperlyConfigured('FANFARE["URL"] is not set, so pages do not know where to connect')
        deadline = time.monotonic() + settings.timeout
        answer = Pool(settings.url).request("GET", "/.well-known/fanfare", None, {}, deadline)
        if answer.status != 200:
            raise ImproperlyConfigured(f"{settings.url}/.well-known/fanfare answers with {answer.status}")
        found = json.loads(answer.body)
        transports = [found["websocket"]["url"], *([found["webtransport"]["url"]] if found.get("webtransport") else [])]
        return f"{settings.url} leads to {' and '.join(transports)}"
