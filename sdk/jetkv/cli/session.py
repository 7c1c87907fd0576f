"""What a command works with: the gateway, the output, and the one who is asked."""

import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field, replace

from jetkv import KV, Bucket, Client
from jetkv._sync.bucket import endpoint_of
from jetkv._sync.endpoint import Endpoint
from jetkv.cli.exits import CommandError, Exit
from jetkv.cli.native import is_nats, private_gateway
from jetkv.cli.output import Output
from jetkv.cli.profiles import Connection

__all__ = ["Session", "leave_a_broken_pipe", "say"]


def say(text: str) -> None:
    """Print a line for people, on the standard error."""
    sys.stdout.flush()
    print(f"jetkv: {text}", file=sys.stderr, flush=True)


@dataclass(slots=True)
class Session:
    """What one command works with.

    Attributes:
        connect: returns how to reach the gateway; it is called when the command needs it.
        output: prints the results.
        timeout: seconds for one call, unless a flag or the profile says something else.
        writing: what may have been applied if the command is interrupted now, or "".
    """

    connect: Callable[[], Connection]
    output: Output
    timeout: float = 10.0
    writing: str = ""
    _client: Client | None = field(default=None, repr=False)
    _open: ExitStack = field(default_factory=ExitStack, repr=False)

    @property
    def client(self) -> Client:
        """The client, which is made on first use.

        Raises:
            CommandError: the flags or a profile cannot be used.
            InvalidArgumentError: the address cannot be used.
        """
        if self._client is None:
            found = self.reach()
            self._client = self._open.enter_context(
                Client(
                    found.url,
                    token=found.token,
                    timeout=self.timeout if found.timeout is None else found.timeout,
                    ssl_context=found.ssl_context,
                )
            )
        return self._client

    def reach(self) -> Connection:
        """Return how to reach the gateway. It starts one for an address of NATS.

        Raises:
            CommandError: the flags or a profile cannot be used.
        """
        found = self.connect()
        if not is_nats(found.url):
            return found
        url, token = self._open.enter_context(private_gateway(found.url))
        return replace(found, url=url, token=token)

    @property
    def kv(self) -> KV:
        return self.client.kv()

    def bucket(self, name: str) -> Bucket[bytes]:
        return self.kv.bucket(name, bytes)

    @property
    def endpoint(self) -> Endpoint:
        """What sends requests, for those that the SDK has no call for."""
        return endpoint_of(self.kv.bucket("any"))  # every bucket has the same one

    def note(self, text: str) -> None:
        """Tell people something beside the data; `--quiet` silences it."""
        if not self.output.quiet:
            say(text)

    def confirm(self, question: str, *, yes: bool) -> None:
        """Ask before something that cannot be undone.

        Raises:
            CommandError: the answer is no, or there is nobody to ask.
        """
        if yes:
            return
        if not sys.stdin.isatty():
            raise CommandError(
                f"{question} Nobody can answer here", Exit.USAGE, hint="pass --yes, or --dry-run"
            )
        sys.stdout.flush()
        print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
        # An end of input is no answer, and so it is a no.
        if sys.stdin.readline().strip().lower() not in ("y", "yes"):
            raise CommandError("nothing was changed", Exit.DECLINED)

    def close(self) -> None:
        self._open.close()


def leave_a_broken_pipe() -> None:
    """Send what is left to nowhere: Python would complain at its end that nobody reads it."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, sys.stdout.fileno())
    finally:
        os.close(nowhere)
