"""A bucket of the gateway's settings, compared with the bucket that exists."""

import json
from dataclasses import asdict, dataclass

from jetkv_gateway.kv.bucket_values import Placement, Republish
from jetkv_gateway.kv.buckets import BucketInfo, BucketSpec
from jetkv_gateway.kv.plans import plan

__all__ = ["ConfiguredBucket"]


@dataclass(frozen=True, slots=True)
class ConfiguredBucket:
    """A bucket of the gateway's settings.

    Attributes:
        named: the fields that the settings name; any value will do for the others.
    """

    spec: BucketSpec
    named: frozenset[str] = frozenset()

    def differences(self, info: BucketInfo) -> str:
        """Describe how a bucket differs from the settings, "" if it does not."""
        named = {name: getattr(self.spec, name) for name in sorted(self.named - {"name"})}
        return "; ".join(
            f"{name} is {_shown(found.current)}, the settings say {_shown(found.wanted)}"
            for name, found in sorted(plan(info, named).changes.items())
        )


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Placement | Republish):
        value = {name: part for name, part in asdict(value).items() if part} if value else {}
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False) if value else "empty"
    return str(value) or "empty"
