"""The published OFREP provider for servers in JavaScript, unchanged, in Node (docs/flags.md)."""

import json
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jetkv.testing import LocalNats
from tests.support.flags import FlagGateways, flag_gateways
from tests.support.guarded import Guarded
from tests.support.http import BUCKETS, Bucket
from tests.support.tokens import new_token, token_line

PAGE = Path(__file__).parents[2] / "docs" / "flags.md"
ADA = {"targetingKey": "ada"}

_HEAD = """
import { OpenFeature } from "@openfeature/server-sdk";
import { OFREPProvider } from "@openfeature/ofrep-provider";
const [baseUrl, token] = process.argv.slice(2);
const headers = token ? [["Authorization", `Bearer ${token}`]] : [];
await OpenFeature.setProviderAndWait(new OFREPProvider({ baseUrl, headers }));
const client = OpenFeature.getClient();
const tell = (thing) => console.log(JSON.stringify(thing));
"""

Run = Callable[..., list[Any]]


@pytest.fixture
def run(node: str, modules: Path, tmp_path: Path) -> Run:
    """Run a script with the provider, and return what it prints, parsed."""
    (tmp_path / "node_modules").symlink_to(modules)

    def start(script: str, *given: str, head: str = _HEAD) -> list[Any]:
        file = tmp_path / "script.mjs"
        file.write_text(head + script)
        done = subprocess.run(
            [node, file, *given], capture_output=True, text=True, timeout=30, check=False
        )
        assert done.returncode == 0, done.stderr
        return [json.loads(line) for line in done.stdout.splitlines()]

    return start


def test_each_form_of_a_flag_and_each_error(flags: FlagGateways, run: Run) -> None:
    stored = {
        "on": "true",
        "text": '"dark"',
        "size": "10.0",
        "object": '{"colors":["red"]}',
        "folder/flag": "true",
        "off": '{"enabled":false}',
        "half": '{"enabled":true,"rollout":0.5}',
        "broken": "{",
        "none": "null",
    }
    for name, value in stored.items():
        flags.bucket.put(name, value)
    told = run(
        """
        const ada = { targetingKey: "ada" };
        tell(await client.getBooleanDetails("on", false, ada));
        tell(await client.getStringDetails("text", "light", ada));
        tell(await client.getNumberDetails("size", 1));
        tell(await client.getObjectDetails("object", {}, ada));
        tell(await client.getBooleanDetails("folder/flag", false, ada));
        tell(await client.getBooleanDetails("off", true, ada));
        tell(await client.getBooleanDetails("half", false, { targetingKey: "Zoe" }));
        tell(await client.getBooleanDetails("missing", true, ada));
        tell(await client.getBooleanDetails("half", true));
        tell(await client.getBooleanDetails("broken", true));
        tell(await client.getBooleanDetails("text", true));
        tell(await client.getBooleanDetails("none", true));
        """,
        flags.gateways[0].url,
    )
    shown = [(one["value"], one["reason"], one.get("errorCode")) for one in told]
    assert shown[:6] == [
        (True, "STATIC", None),
        ("dark", "STATIC", None),
        (10, "STATIC", None),
        ({"colors": ["red"]}, "STATIC", None),
        (True, "STATIC", None),
        (False, "DISABLED", None),
    ]
    assert (shown[6][1], shown[6][2]) == ("SPLIT", None)
    assert shown[7:11] == [
        (True, "ERROR", "FLAG_NOT_FOUND"),
        (True, "ERROR", "TARGETING_KEY_MISSING"),
        (True, "ERROR", "PARSE_ERROR"),
        (True, "ERROR", "TYPE_MISMATCH"),
    ]
    assert shown[11][0] is True, "without a value, the default of the code"


def test_a_change_reaches_the_provider_within_a_second(flags: FlagGateways, run: Run) -> None:
    flags.bucket.put("moves", "1")
    first, second = (gateway.url for gateway in flags.gateways)
    (took,) = run(
        """
        const [first, bucket] = process.argv.slice(4);
        await client.getNumberValue("moves", 0);
        const put = await fetch(`${first}${bucket}/keys/moves`, { method: "PUT", body: "2" });
        if (!put.ok) throw new Error(await put.text());
        const began = performance.now();
        while ((await client.getNumberValue("moves", 0)) !== 2) {}
        tell(performance.now() - began);
        """,
        second,
        "",
        first,
        flags.bucket.path,
    )
    assert took < 1000


def test_a_scoped_token_evaluates_its_flags_and_no_others(
    nats: LocalNats, tmp_path: Path, run: Run
) -> None:
    root, file = new_token(), tmp_path / "tokens"
    file.write_text(token_line("root", root))
    with flag_gateways(nats.url, auth="tokens", auth_tokens=file) as flags:
        guarded = Guarded(flags.gateways, root)
        name = flags.bucket.name
        guarded.ask("POST", BUCKETS, {"name": name})
        for flag in ("web.new", "secret"):
            Bucket(guarded.client(root), name).put(flag, "true")
        token = guarded.create(f"server-{name}", f"read:{name}/web.*")
        script = """
        tell(await client.getBooleanDetails("web.new", false));
        tell(await client.getBooleanDetails("secret", false));
        """
        allowed, refused = run(script, flags.gateways[0].url, token)
        assert allowed["value"] is True
        assert (refused["value"], refused["errorCode"]) == (False, "GENERAL")
        for answer in run(script, flags.gateways[0].url):
            assert (answer["value"], answer["errorCode"]) == (False, "GENERAL")


def test_the_javascript_of_the_page_prints_what_the_flag_is(flags: FlagGateways, run: Run) -> None:
    blocks = re.findall(r"^```js\n(.*?)^```$", PAGE.read_text(), re.MULTILINE | re.DOTALL)
    (example,) = [block for block in blocks if "ofrep-provider" in block]
    flags.bucket.put("dark-mode", '{"enabled":true,"rollout":0.5}')
    code = example.replace("http://localhost:9123", flags.gateways[0].url)
    assert run(code, head="") == [True]
