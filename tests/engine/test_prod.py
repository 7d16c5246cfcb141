"""The whole production design by the real engine: managed database, datastore, autoscaler. Machines are simulated.

The stack is not called prod, since its tests run beside others; what it is made of is the same.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from fleet.config import Bundle
from fleet.controller.config import ControllerConfig
from tests.engine.local_cloud import LocalCloud, until
from tests.engine.site import Run, Site, now

pytestmark = pytest.mark.engine

NODE_IMAGE = "autoscaler-2026.11.21-5d1e"
FORCED = ["managed-database", "autoscaler"]


@pytest.fixture(scope="module")
def site(module_site: Site) -> Site:
    """One stack for the whole story: each test takes it where the one before has left it."""
    site = module_site
    make_node_image(site.cloud)
    site.config["flotilla:database"] = {
        "kind": "managed",
        "engine": "mysql",
        "nodes": 2,
        "size": "db-s-1vcpu-2gb",
    }
    site.config["flotilla:datastore"] = {}
    site.config["flotilla:autoscaler"] = {"size": "s-1vcpu-1gb", "image": NODE_IMAGE, "max": 4}
    site.config["flotilla:force"] = FORCED
    site.config["flotilla:protect"] = True
    site.set("web", count=2)
    return site


def make_node_image(cloud: LocalCloud) -> None:
    body = {"name": "baker", "region": "lon1", "size": "s-1vcpu-1gb", "image": "debian-13-x64"}
    baker = cloud.post("droplets", body)["droplet"]["id"]
    until(lambda: cloud.get(f"droplets/{baker}")["droplet"]["status"] == "active", "the baker to boot")
    cloud.act(baker, "snapshot", name=NODE_IMAGE)
    cloud.delete(f"droplets/{baker}")


def cluster(site: Site) -> dict[str, Any]:
    """The only cluster there is."""
    (found,) = site.cloud.list("databases", "databases")
    return found


def add_burst_member(site: Site) -> str:
    """A droplet as the controller orders it; its name."""
    name = "burst-1-0a1b2c3"
    order = {
        "name": name,
        "region": "lon1",
        "size": "s-1vcpu-1gb",
        "image": "debian-13-x64",
        "vpc_uuid": next(iter(site.droplets().values()))["vpc_uuid"],
        "tags": [site.stack, f"{site.stack}-web", f"{site.stack}-burst"],
    }
    droplet = site.cloud.post("droplets", order)["droplet"]["id"]
    until(lambda: site.cloud.get(f"droplets/{droplet}")["droplet"]["status"] == "active", "it to boot")
    return name


def refused(run: Run) -> str:
    return "\n".join(run.errors)


def told(site: Site, slot: str, since: float) -> Bundle:
    """What the machine in a slot was last told."""
    delivered = [
        ran.stdin
        for ran in site.cloud.commands(since)
        if ran.name.rpartition("-")[0] == slot and ran.stdin.startswith('{"secrets"')
    ]
    return Bundle.from_json(delivered[-1], "web" if slot.startswith("web") else "autoscaler")


def test_up_makes_everything_and_a_second_one_changes_nothing(site: Site) -> None:
    began = now()
    created = site.up().done("create")
    assert created.index("database-sources") < created.index("web-rights") < created.index("web-1-secrets")
    assert created.index("web-2-dns") < created.index("autoscaler-1-secrets")
    assert created.index("autoscaler-sweep") < created.index("autoscaler-1")
    assert site.up("--expect-no-changes").changes == {}
    assert site.act("refresh", "--expect-no-changes").changes == {}
    database = told(site, "web-1", began).settings.database
    assert database is not None
    assert database.host == cluster(site)["private_connection"]["host"]
    assert site.outputs()["database"] == {"engine": "mysql", "host": database.host, "port": 25060}


def test_only_the_stacks_own_machines_are_trusted(site: Site) -> None:
    rules = site.cloud.get(f"databases/{cluster(site)['id']}/firewall")["rules"]
    assert {(rule["type"], rule["value"]) for rule in rules} == {
        ("tag", f"{site.stack}-web"),
        ("tag", f"{site.stack}-autoscaler"),
    }


def test_the_desk_finds_the_stacks_own_bucket_and_works_in_it(site: Site) -> None:
    def datastore(*arguments: str) -> str:
        done = site.fleet("datastore", *arguments, "-s", site.stack)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    content = site.root / "Pulumi.yaml"
    etag = datastore("put", "notes/today", "--file", str(content), "--if-absent").strip()
    again = site.fleet("datastore", "put", "notes/today", "-s", site.stack, "--if-absent")
    assert (again.returncode, "412 PreconditionFailed" in again.stderr) == (1, True), again.stderr
    datastore("put", "notes/today", "--file", str(content), "--if-match", etag)
    assert datastore("get", "notes/today") == content.read_text()
    assert [row["key"] for row in json.loads(datastore("list", "notes/", "--json"))] == ["notes/today"]
    assert "old versions: kept" in datastore("check")
    datastore("delete", "notes/today")
    assert site.fleet("datastore", "check", "notes/today", "-s", site.stack).returncode == 1


def test_a_leaked_key_of_the_datastore_is_replaced_on_the_machines_as_they_are(site: Site) -> None:
    began = now()
    before = {key["access_key"] for key in site.cloud.list("spaces/keys", "keys")}
    run = site.up("--replace", "**::datastore-web")
    changed = run.done("create-replacement", "update", "delete-replaced")
    first, last = changed.index("datastore-web"), len(changed) - 1 - changed[::-1].index("datastore-web")
    assert first < changed.index("web-1-secrets") < last
    assert not {"web-1", "web-2", "datastore-bucket"} & set(changed)
    after = {key["access_key"] for key in site.cloud.list("spaces/keys", "keys")}
    (new,) = after - before
    assert len(before - after) == 1
    assert told(site, "web-1", began).secrets["datastore-access-key"] == new


def test_a_change_for_the_controller_reaches_the_node_and_nothing_else(site: Site) -> None:
    began = now()
    site.set("autoscaler", max=5, target_cpu=60)
    run = site.up()
    assert set(run.done("update", "create-replacement")) == {"autoscaler-1-secrets", "autoscaler-1-gate"}
    config = ControllerConfig.from_json(told(site, "autoscaler-1", began).secrets["controller.json"])
    assert (config.max, config.target_cpu) == (5, 60)


def test_another_engine_or_network_is_refused_in_the_preview(site: Site) -> None:
    began, network = now(), site.config["flotilla:cloud"]["network"]
    site.set("database", engine="postgresql")
    site.set("cloud", network="10.200.0.0/20")
    said = refused(site.act("preview", expect=1))
    assert 'flotilla:database.engine = "postgresql": the database cluster has mysql' in said
    assert f'flotilla:cloud.network = "10.200.0.0/20": the database cluster has {network}' in said
    assert said.count("set flotilla:force to [replace-database]") == 2
    site.set("database", engine="mysql")
    site.set("cloud", network=network)
    assert site.cloud.changes(began) == []


def test_a_rotation_makes_the_new_user_first_and_takes_the_old_one_away_last(site: Site) -> None:
    began = now()
    site.set("database", rotation=2)
    run = site.up()
    order = run.done("create", "update", "delete")
    assert order.index("database-user-2") < order.index("web-rights") < order.index("web-1-secrets")
    assert order.index("autoscaler-1-secrets") < order.index("autoscaler-bursts")
    assert order[-1] == "database-user-1"
    database = told(site, "web-1", began).settings.database
    assert database is not None
    assert database.user == "site2"
    users = site.cloud.get(f"databases/{cluster(site)['id']}/users")["users"]
    assert {user["name"] for user in users} == {"doadmin", "site2"}


def test_nodes_and_size_change_while_the_cluster_stays(site: Site) -> None:
    before = cluster(site)["id"]
    site.set("database", nodes=3, size="db-s-2vcpu-4gb")
    assert site.up().done("update", "replace", "create-replacement") == ["database-cluster"]
    after = cluster(site)
    assert (after["id"], after["num_nodes"], after["size"]) == (before, 3, "db-s-2vcpu-4gb")


def test_forced_another_engine_is_another_cluster(site: Site) -> None:
    before = cluster(site)["id"]
    # Else what is protected would outlive the story.
    site.config["flotilla:protect"] = False
    site.config["flotilla:force"] = [*FORCED, "replace-database"]
    site.set("database", engine="postgresql")
    run = site.up()
    assert "database-cluster" in run.done("create-replacement")
    after = cluster(site)
    assert after["id"] != before
    assert after["engine"] == "pg"
    assert site.outputs()["database"]["engine"] == "postgresql"


def test_destroy_leaves_nothing_of_what_the_controller_made_either(site: Site) -> None:
    burst = add_burst_member(site)
    run = site.destroy()
    assert burst not in site.droplets()
    order = run.done("delete")
    assert order.index("autoscaler-1") < order.index("autoscaler-sweep") < order.index("firewall-web")
    assert order.index("autoscaler-sweep") < order.index("network")
    assert site.cloud.inventory() == {}
    assert json.loads(site.run("stack", "export", "--stack", site.stack))["deployment"].get("resources") in (
        None,
        [],
    )
