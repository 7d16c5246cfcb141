"""`kill -9` of `pulumi up` at points all over an update; then `fleet recover` and `up`: whole again, nothing twice."""

from __future__ import annotations

import signal
from dataclasses import dataclass

import pytest

from tests.engine.local_cloud import LocalCloud, until
from tests.engine.site import NEXT_WEB_IMAGE, Site, now

pytestmark = pytest.mark.engine

# As long as a request or a command is held, unless the engine is killed later than that: a heavily loaded host.
HOLD_SECONDS = 1.0


@dataclass(frozen=True)
class AtRequest:
    """While a request is under way: the cloud has it, and its answer finds nobody any more."""

    method: str
    path: str
    service: str = "digitalocean"

    def __str__(self) -> str:
        return f"{self.method} {self.path}"

    def arm(self, cloud: LocalCloud) -> None:
        cloud.fail(
            service=self.service, method=self.method, path=self.path, latency_seconds=HOLD_SECONDS, times=1
        )

    def reached(self, cloud: LocalCloud, began: float) -> bool:
        return any(found.method == self.method and self.path in found.path for found in cloud.log(began))


@dataclass(frozen=True)
class AtCommand:
    """While a machine of a role runs one of its programs."""

    role: str
    program: str

    def __str__(self) -> str:
        return f"{self.role} runs {self.program}"

    def arm(self, cloud: LocalCloud) -> None:
        cloud.script(name=f"^{self.role}-", program=self.program, delay_seconds=HOLD_SECONDS, times=1)

    def reached(self, cloud: LocalCloud, began: float) -> bool:
        return any(
            ran.name.startswith(f"{self.role}-") and self.program in ran.command
            for ran in cloud.commands(began)
        )


Point = AtRequest | AtCommand

FIRST_UP: list[Point] = [
    AtRequest("POST", "/v2/tags"),
    AtRequest("POST", "/v2/vpcs"),
    AtRequest("POST", "/v2/account/keys"),
    AtRequest("POST", "/v2/volumes"),
    AtRequest("POST", "/v2/firewalls"),
    AtRequest("POST", "/v2/droplets"),
    AtRequest("GET", "/v2/droplets/"),
    AtCommand("database", "flotilla-receive"),
    AtCommand("database", "flotilla-gate"),
    AtCommand("web", "flotilla-receive"),
    AtCommand("web", "flotilla-gate"),
    AtRequest("POST", "/dns_records", "cloudflare"),
]
ROLLOUT: list[Point] = [
    AtRequest("POST", "/v2/droplets"),
    AtCommand("web", "flotilla-receive"),
    AtCommand("web", "flotilla-gate"),
    AtRequest("PUT", "/dns_records/", "cloudflare"),
    AtCommand("web", "flotilla-drain"),
    AtRequest("DELETE", "/v2/droplets/"),
]


def killed_up(site: Site, point: Point) -> None:
    """`up`, killed at a point; returns when the clouds have done with what was under way."""
    cloud, began = site.cloud, now()
    point.arm(cloud)
    with site.started("up", "--skip-preview") as (engine, _):

        def reached() -> bool:
            ended = engine.poll()
            assert ended is None, f"never reached {point}:\n{engine.communicate()[0]}"
            return point.reached(cloud, began)

        until(reached, str(point))
        engine.send_signal(signal.SIGKILL)
        engine.wait(30)
    cloud.calm()
    until(lambda: cloud.quiet(began), "the cloud to finish what it was asked for")


@pytest.mark.parametrize("point", FIRST_UP, ids=str)
def test_a_first_up_killed_anywhere_is_made_whole(site: Site, point: Point) -> None:
    killed_up(site, point)
    assert site.recover()["untracked_droplets"] == []
    site.up()
    site.check_whole(1)


@pytest.mark.xdist_group("killed rollouts")
@pytest.mark.parametrize("point", ROLLOUT, ids=str)
def test_a_rollout_killed_anywhere_is_finished(module_site: Site, point: Point) -> None:
    site = module_site
    if not site.droplets():
        site.set("web", count=2)
        site.up()
    images = {site.template.images["web"], NEXT_WEB_IMAGE}
    before = site.droplets()
    [other] = images - {site.config["flotilla:web"]["image"]}
    site.set("web", image=other)
    killed_up(site, point)
    assert site.recover()["untracked_droplets"] == []
    site.up()
    site.check_whole(2)
    assert {name for name in before if name in site.droplets()} == {
        name for name in before if name.startswith("database")
    }
