"""The files of a listener: when they are read, and what happens when they cannot be."""

import logging
import pickle
from pathlib import Path

import pytest

from jetkv.testing import LocalNats
from jetkv_gateway.app import listener_tls
from jetkv_gateway.serving.options import CannotStart
from jetkv_gateway.serving.tls import ListenerFiles, ServerTls
from jetkv_gateway.settings import SettingsError, load
from tests.support.gateway import running_gateway
from tests.support.https import Connection, client_context
from tests.support.tls import Certificates
from tests.support.waiting import until

Files = tuple[Path, Path]
PASSWORD = b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n"


def replace(files: Files, by: Files) -> None:
    for old, new in zip(files, by, strict=True):
        old.write_bytes(new.read_bytes())


@pytest.fixture(autouse=True)
def said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """What the gateway says, whether or not other tests have set its logging up."""
    monkeypatch.setattr(logging.getLogger("jetkv"), "propagate", True)
    caplog.set_level("INFO", "jetkv")


@pytest.fixture
def next_files(authority: Certificates, tmp_path: Path) -> Files:
    """Another certificate for the same address."""
    return authority.issue("127.0.0.1", file=f"next-{tmp_path.name}")


def test_new_connections_get_a_new_certificate_and_open_ones_go_on(
    nats: LocalNats, authority: Certificates, files: Files, next_files: Files
) -> None:
    with (
        running_gateway(
            nats.url, tls=client_context(authority), tls_cert=files[0], tls_key=files[1]
        ) as https,
        Connection(https) as first,
    ):
        assert first.get("/health") == 200
        replace(files, next_files)

        def is_new() -> bool:
            with Connection(https) as connection:
                return connection.serial != first.serial

        until(is_new, "a new connection gets the new certificate")
        assert first.get("/health") == 200


def test_a_key_that_does_not_belong_to_its_certificate_changes_nothing(
    files: Files, next_files: Files
) -> None:
    tls = ServerTls(ListenerFiles(*files))
    before = tls.context
    files[0].write_bytes(next_files[0].read_bytes())
    tls.refresh()
    tls.refresh()
    assert tls.context is before
    files[1].write_bytes(next_files[1].read_bytes())
    tls.refresh()
    tls.refresh()
    assert tls.context is not before


def test_files_that_still_change_are_not_read(
    files: Files, next_files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    tls = ServerTls(ListenerFiles(*files))
    before = tls.context
    files[0].write_bytes(next_files[0].read_bytes())
    tls.refresh()
    files[1].write_bytes(next_files[1].read_bytes())
    tls.refresh()
    assert (tls.context, caplog.messages) == (before, [])
    tls.refresh()
    assert tls.context is not before


def test_broken_files_are_logged_once(files: Files, caplog: pytest.LogCaptureFixture) -> None:
    tls = ServerTls(ListenerFiles(*files))
    files[0].write_text("none")
    for _ in range(5):
        tls.refresh()
    assert caplog.messages == [
        f"cannot use the files of tls_cert, tls_key and tls_client_ca: {files[0]} has no PEM "
        "block; the last good certificate stays in use"
    ]


def test_a_forced_reload_says_what_is_in_use(
    files: Files, caplog: pytest.LogCaptureFixture
) -> None:
    ServerTls(ListenerFiles(*files)).refresh(force=True)
    assert caplog.messages == [f"new connections use the same certificate: {files[0]}"]


def test_a_worker_can_start_while_the_files_are_broken(files: Files) -> None:
    tls = ServerTls(ListenerFiles(*files))
    files[0].unlink()
    assert pickle.loads(pickle.dumps(tls)).context is not None


def test_a_certificate_and_its_key_can_be_in_one_file(files: Files) -> None:
    files[0].write_bytes(files[0].read_bytes() + files[1].read_bytes())
    assert ServerTls(ListenerFiles(files[0])).context is not None


@pytest.mark.parametrize(
    ("which", "content", "complaint"),
    [
        (0, None, "no such file"),
        (0, b"text", "has no PEM block"),
        (1, PASSWORD, "cannot use the files"),
        (1, b"-----BEGIN CERTIFICATE-----\nx\n", "cannot use the files"),
    ],
)
def test_files_that_cannot_be_used_are_one_clear_line(
    files: Files, which: int, content: bytes | None, complaint: str
) -> None:
    files[which].unlink()
    if content is not None:
        files[which].write_bytes(content)
    with pytest.raises(CannotStart, match=complaint) as refused:
        ServerTls(ListenerFiles(*files))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["tls_key", "tls_client_ca"])
def test_settings_that_need_a_certificate_say_so(name: str, files: Files) -> None:
    settings = load({"auth": "off", name: files[1]}, None)
    with pytest.raises(SettingsError, match=f"{name} needs tls_cert"):
        listener_tls(settings)


def test_a_proxy_protocol_header_before_tls_is_refused_at_the_start(files: Files) -> None:
    settings = load(
        {"proxy_protocol": True, "trusted_proxies": "10.0.0.1", "tls_cert": files[0]}, None
    )
    with pytest.raises(SettingsError, match="proxy_protocol"):
        listener_tls(settings)
