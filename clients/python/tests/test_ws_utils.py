"""The functions that applications call, against a real server: what arrives, and what becomes of everything that can't be sent."""

import datetime
import decimal
import inspect
import logging
import uuid

from django.contrib.auth import get_user_model
from django.db import transaction
from django.test import TestCase, TransactionTestCase, override_settings
from django.utils.translation import gettext_lazy

import django_fanfare as fanfare
from django_fanfare import aio, publisher, ws_utils

from .support.cases import ServerCase, ServerMixin, new_group, new_user, setting
from .support.server import Server, wait_for

#: Everything after the target, as applications call it.
SIGNATURES = {
    "ws_send_message": "(username, message, data=None)",
    "ws_connect": "(username, message, data=None)",
    "ws_send_notification": "(username, message, notification_type='info', title='', data=None)",
    "ws_send_file": "(username, file_url, file_name='', message='File ready for download', file_size=None, data=None)",
    "ws_broadcast_message": "(message, usernames=None, data=None)",
    "ws_send_task_update": "(username, task_id, task_name, message, progress=0, status='processing', data=None)",
    "ws_send_task_complete": "(username, task_id, task_name, message, result=None)",
    "ws_send_task_error": "(username, task_id, task_name, error, message='')",
    "test_websocket_connection": "(username)",
    "ws_send_group_message": "(group_name, message, data=None)",
    "ws_send_group_notification": "(group_name, message, notification_type='info', title='', data=None)",
    "ws_send_group_file": "(group_name, file_url, file_name='', message='File ready for download', file_size=None, data=None)",
}


class Names(ServerCase):
    def test_every_function_has_its_name_and_its_arguments(self):
        self.assertEqual(set(SIGNATURES), set(ws_utils.__all__))
        for name, wanted in SIGNATURES.items():
            with self.subTest(name=name):
                signature = inspect.signature(getattr(ws_utils, name))
                positional = [
                    one.replace(annotation=one.empty) for one in signature.parameters.values() if one.kind is one.POSITIONAL_OR_KEYWORD
                ]
                self.assertEqual(str(inspect.Signature(positional)), wanted)

    def test_every_function_can_be_awaited(self):
        self.assertEqual(set(aio.__all__), set(ws_utils.__all__))
        for name in SIGNATURES:
            self.assertTrue(inspect.iscoroutinefunction(getattr(aio, name)), name)


class Groups(ServerCase):
    def test_message(self):
        group = new_group()
        self.assertIs(ws_utils.ws_send_group_message(group, "Team meeting in 15 minutes!"), True)
        self.assertIs(ws_utils.ws_send_group_message(group, "Deployed", data={"version": "2.0.1"}), True)
        self.assertIs(ws_utils.ws_send_group_message(group, gettext_lazy("Sunday")), True)
        self.assertIs(ws_utils.ws_send_group_message(group, 5), True)
        past = self.server.past(group)
        self.assertEqual([event["message"] for event in past], ["Team meeting in 15 minutes!", "Deployed", "Sunday", "5"])
        self.assertEqual([event["data"] for event in past], [None, {"version": "2.0.1"}, None, None])

    def test_notification(self):
        group = new_group()
        for level in ("success", "error", "warning", "info"):
            self.assertIs(ws_utils.ws_send_group_notification(group, "text", level, "Title", {"n": 1}), True)
        self.assertIs(ws_utils.ws_send_group_notification(group, "plain"), True)
        past = self.server.past(group)
        self.assertEqual([event["type"] for event in past], ["success", "error", "warning", "info", "info"])
        self.assertEqual([event["title"] for event in past], ["Title"] * 4 + [""])
        self.assertEqual(past[0]["data"], {"n": 1})

    def test_a_type_that_there_is_not_goes_as_info_and_is_logged(self):
        group = new_group()
        for level in ("alarm", None, 5, ["error"]):
            with self.assertLogs("django_fanfare", "WARNING") as logged:
                self.assertIs(ws_utils.ws_send_group_notification(group, "text", level), True)
            self.assertIn("none of success, error, info, warning", logged.output[0])
        self.assertEqual([event["type"] for event in self.server.past(group)], ["info"] * 4)

    def test_file(self):
        group = new_group()
        self.assertIs(ws_utils.ws_send_group_file(group, "/media/reports/weekly_sales.xlsx"), True)
        sent = ws_utils.ws_send_group_file(group, "/media/q4.pdf", "summary.pdf", message="Q4", file_size=2457600, data={"q": 4})
        self.assertIs(sent, True)
        first, second = self.server.past(group)
        self.assertEqual((first["name"], first["message"], first["size"]), ("weekly_sales.xlsx", "File ready for download", None))
        self.assertEqual((second["name"], second["message"], second["size"], second["data"]), ("summary.pdf", "Q4", 2457600, {"q": 4}))


class Users(ServerMixin, TestCase):
    def past(self, user):
        return self.server.past(f"user.{user}")

    def test_message_notification_and_file(self):
        user = new_user()
        self.assertIs(ws_utils.ws_send_message(user, "one", {"a": 1}), True)
        self.assertIs(ws_utils.ws_connect(user, "two"), True)
        self.assertIs(ws_utils.ws_send_notification(user, "three", "error", "T"), True)
        self.assertIs(ws_utils.ws_send_file(user, "/media/a.csv", file_size=3), True)
        self.assertIs(ws_utils.test_websocket_connection(user), True)
        past = self.past(user)
        self.assertEqual([event["kind"] for event in past], ["message", "message", "notification", "file", "message"])
        self.assertEqual(past[0], {"kind": "message", "message": "one", "data": {"a": 1}})
        self.assertEqual((past[2]["type"], past[2]["title"]), ("error", "T"))
        self.assertEqual((past[3]["url"], past[3]["name"], past[3]["size"]), ("/media/a.csv", "a.csv", 3))

    def test_a_user_object_is_as_good_as_a_name(self):
        user = get_user_model()(username=new_user())
        self.assertIs(ws_utils.ws_send_message(user, "hello"), True)
        self.assertEqual(len(self.past(user.username)), 1)

    def test_tasks_have_the_fields_that_pages_know(self):
        user = new_user()
        self.assertIs(ws_utils.ws_send_task_update(user, "t1", "Import", "half", 50, data={"rows": 5}), True)
        self.assertIs(ws_utils.ws_send_task_complete(user, "t1", "Import", "done", {"rows": 10}), True)
        self.assertIs(ws_utils.ws_send_task_error(user, "t1", "Import", ValueError("bad row"), "row 7"), True)
        update, complete, error = self.past(user)
        wanted = {"task_id": "t1", "task_name": "Import", "status": "processing", "message": "half", "progress": 50, "data": {"rows": 5}}
        self.assertEqual((update["kind"], update["body"]), ("task.update", wanted))
        wanted = {"task_id": "t1", "task_name": "Import", "status": "completed", "message": "done", "result": {"rows": 10}}
        self.assertEqual((complete["kind"], complete["body"]), ("task.complete", wanted))
        wanted = {"task_id": "t1", "task_name": "Import", "error": "bad row", "message": "row 7"}
        self.assertEqual((error["kind"], error["body"]), ("task.error", wanted))

    def test_broadcast_to_those_who_are_named(self):
        users = [new_user() for _ in range(3)]
        with self.assertLogs("django_fanfare", "ERROR") as logged:
            self.assertEqual(ws_utils.ws_broadcast_message("to all", [*users, "not a name"], {"x": 1}), 3)
        self.assertIn("1 to 150 characters", logged.output[0])
        for user in users:
            self.assertEqual(self.past(user), [{"kind": "message", "message": "to all", "data": {"x": 1}}])
        self.assertEqual(ws_utils.ws_broadcast_message("to nobody", []), 0)

    def test_broadcast_to_all_active_users(self):
        users = [new_user() for _ in range(3)]
        for user in users:
            get_user_model().objects.create(username=user, is_active=user is not users[2])
        self.assertEqual(ws_utils.ws_broadcast_message("to all"), 2)
        self.assertEqual([len(self.past(user)) for user in users], [1, 1, 0])


class Refusals(ServerCase):
    def refused(self, pattern, send):
        with self.assertLogs("django_fanfare", "ERROR") as logged:
            self.assertIs(send(), False)
        self.assertEqual(len(logged.records), 1)
        self.assertRegex(logged.output[0], pattern)

    def test_bad_names_are_logged_with_the_rule(self):
        for bad in ("sales team", "project@alpha!beta", "x" * 100, "", None, 7, "grün"):
            with self.subTest(name=bad):
                self.refused("1 to 99 characters|for a group or for a user", lambda bad=bad: ws_utils.ws_send_group_message(bad, "x"))
                self.refused("1 to 99 characters|for a group or for a user", lambda bad=bad: ws_utils.ws_send_group_file(bad, "/x"))
        self.refused("1 to 150 characters", lambda: ws_utils.ws_send_message("müller", "x"))
        self.refused("1 to 150 characters", lambda: ws_utils.ws_send_task_update("a b", "1", "n", "m"))

    def test_what_is_too_large_or_of_the_wrong_sort_is_logged(self):
        self.refused("event_too_large", lambda: ws_utils.ws_send_group_message("g", "x" * 100_000))
        self.refused("data is a dict", lambda: ws_utils.ws_send_group_message("g", "x", ["a list"]))
        self.refused("size", lambda: ws_utils.ws_send_group_file("g", "/x", file_size="large"))

    def test_what_has_no_json_is_logged_and_dates_decimals_and_uuids_have_some(self):
        group, number = new_group(), uuid.uuid4()
        moment = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.timezone.utc)
        data = {"at": moment, "day": moment.date(), "price": decimal.Decimal("1.50"), "id": number, "name": gettext_lazy("Sunday")}
        self.assertIs(ws_utils.ws_send_group_message(group, "x", data), True)
        wanted = {"at": "2026-01-02T03:04:05Z", "day": "2026-01-02", "price": "1.50", "id": str(number), "name": "Sunday"}
        self.assertEqual(self.server.past(group)[0]["data"], wanted)
        around = {}
        around["self"] = around
        for bad in ({"x": object()}, {"x": float("inf")}, {"x": {1, 2}}, {(1, 2): 3}, around):
            self.refused("can't be said in JSON", lambda bad=bad: ws_utils.ws_send_group_message(group, "x", bad))
        self.assertEqual(len(self.server.past(group)), 1)

    def test_a_wrong_key_is_logged(self):
        with override_settings(FANFARE=setting(self.server, API_KEY="wrong")):
            self.refused("unauthorized", lambda: ws_utils.ws_send_group_message("g", "x"))

    def test_no_setting_is_logged(self):
        with override_settings(FANFARE={}):
            self.refused("neither URL nor API_URL", lambda: ws_utils.ws_send_group_message("g", "x"))
        with override_settings(FANFARE={"URLS": "x"}):
            self.refused("'URLS'. is no key", lambda: ws_utils.ws_send_group_message("g", "x"))
        with override_settings(FANFARE={"URL": "nonsense"}):
            self.refused("http://host:port", lambda: ws_utils.ws_send_group_message("g", "x"))

    def test_even_what_nobody_thought_of_is_false(self):
        class Odd:
            def __str__(self):
                raise RuntimeError("odd")

        self.refused("not sent", lambda: ws_utils.ws_send_group_message("g", Odd()))
        self.assertEqual(ws_utils.ws_broadcast_message("x", 5), 0)


class Outage(ServerCase):
    def test_while_the_server_is_down_all_is_false_at_once_and_said_once(self):
        server = Server()
        self.addCleanup(server.end)
        with override_settings(FANFARE=setting(server)):
            self.assertIs(ws_utils.ws_send_group_message("g", "before"), True)
            server.stop()
            with self.assertLogs("django_fanfare", logging.INFO) as logged:
                for _ in range(50):
                    self.assertIs(ws_utils.ws_send_group_message("g", "lost"), False)
                    self.assertEqual(ws_utils.ws_broadcast_message("lost", ["a", "b"]), 0)
                self.assertEqual(len(logged.records), 1)
                self.assertRegex(logged.output[0], "does not answer: .*refused; what is sent meanwhile fails at once")
                server.restart()
                wait_for(lambda: ws_utils.ws_send_group_message("g", "after"), "the way back")
            self.assertIn("answers again", logged.output[1])
            self.assertEqual([event["message"] for event in server.past("g")], ["after"])


class Asynchronous(ServerMixin, TestCase):
    async def test_the_same_from_an_event_loop(self):
        group, user = new_group(), new_user()
        self.assertIs(await aio.ws_send_group_message(group, "one"), True)
        self.assertIs(await aio.ws_send_group_notification(group, "two", "success", title="T"), True)
        self.assertIs(await aio.ws_send_group_file(group, "/three"), True)
        self.assertIs(await aio.ws_send_message(user, "one"), True)
        self.assertIs(await aio.ws_send_task_update(user, "1", "n", "m"), True)
        self.assertIs(await aio.test_websocket_connection(user), True)
        self.assertEqual(await aio.ws_broadcast_message("x", [user]), 1)
        with self.assertLogs("django_fanfare", "ERROR"):
            self.assertIs(await aio.ws_send_group_message("a b", "x"), False)
        self.assertEqual([event["kind"] for event in self.server.past(group)], ["message", "notification", "file"])
        self.assertEqual(len(self.server.past(f"user.{user}")), 4)

    async def test_all_users_are_read_by_the_thread_that_has_the_database(self):
        user = await get_user_model().objects.acreate(username=new_user())
        self.assertEqual(await aio.ws_broadcast_message("x"), 1)
        self.assertEqual(len(self.server.past(f"user.{user.username}")), 1)


class Transactions(ServerMixin, TransactionTestCase):
    def test_what_waits_for_a_commit_comes_with_it_and_not_otherwise(self):
        group = new_group()
        data = {"state": "as it was"}
        with transaction.atomic():
            self.assertIs(ws_utils.ws_send_group_message(group, "kept", data, on_commit=True), True)
            self.assertEqual(ws_utils.ws_broadcast_message("kept", [f"{group}a", f"{group}b"], on_commit=True), 2)
            data["state"] = "changed"
            self.assertEqual(self.server.past(group), [])
            with self.assertLogs("django_fanfare", "ERROR"):
                self.assertIs(ws_utils.ws_send_group_message(group, "bad", {"x": object()}, on_commit=True), False)
        self.assertEqual(self.server.past(group), [{"kind": "message", "message": "kept", "data": {"state": "as it was"}}])
        self.assertEqual(len(self.server.past(f"user.{group}a")), 1)
        with self.assertRaises(RuntimeError), transaction.atomic():
            ws_utils.ws_send_group_message(group, "rolled back", on_commit=True)
            raise RuntimeError
        self.assertEqual(len(self.server.past(group)), 1)

    def test_the_setting_says_it_for_all(self):
        group = new_group()
        with override_settings(FANFARE=setting(self.server, ON_COMMIT=True)), transaction.atomic():
            ws_utils.ws_send_group_message(group, "with the commit")
            ws_utils.ws_send_group_message(group, "at once", on_commit=False)
            self.assertEqual([event["message"] for event in self.server.past(group)], ["at once"])
        self.assertEqual(len(self.server.past(group)), 2)

    def test_without_a_transaction_it_is_sent_at_once(self):
        group = new_group()
        self.assertIs(ws_utils.ws_send_group_message(group, "x", on_commit=True), True)
        self.assertEqual(len(self.server.past(group)), 1)


class Capture(TestCase):
    """No server anywhere: the setting names a port where nobody listens."""

    def test_what_is_sent_is_in_the_list(self):
        with fanfare.capture() as events:
            self.assertIs(ws_utils.ws_send_group_message("sales_team", "New leads", {"n": decimal.Decimal("1.5")}), True)
            self.assertIs(ws_utils.ws_send_notification("ann", "hello", "success"), True)
            self.assertEqual(ws_utils.ws_broadcast_message("x", ["bob", "cid"]), 2)
        self.assertEqual([(event.target, event.message) for event in events][:2], [("sales_team", "New leads"), ("user.ann", "hello")])
        self.assertEqual(events.to("sales_team")[0].data, {"n": "1.5"})
        self.assertEqual(events.to_user("ann")[0].fields["type"], "success")
        self.assertEqual(len(events.of("message")), 3)
        self.assertFalse(publisher._sinks)

    def test_what_can_not_be_sent_is_not_in_it(self):
        with fanfare.capture() as events, self.assertLogs("django_fanfare", "ERROR"):
            self.assertIs(ws_utils.ws_send_group_message("a b", "x"), False)
            self.assertIs(ws_utils.ws_send_group_message("g", "x", {"x": object()}), False)
        self.assertEqual(events, [])

    def test_what_waits_for_a_commit(self):
        with fanfare.capture() as events:
            with self.captureOnCommitCallbacks(execute=True):
                ws_utils.ws_send_group_message("g", "x", on_commit=True)
                self.assertEqual(events, [])
            self.assertEqual(len(events), 1)
