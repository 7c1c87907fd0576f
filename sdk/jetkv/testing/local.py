"""NATS and the gateway as processes of this machine, on loopback.

    with LocalNats() as nats, LocalGateway(nats.url) as gateway:
        client = Client(gateway.url)

Both need the extras `gateway` and `embedded`. They are `ServerHandle`s.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import weakref
from abc import ABC, abstractmethod
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import ClassVar, Self

from jetkv.testing.handles import ServerDidNotStart, ServerNotRunning
from jetkv.testing.ports import PortHolder
from jetkv.testing.ready import wait_until_ready
from jetkv_gateway.embedded import NatsServer, NatsServerError, Process

__all__ = ["LocalGateway", "LocalNats", "Setting"]

Setting = str | int | float | Path | Iterable[str]
"""What a setting of the gateway can be; docs/configuration.md has their names."""

_START_SECONDS = 30.0

_OWN_SETTINGS = {
    "host": "it is 127.0.0.1",
    "workers": "pause and kill act on one process; make several LocalGateways instead",
    "auth": "give `token`, or nothing for a gateway that lets everybody in",
    "auth_tokens": "give `token`",
}

# The kernel ends a child with the thread that made it (PR_SET_PDEATHSIG). A test may start a
# server from a thread of its own; this one stays until the interpreter ends.
_starter = ThreadPoolExecutor(1, "jetkv-testing-starter")

# Run instead of `-m jetkv_gateway`, so that a gateway ends with the tests, whatever ends them. It
# may be paused then, hence SIGKILL.
_PROGRAM = """\
import os, sys
if sys.platform == "linux":
    import ctypes
    ctypes.CDLL(None).prctl(1, 9)
if os.getppid() != {parent}:
    sys.exit("the tests are over")
from jetkv_gateway.main import main
main()
"""


class _Local(Process, ABC):
    """What a test does to either of them; `_name` is for texts of errors."""

    _name: ClassVar[str]

    @abstractmethod
    def start(self) -> None: ...

    def pause(self) -> None:
        """Freeze it: its connections stand, nothing answers.

        Raises:
            ServerNotRunning
        """
        if not self.running:
            raise ServerNotRunning(
                f"{self._name} does not run, so nothing can be paused: start() it first"
            )
        super().pause()

    def restart(self) -> None:
        """`stop` and `start`."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        self.start()
        return self


class LocalNats(_Local, NatsServer):
    """A nats-server with JetStream.

    Args:
        data_dir: where JetStream keeps its data; a folder that goes with this object when None.
        port: on 127.0.0.1; 0 takes a free one and keeps it.
        config: more of nats-server's configuration language, such as `max_payload: 64KB`.
        jetstream: more settings of its JetStream, such as `domain: hub`.
        binary: the server to run; None looks for `JETKV_NATS_SERVER`, then beside this Python,
            then on the PATH.
    """

    _name = "NATS"

    def __init__(
        self,
        data_dir: Path | None = None,
        *,
        port: int = 0,
        config: str = "",
        jetstream: str = "",
        binary: Path | None = None,
    ) -> None:
        super().__init__(
            data_dir or _folder_of(self),
            port=port or _port_of(self),
            config=config,
            jetstream=jetstream,
            binary=binary,
        )

    def start(self) -> None:
        """Start, and return when clients can connect.

        Raises:
            ServerDidNotStart
        """
        if self.running:
            return
        try:
            _starter.submit(NatsServer.start, self).result()
        except (NatsServerError, OSError) as error:
            raise ServerDidNotStart(str(error)) from error


class LocalGateway(_Local):
    """A gateway on a NATS.

    Args:
        nats_url: where NATS is; it has to run when the gateway starts.
        port: on 127.0.0.1; 0 takes a free one and keeps it.
        token: the one token that lets a caller in; None lets everybody in.
        folder: for its settings and its log; one that goes with this object when None.
        settings: the gateway's, such as `request_timeout=1` or `buckets=["cache,history=5"]`;
            nothing is taken from `JETKV_*` variables.

    Raises:
        ValueError: a setting that is not for tests to choose.
    """

    _name = "the gateway"
    stop_seconds = 25.0

    def __init__(
        self,
        nats_url: str,
        *,
        port: int = 0,
        token: str | None = None,
        folder: Path | None = None,
        **settings: Setting,
    ) -> None:
        for name in settings.keys() & _OWN_SETTINGS.keys():
            raise ValueError(f"{name} cannot be set: {_OWN_SETTINGS[name]}")
        self._port = port or _port_of(self)
        self._folder = folder or _folder_of(self)
        super().__init__(self._folder / "gateway.log")
        self._token = token
        self._settings: dict[str, Setting] = {
            "log_level": "warning",
            **settings,
            "nats_url": nats_url,
            "host": "127.0.0.1",
            "port": self._port,
            "auth": "off" if token is None else "tokens",
        }

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Start, and return when `/ready` answers 200.

        Raises:
            ServerDidNotStart
        """
        if self.running:
            return
        program = [sys.executable, "-P", "-c", _PROGRAM.format(parent=os.getpid())]
        config = self._write_settings()
        with self._log.open("wb") as log:
            self._process = _starter.submit(
                subprocess.Popen,
                [*program, "serve", "--config", str(config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={k: v for k, v in os.environ.items() if not k.startswith("JETKV_")},
                # Ctrl-C is pytest's to handle: fixtures end this process afterwards.
                start_new_session=True,
            ).result()
        try:
            wait_until_ready(self.url, seconds=_START_SECONDS, ended=self._why_it_ended)
        except BaseException:
            self.kill()
            raise

    def _write_settings(self) -> Path:
        self._folder.mkdir(parents=True, exist_ok=True)
        settings = dict(self._settings)
        if self._token is not None:
            tokens = self._folder / "tokens"
            tokens.write_text(f"tests:{hashlib.sha256(self._token.encode()).hexdigest()}\n")
            settings["auth_tokens"] = tokens.resolve()
        config = self._folder / "jetkv.toml"
        config.write_text(
            "".join(f"{name} = {_toml(value)}\n" for name, value in settings.items()),
            encoding="utf-8",
        )
        return config

    def _why_it_ended(self) -> str | None:
        if self._process is None or self._process.poll() is None:
            return None
        words = self.last_words()
        if "is not installed" in words:
            words += '; for tests: pip install "jetkv[gateway,embedded,testing]"'
        return f"the gateway ended with exit code {self._process.returncode}: {words}"


def _folder_of(owner: object) -> Path:
    """Make a folder that is gone when `owner` is."""
    folder = tempfile.mkdtemp(prefix="jetkv-testing-")
    weakref.finalize(owner, shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _port_of(owner: object) -> int:
    """Choose a port that stays `owner`'s while its server is down."""
    holder = PortHolder()
    weakref.finalize(owner, holder.close)
    return holder.port


def _toml(value: Setting) -> str:
    if isinstance(value, Path):
        value = str(value)
    if isinstance(value, Iterable) and not isinstance(value, str):
        value = list(value)
    # TOML's strings, numbers and lists of them read as JSON's do.
    return json.dumps(value, ensure_ascii=False)
