"""The Python of the SDK's guide runs, block after block, as a reader would paste it."""

from tests.docs.test_examples import ROOT, blocks
from tests.support.http import Http


def test_the_guide_runs_from_top_to_bottom(dev: Http) -> None:
    run_guide(dev)


def test_the_guide_runs_on_the_data_of_an_earlier_run(dev: Http) -> None:
    run_guide(dev)
    run_guide(dev)


def run_guide(http: Http) -> None:
    names: dict[str, object] = {"__name__": "guide"}
    for number, code in enumerate(blocks(ROOT / "docs" / "sdk.md", "python"), start=1):
        here = code.replace("http://localhost:9123", http.url)
        exec(compile(here, f"docs/sdk.md, block {number}", "exec"), names)
