"""Every example in the README and in docs/ is run, and answers what it says."""

import argparse
import re
import shlex
import tomllib
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

from jetkv_gateway.settings import Settings
from tests.support.http import Http

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXT = {page: page.read_text() for page in PAGES}


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", TEXT[page], re.MULTILINE | re.DOTALL)


def examples(page: Path) -> list[tuple[str, str | None]]:
    """Return (command, what it prints) of a page, in order.

    A `console` block has prompts and answers. A `sh` block of `curl` commands can be pasted as
    it is: the block right behind it is what its last command prints, and what the others print
    is not shown (None).
    """
    found: list[tuple[str, str | None]] = []
    fences = r"^```(console|sh)\n(.*?)^```\n(?:```(?:json|text)\n(.*?)^```$)?"
    for language, block, answer in re.findall(fences, TEXT[page], re.MULTILINE | re.DOTALL):
        if language == "console":
            for step in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
                command, _, output = step.partition("\n")
                found.append((command, output.strip()))
            continue
        commands = block.strip().split("\n")
        if all(command.startswith("curl ") for command in commands):
            found += [(command, None) for command in commands]
            if answer:
                found[-1] = (commands[-1], answer.strip())
    return found


def curl(http: Http, command: str, lines: int) -> str:
    """Do what curl would do with these arguments: not every machine has one.

    With `-N`, what is printed goes on; it ends here with the `lines` that are expected.
    """
    name, *words = shlex.split(command)
    assert name == "curl"
    parser = argparse.ArgumentParser()
    parser.add_argument("url")
    parser.add_argument("-N", dest="stream", action="store_true")
    parser.add_argument("-s", dest="silent", action="store_true")
    parser.add_argument("-m", dest="seconds")
    parser.add_argument("-X", dest="method")
    parser.add_argument("-d", dest="data")
    parser.add_argument("-H", dest="headers", action="append", default=[])
    given = parser.parse_args(words)
    headers = dict(header.split(": ", 1) for header in given.headers)
    if given.data is not None:
        headers.setdefault("Content-Type", "application/x-www-form-urlencoded")
    method = given.method or ("GET" if given.data is None else "POST")
    path = given.url.removeprefix("localhost:9123")
    assert path.startswith("/")
    if given.stream:
        with urlopen(Request(http.url + path, headers=headers), timeout=10) as answer:
            return b"".join(answer.readline() for _ in range(lines)).decode()
    return http.request(method, path, given.data, **headers).body.decode()


@pytest.mark.parametrize("page", [p for p in PAGES if examples(p)], ids=lambda page: page.name)
def test_commands_print_what_the_page_says(dev: Http, page: Path) -> None:
    check_commands(dev, page)


@pytest.mark.parametrize("name", ["README.md", "docs/http-api.md", "docs/watch.md"])
def test_commands_print_the_same_on_the_data_of_an_earlier_run(dev: Http, name: str) -> None:
    for _ in range(2):
        check_commands(dev, ROOT / name)


def check_commands(http: Http, page: Path) -> None:
    for command, expected in examples(page):
        printed = curl(http, command, 0 if expected is None else expected.count("\n") + 1)
        if expected is None:
            continue
        pattern = ".+?".join(map(re.escape, expected.split("…")))
        assert re.fullmatch(pattern, printed.strip()), f"{command}\n{printed}"


@pytest.mark.official_client
def test_python_of_the_readme_runs(dev: Http) -> None:
    codes = blocks(ROOT / "README.md", "python")
    assert len(codes) == 2
    for code in codes * 2:  # the second time on the data of the first
        exec(compile(code.replace("http://localhost:9123", dev.url), "README.md", "exec"), {})


def test_the_toml_example_is_one_that_settings_take() -> None:
    (text,) = blocks(ROOT / "docs" / "configuration.md", "toml")
    assert set(tomllib.loads(text)) <= set(Settings.model_fields)


def test_every_setting_is_described() -> None:
    described = set(re.findall(r"`([a-z_]+)`", TEXT[ROOT / "docs" / "configuration.md"]))
    assert set(Settings.model_fields) <= described


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", TEXT[page]):
        assert target.startswith("http") or (page.parent / target).exists(), target


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_to_a_heading_lead_to_one(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#:]*)#([^)]+)\)", TEXT[page]):
        assert anchor in anchors(page.parent / target if target else page), f"{target}#{anchor}"


def test_links_of_the_code_to_a_heading_lead_to_one() -> None:
    for source in (
        path for folder in ("adapter", "sdk", "tests") for path in (ROOT / folder).rglob("*.py")
    ):
        for page, anchor in re.findall(r"(docs/[\w/-]+\.md)#([\w-]+)", source.read_text()):
            assert anchor in anchors(ROOT / page), f"{source}: {page}#{anchor}"


def test_every_page_is_in_the_index() -> None:
    index = TEXT[ROOT / "docs" / "index.md"]
    for page in PAGES[1:]:
        assert page.name == "index.md" or f"({page.name})" in index, page.name


FROM_NATS = {"Authorization Violation"}


def test_the_errors_that_the_page_of_cures_names_are_those_of_the_gateway() -> None:
    source = "".join(path.read_text() for path in (ROOT / "adapter").rglob("*.py"))
    # Texts go over lines, and have parts that differ.
    source = re.sub(r'"\s+f?"', "", source)
    page = TEXT[ROOT / "docs" / "troubleshooting.md"]
    cells = re.findall(r"^\| ([^|]+) \|", page, re.MULTILINE)
    for text in (text for cell in cells for text in re.findall(r"`([^`]+ [^`]+)`", cell)):
        parts = [part for part in re.split("…|_INBOX", text) if part.strip(" :")]
        assert text in FROM_NATS or all(part.strip() in source for part in parts), text


def test_commands_of_the_readme_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {t for text in TEXT.values() for t in re.findall(r"(?:^|`)make ([a-z-]+)", text, re.M)}
    assert named <= targets
