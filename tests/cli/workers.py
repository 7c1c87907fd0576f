"""The processes of a gateway with several workers, seen from outside."""

from pathlib import Path

from tests.cli.conftest import Process
from tests.support.http import Http
from tests.support.waiting import until


def helper_of(process: Process, name: str) -> int:
    """The process that workers are forked from, `forkserver`, or the `resource_tracker`."""
    (pid,) = [
        child
        for child in children_of(process.popen.pid)
        if f"multiprocessing.{name} import".encode() in Path(f"/proc/{child}/cmdline").read_bytes()
    ]
    return pid


def children_of(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def children(process: Process) -> list[int]:
    """The workers of a gateway: they are forked from a helper, its grandchildren."""
    return [
        worker
        for helper in children_of(process.popen.pid)
        if b"forkserver" in Path(f"/proc/{helper}/cmdline").read_bytes()
        for worker in children_of(helper)
    ]


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # it may go while it is looked at
        return False


def both_serve(process: Process, http: Http) -> tuple[int, int]:
    """Wait until two workers have answered; their process ids."""
    prefixes = set()

    def have_answered() -> bool:
        prefixes.add(http.get("/health").headers["x-request-id"].partition("-")[0])
        return len(prefixes) == 2

    until(have_answered, "both workers have answered", 30)
    one, other = children(process)
    return one, other
