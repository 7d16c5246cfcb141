"""Rollouts in the middle of which the clouds' APIs are gone for a while: no call reaches them."""

from __future__ import annotations

import threading

import pytest

from tests.engine.kill import AtCommand, AtRequest, Point
from tests.engine.local_cloud import until
from tests.engine.rollouts import Rollouts
from tests.engine.site import RUN_SECONDS, Site, now

pytestmark = [pytest.mark.engine, pytest.mark.timeout(240)]

# Within what the providers' own retries bridge: at least 2.8 s at DigitalOcean's, more at Cloudflare's.
SHORT_SECONDS = 1.5


def roll_out(site: Site, point: Point, seconds: float | None) -> int:
    """Begin a rollout; from the point on no call reaches a cloud, for so long or until the engine gives up. Its exit
    code."""
    cloud, began = site.cloud, now()
    with site.started("up", "--skip-preview") as (engine, _):
        until(
            lambda: point.reached(cloud, began) or engine.poll() is not None, str(point), seconds=RUN_SECONDS
        )
        assert engine.poll() is None, engine.communicate()[0]
        for service in ("digitalocean", "cloudflare"):
            cloud.fail(service=service, drop="request")
        if seconds is not None:
            # Time itself is what is tried here; there is no condition to wait for.
            threading.Event().wait(seconds)
            cloud.heal()
        printed, _ = engine.communicate(timeout=200)
    cloud.heal()
    assert "Traceback" not in printed
    assert "panic" not in printed
    return engine.returncode


def test_a_short_absence_is_bridged(rollouts: Rollouts) -> None:
    def disturb() -> None:
        assert roll_out(rollouts.site, AtRequest("POST", "/v2/droplets$"), SHORT_SECONDS) == 0

    rollouts.disturbed(disturb, unanswered_done=False)


@pytest.mark.parametrize(
    "point",
    [AtCommand("web", "flotilla-gate"), AtCommand("web", "flotilla-drain")],
    ids=["before the switch", "after the switch"],
)
def test_after_a_long_absence_the_rollout_goes_on(rollouts: Rollouts, point: Point) -> None:
    def disturb() -> None:
        assert roll_out(rollouts.site, point, None) != 0

    rollouts.disturbed(disturb, unanswered_done=False)


def test_an_absence_in_the_middle_of_the_switches(rollouts: Rollouts) -> None:
    point = AtRequest("PUT", "/dns_records/", "cloudflare")

    def disturb() -> None:
        assert roll_out(rollouts.site, point, None) != 0

    rollouts.disturbed(disturb, unanswered_done=False)
