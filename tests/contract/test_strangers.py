"""What callers without a credential see of a gateway that is in trouble: no address, path or user.

The log has the rest.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from jetkv.testing import LocalNats
from jetkv_gateway.jetstream.api import Naming
from jetkv_gateway.jetstream.connection import Connection
from jetkv_gateway.jetstream.store import open_store
from jetkv_gateway.settings import load
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Http
from tests.support.ports import free_port
from tests.support.tokens import new_token, token_line
from tests.support.waiting import eventually, until

LOGIN = 'authorization { user: "hidden-user", password: "hidden-password" }'
PATHS = [
    "/ready",
    "/health",
    "/api/v1/capabilities",
    "/api/v1/openapi.json",
    "/docs",
    "/console",
    "/console/app.js",
    "/metrics",
    "/nowhere",
    BUCKETS,
    f"{BUCKETS}/hidden-bucket",
    f"{BUCKETS}/hidden-bucket/keys/k",
    f"{BUCKETS}/hidden-bucket/watch",
]


@contextmanager
def in_trouble(url: str, folder: Path, **settings: object) -> Iterator[tuple[Http, Path]]:
    """A gateway that wants a token, whose token file broke, and whose NATS is as `url` says."""
    tokens = folder / "hidden-tokens"
    tokens.write_text(token_line("hidden-name", new_token()))
    with running_gateway(url, ready=False, auth="tokens", auth_tokens=tokens, **settings) as http:
        tokens.write_text("hidden-line\n")
        until(lambda: "auth" in http.get("/ready").json["warnings"], "the file was looked at")
        yield http, tokens


def all_that_is_said(http: Http) -> str:
    answers = [http.request(method, path) for path in PATHS for method in ("GET", "PUT")]
    assert {answer.status for answer in answers} >= {200, 401, 503}
    return "\n".join(f"{answer.headers}\n{answer.body.decode()}" for answer in answers)


def away(_folder: Path) -> tuple[str, dict[str, object], str]:
    port = free_port()
    return f"nats://127.0.0.1:{port}", {}, "refused"


def unresolved(_folder: Path) -> tuple[str, dict[str, object], str]:
    return "nats://hidden.invalid:4222", {}, "not connected"


def unreadable(folder: Path) -> tuple[str, dict[str, object], str]:
    creds = folder / "hidden-creds"
    creds.write_text("hidden-seed")
    return f"nats://127.0.0.1:{free_port()}", {"nats_creds": creds}, "credentials"


@pytest.mark.parametrize("trouble", [away, unresolved, unreadable])
def test_a_stranger_sees_no_address_and_no_path_of_a_nats_that_cannot_be_reached(
    tmp_path: Path, trouble: Callable[[Path], tuple[str, dict[str, object], str]]
) -> None:
    url, settings, word = trouble(tmp_path)
    with in_trouble(url, tmp_path, **settings) as (http, _):
        until(lambda: word in http.get("/ready").json["issues"]["nats"], "it was tried")
        said = all_that_is_said(http).replace(f"127.0.0.1:{http.port}", "")
    place = url.rpartition("//")[2]
    for secret in (*place.split(":"), str(tmp_path), "hidden"):
        assert secret not in said.replace("hidden-bucket", "")


def test_a_stranger_sees_no_user_of_a_login_that_nats_refuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with LocalNats(tmp_path / "nats", config=LOGIN) as nats:
        settings = {"nats_user": "hidden-user", "nats_password": "hidden-wrong"}
        with in_trouble(nats.url, tmp_path, **settings) as (http, tokens):
            until(
                lambda: "still connecting" not in http.get("/ready").json["issues"]["nats"],
                "it was tried",
            )
            said = all_that_is_said(http).replace(f"127.0.0.1:{http.port}", "")
    for secret in (str(nats.port), "127.0.0.1", str(tmp_path), "hidden"):
        assert secret not in said.replace("hidden-bucket", "")
    logged = capsys.readouterr().err
    assert f"{tokens}, line 1: must be name:sha256" in logged
    assert "hidden-line" not in logged


async def test_the_texts_of_asyncio_name_the_address_and_do_not_get_through() -> None:
    """The gateway runs on uvloop where it can, and the texts of uvloop name no address."""
    port = free_port()
    connection = Connection(load({"nats_url": f"nats://127.0.0.1:{port}"}, None).nats_options())
    health = open_store(connection, Naming(), timeout=1).health
    connection.start()
    try:

        async def was_tried() -> bool:
            return await health.issues() == {"nats": "not connected: Connection refused"}

        await eventually(was_tried, "it says why, and no more")
    finally:
        await connection.close()


def test_a_stranger_sees_which_bucket_is_missing_and_not_what_nats_says_of_it(
    tmp_path: Path, own_nats: LocalNats
) -> None:
    own_nats.start()
    with running_gateway(own_nats.url, ready=False, buckets="b,replicas=3") as http:
        until(lambda: "bucket b" in http.get("/ready").json["issues"], "it was tried")
        assert http.get("/ready").json["issues"] == {"bucket b": "does not exist yet; see the log"}
