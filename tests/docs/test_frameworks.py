"""The programs of docs/frameworks.md, each served by its framework as the page says."""

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.cookiejar import CookieJar
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any
from urllib.error import HTTPError
from urllib.request import HTTPCookieProcessor, Request, build_opener

import pytest
import uvicorn
from werkzeug.serving import make_server

from jetkv import BucketNotFoundError, Client
from tests.support.http import Http
from tests.support.ports import free_port
from tests.support.waiting import until

PAGE = (Path(__file__).parents[2] / "docs" / "frameworks.md").read_text()
SECTIONS = {part.partition("\n")[0]: part for part in PAGE.split("\n## ")[1:]}


def program(section: str, url: str) -> ModuleType:
    """The program of a section, run."""
    (code,) = re.findall(r"^```python\n(.*?)^```$", SECTIONS[section], re.MULTILINE | re.DOTALL)
    module = ModuleType(section)
    code = code.replace("http://localhost:9123", url)
    exec(compile(code, f"docs/frameworks.md#{section}", "exec"), module.__dict__)
    return module


@contextmanager
def fastapi(module: ModuleType, port: int) -> Iterator[None]:
    server = uvicorn.Server(uvicorn.Config(module.app, port=port, log_level="error"))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until(lambda: server.started, "it serves")
    yield
    server.should_exit = True
    thread.join(10)
    assert not thread.is_alive()


@contextmanager
def flask(module: ModuleType, port: int) -> Iterator[None]:
    with ExitStack() as at_exit:
        module.atexit = SimpleNamespace(register=at_exit.callback)
        server = make_server("127.0.0.1", port, module.create_app(), threaded=True)
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield
        server.shutdown()
        thread.join(10)
        server.server_close()


@pytest.fixture
def buckets(http: Http) -> Iterator[None]:
    yield
    with Client(http.url) as client:
        for name in re.findall(r'create_bucket\("([\w-]+)"', PAGE):
            with suppress(BucketNotFoundError):
                client.kv().delete_bucket(name)


SERVED: dict[str, Callable[[ModuleType, int], Any]] = {"FastAPI": fastapi, "Flask": flask}


@pytest.mark.usefixtures("buckets")
@pytest.mark.parametrize("framework", SERVED)
def test_a_shop_knows_who_is_logged_in_and_follows_its_flags(framework: str, http: Http) -> None:
    port = free_port()
    opener = build_opener(HTTPCookieProcessor(CookieJar()))

    def ask(method: str, path: str) -> bytes:
        with opener.open(Request(f"http://127.0.0.1:{port}{path}", method=method), timeout=10) as a:
            body: bytes = a.read()
            return body

    with SERVED[framework](program(framework, http.url), port):
        with pytest.raises(HTTPError) as refused:
            ask("GET", "/price/tea")
        assert refused.value.code == 401
        refused.value.close()
        ask("POST", "/login/ada")
        assert json.loads(ask("GET", "/price/tea")) == {"user": "ada", "cents": 300}
        with Client(http.url) as client:
            client.kv().bucket("shop-flags").put("discount", 50)
            assert client.kv().bucket("shop-cache").get("price:tea").value == {"cents": 300}
        until(lambda: json.loads(ask("GET", "/price/tea"))["cents"] == 250, "the flag counts")


@pytest.mark.usefixtures("buckets")
def test_a_job_runs_once_a_day_and_one_at_a_time(
    http: Http, capsys: pytest.CaptureFixture[str]
) -> None:
    for first in ("sent now", "sent before"):
        program("A job from cron", http.url)
        lines = capsys.readouterr().out.splitlines()
        assert lines[0] == first
        assert [line.split(" under ")[0] for line in lines[1:]] == [
            "worked on one",
            "worked on two",
        ]
