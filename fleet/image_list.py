"""The golden images of an account, for people and scripts: what each holds, how old it is and who uses it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from fleet import image, stack_files
from fleet.digitalocean import DigitalOcean
from fleet.web_api import Json


@dataclass(frozen=True, slots=True)
class Listed:
    """A baked image."""

    role: str
    name: str
    id: str
    content: str
    """The beginning of the digest of all that went in."""
    manifest: str
    """The beginning of the digest of its packages and files; empty for images from before names had it."""
    created: str
    gigabytes: float
    regions: tuple[str, ...]
    used_by: tuple[str, ...]
    """Where it is named or runs, such as `prod (web.image)` or `droplet web-1-3fa2c1b`."""

    @property
    def age(self) -> timedelta:
        return datetime.now(UTC) - datetime.fromisoformat(self.created)


def listing(
    images: Iterable[Json], configs: Mapping[str, Mapping[str, Any]], droplets: Iterable[Json]
) -> list[Listed]:
    """The images that bakes have made, newest first. `configs`: of every stack, by its name."""
    running = list(droplets)
    rows = [
        Listed(
            role=name.role,
            name=found["name"],
            id=str(found["id"]),
            content=name.content,
            manifest=name.manifest,
            created=found["created_at"],
            gigabytes=float(found["size_gigabytes"]),
            regions=tuple(found["regions"]),
            used_by=(*_naming(found, configs), *_running(found, running)),
        )
        for found in images
        if (name := image.Name.parse(found["name"]))
    ]
    return sorted(rows, key=lambda row: (row.created, row.name), reverse=True)


def of_account(cloud: DigitalOcean, configs: Mapping[str, Mapping[str, Any]]) -> list[Listed]:
    """All of them, held against every droplet of the account."""
    droplets = list(cloud.every("/v2/droplets", "droplets"))
    return listing(cloud.every("/v2/images", "images", private="true"), configs, droplets)


def _naming(found: Json, configs: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Any value of any key counts: an image must not vanish because of a key that this version does not know."""
    names = {found["name"], str(found["id"])}
    return [
        f"{stack} ({path})"
        for stack, config in configs.items()
        for path, value in stack_files.scalars(config)
        if value in names
    ]


def _running(found: Json, droplets: Iterable[Json]) -> list[str]:
    return [
        f"droplet {droplet['name']}"
        for droplet in droplets
        if str((droplet.get("image") or {}).get("id")) == str(found["id"])
    ]


def shown_age(age: timedelta) -> str:
    """In the unit that tells most: 5 min, 3 h, 12 d."""
    minutes = int(age.total_seconds() // 60)
    if minutes < 120:
        return f"{minutes} min"
    return f"{minutes // 60} h" if minutes < 48 * 60 else f"{minutes // (24 * 60)} d"
