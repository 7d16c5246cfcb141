"""Checking and completing the inputs of a resource: types, required properties, names, defaults."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sandbox.providers.naming import NamingError, Proposal, choose_name
from sandbox.providers.schema import ANYTHING, Property, Resource, Type
from sandbox.providers.values import UNKNOWN, Asset, Secret, Values, contains_unknown, keep_secrets, reveal

DEFAULTS = "__defaults"
"""The hidden input that lists the properties filled in here rather than by the program."""


@dataclass(slots=True)
class Checked:
    """Completed inputs, and what is wrong with them (empty when all is well)."""

    inputs: Values
    failures: list[str] = field(default_factory=list)


def check(
    resource: Resource, logical: str, news: Values, olds: Values, seed: bytes, proposal: Proposal | None
) -> Checked:
    """Complete the inputs `news` of the resource called `logical`; `olds` are those of its last run."""
    reader = _Reader(logical, resource.tracks_defaults)
    inputs = reader.read_object(resource.properties, reveal(news), "")
    if resource.tracks_defaults:
        _choose_name(resource, logical, inputs, reveal(olds), seed, proposal, reader)
    if not reader.failures and not contains_unknown(inputs):
        for rule in resource.rules:
            reader.failures += rule(inputs)
    marked = keep_secrets(inputs, news)
    for spec in resource.properties.values():
        if spec.secret and marked.get(spec.name) is not None and not isinstance(marked[spec.name], Secret):
            marked[spec.name] = Secret(reveal(marked[spec.name]))
    return Checked(marked, reader.failures)


def check_arguments(arguments: Mapping[str, Property], logical: str, values: Values) -> Checked:
    """The same for the arguments of a lookup, which have no names to choose."""
    reader = _Reader(logical, tracks_defaults=False)
    return Checked(reader.read_object(arguments, reveal(values), ""), reader.failures)


def _choose_name(
    resource: Resource,
    logical: str,
    inputs: Values,
    olds: Values,
    seed: bytes,
    proposal: Proposal | None,
    reader: _Reader,
) -> None:
    if resource.naming is None or inputs.get("name") is not None:
        return
    old = olds.get("name") if "name" in olds.get(DEFAULTS, ()) else None
    try:
        inputs["name"] = choose_name(resource.naming, logical, seed, old, proposal)
    except NamingError as error:
        reader.failures.append(str(error))
        return
    inputs[DEFAULTS] = sorted([*inputs[DEFAULTS], "name"])


class _Reader:
    """Reads values by their types, gathering every failure with the place it is about."""

    def __init__(self, logical: str, tracks_defaults: bool) -> None:
        self._logical = logical
        self._tracks_defaults = tracks_defaults
        self.failures: list[str] = []

    def read_object(self, properties: Mapping[str, Property], values: Mapping[str, Any], path: str) -> Values:
        result: Values = {}
        for name, value in values.items():
            if name.startswith("__") or value is None:
                continue
            spec = properties.get(name)
            if spec is None or not spec.given:
                self._fail("Invalid or unknown key", _join(path, name))
                continue
            result[name] = self._read_property(spec, value, _join(path, name))
        defaulted = [spec.name for spec in _defaulted(properties, result)]
        result.update((name, properties[name].default) for name in defaulted)
        for spec in properties.values():
            if spec.required and spec.name not in result:
                self.failures.append(f"Missing required property '{_join(path, spec.name)}'")
        if self._tracks_defaults:
            result[DEFAULTS] = defaulted
        return result

    def _read_property(self, spec: Property, value: Any, path: str) -> Any:
        before = len(self.failures)
        result = self._read(spec.type, value, path)
        if len(self.failures) > before:
            return result
        for item in result if spec.type.kind in ("list", "set") and isinstance(result, list) else [result]:
            problems = () if contains_unknown(item) else spec.checks
            for problem in filter(None, (test(spec.attribute, item) for test in problems)):
                self._fail(problem, path)
        return result

    def _read(self, type_: Type, value: Any, path: str) -> Any:
        if value is UNKNOWN or type_.kind == "any":
            return value
        match type_.kind:
            case "list" | "set":
                return self._read_list(type_, value, path)
            case "map":
                return self._read_map(type_, value, path)
            case "object":
                if isinstance(value, Mapping):
                    return self.read_object(type_.fields, value, path)
            case "asset":
                if isinstance(value, Asset):
                    return value
            case _:
                converted = _convert(type_, value)
                if converted is not None:
                    return converted
        self._fail(f"expected {_named(type_)} type, got {_type_of(value)} type", path)
        return value

    def _read_list(self, type_: Type, value: Any, path: str) -> Any:
        if not isinstance(value, list):
            self._fail(f"expected array type, got {_type_of(value)} type", path)
            return value
        return [
            self._read(type_.element or ANYTHING, item, f"{path}[{index}]")
            for index, item in enumerate(value)
        ]

    def _read_map(self, type_: Type, value: Any, path: str) -> Any:
        if not isinstance(value, Mapping):
            self._fail(f"expected object type, got {_type_of(value)} type", path)
            return value
        return {
            name: self._read(type_.element or ANYTHING, item, _join(path, name))
            for name, item in value.items()
        }

    def _fail(self, problem: str, path: str) -> None:
        self.failures.append(f"{problem}. Examine values at '{self._logical}.{path}'.")


def _defaulted(properties: Mapping[str, Property], values: Values) -> Iterator[Property]:
    """Unset properties whose default is written down; an empty default means the same as unset."""
    return (spec for spec in properties.values() if spec.default and spec.name not in values)


def _convert(type_: Type, value: Any) -> Any:
    """A simple value as its type wants it, e.g. a droplet's id (text) where a number is asked; None if impossible."""
    match type_.kind, value:
        case "string", str():
            return value
        case "string", bool():
            return "true" if value else "false"
        case "string", int() | float():
            return str(value)
        case "boolean", bool():
            return value
        case "boolean", "true" | "false":
            return value == "true"
        case "integer" | "number", int() | float() if not isinstance(value, bool):
            return value if type_.kind == "number" or float(value).is_integer() else None
        case "integer" | "number", str():
            return _number(value, whole=type_.kind == "integer")
        case _:
            return None


def _number(text: str, *, whole: bool) -> int | float | None:
    try:
        return int(text)
    except ValueError:
        pass
    try:
        return None if whole else float(text)
    except ValueError:
        return None


def _join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _named(type_: Type) -> str:
    return {"integer": "number", "asset": "asset or archive"}.get(type_.kind, type_.kind)


def _type_of(value: Any) -> str:
    match value:
        case bool():
            return "boolean"
        case int() | float():
            return "number"
        case str():
            return "string"
        case list():
            return "array"
        case Mapping():
            return "object"
        case Asset():
            return "archive" if value.archive else "asset"
        case _:
            return "unknown"
