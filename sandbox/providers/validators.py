"""Checks of single values, with the texts of the plugin framework the official providers are built on."""

from __future__ import annotations

import ipaddress
import re
from typing import Any

from sandbox.providers.schema import Check

# https://docs.digitalocean.com/reference/api/digitalocean/#tag/Tags
_TAG = re.compile(r"[a-zA-Z0-9:\-_]{1,255}")


def not_empty(name: str, value: Any) -> str | None:
    return f"{name} must not be empty" if value in ("", None) else None


def one_of(*choices: str, ignore_case: bool = False) -> Check:
    known = {choice.lower() for choice in choices} if ignore_case else set(choices)

    def check(name: str, value: Any) -> str | None:
        text = str(value).lower() if ignore_case else value
        listed = " ".join(f'"{choice}"' for choice in choices)
        return None if text in known else f"expected {name} to be one of [{listed}], got {value}"

    return check


def number_of(*choices: float) -> Check:
    def check(name: str, value: Any) -> str | None:
        listed = " ".join(str(choice) for choice in choices)
        return None if value in choices else f"expected {name} to be one of [{listed}], got {value}"

    return check


def between(low: float, high: float) -> Check:
    def check(name: str, value: Any) -> str | None:
        return (
            None
            if low <= value <= high
            else f"expected {name} to be in the range ({low} - {high}), got {value}"
        )

    return check


def at_least(low: int) -> Check:
    def check(name: str, value: Any) -> str | None:
        return None if value >= low else f"expected {name} to be at least ({low}), got {value}"

    return check


def length_between(low: int, high: int) -> Check:
    def check(name: str, value: Any) -> str | None:
        if low <= len(value) <= high:
            return None
        return f"expected length of {name} to be in the range ({low} - {high}), got {value}"

    return check


def network(name: str, value: Any) -> str | None:
    try:
        ipaddress.ip_network(value, strict=False)
    except ValueError:
        return f'expected "{name}" to be a valid IPv4 Value, got {value}: invalid CIDR address: {value}'
    return (
        None if "/" in value else f'expected "{name}" to be a valid IPv4 Value, got {value}: no prefix length'
    )


def tag(_name: str, value: Any) -> str | None:
    if _TAG.fullmatch(value):
        return None
    return (
        "tags may contain lowercase letters, numbers, colons, dashes, and underscores; "
        "there is a limit of 255 characters per tag"
    )


def regular_expression(name: str, value: Any) -> str | None:
    try:
        re.compile(value)
    except re.error as error:
        return f'"{name}": {error}'
    return None
