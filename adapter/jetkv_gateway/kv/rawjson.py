"""Parts of a JSON document as they were sent, so that no number loses a digit. Pure.

A JSON parser rounds a number with many digits. Values are data for others, so numbers that the
parser would change are taken from the text itself.
"""

import re
from collections.abc import Iterator
from json import JSONDecoder

from jetkv_gateway.kv.errors import InvalidArgument

__all__ = ["has_long_numbers", "raw_members"]

_LONG = re.compile(rb"[0-9](?:\.?[0-9]){15}|[0-9][eE]")
_SPACE = re.compile(r"[ \t\r\n]*")


def _anything(_number: str) -> None:
    return None


_DECODER = JSONDecoder(parse_int=_anything, parse_float=_anything)


def has_long_numbers(document: bytes) -> bool:
    """Return whether a document may contain a number that a parser would change."""
    return _LONG.search(document) is not None


def raw_members(document: str, array: str, name: str) -> list[dict[str, str]]:
    """Return the text of a member of each object in an array, if the object has that member.

    Args:
        document: a valid JSON object.
        array: the name of the array in it; elements that are not objects are skipped.

    Raises:
        InvalidArgument: the document is nested too deeply.
    """
    found: list[dict[str, str]] = []
    try:
        for member, start, _ in _members(document, _after_space(document, 0)):
            if member == array:
                found = [
                    {one: document[first:end] for one, first, end in members if one == name}
                    for members in _elements(document, start)
                ]
    except RecursionError:
        raise InvalidArgument("invalid JSON: nested too deeply") from None
    return found


def _after_space(text: str, place: int) -> int:
    found = _SPACE.match(text, place)
    assert found is not None, "it matches nothing, too"
    return found.end()


def _members(text: str, place: int) -> Iterator[tuple[str, int, int]]:
    """Yield name, start and end of each member of the object that begins at `place`."""
    place = _after_space(text, place + 1)
    while text[place] != "}":
        name, place = _DECODER.raw_decode(text, place)
        start = _after_space(text, _after_space(text, place) + 1)
        _, end = _DECODER.raw_decode(text, start)
        yield name, start, end
        place = _after_space(text, end)
        if text[place] == ",":
            place = _after_space(text, place + 1)


def _elements(text: str, place: int) -> Iterator[list[tuple[str, int, int]]]:
    """Yield the members of each element of the array that begins at `place`."""
    place = _after_space(text, place + 1)
    while text[place] != "]":
        _, end = _DECODER.raw_decode(text, place)
        yield list(_members(text, place)) if text[place] == "{" else []
        place = _after_space(text, end)
        if text[place] == ",":
            place = _after_space(text, place + 1)
