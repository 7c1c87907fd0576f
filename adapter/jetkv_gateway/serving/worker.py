"""A worker: how the main process controls it, and what runs in it.

Workers are forked from a server process that has imported the libraries, which takes nine tenths of
a start. So a lost worker is replaced in a quarter of a second. The gateway's own modules are not
imported there, since each process needs its own state of them. The server process may also be lost,
for example by a limit of memory or processes. Then a new one replaces it, and the workers keep
running.
"""

import ctypes
import logging
import multiprocessing
import os
import select
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import FrameType

from jetkv_gateway.exits import how_it_ended
from jetkv_gateway.http.metrics import Metrics, metrics_for
from jetkv_gateway.private_apis import PrivateApiMissing, check
from jetkv_gateway.serving.balance import CELLS, Balance, Cells, clear_slot
from jetkv_gateway.serving.options import AppFactory, CannotStart, ServerOptions
from jetkv_gateway.serving.server import (
    STARTUP_FAILURE,
    GatewayServer,
    config_for,
    serve,
    stop_seconds,
)

__all__ = ["FORCE", "RELOAD", "SILENCE_SECONDS", "STOP", "Slots", "Worker", "ensure_helpers"]

_log = logging.getLogger("jetkv")

_LIBRARIES = [
    "httptools",
    "nats.aio.client",
    "orjson",
    "pydantic_settings",
    "uvicorn",
    "uvloop",
    "websockets.server",
]

_STARTED, _ALIVE, _STOPPING = b"up", b"alive", b"stopping"
STOP, FORCE, RELOAD = b"stop", b"force", b"reload"

SILENCE_SECONDS = 10.0
_START_SECONDS = 60.0
_REAP_SECONDS = 1.0
_MARGIN_SECONDS = 2.0
_STOPS = (signal.SIGINT, signal.SIGTERM)
_SIGNALS = (*_STOPS, signal.SIGHUP)
_FORK_SERVER = "process %s, which workers are forked from,"
_RESOURCE_TRACKER = "process %s, Python's resource tracker,"
# multiprocessing reports this code if the fork server ended and the real codes are lost.
_EXIT_UNKNOWN = 255


class Slots:
    """The memory that the workers share, for balancing and metrics, and the slots in use.

    Args:
        metrics: what workers count, or None.
    """

    def __init__(self, workers: int, metrics: Metrics | None) -> None:
        context = multiprocessing.get_context("forkserver")
        self.cells: Cells = context.RawArray(ctypes.c_uint32, workers * CELLS)
        self.counts = context.RawArray(
            ctypes.c_double, workers * (1 if metrics is None else metrics.cells)
        )
        self._metrics = metrics
        self._free = set(range(workers))

    def take(self) -> int:
        """Return a free slot."""
        slot = min(self._free)
        self._free.remove(slot)
        return slot

    def give_back(self, slot: int) -> None:
        """Clear and free the slot of a worker that has ended."""
        clear_slot(self.cells, slot)
        if self._metrics is not None:
            self._metrics.clear_gauges(memoryview(self.counts), slot)
        self._free.add(slot)


class Worker:
    """One worker, as the main process sees it.

    Raises:
        OSError, EOFError: the worker could not be started.
    """

    def __init__(
        self, app: AppFactory, options: ServerOptions, server_socket: socket.socket, slots: Slots
    ) -> None:
        context = multiprocessing.get_context("forkserver")
        self._slots, self._slot = slots, slots.take()
        self.pipe, child_end = context.Pipe()
        self.process: BaseProcess = context.Process(
            target=_worker_main,
            args=(app, options, server_socket, child_end, slots.cells, slots.counts, self._slot),
            daemon=True,
        )
        try:
            with _watched_fork_server():
                self.process.start()
        except BaseException:
            self.pipe.close()
            slots.give_back(self._slot)
            raise
        finally:
            # Now only the worker has the other end, so each process notices the end of the other.
            child_end.close()
        self.started = False
        self.ended = False
        self.started_at = time.monotonic()
        self._patience = stop_seconds(options) + _MARGIN_SECONDS
        self._silent_at = self.started_at + _START_SECONDS

    def read_messages(self) -> None:
        """Read its messages. Its pipe closes with it, even if the fork server is lost."""
        try:
            while self.pipe.poll():
                message = self.pipe.recv_bytes()
                self.started = self.started or message == _STARTED
                seconds = self._patience if message == _STOPPING else SILENCE_SECONDS
                self._silent_at = time.monotonic() + seconds
        except (OSError, EOFError):
            self.ended = True

    def extend_deadline(self) -> None:
        """Extend the deadline for its next message."""
        self._silent_at = max(self._silent_at, time.monotonic() + SILENCE_SECONDS)

    def send(self, message: bytes) -> None:
        with suppress(OSError):
            self.pipe.send_bytes(message)

    @property
    def silent(self) -> bool:
        return not self.ended and time.monotonic() > self._silent_at

    def kill(self) -> None:
        """Kill it. Its pipe closes when it has ended."""
        self.process.kill()
        self._silent_at = float("inf")

    def reap(self) -> int | None:
        """Kill it if it still runs, free its resources, and return its exit code if known."""
        if not self.ended:
            self.process.kill()
        self.process.join(_REAP_SECONDS)
        self.pipe.close()
        self._slots.give_back(self._slot)
        code = self.process.exitcode
        return None if code == _EXIT_UNKNOWN else code


def ensure_helpers() -> None:
    """Start the fork server and the resource tracker of multiprocessing unless they run.

    Both ignore signals, and end with the processes that use them.

    Raises:
        OSError: one cannot be started.
    """
    multiprocessing.get_context("forkserver").set_forkserver_preload(_LIBRARIES)
    before = _helpers()
    ended = [None if pid is None else _how_it_ended(pid) for pid in before]
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        with warnings.catch_warnings():
            # The end of the tracker is logged below.
            warnings.simplefilter("ignore")
            resource_tracker.ensure_running()
        # Starting the tracker resets the mask.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        names = (_FORK_SERVER, _RESOURCE_TRACKER)
        for pid, how, now, name in zip(before, ended, _helpers(), names, strict=True):
            if pid is not None and (how is not None or now != pid):
                said = f"{name % pid} {how or how_it_ended(None)}"
                _log.error("%s: another one takes its place, the workers go on", said)


def _how_it_ended(pid: int) -> str | None:
    """Return how a child ended, or None while it runs or if it is unknown until it is reaped.

    multiprocessing reaps it.
    """
    if not hasattr(os, "waitid"):  # macOS, before Python 3.13
        return None
    try:
        found = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return how_it_ended(None)
    if found is None:
        return None
    return how_it_ended(found.si_status if found.si_code == os.CLD_EXITED else -found.si_status)


def _helpers() -> tuple[int | None, int | None]:
    return _fork_server(), _resource_tracker()


def _fork_server() -> int | None:
    """Return the process id of the fork server, for which there is no public API."""
    pid: int | None = forkserver._forkserver._forkserver_pid  # type: ignore[attr-defined] # private
    return pid


def _resource_tracker() -> int | None:
    """Return the process id of the resource tracker, for which there is no public API."""
    pid: int | None = resource_tracker._resource_tracker._pid  # type: ignore[attr-defined] # private
    return pid


@contextmanager
def _watched_fork_server() -> Iterator[None]:
    """Kill a fork server that hangs. The start of a worker then fails with EOFError."""

    def kill() -> None:
        pid = _fork_server()
        if pid is not None:
            _log.error("%s hangs: killed", _FORK_SERVER % pid)
            os.kill(pid, signal.SIGKILL)

    timer = threading.Timer(_START_SECONDS, kill)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _worker_main(
    app: AppFactory,
    options: ServerOptions,
    server_socket: socket.socket,
    pipe: Connection,
    cells: Cells,
    counts: "ctypes.Array[ctypes.c_double]",
    slot: int,
) -> None:
    """Serve as a worker. The pipe leads to the main process."""
    # The main process forwards signals that reach all processes.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def send(message: bytes) -> None:
        with suppress(OSError):
            # A main process that is stopped reads nothing, and must not block this one.
            if select.select([], [pipe], [], 0)[1]:
                pipe.send_bytes(message)

    def send_alive() -> None:
        send(_STOPPING if server.should_exit else _ALIVE)

    server = GatewayServer(
        config_for(app, options),
        lambda: send(_STARTED),
        delay=options.shutdown_delay,
        on_second=send_alive,
        balance=Balance(cells, slot),
    )

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        server.should_exit = True

    signal.signal(signal.SIGTERM, on_signal)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    seconds = stop_seconds(options) + _MARGIN_SECONDS
    threading.Thread(target=_follow_commands, args=(server, pipe, seconds), daemon=True).start()
    try:
        # Libraries may have been replaced while the gateway runs.
        check()
        if options.metrics is not None:
            _share_metrics(metrics_for(options.metrics), memoryview(counts), slot)
        code = serve(server, server_socket)
    except (CannotStart, PrivateApiMissing) as error:
        # The files were valid when the gateway started, but one has changed since. If only this
        # worker cannot reach NATS, the others serve.
        _log.error("a worker cannot start: %s", error)
        code = 1
    sys.exit(STARTUP_FAILURE if code else 0)


def _share_metrics(metrics: Metrics, counts: memoryview, slot: int) -> None:
    try:
        metrics.share(counts, slot)
    except ValueError as error:
        # The gateway was upgraded while it runs. Serving is worth more than counting.
        _log.warning("%s: this worker counts for itself until the gateway is restarted", error)


def _follow_commands(server: GatewayServer, pipe: Connection, seconds: float) -> None:
    """Follow the main process. When that is gone, end within `seconds`."""
    with suppress(EOFError, OSError):
        while True:
            message = pipe.recv_bytes()
            if message == RELOAD:
                server.reload()
                continue
            server.should_exit = True
            server.force_exit = message == FORCE
    if not server.should_exit:
        _log.error("the main process is gone: this worker stops")
    # A new gateway needs the address, and nobody would replace lost workers.
    server.stop_now()
    time.sleep(seconds)
    os._exit(1)
