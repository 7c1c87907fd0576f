"""A real nats-server beside the gateway, for `jetkv dev` and for tests."""

from jetkv_gateway.embedded.process import Process
from jetkv_gateway.embedded.server import NatsServer, NatsServerError, find_nats_server

__all__ = ["NatsServer", "NatsServerError", "Process", "find_nats_server"]
