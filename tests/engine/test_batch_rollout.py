"""`fleet rollout --batch` by the real engine: whole updates, a few slots each, cut off and gone on with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import yaml

from tests.engine.local_cloud import until
from tests.engine.site import NEXT_WEB_IMAGE, Site, now

# Several updates each.
pytestmark = [pytest.mark.engine, pytest.mark.timeout(500)]
SECONDS = 200

FENCE = {
    "slot": "web",
    "state": "open",
    "reason": "",
    "requests": 0,
    "errors": 0,
    "latency": {"bounds": [1.0], "counts": [0, 0]},
    "recent": {"requests": 0, "errors": 0},
}


@pytest.fixture
def fleet_of_two(module_site: Site) -> Site:
    """Two members, the first of them watched for a second when it changes."""
    site = module_site
    well(site)
    if site.droplets():
        # What the commands of the last test have written.
        site.settings = yaml.safe_load((site.root / f"Pulumi.{site.stack}.yaml").read_text())
    else:
        site.set("web", count=2, rollout={"canary_seconds": 1})
        site.up()
    return site


def well(site: Site) -> None:
    """No faults; every fence says that all is well, without visitors."""
    site.cloud.calm()
    site.cloud.script(program="flotilla-fence status", stdout=json.dumps(FENCE))


def two_images(site: Site) -> tuple[str, str]:
    """The one that the members run, and another."""
    now_running = site.config["flotilla:web"]["image"]
    [other] = {site.template.images["web"], NEXT_WEB_IMAGE} - {now_running}
    return now_running, other


def images(site: Site) -> dict[str, str]:
    """The image in each web slot; a slot with two droplets fails the test."""
    found = {
        name.rpartition("-")[0]: str(droplet["image"]["name"])
        for name, droplet in site.droplets().items()
        if name.startswith("web-")
    }
    assert len(found) == sum(name.startswith("web-") for name in site.droplets())
    return found


def web_config(site: Site) -> dict[str, Any]:
    """What the commands have written."""
    config = yaml.safe_load((site.root / f"Pulumi.{site.stack}.yaml").read_text())["config"]
    web: dict[str, Any] = config["flotilla:web"]
    return web


def rollout(site: Site, *arguments: str, expect: int = 0) -> str:
    """One slot at a time, to its end; what it said."""
    with started(site, *arguments) as rolling:
        printed, _ = rolling.communicate(timeout=SECONDS)
    assert rolling.returncode == expect, printed
    return printed


@contextmanager
def started(site: Site, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A rollout under way, in a session of its own as in a terminal; killed at the end if it still runs."""
    rolling = subprocess.Popen(
        [sys.executable, "-m", "fleet.cli", "rollout", "-s", site.stack, "--batch", "1", *arguments],
        cwd=site.root,
        env=site.environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    with rolling:
        try:
            yield rolling
        finally:
            for child in (*children(rolling.pid), rolling.pid):
                with suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)


def test_two_updates_change_two_members_and_no_config_is_left(fleet_of_two: Site) -> None:
    site, began = fleet_of_two, now()
    _, new = two_images(site)
    said = rollout(site, "--image", new)
    assert "batch 1 of 2: web-1 to" in said
    assert "batch 2 of 2: web-2 to" in said
    assert images(site) == {f"web-{number}": new for number in (1, 2)}
    assert web_config(site)["image"] == new
    assert "partial" not in web_config(site)["rollout"]
    watched = {ran.name for ran in site.cloud.commands(began) if "flotilla-fence status" in ran.command}
    assert any(name.startswith("web-1-") for name in watched), "no canary was watched"
    # Never more than one machine beside the two.
    creates = [request.at for request in site.cloud.changes(began) if str(request) == "POST /v2/droplets"]
    deletes = [
        request.at for request in site.cloud.changes(began) if str(request).startswith("DELETE /v2/droplets/")
    ]
    assert (len(creates), len(deletes)) == (2, 2)
    assert deletes[0] < creates[1]
    site.check_whole(2)


def test_a_bad_image_stops_at_its_batch_and_the_same_command_with_the_old_one_goes_back(
    fleet_of_two: Site,
) -> None:
    site = fleet_of_two
    old, new = two_images(site)
    before = site.addresses()
    site.cloud.calm()
    site.cloud.script(name="^web-1-", program="flotilla-gate", exit=1, stdout="app: no answer")
    said = rollout(site, "--image", new, expect=1)
    assert f"batch 1 of 2 (web-1 to {new}) failed" in said
    assert f"fleet rollout -s {site.stack} --batch 1 --image {old}" in said
    assert site.addresses() == before, "no visitor was sent to a member of the bad image"
    assert web_config(site)["rollout"]["partial"] == {"through": 1, "rest": old}
    well(site)
    rollout(site, "--image", old)
    assert images(site) == {f"web-{number}": old for number in (1, 2)}
    site.check_whole(2)
    assert "partial" not in web_config(site)["rollout"]


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGKILL], ids=["interrupted", "killed"])
def test_a_rollout_cut_off_goes_on_by_the_same_command(fleet_of_two: Site, sent: signal.Signals) -> None:
    site, began = fleet_of_two, now()
    old, new = two_images(site)
    site.cloud.script(name="^web-1-", program="flotilla-gate", delay_seconds=2.0, times=1)
    with started(site, "--image", new) as rolling:

        def at_the_gate() -> bool:
            assert rolling.poll() is None, rolling.communicate()[0]
            return any(
                ran.name.startswith("web-1-") and "flotilla-gate" in ran.command
                for ran in site.cloud.commands(began)
            )

        until(at_the_gate, "the gate of the first batch", seconds=SECONDS)
        if sent is signal.SIGINT:
            os.killpg(rolling.pid, sent)
            printed, _ = rolling.communicate(timeout=SECONDS)
            assert rolling.returncode == 130, printed
            assert f"fleet rollout -s {site.stack} --batch 1 --resume" in printed
        # Else the engine dies with it, as when the whole computer stops.
    partial = web_config(site)["rollout"]["partial"]
    assert partial == {"through": 1, "rest": old}
    well(site)
    until(lambda: site.cloud.quiet(began), "the cloud to finish what it was asked for")
    rollout(site, "--resume")
    assert images(site) == {f"web-{number}": new for number in (1, 2)}
    assert "partial" not in web_config(site)["rollout"]
    site.check_whole(2)


def children(parent: int) -> list[int]:
    done = subprocess.run(["ps", "-o", "pid=", "--ppid", str(parent)], capture_output=True, text=True)
    return [int(pid) for pid in done.stdout.split()]


def test_to_go_on_with_what_is_finished_changes_nothing(fleet_of_two: Site) -> None:
    site, before = fleet_of_two, fleet_of_two.droplets()
    assert "batch 1 of 1: done" in rollout(site, "--resume")
    assert site.droplets().keys() == before.keys()
    assert web_config(site)["image"] == site.config["flotilla:web"]["image"]
