"""A release: one version everywhere, and notes."""

from pathlib import Path

import pytest

from jetkv import __version__
from tools.release import ReleaseError, check, notes, version

CHANGES = "# Changes\n\n## 1.2.3 (2026-01-31)\n\n- new\n\n## 1.2.2 (2026-01-01)\n\n- old\n"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    files = {
        "sdk/jetkv/_version.py": '__version__ = "1.2.3"\n',
        "deploy/helm/jetkv/Chart.yaml": 'version: 1.2.3\nappVersion: "1.2.3"\n',
        "CHANGELOG.md": CHANGES,
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    return tmp_path


def test_the_version_is_that_of_the_code() -> None:
    assert version() == __version__


def test_a_release_whose_files_agree_is_taken(root: Path) -> None:
    assert check("v1.2.3", root) == "1.2.3"


@pytest.mark.parametrize(
    ("name", "old", "new", "said"),
    [
        ("sdk/jetkv/_version.py", "1.2.3", "1.2.4", "the tag is v1.2.3"),
        ("deploy/helm/jetkv/Chart.yaml", "version: 1.2.3", "version: 1.2.2", "^version of"),
        ("deploy/helm/jetkv/Chart.yaml", '"1.2.3"', '"1.2.2"', "^appVersion of"),
        ("CHANGELOG.md", "2026-01-31", "unreleased", "write the date"),
        ("CHANGELOG.md", "## 1.2.3", "## 1.2.30", "no section for 1.2.3"),
    ],
)
def test_a_release_whose_files_do_not_agree_is_refused(
    root: Path, name: str, old: str, new: str, said: str
) -> None:
    file = root / name
    file.write_text(file.read_text().replace(old, new))
    with pytest.raises(ReleaseError, match=said):
        check("v1.2.3", root)


def test_the_notes_are_what_the_changelog_says_of_this_version_alone(root: Path) -> None:
    assert notes(root) == "- new\n"


def test_the_changelog_of_this_repository_has_notes_for_its_version() -> None:
    assert "### Gateway" in notes()
