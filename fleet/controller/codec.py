"""Values of dataclasses as JSON documents and back, strictly: an unknown, missing or wrong key is a ConfigError."""

from __future__ import annotations

import types
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from enum import Enum
from functools import lru_cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from fleet.reading import ConfigError

T = TypeVar("T")


def encode(value: Any) -> Any:
    """A JSON value for a dataclass or what may be in one."""
    if is_dataclass(value) and not isinstance(value, type):
        return {each.name: encode(getattr(value, each.name)) for each in fields(value)}
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Mapping):
        return {str(key): encode(item) for key, item in value.items()}
    if isinstance(value, frozenset):
        return sorted(encode(item) for item in value)
    if isinstance(value, tuple | list):
        return [encode(item) for item in value]
    return value


def decode(kind: type[T], value: object, where: str) -> T:
    """The value of a type from JSON; raises ConfigError that names the key."""
    found: T = _decode(kind, value, where)
    return found


def _decode(kind: Any, value: object, where: str) -> Any:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in arguments:
            return None
        return _decode(next(each for each in arguments if each is not type(None)), value, where)
    if origin is tuple:
        return tuple(_items(arguments[0], value, where))
    if origin is frozenset:
        return frozenset(_items(arguments[0], value, where))
    if origin is Mapping:
        return _mapping(arguments, value, where)
    if is_dataclass(kind):
        return _dataclass(kind, value, where)
    return _plain(kind, value, where)


def _items(kind: Any, value: object, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise ConfigError(f"{where} must be a list, not {type(value).__name__}")
    return [_decode(kind, item, f"{where}[{index}]") for index, item in enumerate(value)]


def _mapping(arguments: tuple[Any, ...], value: object, where: str) -> dict[Any, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{where} must be an object, not {type(value).__name__}")
    key_kind, item_kind = arguments
    if key_kind is int and not all(key.isdecimal() for key in value):
        raise ConfigError(f"{where} has a key that is no number")
    return {key_kind(key): _decode(item_kind, item, f"{where}.{key}") for key, item in value.items()}


@lru_cache(maxsize=64)
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _dataclass(kind: Any, value: object, where: str) -> Any:
    if not isinstance(value, dict):
        raise ConfigError(f"{where} must be an object, not {type(value).__name__}")
    hints = _hints(kind)
    if unknown := sorted(set(value) - set(hints)):
        raise ConfigError(f"{where} has unknown keys: {', '.join(unknown)[:200]}")
    missing = [
        each.name
        for each in fields(kind)
        if each.name not in value and each.default is MISSING and each.default_factory is MISSING
    ]
    if missing:
        raise ConfigError(f"{where} lacks {', '.join(missing)}")
    return kind(**{key: _decode(hints[key], item, f"{where}.{key}") for key, item in value.items()})


def _plain(kind: Any, value: object, where: str) -> Any:
    if issubclass(kind, Enum):
        try:
            return kind(value)
        except ValueError:
            raise ConfigError(f"{where} is {str(value)[:40]!r}, which is no {kind.__name__}") from None
    accepted = (int, float) if kind is float else (kind,)
    # A bool is an int in Python, and in no document.
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        raise ConfigError(f"{where} must be {kind.__name__}, not {type(value).__name__}")
    return kind(value)
