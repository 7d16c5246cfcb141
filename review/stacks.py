"""Stack config as it is committed, made ready for a cloud that lasts for one preview."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import yaml

Settings = dict[str, Any]


class SettingsError(Exception):
    """A stack's file cannot be read; the text names it."""


_PROJECT: Final = "flotilla"
_SEED: Final = f"{_PROJECT}:seed"
_SALT: Final = "encryptionsalt"
# How a stack's own secrets are encrypted: nobody can open them here.
_ENCRYPTION: Final = (_SALT, "secretsprovider", "encryptedkey")


def names(project: Path) -> list[str]:
    """Stacks with a config file, in order."""
    return sorted(
        path.name.removeprefix("Pulumi.").removesuffix(".yaml") for path in project.glob("Pulumi.*.yaml")
    )


def file(project: Path, stack: str) -> Path:
    return project / f"Pulumi.{stack}.yaml"


def load(path: Path) -> Settings:
    """A stack's settings. Raises SettingsError when they are no YAML, or no mapping with a mapping `config`."""
    try:
        settings = yaml.safe_load(path.read_text()) or {}
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path.name} is not YAML: {error}") from error
    if not isinstance(settings, dict) or not isinstance(settings.get("config"), dict):
        raise SettingsError(f"{path.name} has no mapping `config:` at its top")
    return settings


def save(path: Path, settings: Mapping[str, Any]) -> None:
    path.write_text(yaml.safe_dump(dict(settings)))


def without_secrets(settings: Settings) -> Settings:
    """The settings without encrypted values and what would be needed to open them."""
    bare = {key: value for key, value in copy.deepcopy(settings).items() if key not in _ENCRYPTION}
    bare["config"] = {key: value for key, value in bare["config"].items() if not _is_secret(value)}
    return bare


def with_secrets_of(settings: Settings, other: Settings) -> Settings:
    """The settings with the seed of another file, so that both have the same keys and passwords."""
    found = without_secrets(settings)
    found[_SALT] = other[_SALT]
    found["config"][_SEED] = other["config"][_SEED]
    return found


def with_images(settings: Settings, fallback: Mapping[str, str]) -> Settings:
    """The settings with an image for each role of `fallback` that has machines of its own and names none: images
    that were not baked yet."""
    found = copy.deepcopy(settings)
    for role, image in fallback.items():
        section = found["config"].get(f"{_PROJECT}:{role}")
        if isinstance(section, dict) and "image" not in section and section.get("kind") != "managed":
            section["image"] = image
    return found


def image_names(settings: Settings) -> frozenset[str]:
    """Every image that the settings name, also those of members that an unfinished rollout leaves as they are."""
    return frozenset(_values(settings["config"], {"image", "rest"}))


def zones(settings: Settings) -> frozenset[str]:
    """The zones that the settings name."""
    return frozenset(_values(settings["config"], {"zone"}))


def regions(settings: Settings) -> frozenset[str]:
    return frozenset(_values(settings["config"], {"region"}))


def _values(config: Any, keys: set[str]) -> Iterator[str]:
    if isinstance(config, dict):
        for key, value in config.items():
            if key in keys and isinstance(value, str):
                yield value
            else:
                yield from _values(value, keys)


def _is_secret(value: Any) -> bool:
    if isinstance(value, dict):
        return set(value) == {"secure"} or any(_is_secret(part) for part in value.values())
    return isinstance(value, list) and any(_is_secret(part) for part in value)
