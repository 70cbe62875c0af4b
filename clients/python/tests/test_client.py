"""The client alone, against a real server and against ones that misbehave."""

import json
import logging
import multiprocessing
import socket
import subprocess
import sys
import threading
import unittest
from concurrent.futures import ThreadPoolExecutor

from django_fanfare import events
from django_fanfare.breaker import Breaker
from django_fanfare.client import BreakerOpen, Client, InvalidEvent, Receipt, Refused, Unauthorized, Unreachable

from .support.cases import new_group, new_user, shared_server
from .support.peers import Peer, answer
from .support.server import API_KEY, Server

RECEIPT = {"id": "1-1", "timestamp": "2026-01-01T00:00:00.000Z", "epoch": 1, "offset": 1, "subscribers": 0, "duplicate": False}


class Sending(unittest.TestCase):
    def setUp(self):
        self.server = shared_server()
        self.client = Client(self.server.url, API_KEY)
        self.addCleanup(self.client.close)

    def test_each_kind_arrives_with_its_fields(self):
        group = new_group()
        receipt = self.client.message("Grüße 🎺", group=group, data={"n": 1})
        self.assertIsInstance(receipt, Receipt)
        self.assertEqual(receipt.offset, 1)
        self.client.notification("done", group=group, type="success", title="Great")
        self.client.file("/media/q4.pdf", group=group, size=2457600)
        self.client.event("order.shipped", [1, {"a": None}], group=group)
        past = self.server.past(group)
        self.assertEqual(past[0], {"kind": "message", "message": "Grüße 🎺", "data": {"n": 1}})
        self.assertEqual(past[1], {"kind": "notification", "type": "success", "title": "Great", "message": "done", "data": None})
        file = {"kind": "file", "url": "/media/q4.pdf", "name": "q4.pdf", "message": "File ready for download", "size": 2457600}
        self.assertEqual(past[2], {**file, "data": None})
        self.assertEqual(past[3], {"kind": "order.shipped", "body": [1, {"a": None}], "data": None})

    def test_a_user_is_reached_by_their_personal_group(self):
        user = new_user("ann+x.")
        self.client.message("for you", user=user)
        self.assertEqual(self.server.past(f"user.{user}"), [{"kind": "message", "message": "for you", "data": None}])

    def test_one_key_is_one_event(self):
        group = new_group()
        event = events.message("once", group=group)
        first, second = self.client.send(event), self.client.send(event)
        self.assertEqual((first.duplicate, second.duplicate, first.id), (False, True, second.id))
        self.assertEqual(len(self.server.past(group)), 1)

    def test_a_batch_beyond_one_request_keeps_its_order_and_tells_each_result(self):
        group = new_group()
        many = [events.message(str(number), group=group) for number in range(1200)]
        many[700] = events.custom("message", 5, group=group)  # A message whose body is a number.
        results = self.client.batch(many)
        self.assertEqual(len(results), 1200)
        refused = [number for number, result in enumerate(results) if isinstance(result, Refused)]
        self.assertEqual(refused, [700])
        offsets = [result.offset for result in results if isinstance(result, Receipt)]
        self.assertEqual(offsets, list(range(1, 1200)))

    def test_bad_names_are_told_with_the_rule_and_never_sent(self):
        for bad in ("", "a b", "a/b", "x" * 100, "grün", None, 5, "a\n"):
            with self.subTest(bad=bad), self.assertRaisesRegex(InvalidEvent, "1 to 99 characters|a group or for a user"):
                self.client.message("x", group=bad)
        with self.assertRaisesRegex(InvalidEvent, "1 to 150 characters"):
            self.client.message("x", user="müller")
        with self.assertRaisesRegex(InvalidEvent, "success, error, info, warning"):
            self.client.notification("x", group="g", type="alarm")
        with self.assertRaisesRegex(InvalidEvent, "JSON"):
            self.client.message("x", group="g", data={"x": object()})
        with self.assertRaisesRegex(InvalidEvent, "JSON"):
            self.client.message("x", group="g", data={"x": float("nan")})

    def test_what_the_server_refuses_says_why(self):
        with self.assertRaises(Refused) as caught:
            self.client.message("x" * 70_000, group="g")
        self.assertEqual((caught.exception.kind, caught.exception.status, caught.exception.code), ("event_too_large", 413, 4305))
        self.assertFalse(caught.exception.temporary)
        stranger = Client(self.server.url, "not the key")
        self.addCleanup(stranger.close)
        with self.assertRaises(Unauthorized):
            stranger.message("x", group="g")

    def test_membership_stands_and_ends(self):
        user, group = new_user(), new_group()
        self.assertEqual(self.client.follow(user, [group], standing=True)["sessions"], 0)
        self.assertEqual(self.client.standing(user), [group])
        self.client.unfollow(user, group)
        self.assertEqual(self.client.standing(user), [])
        self.client.follow(user, [group], standing=True)
        self.client.unfollow(user)
        self.assertEqual(self.client.standing(user), [])
        self.assertEqual(self.client.disconnect(user, reason="maintenance")["sessions"], 0)

    def test_looking(self):
        group = new_group()
        self.client.message("x", group=group)
        self.assertTrue(self.client.health()["ready"])
        self.assertEqual(self.client.group(group)["members"], 0)
        self.assertEqual([event["message"] for event in self.client.history(group)["events"]], ["x"])

    def test_it_needs_no_django(self):
        script = "import sys; from django_fanfare import client, events, tokens; print(sorted(name for name in sys.modules if name.startswith('django.')))"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
        self.assertEqual(done.stdout.strip(), "[]")


class Connections(unittest.TestCase):
    def test_threads_share_kept_connections(self):
        server = shared_server()
        client, group = Client(server.url, API_KEY), new_group()
        self.addCleanup(client.close)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda number: client.message(str(number), group=group), range(200)))
        self.assertEqual(sorted(int(client.message("last", group=group).offset) for _ in [0]), [201])
        self.assertLessEqual(len(client._pool._idle), 8)
        self.assertGreaterEqual(len(client._pool._idle), 1)

    def test_one_thread_uses_one_connection(self):
        with Peer(lambda peer: [peer.say(answer(RECEIPT)) for _ in peer.requests()]) as peer:
            client = Client(peer.url, "key")
            for _ in range(5):
                client.message("x", group="g")
            client.close()
        self.assertEqual((peer.accepted, len(peer.seen)), (1, 5))

    @unittest.skipUnless(hasattr(socket, "AF_UNIX"), "processes are not forked here")
    def test_parent_and_child_have_connections_of_their_own(self):
        server = shared_server()
        client, group = Client(server.url, API_KEY), new_group()
        self.addCleanup(client.close)
        client.message("parent", group=group)
        self.assertEqual(len(client._pool._idle), 1)
        # A thread holds the lock while the process forks: a child that inherited it would wait for ever.
        with client._pool._lock, client._breaker._lock:
            children = [multiprocessing.get_context("fork").Process(target=_child, args=(client, group)) for _ in range(3)]
            for child in children:
                child.start()
        for child in children:
            child.join(20)
            self.assertEqual(child.exitcode, 0)
        client.message("parent again", group=group)
        self.assertEqual(len(server.past(group)), 32)

    def test_a_connection_that_the_server_has_closed_is_replaced(self):
        def close_after_each(peer):
            for _ in peer.requests():
                peer.say(answer(RECEIPT))
                return

        with Peer(close_after_each) as peer:
            client = Client(peer.url, "key", retries=0)
            self.addCleanup(client.close)
            for _ in range(3):
                client.message("x", group="g")
        self.assertEqual(peer.accepted, 3)

    def test_a_server_that_comes_back_is_used_again(self):
        server = Server()
        self.addCleanup(server.end)
        client = Client(server.url, API_KEY, breaker=Breaker(first_pause=0))
        self.addCleanup(client.close)
        client.message("before", group="g")
        server.stop()
        with self.assertRaisesRegex(Unreachable, "does not answer: .*refused"):
            client.message("lost", group="g")
        server.restart()
        client.message("after", group="g")
        self.assertEqual([event["message"] for event in server.past("g")], ["after"])


def _child(client, group):
    for number in range(10):
        client.message(f"child {number}", group=group)


class Failures(unittest.TestCase):
    """Against peers that do what servers and what stands before them do at their worst."""

    def call(self, behave, **options):
        with Peer(behave) as peer:
            client = Client(peer.url, "key", **{"timeout": 20.0, **options})
            try:
                return client.message("x", group="g"), peer
            except Exception as error:
                return error, peer
            finally:
                client.close()

    def test_a_lost_answer_is_asked_for_again_with_the_same_key(self):
        def lose_the_first(peer):
            for _ in peer.requests():
                if len(peer.seen) == 1:
                    return
                peer.say(answer(RECEIPT))

        result, peer = self.call(lose_the_first)
        self.assertIsInstance(result, Receipt)
        keys = [head["idempotency-key"] for head, _ in peer.seen]
        self.assertEqual(len(keys), 2)
        self.assertEqual(len(set(keys)), 1)

    def test_what_is_unavailable_is_tried_again_and_what_is_refused_is_not(self):
        def unavailable_once(peer):
            for _ in peer.requests():
                peer.say(answer(RECEIPT) if len(peer.seen) > 1 else answer(problem("unavailable", 503, 1), 503))

        result, peer = self.call(unavailable_once)
        self.assertIsInstance(result, Receipt)
        result, peer = self.call(lambda peer: [peer.say(answer(problem("bad_event", 422), 422)) for _ in peer.requests()])
        self.assertEqual((type(result), result.kind, len(peer.seen)), (Refused, "bad_event", 1))
        result, peer = self.call(lambda peer: [peer.say(answer(problem("unavailable", 503, 1), 503)) for _ in peer.requests()], retries=3)
        self.assertEqual((type(result), result.temporary, len(peer.seen)), (Refused, True, 4))

    def test_a_repetition_that_the_time_does_not_allow_is_not_made(self):
        result, peer = self.call(lambda peer: [peer.say(answer(problem("unavailable", 503, 60_000), 503)) for _ in peer.requests()])
        self.assertEqual((result.retry_after, len(peer.seen)), (60.0, 1))

    def test_silence_ends_with_the_time(self):
        result, peer = self.call(lambda peer: [peer.stay_silent() for _ in peer.requests()], timeout=0.05)
        self.assertIsInstance(result, Unreachable)
        self.assertIn("no answer in time", str(result))
        self.assertEqual(len(peer.seen), 1)

    def test_a_server_that_accepts_nothing_ends_with_the_time(self):
        with socket.socket() as full:
            full.bind(("127.0.0.1", 0))
            full.listen(0)
            clients = []
            for _ in range(8):  # More than the queue takes.
                waiting = socket.socket()
                waiting.setblocking(False)
                waiting.connect_ex(full.getsockname())
                clients.append(waiting)
            with self.assertRaises(Unreachable):
                Client(f"http://127.0.0.1:{full.getsockname()[1]}", "key", timeout=0.1).message("x", group="g")
            for waiting in clients:
                waiting.close()

    def test_answers_of_others_are_told_from_ours(self):
        pages = [
            (b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\n<h1>no</h1>"[:-2], "no answer of a fanfare server"),
            (b"HTTP/1.1 301 Moved\r\nLocation: https://x/\r\nContent-Length: 0\r\n\r\n", "no answer of a fanfare server"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", "no answer of a fanfare server"),
            (b"SSH-2.0-OpenSSH_9.2\r\n", "does not answer"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{", "breaks off"),
        ]
        for page, sentence in pages:

            def behave(peer, page=page):
                for _ in peer.requests():
                    peer.say(page)
                    return

            with self.subTest(page=page):
                result, _ = self.call(behave, retries=0)
                self.assertRegex(str(result), sentence)

    def test_an_address_that_is_none_is_told(self):
        for bad in ("", "127.0.0.1:8080", "ftp://x", "https://"):
            with self.subTest(bad=bad), self.assertRaisesRegex(InvalidEvent, "http://host:port"):
                Client(bad, "key")


class Breaking(unittest.TestCase):
    def setUp(self):
        self.now = 0.0
        self.breaker = Breaker(first_pause=1, longest_pause=4, clock=lambda: self.now)
        logging.getLogger("django_fanfare").propagate = True

    def test_one_in_a_pause_is_let_through_and_pauses_grow(self):
        with self.assertLogs("django_fanfare") as logged:
            for pause in (1, 2, 4, 4):
                self.breaker.failed("http://x does not answer")
                with self.assertRaisesRegex(BreakerOpen, "not tried, for http://x does not answer"):
                    self.breaker.admit()
                self.now += pause
                self.breaker.admit()
                with self.assertRaises(BreakerOpen):
                    self.breaker.admit()
            self.breaker.succeeded()
            self.breaker.admit()
            self.breaker.succeeded()
        self.assertEqual([record.levelname for record in logged.records], ["ERROR", "WARNING"])
        self.assertIn("8 requests were not tried", logged.output[1])

    def test_a_server_that_is_down_is_asked_once_by_many_threads(self):
        with Peer(lambda peer: None) as peer:
            client = Client(peer.url, "key", retries=0, breaker=self.breaker)
            with self.assertLogs("django_fanfare") as logged:
                with self.assertRaises(Unreachable):
                    client.message("x", group="g")
                outcomes = []

                def ask():
                    try:
                        client.message("x", group="g")
                    except Unreachable as error:
                        outcomes.append(type(error))

                threads = [threading.Thread(target=ask) for _ in range(10)]
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
        self.assertEqual(outcomes, [BreakerOpen] * 10)
        self.assertEqual(peer.accepted, 1)
        self.assertEqual(len(logged.records), 1)

    def test_a_refusal_is_an_answer(self):
        with Peer(lambda peer: [peer.say(answer(problem("bad_event", 422), 422)) for _ in peer.requests()]) as peer:
            client = Client(peer.url, "key", breaker=self.breaker)
            for _ in range(3):
                with self.assertRaises(Refused):
                    client.message("x", group="g")
            client.close()
        self.assertIsNone(self.breaker.reason)


def problem(kind, status, retry_after_ms=None):
    document = {"type": f"urn:fanfare:problem:{kind}", "title": kind, "status": status, "detail": "because"}
    return {**document, **({} if retry_after_ms is None else {"retry_after_ms": retry_after_ms})}


class Encoding(unittest.TestCase):
    def test_an_event_says_the_same_alone_and_in_a_batch(self):
        event = events.notification("x", group="g", title="T", data={"a": 1})
        self.assertEqual(event.path(), "/v1/groups/g/notifications")
        self.assertEqual(event.in_batch(), {"group": "g", "kind": "notification", "key": event.key, **event.body()})
        self.assertEqual(events.custom("a.b", 1, user="a@b+c").path(), "/v1/users/a%40b%2Bc/events")

    def test_a_settled_event_does_not_change_with_its_maker(self):
        data = {"list": [1]}
        event = events.message("x", group="g", data=data).settled()
        data["list"].append(2)
        self.assertEqual(json.loads(events.encode(event.body())), {"message": "x", "data": {"list": [1]}})
