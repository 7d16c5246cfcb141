"""Pulumi and the controller at work on the same fleet: docs/ownership.md names the row that each test proves.

Every update is played once for each pass that the trouble may fall into, so that the controller's passes come between
any two of Pulumi's steps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from fleet.controller.model import (
    Create,
    Delete,
    Eject,
    Hold,
    Memory,
    Orders,
    PowerCycle,
    Rebuild,
    Restore,
    Withdraw,
)
from tests.controller.pulumi import drop, in_place, members, point, ready, replace_one, resize, rollout
from tests.controller.runner import Runner
from tests.controller.storm import unsettled
from tests.controller.world import World

Update = Callable[[World], Iterator[None]]


def fleet(extra: int = 0, *, count: int = 3, maximum: int = 6) -> Runner:
    """At rest, with so many burst members."""
    runner = Runner(World(11, count=count, maximum=maximum))
    if extra:
        runner.world.orders = Orders(scale=count + extra)
    runner.passes(30)
    assert len(runner.world.serving()) == count + extra
    runner.world.done.clear()
    return runner


def play(runner: Runner, update: Iterator[None], passes: int = 1) -> None:
    """The update to its end, with passes between its steps."""
    for _ in update:
        runner.passes(passes)


def acted(runner: Runner, *kinds: type) -> list[object]:
    return [action for _, action in runner.world.done if isinstance(action, kinds or (object,))]


def at_peace(runner: Runner) -> None:
    """Nothing forbidden was done, and once all is quiet nothing is left over."""
    runner.settle(800)
    assert not runner.world.violations
    assert not list(unsettled(runner.world, runner))


def point_of(slot: str, world: World) -> str:
    """The name of a slot's record."""
    return next(r.name for r in world.records.values() if r.comment == world.policy.comment(slot))


UPDATES: dict[str, Update] = {
    "surge": lambda world: rollout(world, "v2"),
    "in place": lambda world: in_place(world, "v2"),
    "more slots, told first": lambda world: resize(world, 5),
    "more slots, told last": lambda world: resize(world, 5, told_first=False),
    "fewer slots, told first": lambda world: resize(world, 2),
    "fewer slots, told last": lambda world: resize(world, 2, told_first=False),
}


@pytest.mark.parametrize("update", UPDATES)
def test_an_update_of_a_well_fleet_is_only_watched(update: str) -> None:
    runner = fleet()
    play(runner, UPDATES[update](runner.world))
    assert not acted(runner)
    at_peace(runner)


@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("passes", [1, 3])
def test_burst_members_live_through_an_update(update: str, passes: int) -> None:
    runner = fleet(extra=1)
    play(runner, UPDATES[update](runner.world), passes)
    at_peace(runner)
    assert all(machine.image == runner.world.policy.image for machine in runner.world.bursts())


@pytest.mark.parametrize("update", UPDATES)
@pytest.mark.parametrize("when", range(0, 12, 2))
def test_a_member_that_dies_during_an_update(update: str, when: int) -> None:
    """web-2 loses its kernel before the update's step of a number; Pulumi's new machine is never the one repaired."""
    runner = fleet()
    victim = members(runner.world, "web-2")[0]
    for number, _ in enumerate(UPDATES[update](runner.world)):
        if number == when:
            victim.faults.add("kernel")
        runner.step()
    at_peace(runner)


def test_what_pulumi_makes_is_not_repaired_before_it_has_a_record() -> None:
    runner = fleet()
    newborn = runner.world.make("web-2", "v2", booted=True)
    newborn.faults.add("disk")
    runner.passes(400)
    assert not acted(runner)


def test_what_pulumi_drains_is_not_repaired() -> None:
    runner = fleet()
    world = runner.world
    old = members(world, "web-1")[0]
    new = world.make("web-1", "v2", booted=True)
    new.configured = True
    point(world, "web-1", new)
    old.faults.add("kernel")
    runner.passes(400)
    assert not acted(runner)


def test_a_slot_with_two_droplets_is_taken_out_but_not_restarted() -> None:
    """Pulumi replaces a dead member: the controller leaves the slot to it."""
    runner = fleet()
    world = runner.world
    members(world, "web-2")[0].faults.add("kernel")
    world.make("web-2", "v1")
    runner.passes(60)
    assert acted(runner, Eject)
    assert not acted(runner, PowerCycle, Rebuild)


def test_a_refresh_and_an_update_bring_an_ejected_slot_back_with_a_new_machine() -> None:
    runner = fleet()
    world = runner.world
    victim = members(world, "web-2")[0]
    for _ in range(400):
        victim.faults.add("disk")
        victim.faults.add("kernel")
        runner.step()
    assert point_of("web-2", world).startswith("out-web-2")
    assert len(world.bursts()) == 1
    play(runner, replace_one(world, "web-2"))
    at_peace(runner)
    assert point_of("web-2", world) == world.policy.domain
    assert not world.bursts()


def test_an_update_that_writes_a_dead_members_name_back_is_followed_by_one_ejection() -> None:
    """`pulumi up --refresh` undoes the rename; it does so once, and so does the controller."""
    runner = fleet()
    world = runner.world
    victim = members(world, "web-2")[0]
    for _ in range(100):
        victim.faults.add("kernel")
        runner.step()
    assert len(acted(runner, Eject)) == 1
    point(world, "web-2", victim)
    for _ in range(100):
        victim.faults.add("kernel")
        runner.step()
    assert len(acted(runner, Eject)) == 2
    assert point_of("web-2", world).startswith("out-web-2")


def test_a_record_that_pulumi_switched_meanwhile_is_not_renamed() -> None:
    """The controller saw the dead machine's record, Pulumi writes it, the controller's call comes last."""
    runner = fleet()
    world = runner.world
    members(world, "web-2")[0].faults.add("kernel")
    while not (decision := runner.think()).actions:
        runner.memory = decision.memory
        world.tick()
    eject = next(action for action in decision.actions if isinstance(action, Eject))
    new = world.make("web-2", "v2", booted=True)
    new.configured = True
    point(world, "web-2", new)
    assert "not as it was seen" in (world.perform(eject) or "")
    assert point_of("web-2", world) == world.policy.domain


def test_a_well_machine_under_an_ejected_record_gets_its_name_back() -> None:
    """The other order: renamed first, switched after without the name, as by an update that was cut off."""
    runner = fleet()
    world = runner.world
    identity, record = next((i, r) for i, r in world.records.items() if r.comment.endswith("web-2"))
    world.records[identity] = replace(record, name=world.policy.ejected("web-2"))
    runner.passes(30)
    assert acted(runner, Restore)
    at_peace(runner)


def test_a_slot_that_pulumi_does_not_fill_is_stood_in_for_after_a_while() -> None:
    """An update that was killed between delete and create, in place."""
    runner = fleet()
    play(runner, drop(runner.world, "web-3"))
    runner.passes(100)
    assert not acted(runner, Create)
    runner.passes(120)
    assert len(runner.world.serving()) == 3
    update = runner.world.make("web-3", "v1")
    play(runner, ready(runner.world, [update]))
    point(runner.world, "web-3", update)
    at_peace(runner)


def test_killed_between_two_switches_it_serves_on() -> None:
    """A rollout dies after the first record; `fleet recover` and a later `up` go on."""
    runner = fleet(extra=1)
    steps = rollout(runner.world, "v2")
    for _ in range(14):
        next(steps)
        runner.step()
    runner.passes(500)
    assert not acted(runner, PowerCycle, Rebuild, Eject)
    play(runner, steps)
    at_peace(runner)


@pytest.mark.parametrize("count", [2, 5])
def test_the_count_changes_while_a_burst_member_is_on_its_way(count: int) -> None:
    runner = fleet()
    runner.world.orders = Orders(scale=4)
    runner.passes(2)
    play(runner, resize(runner.world, count))
    at_peace(runner)


def test_the_count_changes_while_one_is_leaving() -> None:
    runner = fleet(extra=2)
    runner.world.orders = Orders()
    while not acted(runner, Withdraw):
        runner.step()
    play(runner, resize(runner.world, 5))
    at_peace(runner)


def test_the_maximum_falls_below_what_there_is() -> None:
    runner = fleet(extra=3)
    runner.world.policy = replace(runner.world.policy, maximum=4)
    at_peace(runner)
    assert len(runner.world.bursts()) == 1


def test_frozen_for_an_update_it_does_nothing_at_all() -> None:
    runner = fleet(extra=1)
    hold = Hold(owner="ann", reason="update")
    runner.world.orders = Orders(create=hold, destroy=hold)
    play(runner, rollout(runner.world, "v2"))
    members(runner.world, "web-1")[0].faults.add("kernel")
    runner.passes(100)
    assert not acted(runner)


def test_destroying_the_slots_first_holds_it() -> None:
    """`pulumi destroy` sweeps before; where it did not, slots that vanish are no reason to make or delete anything."""
    runner = fleet(extra=2)
    for number in (3, 2, 1):
        for _ in drop(runner.world, f"web-{number}"):
            runner.step()
    runner.passes(300)
    assert not acted(runner, Delete, Rebuild, PowerCycle)
    assert not acted(runner, Create)


def test_a_node_made_anew_during_an_update_adopts_what_there_is() -> None:
    """Its memory is gone; the burst members are found by tag and by record."""
    runner = fleet(extra=2)
    steps = rollout(runner.world, "v2")
    for number, _ in enumerate(steps):
        if number == 5:
            runner.memory = Memory()
            runner.running.clear()
        runner.step()
    at_peace(runner)
    assert len(runner.world.serving()) == 5
