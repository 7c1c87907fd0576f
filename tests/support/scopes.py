"""Callers with scopes, for tests of what a caller may do: the token is the list of the scopes."""

from jetkv_gateway.kv.access import Principal
from jetkv_gateway.kv.errors import Unauthenticated
from jetkv_gateway.kv.scopes import NOBODY, Grants, parse_scopes


def grants(*scopes: str) -> Grants:
    return parse_scopes(scopes) if scopes else NOBODY


def may(*scopes: str) -> dict[str, str]:
    """Return the headers of a caller that has these scopes and no others."""
    return {"Authorization": f"Bearer {token(*scopes)}"}


def token(*scopes: str) -> str:
    return ";".join(scopes) or "nobody"


class ScopesAreTokens:
    """An authenticator whose tokens are `VERBS:BUCKET[/KEYS]` scopes, separated by semicolons.

    Without a credential, the caller has the scopes `default`.
    """

    required = True
    problem = None
    version = 0

    def __init__(self, *default: str) -> None:
        self._default = token(*default)

    def refresh(self, *, force: bool = False, quiet: bool = False) -> None: ...

    def current(self, principal: Principal) -> Principal:
        return principal

    def start(self) -> None: ...

    async def close(self) -> None: ...

    def authenticate(self, authorization: bytes | None) -> Principal:
        scheme, _, given = (authorization or b"Bearer " + self._default.encode()).partition(b" ")
        if scheme != b"Bearer":
            raise Unauthenticated
        text = given.decode()
        scopes = () if text == "nobody" else text.split(";")
        return Principal(text, "token", grants(*scopes), identity=given)
