"""Django's own tests of caches and sessions, as they are, on `JetKVCache`.

Django's runner runs them, in the folder `tests` of Django's sdist. Only their settings are other
ones. Each class stands beside the one of Django that has the same tests, for a cache in memory.
"""

from collections.abc import Callable
from typing import Any

from asgiref.sync import async_to_sync
from cache import tests as cache_tests
from cache.closeable_cache import CloseHookMixin
from cache.liberal_backend import LiberalKeyValidationMixin
from django.conf import settings
from django.test import TestCase, override_settings
from sessions_tests import tests as session_tests

from jetkv.integrations.django import JetKVCache

JETKV = settings.CACHES["default"]

# As Django's tests of Redis do: a bucket has no limit on the number of its keys.
CULLING = {"cull", "zero_cull"}


class AsyncFace(JetKVCache):
    """A cache whose methods without `a` call those with it."""


def _face(name: str) -> Callable[..., Any]:
    def method(self: AsyncFace, *args: Any, **kwargs: Any) -> Any:
        return async_to_sync(getattr(self, f"a{name}"))(*args, **kwargs)

    return method


for _name in (
    *("add", "get", "set", "touch", "delete", "has_key", "incr", "clear"),
    *("get_many", "set_many", "delete_many"),
):
    setattr(AsyncFace, _name, _face(_name))


class Liberal(LiberalKeyValidationMixin, JetKVCache):
    pass


class Closeable(CloseHookMixin, JetKVCache):
    pass


def on_jetkv(**caches: dict[str, object]) -> override_settings:
    return override_settings(CACHES={name: {**JETKV, **more} for name, more in caches.items()})


@override_settings(CACHES=cache_tests.caches_setting_for_tests(base=JETKV, exclude=CULLING))
class JetKVCacheTests(cache_tests.BaseCacheTests, TestCase):
    pass


@override_settings(
    CACHES=cache_tests.caches_setting_for_tests(
        base={**JETKV, "BACKEND": f"{__name__}.AsyncFace"}, exclude=CULLING
    )
)
class AsyncJetKVCacheTests(cache_tests.BaseCacheTests, TestCase):
    pass


@override_settings(CACHES={"default": {**JETKV, "BACKEND": f"{__name__}.Liberal"}})
class KeyValidationTests(cache_tests.CustomCacheKeyValidationTests):
    pass


@override_settings(CACHES={"default": {**JETKV, "BACKEND": f"{__name__}.Closeable"}})
class ClosingTests(cache_tests.CacheClosingTests):
    pass


@on_jetkv(default={})
class UtilsTests(cache_tests.CacheUtils):
    pass


@on_jetkv(default={"KEY_PREFIX": "cacheprefix"})
class PrefixedUtilsTests(cache_tests.CacheUtils):
    pass


@on_jetkv(default={})
class HeadTests(cache_tests.CacheHEADTest):
    pass


@on_jetkv(default={})
class I18nTests(cache_tests.CacheI18nTest):
    pass


@on_jetkv(default={"KEY_PREFIX": "cacheprefix"})
class PrefixedI18nTests(cache_tests.CacheI18nTest):
    pass


@on_jetkv(default={}, other={"KEY_PREFIX": "other", "TIMEOUT": "1"})
class MiddlewareTests(cache_tests.CacheMiddlewareTest):
    pass


@on_jetkv(default={})
class TemplateResponseTests(cache_tests.TestWithTemplateResponse):
    pass


class SessionTests(session_tests.CacheSessionTests):
    pass


class DatabaseSessionTests(session_tests.CacheDBSessionTests):
    pass
