"""`jetkv bucket apply`: makes buckets as a file says."""

from pathlib import Path
from typing import Annotated

import typer

from jetkv.cli import bucket_documents, bucket_file
from jetkv.cli.bucket_plan import Action, Plan, Step, lines, planned
from jetkv.cli.bucket_write import AllowDataLoss
from jetkv.cli.command import DryRun, Yes, command
from jetkv.cli.exits import CommandError, Exit
from jetkv.cli.output import Format
from jetkv.cli.session import Session
from jetkv.errors import JetKVError

__all__ = ["register"]


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "apply")(apply)


def apply(
    session: Session,
    file: Annotated[
        Path, typer.Argument(metavar="file", help="What there should be, in TOML, YAML or JSON.")
    ],
    prune: Annotated[
        bool, typer.Option("--prune", help="Delete buckets that are not in the file.")
    ] = False,
    allow_data_loss: AllowDataLoss = False,
    yes: Yes = False,
    dry_run: DryRun = False,
    exit_code: Annotated[
        bool,
        typer.Option("--exit-code", help="With --dry-run: exit with 20 if there are changes."),
    ] = False,
) -> None:
    """Create and change buckets until they are as a file says; shows a plan first.

    A setting that the file does not name stays as it is.
    """
    plan = planned(session, bucket_file.read(file), prune=prune)
    _show(session, plan)
    refused = [step.bucket for step in plan.of(Action.REFUSED)]
    if refused:
        raise CommandError(
            f"{', '.join(refused)}: cannot be made so; nothing was changed", Exit.REFUSED
        )
    if dry_run:
        if exit_code and plan.open:
            raise typer.Exit(Exit.CHANGES)
        return
    losing = [step.bucket for step in plan.open if step.loses]
    if losing and not allow_data_loss:
        raise CommandError(
            f"{', '.join(losing)}: this would remove stored data, so nothing was changed",
            Exit.REFUSED,
            hint="--allow-data-loss makes the changes all the same",
        )
    if plan.open:
        session.confirm("Make these changes?", yes=yes)
        _make(session, plan.open)


def _show(session: Session, plan: Plan) -> None:
    out = session.output
    match out.chosen(Format.TABLE):
        case Format.JSON | Format.NDJSON:
            out.one(plan.document(), [], None)
        case Format.VALUE:
            for step in plan.open:
                out.line(f"{step.action} {step.bucket}")
        case Format.TABLE:
            for line in lines(plan):
                out.line(line)
    out.flush()


def _make(session: Session, steps: list[Step]) -> None:
    """Do the steps in their order.

    Raises:
        CommandError: one of them failed; the text says what was done before.
    """
    for done, step in enumerate(steps):
        session.writing = f"the {step.action} of bucket {step.bucket}, {done + 1} of {len(steps)},"
        try:
            if step.action is Action.DELETE:
                session.kv.delete_bucket(step.bucket)
            else:
                bucket_documents.change(
                    session,
                    step.bucket,
                    step.settings,
                    create=True,
                    dry_run=False,
                    allow_data_loss=bool(step.loses),
                )
        except JetKVError:
            session.note(
                f"{done} of {len(steps)} changes were made; apply the file again for the rest"
            )
            raise
        session.note(f"{step.bucket}: {step.action}d")
    session.writing = ""
