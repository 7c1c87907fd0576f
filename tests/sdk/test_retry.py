"""Both clients, on wires that break: nothing is sent twice that could do harm twice."""

import pytest

from jetkv import OutcomeUnknownError, Retry, UnavailableError, UnexpectedAnswerError
from jetkv._core.retry import RETRY_HORIZON
from jetkv.errors import DeadlineExceededError
from jetkv_gateway.jetstream.client import RETRY_SECONDS
from jetkv_gateway.kv import model
from jetkv_gateway.serving.admission import AdmissionLimits
from tests.support.clients import MakeClient
from tests.support.scripted import http, scripted

ENTRY = (
    '{"key":"k","value":"MQ==","revision":1,"created_at":"2026-11-25T10:00:00Z","operation":"put"}'
)
PUT = http(200, '{"revision":7}')
GET = http(200, ENTRY)
PLAIN = http(200, '{"features":["kv","watch"]}')
HONOURS = http(200, '{"features":["kv","watch","idempotency"]}')
UNAVAILABLE = http(
    503,
    '{"error":"NATS is not available","code":"unavailable","retryable":true,"request_id":"r"}',
    "Retry-After: 0",
)
UNKNOWN = http(
    504,
    '{"error":"no answer in time","code":"deadline_exceeded","retryable":false,"request_id":"r"}',
)
KEY = "/api/v1/kv/buckets/b/keys/k"
BREAK = None


def quick(make: MakeClient, url: str, **options):
    return make(url, retry=Retry(attempts=4, first_delay=0.001), **options)


async def test_a_write_on_a_kept_connection_that_breaks_is_sent_once(make) -> None:
    with scripted(GET, BREAK, PLAIN) as server:
        async with quick(make, server.url) as client:
            bucket = client.kv().bucket("b")
            await bucket.get("k")
            with pytest.raises(OutcomeUnknownError, match="put of 'k' in bucket 'b'") as caught:
                await bucket.put("k", 2)
    assert server.calls == [f"GET {KEY}", f"PUT {KEY}", "GET /api/v1/capabilities"]
    assert "get the key" in str(caught.value)
    assert not caught.value.retryable


async def test_a_delete_on_a_kept_connection_that_breaks_is_sent_once(make) -> None:
    with scripted(GET, BREAK, PLAIN) as server:
        async with quick(make, server.url) as client:
            bucket = client.kv().bucket("b")
            await bucket.get("k")
            with pytest.raises(OutcomeUnknownError):
                await bucket.delete("k")
    assert [call for call in server.calls if call.startswith("DELETE")] == [f"DELETE {KEY}"]


async def test_a_write_is_sent_again_where_the_gateway_honours_its_key(make) -> None:
    with scripted(BREAK, HONOURS, PUT) as server:
        async with quick(make, server.url) as client:
            assert await client.kv().bucket("b").put("k", 2) == 7
    first, _, second = server.asked
    assert (second.method, second.body) == (first.method, first.body)
    assert second.headers["idempotency-key"] == first.headers["idempotency-key"]


async def test_a_write_with_a_ttl_and_a_touch_are_sent_again_as_they_were(make) -> None:
    with scripted(BREAK, HONOURS, PUT, BREAK, PUT) as server:
        async with quick(make, server.url) as client:
            bucket = client.kv().bucket("b")
            assert await bucket.put("k", 2, ttl=30) == 7
            assert (await bucket.touch("k", 60, revision=7)).revision == 7
    put, _, put_again, touch, touch_again = server.asked
    assert server.calls[3:] == ["POST /api/v1/kv/buckets/b/touch/k"] * 2
    for first, second, ttl in ((put, put_again, "30"), (touch, touch_again, "60")):
        assert second.headers["idempotency-key"] == first.headers["idempotency-key"]
        assert second.headers["jetkv-ttl-seconds"] == first.headers["jetkv-ttl-seconds"] == ttl
    assert touch_again.headers["if-match"] == "7"


async def test_a_touch_without_an_answer_may_have_renewed(make) -> None:
    with scripted(BREAK, PLAIN) as server:
        async with quick(make, server.url) as client:
            with pytest.raises(OutcomeUnknownError, match="touch of 'k' in bucket 'b'"):
                await client.kv().bucket("b").touch("k")


async def test_a_write_is_not_sent_again_once_gateways_may_have_forgotten_its_key(
    make, monkeypatch: pytest.MonkeyPatch
) -> None:
    for client in ("_async", "_sync"):
        monkeypatch.setattr(f"jetkv.{client}.endpoint.RETRY_HORIZON", 0)
    with scripted(BREAK, HONOURS, PUT) as server:
        async with quick(make, server.url) as client:
            with pytest.raises(OutcomeUnknownError):
                await client.kv().bucket("b").put("k", 2)
    assert [call for call in server.calls if call.startswith("PUT")] == [f"PUT {KEY}"]


def test_clients_leave_the_gateway_time_within_the_horizon_that_buckets_are_judged_by() -> None:
    assert RETRY_HORIZON + RETRY_SECONDS + AdmissionLimits().wait < model.RETRY_HORIZON


async def test_two_writes_have_two_idempotency_keys(make) -> None:
    with scripted(PUT, PUT) as server:
        async with quick(make, server.url) as client:
            await client.kv().bucket("b").put("k", 2)
            await client.kv().bucket("b").put("k", 2)
    first, second = (asked.headers["idempotency-key"] for asked in server.asked)
    assert first != second


async def test_a_refusal_after_a_doubt_does_not_end_the_doubt(make) -> None:
    with scripted(BREAK, HONOURS, UNAVAILABLE, UNAVAILABLE, UNAVAILABLE) as server:
        async with quick(make, server.url) as client:
            with pytest.raises(OutcomeUnknownError):
                await client.kv().bucket("b").put("k", 2)
    assert len(server.asked) == 5


async def test_a_bucket_is_never_created_twice(make) -> None:
    with scripted(BREAK, HONOURS) as server:
        async with quick(make, server.url) as client:
            with pytest.raises(OutcomeUnknownError, match="creation of bucket 'b'"):
                await client.kv().create_bucket("b")
    assert server.calls == ["POST /api/v1/kv/buckets"]


@pytest.mark.parametrize("trouble", [BREAK, UNAVAILABLE, UNKNOWN])
async def test_a_read_is_sent_again(make, trouble) -> None:
    with scripted(trouble, trouble, GET) as server:
        async with quick(make, server.url) as client:
            assert (await client.kv().bucket("b").get("k")).value == 1
    assert server.calls == [f"GET {KEY}"] * 3


async def test_a_write_is_sent_again_when_it_was_certainly_not_applied(make) -> None:
    with scripted(UNAVAILABLE, PUT) as server:
        async with quick(make, server.url) as client:
            assert await client.kv().bucket("b").put("k", 2) == 7
    assert server.calls == [f"PUT {KEY}"] * 2


async def test_a_write_with_an_unknown_outcome_is_not_sent_again(make) -> None:
    with scripted(UNKNOWN, PLAIN) as server:
        async with quick(make, server.url) as client:
            with pytest.raises(OutcomeUnknownError) as caught:
                await client.kv().bucket("b").put("k", 2)
    assert caught.value.status == 504
    assert server.calls == [f"PUT {KEY}", "GET /api/v1/capabilities"]


async def test_what_a_proxy_says_of_a_write_leaves_it_unknown(make) -> None:
    with scripted(http(503, "<html>", kind="text/html"), PLAIN) as server:
        async with quick(make, server.url) as client:
            with pytest.raises(OutcomeUnknownError):
                await client.kv().bucket("b").put("k", 2)
    assert server.calls == [f"PUT {KEY}", "GET /api/v1/capabilities"]


async def test_what_a_proxy_says_of_a_read_is_tried_again(make) -> None:
    page = http(502, "<html>", kind="text/html")
    with scripted(page, page, page, page) as server:
        async with quick(make, server.url) as client:
            with pytest.raises(UnexpectedAnswerError, match="502, text/html"):
                await client.kv().bucket("b").get("k")
    assert len(server.asked) == 4


async def test_the_gateways_word_on_when_to_come_back_is_kept(make) -> None:
    later = UNAVAILABLE.replace(b"Retry-After: 0", b"Retry-After: 60")
    with scripted(later) as server:
        async with quick(make, server.url, timeout=5) as client:
            with pytest.raises(UnavailableError):
                await client.kv().bucket("b").get("k")
    assert len(server.asked) == 1


async def test_an_answer_that_never_comes_ends_with_the_deadline(make) -> None:
    with scripted(*[lambda _: None] * 4) as server:
        async with quick(make, server.url, timeout=0.3) as client:
            bucket = client.kv().bucket("b")
            with pytest.raises(DeadlineExceededError, match="no answer within"):
                await bucket.get("k")
            with pytest.raises(OutcomeUnknownError, match="no answer within"):
                await bucket.put("k", 1)


async def test_an_answer_that_breaks_off_is_no_answer(make) -> None:
    def half(connection) -> None:
        connection.sendall(GET[:-10])
        connection.shutdown(2)

    with scripted(half, GET) as server:
        async with quick(make, server.url) as client:
            assert (await client.kv().bucket("b").get("k")).value == 1


async def test_one_attempt_is_one_request(make) -> None:
    with scripted(UNAVAILABLE) as server:
        async with make(server.url, retry=Retry(attempts=1)) as client:
            with pytest.raises(UnavailableError):
                await client.kv().bucket("b").get("k")
    assert len(server.asked) == 1


async def test_the_token_goes_with_every_request(make) -> None:
    with scripted(GET) as server:
        async with make(server.url, token="s3cret") as client:
            await client.kv().bucket("b").get("k")
            assert "s3cret" not in repr(client)
    assert server.asked[0].headers["authorization"] == "Bearer s3cret"


async def test_a_proxy_is_asked_for_the_whole_address(make) -> None:
    with scripted(GET) as proxy:
        async with make("http://kv.invalid:9123", proxy=proxy.url) as client:
            assert (await client.kv().bucket("b").get("k")).value == 1
    assert proxy.calls == [f"GET http://kv.invalid:9123{KEY}"]
