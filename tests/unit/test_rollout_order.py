"""The order of a rollout: what waits for what, in both modes and for any number of members."""

from __future__ import annotations

import itertools

import pytest

from components.rollout import CANARY, PEERS, Act, Mode, Point, Rollout

MODES: list[Mode] = ["surge", "in_place"]
EVERY = [
    Rollout(count=count, mode=mode, canary_seconds=seconds)
    for count, mode, seconds in itertools.product((1, 2, 3, 12), MODES, (0, 30))
]


def points(rollout: Rollout) -> list[Point]:
    return [step.point for step in rollout.steps()]


def waits(rollout: Rollout, point: Point) -> set[Point]:
    """All that an act waits for, directly or through others."""
    after = {step.point: step.after for step in rollout.steps()}
    seen: set[Point] = set()
    pending = [point]
    while pending:
        for earlier in after[pending.pop()]:
            if earlier not in seen:
                seen.add(earlier)
                pending.append(earlier)
    return seen


@pytest.mark.parametrize("rollout", EVERY, ids=str)
def test_every_act_comes_once_and_after_what_it_waits_for(rollout: Rollout) -> None:
    seen: set[Point] = set()
    for step in rollout.steps():
        assert set(step.after) <= seen
        assert step.point not in seen
        seen.add(step.point)
    slots = range(1, rollout.count + 1)
    canary = {CANARY} if rollout.watched else set()
    assert seen == {(act, slot) for act in (Act.MEMBER, Act.SWITCH) for slot in slots} | {PEERS} | canary


@pytest.mark.parametrize("rollout", EVERY, ids=str)
def test_the_canary_is_watched_between_the_first_switch_and_the_second(rollout: Rollout) -> None:
    if rollout.watched:
        assert waits(rollout, CANARY) >= {(Act.SWITCH, 1)}
        assert CANARY in waits(rollout, (Act.SWITCH, 2))
        assert (Act.SWITCH, 2) not in waits(rollout, CANARY)


def test_a_surge_boots_at_once_and_switches_one_by_one() -> None:
    rollout = Rollout(count=3, canary_seconds=30)
    for slot in (1, 2, 3):
        assert waits(rollout, (Act.MEMBER, slot)) == set()
    members = {(Act.MEMBER, slot) for slot in (1, 2, 3)}
    assert waits(rollout, (Act.SWITCH, 1)) == members | {PEERS}
    assert (Act.SWITCH, 2) in waits(rollout, (Act.SWITCH, 3))


def test_in_place_only_one_slot_is_away_at_a_time() -> None:
    rollout = Rollout(count=3, mode="in_place", canary_seconds=30)
    assert waits(rollout, (Act.MEMBER, 1)) == set()
    assert (Act.SWITCH, 1) in waits(rollout, (Act.MEMBER, 2))
    assert CANARY in waits(rollout, (Act.MEMBER, 2))
    assert (Act.SWITCH, 2) in waits(rollout, (Act.MEMBER, 3))
    assert points(rollout)[-1] == PEERS


@pytest.mark.parametrize("mode", MODES)
def test_a_larger_fleet_does_the_same_to_the_slots_that_a_smaller_one_has(mode: Mode) -> None:
    small, large = (
        {step.point: step.after for step in Rollout(count=count, mode=mode, canary_seconds=30).steps()}
        for count in (2, 5)
    )
    del small[PEERS]
    assert small.items() <= large.items()


@pytest.mark.parametrize(
    ("through", "new"), [(None, [True, True, True]), (1, [True, False, False]), (2, [True, True, False])]
)
def test_a_partial_rollout_has_come_to_a_slot(through: int | None, new: list[bool]) -> None:
    rollout = Rollout(count=3, through=through)
    assert [rollout.is_new(slot) for slot in (1, 2, 3)] == new


def test_a_fleet_without_members_is_refused() -> None:
    with pytest.raises(ValueError, match="count is 0"):
        Rollout(count=0)
