"""Takes away what a stack's controller has made: burst members and their records, which no state knows.

It asks the clouds, not the controller, so it works when the node is dead; and it goes by tags and names alone, so that
nothing is taken which the controller cannot have made.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from fleet.cloudflare import Cloudflare
from fleet.digitalocean import DigitalOcean
from fleet.members import BURST
from fleet.web_api import Json, await_value

GONE_SECONDS: Final = 120.0
# A create that was under way when the node went appears in the list a moment later.
ROUNDS: Final = 5

_NAME = re.compile(rf"{BURST}-[1-9]\d*-[0-9a-f]{{7}}")

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Swept:
    """What was taken away, and what was left because the controller cannot have made it."""

    droplets: tuple[str, ...]
    records: tuple[str, ...]
    left: tuple[str, ...]


def sweep(cloud: DigitalOcean, edge: Cloudflare | None, stack: str, say: Say) -> Swept:
    """Records first, so that nobody is led to a machine that is going. `edge` None: the records are at the cloud's
    own DNS. Raises FleetError when a cloud refuses; running again goes on."""
    records: list[str] = []
    gone: dict[int, str] = {}
    left: dict[int, str] = {}
    for _ in range(ROUNDS):
        found = list(cloud.every("/v2/droplets", "droplets", tag_name=f"{stack}-{BURST}"))
        own = [droplet for droplet in found if _ours(droplet, stack)]
        left = {droplet["id"]: droplet["name"] for droplet in found if droplet not in own}
        records += _sweep_records(cloud, edge, stack, own, say)
        if not own:
            break
        for droplet in own:
            cloud.delete(f"/v2/droplets/{droplet['id']}")
            gone[droplet["id"]] = droplet["name"]
            say(f"Deleted the burst member {droplet['name']} ({droplet['id']})")
        asyncio.run(_await_gone(cloud, [droplet["id"] for droplet in own]))
    for number, name in left.items():
        say(
            f"warning: droplet {name} ({number}) has the tag {stack}-{BURST}, but no controller made it; it stays"
        )
    return Swept(tuple(gone.values()), tuple(records), tuple(left.values()))


def _ours(droplet: Json, stack: str) -> bool:
    return stack in droplet["tags"] and _NAME.fullmatch(droplet["name"]) is not None


def _sweep_records(
    cloud: DigitalOcean, edge: Cloudflare | None, stack: str, own: list[Json], say: Say
) -> list[str]:
    found = _edge_records(edge, stack) if edge else _plain_records(cloud, own)
    swept = []
    for path, text in found:
        (edge or cloud).delete(path)
        say(f"Deleted the record {text}")
        swept.append(text)
    return swept


def _edge_records(edge: Cloudflare, stack: str) -> Iterator[tuple[str, str]]:
    """By comment, in every zone that the token sees: the state that knew the zone may be lost."""
    prefix = f"flotilla {stack} {BURST}-"
    for zone in list(edge.every("/zones")):
        path = f"/zones/{zone['id']}/dns_records"
        for record in list(edge.every(path, **{"comment.startswith": prefix})):
            if str(record.get("comment") or "").startswith(prefix):
                yield f"{path}/{record['id']}", f"{record['name']} to {record['content']}"


def _plain_records(cloud: DigitalOcean, own: list[Json]) -> Iterator[tuple[str, str]]:
    """By address: the cloud's own DNS has no comments."""
    addresses = {
        card["ip_address"] for droplet in own for cards in droplet["networks"].values() for card in cards
    }
    if not addresses:
        return
    for domain in list(cloud.every("/v2/domains", "domains")):
        path = f"/v2/domains/{domain['name']}/records"
        for record in list(cloud.every(path, "domain_records")):
            if record["data"] in addresses:
                yield f"{path}/{record['id']}", f"{record['name']}.{domain['name']} to {record['data']}"


async def _await_gone(cloud: DigitalOcean, droplets: list[int]) -> None:
    """Their network can only be removed after them."""
    for droplet in droplets:
        await await_value(
            lambda number=droplet: cloud.find(f"/v2/droplets/{number}"),  # type: ignore[misc]
            lambda found: found is None,
            seconds=GONE_SECONDS,
            what=f"droplet {droplet} to be gone",
        )
