"""Files with credentials and certificates: what is whole in them, and when they are read again."""

import logging
import os
from pathlib import Path

import nkeys
import pytest

from jetkv_gateway.jetstream.credentials import (
    Renewed,
    SecretError,
    TlsFiles,
    read_credentials,
    read_nkey,
)

SEED = nkeys.encode_seed(os.urandom(32), nkeys.PREFIX_BYTE_USER).decode()
TYPO = SEED[:30] + ("A" if SEED[30] != "A" else "B") + SEED[31:]
WHOLE = (
    "-----BEGIN NATS USER JWT-----\na.b.c\n------END NATS USER JWT------\n\n"
    f"-----BEGIN USER NKEY SEED-----\n{SEED}\n------END USER NKEY SEED------\n"
)


@pytest.mark.parametrize("length", [0, 10, 33, 60, len(WHOLE) - 60, len(WHOLE) - 32])
def test_a_credentials_file_that_is_not_whole_is_refused_and_waited_for_by_nobody(
    tmp_path: Path, length: int
) -> None:
    file = tmp_path / "creds"
    file.write_text(WHOLE[:length])
    with pytest.raises(SecretError, match="are the credentials complete") as refused:
        read_credentials(file)
    assert SEED not in str(refused.value)


@pytest.mark.parametrize(
    "text",
    ["", "no seed\n", f"{SEED[:20]}\n", f"{TYPO}\n"],
    ids=["empty", "none", "cut short", "with a typing error"],
)
def test_a_file_without_a_whole_seed_is_refused(tmp_path: Path, text: str) -> None:
    file = tmp_path / "nk"
    file.write_text(text)
    with pytest.raises(SecretError, match="are the credentials complete"):
        read_nkey(file)


def renewed(file: Path) -> Renewed[str]:
    def load() -> str:
        text = file.read_text()
        if not text:
            raise SecretError("it is empty")
        return text

    return Renewed("the file", (file,), load)


def test_a_file_is_read_again_when_it_has_changed_only(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("one")
    secret = renewed(file)
    first = secret.get()
    assert secret.get() is first
    file.write_text("other")
    assert secret.get() == "other"


def test_a_file_behind_a_link_that_moves_is_read_again(tmp_path: Path) -> None:
    for text in ("one", "two"):
        (tmp_path / text).write_text(text)
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "one")
    secret = renewed(link)
    assert secret.get() == "one"
    other = tmp_path / "other"
    other.symlink_to(tmp_path / "two")
    other.rename(link)
    assert secret.get() == "two"


def test_a_broken_file_leaves_the_last_good_one_and_is_logged_once_for_each_change(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "file"
    file.write_text("good")
    secret = renewed(file)
    assert secret.get() == "good"
    caplog.set_level(logging.WARNING, "jetkv.nats")
    file.write_text("")
    assert [secret.get() for _ in range(3)] == ["good"] * 3
    assert caplog.messages == [
        "cannot use the file: it is empty; the last valid content stays in use"
    ]
    file.unlink()
    assert [secret.get() for _ in range(3)] == ["good"] * 3
    assert len(caplog.messages) == 2
    file.write_text("better")
    assert secret.get() == "better"


def test_a_file_that_was_never_good_is_an_error_each_time(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    secret = renewed(file)
    for _ in range(2):
        with pytest.raises(SecretError, match="cannot use the file: it is empty"):
            secret.get()
    file.write_text("good")
    assert secret.get() == "good"


@pytest.mark.timeout(20)
def test_a_pipe_in_place_of_a_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(SecretError, match="no such file"):
        renewed(tmp_path / "pipe").get()


@pytest.mark.timeout(20)
def test_an_encrypted_key_is_refused_and_nobody_is_asked_for_its_password(tmp_path: Path) -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    from tests.support.tls import Certificates

    cert, key = Certificates(tmp_path).issue("gateway")
    key.write_bytes(
        ec.generate_private_key(ec.SECP256R1()).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"password"),
        )
    )
    with pytest.raises(SecretError, match="the key of the client certificate is encrypted"):
        TlsFiles(cert=cert, key=key).renewed().get()
