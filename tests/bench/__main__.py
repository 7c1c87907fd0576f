"""`python -m tests.bench`: run all scenarios side by side and print figures and the bars.

Everything runs on this machine at the same time, load generator and nats-server included, so only
ratios within one run mean something. Rounds alternate between the servers, and medians are shown.
"""

import argparse
import platform
import sys
import tempfile
from pathlib import Path

from tests.bench import clients, fanout, keys, listings, load, overload, ratios, watch

Rows = list[tuple[str, str, str, bool]]


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="alternating rounds [3]")
    parser.add_argument("--seconds", type=float, default=3, help="of load in each [3]")
    parser.add_argument(
        "--only",
        choices=("all", "keys", "watch", "clients", "overload", "listings"),
        default="all",
        help="keys: single keys and the ratios; the others: these alone [all]",
    )
    parser.add_argument(
        "--quick", action="store_true", help="the table of ratios alone, in a few minutes"
    )
    parser.add_argument(
        "--no-bar", action="store_true", help="end with 0 even where a bar is missed"
    )
    options = parser.parse_args()
    only, rounds, seconds = options.only, options.rounds, options.seconds
    lines, met = [headline(rounds, seconds)], True

    def add(heading: str, tables: list[str], rows: Rows) -> None:
        nonlocal met
        lines.extend(["", *tables, "", *bar_table(heading, rows)])
        met = met and all(row[-1] for row in rows)

    with tempfile.TemporaryDirectory(prefix="jetkv-bench-") as name:
        folder = Path(name)
        watched = None
        if not options.quick and only in ("all", "watch"):
            watched = watch.measure(folder, rounds, seconds, progress)
            add("Bar (watch)", watch.tables(watched), watch.bar(watched))
        if options.quick or only in ("all", "keys"):
            scenarios = keys.BAR if options.quick else keys.ALL
            figures = keys.measure(
                folder, scenarios, rounds, seconds, progress, quick=options.quick
            )
            if not options.quick:
                lines += ["", *keys.tables(figures)]
            if watched is not None:
                frames = watched.frames
            else:
                frames = fanout.measure(folder, rounds, seconds, progress)
            reached = ratios.ratios(figures, frames)
            lines += ["", *ratios.table(reached)]
            met = met and all(ratio.met for ratio in reached)
        if not options.quick and only in ("all", "clients"):
            called = clients.measure(folder, rounds, progress)
            add("Bar (clients)", clients.tables(called), clients.bar(called))
        if not options.quick and only in ("all", "overload"):
            loaded = overload.measure(folder, rounds, seconds, progress)
            add("Bar (overload)", overload.tables(loaded), overload.bar(loaded))
        if not options.quick and only in ("all", "listings"):
            listed = listings.measure(folder, rounds, seconds, progress)
            add("Bar (many keys)", listings.tables(listed), listings.bar(listed))
    progress("")
    print("\n".join(lines))
    return 0 if met or options.no_bar else 1


def progress(text: str) -> None:
    if sys.stderr.isatty():
        print(f"\r\x1b[K{text}", end="", file=sys.stderr, flush=True)
    elif text:
        print(text, file=sys.stderr, flush=True)


def headline(rounds: int, seconds: float) -> str:
    return (
        f"{platform.machine()}, Python {platform.python_version()} of {sys.base_prefix}, "
        f"load by {load.generator()}; "
        f"medians of {rounds} alternating rounds of {seconds:g} s"
    )


def bar_table(heading: str, rows: Rows) -> list[str]:
    lines = [f"| {heading} | wanted | reached | |", "|---|---:|---:|---|"]
    for text, wanted, reached, met in rows:
        lines.append(f"| {text} | {wanted} | {reached} | {'met' if met else 'MISSED'} |")
    return lines


if __name__ == "__main__":
    sys.exit(main())
