"""What is fuzzed: functions of bytes that raise only when something is wrong.

Each one feeds a reader of the gateway. A refusal by the gateway's own errors is in order; any other
exception is not, and neither is a result that contradicts itself.
"""

from collections.abc import Callable
from contextlib import suppress
from json import loads

from jetkv.flags import EvaluationContext
from jetkv_gateway.auth.tokens import is_misspelt
from jetkv_gateway.flags.table import FlagTable, place_of
from jetkv_gateway.http.auth import socket_credential
from jetkv_gateway.http.bucket_schema import BucketCreate, BucketPatch
from jetkv_gateway.http.flag_context import context_digest_input, read_context
from jetkv_gateway.http.paths import bucket_name, key_name, parse_query, plain_name
from jetkv_gateway.http.routes import ROUTER
from jetkv_gateway.http.token_schema import TicketCreate, TokenCreate
from jetkv_gateway.jetstream.headers import (
    is_block,
    read_direct,
    read_end,
    read_headers,
    read_several,
    status,
    stream_line_of,
)
from jetkv_gateway.jetstream.wire import ProtocolBroken, WireReader
from jetkv_gateway.kv.batches import read_batch
from jetkv_gateway.kv.commands import Include
from jetkv_gateway.kv.cursors import CursorScope, read_cursor, write_cursor
from jetkv_gateway.kv.errors import GatewayError
from jetkv_gateway.kv.filters import compile_filter, compile_prefix, covers
from jetkv_gateway.kv.keys import decode, encode
from jetkv_gateway.kv.model import Change, Operation
from jetkv_gateway.kv.scopes import ScopeVerb, parse_scope, parse_scopes
from jetkv_gateway.serving.heads import HeadReader
from jetkv_gateway.serving.proxy_protocol import Told, proxy_header
from jetkv_gateway.watch.bookmarks import read_bookmark

__all__ = ["SEEDS", "TARGETS", "Target"]

Target = Callable[[bytes], None]

_KEYS = ("", "a", "a.b", "a/b", "ä:b.c", "x" * 512)


def path(data: bytes) -> None:
    ROUTER.find(data)
    for read in (bucket_name, plain_name):
        with suppress(GatewayError):
            read(data)
    with suppress(GatewayError):
        key = key_name(data)
        assert decode(encode(key)) == key


def query(data: bytes) -> None:
    allowed = frozenset({"filter", "key", "limit"})
    with suppress(GatewayError):
        found = parse_query(data, allowed, frozenset({"key"}))
        assert found.keys() <= allowed
        assert len(found.get("limit", [""])) == 1


def keys(data: bytes) -> None:
    text = data.decode(errors="surrogateescape")
    key = decode(text)
    assert key is None or encode(key) == text
    with suppress(GatewayError):
        assert decode(encode(text)) == text


def filters(data: bytes) -> None:
    text, _, key = data.decode(errors="replace").partition("\0")
    for compiling in (compile_filter, compile_prefix):
        with suppress(GatewayError):
            compiled = compiling(text)
            for one in (key, *_KEYS):
                if compiled.matches(one) and one:
                    with suppress(GatewayError):
                        subject = encode(one)
                        reached = [covers(pattern, subject) for pattern in compiled.subjects]
                        assert any(reached), "a key that matches is delivered"


def scopes(data: bytes) -> None:
    first, _, rest = data.decode(errors="replace").partition("\n")
    text, _, key = rest.partition("\0")
    with suppress(GatewayError):
        parse_scope(first)
        grants = parse_scopes([first])
        with suppress(GatewayError):
            wanted = compile_filter(text)
            for verb in (ScopeVerb.READ, ScopeVerb.WRITE, ScopeVerb.DELETE):
                left = grants.narrow(verb, "b", (wanted,))
                for one in (key, *_KEYS):
                    may = wanted.matches(one) and grants.allows(verb, "b", one)
                    shown = any(keep.matches(one) for keep in left or ())
                    assert may == shown, "what a caller may do is what it is shown"


def bodies(data: bytes) -> None:
    for read in (BucketCreate.read, BucketPatch.read, TokenCreate.read, TicketCreate.read):
        with suppress(GatewayError):
            read(data)
    with suppress(GatewayError):
        BucketCreate.read(data).spec()
    with suppress(GatewayError):
        read_batch(data, "b", None)
    with suppress(GatewayError):
        read_batch(data, "b", "id")


def contexts(data: bytes) -> None:
    with suppress(GatewayError):
        context = read_context(data)
        assert context_digest_input(context) == context_digest_input(read_context(data))
    place = place_of(data.decode(errors="replace"))
    assert place is None or place_of(place.text) == place


def flags(data: bytes) -> None:
    """A flag that is stored, and its evaluation, disturb no other flag."""
    table = FlagTable()
    table.apply(Change("new", data, 1, Operation.PUT))
    table.apply(Change("on", b"true", 2, Operation.PUT))
    for flag in table.all(0.0):
        with suppress(GatewayError):
            assert loads(flag.evaluate(EvaluationContext("ada")))["key"] == flag.name
    assert table.flags["on"].answer is not None


class _Everyone(dict[bytes, Callable[..., None]]):
    """A handler for the messages of every subscription."""

    def __init__(self, said: list[object]) -> None:
        self._said = said

    def get(self, sid: bytes, _default: object = None) -> Callable[..., None]:
        return lambda *one: self._said.append((sid, *one))


def _raise(_subject: bytes, error: BaseException) -> None:
    raise error


def wire(data: bytes) -> None:
    """The stream at once, and byte by byte, says the same."""

    def told(pieces: list[bytes]) -> tuple[list[object], bool]:
        said: list[object] = []
        reader = WireReader(_Everyone(said), lambda *one: said.append(one), _raise)
        try:
            for piece in pieces:
                reader.feed(piece)
        except ProtocolBroken:
            return said, True
        return said, False

    assert told([data]) == told([data[at : at + 1] for at in range(len(data))])


def messages(data: bytes) -> None:
    with suppress(GatewayError, ValueError):
        read_headers(data)
    is_block(data)
    status(data)
    read_end(data)
    read_direct(data, b"KV_b")
    read_several(data, stream_line_of("KV_b"))


_WITH_ID = b"GET /a HTTP/1.1\r\nHost: a\r\nIdempotency-Key: %b\r\nX-Request-Id: r\r\n\r\n"


def heads(data: bytes) -> None:
    reader, another = HeadReader(), HeadReader()
    try:
        with suppress(GatewayError):
            _, _, fields = reader.read(data + b"\r\n\r\n")
            assert fields.length >= -1
        # What is kept of the head before changes nothing of what a head is.
        raw = _WITH_ID % data
        if raw.find(b"\r\n\r\n") == len(raw) - 4:
            another.read(_WITH_ID % b"i")
            fresh = HeadReader()
            assert _read(another, raw) == _read(fresh, raw)
            fresh.close()
    finally:
        reader.close()
        another.close()


def _read(reader: HeadReader, raw: bytes) -> object:
    try:
        return reader.read(raw)
    except GatewayError as error:
        return error.message


def proxies(data: bytes) -> None:
    told = proxy_header(data)
    if isinstance(told, Told):
        assert 0 < told.size <= len(data)


def places(data: bytes) -> None:
    text = data.decode(errors="replace")
    scope = CursorScope("b", ">", Include.KEYS)
    with suppress(GatewayError):
        assert write_cursor(read_cursor(text, scope), scope) == text
    with suppress(GatewayError):
        read_bookmark(text, ("b", "c"), "resume")


def credentials(data: bytes) -> None:
    is_misspelt(data)
    with suppress(GatewayError):
        socket_credential(None, data.decode("latin-1").split(","))


TARGETS: dict[str, Target] = {
    one.__name__: one
    for one in (
        *(path, query, keys, filters, scopes, bodies),
        *(wire, messages, heads, proxies, places, credentials, contexts, flags),
    )
}

SEEDS: dict[str, tuple[bytes, ...]] = {
    "path": (b"/api/v1/kv/buckets/b/keys/a%2Fb", b"%zz%C3%28", b"a" * 513),
    "query": (b"filter=a.*&key=b&key=c&limit=1", b"%", b"a=1&a=2"),
    "keys": (b"a.b", b"=3A", "ä".encode(), b"a..b", b"\xff"),
    "filters": (b"a.*\0a.b", b"user-*\0user-1", b">\0x", b"a/\0a/b", b"*a*b*\0ab"),
    "scopes": (b"read:b\n>\0a", b"read,write:b*/a.*\na.b\0a.b", b"*:*\n*\0x"),
    "bodies": (
        b'{"name":"b","ttl_seconds":1}',
        b'{"get":["a"]}',
        b'{"ops":[{"op":"put","key":"k","text":"v"}],"atomic":false}',
        b'{"name":"n","allow":["read:b"]}',
        b"[" * 2000,
    ),
    "contexts": (
        b'{"context":{"targetingKey":"ada","plan":{"a":[1.5]}}}',
        b'{"context":{"targetingKey":null}}',
        b"[" * 2000,
        b"18ec91e260ce1fae-7",
    ),
    "flags": (
        b'{"enabled":true,"rollout":0.5}',
        b'{"state":"ENABLED","variants":{"a":1},"defaultVariant":"a"}',
        b'{"state":"ENABLED","variants":{"a":1},"defaultVariant":"a","targeting":{"if":[1,"a"]}}',
        b"10.0",
        b"[" * 2000,
    ),
    "wire": (
        b"MSG a.b 7 5\r\nhello\r\nPING\r\n",
        b"HMSG c 9 12 12\r\nNATS/1.0\r\n\r\n\r\n",
        b"-ERR 'Permissions Violation for Publish to \"S\"'\r\n",
        b"MSG a 1 99999999999999999999\r\n",
        b"HMSG\r\n",
    ),
    "messages": (
        b"NATS/1.0\r\nKV-Operation: DEL\r\n\r\n",
        b"NATS/1.0 404 No Messages\r\n\r\n",
        b"NATS/1.0\r\nNats-Stream: KV_b\r\nNats-Subject: $KV.b.a\r\nNats-Sequence: 1\r\n"
        b"Nats-Time-Stamp: 2026-01-01T00:00:00Z\r\n\r\n",
    ),
    "heads": (
        b"GET / HTTP/1.1\r\nHost: h",
        b"PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nTransfer-Encoding: chunked",
        b"GET http://h/ HTTP/1.0",
    ),
    "proxies": (b"PROXY TCP4 1.2.3.4 5.6.7.8 1 2\r\n", b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c"),
    "places": (b"", b"AAAA", b"b~1"),
    "credentials": (b"jkv_" + b"a" * 38, b"ironflow.auth.bearer.YQ, ironflow.v1"),
}
