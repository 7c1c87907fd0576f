"""What shells complete of `jetkv`."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from jetkv.cli.completion_scripts import Shell, prepare, script
from tests.cli.data import PROGRAM, Cli
from tests.support.http import Bucket
from tests.support.ports import free_port

DANGEROUS = ["$(touch ran)", "`touch ran`", "'; touch ran; '", '"; touch ran; "']

ASK = {
    "bash": 'COMP_LINE=$1; COMP_POINT=${#1}; _jetkv; printf "%s\\n" "${COMPREPLY[@]}"',
    "zsh": """
        compadd() { shift 4; print -rl -- "${(@P)1}"; }
        words=("${(@Q)${(z)1}}"); [[ $1 == *" " ]] && words+=(""); CURRENT=$#words; _jetkv""",
    "fish": "complete --do-complete $argv[1] | string replace --regex '\\t.*' ''",
}


class Complete:
    """Completes lines in a shell, in which `jetkv` is the one under test."""

    def __init__(self, cli: Cli, folder: Path, shell: str) -> None:
        self.cli, self.folder, self.shell = cli, folder, shell
        program = folder / "jetkv"
        program.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{PROGRAM}' \"$@\"\n")
        program.chmod(0o700)

    def __call__(self, line: str) -> list[str]:
        arguments = ["-f"] if self.shell == "zsh" else []
        prepared = "compdef() { :; }\n" if self.shell == "zsh" else ""
        text = f"{prepared}{script(Shell(self.shell))}\n{ASK[self.shell]}"
        words = [line] if self.shell == "fish" else ["-", line]
        environment = {
            "PATH": f"{self.folder}:/usr/bin:/bin",
            "HOME": str(self.folder),
            "JETKV_URL": self.cli.environment["JETKV_URL"] or "",
        }
        done = subprocess.run(
            [self.shell, *arguments, "-c", text, *words],
            env=environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.stderr == ""
        return [found for found in done.stdout.split("\n") if found]


@pytest.fixture(params=["bash", "zsh", "fish"])
def complete(request: pytest.FixtureRequest, cli: Cli, tmp_path: Path) -> Complete:
    if shutil.which(request.param) is None:
        pytest.skip(f"needs {request.param}; .ci/run installs it")
    return Complete(cli, tmp_path, request.param)


def test_a_shell_completes_keys_and_runs_none_of_them(complete: Complete, bucket: Bucket) -> None:
    for key in ("user:1", *DANGEROUS):
        bucket.put(key, b"v")
    found = complete(f"jetkv kv get {bucket.name} ")
    assert len(found) == 1 + len(DANGEROUS)
    assert "user:1" in found
    assert not (complete.folder / "ran").exists()


def test_bash_quotes_what_it_inserts_behind_the_last_colon(
    cli: Cli, bucket: Bucket, tmp_path: Path
) -> None:
    complete = Complete(cli, tmp_path, "bash")
    for key in ("u:a b", "u:a$HOME"):
        bucket.put(key, b"v")
    assert complete(f"jetkv kv get {bucket.name} u:a") == ["a\\ b", "a\\$HOME"]


def candidates(cli: Cli, line: str) -> list[str]:
    """Return what a shell is told."""
    cli.environment |= {
        "_JETKV_COMPLETE": "complete_fish",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        "_TYPER_COMPLETE_ARGS": line,
    }
    prepare()
    return [found.partition("\t")[0] for found in cli.try_().lines if found]


def test_commands_options_buckets_keys_and_profiles_are_candidates(
    cli: Cli, bucket: Bucket, tmp_path: Path
) -> None:
    for key in ("user:1", "user:2", "x"):
        bucket.put(key, b"v")
    profiles = tmp_path / "config" / "jetkv" / "profiles.toml"
    profiles.parent.mkdir(parents=True)
    profiles.write_text("[profiles.prod]\nurl = 'http://u'\n")
    assert candidates(cli, "jetkv bucket inf") == ["info"]
    assert candidates(cli, "jetkv kv get --rev") == ["--revision"]
    assert candidates(cli, f"jetkv kv get {bucket.name[:-1]}") == [bucket.name]
    assert candidates(cli, f"jetkv kv rm {bucket.name} x user:") == ["user:1", "user:2"]
    assert candidates(cli, f"jetkv kv ls --json {bucket.name} us") == ["user:1", "user:2"]
    assert candidates(cli, "jetkv kv get --profile p") == ["prod"]
    assert candidates(cli, "jetkv kv get --profile prod ") == []


def test_a_gateway_that_is_away_is_no_error(cli: Cli) -> None:
    cli.environment["JETKV_URL"] = f"http://127.0.0.1:{free_port()}"
    assert candidates(cli, "jetkv kv get u") == []


def test_the_command_prints_the_script(cli: Cli) -> None:
    for shell in Shell:
        assert cli("completion", shell).text == script(shell)
    assert cli.try_("completion", "csh").code == 2
