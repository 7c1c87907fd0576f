"""The published OFREP provider for pages, unchanged, in headless Chromium (docs/flags.md)."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from jetkv.testing import LocalNats
from tests.browser.conftest import Page
from tests.support.flags import FlagGateways, flag_gateways
from tests.support.gateway import running_gateway
from tests.support.guarded import TOKENS, Guarded
from tests.support.http import BUCKETS, Bucket
from tests.support.tokens import new_token, token_line

PAGE = Path(__file__).parents[2] / "docs" / "flags.md"
OpenPage = Callable[..., Page]

_IMPORTS = {
    "imports": {
        "@openfeature/core": "/modules/@openfeature/core/dist/esm/index.js",
        "@openfeature/web-sdk": "/modules/@openfeature/web-sdk/dist/esm/index.js",
        "@openfeature/ofrep-core": (
            "/modules/@openfeature/ofrep-web-provider/node_modules/"
            "@openfeature/ofrep-core/index.esm.js"
        ),
        "@openfeature/ofrep-web-provider": "/modules/@openfeature/ofrep-web-provider/index.esm.js",
    }
}
_START = """
const map = document.createElement("script");
map.type = "importmap";
map.textContent = JSON.stringify(%s);
document.head.append(map);
(async () => {
  %s
})().catch((error) => tell("failed", { text: String(error), stack: error.stack }));
"""
_PROVIDER = """
const { OpenFeature, ProviderEvents } = await import("@openfeature/web-sdk");
const { OFREPWebProvider } = await import("@openfeature/ofrep-web-provider");
const token = asked.get("token");
const headers = token ? [["Authorization", `Bearer ${token}`]] : [];
const provider = new OFREPWebProvider({ baseUrl: asked.get("gateway"), headers });
const client = OpenFeature.getClient();
const names = () => Object.keys(provider.flagCache).sort();
client.addHandler(ProviderEvents.ConfigurationChanged, ({ flagsChanged }) =>
  tell("changed", { flagsChanged, names: names(), value: client.getNumberValue("size", -1) }));
client.addHandler(ProviderEvents.Stale, () => tell("stale"));
await OpenFeature.setProviderAndWait(provider, { targetingKey: "radia" });
tell("ready", {
  names: names(),
  on: client.getBooleanValue("dark-mode", false),
  size: client.getNumberDetails("size", -1),
});
"""


def script(body: str) -> str:
    return _START % (json.dumps(_IMPORTS), body)


def test_a_page_evaluates_all_flags_and_hears_of_each_change(
    flags: FlagGateways, modules: Path, open_page: OpenPage
) -> None:
    flags.bucket.put("dark-mode", '{"enabled":true,"rollout":0.5}')
    flags.bucket.put("size", "10")
    flags.bucket.put("broken", "{")
    page = open_page(script(_PROVIDER), modules, gateway=flags.gateways[1].url)
    ready = page.next()
    assert ready["what"] == "ready", ready
    assert ready["names"] == ["broken", "dark-mode", "size"]
    assert ready["on"] is True
    assert (ready["size"]["value"], ready["size"]["reason"]) == (10, "STATIC")
    for value in (11, 12, 13):
        flags.bucket.put("size", str(value))
        changed = page.next()
        assert (changed["what"], changed["value"]) == ("changed", value)
        assert changed["flagsChanged"] == ["size"]
    flags.bucket.delete("size")
    changed = page.next()
    assert (changed["names"], changed["value"]) == (["broken", "dark-mode"], -1)


def test_a_page_with_a_scoped_token_survives_a_restart_and_ends_with_its_token(
    nats: LocalNats, tmp_path: Path, modules: Path, open_page: OpenPage
) -> None:
    root, file = new_token(), tmp_path / "tokens"
    file.write_text(token_line("root", root))
    settings = {"auth": "tokens", "auth_tokens": file, "cors_origins": ["loopback"]}
    with flag_gateways(nats.url, **settings) as flags:
        name, http = flags.bucket.name, flags.gateways[0]
        guarded = Guarded(flags.gateways, root)
        guarded.ask("POST", BUCKETS, {"name": name})
        bucket = Bucket(guarded.client(root), name)
        bucket.put("size", "10")
        bucket.put("secret", "1")
        token = guarded.create(f"page-{name}", f"read:{name}/size")
        page = open_page(script(_PROVIDER), modules, gateway=http.url, token=token)
        ready = page.next()
        assert (ready["what"], ready["names"]) == ("ready", ["size"]), ready
        bucket.put("secret", "2")
        bucket.put("size", "11")
        changed = page.next()
        assert (changed["what"], changed["value"]) == ("changed", 11)
        assert changed["names"] == ["size"]
        port = http.port
    assert page.next() == {"what": "stale"}
    with running_gateway(nats.url, port=port, flags_bucket=name, **settings) as http:
        guarded = Guarded([http], root)
        Bucket(guarded.client(root), name).put("size", "12")
        changed = page.next()
        assert (changed["what"], changed["value"]) == ("changed", 12)
        guarded.ask("DELETE", f"{TOKENS}/page-{name}")
        guarded.ask("DELETE", f"{BUCKETS}/{name}")


def test_the_javascript_of_the_page_evaluates_the_flag(
    flags: FlagGateways, modules: Path, open_page: OpenPage
) -> None:
    blocks = re.findall(r"^```js\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    (example,) = [block for block in blocks if "web-provider" in block]
    flags.bucket.put("dark-mode", '{"enabled":true,"rollout":0.5}')
    code = re.sub(
        r'^import (\{.*\}) from (".*");$', r"const \1 = await import(\2);", example, flags=re.M
    )
    code = code.replace("http://localhost:9123", flags.gateways[0].url)
    page = open_page(
        script('const console = { log: (value) => tell("printed", { value }) };\n' + code), modules
    )
    assert page.next() == {"what": "printed", "value": True}


@pytest.fixture(autouse=True)
def _needs(modules: Path) -> None:
    """Install the packages before a page has to load them in time."""
