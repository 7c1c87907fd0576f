"""What a listing refuses: each rule of docs/http-api.md#listing has a row."""

import pytest

from tests.support.http import Bucket
from tests.support.listing import NDJSON

ROWS = [
    # query, JSON lines, the start of the error
    ("filter=a&prefix=a", False, "either query parameter 'filter' or 'prefix'"),
    ("filter=&prefix=", False, "either query parameter 'filter' or 'prefix'"),
    ("filter=a.>.b", False, "invalid filter: > is allowed only as the last token"),
    ("prefix=a%00", False, "invalid prefix: control characters"),
    ("prefix=" + "x" * 513, False, "invalid prefix: 513 bytes"),
    ("limit=", False, "query parameter 'limit' must be a number from 1 to 10000"),
    ("limit=0", False, "query parameter 'limit'"),
    ("limit=-1", False, "query parameter 'limit'"),
    ("limit=+1", False, "query parameter 'limit'"),
    ("limit=01", False, "query parameter 'limit'"),
    ("limit=1.0", False, "query parameter 'limit'"),
    ("limit=1_000", False, "query parameter 'limit'"),
    ("limit=%C2%B2", False, "query parameter 'limit'"),
    ("limit=true", False, "query parameter 'limit'"),
    ("limit=10001", False, "query parameter 'limit'"),
    ("limit=9223372036854775808", False, "query parameter 'limit'"),
    ("limit=1&limit=2", False, "query parameter 'limit' is given twice"),
    ("include=", False, "query parameter 'include' must be keys, meta, values or history"),
    ("include=Meta", False, "query parameter 'include'"),
    ("include=keys,meta", False, "query parameter 'include'"),
    ("include=history", False, "include=history is for JSON lines only"),
    ("include=history&limit=5", False, "include=history is for JSON lines only"),
    ("include=values", False, "include=values needs a limit of at most 1000"),
    ("include=values&limit=1001", False, "include=values needs a limit of at most 1000"),
    ("values=json", False, "query parameter 'values' has no meaning here"),
    ("include=keys&values=base64", False, "query parameter 'values' has no meaning here"),
    ("include=meta&values=json", False, "query parameter 'values' has no meaning here"),
    ("include=values&limit=1&values=raw", False, "query parameter 'values' must be base64 or json"),
    ("include=values&limit=1&values=x", False, "query parameter 'values' must be base64, json"),
    ("cursor=AAAA", False, "query parameter 'cursor' needs a limit"),
    ("limit=1&cursor=", False, "invalid cursor"),
    ("limit=1&cursor=AAAA", False, "invalid cursor"),
    ("limit=1&cursor=*", False, "invalid cursor"),
    ("limit=1&cursor=" + "A" * 20_000, False, "invalid cursor"),
    ("page=2", False, "unknown query parameter 'page'"),
    ("limit=5", True, "query parameter 'limit' has no meaning for JSON lines"),
    ("cursor=AAAA", True, "query parameter 'cursor' has no meaning for JSON lines"),
    ("values=json", True, "query parameter 'values' has no meaning here"),
    ("include=keys&values=json", True, "query parameter 'values' has no meaning here"),
    ("include=values&values=raw", True, "query parameter 'values' must be base64 or json"),
    ("include=all", True, "query parameter 'include'"),
    ("filter=a&prefix=a", True, "either query parameter 'filter' or 'prefix'"),
]


@pytest.mark.parametrize(("query", "lines", "error"), ROWS)
def test_what_breaks_a_rule_is_400_and_names_it(
    bucket: Bucket, query: str, lines: bool, error: str
) -> None:
    headers = {"Accept": NDJSON} if lines else {}
    answer = bucket.http.get(f"{bucket.path}/keys?{query}", **headers)
    assert (answer.status, answer.json["code"]) == (400, "invalid_argument")
    assert answer.error.startswith(error)
    assert answer.headers["content-type"] == "application/json"


@pytest.mark.parametrize("limit", ["1", "10000"])
def test_a_limit_at_its_edge_is_taken(bucket: Bucket, limit: str) -> None:
    assert bucket.http.get(f"{bucket.path}/keys?limit={limit}").status == 200


def test_a_limit_of_values_at_its_edge_is_taken(bucket: Bucket) -> None:
    assert bucket.http.get(f"{bucket.path}/keys?limit=1000&include=values").status == 200
