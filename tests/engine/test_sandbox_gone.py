"""A sandbox that is not there, or ends in mid-update: a clear error, and the way on."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandbox.config import PROVIDERS
from sandbox.paths import SandboxPaths
from sandbox.processes import ProcessId
from sandbox.providers.language_host import absent_providers
from tests.engine.local_cloud import LocalCloud, local_cloud, start, until
from tests.engine.site import Site, Template, make_images, make_template, now

pytestmark = pytest.mark.engine


@pytest.fixture
def cloud(simulation: LocalCloud, tmp_path: Path) -> Iterator[LocalCloud]:
    """A sandbox that may be killed, beside the one that all tests share."""
    with local_cloud(tmp_path / "sandbox", machines="simulated") as cloud:
        make_images(cloud)
        yield cloud


@pytest.fixture
def site(cloud: LocalCloud, tmp_path: Path) -> Site:
    return Site.numbered(tmp_path / "program", cloud, make_template(tmp_path / "template", cloud), 0)


def kill(cloud: LocalCloud) -> None:
    """`kill -9` of the daemon; its providers end with it."""
    daemon = ProcessId.read(SandboxPaths(cloud.home).daemon_pid)
    assert daemon is not None
    os.kill(daemon.pid, signal.SIGKILL)
    attached = cloud.variables["PULUMI_DEBUG_PROVIDERS"]
    until(lambda: len(absent_providers(attached)) == len(PROVIDERS), "the providers to end")


def test_an_update_whose_sandbox_is_killed_goes_on_in_the_next_one(site: Site, cloud: LocalCloud) -> None:
    began = now()
    cloud.script(program="flotilla-gate", delay_seconds=60)
    with site.started("up", "--skip-preview") as (engine, _):
        until(lambda: any("flotilla-gate" in ran.command for ran in cloud.commands(began)), "the gate to run")
        kill(cloud)
        printed, _ = engine.communicate(timeout=60)
    assert engine.returncode != 0
    assert "Traceback" not in printed
    assert "database-1-gate" in printed
    assert "Connection lost" in printed or "EOF" in printed, "as the machine or the provider ended first"

    refused = site.up(expect=1)
    assert "the sandbox is not running" in refused.printed
    assert "start it with `python -m sandbox up`" in refused.printed
    unreachable = site.fleet("recover", "-s", site.stack)
    assert unreachable.returncode == 1
    assert "DigitalOcean's API at http://127.0.0.1" in unreachable.stderr
    assert "did not answer" in unreachable.stderr

    start(cloud.home, machines="simulated")
    assert site.recover()["untracked_droplets"] == []
    site.up()
    site.check_whole(1)


def test_without_a_sandbox_preview_says_so_at_once(
    simulation: LocalCloud, template: Template, tmp_path: Path
) -> None:
    site = Site.numbered(tmp_path / "program", simulation, template, 999)
    # Ports that nobody can listen on without root: tcpmux and its like are never served on a loopback.
    site.variables["PULUMI_DEBUG_PROVIDERS"] = "digitalocean:1,cloudflare:2,command:3"
    started = time.monotonic()
    run = site.act("preview", expect=1)
    assert time.monotonic() - started < 10
    [line] = [line for line in run.printed.splitlines() if "error" in line]
    assert "the sandbox is not running: nobody answers as provider digitalocean:1" in line
