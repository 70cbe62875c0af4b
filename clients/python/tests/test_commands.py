"""The commands of `manage.py`."""

from io import StringIO

from django.core.management import CommandError, call_command
from django.test import override_settings

from .support.cases import ServerCase, new_group, new_user, setting


def run(*arguments):
    out = StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


class Send(ServerCase):
    def test_each_kind(self):
        group = new_group()
        self.assertRegex(run("fanfare_send", "message", group, "hello", "--data", '{"a": 1}'), r"^\d+-\d+, 0 subscribers here\n$")
        run("fanfare_send", "notification", group, "done", "--type", "success", "--title", "T")
        run("fanfare_send", "file", group, "ready", "--file-url", "/a/b.csv", "--file-size", "5")
        run("fanfare_send", "event", group, "order.shipped", "--body", "[1]")
        past = self.server.past(group)
        self.assertEqual(past[0], {"kind": "message", "message": "hello", "data": {"a": 1}})
        self.assertEqual((past[1]["type"], past[1]["title"], past[1]["message"]), ("success", "T", "done"))
        self.assertEqual((past[2]["name"], past[2]["size"], past[2]["message"]), ("b.csv", 5, "ready"))
        self.assertEqual((past[3]["kind"], past[3]["body"]), ("order.shipped", [1]))

    def test_to_a_user(self):
        user = new_user()
        run("fanfare_send", "message", user, "hello", "--user")
        self.assertEqual(len(self.server.past(f"user.{user}")), 1)

    def test_what_can_not_be_sent_says_why(self):
        with self.assertRaisesRegex(CommandError, "1 to 99 characters"):
            run("fanfare_send", "message", "a b", "x")
        with override_settings(FANFARE={"URL": "http://127.0.0.1:1", "API_KEY": "k"}), self.assertRaisesRegex(CommandError, "refused"):
            run("fanfare_send", "message", "g", "x")
        with override_settings(FANFARE={}), self.assertRaisesRegex(CommandError, "neither URL nor API_URL"):
            run("fanfare_send", "message", "g", "x")


class Status(ServerCase):
    def test_it_says_how_things_are(self):
        said = run("fanfare_status")
        self.assertRegex(said, r"API +http://\S+ is fanfare \S+, node \S+, ready; broker memory, \d+ connections")
        self.assertRegex(said, r"browsers +http://\S+ leads to ws://\S+/fanfare")

    def test_each_thing_that_can_not_work_is_said(self):
        def failing(setting):
            out = StringIO()
            with override_settings(FANFARE=setting), self.assertRaisesRegex(CommandError, "can't work"):
                call_command("fanfare_status", stdout=out)
            return out.getvalue()

        self.assertIn("refused", failing({"URL": "http://127.0.0.1:1", "API_KEY": "k"}))
        self.assertIn("unauthorized", failing(setting(self.server, API_KEY="wrong")))
        self.assertIn('FANFARE["URL"] is not set', failing({"API_URL": self.server.url, "API_KEY": "k"}))
        self.assertIn("no API_KEY", failing({"URL": self.server.url}))
