"""`fleet init` and the locks of `fleet recover` against the real engine."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.engine.project import Project

pytestmark = pytest.mark.engine

# Tells its process id through a named pipe and waits for ever; a second run ends at once.
STUCK = """
import os, pathlib, threading
import pulumi
pulumi.export("a", 1)
if pathlib.Path("pipe").exists() and not pulumi.runtime.is_dry_run():
    pathlib.Path("pipe").write_text(str(os.getpid()))
    threading.Event().wait()
"""


def fleet(project: Project, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "fleet.cli", *arguments],
        cwd=project.root,
        env=dict(project.environment),
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project.create(tmp_path, STUCK)


def locks(project: Project) -> list[Path]:
    return list((project.root.parent / "state" / ".pulumi" / "locks").rglob("*.json"))


def test_init_makes_stack_and_seed_once(project: Project) -> None:
    first = fleet(project, "init", "prod", "--json")
    assert (first.returncode, json.loads(first.stdout)) == (
        0,
        {"stack": "prod", "created": True, "seeded": True},
    ), first.stderr
    seed = project.pulumi("config", "get", "seed", "--stack", "prod")
    again = fleet(project, "init", "prod", "--json")
    assert json.loads(again.stdout) == {"stack": "prod", "created": False, "seeded": False}
    assert project.pulumi("config", "get", "seed", "--stack", "prod") == seed
    assert seed.strip() not in project.root.joinpath("Pulumi.prod.yaml").read_text()
    assert seed.strip() not in first.stdout + first.stderr


def test_init_without_a_passphrase_says_what_to_export(project: Project) -> None:
    environment = {name: value for name, value in project.environment.items() if "PASSPHRASE" not in name}
    done = fleet(replace(project, environment=environment), "init", "prod")
    assert done.returncode == 1
    assert "export PULUMI_CONFIG_PASSPHRASE_FILE" in done.stderr
    assert "Traceback" not in done.stderr


def test_init_of_a_stack_that_is_gone_drops_its_secrets_only_when_told(project: Project) -> None:
    fleet(project, "init", "prod")
    project.pulumi("config", "set", "flotilla:domain", "www.foobar.com", "--stack", "prod")
    elsewhere = project.root.parent / "elsewhere"
    elsewhere.mkdir()
    moved = {"PULUMI_BACKEND_URL": f"file://{elsewhere}", "PULUMI_CONFIG_PASSPHRASE": "another"}
    new_home = replace(project, environment={**project.environment, **moved})
    refused = fleet(new_home, "init", "prod")
    assert refused.returncode == 1
    assert "Pulumi.prod.yaml holds secrets of another passphrase" in refused.stderr
    renewed = fleet(new_home, "init", "prod", "--renew-secrets")
    assert renewed.returncode == 0, renewed.stderr
    assert new_home.pulumi("config", "get", "flotilla:domain", "--stack", "prod").strip() == "www.foobar.com"
    assert new_home.pulumi("config", "get", "seed", "--stack", "prod").strip()


def test_recover_respects_a_living_run_and_releases_the_lock_of_a_dead_one(project: Project) -> None:
    pipe = project.root / "pipe"
    os.mkfifo(pipe)
    with project.start("up", "--yes", "--skip-preview") as engine:
        pipe.read_text()
        held = fleet(project, "recover", "-s", "dev")
        assert held.returncode == 3
        assert f"pid {engine.pid} of " in held.stderr
        assert "is at work" in held.stderr
        assert len(locks(project)) == 1
        engine.send_signal(signal.SIGKILL)
        engine.wait(30)
    pipe.unlink()
    assert "currently locked" in project.pulumi("up", "--yes", "--skip-preview", expect=1)
    done = fleet(project, "recover", "-s", "dev", "--json")
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["released_locks"]) == 1
    assert locks(project) == []
    project.pulumi("up", "--yes")


def test_recover_of_a_stack_in_order_changes_nothing(project: Project) -> None:
    project.pulumi("up", "--yes")
    before = project.state()["deployment"]["resources"]
    done = fleet(project, "recover", "-s", "dev")
    assert done.returncode == 0, done.stderr
    assert [row["urn"] for row in project.state()["deployment"]["resources"]] == [
        row["urn"] for row in before
    ]
    project.pulumi("up", "--yes", "--expect-no-changes")


def test_recover_mends_what_a_run_killed_while_it_wrote_the_state_has_left(project: Project) -> None:
    project.pulumi("up", "--yes")
    [state] = (project.root.parent / "state" / ".pulumi" / "stacks").rglob("dev.json")
    attributes = state.with_name("dev.json.attrs")
    attributes.write_text("")
    assert "EOF" in project.pulumi("up", "--yes", expect=1), "the engine cannot go on by itself"
    done = fleet(project, "recover", "-s", "dev")
    assert done.returncode == 0, done.stderr
    assert f"Removed {attributes}, which a dead run left half written" in done.stderr
    project.pulumi("up", "--yes", "--expect-no-changes")


def test_a_stack_that_does_not_exist_is_named(project: Project) -> None:
    done = fleet(project, "recover", "-s", "nope")
    assert done.returncode == 1
    assert "nope" in done.stderr
    assert "Traceback" not in done.stderr
