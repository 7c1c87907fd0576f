"""Counts the work of the gateway in calls of Python functions, which no busy machine moves."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Bucket


class Calls:
    """Counts calls of Python functions in threads that start while it is installed."""

    def __init__(self) -> None:
        self.counting = False
        self.seen: Counter[str] = Counter()

    def __call__(self, frame: FrameType, event: str, _argument: object) -> None:
        if self.counting and event == "call":
            code = frame.f_code
            self.seen[f"{code.co_filename.rpartition('/')[2]}:{code.co_qualname}"] += 1

    def most(self, count: int, times: int) -> str:
        """Return what was called most, for who has to find out what is new.

        Args:
            times: how often the work was done that was counted.
        """
        return ", ".join(
            f"{name} × {number / times:.1f}" for name, number in self.seen.most_common(count)
        )


@contextmanager
def counted_gateway(
    nats_url: str, calls: Calls, bucket: str, *, token: str | None = None, **settings: object
) -> Iterator[Bucket]:
    """A bucket of a gateway of its own, in a thread whose calls are counted.

    Every request has the `token`.
    """
    threading.setprofile(calls)
    try:
        with running_gateway(nats_url, **settings) as gateway:
            if token is not None:
                gateway.headers["Authorization"] = f"Bearer {token}"
            threading.setprofile(None)  # type: ignore[arg-type] # as documented
            assert gateway.post(BUCKETS, {"name": bucket}).status == 201
            yield Bucket(gateway, bucket)
            gateway.delete(f"{BUCKETS}/{bucket}")
    finally:
        threading.setprofile(None)  # type: ignore[arg-type] # as documented
