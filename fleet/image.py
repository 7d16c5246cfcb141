"""What goes into a role's image, and how images are named: pure, from config and files."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any, Final, Literal, get_args

from cloudinit import release, roles
from fleet.errors import FleetError
from fleet.web_api import Json

Role = Literal["web", "database", "autoscaler"]
ROLES: Final[tuple[Role, ...]] = get_args(Role)
DISTRIBUTION: Final = "debian-13-x64"
APP_DIRECTORY: Final = "app"
APP_CALLABLE: Final = "visits.wsgi:app"
DIGEST_LETTERS: Final = 8
# Of the manifest: enough to tell images apart and to see that a member holds what its image's name says.
MANIFEST_LETTERS: Final = 8

# Leaves no trace of the machine that was baked on: its identity, keys, logs, and what only baking needed. The
# journal is moved to memory first, or it would go on writing while the machine shuts down.
CLEAN: Final = """set -eu
apt-get -qq clean
rm -rf /var/lib/apt/lists/* /tmp/* /var/tmp/* /root/.cache
cloud-init clean --logs --machine-id
rm -f /etc/hostname /etc/ssh/ssh_host_* /root/.ssh/authorized_keys /root/.bash_history /var/lib/systemd/random-seed
journalctl --relinquish-var
rm -rf /var/log/journal/*
find /var/log -type f -exec truncate --size 0 {} +
sync
"""

_NAME = re.compile(
    r"(?P<role>web|database|autoscaler)-(?P<day>\d{4}\.\d{2}\.\d{2})-"
    rf"(?:(?P<content>[0-9a-f]{{{DIGEST_LETTERS}}})(?P<manifest>[0-9a-f]{{{MANIFEST_LETTERS}}})(?:[0-9a-f]{{4}})?"
    # From before names had the manifest's digest.
    rf"|(?P<older>[0-9a-f]{{4,{DIGEST_LETTERS}}})(?:[0-9a-f]{{4}})?)"
)


@dataclass(frozen=True, slots=True)
class Name:
    """What an image's name tells: `web-2026.11.21-3f2a9c41b07e2d11`."""

    role: str
    day: str
    content: str
    """The beginning of the digest of everything that went in: equal content is not baked twice."""
    manifest: str
    """The beginning of the digest of what came out, packages with their versions included; may be empty."""

    @classmethod
    def parse(cls, text: str) -> Name | None:
        """None for a name that no bake has given."""
        match = _NAME.fullmatch(text)
        if match is None:
            return None
        return cls(match["role"], match["day"], match["content"] or match["older"], match["manifest"] or "")


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that makes an image of a role. Equal content, equal digest."""

    role: Role
    user_data: str
    archive: bytes = field(repr=False)
    digest: str

    def name(self, day: date, manifest: str, *, edition: str = "") -> str:
        """`manifest`: the digest of what was made; `edition`: four more hex digits, to tell bakes of equal content
        apart."""
        return f"{self.role}-{day:%Y.%m.%d}-{self.digest}{manifest[:MANIFEST_LETTERS]}{edition}"

    def made(self, images: Iterable[Json], region: str) -> Json | None:
        """The newest of an account's images that this recipe has made, if it is to be had in the region."""
        own = [
            image
            for image in images
            if (name := Name.parse(image["name"]))
            and (name.role, name.content) == (self.role, self.digest)
            and region in image["regions"]
        ]
        return max(own, key=lambda image: str(image["created_at"]), default=None)


def recipe(role: Role, config: Mapping[str, Any], project: str, directory: Path) -> Recipe:
    """The recipe of a role for a stack's config. `directory`: what the app's path is relative to.

    Raises FleetError where the config asks for something that has no image.
    """
    if role == "web":
        web = roles.WebImage(release=_release(config.get(f"{project}:app") or {}, directory))
        return _recipe(role, roles.web.bake(web), roles.web.archive(web), roles.web.digest(web))
    if role == "autoscaler":
        node = roles.AutoscalerImage()
        return _recipe(
            role, roles.autoscaler.bake(node), roles.autoscaler.archive(node), roles.autoscaler.digest(node)
        )
    section = config.get(f"{project}:database") or {}
    if section.get("kind") == "managed":
        raise FleetError(
            f"{project}:database.kind is managed: the cloud runs the database, so it has no image"
        )
    engine = section.get("engine", "mysql")
    if engine not in ("mysql", "postgresql"):
        raise FleetError(f"{project}:database.engine is {engine!r}; give mysql or postgresql")
    database = roles.DatabaseImage(engine=engine)
    return _recipe(
        role, roles.database.bake(database), roles.database.archive(database), roles.database.digest(database)
    )


def _recipe(role: Role, user_data: str, archive: bytes, content: str) -> Recipe:
    total = hashlib.sha256(f"{DISTRIBUTION}\n{content}\n{CLEAN}".encode()).hexdigest()
    return Recipe(role, user_data, archive, total[:DIGEST_LETTERS])


def _release(app: Mapping[str, Any], directory: Path) -> release.Release:
    where = directory / app.get("directory", APP_DIRECTORY)
    callable_ = app.get("callable", APP_CALLABLE)
    try:
        if app.get("ref"):
            return release.from_git(where, app["ref"], callable_)
        return release.from_directory(where, callable_)
    except release.ReleaseError as error:
        raise FleetError(f"flotilla:app: {error}") from error


def needed(config: Mapping[str, Any], project: str) -> list[Role]:
    """The roles that a stack's config has machines of."""
    database = (config.get(f"{project}:database") or {}).get("kind")
    found: list[Role] = ["web"]
    if database != "managed":
        found.append("database")
    if config.get(f"{project}:autoscaler") is not None:
        found.append("autoscaler")
    return found


def configured(role: Role, config: Mapping[str, Any], project: str) -> str | None:
    """The image that a stack's config names for a role."""
    image = (config.get(f"{project}:{role}") or {}).get("image")
    return str(image) if image else None


def exists(name: str, images: Iterable[Json], region: str) -> bool:
    """Whether a config's image (a name, a number or a distribution's slug) can be used in the region."""
    return any(
        name in {image["name"], str(image["id"]), image.get("slug")} and region in image["regions"]
        for image in images
    )


def checked_role(text: str) -> Role:
    """A role that has an image. Raises FleetError."""
    for role in ROLES:
        if text == role:
            return role
    raise FleetError(f"{text!r} is no role with an image; there are: {', '.join(ROLES)}")
