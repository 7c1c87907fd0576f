"""Builds what finds out who the caller is, from the settings."""

import asyncio
from dataclasses import dataclass

from jetkv_gateway.auth.authenticator import Authenticator, Chain, Link, NoAuth
from jetkv_gateway.auth.kept_file import FileError
from jetkv_gateway.auth.nats_logins import NatsLogins
from jetkv_gateway.auth.tickets import Tickets
from jetkv_gateway.auth.token_admin import TokenAdmin
from jetkv_gateway.auth.token_bucket import TokenBucket
from jetkv_gateway.auth.token_file import TokenFile
from jetkv_gateway.auth.token_logins import TokenLogins
from jetkv_gateway.auth.token_uses import TokenUses
from jetkv_gateway.kv.token_store import TokenStore
from jetkv_gateway.settings import AuthMode, Settings, SettingsError

__all__ = ["Callers", "authenticator_for"]


def authenticator_for(settings: Settings) -> Authenticator:
    """Return the authenticator that the settings select. It knows no bucket yet.

    Raises:
        TokenFileError: the token file cannot be used.
        SettingsError: JWTs are not installed, or their keys cannot be used.
    """
    links: list[Link] = []
    if settings.auth is not None and AuthMode.TOKENS in settings.auth:
        file = None if settings.auth_tokens is None else TokenFile(settings.auth_tokens)
        links.append(TokenLogins(file))
    if settings.auth is not None and AuthMode.JWT in settings.auth:
        links.append(_jwt_logins(settings))
    if settings.auth is not None and AuthMode.NATS in settings.auth:
        # It takes any text that no link before it knows.
        links.append(NatsLogins())
    return Chain(links) if links else NoAuth()


def _jwt_logins(settings: Settings) -> Link:
    try:
        # Only a gateway with JWTs needs what this imports.
        from jetkv_gateway.auth.jwt_keys import KeyFile, KeyUrl
        from jetkv_gateway.auth.jwt_logins import JwtLogins
        from jetkv_gateway.auth.jwts import JwtRules
    except ModuleNotFoundError as error:
        raise SettingsError(
            f'--auth jwt needs {error.name}: pip install "jetkv[gateway,jwt]"'
        ) from error
    settings.check_jwt()
    assert settings.jwt_issuer is not None, "checked above"
    assert settings.jwt_keys is not None, "checked above"
    rules = JwtRules(
        settings.jwt_issuer,
        tuple(settings.jwt_audience),
        settings.jwt_scopes_claim,
        settings.jwt_name_claim,
        settings.jwt_leeway,
    )
    file = settings.jwt_key_file
    if file is None:
        refresh, stale = settings.jwt_refresh_seconds, settings.jwt_stale_seconds
        return JwtLogins(rules, KeyUrl(settings.jwt_keys, refresh, stale))
    try:
        return JwtLogins(rules, KeyFile(file))
    except FileError as error:
        raise SettingsError(str(error)) from error


@dataclass(frozen=True, slots=True)
class Callers:
    """Finds out who the caller is.

    Attributes:
        bucket: the tokens in NATS; None if the gateway has none.
        admin, tickets, uses: None without `bucket`, and `admin` and `uses` if tokens are no kind of
            credential here.
    """

    authenticator: Authenticator
    bucket: TokenBucket | None = None
    admin: TokenAdmin | None = None
    tickets: Tickets | None = None
    uses: TokenUses | None = None

    @classmethod
    def of(cls, settings: Settings, authenticator: Authenticator, store: TokenStore) -> "Callers":
        """Join an authenticator with the bucket of tokens."""
        if not isinstance(authenticator, Chain) or not settings.token_bucket:
            return cls(authenticator)
        bucket = TokenBucket(store, settings.token_stale_seconds)
        logins = authenticator.tokens
        tickets = Tickets(lambda: bucket.ticket_key, logins)
        if logins is None:
            return cls(authenticator, bucket, tickets=tickets)
        logins.bucket = bucket
        uses = TokenUses(logins, bucket)
        admin = TokenAdmin(logins.file, bucket, uses)
        return cls(authenticator, bucket, admin, tickets, uses)

    @property
    def issue(self) -> str | None:
        """Why the gateway cannot tell its callers apart now, in a text that everybody may see.

        Without tokens, the bucket is for tickets alone. If NATS refuses the access to it, and there
        is a file of tokens, the gateway works as if there were no bucket. Both are warnings only.
        """
        bucket, logins = self.bucket, self._logins
        if bucket is None or not bucket.stale or logins is None:
            return None
        if bucket.refused and logins.file is not None:
            return None
        return bucket.problem or "the tokens of the bucket have not been read yet"

    @property
    def problem(self) -> str | None:
        """Another problem, in a text that everybody may see."""
        if self.bucket is None or self._logins is not None:
            return self.authenticator.problem
        problems = [one for one in (self.authenticator.problem, self.bucket.problem) if one]
        return "; ".join(problems) or None

    @property
    def _logins(self) -> TokenLogins | None:
        return self.authenticator.tokens if isinstance(self.authenticator, Chain) else None

    def start(self) -> None:
        """Follow the tokens and keys until `close`."""
        self.authenticator.start()
        for one in (self.bucket, self.uses):
            if one is not None:
                one.start()

    async def wait(self, seconds: float) -> None:
        """Wait until the tokens are known, at most `seconds`."""
        if self.bucket is not None:
            await self.bucket.wait_loaded(seconds)

    async def close(self) -> None:
        await self.authenticator.close()
        await asyncio.gather(*(one.close() for one in (self.uses, self.bucket) if one is not None))
