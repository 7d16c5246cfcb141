"""The stack config files of a project, as they lie on disk: of every stack, also those of other backends."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from fleet.errors import FleetError
from fleet.pulumi_cli import Project

_PREFIX, _SUFFIX = "Pulumi.", ".yaml"


def stacks(project: Project) -> list[str]:
    """Names of the stacks that have a file."""
    files = sorted(project.directory.glob(f"{_PREFIX}*{_SUFFIX}"))
    return [file.name.removeprefix(_PREFIX).removesuffix(_SUFFIX) for file in files]


def config(project: Project, stack: str) -> dict[str, Any]:
    """A stack's config by key; secrets as they are written, encrypted. Raises FleetError when it cannot be read."""
    file = project.config_file(stack)
    if not file.is_file():
        known = ", ".join(stacks(project)) or "none"
        raise FleetError(
            f"there is no {file.name} in {project.directory}; there are config files of: {known}"
        )
    return _read(file)


def every(project: Project) -> dict[str, dict[str, Any]]:
    """The config of every stack that has a file."""
    return {stack: _read(project.config_file(stack)) for stack in stacks(project)}


def scalars(value: Any, path: str = "") -> Iterator[tuple[str, str]]:
    """Every single value in a config as text, with where it stands, such as web.rollout.partial.rest."""
    if isinstance(value, dict):
        for key, inner in value.items():
            name = str(key).rpartition(":")[2]
            yield from scalars(inner, f"{path}.{name}" if path else name)
    elif isinstance(value, list):
        for number, inner in enumerate(value):
            yield from scalars(inner, f"{path}[{number}]")
    else:
        yield path, str(value)


def _read(file: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(file.read_text()) or {}
    except yaml.YAMLError as error:
        raise FleetError(f"{file} is not YAML: {str(error)[:200]}") from error
    found = document.get("config") or {} if isinstance(document, dict) else None
    if not isinstance(found, dict):
        raise FleetError(f"{file} has no config as Pulumi writes it; its `config:` must be a mapping")
    return found
