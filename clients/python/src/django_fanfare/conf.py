"""The setting `FANFARE` of a Django project, read once and checked."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Callable, Optional
from urllib.parse import urlsplit

from django.conf import settings as django_settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

#: A shared secret shorter than this can be guessed (RFC 7518, section 3.2, asks for as many bytes as the hash has).
SECRET_BYTES = 32
#: Keys that name a function as `package.module.function`.
FUNCTIONS = ("USER_ID", "GROUPS_FOR_USER", "RIGHTS_FOR_USER", "INFO_FOR_USER", "USER_FOR_HOOK")


@dataclass(frozen=True)
class Settings:
    """What `FANFARE = {…}` says; the keys are these names in capitals."""

    #: Where browsers find the server: `https://rt.example.com`.
    url: str = ""
    #: Where the application finds its API, if that is elsewhere: `http://127.0.0.1:8080`.
    api_url: str = ""
    #: One of the server's `api.keys`.
    api_key: str = ""
    #: The server's `auth.hmac_secret`: signs what `{% fanfare %}` and the token view give out.
    secret: str = ""
    #: The secret with which the server shows itself to the hook view.
    hook_secret: str = ""
    #: How long a call may take with its repetitions, in seconds.
    timeout: float = 2.0
    #: Repetitions of a call, within that time.
    retries: int = 2
    #: How long a token is good, in seconds; pages get a new one before it ends.
    token_ttl: float = 600.0
    #: Whether what is sent inside of a transaction waits for its commit.
    on_commit: bool = False
    #: A function of a user that gives their id for the server; without one it is the username.
    user_id: str = ""
    #: A function of a user that gives the names of the groups that their sessions follow without asking.
    groups_for_user: str = ""
    #: A function of a user that gives `{"subscribe": […], "publish": […], "presence": […]}`, patterns of groups.
    rights_for_user: str = ""
    #: A function of a user that gives what others may see of them, a dict.
    info_for_user: str = ""
    #: A function of a request with the headers that the hook was told, that gives its user; without one the user of the session.
    user_for_hook: str = ""

    @property
    def api(self) -> str:
        """Where the API is."""
        return self.api_url or self.url

    def function(self, key: str) -> Optional[Callable[[Any], Any]]:
        """The function that a key names; None without one."""
        path = getattr(self, key.lower())
        return import_string(path) if path else None


@dataclass(frozen=True)
class Mistake:
    """Something that is wrong with the setting."""

    #: The number of its system check.
    number: int
    #: The key, the value where it is no secret, and the rule.
    sentence: str
    #: What to do.
    cure: str
    #: Whether things can't work, or are only unwise.
    fatal: bool = True


@lru_cache(maxsize=1)
def get() -> Settings:
    """The setting. Raises `ImproperlyConfigured` if it has keys or values of the wrong sort."""
    raw = getattr(django_settings, "FANFARE", {})
    wrong = list(_mistyped(raw))
    if wrong:
        raise ImproperlyConfigured(wrong[0].sentence)
    return Settings(**{key.lower(): value for key, value in raw.items()})


def mistakes() -> Iterable[Mistake]:
    """Everything that is wrong with the setting."""
    raw = getattr(django_settings, "FANFARE", None)
    if raw is None:
        yield Mistake(1, "there is no setting FANFARE", 'set FANFARE = {"URL": …, "API_KEY": …, "SECRET": …}')
        return
    wrong = list(_mistyped(raw))
    yield from wrong or _unusable(get())


def _mistyped(raw: Any) -> Iterable[Mistake]:
    if not isinstance(raw, Mapping):
        yield Mistake(2, f"FANFARE is a {type(raw).__name__}, and has to be a dict", 'set FANFARE = {"URL": …, "API_KEY": …, "SECRET": …}')
        return
    known = {name.upper(): type(field.default) for name, field in Settings.__dataclass_fields__.items()}
    for key, value in raw.items():
        if key not in known:
            near = difflib.get_close_matches(str(key).upper(), known, 1)
            yield Mistake(3, f"FANFARE[{key!r}] is no key", f"did you mean {near[0]!r}?" if near else f"the keys are {', '.join(known)}")
        elif not _is(value, known[key]):
            yield Mistake(4, f"FANFARE[{key!r}] is a {type(value).__name__}, and has to be a {known[key].__name__}", "change its value")


def _is(value: Any, wanted: type) -> bool:
    if wanted is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool) and value > 0
    if wanted is int:
        return isinstance(value, int) and not isinstance(value, bool) and value >= 0
    return isinstance(value, wanted)


def _unusable(settings: Settings) -> Iterable[Mistake]:
    for key, url in (("URL", settings.url), ("API_URL", settings.api_url)):
        if url and not _is_address(url):
            yield Mistake(5, f"FANFARE[{key!r}] = {url!r} is no address", "write it as https://host or http://host:port, without a path")
    if not settings.api:
        yield Mistake(6, "FANFARE has neither URL nor API_URL, so nothing can be sent", 'set FANFARE["URL"] to the address of the server')
    if not settings.api_key:
        yield Mistake(7, "FANFARE has no API_KEY, so nothing can be sent", "set it to one of the keys that the server has in api.keys")
    for key, secret in (("SECRET", settings.secret), ("HOOK_SECRET", settings.hook_secret)):
        if secret and len(secret.encode()) < SECRET_BYTES:
            cure = f"take at least {SECRET_BYTES} random bytes, and give the server the same"
            yield Mistake(8, f"FANFARE[{key!r}] has fewer than {SECRET_BYTES} bytes, so it can be guessed", cure, fatal=False)
    for key in FUNCTIONS:
        path = getattr(settings, key.lower())
        try:
            callable_ = not path or callable(import_string(path))
        except ImportError:
            callable_ = False
        if not callable_:
            yield Mistake(9, f"FANFARE[{key!r}] = {path!r} is no function", "write it as package.module.function")


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.path in ("", "/") and (parts.port or 1) > 0
    except ValueError:
        return False


def user_id(user: Any) -> str:
    """The id that a user has at the server."""
    function = get().function("USER_ID")
    return function(user) if function else user.get_username()


def forget(*, setting: str = "FANFARE", **_: Any) -> None:
    """Reads the setting anew when it is asked for."""
    if setting == "FANFARE":
        get.cache_clear()


setting_changed.connect(forget, dispatch_uid="django_fanfare.conf")
