"""A plugin of pytest for Flask-Caching's tests: where they take SimpleCache, they get ours.

It lies among them when they run. Each cache has a prefix of its own, as each SimpleCache is empty
at first. Their clock, which SimpleCache alone would follow, waits.
"""

import os
import time
import uuid

import flask_caching
import flask_caching.backends.simplecache
import pytest

from jetkv import Client
from jetkv.integrations.flask_caching import JetKVCache

CLIENT = Client(os.environ["JETKV_TEST_URL"])
BUCKET = f"t-{uuid.uuid4().hex[:12]}"


class SimpleCache(JetKVCache):
    def __init__(self, *args, **options):
        mine = {"client": CLIENT, "bucket": BUCKET, "key_prefix": f"{uuid.uuid4().hex}:"}
        super().__init__(*args, **{**options, **mine})


for module in (flask_caching, flask_caching.backends, flask_caching.backends.simplecache):
    module.SimpleCache = SimpleCache


@pytest.fixture(scope="session", autouse=True)
def bucket():
    yield
    CLIENT.kv().delete_bucket(BUCKET)


@pytest.fixture(autouse=True)
def clock_that_waits(monkeypatch):
    import conftest

    # The server may need some time more to remove a value.
    monkeypatch.setattr(conftest._Clock, "advance", lambda self, seconds: time.sleep(seconds + 0.5))
