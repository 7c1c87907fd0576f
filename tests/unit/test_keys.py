"""The codec between keys and subjects (docs/architecture.md, decision 5), and bucket names."""

import itertools
import re

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jetkv_gateway.kv.errors import InvalidArgument, InvalidBucketName
from jetkv_gateway.kv.keys import check_bucket, check_text, decode, display, encode, plain

NATIVE = re.compile(r"[-/_=.A-Za-z0-9]+")
CONTROLS = [chr(code) for code in (*range(0x20), 0x7F)]

# What the codec treats in a way of its own, to be met side by side.
_CODES = ["3D", "3A", "2E", "20", "41", "C3", "A9", "2F", "0A", "FF", "3d"]
pieces = st.sampled_from(
    [*"=.:/*>% ~é🔑\x80\u0301\u2028aZ0-_D", *_CODES, *(f"={code}" for code in _CODES)]
)
any_text = st.text(st.characters(exclude_categories=["Cs"], exclude_characters=CONTROLS))
keys = st.one_of(st.lists(pieces, min_size=1, max_size=16).map("".join), any_text).filter(
    lambda key: 1 <= len(key.encode()) <= 512
)
tokens = keys.map(lambda key: key.replace(".", "")).filter(bool)
subjects = st.one_of(
    st.text("=.23DECA09a", max_size=24),
    st.lists(pieces, max_size=12).map("".join),
    st.text(max_size=24),
)


@given(st.one_of(subjects, st.text("a.=/", min_size=510, max_size=514)))
@example("k" * 512)
@example("k" * 513)
@example("a.b")
@example("a\nb")
def test_a_plain_subject_is_the_key_that_it_shows(subject: str) -> None:
    if plain(subject.encode()):
        assert decode(subject) == subject
    else:
        assert not re.fullmatch("[a-z]{1,512}", subject)


@settings(max_examples=500)
@given(keys)
@example("k" * 512)
@example("." * 512)
@example("=3A" * 170 + "==")
@example("🔑" * 128)
def test_every_key_comes_back_from_its_subject(key: str) -> None:
    assert decode(encode(key)) == key


@settings(max_examples=500)
@given(keys)
def test_every_subject_of_a_key_is_valid_in_nats_kv(key: str) -> None:
    subject = encode(key)
    assert NATIVE.fullmatch(subject)
    assert all(subject.split(".")), "an empty token"


@settings(max_examples=500)
@given(subjects)
def test_a_subject_has_a_key_only_if_it_is_the_encoding_of_that_key(subject: str) -> None:
    key = decode(subject)
    assert key is None or encode(key) == subject


@settings(max_examples=300)
@given(keys, keys)
def test_two_keys_never_share_a_subject(one: str, other: str) -> None:
    assert (encode(one) == encode(other)) == (one == other)


def test_no_two_of_all_short_keys_share_a_subject() -> None:
    short = ["".join(key) for n in range(1, 7) for key in itertools.product("=3DA:.", repeat=n)]
    assert len({encode(key) for key in short}) == len(short)


def test_all_short_subjects_decode_to_a_key_of_their_own_or_to_none() -> None:
    short = ["".join(text) for n in range(1, 7) for text in itertools.product("=3DA2E.", repeat=n)]
    found = {subject: decode(subject) for subject in short}
    assert [s for s, key in found.items() if key is not None and encode(key) != s] == []


@given(
    st.lists(st.text("=-/_abxyzABXYZ019", min_size=1), min_size=1, max_size=5)
    .map(".".join)
    .filter(lambda key: len(key) <= 512 and not re.search("=[0-9A-F]{2}", key))
)
def test_a_native_key_without_an_escape_look_alike_is_its_own_subject(key: str) -> None:
    assert encode(key) == key


@given(st.lists(tokens, min_size=1, max_size=4))
def test_dot_tokens_are_escaped_one_by_one(parts: list[str]) -> None:
    key = ".".join(parts)
    if len(key.encode()) <= 512:
        assert encode(key) == ".".join(map(encode, parts))


@pytest.mark.parametrize(
    ("key", "subject"),
    [
        # as in NATS
        ("user", "user"),
        ("user.123", "user.123"),
        ("a/b", "a/b"),
        ("/", "/"),
        ("//a//", "//a//"),
        ("a-b_c", "a-b_c"),
        ("-", "-"),
        ("A.b.C", "A.b.C"),
        # = that could start no escape
        ("a=b", "a=b"),
        ("=", "="),
        ("==", "=="),
        ("QQ==", "QQ=="),
        ("a=", "a="),
        ("a=41", "a=41"),
        ("a=2F", "a=2F"),
        ("a=0A", "a=0A"),
        ("a=FF", "a=FF"),
        ("a=3a", "a=3a"),
        ("a=3", "a=3"),
        ("a=3D", "a=3D"),
        ("a=3D3D", "a=3D3D"),
        ("a=3D41", "a=3D41"),
        # escaped, a byte at a time
        ("user:123", "user=3A123"),
        ("a b", "a=20b"),
        (" ", "=20"),
        ("*", "=2A"),
        (">", "=3E"),
        ("user.*", "user.=2A"),
        ("a.>", "a.=3E"),
        ("50%", "50=25"),
        ("a?b#c", "a=3Fb=23c"),
        ("$KV", "=24KV"),
        ("é", "=C3=A9"),
        ("\x80", "=C2=80"),
        ("\u2028", "=E2=80=A8"),
        ("🔑", "=F0=9F=94=91"),
        ("\U0010ffff", "=F4=8F=BF=BF"),
        # escape look-alikes
        ("a=3A", "a=3D3A"),
        ("a=3D3A", "a=3D3D3A"),
        ("a=3D3D3A", "a=3D3D3D3A"),
        ("=20", "=3D20"),
        ("==20", "==3D20"),
        ("=20=20", "=3D20=3D20"),
        ("a=2E", "a=3D2E"),
        ("=C3=A9", "=3DC3=3DA9"),
        ("=: ", "==3A=20"),
        ("=3D:", "=3D=3A"),
        # dots that would make an empty token
        (".", "=2E"),
        ("..", "=2E=2E"),
        ("...", "=2E=2E=2E"),
        (".a", "=2Ea"),
        ("a.", "a=2E"),
        ("a..b", "a.=2Eb"),
        ("a...b", "a.=2E=2Eb"),
        ("..a..", "=2E=2Ea.=2E"),
        (".a.b.", "=2Ea.b=2E"),
        ("a.=2E", "a.=3D2E"),
    ],
)
def test_the_subject_of_a_key(key: str, subject: str) -> None:
    assert encode(key) == subject
    assert decode(subject) == key


@pytest.mark.parametrize(
    "subject",
    [
        pytest.param("", id="empty"),
        pytest.param("a=2Eb", id="an escaped dot that needs no escape"),
        pytest.param("a.=2E.b", id="an escaped dot between two tokens"),
        pytest.param("=C3", id="half a character"),
        pytest.param("=A9=C3", id="bytes out of order"),
        pytest.param("=ED=A0=80", id="a surrogate"),
        pytest.param("=E0=80=AF", id="an overlong form"),
        pytest.param("a..b", id="an empty token"),
        pytest.param(".a", id="an empty first token"),
        pytest.param("a.", id="an empty last token"),
        pytest.param("a:b", id="a colon as it is"),
        pytest.param("a b", id="a space as it is"),
        pytest.param("é", id="a letter beyond ASCII as it is"),
        pytest.param("🔑", id="a sign beyond Latin-1 as it is"),
        pytest.param("a\n", id="a line break at the end"),
        pytest.param("*", id="a wildcard"),
        pytest.param("k" * 513, id="513 plain bytes"),
        pytest.param("=20" * 513, id="513 escaped bytes"),
    ],
)
def test_a_subject_that_no_key_encodes_to_has_no_key(subject: str) -> None:
    assert decode(subject) is None


@pytest.mark.parametrize(
    ("subject", "shown"), [("user=3A1", "user:1"), ("user.1", "user.1"), ("a=2Eb", "a=2Eb")]
)
def test_a_subject_without_a_key_is_shown_as_it_is(subject: str, shown: str) -> None:
    assert display(subject) == shown


# --- what is no key


@pytest.mark.parametrize(
    ("key", "text"),
    [
        pytest.param("", "invalid key: empty", id="empty"),
        pytest.param("k" * 513, "invalid key: 513 bytes, the limit is 512", id="513 letters"),
        pytest.param("é" * 257, "invalid key: 514 bytes, the limit is 512", id="514 in 257"),
        pytest.param(":" * 513, "invalid key: 513 bytes, the limit is 512", id="513 colons"),
        pytest.param("a\n", "invalid key: control characters are not allowed", id="newline"),
        pytest.param("\ta", "invalid key: control characters are not allowed", id="tab"),
        pytest.param("é\x00", "invalid key: control characters are not allowed", id="NUL"),
        pytest.param("\ud800", "invalid key: not valid UTF-8", id="a lone surrogate"),
        pytest.param("a.\udfff.b", "invalid key: not valid UTF-8", id="a lone low surrogate"),
    ],
)
def test_a_bad_key_is_refused_by_the_name_of_its_rule(key: str, text: str) -> None:
    with pytest.raises(InvalidArgument) as refused:
        encode(key)
    assert refused.value.message == text


@pytest.mark.parametrize("control", CONTROLS, ids=lambda char: f"U+{ord(char):04X}")
@pytest.mark.parametrize("around", ["{}", "a{}", "{}a", "a.{}.b", "é{}"])
def test_no_key_holds_a_control_character(control: str, around: str) -> None:
    with pytest.raises(InvalidArgument, match="control characters"):
        encode(around.format(control))


def test_a_key_over_the_limit_tells_the_limit() -> None:
    with pytest.raises(InvalidArgument) as refused:
        encode("k" * 513)
    assert refused.value.details == {"limit_bytes": 512}


def test_a_refusal_names_the_part_that_was_checked() -> None:
    with pytest.raises(InvalidArgument, match=r"^invalid filter: empty$"):
        check_text("", "filter")


# --- bucket names


@pytest.mark.parametrize("name", ["a", "A-b_9", "-", "_", "0", "b" * 200])
def test_a_good_bucket_name_is_itself(name: str) -> None:
    assert check_bucket(name) == name


@pytest.mark.parametrize(
    "name",
    [
        "",
        "b" * 201,
        "a.b",
        "a/b",
        "a b",
        " a",
        "a\n",
        "..",
        "*",
        ">",
        "$x",
        "é",
        "a\x00",
        "١",
        "a=",
    ],
)
def test_a_bad_bucket_name_is_refused_with_the_rule_as_a_hint(name: str) -> None:
    with pytest.raises(InvalidBucketName) as refused:
        check_bucket(name)
    assert refused.value.message == "invalid bucket name"
    assert refused.value.hint == "1 to 200 characters of A-Z a-z 0-9 _ -"
