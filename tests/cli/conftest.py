"""Running `jetkv` as a user does: as a process."""

import io
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from jetkv.cli.root import command
from jetkv.testing import LocalNats
from jetkv_gateway.commands import register
from tests.cli.data import Cli
from tests.support.http import Http
from tests.support.waiting import until

ENVIRONMENT = {
    name: value
    for name, value in os.environ.items()
    if not name.startswith("JETKV_") or name == "JETKV_NATS_SERVER"
}


START_SECONDS = 60  # up to three interpreters, on a machine that has other things to do
PROGRAM = "from jetkv_gateway.main import main; main()"


class Process:
    """One `jetkv` process, its output in a file; it does what `first` says before."""

    def __init__(
        self, arguments: list[str], log: Path, environment: dict[str, str], first: str = ""
    ) -> None:
        self.log = log
        with log.open("wb") as output:
            self.popen = subprocess.Popen(
                [sys.executable, "-c", f"{first}\n{PROGRAM}", *arguments],
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**ENVIRONMENT, **environment},
                cwd=log.parent,
            )

    @property
    def output(self) -> str:
        return self.log.read_text()

    def wait_for(self, pattern: str, seconds: float = 25) -> re.Match[str]:
        """Wait until the output holds `pattern`."""
        found: list[re.Match[str]] = []

        def look() -> bool:
            match = re.search(pattern, self.output)
            if match:
                found.append(match)
            assert match or self.popen.poll() is None, f"ended: {self.output}"
            return match is not None

        until(look, f"the output has {pattern!r}", seconds)
        return found[0]

    def http(self) -> Http:
        """A client of the gateway, whose address is in the output."""
        match = self.wait_for(r"http://(?:localhost|127\.0\.0\.1):(\d+)")
        return Http("127.0.0.1", int(match[1]))

    def stop(self, number: int = signal.SIGTERM, seconds: float = 25) -> int:
        """Send a signal, and return the exit code."""
        if self.popen.poll() is None:
            self.popen.send_signal(number)
        return self.popen.wait(seconds)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Start `jetkv` with arguments, and environment as keywords; `first` as for `Process`."""
    processes: list[Process] = []

    def start(*arguments: str, first: str = "", **environment: str) -> Process:
        command = arguments[0] if arguments else ""
        log = tmp_path / f"jetkv-{command.strip('-')}-{len(processes)}-{time.monotonic_ns()}.log"
        processes.append(Process(list(arguments), log, environment, first))
        return processes[-1]

    yield start
    for process in processes:
        process.stop()


@pytest.fixture
def finish(start: Callable[..., Process]) -> Callable[..., tuple[int, str]]:
    """Run `jetkv` to its end, and return (exit code, output)."""

    def finish(*arguments: str, **environment: str) -> tuple[int, str]:
        process = start(*arguments, **environment)
        code = process.popen.wait(30)
        return code, process.output

    return finish


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., tuple[int, str]]:
    """Run `jetkv` as `finish` does, but in this process: for what does not come to serve."""

    def run(*arguments: str, **environment: str) -> tuple[int, str]:
        output = io.StringIO()
        jetkv = command({"gateway": lambda: register})
        with monkeypatch.context() as patch, logging_as_before():
            patch.chdir(tmp_path)
            for name in os.environ.keys() - ENVIRONMENT.keys():
                patch.delenv(name)
            for name, value in environment.items():
                patch.setenv(name, value)
            with (
                redirect_stdout(output),
                redirect_stderr(output),
                pytest.raises(SystemExit) as end,
            ):
                jetkv(list(arguments))
        return end.value.code, output.getvalue()

    return run


@contextmanager
def logging_as_before() -> Iterator[None]:
    """Undo what the block sets up for logs."""

    def loggers() -> Iterator[logging.Logger]:
        yield logging.root
        for name in list(logging.root.manager.loggerDict):
            yield logging.getLogger(name)

    before = {one: (one.level, one.handlers[:], one.propagate) for one in loggers()}
    try:
        yield
    finally:
        for one in loggers():
            level, handlers, propagate = before.get(one, (logging.NOTSET, [], True))
            one.setLevel(level)
            one.handlers[:] = handlers
            one.propagate = propagate


Serve = Callable[..., tuple[Process, Http]]


@pytest.fixture
def serve(start: Callable[..., Process], nats: LocalNats) -> Serve:
    """`jetkv serve` on a nats-server, the shared one unless another is given; ready."""

    def serve(
        *arguments: str, on: LocalNats = nats, port: int = 0, first: str = "", **environment: str
    ) -> tuple[Process, Http]:
        if "--auth" not in arguments:
            arguments = ("--auth", "off", *arguments)
        where = ("--nats-url", on.url, "--port", str(port))
        process = start("serve", *where, *arguments, first=first, **environment)
        process.wait_for("serves http://", START_SECONDS)
        http = process.http()
        until(lambda: http.get("/ready").status == 200, "the gateway is ready", START_SECONDS)
        return process, http

    return serve


@pytest.fixture
def cli(http: Http, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cli:
    """The commands that work with data, on the shared gateway and without profiles."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return Cli(http.url)
