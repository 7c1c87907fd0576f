"""Reports whether the gateway can serve, on `/ready` and in the log."""

import asyncio
import logging
from collections import deque
from collections.abc import Sequence

from jetkv_gateway.callers import Callers
from jetkv_gateway.jetstream.connection import Connection
from jetkv_gateway.kv.configured import ConfiguredBucket
from jetkv_gateway.kv.errors import BucketExists, BucketNotFound, GatewayError
from jetkv_gateway.kv.store import Buckets, Health
from jetkv_gateway.watch.hub import Hub

__all__ = ["GatewayReadiness", "make_bucket"]

_log = logging.getLogger("jetkv")

_RETRY_SECONDS = 2.0
_CHECK_SECONDS = 1.0
_SKIPPED_CHECKS_WHILE_READY = 4
_COMPARE_SECONDS = 10.0
_ASKS_A_SECOND = 5
_BUCKET_SECONDS = 2.0
_WAITING = "watched buckets that cannot be followed now: {}; {}"
_NOT_YET = "does not exist yet; see the log"


async def make_bucket(buckets: Buckets, wanted: ConfiguredBucket) -> str:
    """Create a bucket unless it exists. Return how an existing one differs, as a text.

    Raises:
        GatewayError: it can neither be created nor read.
    """
    try:
        await buckets.create(wanted.spec)
    except BucketExists:
        return wanted.differences(await buckets.info(wanted.spec.name))
    _log.info("created bucket %s", wanted.spec.name)
    return ""


class RoundTrip:
    """Asks JetStream, at most five times a second, whether it and some buckets answer.

    `/ready` needs no credential, so many who ask must not become many requests to NATS. A few who
    ask get a fresh answer each.

    Args:
        required: buckets that must have a leader.
    """

    def __init__(
        self, connection: Connection, health: Health, buckets: Buckets, required: Sequence[str]
    ) -> None:
        self._connection = connection
        self._health = health
        self._buckets = buckets
        self._required = required
        self._answer: dict[str, str] = {}
        self._asked_at: deque[float] = deque(maxlen=_ASKS_A_SECOND)
        self._asked: object = None
        self._task: asyncio.Task[None] | None = None

    async def issues(self) -> dict[str, str]:
        """Return the problems, by part, as of now, or of the last second if many ask."""
        if not self._connection.connected:
            return await self._health.issues()
        connection = self._connection.mux
        now = asyncio.get_running_loop().time()
        times = self._asked_at
        often = len(times) == _ASKS_A_SECOND and now - times[0] < 1.0
        if connection is not self._asked or not often:
            if self._task is None or self._task.done():
                times.append(now)
                self._task = asyncio.create_task(self._ask(connection), name="round-trip")
            task = self._task
            await asyncio.wait([task])
            if not task.cancelled():
                task.result()
        return self._answer

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _ask(self, connection: object) -> None:
        issues = await self._health.issues()
        if not issues:
            found = await asyncio.gather(*map(self._ask_bucket, self._required))
            issues = {f"bucket {name}": text for name, text in found if text}
        self._answer, self._asked = issues, connection

    async def _ask_bucket(self, name: str) -> tuple[str, str]:
        try:
            async with asyncio.timeout(_BUCKET_SECONDS):
                await self._buckets.info(name)
        except TimeoutError:
            return name, "it does not answer: it has no leader"
        except GatewayError as error:
            return name, error.message
        return name, ""


class GatewayReadiness:
    """Finds problems that prevent serving, and warnings for the operator.

    Everybody may see the texts of `issues` and `warnings`. The log has the details.

    Args:
        wanted: buckets that must exist. They are created as soon as possible. Existing ones are not
            changed.
        required: buckets without which the gateway is not ready.
    """

    def __init__(
        self,
        connection: Connection,
        health: Health,
        buckets: Buckets,
        wanted: list[ConfiguredBucket],
        callers: Callers,
        hub: Hub,
        required: Sequence[str] = (),
    ) -> None:
        self._connection = connection
        self._health = health
        self._round_trip = RoundTrip(connection, health, buckets, required)
        self._buckets = buckets
        self._callers = callers
        self._hub = hub
        self._wanted = wanted
        self._missing = {one.spec.name: _NOT_YET for one in wanted}
        self._different: dict[str, str] = {}
        self._made = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def issues(self) -> dict[str, str]:
        """Return the problems that prevent serving, by part."""
        return {
            **{f"bucket {name}": text for name, text in self._missing.items()},
            **({"tokens": text} if (text := self._callers.issue) else {}),
            **await self._round_trip.issues(),
        }

    def warnings(self) -> dict[str, str]:
        """Return other problems, by part."""
        problem, files = self._callers.problem, self._connection.files_problem
        troubles = [trouble.message for trouble in self._hub.errors]
        return {
            **{f"bucket {name}": text for name, text in self._different.items()},
            **({"auth": problem} if problem else {}),
            **({"nats": f"{files}; see the log"} if files else {}),
            **({"watches": _WAITING.format(len(troubles), troubles[0])} if troubles else {}),
        }

    def start(self) -> None:
        """Create the buckets, and check JetStream regularly, until `close`."""
        self._task = asyncio.create_task(self._run(), name="readiness")
        self._task.add_done_callback(_log_defect)

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._round_trip.close()

    async def wait(self, seconds: float) -> None:
        """Wait up to `seconds` for NATS and all the buckets."""
        try:
            async with asyncio.timeout(seconds):
                await self._connection.wait_connected(seconds)
                await self._made.wait()
        except TimeoutError:
            return

    async def _run(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self._keep_buckets())
            group.create_task(self._watch_jetstream())

    async def _keep_buckets(self) -> None:
        logged: dict[str, str] = {}
        while self._missing:
            if await self._connection.wait_connected(60):
                for wanted in self._wanted:
                    if wanted.spec.name in self._missing:
                        await self._make(wanted, logged)
            if self._missing:
                await asyncio.sleep(_RETRY_SECONDS)
        self._made.set()
        while self._wanted:
            await asyncio.sleep(_COMPARE_SECONDS)
            for wanted in self._wanted:
                await self._compare(wanted)

    async def _make(self, wanted: ConfiguredBucket, logged: dict[str, str]) -> None:
        """Try to create a bucket. `logged` has the last log text of each bucket."""
        name = wanted.spec.name
        try:
            self._note_difference(wanted, await make_bucket(self._buckets, wanted))
        except GatewayError as error:
            if logged.get(name) != error.message:
                logged[name] = error.message
                _log.warning("cannot create bucket %s: %s; trying again", name, error.message)
        else:
            del self._missing[name]

    async def _compare(self, wanted: ConfiguredBucket) -> None:
        try:
            self._note_difference(
                wanted, wanted.differences(await self._buckets.info(wanted.spec.name))
            )
        except BucketNotFound:
            self._note_difference(wanted, "")
        except GatewayError:
            return  # the next comparison may succeed

    def _note_difference(self, wanted: ConfiguredBucket, text: str) -> None:
        name = wanted.spec.name
        if text and self._different.get(name) != text:
            _log.warning("bucket %s is left as it is: %s", name, text)
        if text:
            self._different[name] = text
        else:
            self._different.pop(name, None)

    async def _watch_jetstream(self) -> None:
        """Log when JetStream becomes unusable on an open connection, and when it recovers."""
        logged: str | None = None
        seen: object = None
        skipped_checks = 0
        while True:
            if not await self._connection.wait_connected(60):
                continue
            connection = self._connection.mux
            if skipped_checks == 0 or connection is not seen:
                seen = connection
                trouble = (await self._health.issues()).get("jetstream")
                if connection.lost:
                    continue  # the connection is lost, so there was no answer
                logged = _log_change(trouble, logged)
                skipped_checks = 0 if logged else _SKIPPED_CHECKS_WHILE_READY
            else:
                skipped_checks -= 1
            await asyncio.sleep(_CHECK_SECONDS)


def _log_change(trouble: str | None, logged: str | None) -> str | None:
    """Log a change, and return the problem that was logged last."""
    if trouble and trouble != logged:
        _log.error(
            "JetStream cannot be used: %s; /ready is 503 until it can. Start nats-server with -js "
            "where JetStream is off, and enable it for the account; `jetkv check` says more",
            trouble,
        )
    elif logged and not trouble:
        _log.info("JetStream can be used again")
    return trouble


def _log_defect(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("JetStream and buckets are no longer checked", exc_info=error)
