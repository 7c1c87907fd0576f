"""Write the part of the gateway's list of bucket settings that the SDK needs.

    python tools/bucket_settings.py          writes sdk/jetkv/_core/bucket_settings.py
    python tools/bucket_settings.py --check  fails if that file is not up to date

The SDK never imports the gateway, so it has a copy.
"""

import sys
from pathlib import Path

from jetkv_gateway.kv.buckets import FIELDS, Agreement

ROOT = Path(__file__).parents[1]
TARGET = ROOT / "sdk" / "jetkv" / "_core" / "bucket_settings.py"

HEAD = '''# Made from adapter/jetkv_gateway/kv/buckets.py by `make format`. Edit that file.
"""How far an existing bucket may differ from the one that a program asks for."""

__all__ = ["AT_LEAST", "EQUAL"]

'''


def text() -> str:
    """Return the text of the SDK's module."""
    lists = [
        ("EQUAL", Agreement.EQUAL, "The setting must be the same."),
        ("AT_LEAST", Agreement.AT_LEAST, "The setting must not be lower."),
    ]
    parts = []
    for name, agreement, words in lists:
        fields = tuple(field.name for field in FIELDS.values() if field.agrees is agreement)
        shown = "".join(f'    "{field}",\n' for field in fields)
        parts.append(f'{name} = (\n{shown})\n"""{words}"""\n')
    return HEAD + "\n".join(parts)


def main() -> int:
    if "--check" not in sys.argv[1:]:
        TARGET.write_text(text())
        return 0
    if TARGET.is_file() and TARGET.read_text() == text():
        return 0
    name = TARGET.relative_to(ROOT)
    print(f"{name} is out of date: run `make format`", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
