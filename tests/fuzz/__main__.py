"""`make fuzz`: let atheris search each target for a while, guided by the code that it reaches.

A target that fails leaves its input in the folder `.fuzz`, and the end says so.
"""

import argparse
import subprocess
import sys
from pathlib import Path

FOLDER = Path(".fuzz")


def main() -> int:
    parser = argparse.ArgumentParser(prog="make fuzz", description=__doc__)
    parser.add_argument("--seconds", type=int, default=30, help="for each target [30]")
    parser.add_argument("--target", action="append", help="repeatable")
    parser.add_argument("--run", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.run:
        return _run(options.run, options.seconds)
    from tests.fuzz.targets import TARGETS  # in another process, atheris has to come before it

    failed = []
    for name in options.target or TARGETS:
        command = [sys.executable, "-m", "tests.fuzz", "--run", name]
        done = subprocess.run(
            [*command, "--seconds", str(options.seconds)], capture_output=True, check=False
        )
        lines = done.stderr.decode(errors="replace").splitlines()
        runs = [line for line in lines if line.startswith("Done ")]
        print(f"{name}: {runs[-1] if runs else 'failed'}", flush=True)
        if done.returncode:
            failed.append(name)
            print("\n".join(lines[-25:]))
    return 1 if failed else 0


def _run(name: str, seconds: int) -> int:
    """Fuzz one target. atheris ends the process."""
    import atheris  # only `make fuzz` installs it

    with atheris.instrument_imports(include=["jetkv_gateway"]):
        from tests.fuzz.targets import SEEDS, TARGETS

    corpus = FOLDER / name
    corpus.mkdir(parents=True, exist_ok=True)
    for number, seed in enumerate(SEEDS[name]):
        (corpus / f"seed-{number}").write_bytes(seed)
    arguments = [
        f"-max_total_time={seconds}",
        f"-artifact_prefix={FOLDER}/{name}-",
        "-max_len=2048",
        "-timeout=5",
        "-rss_limit_mb=1024",
    ]
    atheris.Setup([sys.argv[0], *arguments, str(corpus)], TARGETS[name])
    atheris.Fuzz()
    return 0


if __name__ == "__main__":
    sys.exit(main())
