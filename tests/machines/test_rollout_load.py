"""Whatever happens to a fleet that serves, its visitors lose nothing: 200 requests/s through three points of presence.

The tests tell one story on one stack, each leaving it serving. What a drain is made of is proven by leaving out one
step at a time, which must cost requests: else a count of none would prove nothing.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.live_sandbox import live_sandbox
from tests.live_stack import LiveStack
from tests.load.bad_images import SPOILED, bake, spoil
from tests.load.judge import failures, unharmed
from tests.load.leaving import CONDITIONS, Step, leave
from tests.load.schedule import Profile
from tests.load.visitors import lay_site, visitors

pytestmark = [pytest.mark.machines, pytest.mark.timeout(600)]

BUSY = Profile(rate=200)


@pytest.fixture(scope="module")
def stack() -> Iterator[LiveStack]:
    """Two members behind the edge, whose last point of presence sees a change one second late."""
    with live_sandbox("load") as sandbox, TemporaryDirectory(prefix="flotilla-load-") as root:
        stack = LiveStack.create(sandbox, Path(root) / "project", "dev")
        stack.configure("web.count", 2)
        stack.configure("edge.propagation_seconds", 3)
        stack.configure("web.rollout.canary_seconds", 3)
        lay_site(stack)
        stack.fleet("bake", "web", "database", "--stack", stack.name)
        stack.up()
        yield stack


def droplets(stack: LiveStack) -> dict[str, int]:
    return {slot: stack.droplet(slot)["id"] for slot in stack.outputs()["members"]}


def test_a_good_image_is_rolled_out(stack: LiveStack) -> None:
    before = droplets(stack)
    bake(stack, "better_app")
    with visitors(stack, BUSY) as seen:
        stack.up()
    report = unharmed(seen)
    assert set(report.members) == {"web-1", "web-2"}
    assert not set(before.values()) & set(droplets(stack).values())


def test_another_size_is_rolled_out(stack: LiveStack) -> None:
    stack.configure("web.size", "s-1vcpu-2gb")
    with visitors(stack, BUSY) as seen:
        stack.up()
    unharmed(seen)
    assert {stack.droplet(slot)["size_slug"] for slot in droplets(stack)} == {"s-1vcpu-2gb"}


def test_the_fleet_grows_to_four_and_shrinks_to_two(stack: LiveStack) -> None:
    before = droplets(stack)
    with visitors(stack, BUSY) as seen:
        stack.configure("web.count", 4)
        stack.up()
        stack.configure("web.count", 2)
        stack.up()
    assert set(unharmed(seen).members) == {"web-1", "web-2", "web-3", "web-4"}
    assert droplets(stack) == before, "the first two were left alone"


def test_an_app_that_cannot_start_stops_at_the_gate(stack: LiveStack) -> None:
    good = stack.setting("web.image")
    bake(stack, "crashing_app")
    refused(stack, good, "FAIL", "this release cannot start")


@pytest.mark.parametrize("wrong", sorted(SPOILED))
def test_a_spoiled_image_stops_at_the_gate(stack: LiveStack, wrong: str) -> None:
    good, (command, said) = stack.setting("web.image"), SPOILED[wrong]
    stack.configure("web.image", spoil(stack, good, f"web-spoiled-{wrong}", command))
    refused(stack, good, said)


def refused(stack: LiveStack, good: str, *words: str) -> None:
    """The update to the image in the config fails and says which slot and why; with the good one it goes through."""
    with visitors(stack, BUSY) as seen:
        printed = stack.pulumi("up", "--yes", "--skip-preview", expect=1)
        stack.configure("web.image", good)
        stack.up()
    unharmed(seen)
    assert [word for word in ("web-1", *words) if word not in printed] == [], printed
    left = {droplet["id"] for droplet in stack.sandbox.api("GET", "droplets")["droplets"]}
    assert left == {*droplets(stack).values(), stack.droplet("database-1")["id"]}


@pytest.mark.parametrize("step", list(Step))
def test_a_drain_loses_nothing(stack: LiveStack, step: Step) -> None:
    unharmed(leave(stack, "web-2", CONDITIONS[step]))


@pytest.mark.parametrize("step", list(Step))
def test_a_drain_without_one_step_loses_requests(stack: LiveStack, step: Step) -> None:
    report, _ = leave(stack, "web-2", CONDITIONS[step], without=step).result()
    assert report.failures, f"nothing was lost without {step}: the load does not show what it is for"
    print(failures(report))


def test_after_all_this_the_stack_is_what_its_config_says(stack: LiveStack) -> None:
    stack.up("--refresh", "--expect-no-changes")
    with visitors(stack, BUSY) as seen:
        time.sleep(3)
    unharmed(seen)
