"""The clock that all connections of a server share."""

from jetkv_gateway.app import factory, server_options
from jetkv_gateway.auth.authenticator import NoAuth
from jetkv_gateway.serving.server import GatewayServer, config_for
from jetkv_gateway.settings import load


class Connection:
    def __init__(self, all_of_them: set[object]) -> None:
        self._all = all_of_them
        self.times: list[float] = []

    def tick(self, now: float) -> None:
        self.times.append(now)
        if now >= 2:
            self._all.clear()


def test_each_connection_is_told_the_time_once_a_second_and_may_end_then() -> None:
    settings = load({"auth": "off"}, None)
    options = server_options(settings)
    server = GatewayServer(config_for(factory(settings, NoAuth()), options), lambda: None)
    connections: set[object] = server.server_state.connections
    one, other = Connection(connections), Connection(connections)
    connections.update((one, other, object()))
    for now in (0.0, 0.5, 0.99, 1.0, 1.5, 2.0, 2.5, 3.0):
        server.tick(now)
    assert one.times == other.times == [0.0, 1.0, 2.0]


class Broken:
    """One that has a defect."""

    def __init__(self) -> None:
        self.transport = self
        self.aborted = False

    def tick(self, now: float) -> None:
        raise RuntimeError(now)

    def abort(self) -> None:
        self.aborted = True


def test_a_connection_with_a_defect_ends_alone() -> None:
    settings = load({"auth": "off"}, None)
    server = GatewayServer(
        config_for(factory(settings, NoAuth()), server_options(settings)), lambda: None
    )
    connections: set[object] = server.server_state.connections
    broken = [Broken(), Broken()]
    connections.update(broken)
    server.tick(0.0)
    assert [one.aborted for one in broken] == [True, True]
