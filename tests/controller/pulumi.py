"""Updates by Pulumi on the simulated world, step by step, so that the controller's passes fall anywhere between.

Each does what the program's resources do, in their order, and nothing in view of the controller: Pulumi writes a record
whole, by its id, from what its state says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from tests.controller.world import Machine, World


def rollout(world: World, image: str) -> Iterator[None]:
    """Surge: all new machines first, then the records one by one, then the old machines go."""
    old = {slot: members(world, slot) for slot in slots(world)}
    new = {slot: world.make(slot, image) for slot in old}
    yield from ready(world, list(new.values()))
    for slot, machine in new.items():
        point(world, slot, machine)
        yield
        yield
    for machines in old.values():
        for machine in machines:
            machine.drained = True
    yield
    for machines in old.values():
        for machine in machines:
            world.machines.pop(machine.id, None)
        yield
    world.policy = replace(world.policy, image=image)


def in_place(world: World, image: str) -> Iterator[None]:
    """One slot at a time, its old machine gone before the new one comes."""
    for slot in slots(world):
        yield from drop(world, slot)
        machine = world.make(slot, image)
        yield from ready(world, [machine])
        point(world, slot, machine)
        yield
    world.policy = replace(world.policy, image=image)


def resize(world: World, count: int, *, told_first: bool = True) -> Iterator[None]:
    """More or fewer slots; the controller is told before or after."""
    before = len(slots(world))
    if told_first:
        world.policy = replace(world.policy, count=count)
        yield
    new = [world.make(f"web-{number}", world.policy.image) for number in range(before + 1, count + 1)]
    yield from ready(world, new)
    for machine in new:
        point(world, machine.slot, machine)
        yield
    for number in range(before, count, -1):
        yield from drop(world, f"web-{number}")
    world.policy = replace(world.policy, count=count)


def replace_one(world: World, slot: str) -> Iterator[None]:
    """`pulumi up` after a machine was found gone: a new one, and its record."""
    old = members(world, slot)
    machine = world.make(slot, world.policy.image)
    yield from ready(world, [machine])
    point(world, slot, machine)
    yield
    for each in old:
        world.machines.pop(each.id, None)


def slots(world: World) -> list[str]:
    return [f"web-{number}" for number in range(1, world.policy.count + 1)]


def members(world: World, slot: str) -> list[Machine]:
    return [machine for machine in world.machines.values() if machine.slot == slot and machine.tagged]


def ready(world: World, machines: list[Machine]) -> Iterator[None]:
    """Booted, told its secrets, through its gate."""
    while any(world.now < machine.booted_at for machine in machines):
        yield
    for machine in machines:
        machine.configured = True
    yield


def point(world: World, slot: str, machine: Machine) -> None:
    """Lead the slot's record to a machine: the whole record is written, the name too."""
    for identity, record in world.records.items():
        if record.comment == world.policy.comment(slot):
            world.records[identity] = replace(record, name=world.policy.domain, content=machine.address)
            return
    world.add_record(slot, machine.address)


def drop(world: World, slot: str) -> Iterator[None]:
    """The record goes, then the visitors, then the machine."""
    for identity, record in list(world.records.items()):
        if record.comment == world.policy.comment(slot):
            del world.records[identity]
    yield
    for machine in members(world, slot):
        machine.drained = True
    yield
    for machine in members(world, slot):
        del world.machines[machine.id]
