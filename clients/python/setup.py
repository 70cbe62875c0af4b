"""Brings the browser client into the package: from clients/js/dist, where it is built and tested, so that there is one copy of it."""

import shutil
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).parent
SCRIPTS = ("legacy.global.js", "fanfare.js", "fanfare.global.js")

built, static = HERE.parent / "js/dist", HERE / "src/django_fanfare/static/django_fanfare"
if built.is_dir():  # Not where an sdist is installed: that has them already.
    static.mkdir(parents=True, exist_ok=True)
    for script in SCRIPTS:
        shutil.copyfile(built / script, static / script)

setup()
