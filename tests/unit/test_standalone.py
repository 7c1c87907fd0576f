"""Whose answer a direct read is, decided without a server."""

from typing import Any

import pytest

from jetkv_gateway.jetstream.standalone import ConnectedServer, DirectReadBackoff

INFO = {"server_name": "solo", "jetstream": True}


def connected_server(*infos: dict[str, Any]) -> ConnectedServer:
    found = ConnectedServer()
    for info in infos or (INFO,):
        found.update(info)
    return found


def stream(cluster: Any = None, **config: Any) -> dict[str, Any]:
    """What STREAM.INFO of a server that stands alone answers, but for what is given."""
    return {
        "config": {"allow_direct": True, "num_replicas": 1, **config},
        "cluster": {"leader": "solo"} if cluster is None else cluster,
    }


def test_a_server_without_a_cluster_leads_its_streams() -> None:
    assert connected_server().leads(stream())


@pytest.mark.parametrize(
    "info",
    [
        {"server_name": "solo", "jetstream": True, "cluster": "c"},
        {"server_name": "solo", "jetstream": True, "cluster": "solo"},
        {"server_name": "solo", "jetstream": False},
        {"server_name": "solo"},
        {"server_name": "", "jetstream": True},
        {"jetstream": True},
        {},
    ],
)
def test_a_server_that_does_not_say_that_it_is_alone_leads_nothing(info: dict[str, Any]) -> None:
    assert not connected_server(info).standalone
    assert not connected_server(info).leads(stream())


def test_a_connection_without_an_info_leads_nothing() -> None:
    assert not ConnectedServer().leads(stream())


@pytest.mark.parametrize(
    "later",
    [{**INFO, "cluster": "c"}, {**INFO, "server_name": "other"}, {**INFO, "jetstream": False}],
)
def test_what_a_later_info_says_ends_it_for_good(later: dict[str, Any]) -> None:
    found = connected_server(INFO, INFO)
    assert found.standalone
    found.update(later)
    assert not found.standalone
    found.update(INFO)
    assert not found.standalone


@pytest.mark.parametrize(
    "answer",
    [
        stream({"leader": "hub"}),
        stream({"leader": "solo", "name": "c"}),
        stream({"leader": "solo", "replicas": [{"name": "n1"}]}),
        stream({}),
        stream(num_replicas=3),
        stream(allow_direct=False),
        stream(allow_direct=None),
        stream(mirror={"name": "KV_origin"}),
        {"config": {"allow_direct": True, "num_replicas": 1}},
    ],
)
def test_a_stream_that_may_have_another_leader_is_not_led(answer: dict[str, Any]) -> None:
    assert not connected_server().leads(answer)


def test_a_stream_rests_after_a_failure_and_only_that_stream() -> None:
    backoff = DirectReadBackoff()
    backoff.failed("s", 100)
    assert backoff.blocks("s", 109)
    assert not backoff.blocks("s", 111)
    assert not backoff.blocks("other", 101)


def test_each_failure_in_a_row_makes_the_rest_longer_up_to_a_bound() -> None:
    backoff, now, lengths = DirectReadBackoff(), 0.0, []
    for _ in range(9):
        backoff.failed("s", now)
        until, seconds = backoff.streams["s"]
        lengths.append(seconds)
        now = until
    assert lengths == [10, 20, 40, 80, 160, 320, 600, 600, 600]


def test_failures_of_reads_that_were_on_their_way_together_count_once() -> None:
    backoff = DirectReadBackoff()
    for _ in range(50):
        backoff.failed("s", 100)
    assert backoff.streams == {"s": (110, 10)}


def test_an_answer_ends_what_was_remembered() -> None:
    backoff = DirectReadBackoff()
    backoff.failed("s", 0)
    backoff.worked("s")
    backoff.failed("s", 20)
    assert backoff.streams == {"s": (30, 10)}


def test_what_is_remembered_has_a_bound() -> None:
    backoff = DirectReadBackoff()
    for number in range(5000):
        backoff.failed(f"s{number}", number)
    assert len(backoff.streams) == 4096
