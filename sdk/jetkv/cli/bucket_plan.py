"""What `jetkv bucket apply` would do, and how it says so. The gateway's dry run decides."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from jetkv.cli import bucket_documents
from jetkv.cli.bucket_file import Wanted
from jetkv.cli.bucket_read import setting_text
from jetkv.cli.exits import line_of
from jetkv.cli.output import Document
from jetkv.cli.session import Session
from jetkv.cli.values import counted
from jetkv.errors import BucketUnsuitableError, WouldLoseDataError

__all__ = ["Action", "Plan", "Step", "lines", "planned"]


class Action(StrEnum):
    """What is to be done with a bucket."""

    CREATE = "create"
    CHANGE = "change"
    DELETE = "delete"
    NONE = "none"
    REFUSED = "refused"


@dataclass(frozen=True, slots=True)
class Step:
    """What is to be done with one bucket.

    Attributes:
        bucket: its name.
        action: what is to be done.
        changes: by setting, what it is and what it is to be; None for what is not there.
        settings: what the file says.
        loses: the settings whose change removes stored data; `values` if the bucket is deleted.
        reason: why the gateway refuses it, or "".
        stored: how many revisions are stored.
    """

    bucket: str
    action: Action
    changes: Mapping[str, tuple[Any, Any]] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    loses: tuple[str, ...] = ()
    reason: str = ""
    stored: int = 0

    def document(self) -> Document:
        """Return the step as JSON has it."""
        found: dict[str, Any] = {"bucket": self.bucket, "action": self.action.value}
        if self.changes:
            found["changes"] = {
                name: {"current": current, "wanted": wanted}
                for name, (current, wanted) in self.changes.items()
            }
        if self.loses:
            found["loses_data"] = list(self.loses)
        if self.reason:
            found["reason"] = self.reason
        return found


@dataclass(frozen=True, slots=True)
class Plan:
    """All steps, in the order of the file; deletes come last."""

    steps: tuple[Step, ...]
    unmanaged: tuple[str, ...] = ()

    def of(self, action: Action) -> list[Step]:
        return [step for step in self.steps if step.action is action]

    @property
    def open(self) -> list[Step]:
        """The steps that change something."""
        return [step for step in self.steps if step.action not in (Action.NONE, Action.REFUSED)]

    def document(self) -> Document:
        """Return the plan as JSON has it."""
        return {
            "steps": [step.document() for step in self.steps],
            "unmanaged": list(self.unmanaged),
        }


def planned(session: Session, wanted: Wanted, *, prune: bool) -> Plan:
    """Return what has to be done so that the buckets are as wanted.

    Args:
        session: the gateway.
        wanted: the buckets of the file.
        prune: whether buckets that are not in the file are deleted.

    Raises:
        JetKVError: the gateway cannot say, or a setting is invalid.
    """
    present = {str(found["name"]): found for found in bucket_documents.every(session)}
    steps = [_step(session, name, given, present.get(name)) for name, given in wanted.items()]
    others = sorted(present.keys() - wanted.keys())
    if prune:
        steps += [_deletion(present[name]) for name in others]
    return Plan(tuple(steps), () if prune else tuple(others))


def _step(session: Session, name: str, given: Mapping[str, Any], present: Document | None) -> Step:
    loses: tuple[str, ...] = ()
    before = present or {}

    def ask(*, allow: bool) -> Document:
        return bucket_documents.change(
            session, name, given, create=True, dry_run=True, allow_data_loss=allow
        )

    try:
        try:
            after = ask(allow=False)
        except WouldLoseDataError as error:
            loses = tuple(error.details)
            after = ask(allow=True)
    except BucketUnsuitableError as error:
        changes = {
            setting: (values.get("current"), values.get("wanted"))
            for setting, values in error.details.items()
            if isinstance(values, dict)
        }
        return Step(name, Action.REFUSED, changes, given, reason=line_of(error))
    changes = {setting: (before.get(setting), after.get(setting)) for setting in after["changed"]}
    action = Action.CREATE if after.get("created") else Action.CHANGE if changes else Action.NONE
    return Step(name, action, changes, given, loses, stored=before.get("values", 0))


def _deletion(present: Document) -> Step:
    name, stored = str(present["name"]), int(present.get("values", 0))
    if present.get("protected"):
        return Step(name, Action.REFUSED, reason="bucket is protected and cannot be deleted")
    loses = ("values",) if stored or "values" not in present else ()
    return Step(name, Action.DELETE, loses=loses, stored=stored)


_SIGNS = {Action.CREATE: "+", Action.CHANGE: "~", Action.DELETE: "-", Action.REFUSED: "!"}


def lines(plan: Plan) -> Iterator[str]:
    """Yield the plan as text, a line at a time."""
    for step in plan.steps:
        if step.action is Action.NONE:
            continue
        verb = "cannot be made so" if step.action is Action.REFUSED else f"will be {step.action}d"
        yield f"{_SIGNS[step.action]} bucket {step.bucket} {verb}"
        if step.reason:
            yield f"    {step.reason}"
        width = max(map(len, step.changes), default=0)
        for setting, (current, wanted) in step.changes.items():
            loss = "  # removes stored data" if setting in step.loses else ""
            yield f"    {setting:<{width}} = {_change(step, setting, current, wanted)}{loss}"
        if step.action is Action.DELETE:
            yield f"    with {counted(step.stored, 'stored revision')}"
        yield ""
    if plan.unmanaged:
        yield f"Not in the file, and left alone: {', '.join(plan.unmanaged)}"
    counts = {action: len(plan.of(action)) for action in Action}
    if not plan.open and not counts[Action.REFUSED]:
        yield f"Nothing to change in {counted(counts[Action.NONE], 'bucket')}."
        return
    refused = f", {counts[Action.REFUSED]} refused" if counts[Action.REFUSED] else ""
    yield (
        f"Plan: {counts[Action.CREATE]} to create, {counts[Action.CHANGE]} to change, "
        f"{counts[Action.DELETE]} to delete{refused}."
    )


def _change(step: Step, setting: str, current: Any, wanted: Any) -> str:
    if step.action is Action.CREATE:
        return _shown(setting, wanted)
    return f"{_shown(setting, current)} -> {_shown(setting, wanted)}"


def _shown(setting: str, value: Any) -> str:
    if value is None:
        # The gateway leaves out what is empty or 0.
        return (
            setting_text(setting, 0)
            if setting.endswith(("_seconds", "_bytes", "_size"))
            else "none"
        )
    return (
        json.dumps(value, ensure_ascii=False)
        if setting == "description"
        else setting_text(setting, value)
    )
