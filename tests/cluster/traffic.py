"""The clients: they write and read few keys through both gateways, and record what they saw.

Nothing is sent twice unless its answer says that this is safe: aiohttp's own retry of a PUT whose
connection broke is off (docs/architecture.md, decision 20). A share of the writes carry an
idempotency key where the gateway knows those, and are sent again under it until their outcome is
known.
"""

import asyncio
import base64
import itertools
import json
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from yarl import URL

from tests.cluster.history import Attempt, Kind, Operation, Outcome
from tests.support.http import BUCKETS

__all__ = ["PATIENCE", "Client", "Keys", "Traffic", "session"]

PATIENCE = 25.0
"""Seconds a client waits: longer than any answer may take, so that a late one is seen as late."""

_WRITES_OF_A_KEY = 56
_MIX: dict[Kind, int] = {"get": 45, "put": 22, "cas": 13, "create": 8, "delete": 8, "purge": 2}
_RESEND_SECONDS = 40.0
_KEYED = 0.3
_NOT_SENT = (aiohttp.ClientConnectorError, aiohttp.ServerTimeoutError)


def session(connections: int = 1, *, kept: bool = True) -> aiohttp.ClientSession:
    """Return a session that never sends anything twice."""
    made = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=connections, force_close=not kept),
        timeout=aiohttp.ClientTimeout(total=PATIENCE),
    )
    # There is no public switch.
    made._retry_connection = False
    return made


class Keys:
    """The keys in use: each for as many writes as the bucket's history can hold.

    Nothing is compacted so, and the stream tells in the end what became of every write.
    """

    def __init__(self, slots: int, chance: random.Random) -> None:
        self._chance = chance
        self._numbers = [0] * slots
        self._writes = [0] * slots

    def to_write(self) -> str:
        slot = self._chance.randrange(len(self._numbers))
        self._writes[slot] += 1
        if self._writes[slot] > _WRITES_OF_A_KEY:
            self._numbers[slot] += 1
            self._writes[slot] = 1
        return f"k{slot}.{self._numbers[slot]}"

    def to_read(self) -> str:
        slot = self._chance.randrange(len(self._numbers))
        back = self._chance.random() < 0.1
        return f"k{slot}.{max(self._numbers[slot] - back, 0)}"

    def all(self) -> list[str]:
        """Every key that was written so far."""
        return [
            f"k{slot}.{number}"
            for slot, newest in enumerate(self._numbers)
            for number in range(newest + 1)
        ]


@dataclass
class Traffic:
    """What all clients of a run share."""

    bucket: str
    keys: Keys
    numbers: "itertools.count[int]" = field(default_factory=itertools.count)
    operations: list[Operation] = field(default_factory=list)
    idempotency: bool = False


@dataclass(frozen=True)
class Answer:
    """What came back for one request; status 0 when nothing whole did."""

    attempt: Attempt
    outcome: Outcome
    revision: int | None = None
    read: str | None = None
    worker: str = ""
    wrong: str = ""


class Client:
    """One caller with one connection."""

    def __init__(
        self, name: str, gateway: int, url: str, traffic: Traffic, chance: random.Random
    ) -> None:
        self.name = name
        self._gateway = gateway
        self._url = f"{url}{BUCKETS}/{traffic.bucket}/keys/"
        self._traffic = traffic
        self._chance = chance
        self._seen: dict[str, int] = {}

    async def run(self, stopped: asyncio.Event) -> None:
        """Do one operation after the other until `stopped`."""
        async with session() as http:
            while not stopped.is_set():
                await self.operate(http)
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._chance.uniform(0.005, 0.06)):
                        await stopped.wait()

    async def operate(self, http: aiohttp.ClientSession) -> None:
        kind = self._chance.choices(list(_MIX), list(_MIX.values()))[0]
        key = self._traffic.keys.to_read() if kind == "get" else self._traffic.keys.to_write()
        if kind == "cas" and key not in self._seen:
            kind = "put"
        await self.do(http, kind, key)

    async def do(self, http: aiohttp.ClientSession, kind: Kind, key: str) -> Operation:
        """Do one operation and record it."""
        number = next(self._traffic.numbers)
        keyed = self._traffic.idempotency and kind != "get" and self._chance.random() < _KEYED
        writes = kind in ("put", "create", "cas")
        value = f"v{number}" if writes else ""
        expected = self._seen[key] if kind == "cas" else None
        headers = {"If-Match": str(expected)} if expected else {}
        if kind == "create":
            headers["If-None-Match"] = "*"
        idempotency_key = f"id-{number}" if keyed else None
        if idempotency_key is not None:
            headers["Idempotency-Key"] = idempotency_key
        answers: list[Answer] = []
        try:
            answers.append(await self._ask(http, kind, key, value, headers))
            if idempotency_key is not None:
                await self._insist(answers, lambda: self._ask(http, kind, key, value, headers))
        finally:
            # A client that is ended in the middle of a write leaves one of unknown outcome.
            operation = self._record(number, kind, key, value, expected, idempotency_key, answers)
        if operation.outcome in ("ok", "conflict") and operation.revision:
            self._seen[key] = operation.revision
        return operation

    async def _insist(self, answers: list[Answer], ask: Callable[[], Awaitable[Answer]]) -> None:
        """Send it again while the outcome is unknown, as the idempotency key allows.

        Once it was, "not applied" is said of the new request only.
        """
        until = time.monotonic() + _RESEND_SECONDS
        while answers[-1].outcome == "unknown" or (
            answers[-1].outcome == "refused" and any(a.outcome == "unknown" for a in answers)
        ):
            if time.monotonic() > until:
                return
            await asyncio.sleep(self._chance.uniform(0.1, 0.3))
            answers.append(await ask())

    def _record(
        self,
        number: int,
        kind: Kind,
        key: str,
        value: str,
        expected: int | None,
        idempotency_key: str | None,
        answers: list[Answer],
    ) -> Operation:
        now = time.monotonic_ns()
        last = answers[-1] if answers else Answer(Attempt(now, now, 0), "unknown")
        outcome = last.outcome
        if outcome == "refused" and any(answer.outcome == "unknown" for answer in answers):
            outcome = "unknown"
        operation = Operation(
            number=number,
            client=self.name,
            gateway=self._gateway,
            kind=kind,
            key=key,
            value=value,
            expected=expected,
            idempotency_key=idempotency_key,
            start=answers[0].attempt.start if answers else now,
            end=last.attempt.end,
            outcome=outcome,
            status=last.attempt.status,
            revision=last.revision,
            read=last.read,
            worker=last.worker,
            attempts=tuple(answer.attempt for answer in answers),
            wrong="; ".join(answer.wrong for answer in answers if answer.wrong),
        )
        self._traffic.operations.append(operation)
        return operation

    async def _ask(
        self,
        http: aiohttp.ClientSession,
        kind: Kind,
        key: str,
        value: str,
        headers: Mapping[str, str],
    ) -> Answer:
        method = {"get": "GET", "delete": "DELETE", "purge": "DELETE"}.get(kind, "PUT")
        query = "?purge=true" if kind == "purge" else ""
        body = value.encode() if method == "PUT" else None
        start = time.monotonic_ns()
        try:
            async with http.request(
                method, URL(f"{self._url}{key}{query}", encoded=True), data=body, headers=headers
            ) as response:
                content = await response.read()
        except _NOT_SENT as error:
            return Answer(_broken(start), "refused", wrong=_if_strange(error))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return Answer(_broken(start), "unknown", wrong=_if_strange(error))
        attempt = Attempt(
            start,
            time.monotonic_ns(),
            response.status,
            response.headers.get("JetKV-Retries", ""),
        )
        return understood(kind, attempt, response.headers, content)


def _broken(start: int) -> Attempt:
    return Attempt(start, time.monotonic_ns(), 0)


def _if_strange(error: Exception) -> str:
    """Return what is wrong about a connection that broke: an answer in the middle of which it did.

    A connection that ended before a byte of the answer is what a killed process leaves.
    """
    if isinstance(error, aiohttp.ClientPayloadError):
        return f"an answer broke off: {error!r}"
    if isinstance(error, TimeoutError):
        return f"no answer in {PATIENCE} s"
    return ""


def understood(kind: Kind, attempt: Attempt, headers: Mapping[str, str], content: bytes) -> Answer:
    """Return what an answer says, and what is wrong with it by docs/http-api.md#errors."""
    worker = headers.get("X-Request-Id", "").partition("-")[0]
    if attempt.status == 204 and kind in ("delete", "purge"):
        return Answer(attempt, "ok", worker=worker, wrong="a body with 204" if content else "")
    try:
        document: dict[str, Any] = json.loads(content)
        if attempt.status == 200:
            if kind == "get":
                read = base64.b64decode(document["value"], validate=True).decode()
                return Answer(attempt, "ok", int(document["revision"]), read, worker)
            return Answer(attempt, "ok", int(document["revision"]), worker=worker)
        return _error(kind, attempt, headers, document, worker)
    except (ValueError, KeyError, TypeError) as error:
        wrong = f"malformed {attempt.status} to {kind}: {error!r}: {content[:200]!r}"
        return Answer(attempt, "unknown", worker=worker, wrong=wrong)


def _error(
    kind: Kind,
    attempt: Attempt,
    headers: Mapping[str, str],
    document: dict[str, Any],
    worker: str,
) -> Answer:
    status, text, retryable = attempt.status, document["error"], document["retryable"]
    details = document.get("details", {})
    right = False
    outcome: Outcome = "refused"
    revision = None
    match status:
        case 404:
            right = (kind, text) == ("get", "key not found")
            outcome = "ok"
        case 412:
            right = (kind, text) in (
                ("create", "key already exists"),
                ("cas", "revision mismatch"),
            )
            outcome = "conflict"
            revision = details.get("current_revision")
        case 429 | 503:
            right = retryable is True and "Retry-After" in headers
        case 504 if kind == "get":
            right = retryable is True
            outcome = "unknown"
        case 504:
            right = details.get("outcome") == "unknown"
            outcome = "unknown"
        case 500:
            outcome = "unknown"
    wrong = "" if right else f"{status} to {kind}: {json.dumps(document)[:300]}"
    return Answer(attempt, outcome, revision, None, worker, wrong)
