"""What becomes of the connection: rows about offers, options, versions and expectations."""

from tests.contract.http_cases import (
    CHUNKED,
    END,
    HOST,
    closed,
    get,
    kept,
    length,
    put,
    request,
)

__all__ = ["CONNECTIONS", "EXPECTATIONS", "UPGRADES"]

VALUE = (b"Content-Length: 5",)
SOCKET = (
    b"Connection: Upgrade",
    b"Upgrade: websocket",
    b"Sec-WebSocket-Version: 13",
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
)
UPGRADES = [
    kept(
        "h2c",
        put(
            b"Connection: Upgrade, HTTP2-Settings",
            b"HTTP2-Settings: AAEA",
            b"Upgrade: h2c",
            *VALUE,
            body=b"value",
        ),
        200,
        stored=b"value",
    ),
    kept(
        "an unknown protocol",
        put(b"Connection: upgrade", b"Upgrade: foo/2", *VALUE, body=b"value"),
        200,
        stored=b"value",
    ),
    kept(
        "several protocols",
        put(b"Connection: upgrade", b"Upgrade: h2c, websocket", *VALUE, body=b"value"),
        200,
        stored=b"value",
    ),
    kept(
        "chunks behind an offer",
        put(b"Connection: upgrade", b"Upgrade: h2c", CHUNKED, body=b"5\r\nvalue\r\n" + END),
        200,
        stored=b"value",
    ),
    kept(
        "an offer that Connection does not name",
        put(b"Upgrade: websocket", *VALUE, body=b"value"),
        200,
        stored=b"value",
    ),
    kept(
        "Connection: upgrade alone",
        put(b"Connection: upgrade", *VALUE, body=b"value"),
        200,
        stored=b"value",
    ),
    kept(
        "an empty offer",
        put(b"Connection: upgrade", b"Upgrade:", *VALUE, body=b"value"),
        200,
        stored=b"value",
    ),
    kept("a WebSocket by PUT", put(*SOCKET, *VALUE, body=b"value"), 200, stored=b"value"),
    kept("a WebSocket of a path without one", get(*SOCKET), 404),
    closed(
        "h2c over 1.0",
        put(b"Connection: Upgrade", b"Upgrade: h2c", *VALUE, body=b"value", version=b"1.0"),
        200,
        stored=b"value",
    ),
    closed("a WebSocket over 1.0", request(b"GET /health HTTP/1.0", HOST, *SOCKET), 400),
    closed("a WebSocket with a body", get(*SOCKET, *VALUE) + b"value", 400),
]

CONNECTIONS = [
    kept("keep-alive", get(b"Connection: keep-alive"), 200),
    kept("another option", get(b"Connection: x-mine", b"X-Mine: 1"), 200),
    kept("an empty Connection", get(b"Connection:"), 200),
    kept("a word that begins so", get(b"Connection: closed"), 200),
    closed("close", get(b"Connection: close"), 200),
    closed("close by another case", get(b"Connection: CLOSE"), 200),
    closed("keep-alive, close", get(b"Connection: keep-alive, close"), 200),
    closed("close, keep-alive", get(b"Connection: close,keep-alive"), 200),
    closed("close on a line of its own", get(b"Connection: keep-alive", b"Connection: close"), 200),
    closed("close after an error", get(b"Connection: close", path=b"/nope"), 404),
    closed(
        "close behind a body",
        put(b"Connection: close", *VALUE, body=b"value"),
        200,
        stored=b"value",
    ),
    closed("close and an offer", get(b"Connection: close, upgrade", b"Upgrade: h2c"), 200),
    closed(
        "garbage behind the last request",
        get(b"Connection: close") + b"\x00\xff garbage\r\n\r\n",
        200,
    ),
    closed("a request behind the last request", get(b"Connection: close") + length(b" 5"), 200),
    closed("HTTP/1.0", b"GET /health HTTP/1.0\r\n\r\n", 200),
    closed(
        "HTTP/1.0 with keep-alive", b"GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n", 200
    ),
    closed("a value over 1.0", put(*VALUE, body=b"value", version=b"1.0"), 200, stored=b"value"),
    closed("a value over 1.0 without a length", put(version=b"1.0"), 400),
    closed("a value over 2.0", put(*VALUE, body=b"value", version=b"2.0"), 400),
    closed("a value over 0.9", put(*VALUE, body=b"value", version=b"0.9"), 400),
    closed("an error over 1.0", b"GET /nope HTTP/1.0\r\n\r\n", 404),
    kept(
        "a pipeline",
        length(b" 5") + get(path=b"@K") + get(path=b"/nope") + get(),
        200,
        200,
        404,
        200,
        stored=b"value",
    ),
    closed(
        "a pipeline that breaks",
        length(b" 5") + get() + b"GET /health\r\n\r\n",
        200,
        200,
        400,
        stored=b"value",
    ),
]

EXPECTATIONS = [
    kept("100-continue", put(b"Expect: 100-continue", *VALUE, body=b"value"), 200, stored=b"value"),
    kept(
        "100-continue by another case",
        put(b"Expect: 100-Continue", *VALUE, body=b"value"),
        200,
        stored=b"value",
    ),
    kept("100-continue without a body", get(b"Expect: 100-continue"), 200),
    closed(
        "over 1.0",
        put(b"Expect: 100-continue", *VALUE, body=b"value", version=b"1.0"),
        200,
        stored=b"value",
    ),
    closed(
        "100-continue where nobody wants the body",
        request(b"PUT /nope HTTP/1.1", HOST, b"Expect: 100-continue", *VALUE, body=b"value"),
        404,
    ),
    closed("something else", put(b"Expect: a-miracle", *VALUE, body=b"value"), 417),
    closed(
        "something else beside it",
        put(b"Expect: 100-continue, a-miracle", *VALUE, body=b"value"),
        417,
    ),
    closed(
        "something else over 1.0",
        put(b"Expect: a-miracle", *VALUE, body=b"value", version=b"1.0"),
        200,
        stored=b"value",
    ),
]
