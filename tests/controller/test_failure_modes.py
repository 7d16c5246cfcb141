"""How fleets were lost elsewhere, one test each, with the careless controller beside it that the test would catch."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from itertools import pairwise

import pytest

from fleet.controller.decide import decide
from fleet.controller.model import (
    DESTROYING,
    Action,
    Create,
    Decision,
    Delete,
    Drain,
    Health,
    Hold,
    Memory,
    Observation,
    Orders,
    Policy,
    PowerCycle,
    Rebuild,
    Schedule,
    Withdraw,
)
from tests.controller.mutants import Bug, named, planted
from tests.controller.runner import Decide, Faults, Runner, stored
from tests.controller.storm import unsettled
from tests.controller.world import TICK, World

Liar = Callable[[Observation], Observation]


def lying(lie: Liar, honest: Decide = decide) -> Decide:
    """A controller whose eyes are deceived."""

    def deceived(policy: Policy, observation: Observation, memory: Memory) -> Decision:
        return honest(policy, lie(observation), memory)

    return deceived


def settled(*, decide: Decide = decide, extra: int = 0, **world: object) -> Runner:
    """A fleet at rest, with so many burst members."""
    runner = Runner(World(7, **world), decide)  # type: ignore[arg-type]
    if extra:
        runner.world.orders = Orders(scale=runner.world.policy.count + extra)
    runner.passes(30)
    assert len(runner.world.bursts()) == extra
    runner.world.done.clear()
    return runner


def done(runner: Runner, *kinds: type) -> list[Action]:
    return [action for _, action in runner.world.done if isinstance(action, kinds or (object,))]


LIES: dict[str, Liar] = {
    "no droplets": lambda seen: replace(seen, droplets=()),
    "no records": lambda seen: replace(seen, records=()),
    "droplets not known": lambda seen: replace(seen, droplets=None),
    "records not known": lambda seen: replace(seen, records=None),
    "half of the droplets": lambda seen: replace(seen, droplets=(seen.droplets or ())[::2]),
    "only slots": lambda seen: replace(
        seen, droplets=tuple(each for each in seen.droplets or () if (each.slot or "").startswith("web"))
    ),
    "no health": lambda seen: replace(seen, health={}),
}


@pytest.mark.parametrize("lie", LIES)
def test_1_lists_that_lack_something_destroy_nothing(lie: str) -> None:
    runner = settled(extra=3)
    runner.decide = lying(LIES[lie])
    runner.passes(200)
    assert not done(runner, Delete, Rebuild, PowerCycle, Drain)
    assert len(runner.world.machines) == 6
    runner.decide = decide
    runner.settle()
    assert len(runner.world.serving()) == 6


def test_2_a_shared_dependency_replaces_nobody() -> None:
    runner = settled()
    runner.world.database_away = True
    runner.passes(360)
    assert not done(runner)


@pytest.mark.parametrize("broken", [2, 3, 6])
@pytest.mark.parametrize("fault", ["kernel", "process", "network"])
def test_2_a_third_or_more_broken_at_once_are_left_alone(broken: int, fault: str) -> None:
    def run(by: Decide) -> list[Action]:
        runner = settled(count=6, maximum=6, decide=by)
        for machine in list(runner.world.machines.values())[:broken]:
            machine.faults.add(fault)
        runner.passes(400)
        return done(runner, *DESTROYING)

    assert not run(decide)
    if broken < 6:
        assert run(planted(named("no breaker")))


def test_3_an_observer_that_lies_all_day_costs_three_machines() -> None:
    def run(by: Decide) -> list[float]:
        world = World(3, count=4, maximum=8)
        moment = [0.0]

        def lie(seen: Observation) -> Observation:
            """Another member seems dead every few minutes, whatever is done for it."""
            moment[0] = seen.clock.monotonic
            droplets = [each.id for each in seen.droplets or () if each.status == "active"]
            victim = droplets[int(moment[0] // 1500) % len(droplets)] if droplets else 0
            return replace(
                seen, health={**seen.health, victim: Health(answered=False, reached_by_peer=False)}
            )

        runner = Runner(world, lying(lie, by))
        # Longer ticks, or the day would take a minute.
        for _ in range(1440):
            runner.step()
            world.now += 55.0
        return runner.spent

    spent = run(decide)
    assert 1 <= len(spent) <= 3
    assert all(later - earlier >= 600 for earlier, later in pairwise(spent))
    assert len(run(planted(named("no limit of rebuilds")))) > 3


@pytest.mark.parametrize(
    "orders", [None, Orders(create=Hold(owner="ann"), destroy=Hold(owner="ann"))], ids=["unreadable", "held"]
)
def test_4_a_hold_outlasts_every_restart(orders: Orders | None) -> None:
    runner = settled(extra=2)
    runner.world.orders = orders
    next(iter(runner.world.machines.values())).faults.add("disk")
    for restart in range(20):
        runner.passes(10)
        runner.memory = stored(runner.memory) if restart % 2 else Memory()
        runner.world.boot = f"boot-{restart}"
    assert not done(runner)
    runner.world.orders = Orders()
    runner.passes(200)
    assert done(runner, Rebuild)


def test_4_a_hold_ends_when_it_was_said_to() -> None:
    runner = settled()
    end = runner.world.now + runner.world.wall_offset + 300
    runner.world.orders = Orders(create=Hold(owner="ann", until=end), scale=4)
    runner.passes(60)
    assert not done(runner)
    runner.passes(10)
    assert done(runner, Create)


def eventful(runner: Runner, number: int) -> None:
    """What happens to the fleet before the pass of a number."""
    world = runner.world
    match number:
        case 2:
            world.orders = Orders(scale=5)
        case 30:
            world.orders = Orders()
        case 45:
            world.machines[1].faults.add("disk")
        case 110:
            world.machines[3].off = True


DAY = 130
CRASHES = {
    "before its memory was written": {"saved": False},
    "before the first call": {"calls": 0},
    "after the first call reached the cloud": {"calls": 0, "after": True},
    "after all calls": {"calls": 9},
}


def lived(runner: Runner, first: int) -> int:
    """Live on from a pass; how many passes it took until nothing was left to do."""
    for number in range(first, DAY):
        eventful(runner, number)
        runner.step()
    runner.settle(quiet=45)
    last, _ = runner.world.done[-1]
    return int(last / TICK)


@pytest.mark.parametrize("crash", CRASHES)
def test_5_killed_anywhere_it_goes_on_without_twins(crash: str) -> None:
    """On a day with growth, shrinking, a full disk and a power cut, every pass that does something is once the one that
    it is killed in."""
    runner = Runner(World(5))
    at_rest = lived(deepcopy(runner), 0)
    points = 0
    for number in range(DAY):
        eventful(runner, number)
        before = deepcopy(runner)
        if not runner.step().actions:
            continue
        points += 1
        before.crash(**CRASHES[crash])  # type: ignore[arg-type]
        took = lived(before, number + 1)
        assert not before.world.violations
        assert not list(unsettled(before.world, before)), f"killed in pass {number}"
        assert took <= at_rest + 10, f"killed in pass {number}"
    assert points >= 17  # three times, so that it is killed at more than 50 points


@pytest.mark.parametrize("stale", [0, 1, 4])
def test_6_lost_answers_make_exactly_one(stale: int) -> None:
    runner = Runner(World(5, maximum=5))
    runner.faults = Faults(lost_answers=1.0, stale_ticks=stale)
    runner.world.orders = Orders(scale=5)
    runner.passes(2)
    runner.faults = Faults(stale_ticks=stale)
    runner.passes(40)
    assert len(runner.world.bursts()) == 2
    assert not runner.world.violations


def test_11_an_outage_with_little_load_lets_nobody_go() -> None:
    def run(by: Decide) -> list[Action]:
        def lie(seen: Observation) -> Observation:
            sick = {droplet: replace(health, errors=20, cpu=0.01) for droplet, health in seen.health.items()}
            return replace(seen, health=sick)

        runner = settled(extra=3)
        runner.decide = lying(lie, by)
        runner.world.orders = Orders()
        runner.passes(300)
        return done(runner, Withdraw)

    careless = Bug("", "scaling", "elif errors >= ERROR_VISITS and errors", "elif False and errors")
    assert not run(decide)
    assert run(planted(careless))


def test_11_a_member_that_does_not_tell_its_load_lets_nobody_go() -> None:
    def mute(seen: Observation) -> Observation:
        first = min(seen.health)
        return replace(seen, health={**seen.health, first: replace(seen.health[first], cpu=None)})

    runner = settled(extra=2, target_cpu=60)
    runner.world.orders = Orders()
    runner.decide = lying(mute)
    runner.passes(200)
    assert not done(runner)
    runner.decide = decide
    runner.passes(200)
    assert len(done(runner, Delete)) == 2


def test_12_a_flapping_member_costs_less_than_an_action_an_hour() -> None:
    def run(by: Decide) -> float:
        runner = settled(decide=by)
        next(iter(runner.world.machines.values())).flaky = True
        hours = 3
        runner.passes(hours * 720)
        return len(done(runner)) / hours

    hasty = Bug("", "repair", "patience = max(patience,", "patience = min(patience,")
    assert run(decide) <= 1.0
    assert run(planted(hasty)) > 1.0


def test_14_a_cloud_that_refuses_everything_is_asked_patiently() -> None:
    runner = settled()
    runner.world.orders = Orders(scale=6)
    runner.faults = Faults(refused=1.0)
    runner.passes(720)
    assert sum(runner.started.values()) < 60
    runner.faults = Faults()
    runner.world.orders = Orders(scale=6, changed=1.0)
    runner.passes(60)
    assert len(runner.world.serving()) == 6


@pytest.mark.parametrize("load", [2.11, 3.0])
def test_15_constant_load_for_a_week_changes_nothing(load: float) -> None:
    runner = Runner(World(5, maximum=8, target_cpu=60))
    runner.world.load = load
    runner.passes(200)
    runner.world.done.clear()
    for _ in range(1008):
        runner.step()
        runner.world.now += 595.0
    assert not done(runner)
    assert len(runner.world.serving()) >= load / 0.6


def test_19_after_any_churn_the_records_are_the_members() -> None:
    runner = Runner(World(5, maximum=23, cooldown_seconds=0.0))
    for scale in (23, 8, 15, 4):
        runner.world.orders = Orders(scale=scale)
        runner.settle(600)
        world = runner.world
        assert {record.content for record in world.records.values()} == {
            machine.address for machine in world.machines.values()
        }
        assert len(world.machines) == scale
    assert not runner.world.violations


@pytest.mark.parametrize("cut", [1, 2, 3])
def test_20_a_minute_without_a_network_of_its_own_does_nothing(cut: int) -> None:
    runner = settled()
    for machine in list(runner.world.machines.values())[:cut]:
        machine.cut = True
    runner.passes(12)
    assert not done(runner)


def test_20_the_longer_the_last_blip_the_longer_it_waits() -> None:
    def patience(blip: int) -> int:
        runner = settled()
        machine = runner.world.machines[1]
        if blip:
            machine.faults.add("network")
            runner.passes(blip)
            machine.faults.clear()
            runner.passes(30)
        runner.world.done.clear()
        machine.faults.add("network")
        for number in range(60):
            runner.step()
            if done(runner, PowerCycle):
                return number
        return 60

    assert patience(0) <= 4
    assert patience(2) > patience(0)


# What the systems before this one did.


def test_the_maximum_is_the_fleets_not_the_missing_members() -> None:
    """Their limit capped how many were missing, so that twenty wanted with ten allowed came in two rounds."""
    runner = Runner(World(5, maximum=10))
    runner.world.orders = Orders(scale=20)
    runner.passes(300)
    assert len(runner.world.machines) == 10
    assert not runner.world.violations


def test_never_fewer_than_the_slots() -> None:
    runner = settled(extra=2)
    runner.world.orders = Orders(scale=1)
    runner.passes(200)
    assert len(runner.world.serving()) == 3


def test_a_fault_of_its_own_network_kills_no_fleet() -> None:
    runner = settled(extra=3)
    for machine in runner.world.machines.values():
        machine.cut = True
    runner.passes(720)
    assert not done(runner, *DESTROYING)


# Repairs and growth.


@pytest.mark.parametrize("fault", ["kernel", "off", "disk", "network", "process", "hang"])
def test_a_broken_member_is_stood_in_for_at_once_and_repaired(fault: str) -> None:
    runner = settled()
    machine = runner.world.machines[1]
    if fault == "off":
        machine.off = True
    else:
        machine.faults.add(fault)
    passes = 0
    while len(runner.world.serving()) < 3:
        runner.step()
        passes += 1
        assert passes < 20
    runner.settle()
    assert runner.world.well(machine)
    assert len(runner.world.machines) == 3
    assert not runner.world.violations


def test_one_that_no_repair_helps_is_given_up_and_stood_in_for() -> None:
    runner = settled()
    doomed = runner.world.machines[1]
    for _ in range(400):
        doomed.faults.add("disk")
        runner.step()
    assert len(runner.world.serving()) == 3
    assert len(runner.world.bursts()) == 1
    assert len(done(runner, PowerCycle)) == len(done(runner, Rebuild)) == 1


def test_new_members_that_fail_their_gate_cost_three_tries_and_one_machine() -> None:
    runner = settled()
    runner.world.bad_images.add("v1")
    runner.world.orders = Orders(scale=6)
    runner.passes(1500)
    assert len(runner.world.bursts()) == 1
    created = {action.request for action in done(runner, Create) if isinstance(action, Create)}
    assert len(created) == 3
    runner.world.bad_images.clear()
    runner.world.orders = Orders(scale=6, changed=1.0)
    runner.passes(60)
    assert len(runner.world.serving()) == 6


def test_the_load_makes_it_grow_and_shrink() -> None:
    runner = Runner(World(5, maximum=8, target_cpu=60))
    runner.passes(20)
    runner.world.load = 3.5
    runner.passes(60)
    assert len(runner.world.serving()) == 6
    runner.world.load = 0.3
    runner.passes(200)
    assert len(runner.world.serving()) == 3
    assert not runner.world.violations


def test_schedules_are_followed_and_bad_ones_named() -> None:
    office = (
        Schedule(cron="0 8 * * *", timezone="Europe/Berlin", members=5),
        Schedule(cron="0 18 * * *", timezone="Europe/Berlin", members=1),
        Schedule(cron="0 0 31 2 *", timezone="UTC", members=6),
    )
    runner = Runner(World(5, schedules=office))
    runner.world.wall_offset = (
        1_795_244_000.0  # 2026-11-21 06:53:20 UTC, seven minutes before eight in Berlin
    )
    runner.passes(60)
    assert len(runner.world.machines) == 3
    runner.passes(60)
    assert len(runner.world.serving()) == 5
    assert runner.last
    assert any("never fires" in reason.text for reason in runner.last.reasons)
    runner.world.wall_offset += 10 * 3600
    runner.passes(120)
    assert len(runner.world.machines) == 3


def test_burst_members_follow_the_slots_to_a_new_image() -> None:
    runner = settled(extra=2)
    world = runner.world
    for machine in world.machines.values():
        if not machine.burst:
            machine.image = "v2"
    world.policy = replace(world.policy, image="v2")
    runner.passes(200)
    assert {machine.image for machine in world.machines.values()} == {"v2"}
    assert len(world.serving()) == 5
    assert not world.violations


# Bad input.


def test_a_clock_that_jumps_shortens_no_wait() -> None:
    runner = settled(extra=1, cooldown_seconds=300.0)
    runner.world.orders = Orders()
    for jump in (86_400.0, -7200.0, 3600.0, 1e8):
        runner.passes(2)
        runner.world.wall_offset += jump
    runner.passes(20)
    assert not done(runner)
    runner.passes(60)
    assert done(runner, Delete)


def test_a_memory_that_cannot_be_read_does_nothing_and_says_so() -> None:
    runner = settled()
    runner.memory = Memory(held="memory.json is of version 9")
    runner.world.machines[1].off = True
    runner.passes(20)
    assert not done(runner)
    assert runner.last
    assert "version 9" in runner.last.reasons[0].text


def test_a_maximum_below_the_slots_is_said_and_makes_nothing() -> None:
    runner = settled(count=3, maximum=2)
    runner.world.orders = Orders(scale=9)
    runner.passes(50)
    assert not done(runner)
    assert runner.last
    assert any("below the 3 slots" in reason.text for reason in runner.last.reasons)


def test_strangers_are_told_and_left_alone() -> None:
    runner = settled()
    world = runner.world
    for name in ("burst-1", "web-2", "somebody"):
        world.make(name, "v1", booted=True).tagged = False
    world.add_record("", "198.51.100.7")
    runner.passes(300)
    assert not done(runner)
    assert runner.last
    assert sum("left alone" in reason.text for reason in runner.last.reasons) == 4
