"""Who a browser is, told to the browser itself (a token) or to the server (the hook)."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.crypto import constant_time_compare
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_GET, require_POST

from . import conf
from .grants import Grant, grant_for, token_for
from .hook import as_request, user_of

logger = logging.getLogger("django_fanfare")


@require_GET
@never_cache
def token(request: HttpRequest) -> HttpResponse:
    """`{"token": …, "expires_in": seconds}` for whoever is signed in, 403 for others.

    It changes nothing, and pages of other origins can't read the answer, so no CSRF token is asked for.
    """
    made = token_for(getattr(request, "user", None))
    if made is None:
        return JsonResponse({"error": "not signed in"}, status=403)
    return JsonResponse({"token": made, "expires_in": int(conf.get().token_ttl)})


@csrf_exempt
@require_POST
@never_cache
def hook(request: HttpRequest) -> HttpResponse:
    """Answers the server, which asks who it is that connects, and shows with the secret of both that it is the server."""
    secret = conf.get().hook_secret
    if not secret:
        logger.error('a fanfare server asks who somebody is, and FANFARE["HOOK_SECRET"] is not set')
    if not secret or not constant_time_compare(request.headers.get("Authorization", ""), f"Bearer {secret}"):
        return JsonResponse({"error": "the secret is not right"}, status=403)
    try:
        asked = json.loads(request.body)
        headers = {str(name).lower(): str(value) for name, value in asked.get("headers", {}).items()}
        seen = as_request(headers, asked.get("address"))
    except (ValueError, AttributeError):
        return JsonResponse({"error": "this is no question of a fanfare server"}, status=400)
    return JsonResponse(_answer(grant_for(user_of(seen)), seen))


def _answer(grant: Any, seen: HttpRequest) -> Mapping[str, Any]:
    if not isinstance(grant, Grant):
        return {"user": None}
    answer = {"user": grant.user, "groups": grant.groups, "rights": grant.rights, "info": grant.info}
    answer["expires_in"] = int(seen.session.get_expiry_age())
    return {name: value for name, value in answer.items() if value is not None}
