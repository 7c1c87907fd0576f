"""A real nats-server beside the gateway, for `jetkv dev` and for tests."""

from jetkv_gateway.embedded.process import Process, die_with_parent
from jetkv_gateway.embedded.server import NatsServer, NatsServerError, find_nats_server

__all__ = ["NatsServer", "NatsServerError", "Process", "die_with_parent", "find_nats_server"]
