"""Looks for credentials in what the tests leave behind."""

import re
from pathlib import Path

__all__ = ["TOKEN", "leaks"]

TOKEN = re.compile(r"jkv_[0-9A-Za-z]{38}")
_MOST_BYTES = 8 * 1024 * 1024


def leaks(folder: Path) -> list[str]:
    """Return the logs of gateways below a folder that contain a token.

    `jetkv token` prints tokens, so its output is not meant.
    """
    found = []
    for file in [*folder.rglob("*.log"), *folder.rglob("*.log.1")]:
        if file.name.startswith("jetkv-token-") or not file.is_file():
            continue
        with file.open("rb") as opened:
            if TOKEN.search(opened.read(_MOST_BYTES).decode("latin-1")):
                found.append(str(file))
    return found
