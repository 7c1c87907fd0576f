"""A password in a file that changes while the gateway runs."""

import os
import signal
from pathlib import Path

from jetkv.testing import LocalNats
from tests.support.gateway import running_gateway
from tests.support.http import Bucket
from tests.support.waiting import until


def test_a_password_that_changes_in_its_file_is_used_for_the_next_connection(
    tmp_path: Path,
) -> None:
    secret = tmp_path / "password"
    secret.write_text("old\n")
    config = 'authorization { user: "gateway", password: "%s" }'
    with LocalNats(tmp_path / "nats", config=config % "old") as server:
        login = {"nats_user": "gateway", "nats_password_file": secret}
        with running_gateway(server.url, buckets="b", **login) as http:
            until(lambda: Bucket(http, "b").put("k", "v").status == 200, "it is connected")
            rendered = tmp_path / "nats" / "nats-server.conf"
            rendered.write_text(rendered.read_text().replace(config % "old", config % "new"))
            os.kill(server.pid, signal.SIGHUP)
            until(lambda: http.get("/ready").status == 503, "the old password is refused")
            secret.write_text("new\n")
            until(lambda: Bucket(http, "b").put("k", "v").status == 200, "it uses the new one")
