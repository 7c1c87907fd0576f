"""Runs one serving process, or several that share a listening socket.

With several workers, the main process supervises them. It forwards stops and reloads, replaces a
worker that ends or stops answering, and kills one that does not stop in time. Workers share only
the socket, and a few bytes of memory for balancing connections. A worker receives a stop through
its pipe, so a signal to all processes (Ctrl-C, a service manager) does not count twice. A pipe
closes when the process at its other end ends for any reason. So no worker is left behind, and no
end of a worker is missed.
"""

import faulthandler
import logging
import logging.config
import os
import signal
import socket
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing, suppress
from multiprocessing.connection import Connection, wait
from types import FrameType

from jetkv_gateway.exits import how_it_ended
from jetkv_gateway.filewatch import FileWatcher
from jetkv_gateway.http.metrics import metrics_for
from jetkv_gateway.serving.options import AppFactory, ServerOptions
from jetkv_gateway.serving.server import (
    STARTUP_FAILURE,
    STOPPING,
    GatewayServer,
    config_for,
    serve,
    stop_seconds,
)
from jetkv_gateway.serving.service_manager import ServiceManager
from jetkv_gateway.serving.worker import FORCE, RELOAD, STOP, Slots, Worker, ensure_helpers
from jetkv_gateway.telemetry.logs import logging_for

__all__ = ["run"]

_log = logging.getLogger("jetkv")

_PAUSE_SECONDS = 3.0
_FORCED_SECONDS = 5.0
_MARGIN_SECONDS = 2.0
_RESTART_SECONDS = 1.0
_RESTART_SECONDS_LAST = 30.0
_SAME_SIGNAL_SECONDS = 0.1
_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - files there are readable by this user only
_STOPS = (signal.SIGINT, signal.SIGTERM)


def run(
    app: AppFactory,
    options: ServerOptions,
    server_socket: socket.socket,
    on_started: Callable[[], None],
    *,
    refresh: Callable[[], None] = lambda: None,
    hangup_stops: bool = False,
) -> int:
    """Serve until SIGINT or SIGTERM, and return the exit code. A second signal ends it at once.

    SIGHUP reloads files; see `options.App`. With one worker, this process serves; with more, it
    supervises them. In both cases it tells the service manager how it is, if one asks for that.

    Args:
        app: pickled for each worker at its start.
        refresh: called once a second with several workers. It keeps `app` up to date.
        hangup_stops: treat SIGHUP as a stop, if it means that the terminal was closed.
    """
    with closing(ServiceManager(os.environ)) as manager:

        def ready() -> None:
            on_started()
            manager.ready()

        if options.workers > 1:
            _ensure_temp_dir()
            code = _Supervisor(app, options, server_socket, ready, refresh, manager).run()
        else:
            code = _serve_here(app, options, server_socket, ready, manager, hangup_stops)
        _log.info("stopped")
        return code


def _serve_here(
    app: AppFactory,
    options: ServerOptions,
    server_socket: socket.socket,
    on_started: Callable[[], None],
    manager: ServiceManager,
    hangup_stops: bool,
) -> int:
    server = GatewayServer(
        config_for(app, options),
        on_started,
        delay=options.shutdown_delay,
        on_second=manager.alive,
    )

    def stop(times: int) -> None:
        manager.stopping()
        server.should_exit = True
        server.force_exit = times > 1
        if sys.stderr is not None:
            # This ends a process whose event loop is blocked, and logs where.
            seconds = stop_seconds(options) if times == 1 else _FORCED_SECONDS
            faulthandler.dump_traceback_later(seconds + _MARGIN_SECONDS, exit=True)

    if hangup_stops:
        _on_signals(stop, (*_STOPS, signal.SIGHUP))
    else:
        _on_signals(stop)
        signal.signal(signal.SIGHUP, lambda _number, _frame: server.reload())
    try:
        return serve(server, server_socket)
    finally:
        faulthandler.cancel_dump_traceback_later()


def _on_signals(stop: Callable[[int], None], numbers: tuple[signal.Signals, ...] = _STOPS) -> None:
    """Call `stop` with 1 at the first signal, and with 2 at the second."""
    asked_at: list[float] = []

    def on_signal(_number: int, _frame: FrameType | None) -> None:
        if not asked_at:
            asked_at.append(time.monotonic())
            stop(1)
        elif time.monotonic() - asked_at[0] > _SAME_SIGNAL_SECONDS:
            # A signal within this time is the first one again, sent by both a terminal and a parent
            # process.
            stop(2)

    for number in numbers:
        signal.signal(number, on_signal)


class _Supervisor:
    def __init__(
        self,
        app: AppFactory,
        options: ServerOptions,
        server_socket: socket.socket,
        on_started: Callable[[], None],
        refresh: Callable[[], None],
        manager: ServiceManager,
    ) -> None:
        self._app = app
        self._options = options
        self._refresh = refresh
        self._manager = manager
        self._socket = server_socket
        self._slots = Slots(
            options.workers, None if options.metrics is None else metrics_for(options.metrics)
        )
        self._on_started = on_started
        self._started = False
        self._signals = 0
        self._hangups = 0
        self._workers: list[Worker] = []
        self._start_at = 0.0
        self._failures = 0

    def run(self) -> int:
        logging.config.dictConfig(logging_for(self._options.log_level, self._options.log_format))
        # Signals end the wait below through this socket pair.
        wake_receiver, wake_sender = socket.socketpair()
        with wake_receiver, wake_sender:
            wake_receiver.setblocking(False)
            wake_sender.setblocking(False)
            signal.set_wakeup_fd(wake_sender.fileno(), warn_on_full_buffer=False)
            _on_signals(self._count)
            signal.signal(signal.SIGHUP, self._count_hangup)
            files = FileWatcher(self._refresh_files)
            files.start()
            try:
                return self._supervise(wake_receiver)
            finally:
                files.close()
                signal.set_wakeup_fd(-1)
                for worker in self._workers:
                    worker.reap()

    def _refresh_files(self) -> None:
        """Keep what a replacement worker starts with up to date. Workers log what they read."""
        self._refresh()
        if self._options.tls is not None:
            self._options.tls.refresh(quiet=True)

    def _count(self, times: int) -> None:
        self._signals = times

    def _count_hangup(self, _number: int, _frame: FrameType | None) -> None:
        self._hangups += 1

    def _supervise(self, wake_receiver: socket.socket) -> int:
        looked_at = time.monotonic()
        reloads = 0
        while not self._signals:
            if time.monotonic() - looked_at > _PAUSE_SECONDS:
                # This process was paused, so the workers may have been paused, too.
                for worker in self._workers:
                    worker.extend_deadline()
            looked_at = time.monotonic()
            if reloads != self._hangups:
                reloads = self._hangups
                for worker in self._workers:
                    worker.send(RELOAD)
            for worker in self._workers:
                was_started = worker.started
                worker.read_messages()
                if worker.started and not was_started:
                    self._failures = 0
                if worker.started and not self._started:
                    self._started = True
                    self._on_started()
                if worker.silent:
                    _log.error("worker %s does not answer: killed", worker.process.pid)
                    worker.kill()
            for worker, code in self._remove_ended():
                if code == STARTUP_FAILURE and not self._started:
                    _log.error("a worker cannot start: the gateway stops")
                    return 1
                _log.warning("worker %s %s: replaced", worker.process.pid, how_it_ended(code))
                if not worker.started:
                    self._delay_start()
            self._start_missing()
            if any(worker.started and not worker.silent for worker in self._workers):
                # Each of these has said within its time that it is alive.
                self._manager.alive()
            pause = self._start_at - time.monotonic()
            self._wait(wake_receiver, pause if pause > 0 else 1.0)
        return self._stop(wake_receiver)

    def _start_missing(self) -> None:
        try:
            ensure_helpers()
            while len(self._workers) < self._options.workers and not self._signals:
                if time.monotonic() < self._start_at:
                    return
                self._workers.append(Worker(self._app, self._options, self._socket, self._slots))
        except (OSError, EOFError) as error:
            # Limits of processes or memory cause this, and also end the fork server.
            reason = str(error) or type(error).__name__
            _log.error("cannot start a worker: %s; trying again", reason)
            self._delay_start()

    def _delay_start(self) -> None:
        """Wait before the next start. The pauses grow, so that the log is not flooded."""
        pause = min(_RESTART_SECONDS * 2**self._failures, _RESTART_SECONDS_LAST)
        self._failures = min(self._failures + 1, 10)
        self._start_at = time.monotonic() + pause

    def _stop(self, wake_receiver: socket.socket) -> int:
        self._manager.stopping()
        _log.info(STOPPING)
        # With no worker to accept it, a connection would wait here and then be reset.
        self._socket.close()
        handled = 0
        while self._signals > handled:
            handled = self._signals
            word, seconds = STOP, stop_seconds(self._options) + _MARGIN_SECONDS
            if handled > 1:
                word, seconds = FORCE, _FORCED_SECONDS
            for worker in self._workers:
                worker.send(word)
            end = time.monotonic() + seconds
            while self._workers and self._signals == handled and time.monotonic() < end:
                self._wait(wake_receiver, end - time.monotonic())
                for worker in self._workers:
                    worker.read_messages()
                self._remove_ended()
        for worker in self._workers:
            _log.error("worker %s did not stop in time: killed", worker.process.pid)
        return 1 if self._workers else 0

    def _remove_ended(self) -> list[tuple[Worker, int | None]]:
        ended = [worker for worker in self._workers if worker.ended]
        self._workers = [worker for worker in self._workers if not worker.ended]
        return [(worker, worker.reap()) for worker in ended]

    def _wait(self, wake_receiver: socket.socket, seconds: float) -> None:
        """Wait until a worker sends a message or ends, or a signal arrives."""
        waitables: list[Connection | socket.socket | int] = [wake_receiver]
        waitables += [worker.pipe for worker in self._workers]
        wait(waitables, max(seconds, 0))
        with suppress(BlockingIOError):
            wake_receiver.recv(1024)


def _ensure_temp_dir() -> None:
    """Use a temporary directory in memory if the file system of a container is read-only."""
    try:
        tempfile.gettempdir()
    except FileNotFoundError:
        tempfile.tempdir = _SHARED_MEMORY
