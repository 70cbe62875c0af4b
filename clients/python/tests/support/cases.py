"""What test cases have in common."""

import itertools

from django.test import SimpleTestCase, override_settings

from .server import API_KEY, SECRET, Server

_server = None
_numbers = itertools.count(1)


def shared_server():
    """One server for all tests that do it no harm."""
    global _server
    if _server is None:
        _server = Server()
    return _server


def setting(server, **more):
    """The setting for a project that uses this server."""
    return {"URL": server.url, "API_KEY": API_KEY, "SECRET": SECRET, **more}


def new_group(word="group"):
    """A name that no other test uses."""
    return f"{word}_{next(_numbers)}"


def new_user(word="user"):
    return f"{word}{next(_numbers)}@example.org"


class ServerMixin:
    """The project uses the shared server."""

    @classmethod
    def setUpClass(cls):
        cls.server = shared_server()
        cls._overridden = override_settings(FANFARE=setting(cls.server))
        cls._overridden.enable()
        super().setUpClass()

    @classmethod
    def tearDownClass(cls):
        super().tearDownClass()
        cls._overridden.disable()


class ServerCase(ServerMixin, SimpleTestCase):
    """Against the shared server, without a database."""
