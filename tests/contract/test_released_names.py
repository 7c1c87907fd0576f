"""The names that a release made public are still there: errors, settings, metrics and the SDK.

docs/stability.md says what these names promise, and how one of them ends.
"""

import json
from pathlib import Path

import pytest

from tools.released import FOLDER, public_names

FILES = sorted(FOLDER.glob("names-*.json"))


def gone(released: dict[str, list[str]], now: dict[str, list[str]]) -> list[str]:
    """Return the released names that are there no more."""
    return [
        f"{kind}: {name}"
        for kind, names in released.items()
        for name in names
        if name not in now.get(kind, ())
    ]


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_no_name_of_a_release_is_gone(file: Path) -> None:
    assert gone(json.loads(file.read_text()), public_names()) == []


def test_each_kind_of_name_is_kept() -> None:
    kinds = [json.loads(file.read_text()) for file in FILES]
    assert kinds
    assert all(names for released in kinds for names in released.values())
    assert "jetkv.Bucket.update(revision)" in public_names()["sdk"]


@pytest.mark.parametrize("kind", ["errors", "settings", "metrics", "sdk"])
def test_a_name_that_is_gone_is_found(kind: str) -> None:
    now = public_names()
    *rest, last = now[kind]
    assert gone(now, {**now, kind: rest}) == [f"{kind}: {last}"]
    assert gone({**now, kind: rest}, now) == []
