"""The machine that an image is baked on: a droplet that exists for one bake."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final

import asyncssh
import yaml

from cloudinit.document import cloud_config
from fleet import ssh
from fleet.digitalocean import DigitalOcean
from fleet.image import Recipe
from fleet.web_api import Json

TAG: Final = "flotilla-bake"
# A bake takes minutes; a droplet of another desk that is older than this belongs to one that was killed.
ABANDONED: Final = timedelta(hours=2)

_NAME = re.compile(r"bake-(?P<role>[a-z]+)-[0-9a-f]+-(?P<desk>[0-9a-f]{6})-(?P<pid>\d+)")


@dataclass(frozen=True, slots=True)
class Keys:
    """Key pairs that live as long as the bake: the machine's and ours."""

    host_private: str
    host_public: str
    login_private: str
    login_public: str

    @classmethod
    def generate(cls, name: str) -> Keys:
        host = asyncssh.generate_private_key("ssh-ed25519", comment=name)
        login = asyncssh.generate_private_key("ssh-ed25519", comment=name)
        return cls(
            host.export_private_key().decode(),
            host.export_public_key().decode().strip(),
            login.export_private_key().decode(),
            login.export_public_key().decode().strip(),
        )

    def target(self, address: str) -> ssh.Target:
        return ssh.Target(address, self.host_public, private_key=self.login_private)


def user_data(recipe: Recipe, keys: Keys) -> str:
    """The recipe's payload and, for the time of the bake, a known host key and our login."""
    document: Mapping[str, object] = yaml.safe_load(recipe.user_data)
    return cloud_config(
        {
            **document,
            "users": [],
            "disable_root": False,
            "ssh_deletekeys": True,
            "ssh_keys": {"ed25519_private": keys.host_private, "ed25519_public": keys.host_public},
            "ssh_authorized_keys": [keys.login_public],
        }
    )


def desk() -> str:
    """This computer, as a droplet's name can hold it."""
    return sha256(socket.gethostname().encode()).hexdigest()[:6]


def droplet_name(recipe: Recipe) -> str:
    """Tells which bake on which desk a droplet belongs to."""
    return f"bake-{recipe.role}-{recipe.digest}-{desk()}-{os.getpid()}"


def is_abandoned(droplet: Json, *, now: datetime, alive: Callable[[int], bool]) -> bool:
    """Whether a bake's droplet has outlived its bake: at once on the desk it ran at, by its age elsewhere."""
    match = _NAME.fullmatch(droplet["name"])
    if match is None:
        return False
    if match["desk"] == desk() and not alive(int(match["pid"])):
        return True
    created = datetime.fromisoformat(droplet["created_at"])
    return now - created > ABANDONED


def sweep(cloud: DigitalOcean) -> list[str]:
    """Delete what killed bakes left in the account; returns the names."""
    now = datetime.now(UTC)
    droplets = [
        droplet
        for droplet in cloud.every("/v2/droplets", "droplets", tag_name=TAG)
        if is_abandoned(droplet, now=now, alive=_alive)
    ]
    for droplet in droplets:
        cloud.delete(f"/v2/droplets/{droplet['id']}")
    names = {droplet["name"] for droplet in droplets}
    for key in list(cloud.every("/v2/account/keys", "ssh_keys")):
        match = _NAME.fullmatch(key["name"])
        if key["name"] in names or (match and match["desk"] == desk() and not _alive(int(match["pid"]))):
            cloud.delete(f"/v2/account/keys/{key['id']}")
    return sorted(names)


def remove(cloud: DigitalOcean, name: str) -> None:
    """Delete a bake's droplet and key by their name, also when their ids never reached us."""
    for droplet in list(cloud.every("/v2/droplets", "droplets", tag_name=TAG)):
        if droplet["name"] == name:
            cloud.delete(f"/v2/droplets/{droplet['id']}")
    for key in list(cloud.every("/v2/account/keys", "ssh_keys")):
        if key["name"] == name:
            cloud.delete(f"/v2/account/keys/{key['id']}")


def create(
    cloud: DigitalOcean, name: str, recipe: Recipe, keys: Keys, region: str, size: str, image: str
) -> int:
    """Ask for the droplet and return its id. The login key is given to the cloud too: without one, DigitalOcean
    mails a root password that must be changed before anything else works."""
    key = cloud.post("/v2/account/keys", {"name": name, "public_key": keys.login_public})["ssh_key"]
    droplet = cloud.post(
        "/v2/droplets",
        {
            "name": name,
            "region": region,
            "size": size,
            "image": image,
            "ssh_keys": [key["id"]],
            "user_data": user_data(recipe, keys),
            "tags": [TAG],
        },
    )["droplet"]
    return int(droplet["id"])


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
