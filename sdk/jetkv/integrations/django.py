"""A cache backend for Django (docs/integrations.md#django)."""

import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NoReturn

from asgiref.sync import sync_to_async
from django.core.cache.backends.base import DEFAULT_TIMEOUT, BaseCache
from django.core.exceptions import SynchronousOnlyOperation
from django.utils.module_loading import import_string

from jetkv._core.retry import Retry
from jetkv.errors import InvalidArgumentError
from jetkv.integrations import _cache as cache
from jetkv.integrations._keys import stored_key
from jetkv.integrations._places import Place
from jetkv.integrations._serializers import JSONSerializer, PickleSerializer
from jetkv.integrations._steps import Steps, Stepwise, both
from jetkv.integrations._values import JSON_TYPE

__all__ = ["JSONSerializer", "JetKVCache", "PickleSerializer"]


def _default(*args: Any, default: Any = None, **_: object) -> Any:
    return args[2] if len(args) > 2 else default


def _missing(*args: Any, **kwargs: Any) -> NoReturn:
    key = args[1] if len(args) > 1 else kwargs["key"]
    raise ValueError(f"Key '{key}' not found")


def _always(result: Any) -> Callable[..., Any]:
    return lambda *_args, **_kwargs: result


def _both_pickling(steps: Callable[..., Steps], away: Callable[..., Any]) -> tuple[Any, Any]:
    method, async_method = both(steps, away)

    @functools.wraps(async_method)
    async def anywhere(self: "JetKVCache", *args: Any, **kwargs: Any) -> Any:
        try:
            return await async_method(self, *args, **kwargs)
        except SynchronousOnlyOperation:
            # A queryset asks the database while it is pickled, which only a thread may do.
            return await sync_to_async(method)(self, *args, **kwargs)

    return method, anywhere


class JetKVCache(BaseCache):
    """A cache in a bucket, for `CACHES` of Django's settings.

    It has the methods of Django's caches. Those that start with `a` use an async client, and no
    thread. They raise the errors of `jetkv.errors`, unless `IGNORE_EXCEPTIONS` is set.

    Args:
        location: `LOCATION`: the URL of the gateway and the bucket, `http://localhost:9123/cache`.
        params: the other settings of the cache. Names of `OPTIONS` in lower case are arguments of
            `jetkv.Client`; docs/integrations.md#django has those in upper case.

    Raises:
        InvalidArgumentError: the location or an option is invalid.
    """

    def __init__(self, location: str, params: dict[str, Any]) -> None:
        super().__init__(params)
        options = dict(params.get("OPTIONS") or {})
        serializer = options.pop("SERIALIZER", PickleSerializer)
        if isinstance(serializer, str):
            serializer = import_string(serializer)
        self._serializer = serializer() if callable(serializer) else serializer
        ignores_outages = bool(options.pop("IGNORE_EXCEPTIONS", False))
        bucket = options.pop("BUCKET", {})
        settings = None if bucket is None else {"expiry_markers": False, **bucket}
        # Of the base class, and without a meaning here: nothing is culled.
        for name in ("MAX_ENTRIES", "CULL_FREQUENCY"):
            options.pop(name, None)
        if unknown := [name for name in options if not name.islower()]:
            raise InvalidArgumentError(f"OPTIONS of the cache has an unknown name: {unknown[0]}")
        if ignores_outages:
            options = {"timeout": 1.0, "retry": Retry(attempts=2), **options}
        place = Place(location, settings, options)
        self.stepwise = Stepwise(place, ignores_outages=ignores_outages)

    def get_backend_timeout(self, timeout: Any = DEFAULT_TIMEOUT) -> int | None:
        """Return a timeout in whole seconds, rounded up; 0 if no time is left, None for never."""
        return cache.whole_seconds(self.default_timeout if timeout is DEFAULT_TIMEOUT else timeout)

    def _key(self, key: str, version: int | None) -> str:
        return stored_key("", self.make_and_validate_key(key, version=version))

    def _stored(self, value: Any) -> cache.Stored:
        raw = self._serializer.dumps(value)
        if type(value) is int:
            return cache.Stored(raw, JSON_TYPE)
        other = "application/octet-stream"
        return cache.Stored(raw, getattr(self._serializer, "content_type", other))

    def _get(self, key: str, default: Any = None, version: int | None = None) -> Steps:
        raw = yield from cache.get(self._key(key, version))
        return default if raw is None else self._serializer.loads(raw)

    def _has_key(self, key: str, version: int | None = None) -> Steps:
        return cache.exists(self._key(key, version))

    def _add(
        self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> Steps:
        seconds = self.get_backend_timeout(timeout)
        return cache.add(self._key(key, version), self._stored(value), seconds)

    def _set(
        self, key: str, value: Any, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> Steps:
        yield from self._set_many({key: value}, timeout, version)

    def _touch(self, key: str, timeout: Any = DEFAULT_TIMEOUT, version: int | None = None) -> Steps:
        return cache.touch(self._key(key, version), self.get_backend_timeout(timeout))

    def _delete(self, key: str, version: int | None = None) -> Steps:
        return cache.remove(self._key(key, version))

    def _incr(self, key: str, delta: int = 1, version: int | None = None) -> Steps:
        totals: list[Any] = []

        def added(raw: bytes) -> cache.Stored:
            totals.append(self._serializer.loads(raw) + delta)
            return self._stored(totals[-1])

        if not (yield from cache.replace(self._key(key, version), added)):
            _missing(self, key)
        return totals[-1]

    def _get_many(self, keys: list[str], version: int | None = None) -> Steps:
        names = {self._key(key, version): key for key in keys}
        found = yield from cache.get_many(names)
        return {names[name]: self._serializer.loads(raw) for name, raw in found.items()}

    def _set_many(
        self, data: Mapping[str, Any], timeout: Any = DEFAULT_TIMEOUT, version: int | None = None
    ) -> Steps:
        names = {self._key(key, version): key for key in data}
        values = {name: self._stored(data[key]) for name, key in names.items()}
        refused = yield from cache.write(values, self.get_backend_timeout(timeout))
        return [names[name] for name in refused]

    def _delete_many(self, keys: list[str], version: int | None = None) -> Steps:
        yield from cache.delete({self._key(key, version): None for key in keys})

    def _clear(self) -> Steps:
        return cache.clear()

    get, aget = both(_get, away=_default)
    has_key, ahas_key = both(_has_key, away=_always(False))
    add, aadd = _both_pickling(_add, away=_always(False))
    set, aset = _both_pickling(_set, away=_always(None))
    touch, atouch = both(_touch, away=_always(False))
    delete, adelete = both(_delete, away=_always(False))
    incr, aincr = both(_incr, away=_missing)
    clear, aclear = both(_clear, away=_always(None))
    set_many, aset_many = _both_pickling(_set_many, away=lambda _cache, data, *_, **__: list(data))
    _get_several, _aget_several = both(_get_many, away=_always({}))
    _delete_several, _adelete_several = both(_delete_many, away=_always(None))

    # Listed, since the keys may be an iterator, and steps may run twice.
    def get_many(self, keys: Iterable[str], version: int | None = None) -> Any:
        return self._get_several(list(keys), version)

    async def aget_many(self, keys: Iterable[str], version: int | None = None) -> Any:
        return await self._aget_several(list(keys), version)

    def delete_many(self, keys: Iterable[str], version: int | None = None) -> None:
        self._delete_several(list(keys), version)

    async def adelete_many(self, keys: Iterable[str], version: int | None = None) -> None:
        await self._adelete_several(list(keys), version)
