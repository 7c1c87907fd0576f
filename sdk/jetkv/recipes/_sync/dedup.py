# Made from sdk/jetkv/recipes/_async/dedup.py by `make format`; edit that one.
"""Commands that come more than once, and are done once."""

from typing import Any

from jetkv._sync.bucket import Bucket
from jetkv.errors import InvalidArgumentError
from jetkv.recipes._claim import Claim
from jetkv.recipes._lease import Hold, ttl_of
from jetkv.recipes._sync.owned import Owned
from jetkv.recipes._sync.view import given

__all__ = ["CommandDedup"]

_CLAIMED = "claimed"
_DONE = "done"


class CommandDedup:
    """Lets one of many do a command, and gives the others its result.

        claim = dedup.claim(message.id)
        if claim.won:
            try:
                result = charge(message)
            except CardDeclined:
                dedup.release(claim)
                raise
            dedup.finalize(claim, result)

    Guaranteed: of all who claim an id while its key lives one wins; only that one can finalize or
    release it, by the revision; after `finalize` every claim gets the result, for the bucket's
    TTL. A write whose outcome is unknown is settled by reading, never by assumption.

    Not guaranteed: exactly once. A winner that crashes between claim and finalize leaves the id
    claimed until the bucket's TTL is up; then another wins, and does again whatever the first had
    done. The same happens when the work takes longer than the TTL: `finalize` then raises
    `RevisionMismatchError`, and the work has perhaps been done twice. So the TTL has to be longer
    than the longest work, and than the time within which duplicates come, and where twice does
    harm, the work must be told apart by the id itself.

    Args:
        bucket: of any type, made with a ttl; that it has one is checked once.
        prefix: in front of the ids, where the bucket holds other things, too.
    """

    def __init__(self, bucket: Bucket[Any], *, prefix: str = "") -> None:
        self._bucket = given(bucket, self)
        self._prefix = prefix
        self._ttl: float | None = None

    def claim(self, id: str) -> Claim:
        """Claim a command.

        Returns:
            `won`: do it. `done`: here is the `result`. Neither: somebody else is at it, or
            crashed over it; ask again later.

        Raises:
            InvalidArgumentError: the bucket has no TTL, or the id is no key.
            OutcomeUnknownError: it may be claimed, for nobody, until the TTL is up.
        """
        if not isinstance(id, str) or not id:
            raise InvalidArgumentError(f"a command's id is text, and not empty: {id!r}")
        if self._ttl is None:
            self._ttl = ttl_of(self._bucket.info(), "a claim")
        owned = Owned(self._bucket, self._prefix + id, self._ttl)
        hold = owned.take({"state": _CLAIMED})
        if hold is not None:
            return Claim(id, won=True, _hold=hold, _owned=owned)
        done = owned.other.get("state") == _DONE
        return Claim(id, won=False, done=done, result=owned.other.get("result") if done else None)

    def finalize(self, claim: Claim, result: Any = None) -> None:
        """Store a command's result, for all who claim it from now on.

        Args:
            claim: a won one.
            result: JSON.

        Raises:
            RevisionMismatchError: its time was up: somebody else may do it, or have done it.
            InvalidArgumentError: the claim was not won, or the result is no JSON.
            OutcomeUnknownError: it may have been stored, or may be later; finalize again.
        """
        owned, hold = self._won(claim)
        owned.renew(hold, {"state": _DONE, "result": result})

    def release(self, claim: Claim) -> None:
        """Give a command back undone, so that another can claim it at once.

        Nothing happens when its time was up before, or when it is finalized.

        Raises:
            InvalidArgumentError: the claim was not won.
            OutcomeUnknownError: it may stay claimed until the TTL is up; release it again.
        """
        owned, hold = self._won(claim)
        owned.drop(hold, strict=True)

    def _won(self, claim: Claim) -> tuple[Owned, Hold]:
        if not claim.won or claim._hold is None:
            raise InvalidArgumentError(
                f"the claim of {claim.id!r} was not won",
                hint="only the winner finalizes or releases",
            )
        owned: Owned = claim._owned
        return owned, claim._hold
