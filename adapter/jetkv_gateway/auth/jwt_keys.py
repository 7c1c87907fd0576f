"""Where the keys for JWTs come from: a file, or an address that is asked again now and then."""

import asyncio
import logging
import random
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Protocol

import aiohttp

from jetkv_gateway.auth.kept_file import FileError, KeptFile
from jetkv_gateway.auth.key_set import MAX_BYTES, KeySet, KeySetError, parse_key_set
from jetkv_gateway.kv.errors import Unavailable

__all__ = ["KeyFile", "KeySource", "KeyUrl"]

_log = logging.getLogger("jetkv.auth")

_EMPTY = KeySet([])
_FETCH_SECONDS = 5.0
_ASK_AGAIN_SECONDS = 5.0
"""The shortest time between two requests for the keys, however many unknown keys are named."""


class KeySource(Protocol):
    """The keys of an issuer, as they were last read."""

    @property
    def version(self) -> int:
        """A number that grows when the keys change."""
        ...

    @property
    def problem(self) -> str | None:
        """Why the keys cannot be read now, in a text that everybody may see; or None."""
        ...

    def keys(self) -> KeySet:
        """Return the keys.

        Raises:
            Unavailable: there are none, or they are too old.
        """
        ...

    @property
    def may_ask(self) -> bool:
        """Whether `ask` would do something now."""
        ...

    async def ask(self) -> None:
        """Ask for the keys once more. Calls at the same time share one request."""
        ...

    def refresh(self, *, force: bool = False, quiet: bool = False) -> None:
        """As in `auth.authenticator.Link`."""
        ...

    def start(self) -> None:
        """Keep the keys up to date until `close`."""
        ...

    async def close(self) -> None: ...


class KeyFile:
    """A key set in a file, which is read again when it changes.

    Raises:
        FileError: the file cannot be used.
    """

    may_ask = False

    def __init__(self, path: Path) -> None:
        self._file = KeptFile(path, _read, "keys for JWTs")

    @property
    def version(self) -> int:
        return self._file.version

    @property
    def problem(self) -> str | None:
        if not self._file.failed:
            return None
        return "the file of keys for JWTs cannot be used; those read before stay in force"

    def keys(self) -> KeySet:
        return self._file.content

    async def ask(self) -> None: ...

    def start(self) -> None: ...

    async def close(self) -> None: ...

    def refresh(self, *, force: bool = False, quiet: bool = False) -> None:
        self._file.refresh(force=force, quiet=quiet)


def _read(path: Path) -> KeySet:
    try:
        # Reading a pipe would block.
        if not path.is_file():
            raise FileError(f"cannot use the keys {path}: no such file")
        with path.open("rb") as file:
            return parse_key_set(file.read(MAX_BYTES + 1))
    except OSError as error:
        raise FileError(f"cannot read the keys {path}: {error.strerror}") from error
    except KeySetError as error:
        raise FileError(f"cannot use the keys {path}: {error}") from error


class KeyUrl:
    """A key set at an address.

    It is fetched every `every` seconds, and for a key that nobody has seen, at most once in five
    seconds. If that fails, the keys stay in force until they are `stale_after` seconds old.

    Args:
        url: with https, or of this machine.
        every, stale_after: in seconds.
    """

    def __init__(self, url: str, every: float, stale_after: float) -> None:
        self._url = url
        self._every = every
        self._stale_after = stale_after
        self._keys = _EMPTY
        self._read_at: float | None = None
        self._asked_at: float | None = None
        self._trouble: str | None = None
        self._asking: asyncio.Task[None] | None = None
        self._task: asyncio.Task[None] | None = None
        self.version = 0

    @property
    def problem(self) -> str | None:
        if self._trouble is None and self._read_at is not None:
            return None
        if self._read_at is None:
            return "the keys for JWTs have not been read yet"
        left = "are not in force any more" if self._stale else "stay in force"
        return f"the keys for JWTs cannot be read; those read before {left}"

    def keys(self) -> KeySet:
        if self._read_at is None or self._stale:
            raise Unavailable("the gateway cannot read the keys for JWTs now", retry_after=1)
        return self._keys

    @property
    def may_ask(self) -> bool:
        # A request that is under way serves this caller too.
        return (
            self._asking is not None
            or self._asked_at is None
            or monotonic() - self._asked_at >= _ASK_AGAIN_SECONDS
        )

    async def ask(self) -> None:
        if self._asking is None:
            if not self.may_ask:
                return
            self._asked_at = monotonic()
            self._asking = asyncio.create_task(self._fetch(), name="keys for JWTs")
            self._asking.add_done_callback(self._asked)
        # The request goes on if this caller leaves, since others may wait for it.
        await asyncio.shield(self._asking)

    def refresh(self, *, force: bool = False, quiet: bool = False) -> None: ...

    def start(self) -> None:
        self._task = asyncio.create_task(self._keep(), name="refresh of keys for JWTs")

    async def close(self) -> None:
        tasks = [task for task in (self._task, self._asking) if task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    @property
    def _stale(self) -> bool:
        return self._read_at is not None and monotonic() - self._read_at > self._stale_after

    def _asked(self, _task: asyncio.Task[None]) -> None:
        self._asking = None

    async def _keep(self) -> None:
        while True:
            await self.ask()
            # Workers that started together need not ask together.
            wait = self._every * random.uniform(0.8, 1.0)  # noqa: S311 - no secret
            await asyncio.sleep(wait if self._trouble is None else min(wait, _ASK_AGAIN_SECONDS))

    async def _fetch(self) -> None:
        try:
            keys = parse_key_set(await self._download())
        except (aiohttp.ClientError, OSError, TimeoutError, KeySetError) as error:
            trouble = f"cannot read the keys for JWTs from {self._url}: {error or 'no answer'}"
            if trouble != self._trouble:
                _log.error("%s", trouble)
            self._trouble = trouble
            return
        if self._trouble is not None or self._read_at is None:
            _log.info("read %d keys for JWTs from %s", len(keys), self._url)
        self._trouble = None
        self._read_at = monotonic()
        if keys.fingerprints != self._keys.fingerprints:
            self.version += 1
        self._keys = keys

    async def _download(self) -> bytes:
        """Raises as aiohttp does, and KeySetError for an answer that cannot be a key set."""
        timeout = aiohttp.ClientTimeout(total=_FETCH_SECONDS)
        async with (
            aiohttp.ClientSession(timeout=timeout, trust_env=True) as session,
            # A redirect could lead to a host that the operator did not name.
            session.get(self._url, allow_redirects=False) as answer,
        ):
            if answer.status != 200:
                raise KeySetError(f"the answer is {answer.status}")
            content = b""
            with suppress(asyncio.IncompleteReadError):
                async for part in answer.content.iter_chunked(64 * 1024):
                    content += part
                    if len(content) > MAX_BYTES:
                        raise KeySetError(f"it has more than {MAX_BYTES} bytes")
            return content
