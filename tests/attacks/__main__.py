"""`python -m tests.attacks`: attack a gateway, and measure what others see of it.

Each row starts a nats-server and a gateway with one worker of its own. A well-behaved client in a
process of its own asks for a key and for `/health` first in quiet, then beside the attack.
"""

import argparse
import json
import sys
from pathlib import Path

from tests.attacks.rows import ROWS, Row
from tests.attacks.run import MEBIBYTE, Found, run

_BUSY = 0.5
"""A gateway that is kept from its core for longer is slow, whatever it does. Its nats-server, which
shares that core, takes up to a third of it."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="make attacks", description=__doc__)
    parser.add_argument(
        "--row", action="append", metavar="NAME", help="this row, or all that begin so; repeatable"
    )
    parser.add_argument("--list", action="store_true", help="name the rows, and stop")
    parser.add_argument("--seconds", type=float, default=5, help="of each attack [5]")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there, too")
    options = parser.parse_args()
    rows = [row for row in ROWS if not options.row or row.name.startswith(tuple(options.row))]
    if not rows:
        parser.error(f"no such row; there are {', '.join(row.name for row in ROWS)}")
    if options.list:
        for row in ROWS:
            print(f"{row.name:<18}{row.title}; {bar(row)}")
        return 0
    found = []
    for number, row in enumerate(rows, 1):

        def progress(what: str, row: Row = row, number: int = number) -> None:
            print(f"[{number}/{len(rows)}] {row.name}: {what}", file=sys.stderr, flush=True)

        found.append(run(row, options.seconds, progress))
        progress("met" if found[-1].met else "; ".join(found[-1].wrong))
        if options.json:
            figures = [each.figures() for each in found]
            options.json.write_text(json.dumps(figures, indent=1) + "\n")
    print("\n".join(table(found)))
    return 0 if all(each.met for each in found) else 1


def bar(row: Row) -> str:
    """Return what has to hold beside a row, as text."""
    parts = ["served" if row.p99 is None else f"p99 under {row.p99 * 1000:.0f} ms"]
    if row.memory is not None:
        parts.append(f"+ {row.memory / MEBIBYTE:.0f} MiB at most")
    return ", ".join(parts)


def table(found: list[Found]) -> list[str]:
    lines = [
        "| Attack | bar | GET p99, quiet ms | GET p99 ms | `/health` p99 ms | PUTs served | "
        "memory | waited for a core | attackers got | |",
        "|---|---|---:|---:|---:|---:|---:|---:|---|---|",
    ]
    for each in found:
        beside = each.beside
        puts = beside.put.outcomes
        lines.append(
            f"| {each.row.title} | {bar(each.row)} | {each.quiet.get.part(99) * 1000:.1f} "
            f"| {beside.get.part(99) * 1000:.1f} | {beside.health.part(99) * 1000:.1f} "
            f"| {puts['200']} of {puts.total()} | + {each.grown / MEBIBYTE:.1f} MiB "
            f"| {each.kept_waiting:.0%} "
            f"| {each.tally} | {'met' if each.met else 'MISSED: ' + '; '.join(each.wrong)} |"
        )
    late = max(each.beside.late.part(99) for each in found)
    lines += ["", f"The measuring client itself was late by {late * 1000:.1f} ms at most (p99)."]
    if any(each.kept_waiting > _BUSY for each in found):
        lines.append("The machine was busy with other things: times say little of the gateway.")
    return lines


if __name__ == "__main__":
    sys.exit(main())
