"""Rollouts while the clouds' APIs do badly: answers get lost, calls are refused or fail, everything is slow."""

from __future__ import annotations

from typing import Any

import pytest

from tests.engine.rollouts import Rollouts
from tests.engine.site import Site

pytestmark = [pytest.mark.engine, pytest.mark.timeout(240)]

SERVICES = ("digitalocean", "cloudflare")
# A fifth of all calls, in an order that is the same every time.
OFTEN: dict[str, Any] = {"probability": 0.2, "seed": 4}


def roll_out(site: Site, *faults: dict[str, Any]) -> None:
    """Begin a rollout with these faults; it may end in any way."""
    for fault in faults:
        site.cloud.fail(**fault)
    with site.started("up", "--skip-preview") as (engine, _):
        printed, _ = engine.communicate(timeout=200)
    site.cloud.heal()
    assert "Traceback" not in printed
    assert "panic" not in printed


def test_lost_answers_leave_nothing_twice(rollouts: Rollouts) -> None:
    """The clouds do what they are told, and nobody hears of it: each kind of change once, or twice."""
    lost: list[dict[str, Any]] = [
        {"service": "digitalocean", "method": "POST", "path": "/v2/droplets$", "times": 2},
        {"service": "digitalocean", "method": "GET", "path": "/v2/droplets/", "times": 3},
        {"service": "cloudflare", "method": "PUT", "path": "/dns_records/", "times": 2},
        {"service": "digitalocean", "method": "DELETE", "path": "/v2/droplets/", "times": 2},
    ]
    rollouts.disturbed(lambda: roll_out(rollouts.site, *[fault | {"drop": "answer"} for fault in lost]))


@pytest.mark.parametrize(
    "error",
    [{"status": 429, "headers": {"retry-after": "1"}}, {"status": 500}],
    ids=["429", "500"],
)
def test_refused_and_failed_calls_lose_nobody(rollouts: Rollouts, error: dict[str, Any]) -> None:
    faults = [{"service": service, "error": error, **OFTEN} for service in SERVICES]
    rollouts.disturbed(lambda: roll_out(rollouts.site, *faults))


def test_slow_clouds_are_waited_for(rollouts: Rollouts) -> None:
    """5 s for each answer, scaled to a tenth as all times of the sandbox are."""
    slow = [{"service": service, "latency_seconds": 0.5} for service in SERVICES]
    rollouts.disturbed(lambda: roll_out(rollouts.site, *slow))
