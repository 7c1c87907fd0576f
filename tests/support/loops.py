"""The event loops that the gateway runs on."""

import asyncio
from collections.abc import Callable, Mapping

import uvloop

BOTH: Mapping[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
}
"""Their transports differ."""
