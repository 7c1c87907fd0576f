"""Turns values into bytes and back: JSON, text, bytes, and every type that pydantic validates."""

import functools
import json
import re
from collections.abc import Callable
from typing import Any, Generic, NoReturn, Protocol, TypeVar

from jetkv._readback import difference
from jetkv.errors import InvalidArgumentError

__all__ = ["Codec", "TypedBytesCodec", "codec_for"]

T = TypeVar("T")


class Codec(Protocol[T]):
    """Turns the values of a bucket into bytes and back. Write your own for other formats.

    Attributes:
        content_type: the content type that is stored with the bytes. Other clients see it, and the
            gateway's `values=json` depends on it (docs/http-api.md).
    """

    @property
    def content_type(self) -> str: ...

    def encode(self, value: T) -> bytes:
        """Return the bytes to store.

        Raises:
            ValueError, TypeError: the value cannot be stored; the text says why.
        """
        ...

    def decode(self, raw: bytes) -> T:
        """Return the value that the bytes stand for.

        Raises:
            ValueError: the bytes do not fit the type; the text says why.
        """
        ...


class JsonCodec:
    """JSON of RFC 8259: without NaN and infinity, so that every other client can read it."""

    content_type = "application/json"

    def encode(self, value: Any) -> bytes:
        try:
            text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
            return text.encode()
        except RecursionError as error:
            raise ValueError("the value is nested too deeply") from error

    def decode(self, raw: bytes) -> Any:
        try:
            return json.loads(raw.decode(), parse_constant=_no_constant)
        except RecursionError as error:
            raise ValueError("the value is nested too deeply") from error


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


class TypedBytesCodec:
    """Bytes, unchanged, with a content type of their own."""

    def __init__(self, content_type: str) -> None:
        self.content_type = content_type

    def encode(self, value: bytes) -> bytes:
        return value

    def decode(self, raw: bytes) -> bytes:
        return raw


class BytesCodec:
    """Bytes, unchanged."""

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

    A value that would not read back as the same value is refused before it is sent. Examples are a
    secret that is shown as stars, a field that is written under another name than it is read under,
    the extra fields of a subclass, and a number that a serializer rounds. A part that the type does
    not store (`exclude=True`, a private attribute) must have the value that it has after reading,
    which is usually its default.
    """

    content_type = "application/json"

    def __init__(self, kind: Any) -> None:
        # Imported here, because it takes longer than the rest of the SDK, and JSON, text and bytes
        # do not need it.
        import pydantic

        self._invalid = pydantic.ValidationError
        self._name = getattr(kind, "__name__", None) or str(kind)
        # pydantic would look a name up in this module.
        if isinstance(kind, str):
            raise _unsupported(kind, "it is a name, not a type")
        try:
            self._adapter: pydantic.TypeAdapter[T] = pydantic.TypeAdapter(kind)
            if not self._adapter.pydantic_complete:
                self._adapter.rebuild(raise_errors=True)
        except (
            pydantic.PydanticSchemaGenerationError,
            pydantic.PydanticUndefinedAnnotation,
            pydantic.PydanticUserError,
        ) as error:
            raise _unsupported(kind, str(error).partition("\n")[0]) from error

    def encode(self, value: T) -> bytes:
        try:
            raw = self._adapter.dump_json(value, by_alias=True, round_trip=True, warnings="error")
        except ValueError as error:
            # Validating the value again gives an error that names the field.
            self._validated(lambda: self._adapter.validate_python(value))
            raise ValueError(f"not a {self._name}: {_without_values(str(error))}") from None
        if b"Infinity" in raw or b"NaN" in raw:
            # With some settings, pydantic writes these, which are not JSON. This raises the error.
            JSON.decode(raw)
        try:
            read = self.decode(raw)
        except ValueError as error:
            raise ValueError(f"the value would not read back: {error}") from None
        found = difference(value, read)
        if found is not None:
            raise ValueError(f"the value would not read back as the same value: {found}")
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
            raise ValueError(f"not a {self._name}: {'; '.join(parts)}") from None


# pydantic's texts show values, which must not get into logs.
_UNEXPECTED = re.compile(
    r"^\s*PydanticSerializationUnexpectedValue\(Expected `([^`]+)`[^\[]*"
    r"\[(?:field_name='([^']*)')?",
    re.MULTILINE,
)


def _without_values(text: str) -> str:
    found = _UNEXPECTED.findall(text)
    if not found:
        return "the value cannot be stored" if "input_value" in text else text
    return "; ".join(f"{place or 'value'}: expected {wanted}" for wanted, place in found[:3])


def _unsupported(kind: object, reason: str) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"pydantic cannot validate {kind!r}: {reason}",
        hint="use a model, a dataclass, a typed dict, bytes, str, or your own codec",
    )


JSON = JsonCodec()
_SIMPLE: dict[Any, Codec[Any]] = {None: JSON, bytes: BytesCodec(), str: TextCodec()}


def codec_for(kind: Any) -> Codec[Any]:
    """Return the codec for a bucket's type. If the type is a codec, return it.

    Raises:
        InvalidArgumentError: pydantic cannot validate the type.
    """
    try:
        simple = _SIMPLE.get(kind)
    except TypeError:  # The type has unhashable parts, such as Annotated[int, []].
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
