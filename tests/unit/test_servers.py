"""Addresses of NATS, and the list of those that are tried."""

import pytest

from jetkv_gateway.jetstream.servers import Login, Server, Servers, parse_server


@pytest.mark.parametrize(
    ("address", "url", "login"),
    [
        ("localhost", "nats://localhost:4222", Login()),
        ("localhost:1", "nats://localhost:1", Login()),
        ("nats://localhost:1/", "nats://localhost:1", Login()),
        ("tls://h", "tls://h:4222", Login()),
        ("ws://h", "ws://h:80", Login()),
        ("wss://h/nats", "wss://h:443/nats", Login()),
        ("nats://[::1]:1", "nats://[::1]:1", Login()),
        ("nats://u:p@h", "nats://h:4222", Login("u", "p")),
        ("u:p@h", "nats://h:4222", Login("u", "p")),
        ("nats://u:@h", "nats://h:4222", Login("u", "")),
        ("nats://t@h", "nats://h:4222", Login(token="t")),
        ("nats://u%40x:p%2F%3a%25@h", "nats://h:4222", Login("u@x", "p/:%")),
        ("nats://t%2Bt@h", "nats://h:4222", Login(token="t+t")),
        ("nats://u:100%@h", "nats://h:4222", Login("u", "100%")),
        ("nats://u:a+b@h", "nats://h:4222", Login("u", "a+b")),
        ("nats://u:a@b@h", "nats://h:4222", Login("u", "a@b")),
    ],
)
def test_an_address_has_scheme_place_and_a_decoded_login(
    address: str, url: str, login: Login
) -> None:
    server = parse_server(address)
    assert (server.url, server.login) == (url, login)


@pytest.mark.parametrize(
    "address",
    [
        "http://u:secret@h",
        "nats://u:secret@",
        "nats://u:secret@h:port",
        "nats://u:secret@h:70000",
        "nats://u:secret#x@h",
        "nats://u:secret?x@h",
        "nats://u:secret/x@h",
        "nats://u:secret@[::1",
        "nats://u:secret@h/path",
    ],
)
def test_what_is_no_address_is_refused_without_a_word_of_its_login(address: str) -> None:
    with pytest.raises(ValueError, match=r"not an address|must start with") as refused:
        parse_server(address)
    assert "secret" not in str(refused.value)


def servers(*given: str, name: str | None = None) -> Servers:
    return Servers(given, certificate_name=name, secure=False)


def turns(servers: Servers, count: int) -> list[str]:
    return [servers.next().place for _ in range(count)]


def test_servers_take_turns() -> None:
    assert turns(servers("a:1", "b:1", "c:1"), 5) == ["a:1", "b:1", "c:1", "a:1", "b:1"]


def test_those_that_a_server_names_come_before_it_comes_again() -> None:
    known = servers("a:1")
    source = known.next()
    known.learn(source, ["a:1", "10.0.0.2:1", "10.0.0.3:1"])
    assert len(known) == 3
    assert set(turns(known, 2)) == {"10.0.0.2:1", "10.0.0.3:1"}
    assert turns(known, 1) == ["a:1"]


def test_a_learned_server_inherits_scheme_and_login_from_the_one_that_named_it() -> None:
    known = servers("tls://u:p@a:1", "tls://b:1")
    source = known.next()
    known.learn(source, ["10.0.0.2:1"])
    learned = _learned(known, 1)
    assert (learned.url, learned.login) == ("tls://10.0.0.2:1", Login("u", "p"))
    known.learn(learned, ["10.0.0.2:1", "10.0.0.3:1"])
    assert _learned(known, 1, but=learned).login == Login("u", "p")


@pytest.mark.parametrize("scheme", ["ws", "wss"])
def test_a_member_that_a_websocket_names_is_a_websocket(scheme: str) -> None:
    known = servers(f"{scheme}://a:1")
    known.learn(known.next(), ["10.0.0.2:8080"])
    assert _learned(known, 1).url == f"{scheme}://10.0.0.2:8080"


@pytest.mark.parametrize(
    ("given", "place", "setting", "names"),
    [
        ("tls://a:1", "10.0.0.2:1", None, ["a", "10.0.0.2"]),
        ("tls://a:1", "b:1", None, ["b"]),
        ("tls://10.0.0.1:1", "10.0.0.2:1", None, ["10.0.0.2", "10.0.0.1"]),
        ("tls://a:1", "10.0.0.2:1", "x", ["x"]),
        ("tls://a:1", "[fd00::2]:1", None, ["a", "fd00::2"]),
    ],
)
def test_an_ip_address_may_show_the_certificate_of_the_name_that_led_to_it(
    given: str, place: str, setting: str | None, names: list[str]
) -> None:
    known = servers(given, name=setting)
    known.learn(known.next(), [place])
    assert _learned(known, 1).names == names


def test_names_are_handed_down_and_tried_in_turn() -> None:
    known = servers("tls://a:1")
    known.learn(known.next(), ["10.0.0.2:1"])
    first = _learned(known, 1)
    known.learn(first, ["10.0.0.2:1", "10.0.0.3:1"])
    second = _learned(known, 1, but=first)
    assert second.names == ["a", "10.0.0.3"]
    second.try_another_name()
    assert second.names == ["10.0.0.3", "a"]


def test_a_member_that_is_named_no_more_is_forgotten_unless_it_is_of_the_settings() -> None:
    known = servers("a:1", "b:1")
    source = known.next()
    known.learn(source, ["a:1", "b:1", "c:1", "d:1"])
    known.learn(source, ["d:1"])
    assert set(turns(known, 3)) == {"a:1", "b:1", "d:1"}


def test_the_server_of_the_connection_stays_though_it_does_not_name_itself() -> None:
    known = servers("a:1")
    known.learn(known.next(), ["c:1"])
    source = _learned(known, 1)
    known.learn(source, ["d:1"])
    assert source in known


def test_what_is_no_address_is_not_learned() -> None:
    known = servers("a:1")
    known.learn(known.next(), ["", ":", "x:y", "h:1/../x", "u:p@h:1", "[::1"])
    assert len(known) == 1


def test_a_member_is_known_however_its_name_is_written() -> None:
    known = servers("a:1")
    source = known.next()
    for _ in range(2):
        known.learn(source, ["HOST.example:1", "A:1"])
    assert len(known) == 2


def test_one_secure_address_makes_all_of_them_secure() -> None:
    assert servers("nats://a:1", "tls://b:1").secure
    assert servers("wss://a:1").secure
    assert not servers("nats://a:1", "ws://b:1").secure


def _learned(known: Servers, count: int, but: Server | None = None) -> Server:
    found = [server for server in known._all if not server.given and server is not but]
    assert len(found) == count
    return found[0]
