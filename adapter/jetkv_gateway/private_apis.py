"""The undocumented or unstable names of libraries that the gateway uses.

A new release of a library may change such a name without notice, and the effect may be hidden, such
as a stop that ends nothing. So this module lists all of them and checks them at each start. The
allowed versions are those in which they were verified (`pyproject.toml`).
`tests/unit/test_private_apis.py` searches the code for names that are missing here, and this list
for names that are unused.
"""

import importlib
import inspect
from dataclasses import dataclass
from functools import cached_property
from importlib.metadata import PackageNotFoundError, version
from platform import python_version
from types import FunctionType
from typing import Any

__all__ = ["PARTS", "RANGES", "Part", "PrivateApiMissing", "check"]

RANGES = {
    "uvicorn": ">=0.54,<0.55",
    "httptools": ">=0.9,<0.10",
    "nats-py": ">=2.16,<2.17",
    "Python": ">=3.11",
}
"""The versions in which the names below were verified, as in `pyproject.toml`."""


class PrivateApiMissing(Exception):
    """Raised if a library lacks a name that the gateway needs. The text says what to install."""


@dataclass(frozen=True)
class Part:
    """Names of one class or module.

    Attributes:
        library: a key of `RANGES`.
        owner: `module:Class`, or a module.
        names: functions, methods and attributes. `name(a,b)` has these parameters, and no other
            required ones.
        where: the modules of this package that use them.
    """

    library: str
    owner: str
    names: tuple[str, ...]
    where: tuple[str, ...]

    @cached_property
    def _owner(self) -> Any:
        module, _, name = self.owner.partition(":")
        found = importlib.import_module(module)
        return getattr(found, name) if name else found

    def missing(self) -> list[str]:
        """Return the names that are missing or have changed."""
        try:
            return [name for name in self.names if not self._is_there(name)]
        except (ImportError, AttributeError):
            return [self.owner]

    def _is_there(self, described: str) -> bool:
        name, _, parameters = described.partition("(")
        if not parameters:
            return hasattr(self._owner, name) or _is_set_on_instances(self._owner, name)
        wanted = [one for one in parameters.rstrip(")").split(",") if one]
        found = getattr(self._owner, name, None)
        if found is None:
            return False
        taken = [one for one in inspect.signature(found).parameters.values() if one.name != "self"]
        rest = taken[len(wanted) :]
        return [one.name for one in taken[: len(wanted)]] == wanted and all(
            one.default is not one.empty or one.kind in (one.VAR_POSITIONAL, one.VAR_KEYWORD)
            for one in rest
        )


def _is_set_on_instances(owner: Any, name: str) -> bool:
    """Return whether a method of a class uses an attribute of this name."""
    return any(
        name in function.__code__.co_names
        for kind in getattr(owner, "__mro__", ())
        for function in vars(kind).values()
        if isinstance(function, FunctionType)
    )


PARTS = [
    Part(
        "uvicorn",
        "uvicorn.server:Server",
        (
            "startup(sockets)",
            "shutdown(sockets)",
            "on_tick(counter)",
            "capture_signals",
            "lifespan",
            "server_state",
            "should_exit",
            "force_exit",
            "started",
        ),
        ("serving/server.py",),
    ),
    Part(
        "uvicorn",
        "uvicorn.server:ServerState",
        ("connections",),
        (
            "serving/connection.py",
            "serving/dispatch.py",
            "serving/http1.py",
            "serving/server.py",
        ),
    ),
    Part(
        "uvicorn",
        "uvicorn.server:ServerState",
        ("tasks",),
        ("serving/dispatch.py", "serving/server.py"),
    ),
    Part(
        "uvicorn",
        "uvicorn.config:Config",
        (
            "get_loop_factory()",
            "http_protocol_class",
            "loaded_app",
            "timeout_graceful_shutdown",
        ),
        ("serving/server.py",),
    ),
    Part("uvicorn", "uvicorn.config:Config", ("load()", "loaded"), ("serving/connection.py",)),
    Part("uvicorn", "uvicorn.config", ("STARTUP_FAILURE",), ("serving/server.py",)),
    Part(
        "uvicorn",
        "uvicorn.lifespan.on:LifespanOn",
        ("startup()", "shutdown()", "should_exit", "state"),
        ("serving/server.py",),
    ),
    Part(
        "httptools",
        "httptools",
        ("HttpParserError", "HttpParserInvalidMethodError", "HttpParserUpgrade"),
        ("serving/heads.py",),
    ),
    Part(
        "httptools",
        "httptools:HttpRequestParser",
        ("feed_data", "get_http_version", "get_method"),
        ("serving/heads.py",),
    ),
    Part(
        "Python",
        "multiprocessing.forkserver",
        ("_forkserver", "ensure_running()"),
        ("serving/worker.py",),
    ),
    Part(
        "Python",
        "multiprocessing.forkserver:ForkServer",
        ("_forkserver_pid",),
        ("serving/worker.py",),
    ),
    Part(
        "Python",
        "multiprocessing.resource_tracker",
        ("_resource_tracker", "ensure_running()"),
        ("serving/worker.py",),
    ),
    Part(
        "Python",
        "multiprocessing.resource_tracker:ResourceTracker",
        ("_pid",),
        ("serving/worker.py",),
    ),
    Part(
        "nats-py",
        "nats.aio.client:Client",
        (
            "_flusher_task",
            "_ping_interval_task",
            "_process_info(info,initial_connection)",
            "_reading_task",
            "_transport",
        ),
        ("jetstream/nats_py.py",),
    ),
    Part(
        "nats-py",
        "nats.aio.transport:TcpTransport",
        ("_io_reader", "_io_writer"),
        ("jetstream/nats_py.py",),
    ),
    Part(
        "nats-py",
        "nats.aio.transport:WebSocketTransport",
        ("readline()",),
        ("jetstream/nats_py.py",),
    ),
]


def check(parts: list[Part] = PARTS) -> None:
    """Check all names. It takes a few milliseconds, most of them for imports.

    Raises:
        PrivateApiMissing: the text names the first one, its library, the installed version and
            the allowed versions.
    """
    for part in parts:
        for name in part.missing():
            allowed, here = RANGES[part.library], _version(part.library)
            raise PrivateApiMissing(
                f"{part.library} {here} has no {part.owner.replace(':', '.')}.{name} as it is "
                f'needed here: install "{part.library}{allowed}"'
                if name != part.owner
                else f"{part.library} {here} has no {name.replace(':', '.')}, which is needed "
                f'here: install "{part.library}{allowed}"'
            )


def _version(library: str) -> str:
    try:
        return python_version() if library == "Python" else version(library)
    except PackageNotFoundError:
        return "(not installed)"
