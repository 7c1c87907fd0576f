"""Another configuration for a nats-server that runs: what SIGHUP does."""

import os
import signal
from pathlib import Path

from jetkv_gateway.embedded import NatsServer
from tests.support.waiting import until

_DONE = "Reloaded server configuration"


def reload(server: NatsServer, data_dir: Path, old: str, new: str) -> None:
    """Replace a part of its configuration; return when that is in force, for connections too."""
    config, log = data_dir / "nats-server.conf", data_dir / "nats-server.log"
    text = config.read_text()
    assert old in text
    config.write_text(text.replace(old, new))
    before = log.read_text().count(_DONE)
    pid = server.pid
    assert pid is not None
    os.kill(pid, signal.SIGHUP)
    until(lambda: log.read_text().count(_DONE) > before, "the server has its new configuration")
