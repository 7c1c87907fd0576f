"""Listings over HTTP: page after page, and line by line."""

import json
from typing import Any
from urllib.parse import quote

from tests.support.http import Answer, Bucket
from tests.support.raw import Wire

NDJSON = "application/x-ndjson"


def fill(bucket: Bucket, *keys: str) -> None:
    for key in keys:
        assert bucket.put(key, "v").status == 200


def page(bucket: Bucket, query: str = "") -> Answer:
    return bucket.http.get(f"{bucket.path}/keys?{query}")


def pages(bucket: Bucket, query: str, after: str | None = None) -> list[dict[str, Any]]:
    """All pages of a listing, each as its document; `after` is the cursor of the first."""
    found: list[dict[str, Any]] = []
    cursor = f"&cursor={after}" if after else ""
    while True:
        answer = page(bucket, query + cursor)
        assert answer.status == 200, answer
        found.append(answer.json)
        if "next_cursor" not in answer.json:
            return found
        cursor = f"&cursor={answer.json['next_cursor']}"


def keys_of(document: dict[str, Any]) -> list[str]:
    if "keys" in document:
        keys: list[str] = document["keys"]
        return keys
    return [entry["key"] for entry in document["entries"]]


def lines(bucket: Bucket, query: str = "", method: str = "GET") -> list[dict[str, Any]]:
    """The lines of an answer that has come whole."""
    answer = bucket.http.request(method, f"{bucket.path}/keys?{query}", Accept=NDJSON)
    assert answer.status == 200, answer
    assert answer.headers["content-type"] == NDJSON
    assert answer.body.endswith(b"\n")
    return [json.loads(line) for line in answer.body.splitlines()]


def begin_lines(wire: Wire, bucket: Bucket, query: str = "") -> None:
    """Ask for lines; the first chunk is what comes next on the wire."""
    query = quote(query, safe="=&.")
    wire.head("GET", f"{bucket.path}/keys?{query}", f"Accept: {NDJSON}")
    assert b"200" in wire.line()
    while wire.line() != b"\r\n":
        pass
