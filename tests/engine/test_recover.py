"""`kill -9` of `pulumi up` in mid-create, then `fleet recover` and `up`: nothing is lost, nothing is made twice."""

from __future__ import annotations

import json
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fleet.digitalocean import public_address
from tests.engine.local_cloud import LocalCloud, local_cloud
from tests.engine.project import Project
from tests.engine.test_operator_desk import fleet

pytestmark = pytest.mark.engine

MEMBER = """
import pulumi
import pulumi_command as command
import pulumi_digitalocean as digitalocean

image = pulumi.Config().get("image") or "debian-13-x64"
tag = digitalocean.Tag("dev", name="dev")
droplet = digitalocean.Droplet(
    "web-1", image=image, size="s-1vcpu-1gb", region="lon1", tags=[tag.name],
    user_data=pulumi.Output.secret("#cloud-config"),
)
gate = command.local.Command("web-1-gate", create="echo passed", triggers=[droplet.id])
pulumi.export("address", droplet.ipv4_address)
"""
RECORD = """
import pulumi_cloudflare as cloudflare

zone = cloudflare.get_zone(filter={"match": "all", "name": "foobar.com"}).zone_id
cloudflare.DnsRecord(
    "web-1-dns", zone_id=zone, name="www", type="A", ttl=1, proxied=True, content="192.0.2.1"
)
"""


STORE = """
import pulumi
import pulumi_digitalocean as digitalocean

bucket = digitalocean.SpacesBucket("datastore", region="lon1")
grant = {"bucket": bucket.name, "permission": "read"}
key = digitalocean.SpacesKey("datastore-web", grants=[grant])
pulumi.export("key", key.access_key)
"""


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    with local_cloud(tmp_path_factory.mktemp("sandbox")) as cloud:
        yield cloud


@pytest.fixture
def project(cloud: LocalCloud, tmp_path: Path) -> Iterator[Project]:
    project = Project.create(tmp_path, MEMBER, extra=cloud.variables)
    yield project
    cloud.heal()
    fleet(project, "recover", "-s", "dev")
    project.pulumi("destroy", "--yes", "--skip-preview")
    assert cloud.list("droplets", "droplets") == []


def kill_after(project: Project, cloud: LocalCloud, request: str) -> None:
    """`pulumi up`, killed as soon as the cloud has seen the request once more than before."""
    before = seen(cloud, request)
    with project.start("up", "--yes", "--skip-preview") as engine:
        deadline = time.monotonic() + 60
        while seen(cloud, request) == before:
            assert engine.poll() is None, engine.communicate()[0]
            assert time.monotonic() < deadline, f"no {request} within a minute"
            threading.Event().wait(0.02)
        engine.send_signal(signal.SIGKILL)
        engine.wait(30)


def seen(cloud: LocalCloud, request: str) -> int:
    return sum(found.startswith(request) for found in cloud.requests())


def recover(project: Project) -> dict[str, Any]:
    done = fleet(project, "recover", "-s", "dev", "--json")
    assert done.returncode == 0, done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    return document


def test_a_droplet_whose_creation_was_cut_off_is_not_left_untracked(
    project: Project, cloud: LocalCloud
) -> None:
    cloud.fail(service="digitalocean", method="GET", path="/v2/droplets/.*", latency_seconds=60)
    kill_after(project, cloud, "POST /v2/droplets")
    cloud.heal()
    [made] = cloud.list("droplets", "droplets")
    assert list(recover(project)["removed"].values()) == [[str(made["id"])]]
    project.pulumi("up", "--yes", "--skip-preview")
    assert len(cloud.list("droplets", "droplets")) == 1
    project.pulumi("preview", "--expect-no-changes")


def test_a_replacement_that_was_cut_off_goes_on(project: Project, cloud: LocalCloud) -> None:
    project.pulumi("up", "--yes", "--skip-preview")
    [old] = cloud.list("droplets", "droplets")
    project.pulumi("config", "set", "image", "debian-12-x64")
    cloud.fail(service="digitalocean", method="GET", path="/v2/droplets/.*", latency_seconds=60)
    kill_after(project, cloud, "POST /v2/droplets")
    cloud.heal()
    recover(project)
    assert [row["id"] for row in cloud.list("droplets", "droplets")] == [old["id"]], "the old one serves on"
    project.pulumi("up", "--yes", "--skip-preview")
    [new] = cloud.list("droplets", "droplets")
    assert new["id"] != old["id"]
    assert project.outputs()["address"] == public_address(new)
    project.pulumi("preview", "--expect-no-changes")


def test_a_record_whose_answer_was_lost_is_adopted(project: Project, cloud: LocalCloud) -> None:
    cloud.fail(service="cloudflare", method="POST", path="dns_records", drop="answer", latency_seconds=0)
    project.write(RECORD)
    posts = seen(cloud, "POST /client/v4/zones")
    kill_after(project, cloud, "POST /client/v4/zones")
    cloud.heal()
    assert len(recover(project)["adopted"]) == 1
    project.pulumi("up", "--yes", "--skip-preview")
    assert seen(cloud, "POST /client/v4/zones") == posts + 1, "the record is made once"
    project.pulumi("preview", "--expect-no-changes")


def test_a_key_whose_answer_was_lost_is_removed_and_made_again(project: Project, cloud: LocalCloud) -> None:
    cloud.fail(
        service="digitalocean", method="POST", path="/v2/spaces/keys", drop="answer", latency_seconds=0
    )
    project.write(STORE)
    kill_after(project, cloud, "POST /v2/spaces/keys")
    cloud.heal()
    # The provider repeats a request whose answer was lost.
    lost = {row["access_key"] for row in cloud.list("spaces/keys", "keys")}
    [removed] = recover(project)["removed"].values()
    assert lost <= set(removed)
    project.pulumi("up", "--yes", "--skip-preview")
    [key] = cloud.list("spaces/keys", "keys")
    assert key["access_key"] == project.outputs()["key"]
    project.pulumi("preview", "--expect-no-changes")


def test_a_create_that_never_reached_the_cloud_is_simply_made(project: Project, cloud: LocalCloud) -> None:
    cloud.fail(service="digitalocean", method="POST", path="/v2/droplets", drop="request", latency_seconds=60)
    kill_after(project, cloud, "POST /v2/tags")
    cloud.heal()
    recover(project)
    project.pulumi("up", "--yes", "--skip-preview")
    assert len(cloud.list("droplets", "droplets")) == 1
    project.pulumi("preview", "--expect-no-changes")
