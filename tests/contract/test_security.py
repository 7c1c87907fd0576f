"""Small promises of docs/security.md that no other test shows."""

import re

import pytest

from tests.support.http import BUCKETS, Bucket, Http


def test_trace_is_no_method(http: Http, bucket: Bucket) -> None:
    answer = http.request("TRACE", bucket.key("k"), X_Secret="secret")
    assert answer.status == 405
    assert b"secret" not in answer.body


@pytest.mark.parametrize("path", ["/health", BUCKETS, "/none", "/docs"])
def test_no_header_names_the_server_or_a_version(http: Http, path: str) -> None:
    headers = http.get(path).headers
    assert not {"server", "x-powered-by", "via"} & headers.keys()
    names = r"uvicorn|python|jetkv/|nats-server"
    assert not [value for value in headers.values() if re.search(names, value, re.IGNORECASE)]
