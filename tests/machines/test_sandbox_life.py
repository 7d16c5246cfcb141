"""A sandbox through crashes: of its daemon, of its whole host, beside another one; and what is left when it is down."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.machines.cgroups import MachineCgroups
from sandbox.network.vantage import Answer, Vantage
from sandbox.paths import MARKER, SandboxPaths
from sandbox.processes import ProcessId, of_sandbox
from tests.live_sandbox import LiveSandbox, Remains, live_sandbox
from tests.live_stack import LiveStack, Page, address_of, trickle
from tests.machine_lab import traces, until

pytestmark = [pytest.mark.machines, pytest.mark.timeout(300)]


def kill_daemon(sandbox: LiveSandbox) -> None:
    daemon = ProcessId.read(SandboxPaths(sandbox.home).daemon_pid)
    assert daemon is not None, "the daemon is not running"
    os.kill(daemon.pid, signal.SIGKILL)
    asyncio.run(daemon.wait())


def inits(stack: LiveStack) -> dict[str, int]:
    """The first process of each machine: another one after a boot."""
    return {slot: stack.sandbox.inside.init(stack.droplet(slot)["id"]) for slot in ("web-1", "database-1")}


def assert_nothing_left(sandbox: LiveSandbox) -> None:
    assert Remains.of(sandbox.plan, sandbox.home).found == {}
    assert traces(sandbox.home, MARKER) == []


def test_the_site_outlives_the_daemon_and_up_takes_it_over(stack: LiveStack) -> None:
    before, machines = stack.visit(), inits(stack)
    with trickle(stack) as seen:
        kill_daemon(stack.sandbox)
        stack.sandbox.command("status", expect=1)
        stack.sandbox.up()
    assert seen.failures == []
    assert inits(stack) == machines, "no machine was booted again"
    assert stack.visit() == Page("web-1", before.count + len(seen.pages) + 1)
    stack.up("--refresh", "--expect-no-changes")


def test_a_reboot_of_the_host_changes_nothing(stack: LiveStack) -> None:
    before, machines = stack.visit(), inits(stack)
    lose_power(stack.sandbox)
    assert_nothing_left(stack.sandbox)
    stack.sandbox.up()
    answered = Page.read(stack.sandbox.command("visit", f"https://{stack.domain}"))
    assert answered == Page("web-1", before.count + 1)
    assert not set(inits(stack).values()) & set(machines.values())
    stack.pulumi("preview", "--refresh", "--expect-no-changes")


def test_down_leaves_nothing_and_up_brings_all_of_it_back(stack: LiveStack) -> None:
    before = stack.visit()
    stack.sandbox.command("down")
    assert_nothing_left(stack.sandbox)
    stack.sandbox.up()
    assert Page.read(stack.sandbox.command("visit", f"https://{stack.domain}")).count == before.count + 1


def lose_power(sandbox: LiveSandbox) -> None:
    """What a power cut of the host does to a sandbox: its processes are gone, and what the kernel kept for it."""
    cgroups, plan, paths = MachineCgroups(sandbox.home), sandbox.plan, SandboxPaths(sandbox.home)
    for pid in of_sandbox(sandbox.home):
        os.kill(pid, signal.SIGKILL)
    (cgroups.top / "cgroup.kill").write_text("1")

    async def dead() -> bool:
        populated = "populated 1" in (cgroups.top / "cgroup.events").read_text()
        return not populated and not of_sandbox(sandbox.home)

    asyncio.run(until(dead))
    for top in (cgroups.top, *Path("/sys/fs/cgroup").glob(f"*/{cgroups.name}")):
        for group, _, _ in os.walk(top, topdown=False):
            Path(group).rmdir()
    for namespace in Path("/run/netns").glob(f"fl{plan.instance}-*"):
        run("ip", "netns", "del", namespace.name)
    if Path("/sys/class/net", plan.host_link).exists():
        run("ip", "link", "del", plan.host_link)
    for line in run("losetup", "--list", "--noheadings", "--output", "NAME,BACK-FILE").splitlines():
        device, file = line.split()
        if file.startswith(str(sandbox.home)):
            run("losetup", "--detach", device)
    # /run is empty after a boot, and the numbers of processes belong to others.
    Path(f"/run/flotilla/instance-{plan.instance}").unlink()
    shutil.rmtree(f"/run/flotilla/{cgroups.name}", ignore_errors=True)
    own = ProcessId.of_child(os.getpid())
    for kept in (paths.daemon_pid, *paths.home.glob("machines/*/pid"), *paths.home.glob("*/*.id")):
        kept.write_text(f"{own.pid} {own.started} 00000000-0000-4000-8000-000000000000\n")


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


@pytest.fixture(scope="module")
def second(stack: LiveStack) -> Iterator[LiveSandbox]:
    """Another sandbox on the same host, with a droplet and its volume."""
    with live_sandbox("second") as sandbox:
        order = {"region": "lon1", "size_gigabytes": 1, "name": "data"}
        volume = sandbox.api("POST", "volumes", order)["volume"]["id"]
        body = {"name": "web-1", "region": "lon1", "size": "s-1vcpu-1gb", "image": "debian-13-x64"}
        made = sandbox.api("POST", "droplets", {**body, "volumes": [volume]})["droplet"]

        async def active() -> bool:
            return bool(sandbox.api("GET", f"droplets/{made['id']}")["droplet"]["status"] == "active")

        asyncio.run(until(active))
        yield sandbox


def test_two_sandboxes_do_not_meet(stack: LiveStack, second: LiveSandbox) -> None:
    first = stack.sandbox
    assert first.plan.instance != second.plan.instance
    assert not first.plan.public.overlaps(second.plan.public)
    assert not {first.config.port, *first.config.ports.values()} & {
        second.config.port,
        *second.config.ports.values(),
    }
    [droplet] = second.api("GET", "droplets")["droplets"]
    theirs, ours = address_of(droplet, "public"), address_of(stack.droplet("web-1"), "public")

    async def heard() -> bool:
        return await asyncio.to_thread(Vantage().probe, theirs, 22) is Answer.OPEN

    asyncio.run(until(heard))
    assert Vantage(first.plan.internet).probe(theirs, 22) is not Answer.OPEN
    assert Vantage(second.plan.droplet(droplet["id"])).probe(ours, 443) is not Answer.OPEN
    assert stack.visit().member == "web-1"


def test_down_after_kill_9_leaves_nothing_and_harms_nobody(stack: LiveStack, second: LiveSandbox) -> None:
    machines = inits(stack)
    kill_daemon(second)
    assert set(Remains.of(second.plan, second.home).found) == {
        *("namespaces", "mounts", "interfaces", "routes", "loop devices", "claims")
    }, "there was something to take away"
    second.command("down")
    assert_nothing_left(second)
    second.command("down", "--purge")
    assert not second.home.exists()
    assert inits(stack) == machines
    assert stack.visit().member == "web-1"
