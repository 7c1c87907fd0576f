"""Headless Chromium, driven by nothing but a page of ours: no driver, no download.

These tests run only where they are asked for by path, `python -m pytest tests/browser`, since a
browser is a large thing to install.
"""

import json
import os
import queue
import shutil
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

HERE = Path(__file__).parent
SECONDS = 30

_FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-breakpad",
    "--disable-component-update",
    "--disable-sync",
    # Whatever else it would like to ask somebody: nothing leaves this machine.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)

Told = dict[str, Any]


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    start = config.invocation_params.dir
    asked = [(start / argument.partition("::")[0]).resolve() for argument in config.args]
    return None if any(path.is_relative_to(HERE) for path in asked) else True


class Page:
    """What a page has told so far. Every wait has a deadline."""

    def __init__(self, told: "queue.SimpleQueue[Told]", log: Path) -> None:
        self._told = told
        self._log = log

    def next(self) -> Told:
        """The next thing that happened to the page."""
        try:
            return self._told.get(timeout=SECONDS)
        except queue.Empty:
            pytest.fail(f"the page told nothing; the browser said:\n{self._log.read_text()}")

    def until(self, last: Callable[[Told], bool]) -> list[Told]:
        """All that happened up to and with the first that `last` accepts."""
        told = [self.next()]
        while not last(told[-1]):
            told.append(self.next())
        return told

    def frames(self, last: Callable[[dict[str, Any]], bool]) -> list[dict[str, Any]]:
        """The frames of the messages up to and with the first that `last` accepts."""
        told = self.until(lambda thing: thing["what"] == "message" and last(thing["frame"]))
        return [thing["frame"] for thing in told if thing["what"] == "message"]


class _Server(ThreadingHTTPServer):
    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script = ""
        self.modules: Path | None = None
        self.told: queue.SimpleQueue[Told] = queue.SimpleQueue()


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        if self.path.startswith("/page?"):
            self._send("text/html", (HERE / "page.html").read_bytes())
        elif self.path == "/script.js":
            self._send("text/javascript", self.server.script.encode())
        elif self.path.startswith("/modules/") and self.server.modules is not None:
            self._send_module(self.server.modules / self.path.removeprefix("/modules/"))
        else:
            self.send_error(404)

    def _send_module(self, file: Path) -> None:
        if file.suffix == ".js" and file.is_file():
            self._send("text/javascript", file.read_bytes())
        else:
            self.send_error(404)

    def _send(self, media: str, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Type", media)
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        self.server.told.put(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture(scope="session")
def chromium() -> str:
    """The program."""
    path = shutil.which("chromium")
    if path is None:
        pytest.fail("there is no `chromium` to run these tests in: apt-get install chromium")
    return path


@pytest.fixture
def open_page(chromium: str, tmp_path: Path) -> Iterator[Callable[..., Page]]:
    """Open a page that watches; its origin is not the gateway's.

    A `script` runs at its end, with `asked` (its query) and `tell` at hand. `modules` is a folder
    whose files it may import from `/modules/`.
    """
    with _Server() as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        log = tmp_path / "chromium.log"
        processes: list[subprocess.Popen] = []

        def start(script: str = "", modules: Path | None = None, **query: object) -> Page:
            server.script, server.modules = script, modules
            url = f"http://127.0.0.1:{server.server_port}/page?{urlencode(query, doseq=True)}"
            with log.open("wb") as output:
                processes.append(
                    subprocess.Popen(
                        [chromium, *_FLAGS, f"--user-data-dir={tmp_path / 'chromium'}", url],
                        stdin=subprocess.DEVNULL,
                        stdout=output,
                        stderr=output,
                        env={**os.environ, "HOME": str(tmp_path)},
                        start_new_session=True,
                    )
                )
            return Page(server.told, log)

        try:
            yield start
        finally:
            for process in processes:
                _end(process)
            server.shutdown()
            thread.join()


def _end(process: subprocess.Popen) -> None:
    """End a browser and all that it started; its session is one that we made for it."""
    process.terminate()
    with suppress(subprocess.TimeoutExpired):
        process.wait(10)
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
