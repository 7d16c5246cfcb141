"""`kill -9` of a first `pulumi up` at points all over it; then `fleet recover` and `up`: whole, nothing twice."""

from __future__ import annotations

import pytest

from tests.engine.kill import AtCommand, AtRequest, Point, killed_up
from tests.engine.site import Site

pytestmark = pytest.mark.engine

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


@pytest.mark.parametrize("point", FIRST_UP, ids=str)
def test_a_first_up_killed_anywhere_is_made_whole(site: Site, point: Point) -> None:
    killed_up(site, point)
    assert site.recover()["untracked_droplets"] == []
    site.up()
    site.check_whole(1)
