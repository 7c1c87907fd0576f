"""Gateways that evaluate flags, and what providers ask of them."""

import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import Any

from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Answer, Bucket, Http
from tests.support.waiting import until
from tests.support.watching import EventStream, streaming_url

FLAGS = "/ofrep/v1/evaluate/flags"


class FlagGateways:
    """Gateways on one NATS with one bucket of flags."""

    def __init__(self, gateways: list[Http], bucket: str) -> None:
        self.gateways = gateways
        self.bucket = Bucket(gateways[0], bucket)

    def one(self, name: str, context: Any = None, *, at: int = 0, **headers: str) -> Answer:
        """Evaluate one flag."""
        return evaluate(self.gateways[at], f"{FLAGS}/{name}", context, **headers)

    def all(self, context: Any = None, query: str = "", *, at: int = 0, **headers: str) -> Answer:
        """Evaluate all flags."""
        return evaluate(self.gateways[at], FLAGS + query, context, **headers)

    def values(self, *, at: int = 0, **headers: str) -> dict[str, Any]:
        """The values of all flags that have one, by name."""
        flags = self.all({}, at=at, **headers).json["flags"]
        return {flag["key"]: flag["value"] for flag in flags if "value" in flag}

    def delete_bucket(self) -> None:
        assert self.gateways[0].delete(self.bucket.path).status == 204

    def create_bucket(self, **settings: object) -> None:
        answer = self.gateways[0].post(BUCKETS, {"name": self.bucket.name, **settings})
        assert answer.status == 201, answer


def evaluate(http: Http, path: str, context: Any = None, **headers: str) -> Answer:
    """Evaluate as a provider does; without a context, it sends an empty object."""
    return http.post(path, {} if context is None else {"context": context}, **headers)


@contextmanager
def flag_gateways(nats_url: str, count: int = 1, **settings: Any) -> Iterator[FlagGateways]:
    """Start gateways with a bucket of flags of their own, which does not exist yet."""
    bucket = f"flags-{uuid.uuid4().hex[:12]}"
    with ExitStack() as stack:
        gateways = [
            stack.enter_context(running_gateway(nats_url, flags_bucket=bucket, **settings))
            for _ in range(count)
        ]
        yield FlagGateways(gateways, bucket)
        if "auth" not in settings:
            gateways[0].delete(f"{BUCKETS}/{bucket}")


def stream_url(answer: Answer) -> str:
    """The URL of the event stream that an evaluation of all flags names."""
    (stream,) = answer.json["eventStreams"]
    assert stream["type"] == "sse"
    uri: str = stream["endpoint"]["requestUri"]
    return uri


@asynccontextmanager
async def flag_events(http: Http, url: str, **headers: str) -> AsyncIterator[EventStream]:
    """Connect to an event stream as an `EventSource` does: with the URL alone."""
    async with streaming_url(Http(http.host, http.port), url, **headers) as stream:
        yield stream


def until_seen(http: Http, name: str, value: object, seconds: float = 1.0, **headers: str) -> None:
    """Wait until a flag has a value, as long as a change may take."""

    def seen() -> bool:
        answer = evaluate(http, f"{FLAGS}/{name}", **headers)
        return answer.status == 200 and answer.json.get("value") == value

    until(seen, f"{name} is {value!r}", seconds)
