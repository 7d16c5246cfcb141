"""The controller killed before and after everything that it does: the next one ends what was begun, in ten passes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from fleet.controller import memory
from fleet.controller.decide import decide
from fleet.controller.loop import Controller
from tests.engine.local_cloud import LocalCloud
from tests.engine.mortal import Died, Fate, mortal_disk_and_ssh, mortal_world
from tests.engine.tended import PASS_SECONDS, Tended

pytestmark = [pytest.mark.engine, pytest.mark.timeout(240)]

PASSES = 10
SLOTS = {"web-1", "web-2"}


@pytest.fixture
def stack(simulation: LocalCloud, tmp_path: Path, numbers: Iterator[int]) -> Iterator[Tended]:
    yield Tended.create(simulation, tmp_path / "state", f"tended{next(numbers)}")
    simulation.calm()
    simulation.wipe()


async def die_on_the_way(stack: Tended, at: int, reached: Callable[[], bool]) -> bool:
    """One controller until it dies at a point, or has done it all; whether it died."""
    fate = Fate(at)
    world = mortal_world(stack.world(), fate)
    controller = Controller(lambda: world, stack.state, decide, stack.said.append)
    with mortal_disk_and_ssh(fate):
        try:
            while not reached():
                await controller.once()
                stack.time.seconds += PASS_SECONDS
        except Died:
            return True
    return False


async def converge(stack: Tended, reached: Callable[[], bool], what: str) -> None:
    """Another controller, as systemd starts it."""
    await stack.settle(reached, what, passes=PASSES)


def serving(stack: Tended, bursts: int = 0) -> bool:
    """The slots and so many burst members, each with its record and nothing besides."""
    members = sorted(stack.members())
    return (
        len(members) == len(SLOTS) + bursts
        and set(members) >= SLOTS
        and sorted(stack.rotation().values()) == members
    )


async def test_growing_and_shrinking_killed_at_every_point(stack: Tended) -> None:
    points = {"grow": 0, "shrink": 0}
    for at in range(1, 200):
        alive = True
        for name, scale, bursts in (("grow", 3, 1), ("shrink", None, 0)):
            reached = partial(serving, stack, bursts)
            stack.order(scale=scale, changed=stack.time.clock().wall)
            died = await die_on_the_way(stack, at, reached)
            points[name] += died
            alive &= not died
            await converge(stack, reached, f"{name} after {at}")
        if alive:
            break
    assert min(points.values()) >= 20


async def test_healing_killed_at_points_spread_over_it(stack: Tended) -> None:
    points = 0
    controller = stack.controller()
    for _ in range(8):
        await controller.once()
        stack.time.seconds += PASS_SECONDS
    healthy = memory.load(stack.state)
    # Every third, for each costs half a second: a burst member stands in meanwhile, whose life has points too.
    for at in range(1, 200, 3):
        # As if no member had ever been ill: repairs are few a day.
        memory.save(stack.state, healthy)
        member = stack.members()["web-2"]
        stack.cloud.kill(member.name)

        def healed() -> bool:
            return stack.members()["web-2"].status == "active" and serving(stack)

        died = await die_on_the_way(stack, at, healed)
        points += died
        await converge(stack, healed, f"web-2 to serve again after {at}")
        if not died:
            break
    assert points >= 15
