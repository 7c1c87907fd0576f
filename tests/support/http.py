"""A plain HTTP client for tests: paths go out as they are given, nothing is normalised."""

import base64
import http.client
import json
import ssl
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

BUCKETS = "/api/v1/kv/buckets"


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def error(self) -> str:
        return self.json["error"]

    @property
    def value(self) -> bytes:
        """The bytes of a KVEntry's base64 value."""
        return base64.b64decode(self.json["value"], validate=True)


class Http:
    """Requests to one gateway, each on a connection of its own.

    `base` goes in front of every path, such as `/json`; `headers` on every request. With `tls`, the
    requests are HTTPS.
    """

    def __init__(
        self,
        host: str,
        port: int,
        *,
        base: str = "",
        tls: ssl.SSLContext | None = None,
        **headers: str,
    ) -> None:
        self.tls = tls
        self.host = host
        self.port = port
        self.base = base
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    @property
    def url(self) -> str:
        return f"{'http' if self.tls is None else 'https'}://{self.host}:{self.port}{self.base}"

    def request(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """Send one request; header names are given with underscores for dashes."""
        connection = self._connection()
        try:
            sent = self.headers | {k.replace("_", "-"): v for k, v in headers.items()}
            connection.putrequest(
                method, self.base + path, skip_host="Host" in sent, skip_accept_encoding=True
            )
            for name, value in sent.items():
                connection.putheader(name, value)
            data = body.encode() if isinstance(body, str) else body
            if data is not None:
                connection.putheader("Content-Length", str(len(data)))
            connection.endheaders(data)
            response = connection.getresponse()
            answer = Answer(
                response.status,
                {name.lower(): value for name, value in response.getheaders()},
                response.read(),
            )
            if response.status >= 400:
                credential = sent.get("Authorization", "").removeprefix("Bearer ").encode()
                # No error repeats a credential.
                assert len(credential) < 16 or credential not in answer.body, answer
            return answer
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        if self.tls is None:
            return http.client.HTTPConnection(self.host, self.port, timeout=20)
        return http.client.HTTPSConnection(self.host, self.port, timeout=20, context=self.tls)

    def get(self, path: str, **headers: str) -> Answer:
        return self.request("GET", path, **headers)

    def put(self, path: str, body: str | bytes = b"", **headers: str) -> Answer:
        return self.request("PUT", path, body, **headers)

    def post(self, path: str, document: Any, **headers: str) -> Answer:
        return self.request("POST", path, json.dumps(document), **headers)

    def delete(self, path: str, **headers: str) -> Answer:
        return self.request("DELETE", path, **headers)


class Bucket:
    """A bucket of a test's own."""

    def __init__(self, http: Http, name: str) -> None:
        self.http = http
        self.name = name
        self.path = f"{BUCKETS}/{name}"

    def key(self, key: str) -> str:
        """The path of a key, percent-encoded."""
        return f"{self.path}/keys/{quote(key, safe='')}"

    def put(self, key: str, value: str | bytes = b"", **headers: str) -> Answer:
        return self.http.put(self.key(key), value, **headers)

    def get(self, key: str, query: str = "", **headers: str) -> Answer:
        return self.http.get(self.key(key) + query, **headers)

    def delete(self, key: str, query: str = "", **headers: str) -> Answer:
        return self.http.delete(self.key(key) + query, **headers)

    def keys(self, filter: str | None = None) -> list[str]:
        query = "" if filter is None else f"?filter={quote(filter, safe='')}"
        answer = self.http.get(f"{self.path}/keys{query}")
        assert answer.status == 200, answer
        keys: list[str] = answer.json["keys"]
        return keys

    def info(self) -> dict[str, Any]:
        answer = self.http.get(self.path)
        assert answer.status == 200, answer
        info: dict[str, Any] = answer.json
        return info

    def history(self, key: str) -> Answer:
        return self.http.get(f"{self.path}/history/{quote(key, safe='')}")
