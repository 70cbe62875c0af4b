"""What is in the package that users install."""

import importlib.metadata
import importlib.util
import unittest
from pathlib import Path

from .support.server import ROOT

SOURCE = ROOT / "clients/python/src/django_fanfare"
INSTALLED = Path(importlib.util.find_spec("django_fanfare").origin).parent


def files(folder):
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"}


class Package(unittest.TestCase):
    def test_nothing_of_the_source_is_missing(self):
        self.assertEqual(files(INSTALLED), files(SOURCE))

    def test_it_says_what_it_is(self):
        known = importlib.metadata.metadata("django-fanfare")
        self.assertEqual(known["Requires-Python"], ">=3.9")
        self.assertEqual(importlib.metadata.requires("django-fanfare"), ["Django>=4.2"])
        self.assertIn("py.typed", files(INSTALLED))
