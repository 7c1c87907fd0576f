"""What the audit log has of requests (docs/audit.md)."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from websockets.sync.client import connect

from jetkv.testing import LocalNats
from tests.support.flags import FLAGS
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Bucket, Http
from tests.support.tokens import new_token, token_line
from tests.support.waiting import until

TOKEN = new_token()


class Audited:
    """A gateway with an audit log, and what the log has."""

    def __init__(self, http: Http, file: Path) -> None:
        self.http = http
        self.file = file
        self.owner = Http(http.host, http.port, Authorization=f"Bearer {TOKEN}")

    def lines(self, request_id: str, number: int) -> list[dict[str, Any]]:
        """Wait until the log has this many lines of a request, and return them."""
        found: list[dict[str, Any]] = []

        def are_there() -> bool:
            # The last line may be half written.
            whole = self.file.read_bytes().rpartition(b"\n")[0]
            lines = [json.loads(line) for line in whole.splitlines() if line]
            found[:] = [line for line in lines if line["request_id"] == request_id]
            return len(found) >= number

        until(are_there, f"{number} lines of {request_id}")
        return found


@pytest.fixture(scope="module")
def audited(nats: LocalNats, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Audited]:
    folder = tmp_path_factory.mktemp("audit")
    (folder / "tokens").write_text(token_line("owner", TOKEN) + "\n")
    with running_gateway(
        nats.url,
        auth="tokens",
        auth_tokens=folder / "tokens",
        audit_log=str(folder / "audit.log"),
        buckets="audited",
    ) as http:
        yield Audited(http, folder / "audit.log")


@pytest.fixture
def request_id() -> str:
    return uuid.uuid4().hex


def brief(lines: list[dict[str, Any]], *fields: str) -> list[tuple[Any, ...]]:
    return [tuple(line.get(field) for field in fields) for line in lines]


def test_a_write_is_there_with_its_caller_its_key_and_its_outcome(
    audited: Audited, request_id: str
) -> None:
    Bucket(audited.owner, "audited").put("a/b", "v", X_Request_Id=request_id)
    [line] = audited.lines(request_id, 1)
    del line["time"]
    assert line == {
        "event": "request",
        "name": "owner",
        "method": "token",
        "verb": "write",
        "bucket": "audited",
        "key": "a/b",
        "status": 200,
        "outcome": "done",
        "request_id": request_id,
        "address": "127.0.0.1",
    }


def test_a_caller_without_a_credential_has_no_name(audited: Audited, request_id: str) -> None:
    audited.http.get(f"{BUCKETS}/audited/keys/k", X_Request_Id=request_id)
    [line] = audited.lines(request_id, 1)
    assert brief([line], "name", "verb", "status", "outcome") == [(None, "read", 401, "denied")]


def test_a_listing_is_there_with_its_filter(audited: Audited, request_id: str) -> None:
    audited.owner.get(f"{BUCKETS}/audited/keys?filter=a.*", X_Request_Id=request_id)
    assert brief(audited.lines(request_id, 1), "verb", "filter") == [("list keys", "a.*")]


def test_a_deletion_of_many_keys_is_there_with_its_prefix(
    audited: Audited, request_id: str
) -> None:
    audited.owner.delete(f"{BUCKETS}/audited/keys?prefix=none/", X_Request_Id=request_id)
    assert brief(audited.lines(request_id, 1), "verb", "prefix") == [("delete keys", "none/")]


def test_an_administrative_action_is_there_with_its_bucket(
    audited: Audited, request_id: str, bucket_name: str
) -> None:
    audited.owner.post(BUCKETS, {"name": bucket_name}, X_Request_Id=request_id)
    audited.owner.delete(f"{BUCKETS}/{bucket_name}", X_Request_Id=request_id)
    assert brief(audited.lines(request_id, 2), "verb", "bucket", "status") == [
        ("create bucket", bucket_name, 201),
        ("delete bucket", bucket_name, 204),
    ]


def test_a_batch_is_there_with_each_of_its_keys_and_their_outcomes(
    audited: Audited, request_id: str
) -> None:
    ops = [
        {"op": "put", "key": "batch-1", "text": "v"},
        {"op": "update", "key": "batch-2", "text": "v", "revision": 999_999},
        {"op": "delete", "key": "batch-3"},
    ]
    document = {"ops": ops, "atomic": False}
    answer = audited.owner.post(f"{BUCKETS}/audited/batch", document, X_Request_Id=request_id)
    assert answer.status == 200, answer
    assert brief(audited.lines(request_id, 3), "verb", "key", "status") == [
        ("write", "batch-1", 200),
        ("write", "batch-2", 412),
        ("delete", "batch-3", 200),
    ]


def test_an_evaluation_is_there_with_the_bucket_of_flags(audited: Audited, request_id: str) -> None:
    audited.owner.post(f"{FLAGS}/web/new", {}, X_Request_Id=request_id)
    audited.owner.post(FLAGS, {}, X_Request_Id=request_id)
    audited.owner.request("HEAD", "/ofrep/v1/events", X_Request_Id=request_id)
    lines = audited.lines(request_id, 3)
    assert brief(lines, "event", "verb", "bucket", "key", "status") == [
        ("request", "evaluate flags", "feature-flags", "web/new", 404),
        ("request", "evaluate flags", "feature-flags", None, 200),
        ("watch_open", "evaluate flags", "feature-flags", None, 200),
    ]


def test_a_watch_is_there_when_it_opens_and_when_it_ends(audited: Audited, request_id: str) -> None:
    address = f"ws://127.0.0.1:{audited.http.port}{BUCKETS}/audited/watch?key=a&key=b"
    headers = {"Authorization": f"Bearer {TOKEN}", "X-Request-Id": request_id}
    with connect(address, additional_headers=headers):
        opened = audited.lines(request_id, 2)
    assert brief(opened, "event", "verb", "filter", "status") == [
        ("watch_open", "watch", "a", 101),
        ("watch_open", "watch", "b", 101),
    ]
    ended = audited.lines(request_id, 4)[2:]
    assert brief(ended, "event", "filter", "name") == [
        ("watch_end", "a", "owner"),
        ("watch_end", "b", "owner"),
    ]


def test_a_watch_of_several_buckets_is_there_with_each_of_them(
    audited: Audited, request_id: str
) -> None:
    audited.owner.request(
        "HEAD",
        "/api/v1/kv/watch?watch=audited/a.*&watch=audited",
        Accept="text/event-stream",
        X_Request_Id=request_id,
    )
    assert brief(audited.lines(request_id, 2), "bucket", "filter") == [
        ("audited", "a.*"),
        ("audited", None),
    ]


def test_what_needs_no_permission_is_not_there(audited: Audited, request_id: str) -> None:
    audited.http.get("/health", X_Request_Id=request_id)
    audited.owner.get(f"{BUCKETS}/audited", X_Request_Id=request_id)
    assert brief(audited.lines(request_id, 1), "verb") == [("bucket info",)]


def test_no_credential_is_there(audited: Audited, request_id: str) -> None:
    wrong = new_token()
    audited.http.get(BUCKETS, Authorization=f"Bearer {wrong}", X_Request_Id=request_id)
    audited.lines(request_id, 1)
    text = audited.file.read_text()
    assert TOKEN not in text
    assert wrong not in text


def test_a_full_disk_stops_nothing(nats: LocalNats) -> None:
    with running_gateway(nats.url, audit_log="/dev/full", buckets="audited") as http:
        bucket = Bucket(http, "audited")
        assert [bucket.put("full", "v").status for _ in range(20)] == [200] * 20
        until(
            lambda: b"\njetkv_audit_write_failures_total 0" not in http.get("/metrics").body,
            "it is counted",
        )
