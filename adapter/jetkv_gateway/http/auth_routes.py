"""The routes about callers and what they may do."""

from jetkv_gateway.http.route_parts import AUTH, json_answer
from jetkv_gateway.http.router import Parameter, Route
from jetkv_gateway.kv.access import Verb

__all__ = ["AUTH_ROUTES"]

AUTH_ROUTES: tuple[Route, ...] = (
    Route(
        "whoami",
        "GET",
        f"{AUTH}/whoami",
        Verb.IDENTITY,
        "Read your name, your scopes and when your credential expires",
        "Access",
        answers={200: json_answer("The caller", "WhoAmI")},
    ),
    Route(
        "check_access",
        "GET",
        f"{AUTH}/can",
        Verb.IDENTITY,
        "Ask whether you may do something, without doing it",
        "Access",
        parameters=(
            Parameter(
                "verb",
                "What to do",
                {"enum": ["read", "write", "delete", "admin", "metrics"]},
                required=True,
            ),
            Parameter(
                "bucket",
                "In which bucket. `metrics` needs none",
                {"pattern": r"^([A-Za-z0-9_-]{1,200}|\*)$"},
            ),
            Parameter(
                "key",
                "On which key. Without it, the question is about all keys of the bucket",
                {"pattern": r"^[^\x00-\x1f\x7f]+$", "maxLength": 512},
            ),
        ),
        answers={200: json_answer("Whether you may", "CanOut")},
    ),
)
