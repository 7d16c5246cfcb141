"""Two runs at once: the second names the holder, and nobody breaks the lock of a living run."""

from __future__ import annotations

import pytest

from tests.engine.local_cloud import until
from tests.engine.site import Site, now

pytestmark = pytest.mark.engine


def test_a_second_run_names_the_first_and_recover_does_not_break_its_lock(site: Site) -> None:
    began = now()
    site.cloud.script(program="flotilla-gate", delay_seconds=60)
    with site.started("up", "--skip-preview") as (engine, _):
        until(
            lambda: any("flotilla-gate" in ran.command for ran in site.cloud.commands(began)),
            "the first run to be at work",
        )
        refused = site.up(expect=1)
        assert "the stack is currently locked" in refused.printed
        assert f"pid {engine.pid}" in refused.printed
        assert "Traceback" not in refused.printed
        held = site.fleet("recover", "-s", site.stack)
        assert held.returncode == 3
        assert f"pid {engine.pid} of " in held.stderr
        assert engine.poll() is None
        assert f"pid {engine.pid}" in site.up(expect=1).printed, "it is locked still"
