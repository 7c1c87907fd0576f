"""Flask-Caching's own tests."""

from pathlib import Path

from tests.integrations.peers import run_suite
from tests.support.http import Http

_NOT_OURS = [
    # Other caches, which need servers of their own.
    "test_backend_cache.py::TestRedisCache",
    "test_backend_cache.py::TestRedisCacheClientsOverride",
    "test_backend_cache.py::TestMemcachedCache",
    "test_backend_cache.py::TestFileSystemCache",
    "test_init.py::test_init_nullcache[MemcachedCache]",
    "test_init.py::test_init_nullcache[RedisCache]",
    "test_init.py::test_init_nullcache[RedisSentinelCache]",
    # What SimpleCache alone has: its dict, its threshold, its serializer, an old argument.
    "test_backend_cache.py::TestSimpleCache::test_purge",
    "test_backend_cache.py::TestSimpleCache::test_deprecated_ignore_errors",
    "test_cachelib.py::test_backend_uses_cachelib_serializer",
    "test_serializer.py::test_default_keeps_the_cachelib_serializer",
    "test_serializer.py::test_values_are_stored_in_the_configured_format",
    # Their clock goes on by a minute and more, and here it waits.
    "test_memoize.py::test_memoize_entry_written_late_keeps_its_own_timeout",
    "test_memoize.py::test_memoize_version_key_outlives_newest_entry",
    "test_memoize.py::test_memoize_version_key_expires_once_its_entries_have",
    "test_memoize.py::test_memoize_delete_resets_version_key",
    # A value has to be gone to the second.
    "test_view.py::test_cached_view",
    "test_view.py::test_cached_view_class",
    "test_view.py::test_cache_timeout_dynamic_via_cached_reponse",
    "test_view.py::test_cached_view_http_exception_expires",
]


def test_the_cache_passes_the_tests_of_flask_caching(http: Http, tmp_path: Path) -> None:
    plugin = "jetkv_flask_caching"
    left_out = [f"--deselect={one}" for one in _NOT_OURS]
    # The tests wait most of the time.
    arguments = ["-p", plugin, "-n", "4", *left_out]
    run_suite("flask-caching", tmp_path, f"{plugin}.py", http.url, *arguments, least=172)
