"""How to reach NATS: the settings, and the content of the files that they name."""

import ssl
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nats.aio.client import RawCredentials

from jetkv_gateway.jetstream.credentials import (
    Renewed,
    SecretError,
    TlsFiles,
    read_credentials,
    read_nkey,
    read_secret,
)
from jetkv_gateway.jetstream.servers import Server

__all__ = ["NatsOptions", "Secrets"]


@dataclass(frozen=True, slots=True)
class NatsOptions:
    """The settings for the connection to NATS.

    Attributes:
        servers: addresses, tried in turn. A login in an address counts if no other is given here.
        jwt: a login that needs no signature (`bearer_token`).
        password_file, token_file: files, read again for each connection; they win over the values
            that they had before.
        credentials, nkey_seed: files, read again for each connection.
        tls: files, read again when they change; None for the system's trust store.
        tls_hostname: the name in the certificates, if it is not the host of the address.
        tls_first: whether TLS starts before the server sends anything.
        tls_required: whether addresses without `tls://` require TLS too.
        inbox_prefix: of the subjects for replies.
        of_caller: whether the login is that of a caller, one of many, and not the gateway's.
    """

    servers: tuple[str, ...]
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    jwt: str | None = field(default=None, repr=False)
    password_file: Path | None = None
    token_file: Path | None = None
    credentials: Path | None = None
    nkey_seed: Path | None = None
    tls: TlsFiles = field(default_factory=TlsFiles)
    tls_hostname: str | None = None
    tls_first: bool = False
    tls_required: bool = False
    inbox_prefix: str = "_INBOX"
    name: str = "jetkv"
    of_caller: bool = False


@dataclass(slots=True)
class Secrets:
    """The content of the files that `options` names."""

    options: NatsOptions
    tls: Renewed[ssl.SSLContext] = field(init=False)
    _signing: Renewed[dict[str, Any]] | None = field(init=False, default=None)
    _password: Renewed[str] | None = field(init=False, default=None)
    _token: Renewed[str] | None = field(init=False, default=None)

    def __post_init__(self) -> None:
        self._password = _renewed("the password file for NATS", self.options.password_file)
        self._token = _renewed("the token file for NATS", self.options.token_file)
        self.tls = self.options.tls.renewed()
        creds, nkey = self.options.credentials, self.options.nkey_seed
        if creds is not None:
            self._signing = Renewed(
                "the credentials file for NATS",
                (creds,),
                lambda: {"user_credentials": RawCredentials(read_credentials(creds))},
            )
        elif nkey is not None:
            self._signing = Renewed(
                "the nkey file for NATS", (nkey,), lambda: {"nkeys_seed_str": read_nkey(nkey)}
            )

    def look(self) -> None:
        """Read files that have changed, so that `problem` is known before a connection."""
        for one in self._files:
            with suppress(SecretError):  # the attempts to connect report it
                one.get()

    @property
    def problem(self) -> str | None:
        """Why the files cannot be used as they are now, without details, or None."""
        found = [one.problem for one in self._files]
        return "; ".join(text for text in found if text) or None

    @property
    def _files(self) -> list[Renewed[Any]]:
        every = (self._signing, self.tls, self._password, self._token)
        return [one for one in every if one is not None]

    @property
    def signs(self) -> bool:
        """Whether the login is a signature, which the server must ask for."""
        return self._signing is not None

    def login(self, server: Server) -> dict[str, Any]:
        """Return nats-py's login arguments for a server; the settings' login takes precedence."""
        options, own = self.options, server.login
        token = options.token if self._token is None else self._token.get()
        if self._signing is not None:
            signing = self._signing.get()
            return {**signing, "token": token} if token else signing
        if options.jwt is not None:
            jwt = options.jwt.encode()
            return {"user_jwt_cb": lambda: jwt, "signature_cb": lambda _nonce: b""}
        if token is not None:
            return {"token": token}
        password = options.password if self._password is None else self._password.get()
        user = options.user if options.user is not None else own.user
        if user is None and password is not None:
            user = own.token  # `user@host` alone is a token, but not beside a password
        if user is not None:
            if password is None:
                password = own.password if options.user is None else ""
            return {"user": user, "password": password or ""}
        return {"token": own.token} if own.token is not None else {}


def _renewed(what: str, file: Path | None) -> Renewed[str] | None:
    return None if file is None else Renewed(what, (file,), lambda: read_secret(file))
