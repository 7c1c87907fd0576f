"""All that reads bytes of strangers, on random bytes and on damaged examples.

`make fuzz` searches longer, guided by the code that an input reaches.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fuzz.targets import SEEDS, TARGETS


@st.composite
def damaged(draw: st.DrawFn, examples: tuple[bytes, ...]) -> bytes:
    """An example with a part that is cut out, repeated or replaced."""
    text = draw(st.sampled_from(examples))
    start = draw(st.integers(0, len(text)))
    end = draw(st.integers(start, len(text)))
    part = draw(st.sampled_from([b"", text[start:end] * 3, b"\0", b"%", b"\xff", b"\r\n", b"*"]))
    return text[:start] + part + text[end:]


@pytest.mark.parametrize("name", TARGETS)
def test_examples_are_read(name: str) -> None:
    for seed in SEEDS[name]:
        TARGETS[name](seed)


@pytest.mark.parametrize("name", TARGETS)
def test_random_bytes_are_read_or_refused(name: str) -> None:
    @settings(max_examples=50)
    @given(st.binary(max_size=300))
    def check(data: bytes) -> None:
        TARGETS[name](data)

    check()


@pytest.mark.parametrize("name", TARGETS)
def test_damaged_examples_are_read_or_refused(name: str) -> None:
    @settings(max_examples=50)
    @given(damaged(SEEDS[name]))
    def check(data: bytes) -> None:
        TARGETS[name](data)

    check()
