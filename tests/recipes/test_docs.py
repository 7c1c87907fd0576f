"""The examples of docs/recipes.md run."""

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text()
EXAMPLES = dict(re.findall(r"^## (\w+)\n+```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))


@pytest.mark.parametrize("recipe", EXAMPLES)
def test_an_example_runs(recipe, http) -> None:
    code = EXAMPLES[recipe].replace("http://localhost:9123", http.url)
    names: dict = {}
    try:
        exec(compile(code, f"docs/recipes.md#{recipe}", "exec"), names)
    finally:
        kv = names["client"].kv()
        for name in re.findall(r'create_bucket\("([\w-]+)"', code):
            kv.delete_bucket(name)
        names["client"].close()


def test_every_recipe_has_an_example() -> None:
    assert set(EXAMPLES) == {
        "CommandDedup",
        "Counter",
        "Election",
        "Flags",
        "Lock",
        "Sessions",
        "cached",
    }
