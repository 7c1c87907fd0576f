"""Pages that run a recipe in JavaScript: its file unchanged, with ironflow.js as its client."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.browser.conftest import Page
from tests.support.http import BUCKETS, Bucket, Http

RECIPES = Path(__file__).parents[2] / "docs" / "recipes"
STAND_IN = Path(__file__).with_name("ironflow.js")

OpenPage = Callable[..., Page]
Run = Callable[[str], Page]

SETTINGS = {"cors_origins": ["loopback"]}
"""Of a gateway that these pages may call."""

FOREVER_MS = 2**31 - 1
"""The longest that a page can wait."""

AWAY = """
const ready = () => fetch(`${gateway}/ready`).then((answer) => answer.ok, () => false);
while (await ready()) await new Promise((resolve) => setTimeout(resolve, 20));
"""
"""Wait until the gateway is not there, or not ready."""

SHOW_WATCHES = """
WebSocket = class extends WebSocket {
  constructor(...given) {
    super(...given);
    this.addEventListener("open", () => tell("watching"));
  }
};
"""
"""The client does not tell when a watch opens; a test has to know."""

FOLLOW = f"""
const onChange = (name) => tell("changed", {{ name, on: recipe.isEnabled(name) }});
await recipe.followFlags({{ onChange, rereadMs: {FOREVER_MS} }});
tell("following");
"""

OUTAGE = f"""
await recipe.openCache();
await recipe.getCached("k", async () => 1);
tell("stored");
{AWAY}
await recipe.getCached("k", async () => tell("computed"));
"""
"""Ask a cache for a key that it holds, when it cannot be asked."""


def module(source: str) -> str:
    encoded = base64.b64encode(source.encode()).decode()
    return f"data:text/javascript;charset=utf-8;base64,{encoded}"


def script(name: str, gateway: Http, body: str) -> str:
    """What a page runs: `body`, with the `recipe` of that name and the `gateway`'s URL at hand."""
    stand_in = module(STAND_IN.read_text())
    imports = {
        "@ironflow/node": stand_in,
        "@ironflow/browser": stand_in,
        "gateway-under-test": module(f"export const gateway = {json.dumps(gateway.url)};"),
        "recipe": module((RECIPES / f"{name}.js").read_text()),
    }
    return f"""
const map = document.createElement("script");
map.type = "importmap";
map.textContent = JSON.stringify({json.dumps({"imports": imports})});
document.head.append(map);
const gateway = {json.dumps(gateway.url)};
const failed = (error) => tell("failed", {{ code: error.code ?? null, text: String(error) }});
(async () => {{
const recipe = await import("recipe");
{body}
}})().catch(failed);
"""


def make_bucket(http: Http, name: str) -> Bucket:
    answer = http.post(BUCKETS, {"name": name})
    assert answer.status == 201, answer
    return Bucket(http, name)


def put_json(bucket: Bucket, key: str, value: Any) -> None:
    answer = bucket.put(key, json.dumps(value), Content_Type="application/json")
    assert answer.status == 200, answer


def told(page: Page, what: str) -> dict[str, Any]:
    """The next thing that the page tells, which is `what`."""
    thing = page.next()
    assert thing.pop("what") == what, thing
    return thing


def following(page: Page) -> None:
    """Wait until the flags are there and the watch is open, whichever comes first."""
    missing = {"watching", "following"}

    def complete(thing: dict[str, Any]) -> bool:
        assert thing["what"] != "failed", thing
        missing.discard(thing["what"])
        return not missing

    page.until(complete)
