"""Rollouts of three members that something goes wrong with, and what must be true afterwards."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tests.engine.kill import Point, killed_up, points_of, spread
from tests.engine.site import NEXT_WEB_IMAGE, Site, now
from tests.engine.visitors import Visitors

MEMBERS = 3
KILLS = 20
# Test files share the kills, so that they run side by side.
FILES = 4

_FENCE_STATUS = {
    "slot": "web-1",
    "state": "open",
    "reason": "",
    "since": 0,
    "requests": 0,
    "errors": 0,
    "latency": {"bounds": [0.1, 1.0], "counts": [0, 0, 0]},
    "recent": {"requests": 0, "errors": 0},
}


@dataclass(frozen=True, slots=True)
class Rollouts:
    """A site of three members, rolled out again and again between two images."""

    site: Site

    @classmethod
    def of(cls, site: Site) -> Rollouts:
        """Make it whole for the first time."""
        site.set("web", count=MEMBERS, rollout={"mode": "surge", "canary_seconds": 1})
        rollouts = cls(site)
        rollouts.calm()
        site.up()
        return rollouts

    def calm(self) -> None:
        """No faults; machines whose fence says that all is well and nobody visits, as far as anybody asks it."""
        self.site.cloud.calm()
        self.site.cloud.script(program="flotilla-fence status", stdout=json.dumps(_FENCE_STATUS))

    def points(self) -> Sequence[Point]:
        """The points of a rollout that nobody disturbs, spread over it."""
        visitors = Visitors(self.site)
        self._choose_other_image()
        began = now()
        self.site.up()
        found = spread(points_of(self.site.cloud, began), KILLS)
        visitors.check_served()
        return found

    def killed(self, point: Point) -> None:
        """A rollout that is killed there, and finished by the commands that the README names."""
        self.disturbed(lambda: killed_up(self.site, point))

    def disturbed(self, disturb: Callable[[], None], *, unanswered_done: bool = True) -> None:
        """`disturb` begins a rollout and may leave it in any state; it is finished by the commands that the README
        names. Nobody was without a member to visit at any moment; nothing is left over or there twice.

        `unanswered_done`: whether the clouds did what they gave no answer to.
        """
        site = self.site
        before = site.droplets()
        visitors = Visitors(site, unanswered_done)
        image = self._choose_other_image()
        disturb()
        visitors.meet()
        self.calm()
        assert site.recover()["untracked_droplets"] == []
        visitors.meet()
        site.up()
        visitors.check_served()
        site.check_whole(MEMBERS)
        after = site.droplets()
        assert {name for name in before if name in after} == {
            name for name in before if name.startswith("database")
        }
        web = [droplet for name, droplet in after.items() if name.startswith("web")]
        assert {droplet["image"]["name"] for droplet in web} == {image}

    def _choose_other_image(self) -> str:
        images = {self.site.template.images["web"], NEXT_WEB_IMAGE}
        [image] = images - {self.site.config["flotilla:web"]["image"]}
        self.site.set("web", image=image)
        return image


def kill_numbers(file: int) -> list[int]:
    """Which of the kills a test file does."""
    return list(range(file, KILLS, FILES))
