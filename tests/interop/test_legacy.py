"""The dialect of older pages, as docs/legacy.md says it."""

import asyncio
import json

import websockets

from cases import InteropTest
from clients import PATIENCE
from server import ORIGIN


class Page:
    """The page's end, with words for what it does."""

    def __init__(self, socket):
        self.socket = socket

    @classmethod
    async def open(cls, server, **options):
        return cls(await websockets.connect(server.url.replace("http", "ws", 1) + "/ws/tasks/", **options))

    async def say(self, **action):
        await self.socket.send(json.dumps(action))

    async def told(self):
        async with asyncio.timeout(PATIENCE):
            message = await self.socket.recv()
        assert isinstance(message, str), message
        return json.loads(message)


class Legacy(InteropTest):
    async def page(self, **options):
        page = await Page.open(self.server, **options)
        self.addAsyncCleanup(page.socket.close)
        return page

    async def test_actions_and_their_confirmations(self):
        page = await self.page()
        self.assertIsNone(page.socket.subprotocol)
        await page.say(action="subscribe_group", group_name="sales_team")
        self.assertEqual(await page.told(), {"type": "group_subscription_confirmed", "group_name": "sales_team"})
        await page.say(action="subscribe", task_id="4f")
        self.assertEqual(await page.told(), {"type": "subscription_confirmed", "task_id": "4f"})
        await page.say(action="unsubscribe_group", group_name="sales_team")
        await page.say(action="unsubscribe", task_id="4f")
        await page.say(action="subscribe", task_id=42)
        self.assertEqual(await page.told(), {"type": "subscription_confirmed", "task_id": "42"})
        receipt = await self.server.message("sales_team", "nobody hears it")
        self.assertEqual(receipt["subscribers"], 0)

    async def test_types_and_fields(self):
        group = self.group()
        page = await self.page()
        await page.say(action="subscribe_group", group_name=group)
        await page.told()
        await self.server.post(f"/v1/groups/{group}/messages", {"message": "hi", "data": {"a": [1, None]}})
        await self.server.post(f"/v1/groups/{group}/notifications", {"type": "error", "message": "no"})
        await self.server.post(f"/v1/groups/{group}/files", {"url": "/media/a.pdf", "size": 5})
        await self.server.post(f"/v1/groups/{group}/events", {"kind": "chat.typing", "body": 1})
        await self.server.post(f"/v1/groups/{group}/events", {"kind": "task.update", "body": {"task_id": "t", "progress": 7}})
        message, notification, file, task = [await page.told() for _ in range(4)]
        for told in (message, notification, file):
            self.assertRegex(told.pop("timestamp"), r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
        self.assertEqual(message, {"type": "group_message", "group_name": group, "message": "hi", "data": {"a": [1, None]}})
        self.assertEqual(
            notification,
            {"type": "group_notification", "group_name": group, "notification_type": "error", "title": "", "message": "no", "data": {}},
        )
        self.assertEqual(
            file,
            {
                "type": "group_file",
                "group_name": group,
                "message": "File ready for download",
                "file_url": "/media/a.pdf",
                "file_name": "a.pdf",
                "file_size": 5,
                "data": {},
            },
        )
        self.assertEqual(task, {"type": "task_update", "task_id": "t", "status": "processing", "message": "", "progress": 7, "data": {}})

    async def test_nonsense_is_skipped_and_what_is_refused_is_not_confirmed(self):
        page = await self.page()
        for text in ("", "nonsense", "[]", '{"action":"subscribe_group"}', '{"action":"publish","group_name":"g"}', b"\x94\x01"):
            await page.socket.send(text)
        await page.say(action="subscribe_group", group_name="staff.room")
        await page.say(action="subscribe_group", group_name="user.ann")
        await page.say(action="subscribe_group", group_name="last")
        self.assertEqual((await page.told())["group_name"], "last")

    async def test_the_origin_is_checked(self):
        await self.page(origin=ORIGIN)
        with self.assertRaises(websockets.InvalidStatus) as refused:
            await self.page(origin="https://evil.example")
        self.assertEqual(refused.exception.response.status_code, 403)
