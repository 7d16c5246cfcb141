"""Turns what is wrong with a config into lines that a person can act on: key, value, fix."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, get_args

from pydantic import ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from components.schema import Section

_SHOWN_CHARACTERS = 60
HIDDEN = "[hidden]"

# What must never be echoed, also when it stands in the wrong place.
_SECRET_SHAPES = re.compile(r"PRIVATE KEY|do[opr]_v1_|[A-Za-z0-9+/_-]{32,}")


def shown(value: Any) -> str:
    """A value as it may be repeated in an error: short, and nothing that looks like a secret."""
    text = json.dumps(value, ensure_ascii=False, default=str)
    if _SECRET_SHAPES.search(text):
        return HIDDEN
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."


def example(value: Any) -> str:
    """A value as one would write it in a stack's YAML file."""
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{key}: {example(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(example(item) for item in value) + "]"
    return value if isinstance(value, str) else json.dumps(value)


def did_you_mean(given: str, known: Iterable[str]) -> str:
    """ "; did you mean X?" when one of the known words is close, else nothing."""
    by_lower_case = {word.lower(): word for word in known}
    close = difflib.get_close_matches(given.lower(), by_lower_case, n=1, cutoff=0.6)
    return f"; did you mean {by_lower_case[close[0]]}?" if close else ""


def of_section(key: str, model: type[Section], error: ValidationError, *, secret: bool) -> Iterator[str]:
    """One line for each mistake in a section; `secret` hides the values."""
    for detail in error.errors():
        # A list whose items were all wrong counts as empty too; the items have their own lines.
        if detail["type"] == "too_short" and detail["input"]:
            continue
        yield _line(key, model, detail, secret=secret)


def example_of(model: type[Section]) -> str:
    """A section with an example for each key it needs."""
    fields = model.model_fields.items()
    return example({name: _sample(info) for name, info in fields if info.is_required()})


def _sample(info: FieldInfo | None) -> Any:
    return info.examples[0] if info is not None and info.examples else None


def _line(key: str, model: type[Section], detail: ErrorDetails, *, secret: bool) -> str:
    path = detail["loc"]
    owner, field = _find(model, path)
    where = _path(key, path)
    kind = detail["type"]
    if kind == "extra_forbidden":
        known = owner.model_fields
        return (
            f"{where} is not a known key{did_you_mean(str(path[-1]), known)} (known here: {', '.join(known)})"
        )
    if kind == "missing":
        return f"{where} is missing: {_wanted(field)}"
    value = HIDDEN if secret else shown(detail["input"])
    if kind == "value_error":
        return f"{where} = {value}: {detail['ctx']['error']}"
    hint = did_you_mean(detail["input"], _choices(field)) if isinstance(detail["input"], str) else ""
    return f"{where} = {value}: must be {_wanted(field)}{hint}"


def _find(model: type[Section], path: Sequence[int | str]) -> tuple[type[Section], FieldInfo | None]:
    """The section that holds the last name of the path, and that name's field if it has one."""
    owner: type[Section] = model
    field: FieldInfo | None = None
    for step in path:
        if isinstance(step, int):
            continue
        if field is not None:
            owner = next(_sections_of(field), owner)
        field = owner.model_fields.get(step)
    return owner, field


def _sections_of(field: FieldInfo) -> Iterator[type[Section]]:
    """The section that a field holds, also when it may be absent."""
    for choice in (field.annotation, *get_args(field.annotation)):
        if isinstance(choice, type) and issubclass(choice, Section):
            yield choice


def _wanted(field: FieldInfo | None) -> str:
    if field is None:
        return "something else"
    return f"{field.description}, for example {example(_sample(field))}"


def _choices(field: FieldInfo | None) -> Sequence[str]:
    choices = get_args(field.annotation) if field is not None else ()
    return [choice for choice in choices if isinstance(choice, str)]


def _path(key: str, path: Sequence[int | str]) -> str:
    return key + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
