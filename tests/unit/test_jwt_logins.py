"""A JWT is accepted if the issuer's key signed it for us, and for nothing else."""

import asyncio
import base64
import hashlib
import hmac
import json
import time
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from jwt.algorithms import RSAAlgorithm

from jetkv_gateway.auth.jwt_keys import KeyFile, KeyUrl
from jetkv_gateway.auth.jwt_logins import JwtLogins
from jetkv_gateway.auth.jwts import JwtRules
from jetkv_gateway.auth.kept_file import FileError
from jetkv_gateway.auth.key_set import KeySetError, parse_key_set
from jetkv_gateway.kv.access import Principal
from jetkv_gateway.kv.errors import Unauthenticated, Unavailable
from jetkv_gateway.kv.scopes import ScopeVerb
from tests.support.issuer import AUDIENCE, ISSUER, Issuer, published

RULES = JwtRules(ISSUER, (AUDIENCE,))
ALGORITHMS = {"rsa": "RS256", "ec": "ES256", "ed": "EdDSA"}


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer(**ALGORITHMS)


@pytest.fixture(scope="module")
def logins(issuer: Issuer, tmp_path_factory: pytest.TempPathFactory) -> JwtLogins:
    return JwtLogins(RULES, KeyFile(key_file(tmp_path_factory.mktemp("keys"), issuer)))


def key_file(folder: Path, issuer: Issuer, *others: dict[str, Any]) -> Path:
    path = folder / "keys.json"
    path.write_bytes(issuer.key_set(*others))
    return path


def login(logins: JwtLogins, token: bytes) -> Principal:
    found = logins.authenticate(b"Bearer " + token)
    assert isinstance(found, Principal)
    return found


def refusal(logins: JwtLogins, token: bytes) -> str:
    with pytest.raises(Unauthenticated) as caught:
        logins.authenticate(b"Bearer " + token)
    return str(caught.value.hint)


def encoded(part: object) -> bytes:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=")


@pytest.mark.parametrize("kid", ALGORITHMS)
def test_a_jwt_of_the_issuer_is_its_caller(logins: JwtLogins, issuer: Issuer, kid: str) -> None:
    caller = login(logins, issuer.token(kid, "read:b"))
    assert (caller.name, caller.method) == ("alice", "jwt")
    assert caller.grants.covers(ScopeVerb.READ, "b")
    assert not caller.grants.touches(ScopeVerb.WRITE, "b")


@pytest.mark.parametrize("kid", ALGORITHMS)
def test_a_jwt_that_names_no_key_is_checked_with_all_that_fit(
    logins: JwtLogins, issuer: Issuer, kid: str
) -> None:
    assert login(logins, issuer.token(kid, "read:b", header={"kid": None})).name == "alice"


def test_scopes_may_be_a_list(logins: JwtLogins, issuer: Issuer) -> None:
    caller = login(logins, issuer.token("ec", scope=["read:a", "write:b/x y"]))
    assert caller.grants.texts == ("read:a", "write:b/x y")


def test_words_that_are_no_scopes_are_left_out(logins: JwtLogins, issuer: Issuer) -> None:
    caller = login(logins, issuer.token("ec", "openid", "read:a", "fly:b"))
    assert caller.grants.texts == ("read:a",)


@pytest.mark.parametrize("scope", [None, "", "openid profile", 7, {"read": "b"}, [1, None]])
def test_a_jwt_without_scopes_of_ours_may_do_nothing(
    logins: JwtLogins, issuer: Issuer, scope: object
) -> None:
    assert login(logins, issuer.token("ec", scope=scope)).grants.texts == ()


def test_a_jwt_with_too_many_scopes_is_refused(logins: JwtLogins, issuer: Issuer) -> None:
    many = [f"read:b{number}" for number in range(101)]
    assert refusal(logins, issuer.token("ec", *many)) == "this JWT has over 100 scopes"


@pytest.mark.parametrize(
    ("claims", "hint"),
    [
        ({"exp": None}, "this JWT has no exp, iss or aud"),
        ({"exp": 1}, "this JWT has expired"),
        ({"exp": "tomorrow"}, "this JWT cannot be used"),
        ({"exp": float("inf")}, "this JWT cannot be used"),
        ({"exp": 10**400}, "this JWT cannot be used"),
        ({"nbf": 10**12}, "this JWT is not valid yet"),
        ({"iss": None}, "this JWT has no exp, iss or aud"),
        ({"iss": ISSUER + "/"}, "this JWT has another issuer"),
        ({"aud": None}, "this JWT has no exp, iss or aud"),
        ({"aud": "another"}, "this JWT is for another audience"),
        ({"sub": None}, "this JWT has no usable sub"),
        ({"sub": "a\nb"}, "this JWT has no usable sub"),
        ({"sub": "a" * 201}, "this JWT has no usable sub"),
    ],
    ids=str,
)
def test_a_claim_that_breaks_a_rule_is_named(
    logins: JwtLogins, issuer: Issuer, claims: dict[str, Any], hint: str
) -> None:
    assert refusal(logins, issuer.token("ec", "read:b", **claims)) == hint


def test_a_clock_may_differ_by_the_leeway(logins: JwtLogins, issuer: Issuer) -> None:
    assert login(logins, issuer.token("ec", exp=int(time.time()) - 2)).name == "alice"


def test_no_jwt_is_valid_longer_than_its_leeway_allows(
    logins: JwtLogins, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    token = issuer.token("ec", exp=int(time.time()) + 30)
    caller = login(logins, token)
    later = time.time() + 36
    monkeypatch.setattr("jetkv_gateway.auth.jwt_logins.time", lambda: later)
    assert logins.current(caller) is None


def test_a_secret_made_of_a_public_key_signs_nothing(logins: JwtLogins, issuer: Issuer) -> None:
    public = issuer.private("rsa").public_key()
    pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    _, payload, _ = issuer.token("rsa", "*:*").split(b".")
    text = encoded({"alg": "HS256", "typ": "JWT", "kid": "rsa"}) + b"." + payload
    digest = hmac.new(pem, text, hashlib.sha256).digest()
    forged = text + b"." + base64.urlsafe_b64encode(digest).rstrip(b"=")
    assert "unknown" in refusal(logins, forged)


@pytest.mark.parametrize("algorithm", ["none", "None", "HS256", "ES256", "RS512", "", 7, None])
def test_a_jwt_cannot_choose_its_algorithm(
    logins: JwtLogins, issuer: Issuer, algorithm: object
) -> None:
    _, payload, signature = issuer.token("rsa", "*:*").split(b".")
    head = encoded({"alg": algorithm, "kid": "rsa"})
    for forged in (b".".join([head, payload, signature]), b".".join([head, payload, b""])):
        assert refusal(logins, forged)


def test_a_jwt_that_demands_an_extension_is_refused(logins: JwtLogins, issuer: Issuer) -> None:
    for header in ({"crit": ["exp"], "exp": 1}, {"crit": "x"}, {"b64": False}):
        _, payload, signature = issuer.token("ec", "*:*").split(b".")
        head = encoded({"alg": "ES256", "kid": "ec", **header})
        assert "this JWT demands an extension" in refusal(
            logins, b".".join([head, payload, signature])
        )


def test_a_key_that_comes_with_the_jwt_is_not_used(logins: JwtLogins) -> None:
    stranger = Issuer(ec="ES256")
    token = stranger.token("ec", "*:*", header={"jwk": stranger.entry("ec")})
    assert refusal(logins, token) == "the signature of this JWT is wrong"


def test_the_login_of_nats_is_left_to_another_link(logins: JwtLogins) -> None:
    token = encoded({"typ": "JWT", "alg": "ed25519-nkey"}) + b".e30.e30"
    assert logins.authenticate(b"Bearer " + token) is None


@pytest.mark.parametrize("credential", [b"", b"Basic eyJ.e30.x", b"Bearer jkv_x", b"Bearer a.b.c"])
def test_another_kind_of_credential_is_left_to_another_link(
    logins: JwtLogins, credential: bytes
) -> None:
    assert logins.authenticate(credential) is None


@given(st.data())
def test_no_changed_byte_of_a_jwt_passes(
    logins: JwtLogins, issuer: Issuer, data: st.DataObject
) -> None:
    token = bytearray(issuer.token("ed", "read:b"))
    # The last character has bits that no byte holds.
    position = data.draw(st.integers(0, len(token) - 2))
    token[position] = data.draw(st.integers(0, 255).filter(lambda byte: byte != token[position]))
    try:
        found = logins.authenticate(b"Bearer " + bytes(token))
    except Unauthenticated:
        return
    assert found is None


def test_who_renews_a_jwt_keeps_its_idempotency_keys(logins: JwtLogins, issuer: Issuer) -> None:
    first, second, other = (
        login(logins, issuer.token(kid, sub=name))
        for kid, name in (("ec", "alice"), ("ed", "alice"), ("ec", "bob"))
    )
    assert first.identity == second.identity != other.identity


def test_a_key_that_is_gone_ends_what_it_signed(tmp_path: Path) -> None:
    issuer = Issuer(old="ES256", new="ES256")
    path = key_file(tmp_path, issuer)
    logins = JwtLogins(RULES, KeyFile(path))
    token, version = issuer.token("old", "read:b"), logins.version
    caller = login(logins, token)
    issuer.remove("old")
    path.write_bytes(issuer.key_set())
    logins.refresh(force=True)
    assert logins.version > version
    assert logins.current(caller) is None
    assert "unknown" in refusal(logins, token)


def test_a_file_that_breaks_keeps_the_keys_read_before(tmp_path: Path) -> None:
    issuer = Issuer(k="ES256")
    path = key_file(tmp_path, issuer)
    logins = JwtLogins(RULES, KeyFile(path))
    path.write_text("{")
    logins.refresh()
    assert login(logins, issuer.token("k")).name == "alice"
    assert logins.problem is not None
    path.write_bytes(issuer.key_set())
    logins.refresh()
    assert logins.problem is None


def test_a_file_without_keys_is_refused_at_start(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no such file"):
        KeyFile(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"\xff", "not JSON"),
        (b"[" * 100_000, "not JSON"),
        (b"[]", 'a list "keys"'),
        (b'{"keys":{}}', 'a list "keys"'),
        (b'{"keys":[]}', "no public key"),
        (b'{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}', "no public key"),
        (b'{"keys":[{"kty":["RSA"]},7,null]}', "no public key"),
        (b'{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}', "no public key"),
        (b'{"keys":[' + b",".join([b"{}"] * 101) + b"]}", "more than 100 keys"),
        (b" " * (1024 * 1024 + 1), "more than 1048576 bytes"),
    ],
    ids=range(10),
)
def test_a_key_set_that_cannot_be_used_says_why(content: bytes, words: str) -> None:
    with pytest.raises(KeySetError, match=words):
        parse_key_set(content)


@given(st.recursive(st.none() | st.integers() | st.text(), lambda some: st.lists(some)))
def test_no_json_breaks_the_reader_of_key_sets(entry: object) -> None:
    content = json.dumps({"keys": [{"kty": "RSA", "n": entry, "e": entry, "key_ops": entry}]})
    with pytest.raises(KeySetError):
        parse_key_set(content.encode())


@pytest.mark.parametrize(
    "change", [{"use": "enc"}, {"alg": "ES384"}, {"key_ops": ["encrypt"]}], ids=str
)
def test_a_key_for_another_use_is_left_out(issuer: Issuer, change: dict[str, Any]) -> None:
    entry = {**issuer.entry("ec"), **change}
    assert len(parse_key_set(json.dumps({"keys": [issuer.entry("ed"), entry]}).encode())) == 1


def test_a_short_rsa_key_is_left_out(issuer: Issuer) -> None:
    short = rsa.generate_private_key(65537, 1024)
    entry = {"kid": "short", **json.loads(RSAAlgorithm.to_jwk(short.public_key()))}
    assert len(parse_key_set(issuer.key_set(entry))) == len(ALGORITHMS)


def test_an_unknown_key_is_asked_for_once_in_a_while() -> None:
    async def go() -> None:
        issuer = Issuer(old="ES256")
        with published(issuer) as url:
            keys = KeyUrl(url, every=300, stale_after=3600)
            logins = JwtLogins(RULES, keys)
            await keys.ask()
            issuer.add("new", "EdDSA")
            token = issuer.token("new", "read:b")
            assert "unknown" in refusal(logins, token)
            keys._asked_at = None
            pending = [logins.authenticate(b"Bearer " + token) for _ in range(20)]
            callers = await asyncio.gather(*(one.resolve() for one in pending))  # type: ignore[union-attr]  # nothing is known of this key, so all are pending
            assert {caller.name for caller in callers} == {"alice"}
            assert issuer.asked == 2
            stranger = Issuer(other="ES256")
            assert "unknown" in refusal(logins, stranger.token("other"))
            assert issuer.asked == 2
            await keys.close()

    asyncio.run(go())


def test_without_keys_nobody_can_tell_who_calls() -> None:
    async def go() -> None:
        issuer = Issuer(k="ES256")
        keys = KeyUrl("http://127.0.0.1:1/keys", every=300, stale_after=3600)
        logins = JwtLogins(RULES, keys)
        pending = logins.authenticate(b"Bearer " + issuer.token("k"))
        with pytest.raises(Unavailable):
            await pending.resolve()  # type: ignore[union-attr]  # there are no keys
        assert logins.problem == "the keys for JWTs have not been read yet"
        await keys.close()

    asyncio.run(go())


def test_keys_that_are_too_old_are_not_in_force(monkeypatch: pytest.MonkeyPatch) -> None:
    async def go() -> None:
        issuer = Issuer(k="ES256")
        with published(issuer) as url:
            keys = KeyUrl(url, every=300, stale_after=3600)
            await keys.ask()
        logins = JwtLogins(RULES, keys)
        token = issuer.token("k", exp=int(time.time()) + 7200)
        caller = login(logins, token)
        later = time.monotonic() + 3601
        monkeypatch.setattr("jetkv_gateway.auth.jwt_keys.monotonic", lambda: later)
        keys._asked_at = later
        with pytest.raises(Unavailable):
            login(logins, token)
        with pytest.raises(Unavailable):
            logins.current(caller)
        await keys.close()

    asyncio.run(go())


@pytest.mark.parametrize(
    "seconds",
    [int(time.time()) * 1000, 253_402_300_800, 10**30],
    ids=["milliseconds", "the year 10000", "more than a float holds"],
)
def test_an_expiry_in_milliseconds_or_after_all_calendars_is_refused(
    logins: JwtLogins, issuer: Issuer, seconds: int
) -> None:
    token = issuer.token("ec", "read:b", exp=seconds)
    assert refusal(logins, token) == "the exp of this JWT must be in seconds"
