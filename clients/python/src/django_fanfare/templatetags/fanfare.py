"""`{% load fanfare %}{% fanfare %}`: connects a page."""

from __future__ import annotations

from typing import Any, Optional

from django import template
from django.core.exceptions import ImproperlyConfigured
from django.forms.utils import flatatt
from django.http import HttpRequest
from django.template import Context
from django.templatetags.static import static
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from .. import conf, middleware
from ..grants import token_for

register = template.Library()


@register.simple_tag(takes_context=True)
def fanfare(context: Context, nonce: Optional[str] = None, defer: bool = False) -> SafeString:
    """The script that defines `taskNotifications`, with the server's URL and a token for whoever is signed in.

    `nonce` is that of the page's Content-Security-Policy, found by itself where Django or django-csp gives it. With `defer` the page does
    not wait for the script, and may use it after `DOMContentLoaded` only.
    """
    request = context.get("request")
    if request is None:
        raise ImproperlyConfigured("{% fanfare %} needs the request: add the context processor django.template.context_processors.request")
    attributes: dict[str, Any] = {
        "src": static("django_fanfare/legacy.global.js"),
        "data-url": conf.get().url.rstrip("/"),
        **_token(request),
        "nonce": nonce or _nonce(context, request),
        "defer": defer,
    }
    given = {name: value for name, value in attributes.items() if value not in (None, "")}
    return format_html("<script{}></script>", flatatt(given))


def _token(request: HttpRequest) -> dict[str, Optional[str]]:
    """A token, if this page may have one in it, and where there are others. Nothing for who is not signed in."""
    user = getattr(request, "user", None)
    if user is None or not user.is_authenticated:
        return {}
    try:
        address = {"data-token-url": reverse("fanfare:token")}
    except NoReverseMatch:
        address = {}
    token = token_for(user) if middleware.may_hold_token(request) else None
    if token is not None:
        middleware.hold_token(request)
    return {"data-token": token, **address}


def _nonce(context: Context, request: HttpRequest) -> Optional[str]:
    found = context.get("csp_nonce") or getattr(request, "csp_nonce", None)
    return None if found is None else str(found)
