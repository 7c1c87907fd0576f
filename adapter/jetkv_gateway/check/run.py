"""Asks NATS all that the gateway depends on, and notes what is missing."""

import asyncio
from typing import Any

import orjson

from jetkv_gateway.check.permissions import try_permissions, try_token_permissions
from jetkv_gateway.check.report import (
    EXIT_AUTH,
    EXIT_RETRY,
    EXIT_UNUSABLE,
    Answer,
    Report,
)
from jetkv_gateway.jetstream.api import Naming, TokenNaming
from jetkv_gateway.jetstream.capabilities import Capability, Host, since, since_each, too_old
from jetkv_gateway.jetstream.connection import Connection, FailureKind
from jetkv_gateway.jetstream.protocol import NatsProtocol
from jetkv_gateway.jetstream.requests import (
    Multiplexer,
    NoResponders,
    NotPermitted,
    RequestFailed,
)
from jetkv_gateway.jetstream.store import open_store
from jetkv_gateway.kv.buckets import BucketInfo
from jetkv_gateway.kv.errors import BucketNotFound, GatewayError
from jetkv_gateway.kv.store import Buckets
from jetkv_gateway.settings import AuthMode, Settings

__all__ = ["CONNECTION_ERRORS", "check", "connected"]

CONNECTION_ERRORS = {
    FailureKind.UNREACHABLE: (EXIT_RETRY, "; is NATS running?"),
    FailureKind.UNUSABLE: (EXIT_UNUSABLE, ""),
    FailureKind.REPLIES_REFUSED: (EXIT_UNUSABLE, ""),
    FailureKind.LOGIN_REFUSED: (EXIT_AUTH, "; check --nats-user, --nats-creds and so on"),
}

_FEATURES = {
    Capability.KEY_TTL: "TTLs of single values",
    Capability.EXPIRY_MARKERS: "expiry markers",
    Capability.ATOMIC_BATCHES: "batches that write all keys or none",
}
_GUARDS = "`check` of keys that the batch does not write"

_SERVICE = "$SRV"

_LIMITS = {
    "max_storage": ("storage", "writes to buckets on disk"),
    "max_memory": ("memory", "writes to buckets in memory"),
    "max_streams": ("streams", "new buckets"),
    "max_consumers": ("consumers", "lists, histories and watches"),
}
"""Limit of an account → what counts towards it, and what does not work once it is reached."""


async def check(settings: Settings, *, patience: float = 5.0) -> Report:
    """Connect and check. `patience` is how many seconds connecting may take.

    Raises:
        SettingsError: as `Settings.check_login` and `nats_options`.
    """
    settings.check_login()
    probe = _ServiceProbe() if settings.nats_service else None
    connection = Connection(settings.nats_options(), probe)
    connection.start()
    report = Report(
        address=", ".join(server.url for server in settings.nats_servers),
        inbox_prefix=settings.nats_inbox_prefix,
        remarks=list(settings.warnings),
    )
    try:
        if await connected(connection, patience):
            await _check(connection, settings, report)
            if probe is not None and probe.may_not:
                report.miss(
                    f"the NATS user may not subscribe to {_SERVICE}.>",
                    "`nats micro`: it does not show the gateway",
                )
        else:
            kind, reason = connection.failure or (FailureKind.UNREACHABLE, "no answer")
            exit_code, hint = CONNECTION_ERRORS[kind]
            report.fail(exit_code, f"no connection to {report.address}: {reason}{hint}")
    finally:
        await connection.close()
    return report


class _ServiceProbe:
    """Tries to subscribe as the NATS micro service does, and answers nobody."""

    def __init__(self) -> None:
        self.may_not = False

    def connected(self, protocol: NatsProtocol) -> None:
        for verb in ("PING", "INFO", "STATS"):
            protocol.subscribe(f"{_SERVICE}.{verb}.jetkv-check".encode(), lambda *_: None)

    def refused(self, subject: str) -> bool:
        self.may_not = self.may_not or subject.startswith(f"{_SERVICE}.")
        return subject.startswith(f"{_SERVICE}.")


async def _check(connection: Connection, settings: Settings, report: Report) -> None:
    report.server = ".".join(map(str, connection.server_version))
    report.tls = bool(connection.server_info.get("tls_required"))
    report.max_value_bytes = connection.max_value_bytes
    if (reason_too_old := too_old(connection.server_version)) is not None:
        report.fail(EXIT_UNUSABLE, reason_too_old)
    naming = Naming(settings.bucket_prefix, settings.nats_domain)
    try:
        mux = connection.mux
        await _find_user(mux, report)
        if not await _find_account(mux, naming, report):
            return
        await _find_buckets(connection, naming, settings, report)
        await _find_permissions(mux, naming, settings, report)
        await _find_token_permissions(mux, settings, report)
    except RequestFailed as failed:
        report.fail(EXIT_RETRY, f"the connection to NATS was lost: {type(failed).__name__}")
    if report.limits:
        _find_features(connection, naming, report)


async def _find_user(mux: Multiplexer, report: Report) -> None:
    """Ask NATS for the user. It need not answer."""
    try:
        reply = await mux.request("$SYS.REQ.USER.INFO", timeout=2)
        data = orjson.loads(reply.data).get("data") or {}
    except (RequestFailed, orjson.JSONDecodeError, AttributeError):
        return
    report.user = str(data.get("user") or "")
    report.account = str(data.get("account_name") or data.get("account") or "")


async def _find_account(mux: Multiplexer, naming: Naming, report: Report) -> bool:
    """Ask for the account's limits. Return whether there is a JetStream to ask further."""
    domain = f" in the domain {naming.domain!r}" if naming.domain else ""
    try:
        reply = await mux.request(f"{naming.api}INFO", timeout=3)
        account = orjson.loads(reply.data)
    except NotPermitted:
        return True  # the permissions follow
    except NoResponders:
        cure = "check nats_domain" if domain else "start nats-server with -js"
        report.fail(EXIT_UNUSABLE, f"JetStream is not enabled{domain}: {cure}")
        return False
    except RequestFailed as failed:
        report.fail(EXIT_RETRY, f"JetStream does not answer: {type(failed).__name__}")
        return False
    except orjson.JSONDecodeError:
        report.fail(EXIT_UNUSABLE, "a program other than JetStream answers for it")
        return False
    if "error" in account:
        report.fail(EXIT_UNUSABLE, f"JetStream refuses: {account['error'].get('description')}")
        return False
    report.level = int((account.get("api") or {}).get("level", 0))
    report.limits = account["limits"]
    report.used = {name: account[name] for name in ("memory", "storage", "streams", "consumers")}
    for limit, (counted, effect) in _LIMITS.items():
        most, used = report.limits.get(limit, -1), report.used[counted]
        if 0 < most <= used:
            report.miss(f"{limit} of the account is reached: {used} of {most}", effect)
    if report.limits.get("max_bytes_required"):
        report.miss("the account wants a size for each stream", "new buckets without max_bytes")
    return True


async def _find_buckets(
    connection: Connection, naming: Naming, settings: Settings, report: Report
) -> None:
    store = open_store(connection, naming, timeout=settings.request_timeout)
    try:
        buckets = await store.buckets.list()
    except GatewayError as error:
        if error.code != "permission_denied":
            report.fail(EXIT_UNUSABLE, f"cannot list buckets: {error.message}", "lists of buckets")
        buckets = []
    found = {bucket.name: bucket for bucket in buckets}
    await _find_configured(store.buckets, settings, found, report)
    report.buckets = sorted(found)
    report.expiry_markers = sorted(name for name, one in found.items() if one.expiry_markers)
    report.warnings = {name: one.warnings for name, one in found.items() if one.warnings}
    if found:
        report.clusters = sorted({one.cluster for one in found.values() if one.cluster})
    else:
        report.clusters = _clusters_of_new_buckets(connection.server_info, naming)


async def _find_configured(
    buckets: Buckets, settings: Settings, found: dict[str, BucketInfo], report: Report
) -> None:
    """Compare the buckets of the settings with those that exist; add what the list lacks."""
    wanted = {one.spec.name: one for one in settings.wanted_buckets()}
    for name in sorted({*wanted, *settings.ready_buckets}):
        try:
            if name not in found:
                found[name] = await buckets.info(name)
        except BucketNotFound:
            if name in wanted:
                report.remarks.append(f"bucket {name}: does not exist; `jetkv serve` creates it")
            else:
                text = f"the bucket {name}, which ready_buckets names"
                report.fail(EXIT_UNUSABLE, text, "readiness: /ready stays 503")
        except GatewayError as error:
            if error.code != "permission_denied":
                report.miss(f"the bucket {name}: {error.message}", "requests for this bucket")
        if name in wanted and name in found and (other := wanted[name].differences(found[name])):
            report.remarks.append(f"bucket {name}: {other}")


async def _find_permissions(
    mux: Multiplexer, naming: Naming, settings: Settings, report: Report
) -> None:
    to_create = {one.spec.name for one in settings.wanted_buckets()} - set(report.buckets)
    wanted = {*(one.spec.name for one in settings.wanted_buckets()), *settings.ready_buckets}
    for need, permission in await try_permissions(mux, naming, report.buckets, wanted):
        report.permissions.append(permission)
        if permission.complete:
            continue
        if need.creates and (refused := to_create - set(permission.granted_for)):
            text = f"{permission.text}; {', '.join(sorted(refused))} cannot be created"
            report.fail(EXIT_UNUSABLE, text, "readiness: /ready stays 503")
            continue
        enough = bool(permission.granted_for) and wanted <= set(permission.granted_for)
        if not need.vital or enough:
            report.miss(permission.text, permission.effect)
        else:
            unknown = permission.worst is Answer.UNKNOWN
            report.fail(
                EXIT_RETRY if unknown else EXIT_UNUSABLE, permission.text, permission.effect
            )


async def _find_token_permissions(mux: Multiplexer, settings: Settings, report: Report) -> None:
    if AuthMode.TOKENS not in (settings.auth or ()) or not settings.token_bucket:
        return
    naming = TokenNaming(settings.bucket_prefix, settings.nats_domain)
    for _, permission in await try_token_permissions(mux, naming):
        report.permissions.append(permission)
        if not permission.complete:
            report.miss(permission.text, permission.effect)


def _find_features(connection: Connection, naming: Naming, report: Report) -> None:
    # The account's server may be another one than ours, and only its level is known then.
    server = connection.server_info
    ours = server.get("jetstream") and naming.domain in ("", server.get("domain"))
    host = Host(report.level, connection.server_version if ours else (0, 0, 0))
    for capability, text in _FEATURES.items():
        if host.can(capability):
            report.features.append(text)
        else:
            report.miss(f"nats-server {since(capability)} or newer", text)
    if ours and host.can(Capability.ATOMIC_BATCHES):
        if host.can(Capability.GUARDS_OTHER_KEYS):
            report.features.append(_GUARDS)
        else:
            report.miss(f"nats-server {since_each(Capability.GUARDS_OTHER_KEYS)} or newer", _GUARDS)


def _clusters_of_new_buckets(server: dict[str, Any], naming: Naming) -> list[str] | None:
    """Return the clusters that would hold a first bucket, or None if unknown.

    Args:
        server: its INFO. Behind a leaf node, another server may have JetStream.
    """
    if not server.get("jetstream") or naming.domain not in ("", server.get("domain")):
        return None
    return [server["cluster"]] if server.get("cluster") else []


async def connected(connection: Connection, patience: float) -> bool:
    """Wait for a connection. Do not wait if the error is permanent."""
    deadline = asyncio.get_running_loop().time() + patience
    while asyncio.get_running_loop().time() < deadline:
        if await connection.wait_connected(0.2):
            return True
        if connection.needs_operator:
            return False
    return False
