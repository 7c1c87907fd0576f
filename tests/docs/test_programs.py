"""What flagd sends, with the source that docs/programs.md shows.

No package of flagd was to be had, so these are not its program, but the requests of its
`core/pkg/sync/http/http_sync.go` (bbb05d4, 2026-07-31): a GET with two headers `Accept`,
`Authorization` as given, and `If-None-Match` with the `ETag` of the last answer that had one.
"""

import http.client
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from jetkv.testing import LocalNats
from tests.docs.test_examples import ROOT
from tests.support.gateway import running_gateway
from tests.support.http import Bucket, Http
from tests.support.tokens import new_token, token_line

PAGE = (ROOT / "docs" / "programs.md").read_text()
FLAGS = '{"flags":{"new-cart":{"state":"ENABLED","variants":{"on":true},"defaultVariant":"on"}}}'


class Flagd:
    """The HTTP source of flagd."""

    def __init__(self, source: dict[str, Any]) -> None:
        self.source = source
        self.etag = ""

    def poll(self) -> tuple[int, str, bytes]:
        """Ask once; the status, the type and the body."""
        address = urlsplit(self.source["uri"])
        connection = http.client.HTTPConnection(address.netloc, timeout=20)
        try:
            connection.putrequest("GET", f"{address.path}?{address.query}")
            connection.putheader("User-Agent", "Go-http-client/1.1")
            connection.putheader("Accept", "application/json")
            connection.putheader("Accept", "application/yaml")
            connection.putheader("Authorization", self.source["authHeader"])
            if self.etag:
                connection.putheader("If-None-Match", self.etag)
            connection.endheaders()
            answer = connection.getresponse()
            if answer.status == 200:
                self.etag = answer.getheader("ETag", "")
            return answer.status, answer.getheader("Content-Type", ""), answer.read()
        finally:
            connection.close()


@pytest.fixture
def bucket_and_flagd(tmp_path: Path, nats: LocalNats) -> Iterator[tuple[Bucket, Flagd]]:
    token, admin = new_token(), new_token()
    lines = [token_line("flagd", token, "read:config/flags.json"), token_line("admin", admin)]
    (tmp_path / "tokens").write_text("\n".join(lines) + "\n")
    (found,) = re.findall(r"^flagd start --sources '(.*)'$", PAGE, re.MULTILINE)
    with running_gateway(
        nats.url,
        auth="tokens",
        auth_tokens=tmp_path / "tokens",
        bucket_prefix="programs_",
        buckets="config",
    ) as gateway:
        (source,) = json.loads(
            found.replace("http://localhost:9123", gateway.url).replace("jkv_…", token)
        )
        by_admin = Http(gateway.host, gateway.port, Authorization=f"Bearer {admin}")
        yield Bucket(by_admin, "config"), Flagd(source)


def test_flagd_gets_the_value_with_its_type_and_then_304_until_it_changes(
    bucket_and_flagd: tuple[Bucket, Flagd],
) -> None:
    bucket, flagd = bucket_and_flagd
    for value in (FLAGS, FLAGS.replace("ENABLED", "DISABLED")):
        bucket.put("flags.json", value, Content_Type="application/json")
        assert flagd.poll() == (200, "application/json", value.encode())
        assert flagd.poll()[::2] == (304, b"")


def test_flagd_may_read_nothing_but_its_key(bucket_and_flagd: tuple[Bucket, Flagd]) -> None:
    bucket, flagd = bucket_and_flagd
    bucket.put("other.json", "1")
    flagd.source["uri"] = flagd.source["uri"].replace("flags.json", "other.json")
    assert flagd.poll()[0] == 403
