"""Does what was decided, one action at a time; each can be started again after it was cut off anywhere."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from typing import Final

import asyncssh

from fleet import commands, drain, ssh
from fleet.controller.clouds import seen
from fleet.controller.config import Delivery
from fleet.controller.guard import ForeignError, GoneError, Guard
from fleet.controller.model import (
    BURST,
    EJECTED,
    Action,
    Create,
    Delete,
    Drain,
    Eject,
    PowerCycle,
    Prepare,
    Publish,
    Rebuild,
    Record,
    Restore,
    Seen,
    Withdraw,
)
from fleet.controller.observe import target
from fleet.controller.world import World
from fleet.errors import FleetError

# A machine of a distribution's image installs its packages first.
LOGIN_SECONDS: Final = 300.0
PREPARE_SECONDS: Final = 1200.0
NOT_FOUND: Final = 127  # as a shell reports it
TOLD_CHARACTERS: Final = 600

Say = Callable[[str], None]


class Actor:
    """Carries out actions in one world; `members` are those of the last list, for what each is told of the others."""

    def __init__(self, world: World, members: Callable[[], Iterable[Seen]], say: Say) -> None:
        self._world = world
        self._members = members
        self._say = say
        self._guard = Guard(world)

    async def perform(self, action: Action) -> None:
        """Raises FleetError when it was not done, or when that is not known."""
        self._guard.allow(action)
        match action:
            case Create():
                await self._create(action)
            case Prepare(slot, droplet):
                await self._prepare(await self._guard.member(droplet, slot))
            case Publish():
                await self._publish(action)
            case Eject():
                for record in action.records:
                    await self._eject(action, record)
            case Restore():
                for record in action.records:
                    await self._restore(action, record)
            case Withdraw():
                for record in action.records:
                    await self._withdraw(action, record)
            case Drain():
                await self._drain(action)
            case Delete():
                await self._delete(action)
            case PowerCycle():
                await self._power_cycle(action)
            case Rebuild():
                await self._rebuild(action)

    async def _create(self, action: Create) -> None:
        """Its name is looked for first: an answer that was lost may have left the droplet."""
        config = self._world.config
        key = self._world.secrets.burst_keys.get(action.slot)
        if key is None:
            raise FleetError(
                f"there is no host key for {action.slot}: the stack's max is {config.max}; `pulumi up` tells another"
            )
        rows = await asyncio.to_thread(self._world.droplets.tagged, config.burst_tag)
        there = [member for member in map(seen, rows) if member.slot == action.slot]
        if any(member.name == action.name for member in there):
            return
        if there:
            raise FleetError(f"{action.slot} has a droplet already: {there[0].name} ({there[0].id})")
        self._guard.allow(action)
        await asyncio.to_thread(
            self._world.droplets.create,
            {
                "name": action.name,
                "region": config.region,
                "size": config.burst.size,
                "image": int(config.burst.image) if config.burst.image.isdecimal() else config.burst.image,
                "vpc_uuid": config.vpc,
                "ssh_keys": list(config.burst.ssh_keys),
                "tags": list(config.burst.tags),
                "user_data": config.burst.payload(action.slot, key),
                "ipv6": config.burst.ipv6,
                "monitoring": True,
                "with_droplet_agent": False,
                "backups": False,
            },
        )

    async def _prepare(self, member: Seen) -> None:
        delivery = self._delivery(member)
        command = commands.RECEIVE if delivery.laying == "receive" else commands.INSTALL_AND_RECEIVE
        try:
            async with (
                asyncio.timeout(PREPARE_SECONDS),
                ssh.session(target(self._world, member), patience=LOGIN_SECONDS) as connection,
            ):
                await _must(connection, member, command, delivery.content)
                await _must(connection, member, commands.PEERS, self._peers(member), NOT_FOUND)
                await _must(connection, member, commands.GATE)
        except TimeoutError as error:
            raise FleetError(f"{member.name} was not ready after {PREPARE_SECONDS:.0f} s") from error

    def _delivery(self, member: Seen) -> Delivery:
        for name in sorted(member.images):
            if name in self._world.secrets.deliveries:
                return self._world.secrets.deliveries[name]
        raise FleetError(
            f"{member.name} has the image {', '.join(sorted(member.images)) or 'unknown'}, for which the stack's config has "
            "no bundle; `pulumi up` replaces it"
        )

    def _peers(self, member: Seen) -> str:
        """Everybody by slot; of two droplets in one slot, as during a rollout, the newer."""
        everybody = sorted((*self._members(), member), key=lambda each: each.id)
        return json.dumps(
            {
                "peers": {
                    each.slot: each.private_address
                    for each in everybody
                    if each.slot and each.private_address
                }
            }
        )

    async def _publish(self, action: Publish) -> None:
        member = await self._guard.burst(action.droplet, action.slot)
        if not action.addresses <= member.addresses:
            raise ForeignError(
                f"{member.name} has other addresses than {', '.join(sorted(action.addresses))}"
            )
        told = {record.content for record in await self._guard.rotation()}
        comment = f"flotilla {self._world.config.stack} {action.slot}"
        for address in sorted(action.addresses - told):
            self._guard.allow(action)
            await asyncio.to_thread(self._world.records.create, address, comment)

    async def _eject(self, action: Eject, record: Record) -> None:
        found = await self._guard.record(action.slot, record)
        out = f"{EJECTED}-{action.slot}.{self._world.config.domain}"
        if found.name == out:
            return
        await self._keep_another(action.slot, found)
        self._guard.allow(action)
        await asyncio.to_thread(self._world.records.rename, found.id, out)

    async def _restore(self, action: Restore, record: Record) -> None:
        found = await self._guard.record(action.slot, record)
        if found.name != self._world.config.domain:
            self._guard.allow(action)
            await asyncio.to_thread(self._world.records.rename, found.id, self._world.config.domain)

    async def _withdraw(self, action: Withdraw, record: Record) -> None:
        if not action.slot.startswith(f"{BURST}-"):
            raise ForeignError(f"the records of {action.slot} are Pulumi's")
        try:
            found = await self._guard.record(action.slot, record)
        except GoneError:
            return
        if found.name == self._world.config.domain:
            await self._keep_another(action.slot, found)
        self._guard.allow(action)
        await asyncio.to_thread(self._world.records.delete, found.id)

    async def _drain(self, action: Drain) -> None:
        """A member that still has a record is not drained: its visitors would come all the while."""
        try:
            member = await self._guard.burst(action.droplet, action.slot)
        except GoneError:
            return
        await self._without_record(member)
        self._guard.allow(action)
        times = self._world.config.drain
        wanted = drain.Drain(member.name, times.propagation, times.quiet, times.cap)
        await drain.drain(target(self._world, member), wanted, self._say)

    async def _delete(self, action: Delete) -> None:
        try:
            member = await self._guard.burst(action.droplet, action.slot)
        except GoneError:
            return
        await self._without_record(member)
        self._guard.allow(action)
        await asyncio.to_thread(self._world.droplets.delete, action.droplet)

    async def _keep_another(self, slot: str, leaving: Record) -> None:
        """The domain is never without a record of the stack's; one that somebody made by hand counts for nothing."""
        own = f"flotilla {self._world.config.stack} "
        comments = {record.comment for record in await self._guard.rotation()}
        if not any(comment.startswith(own) for comment in comments - {leaving.comment}):
            raise FleetError(f"{slot} has the last record of {self._world.config.domain}; it stays")

    async def _without_record(self, member: Seen) -> None:
        led = [record for record in await self._guard.rotation() if record.content in member.addresses]
        if led:
            raise FleetError(f"{member.name} still has visitors by record {led[0].id}")

    async def _power_cycle(self, action: PowerCycle) -> None:
        member = await self._guard.member(action.droplet, action.slot)
        self._guard.allow(action)
        kind = "power_on" if member.status == "off" else "power_cycle"
        await self._world.droplets.account.act(action.droplet, kind)

    async def _rebuild(self, action: Rebuild) -> None:
        """From the image that it has: another is a rollout's business. What cannot be prepared is not rebuilt."""
        member = await self._guard.slot(action.droplet, action.slot)
        self._delivery(member)
        target(self._world, member)
        image = next((name for name in member.images if name.isdecimal()), None)
        if image is None:
            raise FleetError(f"DigitalOcean does not tell the image of {member.name}")
        self._guard.allow(action)
        await self._world.droplets.account.act(action.droplet, "rebuild", image=int(image))


async def _must(
    connection: asyncssh.SSHClientConnection, member: Seen, command: str, stdin: str = "", accepted: int = 0
) -> None:
    done = await ssh.run(connection, command, stdin=stdin.encode())
    if done.exit_code not in (0, accepted):
        program = command.rstrip("'").rpartition("/")[2][:40]
        said = done.output.strip()[-TOLD_CHARACTERS:]
        raise FleetError(f"{member.name}: {program} ended with {done.exit_code}: {said}")
