"""What the page of operations says of backups, done on a real server."""

import json
import re
from pathlib import Path
from typing import Any

import nats
import pytest

from jetkv.testing import LocalNats
from tests.docs.test_examples import ROOT, blocks
from tests.support.gateway import running_gateway
from tests.support.http import Bucket, Http
from tests.support.waiting import eventually

PAGE = ROOT / "docs" / "operations.md"


async def snapshot(url: str, stream: str) -> tuple[dict, bytes]:
    """Do what `nats stream backup` does: return the description of a stream, and its content."""
    connection = await nats.connect(url)
    inbox = connection.new_inbox()
    chunks = await connection.subscribe(inbox)
    asked = json.dumps({"deliver_subject": inbox}).encode()
    answer = await connection.request(f"$JS.API.STREAM.SNAPSHOT.{stream}", asked, timeout=10)
    content = b""
    while (chunk := await chunks.next_msg(10)).data:
        content += chunk.data
        if chunk.reply:
            await connection.publish(chunk.reply)
    await connection.close()
    description: dict = json.loads(answer.data)
    assert "error" not in description
    return description, content


async def restore(url: str, stream: str, description: dict, content: bytes) -> None:
    """Do what `nats stream restore` does."""
    connection = await nats.connect(url)
    asked = json.dumps({"config": description["config"], "state": description["state"]}).encode()
    answer = await connection.request(f"$JS.API.STREAM.RESTORE.{stream}", asked, timeout=10)
    subject = json.loads(answer.data)["deliver_subject"]
    await connection.request(subject, content, timeout=10)
    done = await connection.request(subject, b"", timeout=10)
    await connection.close()
    assert "error" not in json.loads(done.data)


async def test_a_restored_bucket_has_its_keys_revisions_histories_and_settings(
    tmp_path: Path,
) -> None:
    with LocalNats(tmp_path) as server, running_gateway(server.url, buckets="b,history=5") as http:
        bucket = Bucket(http, "b")
        for value in (b"1", b"2"):
            bucket.put("a:1", value)
        bucket.put("gone", b"3")
        http.request("DELETE", bucket.key("gone"))
        before = http.get(bucket.path).json
        history = http.get(f"{bucket.path}/history/a:1").json

        description, content = await snapshot(server.url, "KV_b")
        bucket.put("a:1", b"nonsense")
        assert http.request("DELETE", bucket.path).status == 204
        await restore(server.url, "KV_b", description, content)

        assert http.get(f"{bucket.path}/history/a:1").json == history
        assert http.get(bucket.key("a:1")).json["revision"] == 2
        assert http.get(bucket.key("gone")).status == 404
        after = http.get(bucket.path).json
        assert {**after, "created_at": ""} == {**before, "created_at": ""}
        assert bucket.put("a:1", b"4", **{"If-Match": "2"}).json["revision"] == before["values"] + 1


async def request(url: str, subject: str, **fields: Any) -> dict[str, Any]:
    """Ask JetStream, as `nats stream add` and `nats stream info` do."""
    connection = await nats.connect(url)
    asked = json.dumps(fields).encode() if fields else b""
    answer = await connection.request(f"$JS.API.STREAM.{subject}", asked, timeout=10)
    await connection.close()
    found: dict[str, Any] = json.loads(answer.data)
    assert "error" not in found
    return found


async def test_a_mirror_as_the_page_makes_it_becomes_the_bucket(tmp_path: Path) -> None:
    (taken,) = re.findall(r"del\(([^)]+)\)", PAGE.read_text())
    less = {field.strip(" .\n") for field in taken.split(",")}
    with LocalNats(tmp_path) as server, running_gateway(server.url, buckets="b,history=2") as http:
        bucket = Bucket(http, "b")
        config = (await request(server.url, "INFO.KV_b"))["config"]
        mirror = {name: config[name] for name in set(config) - less}
        mirror |= {"name": "MIRROR_b", "mirror": {"name": "KV_b"}}
        await request(server.url, "CREATE.MIRROR_b", **mirror)
        for value in (b"1", b"2", b"3"):
            bucket.put("a:1", value)
        bucket.put("gone", b"4")
        http.request("DELETE", f"{bucket.key('gone')}?purge=true")
        before = http.get(bucket.path).json
        history = http.get(f"{bucket.path}/history/a:1").json

        async def followed() -> bool:
            state = (await request(server.url, "INFO.MIRROR_b"))["state"]
            return state["last_seq"] == 5

        await eventually(followed, "the mirror has all of it", 20)
        description, content = await snapshot(server.url, "MIRROR_b")
        assert http.request("DELETE", bucket.path).status == 204
        await restore(server.url, "KV_b", {**description, "config": config}, content)

        after = http.get(bucket.path).json
        # A mirror leaves out of each message which stream it was meant for.
        differs = {"created_at": "", "bytes": 0}
        assert {**after, **differs} == {**before, **differs}
        assert http.get(f"{bucket.path}/history/a:1").json == history
        assert bucket.put("a:1", b"5", **{"If-Match": "3"}).json["revision"] == 6


def test_the_list_of_a_bucket_fills_another_one(
    dev: Http, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    source = Bucket(dev, "demo")
    values = {"a": b"1", "user:ä b": b"\x00\xff", "empty": b""}
    for key, value in values.items():
        source.put(key, value)
    lines = dev.get(f"{source.path}/keys?include=values", Accept="application/x-ndjson").body
    (tmp_path / "demo.jsonl").write_bytes(lines)
    monkeypatch.chdir(tmp_path)
    dev.post("/api/v1/kv/buckets", {"name": "restored"})
    (code,) = blocks(PAGE, "python")

    code = code.replace("http://localhost:9123", dev.url)
    exec(compile(code, PAGE.name, "exec"), {})
    copy = Bucket(dev, "restored")
    for key, value in values.items():
        assert dev.get(f"{copy.key(key)}?values=raw").body == value
    assert capsys.readouterr().out == ""

    exec(compile(code, PAGE.name, "exec"), {})
    assert capsys.readouterr().out.count("key already exists") == len(values)


def test_the_figures_of_the_page_are_those_of_the_benchmarks() -> None:
    figures = (ROOT / "docs" / "benchmarks.md").read_text()
    for scenario, said in {
        "PUT 128 B, 32 connections": "17,000/s",
        "PUT 16 KiB, 32 connections": "10,200/s",
        "GET 128 B, 32 connections": "12,400/s",
        "GET 16 KiB, 32 connections": "6,600/s",
    }.items():
        row = re.search(rf"\| {scenario} \| gateway \| ([\d,]+) \|", figures)
        assert row is not None
        measured, named = (int(text.replace(",", "")) for text in (row[1], said[:-2]))
        assert abs(measured - named) < 100
        assert said in PAGE.read_text()
