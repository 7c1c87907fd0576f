"""Record what a release promises, so that a test can compare later versions with it.

At a release, `make released` writes two files to `tests/contract/released/`: the OpenAPI document
and the public names, both of the version in `jetkv/_version.py`. `tests/contract/test_released.py`
and `tests/contract/test_released_names.py` compare them with the current version.
"""

import inspect
import json
import re
import sys
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from types import ModuleType
from typing import Any

import jetkv
import jetkv.recipes
import jetkv.testing
from jetkv_gateway import __version__
from jetkv_gateway.http.metrics import MetricsOptions, metrics_for
from jetkv_gateway.http.openapi import openapi_document
from jetkv_gateway.kv.errors import GatewayError
from jetkv_gateway.settings import Settings

__all__ = ["FOLDER", "public_names"]

FOLDER = Path(__file__).resolve().parent.parent / "tests" / "contract" / "released"
_MODULES = (jetkv, jetkv.recipes, jetkv.testing)
_MADE_BY_THE_SDK = {
    *("Bucket", "KV", "Watch", "AsyncBucket", "AsyncKV", "AsyncWatch"),
    *("BucketInfo", "BucketWarning", "Entry", "Update", "Claim", "Run", "MakeBucket"),
}
"""Only the SDK makes objects of these classes, so their constructors may change."""


def public_names() -> dict[str, list[str]]:
    """Return the names that users may have in their code and configuration, by kind."""
    return {
        "errors": sorted({_error(kind) for kind in _below(GatewayError)}),
        "settings": sorted(Settings.model_fields),
        "metrics": sorted(re.findall(r"^# TYPE (jetkv_\w+ \w+)$", _metrics(), re.MULTILINE)),
        "sdk": sorted({name for module in _MODULES for name in _names(module)}),
    }


def _metrics() -> str:
    return metrics_for(MetricsOptions()).write()[0].decode()


def _below(error: type[GatewayError]) -> Iterator[type[GatewayError]]:
    yield error
    for kind in error.__subclasses__():
        yield from _below(kind)


def _error(error: type[GatewayError]) -> str:
    return f"{error.status} {error.code}, close code {error.close_code}"


def _names(module: ModuleType) -> Iterator[str]:
    """Return the public names of a module, of their methods, and of the parameters of these."""
    for name in module.__all__:
        thing = getattr(module, name)
        here = f"{module.__name__}.{name}"
        yield here
        if _constructed(thing):
            yield from _parameters(here, thing)
        if inspect.isclass(thing):
            for member in _members(thing):
                yield f"{here}.{member}"
                yield from _parameters(f"{here}.{member}", getattr(thing, member, None))


def _constructed(thing: Any) -> bool:
    """Return whether users of the SDK call this themselves."""
    if not inspect.isclass(thing):
        return True
    made = issubclass(thing, BaseException | Enum) or thing.__name__ in _MADE_BY_THE_SDK
    return not made and not getattr(thing, "_is_protocol", False)


def _members(kind: type) -> set[str]:
    """Return the public members that the SDK itself defines."""
    bases = [base for base in kind.__mro__ if base.__module__.startswith("jetkv")]
    return {name for base in bases for name in vars(base) if not name.startswith("_")}


def _parameters(here: str, thing: Any) -> Iterator[str]:
    if not callable(thing):
        return
    try:
        signature = inspect.signature(thing)
    except ValueError:
        return  # A function in C has no signature.
    for name in signature.parameters:
        if name != "self" and not name.startswith("_"):
            yield f"{here}({name})"


def _write(kind: str, content: Any) -> None:
    file = FOLDER / f"{kind}-{__version__}.json"
    file.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
    sys.stdout.write(f"{file}\n")


if __name__ == "__main__":
    _write("openapi", openapi_document(auth_required=True))
    _write("names", public_names())
