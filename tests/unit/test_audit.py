"""The audit log: its lines, and what happens when they cannot be written."""

import json
import logging
import os
import threading
from pathlib import Path

import pytest

from jetkv_gateway.telemetry.audit import AuditKeys, AuditLog, AuditOptions
from jetkv_gateway.telemetry.audit_writer import AuditWriter
from jetkv_gateway.telemetry.events import EVENTS
from tests.support.waiting import until


class Losses:
    """Listens to the trouble of audit logs."""

    def __init__(self) -> None:
        self.dropped: list[tuple[str, int]] = []
        self.failed = 0

    def audit_dropped(self, reason: str, count: int) -> None:
        self.dropped.append((reason, count))

    def audit_write_failed(self) -> None:
        self.failed += 1


@pytest.fixture
def losses():
    heard = Losses()
    EVENTS.add(heard)
    yield heard
    EVENTS.remove(heard)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "audit.log"


def report(log: AuditLog, status: int = 200, verb: str = "write", key: str = "k") -> None:
    subject = (verb, "b", "key", key, None)
    log.audited("request", "app", "token", "10.0.0.1", (subject,), status, b"id-1")


def lines_of(file: Path, *records: dict[str, object], **options: object) -> list[dict[str, object]]:
    log = AuditLog(AuditOptions(str(file), **options))  # type: ignore[arg-type] # as it is called
    log.start()
    for record in records:
        report(log, **record)  # type: ignore[arg-type] # as above
    log.close()
    return [json.loads(line) for line in file.read_bytes().splitlines()]


def test_a_line_says_who_did_what_with_which_outcome(file: Path) -> None:
    [line] = lines_of(file, {})
    assert line.pop("time").endswith("Z")  # type: ignore[attr-defined] # a text
    assert line == {
        "event": "request",
        "name": "app",
        "method": "token",
        "verb": "write",
        "bucket": "b",
        "key": "k",
        "status": 200,
        "outcome": "done",
        "request_id": "id-1",
        "address": "10.0.0.1",
    }


@pytest.mark.parametrize(
    ("status", "outcome"),
    [(412, "rejected"), (403, "denied"), (401, "denied"), (503, "failed"), (504, "unknown")],
)
def test_the_outcome_follows_from_the_status(file: Path, status: int, outcome: str) -> None:
    assert lines_of(file, {"status": status})[0]["outcome"] == outcome


def test_keys_can_be_hashed_and_only_the_secret_makes_the_same_hash(file: Path) -> None:
    hashes = [
        lines_of(file, {}, keys=AuditKeys.HASH, hash_key=secret)[-1]["key_hash"]
        for secret in (b"", b"one", b"one", b"two")
    ]
    assert hashes[1] == hashes[2]
    assert len(set(hashes)) == 3
    assert '"k"' not in file.read_text()


def test_keys_can_be_left_out(file: Path) -> None:
    [line] = lines_of(file, {}, keys=AuditKeys.NONE)
    assert not {"key", "key_hash"} & line.keys()


def test_without_reads_only_changes_and_refusals_remain(file: Path) -> None:
    found = lines_of(
        file,
        {"verb": "read"},
        {"verb": "write"},
        {"verb": "read", "status": 403},
        reads=False,
    )
    assert [(line["verb"], line["status"]) for line in found] == [("write", 200), ("read", 403)]


def test_only_its_owner_can_read_the_file(file: Path) -> None:
    lines_of(file, {})
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_key_cannot_add_a_line(file: Path) -> None:
    found = lines_of(file, {"key": 'a\u2028"b\\'})
    assert found[0]["key"] == 'a\u2028"b\\'
    assert file.read_bytes().count(b"\n") == 1


def test_a_file_that_cannot_be_opened_is_an_error_at_the_start(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        AuditLog(AuditOptions(str(tmp_path / "none" / "audit.log")))


# --- rotation


@pytest.mark.parametrize("told", [True, False], ids=["told", "not told"])
def test_after_a_rename_lines_go_to_a_new_file(
    file: Path, told: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jetkv_gateway.telemetry.audit_writer._LOOK_SECONDS", 0 if not told else 99)
    log = AuditLog(AuditOptions(str(file)))
    log.start()
    report(log, key="old")
    until(lambda: "old" in file.read_text(), "the first line is written")
    renamed = file.rename(file.with_suffix(".1"))
    if told:
        log.reopen()
        until(file.exists, "the file is opened again")
    report(log, key="new")
    log.close()
    assert "new" in file.read_text()
    assert "new" not in renamed.read_text()


# --- trouble


def test_a_full_disk_is_counted_and_logged_and_stops_nothing(
    losses: Losses, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    # A logger of its own: other tests may have left a handler at that of the gateway.
    logger = logging.Logger("jetkv")
    logger.addHandler(caplog.handler)
    monkeypatch.setattr("jetkv_gateway.telemetry.audit_writer._log", logger)
    monkeypatch.setattr("jetkv_gateway.telemetry.audit_writer._RETRY_SECONDS", 0.02)
    monkeypatch.setattr(AuditWriter, "MOST", 10)
    log = AuditLog(AuditOptions("/dev/full"))
    log.start()
    report(log)
    until(lambda: losses.failed > 2, "it is tried again")
    for _ in range(20):
        report(log)
    log.close()
    queued = [count for reason, count in losses.dropped if reason == "queue_full"]
    assert sum(queued) == 11
    assert losses.dropped[-1] == ("write_failed", 10)
    assert "cannot write the audit log: No space left on device" in caplog.text
    assert caplog.text.count("No space left") == 1


def test_the_lines_of_a_batch_count_each_where_many_wait(
    losses: Losses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AuditWriter, "MOST", 10)
    log = AuditLog(AuditOptions("/dev/full"))
    batch = tuple(("write", "b", "key", f"k{number}", None) for number in range(8))
    for _ in range(3):
        log.audited("request", "app", "token", "10.0.0.1", batch, 200, b"id")
    report(log)
    report(log)
    report(log)
    assert losses.dropped == [("queue_full", 8), ("queue_full", 8), ("queue_full", 1)]


def test_what_waited_for_space_is_written_when_there_is_some(
    file: Path, losses: Losses, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jetkv_gateway.telemetry.audit_writer._RETRY_SECONDS", 0.02)
    file.symlink_to("/dev/full")
    log = AuditLog(AuditOptions(str(file)))
    log.start()
    report(log, key="kept")
    until(lambda: losses.failed > 0, "the disk is full")
    file.unlink()
    until(lambda: file.exists() and "kept" in file.read_text(), "it is written")
    log.close()
    assert losses.dropped == []


def test_half_a_line_is_followed_by_the_whole_one(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = os.write
    cut = threading.Event()

    def cutting(descriptor: int, data: bytes) -> int:
        if not cut.is_set():
            cut.set()
            return write(descriptor, data[:-20])
        return write(descriptor, data)

    monkeypatch.setattr("jetkv_gateway.telemetry.audit_writer.os.write", cutting)
    log = AuditLog(AuditOptions(str(file)))
    report(log, key="one")
    report(log, key="two")
    log.start()
    until(cut.is_set, "a write was cut off")
    log.close()
    keys = []
    for line in file.read_text().splitlines():
        try:
            keys.append(json.loads(line)["key"])
        except ValueError:
            keys.append("half")
    assert keys == ["one", "half", "two"]


def test_a_pipe_that_nobody_reads_does_not_delay_the_stop(losses: Losses, tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    try:
        log = AuditLog(AuditOptions(str(pipe)))
        log.start()
        for _ in range(2000):
            report(log, key="k" * 200)
        log.close()
    finally:
        os.close(reader)
    assert losses.dropped[-1][0] == "write_failed"


def test_several_writers_keep_their_lines_whole(file: Path) -> None:
    logs = [AuditLog(AuditOptions(str(file))) for _ in range(4)]
    for log in logs:
        log.start()
    for number in range(500):
        for log in logs:
            report(log, key=f"{number}-" + "x" * (number % 300))
    for log in logs:
        log.close()
    assert len([json.loads(line) for line in file.read_bytes().splitlines()]) == 2000
