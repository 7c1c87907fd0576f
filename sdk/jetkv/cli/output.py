"""How commands print: JSON, JSON lines, tables for people, or bare values.

A command hands over documents, as the HTTP API has them, and says what a table and a bare value
show of each. Everything is written as it comes, so a long list needs little memory.
"""

import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice
from typing import Any

from jetkv.cli.values import shown

__all__ = ["Column", "Document", "Format", "Output"]

Document = Mapping[str, Any]

_ROWS = 500
"""Rows of a table whose widths are found together. Further rows follow in tables of their own."""
_NO_WRAPPING = 100_000


class Format(StrEnum):
    """The formats of `-o`."""

    TABLE = "table"
    JSON = "json"
    NDJSON = "ndjson"
    VALUE = "value"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        header: its heading.
        show: returns the text of a row. Control characters are made visible afterwards.
        right: whether the text is aligned to the right.
    """

    header: str
    show: Callable[[Document], str]
    right: bool = False


@dataclass(slots=True)
class Output:
    """Prints the results of one command.

    Attributes:
        format: what `-o` asks for; None for tables on a terminal, else bare values or JSON lines.
        quiet: whether commands that write print nothing.
    """

    format: Format | None
    quiet: bool = False

    @property
    def on_terminal(self) -> bool:
        return sys.stdout.isatty()

    def chosen(self, piped: Format = Format.VALUE) -> Format:
        """Return the format to use; `piped` is that of a command whose output goes elsewhere."""
        if self.format is not None:
            return self.format
        return Format.TABLE if self.on_terminal else piped

    def many(
        self,
        documents: Iterable[Document],
        columns: Sequence[Column],
        value: Callable[[Document], str],
        *,
        piped: Format = Format.VALUE,
    ) -> None:
        """Print documents as they come."""
        match self.chosen(piped):
            case Format.TABLE:
                if self.on_terminal:
                    self._tables(documents, columns)
                else:
                    self._columns(documents, columns)
            case Format.JSON:
                self._array(documents)
            case Format.NDJSON:
                for document in documents:
                    self.line(_compact(document))
            case Format.VALUE:
                for document in documents:
                    self.line(value(document))

    def one(
        self,
        document: Document,
        rows: Sequence[tuple[str, str]],
        value: str | None,
        *,
        piped: Format = Format.VALUE,
    ) -> None:
        """Print one document.

        Args:
            document: the document.
            rows: what a table shows: names and texts, below each other.
            value: the bare value; None to print nothing in its place.
        """
        match self.chosen(piped):
            case Format.TABLE:
                self.pairs(rows)
            case Format.JSON:
                self.line(_indented(document))
            case Format.NDJSON:
                self.line(_compact(document))
            case Format.VALUE if value is not None:
                self.line(value)

    def done(self, document: Document, sentence: str, value: str | None) -> None:
        """Print what a command has written; nothing with `--quiet`."""
        if self.quiet:
            return
        match self.chosen():
            case Format.TABLE:
                self.line(shown(sentence))
            case Format.JSON:
                self.line(_indented(document))
            case Format.NDJSON:
                self.line(_compact(document))
            case Format.VALUE if value is not None:
                self.line(value)

    def line(self, text: str) -> None:
        self.raw(text.encode("utf-8", "surrogateescape") + b"\n")

    def raw(self, value: bytes) -> None:
        """Write bytes as they are."""
        sys.stdout.buffer.write(value)

    def flush(self) -> None:
        sys.stdout.flush()

    def pairs(self, rows: Sequence[tuple[str, str]]) -> None:
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, show_header=False, pad_edge=False)
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        for name, text in rows:
            table.add_row(name, Text(shown(text)))
        self._print(table)

    def _tables(self, documents: Iterable[Document], columns: Sequence[Column]) -> None:
        from rich.table import Table
        from rich.text import Text

        rest, first = iter(documents), True
        while chunk := list(islice(rest, _ROWS)):
            table = Table(box=None, show_header=first, pad_edge=False, header_style="bold")
            for column in columns:
                table.add_column(
                    column.header,
                    justify="right" if column.right else "left",
                    overflow="fold",
                    no_wrap=column.right,
                )
            for document in chunk:
                table.add_row(*(Text(shown(column.show(document))) for column in columns))
            self._print(table)
            first = False

    def _columns(self, documents: Iterable[Document], columns: Sequence[Column]) -> None:
        """Print rows for a pipe: as `_tables`, but a hundred times faster and never cut."""
        rest, widths = iter(documents), [len(column.header) for column in columns]
        rows = [[column.header for column in columns]]
        while chunk := list(islice(rest, _ROWS)):
            rows += [[shown(column.show(one)) for column in columns] for one in chunk]
            widths = [max(widths[i], *(len(row[i]) for row in rows)) for i in range(len(columns))]
            for row in rows:
                cells = (
                    text.rjust(width) if column.right else text.ljust(width)
                    for column, text, width in zip(columns, row, widths, strict=True)
                )
                self.line("  ".join(cells).rstrip())
            rows = []

    def _print(self, table: Any) -> None:
        from rich.console import Console

        width = None if self.on_terminal else _NO_WRAPPING
        console = Console(file=sys.stdout, width=width, highlight=False)
        # Rich would end the program by itself if nobody reads on.
        with console.capture() as captured:
            console.print(table)
        self.raw(captured.get().encode("utf-8", "surrogateescape"))

    def _array(self, documents: Iterable[Document]) -> None:
        # Without its last line, an array that was cut off is no JSON.
        before = "[\n"
        for document in documents:
            text = _indented(document).replace("\n", "\n  ")
            self.raw(f"{before}  {text}".encode("utf-8", "surrogateescape"))
            before = ",\n"
        self.line("[]" if before == "[\n" else "\n]")


def _compact(document: Document) -> str:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":"))


def _indented(document: Document) -> str:
    return json.dumps(document, ensure_ascii=False, indent=2)
