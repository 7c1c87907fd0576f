"""What one request leaves in its context, no other request finds."""

import time
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar

from jetkv.testing import LocalNats
from jetkv_gateway.kv.access import ANONYMOUS, Principal
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS
from tests.support.scopes import ScopesAreTokens

_left: ContextVar[str | None] = ContextVar("left", default=None)


def test_a_request_that_waited_does_not_begin_in_the_context_of_the_one_before(
    nats: LocalNats,
) -> None:
    """With room for one, each request is started by the one that leaves."""
    found: list[str | None] = []

    class Leaving(ScopesAreTokens):
        def authenticate(self, authorization: bytes | None) -> Principal:
            found.append(_left.get())
            _left.set("something")
            time.sleep(0.05)  # the others come meanwhile, and wait
            return ANONYMOUS

    with (
        running_gateway(nats.url, authenticator=Leaving(), max_requests=1, request_wait=30) as http,
        ThreadPoolExecutor(4) as pool,
    ):
        paths = [f"{BUCKETS}/no-such-{number}/keys/k" for number in range(4)]
        answers = list(pool.map(http.get, paths))
    assert [answer.status for answer in answers] == [404] * 4
    assert found == [None] * 4
