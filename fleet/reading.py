"""Strict reading of JSON objects: unknown, missing and wrong keys are errors that name the key.

And of some texts in them: each check at the end returns its text, or raises a ConfigError that says what is right.
"""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Callable, Sequence
from re import Pattern
from typing import Any, Final, TypeVar, cast

MAX_TEXT: Final = 100_000
T = TypeVar("T", bound=str)
_MISSING: Final = object()
_HOST = re.compile(
    r"(?=.{1,253}\Z)(\*\.)?([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\.)*[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
)


class ConfigError(ValueError):
    """Something given to a machine is wrong; the text names the key and what would be right."""


def decode_object(where: str, text: str | bytes) -> dict[str, Any]:
    """A JSON object; duplicate keys, NaN and deep nesting are errors, never guesses."""
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{where} is not JSON: {str(error)[:120]}") from None
    if not isinstance(value, dict):
        raise ConfigError(f"{where} must be a JSON object, not {_kind(value)}")
    return value


class Reader:
    """Takes the keys of one object one by one; `finish` refuses what nobody asked for."""

    def __init__(self, where: str, value: dict[str, Any]) -> None:
        self._where = where
        self._left = dict(value)
        self._known: list[str] = []

    def text(self, key: str, pattern: Pattern[str], default: str | None = None) -> str:
        value = self._take_text(key, default)
        if not pattern.fullmatch(value):
            raise ConfigError(f"{self._where}.{key} is {_shown(value)}, which does not fit {pattern.pattern}")
        return value

    def long_text(self, key: str, limit: int) -> str:
        """Any text of up to `limit` characters; it may be secret, so no error shows it."""
        value = self._take(key)
        if not isinstance(value, str):
            raise ConfigError(f"{self._where}.{key} must be a text, not {_kind(value)}")
        if len(value) > limit:
            raise ConfigError(f"{self._where}.{key} is longer than {limit} characters")
        return value

    def checked(self, key: str, check: Callable[[str], str], default: str | None = None) -> str:
        value = self._take_text(key, default)
        return self._apply(f"{self._where}.{key}", value, check)

    def choice(self, key: str, choices: Sequence[T], default: T | None = None) -> T:
        value = self._take_text(key, default)
        if value not in choices:
            wanted = ", ".join(repr(choice) for choice in choices)
            raise ConfigError(f"{self._where}.{key} is {_shown(value)}; it must be one of {wanted}")
        return cast(T, value)

    def integer(self, key: str, low: int, high: int) -> int:
        return _integer(f"{self._where}.{key}", self._take(key), low, high)

    def optional_integer(self, key: str, low: int, high: int) -> int | None:
        """None for null and for a key that is absent."""
        value = self._take(key, None)
        return None if value is None else _integer(f"{self._where}.{key}", value, low, high)

    def number(self, key: str) -> float | None:
        """Any finite number; None for null and for a key that is absent."""
        value = self._take(key, None)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise ConfigError(f"{self._where}.{key} must be a number, not {_kind(value)}")
        return float(value)

    def flag(self, key: str, *, default: bool) -> bool:
        value = self._take(key, default)
        if not isinstance(value, bool):
            raise ConfigError(f"{self._where}.{key} must be true or false, not {_shown(value)}")
        return value

    def integers(self, key: str, low: int, high: int) -> tuple[int, ...]:
        return tuple(
            _integer(f"{self._where}.{key}[{index}]", value, low, high)
            for index, value in enumerate(self._take_list(key))
        )

    def texts(
        self,
        key: str,
        *,
        check: Callable[[str], str],
        default: tuple[str, ...] | None = None,
        limit: int = 200,
    ) -> tuple[str, ...]:
        values = self._take_list(key, default)
        if len(values) > limit:
            raise ConfigError(f"{self._where}.{key} has {len(values)} entries; at most {limit} are taken")
        return tuple(
            self._apply(f"{self._where}.{key}[{index}]", value, check) for index, value in enumerate(values)
        )

    def child(self, key: str) -> Reader:
        return self._reader(key, self._take(key))

    def optional_child(self, key: str) -> Reader | None:
        value = self._take(key, None)
        return None if value is None else self._reader(key, value)

    def children(self, key: str) -> list[Reader]:
        return [self._reader(f"{key}[{index}]", value) for index, value in enumerate(self._take_list(key))]

    def mapping(self, key: str) -> dict[str, Any]:
        value = self._take(key)
        self._reader(key, value)
        return cast(dict[str, Any], value)

    def finish(self) -> None:
        """All keys must have been asked for."""
        if self._left:
            unknown = ", ".join(_shown(key) for key in sorted(self._left))
            raise ConfigError(f"{self._where} has the unknown key {unknown}; known: {', '.join(self._known)}")

    def _take(self, key: str, default: object = _MISSING) -> Any:
        self._known.append(key)
        value = self._left.pop(key, default)
        if value is _MISSING:
            raise ConfigError(f"{self._where}.{key} is missing")
        return value

    def _take_text(self, key: str, default: str | None) -> str:
        value = self._take(key, _MISSING if default is None else default)
        return _text(f"{self._where}.{key}", value)

    def _take_list(self, key: str, default: tuple[str, ...] | None = None) -> list[Any]:
        value = self._take(key, _MISSING if default is None else list(default))
        if not isinstance(value, list):
            raise ConfigError(f"{self._where}.{key} must be a list, not {_kind(value)}")
        return value

    def _reader(self, key: str, value: object) -> Reader:
        if not isinstance(value, dict):
            raise ConfigError(f"{self._where}.{key} must be an object, not {_kind(value)}")
        return Reader(f"{self._where}.{key}", value)

    @staticmethod
    def _apply(where: str, value: object, check: Callable[[str], str]) -> str:
        text = _text(where, value)
        try:
            return check(text)
        except ConfigError as error:
            raise ConfigError(f"{where} is {_shown(text)}: {error}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ConfigError("an object has the same key twice")
    return result


def _no_constant(name: str) -> Any:
    raise ConfigError(f"{name} is not JSON")


def _text(where: str, value: object) -> str:
    if not isinstance(value, str):
        raise ConfigError(f"{where} must be a text, not {_kind(value)}")
    if len(value) > MAX_TEXT:
        raise ConfigError(f"{where} is longer than {MAX_TEXT} characters")
    return value


def _integer(where: str, value: object, low: int, high: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
        raise ConfigError(f"{where} must be a whole number from {low} to {high}, not {_shown(value)}")
    return value


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def _kind(value: object) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "null"}
    return names.get(type(value), "a number")


def as_network(text: str) -> str:
    """A CIDR in its usual form."""
    try:
        return str(ipaddress.ip_network(text))
    except ValueError as error:
        raise ConfigError(f"not a network such as 10.20.0.0/20 ({error})") from error


def as_host(text: str) -> str:
    """An address in its usual form, or a name."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        if _HOST.fullmatch(text) and not text.startswith("*"):
            return text
        raise ConfigError("not an IP address or a host name in lower case") from None


def is_name(text: str) -> bool:
    """Whether a host is given by its name instead of its address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return True
    return False


def as_server_name(text: str) -> str:
    """A name that a site answers to; its first label may be a star."""
    if not _HOST.fullmatch(text):
        raise ConfigError("not a host name in lower case such as www.example.com or *.example.com")
    return text


def as_optional_certificate(text: str) -> str:
    """PEM of certificates, or nothing."""
    return as_pem(text, "CERTIFICATE") if text else text


def as_pem(text: str, label: str) -> str:
    """PEM blocks of one kind and nothing else, so that the text can do no harm in a file."""
    block = rf"-----BEGIN {label}-----\n[A-Za-z0-9+/=\n]+-----END {label}-----"
    if not re.fullmatch(rf"\s*({block}\s*)+", text):
        raise ConfigError(f"not PEM holding {'a certificate' if label == 'CERTIFICATE' else 'a private key'}")
    return text
