"""Whether a bucket that exists can be used where `create_bucket` asked for another one."""

from typing import Any

from jetkv._core.bucket_settings import AT_LEAST, EQUAL
from jetkv.models import BucketInfo

__all__ = ["differences"]


def differences(found: BucketInfo, **wanted: Any) -> list[str]:
    """Return a text for each setting of a bucket that does not satisfy the caller.

    Args:
        found: the bucket that exists.
        wanted: settings by name. A setting that is None is not compared, except `ttl`: there, None
            asks for a bucket whose keys never expire.
    """
    texts = []
    for setting in (*EQUAL, *AT_LEAST):
        name = setting.removesuffix("_seconds")
        current, asked = getattr(found, name), wanted[name]
        if asked is None and name != "ttl":
            continue
        if current != asked if setting in EQUAL else current < asked:
            texts.append(f"{name} is {current or 'never'}, not {asked or 'never'}")
    return texts
