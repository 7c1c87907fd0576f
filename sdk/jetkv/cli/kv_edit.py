"""`jetkv kv edit`: opens a value in an editor, and writes it back by compare-and-set."""

import difflib
import json
import os
import shlex
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from jetkv import TTL, Entry, KeyExistsError, KeyNotFoundError, RevisionMismatchError
from jetkv.cli import documents, values
from jetkv.cli.command import BucketName, Key, command
from jetkv.cli.exits import CommandError, Exit
from jetkv.cli.kv_write import parsed_ttl
from jetkv.cli.session import Session, say
from jetkv.codec import TypedBytesCodec
from jetkv.errors import JetKVError

__all__ = ["register"]

_READS = 5
_SUFFIXES = {"application/json": ".json", "application/yaml": ".yaml", "application/toml": ".toml"}


def register(app: typer.Typer) -> None:
    """Add the command."""
    command(app, "edit")(edit)


def edit(
    session: Session,
    bucket: BucketName,
    key: Key,
    ttl: Annotated[
        str | None,
        typer.Option(
            help="The new value expires after 30s, 5m, 1h30m, 7d, or never. Default: when the old "
            "one would have."
        ),
    ] = None,
    drop_ttl: Annotated[
        bool, typer.Option("--drop-ttl", help="Give the new value the TTL of the bucket.")
    ] = False,
    content_type: Annotated[str | None, typer.Option(help="Default: that of the value.")] = None,
) -> None:
    """Open a value in $VISUAL or $EDITOR, and store what you save.

    If somebody else writes the key meanwhile, nothing is stored: you see both versions and choose.
    A key without a value is created.
    """
    if ttl is not None and drop_ttl:
        raise CommandError("either --ttl or --drop-ttl, not both", Exit.USAGE)
    editing = _Editing(session, bucket, key, parsed_ttl(ttl), drop_ttl, content_type)
    base = editing.current()
    with tempfile.TemporaryDirectory(prefix="jetkv-") as folder:
        path = Path(folder) / f"value{_suffix(base.content_type)}"
        path.write_bytes(base.raw)
        try:
            _edit_until_stored(editing, base, path)
        except (CommandError, JetKVError, KeyboardInterrupt):
            if path.is_file() and path.read_bytes() != base.raw:
                say(f"your version is kept in {_kept(path)}")
            raise


@dataclass(frozen=True, slots=True)
class _Version:
    """One version of a value. `entry` is None if the key has no value."""

    entry: Entry[bytes] | None
    content_type: str | None

    @property
    def raw(self) -> bytes:
        return b"" if self.entry is None else self.entry.raw


@dataclass(frozen=True, slots=True)
class _Editing:
    """Reads and writes the key that is edited."""

    session: Session
    bucket: str
    key: str
    ttl: TTL | None
    drop_ttl: bool
    content_type: str | None

    def current(self) -> _Version:
        opened = self.session.bucket(self.bucket)
        for _ in range(_READS):
            entry = opened.get_or_none(self.key)
            if entry is None:
                return _Version(None, None)
            try:
                kind, encoded = documents.content_type(opened, self.key, entry.revision)
            except (RevisionMismatchError, KeyNotFoundError):
                continue
            if encoded or not values.is_safe_on_a_terminal(entry.raw):
                raise CommandError(
                    f"the value of {self.key!r} is no plain text, and an editor could break it",
                    Exit.USAGE,
                    hint="`kv get > FILE` and `kv update --file FILE --revision "
                    f"{entry.revision}` do the same with any bytes",
                )
            return _Version(entry, kind)
        raise CommandError(f"{self.key!r} changes faster than it can be read", Exit.CONFLICT)

    def store(self, raw: bytes, over: _Version) -> int:
        """Store a value if the key is still at the version `over`, and return its revision."""
        kind = self.content_type or over.content_type or values.content_type_of(raw)
        opened = self.session.kv.bucket(self.bucket, TypedBytesCodec(kind))
        self.session.writing = f"the edit of {self.key!r}"
        try:
            if over.entry is None:
                return opened.create(self.key, raw, ttl=self.ttl)
            return opened.update(self.key, raw, over.entry.revision, ttl=self._ttl(over.entry))
        finally:
            self.session.writing = ""

    def _ttl(self, entry: Entry[bytes]) -> TTL | None:
        """Return the TTL with which the new value expires when the old one would have."""
        if self.ttl is not None or self.drop_ttl:
            return self.ttl
        of_bucket = self.session.kv.bucket_info(self.bucket).ttl
        if entry.expires_at is None:
            return None if of_bucket is None else values.ttl("never")
        if of_bucket is not None and entry.expires_at == entry.created_at + of_bucket:
            return None
        left = (entry.expires_at - datetime.now(UTC)).total_seconds()
        return max(1, round(left))


def _edit_until_stored(editing: _Editing, base: _Version, path: Path) -> None:
    session = editing.session
    while True:
        _open_editor(path)
        raw = path.read_bytes()
        if raw == base.raw:
            session.note("nothing was changed")
            return
        problem = _problem(raw, editing.content_type or base.content_type)
        if problem is not None:
            say(problem)
            question = "[e]dit again, [s]tore it all the same, [q]uit?"
            if _asked(question, "es", Exit.USAGE) == "e":
                continue
        while True:
            try:
                revision = editing.store(raw, base)
            except (RevisionMismatchError, KeyExistsError):
                theirs = editing.current()
                _show_both(base, theirs, raw)
                base = theirs
                choice = _asked(
                    "[e]dit yours again, [o]verwrite theirs, [q]uit?", "eo", Exit.CONFLICT
                )
                if choice == "e":
                    break
                continue
            session.output.done(
                {"bucket": editing.bucket, "key": editing.key, "revision": revision},
                f"{editing.bucket} {editing.key}: revision {revision}",
                str(revision),
            )
            return


def _problem(raw: bytes, content_type: str | None) -> str | None:
    media = (content_type or "").partition(";")[0].strip().lower()
    if media == values.JSON or media.endswith("+json"):
        try:
            json.loads(raw)
        except (ValueError, RecursionError) as error:
            return f"this is no valid JSON: {error}"
    return None


def _open_editor(path: Path) -> None:
    editor = os.environ.get("VISUAL") or os.environ.get("EDITOR") or "vi"
    try:
        # The editor is the user's own choice, as in git and crontab.
        ended = subprocess.run([*shlex.split(editor), str(path)], check=False)  # noqa: S603
    except (OSError, ValueError) as error:
        raise CommandError(
            f"the editor {editor!r} cannot be started", Exit.LOCAL, hint="set EDITOR"
        ) from error
    if ended.returncode != 0:
        raise CommandError(
            f"the editor ended with {ended.returncode}; nothing was stored", Exit.LOCAL
        )


def _show_both(base: _Version, theirs: _Version, yours: bytes) -> None:
    """Print how the two versions differ from each other."""
    before = "had no value" if base.entry is None else f"was at revision {base.entry.revision}"
    now = "has none" if theirs.entry is None else f"is at revision {theirs.entry.revision}"
    say(f"somebody else wrote the key: it {before} and now {now}; nothing was stored")
    lines = difflib.unified_diff(
        theirs.raw.decode().splitlines(),
        yours.decode(errors="replace").splitlines(),
        "theirs",
        "yours",
        lineterm="",
    )
    for line in lines:
        print(values.shown(line), file=sys.stderr)


def _asked(question: str, answers: str, unanswered: Exit) -> str:
    """Return the letter that the user chose.

    Args:
        question: the question, with the letters.
        answers: the letters, but for `q`.
        unanswered: the exit code if there is nobody to ask.

    Raises:
        CommandError: they chose to quit, or there is nobody to ask.
    """
    if sys.stdin.isatty():
        while True:
            print(f"{question} ", end="", file=sys.stderr, flush=True)
            line = sys.stdin.readline()
            answer = line.strip().lower()[:1]
            if not line or answer == "q":
                raise CommandError("nothing was stored", Exit.DECLINED)
            if answer and answer in answers:
                return answer
    raise CommandError("nothing was stored", unanswered)


def _suffix(content_type: str | None) -> str:
    media = (content_type or "").partition(";")[0].strip().lower()
    return _SUFFIXES.get(media, ".txt")


def _kept(path: Path) -> Path:
    """Copy a file to one that stays, which only the user can read, and return its path."""
    number, name = tempfile.mkstemp(prefix="jetkv-", suffix=path.suffix)
    with os.fdopen(number, "wb") as file:
        file.write(path.read_bytes())
    return Path(name)
