"""A server of its own for the tests: loopback, ports that the system chooses, everything it keeps in a directory that goes away."""

import asyncio
import atexit
import json
import os
import re
import signal
import subprocess
import tempfile
import threading
import urllib.request
from pathlib import Path
from urllib.parse import urlsplit

ROOT = Path(__file__).resolve().parents[2]
BINARY = Path(os.environ.get("FANFARE_BIN") or ROOT / "target/release/fanfare").resolve()

API_KEY = "interop-key"
SECRET = "0123456789abcdef0123456789abcdef"
ORIGIN = "https://app.example"

CONFIGURATION = f"""
api.keys = ["{API_KEY}"]
auth.hmac_secret = "{SECRET}"
auth.origins = ["{ORIGIN}"]
node = "interop"

[[groups]]
match = "ticker.*"
history_size = 0

[[groups]]
match = "short.*"
history_size = 3

[[groups]]
match = "staff.*"
subscribe = "authenticated"
publish = "authenticated"
"""

# Starting and stopping, in seconds.
PATIENCE = 10


class Server:
    def __init__(self, settings):
        if not BINARY.exists():
            raise FileNotFoundError(f"{BINARY} is not there: build it with `cargo build --release`, or say in FANFARE_BIN where it is")
        self.directory = tempfile.TemporaryDirectory(prefix="fanfare-interop-")
        home = Path(self.directory.name)
        (home / "fanfare.toml").write_text(CONFIGURATION)
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("FANFARE_")}
        self.environment["XDG_STATE_HOME"] = str(home / "state")
        self.arguments = ["dev", "--config", "fanfare.toml"]
        for key, value in settings.items():
            self.arguments += ["--set", f"{key}={value}"]
        self.log = open(home / "log", "w+")
        atexit.register(self.stop)  # Also when the tests are interrupted.
        self.start(http=0, secure=0, quic=0)

    def start(self, **ports):
        listeners = [argument for name, port in ports.items() for argument in (f"--{name}", f"127.0.0.1:{port}")]
        self.process = subprocess.Popen(
            [BINARY, *self.arguments, *listeners],
            cwd=self.directory.name,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
        )
        try:
            self.url, self.secure_url = self.listeners()
            self.discovery = self.get("/.well-known/fanfare")
        except BaseException:
            self.stop()
            raise

    def crash_and_start_again(self):
        """Kills the server as a failure of power would, and starts it again on the same ports."""
        self.process.kill()
        self.process.wait(PATIENCE)
        self.process.stdout.close()
        urls = (self.url, self.secure_url, self.discovery["webtransport"]["url"])
        self.start(**dict(zip(("http", "secure", "quic"), (urlsplit(url).port for url in urls))))

    def listeners(self):
        """The addresses of HTTP and HTTPS out of what the server prints."""
        printed = ""
        overdue = threading.Timer(PATIENCE, self.process.kill)
        overdue.start()
        try:
            for line in self.process.stdout:
                printed += line
                if "broker" in line:
                    break
        finally:
            overdue.cancel()
        plain = re.search(r"^ *HTTP +(http://\S+)", printed, re.MULTILINE)
        secure = re.search(r"^ *HTTPS .*(wss://[^\s)]+)", printed, re.MULTILINE)
        if not plain or not secure:
            self.log.seek(0)
            raise RuntimeError(f"the server does not start: {printed}{self.log.read()}")
        return plain[1], secure[1]

    def terminate(self):
        self.process.send_signal(signal.SIGTERM)

    async def exit_status(self):
        return await asyncio.to_thread(self.process.wait, PATIENCE)

    def stop(self):
        self.process.kill()
        self.process.wait(PATIENCE)
        self.process.stdout.close()
        self.log.close()
        self.directory.cleanup()

    def text(self, path):
        with urllib.request.urlopen(f"{self.url}{path}", timeout=PATIENCE) as answer:
            return answer.read().decode()

    def get(self, path):
        return json.loads(self.text(path))

    async def post(self, path, body, content_type="application/json"):
        """Sends an event through the HTTP API, and gives the receipt."""
        if not isinstance(body, bytes):
            body = json.dumps(body).encode()
        headers = {"Authorization": f"Bearer {API_KEY}", "Content-Type": content_type}
        request = urllib.request.Request(f"{self.url}{path}", body, headers, method="POST")

        def call():
            with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
                return json.load(answer)

        return await asyncio.to_thread(call)

    async def message(self, group, text):
        return await self.post(f"/v1/groups/{group}/messages", {"message": text})

    async def run(self, *arguments):
        """Runs a command of the binary, and gives what it prints."""
        done = await asyncio.to_thread(
            subprocess.run, [BINARY, *arguments], env=self.environment, capture_output=True, text=True, check=True, timeout=PATIENCE
        )
        return done.stdout

    async def send(self, *arguments):
        """Sends with the command line, and gives the receipt."""
        return json.loads(await self.run("send", *arguments, "--url", self.url, "--api-key", API_KEY, "--json"))

    async def token(self, user, seconds=600):
        return (await self.run("token", "--user", user, "--ttl", str(seconds), "--secret", SECRET)).strip()
