"""Addresses of NATS: a command starts a gateway for itself, and ends it."""

import os
import subprocess
import sys
from pathlib import Path

import nats as nats_py
import pytest

from jetkv.cli.exits import Exit
from jetkv.testing import LocalNats
from jetkv_gateway.commands.private import private_gateway
from tests.cli.data import PROGRAM, Cli
from tests.support.ports import free_port
from tests.support.waiting import until


@pytest.fixture
def other(tmp_path: Path):
    """Another NATS, with a login."""
    login = 'authorization { user: "ada", password: "s3cret" }'
    with LocalNats(tmp_path / "other", config=login) as nats:
        yield nats


def processes_of(text: str) -> list[int]:
    """Return the processes whose environment has a text."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            try:
                if text.encode() in (folder / "environ").read_bytes():
                    found.append(int(folder.name))
            except OSError:
                continue  # it has ended, or is somebody else's
    return found


async def test_a_command_works_on_a_bucket_that_a_client_of_nats_made(nats: LocalNats) -> None:
    client = await nats_py.connect(nats.url)
    try:
        bucket = await client.jetstream().create_key_value(bucket="native-cli")
        await bucket.put("greeting", b"hello")
        cli = Cli(nats.url)
        assert cli("kv", "get", "native-cli", "greeting").out == b"hello"
        cli("kv", "put", "native-cli", "greeting", "bye")
        assert (await bucket.get("greeting")).value == b"bye"
    finally:
        await client.jetstream().delete_key_value("native-cli")
        await client.close()


def test_a_copy_goes_from_a_gateway_to_a_nats_without_one(
    cli: Cli, make_bucket, other: LocalNats
) -> None:
    source = make_bucket()
    source.put("odd key / ü", b"\x00\x01")
    target = other.url.replace("://", "://ada:s3cret@")
    there = Cli(target)
    there("bucket", "create", "copied")
    cli("copy", source.name, "copied", "--to-url", target)
    assert there("kv", "get", "copied", "odd key / ü").out == b"\x00\x01"


def test_the_gateway_ends_with_its_command(other: LocalNats) -> None:
    url = other.url.replace("://", "://ada:s3cret@")
    Cli(url)("bucket", "ls")
    assert processes_of(f"JETKV_NATS_URL={url}") == []


def test_the_gateway_ends_with_a_command_that_is_killed(other: LocalNats) -> None:
    url = other.url.replace("://", "://ada:s3cret@")
    Cli(url)("bucket", "create", "watched")
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "kv", "watch", "watched", "--url", url],
        stdout=subprocess.DEVNULL,
    )
    try:
        until(lambda: processes_of(f"JETKV_NATS_URL={url}"), "the gateway has started")
    finally:
        process.kill()
        process.wait()
    until(lambda: not processes_of(f"JETKV_NATS_URL={url}"), "the gateway has ended")


def test_nobody_else_can_use_the_gateway(nats: LocalNats) -> None:
    with private_gateway(nats.url) as (url, token):
        code, line = Cli(url).fails("bucket", "ls")
        assert code == Exit.DENIED
        assert token not in line


def test_a_nats_that_is_not_there_is_unavailable() -> None:
    code, line = Cli(f"nats://127.0.0.1:{free_port()}").fails("bucket", "ls")
    assert (code, "Connection refused" in line) == (Exit.UNAVAILABLE, True), line


def test_a_login_that_nats_refuses_is_said(other: LocalNats) -> None:
    code, line = Cli(other.url.replace("://", "://ada:wrong@")).fails("bucket", "ls")
    assert (code, "wrong" in line) == (Exit.UNAVAILABLE, False), line


def test_an_address_of_nats_without_a_host_is_wrong_usage() -> None:
    code, line = Cli("nats://").fails("bucket", "ls")
    assert (code, "is not an address" in line) == (Exit.USAGE, True), line
