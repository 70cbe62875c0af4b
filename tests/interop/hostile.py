"""What the tests with hostile peers have in common: a server whose deadlines are short, witnesses that behave and have to notice nothing, and the bounds that hold meanwhile."""

import asyncio
import re
import resource
import urllib.request
from contextlib import asynccontextmanager
from pathlib import Path

from cases import EVERY_WAY, InteropTest

# No wait for a condition is longer than this, in seconds. An unoptimised server on a busy machine needs some of it.
PATIENCE = 60

# A test opens more sockets than a process may by default; the server that it starts inherits the bound.
_, most = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


class HostileTest(InteropTest):
    settings = {"workers": "2", "limits.handshake_deadline": "1s", "limits.hello_deadline": "1s", "limits.http_lifetime": "5s"}

    async def asyncSetUp(self):
        self.witnesses = [await self.connected(*way) for way in EVERY_WAY]
        for witness in self.witnesses:
            await witness.hello()
            await witness.follow(self.group())

    async def asyncTearDown(self):
        self.assertEqual(self.metric("fanfare_panics_total"), 0)
        self.assertIsNone(self.server.process.poll(), "the server lives")

    @asynccontextmanager
    async def nobody_notices(self, memory_mib=64):
        """While the body attacks, events go out; in the end each witness has got every one, and the server has not grown by more than this."""
        before, sent = self.memory_mib(), []
        over, published = asyncio.Event(), asyncio.Event()

        async def publish():
            while not over.is_set() or len(sent) < 20:
                await self.server.message(self.group(), f"event {len(sent)}")
                sent.append(f"event {len(sent)}")

        publishing = asyncio.create_task(publish())
        watching = [asyncio.create_task(self.watch(witness, sent, published)) for witness in self.witnesses]
        try:
            yield
        finally:
            over.set()
            await publishing
            published.set()
        async with asyncio.timeout(PATIENCE):
            got = await asyncio.gather(*watching)
        for texts in got:
            self.assertEqual(texts, sent, "a witness got every event once and in order")
        grown = self.memory_mib() - before
        self.assertLess(grown, memory_mib, "the server grew by so many MiB")

    async def watch(self, witness, sent, published):
        texts = []
        while not published.is_set() or len(texts) < len(sent):
            try:
                async with asyncio.timeout(0.2):
                    frame = await witness.receive()
            except TimeoutError:
                continue
            if frame[0] == "ping":
                await witness.send("pong", frame[1])
            elif frame[0] == "event":
                texts.append(frame[5])
        return texts

    def memory_mib(self):
        status = Path(f"/proc/{self.server.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+) kB", status)[1]) // 1024

    def metric(self, series):
        """What a metric says now: the sum of the series whose name and labels begin like this."""
        with urllib.request.urlopen(f"{self.server.url}/metrics", timeout=PATIENCE) as answer:
            lines = answer.read().decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(series))

    async def until(self, what, holds):
        """Waits until a condition holds, looking at it again and again."""
        try:
            async with asyncio.timeout(PATIENCE):
                while not await asyncio.to_thread(holds):
                    await asyncio.sleep(0.02)
        except TimeoutError:
            raise AssertionError(f"never: {what}") from None

    async def newcomer_is_served(self):
        """Who comes now, on whichever way, gets in and is answered."""
        for way in EVERY_WAY:
            client = await self.connected(*way)
            await client.hello()
            await self.assert_alive(client)
            await client.leave()
