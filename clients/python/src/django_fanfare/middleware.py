"""Pages that have a token in them are for one person."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.utils.cache import patch_cache_control
from django.utils.deprecation import MiddlewareMixin


class PrivatePages(MiddlewareMixin):
    """Has `{% fanfare %}` put a token into the page, and tells every cache on the way that the page is for one person.

    Without it there is no token in the page, and the page asks for one when it is loaded.
    """

    def process_request(self, request: HttpRequest) -> None:
        request.fanfare_private = False  # type: ignore[attr-defined]

    def process_response(self, request: HttpRequest, response: HttpResponse) -> HttpResponse:
        if getattr(request, "fanfare_private", False):
            patch_cache_control(response, private=True)
        return response


def may_hold_token(request: HttpRequest) -> bool:
    """Whether somebody sees to it that this page is kept by nobody else."""
    return hasattr(request, "fanfare_private")


def hold_token(request: HttpRequest) -> None:
    """The page has a token in it."""
    request.fanfare_private = True  # type: ignore[attr-defined]
    # A cache that is wound around the view alone would keep the page before `process_response` can say anything.
    request._cache_update_cache = False  # type: ignore[attr-defined]
