"""`jetkv check`: tests whether the gateway can work with this NATS."""

import asyncio
from dataclasses import asdict, dataclass, field
from typing import Any

import orjson

from jetkv_gateway.jetstream.api import Naming
from jetkv_gateway.jetstream.capabilities import too_old
from jetkv_gateway.jetstream.connection import Connection, FailureKind
from jetkv_gateway.jetstream.errors import request_error
from jetkv_gateway.jetstream.requests import NoResponders, NotPermitted, RequestFailed
from jetkv_gateway.jetstream.store import open_store
from jetkv_gateway.kv.buckets import BucketWarning
from jetkv_gateway.kv.errors import GatewayError
from jetkv_gateway.settings import Settings

__all__ = ["Report", "check"]

EXIT_OK = 0
EXIT_RETRY = 3
EXIT_INPUT = 4
EXIT_AUTH = 5
EXIT_UNUSABLE = 6

_CONNECTION_ERRORS = {
    FailureKind.UNREACHABLE: (EXIT_RETRY, "; is NATS running?"),
    FailureKind.UNUSABLE: (EXIT_UNUSABLE, ""),
    FailureKind.LOGIN_REFUSED: (EXIT_AUTH, "; check --nats-user, --nats-creds and so on"),
}


@dataclass(slots=True)
class Report:
    """The result of the check.

    Attributes:
        exit_code: 0 works; 3 not reachable now; 5 NATS refuses the credentials; 6 reachable, but
            unusable as it is.
        missing: the problems, each with its solution.
        limits: of the JetStream account; -1 means no limit.
        clusters: NATS clusters that hold the buckets, or would hold them. Empty for a server
            without a cluster, None if unknown.
        expiry_markers: buckets that have them; see docs/http-api.md, "Expiry markers".
        warnings: by bucket. They do not change the exit code.
    """

    server: str = ""
    exit_code: int = EXIT_OK
    missing: list[str] = field(default_factory=list)
    limits: dict[str, Any] = field(default_factory=dict)
    used: dict[str, Any] = field(default_factory=dict)
    max_value_bytes: int = 0
    clusters: list[str] | None = None
    buckets: list[str] = field(default_factory=list)
    expiry_markers: list[str] = field(default_factory=list)
    warnings: dict[str, tuple[BucketWarning, ...]] = field(default_factory=dict)

    def fail(self, exit_code: int, text: str) -> None:
        self.exit_code = self.exit_code or exit_code
        self.missing.append(text)

    def as_json(self) -> str:
        return orjson.dumps(asdict(self), option=orjson.OPT_INDENT_2).decode()


async def check(settings: Settings, *, patience: float = 5.0) -> Report:
    """Connect and check. `patience` is how many seconds connecting may take.

    Raises:
        SettingsError: as `Settings.check_login` and `nats_options`.
    """
    settings.check_login()
    connection = Connection(settings.nats_options())
    connection.start()
    try:
        return await _check(connection, settings, patience)
    finally:
        await connection.close()


async def _check(connection: Connection, settings: Settings, patience: float) -> Report:
    report = Report()
    if not await _connected(connection, patience):
        kind, reason = connection.failure or (FailureKind.UNREACHABLE, "no answer")
        exit_code, hint = _CONNECTION_ERRORS[kind]
        servers = ", ".join(server.url for server in settings.nats_servers)
        report.fail(exit_code, f"no connection to {servers}: {reason}{hint}")
        return report
    report.server = ".".join(map(str, connection.server_version))
    report.max_value_bytes = connection.max_value_bytes
    if (reason_too_old := too_old(connection.server_version)) is not None:
        report.fail(EXIT_UNUSABLE, reason_too_old)
    naming = Naming(settings.bucket_prefix, settings.nats_domain)
    try:
        reply = await connection.mux.request(f"{naming.api}INFO", timeout=3)
        account = orjson.loads(reply.data)
    except NoResponders:
        report.fail(EXIT_UNUSABLE, "JetStream is not enabled: start nats-server with -js")
        return report
    except NotPermitted as signal:
        report.fail(EXIT_UNUSABLE, request_error(signal, None).message)
        return report
    except RequestFailed as signal:
        report.fail(EXIT_RETRY, f"JetStream does not answer: {type(signal).__name__}")
        return report
    if "error" in account:
        report.fail(EXIT_UNUSABLE, f"JetStream refuses: {account['error'].get('description')}")
        return report
    report.limits = account["limits"]
    report.used = {name: account[name] for name in ("memory", "storage", "streams", "consumers")}
    store = open_store(connection, naming, timeout=settings.request_timeout)
    try:
        buckets = await store.buckets.list()
    except GatewayError as error:
        report.fail(EXIT_UNUSABLE, f"cannot list buckets: {error.message}")
        return report
    report.buckets = [bucket.name for bucket in buckets]
    report.expiry_markers = [bucket.name for bucket in buckets if bucket.expiry_markers]
    report.warnings = {bucket.name: bucket.warnings for bucket in buckets if bucket.warnings}
    if buckets:
        report.clusters = sorted({bucket.cluster for bucket in buckets if bucket.cluster})
    else:
        report.clusters = _clusters_of_new_buckets(connection.server_info, naming)
    return report


def _clusters_of_new_buckets(server: dict[str, Any], naming: Naming) -> list[str] | None:
    """Return the clusters that would hold a first bucket, or None if unknown.

    Args:
        server: its INFO. Behind a leaf node, another server may have JetStream.
    """
    if not server.get("jetstream") or naming.domain not in ("", server.get("domain")):
        return None
    return [server["cluster"]] if server.get("cluster") else []


async def _connected(connection: Connection, patience: float) -> bool:
    """Wait for a connection. Do not wait if the error is permanent."""
    deadline = asyncio.get_running_loop().time() + patience
    while asyncio.get_running_loop().time() < deadline:
        if await connection.wait_connected(0.2):
            return True
        if connection.needs_operator:
            return False
    return False
