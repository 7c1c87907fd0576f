"""`jetkv dev`: the gateway with its own nats-server."""

import asyncio
import fcntl
import logging
import os
import re
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from jetkv_gateway import __version__
from jetkv_gateway.app import factory, server_options
from jetkv_gateway.auth.authenticator import NoAuth
from jetkv_gateway.embedded import NatsServer, NatsServerError
from jetkv_gateway.environment import STARTED_BY
from jetkv_gateway.jetstream.api import Naming
from jetkv_gateway.jetstream.connection import Connection
from jetkv_gateway.jetstream.store import open_store
from jetkv_gateway.kv.configured import ConfiguredBucket
from jetkv_gateway.kv.errors import GatewayError
from jetkv_gateway.readiness import make_bucket
from jetkv_gateway.serving.processes import run
from jetkv_gateway.serving.server import listen
from jetkv_gateway.settings import Settings, SettingsError

__all__ = ["run_dev"]

_log = logging.getLogger("jetkv")

_BUCKETS_SECONDS = 15.0
_CHECK_SECONDS = 0.2
_MIN_UPTIME_SECONDS = 5.0
_SYNC_INTERVAL = re.compile(r"always|[1-9][0-9]{0,5}(ms|s|m|h)")


def run_dev(
    settings: Settings,
    data_dir: Path,
    nats_port: int | None,
    sync_interval: str,
    say: Callable[[str], None],
) -> int:
    """Serve until a signal arrives or the nats-server fails. Return the exit code.

    Args:
        nats_port: of the nats-server. 0 takes a free one. None takes that of the last start if it
            is free.
        sync_interval: of the nats-server: `always`, or a time such as `2m`.
        say: shows a text to the user.

    Raises:
        CannotStart: an address is in use, a bucket cannot be created, an argument is invalid, or
            similar.
        NatsServerError: nats-server is missing, or does not start.
    """
    if not _SYNC_INTERVAL.fullmatch(sync_interval):
        raise SettingsError(
            f"--sync-interval must be `always` or a time such as 30s or 2m, not {sync_interval!r}"
        )
    wanted = settings.wanted_buckets()
    options = server_options(settings)
    hint = _Hint(made=os.environ.get(STARTED_BY) == "make dev")
    with (
        listen(settings.host, settings.port, hint.port) as server_socket,
        _data_dir_lock(data_dir),
        _nats_server(data_dir, _nats_host(settings.host), nats_port, sync_interval, hint) as (
            nats,
            remark,
        ),
        _restarted(nats),
    ):
        settings = settings.model_copy(update={"nats_url": nats.url})
        # Create the buckets before serving, since a missing bucket answers 404.
        asyncio.run(_make_buckets(settings, wanted))
        scheme = "http" if options.tls is None else "https"
        address = f"{scheme}://localhost:{server_socket.getsockname()[1]}"
        banner = _banner(address, f"{nats.url}{remark}", data_dir)
        # SIGHUP means that the terminal is closed. A process that continued in the background would
        # keep the port and the data folder.
        code = run(
            factory(settings, NoAuth()),
            options,
            server_socket,
            lambda: say(banner),
            hangup_stops=True,
        )
        return code if nats.pid is not None else 1


class _Hint:
    """The options that set other ports."""

    def __init__(self, *, made: bool) -> None:
        self.port = "`make dev PORT=…`" if made else "--port"
        self.nats_port = "`make dev NATS_PORT=…`" if made else "--nats-port"


async def _make_buckets(settings: Settings, wanted: list[ConfiguredBucket]) -> None:
    connection = Connection(settings.nats_options())
    connection.start()
    naming = Naming(settings.bucket_prefix, settings.nats_domain)
    store = open_store(connection, naming, timeout=settings.request_timeout)
    name = ""
    try:
        async with asyncio.timeout(_BUCKETS_SECONDS):
            await connection.wait_connected(_BUCKETS_SECONDS)
            for bucket in wanted:
                name = bucket.spec.name
                await make_bucket(store.buckets, bucket)
    except GatewayError as error:
        raise SettingsError(f"cannot create bucket {name}: {error.message}") from error
    except TimeoutError:
        raise SettingsError("the embedded nats-server does not answer") from None
    finally:
        await connection.close()


@contextmanager
def _data_dir_lock(data_dir: Path) -> Iterator[None]:
    """Lock a data folder, since two servers would destroy its data."""
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        lock = (data_dir / "lock").open("w")
    except OSError as error:
        raise SettingsError(f"cannot use the data folder {data_dir}: {error}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise SettingsError(
                f"another `jetkv dev` uses {data_dir}: stop it, or choose another by --data-dir"
            ) from None
        yield


def _nats_host(host: str) -> str:
    """Return where NATS listens: where the gateway does if that is everywhere, else on loopback."""
    return host if host in ("0.0.0.0", "::") else "127.0.0.1"  # noqa: S104 - compared, not bound


@contextmanager
def _nats_server(
    data_dir: Path, host: str, asked: int | None, sync_interval: str, hint: _Hint
) -> Iterator[tuple[NatsServer, str]]:
    """Run a nats-server. Yield it and a remark about its port."""
    kept = data_dir / "nats-port"
    port = _read_port(kept) if asked is None else asked
    remark = ""
    if port and not _is_free(port):
        if asked:
            raise SettingsError(
                f"cannot listen on 127.0.0.1:{port} for NATS: Address already in use; "
                f"choose another one with {hint.nats_port}, or stop the program that uses it"
            )
        remark = f"   ({port}, its port so far, is in use)"
        port = 0
    jetstream = f"sync_interval: {sync_interval}"
    with NatsServer(data_dir / "nats", host=host, port=port, jetstream=jetstream) as nats:
        if not remark and asked != 0:
            kept.write_text(f"{nats.port}\n")
        yield nats, remark


def _read_port(kept: Path) -> int:
    try:
        port = int(kept.read_text())
    except (OSError, ValueError):
        return 0
    return port if 0 < port < 65536 else 0


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


@contextmanager
def _restarted(nats: NatsServer) -> Iterator[None]:
    """Restart a nats-server that ends. End this process if that happens at once or fails."""
    stopped = threading.Event()

    def watch() -> None:
        started_at = time.monotonic()
        while not stopped.wait(_CHECK_SECONDS):
            if nats.pid is not None:
                continue
            ended = f"the embedded nats-server {nats.how_it_ended()}"
            if time.monotonic() < started_at + _MIN_UPTIME_SECONDS:
                _log.error("%s right after its start, so jetkv stops: %s", ended, nats.last_words())
                break
            _log.error("%s: it is started again, on the same port and data", ended)
            started_at = time.monotonic()
            try:
                nats.start()
            except (NatsServerError, OSError) as error:
                _log.error("cannot start the embedded nats-server: %s; jetkv stops", error)
                break
        else:
            return
        os.kill(os.getpid(), signal.SIGTERM)

    # A nats-server that this thread starts ends with the thread (`embedded/server.py`).
    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        stopped.set()
        watcher.join()


def _banner(address: str, nats_url: str, data_dir: Path) -> str:
    key = f"{address}/api/v1/kv/buckets/demo/keys/user:123"
    watch = f"{address}/json/api/v1/kv/buckets/demo/watch"
    return f"""jetkv {__version__}
  gateway  {address}   API description at {address}/docs
  NATS     {nats_url}
  data     {data_dir}

Try it:
  curl -X PUT '{key}' -d '{{"n":1}}'
  curl '{key}?values=json'
  curl -N -H 'Accept: text/event-stream' '{watch}?snapshot=true'

Ctrl-C ends both."""
