"""What holds over each transport in each dialect: one test for each, four times over. What is expected is what docs/protocol.md says."""

from datetime import datetime, timedelta, timezone

import msgpack

from cases import EVERY_WAY, InteropTest
from clients import Ended, WebSocketClient, WebTransportClient
from dialects import CODES, REASONS, Json, Msgpack

class Conversations:
    settings = {"limits.groups_per_session": 20}
    transport: type
    dialect: type

    async def client(self, token=None):
        client = await self.connected(self.transport, self.dialect)
        client.welcome = await client.hello(token)
        return client

    async def assert_error(self, client, request, code):
        name, answered, given, sentence, retry_after_ms = await client.expect("error")
        self.assertEqual((answered, given), (request, CODES[code]), sentence)
        self.assertTrue(sentence)
        self.assertIsNone(retry_after_ms)
        await self.assert_alive(client)

    # Hello and welcome

    async def test_hello_is_answered_with_welcome(self):
        client = await self.connected(self.transport, self.dialect)
        _, version, session, options = await client.hello(client="interop/1", transport="forced")
        self.assertEqual(version, 1)
        self.assertIsInstance(session, str)
        self.assertEqual(
            options,
            {"ping": 25000, "maxFrame": 65536, "maxGroups": 20, "server": f"fanfare/{self.server.discovery['version']}", "node": "interop"},
        )

    async def test_session_ids_are_unique(self):
        first, second = [await self.client() for _ in range(2)]
        self.assertNotEqual(first.welcome[2], second.welcome[2])

    async def test_a_client_that_speaks_a_higher_version_gets_version_1(self):
        client = await self.connected(self.transport, self.dialect)
        await client.send("hello", 7, None, {})
        self.assertEqual((await client.expect("welcome"))[1], 1)

    async def test_version_0_is_not_spoken(self):
        client = await self.connected(self.transport, self.dialect)
        await client.send("hello", 0, None, {})
        await self.assert_goodbye(client, "unsupported_version", False)

    async def test_hello_without_trailing_elements_and_with_unknown_ones(self):
        for frame in (["hello", 1], ["hello", 1, None, None], ["hello", 1, None, {"later": [1]}, "more", {"and": "more"}]):
            with self.subTest(frame):
                client = await self.connected(self.transport, self.dialect)
                await client.send(*frame)
                await client.expect("welcome")

    async def test_subscribing_right_after_hello_without_waiting(self):
        client = await self.connected(self.transport, self.dialect)
        await client.send("hello", 1)
        await client.send("subscribe", 1, self.group("a."))
        await client.send("subscribe", 2, self.group("b."))
        await client.expect("welcome")
        self.assertEqual((await client.expect("subscribed"))[1], 1)
        self.assertEqual((await client.expect("subscribed"))[1], 2)

    # Tokens

    async def test_a_token_makes_a_session_of_a_user_who_follows_the_personal_group(self):
        user = "john.doe+x@example.org"
        client = await self.client(await self.server.token(user))
        self.assertEqual(client.welcome[3]["user"], user)
        _, request, number, group, _, offset, recovered, missed = await client.expect("subscribed")
        self.assertEqual((request, group, recovered, missed), (0, f"user.{user}", None, 0))
        receipt = await self.server.post("/v1/users/john.doe%2Bx%40example.org/messages", {"message": "for you"})
        self.assertEqual(await client.receive(), ["event", number, offset + 1, receipt["id"], "message", "for you", None, None])

    async def test_refreshing_a_token(self):
        client = await self.client(await self.server.token("ann"))
        await client.expect("subscribed")
        await client.send("refresh", 5, await self.server.token("ann", 300))
        name, request, seconds = await client.receive()
        self.assertEqual((name, request), ("refreshed", 5))
        # The document doesn't say whether the server adds something for clocks that differ.
        self.assertTrue(290 <= seconds <= 360, seconds)

    async def test_a_token_that_is_no_token(self):
        client = await self.client(await self.server.token("ann"))
        await client.expect("subscribed")
        await client.send("refresh", 6, "a.b.c")
        await self.assert_error(client, 6, "token_invalid")
        client = await self.connected(self.transport, self.dialect)
        await client.send("hello", 1, "a.b.c")
        name, code, *_ = await client.receive()
        self.assertEqual((name, code), ("goodbye", CODES["token_invalid"]))

    async def test_a_token_of_another_user_does_not_refresh(self):
        client = await self.client(await self.server.token("ann"))
        await client.expect("subscribed")
        await client.send("refresh", 7, await self.server.token("bob"))
        await self.assert_error(client, 7, "token_invalid")

    # Subscribing

    async def test_subscribing_tells_number_and_position(self):
        group = self.group()
        client = await self.client()
        _, request, number, name, epoch, offset, recovered, missed = await client.follow(group, request=2**32 - 1)
        self.assertEqual((request, name, offset, recovered, missed), (2**32 - 1, group, 0, None, 0))
        self.assertTrue(0 < epoch < 2**32)
        receipt = await self.server.message(group, "x")
        self.assertEqual((receipt["epoch"], receipt["offset"], receipt["subscribers"]), (epoch, 1, 1))
        self.assertEqual((await client.expect("event"))[1:4], [number, 1, receipt["id"]])
        again = await client.follow(group, request=2)
        self.assertEqual(again, ["subscribed", 2, number, group, epoch, 1, None, 0])
        self.assertNotEqual((await client.follow(group[:-1], request=3))[2], number)

    async def test_a_group_without_history_has_no_positions(self):
        group = self.group("ticker.")
        client = await self.client()
        _, _, number, *rest = await client.follow(group)
        self.assertEqual(rest, [group, 0, 0, None, 0])
        receipt = await self.server.message(group, "tick")
        self.assertEqual((receipt["epoch"], receipt["offset"]), (0, 0))
        self.assertEqual(await client.receive(), ["event", number, 0, receipt["id"], "message", "tick", None, None])

    async def test_nothing_comes_after_unsubscribed(self):
        group = self.group()
        client = await self.client()
        await client.follow(group)
        await client.send("unsubscribe", 3, group)
        self.assertEqual(await client.receive(), ["unsubscribed", 3, group, 0])
        self.assertEqual((await self.server.message(group, "unheard"))["subscribers"], 0)
        await self.assert_alive(client)
        await client.send("unsubscribe", 4, group)
        self.assertEqual(await client.receive(), ["unsubscribed", 4, group, 0])

    async def test_a_bad_group_name_is_an_error_and_the_session_goes_on(self):
        client = await self.client()
        for group in ("", "sales team", "ä", "a" * 100, "a@b", "a+b"):
            with self.subTest(group):
                await client.send("subscribe", 7, group)
                await self.assert_error(client, 7, "bad_group_name")
                await client.send("publish", 8, group, "message", "x")
                await self.assert_error(client, 8, "bad_group_name")
        await client.follow("a" * 99)

    async def test_a_policy_that_does_not_allow_it(self):
        client = await self.client()
        for group in (self.group("staff."), "user.ann"):
            with self.subTest(group):
                await client.send("subscribe", 1, group)
                await self.assert_error(client, 1, "not_allowed")
                await client.send("publish", 2, group, "message", "x")
                await self.assert_error(client, 2, "not_allowed")

    async def test_more_groups_than_welcome_told(self):
        client = await self.client()
        most = client.welcome[3]["maxGroups"]
        for request in range(1, most + 1):
            await client.send("subscribe", request, self.group(f"g{request}."))
        for request in range(1, most + 1):
            self.assertEqual((await client.expect("subscribed"))[1], request)
        await client.send("subscribe", 99, self.group("over."))
        await self.assert_error(client, 99, "too_many_groups")

    # Events

    async def test_every_kind_of_event_from_the_http_api(self):
        group = self.group()
        client = await self.client()
        number = (await client.follow(group))[2]
        file = "File ready for download"
        whole = {"url": "/media/q4.pdf", "name": "Q4", "message": "Done", "size": 2457600}
        table = [
            ("messages", {"message": "New leads"}, "message", "New leads", None),
            ("messages", {"message": "", "data": {"a": [1, {"b": None}]}}, "message", "", {"a": [1, {"b": None}]}),
            ("notifications", {"message": "Target reached"}, "notification", ["info", "", "Target reached"], None),
            ("notifications", {"message": "m", "title": "t", "type": "success"}, "notification", ["success", "t", "m"], None),
            ("files", {"url": "/media/q4.pdf?v=1"}, "file", ["/media/q4.pdf?v=1", "q4.pdf", file, None], None),
            ("files", whole | {"data": {"by": "ann"}}, "file", ["/media/q4.pdf", "Q4", "Done", 2457600], {"by": "ann"}),
            ("events", {"kind": "task.update", "body": {"progress": 0.5}}, "task.update", {"progress": 0.5}, None),
            ("events", {"kind": "task.complete", "body": {}}, "task.complete", {}, None),
            ("events", {"kind": "task.error", "body": {"why": "ünïcödé 🎺"}}, "task.error", {"why": "ünïcödé 🎺"}, None),
            ("events", {"kind": "order.shipped", "body": [1, -1, True, 2**53], "data": {}}, "order.shipped", [1, -1, True, 2**53], {}),
            ("events", {"kind": "nothing"}, "nothing", None, None),
        ]
        for offset, (route, body, kind, event_body, data) in enumerate(table, 1):
            with self.subTest(body):
                receipt = await self.server.post(f"/v1/groups/{group}/{route}", body)
                self.assertEqual(await client.receive(), ["event", number, offset, receipt["id"], kind, event_body, data, None])
                self.assertEqual(receipt["offset"], offset)

    async def test_events_from_the_command_line(self):
        group = self.group()
        client = await self.client()
        number = (await client.follow(group))[2]
        receipt = await self.server.send("notification", group, "Monthly target", "--type", "warning", "--title", "Oh", "--data", '{"n":1}')
        self.assertEqual(await client.receive(), ["event", number, 1, receipt["id"], "notification", ["warning", "Oh", "Monthly target"], {"n": 1}, None])

    async def test_an_event_id_holds_the_time(self):
        group = self.group()
        client = await self.client()
        await client.follow(group)
        receipt = await self.server.message(group, "now")
        milliseconds, suffix = map(int, (await client.expect("event"))[3].split("-"))
        time = datetime(1970, 1, 1, tzinfo=timezone.utc) + timedelta(milliseconds=milliseconds)
        self.assertEqual(time, datetime.fromisoformat(receipt["timestamp"]))
        self.assertLess(suffix, 2**22)

    async def test_what_only_messagepack_can_say(self):
        group = self.group()
        client = await self.client()
        await client.follow(group)
        body = {"binary": b"\x00\xff\x10", "extension": msgpack.ExtType(5, b"abcd"), "nan": float("nan"), "infinity": float("-inf"), 7: "seven"}
        packed = msgpack.packb({"kind": "odd", "body": body})
        await self.server.post(f"/v1/groups/{group}/events", packed, "application/msgpack")
        received = (await client.expect("event"))[5]
        if self.dialect is Msgpack:
            nan = received.pop("nan")
            self.assertNotEqual(nan, nan)
            body.pop("nan")
            self.assertEqual(received, body)
        else:
            self.assertEqual(received, {"binary": "AP8Q", "extension": {"$ext": [5, "YWJjZA=="]}, "nan": None, "infinity": None, "7": "seven"})

    async def test_one_order_for_everybody(self):
        group = self.group()
        clients = [await self.client() for _ in range(3)]
        for client in clients:
            await client.follow(group)
        for index in range(20):
            for client in clients:
                await client.send("publish", index + 1, group, "chat", index)
        seen = []
        for client in clients:
            events = []
            while len(events) < 60:
                frame = await client.receive()
                if frame[0] == "event":
                    events.append(frame[2:])
            seen.append(events)
        self.assertEqual([event[0] for event in seen[0]], list(range(1, 61)))
        self.assertEqual(seen[0], seen[1])
        self.assertEqual(seen[0], seen[2])

    # Publishing

    async def answer_and_event(self, client):
        """`published` and the event itself; nothing says which comes first."""
        frames = [await client.receive() for _ in range(2)]
        frames.sort(key=lambda frame: frame[0])
        self.assertEqual([frame[0] for frame in frames], ["event", "published"])
        return frames[1], frames[0]

    async def test_publishing_every_kind(self):
        group = self.group()
        client = await self.client()
        epoch = (await client.follow(group))[4]
        file = "File ready for download"
        table = [
            ("message", "New leads", "New leads"),
            ("notification", ["success", "Great job!", "Target reached"], None),
            ("notification", ["info", "", ""], None),
            ("file", ["/media/q4.pdf", "Q4", "Done", 1], None),
            ("file", ["/media/q4.pdf"], ["/media/q4.pdf", "q4.pdf", file, None]),
            ("file", ["https://x.example/a/b.txt?c=d#e", None, None, 0], ["https://x.example/a/b.txt?c=d#e", "b.txt", file, 0]),
            ("task.update", {"id": "t1"}, None),
            ("task.complete", {"id": "t1"}, None),
            ("task.error", {"id": "t1"}, None),
            ("chat.typing", {"on": True}, None),
            ("k" * 64, [1.5, "x", None], None),
        ]
        for offset, (kind, body, expected) in enumerate(table, 1):
            with self.subTest((kind, body)):
                await client.send("publish", 40 + offset, group, kind, body, {"n": offset})
                published, event = await self.answer_and_event(client)
                self.assertEqual(published, ["published", 40 + offset, event[3], epoch, offset])
                self.assertEqual(event[4:], [kind, body if expected is None else expected, {"n": offset}, None])

    async def test_the_other_dialect_and_transport_reads_the_same(self):
        group = self.group()
        ours = await self.client()
        others = [await self.connected(*way) for way in EVERY_WAY]
        for other in others:
            await other.hello()
            await other.follow(group)
        await ours.send("publish", 1, group, "chat", {"a": [1, "ä", None, False, 0.25, -5]}, {"d": {"e": "f"}})
        _, _, event, epoch, offset = await ours.expect("published")
        for other in others:
            self.assertEqual((await other.expect("event"))[2:], [offset, event, "chat", {"a": [1, "ä", None, False, 0.25, -5]}, {"d": {"e": "f"}}, None])

    async def test_a_user_is_the_sender(self):
        group = self.group("staff.")
        client = await self.client(await self.server.token("ann"))
        await client.expect("subscribed")
        await client.follow(group)
        await client.send("publish", 2, group, "message", "hi")
        _, event = await self.answer_and_event(client)
        self.assertEqual(event[7], "ann")

    async def test_an_idempotency_key_publishes_once(self):
        group = self.group()
        client = await self.client()
        await client.follow(group)
        await client.send("publish", 1, group, "message", "once", None, {"key": "k-1"})
        first, _ = await self.answer_and_event(client)
        await client.send("publish", 2, group, "message", "once", None, {"key": "k-1"})
        self.assertEqual(await client.receive(), ["published", 2, *first[2:]])
        await self.assert_alive(client)

    async def test_events_that_break_a_rule(self):
        group = self.group()
        client = await self.client()
        for kind, body, *more in [
            ("message", 7),
            ("notification", "text"),
            ("notification", ["fatal", "", "x"]),
            ("file", []),
            ("file", ["/a", "a", "b", -1]),
            ("task.update", "text"),
            ("bad kind", 1),
            ("k" * 65, 1),
            ("chat", 1, "data that is no map"),
            ("chat", 1, None, {"key": ""}),
            ("chat", 1, None, {"key": "k" * 101}),
        ]:
            with self.subTest((kind, body, *more)):
                await client.send("publish", 9, group, kind, body, *more)
                await self.assert_error(client, 9, "bad_event")

    async def test_an_event_over_the_limit(self):
        group = self.group()
        client = await self.client()
        await client.send("publish", 1, group, "chat", "x" * (61_440 - 4))
        self.assertEqual((await client.receive())[:2], ["published", 1])
        await client.send("publish", 2, group, "chat", "x" * 61_440)
        await self.assert_error(client, 2, "event_too_large")

    # Resuming

    async def away(self, group, events):
        """A client has followed the group and left, and events have come since. Gives the epoch and the events' ids."""
        client = await self.client()
        epoch = (await client.follow(group))[4]
        await client.leave()
        return epoch, [(await self.server.message(group, f"m{index}"))["id"] for index in range(1, events + 1)]

    async def test_resuming_gives_what_was_missed_and_goes_on(self):
        group = self.group()
        epoch, ids = await self.away(group, 4)
        client = await self.client()
        _, request, number, _, *rest = await client.follow(group, request=2, since=[epoch, 1])
        self.assertEqual((request, rest), (2, [epoch, 4, True, 3]))
        for offset in (2, 3, 4):
            self.assertEqual(await client.receive(), ["event", number, offset, ids[offset - 1], "message", f"m{offset}", None, None])
        await self.server.message(group, "live")
        self.assertEqual((await client.expect("event"))[2:6:3], [5, "live"])

    async def test_resuming_where_nothing_was_missed(self):
        group = self.group()
        epoch, _ = await self.away(group, 2)
        client = await self.client()
        self.assertEqual((await client.follow(group, since=[epoch, 2]))[4:], [epoch, 2, True, 0])
        await self.assert_alive(client)

    async def test_resuming_from_before_the_history_reports_the_gap(self):
        group = self.group("short.")
        epoch, ids = await self.away(group, 6)
        client = await self.client()
        _, _, number, _, *rest = await client.follow(group, since=[epoch, 1])
        self.assertEqual(rest, [epoch, 6, False, 3])
        self.assertEqual(await client.receive(), ["gap", number, epoch, 2, 3, 2, REASONS["expired"]])
        for offset in (4, 5, 6):
            self.assertEqual((await client.expect("event"))[1:4], [number, offset, ids[offset - 1]])
        await self.assert_alive(client)

    async def test_resuming_from_another_epoch_reports_the_gap(self):
        group = self.group()
        epoch, _ = await self.away(group, 2)
        client = await self.client()
        _, _, number, _, *rest = await client.follow(group, since=[epoch ^ 1, 1])
        missed = rest.pop()
        self.assertEqual(rest, [epoch, 2, False])
        self.assertEqual(await client.receive(), ["gap", number, epoch, 0, 0, None, REASONS["epoch"]])
        for _ in range(missed):
            await client.expect("event")
        await self.assert_alive(client)

    async def test_resuming_in_a_group_without_history_reports_the_gap(self):
        group = self.group("ticker.")
        client = await self.client()
        _, _, number, *rest = await client.follow(group, since=[2882400001, 41])
        self.assertEqual(rest, [group, 0, 0, False, 0])
        self.assertEqual((await client.expect("gap"))[1:5], [number, 0, 0, 0])
        await self.assert_alive(client)

    async def test_resuming_in_a_group_that_is_followed_sends_the_events_again(self):
        group = self.group()
        client = await self.client()
        _, _, number, _, epoch, *_ = await client.follow(group)
        for index in range(3):
            await self.server.message(group, f"m{index}")
        live = [await client.expect("event") for _ in range(3)]
        self.assertEqual(await client.follow(group, request=2, since=[epoch, 1]), ["subscribed", 2, number, group, epoch, 3, True, 2])
        self.assertEqual([await client.receive() for _ in range(2)], live[1:])
        await self.assert_alive(client)

    # Liveness and closing

    async def test_a_ping_of_any_number_is_answered(self):
        client = await self.client()
        for number in (0, 7, 2**32, 2**53 - 1):
            await self.assert_alive(client, number)

    async def test_a_client_says_goodbye(self):
        client = await self.client()
        await client.send("goodbye", CODES["going_away"])
        with self.assertRaises(Ended):
            while (await client.receive())[0] == "goodbye":
                pass

    async def test_malformed_frames(self):
        wrong = [["ping"], ["ping", "seven"], ["ping", -1], ["subscribe", 0, "a"], ["subscribe", 2**32, "a"], ["subscribe", 1, 7], ["subscribe", 1, "a", "text"]]
        wrong += [["subscribe", 1, "a", {"since": 7}], ["publish", 1, "a", 7.5, "x"], ["refresh", 1, 7]]
        payloads = [self.dialect.encode(frame) for frame in wrong]
        if self.dialect is Msgpack:
            payloads += [b"\xc1", b"\x92\x30", b"\x92\x30\x07\x00", b"\x07", b"\x80", b"\x90", Json.encode(["ping", 7])]
        else:
            payloads += [b"[", b'["ping",7', b'["ping",7] x', b"7", b"{}", b"[]", b"[48,7]", b'["ping",07]', b'["ping",NaN]', b'["ping",7.0]']
        for payload in payloads:
            with self.subTest(payload):
                client = await self.client()
                await client.send_payload(payload)
                await self.assert_goodbye(client, "malformed_frame", False)

    async def test_an_empty_frame_is_malformed(self):
        client = await self.client()
        await client.send_payload(b"")
        await self.assert_goodbye(client, "malformed_frame", False)

    async def test_nesting(self):
        group = self.group()
        client = await self.client()
        deepest = current = []
        for _ in range(14):  # With the frame itself and `deepest` these are 16.
            current.append([])
            current = current[0]
        await client.send("publish", 1, group, "chat", deepest)
        self.assertEqual((await client.receive())[:2], ["published", 1])
        await client.send("publish", 2, group, "chat", [deepest])
        await self.assert_goodbye(client, "too_deep", False)

    async def test_a_frame_over_the_limit(self):
        client = await self.client()
        longest = client.welcome[3]["maxFrame"]
        # A frame with an unknown opcode is skipped if it is not too long.
        unknown = self.unknown_opcode()
        around = len(self.dialect.pack([unknown, "x" * 60_000])) - 60_000
        await client.send_value([unknown, "x" * (longest - around)])
        await self.assert_alive(client)
        await client.send_value([unknown, "x" * (longest - around + 1)])
        await self.assert_goodbye(client, "frame_too_large", False)

    async def test_frames_that_can_not_come_here(self):
        for frame in (["hello", 1], ["welcome", 1, "s", {}], ["event", 1, 1, "1-1", "message", "x"]):
            with self.subTest(frame):
                client = await self.client()
                await client.send(*frame)
                await self.assert_goodbye(client, "unexpected_frame", False)
        for frame in (["subscribe", 1, "a"], ["ping", 7]):
            with self.subTest(f"{frame} before hello"):
                client = await self.connected(self.transport, self.dialect)
                await client.send(*frame)
                await self.assert_goodbye(client, "unexpected_frame", False)

    def unknown_opcode(self):
        return "frobnicate" if self.dialect is Json else 0x7F

    async def test_unknown_opcodes(self):
        client = await self.client()
        unknown = self.unknown_opcode()
        await client.send_value([unknown, 12, "x"])
        await self.assert_error(client, 12, "unknown_request")
        for rest in ([], [0], [None], ["x"], [{}], [-1], [1.5]):
            with self.subTest(rest):
                await client.send_value([unknown, *rest])
                await self.assert_alive(client)


class WebTransportMsgpack(Conversations, InteropTest):
    transport, dialect = WebTransportClient, Msgpack


class WebTransportJson(Conversations, InteropTest):
    transport, dialect = WebTransportClient, Json


class WebSocketMsgpack(Conversations, InteropTest):
    transport, dialect = WebSocketClient, Msgpack


class WebSocketJson(Conversations, InteropTest):
    transport, dialect = WebSocketClient, Json
