"""nats-py's own `kv.put` and `kv.get`, one after the other: the floor for one connection."""

import asyncio
import time

import nats

from tests.bench.apps import BUCKET
from tests.bench.load import Result, keys, result


def run(nats_url: str, operation: str, size: int, seconds: float) -> tuple[Result, float]:
    """Return the result, and CPU seconds per call of the client."""
    return asyncio.run(_run(nats_url, operation, size, seconds))


async def _run(nats_url: str, operation: str, size: int, seconds: float) -> tuple[Result, float]:
    client = await nats.connect(nats_url)
    try:
        kv = await client.jetstream().key_value(BUCKET)
        value = b"v" * size
        latencies: list[float] = []
        cpu = time.process_time()
        end = time.perf_counter() + seconds
        number, count = 0, keys(size)
        start = now = time.perf_counter()
        while now < end:
            number = (number + 1) % count
            if operation == "PUT":
                await kv.put(f"k{number}", value)
            else:
                await kv.get(f"k{number}")
            after = time.perf_counter()
            latencies.append(after - now)
            now = after
        cpu = (time.process_time() - cpu) / len(latencies)
        return result(latencies, now - start), cpu
    finally:
        await client.close()
