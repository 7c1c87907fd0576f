"""Transfers between accounts, by batches, while faults strike; and what they have to have shown.

The accounts are in a bucket of their own. A transfer reads all of them as of one moment and writes
two, each on the condition that it is still at the revision that was read. So every write that took
effect names the one before it, and the check below is exact: it needs no search.
"""

import asyncio
import random
import secrets
import time
from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, Literal

import aiohttp

from tests.cluster.history import Batch
from tests.cluster.traffic import session
from tests.support.http import BUCKETS

__all__ = ["ACCOUNTS", "breaches_of_batches", "open_accounts", "transfer"]

ACCOUNTS = tuple(f"account:{number}" for number in range(6))
_START = 100
_RESEND_SECONDS = 30.0


async def open_accounts(url: str, bucket: str) -> None:
    """Make the bucket of the accounts, and put the same balance into each."""
    ops = [{"op": "create", "key": key, "json": _START} for key in ACCOUNTS]
    async with session(kept=False) as http, asyncio.timeout(20):
        for path, document, wanted in (
            ("", {"name": bucket, "replicas": 3}, (201, 409)),
            (f"/{bucket}/batch", {"ops": ops}, (200, 412)),
        ):
            status = 0
            while status not in wanted:
                with suppress(aiohttp.ClientError):
                    async with http.post(f"{url}{BUCKETS}{path}", json=document) as answer:
                        status = answer.status
                await asyncio.sleep(0.05)


async def transfer(
    name: str,
    url: str,
    bucket: str,
    batches: list[Batch],
    chance: random.Random,
    stopped: asyncio.Event,
) -> None:
    """Read and transfer through one gateway until `stopped`; every batch is added to `batches`."""
    target = f"{url}{BUCKETS}/{bucket}/batch?values=json"
    async with session() as http:
        while not stopped.is_set():
            found = await _read(http, name, target)
            batches.append(found)
            if found.outcome == "ok":
                batches.append(await _move(http, name, target.partition("?")[0], found, chance))
            await asyncio.sleep(chance.uniform(0, 0.05))


async def _post(
    http: aiohttp.ClientSession, target: str, document: Any, headers: dict[str, str] | None = None
) -> tuple[int, Any]:
    """Return status and body of an answer, status 0 where nothing whole came."""
    try:
        async with http.post(target, json=document, headers=headers) as answer:
            return answer.status, await answer.json()
    except (aiohttp.ClientError, TimeoutError, ValueError):
        return 0, None


async def _read(http: aiohttp.ClientSession, name: str, target: str) -> Batch:
    start = time.monotonic_ns()
    status, body = await _post(http, target, {"get": list(ACCOUNTS)})
    end = time.monotonic_ns()
    if status != 200:
        wrong = "" if status in (0, 429, 503, 504) else f"a read was answered {status}: {body}"
        return Batch(name, "read", start, end, "refused", wrong=wrong)
    shown = {
        one["key"]: (one["revision"], one["value"]) for one in body["entries"] if one is not None
    }
    wrong = "" if len(shown) == len(ACCOUNTS) else "an account is missing"
    return Batch(name, "read", start, end, "ok", body["revision"], shown, wrong)


async def _move(
    http: aiohttp.ClientSession, name: str, target: str, read: Batch, chance: random.Random
) -> Batch:
    one, other = chance.sample(ACCOUNTS, 2)
    written = {}
    ops = []
    for key, amount in ((one, -1), (other, 1)):
        revision, balance = read.shown[key]
        written[key] = revision, balance + amount
        ops.append({"op": "update", "key": key, "revision": revision, "json": balance + amount})
    headers = {"Idempotency-Key": secrets.token_urlsafe(12)} if chance.random() < 0.5 else None
    start = time.monotonic_ns()
    status, body = await _post(http, target, {"ops": ops}, headers)
    sent_again = status in (0, 504)
    while status in (0, 503, 504) and headers and _left(start):
        await asyncio.sleep(0.1)
        status, body = await _post(http, target, {"ops": ops}, headers)
    end = time.monotonic_ns()
    if status == 200:
        return Batch(name, "transfer", start, end, "ok", body["revision"], written)
    if status in (412, 503) and not (sent_again and status == 503):
        outcome: Literal["conflict", "refused"] = "conflict" if status == 412 else "refused"
        return Batch(name, "transfer", start, end, outcome, 0, written)
    wrong = "" if status in (0, 429, 503, 504) else f"a transfer was answered {status}: {body}"
    return Batch(name, "transfer", start, end, "unknown", 0, written, wrong)


def _left(start: int) -> bool:
    return time.monotonic_ns() - start < _RESEND_SECONDS * 1e9


def breaches_of_batches(batches: Sequence[Batch]) -> list[str]:
    """One order of all batches explains what each showed, and no sum was ever another."""
    reads = [one for one in batches if one.kind == "read" and one.outcome == "ok"]
    return [
        *(f"{one.wrong}: {one}" for one in batches if one.wrong),
        *_torn(reads),
        *_not_in_order(reads),
        *_stale(batches, reads),
        *_lost(batches),
        *_wrongly_applied(batches, reads),
    ]


def _torn(reads: Iterable[Batch]) -> list[str]:
    """A read shows one moment: nothing newer than that, and the sum of all accounts."""
    total = _START * len(ACCOUNTS)
    return [
        f"no moment has this: {one}"
        for one in reads
        if sum(balance for _, balance in one.shown.values()) != total
        or max(revision for revision, _ in one.shown.values()) > one.revision
    ]


def _not_in_order(reads: Iterable[Batch]) -> list[str]:
    """What was read as of a later revision shows no older state of any account."""
    found = []
    newest: dict[str, tuple[int, int]] = {}
    for one in sorted(reads, key=lambda read: (read.revision, max(read.shown.values()))):
        for key, (revision, balance) in one.shown.items():
            before = newest.get(key, (0, 0))
            if revision < before[0] or (revision == before[0] and balance != before[1]):
                found.append(f"{key} was {before} as of an earlier revision: {one}")
            newest[key] = revision, balance
    return found


def _stale(batches: Iterable[Batch], reads: Iterable[Batch]) -> list[str]:
    """No read is older than what was acknowledged, or read, before it began."""
    found, newest = [], 0
    ends = sorted(
        (one for one in batches if one.outcome == "ok"), key=lambda batch: batch.end, reverse=True
    )
    for one in sorted(reads, key=lambda read: read.start):
        while ends and ends[-1].end < one.start:
            newest = max(newest, ends.pop().revision)
        if one.revision < newest:
            found.append(f"{newest} was known before: {one}")
    return found


def _lost(batches: Iterable[Batch]) -> list[str]:
    """Of transfers on one revision of an account, one is applied at most."""
    winners: dict[tuple[str, int], list[Batch]] = defaultdict(list)
    for one in batches:
        if one.kind == "transfer" and one.outcome == "ok":
            for key, (expected, _) in one.shown.items():
                winners[key, expected].append(one)
    return [
        f"{key} had {len(both)} next states after {expected}: {both[0]}; {both[1]}"
        for (key, expected), both in winners.items()
        if len(both) > 1
    ]


def _wrongly_applied(batches: Iterable[Batch], reads: Iterable[Batch]) -> list[str]:
    """What was acknowledged is there, both halves of it, and nobody else's."""
    revisions = {  # of an account, each state that was ever read
        (key, revision): balance for one in reads for key, (revision, balance) in one.shown.items()
    }
    found = []
    owners: dict[tuple[str, int], Batch] = {}
    for one in batches:
        if one.kind != "transfer" or one.outcome != "ok":
            continue
        for place, (key, (_, balance)) in enumerate(one.shown.items()):
            state = key, one.revision - len(one.shown) + 1 + place
            if state in owners:
                found.append(f"{state} is of two transfers: {owners[state]}; {one}")
            owners[state] = one
            if revisions.get(state, balance) != balance:
                found.append(f"acknowledged, and {state} was read as {revisions[state]}: {one}")
    return found
