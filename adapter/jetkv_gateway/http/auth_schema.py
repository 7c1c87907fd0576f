"""Models of the JSON about callers and what they may do."""

from typing import Annotated

from pydantic import Field as Described

from jetkv_gateway.http.answers import AnswerModel

__all__ = ["CanOut", "WhoAmI"]


class WhoAmI(AnswerModel):
    """The caller of a request."""

    name: Annotated[str, Described(description="Of the token or login; anonymous with auth off")]
    method: Annotated[
        str, Described(description="How the caller proved its name; none with auth off")
    ]
    scopes: Annotated[list[str], Described(description="What the caller may do")]
    expires_at: Annotated[
        str | None, Described(description="RFC 3339; only if the credential expires")
    ] = None


class CanOut(AnswerModel):
    """Whether the caller may do something."""

    allowed: bool
    scope: Annotated[str | None, Described(description="A scope that allows it")] = None
    reason: Annotated[str | None, Described(description="Why it is not allowed")] = None
