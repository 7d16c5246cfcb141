"""`fleet bake` on real machines: what the image holds, and what it must not hold."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sandbox.config import load as load_config
from sandbox.paths import SandboxPaths
from tests.engine.local_cloud import LocalCloud
from tests.engine.project import Project
from tests.engine.test_operator_desk import fleet
from tests.machine_lab import Inside

pytestmark = [pytest.mark.machines, pytest.mark.timeout(600)]

SITE = "def app(environ, start):\n    start('200 OK', [])\n    return [b'hello']\n"


@dataclass(frozen=True, slots=True)
class Baked:
    """A sandbox with real machines, and a stack for which the web role was baked."""

    home: Path
    cloud: LocalCloud
    project: Project
    image: str


def sandbox(home: Path, *arguments: str) -> None:
    command = [sys.executable, "-m", "sandbox", *arguments, "--home", str(home)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=550)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def baked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Baked]:
    root = tmp_path_factory.mktemp("bake")
    home = root / "sandbox"
    sandbox(home, "up", "--port", "0", "--machines", "real")
    try:
        config = load_config(SandboxPaths(home).config)
        assert config is not None
        cloud = LocalCloud(home, config)
        project = Project.create(root / "project", "", extra=cloud.variables)
        (project.root / "app").mkdir()
        (project.root / "app" / "hello.py").write_text(SITE)
        project.pulumi("config", "set", "--path", "cloud.region", "lon1")
        project.pulumi("config", "set", "--path", "app.callable", "hello:app")
        [done] = bake(project)
        yield Baked(home, cloud, project, done["image"])
    finally:
        sandbox(home, "down", "--purge")


def bake(project: Project, *arguments: str) -> list[dict[str, str]]:
    done = subprocess.run(
        [sys.executable, "-m", "fleet.cli", "bake", "web", "-s", "dev", "--json", *arguments],
        cwd=project.root,
        env=dict(project.environment),
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    rows: list[dict[str, str]] = json.loads(done.stdout)
    return rows


def test_a_bake_leaves_an_image_in_the_config_and_nothing_else(baked: Baked) -> None:
    config = json.loads(baked.project.pulumi("config", "--json"))
    assert json.loads(config["tiny:web"]["value"]) == {"image": baked.image}
    images = baked.cloud.list("images?private=true", "images")
    assert [image["name"] for image in images] == [baked.image]
    assert baked.cloud.list("droplets", "droplets") == []
    assert baked.cloud.list("account/keys", "ssh_keys") == []


def test_the_same_content_is_not_baked_again(baked: Baked) -> None:
    before = baked.cloud.requests()
    assert bake(baked.project) == [{"role": "web", "image": baked.image, "how": "found"}]
    assert baked.cloud.requests() == before


def test_a_failed_bake_leaves_no_droplet_and_says_why(baked: Baked) -> None:
    baked.cloud.fail(
        service="digitalocean",
        method="POST",
        path="/actions$",
        error={"status": 422, "body": {"id": "unprocessable_entity", "message": "no room for snapshots"}},
    )
    done = fleet(baked.project, "bake", "web", "-s", "dev", "--fresh")
    baked.cloud.heal()
    assert done.returncode == 1
    assert "web was not baked" in done.stderr
    assert "no room for snapshots" in done.stderr
    assert baked.cloud.list("droplets", "droplets") == []


async def test_a_machine_of_the_image_has_the_role_and_no_trace_of_the_bake(baked: Baked) -> None:
    image = baked.cloud.list("images?private=true", "images")[0]["id"]
    droplets = [create(baked.cloud, f"member-{number}", image) for number in (1, 2)]
    inside = Inside(baked.home)
    identities = []
    for droplet in droplets:
        await inside.booted(droplet)
        await inside.run(droplet, "command -v nginx gunicorn")
        assert await inside.run(droplet, "cat /opt/flotilla/app/hello.py") == SITE.strip()
        manifest = json.loads(await inside.run(droplet, "/usr/local/sbin/flotilla-manifest"))
        assert len(manifest["digest"]) == 64
        code, _ = await inside.attempt(droplet, "test -s /root/.ssh/authorized_keys")
        assert code != 0, "the bake's login is still there"
        code, log = await inside.attempt(droplet, "grep -r bake-web /var/log /etc /root /var/lib/cloud")
        assert code == 1, log
        identities.append(await inside.run(droplet, "cat /etc/machine-id /etc/ssh/ssh_host_ed25519_key.pub"))
    assert identities[0] != identities[1]


def create(cloud: LocalCloud, name: str, image: int) -> int:
    """A droplet of the image that is told nothing at all."""
    body = {"name": name, "region": "lon1", "size": "s-1vcpu-1gb", "image": image}
    made = cloud._call("POST", "/v2/droplets", cloud.config.token, body)
    return int(made["droplet"]["id"])
