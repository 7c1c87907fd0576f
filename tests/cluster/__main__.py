"""`python -m tests.cluster`: faults for as long as one likes, or one stored history again."""

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.cluster.checks import breaches
from tests.cluster.faults import FAULTS, Fault, named
from tests.cluster.history import load
from tests.cluster.nodes import running_nodes
from tests.cluster.report import judge, lines, verdict
from tests.cluster.run import run

_FAULTS_OF_A_RUN = 3


async def soak(minutes: float, seed: int, only: list[Fault]) -> bool:
    """Run after run, each with a few faults and a seed of its own; whether all were good."""
    end = time.monotonic() + minutes * 60
    seeds = random.Random(seed)
    good = True
    struck: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="jetkv-cluster-") as folder:
        async with running_nodes(Path(folder)) as nodes:
            while not struck or time.monotonic() < end:
                own = seed if not struck else seeds.randrange(2**32)
                chance = random.Random(own)
                faults = only or [chance.choice(FAULTS) for _ in range(_FAULTS_OF_A_RUN)]
                print(f"seed {own}: {', '.join(fault.name for fault in faults)}", flush=True)
                history = await run(nodes, faults, own)
                good = judge(history) and good
                struck.update(fault.name for fault in faults)
                sys.stdout.flush()
    for name, count in sorted(struck.items()):
        print(f"{count:4} × {name}")
    return good


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.cluster")
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    parser.add_argument("--fault", action="append", type=named, default=[])
    commands = parser.add_subparsers(dest="command")
    check = commands.add_parser("check", help="check a stored history again")
    check.add_argument("file", type=Path)
    options = parser.parse_args()
    if options.command == "check":
        history = load(options.file)
        print("\n".join(lines(history)))
        found = breaches(history)
        print("\n".join(verdict(found)) or "no breaches")
        return 1 if found else 0
    return 0 if asyncio.run(soak(options.minutes, options.seed, options.fault)) else 1


if __name__ == "__main__":
    sys.exit(main())
