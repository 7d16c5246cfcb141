"""The controller and `pulumi up` at work on one stack: neither undoes what the other has done.

Real engine, real program, and a controller with the very config that the program has delivered to its node. Each test
takes the stack where the one before has left it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from fleet.config import CONTROLLER_CONFIG, CONTROLLER_SECRETS
from fleet.controller import memory
from fleet.controller.config import ControllerConfig, ControllerSecrets
from fleet.controller.probe import SILENT
from tests.engine.site import NEXT_WEB_IMAGE, Site, now
from tests.engine.tended import SimulatedHealth, Tended
from tests.engine.test_prod import NODE_IMAGE, make_node_image, told

pytestmark = [pytest.mark.engine, pytest.mark.timeout(240)]


@dataclass
class Both:
    """A stack, and the controller's side of it."""

    site: Site
    state: Path
    tended: Tended = field(init=False)

    def __post_init__(self) -> None:
        memory.begin(self.state)
        self.tended = self.delivered(SimulatedHealth(self.site.cloud))

    def delivered(self, health: SimulatedHealth) -> Tended:
        """With what the node was last told."""
        given = told(self.site, "autoscaler-1", 0.0).secrets
        config = ControllerConfig.from_json(given[CONTROLLER_CONFIG])
        secrets = ControllerSecrets.from_json(given[CONTROLLER_SECRETS])
        return Tended(self.site.cloud, self.state, config, secrets, health)

    def follow(self) -> None:
        """The node is restarted by what it was told since."""
        before, self.tended = self.tended, self.delivered(self.tended.health)
        self.tended.time, self.tended.said = before.time, before.said

    async def settle(self, reached: Callable[[], bool], what: str) -> None:
        await self.tended.settle(reached, what)

    def serving(self, slots: int, bursts: int) -> bool:
        """So many of each kind, each with its record, and nothing besides."""
        members = self.tended.members()
        kinds = [slot.partition("-")[0] for slot in members]
        whole = (kinds.count("web"), kinds.count("burst"), len(kinds)) == (slots, bursts, slots + bursts)
        return whole and sorted(self.tended.rotation().values()) == sorted(members)

    async def up(self, *arguments: str) -> dict[str, int]:
        """What the engine has changed, by operation."""
        return (await asyncio.to_thread(self.site.up, *arguments)).changes

    async def up_beside_the_controller(self) -> dict[str, int]:
        """An update, and pass after pass of the controller while it runs."""
        running = asyncio.create_task(self.up())
        controller = self.tended.controller()
        while not running.done():
            await controller.once()
            self.tended.time.seconds += 2.0
        return await running


@pytest.fixture(scope="module")
def both(module_site: Site, tmp_path_factory: pytest.TempPathFactory) -> Both:
    site = module_site
    make_node_image(site.cloud)
    site.config["flotilla:autoscaler"] = {
        "size": "s-1vcpu-1gb",
        "image": NODE_IMAGE,
        "max": 5,
        "cooldown_seconds": 0,
    }
    site.config["flotilla:force"] = ["autoscaler"]
    site.set("web", count=2)
    site.up()
    return Both(site, tmp_path_factory.mktemp("controller") / "state")


async def test_a_fleet_at_strength_is_left_alone_by_both(both: Both) -> None:
    since = now()
    controller = both.tended.controller()
    for _ in range(8):
        await controller.once()
        both.tended.time.seconds += 12.0
    assert both.site.cloud.changes(since) == []
    assert await both.up("--expect-no-changes") == {}


async def test_burst_members_are_no_business_of_an_update(both: Both) -> None:
    both.tended.order(scale=3, changed=1.0)
    await both.settle(lambda: both.serving(2, 1), "a burst member")
    assert await both.up("--refresh", "--expect-no-changes") == {}
    assert both.serving(2, 1)


async def test_an_ejected_record_stays_out_until_it_is_repaired_or_written_anew(both: Both) -> None:
    tended = both.tended
    dead = tended.members()["web-2"].name
    tended.health.said[dead] = SILENT
    both.site.cloud.script(name="web-", program="8101/status", exit=1)
    both.site.cloud.script(name="burst-", program="8101/status", exit=1)
    await both.settle(lambda: "web-2" not in tended.rotation().values(), "web-2 to be put aside")
    assert await both.up("--expect-no-changes") == {}
    assert "web-2" not in tended.rotation().values()
    # A refresh sees the name, and the update puts it back in place: the same record, no other resource.
    ids = {record.id for record in tended.every_record()}
    assert await both.up("--refresh") == {"update": 1}
    assert {record.id for record in tended.every_record()} == ids
    assert "web-2" in tended.rotation().values()
    await both.settle(lambda: "web-2" not in tended.rotation().values(), "web-2 to be put aside again")
    del tended.health.said[dead]
    both.site.cloud.calm()
    await both.settle(lambda: both.serving(2, 1), "web-2 to serve again")


async def test_a_rollout_beside_a_controller_at_work(both: Both) -> None:
    both.tended.order(scale=4, changed=2.0)
    both.site.set("web", image=NEXT_WEB_IMAGE)
    changed = await both.up_beside_the_controller()
    assert changed["replace"] >= 2
    both.follow()
    await both.settle(lambda: both.serving(2, 2), "two slots and two burst members")
    images = {member.slot: member.images for member in both.tended.members().values()}
    assert all(NEXT_WEB_IMAGE in names for slot, names in images.items() if slot and slot.startswith("web"))
    assert await both.up("--refresh", "--expect-no-changes") == {}


async def test_more_slots_make_burst_members_leave(both: Both) -> None:
    both.site.set("web", count=3)
    await both.up_beside_the_controller()
    both.follow()
    await both.settle(lambda: both.serving(3, 1), "three slots and one burst member")
    assert await both.up("--expect-no-changes") == {}


async def test_destroy_takes_all_when_the_node_is_dead(both: Both) -> None:
    node = next(name for name in both.site.droplets() if name.startswith("autoscaler-1"))
    both.site.cloud.kill(node)
    await asyncio.to_thread(both.site.destroy)
    assert both.site.cloud.inventory() == {}
