"""Renews an owned key until it is released or lost."""

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from jetkv._async.runtime import AsyncBackground, AsyncSignal, MaybeAwaitable, resolve
from jetkv._core.retry import jitter
from jetkv.errors import JetKVError, RevisionMismatchError
from jetkv.recipes._async.claimed_key import AsyncClaimedKey
from jetkv.recipes._lease import Lease, clock

__all__ = ["AsyncHeartbeat", "OnLost"]

log = logging.getLogger("jetkv.recipes")

OnLost = Callable[[], MaybeAwaitable[None]]


class AsyncHeartbeat:
    """Renews a key three times in its TTL.

    Args:
        name: a name for the log, such as `lock 'report' in bucket 'locks'`.
        claimed_key: the key.
        fields: what its document has beside the owner.
        lease: how long the key is owned.
        on_lost: called once if the key is lost.
    """

    def __init__(
        self,
        name: str,
        claimed_key: AsyncClaimedKey,
        fields: Mapping[str, Any],
        lease: Lease,
        on_lost: OnLost | None,
    ) -> None:
        self.lease = lease
        self._name = name
        self._claimed_key = claimed_key
        self._fields = fields
        self._on_lost = on_lost
        self._ended = AsyncSignal()
        self._background = AsyncBackground(self._run, f"jetkv renews {name}")

    async def start(self) -> None:
        await self._background.start()

    async def end(self) -> bool:
        """Release the key; return whether it was owned until now.

        If the key cannot be released, a warning is logged and the key expires. A forked child does
        not touch its parent's key.
        """
        if not self.lease.in_this_process:
            return True
        self._ended.set()
        # A renewal may still be running. `release` finds out what it did.
        await self._background.stop(self.lease.ttl / 3)
        kept = self.lease.alive
        ownership = self.lease.ownership
        # Ends the lease before the key can get another owner.
        self.lease.end()
        if not kept:
            await self._report_loss()
        try:
            # After that time the key has expired.
            until = ownership.written_at + self.lease.ttl
            kept = await self._claimed_key.release(ownership, until=until) and kept
        except JetKVError as error:
            log.warning("%s could not be released; it is free after its TTL: %s", self._name, error)
        return kept

    async def _run(self) -> None:
        lease = self.lease
        pause = self._until_renewal()
        while not await self._ended.wait(min(pause, lease.seconds_left)):
            if not lease.alive:
                break
            try:
                until = clock() + min(lease.seconds_left, lease.ttl / 3)
                ownership = await self._claimed_key.renew(
                    lease.ownership, self._fields, until=until
                )
            except RevisionMismatchError:
                break
            except JetKVError as error:
                log.debug("%s was not renewed, and is renewed again soon: %s", self._name, error)
                pause = lease.ttl / 12 * (0.5 + 0.5 * jitter())
                continue
            except Exception:  # A defect must not look like a lock that is held.
                log.exception("%s was not renewed", self._name)
                break
            if not lease.renewed(ownership):
                break
            pause = self._until_renewal()
        else:
            return
        await self._lost()

    def _until_renewal(self) -> float:
        lease = self.lease
        return max(lease.ownership.written_at + lease.ttl / 3 - clock(), 0.0)

    async def _lost(self) -> None:
        self.lease.end()
        log.warning("%s is lost", self._name)
        await self._report_loss()
        # If only the time ran out, the key may still name this owner.
        with suppress(JetKVError):
            until = clock() + self.lease.ttl / 3
            await self._claimed_key.release(self.lease.ownership, until=until)

    async def _report_loss(self) -> None:
        on_lost, self._on_lost = self._on_lost, None
        if on_lost is not None:
            try:
                await resolve(on_lost())
            except Exception:  # The caller's function may raise anything, and nobody awaits this.
                log.exception("on_lost of %s", self._name)
