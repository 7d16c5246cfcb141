"""Our providers under the real engine, against the sandbox's APIs: what is planned, and in which order it happens."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engine.local_cloud import LocalCloud, local_cloud
from tests.engine.project import Project

pytestmark = pytest.mark.engine

# Slots as the web tier has them: droplet, gate, drain, record; the records one after the other.
SLOTS = """
import pulumi
import pulumi_cloudflare as cloudflare
import pulumi_command as command
import pulumi_digitalocean as digitalocean

config = pulumi.Config()
zone = cloudflare.get_zone(filter={"match": "all", "name": "foobar.com"}).zone_id
vpc = digitalocean.Vpc("net", region="lon1", ip_range="10.20.0.0/20")
tag = digitalocean.Tag("web", name="dev-web")
firewall = digitalocean.Firewall(
    "web",
    tags=[tag.name],
    inbound_rules=[
        {"protocol": "tcp", "port_range": "443", "source_addresses": cloudflare.get_ip_ranges().ipv4_cidrs}
    ],
)
before = []
for slot in range(1, config.require_int("count") + 1):
    name = f"web-{slot}"
    droplet = digitalocean.Droplet(
        name,
        image=config.require("image"),
        size="s-1vcpu-1gb",
        region="lon1",
        vpc_uuid=vpc.id,
        tags=[tag.name],
        user_data=pulumi.Output.secret("#cloud-config"),
        opts=pulumi.ResourceOptions(depends_on=[firewall]),
    )
    gate = command.local.Command(
        f"{name}-gate", create=config.get("gate") or "echo passed", triggers=[droplet.id]
    )
    drain = command.local.Command(
        f"{name}-drain",
        delete=f"echo {name} >> drained",
        triggers=[droplet.id],
        opts=pulumi.ResourceOptions(depends_on=[gate]),
    )
    record = cloudflare.DnsRecord(
        f"{name}-dns",
        zone_id=zone,
        name="www",
        type="A",
        ttl=1,
        proxied=True,
        content=droplet.ipv4_address,
        opts=pulumi.ResourceOptions(depends_on=[drain, *before]),
    )
    before = [record]
    pulumi.export(name, droplet.ipv4_address)
    pulumi.export(f"{name}-data", droplet.user_data)
"""
VPC = """
import pulumi_digitalocean as digitalocean
digitalocean.Vpc("net", region="lon1", description="{description}")
"""
KEY = """
import pulumi_digitalocean as digitalocean
digitalocean.SshKey("key", name="fixed", public_key="{key}")
"""
KEYS = (
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl one",
    "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIMXHl02v6UhdG+G3+wlSAhDV3RcxV3YsxTD3E82s/LvV two",
)


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    with local_cloud(tmp_path_factory.mktemp("cloud")) as cloud:
        yield cloud


@pytest.fixture
def project(tmp_path: Path, cloud: LocalCloud) -> Iterator[Project]:
    project = Project.create(tmp_path, SLOTS, extra=cloud.variables)
    for key, value in (("count", "2"), ("image", "debian-12-x64")):
        project.pulumi("config", "set", key, value)
    yield project
    cloud.heal()
    project.pulumi("destroy", "--yes", "--refresh")


def up(project: Project, *arguments: str, expect: int = 0) -> str:
    return project.pulumi("up", "--yes", "--skip-preview", *arguments, expect=expect)


def changed(cloud: LocalCloud, project: Project, *arguments: str) -> list[str]:
    """The requests that an update sends to change something, as `POST droplets`."""
    before = len(cloud.requests())
    up(project, *arguments)
    return [_short(line) for line in cloud.requests()[before:]]


def _short(line: str) -> str:
    method, path = line.split()
    parts = path.strip("/").split("/")
    return f"{method} {parts[1] if parts[0] == 'v2' else parts[4]}"


def test_what_is_up_stays_as_it_is(cloud: LocalCloud, project: Project) -> None:
    up(project)
    assert len(cloud.list("droplets", "droplets")) == 2
    project.pulumi("up", "--yes", "--expect-no-changes")
    project.pulumi("refresh", "--yes", "--expect-no-changes")
    project.pulumi("up", "--yes", "--refresh", "--expect-no-changes")


def test_secrets_are_in_no_plain_state(cloud: LocalCloud, project: Project) -> None:
    up(project)
    assert "#cloud-config" not in json.dumps(project.state())
    assert project.outputs()["web-1-data"] == hashlib.sha1(b"#cloud-config").hexdigest()  # noqa: S324


def test_a_new_image_is_created_switched_to_and_only_then_the_old_is_drained_and_deleted(
    cloud: LocalCloud, project: Project
) -> None:
    up(project)
    project.pulumi("config", "set", "image", "debian-13-x64")
    preview = project.pulumi("preview", "--diff")
    assert "[unknown]" in preview
    lines = changed(cloud, project)
    assert lines == [*["POST droplets"] * 2, *["PUT dns_records"] * 2, *["DELETE droplets"] * 2]
    assert sorted((project.root / "drained").read_text().split()) == ["web-1", "web-2"]


def test_a_gate_that_fails_stops_before_any_switch_and_the_next_run_goes_on(
    cloud: LocalCloud, project: Project
) -> None:
    up(project)
    project.pulumi("config", "set", "image", "debian-13-x64")
    project.pulumi("config", "set", "gate", "echo not yet; exit 1")
    before = len(cloud.requests())
    assert 'exit status 1: running "echo not yet; exit 1":' in up(project, expect=1)
    assert not [line for line in cloud.requests()[before:] if line.startswith(("PUT", "DELETE"))]
    project.pulumi("config", "set", "gate", "echo passed")
    lines = changed(cloud, project)
    assert lines == [*["PUT dns_records"] * 2, *["DELETE droplets"] * 2]


def test_a_slot_less_goes_record_first_and_droplet_last(cloud: LocalCloud, project: Project) -> None:
    up(project)
    project.pulumi("config", "set", "count", "1")
    assert changed(cloud, project) == ["DELETE dns_records", "DELETE droplets"]
    assert (project.root / "drained").read_text() == "web-2\n"


def test_a_failed_update_looks_done_to_the_next_run_and_is_repaired_by_a_refresh(
    cloud: LocalCloud, project: Project
) -> None:
    project.write(VPC.format(description="old"))
    up(project)
    project.write(VPC.format(description="new"))
    cloud.fail(service="digitalocean", method="PUT", path="/v2/vpcs/.*", error={"status": 422})
    up(project, expect=1)
    cloud.heal()
    assert changed(cloud, project) == []
    assert described(cloud) == "old"
    assert changed(cloud, project, "--refresh") == ["PUT vpcs"]
    assert described(cloud) == "new"


def described(cloud: LocalCloud) -> Any:
    return next(item["description"] for item in cloud.list("vpcs", "vpcs") if item["name"].startswith("net-"))


def test_a_hand_named_resource_is_deleted_before_its_replacement(cloud: LocalCloud, project: Project) -> None:
    project.write(KEY.format(key=KEYS[0]))
    up(project)
    project.write(KEY.format(key=KEYS[1]))
    assert changed(cloud, project) == ["DELETE account", "POST account"]


def test_wrong_inputs_fail_the_preview_with_one_line_each(project: Project) -> None:
    project.write(
        'import pulumi_digitalocean as d\nd.Firewall("f", name="f", inbound_rules=[{"protocol": "tcp"}])\n'
    )
    printed = project.pulumi("preview", expect=1)
    assert "`port_range` of inbound rules is required if protocol is `tcp` or `udp`" in printed
    assert "Traceback" not in printed


def test_an_object_that_was_deleted_by_hand_comes_back_after_a_refresh(
    cloud: LocalCloud, project: Project
) -> None:
    project.write(VPC.format(description="old"))
    up(project)
    vpc = next(item for item in cloud.list("vpcs", "vpcs") if item["name"].startswith("net-"))
    cloud.delete(f"vpcs/{vpc['id']}")
    assert changed(cloud, project, "--refresh") == ["POST vpcs"]
