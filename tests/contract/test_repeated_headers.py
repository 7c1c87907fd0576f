"""A connection keeps what its last headers said: no request is answered by those of another one."""

import http.client

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.http import Bucket

RAW = {"Accept": "application/octet-stream"}
TEXT = {"Content-Type": "text/plain"}
ZIPPED = {"Content-Encoding": "gzip"}
REQUESTS: list[tuple[str, dict[str, str]]] = [
    ("GET", {}),
    ("GET", RAW),
    ("GET", {"If-Match": "999999"}),
    ("GET", {"If-Match": "x"}),
    ("GET", {"If-None-Match": '"999999"'}),
    ("GET", {"Origin": "https://elsewhere.example"}),
    ("GET", {"Sec-Fetch-Site": "cross-site"}),
    ("PUT", {}),
    ("PUT", TEXT),
    ("PUT", ZIPPED),
    ("PUT", {"If-Match": "999999"}),
    ("PUT", {"If-None-Match": "*"}),
    ("PUT", {"JetKV-TTL-Seconds": "never"}),
    ("PUT", {"JetKV-Nonsense": "1"}),
    ("PUT", {"Idempotency-Key": "one"}),
    ("PUT", {"Idempotency-Key": "o n e"}),
    ("DELETE", {"If-None-Match": "*"}),
]


def ask(
    connection: http.client.HTTPConnection, bucket: Bucket, method: str, headers: dict[str, str]
) -> tuple[int, str | None, str | None]:
    """Return the status of a request, its media type, and the coding of its answer."""
    connection.request(method, bucket.key("k"), b"v" if method == "PUT" else None, headers)
    answer = connection.getresponse()
    answer.read()
    return (
        answer.status,
        answer.headers.get("Content-Type"),
        answer.headers.get("Content-Encoding"),
    )


def connect(bucket: Bucket) -> http.client.HTTPConnection:
    return http.client.HTTPConnection(bucket.http.host, bucket.http.port, timeout=20)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(st.sampled_from(REQUESTS), min_size=2, max_size=12))
def test_each_request_of_a_connection_is_answered_by_its_own_headers(
    bucket: Bucket, requests: list[tuple[str, dict[str, str]]]
) -> None:
    bucket.put("k", "v")
    kept = connect(bucket)
    for method, headers in requests:
        alone = connect(bucket)
        known, fresh = ask(kept, bucket, method, headers), ask(alone, bucket, method, headers)
        assert known == fresh, (method, headers)
        alone.close()
    kept.close()
