"""One process that serves, or several on one listening socket, and what ends them.

Several are watched over by the process that was started: it passes a stop on, replaces a worker
that ended or fell silent, and kills one that is not done in time. They share nothing but the
socket. A worker hears of a stop by its pipe, so that a signal which reaches all of them (Ctrl-C, a
service manager) is not taken for a second one; and a pipe ends when the first process does, however
that was, so that no worker is left behind.

Workers are forked from a process that has the libraries imported, which is nine tenths of what a
start takes: a worker that was lost is back in a quarter of a second. Our own modules are not among
them, since they have things of which each process needs its own.
"""

import asyncio
import faulthandler
import logging
import logging.config
import multiprocessing
import os
import select
import signal
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from types import FrameType

from jetkv_gateway.http.metrics import share_metrics
from jetkv_gateway.server import (
    STARTUP_FAILURE,
    GatewayServer,
    config_for,
    logging_for,
    stop_seconds,
)
from jetkv_gateway.settings import Settings

__all__ = ["run"]

_log = logging.getLogger("jetkv")

_LIBRARIES = [
    "fastapi",
    "httptools",
    "nats.aio.client",
    "orjson",
    "pydantic_settings",
    "uvicorn.protocols.http.httptools_impl",
    "uvicorn.protocols.websockets.websockets_sansio_impl",
    "uvloop",
]

_UP, _ALIVE, _STOPPING = b"up", b"alive", b"stopping"
_STOP, _FORCE = b"stop", b"force"

_START_SECONDS = 60.0
_SILENCE_SECONDS = 10.0
_PAUSE_SECONDS = 3.0
_FORCED_SECONDS = 5.0
_MARGIN_SECONDS = 2.0
_RESTART_SECONDS = 1.0
_SAME_SIGNAL_SECONDS = 0.1
_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - what is made there is readable by us alone
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def run(settings: Settings, server_socket: socket.socket, on_started: Callable[[], None]) -> int:
    """Serve until SIGINT or SIGTERM, and return the exit code; a second one ends it at once.

    With one worker this process serves, with more it watches over them.
    """
    if settings.workers > 1:
        return _Workers(settings, server_socket, on_started).run()
    server = GatewayServer(config_for(settings), on_started, delay=settings.shutdown_delay)

    def stop(times: int) -> None:
        server.should_exit = True
        server.force_exit = times > 1
        if sys.stderr is not None:
            # For what holds up the event loop itself; the log then says where.
            seconds = stop_seconds(settings) if times == 1 else _FORCED_SECONDS
            faulthandler.dump_traceback_later(seconds + _MARGIN_SECONDS, exit=True)

    _on_signals(stop)
    try:
        return _serve(server, server_socket)
    finally:
        faulthandler.cancel_dump_traceback_later()


def _on_signals(stop: Callable[[int], None]) -> None:
    """Have `stop` called with 1 at the first signal, with 2 at a second."""
    asked_at: list[float] = []

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        if not asked_at:
            asked_at.append(time.monotonic())
            stop(1)
        elif time.monotonic() - asked_at[0] > _SAME_SIGNAL_SECONDS:
            # Sooner it is the first again, from a terminal and from what has started this process.
            stop(2)

    for number in _SIGNALS:
        signal.signal(number, on_signal)


def _serve(server: GatewayServer, server_socket: socket.socket) -> int:
    with asyncio.Runner(loop_factory=server.config.get_loop_factory()) as runner:
        runner.run(server.serve(sockets=[server_socket]))
    return 0 if server.started else 1


class _Worker:
    """One worker, as the first process sees it."""

    def __init__(self, settings: Settings, server_socket: socket.socket) -> None:
        context = multiprocessing.get_context("forkserver")
        self.pipe, theirs = context.Pipe()
        self.process: BaseProcess = context.Process(
            target=_work, args=(settings, server_socket, theirs), daemon=True
        )
        self.process.start()
        # The last other end is the worker's, so each sees the end of the other.
        theirs.close()
        self.up = False
        self.started_at = time.monotonic()
        self._patience = stop_seconds(settings) + _MARGIN_SECONDS
        self._silent_at = self.started_at + _START_SECONDS

    def listen(self) -> None:
        """Read what it says."""
        with suppress(OSError, EOFError):
            while self.pipe.poll():
                word = self.pipe.recv_bytes()
                self.up = self.up or word == _UP
                seconds = self._patience if word == _STOPPING else _SILENCE_SECONDS
                self._silent_at = time.monotonic() + seconds

    def forgive(self) -> None:
        """Wait anew for its next word."""
        self._silent_at = max(self._silent_at, time.monotonic() + _SILENCE_SECONDS)

    def say(self, word: bytes) -> None:
        with suppress(OSError):
            self.pipe.send_bytes(word)

    @property
    def ended(self) -> bool:
        return not self.process.is_alive()

    @property
    def silent(self) -> bool:
        return time.monotonic() > self._silent_at

    def bury(self) -> None:
        """Kill it if it lives, and give back what it held."""
        self.process.kill()
        self.process.join()
        self.pipe.close()


class _Workers:
    def __init__(
        self, settings: Settings, server_socket: socket.socket, on_started: Callable[[], None]
    ) -> None:
        self._settings = settings
        self._socket = server_socket
        self._on_started = on_started
        self._started = False
        self._signals = 0
        self._workers: list[_Worker] = []
        self._start_at = 0.0

    def run(self) -> int:
        _find_room()
        logging.config.dictConfig(logging_for(self._settings.log_level))
        # Signals end the wait below by way of this pair.
        woken, wakes = socket.socketpair()
        with woken, wakes:
            woken.setblocking(False)
            wakes.setblocking(False)
            signal.set_wakeup_fd(wakes.fileno(), warn_on_full_buffer=False)
            _on_signals(self._count)
            with share_metrics():
                _start_forkserver()
                try:
                    return self._watch_over(woken)
                finally:
                    signal.set_wakeup_fd(-1)
                    for worker in self._workers:
                        worker.bury()

    def _count(self, times: int) -> None:
        self._signals = times

    def _watch_over(self, woken: socket.socket) -> int:
        looked_at = time.monotonic()
        while not self._signals:
            if time.monotonic() - looked_at > _PAUSE_SECONDS:
                # This process was paused, and so may they have been.
                for worker in self._workers:
                    worker.forgive()
            looked_at = time.monotonic()
            for worker in self._workers:
                worker.listen()
                if worker.up and not self._started:
                    self._started = True
                    self._on_started()
                if worker.silent:
                    _log.error("worker %s does not answer: killed", worker.process.pid)
                    worker.process.kill()
                    worker.process.join()
            for worker in self._remove_ended():
                code = worker.process.exitcode
                if code == STARTUP_FAILURE and not self._started:
                    return 1
                _log.warning("worker %s ended with %s: replaced", worker.process.pid, code)
                if not worker.up:
                    self._start_at = worker.started_at + _RESTART_SECONDS
            now = time.monotonic()
            if now >= self._start_at:
                for _ in range(self._settings.workers - len(self._workers)):
                    self._workers.append(_Worker(self._settings, self._socket))
            self._wait(woken, self._start_at - now if now < self._start_at else 1.0)
        return self._stop(woken)

    def _stop(self, woken: socket.socket) -> int:
        # Without a worker to accept it, a connection would wait in here, and then be reset.
        self._socket.close()
        heard = 0
        while self._signals > heard:
            heard = self._signals
            word, seconds = _STOP, stop_seconds(self._settings) + _MARGIN_SECONDS
            if heard > 1:
                word, seconds = _FORCE, _FORCED_SECONDS
            for worker in self._workers:
                worker.say(word)
            end = time.monotonic() + seconds
            while self._workers and self._signals == heard and time.monotonic() < end:
                self._wait(woken, end - time.monotonic())
                for worker in self._workers:
                    worker.listen()
                self._remove_ended()
        for worker in self._workers:
            _log.error("worker %s did not stop in time: killed", worker.process.pid)
        return 1 if self._workers else 0

    def _remove_ended(self) -> list[_Worker]:
        ended = [worker for worker in self._workers if worker.ended]
        for worker in ended:
            self._workers.remove(worker)
            worker.bury()
        return ended

    def _wait(self, woken: socket.socket, seconds: float) -> None:
        """Wait until a worker says something or ends, or a signal comes."""
        whats: list[Connection | socket.socket | int] = [woken]
        for worker in self._workers:
            whats += [worker.pipe, worker.process.sentinel]
        wait(whats, max(seconds, 0))
        with suppress(BlockingIOError):
            woken.recv(1024)


def _find_room() -> None:
    """Have temporary files where a read-only container has room for them, which is in memory."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        tempfile.tempdir = _SHARED_MEMORY


def _start_forkserver() -> None:
    """Start what workers are forked from, deaf to signals: it ends with this process alone."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(_LIBRARIES)
    resource_tracker.ensure_running()  # which would take the mask back
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(settings: Settings, server_socket: socket.socket, pipe: Connection) -> None:
    """Serve as a worker; the pipe is to the first process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def say(word: bytes) -> None:
        with suppress(OSError):
            # A first process that is stopped reads nothing, and must not stop this one.
            if select.select([], [pipe], [], 0)[1]:
                pipe.send_bytes(word)

    def say_alive() -> None:
        say(_STOPPING if server.should_exit else _ALIVE)

    server = GatewayServer(
        config_for(settings),
        lambda: say(_UP),
        delay=settings.shutdown_delay,
        on_second=say_alive,
    )

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        server.should_exit = True

    signal.signal(signal.SIGTERM, on_signal)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    seconds = stop_seconds(settings) + _MARGIN_SECONDS
    threading.Thread(target=_obey, args=(server, pipe, seconds), daemon=True).start()
    sys.exit(_serve(server, server_socket))


def _obey(server: GatewayServer, pipe: Connection, seconds: float) -> None:
    """Do what the first process says; once that is gone, end within `seconds`."""
    with suppress(EOFError, OSError):
        while True:
            word = pipe.recv_bytes()
            server.should_exit = True
            server.force_exit = word == _FORCE
    server.should_exit = True
    time.sleep(seconds)
    os._exit(1)
