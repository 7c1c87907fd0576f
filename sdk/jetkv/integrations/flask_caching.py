"""The cache of `jetkv.integrations.cachelib` for Flask-Caching. Needs `jetkv[flask-caching]`.

app.config["CACHE_TYPE"] = "jetkv.integrations.flask_caching.JetKVCache"
app.config["CACHE_JETKV_URL"] = "http://localhost:9123"
cache = Cache(app)
"""

from typing import Any

from flask import Flask
from flask_caching.backends.base import BaseCache

from jetkv.integrations import cachelib

__all__ = ["JetKVCache"]


class JetKVCache(BaseCache, cachelib.JetKVCache):
    """A cache of Flask-Caching in a bucket.

    Its settings are `CACHE_JETKV_URL`, `CACHE_JETKV_TOKEN`, `CACHE_JETKV_BUCKET` (`cache` if it is
    missing), `CACHE_JETKV_ON_ERROR`, and those of Flask-Caching for all caches. `CACHE_OPTIONS` may
    have further arguments of `jetkv.integrations.cachelib.JetKVCache`.
    """

    def __init__(self, *args: Any, **options: Any) -> None:
        # BaseCache of Flask-Caching would go on with its own arguments alone.
        cachelib.JetKVCache.__init__(self, *args, **options)

    @classmethod
    def factory(
        cls,
        app: Flask,  # noqa: ARG003 - Flask-Caching passes it to every factory
        config: dict[str, Any],
        args: list[Any],
        kwargs: dict[str, Any],
    ) -> "JetKVCache":
        """Return a cache as the settings of an app ask for it."""
        names = {
            "CACHE_JETKV_URL": "client",
            "CACHE_JETKV_TOKEN": "token",
            "CACHE_JETKV_BUCKET": "bucket",
            "CACHE_JETKV_ON_ERROR": "on_error",
            "CACHE_KEY_PREFIX": "key_prefix",
        }
        settings = {
            argument: config[name]
            for name, argument in names.items()
            if config.get(name) is not None
        }
        return cls(*args, **{**settings, **kwargs})
