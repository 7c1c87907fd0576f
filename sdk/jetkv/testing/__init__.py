"""A running gateway and NATS for tests, and what a test can do to them.

The pytest plugin `jetkv.testing.plugin` has fixtures of all this; see docs/testing.md.
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jetkv.testing.buckets import MakeBucket
    from jetkv.testing.containers import JetKVContainer, NatsContainer
    from jetkv.testing.handles import ServerDidNotStart, ServerHandle, ServerNotRunning
    from jetkv.testing.local import LocalGateway, LocalNats
    from jetkv.testing.ready import wait_until_ready

__all__ = [
    "JetKVContainer",
    "LocalGateway",
    "LocalNats",
    "MakeBucket",
    "NatsContainer",
    "ServerDidNotStart",
    "ServerHandle",
    "ServerNotRunning",
    "wait_until_ready",
]

_HOME = {
    "JetKVContainer": "containers",
    "LocalGateway": "local",
    "LocalNats": "local",
    "MakeBucket": "buckets",
    "NatsContainer": "containers",
    "ServerDidNotStart": "handles",
    "ServerHandle": "handles",
    "ServerNotRunning": "handles",
    "wait_until_ready": "ready",
}


def __getattr__(name: str) -> object:
    # pytest loads the plugin, and so this module, in every run of every project around: what it
    # would not use is imported when somebody asks for it.
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
