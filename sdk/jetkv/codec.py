"""Values as bytes and back: JSON, text, bytes, or any type that pydantic validates."""

import functools
import json
import re
from collections.abc import Callable
from typing import Any, Generic, NoReturn, Protocol, TypeVar

from jetkv._readback import difference
from jetkv.errors import InvalidArgumentError

__all__ = ["Codec", "codec_for"]

T = TypeVar("T")


class Codec(Protocol[T]):
    """How a bucket's values are stored.

    Attributes:
        content_type: what other clients are told about the bytes; it decides how the gateway's
            `values=json` shows them (docs/http-api.md).
    """

    @property
    def content_type(self) -> str: ...

    def encode(self, value: T) -> bytes:
        """Return the bytes to store.

        Raises:
            ValueError, TypeError: it cannot be stored; the text says why.
        """
        ...

    def decode(self, raw: bytes) -> T:
        """Return the value of stored bytes.

        Raises:
            ValueError: they are no such value; the text says why.
        """
        ...


class JsonCodec:
    """JSON of RFC 8259: no NaN, no infinities, so that every other client can read it."""

    content_type = "application/json"

    def encode(self, value: Any) -> bytes:
        try:
            text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
            return text.encode()
        except RecursionError as error:
            raise ValueError("it is nested too deeply") from error

    def decode(self, raw: bytes) -> Any:
        try:
            return json.loads(raw.decode(), parse_constant=_no_constant)
        except RecursionError as error:
            raise ValueError("it is nested too deeply") from error


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


class BytesCodec:
    """Bytes, as they are."""

    content_type = "application/octet-stream"

    def encode(self, value: bytes) -> bytes:
        if not isinstance(value, bytes | bytearray | memoryview):
            raise TypeError(f"a bytes bucket takes bytes, not {type(value).__name__}")
        return bytes(value)

    def decode(self, raw: bytes) -> bytes:
        return raw


class TextCodec:
    """Text as UTF-8."""

    content_type = "text/plain; charset=utf-8"

    def encode(self, value: str) -> bytes:
        if not isinstance(value, str):
            raise TypeError(f"a str bucket takes str, not {type(value).__name__}")
        return value.encode()

    def decode(self, raw: bytes) -> str:
        return raw.decode()


class PydanticCodec(Generic[T]):
    """JSON of a type that pydantic validates: a model, a dataclass, `list[int]`, `int | None`.

    What is stored reads back as the same value, or is refused before it goes out: a secret that is
    shown as stars, a field that is written under another name than it is read by, the fields of
    a subclass, what a serializer rounds off. What a type does not store (`exclude=True`, private
    attributes) has to be as it is after reading, such as at its default.
    """

    content_type = "application/json"

    def __init__(self, kind: Any) -> None:
        # The import takes longer than all the rest of the SDK; JSON, text and bytes do without.
        import pydantic

        self._invalid = pydantic.ValidationError
        self._name = getattr(kind, "__name__", None) or str(kind)
        # A name in quotes would be looked up among ours.
        if isinstance(kind, str):
            raise _no_type(kind, "it is a name")
        try:
            self._adapter: pydantic.TypeAdapter[T] = pydantic.TypeAdapter(kind)
            if not self._adapter.pydantic_complete:
                self._adapter.rebuild(raise_errors=True)
        except (
            pydantic.PydanticSchemaGenerationError,
            pydantic.PydanticUndefinedAnnotation,
            pydantic.PydanticUserError,
        ) as error:
            raise _no_type(kind, str(error).partition("\n")[0]) from error

    def encode(self, value: T) -> bytes:
        try:
            raw = self._adapter.dump_json(value, by_alias=True, round_trip=True, warnings="error")
        except ValueError as error:
            # Asked this way, pydantic names the place.
            self._validated(lambda: self._adapter.validate_python(value))
            raise ValueError(f"no {self._name}: {_without_values(str(error))}") from None
        if b"Infinity" in raw or b"NaN" in raw:
            # Some settings of pydantic's write these, which is no JSON to others.
            JSON.decode(raw)
        try:
            read = self.decode(raw)
        except ValueError as error:
            raise ValueError(f"it would not read back: {error}") from None
        found = difference(value, read)
        if found is not None:
            raise ValueError(f"it would not read back as it is: {found}")
        return raw

    def decode(self, raw: bytes) -> T:
        return self._validated(lambda: self._adapter.validate_json(raw))

    def _validated(self, validate: Callable[[], T]) -> T:
        try:
            return validate()
        except self._invalid as error:
            found = error.errors(include_url=False, include_input=False, include_context=False)
            parts = [
                f"{'.'.join(map(str, part['loc'])) or 'value'}: {part['msg']}" for part in found[:3]
            ]
            raise ValueError(f"no {self._name}: {'; '.join(parts)}") from None


# pydantic's texts show values, and these end in logs.
_UNEXPECTED = re.compile(
    r"^\s*PydanticSerializationUnexpectedValue\(Expected `([^`]+)`[^\[]*"
    r"\[(?:field_name='([^']*)')?",
    re.MULTILINE,
)


def _without_values(text: str) -> str:
    found = _UNEXPECTED.findall(text)
    if not found:
        return "it cannot be stored" if "input_value" in text else text
    return "; ".join(f"{place or 'value'}: expected {wanted}" for wanted, place in found[:3])


def _no_type(kind: object, reason: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"{kind!r} is no type that pydantic can validate: {reason}",
        hint="use a model, a dataclass, a typed dict, bytes, str, or a codec of your own",
    )


JSON = JsonCodec()
_SIMPLE: dict[Any, Codec[Any]] = {None: JSON, bytes: BytesCodec(), str: TextCodec()}


def codec_for(kind: Any) -> Codec[Any]:
    """Return the codec of a bucket's type; a codec is its own.

    Raises:
        InvalidArgumentError: pydantic cannot validate such a type.
    """
    try:
        simple = _SIMPLE.get(kind)
    except TypeError:  # a type with unhashable parts, such as Annotated[int, []]
        return PydanticCodec(kind)
    if simple is not None:
        return simple
    if not isinstance(kind, type) and all(
        hasattr(kind, name) for name in ("encode", "decode", "content_type")
    ):
        codec: Codec[Any] = kind
        return codec
    return _pydantic(kind)


@functools.lru_cache(maxsize=256)
def _pydantic(kind: Any) -> Codec[Any]:
    return PydanticCodec(kind)
