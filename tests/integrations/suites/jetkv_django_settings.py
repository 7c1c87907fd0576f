"""Settings for Django's own tests of caches and sessions, on the bucket of JETKV_TEST_LOCATION."""

import os

CACHES = {
    "default": {
        "BACKEND": "jetkv.integrations.django.JetKVCache",
        "LOCATION": os.environ["JETKV_TEST_LOCATION"],
    }
}
DATABASES = {"default": {"ENGINE": "django.db.backends.sqlite3"}}
INSTALLED_APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.sessions",
    "cache",
    "sessions_tests",
]
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
LANGUAGE_CODE = "en"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
SECRET_KEY = "of the tests"
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates"}]
USE_TZ = False
