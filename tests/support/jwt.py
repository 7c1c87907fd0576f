"""A NATS operator of our own, whose users log in with credentials files."""

import base64
import json
import os
import time
from typing import Any

import nkeys

_UNLIMITED = -1


class _Key:
    def __init__(self, prefix: int) -> None:
        self.seed = nkeys.encode_seed(os.urandom(32), prefix)
        self._pair = nkeys.from_seed(bytearray(self.seed))
        self.public = self._pair.public_key.decode()

    def sign(self, subject: str, name: str, nats: dict[str, Any]) -> str:
        """Return a JWT about `subject`."""
        claims = {
            "jti": base64.b32encode(os.urandom(20)).decode(),
            "iat": int(time.time()),
            "iss": self.public,
            "name": name,
            "sub": subject,
            "nats": {**nats, "version": 2},
        }
        head = _base64(json.dumps({"typ": "JWT", "alg": "ed25519-nkey"}).encode())
        text = f"{head}.{_base64(json.dumps(claims).encode())}"
        return f"{text}.{_base64(self._pair.sign(text.encode()))}"


def _base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Operator:
    """An operator with one account, and another one for the system where `jetstream` is on."""

    def __init__(self, *, jetstream: bool = False) -> None:
        operator = _Key(nkeys.PREFIX_BYTE_OPERATOR)
        self._account = _Key(nkeys.PREFIX_BYTE_ACCOUNT)
        limits = dict.fromkeys(
            ("subs", "data", "payload", "imports", "exports", "conn", "leaf"), _UNLIMITED
        )
        stored = ("mem_storage", "disk_storage", "streams", "consumer")
        kept = dict.fromkeys(stored, _UNLIMITED) if jetstream else {}
        account = operator.sign(
            self._account.public,
            "A",
            {"type": "account", "limits": {**limits, **kept, "wildcards": True}},
        )
        self.config = (
            f"operator: {operator.sign(operator.public, 'O', {'type': 'operator'})}\n"
            f"resolver: MEMORY\nresolver_preload: {{ {self._account.public}: {account} }}\n"
        )
        if not jetstream:
            self.config += "jetstream: disabled\n"
            return
        system = _Key(nkeys.PREFIX_BYTE_ACCOUNT)
        signed = operator.sign(
            system.public, "SYS", {"type": "account", "limits": {**limits, "wildcards": True}}
        )
        self.config = self.config.replace(
            "resolver_preload: {", f"resolver_preload: {{ {system.public}: {signed},"
        )
        self.config += f"system_account: {system.public}\n"

    def bearer(self, name: str) -> str:
        """Return the JWT of a new user, which needs no signature."""
        user = _Key(nkeys.PREFIX_BYTE_USER)
        nats = {"type": "user", "subs": -1, "data": -1, "payload": -1, "pub": {}, "sub": {}}
        return self._account.sign(user.public, name, {**nats, "bearer_token": True})

    def credentials(self, name: str = "gateway") -> str:
        """Return a credentials file for a new user, as `nsc` writes it."""
        user = _Key(nkeys.PREFIX_BYTE_USER)
        nats = {"type": "user", "subs": -1, "data": -1, "payload": -1, "pub": {}, "sub": {}}
        jwt = self._account.sign(user.public, name, nats)
        return (
            f"-----BEGIN NATS USER JWT-----\n{jwt}\n------END NATS USER JWT------\n\n"
            "************************* IMPORTANT *************************\n"
            "NKEY Seed printed below can be used to sign and prove identity.\n\n"
            f"-----BEGIN USER NKEY SEED-----\n{user.seed.decode()}\n"
            "------END USER NKEY SEED------\n\n"
            "*************************************************************\n"
        )
