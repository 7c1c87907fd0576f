"""Tokens, and lines of token files, for tests."""

from jetkv_gateway.auth import tokens
from jetkv_gateway.auth.tokens import new_token

__all__ = ["new_token", "token_line"]


def token_line(name: str, token: str, *scopes: str, expires: str | None = None) -> str:
    """A line of a token file; without scopes, the token may do everything."""
    return tokens.token_line(name, token, scopes or ("*:*",), expires)
