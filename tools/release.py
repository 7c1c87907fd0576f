"""What a release is called and brings, for .github/workflows/release.yml.

`version TAG` prints `version=…`, and fails unless the tag, the code, the chart and the changelog
name the same version. `notes` prints what the changelog says of that version. It needs no package.
"""

import re
import sys
from pathlib import Path

__all__ = ["ReleaseError", "check", "notes", "version"]

ROOT = Path(__file__).resolve().parent.parent


class ReleaseError(Exception):
    """Raised if something is not ready for a release. The text names the file."""


def version(root: Path = ROOT) -> str:
    """Return the version of the code.

    Raises:
        ReleaseError: its file has none.
    """
    file = "sdk/jetkv/_version.py"
    return _found(r'^__version__ = "(\d+\.\d+\.\d+)"$', root, file)


def check(tag: str, root: Path = ROOT) -> str:
    """Return the version if a tag, such as `v0.2.0`, and all files name the same one.

    Raises:
        ReleaseError: one of them names another version, or the changelog has no date for it.
    """
    wanted = version(root)
    if tag != f"v{wanted}":
        raise ReleaseError(f"the tag is {tag}, and sdk/jetkv/_version.py has {wanted}")
    chart = "deploy/helm/jetkv/Chart.yaml"
    for field in ("version", "appVersion"):
        found = _found(rf'^{field}: "?([^"\s]+)"?$', root, chart)
        if found != wanted:
            raise ReleaseError(f"{field} of {chart} is {found}, and not {wanted}")
    title = _section(root, wanted)[0]
    if not re.fullmatch(rf"## {re.escape(wanted)} \(\d{{4}}-\d\d-\d\d\)", title):
        raise ReleaseError(f"CHANGELOG.md has `{title}`: write the date of the release there")
    return wanted


def notes(root: Path = ROOT) -> str:
    """Return what the changelog says of this version, in Markdown.

    Raises:
        ReleaseError: it says nothing.
    """
    return "\n".join(_section(root, version(root))[1:]).strip() + "\n"


def _section(root: Path, wanted: str) -> list[str]:
    lines = (root / "CHANGELOG.md").read_text(encoding="utf-8").splitlines()
    titles = [number for number, line in enumerate(lines) if line.startswith("## ")]
    for number, end in zip(titles, [*titles[1:], len(lines)], strict=True):
        if lines[number].split()[1] == wanted:
            return lines[number:end]
    raise ReleaseError(f"CHANGELOG.md has no section for {wanted}")


def _found(pattern: str, root: Path, file: str) -> str:
    found = re.search(pattern, (root / file).read_text(encoding="utf-8"), re.MULTILINE)
    if found is None:
        raise ReleaseError(f"{file} has no line that matches {pattern}")
    return found[1]


def _main(arguments: list[str]) -> int:
    try:
        match arguments:
            case ["version", tag]:
                sys.stdout.write(f"version={check(tag)}\n")
            case ["notes"]:
                sys.stdout.write(notes())
            case _:
                sys.stderr.write(f"{__doc__}\n")
                return 2
    except ReleaseError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_main(sys.argv[1:]))
