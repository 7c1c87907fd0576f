"""A running gateway and NATS for tests. A test can pause, kill, stop and restart them.

The pytest plugin `jetkv.testing.plugin` has fixtures for all of this; see docs/testing.md.
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

_MODULES = {
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
    # pytest loads the plugin, and so this module, in every run of every project that has jetkv
    # installed. Therefore each name is imported on first use.
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
