"""The errors of batches; a part of the tree in `errors.py`."""

from collections.abc import Sequence

from jetkv_gateway.kv.errors import GatewayError, PreconditionFailed

__all__ = ["AnswerTooLarge", "ConditionsFailed"]


class ConditionsFailed(PreconditionFailed):
    """Raised when conditions of an atomic batch do not hold; nothing of it was applied."""

    text = "conditions do not hold"

    def __init__(self, failed: Sequence[tuple[int, str, int]]) -> None:
        """Name the ops that failed.

        Args:
            failed: of each, its number, its key, and the newest revision of that, 0 for none.
        """
        super().__init__()
        self.failed = tuple(failed)
        self.details = {
            "failed": [
                {"index": index, "key": key, "current_revision": revision}
                for index, key, revision in failed
            ]
        }


class AnswerTooLarge(GatewayError):
    """Raised when a batch get asks for more bytes of values than one answer may have."""

    status = 413
    code = "invalid_argument"
    text = "answer too large"

    def __init__(self, limit_bytes: int) -> None:
        super().__init__(hint="ask for fewer keys", details={"limit_bytes": limit_bytes})
