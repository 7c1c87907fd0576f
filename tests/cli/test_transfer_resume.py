"""`jetkv import` that was killed, and goes on."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from jetkv.testing import LocalNats
from jetkv.transfer.state import State
from tests.cli.data import Cli, Running
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Bucket
from tests.support.waiting import until

Make = Callable[..., Bucket]

KEYS = 4_000


def fill(bucket: Bucket, rounds: int = 1, keys: int = KEYS) -> None:
    for number in range(rounds):
        for first in range(0, keys, 1_000):
            ops = [
                {"op": "put", "key": f"key.{one}", "text": f"value {one} {number}"}
                for one in range(first, min(first + 1_000, keys))
            ]
            assert bucket.http.post(f"{bucket.path}/batch", {"ops": ops}).status == 200


def revisions(bucket: Bucket) -> dict[str, list[str]]:
    """Return all stored values of each key, oldest first."""
    path = f"{bucket.path}/keys?include=history"
    answer = bucket.http.get(path, Accept="application/x-ndjson")
    *entries, end = [json.loads(line) for line in answer.body.splitlines()]
    assert end["type"] == "end"
    found: dict[str, list[str]] = {}
    for entry in entries:
        found.setdefault(entry["key"], []).append(entry["value"])
    return found


def has_written(running: Running, state: Path, batches: int) -> bool:
    """Return whether an import has written some batches, or has ended."""
    if running.process.poll() is not None:
        return True
    return state.exists() and state.read_bytes().count(b"\n") >= batches


@pytest.mark.long
def test_an_import_that_is_killed_and_interrupted_ends_as_one_that_was_not(
    cli: Cli, make_bucket: Make, tmp_path: Path
) -> None:
    source, target = make_bucket(), make_bucket(history=3)
    fill(source)
    file = tmp_path / "f.gz"
    cli("export", source.name, file)
    words = ("import", target.name, file, "--workers", "2")
    state = tmp_path / f"f.gz.{target.name}.import-state"
    for kill in range(2):
        with cli.running(*words) as running:
            until(partial(has_written, running, state, 2 + kill), "the import writes", 30)
            if kill == 1:
                code, said = running.interrupted()
                assert (code, said.count("the same command goes on from there")) in {
                    (130, 1),
                    (0, 0),
                }
    ended = cli(*words, "-o", "json").json
    assert ended["written"] + ended["unchanged"] == KEYS
    assert revisions(target) == revisions(source)
    assert not state.exists()


class Stopped(OSError):
    """The machine stops here."""


@pytest.fixture
def stop(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], Any]:
    """Let an import end after a batch was written, and before that is on the disk."""

    def stop(after: int) -> Any:
        record = State.record
        patch = pytest.MonkeyPatch()

        def stops(self: State, *given: Any) -> None:
            nonlocal after
            after -= 1
            if after < 0:
                raise Stopped("stopped")
            record(self, *given)

        patch.setattr(State, "record", stops)
        return patch

    return stop


@pytest.mark.parametrize("after", [0, 1])
@pytest.mark.parametrize("history", [1, 4])
def test_a_batch_that_was_written_but_not_recorded_is_not_written_twice(
    cli: Cli, make_bucket: Make, tmp_path: Path, stop: Any, after: int, history: int
) -> None:
    source, target = make_bucket(history=history), make_bucket(history=4)
    fill(source, rounds=history, keys=1_400 // history)
    file = tmp_path / "f"
    cli("export", source.name, file, *(["--history"] if history > 1 else []))
    words = ("import", target.name, file, "--on-conflict", "overwrite", "--workers", "1")
    patch = stop(after)
    try:
        assert cli.fails(*words)[0] == 19
    finally:
        patch.undo()
    cli(*words)
    assert revisions(target) == revisions(source)


def test_an_import_goes_on_as_it_began_or_not_at_all(
    cli: Cli, make_bucket: Make, tmp_path: Path, stop: Any
) -> None:
    source, target = make_bucket(), make_bucket()
    fill(source, keys=1_500)
    file = tmp_path / "f"
    cli("export", source.name, file)
    patch = stop(1)
    try:
        _, line = cli.fails("import", target.name, file, "--workers", "1")
    finally:
        patch.undo()
    assert "1,500 entries were written before, and the same command goes on" in line
    code, line = cli.fails("import", target.name, file, "--on-conflict", "skip")
    assert (code, "its policy was 'fail'" in line) == (2, True)
    state = tmp_path / f"f.{target.name}.import-state"
    with state.open("ab") as torn:
        torn.write(b'{"worker":0,"do')
    assert cli("import", target.name, file).text == "1500\n"
    assert revisions(target) == revisions(source)


def test_two_imports_of_one_file_into_one_bucket_do_not_run_at_once(
    cli: Cli, make_bucket: Make, tmp_path: Path
) -> None:
    import fcntl

    source, target = make_bucket(), make_bucket()
    file = tmp_path / "f"
    cli("export", source.name, file)
    with (tmp_path / f"f.{target.name}.import-state").open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        code, line = cli.fails("import", target.name, file)
    assert (code, "runs already" in line) == (2, True)


@pytest.fixture
def importing() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.mark.long
def test_an_import_waits_for_a_gateway_that_restarts(
    nats: LocalNats, tmp_path: Path, importing: ExitStack
) -> None:
    with running_gateway(nats.url) as http:
        for name in ("restart-from", "restart-to"):
            assert http.post(BUCKETS, {"name": name, "history": 2}).status == 201
        source = Bucket(http, "restart-from")
        fill(source, keys=20_000)
        cli = Cli(http.url)
        file = tmp_path / "f"
        cli("export", source.name, file)
        state = tmp_path / "f.restart-to.import-state"
        running = importing.enter_context(
            cli.running("import", "restart-to", file, "--workers", "2")
        )
        until(partial(has_written, running, state, 3), "the import writes", 30)
    assert running.process.poll() is None
    with running_gateway(nats.url, port=http.port) as http:
        assert running.ended()[0] == 0
        target = Bucket(http, "restart-to")
        assert revisions(target) == revisions(Bucket(http, "restart-from"))
        for name in ("restart-from", "restart-to"):
            http.delete(f"{BUCKETS}/{name}")
