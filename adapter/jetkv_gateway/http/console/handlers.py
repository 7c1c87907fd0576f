"""The handlers of the console's routes."""

import re
from collections.abc import Mapping

from jetkv_gateway.http.call import Call
from jetkv_gateway.http.console.files import FOLDER_PAGE, PAGE, StaticFile, load_files
from jetkv_gateway.http.origins import isolation_headers
from jetkv_gateway.kv.errors import NotFound

__all__ = ["POLICY", "ConsoleHandlers"]

POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'; "
    b"require-trusted-types-for 'script'; trusted-types 'none'"
)
"""The Content-Security-Policy of the console.

Only its own files run, it talks to its own gateway only, and no text can become HTML or script, not
even by a mistake in its code (Trusted Types).
"""

_HEADERS = (
    b"cache-control: no-cache\r\n"
    b"vary: Accept-Encoding\r\n"
    b"referrer-policy: no-referrer\r\n"
    b"x-frame-options: DENY\r\n"
    b"cross-origin-opener-policy: same-origin\r\n"
)
_TAG = re.compile(rb'"([^"]*)"')
_GZIP = re.compile(rb"(?:^|,)\s*(?:x-)?gzip\s*(?:;\s*q\s*=\s*([0-9.]+)\s*)?(?:,|$)", re.IGNORECASE)


class ConsoleHandlers:
    """The handlers of the console's routes.

    Args:
        on: whether there is a console; without one, its routes answer 404.
    """

    def __init__(self, *, on: bool) -> None:
        self._files: Mapping[str, StaticFile] = load_files() if on else {}

    async def console(self, call: Call) -> None:
        self._send(call, PAGE)

    async def console_folder(self, call: Call) -> None:
        self._send(call, FOLDER_PAGE)

    async def console_file(self, call: Call, name: str) -> None:
        self._send(call, name)

    def _send(self, call: Call, name: str) -> None:
        if not self._files:
            raise NotFound(hint="the console is off by the setting console")
        file = self._files.get(name)
        if file is None:
            raise NotFound(hint="the console has no such file")
        packed = _takes_gzip(call.headers.get(b"accept-encoding", b""))
        tag = file.tag + b"-gzip" if packed else file.tag
        lines = b'etag: "%s"\r\n%s%s' % (tag, _HEADERS, isolation_headers(call, POLICY))
        if _has_tag(call.headers.get(b"if-none-match", b""), tag):
            call.answer(304, lines, b"")
            return
        lines += b"content-type: %s\r\n" % file.media
        if packed:
            call.answer(200, lines + b"content-encoding: gzip\r\n", file.packed)
        else:
            call.answer(200, lines, file.body)


def _has_tag(value: bytes, tag: bytes) -> bool:
    """Return whether an `If-None-Match` names the tag (RFC 9110 §13.1.2, weak comparison)."""
    return value.strip() == b"*" or tag in _TAG.findall(value)


def _takes_gzip(accepted: bytes) -> bool:
    found = _GZIP.search(accepted)
    if found is None:
        return False
    return found[1] is None or found[1].strip(b"0.") != b""
