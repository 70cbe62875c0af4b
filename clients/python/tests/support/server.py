"""A real server for the tests: loopback, ports that the system chooses, everything it keeps in a directory that goes away."""

import atexit
import json
import os
import re
import subprocess
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[4]
BINARY = Path(os.environ.get("FANFARE_BIN") or ROOT / "target/release/fanfare").resolve()

API_KEY = "a key for the tests"
SECRET = "0123456789abcdef0123456789abcdef"

# Longest wait for anything, in seconds; only a failure takes that long.
PATIENCE = 20


def wait_for(condition, what):
    """Asks again and again until there is something, and gives it."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        found = condition()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError(f"it never came: {what}")


class Server:
    """`fanfare dev` with a key, a secret, and whatever is set besides."""

    def __init__(self, **settings):
        if not BINARY.exists():
            raise FileNotFoundError(f"{BINARY} is not there: build it with `cargo build --release`, or say in FANFARE_BIN where it is")
        self.directory = tempfile.TemporaryDirectory(prefix="fanfare-django-")
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("FANFARE_")}
        self.environment["XDG_STATE_HOME"] = self.directory.name
        self.settings = {"api.keys": json.dumps([API_KEY]), "auth.hmac_secret": SECRET, **settings}
        self.start("127.0.0.1:0")
        atexit.register(self.end)

    def start(self, http):
        arguments = ["dev", "--http", http, "--secure", "off", "--quic", "off"]
        for key, value in self.settings.items():
            arguments += ["--set", f"{key.replace('__', '.')}={value}"]
        self.process = subprocess.Popen(
            [BINARY, *arguments],
            cwd=self.directory.name,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.url = self._listener()

    def _listener(self):
        overdue = threading.Timer(PATIENCE, self.process.kill)
        overdue.start()
        printed, url = "", None
        for line in self.process.stdout:
            printed += line
            found = re.search(r"^ *HTTP +(http://\S+)", line)
            url = found[1] if found else url
            if url and "broker" in line:
                overdue.cancel()
                return url
        raise RuntimeError(f"the server does not start: {printed}")

    def stop(self):
        """Ends it at once, as a crash would."""
        self.process.kill()
        self.process.wait(PATIENCE)
        self.process.stdout.close()

    def restart(self):
        """Starts it again at the same address."""
        self.start(f"127.0.0.1:{urlsplit(self.url).port}")

    def end(self):
        if not self.process.stdout.closed:
            self.stop()
        self.directory.cleanup()

    def get(self, path):
        request = urllib.request.Request(self.url + path, headers={"Authorization": f"Bearer {API_KEY}"})
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.load(answer)

    def past(self, group):
        """The events that were sent to a group, without what is different every time."""
        events = self.get(f"/v1/groups/{group}/history")["events"]
        return [{name: value for name, value in event.items() if name not in ("id", "timestamp", "offset", "sender")} for event in events]

    def members(self, group):
        return self.get(f"/v1/groups/{group}")["members"]
