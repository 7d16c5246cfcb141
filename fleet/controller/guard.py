"""What stands before every call that can cost something: the switches, and a fresh look at what it would hit.

Decisions are made from lists that are seconds old. So whatever is changed is read again first, and what is not this
stack's, or no longer what was decided about, is refused.
"""

from __future__ import annotations

import asyncio

from fleet.controller.clouds import seen
from fleet.controller.model import BURST, SLOT, Action, Record, Seen
from fleet.controller.orders import held
from fleet.controller.world import World, owners
from fleet.errors import FleetError


class HeldError(FleetError):
    """A switch is off, or cannot be read."""


class ForeignError(FleetError):
    """It is not this stack's, or not what it was taken for."""


class GoneError(FleetError):
    """There is no such thing any more."""


class Guard:
    """The checks, against one world."""

    def __init__(self, world: World) -> None:
        self._world = world

    def allow(self, action: Action) -> None:
        """Raises HeldError when a switch forbids it; asked again right before each call."""
        hold = held(self._world.orders(), action, self._world.clock().wall)
        if hold is not None:
            raise HeldError(
                f"{type(action).__name__.lower()} is held by {hold.owner}: {hold.reason or 'without a reason'}"
            )

    async def member(self, droplet: int, slot: str) -> Seen:
        """A droplet of this stack's web tier, as it is now. Raises GoneError or ForeignError."""
        config = self._world.config
        found = await asyncio.to_thread(self._world.droplets.one, droplet)
        if found is None:
            raise GoneError(f"droplet {droplet} of {slot} is gone")
        member = seen(found)
        missing = {config.stack_tag, config.web_tag} - member.tags
        if missing:
            raise ForeignError(
                f"droplet {droplet} ({member.name}) lacks the tag {', '.join(sorted(missing))}: it is not this stack's"
            )
        if member.slot != slot:
            raise ForeignError(f"droplet {droplet} is {member.name}, and not in {slot}")
        return member

    async def burst(self, droplet: int, slot: str) -> Seen:
        """The same of a burst member; slots are Pulumi's. Raises GoneError or ForeignError."""
        member = await self.member(droplet, slot)
        if not slot.startswith(f"{BURST}-") or self._world.config.burst_tag not in member.tags:
            raise ForeignError(
                f"{member.name} is no burst member of stack {self._world.config.stack}; only Pulumi removes it"
            )
        return member

    async def slot(self, droplet: int, slot: str) -> Seen:
        """The same of a member in one of Pulumi's slots."""
        if not slot.startswith(f"{SLOT}-"):
            raise ForeignError(f"{slot} is no slot of Pulumi's")
        return await self.member(droplet, slot)

    async def record(self, slot: str, expected: Record) -> Record:
        """A record of a slot of this stack, as it is now; only its name may differ from what was seen. Raises GoneError
        or ForeignError."""
        found = await asyncio.to_thread(self._world.records.one, expected.id, await self._owners())
        if found is None:
            raise GoneError(f"record {expected.id} of {slot} is gone")
        wanted = f"flotilla {self._world.config.stack} {slot}"
        if found.comment != wanted:
            raise ForeignError(
                f"record {found.id} ({found.name} to {found.content}) has the comment {found.comment!r} instead of "
                f"{wanted!r}"
            )
        if found.content != expected.content:
            raise ForeignError(
                f"record {found.id} of {slot} leads to {found.content} now, not to {expected.content} any more"
            )
        return found

    async def rotation(self) -> list[Record]:
        """The records that lead visitors to members now."""
        every = await asyncio.to_thread(self._world.records.every, await self._owners())
        return [record for record in every if record.name == self._world.config.domain]

    async def _owners(self) -> dict[str, str]:
        """Only a DNS without comments needs to know whose the addresses are."""
        if self._world.config.edge.kind == "cloudflare":
            return {}
        rows = await asyncio.to_thread(self._world.droplets.tagged, self._world.config.web_tag)
        return owners([seen(row) for row in rows])
