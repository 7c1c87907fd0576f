"""HTTP/1.1 to the letter: each row of `http_cases` on a socket of its own, whole and in pieces.

What takes a conversation of its own, such as waiting for an interim answer, is in
`test_conversations.py`.
"""

import uuid
from collections.abc import Iterator
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.contract.http_cases import Case
from tests.contract.http_table import CASES
from tests.support.http import BUCKETS, Answer, Bucket, Http
from tests.support.raw import Wire

NEXT = b"GET /health HTTP/1.1\r\nHost: localhost\r\nX-Request-Id: next\r\n\r\n"
SMALL = [case for case in CASES.values() if len(case.sent) < 4096]


@pytest.fixture(scope="module")
def shared(http: Http) -> Iterator[Bucket]:
    """One bucket for all rows: each has a key of its own."""
    name = f"t-{uuid.uuid4().hex[:12]}"
    assert http.post(BUCKETS, {"name": name}).status == 201
    yield Bucket(http, name)
    http.delete(f"{BUCKETS}/{name}")


class Sent:
    """A row with a key of its own in it."""

    def __init__(self, bucket: Bucket, case: Case) -> None:
        self.case = case
        self._bucket = bucket
        self._path = bucket.key(uuid.uuid4().hex)
        self.bytes = case.sent.replace(b"@K", self._path.encode())

    def stored(self) -> bytes | None:
        answer = self._bucket.http.get(self._path, Accept="application/octet-stream")
        return answer.body if answer.status == 200 else None


def final_answer(wire: Wire, *, bodiless: bool = False) -> Answer:
    answer = wire.answer(with_body=not bodiless)
    while answer.status < 200:
        answer = wire.answer(with_body=not bodiless)
    return answer


def check_answers(wire: Wire, case: Case) -> None:
    """Read the answers of a row; each is as every answer is, an error with its body above all."""
    for number, status in enumerate(case.answers, 1):
        answer = final_answer(wire, bodiless=case.bodiless)
        last = number == len(case.answers)
        assert (answer.status, bool(answer.headers["x-request-id"])) == (status, True)
        closes = answer.headers.get("connection") == "close"
        assert closes == (last and not case.kept)
        if status >= 400 and not case.bodiless:
            assert answer.headers["content-type"] == "application/json"
            assert answer.json["request_id"] == answer.headers["x-request-id"]
            assert answer.json["retryable"] is False
            assert answer.json["code"]
            assert case.says in answer.error if last else answer.error


def check_end(wire: Wire, *, kept: bool) -> None:
    """Read what comes behind the last row: the answer to `NEXT`, or the end and nothing else."""
    if kept:
        assert final_answer(wire).headers["x-request-id"] == "next"
    else:
        assert wire.is_closed()


@pytest.mark.parametrize("how", ["whole", "in pieces"])
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_each_case_gets_what_it_is_owed(shared: Bucket, case: Case, how: str) -> None:
    sent = Sent(shared, case)
    with Wire(shared.http) as wire:
        data = sent.bytes + NEXT
        size = len(data) if how == "whole" else 1 if case in SMALL else 997
        for start in range(0, len(data), size):
            wire.send(data[start : start + size])
        check_answers(wire, case)
        check_end(wire, kept=case.kept)
    assert sent.stored() == case.stored


rows = st.sampled_from([case for case in SMALL if case.kept])
last_rows = st.sampled_from([case for case in SMALL if not case.kept])


@settings(deadline=None, max_examples=150)
@given(
    st.lists(rows, max_size=5),
    st.none() | last_rows,
    st.lists(st.floats(0, 1), max_size=20),
)
def test_the_same_bytes_get_the_same_answers_wherever_they_are_split(
    shared: Bucket, cases: list[Case], last: Case | None, cuts: list[float]
) -> None:
    """The table says what each is owed, alone or behind others, in whatever pieces it comes."""
    parts = [Sent(shared, case) for case in [*cases, *([last] if last else [])]]
    data = b"".join(part.bytes for part in parts) + NEXT
    borders = [0, *sorted(int(cut * len(data)) for cut in cuts), len(data)]
    with Wire(shared.http) as wire:
        for start, end in pairwise(borders):
            wire.send(data[start:end])
        for part in parts:
            check_answers(wire, part.case)
        check_end(wire, kept=last is None)
    for part in parts:
        assert part.stored() == part.case.stored
