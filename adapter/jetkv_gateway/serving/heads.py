"""Request heads: bytes in, a `Head` out, strictly by RFC 9112. No I/O.

httptools parses complete heads only. It would skip the body of a request that offers to upgrade,
take trailers for headers, join fragments in quadratic time, and could not be stopped after one
request. This module checks the rules that httptools does not.
"""

import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import NoReturn

import httptools

from jetkv_gateway.http.request import Findings
from jetkv_gateway.http.router import Target
from jetkv_gateway.http.routes import ROUTER
from jetkv_gateway.kv.errors import (
    CodingUnsupported,
    ExpectationFailed,
    GatewayError,
    HeadTooLarge,
    InvalidArgument,
    MethodUnknown,
)
from jetkv_gateway.kv.kept import make_room
from jetkv_gateway.serving.varying_heads import NO_HEAD, VaryingHead, varying_head

__all__ = [
    "CHUNKED",
    "MAX_HEAD_BYTES",
    "MAX_HEAD_LINES",
    "Head",
    "HeadFields",
    "HeadReader",
    "check_start",
    "invalid",
]

MAX_HEAD_BYTES = 64 * 1024
MAX_HEAD_LINES = 100
CHUNKED = -1
_MAX_PORT = 65_535

# A head with more lines than the limit has more bytes than this: a name, a colon, CRLF.
_FEW_BYTES = 4 * MAX_HEAD_LINES
_BLANKS = (b" ", b"\t")

_MOST_KEPT = 1024
"""The longest head that a connection keeps, and the longest request line that is looked up."""
_VERSION_BYTES = len(b" HTTP/1.1\r\n")
_METHODS = {
    name.encode(): name for name in ("GET", "HEAD", "PUT", "POST", "DELETE", "PATCH", "OPTIONS")
}
# The method, path and query of ordinary requests. Other request lines get a closer look.
_PLAIN_REQUEST = rb'([A-Z]+) (/[!-"$->@-~]*)(?:\?([!-"$-~]*))?'
_PLAIN = re.compile(_PLAIN_REQUEST + rb" HTTP/1\.([01])\r\n")
_PLAIN_LINE = re.compile(_PLAIN_REQUEST)
_REQUEST_LINE = re.compile(rb"[A-Z-]+ [!-~]+ HTTP/1\.[01]\r\n")
_SPACED = re.compile(rb"[^ ]+ [^ ]+ HTTP/1\.[01]\r\n")
_ABSOLUTE = re.compile(rb"https?://([^/?]*)", re.IGNORECASE)
_HOST = re.compile(
    rb"(?:[A-Za-z0-9._~!$&'()*+;=%-]+|\[[0-9A-Fa-f:.]+(?:%25[A-Za-z0-9._~-]+)?\])(?::([0-9]{0,5}))?"
)
_TOKEN = re.compile(rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]+ ")


@dataclass(slots=True)
class HeadFields:
    """What the headers of a head say about the request and its connection.

    Attributes:
        version: `1.0` or `1.1`.
        keep_alive: whether the client wants to keep the connection.
        length: of the body in bytes, or `CHUNKED`.
        expects: whether the client waits for 100 Continue before it sends the body.
        upgrades: whether there is an `Upgrade`.
        findings: what handlers have found out about the headers.
    """

    version: str
    keep_alive: bool
    length: int
    expects: bool
    upgrades: bool
    findings: Findings = field(default_factory=Findings, compare=False)


Head = tuple[Target, dict[bytes, bytes], HeadFields]
"""A request's head: what it asks for, and its headers by lower-case name (repeated lines are joined
by a comma, RFC 9110 §5.3). Heads with the same headers share all of it; do not change it.
"""

_NO_FIELDS = HeadFields("", keep_alive=False, length=0, expects=False, upgrades=False)


class HeadReader:
    """Reads the heads of one connection.

    A client sends nearly the same head each time. So a connection keeps the bytes after the path
    and query of the last head, with the parsed result. A head with the same bytes is not parsed
    again, and neither is one that differs only in ids (`varying_heads.py`). The result is the same,
    since a head that is kept leaves the parser at the start of the next one.

    Attributes:
        waits_for_body: whether the parser has to see the body of the last head; see `skip`.
    """

    def __init__(self) -> None:
        self._parser = httptools.HttpRequestParser(self)
        self.waits_for_body = False
        self._target = b""
        self._headers: dict[bytes, bytes] = {}
        self._kept = b""
        self._fields = _NO_FIELDS
        self._varying: VaryingHead | None = NO_HEAD

    # httptools calls these methods. They do nothing else, since it swallows any exception.

    def on_url(self, target: bytes) -> None:
        self._target = target

    def on_header(self, name: bytes, value: bytes) -> None:
        name, headers = name.lower(), self._headers
        if value.endswith(_BLANKS):
            value = value.rstrip(b" \t")
        headers[name] = headers[name] + b", " + value if name in headers else value

    def known(self, data: bytes) -> tuple[Head, bytes] | None:
        """Read a head that is known, at the start of `data`, without its parser.

        Args:
            data: the bytes that are there; the head may not have arrived completely.

        Returns:
            The head and the bytes behind it; None if `read` has to read it.
        """
        varying = self._varying
        if varying is None:
            # An ordinary request line has no line end, so the first place is the end of this head.
            line, kept, behind = data.partition(self._kept)
            if not kept:
                return None
            headers = self._headers
        else:
            # Perhaps only the ids differ from those of the last head, if that is kept.
            found = varying.read(data)
            if found is None:
                return None
            line, headers, behind = found
        target = _known_targets.get(line)
        if target is None:
            target = _target_of(line) if len(line) <= _MOST_KEPT else None
            if target is None:
                return None
        self.waits_for_body = False
        return (target, headers, self._fields), behind

    def read(self, raw: bytes) -> Head:
        """Read a head that ends with its empty line.

        Raises:
            GatewayError: the head breaks a rule, or asks for an unsupported feature.
        """
        known = self.known(raw)
        return self._parse(raw) if known is None or known[1] else known[0]

    def _parse(self, raw: bytes) -> Head:
        self._kept, self._varying = b"", NO_HEAD
        if len(raw) > _FEW_BYTES and raw.count(b"\n") > MAX_HEAD_LINES + 2:
            check_start(raw, 0, len(raw) - 1)
            raise HeadTooLarge(f"a request has at most {MAX_HEAD_LINES} header lines")
        headers: dict[bytes, bytes] = {}
        self._headers = headers
        self._target = b""
        self.waits_for_body = True
        parser = self._parser
        try:
            parser.feed_data(raw)
        except httptools.HttpParserUpgrade:
            # The parser now expects another protocol, but the offer to upgrade may be ignored.
            self.renew()
        except httptools.HttpParserError as error:
            self.renew()
            raise self._broken(raw, error) from None
        plain = _PLAIN.match(raw)
        method = None if plain is None else _METHODS.get(plain[1])
        if plain is not None and method is not None:
            _, path, query, minor = plain.groups()
            version = "1.1" if minor == b"1" else "1.0"
            host = headers.get(b"host")
            if host is None or not _is_host(host):
                self._check_host(version)
        else:
            method, path, query, version = self._look_closely(raw, parser)
        length = 0
        if b"transfer-encoding" in headers:
            length = self._coded_length(version)
        elif b"content-length" in headers:
            length = int(headers[b"content-length"])  # the parser has checked that these are digits
        keep_alive = version == "1.1"
        if b"connection" in headers and _closes(headers[b"connection"]):
            keep_alive = False
        expects = b"expect" in headers and self._expects(version)
        self._fields = fields = HeadFields(
            version, keep_alive, length, expects, upgrades=b"upgrade" in headers
        )
        unusual = fields.upgrades or expects or not keep_alive or length == CHUNKED
        if plain is not None and not unusual:
            start = plain.end() - _VERSION_BYTES
            if len(raw) - start <= _MOST_KEPT:
                self._kept = raw[start:]
                self._varying = varying_head(self._kept, headers)
        # Else each idle connection could hold a head of the greatest length.
        self._target = b""
        if self._varying is NO_HEAD:
            self._headers = {}
        return ROUTER.target(method, path, query), headers, fields

    def skip(self, body: bytes | memoryview) -> None:
        """Pass a part of a body with a length to the parser, so that it reaches the next head."""
        if self.waits_for_body:
            self._parser.feed_data(body)

    def renew(self) -> None:
        """Replace the parser if it cannot know where the last request ended."""
        self._parser = httptools.HttpRequestParser(self)
        self.waits_for_body = False

    def close(self) -> None:
        """Drop the parser, which refers back to this object."""
        del self._parser

    def _check_host(self, version: str) -> None:
        """Check that there is one well-formed host (RFC 9112 §3.2).

        Raises:
            InvalidArgument
        """
        host = self._headers.get(b"host")
        if host is None:
            if version == "1.1":
                invalid("it has no Host (RFC 9112 §3.2)")
        elif not _is_host(host):
            invalid("its Host must be one name or address, with or without a port")

    def _look_closely(
        self, raw: bytes, parser: httptools.HttpRequestParser
    ) -> tuple[str, bytes, bytes | None, str]:
        """Return method, path, query and version of an unusual request line.

        Raises:
            InvalidArgument
        """
        method, version = parser.get_method(), parser.get_http_version()
        if method == b"CONNECT":
            invalid("CONNECT is for proxies only")
        if version not in ("1.1", "1.0"):
            invalid("its version is neither HTTP/1.0 nor HTTP/1.1")
        self._check_host(version)
        if _REQUEST_LINE.match(raw) is None:
            # The parser accepts lines that other programs may parse differently.
            if _SPACED.match(raw) is None:
                invalid("its first line must be METHOD PATH HTTP/1.1, with one space between each")
            invalid("its path must be percent-encoded")
        target = self._target
        if b"#" in target:
            # The part after the # would be lost, and with it the end of a key.
            invalid("a # in a key must be sent as %23")
        if not target.startswith(b"/"):
            absolute = _ABSOLUTE.match(target)
            if absolute is not None and _is_host(absolute[1]):
                # The host in the target takes precedence (RFC 9112 §3.2.2).
                self._headers[b"host"] = absolute[1]
                target = target[absolute.end() :]
                if not target.startswith(b"/"):
                    target = b"/" + target
            elif target != b"*" or method != b"OPTIONS":
                invalid("its target must be a path")
        path, mark, query = target.partition(b"?")
        return method.decode("ascii"), path, query if mark else None, version

    def _coded_length(self, version: str) -> int:
        headers = self._headers
        if b"content-length" in headers:
            invalid("it has both Content-Length and Transfer-Encoding (RFC 9112 §6.1)")
        if version == "1.0":
            invalid("Transfer-Encoding needs HTTP/1.1")
        if headers[b"transfer-encoding"].lower() != b"chunked":
            raise CodingUnsupported
        # The parser now expects chunks, which it does not get.
        self.renew()
        return CHUNKED

    def _expects(self, version: str) -> bool:
        if version == "1.0":
            return False
        if self._headers[b"expect"].lower() != b"100-continue":
            raise ExpectationFailed
        return True

    def _broken(self, raw: bytes, error: Exception) -> GatewayError:
        """Return the error for a head that the parser refuses.

        Raises:
            InvalidArgument: the error that would have been found before the end of the head.
        """
        check_start(raw, 0, len(raw) - 1)
        headers = self._headers
        coding = headers.get(b"transfer-encoding")
        is_of_coding = "invalid `Transfer-Encoding`" in str(error)
        if is_of_coding and coding is not None and coding.lower() != b"chunked":
            return CodingUnsupported()
        if isinstance(error, httptools.HttpParserInvalidMethodError) and _TOKEN.match(raw):
            return MethodUnknown()
        return InvalidArgument(
            "invalid HTTP request: its method, path or headers break a rule of HTTP/1.1; "
            "a path must be percent-encoded"
        )


_known_targets: dict[bytes, Target | None] = {}


def _target_of(line: bytes) -> Target | None:
    """Return what an ordinary request line asks for, or None for an unusual one, and keep it."""
    plain = _PLAIN_LINE.fullmatch(line)
    method = None if plain is None else _METHODS.get(plain[1])
    target = None
    if plain is not None and method is not None:
        target = ROUTER.target(method, plain[2], plain[3])
    make_room(_known_targets)
    _known_targets[line] = target
    return target


def check_start(raw: bytes | bytearray, start: int, end: int) -> None:
    """Refuse bytes that cannot become a valid head, as early as possible.

    Complete heads get the same error, so the split of the bytes makes no difference.

    Args:
        raw: a head from its start. The last byte of a complete head is omitted.
        start, end: the part that has not been checked yet.

    Raises:
        InvalidArgument
    """
    if raw[0] < 0x20:
        if raw[0] not in b"\r\n":
            invalid("it does not start with a method; this port does not use TLS")
    elif raw.count(b"\n", start, end) != raw.count(b"\r\n", start, end) and (
        # Counting is faster than searching, and nearly always sufficient.
        raw.find(b"\n\n", start, end) >= 0 or raw.find(b"\n\r\n", start, end) >= 0
    ):
        invalid("its lines must end with CRLF")


def invalid(rule: str) -> NoReturn:
    """Refuse a malformed request.

    Raises:
        InvalidArgument
    """
    raise InvalidArgument(f"invalid HTTP request: {rule}")


def _closes(connection: bytes) -> bool:
    return b"close" in [token.strip().lower() for token in connection.split(b",")]


@lru_cache(maxsize=1024)
def _is_host(value: bytes) -> bool:
    host = _HOST.fullmatch(value)
    return host is not None and int(host[1] or b"0") <= _MAX_PORT
