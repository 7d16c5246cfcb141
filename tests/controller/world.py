"""A cloud, an edge and a fleet that exist only as values: time passes by ticks, and chance comes from a seed.

What is true here is known, so every action can be judged when it is done: `violations` tells what no controller may do.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Final

from fleet.controller.model import (
    Action,
    Clock,
    Create,
    Delete,
    Drain,
    Eject,
    Fence,
    Health,
    Observation,
    Orders,
    Policy,
    PowerCycle,
    Prepare,
    Publish,
    Rebuild,
    Record,
    Restore,
    Seen,
    Withdraw,
)

TICK: Final = 5.0
STACK: Final = "prod"
DOMAIN: Final = "www.example.com"
# Faults of a machine; what each is cured by.
CURED_BY_POWER: Final = frozenset({"kernel", "hang"})
FAULTS: Final = ("kernel", "hang", "disk", "network", "process")
SILENCING: Final = frozenset({"kernel", "network"})


@dataclass
class Machine:
    """A droplet as it really is."""

    id: int
    name: str
    image: str
    burst: bool
    booted_at: float
    address: str
    configured: bool = False
    faults: set[str] = field(default_factory=set)
    off: bool = False
    cut: bool = False
    """Only the controller does not reach it."""
    flaky: bool = False
    held: bool = False
    """An operator closed its fence."""
    tagged: bool = True
    drained: bool = False
    withdrawn_at: float | None = None
    served: bool = False
    bad_at: float = -1e9
    """When it was last truly unwell."""

    @property
    def slot(self) -> str:
        return self.name.rpartition("-")[0]


class World:
    """The true state, and what can be asked of it and done to it."""

    def __init__(self, seed: int, *, count: int = 3, maximum: int = 6, **policy: object) -> None:
        self.random = random.Random(seed)  # noqa: S311 - chance that can be played again
        self.seed = seed
        self.now = 0.0
        self.wall_offset = 1_700_000_000.0
        self.boot = "boot-1"
        self.policy = Policy(
            stack=STACK, domain=DOMAIN, count=count, maximum=maximum, image="v1", cooldown_seconds=60.0
        )
        self.policy = replace(self.policy, **policy)  # type: ignore[arg-type]
        self.orders: Orders | None = Orders()
        self.machines: dict[int, Machine] = {}
        self.records: dict[str, Record] = {}
        self.load = 0.0
        self.bad_images: set[str] = set()
        self.database_away = False
        self.violations: list[str] = []
        self.done: list[tuple[float, Action]] = []
        self._serial = 0
        self.history: list[tuple[tuple[Seen, ...], tuple[Record, ...]]] = []
        for index in range(1, count + 1):
            machine = self.make(f"web-{index}", "v1", booted=True)
            machine.configured = True
            self.add_record(f"web-{index}", machine.address)

    # What is.

    def make(self, slot: str, image: str, request: str | None = None, *, booted: bool = False) -> Machine:
        self._serial += 1
        number = self._serial
        digits = request or f"{self.random.getrandbits(28):07x}"
        machine = Machine(
            id=number,
            name=f"{slot}-{digits}",
            image=image,
            burst=slot.startswith("burst-"),
            booted_at=self.now if booted else self.now + TICK * self.random.randint(1, 8),
            address=f"203.0.{number // 250}.{number % 250 + 1}",
        )
        self.machines[number] = machine
        return machine

    def add_record(self, slot: str, address: str) -> None:
        self._serial += 1
        identity = f"r{self._serial:05d}"
        self.records[identity] = Record(
            id=identity, name=DOMAIN, content=address, comment=self.policy.comment(slot) if slot else ""
        )

    def up(self, machine: Machine) -> bool:
        return not machine.off and self.now >= machine.booted_at

    def answers(self, machine: Machine) -> bool:
        """On the network, whoever asks."""
        return self.up(machine) and not machine.faults & SILENCING

    def well(self, machine: Machine) -> bool:
        return self.up(machine) and machine.configured and not machine.faults

    def rotation(self) -> list[Machine]:
        addresses = {record.content for record in self.records.values() if record.name == DOMAIN}
        return [machine for machine in self.machines.values() if machine.address in addresses]

    def serving(self) -> list[Machine]:
        return [machine for machine in self.rotation() if self.well(machine)]

    def bursts(self) -> list[Machine]:
        return [machine for machine in self.machines.values() if machine.burst and machine.tagged]

    def tick(self, seconds: float = TICK) -> None:
        for machine in self.machines.values():
            if not self.well(machine):
                machine.bad_at = self.now
            if machine in self.rotation():
                machine.served = True
        self.history.append((self.listed(), tuple(self.records.values())))
        del self.history[:-40]
        self.now += seconds

    # What is seen.

    def listed(self) -> tuple[Seen, ...]:
        return tuple(self._seen(machine) for machine in self.machines.values())

    def _seen(self, machine: Machine) -> Seen:
        tags = {STACK, f"{STACK}-web"} | ({f"{STACK}-burst"} if machine.burst else set())
        booted = self.now >= machine.booted_at
        return Seen(
            id=machine.id,
            name=machine.name,
            status="off" if machine.off else "active" if booted or machine.served else "new",
            tags=frozenset(tags if machine.tagged else {f"{STACK}-web"}),
            images=frozenset({machine.image}),
            address=machine.address,
            private_address=f"10.0.{machine.id // 250}.{machine.id % 250}",
            locked=machine.served and not booted and not machine.off,
        )

    def health(self) -> dict[int, Health]:
        serving = max(1, len(self.serving()))
        return {
            machine.id: self._health(machine, serving) for machine in self.machines.values() if machine.tagged
        }

    def _health(self, machine: Machine, serving: int) -> Health:
        flake = machine.flaky and self.random.random() < 0.5
        if not self.answers(machine) or machine.cut or flake:
            others = [
                other for other in self.machines.values() if other is not machine and self.answers(other)
            ]
            asked = any(not other.cut for other in others)
            return Health(
                answered=False, reached_by_peer=(self.answers(machine) and not flake) if asked else None
            )
        if not machine.configured:
            return Health(answered=True, fence=None)
        fence = Fence.HELD if machine.held else Fence.CLOSED if machine.faults else Fence.OPEN
        return Health(
            answered=True,
            fence=fence,
            ready=not self.database_away and not machine.faults,
            cpu=min(1.0, self.load / serving),
            requests=100,
        )

    def observe(self) -> Observation:
        return Observation(
            clock=Clock(wall=self.now + self.wall_offset, monotonic=self.now, boot=self.boot),
            seed=f"{self.random.getrandbits(64):x}",
            droplets=self.listed(),
            records=tuple(self.records.values()),
            health=self.health(),
            orders=self.orders,
        )

    # What is done.

    def perform(self, action: Action, stale: tuple[Seen, ...] | None = None) -> str | None:
        """Do it, as the program that acts would; what went wrong, else None. `stale`: an old list to look in."""
        for wrong in self._wrong_end(action):
            self.violations.append(f"at {self.now:.0f} {action}: {wrong}")
        self.done.append((self.now, action))
        match action:
            case Create():
                listed = [
                    seen
                    for seen in (stale or self.listed())
                    if seen.slot == action.slot and f"{STACK}-burst" in seen.tags
                ]
                if any(seen.name != action.name for seen in listed):
                    return "the slot has a droplet"
                if not listed:
                    self.make(action.slot, self.policy.image, action.request)
            case Prepare():
                return self._prepare(action)
            case Publish():
                for address in sorted(action.addresses):
                    if all(record.content != address for record in self.records.values()):
                        self.add_record(action.slot, address)
            case Eject():
                return self._rename(action.records, self.policy.ejected(action.slot))
            case Restore():
                return self._rename(action.records, DOMAIN)
            case Withdraw():
                return self._withdraw(action)
            case Drain():
                if (machine := self.machines.get(action.droplet)) is not None:
                    machine.drained = True
            case Delete():
                self.machines.pop(action.droplet, None)
            case PowerCycle() | Rebuild():
                return self._restart(action)
        return None

    def _prepare(self, action: Prepare) -> str | None:
        machine = self.machines.get(action.droplet)
        if machine is None or not self.answers(machine) or machine.cut:
            return "cannot be reached"
        if machine.image in self.bad_images or machine.faults or self.database_away:
            return "does not pass its gate"
        machine.configured = True
        return None

    def _rename(self, records: tuple[Record, ...], name: str) -> str | None:
        for record in records:
            if self.records.get(record.id) != record:
                return f"{record.id} is not as it was seen"
            self.records[record.id] = replace(record, name=name)
        return None

    def _withdraw(self, action: Withdraw) -> str | None:
        for record in action.records:
            if self.records.get(record.id, record) != record:
                return f"{record.id} is not as it was seen"
            if self.records.pop(record.id, None):
                for machine in self.machines.values():
                    if machine.address == record.content:
                        machine.withdrawn_at, machine.drained = self.now, False
        return None

    def _restart(self, action: PowerCycle | Rebuild) -> str | None:
        machine = self.machines.get(action.droplet)
        if machine is None:
            return "HTTP 404"
        machine.off = False
        machine.booted_at = self.now + TICK * self.random.randint(1, 6)
        if isinstance(action, Rebuild):
            machine.faults.clear()
            machine.configured = False
        else:
            machine.faults -= CURED_BY_POWER
        return None

    # What no controller may do.

    def judge(self, action: Action, *, stale: bool = False) -> None:
        """What is wrong with beginning it now; with `stale` the controller cannot know whose machine it is."""
        for wrong in self._wrong_start(action, stale=stale):
            self.violations.append(f"at {self.now:.0f} {action}: {wrong}")

    def _wrong_start(self, action: Action, *, stale: bool) -> Iterator[str]:
        droplet = getattr(action, "droplet", None)
        machine = self.machines.get(droplet) if droplet is not None else None
        if machine is not None and not machine.tagged:
            yield "a stranger's droplet"
        match action:
            case PowerCycle() | Rebuild() if machine is not None:
                if self._long_well(machine):
                    yield "a machine that is well is taken down"
                if isinstance(action, Rebuild) and machine.burst:
                    yield "a burst member is rebuilt"
                led = any(machine.address == record.content for record in self.records.values())
                if not led and not stale:
                    yield "a machine that is its maker's business"
            case Eject():
                taken = {record.content for record in action.records}
                if any(machine.address in taken and self._long_well(machine) for machine in self.rotation()):
                    yield "a member that is well is taken out"

    def _wrong_end(self, action: Action) -> Iterator[str]:
        """What is wrong with what it does."""
        droplet = getattr(action, "droplet", None)
        machine = self.machines.get(droplet) if droplet is not None else None
        match action:
            case Create():
                there = [each for each in self.bursts() if each.name != action.name]
                if self.policy.count + len(there) + 1 > max(self.policy.maximum, self.policy.count):
                    yield "more machines than the maximum"
            case Publish() if machine is not None and not machine.configured:
                yield "visitors for a machine that passed no gate"
            case Eject() | Withdraw():
                fresh = [record for record in action.records if self.records.get(record.id) == record]
                if isinstance(action, Withdraw) and any("burst-" not in record.comment for record in fresh):
                    yield "a record that is not the controller's"
                if fresh and not any(
                    record.name == DOMAIN and record not in fresh for record in self.records.values()
                ):
                    yield "nobody is left in the rotation"
            case Delete() if machine is not None:
                if not machine.burst or not machine.tagged:
                    yield "a droplet that is not the controller's"
                if machine in self.rotation():
                    yield "visitors are still led to it"
                elif machine.served and self.answers(machine) and not machine.drained:
                    yield "its visitors were not drained"

    def _long_well(self, machine: Machine) -> bool:
        return self.well(machine) and not machine.flaky and self.now - machine.bad_at > 60
