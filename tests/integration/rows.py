"""What the tests of the table of JetStream's refusals share."""

from collections.abc import Callable
from typing import Any

from tests.support.http import Answer, Bucket

COVERED: dict[int, str] = {}


def row(*codes: int) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Note which rows of the table a test is about."""

    def note(test: Callable[..., Any]) -> Callable[..., Any]:
        COVERED.update(dict.fromkeys(codes, test.__name__))
        return test

    return note


def fill(bucket: Bucket) -> Answer:
    """Put until the server refuses; the refusal."""
    for number in range(50):
        answer = bucket.put(f"k{number}", bytes(50_000))
        if answer.status != 200:
            return answer
    raise AssertionError("nothing was ever full")
