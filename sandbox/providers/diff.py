"""What would change in a resource, and what of that needs a new object: pure comparison, no cloud."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from sandbox.providers.check import DEFAULTS
from sandbox.providers.schema import Property, Resource, Type
from sandbox.providers.values import UNKNOWN, Asset, Values, contains_unknown

ChangeKind = Literal["add", "delete", "update"]


@dataclass(frozen=True, slots=True)
class Change:
    """One changed place, e.g. `tags[1]`, within the property `name`."""

    name: str
    path: str
    kind: ChangeKind
    replaces: bool


def compare(
    resource: Resource, state: Values, old_inputs: Values, news: Values, ignore: Iterable[str]
) -> list[Change]:
    """The changes that an update from `state` (made of `old_inputs`) to the checked inputs `news` would make."""
    ignored = {path.partition(".")[0].partition("[")[0] for path in ignore}
    changes: list[Change] = []
    for spec in resource.properties.values():
        if spec.given and spec.name not in ignored:
            before = old_inputs.get(spec.name) if resource.compares_inputs else state.get(spec.name)
            changes += _compare_property(spec, before, news)
    return changes


def deletes_first(resource: Resource, news: Values) -> bool:
    """Whether a replacement must wait until the old object is gone: its name was given, and names are unique."""
    if resource.naming is None or DEFAULTS not in news:
        return False
    return "name" in news and "name" not in news[DEFAULTS]


def planned_state(resource: Resource, news: Values, prior: Values | None) -> Values:
    """The outputs as far as inputs tell them; what the cloud will decide is UNKNOWN.

    `prior` is the state before an update; None plans a creation.
    """
    state: Values = {} if prior is None else {n: v for n, v in prior.items() if n in resource.properties}
    for spec in resource.properties.values():
        value = news.get(spec.name) if spec.given else None
        if value is not None:
            state[spec.name] = _in_state(spec, value)
        elif not spec.computed:
            state.pop(spec.name, None)
            if spec.default is not None:
                state[spec.name] = spec.default
        elif prior is None or spec.renewed:
            state[spec.name] = UNKNOWN
    return state


def without_defaults(value: Any) -> Any:
    """Inputs as the cloud knows them: without the hidden lists of defaulted properties."""
    if isinstance(value, dict):
        return {name: without_defaults(item) for name, item in value.items() if name != DEFAULTS}
    return [without_defaults(item) for item in value] if isinstance(value, list) else value


def canonical(type_: Type, value: Any) -> Any:
    """A form in which values that mean the same are equal; None for everything empty.

    The official plugins cannot tell an empty value from an unset one, so neither does a comparison here.
    """
    match value:
        case None | "" | False:
            return None
        case Asset():
            return value.hash or value
        case float() if value.is_integer():
            return canonical(type_, int(value))
        case int() if not isinstance(value, bool) and value == 0:
            return None
        case str():
            return value.lower() if type_.ignores_case else value
        case list():
            items = [canonical(type_.element or type_, item) for item in value]
            return (sorted(items, key=_text) if type_.kind == "set" else items) or None
        case dict():
            return _canonical_fields(type_, value) or None
        case _:
            return value


def _canonical_fields(type_: Type, value: Values) -> Values:
    result: Values = {}
    for name, item in value.items():
        spec = type_.fields.get(name)
        if spec is not None and spec.computed:
            continue  # the cloud's own: no program says it, so it is no difference
        inner = spec.type if spec is not None else type_.element or type_
        if name != DEFAULTS and (kept := canonical(inner, item)) is not None:
            result[name] = kept
    return result


def _text(value: Any) -> str:
    return json.dumps(value, sort_keys=True, default=repr)


def _in_state(spec: Property, value: Any) -> Any:
    value = without_defaults(value)
    return value if spec.to_state is None or contains_unknown(value) else spec.to_state(value)


def _compare_property(spec: Property, old: Any, news: Values) -> Iterator[Change]:
    new = news.get(spec.name)
    if new is None:
        if spec.computed:
            return
        new = spec.default
    else:
        new = _in_state(spec, new)
        if spec.same is not None and not contains_unknown(new) and spec.same(old, new, news):
            return
    for path, kind in _compare_values(spec.type, old, new, spec.name):
        yield Change(spec.name, path, kind, spec.needs_replacement(old, new))


def _compare_values(type_: Type, old: Any, new: Any, path: str) -> Iterator[tuple[str, ChangeKind]]:
    before, after = canonical(type_, old), canonical(type_, new)
    if not contains_unknown(new) and before == after:
        return
    if before is None:
        yield path, "add"
    elif after is None:
        yield path, "delete"
    elif isinstance(old, list) and isinstance(new, list):
        yield from _compare_lists(type_, old, new, path)
    elif isinstance(old, dict) and isinstance(new, dict):
        yield from _compare_fields(type_, old, new, path)
    else:
        yield path, "update"


def _compare_lists(
    type_: Type, old: list[Any], new: list[Any], path: str
) -> Iterator[tuple[str, ChangeKind]]:
    element = type_.element or type_
    if type_.kind == "set":
        old, new = _unmatched(element, old, new)
    for index in range(max(len(old), len(new))):
        before = old[index] if index < len(old) else None
        after = new[index] if index < len(new) else None
        yield from _compare_values(element, before, after, f"{path}[{index}]")


def _unmatched(element: Type, old: list[Any], new: list[Any]) -> tuple[list[Any], list[Any]]:
    """The elements of two sets that are in only one of them, at their places; None where both have it."""
    before = [_text(canonical(element, item)) for item in old]
    after = [_text(canonical(element, item)) for item in new]
    return (
        [None if text in after else item for item, text in zip(old, before, strict=True)],
        [None if text in before else item for item, text in zip(new, after, strict=True)],
    )


def _compare_fields(type_: Type, old: Values, new: Values, path: str) -> Iterator[tuple[str, ChangeKind]]:
    for name in sorted({*old, *new} - {DEFAULTS}):
        spec = type_.fields.get(name)
        if spec is not None and spec.computed:
            continue
        inner = spec.type if spec is not None else type_.element or type_
        place = f"{path}.{name}" if name.isidentifier() else f'{path}["{name}"]'
        yield from _compare_values(inner, old.get(name), new.get(name), place)
