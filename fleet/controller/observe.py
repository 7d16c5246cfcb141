"""One look at everything: the clouds' lists, the members' own word, the operators' orders.

What cannot be had, or cannot be believed, is None with a complaint beside it; nothing is ever guessed.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final, Generic, TypeVar

from fleet import commands, ssh
from fleet.controller import probe
from fleet.controller.clouds import seen
from fleet.controller.model import Action, Health, Observation, Outcome, Record, Seen
from fleet.controller.orders import UNREADABLE
from fleet.controller.world import World, owners
from fleet.errors import FleetError
from fleet.web_api import ApiError

# DigitalOcean takes 5,000 requests an hour and Cloudflare 1,200 in five minutes; a list of 1,000 members is five.
# https://docs.digitalocean.com/reference/api/digitalocean/#section/Introduction/Rate-Limit
LIST_SECONDS: Final = 6.0
# With more silent members than this nobody is asked about them: then it is not the members.
MOST_SUSPECTS: Final = 8
WITNESSES: Final = 2
WITNESS_SECONDS: Final = 12.0

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Lists:
    """What the clouds last said. `at`: seconds of the monotonic clock when they were asked."""

    at: float
    droplets: tuple[Seen, ...] | None
    records: tuple[Record, ...] | None
    complaints: tuple[str, ...] = ()
    rest: float = 0.0
    """Seconds that a cloud asks to be left alone."""


class Observer:
    """Looks, and remembers when it last asked the clouds; everything else is asked every time."""

    def __init__(self) -> None:
        self._lists: Lists | None = None
        self._members: tuple[Seen, ...] = ()
        self.complaints: tuple[str, ...] = ()

    @property
    def members(self) -> tuple[Seen, ...]:
        """The members of the last list that could be had."""
        return self._members

    async def observe(
        self,
        world: World,
        under_way: Iterable[Action] = (),
        outcomes: Iterable[Outcome] = (),
        *,
        afresh: bool = False,
    ) -> Observation:
        """`afresh` asks the clouds also when they were asked a moment ago, as after something was done."""
        lists = await self._current(world, afresh=afresh)
        if lists.droplets is not None:
            self._members = lists.droplets
        health = await self._health(world, lists.droplets or self._members)
        complaints = list(lists.complaints)
        orders = world.orders()
        if orders is None:
            complaints.append(f"{UNREADABLE.reason}: everything is held")
        self.complaints = tuple(complaints)
        return Observation(
            clock=world.clock(),
            seed=world.seed(),
            droplets=lists.droplets,
            records=lists.records,
            health=health,
            orders=orders,
            under_way=tuple(under_way),
            outcomes=tuple(outcomes),
        )

    async def _current(self, world: World, *, afresh: bool) -> Lists:
        now = world.clock().monotonic
        lists = self._lists
        if lists is not None:
            age = now - lists.at
            if age < lists.rest:
                return replace(lists, droplets=None, records=None)
            if not afresh and 0 <= age < LIST_SECONDS:
                return lists
        self._lists = await _ask_clouds(world, now, self._members)
        return self._lists

    async def _health(self, world: World, members: Iterable[Seen]) -> dict[int, Health]:
        asked = {
            member.id: address
            for member in members
            if member.slot and member.status == "active" and (address := _inside(world, member))
        }
        told = await world.prober.ask(asked)
        suspects = probe.suspects(told, MOST_SUSPECTS)
        if not suspects:
            return told
        by_id = {member.id: member for member in members}
        asking = [by_id[droplet] for droplet in probe.witnesses(told, WITNESSES)]
        answers = await asyncio.gather(*(_reached(world, asking, asked[droplet]) for droplet in suspects))
        for droplet, reached in zip(suspects, answers, strict=True):
            told[droplet] = replace(told[droplet], reached_by_peer=reached)
        return told


def target(world: World, member: Seen) -> ssh.Target:
    """How to log in to a member, its host key pinned. Raises FleetError when that is not known."""
    slot, address = member.slot or "", world.reach(member)
    burst = world.secrets.burst_keys.get(slot)
    host_key = burst.public_openssh if burst else world.config.host_keys.get(slot)
    if address is None:
        raise FleetError(f"{member.name} has no address to log in at")
    if host_key is None:
        raise FleetError(
            f"the host key of {member.name} is not among those that the stack's config has told; `pulumi up` tells it"
        )
    return ssh.Target(address, host_key, private_key=world.secrets.deploy_key)


async def _ask_clouds(world: World, now: float, before: tuple[Seen, ...]) -> Lists:
    """Both lists; side by side where records tell whose they are, or a cloud that is away would cost its time twice."""
    if world.config.edge.kind == "cloudflare":
        droplets, records = await asyncio.gather(_droplets(world), _records(world, before))
    else:
        droplets = await _droplets(world)
        records = await _records(world, before if droplets.found is None else droplets.found)
    complaints = tuple(each.complaint for each in (droplets, records) if each.complaint)
    return Lists(now, droplets.found, records.found, complaints, max(droplets.rest, records.rest))


@dataclass(frozen=True, slots=True)
class _Answer(Generic[T]):
    """A list, or why there is none, and how long its cloud wants to be left alone."""

    found: tuple[T, ...] | None
    complaint: str = ""
    rest: float = 0.0


async def _droplets(world: World) -> _Answer[Seen]:
    try:
        rows = await asyncio.to_thread(world.droplets.tagged, world.config.web_tag)
        return _Answer(tuple(sorted((seen(row) for row in rows), key=lambda member: member.id)))
    except (FleetError, KeyError, TypeError, ValueError) as error:
        return _Answer(None, f"the list of droplets: {_told(error)}", _rest(error))


async def _records(world: World, members: tuple[Seen, ...]) -> _Answer[Record]:
    try:
        found = await asyncio.to_thread(world.records.every, owners(members))
        return _Answer(tuple(sorted(found, key=lambda record: record.id)))
    except (FleetError, KeyError, TypeError, ValueError) as error:
        return _Answer(None, f"the list of records: {_told(error)}", _rest(error))


def _told(error: Exception) -> str:
    return str(error) if isinstance(error, FleetError) else f"it makes no sense: {error!r}"


def _rest(error: Exception) -> float:
    return error.retry_after if isinstance(error, ApiError) and error.status == 429 else 0.0


def _inside(world: World, member: Seen) -> str | None:
    """The member's private address, when it is one of the stack's network."""
    text = member.private_address
    network = ipaddress.ip_network(world.config.network)
    return text if text and ipaddress.ip_address(text) in network else None


async def _reached(world: World, asking: Iterable[Seen], address: str) -> bool | None:
    """Whether any of these members gets an answer from an address; None when none of them could be asked."""
    answers = await asyncio.gather(*(_asks(world, member, address) for member in asking))
    heard = [answer for answer in answers if answer is not None]
    return any(heard) if heard else None


async def _asks(world: World, member: Seen, address: str) -> bool | None:
    try:
        async with (
            asyncio.timeout(WITNESS_SECONDS),
            ssh.session(target(world, member)) as connection,
        ):
            done = await ssh.run(connection, commands.reaches(address))
    except (FleetError, TimeoutError):
        return None
    return done.exit_code == 0
