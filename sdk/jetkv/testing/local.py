"""NATS and the gateway as processes of this machine, on loopback.

    with LocalNats() as nats, LocalGateway(nats.url) as gateway:
        client = Client(gateway.url)

Both need the extras `gateway` and `embedded`, and both are a `ServerHandle`.
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
"""The types of a gateway's setting. docs/configuration.md lists the settings."""

_START_SECONDS = 30.0

_OWN_SETTINGS = {
    "host": "it is always 127.0.0.1",
    "workers": "pause and kill act on one process; use several LocalGateways instead",
    "auth": "use `token`; without it, the gateway accepts every caller",
    "auth_tokens": "use `token`",
}

# The kernel ends a child when the thread that started it ends (PR_SET_PDEATHSIG). A test may start
# a server in a thread that ends early, so servers are started in this thread, which stays.
_starter = ThreadPoolExecutor(1, "jetkv-testing-starter")

# Runs instead of `-m jetkv_gateway`, so that the gateway always ends when the tests end. The signal
# is SIGKILL, because the gateway may be paused then.
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
    """The part that both servers share. `_name` is their name in errors."""

    _name: ClassVar[str]

    @abstractmethod
    def start(self) -> None: ...

    def pause(self) -> None:
        """Freeze the server: its connections stay open, but it does not answer.

        Raises:
            ServerNotRunning: it is not running.
        """
        if not self.running:
            raise ServerNotRunning(
                f"{self._name} is not running, so it cannot be paused: call start() first"
            )
        super().pause()

    def restart(self) -> None:
        """Call `stop` and `start`."""
        self.stop()
        self.start()

    def __enter__(self) -> Self:
        self.start()
        return self


class LocalNats(_Local, NatsServer):
    """A nats-server with JetStream.

    Args:
        data_dir: where JetStream keeps its data. None for a new folder, which is deleted with this
            object.
        port: on 127.0.0.1. 0 chooses a free port and keeps it.
        config: further lines of nats-server's configuration, such as `max_payload: 64KB`.
        jetstream: further settings of JetStream, such as `domain: hub`.
        binary: the program. None uses `JETKV_NATS_SERVER`, or else a nats-server beside this Python
            or on the PATH.
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
        """Start the server, and return when clients can connect.

        Raises:
            ServerDidNotStart: it did not start in time, or there is no such program.
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
        nats_url: the address of NATS, which must be running when the gateway starts.
        port: on 127.0.0.1. 0 chooses a free port and keeps it.
        token: the token that callers must send. None accepts every caller.
        folder: for the settings and the log. None for a new folder, which is deleted with this
            object.
        settings: the gateway's settings, such as `request_timeout=1` or
            `buckets=["cache,history=5"]`. `JETKV_*` variables are ignored.

    Raises:
        ValueError: a test cannot choose this setting.
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
        """Start the gateway, and return when `/ready` answers 200.

        Raises:
            ServerDidNotStart: it ended, or was not ready in 30 s.
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
                # Ctrl-C must reach only pytest, whose fixtures then end this process.
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
            tokens.write_text(f"tests:{hashlib.sha256(self._token.encode()).hexdigest()} *:*\n")
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
    """Create a folder that is deleted together with `owner`."""
    folder = tempfile.mkdtemp(prefix="jetkv-testing-")
    weakref.finalize(owner, shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def _port_of(owner: object) -> int:
    """Choose a port that stays reserved as long as `owner` lives."""
    holder = PortHolder()
    weakref.finalize(owner, holder.close)
    return holder.port


def _toml(value: Setting) -> str:
    if isinstance(value, Path):
        value = str(value)
    if isinstance(value, Iterable) and not isinstance(value, str):
        value = list(value)
    # The JSON of strings, numbers and lists is also valid TOML.
    return json.dumps(value, ensure_ascii=False)
