"""The four recipes run as they are printed, against a real gateway."""

import runpy

import pytest

from tests.docs.test_examples import ROOT

PRINTED = {
    "cache": ["computing 123", "Ada Lovelace", "Ada Lovelace", "computing 123", "Ada Lovelace"],
    "feature_flags": [
        "dark mode for ada False",
        "dark mode for radia True",
        "new search: False",
        "not there: off",
        "new search: True",
    ],
    "sessions": ["signed in: ada", "still there: True", "after logging out: None False"],
    "optimistic_locking": [
        "page views: 80",
        "every total once: True",
        "somebody else was here: True",
    ],
}
FOLDER = ROOT / "docs" / "recipes"


@pytest.mark.parametrize("name", PRINTED)
def test_a_recipe_prints_what_it_should(jetkv_url, capsys, name: str) -> None:
    recipe = runpy.run_path(str(FOLDER / f"{name}.py"), run_name="recipe")
    recipe["main"](jetkv_url)
    assert capsys.readouterr().out.splitlines() == PRINTED[name]


def test_every_recipe_has_a_test_and_a_twin_in_javascript() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} == set(PRINTED)
    twins = {path.stem.replace("-", "_") for path in FOLDER.glob("*.js")}
    assert twins == set(PRINTED)
