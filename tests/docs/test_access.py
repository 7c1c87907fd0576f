"""The commands of docs/access.md, as somebody who pastes them sees them."""

import re
import shlex

import pytest
from typer.testing import CliRunner

from jetkv.testing import LocalNats
from jetkv_gateway.commands.token import app
from tests.docs.test_examples import ROOT, blocks


def test_the_commands_for_tokens_work_and_can_be_pasted_again(
    own_nats: LocalNats, monkeypatch: pytest.MonkeyPatch
) -> None:
    own_nats.start()
    monkeypatch.setenv("JETKV_NATS_URL", own_nats.url)
    lines = "".join(blocks(ROOT / "docs" / "access.md", "sh")).splitlines()
    commands = [line for line in lines if line.startswith("jetkv token ")]
    assert len(commands) == 6
    for command in commands * 2:
        words = shlex.split(command.partition(" > ")[0], comments=True)[2:]
        result = CliRunner().invoke(app, words)
        assert result.exit_code == 0, (command, result.output)
        if words[0] == "create":
            assert re.fullmatch(r"jkv_[0-9A-Za-z]{38}\n", result.output)


def test_the_table_names_every_command() -> None:
    page = (ROOT / "docs" / "access.md").read_text()
    named = set(re.findall(r"^\| `jetkv token (\w+)", page, re.MULTILINE))
    assert named == {command.name for command in app.registered_commands}
