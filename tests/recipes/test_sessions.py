"""Sessions: data under an id, gone with its time, never back."""

from dataclasses import dataclass

import pytest

from jetkv import InvalidArgumentError, OutcomeUnknownError, ValueDecodeError
from jetkv.recipes import AsyncSessions
from tests.recipes.relay import Loss
from tests.support.waiting import eventually


@dataclass
class Session:
    user: str
    visits: int = 0


@pytest.fixture
def name(make_bucket) -> str:
    return make_bucket(ttl_seconds=60).name


@pytest.fixture
def sessions(kv, name) -> AsyncSessions[Session]:
    return AsyncSessions(kv.bucket(name, Session))


@pytest.fixture
def relayed_sessions(relayed, name) -> AsyncSessions[Session]:
    return AsyncSessions(relayed.bucket(name, Session))


async def revision(kv, name: str, id: str) -> int:
    return (await kv.bucket(name).get(id)).revision


async def test_a_session_has_its_data(sessions) -> None:
    id = await sessions.start(Session("ada"))
    assert await sessions.get(id) == Session("ada")


async def test_two_sessions_have_two_ids_of_256_bits(sessions) -> None:
    ids = {await sessions.start(Session("ada")) for _ in range(2)}
    assert [len(id) for id in ids] == [43, 43]


async def test_an_ended_session_does_not_exist(sessions) -> None:
    id = await sessions.start(Session("ada"))
    await sessions.end(id)
    await sessions.end(id)
    assert await sessions.get(id) is None
    assert await sessions.touch(id) is False
    assert await sessions.update(id, lambda session: session) is None
    assert await sessions.get(id) is None


@pytest.mark.parametrize("id", ["", "x", "*", "\n" * 43, "é" * 43, "a" * 44, None, 7])
async def test_what_is_no_id_is_no_session(id, sessions) -> None:
    assert await sessions.get(id) is None
    assert await sessions.touch(id) is False
    assert await sessions.update(id, lambda session: session) is None
    await sessions.end(id)


async def test_an_untouched_session_expires_and_a_touched_one_lives(kv, make_bucket) -> None:
    sessions = AsyncSessions(kv.bucket(make_bucket(ttl_seconds=1).name))
    touched = await sessions.start("ada")
    left = await sessions.start("bob")

    async def left_is_gone() -> bool:
        assert await sessions.touch(touched)
        return await sessions.get(left) is None

    await eventually(left_is_gone, "the untouched session expired")
    assert await sessions.get(touched) == "ada"


async def test_a_touch_leaves_the_bytes_and_their_type_as_they_are(
    sessions, kv, name, http
) -> None:
    id = await sessions.start(Session("ada"))
    await kv.bucket(name, bytes).put(id, b'{"user": "ada", "visits": 1, "more": []}')
    path = f"/api/v1/kv/buckets/{name}/keys/{id}?values=raw"
    before = http.get(path)
    assert await sessions.touch(id)
    after = http.get(path)
    assert after.body == before.body
    assert after.headers["etag"] != before.headers["etag"]


async def test_an_update_gets_the_data_and_renews_the_session(sessions, kv, name) -> None:
    id = await sessions.start(Session("ada", 1))
    first = await revision(kv, name, id)

    async def visit(session: Session) -> Session:
        return Session(session.user, session.visits + 1)

    assert await sessions.update(id, visit) == Session("ada", 2)
    assert await sessions.get(id) == Session("ada", 2)
    assert await revision(kv, name, id) > first


async def test_a_session_that_ends_during_an_update_is_not_revived(sessions) -> None:
    id = await sessions.start(Session("ada"))

    async def end_it(session: Session) -> Session:
        await sessions.end(id)
        return session

    assert await sessions.update(id, end_it) is None
    assert await sessions.get(id) is None


async def test_a_touch_that_arrives_after_the_end_revives_nothing(
    relay, relayed_sessions, sessions
) -> None:
    id = await sessions.start(Session("ada"))
    relay.lose("POST", Loss.LATE)
    assert await relayed_sessions.touch(id)
    assert relay.lost == ["LATE of POST"]
    await sessions.end(id)
    relay.let_through()
    assert await sessions.get(id) is None


@pytest.mark.parametrize("loss", [Loss.ANSWER, Loss.REQUEST])
async def test_a_touch_without_an_answer_renews(
    loss, relay, relayed_sessions, sessions, kv, name
) -> None:
    id = await sessions.start(Session("ada"))
    first = await revision(kv, name, id)
    relay.lose("POST", loss)
    assert await relayed_sessions.touch(id)
    assert await revision(kv, name, id) > first


@pytest.mark.parametrize("loss", [Loss.ANSWER, Loss.REQUEST])
async def test_an_end_without_an_answer_ends(loss, relay, relayed_sessions, sessions) -> None:
    id = await sessions.start(Session("ada"))
    relay.lose("DELETE", loss)
    await relayed_sessions.end(id)
    assert await sessions.get(id) is None


async def test_an_update_without_an_answer_is_said_and_not_repeated(
    relay, relayed_sessions, sessions
) -> None:
    id = await sessions.start(Session("ada"))
    relay.lose("PUT", Loss.ANSWER)
    with pytest.raises(OutcomeUnknownError):
        await relayed_sessions.update(id, lambda session: Session("ada", session.visits + 1))
    assert await sessions.get(id) == Session("ada", 1)


async def test_a_bucket_without_a_ttl_is_refused(kv, bucket) -> None:
    sessions = AsyncSessions(kv.bucket(bucket.name))
    with pytest.raises(InvalidArgumentError, match="a session needs a bucket whose keys expire"):
        await sessions.start({})


async def test_a_session_that_does_not_fit_is_said(sessions, kv, name) -> None:
    id = await sessions.start(Session("ada"))
    await kv.bucket(name).put(id, 7)
    with pytest.raises(ValueDecodeError):
        await sessions.get(id)


async def test_sessions_with_a_prefix_lie_beside_other_things(kv, name) -> None:
    sessions = AsyncSessions(kv.bucket(name), prefix="session:")
    id = await sessions.start({"user": "ada"})
    assert await kv.bucket(name).keys("session:") == [f"session:{id}"]
    assert await sessions.get(id) == {"user": "ada"}
