"""The web members of a stack as the cloud lists them, and how to log in to them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from fleet import ssh
from fleet.digitalocean import DigitalOcean, public_address
from fleet.errors import FleetError
from fleet.identity import Identity
from fleet.web_api import Json

ROLE: Final = "web"
BURST: Final = "burst"

# Pulumi and the controller append digits of their own to a droplet's name; what is before them is the slot.
_DROPLET = re.compile(rf"((?:{ROLE}|{BURST})-[1-9]\d*)-[0-9a-f]{{7}}")


@dataclass(frozen=True, slots=True)
class Machine:
    """A web droplet. During a rollout a slot has two: the one that serves and the one that is to take its place."""

    id: int
    name: str
    slot: str
    address: str
    private_address: str
    image: str
    image_names: frozenset[str]
    """All that a config may call its image: name, number and, of a distribution's, slug."""
    created: str

    @property
    def number(self) -> int | None:
        """Its slot's, None for a burst member."""
        role, _, last = self.slot.rpartition("-")
        return int(last) if role == ROLE and self.slot != self.name and last.isdigit() else None

    def target(self, identity: Identity) -> ssh.Target:
        return ssh.Target(
            self.address,
            identity.host_key(self.slot).public_openssh,
            private_key=identity.deploy_key().private_openssh,
        )

    def __str__(self) -> str:
        return f"{self.slot} ({self.name}, {self.address})"


def slot_of(droplet: str) -> str:
    """The slot of a droplet by its name; a stranger's is known by its whole name."""
    match = _DROPLET.fullmatch(droplet)
    return match[1] if match else droplet


def find(cloud: DigitalOcean, stack: str) -> list[Machine]:
    """A stack's web droplets that have an address, the oldest first."""
    droplets = [
        droplet
        for droplet in cloud.every("/v2/droplets", "droplets", tag_name=f"{stack}-{ROLE}")
        if droplet["networks"]["v4"]
    ]
    return sorted(
        (_machine(droplet) for droplet in droplets), key=lambda machine: (machine.created, machine.id)
    )


def in_slot(machines: list[Machine], slot: str, stack: str) -> list[Machine]:
    """The droplets of a slot. Raises FleetError when there is none."""
    found = [machine for machine in machines if slot in {machine.slot, machine.name, str(machine.id)}]
    if not found:
        known = ", ".join(dict.fromkeys(machine.slot for machine in machines)) or "none at all"
        raise FleetError(f"stack {stack} has no web member {slot!r}; there are: {known}")
    return found


def _machine(droplet: Json) -> Machine:
    private = [entry["ip_address"] for entry in droplet["networks"]["v4"] if entry["type"] == "private"]
    image = droplet["image"]
    return Machine(
        id=int(droplet["id"]),
        name=droplet["name"],
        slot=slot_of(droplet["name"]),
        address=public_address(droplet),
        private_address=str(private[0]) if private else "",
        image=str(image.get("slug") or image.get("name") or image["id"]),
        image_names=frozenset(str(image[key]) for key in ("name", "slug", "id") if image.get(key)),
        created=droplet["created_at"],
    )
