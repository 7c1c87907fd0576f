"""The recipes in JavaScript, as they are printed, in Chromium and against a real gateway.

The official client is not in the registry here: ironflow.js beside this file stands in for it.
"""

import json
import socket
import uuid
from collections.abc import Callable, Iterator

import pytest

from jetkv import Client
from jetkv.recipes import Sessions
from jetkv_gateway.embedded import NatsServer
from tests.browser.recipes import (
    FOLLOW,
    OUTAGE,
    SETTINGS,
    SHOW_WATCHES,
    OpenPage,
    Run,
    following,
    make_bucket,
    put_json,
    script,
    told,
)
from tests.support.gateway import running_gateway
from tests.support.http import BUCKETS, Bucket, Http


@pytest.fixture
def gateway(nats: NatsServer) -> Iterator[Http]:
    """A gateway whose buckets are this test's own, whatever their names."""
    prefix = f"t{uuid.uuid4().hex[:12]}-"
    with running_gateway(nats.url, bucket_prefix=prefix, **SETTINGS) as http:
        yield http
        for bucket in http.get(BUCKETS).json["buckets"]:
            http.delete(f"{BUCKETS}/{bucket['name']}")


def page_of(recipe: str) -> Callable[[OpenPage, Http], Run]:
    """A fixture that runs JavaScript on a page with one of the recipes."""

    @pytest.fixture
    def run_page(open_page: OpenPage, gateway: Http) -> Run:
        return lambda body: open_page(script(recipe, gateway, body))

    return run_page


cache_page = page_of("cache")
flag_page = page_of("feature-flags")
session_page = page_of("sessions")
counter_page = page_of("optimistic-locking")


def test_a_miss_is_computed_once_and_then_is_a_hit(gateway: Http, cache_page: Run) -> None:
    page = cache_page("""
        await recipe.openCache();
        let computed = 0;
        const compute = async () => ({ name: "Ada", computed: ++computed });
        const ask = () => recipe.getCached("user:123:profile", compute);
        const together = await Promise.all(Array.from({ length: 8 }, ask));
        tell("values", { together, later: await ask(), computed });
        """)
    value = {"name": "Ada", "computed": 1}
    assert told(page, "values") == {"together": [value] * 8, "later": value, "computed": 1}
    stored = Bucket(gateway, "cache").get("user:123:profile", "?values=json")
    assert stored.json["value"] == value


def test_cached_values_live_for_five_minutes(gateway: Http, cache_page: Run) -> None:
    page = cache_page("await recipe.openCache(); await recipe.openCache(); tell('open');")
    told(page, "open")
    assert Bucket(gateway, "cache").info()["ttl_seconds"] == 300


def test_a_value_that_is_forgotten_is_computed_again(gateway: Http, cache_page: Run) -> None:
    page = cache_page("""
        await recipe.openCache();
        let computed = 0;
        const ask = () => recipe.getCached("k", async () => ++computed);
        const first = await ask();
        await recipe.forget("k");
        tell("values", { first, second: await ask() });
        """)
    assert told(page, "values") == {"first": 1, "second": 2}


def test_a_key_with_characters_of_urls_is_that_key(gateway: Http, cache_page: Run) -> None:
    page = cache_page("""
        await recipe.openCache();
        await recipe.getCached("a/b c?d=1#e%2F日", async () => null);
        tell("stored");
        """)
    told(page, "stored")
    assert Bucket(gateway, "cache").keys() == ["a/b c?d=1#e%2F日"]


def test_a_value_that_somebody_stored_meanwhile_stands(gateway: Http, cache_page: Run) -> None:
    page = cache_page("""
        await recipe.openCache();
        const { createClient } = await import("@ironflow/node");
        const other = createClient({ serverUrl: "http://localhost:9123/json" }).kv();
        await recipe.getCached("k", async () => {
          await other.bucket("cache").put("k", { by: "another" });
          return { by: "this" };
        });
        tell("stored");
        """)
    told(page, "stored")
    stored = Bucket(gateway, "cache").get("k", "?values=json")
    assert stored.json["value"] == {"by": "another"}


def test_nothing_is_kept_of_a_computation_that_fails(gateway: Http, cache_page: Run) -> None:
    page = cache_page("""
        await recipe.openCache();
        const broken = () => recipe.getCached("k", () => Promise.reject(new Error("no database")));
        const error = await broken().then(() => null, (error) => error.message);
        tell("values", { error, next: await recipe.getCached("k", async () => 2) });
        """)
    assert told(page, "values") == {"error": "no database", "next": 2}


def test_an_outage_of_nats_is_thrown_and_is_no_miss(
    own_nats: NatsServer, open_page: OpenPage
) -> None:
    own_nats.start()
    with running_gateway(own_nats.url, **SETTINGS) as http:
        page = open_page(script("cache", http, OUTAGE))
        told(page, "stored")
        own_nats.stop()
        assert told(page, "failed")["code"] == "HTTP_503"


def test_a_gateway_that_is_gone_is_thrown_and_is_no_miss(
    own_nats: NatsServer, open_page: OpenPage
) -> None:
    own_nats.start()
    with running_gateway(own_nats.url, **SETTINGS) as http:
        page = open_page(script("cache", http, OUTAGE))
        told(page, "stored")
    assert told(page, "failed") == {"code": None, "text": "TypeError: Failed to fetch"}


def test_flags_are_there_once_they_are_followed(gateway: Http, flag_page: Run) -> None:
    flags = make_bucket(gateway, "feature-flags")
    stored = {
        "plain": True,
        "off": False,
        "enabled": {"enabled": True},
        "for all": {"enabled": True, "rollout": 1},
        "for half": {"enabled": True, "rollout": 0.5},
        "a/b?c": {"enabled": True},
        "text": "true",
    }
    for name, value in stored.items():
        put_json(flags, name, value)
    page = flag_page(f"""
        await recipe.followFlags();
        const names = {json.dumps([*stored, "nowhere"])};
        tell("on", {{ names: names.filter(recipe.isEnabled) }});
        """)
    assert told(page, "on") == {"names": ["plain", "enabled", "for all", "a/b?c"]}


def test_a_flag_that_somebody_switches_is_seen_by_the_watch(gateway: Http, flag_page: Run) -> None:
    flags = make_bucket(gateway, "feature-flags")
    page = flag_page(SHOW_WATCHES + FOLLOW)
    following(page)
    put_json(flags, "a/b?c", {"enabled": True})
    assert told(page, "changed") == {"name": "a/b?c", "on": True}
    assert flags.delete("a/b?c").status == 204
    assert told(page, "changed") == {"name": "a/b?c", "on": False}


def test_a_flag_is_switched_for_everybody(gateway: Http, flag_page: Run) -> None:
    flags = make_bucket(gateway, "feature-flags")
    page = flag_page('await recipe.setFlag("a/b?c", true); tell("switched");')
    told(page, "switched")
    assert flags.get("a/b?c", "?values=json").json["value"] == {"enabled": True}


def test_flags_that_change_while_the_gateway_is_away_are_right_when_it_is_back(
    own_nats: NatsServer, open_page: OpenPage
) -> None:
    own_nats.start()
    with running_gateway(own_nats.url, **SETTINGS) as first:
        flags = make_bucket(first, "feature-flags")
        put_json(flags, "gone", True)
        page = open_page(script("feature-flags", first, SHOW_WATCHES + FOLLOW))
        following(page)
    with running_gateway(own_nats.url) as other:
        put_json(Bucket(other, flags.name), "new", True)
        assert Bucket(other, flags.name).delete("gone").status == 204
    with running_gateway(own_nats.url, port=first.port, **SETTINGS):
        changes = page.until(lambda thing: thing.get("name") == "new")
    assert {(thing["name"], thing["on"]) for thing in changes if thing["what"] == "changed"} == {
        ("gone", False),
        ("new", True),
    }


def test_what_no_watch_told_of_comes_with_the_next_reading(gateway: Http, flag_page: Run) -> None:
    flags = make_bucket(gateway, "feature-flags")
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        # It takes the connection and never answers, so the watch never opens.
        address = f"ws://127.0.0.1:{deaf.getsockname()[1]}"
        page = flag_page(f"""
            WebSocket = class extends WebSocket {{ constructor() {{ super("{address}"); }} }};
            const onChange = (name) => tell("changed", {{ name, on: recipe.isEnabled(name) }});
            await recipe.followFlags({{ onChange, rereadMs: 50 }});
            tell("following");
            """)
        told(page, "following")
        put_json(flags, "dark-mode", True)
        assert told(page, "changed") == {"name": "dark-mode", "on": True}


def test_ending_closes_the_watch_and_it_stays_closed(gateway: Http, flag_page: Run) -> None:
    make_bucket(gateway, "feature-flags")
    page = flag_page("""
        const later = setTimeout;
        setTimeout = (work) => later(work, 0);
        let opened = 0;
        WebSocket = class extends WebSocket {
          constructor(url) {
            super(url);
            opened++;
            // Twice: what is to be opened again has its turn between.
            this.addEventListener("close", () => later(() => later(() => tell("end", { opened }))));
          }
        };
        const stop = await recipe.followFlags();
        stop();
        """)
    assert told(page, "end") == {"opened": 1}


def test_flags_of_a_bucket_that_is_not_there_are_refused(gateway: Http, flag_page: Run) -> None:
    page = flag_page("await recipe.followFlags();")
    assert told(page, "failed")["code"] == "HTTP_404"


def test_a_session_can_be_read_changed_and_ended(gateway: Http, session_page: Run) -> None:
    page = session_page("""
        await recipe.openSessions();
        await recipe.openSessions();
        const id = await recipe.startSession({ user: "ada" });
        const started = await recipe.getSession(id);
        const changed = await recipe.refreshSession(id, (data) => ({ ...data, role: "admin" }));
        const refreshed = await recipe.refreshSession(id);
        await recipe.endSession(id);
        await recipe.endSession(id);
        const ended = await recipe.getSession(id) ?? null;
        tell("session", { started, changed, refreshed, ended });
        """)
    admin = {"user": "ada", "role": "admin"}
    assert told(page, "session") == {
        "started": {"user": "ada"},
        "changed": admin,
        "refreshed": admin,
        "ended": None,
    }


def test_a_refresh_is_a_write_so_that_the_time_starts_again(
    gateway: Http, session_page: Run
) -> None:
    page = session_page("""
        await recipe.openSessions();
        const id = await recipe.startSession({ user: "ada" });
        tell("started", { id });
        await recipe.refreshSession(id);
        tell("refreshed");
        """)
    id = told(page, "started")["id"]
    told(page, "refreshed")
    sessions = Bucket(gateway, "sessions")
    assert sessions.get(id).json["revision"] == 2
    assert sessions.info()["ttl_seconds"] == 3600


def test_a_refresh_does_not_revive_a_session_that_ends_meanwhile(
    gateway: Http, session_page: Run
) -> None:
    page = session_page("""
        await recipe.openSessions();
        const id = await recipe.startSession({ user: "ada" });
        let changed = 0;
        const refreshed = await recipe.refreshSession(id, async (data) => {
          changed++;
          await recipe.endSession(id);
          return data;
        });
        const found = await recipe.getSession(id);
        tell("session", { changed, refreshed: refreshed ?? null, found: found ?? null });
        """)
    assert told(page, "session") == {"changed": 1, "refreshed": None, "found": None}
    assert Bucket(gateway, "sessions").keys() == []


def test_of_changes_of_a_session_at_once_all_count(gateway: Http, session_page: Run) -> None:
    page = session_page("""
        await recipe.openSessions();
        const id = await recipe.startSession({});
        const add = (_, n) => recipe.refreshSession(id, (data) => ({ ...data, [n]: true }));
        await Promise.all(Array.from({ length: 4 }, add));
        tell("session", { data: await recipe.getSession(id) });
        """)
    assert told(page, "session")["data"] == {str(n): True for n in range(4)}


def test_a_session_of_javascript_is_one_for_python(gateway: Http, session_page: Run) -> None:
    page = session_page("""
        await recipe.openSessions();
        tell("started", { id: await recipe.startSession({ user: "ada" }) });
        """)
    id = told(page, "started")["id"]
    with Client(gateway.url) as client:
        assert Sessions(client.kv().bucket("sessions")).get(id) == {"user": "ada"}


def test_what_is_no_id_is_no_session_and_ends_nothing(gateway: Http, session_page: Run) -> None:
    page = session_page("""
        await recipe.openSessions();
        const id = await recipe.startSession({ user: "ada" });
        const bad = ["", ".", "..", "../keys/" + id, id + "?purge=true", id + "\\n", undefined];
        const found = [];
        for (const wrong of bad) {
          found.push(await recipe.getSession(wrong) ?? null);
          found.push(await recipe.refreshSession(wrong) ?? null);
          await recipe.endSession(wrong);
        }
        tell("sessions", { found, id });
        """)
    sessions = told(page, "sessions")
    assert set(sessions["found"]) == {None}
    assert Bucket(gateway, "sessions").keys() == [sessions["id"]]


def test_a_bucket_without_a_ttl_is_refused_for_sessions(gateway: Http, session_page: Run) -> None:
    make_bucket(gateway, "sessions")
    page = session_page("await recipe.openSessions();")
    assert "no TTL" in told(page, "failed")["text"]


def test_eight_increments_at_once_end_at_eight(gateway: Http, counter_page: Run) -> None:
    page = counter_page("""
        await recipe.openCounters();
        await recipe.openCounters();
        const add = () => recipe.increment("page-views");
        tell("counted", { totals: await Promise.all(Array.from({ length: 8 }, add)) });
        """)
    assert sorted(told(page, "counted")["totals"]) == list(range(1, 9))
    assert Bucket(gateway, "counters").get("page-views").value == b"8"


def test_what_is_no_number_is_not_counted_and_stays(gateway: Http, counter_page: Run) -> None:
    counters = make_bucket(gateway, "counters")
    put_json(counters, "page-views", {"views": 1})
    page = counter_page("await recipe.increment('page-views');")
    assert "no number" in told(page, "failed")["text"]
    assert counters.get("page-views").value == b'{"views": 1}'


def test_only_a_lost_race_is_tried_again(gateway: Http, counter_page: Run) -> None:
    make_bucket(gateway, "counters")
    page = counter_page("""
        const change = () => {
          tell("changed");
          return "x".repeat(4_000_000);
        };
        await recipe.modify("k", change);
        """)
    told(page, "changed")
    assert told(page, "failed")["code"] == "HTTP_413"


def test_an_update_that_always_loses_ends_with_an_error(gateway: Http, counter_page: Run) -> None:
    counters = make_bucket(gateway, "counters")
    page = counter_page("""
        const { createClient } = await import("@ironflow/node");
        const kv = createClient({ serverUrl: "http://localhost:9123/json" }).kv();
        await recipe.modify("k", async () => {
          await kv.bucket("counters").put("k", "another's");
          return "mine";
        });
        """)
    assert told(page, "failed")["code"] == "HTTP_412"
    assert counters.get("k").value == b"another's"
