"""Tell the SDK what a bucket's settings are, by the gateway's own list of them.

    python tools/bucket_settings.py          writes sdk/jetkv/_core/bucket_settings.py
    python tools/bucket_settings.py --check  fails where it is not as it would be written

The SDK never imports the gateway, so what it has to know of the list is written into it.
"""

import sys
from pathlib import Path

from jetkv_gateway.kv.buckets import FIELDS, Agreement

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "sdk" / "jetkv" / "_core" / "bucket_settings.py"

HEAD = '''# Made from adapter/jetkv_gateway/kv/buckets.py by `make format`; edit that one.
"""How far a bucket that exists may differ from one that is asked for."""

__all__ = ["AT_LEAST", "EQUAL"]

'''


def text() -> str:
    """Return what the SDK's module has to say."""
    lists = [("EQUAL", Agreement.EQUAL, "the same"), ("AT_LEAST", Agreement.AT_LEAST, "no less")]
    parts = []
    for name, agreement, words in lists:
        fields = tuple(one.name for one in FIELDS.values() if one.agrees is agreement)
        shown = "".join(f'    "{field}",\n' for field in fields)
        parts.append(f'{name} = (\n{shown})\n"""Has to be {words}."""\n')
    return HEAD + "\n".join(parts)


def main() -> int:
    if "--check" not in sys.argv[1:]:
        TARGET.write_text(text())
        return 0
    if TARGET.is_file() and TARGET.read_text() == text():
        return 0
    name = TARGET.relative_to(ROOT)
    print(f"{name} is not what the gateway's list makes: run `make format`", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
