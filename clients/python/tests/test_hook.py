"""The view that the server asks who a connection is."""

import json

from django.conf import settings
from django.contrib.auth import get_user_model
from django.contrib.sessions.models import Session
from django.test import TestCase, override_settings

SECRET = "the secret of server and application"
FANFARE = {"URL": "http://x", "API_KEY": "k", "HOOK_SECRET": SECRET}


def groups_of(user):
    return [f"of_{user.username}"]


def info_of(user):
    return {"name": user.get_full_name()}


def by_header(request):
    return get_user_model().objects.filter(username=request.headers.get("X-Remote-User")).first()


@override_settings(FANFARE=FANFARE)
class Hook(TestCase):
    def setUp(self):
        self.user = get_user_model().objects.create_user("ann", password="x", first_name="Ann", last_name="Example")

    def ask(self, cookie=None, secret=SECRET, **more):
        headers = {} if cookie is None else {"cookie": cookie}
        question = {"headers": headers, "origin": "https://app.example", "address": "192.0.2.1", "token": None, **more}
        return self.client_class().post(
            "/fanfare/hook/", json.dumps(question), content_type="application/json", HTTP_AUTHORIZATION=f"Bearer {secret}"
        )

    def cookie(self):
        self.client.force_login(self.user)
        return f"theme=dark; {settings.SESSION_COOKIE_NAME}={self.client.cookies[settings.SESSION_COOKIE_NAME].value}; x=%22"

    def test_the_user_of_the_session_is_found(self):
        more = {"GROUPS_FOR_USER": "tests.test_hook.groups_of", "INFO_FOR_USER": "tests.test_hook.info_of"}
        with override_settings(FANFARE={**FANFARE, **more}):
            response = self.ask(self.cookie())
        answer = response.json()
        self.assertEqual((answer["user"], answer["groups"], answer["info"]), ("ann", ["of_ann"], {"name": "Ann Example"}))
        self.assertAlmostEqual(answer["expires_in"], settings.SESSION_COOKIE_AGE, delta=60)
        self.assertIn("no-store", response["Cache-Control"])
        self.assertNotIn(settings.SESSION_COOKIE_NAME, response.cookies)

    def test_who_has_no_session_is_nobody(self):
        for cookie in (None, "", "sessionid=", "sessionid=unknown", "garbage", "=;;=", "sessionid=" + "x" * 5000, "\x00=\x01"):
            with self.subTest(cookie=cookie):
                self.assertEqual(self.ask(cookie).json(), {"user": None})

    def test_a_session_that_ended_or_a_user_who_may_not_is_nobody(self):
        cookie = self.cookie()
        self.user.is_active = False
        self.user.save()
        self.assertEqual(self.ask(cookie).json(), {"user": None})
        self.user.is_active = True
        self.user.save()
        self.assertEqual(self.ask(cookie).json()["user"], "ann")
        self.client.logout()
        self.assertEqual(self.ask(cookie).json(), {"user": None})

    def test_the_session_is_only_looked_at(self):
        cookie = self.cookie()
        keys = set(Session.objects.values_list("session_key", flat=True))
        with override_settings(SECRET_KEY="another one", SECRET_KEY_FALLBACKS=[settings.SECRET_KEY]):
            self.assertEqual(self.ask(cookie).json()["user"], "ann")
        self.assertEqual(set(Session.objects.values_list("session_key", flat=True)), keys)
        self.user.set_password("another")
        self.user.save()
        self.assertEqual(self.ask(cookie).json(), {"user": None})
        self.assertEqual(set(Session.objects.values_list("session_key", flat=True)), keys)

    def test_only_the_server_may_ask(self):
        cookie = self.cookie()
        for secret in ("", "wrong", SECRET + "x", "ü"):
            self.assertEqual(self.ask(cookie, secret).status_code, 403)
        with override_settings(FANFARE={"URL": "http://x", "API_KEY": "k"}), self.assertLogs("django_fanfare", "ERROR") as logged:
            self.assertEqual(self.ask(cookie, "").status_code, 403)
        self.assertIn("HOOK_SECRET", logged.output[0])
        self.assertEqual(self.client.get("/fanfare/hook/").status_code, 405)

    def test_what_is_no_question_is_refused(self):
        for body in (b"", b"[]", b"5", b"\xff", b'{"headers": []}', b'{"headers": 5}'):
            with self.subTest(body=body):
                response = self.client_class().post(
                    "/fanfare/hook/", body, content_type="application/json", HTTP_AUTHORIZATION=f"Bearer {SECRET}"
                )
                self.assertEqual(response.status_code, 400)

    def test_an_application_may_know_its_users_otherwise(self):
        with override_settings(FANFARE={**FANFARE, "USER_FOR_HOOK": "tests.test_hook.by_header"}):
            self.assertEqual(self.ask(headers={"x-remote-user": "ann"}).json()["user"], "ann")
            self.assertEqual(self.ask(headers={"x-remote-user": "bob"}).json(), {"user": None})

    def test_the_sessions_of_every_backend_are_found(self):
        for engine in ("cache", "cached_db", "file", "signed_cookies"):
            with self.subTest(engine=engine), override_settings(SESSION_ENGINE=f"django.contrib.sessions.backends.{engine}"):
                self.client = self.client_class()
                self.assertEqual(self.ask(self.cookie()).json()["user"], "ann")
