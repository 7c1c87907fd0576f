"""A browser's EventSource with a ticket: it comes back by itself, as long as the token is valid."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jetkv.testing import LocalNats
from tests.browser.conftest import Page
from tests.support.gateway import running_gateway
from tests.support.guarded import TOKENS, Guarded
from tests.support.http import Bucket
from tests.support.tokens import new_token, token_line

ACCESS_PAGE = Path(__file__).parents[2] / "docs" / "access.md"

OpenPage = Callable[..., Page]


def test_the_page_of_the_docs_watches_with_a_ticket_and_comes_back_after_a_restart(
    nats: LocalNats, bucket: Bucket, tmp_path: Path, open_page: OpenPage
) -> None:
    root, file = new_token(), tmp_path / "tokens"
    file.write_text(token_line("root", root))
    settings: dict[str, Any] = {
        "auth": "tokens",
        "auth_tokens": file,
        "cors_origins": ["loopback"],
    }
    (example,) = re.findall(
        r"^```js\n(.*?)^```$", ACCESS_PAGE.read_text(), re.MULTILINE | re.DOTALL
    )
    script = (
        "const gateway = asked.get('gateway'), token = asked.get('token');\n"
        f"const bucket = asked.get('bucket');\n{example}\n"
        "watch().then((source) => {\n"
        "  source.onopen = () => tell('open');\n"
        "  source.onerror = () => tell('error', {gave_up: source.readyState === 2});\n"
        "  source.onmessage = (event) => tell('message', {frame: JSON.parse(event.data)});\n"
        "});"
    )
    with running_gateway(nats.url, **settings) as http:
        guarded = Guarded([http], root)
        token = guarded.create("page", f"read:{bucket.name}/user.*")
        page = open_page(script, gateway=http.url, token=token, bucket=bucket.name)
        assert page.next() == {"what": "open"}
        bucket.put("user.1", "v")
        bucket.put("secret.1", "v")
        bucket.put("user.2", "v")
        frames = page.frames(lambda frame: frame.get("key") == "user.2")
        assert [frame["key"] for frame in frames] == ["user.1", "user.2"]
        port = http.port
    assert page.next() == {"what": "error", "gave_up": False}
    bucket.put("user.3", "meanwhile")
    with running_gateway(nats.url, port=port, **settings) as http:
        told = page.until(lambda thing: thing["what"] == "open")
        assert not any(thing.get("gave_up") for thing in told)
        page.frames(lambda frame: frame.get("key") == "user.3")
        Guarded([http], root).ask("DELETE", f"{TOKENS}/page")
        frames = page.frames(lambda frame: frame["type"] == "error")
        assert frames[-1]["code"] == "permission_denied"
        page.until(lambda thing: thing["what"] == "error" and thing["gave_up"])
