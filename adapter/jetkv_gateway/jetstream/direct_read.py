"""How to read from a bucket directly; `direct` decides it."""

from dataclasses import dataclass

from jetkv_gateway.jetstream.credits import CreditRequest
from jetkv_gateway.jetstream.names import BucketNames
from jetkv_gateway.jetstream.requests import Multiplexer
from jetkv_gateway.jetstream.standalone import ConnectedServer
from jetkv_gateway.kv.model import Consistency

__all__ = ["DirectRead"]


@dataclass(slots=True, eq=False)
class DirectRead:
    """How to read from a bucket directly, and how to judge the answer.

    Attributes:
        bucket: the names of the bucket.
        credit: the credit to acquire.
        mux: the multiplexer to ask.
        timeout: seconds to wait for the answer.
        server: the server whose direct reads are leader reads; None if any server may answer.
        blocked: the streams that must not be read directly from that server for now; see
            `DirectReadBackoff.streams`.
        consistency: the consistency of the answer.
        era: the connection's `era` for which this holds.
    """

    bucket: BucketNames
    credit: CreditRequest
    mux: Multiplexer
    timeout: float
    server: ConnectedServer | None
    blocked: dict[str, tuple[float, float]]
    consistency: Consistency
    era: object
