"""Hypothesis for the pure tests: a busy machine is no finding; loops for those with sockets."""

import asyncio
from collections.abc import Callable, Mapping

import pytest
from hypothesis import settings

settings.register_profile("unit", parent=settings(), deadline=None)
settings.load_profile("unit")

LoopFactory = Callable[[], asyncio.AbstractEventLoop]


def pytest_asyncio_loop_factories(
    config: pytest.Config, item: pytest.Function
) -> Mapping[str, LoopFactory]:
    """Run the tests of a module on each loop of its `LOOPS`, by name, where it has some."""
    loops: Mapping[str, LoopFactory]
    loops = getattr(item.module, "LOOPS", {"asyncio": asyncio.new_event_loop})
    return loops
