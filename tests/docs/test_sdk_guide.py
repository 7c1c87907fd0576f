"""The Python of the SDK's guide runs, block after block, as a reader would paste it."""

from tests.docs.test_examples import ROOT, blocks


def test_the_guide_runs_from_top_to_bottom(dev, monkeypatch) -> None:
    page = ROOT / "docs" / "sdk.md"
    names: dict[str, object] = {"__name__": "guide"}
    for number, code in enumerate(blocks(page, "python"), start=1):
        here = code.replace("http://localhost:9123", dev.url)
        exec(compile(here, f"docs/sdk.md, block {number}", "exec"), names)
