"""Which login of NATS an `Authorization` header is."""

import base64
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from jetkv_gateway.auth.nats_logins import read_login
from jetkv_gateway.kv.errors import Unauthenticated

TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)


def basic(user: str, password: str) -> bytes:
    return b"Basic " + base64.b64encode(f"{user}:{password}".encode())


@given(TEXT.filter(lambda user: ":" not in user), TEXT)
def test_user_and_password_come_as_they_were_sent(user: str, password: str) -> None:
    login = read_login(basic(user, password))
    assert login is not None
    assert (login.user, login.password, login.token, login.jwt) == (user, password, None, None)
    assert login.name.isprintable()
    assert len(login.name) <= 200


@given(TEXT, TEXT, TEXT, TEXT)
def test_no_two_logins_have_the_same_identity(a: str, b: str, c: str, d: str) -> None:
    assume((a, b) != (c, d) and ":" not in a + c)
    one, other = read_login(basic(a, b)), read_login(basic(c, d))
    assert one is not None
    assert other is not None
    assert one.identity != other.identity


@given(st.binary())
def test_no_header_breaks_the_reader(header: bytes) -> None:
    for text in (header, b"Basic " + header, b"Bearer " + header):
        try:
            login = read_login(text)
        except Unauthenticated:
            continue
        # An empty login would be NATS's no_auth_user.
        assert login is None or login.user or login.token or login.jwt


@pytest.mark.parametrize("secret", ["password", "token", "jwt"])
def test_no_secret_is_in_the_text_of_a_login(secret: str) -> None:
    given: dict[str, Any] = {
        "password": basic("alice", "s3cret"),
        "token": b"Bearer s3cret",
        "jwt": b"Bearer eyJhbGciOiJlZDI1NTE5LW5rZXkifQ.e30.s3cretAA",
    }
    assert "s3cret" not in repr(read_login(given[secret]))
