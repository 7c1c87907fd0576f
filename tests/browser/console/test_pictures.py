"""The pictures of docs/console.md can be made again, and are those that the page shows."""

import re
from pathlib import Path

from playwright.sync_api import Browser

from tests.browser.console.pictures import FOLDER, MOST_BYTES, PICTURES, THEMES, make

PAGE = FOLDER.parent / "console.md"


def test_the_page_shows_each_picture_in_both_themes() -> None:
    shown = set(re.findall(r'"pictures/([\w-]+\.png)"', PAGE.read_text()))
    assert shown == {f"console-{name}-{theme}.png" for name in PICTURES for theme in THEMES}


def test_the_pictures_are_there_and_small() -> None:
    sizes = {file.name: file.stat().st_size for file in FOLDER.glob("console-*.png")}
    assert len(sizes) == len(PICTURES) * len(THEMES)
    assert max(sizes.values()) < MOST_BYTES


def test_the_pictures_can_be_made_again(browser: Browser, tmp_path: Path) -> None:
    for file in make(tmp_path, browser):
        assert file.read_bytes().startswith(b"\x89PNG")
        assert (FOLDER / file.name).exists()
