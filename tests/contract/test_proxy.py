"""A real proxy in front: HAProxy with `deploy/haproxy.cfg`, where it is installed, as CI does."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from jetkv.testing import LocalNats
from tests.support.gateway import running_gateway
from tests.support.http import Bucket, Http
from tests.support.ports import free_port
from tests.support.raw import Wire
from tests.support.waiting import until
from tests.support.watching import watching

CONFIG = Path(__file__).parents[2] / "deploy" / "haproxy.cfg"

FOR_BYTES = """
defaults
    mode tcp
    timeout connect 2s
    timeout client 60s
    timeout server 60s
listen bytes
    bind "${HAPROXY_BIND}"
    server gateway "${JETKV_ADDRESS}" %s
"""

STREAM = "Accept: text/event-stream"

pytestmark = pytest.mark.skipif(
    shutil.which("haproxy") is None, reason="no HAProxy on this machine"
)


@contextmanager
def haproxy(gateway: Http, config: Path) -> Iterator[Http]:
    """HAProxy on a free port of 127.0.0.1, once it passes requests on."""
    http = Http("127.0.0.1", free_port())
    process = subprocess.Popen(
        ["haproxy", "-db", "-f", str(config)],
        env={
            **os.environ,
            "HAPROXY_BIND": f"127.0.0.1:{http.port}",
            "JETKV_ADDRESS": f"127.0.0.1:{gateway.port}",
        },
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )

    def passes() -> bool:
        assert process.poll() is None, "HAProxy has ended"
        try:
            return http.get("/ready").status == 200
        except OSError:
            return False

    try:
        until(passes, "HAProxy passes requests on")
        yield http
    finally:
        process.terminate()
        process.wait(10)


@pytest.fixture
def proxied(nats: LocalNats) -> Iterator[Http]:
    """The address of the proxy that is described, with a gateway that trusts it."""
    settings = {"trusted_proxies": ["127.0.0.1"], "max_watches_per_address": 1}
    with running_gateway(nats.url, **settings) as gateway, haproxy(gateway, CONFIG) as http:
        yield http


def test_keys_and_values_pass_as_they_are(proxied: Http, bucket: Bucket) -> None:
    seen = Bucket(proxied, bucket.name)
    for key in ("plain", "a/b", "a//b", "é ?#%", "a/../b", "+"):
        assert seen.put(key, f"value of {key}").status == 200
        assert bucket.get(key).value == f"value of {key}".encode()
        assert seen.get(key).value == f"value of {key}".encode()
    assert seen.get("nothing").status == 404
    assert seen.get("a/b", if_none_match=seen.get("a/b").headers["etag"]).status == 304


def test_each_caller_behind_it_has_its_own_limit(proxied: Http, bucket: Bucket) -> None:
    with ExitStack() as stack:

        def watch(source: str, *lines: str) -> int:
            wire = stack.enter_context(Wire(proxied, source=source))
            return wire.request("GET", f"{bucket.path}/watch", STREAM, *lines).status

        assert watch("127.0.0.4") == 200
        assert watch("127.0.0.4") == 429
        assert watch("127.0.0.4", "X-Forwarded-For: 192.0.2.1") == 429
        assert watch("127.0.0.4", "Forwarded: for=192.0.2.1") == 429
        assert watch("127.0.0.5") == 200


async def test_watches_pass(proxied: Http, bucket: Bucket) -> None:
    with Wire(proxied, source="127.0.0.2") as stream:
        assert stream.request("GET", f"{bucket.path}/watch", STREAM).status == 200
        async with watching(proxied, bucket.name) as watcher:
            assert bucket.put("k", "v").status == 200
            await watcher.until(lambda frame: frame.get("key") == "k")
        until(lambda: b'"k"' in stream.line(), "the event stream is not held back")


@pytest.mark.parametrize("version", ["send-proxy", "send-proxy-v2"])
def test_bytes_pass_with_the_proxy_protocol(
    nats: LocalNats, bucket: Bucket, tmp_path: Path, version: str
) -> None:
    config = tmp_path / "haproxy.cfg"
    config.write_text(FOR_BYTES % version)
    settings = {
        # A health check comes from elsewhere, and begins with its request.
        "trusted_proxies": ["127.0.0.1"],
        "proxy_protocol": True,
        "max_watches_per_address": 1,
    }
    with (
        running_gateway(nats.url, ready=False, **settings) as gateway,
        haproxy(gateway, config) as http,
        ExitStack() as stack,
    ):

        def watch(source: str) -> int:
            wire = stack.enter_context(Wire(http, source=source))
            return wire.request("GET", f"{bucket.path}/watch", STREAM).status

        assert [watch("127.0.0.2"), watch("127.0.0.2"), watch("127.0.0.3")] == [200, 429, 200]
        with Wire(gateway, source="127.0.0.2") as check:
            assert check.request("GET", "/health").status == 200
