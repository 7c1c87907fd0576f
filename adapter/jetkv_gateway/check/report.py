"""What `jetkv check` has found and missed, as a table and as JSON."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

import orjson

from jetkv_gateway.kv.buckets import BucketWarning

__all__ = [
    "EXIT_AUTH",
    "EXIT_INPUT",
    "EXIT_OK",
    "EXIT_RETRY",
    "EXIT_UNUSABLE",
    "Answer",
    "Missing",
    "Permission",
    "Report",
]

EXIT_OK = 0
EXIT_RETRY = 3
EXIT_INPUT = 4
EXIT_AUTH = 5
EXIT_UNUSABLE = 6

_COLUMN = 48

_MARKERS = (
    "a key that expires leaves a marker, which nats-py's kv, older nats.go and nats.js and the "
    "nats CLI 0.2 read as a live, empty value; for readers like these, make buckets with "
    "expiry_markers false"
)


@dataclass(frozen=True, slots=True)
class Missing:
    """Something that is not there.

    Attributes:
        text: what is missing, with the cure if there is one.
        effect: what will not work without it.
    """

    text: str
    effect: str


class Answer(StrEnum):
    """What came back when the gateway published to a subject."""

    GRANTED = "granted"
    REFUSED = "refused"
    NOBODY = "nobody"
    """Nobody has subscribed, so the account does not import the subject."""

    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Permission:
    """A subject that the gateway publishes to.

    Attributes:
        subject: with `*` for the name of a bucket.
        effect: what does not work without it.
        answer: for buckets in general.
        buckets: the answer for each bucket that exists or that the settings name.
    """

    subject: str
    effect: str
    answer: Answer
    buckets: dict[str, Answer]

    @property
    def complete(self) -> bool:
        return {self.answer, *self.buckets.values()} == {Answer.GRANTED}

    @property
    def granted_for(self) -> list[str]:
        """The buckets for which the user may publish."""
        return [name for name, answer in self.buckets.items() if answer is Answer.GRANTED]

    @property
    def worst(self) -> Answer:
        """What to tell the operator if it is not complete."""
        answers = {self.answer, *self.buckets.values()}
        return next(
            one for one in (Answer.REFUSED, Answer.NOBODY, Answer.UNKNOWN) if one in answers
        )

    @property
    def text(self) -> str:
        """What is missing."""
        texts = {
            Answer.REFUSED: f"the NATS user may not publish to {self.subject}",
            Answer.NOBODY: f"nobody answers on {self.subject}: does the account import it?",
            Answer.UNKNOWN: f"no answer in time on {self.subject}",
        }
        named = self.granted_for
        return texts[self.worst] + (f", except for {', '.join(named)}" if named else "")


@dataclass(slots=True)
class Report:
    """The result of the check.

    Attributes:
        exit_code: 0 works; 3 not reachable now; 5 NATS refuses the credentials; 6 reachable, but
            unusable as it is.
        address: the addresses that were tried, without logins.
        level: of the JetStream API, 0 before nats-server 2.11.
        user, account: who the gateway is to NATS; "" if NATS does not say so.
        missing: in the order in which it was found.
        limits: of the JetStream account; -1 means no limit.
        clusters: NATS clusters that hold the buckets, or would hold them. Empty for a server
            without a cluster, None if unknown.
        features: those that not every server has.
        expiry_markers: buckets that have them; see docs/http-api.md, "Expiry markers".
        warnings: by bucket. They do not change the exit code.
        remarks: what was given and has no effect.
    """

    address: str = ""
    server: str = ""
    level: int = 0
    tls: bool = False
    inbox_prefix: str = ""
    user: str = ""
    account: str = ""
    exit_code: int = EXIT_OK
    missing: list[Missing] = field(default_factory=list)
    limits: dict[str, Any] = field(default_factory=dict)
    used: dict[str, Any] = field(default_factory=dict)
    max_value_bytes: int = 0
    clusters: list[str] | None = None
    features: list[str] = field(default_factory=list)
    permissions: list[Permission] = field(default_factory=list)
    buckets: list[str] = field(default_factory=list)
    expiry_markers: list[str] = field(default_factory=list)
    warnings: dict[str, tuple[BucketWarning, ...]] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)

    def fail(self, exit_code: int, text: str, effect: str = "anything") -> None:
        """Note something without which the gateway cannot be used."""
        self.exit_code = self.exit_code or exit_code
        self.miss(text, effect)

    def miss(self, text: str, effect: str) -> None:
        """Note something without which the rest works."""
        self.missing.append(Missing(text, effect))

    def as_json(self) -> str:
        return orjson.dumps(asdict(self), option=orjson.OPT_INDENT_2).decode()

    def as_table(self) -> str:
        lines = ["found", *(f"  {label:11}  {text}" for label, text in self._found())]
        if self.missing:
            lines += ["", f"{'missing':{_COLUMN + 2}}  what will not work"]
            lines += [f"  {one.text:{_COLUMN}}  {one.effect}" for one in self.missing]
        warnings = [
            *self.remarks,
            *(
                f"{bucket}: {warning.code}: {warning.message}"
                for bucket, warnings in self.warnings.items()
                for warning in warnings
            ),
        ]
        if warnings:
            lines += ["", "warnings", *(f"  {text}" for text in warnings)]
        return "\n".join([*lines, "", self._verdict()])

    def _verdict(self) -> str:
        if self.exit_code:
            return "does not work"
        return "works, without what is missing" if self.missing else "works"

    def _found(self) -> Iterator[tuple[str, str]]:
        if not self.server:
            return
        yield "NATS", f"{self.address}, nats-server {self.server}{', TLS' if self.tls else ''}"
        if self.user or self.account:
            yield "login", f"user {self.user or '(none)'}, account {self.account or '(unknown)'}"
        if self.inbox_prefix != "_INBOX":
            yield "replies", f"{self.inbox_prefix}.>"
        if self.limits:
            yield "JetStream", f"{_pairs(self.used)}; limits: {_pairs(self.limits) or 'none'}"
            yield "values", f"up to {self.max_value_bytes} bytes"
            yield "cluster", _cluster(self.clusters)
            yield "features", ", ".join(self.features) or "those of every server"
            yield "buckets", f"{len(self.buckets)}: {', '.join(self.buckets) or 'none'}"
        if self.permissions:
            yield "permissions", self._granted()
        if self.expiry_markers:
            yield (
                "markers",
                f"{', '.join(self.expiry_markers)}: {_MARKERS}",
            )

    def _granted(self) -> str:
        complete = [one.subject for one in self.permissions if one.complete]
        if len(complete) == len(self.permissions):
            return "all that the gateway uses"
        limited = [
            f"{one.subject} (for {', '.join(one.granted_for)})"
            for one in self.permissions
            if not one.complete and one.granted_for
        ]
        return ", ".join([*complete, *limited]) or "none"


def _pairs(values: dict[str, Any]) -> str:
    return ", ".join(
        f"{name} {value}" for name, value in values.items() if value != -1 and value is not False
    )


def _cluster(names: list[str] | None) -> str:
    if names is None:
        return "not known before there is a bucket"
    return ", ".join(names) or "none, the server stands alone"
