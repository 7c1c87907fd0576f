"""Settings that need a capability of the server that holds the stream."""

from collections.abc import Mapping
from typing import Any

from jetkv_gateway.jetstream.capabilities import Capability, Host, since
from jetkv_gateway.jetstream.client import JetStream
from jetkv_gateway.kv.buckets import FIELDS, BucketSpec
from jetkv_gateway.kv.errors import BucketUnsuitable
from jetkv_gateway.kv.retries import Retries

__all__ = ["require", "resolved"]

_NEEDS: Mapping[str, Capability] = {
    "expiry_markers": Capability.EXPIRY_MARKERS,
    "key_ttl": Capability.KEY_TTL,
    "batches": Capability.BATCHES,
}
"""Setting → the capability that it needs."""


def require(host: Host, setting: str) -> None:
    """Check that a server supports what a setting switches on.

    Raises:
        BucketUnsuitable: it does not; the text names the version that does.
    """
    capability = _NEEDS.get(setting)
    if capability is not None and not host.can(capability):
        need = "needs" if setting == "key_ttl" else "need"
        version = since(capability)
        raise BucketUnsuitable(f"{setting} {need} nats-server {version} or newer")


async def resolved(js: JetStream, spec: BucketSpec, retries: Retries | None) -> dict[str, Any]:
    """Return all settings of a bucket to create.

    A setting that depends on the server is on if the server supports it.

    Raises:
        BucketUnsuitable: the server does not support an explicit setting.
    """
    settings = {name: getattr(spec, name) for name in FIELDS}
    if spec.expiry_markers:
        settings["key_ttl"] = True
    if any(settings[name] is not False for name in _NEEDS):
        host = await js.host(retries)
        for name, capability in _NEEDS.items():
            if settings[name] is None:
                settings[name] = host.can(capability)
            elif settings[name]:
                require(host, name)
    return settings
