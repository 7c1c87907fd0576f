"""Decides whether a direct read is as fresh as a read of the leader. Pure.

A direct read (`DIRECT.GET`) returns raw bytes and costs the server less than a read through the
JSON API, but any replica of the stream may answer it. A standalone server has the only replica, so
it answers with the leader's state, which includes every acknowledged write. The number of replicas
alone proves nothing: a cluster can move a stream with one replica or add a replica to it, and
during that time two servers answer.

The rules below depend on these facts, measured with nats-server 2.10.25, 2.12.8 and 2.15.1 (see
also docs/nats.md):

- A server outside a cluster cannot hold a second replica: 2.15 refuses one (10074), and older
  versions accept the number in a stream update without any effect. So no change by others can add a
  replica while the gateway remembers a stream.
- The INFO of such a server has no `cluster`. A reload that adds a cluster with a port, or a
  gateway, is refused as a whole, so it takes a restart, which ends the connection. A reload that
  adds only a cluster name is accepted and sends no INFO, but no other server can join.
- STREAM.INFO still has a `cluster` there, with the server's own name as `leader` and nothing else.
  In a real cluster it also has a `name`, even for a single replica.
- A server that connects to others as a leaf node has a `cluster` in its INFO, named like itself. So
  it does not count as standalone, even where it could extend the JetStream of its hub. A server
  that accepts leaf nodes counts as standalone, and so does one that 2.15 turned into a leaf node by
  a reload. The stream may be on another server then, but its leader has another name.
"""

from collections.abc import Mapping
from typing import Any

__all__ = ["ConnectedServer", "DirectReadBackoff"]

_FIRST_BLOCK_SECONDS = 10.0
_LONGEST_BLOCK_SECONDS = 600.0
_KEPT = 4096


class ConnectedServer:
    """What the server of one connection says about itself. Create one for each connection.

    Compare instances by identity: facts about a stream from another connection do not count.

    Attributes:
        standalone: whether the server has JetStream and no cluster, by every INFO so far.
        backoff: streams that must not be read directly for now.
    """

    __slots__ = ("_name", "_not_standalone", "backoff", "standalone")

    def __init__(self) -> None:
        self.standalone = False
        self.backoff = DirectReadBackoff()
        self._name: object = None
        self._not_standalone = False

    def update(self, info: Mapping[str, Any]) -> None:
        """Process the first or a later INFO. A server that stopped being standalone stays so."""
        name = info.get("server_name", self._name)
        if self._name is None:
            self._name = name
        alone = not info.get("cluster") and info.get("jetstream") is True
        self._not_standalone |= not alone or not name or name != self._name
        self.standalone = not self._not_standalone

    def leads(self, stream: Mapping[str, Any]) -> bool:
        """Return whether this server answers direct reads of a stream as its leader.

        Args:
            stream: the reply to STREAM.INFO on this connection.
        """
        config, cluster = stream["config"], stream.get("cluster") or {}
        return (
            self.standalone
            and cluster.get("leader") == self._name
            and not cluster.get("name")
            and not cluster.get("replicas")
            and config.get("num_replicas", 1) == 1
            and config.get("allow_direct") is True
            and not config.get("mirror")
        )


class DirectReadBackoff:
    """Streams whose direct reads failed. Reads of them go to the leader for a while.

    Each failure in a row doubles the time.

    Attributes:
        streams: stream → the time until which it is blocked, and the length of this block in
            seconds.
    """

    __slots__ = ("streams",)

    def __init__(self) -> None:
        self.streams: dict[str, tuple[float, float]] = {}

    def blocks(self, stream: str, now: float) -> bool:
        """Return whether a stream must not be read directly now.

        Args:
            now: the time of the event loop, in seconds.
        """
        return stream in self.streams and now < self.streams[stream][0]

    def failed(self, stream: str, now: float) -> None:
        """Record that a direct read of a stream failed."""
        until, seconds = self.streams.pop(stream, (now, 0.0))
        if now < until:
            self.streams[stream] = until, seconds  # this read began before the block
            return
        if len(self.streams) >= _KEPT:
            del self.streams[next(iter(self.streams))]
        seconds = min(seconds * 2, _LONGEST_BLOCK_SECONDS) or _FIRST_BLOCK_SECONDS
        self.streams[stream] = now + seconds, seconds

    def worked(self, stream: str) -> None:
        """Record that a direct read of a stream succeeded."""
        self.streams.pop(stream, None)
