"""`jetkv serve` with an audit log."""

import json
import signal
from pathlib import Path

import pytest

from tests.cli.conftest import Serve
from tests.cli.workers import both_serve
from tests.support.http import Bucket
from tests.support.waiting import until


@pytest.mark.long
def test_two_workers_write_whole_lines_to_one_file_and_open_it_again(
    serve: Serve, tmp_path: Path, bucket: Bucket
) -> None:
    file = tmp_path / "audit.log"
    process, http = serve("--workers", "2", "--audit-log", str(file))
    both_serve(process, http)
    own = Bucket(http, bucket.name)
    for number in range(50):
        assert own.put(f"old-{number}").status == 200
    file.rename(tmp_path / "audit.log.1")
    process.popen.send_signal(signal.SIGHUP)
    until(file.exists, "it is opened again")
    for number in range(50):
        assert own.put(f"new-{number}").status == 200
    assert process.stop() == 0
    keys = [
        json.loads(line).get("key")
        for one in (tmp_path / "audit.log.1", file)
        for line in one.read_bytes().splitlines()
    ]
    assert {f"{age}-{n}" for age in ("old", "new") for n in range(50)} <= set(keys)


def test_the_standard_output_can_be_the_audit_log(serve: Serve, bucket: Bucket) -> None:
    process, http = serve("--audit-log", "-", "--audit-keys", "hash", "--no-audit-reads")
    Bucket(http, bucket.name).put("secret-key")
    process.wait_for('"verb":"write","bucket":"[^"]+","key_hash":"[0-9a-f]{32}"')
    assert process.stop() == 0
    assert "secret-key" not in process.output


def test_an_audit_log_that_cannot_be_opened_is_one_clear_line(finish, tmp_path: Path) -> None:
    file = tmp_path / "none" / "audit.log"
    arguments = ("--auth", "off", "--port", "0", "--workers", "2")
    code, output = finish("serve", *arguments, "--audit-log", str(file))
    assert code == 4
    assert output == f"jetkv: cannot open the audit log {file}: No such file or directory\n"
