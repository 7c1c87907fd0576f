"""An issuer of JWTs: its keys, its key set, and a server that publishes it."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

__all__ = ["AUDIENCE", "ISSUER", "Issuer", "published"]

ISSUER, AUDIENCE = "https://login.example.org", "jetkv"

_MAKE = {
    "RS256": lambda: rsa.generate_private_key(65537, 2048),
    "ES256": lambda: ec.generate_private_key(ec.SECP256R1()),
    "EdDSA": ed25519.Ed25519PrivateKey.generate,
}
_TO_JWK = {"RS256": RSAAlgorithm.to_jwk, "ES256": ECAlgorithm.to_jwk, "EdDSA": OKPAlgorithm.to_jwk}


class Issuer:
    """Has a key for each name in `keys`, such as `{"k1": "ES256"}`."""

    def __init__(self, **keys: str) -> None:
        self._keys: dict[str, tuple[str, Any]] = {}
        self.asked = 0
        for kid, algorithm in keys.items():
            self.add(kid, algorithm)

    def add(self, kid: str, algorithm: str) -> None:
        self._keys[kid] = (algorithm, _MAKE[algorithm]())

    def remove(self, kid: str) -> None:
        del self._keys[kid]

    def private(self, kid: str) -> Any:
        return self._keys[kid][1]

    def entry(self, kid: str) -> dict[str, Any]:
        """The public key as the key set has it."""
        algorithm, key = self._keys[kid]
        return {"kid": kid, **json.loads(_TO_JWK[algorithm](key.public_key()))}

    def key_set(self, *others: dict[str, Any]) -> bytes:
        return json.dumps({"keys": [*map(self.entry, self._keys), *others]}).encode()

    def token(self, kid: str, *scopes: str, header: Any = None, **claims: Any) -> bytes:
        """A JWT. A claim that is None is left out."""
        algorithm, key = self._keys[kid]
        payload = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "alice",
            "exp": int(time.time()) + 60,
            "scope": " ".join(scopes),
            **claims,
        }
        payload = {name: value for name, value in payload.items() if value is not None}
        head = {"kid": kid, **(header or {})}
        return jwt.encode(
            payload, key, algorithm, {name: value for name, value in head.items() if value}
        ).encode()


@contextmanager
def published(issuer: Issuer) -> Iterator[str]:
    """Serve the key set of an issuer; yield its address."""

    class Keys(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            issuer.asked += 1
            content = issuer.key_set()
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Keys) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/keys"
        finally:
            server.shutdown()
            thread.join(10)
