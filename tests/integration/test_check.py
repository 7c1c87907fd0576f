"""`jetkv check` on real servers: it names all that is missing and what will not work, at once."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jetkv.testing import LocalNats
from jetkv_gateway.check import EXIT_OK, EXIT_UNUSABLE, Report, check
from jetkv_gateway.check.permissions import NEEDS, Need
from jetkv_gateway.settings import load
from tests.support.http import Bucket
from tests.support.native import native_client


def denied(need: Need) -> str:
    """The subjects of a need in NATS's notation."""
    subject = need.subject.replace("KV_*", "*")
    return subject if subject.startswith("$KV") else f"$JS.API.{subject}"


def user(name: str, permissions: str) -> str:
    return f"{{ user: {name}, password: p, permissions: {{ {permissions} }} }}"


ALL_NEEDS = ", ".join(f'"{denied(need)}"' for need in NEEDS)

USERS = [
    user("all", 'publish: { allow: ["$JS.API.>", "$KV.>"] }, subscribe: { allow: ["_INBOX.>"] }'),
    user("exact", f'publish: {{ allow: [{ALL_NEEDS}] }}, subscribe: {{ allow: ["_INBOX.>"] }}'),
    user("no_service", 'subscribe: { deny: ["$SRV.>"] }'),
    user("two", 'publish: { deny: ["$KV.>", "$JS.API.STREAM.MSG.GET.>"] }'),
    user(
        "one_bucket",
        'publish: { allow: ["$JS.API.INFO", "$JS.API.*.*.KV_mine", "$KV.mine.>", '
        '"$JS.API.STREAM.MSG.GET.KV_mine", "$JS.API.CONSUMER.*.KV_mine.*", '
        '"$JS.API.CONSUMER.MSG.NEXT.KV_mine.*"] }',
    ),
    *(
        user(f"without_{number}", f'publish: {{ deny: ["{denied(need)}"] }}')
        for number, need in enumerate(NEEDS)
    ),
]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalNats]:
    """A server whose users lack different permissions."""
    config = f"authorization {{ users: [ {', '.join(USERS)} ] }}"
    with LocalNats(tmp_path_factory.mktemp("nats"), config=config) as server:
        yield server


async def checked(server: LocalNats, name: str, **settings: Any) -> Report:
    flags = {"nats_url": server.url, "nats_user": name, "nats_password": "p", **settings}
    return await check(load(flags, None))


def without_features(report: Report) -> list[str]:
    """What is missing, but for what an older server cannot do."""
    return [one.text for one in report.missing if not one.text.startswith("nats-server ")]


@pytest.mark.parametrize("number", range(len(NEEDS)), ids=[need.subject for need in NEEDS])
async def test_a_missing_permission_is_named_with_what_will_not_work(
    server: LocalNats, number: int
) -> None:
    need = NEEDS[number]
    report = await checked(server, f"without_{number}")
    (text,) = without_features(report)
    subject = need.subject if need.subject.startswith("$KV") else f"$JS.API.{need.subject}"
    assert text == f"the NATS user may not publish to {subject}"
    assert need.effect in [one.effect for one in report.missing]
    assert report.exit_code == (EXIT_UNUSABLE if need.vital else EXIT_OK)


async def test_all_missing_permissions_are_named_at_once(server: LocalNats) -> None:
    report = await checked(server, "two")
    assert sorted(without_features(report)) == [
        "the NATS user may not publish to $JS.API.STREAM.MSG.GET.KV_*",
        "the NATS user may not publish to $KV.*.>",
    ]
    table = report.as_table()
    assert "does not work" in table
    assert "writes of keys" in table


@pytest.mark.parametrize("name", ["all", "exact"])
async def test_a_user_with_no_more_than_the_gateway_needs_misses_nothing(
    server: LocalNats, name: str
) -> None:
    report = await checked(server, name)
    assert (report.exit_code, without_features(report)) == (EXIT_OK, [])
    assert "permissions  all that the gateway uses" in report.as_table()


async def test_permissions_for_the_buckets_of_the_settings_are_enough(server: LocalNats) -> None:
    async with native_client(server.url, user="all", password="p") as client:
        await client.make_bucket("mine")
        report = await checked(server, "one_bucket", buckets=["mine"])
        both = await checked(server, "one_bucket", buckets=["mine", "other"])
    assert report.exit_code == EXIT_OK, report.as_table()
    assert report.buckets == ["mine"], "found, although the user may not list buckets"
    text = "the NATS user may not publish to $KV.*.>, except for mine"
    assert text in without_features(report)
    assert both.exit_code == EXIT_UNUSABLE


def test_the_documents_list_each_subject_that_is_tried() -> None:
    page = Path(__file__).parents[2] / "docs" / "configuration.md"
    table = page.read_text().partition("### Least privilege")[2].partition("## Tokens")[0]
    listed = re.findall(r"^\| `(\$[^`]+)` \|", table, re.MULTILINE)
    assert listed == [*(denied(need) for need in NEEDS), "$JETKV.tokens.KV_<prefix>.>"]


async def test_a_bucket_of_the_settings_that_cannot_be_created_is_named(
    server: LocalNats,
) -> None:
    number = [need.subject for need in NEEDS].index("STREAM.CREATE.KV_*")
    report = await checked(server, f"without_{number}", buckets=["new"])
    assert report.exit_code == EXIT_UNUSABLE
    assert without_features(report) == [
        "the NATS user may not publish to $JS.API.STREAM.CREATE.KV_*; new cannot be created"
    ]


@pytest.fixture(scope="module")
def deployed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalNats]:
    """A server whose users have the permissions of the files in deploy/nats."""
    files = Path(__file__).parents[2] / "deploy" / "nats"
    names = ("gateway", "gateway-keys", "gateway-read-only")
    users = [user(name, (files / f"{name}.conf").read_text()) for name in names]
    config = f"authorization {{ users: [ {', '.join(users)} ] }}"
    with LocalNats(tmp_path_factory.mktemp("nats"), config=config) as server:
        yield server


@pytest.mark.parametrize(
    ("name", "effects"),
    [
        ("gateway", []),
        ("gateway-keys", ["buckets with republish", "new buckets", "changes of buckets"]),
        ("gateway-read-only", ["writes of keys", "new buckets", "deletion of buckets"]),
    ],
)
async def test_the_permissions_that_are_delivered_work_and_what_they_withhold_is_named(
    deployed: LocalNats, name: str, effects: list[str]
) -> None:
    report = await checked(deployed, name, auth="tokens")
    found = [one.effect for one in report.missing if not one.text.startswith("nats-server ")]
    assert report.exit_code == EXIT_OK, report.as_table()
    assert set(effects) <= set(found)
    assert bool(found) == bool(effects), report.as_table()


async def test_permissions_for_tokens_are_named_where_tokens_are_in_nats(
    server: LocalNats,
) -> None:
    report = await checked(server, "exact", auth="tokens")
    assert without_features(report) == [
        "the NATS user may not publish to $JETKV.tokens.KV_.>",
    ]
    assert without_features(await checked(server, "exact", auth="off")) == []


async def test_a_user_who_may_not_show_the_gateway_is_told_so_where_that_is_switched_on(
    server: LocalNats,
) -> None:
    report = await checked(server, "no_service", nats_service=True)
    assert without_features(report) == ["the NATS user may not subscribe to $SRV.>"]
    assert report.exit_code == EXIT_OK
    assert without_features(await checked(server, "no_service")) == []


async def test_it_says_who_the_gateway_is(server: LocalNats) -> None:
    assert "user two, account $G" in (await checked(server, "two")).as_table()
    # This one may not ask.
    assert (await checked(server, "all")).user == ""


async def test_it_changes_nothing(nats: LocalNats, bucket: Bucket) -> None:
    bucket.put("k", "v")
    async with native_client(nats.url) as client:
        before = await client.api(f"STREAM.INFO.KV_{bucket.name}")
        report = await check(load({"nats_url": nats.url}, None))
        after = await client.api(f"STREAM.INFO.KV_{bucket.name}")
        names = (await client.api("STREAM.NAMES"))["streams"]
    assert [one.answer for one in report.permissions] == ["granted"] * len(NEEDS)
    assert after["config"] == before["config"]
    assert after["state"] == before["state"]
    assert not [name for name in names if "check" in name]


async def test_it_names_what_the_server_is_too_old_for(
    nats: LocalNats, version: tuple[int, int]
) -> None:
    report = await check(load({"nats_url": nats.url}, None))
    missing = {one.effect: one.text for one in report.missing}
    assert (missing.get("TTLs of single values") is None) == (version >= (2, 11))
    assert (missing.get("batches that write all keys or none") is None) == (version >= (2, 12))
    if version < (2, 12):
        assert missing["batches that write all keys or none"] == "nats-server 2.12 or newer"
    assert report.exit_code == EXIT_OK


async def test_it_compares_the_buckets_of_the_settings(nats: LocalNats, make_bucket: Any) -> None:
    made = make_bucket(history=1)
    flags = {"nats_url": nats.url, "buckets": [f"{made.name},history=5", "check-new"]}
    report = await check(load(flags, None))
    assert f"bucket {made.name}: history is 1, the settings say 5" in report.remarks
    assert "bucket check-new: does not exist; `jetkv serve` creates it" in report.remarks
    assert report.exit_code == EXIT_OK
    required = await check(load({"nats_url": nats.url, "ready_buckets": ["check-new"]}, None))
    assert required.exit_code == EXIT_UNUSABLE
    assert required.missing[0].effect == "readiness: /ready stays 503"


ACCOUNTS = """
accounts {
  HUB {
    jetstream { max_streams: 1 }
    users: [ { user: hub, password: p } ]
    exports: [
      { service: "$JS.API.INFO" }, { service: "$JS.API.STREAM.>" }, { service: "$KV.>" }
    ]
  }
  LEAF {
    users: [ { user: leaf, password: p } ]
    imports: [
      { service: { account: HUB, subject: "$JS.API.INFO" } },
      { service: { account: HUB, subject: "$JS.API.STREAM.>" } }
    ]
  }
}
"""


async def test_a_subject_that_the_account_does_not_import_and_a_full_account_are_named(
    tmp_path: Path,
) -> None:
    with LocalNats(tmp_path, config=ACCOUNTS) as server:
        async with native_client(server.url, user="hub", password="p") as client:
            await client.make_bucket("b")
            report = await checked(server, "leaf")
            full = await checked(server, "hub")
    texts = without_features(report)
    for subject in ("$JS.API.CONSUMER.CREATE.KV_*.*", "$KV.*.>"):
        assert f"nobody answers on {subject}: does the account import it?" in texts
    assert report.exit_code == EXIT_UNUSABLE
    assert "max_streams of the account is reached: 1 of 1" in without_features(full)
    assert full.exit_code == EXIT_OK


async def test_the_table_and_the_json_have_the_same(server: LocalNats) -> None:
    report = await checked(server, "two", nats_inbox_prefix="_MINE")
    table, document = report.as_table(), report.as_json()
    assert "replies      _MINE.>" in table
    for one in report.missing:
        assert one.text in table
        assert one.effect in table
        assert one.text in document
    assert '"answer": "refused"' in document
