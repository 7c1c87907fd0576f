"""Gateways that ask for tokens, and what their administrator asks of them."""

from tests.support.http import Answer, Http

TOKENS = "/api/v1/auth/tokens"


class Guarded:
    """Two gateways on one NATS, and a token of a file that may do everything on both."""

    def __init__(self, gateways: list[Http], root: str) -> None:
        self.gateways = gateways
        self.root = root

    def ask(
        self, method: str, path: str, body: object = None, *, token: str | None = None, at: int = 0
    ) -> Answer:
        caller = {"Authorization": f"Bearer {token or self.root}"}
        if isinstance(body, dict):
            return self.gateways[at].post(path, body, **caller)
        return self.gateways[at].request(method, path, body, **caller)

    def create(self, name: str, *allow: str, **more: object) -> str:
        answer = self.ask("POST", TOKENS, {"name": name, "allow": list(allow), **more})
        assert answer.status == 201, answer
        token: str = answer.json["token"]
        return token

    def listed(self, name: str, at: int = 0) -> dict[str, object]:
        (found,) = [
            one for one in self.ask("GET", TOKENS, at=at).json["tokens"] if one["name"] == name
        ]
        return dict(found)

    def client(self, token: str, at: int = 0) -> Http:
        """A client of one of the gateways with a token."""
        gateway = self.gateways[at]
        return Http(gateway.host, gateway.port, Authorization=f"Bearer {token}")
