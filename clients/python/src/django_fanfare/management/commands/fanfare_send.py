from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.core.management.base import BaseCommand, CommandError

from ... import events, publisher
from ...errors import FanfareError
from ...events import Event


class Command(BaseCommand):
    help = "Sends a message, notification or file to a group or user, by the server that FANFARE names"

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("kind", choices=["message", "notification", "file", "event"])
        parser.add_argument("target", help="the group, or with --user the user")
        parser.add_argument("text", nargs="?", default="", help="the message; the name of an event's kind")
        parser.add_argument("--user", action="store_true", help="the target is a user")
        parser.add_argument("--type", default="info", choices=events.LEVELS, help="of a notification")
        parser.add_argument("--title", default="", help="of a notification")
        parser.add_argument("--file-url", default="", help="where a file can be had")
        parser.add_argument("--file-name", default="", help="what it is called")
        parser.add_argument("--file-size", type=int, help="in bytes")
        parser.add_argument("--body", type=json.loads, help="of an event, as JSON")
        parser.add_argument("--data", type=json.loads, help="more for the page, a JSON object")

    def handle(self, *_: Any, **options: Any) -> None:
        try:
            receipt = publisher.client().send(self._event(options))
        except (FanfareError, ImproperlyConfigured) as error:
            raise CommandError(str(error)) from error
        self.stdout.write(f"{receipt.id}, {receipt.subscribers} subscribers here")

    def _event(self, options: dict[str, Any]) -> Event:
        target = {"user" if options["user"] else "group": options["target"], "data": options["data"]}
        text = options["text"]
        if options["kind"] == "message":
            return events.message(text, **target)
        if options["kind"] == "notification":
            return events.notification(text, type=options["type"], title=options["title"], **target)
        if options["kind"] == "file":
            return events.file(options["file_url"], text=text, name=options["file_name"], size=options["file_size"], **target)
        return events.custom(text, options["body"], **target)
