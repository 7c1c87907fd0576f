"""Handlers of the routes that tell callers who they are and what they may do."""

from jetkv_gateway.http.auth_schema import CanOut, WhoAmI
from jetkv_gateway.http.call import Call
from jetkv_gateway.kv.errors import InvalidArgument
from jetkv_gateway.kv.keys import check_bucket, check_text
from jetkv_gateway.kv.scopes import Grants, ScopeVerb
from jetkv_gateway.kv.timestamps import rfc3339

__all__ = ["IdentityHandlers"]


class IdentityHandlers:
    """The handlers of `/api/v1/auth/whoami` and `…/can`."""

    async def whoami(self, call: Call) -> None:
        caller = call.principal
        expires = caller.expires_at
        answer = WhoAmI(
            name=caller.name,
            method=caller.method,
            scopes=list(caller.grants.texts),
            expires_at=None if expires is None else rfc3339(round(expires * 1000) * 1_000_000),
        )
        call.answer_json(200, answer.json_bytes())

    async def check_access(self, call: Call) -> None:
        verb = _verb(call.parameter("verb"))
        bucket, key = call.parameter("bucket"), call.parameter("key")
        answer = _can(call.principal.grants, verb, bucket, key)
        call.answer_json(200, answer.json_bytes())


def _verb(text: str | None) -> ScopeVerb:
    try:
        return ScopeVerb(text or "")
    except ValueError:
        known = ", ".join(ScopeVerb)
        raise InvalidArgument(f"query parameter 'verb' must be one of {known}") from None


def _can(grants: Grants, verb: ScopeVerb, bucket: str | None, key: str | None) -> CanOut:
    """Return whether the grants allow a verb.

    Raises:
        InvalidArgument: the question breaks a rule of scopes.
    """
    if key is not None:
        check_text(key, "key")
    if verb is ScopeVerb.METRICS and bucket in (None, "*"):
        bucket = "*"
    elif bucket is None:
        raise InvalidArgument("query parameter 'bucket' is missing")
    else:
        check_bucket(bucket)
    if verb in (ScopeVerb.ADMIN, ScopeVerb.METRICS):
        key = None  # these are about all keys
    scope = grants.scope_for(verb, bucket, key)
    if scope is not None:
        return CanOut(allowed=True, scope=scope.text)
    where = "" if verb is ScopeVerb.METRICS else f" in bucket {bucket}"
    if key is None and grants.touches(verb, bucket):
        return CanOut(allowed=False, reason=f"your scopes allow {verb} on some keys only{where}")
    what = "" if key is None else " on this key"
    return CanOut(allowed=False, reason=f"no scope of yours allows {verb}{what}{where}")
