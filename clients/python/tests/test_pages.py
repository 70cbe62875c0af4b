"""What a page gets: the script, the server's URL, a token, and that nobody else gets them."""

import base64
import json
from html.parser import HTMLParser

from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.contrib.staticfiles import finders
from django.core.exceptions import ImproperlyConfigured
from django.template import Context, Template
from django.test import RequestFactory, TestCase, modify_settings, override_settings

from .support.cases import ServerMixin, new_group, new_user, setting
from .support.server import ROOT, SECRET
from .support.session import Session

PRIVATE = modify_settings(MIDDLEWARE={"append": "django_fanfare.middleware.PrivatePages"})
FANFARE = {"URL": "https://rt.example.com/", "API_KEY": "k", "SECRET": SECRET}


class Script(HTMLParser):
    """The attributes of the one script of a page."""

    def __init__(self, html):
        super().__init__()
        self.scripts = []
        self.feed(html)
        [self.attributes] = self.scripts

    def handle_starttag(self, tag, attributes):
        if tag == "script":
            self.scripts.append(dict(attributes))


def claims(token):
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def groups_of(user):
    return ["all_users", f"of_{user.pk}"]


def rights_of(user):
    return {"subscribe": ["team_*"]}


@override_settings(FANFARE=FANFARE)
class Tag(TestCase):
    def setUp(self):
        self.user = get_user_model().objects.create_user("ann", password="x")

    def page(self, path="/page/", **headers):
        response = self.client.get(path, **headers)
        return response, Script(response.content.decode()).attributes

    def test_who_is_not_signed_in_gets_the_script_alone(self):
        with PRIVATE:
            response, attributes = self.page()
        self.assertEqual(attributes, {"src": "/static/django_fanfare/legacy.global.js", "data-url": "https://rt.example.com"})
        self.assertNotIn("Cache-Control", response)

    def test_who_is_signed_in_gets_a_token_in_a_private_page(self):
        self.client.force_login(self.user)
        with PRIVATE:
            response, attributes = self.page()
        self.assertEqual(claims(attributes["data-token"])["sub"], "ann")
        self.assertEqual(attributes["data-token-url"], "/fanfare/token/")
        self.assertIn("private", response["Cache-Control"])
        self.assertIn("Cookie", response["Vary"])

    def test_without_the_middleware_there_is_no_token_in_the_page(self):
        self.client.force_login(self.user)
        _, attributes = self.page()
        self.assertNotIn("data-token", attributes)
        self.assertEqual(attributes["data-token-url"], "/fanfare/token/")

    def test_a_cache_around_the_view_keeps_no_page_with_a_token(self):
        with PRIVATE:
            _, before = self.page("/kept/")
            self.client.force_login(self.user)
            self.client.get("/kept/clear/")
            _, signed_in = self.page("/kept/")
            self.client.logout()
            _, after = self.page("/kept/")
        self.assertIn("data-token", signed_in)
        self.assertNotIn("data-token", before)
        self.assertNotIn("data-token", after)

    def test_the_token_has_the_groups_and_rights_of_the_user(self):
        more = {"GROUPS_FOR_USER": "tests.test_pages.groups_of", "RIGHTS_FOR_USER": "tests.test_pages.rights_of", "TOKEN_TTL": 60}
        self.client.force_login(self.user)
        with PRIVATE, override_settings(FANFARE={**FANFARE, **more}):
            _, attributes = self.page()
        found = claims(attributes["data-token"])
        self.assertEqual((found["groups"], found["rights"]), (["all_users", f"of_{self.user.pk}"], {"subscribe": ["team_*"]}))
        self.assertEqual(found["exp"] - found["iat"], 60)

    def test_nothing_that_is_put_in_can_break_out(self):
        evil = "\"><script>alert('x')</script>"
        html = self.render(AnonymousUser(), "{% fanfare nonce=evil %}", evil=evil)
        self.assertEqual(Script(html).attributes["nonce"], evil)
        self.assertNotIn("<script>", html)
        with override_settings(FANFARE={**FANFARE, "URL": 'https://x"onload="y'}):
            self.assertEqual(Script(self.render(AnonymousUser())).attributes["data-url"], 'https://x"onload="y')

    def test_the_nonce_is_found_where_it_is(self):
        self.assertEqual(Script(self.render(AnonymousUser(), csp_nonce="abc")).attributes["nonce"], "abc")
        self.assertEqual(Script(self.render(AnonymousUser(), on_request={"csp_nonce": "def"})).attributes["nonce"], "def")
        self.assertNotIn("nonce", Script(self.render(AnonymousUser())).attributes)
        self.assertIn("defer", Script(self.render(AnonymousUser(), "{% fanfare defer=True %}")).attributes)

    def test_a_user_whose_name_the_server_can_not_have_gets_none_and_it_is_logged(self):
        self.user.username = "müller"
        with self.assertLogs("django_fanfare", "ERROR") as logged:
            attributes = Script(self.render(self.user, on_request={"fanfare_private": False})).attributes
        self.assertNotIn("data-token", attributes)
        self.assertIn('set FANFARE["USER_ID"]', logged.output[0])
        with override_settings(FANFARE={**FANFARE, "USER_ID": "tests.test_pages.number_of"}):
            attributes = Script(self.render(self.user, on_request={"fanfare_private": False})).attributes
        self.assertEqual(claims(attributes["data-token"])["sub"], f"u{self.user.pk}")

    def test_a_template_without_the_request_says_so(self):
        with self.assertRaisesRegex(ImproperlyConfigured, "context_processors.request"):
            Template("{% load fanfare %}{% fanfare %}").render(Context({}))

    def test_the_script_is_the_client_that_is_tested_in_browsers(self):
        for name in ("legacy.global.js", "fanfare.js", "fanfare.global.js"):
            with open(finders.find(f"django_fanfare/{name}"), "rb") as shipped:
                self.assertEqual(shipped.read(), (ROOT / "clients/js/dist" / name).read_bytes())

    def render(self, user, tag="{% fanfare %}", on_request=None, **context):
        request = RequestFactory().get("/")
        request.user = user
        for name, value in (on_request or {}).items():
            setattr(request, name, value)
        return Template("{% load fanfare %}" + tag).render(Context({"request": request, **context}))


def number_of(user):
    return f"u{user.pk}"


class Tokens(ServerMixin, TestCase):
    def test_who_is_signed_in_gets_tokens_that_the_server_takes(self):
        self.assertEqual(self.client.get("/fanfare/token/").status_code, 403)
        user = get_user_model().objects.create_user(new_user())
        self.client.force_login(user)
        with override_settings(FANFARE=setting(self.server, GROUPS_FOR_USER="tests.test_pages.groups_of")):
            response = self.client.get("/fanfare/token/")
        self.assertEqual(response.json()["expires_in"], 600)
        self.assertIn("no-store", response["Cache-Control"])
        with Session(self.server, response.json()["token"]) as session:
            self.assertEqual(session.until("welcome")[3]["user"], user.username)
            session.follows(f"user.{user.username}", "all_users", f"of_{user.pk}")
        self.assertEqual(self.client.post("/fanfare/token/").status_code, 405)

    def test_another_secret_makes_tokens_that_it_does_not_take(self):
        self.client.force_login(get_user_model().objects.create_user(new_user()))
        with override_settings(FANFARE=setting(self.server, SECRET="x" * 32)):
            token = self.client.get("/fanfare/token/").json()["token"]
        with Session(self.server, token) as session:
            self.assertEqual(session.until("goodbye")[1], 4101)

    def test_without_a_secret_there_are_no_tokens(self):
        self.client.force_login(get_user_model().objects.create_user(new_user()))
        with override_settings(FANFARE=setting(self.server, SECRET="")):
            self.assertEqual(self.client.get("/fanfare/token/").status_code, 403)

    def test_groups_that_the_server_would_refuse_are_left_out_and_logged(self):
        user = get_user_model().objects.create_user(new_user())
        self.client.force_login(user)
        many = override_settings(FANFARE=setting(self.server, GROUPS_FOR_USER="tests.test_pages.too_many"))
        with many, self.assertLogs("django_fanfare", "ERROR") as logged:
            token = self.client.get("/fanfare/token/").json()["token"]
        self.assertEqual(claims(token)["groups"], [f"g{number}" for number in range(100)])
        self.assertIn("not followed: group 'a b'", logged.output[0])
        self.assertIn("150 groups", logged.output[1])
        with Session(self.server, token) as session:
            session.follows("g99")

    def test_what_is_sent_to_the_user_arrives_in_their_session(self):
        from django_fanfare.ws_utils import ws_send_group_message, ws_send_message

        user, group = get_user_model().objects.create_user(new_user()), new_group()
        self.client.force_login(user)
        with Session(self.server, self.client.get("/fanfare/token/").json()["token"]) as session:
            session.follows(f"user.{user.username}")
            session.subscribe(group)
            self.assertTrue(ws_send_message(user, "for you"))
            self.assertTrue(ws_send_group_message(group, "for all"))
            self.assertEqual([session.event(), session.event()], [("message", "for you"), ("message", "for all")])


def too_many(user):
    return ["a b", *(f"g{number}" for number in range(150))]
