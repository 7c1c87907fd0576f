"""Which caller a connection and a request count for."""

from jetkv_gateway.kv.access import ANONYMOUS, Principal
from jetkv_gateway.serving.addresses import TrustedProxies
from jetkv_gateway.serving.callers import CallerOptions, Callers

PROXY = "10.0.0.1"


def callers(*proxies: str, **options: bool) -> Callers:
    return Callers(CallerOptions(TrustedProxies.parse(proxies), **options))


def test_callers_on_this_machine_have_no_limit_by_default() -> None:
    here = callers()
    assert [here.peer(one).account.limited for one in ("127.0.0.1", "::1", "127.9.9.9", "")] == [
        False
    ] * 4
    assert here.peer("192.0.2.1").account.limited


def test_callers_on_this_machine_have_a_share_where_a_setting_says_so() -> None:
    here = callers(limit_loopback=True)
    one, other = here.peer("127.0.0.1"), here.peer("127.0.0.2")
    assert one.account.limited
    assert one.account is not other.account
    assert one.account is here.peer("127.0.0.1").account


def test_a_proxy_has_any_number_of_connections_and_its_callers_have_a_share() -> None:
    here = callers(PROXY)
    proxy = here.peer(PROXY)
    assert not proxy.account.limited
    caller, account = here.forwarded(proxy, {b"x-forwarded-for": b"192.0.2.1"}, "http")
    assert caller == ("192.0.2.1", "http")
    assert account is here.peer("192.0.2.1").account


def test_a_caller_that_a_proxy_names_as_this_machine_has_a_share() -> None:
    here = callers("127.0.0.1")
    proxy = here.peer("127.0.0.1")
    assert here.forwarded(proxy, {b"x-forwarded-for": b"127.0.0.2"}, "http")[1].limited
    assert here.forwarded(proxy, {}, "http")[1].limited


def test_addresses_of_one_ipv6_network_have_one_share() -> None:
    here = callers()
    first = here.peer("2001:db8::1")
    assert here.peer("2001:db8::ffff:2").account is first.account
    assert here.peer("2001:db8:0:1::1").account is not first.account
    mapped = here.peer("::ffff:192.0.2.1")
    assert here.peer("192.0.2.1").account is mapped.account


def test_a_token_has_a_share_of_its_own_but_on_this_machine() -> None:
    here = callers()
    remote, local = here.peer("192.0.2.1").account, here.peer("127.0.0.1").account
    app = here.of_token(remote, Principal("app", "token"))
    assert app is not None
    assert app is here.of_token(remote, Principal("app", "token"))
    assert here.of_token(remote, ANONYMOUS) is None
    assert here.of_token(local, Principal("app", "token")) is None


def test_the_proxy_protocol_is_read_where_a_setting_says_so_and_from_trusted_proxies() -> None:
    here = callers(PROXY, proxy_protocol=True)
    assert here.begins_with_proxy_header(here.peer(PROXY))
    assert not here.begins_with_proxy_header(here.peer("192.0.2.1"))
    without = callers(PROXY)
    assert not without.begins_with_proxy_header(without.peer(PROXY))
