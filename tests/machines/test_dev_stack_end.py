"""The last of the dev stack: `pulumi destroy`, and `down` of the sandbox it ran on. Nothing can come after these."""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

import pytest

from tests.live_sandbox import LiveSandbox, Remains
from tests.live_stack import LiveStack
from tests.machine_lab import traces

pytestmark = [pytest.mark.machines, pytest.mark.timeout(600)]

_CLEAN_SECONDS = 60
_LOOK_EVERY_SECONDS = 0.2
_LISTS = (
    ("droplets", "droplets"),
    ("volumes", "volumes"),
    ("firewalls", "firewalls"),
    ("account/keys", "ssh_keys"),
    ("domains", "domains"),
    ("snapshots?resource_type=volume", "snapshots"),
)


def test_destroy_leaves_nothing_in_the_cloud(stack: LiveStack) -> None:
    sandbox = stack.sandbox
    stack.pulumi("destroy", "--yes", "--skip-preview")
    left = {key: sandbox.api("GET", path)[key] for path, key in _LISTS}
    assert left == {key: [] for _, key in _LISTS}
    # The images are the account's, not the stack's, and so is the tag of the droplets that baked them.
    assert [tag["name"] for tag in sandbox.api("GET", "tags")["tags"]] == ["flotilla-bake"]
    # The real cloud too keeps a default network in each region that was ever used.
    assert [vpc for vpc in sandbox.api("GET", "vpcs")["vpcs"] if not vpc["default"]] == []
    zones = sandbox.cloudflare("GET", "zones")
    records = [sandbox.cloudflare("GET", f"zones/{zone['id']}/dns_records") for zone in zones]
    assert records == [[] for _ in zones]
    assert stack.pulumi("stack", "--show-ids").count("Droplet") == 0


def test_destroy_leaves_no_machine_on_the_host(stack: LiveStack) -> None:
    """The cloud forgets a droplet first and takes its cables away then."""
    deadline = time.monotonic() + _CLEAN_SECONDS
    while left := remains(stack.sandbox):
        assert time.monotonic() < deadline, left
        time.sleep(_LOOK_EVERY_SECONDS)


def remains(sandbox: LiveSandbox) -> list[str]:
    """What machines and volumes leave on the host."""
    disks = [*(sandbox.home / "machines").iterdir(), *(sandbox.home / "volumes").iterdir()]
    droplets = f"fl{sandbox.plan.instance}-d"
    namespaces = [path for path in Path("/run/netns").iterdir() if path.name.startswith(droplets)]
    return [str(path) for path in (*disks, *namespaces)]


def test_down_leaves_the_host_as_it_was(sandbox: LiveSandbox) -> None:
    plan = sandbox.plan
    sandbox.command("down")
    assert Remains.of(plan, sandbox.home).found == {}
    assert traces(sandbox.home, "FLOTILLA_SANDBOX") == []
    assert subprocess.run(["ip", "link", "show", plan.host_link], capture_output=True).returncode == 1
