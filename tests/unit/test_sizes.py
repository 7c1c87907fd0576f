"""The check that no Python file is too long to be read at once."""

from pathlib import Path

from tools.sizes import too_long


def write(root: Path, name: str, lines: int) -> None:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("pass\n" * lines)


def test_a_file_that_is_over_the_limit_of_its_folder_is_named(tmp_path: Path) -> None:
    write(tmp_path, "adapter/jetkv_gateway/long.py", 451)
    write(tmp_path, "tests/unit/longer.py", 601)
    assert too_long(tmp_path) == [
        "tests/unit/longer.py: 601 lines, 600 allowed",
        "adapter/jetkv_gateway/long.py: 451 lines, 450 allowed",
    ]


def test_a_file_at_the_limit_is_fine(tmp_path: Path) -> None:
    write(tmp_path, "sdk/jetkv/whole.py", 450)
    write(tmp_path, "tests/whole.py", 600)
    assert too_long(tmp_path) == []
