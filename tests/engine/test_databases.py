"""A managed database under the real engine: what changes in place, in which order, and what a killed run leaves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engine.local_cloud import LocalCloud, local_cloud
from tests.engine.project import Project
from tests.engine.test_operator_desk import fleet
from tests.engine.test_recover import kill_after, recover, seen

pytestmark = pytest.mark.engine

DATABASE = """
import pulumi
import pulumi_digitalocean as digitalocean

config = pulumi.Config()
vpc = digitalocean.Vpc("net", region="lon1", ip_range="10.20.0.0/20")
stack, web = (digitalocean.Tag(name, name=name) for name in ("dev", "dev-web"))
cluster = digitalocean.DatabaseCluster(
    "database",
    engine="mysql",
    version="8",
    size="db-s-1vcpu-2gb",
    region="lon1",
    node_count=config.get_int("nodes") or 1,
    private_network_uuid=vpc.id,
    tags=[stack.name],
)
name = digitalocean.DatabaseDb("site", cluster_id=cluster.id, name="site")
rotation = config.get_int("rotation") or 1
user = digitalocean.DatabaseUser(f"user-{rotation}", cluster_id=cluster.id, name=f"site{rotation}")
digitalocean.DatabaseFirewall(
    "sources", cluster_id=cluster.id, rules=[{"type": "tag", "value": web.name}]
)
pulumi.export("host", cluster.private_host)
pulumi.export("password", user.password)
pulumi.export("authority", digitalocean.get_database_ca_output(cluster_id=cluster.id).certificate)
"""


@pytest.fixture(scope="module")
def cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    with local_cloud(tmp_path_factory.mktemp("cloud")) as cloud:
        yield cloud


@pytest.fixture
def project(tmp_path: Path, cloud: LocalCloud) -> Iterator[Project]:
    project = Project.create(tmp_path, DATABASE, extra=cloud.variables)
    yield project
    cloud.heal()
    fleet(project, "recover", "-s", "dev")
    project.pulumi("destroy", "--yes", "--skip-preview")
    assert cloud.inventory() == {}


def up(project: Project) -> None:
    project.pulumi("up", "--yes", "--skip-preview")


def changes(cloud: LocalCloud, project: Project) -> list[str]:
    """The last parts of the requests that an update sends to change something, as `POST users`."""
    before = len(cloud.requests())
    up(project)
    return [
        f"{line.split()[0]} {line.split('/')[4] if line.count('/') > 3 else line.split('/')[2]}"
        for line in cloud.requests()[before:]
    ]


def only_cluster(cloud: LocalCloud) -> dict[str, Any]:
    [cluster] = cloud.list("databases", "databases")
    return cluster


def test_a_database_grows_and_its_user_rotates_without_a_moment_without_one(
    cloud: LocalCloud, project: Project
) -> None:
    up(project)
    made, outputs = only_cluster(cloud), project.outputs()
    assert (made["status"], made["private_connection"]["host"]) == ("online", outputs["host"])
    assert "BEGIN CERTIFICATE" in outputs["authority"]
    plain = json.dumps(project.state())
    assert not [one["name"] for one in made["users"] if one["password"] in plain], "a password in plain state"
    project.pulumi("up", "--yes", "--refresh", "--expect-no-changes")

    project.pulumi("config", "set", "nodes", "2")
    assert changes(cloud, project) == ["PUT resize"]
    project.pulumi("config", "set", "rotation", "2")
    assert changes(cloud, project) == ["POST users", "DELETE users"]
    grown = only_cluster(cloud)
    assert (grown["id"], grown["num_nodes"]) == (made["id"], 2)
    assert [one["name"] for one in grown["users"]] == ["doadmin", "site2"]
    assert project.outputs()["password"] == grown["users"][1]["password"]

    # A cluster that a lost answer left behind may hold data by now: it is told, and stays.
    order = {"engine": "pg", "region": "lon1", "size": "db-s-1vcpu-1gb", "num_nodes": 1, "tags": ["dev"]}
    stray = cloud.post("databases", {**order, "name": "stray"})["database"]["id"]
    assert recover(project)["untracked_clusters"] == [f"stray ({stray})"]
    assert len(cloud.list("databases", "databases")) == 2
    cloud.delete(f"databases/{stray}")
    # So is a user whose answer was lost: no second of its name can be made.
    cloud.post(f"databases/{made['id']}/users", {"name": "site3"})
    assert "user site3 of database cluster" in fleet(project, "recover", "-s", "dev").stderr


def test_what_a_killed_run_left_half_made_is_adopted_not_made_again(
    cloud: LocalCloud, project: Project
) -> None:
    cloud.fail(service="digitalocean", method="GET", path="/v2/databases/.*", latency_seconds=60)
    kill_after(project, cloud, "POST /v2/databases")
    cloud.heal()
    made = only_cluster(cloud)
    assert list(recover(project)["adopted"].values()) == [made["id"]]
    up(project)
    assert only_cluster(cloud)["id"] == made["id"]
    assert made["connection"]["password"] not in json.dumps(project.state())

    project.pulumi("config", "set", "rotation", "2")
    path = f"/v2/databases/{made['id']}/users"
    cloud.fail(service="digitalocean", method="POST", path=path, drop="answer", latency_seconds=0)
    kill_after(project, cloud, f"POST {path}")
    cloud.heal()
    posts = seen(cloud, f"POST {path}")
    assert list(recover(project)["adopted"].values()) == [f"{made['id']}/user/site2"]
    up(project)
    assert seen(cloud, f"POST {path}") == posts, "the user is made once"
    assert project.outputs()["password"] == only_cluster(cloud)["users"][-1]["password"]
    project.pulumi("preview", "--expect-no-changes")
