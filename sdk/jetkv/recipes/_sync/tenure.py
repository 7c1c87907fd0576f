# Made from sdk/jetkv/recipes/_async/tenure.py by `make format`; edit that one.
"""From getting a key to giving it back: the heartbeat, and the end."""

import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from jetkv._core.retry import jitter
from jetkv._sync.runtime import Background, Signal, resolve
from jetkv.errors import JetKVError, RevisionMismatchError
from jetkv.recipes._lease import Lease, clock
from jetkv.recipes._sync.owned import Owned

__all__ = ["OnLost", "Tenure"]

log = logging.getLogger("jetkv.recipes")

OnLost = Callable[[], None]


class Tenure:
    """One time of holding a key, renewed three times in its TTL.

    Args:
        name: of what is held, for the log.
    """

    def __init__(
        self,
        name: str,
        owned: Owned,
        facts: Mapping[str, Any],
        lease: Lease,
        on_lost: OnLost | None,
    ) -> None:
        self.lease = lease
        self._name = name
        self._owned = owned
        self._facts = facts
        self._on_lost = on_lost
        self._ended = Signal()
        self._heart = Background(self._beat, f"jetkv renews {name}")

    def start(self) -> None:
        self._heart.start()

    def end(self) -> bool:
        """Give the key back, and return whether it was held until now.

        What goes wrong is logged: the key's time ends it then. A forked child leaves its parent's
        key alone.
        """
        if not self.lease.ours:
            return True
        self._ended.set()
        # A renewal on its way may end as it likes: giving back finds what it did.
        self._heart.stop(self.lease.ttl / 3)
        kept = self.lease.alive
        hold = self.lease.hold
        # Before anybody else can have it.
        self.lease.end()
        if not kept:
            self._tell()
        try:
            # Later than that it is given back already.
            until = hold.since + self.lease.ttl
            kept = self._owned.drop(hold, until=until) and kept
        except JetKVError as error:
            log.warning("%s could not be given back; its TTL frees it: %s", self._name, error)
        return kept

    def _beat(self) -> None:
        lease = self.lease
        pause = self._next()
        while not self._ended.wait(min(pause, lease.left)):
            if not lease.alive:
                break
            try:
                hold = self._owned.renew(
                    lease.hold, self._facts, until=clock() + min(lease.left, lease.ttl / 3)
                )
            except RevisionMismatchError:
                break
            except JetKVError as error:
                log.debug("%s was not renewed, and is tried again: %s", self._name, error)
                pause = lease.ttl / 12 * (0.5 + 0.5 * jitter())
                continue
            except Exception:  # a defect must not look like a lock that is held
                log.exception("%s was not renewed", self._name)
                break
            if not lease.renewed(hold):
                break
            pause = self._next()
        else:
            return
        self._lost()

    def _next(self) -> float:
        lease = self.lease
        return max(lease.hold.since + lease.ttl / 3 - clock(), 0.0)

    def _lost(self) -> None:
        self.lease.end()
        log.warning("%s is lost", self._name)
        self._tell()
        # Where only time ran out, the key may still say that it is held.
        with suppress(JetKVError):
            self._owned.drop(self.lease.hold, until=clock() + self.lease.ttl / 3)

    def _tell(self) -> None:
        on_lost, self._on_lost = self._on_lost, None
        if on_lost is not None:
            try:
                resolve(on_lost())
            except Exception:  # whatever it is, it is the caller's, and has nobody else to go to
                log.exception("on_lost of %s", self._name)
