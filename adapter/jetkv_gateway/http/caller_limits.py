"""Applies the limits of a caller to its requests: rates, and delays after refused credentials.

All of them count in one worker (docs/access.md#limits). Callers on the gateway's own machine have
no limits by address, unless `limit_loopback` is set.
"""

import asyncio
from dataclasses import dataclass

from jetkv_gateway.http.call import Call
from jetkv_gateway.http.failed_logins import FailedLogins
from jetkv_gateway.http.rates import Rate, Rates
from jetkv_gateway.http.router import Match
from jetkv_gateway.kv.errors import GatewayError, TooManyRequests
from jetkv_gateway.telemetry.events import EVENTS

__all__ = ["CallerLimits", "RateLimits"]


@dataclass(frozen=True, slots=True)
class RateLimits:
    """Requests a second that one caller may send. 0 means no limit.

    Attributes:
        per_address: from one client address or network.
        per_token: with one token, unless the token has its own rate.
    """

    per_address: int = 0
    per_token: int = 0


class CallerLimits:
    """The limits of the callers of a worker."""

    def __init__(self, limits: RateLimits) -> None:
        self.per_address = limits.per_address
        self.per_token = limits.per_token
        self._addresses = Rates("from this address")
        self._tokens = Rates("with this token")
        self._failures = FailedLogins()

    def check_address(self, call: Call, match: Match | None) -> None:
        """Count a request for its address. Call it only if `per_address` is set.

        Raises:
            TooManyRequests
        """
        if call.request.limited:
            rate = self._addresses.of(call.request.client, self.per_address, call.began)
            _count(call, match, rate)

    def check_token(self, call: Call, match: Match | None) -> None:
        """Count a request for its token, if there is a limit.

        Raises:
            TooManyRequests
        """
        principal = call.principal
        per_second = principal.requests_per_second or self.per_token
        if per_second and principal.identity:
            _count(call, match, self._tokens.of(principal.identity, per_second, call.began))

    def refuse_login(self, call: Call, error: GatewayError) -> bool:
        """Answer a refused credential, now or later.

        Returns:
            Whether the answer comes later, so that the call has to be run. Its handler is then one
            that waits and refuses. It has no route and no names, and nothing is left to check.
        """
        address = call.request.client
        delay = self._failures.note(address, call.began) if call.request.limited else 0.0
        if EVENTS.login_failed is not None:
            EVENTS.login_failed(delay != 0.0)
        if delay is None:
            error = TooManyRequests("too many refused credentials from this address")
            error.hint = "send the right credential, or fewer requests"
        if not delay:
            call.fail(error)
            return False
        failures, seconds, refusal = self._failures, delay, error

        async def answer(call: Call) -> None:
            with failures.delayed(address):
                await call.run_while_connected(asyncio.sleep(seconds))
            call.fail(refusal)

        call.handler, call.names, call.route, call.standing = answer, (), None, None
        # A call that does not run yet will run without a place. One that runs keeps its place.
        call.limited = False
        return True


def _count(call: Call, match: Match | None, rate: Rate) -> None:
    """Count a request. A batch counts its items later, when they are known.

    Raises:
        TooManyRequests
    """
    route = None if match is None else match[0].routes.get(call.method)
    if route is None or not route.counts_items:
        rate.take(1, call.began)
        return
    seconds = rate.wait(1, call.began)
    if seconds > 0.0:
        # Refuse it before its body is read.
        raise rate.refusal(seconds)
    call.rates = (*call.rates, rate)
