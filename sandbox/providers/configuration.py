"""Provider configuration: what the program may set, and how it arrives."""

from __future__ import annotations

import json
from typing import Any

from sandbox.providers.package import Package
from sandbox.providers.values import Values

# Set by the engine for its own use.
_ENGINE_KEYS = frozenset({"version", "pluginDownloadURL", "pluginChecksums"})


def check_configuration(package: Package, values: Values) -> list[str]:
    """What is wrong with the configuration; empty when all is well."""
    return [
        f"`{package.name}:{name}` is not a valid configuration key for the {package.name} provider. "
        "If the referenced key is not intended for the provider, please choose a different namespace "
        f"from `{package.name}:`."
        for name in sorted(values)
        if name not in package.configuration and name not in _ENGINE_KEYS and not name.startswith("__")
    ]


def read_configuration(package: Package, values: Values) -> Values:
    """The configuration with its types restored: the SDK sends everything but text as JSON text."""
    return {
        name: _typed(package.configuration[name].type.kind, value)
        for name, value in values.items()
        if name in package.configuration and value not in (None, "")
    }


def _typed(kind: str, value: Any) -> Any:
    if kind == "string" or not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value
