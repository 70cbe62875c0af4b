"""What `manage.py check` says about the setting."""

from io import StringIO

from django.core.management import call_command
from django.core.management.base import SystemCheckError
from django.test import SimpleTestCase, override_settings

from django_fanfare import checks

GOOD = {"URL": "https://rt.example.com", "API_KEY": "k", "SECRET": "s" * 32}


def a_function(user):
    return []


class Checks(SimpleTestCase):
    def found(self, setting):
        with override_settings(FANFARE=setting):
            return {message.id: f"{message.msg}; {message.hint}" for message in checks.check_settings()}

    def test_a_good_setting_is_good(self):
        self.assertEqual(self.found(GOOD), {})
        self.assertEqual(self.found({**GOOD, "TIMEOUT": 1, "RETRIES": 0, "API_URL": "http://[::1]:8080/"}), {})
        self.assertEqual(self.found({**GOOD, "GROUPS_FOR_USER": "tests.test_setting.a_function"}), {})

    def test_each_mistake_has_its_number_its_key_and_its_cure(self):
        for setting, number, words in [
            (["URL"], "fanfare.E002", "is a list, and has to be a dict"),
            ({**GOOD, "TOKENTTL": 5}, "fanfare.E003", "'TOKENTTL'] is no key; did you mean 'TOKEN_TTL'?"),
            ({**GOOD, "url": "x"}, "fanfare.E003", "did you mean 'URL'?"),
            ({**GOOD, "TIMEOUT": "2"}, "fanfare.E004", "'TIMEOUT'] is a str, and has to be a float"),
            ({**GOOD, "TIMEOUT": 0}, "fanfare.E004", "TIMEOUT"),
            ({**GOOD, "ON_COMMIT": 1}, "fanfare.E004", "has to be a bool"),
            ({**GOOD, "URL": "rt.example.com"}, "fanfare.E005", "'rt.example.com' is no address; write it as https://host"),
            ({**GOOD, "API_URL": "http://x:99999"}, "fanfare.E005", "no address"),
            ({**GOOD, "URL": "https://x/path"}, "fanfare.E005", "without a path"),
            ({"API_KEY": "k"}, "fanfare.E006", "neither URL nor API_URL"),
            ({"URL": "https://x"}, "fanfare.E007", "no API_KEY"),
            ({**GOOD, "SECRET": "short"}, "fanfare.W008", "fewer than 32 bytes"),
            ({**GOOD, "HOOK_SECRET": "short"}, "fanfare.W008", "HOOK_SECRET"),
            ({**GOOD, "USER_ID": "no.such.function"}, "fanfare.E009", "'no.such.function' is no function"),
            ({**GOOD, "USER_ID": "tests.test_setting.GOOD"}, "fanfare.E009", "is no function"),
        ]:
            with self.subTest(setting=setting):
                found = self.found(setting)
                self.assertEqual(list(found), [number])
                self.assertIn(words, found[number])

    def test_no_secret_is_shown(self):
        self.assertNotIn("hush", str(self.found({**GOOD, "SECRET": "hush", "HOOK_SECRET": "hush", "API_KEY": "hush"})))

    def test_check_fails_with_the_sentence(self):
        with override_settings(FANFARE={**GOOD, "TOKENTTL": 5}), self.assertRaisesRegex(SystemCheckError, "did you mean 'TOKEN_TTL'"):
            call_command("check", stdout=StringIO(), stderr=StringIO())

    def test_a_project_without_the_setting_is_told(self):
        with self.settings():
            from django.conf import settings

            del settings.FANFARE
            self.assertEqual([message.id for message in checks.check_settings()], ["fanfare.E001"])
