"""A gateway for one command: `jetkv kv get --url nats://localhost:4222 …` needs no other one.

It runs as a process of its own on a free port of 127.0.0.1, takes a token that it alone knows, and
ends with the command.
"""

import hashlib
import http.client
import json
import os
import re
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from jetkv.cli.exits import CommandError, Exit
from jetkv_gateway.configuration.about import Panel, described
from jetkv_gateway.embedded import Process, die_with_parent
from jetkv_gateway.http.routes import ROUTES
from jetkv_gateway.settings import Settings

__all__ = ["private_gateway"]

_START_SECONDS = 20.0
_NATS_SECONDS = 5.0
_CHECK_SECONDS = 0.02
_READY = next(route.template for route in ROUTES if route.name == "readiness")
_ADDRESS = re.compile(rb" serves http://127\.0\.0\.1:(\d+),")
# Those of the environment that say how NATS is reached. Others, such as a certificate for the
# listener, are meant for a gateway that others use.
_KEPT = {
    *(name for name, _, about in described(Settings.model_fields) if about.panel is Panel.NATS),
    "bucket_prefix",
} - {"context", "nats_url", "nats_service"}


@contextmanager
def private_gateway(nats_url: str) -> Iterator[tuple[str, str]]:
    """Run a gateway for a NATS, and yield its address and the token that it takes.

    `JETKV_NATS_*` variables and `JETKV_BUCKET_PREFIX` apply, as for `jetkv serve`.

    Args:
        nats_url: as the setting `nats_url` (docs/configuration.md).

    Raises:
        CommandError: the gateway does not start, or NATS does not answer.
    """
    token = secrets.token_urlsafe(32)
    with tempfile.TemporaryDirectory(prefix="jetkv-") as folder:
        process = _Gateway(Path(folder))
        try:
            port = process.start(nats_url, token)
            _wait_ready(port)
            yield f"http://127.0.0.1:{port}", token
        finally:
            process.stop()


class _Gateway(Process):
    """The process. Its settings and its log are in a folder that nobody else can read."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder / "log")
        self._folder = folder

    def start(self, nats_url: str, token: str) -> int:
        """Start it, and return its port once it listens there."""
        tokens = self._folder / "tokens"
        tokens.write_text(f"command:{hashlib.sha256(token.encode()).hexdigest()} *:*\n")
        settings = {
            "nats_url": nats_url,
            "host": "127.0.0.1",
            "port": "0",
            "workers": "1",
            "auth": "tokens",
            "auth_tokens": str(tokens),
            "token_bucket": "false",
            "log_level": "warning",
        }
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "jetkv_gateway", "serve"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=_environment(os.environ, settings),
                # Ctrl-C is for the command, which then ends this process.
                start_new_session=True,
                preexec_fn=die_with_parent,
            )
        deadline = time.monotonic() + _START_SECONDS
        while (found := _ADDRESS.search(self._log.read_bytes())) is None:
            if not self.running:
                raise CommandError(self.last_words().removeprefix("jetkv: "), Exit.USAGE)
            if time.monotonic() > deadline:
                raise CommandError(
                    f"no gateway for NATS after {_START_SECONDS:g} s: {self.last_words()}",
                    Exit.LOCAL,
                )
            time.sleep(_CHECK_SECONDS)
        return int(found[1])


def _environment(given: Mapping[str, str], settings: Mapping[str, str]) -> dict[str, str]:
    kept = {f"JETKV_{name.upper()}" for name in _KEPT}
    return {
        **{name: text for name, text in given.items() if name[:6] != "JETKV_" or name in kept},
        **{f"JETKV_{name.upper()}": text for name, text in settings.items()},
    }


def _wait_ready(port: int) -> None:
    deadline = time.monotonic() + _NATS_SECONDS
    while issues := _issues(port):
        if time.monotonic() > deadline:
            raise CommandError(
                f"NATS cannot be used: {issues}",
                Exit.UNAVAILABLE,
                hint="`jetkv check --nats-url …` says more",
            )
        time.sleep(_CHECK_SECONDS)


def _issues(port: int) -> str:
    """Return why a gateway is not ready, or an empty text."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=_NATS_SECONDS)
    try:
        connection.request("GET", _READY)
        document = json.loads(connection.getresponse().read())
        return "; ".join(document["issues"].values())
    except (OSError, http.client.HTTPException, ValueError, LookupError) as error:
        return f"{type(error).__name__}: {error}"
    finally:
        connection.close()
