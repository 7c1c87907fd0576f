"""Writes to a key with TTLs, at random, and looks at it in between; see `ttl_model`."""

import asyncio
import json
import random
import time
from dataclasses import dataclass, field
from math import inf

import aiohttp

from tests.support.http import BUCKETS
from tests.support.ttl_model import HistoryLook, Key, Look, Shape, Version

__all__ = ["Client", "Reply", "Writer", "Written"]

AROUND_AN_EXPIRY = 0.5
"""Seconds after an expiry in which a write may still find the value."""


@dataclass
class Written:
    """A bucket, and what was written and seen of it.

    Attributes:
        refusals: the answers to writes that are not those of the model.
    """

    shape: Shape
    bucket: str
    keys: dict[str, Key]
    refusals: list[str] = field(default_factory=list)

    @property
    def path(self) -> str:
        return f"{BUCKETS}/{self.bucket}"


@dataclass(frozen=True)
class Reply:
    begin: float
    end: float
    status: int
    body: bytes


class Client:
    """Requests on kept connections, each with the times around it."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url

    async def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Reply:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        begin = time.time()
        async with self._session.request(
            method, self._url + path, data=body, headers=sent
        ) as answer:
            content = await answer.read()
        return Reply(begin, time.time(), answer.status, content)


class Writer:
    """Writes one key, one write after the other."""

    def __init__(self, client: Client, written: Written, key: Key, seed: str) -> None:
        self._client = client
        self._written = written
        self._key = key
        self._shape = key.shape
        self._chance = random.Random(seed)
        self._path = f"{written.path}/keys/{key.name}"
        self._number = 0

    async def run(self, until: float) -> None:
        writes = [self.put] * 6 + [self.create] * 4 + [self.touch] * 4 + [self.delete] * 2
        writes += [self.wait] * 3
        await asyncio.sleep(self._chance.random() * 0.3)
        while time.time() < until:
            await self._chance.choice(writes)()
            await self.look(self._chance.randrange(3))
            await asyncio.sleep(self._chance.choice([0, 0.05, 0.2, 0.5]))

    async def put(self) -> None:
        own = self._chance.choice([None, None, None, 1, 1, 2, inf])
        allowed = {200} if self._shape.takes(own, drops_history=False) else {409}
        await self._store(self._version(own, rolls_up=False), allowed)

    async def create(self) -> None:
        own = self._chance.choice([None, 1, 1, 2, inf])
        taken = self._shape.takes(own, drops_history=True)
        version = self._version(own, rolls_up=own is not None)
        await self._store(version, {200, 412} if taken else {409}, If_None_Match="*")

    def _version(self, own: float | None, *, rolls_up: bool) -> Version:
        self._number += 1
        value = f"{self._key.name}.{self._number}"
        lasts = self._shape.lasts(own)
        return Version(value, time.time(), own=own, lasts=lasts, drops_history=rolls_up)

    async def _store(self, version: Version, allowed: set[int], **headers: str) -> None:
        assert version.value is not None
        headers |= _ttl(version.own)
        value = version.value.encode()
        await self._write(version, allowed, "PUT", self._path, value, **headers)

    async def touch(self) -> None:
        own, last = self._chance.choice([None, None, 1, 2, inf]), self._key.last
        kept = last.own if own is None and last is not None else own
        taken = self._shape.takes(kept, drops_history=True)
        if kept is None and self._shape.ttl == inf:
            taken = False
        version = self._version(kept, rolls_up=self._shape.history > 1)
        version.value = last.value if last is not None else None
        path = self._path.replace("/keys/", "/touch/")
        await self._write(version, {404, 200 if taken else 409}, "POST", path, None, **_ttl(own))

    async def delete(self) -> None:
        purges = self._chance.random() < 0.3
        version = Version(None, time.time(), purges=purges, drops_history=purges)
        path = self._path + ("?purge=true" if purges else "")
        await self._write(version, {204}, "DELETE", path, None)

    async def _write(
        self,
        version: Version,
        allowed: set[int],
        method: str,
        path: str,
        body: bytes | None,
        **headers: str,
    ) -> None:
        """Make a write, and note what came of it.

        Args:
            allowed: the statuses that it may have; of 200 and 404 or 412, those that fit the key.
        """
        last, versions = self._key.last, self._key.versions
        versions.append(version)
        reply = await self._client.ask(method, path, body, **headers)
        version.answered = reply.end
        if reply.status == 200:
            version.revision = json.loads(reply.body)["revision"]
        elif reply.status != 204:
            versions.remove(version)
        live = last is not None and last.may_live(reply.begin, AROUND_AN_EXPIRY)
        absent = last is None or last.may_be_over(reply.end)
        if version.value is None and absent:
            version.certain = False
        if 412 in allowed:
            allowed = ({200} if absent else set()) | ({412} if live else set())
        if 404 in allowed:
            allowed = ({404} if absent else set()) | (allowed - {404} if live else set())
        if reply.status not in allowed:
            told = "" if last is None else f"{reply.begin - last.answered:.3f} s after {last}"
            self._written.refusals.append(
                f"{self._shape.name}, {self._key.name}: {method} {path} {headers} got "
                f"{reply.status} {reply.body!r} and not {allowed}, {told}"
            )

    async def wait(self) -> None:
        """Wait until the value expires, if it does, and look just then."""
        last = self._key.last
        if last is not None and last.value is not None and last.lasts < inf:
            await asyncio.sleep(max(0.0, last.answered + last.lasts - time.time()))
            for place in range(3):
                await self.look(place)
                await asyncio.sleep(0.03)

    async def look(self, place: int) -> None:
        """Look at the key in one of three ways."""
        key, last = self._key, self._key.last
        if place == 0:
            path = self._path.replace("/keys/", "/history/") + "?values=json"
            reply = await self._client.ask("GET", path)
            entries = json.loads(reply.body)["entries"] if reply.status == 200 else []
            key.histories.append(HistoryLook(reply.begin, reply.end, entries, key.stored()))
            return
        view, query = "GET", "values=json"
        if place == 1 and last is not None and last.revision is not None:
            view, query = "GET of a revision", f"values=json&revision={last.revision}"
        elif self._chance.random() < 0.3:
            view, query = "an eventual GET", "values=json&consistency=eventual"
        reply = await self._client.ask("GET", f"{self._path}?{query}")
        shown = json.loads(reply.body) if reply.status == 200 else None
        key.looks.append(Look(view, reply.begin, reply.end, shown))


def _ttl(own: float | None) -> dict[str, str]:
    if own is None:
        return {}
    return {"JetKV_TTL_Seconds": "never" if own == inf else str(int(own))}
