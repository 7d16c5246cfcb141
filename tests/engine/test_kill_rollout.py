"""`kill -9` of a rollout at points all over it; then `fleet recover` and `up`: the new members serve, nothing twice."""

from __future__ import annotations

import pytest

from tests.engine.kill import AtCommand, AtRequest, Point, killed_up
from tests.engine.site import NEXT_WEB_IMAGE, Site

pytestmark = pytest.mark.engine

ROLLOUT: list[Point] = [
    AtRequest("POST", "/v2/droplets"),
    AtCommand("web", "flotilla-receive"),
    AtCommand("web", "flotilla-gate"),
    AtRequest("PUT", "/dns_records/", "cloudflare"),
    AtCommand("web", "flotilla-drain"),
    AtRequest("DELETE", "/v2/droplets/"),
]


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
