"""What answers and stored messages say of a write. Pure."""

from dataclasses import dataclass
from typing import Any

from jetkv_gateway.jetstream.api import EXPECTED_REVISION, MESSAGE_ID, REQUEST, message_headers
from jetkv_gateway.jetstream.decisions import KeyState, Outcome
from jetkv_gateway.jetstream.errors import IN_PROCESS, MISMATCHES
from jetkv_gateway.kv.errors import IdempotencyConflict
from jetkv_gateway.kv.idempotency import Idempotency
from jetkv_gateway.kv.model import Entry

__all__ = ["LastMessage", "key_state_of", "parse_reply"]


@dataclass(slots=True)
class LastMessage:
    """A message of a key, by the leader; the newest one but where that is said."""

    entry: Entry
    headers: str | None

    @property
    def expected(self) -> int | None:
        """The revision that the condition of its write named, None without one."""
        text = message_headers(self.headers).get(EXPECTED_REVISION, "")
        return int(text) if text.isascii() and text.isdigit() else None

    def made_by(self, identity: Idempotency) -> bool:
        """Return whether a write with the same idempotency key stored it.

        Raises:
            IdempotencyConflict: it did, and was another write.
        """
        headers = message_headers(self.headers)
        if headers.get(MESSAGE_ID, "").partition(".")[0] != identity.scope:
            return False
        if headers.get(REQUEST) != identity.content:
            raise IdempotencyConflict(self.entry.revision)
        return True


def parse_reply(answer: dict[str, Any]) -> tuple[Outcome, int]:
    """Read an answer to a try: what was said, and the revision that it names."""
    error = answer.get("error")
    if error is None:
        revision: int = answer["seq"]
        if not answer.get("duplicate"):
            return Outcome.STORED, revision
        # nats-server 2.10 says "duplicate" without a revision while the first try is under way.
        return (Outcome.DUPLICATE, revision) if revision else (Outcome.IN_PROCESS, 0)
    code = error.get("err_code")
    if code == IN_PROCESS:
        return Outcome.IN_PROCESS, 0
    return (Outcome.MISMATCH if code in MISMATCHES else Outcome.REFUSED), 0


def key_state_of(last: LastMessage | None, identity: Idempotency | None) -> KeyState:
    """Return what the newest message of a key says of a write.

    Raises:
        IdempotencyConflict: it bears the same idempotency key, and is another write.
    """
    if last is None:
        return KeyState()
    is_this_write = identity is not None and last.made_by(identity)
    return KeyState(last.entry.revision, last.entry.live, is_this_write)
