"""The table from the published client's calls to the SDK's: both sides do the same."""

import json
import re
from base64 import b64decode
from datetime import timedelta
from pathlib import Path

import pytest
from ironflow import IronflowClient

from jetkv import Client
from tests.support.http import Http

PAGE = Path(__file__).parents[2] / "docs" / "sdk.md"
ROWS = re.findall(r"^\| `(.*client\.kv_.*)` \| `(.*)` \|$", PAGE.read_text(), re.MULTILINE)


@pytest.mark.official_client
def test_both_sides_of_each_row_do_the_same(http: Http, bucket_name: str) -> None:
    assert len(ROWS) == 11
    names = {"json": json, "b64decode": b64decode, "timedelta": timedelta, "k": "k", "v": [1]}
    official = names | {"client": IronflowClient(server_url=http.url), "n": f"{bucket_name}-i"}
    with Client(http.url) as client:
        kv = client.kv()
        ours = names | {"kv": kv, "n": f"{bucket_name}-j", "bucket": kv.bucket(f"{bucket_name}-j")}
        for theirs, here in ROWS:
            before, after = eval(theirs, official), eval(here, ours)
            if "create_bucket" in here:
                assert before["ttl_seconds"] == after.ttl.seconds
            else:
                assert (before or None) == after, here
