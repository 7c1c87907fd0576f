"""Where a direct read is one of the leader, and when it is not tried. Pure.

A direct read (`DIRECT.GET`) answers with raw bytes and costs the server less than a read by JSON,
but any replica of a stream answers it. A server that stands alone has the one replica there is, so
what it answers is what the leader has: a write that it has acknowledged is in its store. It counts
as one by what it says of itself, not by the number of replicas: a stream of one replica in a
cluster can be moved, or be given more, and for that time two servers answer.

What was measured (2.10.25, 2.12.8 and 2.15.1), and what the rules lean on:

- A server without a cluster has no place for a second replica: 2.15 refuses one (10074), the older
  ones take the number in a change of a stream, and nothing comes of it. So no change that others
  make while we remember a stream can bring another replica.
- Its INFO has no `cluster`. A reload that adds one with a port is refused as a whole, as is one
  that adds a gateway; so it takes a restart, which ends the connection. A reload that adds the name
  of a cluster alone is taken and sends no INFO, but no server joins by that.
- Its STREAM.INFO has a `cluster` all the same: `leader`, which is its own name, and nothing else.
  In a real cluster there is a `name` as well, also for a single replica.
- A server that connects to others as a leaf node has a `cluster` in its INFO, named like itself. So
  it is none that stands alone, also where it could extend the JetStream of its hub. One that others
  connect to is, and so is one that 2.15 has made a leaf node by a reload. The stream can still be
  on another server: its leader has another name.
"""

from collections.abc import Mapping
from typing import Any

__all__ = ["ConnectedServer", "DirectReadBackoff"]

_FIRST_REST = 10.0
_LONGEST_REST = 600.0
_KEPT = 4096


class ConnectedServer:
    """What the server of one connection says of itself. Make one for each connection.

    So what was known of a stream on another connection counts for nothing: compare by identity.

    Attributes:
        standalone: whether it has JetStream and no cluster, by every INFO that has come so far.
        backoff: streams that are not to be read directly for now.
    """

    __slots__ = ("_name", "_not_standalone", "backoff", "standalone")

    def __init__(self) -> None:
        self.standalone = False
        self.backoff = DirectReadBackoff()
        self._name: object = None
        self._not_standalone = False

    def update(self, info: Mapping[str, Any]) -> None:
        """Take in an INFO, the first one or a later one; once it is not alone, it stays so."""
        name = info.get("server_name", self._name)
        if self._name is None:
            self._name = name
        alone = not info.get("cluster") and info.get("jetstream") is True
        self._not_standalone |= not alone or not name or name != self._name
        self.standalone = not self._not_standalone

    def leads(self, stream: Mapping[str, Any]) -> bool:
        """Return whether direct reads of a stream are answered here, and by its leader.

        Args:
            stream: the answer to STREAM.INFO, on this very connection.
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
    """Streams whose direct reads came to nothing, so that the leader is asked at once for a while.

    Each time in a row is twice as long as the one before.

    Attributes:
        streams: until when each of them rests, and for how many seconds in all.
    """

    __slots__ = ("streams",)

    def __init__(self) -> None:
        self.streams: dict[str, tuple[float, float]] = {}

    def blocks(self, stream: str, now: float) -> bool:
        """Return whether a stream is not to be asked directly now.

        Args:
            now: the time of the event loop, in seconds.
        """
        return stream in self.streams and now < self.streams[stream][0]

    def failed(self, stream: str, now: float) -> None:
        """Note that a direct read of a stream came to nothing."""
        until, seconds = self.streams.pop(stream, (now, 0.0))
        if now < until:
            self.streams[stream] = until, seconds  # asked before it began
            return
        if len(self.streams) >= _KEPT:
            del self.streams[next(iter(self.streams))]
        seconds = min(seconds * 2, _LONGEST_REST) or _FIRST_REST
        self.streams[stream] = now + seconds, seconds

    def worked(self, stream: str) -> None:
        """Note that a direct read of a stream was answered."""
        self.streams.pop(stream, None)
