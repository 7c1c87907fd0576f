"""Whether clients of one OpenAPI document can use a gateway that serves another.

What a client sends must still be accepted: a parameter or a field of a body may get wider, never
narrower. What a client receives must still be what it knows: a field of an answer may get narrower,
never wider, and stays. New paths, methods, optional parameters, statuses and fields are fine.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import inf
from typing import Any

Document = Mapping[str, Any]
Schema = Mapping[str, Any]
Rule = Callable[[Schema, Schema], Iterator[str]]

_LEAST = {"minimum": -inf, "exclusiveMinimum": -inf, "minLength": 0, "minItems": 0}
_MOST = {"maximum": inf, "exclusiveMaximum": inf, "maxLength": inf, "maxItems": inf}
_NO_METHODS = ("parameters", "summary", "description", "servers")


def breaks(released: Document, served: Document) -> list[str]:
    """Return what of the released document no longer holds, a line for each break."""
    return list(_Comparison(released, served).breaks())


@dataclass
class _Comparison:
    released: Document
    served: Document
    known: dict[tuple[str, str, str], list[str]] = dataclasses.field(default_factory=dict)
    """What was found of two named schemas: the same ones are in most answers."""

    def breaks(self) -> Iterator[str]:
        for path, item in self.released["paths"].items():
            now = self.served["paths"].get(path)
            if now is None:
                yield f"{path}: the path is gone"
                continue
            for method in item.keys() - {*_NO_METHODS}:
                where = f"{method.upper()} {path}"
                if method not in now:
                    yield f"{where}: the method is gone"
                else:
                    yield from self._operation(where, item, now, method)

    def _operation(self, where: str, item: Schema, now: Schema, method: str) -> Iterator[str]:
        old, new = item[method], now[method]
        if old.get("operationId") != new.get("operationId"):
            yield f"{where}: the operation is called {new.get('operationId')} now"
        if _open(old, self.released) and not _open(new, self.served):
            yield f"{where}: it needs a credential now"
        yield from self._parameters(where, _parameters(item, old), _parameters(now, new))
        yield from self._body(where, old.get("requestBody"), new.get("requestBody"))
        for status, answer in old["responses"].items():
            if status not in new["responses"]:
                yield f"{where}: status {status} is gone"
            else:
                yield from self._answer(f"{where} {status}", answer, new["responses"][status])

    def _parameters(
        self, where: str, old: dict[str, Schema], new: dict[str, Schema]
    ) -> Iterator[str]:
        for name, parameter in old.items():
            if name not in new:
                yield f"{where}: the parameter {name} is gone"
                continue
            if new[name].get("required") and not parameter.get("required"):
                yield f"{where}: the parameter {name} is required now"
            yield from self._taken(f"{where} {name}", parameter["schema"], new[name]["schema"])
        for name in new.keys() - old.keys():
            if new[name].get("required"):
                yield f"{where}: the new parameter {name} is required"

    def _body(self, where: str, old: Schema | None, new: Schema | None) -> Iterator[str]:
        if new is not None and new.get("required") and not (old or {}).get("required"):
            yield f"{where}: a body is required now"
        if old is None:
            return
        if new is None:
            yield f"{where}: the body is gone"
            return
        for media, content in old["content"].items():
            if media not in new["content"]:
                yield f"{where}: a body of {media} is no longer taken"
            else:
                one = content["schema"], new["content"][media]["schema"]
                yield from self._taken(f"{where} body", *one)

    def _answer(self, where: str, old: Schema, new: Schema) -> Iterator[str]:
        for name, header in old.get("headers", {}).items():
            if name not in new.get("headers", {}):
                yield f"{where}: the header {name} is gone"
            else:
                one = header["schema"], new["headers"][name]["schema"]
                yield from self._given(f"{where} {name}", *one)
        for media, content in old.get("content", {}).items():
            if media not in new.get("content", {}):
                yield f"{where}: an answer of {media} is gone"
            else:
                one = content["schema"], new["content"][media]["schema"]
                yield from self._given(where, *one)

    def _taken(self, where: str, old: Schema, new: Schema) -> Iterator[str]:
        """Whatever the old schema accepts, the new one has to accept."""
        for text in self._of(self._all_taken, old, new):
            yield where + text

    def _given(self, where: str, old: Schema, new: Schema) -> Iterator[str]:
        """Whatever the new schema describes, the old one has to describe."""
        for text in self._of(self._all_given, old, new):
            yield where + text

    def _of(self, rule: Rule, old: Schema, new: Schema) -> list[str]:
        if "$ref" not in old or "$ref" not in new:
            return list(rule(old, new))
        names = (rule.__name__, old["$ref"], new["$ref"])
        if names not in self.known:
            self.known[names] = list(rule(old, new))
        return self.known[names]

    def _all_taken(self, old: Schema, new: Schema) -> Iterator[str]:
        choices = list(_choices(new, self.served))
        for one in _choices(old, self.released):
            found = [list(self._one_taken("", one, choice)) for choice in choices]
            yield from _nearest(found)

    def _all_given(self, old: Schema, new: Schema) -> Iterator[str]:
        choices = list(_choices(old, self.released))
        for one in _choices(new, self.served):
            found = [list(self._one_given("", choice, one)) for choice in choices]
            yield from _nearest(found)

    def _one_taken(self, where: str, old: Schema, new: Schema) -> Iterator[str]:
        if not _within(old, new):
            yield f"{where}: {_type(old)} is no longer taken, but {_type(new)}"
            return
        allowed = _values(new)
        if allowed is not None:
            known = _values(old)
            gone = ["other values"] if known is None else [v for v in known if v not in allowed]
            yield from (f"{where}: {value} is no longer taken" for value in gone)
        for rule, least in _LEAST.items():
            if new.get(rule, least) > old.get(rule, least):
                yield f"{where}: {rule} is {new[rule]} now"
        for rule, most in _MOST.items():
            if new.get(rule, most) < old.get(rule, most):
                yield f"{where}: {rule} is {new[rule]} now"
        for rule in ("pattern", "format"):
            if new.get(rule) not in (None, old.get(rule)):
                yield f"{where}: the {rule} is {new[rule]} now"
        fields = new.get("properties", {})
        for name, field in old.get("properties", {}).items():
            if name not in fields:
                yield f"{where}: the field {name} is gone"
            else:
                yield from self._taken(f"{where} {name}", field, fields[name])
        for name in sorted({*new.get("required", ())} - {*old.get("required", ())}):
            yield f"{where}: the field {name} is required now"
        if new.get("additionalProperties", True) is False and old.get("additionalProperties", True):
            yield f"{where}: other fields are no longer taken"
        if "items" in new:
            yield from self._taken(f"{where} item", old.get("items", {}), new["items"])

    def _one_given(self, where: str, old: Schema, new: Schema) -> Iterator[str]:
        if not _within(new, old):
            yield f"{where}: it may be {_type(new)} now, not only {_type(old)}"
            return
        known = _values(old)
        if known is not None:
            values = _values(new)
            more = ["any value"] if values is None else [v for v in values if v not in known]
            yield from (f"{where}: it may be {value} now" for value in more)
        fields = new.get("properties", {})
        for name, field in old.get("properties", {}).items():
            if name not in fields:
                yield f"{where}: the field {name} is gone"
            else:
                yield from self._given(f"{where} {name}", field, fields[name])
        for name in sorted({*old.get("required", ())} - {*new.get("required", ())}):
            yield f"{where}: the field {name} may be missing now"
        if "items" in old:
            yield from self._given(f"{where} item", old["items"], new.get("items", {}))


def _parameters(item: Schema, operation: Schema) -> dict[str, Schema]:
    found = [*item.get("parameters", ()), *operation.get("parameters", ())]
    return {f"{one['name']} ({one['in']})": one for one in found}


def _open(operation: Schema, document: Document) -> bool:
    return not operation.get("security", document.get("security"))


def _choices(schema: Schema, document: Document) -> Iterator[Schema]:
    """Return the schemas one of which a value has to fulfil, without references."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        yield from _choices(document["components"]["schemas"][name], document)
    elif "anyOf" in schema:
        for one in schema["anyOf"]:
            yield from _choices(one, document)
    elif isinstance(schema.get("type"), list):
        for name in schema["type"]:
            yield {**schema, "type": name}
    else:
        yield schema


def _type(schema: Schema) -> str:
    return str(schema.get("type", "anything"))


def _within(inner: Schema, outer: Schema) -> bool:
    """Whether all types of one schema are types of the other."""
    one, other = _type(inner), _type(outer)
    return other in (one, "anything") or (one, other) == ("integer", "number")


def _values(schema: Schema) -> list[Any] | None:
    """Return the only values that are allowed, or None if there are others."""
    return [schema["const"]] if "const" in schema else schema.get("enum")


def _nearest(found: list[list[str]]) -> list[str]:
    """Return the breaks of the choice that fits best: none, if there is one that fits."""
    return min(found, key=len, default=[])
