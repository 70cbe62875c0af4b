"""What the sessions of a user are granted: who they are, what they follow without asking, what they may do."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from . import conf, names, tokens
from .errors import InvalidEvent

logger = logging.getLogger("django_fanfare")


@dataclass(frozen=True)
class Grant:
    """What the application says of one user."""

    user: str
    groups: Sequence[str]
    rights: Optional[Mapping[str, Sequence[str]]]
    info: Optional[Mapping[str, Any]]


def grant_for(user: Any) -> Optional[Grant]:
    """What a user gets; None for somebody who is not signed in, or whose id the server can't have: that is logged."""
    if user is None or not user.is_authenticated:
        return None
    settings = conf.get()
    rights, info = settings.function("RIGHTS_FOR_USER"), settings.function("INFO_FOR_USER")
    try:
        known_as = names.user(conf.user_id(user))
    except InvalidEvent as error:
        logger.error('%s; set FANFARE["USER_ID"] to a function that gives another', error)
        return None
    return Grant(known_as, groups_for(user), rights(user) if rights else None, info(user) if info else None)


def token_for(user: Any) -> Optional[str]:
    """A token for the pages of a user; None for somebody who gets none."""
    settings = conf.get()
    grant = grant_for(user) if settings.secret else None
    if grant is None:
        return None
    return tokens.make(grant.user, settings.secret, ttl=settings.token_ttl, groups=grant.groups, rights=grant.rights)


def groups_for(user: Any) -> list[str]:
    """The groups that a user's sessions follow without asking: what GROUPS_FOR_USER says, each once.

    Names that the server can't have, and what is over the 100 that it takes, are logged and left out: the others go on.
    """
    function = conf.get().function("GROUPS_FOR_USER")
    wanted = dict.fromkeys(function(user) if function else ())
    good = [name for name in wanted if _is_good(name)]
    if len(good) > tokens.GROUPS:
        logger.error("%d groups for user %s: their sessions follow the first %d", len(good), user.pk, tokens.GROUPS)
    return good[: tokens.GROUPS]


def _is_good(name: str) -> bool:
    try:
        names.group(name)
    except InvalidEvent as error:
        logger.error("not followed: %s", error)
        return False
    return True
