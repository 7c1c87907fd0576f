"""The examples of docs/recipes.md run."""

import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text()
SECTIONS = {part.partition("\n")[0]: part for part in PAGE.split("\n## ")[1:]}
EXAMPLES = {
    name: "\n".join(blocks)
    for name, text in SECTIONS.items()
    if (blocks := re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL))
}
"""All blocks of a section, as one program."""


@pytest.mark.parametrize("recipe", EXAMPLES)
def test_an_example_runs(recipe, http, version) -> None:
    if version < (2, 11) and "ttl=" in EXAMPLES[recipe]:
        pytest.skip("this server has no TTLs of single values")
    code = EXAMPLES[recipe].replace("http://localhost:9123", http.url)
    program = compile(code, f"docs/recipes.md#{recipe}", "exec")
    names: dict = {}
    try:
        exec(program, names)
        names["client"].close()
        exec(program, names)  # on the data of the first run
    finally:
        kv = names["client"].kv()
        for name in set(re.findall(r'create_bucket\("([\w-]+)"', code)):
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
