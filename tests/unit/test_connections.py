"""Which connections stand, and which are let go, without a socket."""

from collections.abc import Iterable
from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from jetkv_gateway.serving.connections import MAX_CONNECTIONS, Connections, Rank, connections_for
from jetkv_gateway.serving.shares import Account

LIMIT = 16
SHARE = 0.25
"""Of 16: four without leaving any to others, and two are left to them."""


@dataclass(eq=False)
class Evictable:
    name: str = ""
    rank: Rank = Rank.BUSY
    since: float = 0
    speaks: bool = False

    def can_evict(self) -> bool:
        return not self.speaks


def registry(limit: int = LIMIT) -> Connections[Evictable]:
    return Connections(limit, SHARE)


def fill(
    connections: Connections[Evictable], account: Account, count: int, since: float | None = None
) -> list[Evictable]:
    rank = Rank.BUSY if since is None else Rank.IDLE
    made = [Evictable(f"{account.name}{number}", rank, since or 0) for number in range(count)]
    for one in made:
        assert connections.add(one, account).admitted
    return made


def names(shed: Iterable[Evictable]) -> list[str]:
    return [one.name for one in shed]


def test_while_there_is_room_nobody_is_let_go() -> None:
    connections = registry()
    fill(connections, Account("a"), 14, since=0)
    assert connections.has_room
    assert connections.make_room() == []
    assert len(connections) == 14


def test_the_idlest_connection_makes_room() -> None:
    connections = registry()
    few = [Account(str(number)) for number in range(4)]
    made = [fill(connections, account, 4)[number] for number, account in enumerate(few)]
    for one, since in zip(made, (4, 2, 3, 5), strict=True):
        one.rank, one.since = Rank.IDLE, since
    opened = connections.add(Evictable(), Account("new"))
    assert opened.admitted
    assert opened.evicted == (made[1],)
    assert len(connections) == LIMIT


def test_of_several_the_one_goes_first_that_is_the_furthest_from_a_request() -> None:
    connections = registry()
    few = [Account(str(number)) for number in range(4)]
    made = [fill(connections, account, 4)[0] for account in few]
    ranks = [Rank.BODY, Rank.UNUSED, Rank.HEAD, Rank.IDLE]
    for since, (one, rank) in enumerate(zip(made, ranks, strict=True)):
        one.rank, one.since = rank, since
    gone = [connections.add(Evictable(), Account("new")).evicted[0].rank for _ in ranks]
    assert gone == sorted(ranks)
    assert not connections.add(Evictable(), Account("new")).admitted


def test_one_that_has_just_begun_to_speak_is_let_alone() -> None:
    connections = registry()
    few = [Account(str(number)) for number in range(4)]
    made = [fill(connections, account, 4)[0] for account in few]
    for since, one in enumerate(made[:2]):
        one.rank, one.since = Rank.IDLE, since
    made[0].speaks = True
    assert connections.add(Evictable(), Account("new")).evicted == (made[1],)


def test_one_of_a_caller_over_its_share_goes_before_all_others() -> None:
    connections = registry()
    modest = fill(connections, Account("modest"), 2, since=0)
    modest[0].rank = Rank.UNUSED
    greedy = fill(connections, Account("greedy"), 12, since=9)
    fill(connections, Account("other"), 2)
    assert connections.add(Evictable(), Account("new")).evicted == (greedy[0],)


def test_where_all_have_something_under_way_the_newest_has_to_go() -> None:
    connections = registry()
    for number in range(4):
        fill(connections, Account(str(number)), 4)
    opened = connections.add(Evictable(), Account("new"))
    assert (opened.admitted, opened.evicted) == (False, ())
    assert len(connections) == LIMIT


def test_a_caller_alone_has_nearly_all_and_another_one_finds_room_beside_it() -> None:
    connections = registry()
    greedy = Account("greedy")
    fill(connections, greedy, 14)
    assert not connections.add(Evictable(), greedy).admitted
    fill(connections, Account("other"), 2)
    assert greedy.connections == 14


def test_a_caller_over_its_share_closes_its_own_and_nobody_elses() -> None:
    connections = registry()
    greedy = Account("greedy")
    own = fill(connections, greedy, 14, since=9)
    fill(connections, Account("modest"), 2, since=0)
    opened = connections.add(Evictable(), greedy)
    assert opened.admitted
    assert opened.evicted == (own[0],)
    assert (len(connections), greedy.connections) == (LIMIT, 14)


def test_a_caller_without_a_limit_takes_all_and_still_gives_way_when_idle() -> None:
    connections = registry()
    here = Account("here", limited=False)
    own = fill(connections, here, LIMIT, since=3)
    assert connections.add(Evictable(), here).evicted == (own[0],)
    assert connections.add(Evictable(), Account("other")).evicted == (own[1],)


def test_one_look_makes_room_for_several() -> None:
    connections = registry(640)
    here = Account("here", limited=False)
    fill(connections, here, 640, since=1)
    assert len(connections.make_room()) == 10
    assert connections.make_room() == []
    assert len(connections) == here.connections == 630


def test_where_nobody_can_go_not_each_that_comes_has_all_looked_at() -> None:
    connections = registry(640)
    here = Account("here", limited=False)
    looks = 0

    class Counted(Evictable):
        @property  # type: ignore[override] # it counts
        def rank(self) -> Rank:
            nonlocal looks
            looks += 1
            return Rank.BUSY

        @rank.setter
        def rank(self, _rank: Rank) -> None: ...

    busy = [Counted() for _ in range(640)]
    for one in busy:
        assert connections.add(one, here).admitted
    for _ in range(100):
        assert not connections.add(Evictable(), here).admitted
    assert looks <= 2 * 640 * 100 / 10
    connections.remove(busy[0])
    assert connections.add(Evictable(rank=Rank.IDLE), here).admitted
    assert connections.add(Evictable(), here).admitted, "at once, since something has changed"


def test_one_that_was_let_go_is_not_counted_twice() -> None:
    connections = registry()
    here = Account("here", limited=False)
    fill(connections, here, LIMIT, since=1)
    for one in connections.make_room():
        connections.remove(one)
    assert len(connections) == here.connections == LIMIT - 1


def test_a_connection_is_moved_to_the_caller_that_its_proxy_tells() -> None:
    connections = registry()
    proxy, client = Account("proxy", limited=False), Account("client")
    (one,) = fill(connections, proxy, 1)
    assert connections.move(one, client).admitted
    assert (proxy.connections, client.connections, len(connections)) == (0, 1, 1)
    fill(connections, client, 13)
    (late,) = fill(connections, proxy, 1)
    assert not connections.move(late, client).admitted
    assert (proxy.connections, client.connections, len(connections)) == (0, 14, 14)


def test_a_connection_that_becomes_a_websocket_counts_on() -> None:
    connections = registry()
    client = Account("client")
    (one,) = fill(connections, client, 1)
    socket = Evictable("socket")
    connections.replace(one, socket)
    connections.remove(one)
    assert (len(connections), client.connections) == (1, 1)
    connections.remove(socket)
    assert (len(connections), client.connections) == (0, 0)


def test_descriptors_are_left_for_other_things() -> None:
    assert connections_for(256) == 208
    assert connections_for(1024) == 960
    assert connections_for(65_536) == MAX_CONNECTIONS
    assert connections_for(16) == 1


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["open", "close", "idle", "busy"]), st.integers(0, 3), st.integers(0, 40)
    ),
    max_size=120,
)


@given(STEPS)
def test_whatever_happens_the_counts_are_right_and_no_caller_has_all(
    steps: list[tuple[str, int, int]],
) -> None:
    connections = registry()
    accounts = [Account(str(number)) for number in range(3)]
    accounts.append(Account("here", limited=False))
    standing: dict[Evictable, Account] = {}
    for time, (step, who, which) in enumerate(steps):
        one = list(standing)[which % len(standing)] if standing else None
        if step == "open":
            new = Evictable()
            alone_before = accounts[who].connections
            opened = connections.add(new, accounts[who])
            for shed in opened.evicted:
                assert shed.rank is not Rank.BUSY
                del standing[shed]
            if opened.admitted:
                standing[new] = accounts[who]
            elif accounts[who].limited:
                assert alone_before >= 4 or len(standing) == LIMIT
        elif one is not None and step == "close":
            connections.remove(one)
            del standing[one]
        elif one is not None:
            one.rank, one.since = (Rank.IDLE if step == "idle" else Rank.BUSY), time
        assert len(connections) == len(standing) <= LIMIT
        for account in accounts:
            assert account.connections == sum(of is account for of in standing.values())
        for account in accounts[:3]:
            assert account.connections <= 14
