"""The controller at work on a fleet of the local cloud: it grows, shrinks and heals it, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleet import sweep
from fleet.cloudflare import Cloudflare
from fleet.config import CONTROLLER_CONFIG, CONTROLLER_SECRETS
from fleet.controller.model import Hold
from fleet.controller.probe import SILENT
from fleet.digitalocean import DigitalOcean
from tests.engine.local_cloud import LocalCloud, Request
from tests.engine.site import now
from tests.engine.tended import WELL, Tended

pytestmark = pytest.mark.engine

SLOTS = {"web-1", "web-2"}


@pytest.fixture
def stack(simulation: LocalCloud, tmp_path: Path, numbers: Iterator[int]) -> Iterator[Tended]:
    yield Tended.create(simulation, tmp_path / "state", f"tended{next(numbers)}")
    simulation.calm()
    simulation.wipe()


async def known(stack: Tended) -> None:
    """Both slots have served in good health, so they are the controller's to repair."""
    controller = stack.controller()
    for _ in range(8):
        await controller.once()
        stack.time.seconds += 12.0


def serving(stack: Tended, *slots: str) -> bool:
    return set(stack.rotation().values()) == {*SLOTS, *slots} and set(stack.members()) == {*SLOTS, *slots}


async def test_it_grows_and_shrinks_by_order(stack: Tended) -> None:
    stack.order(scale=4, changed=1.0)
    await stack.settle(lambda: serving(stack, "burst-1", "burst-2"), "two burst members")
    assert stack.ran("burst-1") == ["receive", "peers", "gate"]
    stack.order(scale=None, changed=2.0)
    await stack.settle(lambda: serving(stack), "the burst members to be gone")
    assert stack.ran("burst-1")[-1] == "flotilla-drain"
    for slot in SLOTS:
        assert stack.ran(slot) == []


async def test_it_grows_with_the_load(stack: Tended) -> None:
    stack.config = replace(stack.config, target_cpu=50)
    stack.health.usual = replace(WELL, cpu=0.9, requests=50)
    await stack.settle(lambda: len(stack.rotation()) >= 4, "more members")
    stack.health.usual = replace(WELL, cpu=0.05, requests=5)
    await stack.settle(lambda: serving(stack), "no more than the slots", passes=90)


async def test_a_member_without_power_is_put_aside_and_switched_on(stack: Tended) -> None:
    await known(stack)
    before = stack.members()["web-2"]
    since = now()
    stack.cloud.kill(before.name)
    await stack.settle(
        lambda: stack.members()["web-2"].status == "active" and serving(stack), "web-2 to serve again"
    )
    assert stack.members()["web-2"] == before
    own = [
        request
        for request in stack.cloud.changes(since)
        if request.method == "PATCH" or acts_on(request, before.id)
    ]
    assert [request.method for request in own] == ["PATCH", "POST", "PATCH"]
    assert own[0].path == own[2].path


async def test_a_member_that_stays_silent_is_made_anew(stack: Tended) -> None:
    await known(stack)
    before = stack.members()["web-2"]
    stack.health.said[before.name] = SILENT
    stack.cloud.script(program="8101/status", exit=1)

    def rebuilt() -> bool:
        done = stack.cloud.get(f"droplets/{before.id}/actions")["actions"]
        return any(action["type"] == "rebuild" for action in done)

    await stack.settle(rebuilt, "web-2 to be rebuilt")
    del stack.health.said[before.name]
    await stack.settle(lambda: serving(stack), "web-2 to serve again")
    assert stack.ran("web-2")[-3:] == ["receive", "peers", "gate"]
    assert stack.members()["web-2"] == before


async def test_all_silent_at_once_are_left_alone(stack: Tended) -> None:
    await known(stack)
    stack.health.usual = SILENT
    since = now()
    controller = stack.controller()
    for _ in range(30):
        await controller.once()
        stack.time.seconds += 12.0
    # More may be made; what there is, is not touched.
    changed = stack.cloud.changes(since)
    assert {request.method for request in changed} <= {"POST"}
    assert not [str(request) for request in changed if request.path.endswith("/actions")]
    assert set(stack.rotation().values()) >= SLOTS


async def test_frozen_it_does_nothing_until_it_may(stack: Tended) -> None:
    hold = Hold(owner="alice", reason="a look")
    stack.order(scale=4, create=hold, destroy=hold, changed=1.0)
    since = now()
    controller = stack.controller()
    for _ in range(3):
        await controller.once()
        stack.time.seconds += 12.0
    assert stack.cloud.changes(since) == []
    assert any("create is held by alice: a look" in line for line in stack.said)
    stack.order(create=None, destroy=None, changed=2.0)
    await stack.settle(lambda: serving(stack, "burst-1", "burst-2"), "two burst members")


@pytest.mark.parametrize(
    "faults",
    [
        [{"error": {"status": 500}, "probability": 0.3, "seed": 3}],
        [{"drop": "answer", "probability": 0.3, "seed": 5}],
        [{"error": {"status": 429, "headers": {"Retry-After": "20"}}, "probability": 0.3, "seed": 7}],
    ],
    ids=["500", "lost", "429"],
)
async def test_clouds_that_fail_leave_no_twin_and_no_stray(
    stack: Tended, faults: list[dict[str, Any]]
) -> None:
    stack.order(scale=4, changed=1.0)
    for fault in faults:
        stack.cloud.fail(service="digitalocean", **fault)
        stack.cloud.fail(service="cloudflare", **fault)
    controller = stack.controller()
    for _ in range(20):
        await controller.once()
        stack.time.seconds += 12.0
    stack.cloud.heal()
    await stack.settle(lambda: serving(stack, "burst-1", "burst-2"), "two burst members")
    stack.order(scale=None, changed=2.0)
    await stack.settle(lambda: serving(stack), "the burst members to be gone")


def acts_on(request: Request, droplet: int) -> bool:
    return request.path.endswith(f"/droplets/{droplet}/actions")


def test_a_dry_run_shows_what_it_would_do_and_does_nothing(stack: Tended, tmp_path: Path) -> None:
    stack.order(scale=3, changed=1.0)
    given = tmp_path / "given"
    given.mkdir()
    (given / CONTROLLER_CONFIG).write_text(stack.config.to_json())
    (given / CONTROLLER_SECRETS).write_text(stack.secrets.to_json())
    since = now()
    held = {path.name: path.read_bytes() for path in stack.state.iterdir()}
    done = subprocess.run(
        [sys.executable, "-m", "fleet.controller", "--dry-run", "--state", stack.state, "--config", given],
        env={**os.environ, **stack.cloud.variables},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert shown["orders"]["scale"] == 3
    assert stack.cloud.changes(since) == []
    assert {path.name: path.read_bytes() for path in stack.state.iterdir()} == held
    assert stack.secrets.cloud_token not in done.stdout + done.stderr


async def test_a_sweep_takes_what_the_controller_made_and_nothing_else(stack: Tended) -> None:
    stack.order(scale=4, changed=1.0)
    await stack.settle(lambda: serving(stack, "burst-1", "burst-2"), "two burst members")
    body = {"region": "lon1", "size": "s-1vcpu-1gb", "image": "debian-13-x64"}
    for name, tags in (
        ("mine", [stack.config.stack, stack.config.burst_tag]),
        ("burst-1-abcdef0", ["other"]),
    ):
        stack.cloud.post("droplets", {"name": name, "tags": tags, **body})
    said: list[str] = []
    cloud = DigitalOcean.at(stack.cloud.url, stack.secrets.cloud_token)
    edge = Cloudflare.at(f"{stack.cloud.url}/client/v4", stack.secrets.edge_token)
    # In a thread: it waits by a loop of its own.
    done = await asyncio.to_thread(sweep.sweep, cloud, edge, stack.config.stack, said.append)
    assert len(done.droplets) == len(done.records) == 2
    assert done.left == ("mine",)
    assert "no controller made it; it stays" in said[-1]
    assert serving(stack)
    again = await asyncio.to_thread(sweep.sweep, cloud, edge, stack.config.stack, said.append)
    assert (again.droplets, again.records) == ((), ())
    names = {droplet["name"] for droplet in stack.cloud.list("droplets?per_page=200", "droplets")}
    assert {"mine", "burst-1-abcdef0"} <= names
