"""The database that the cloud runs: only those reach it who need it, and nobody loses its data by a slip."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pulumi
import pytest

from components.model import Engine, Role
from components.settings import KEYS
from tests.harness import CLUSTER_AUTHORITY, Recording, World, is_secret
from tests.unit.test_program import refused, run
from tests.unit.test_settings import good, mistakes, read
from tests.unit.tiers import IDENTITY

CLUSTER = "digitalocean:index/databaseCluster:DatabaseCluster"
GATEWAY = {"host": "203.0.113.20", "host_key": good()["admin"]["ssh_keys"][0]}


def managed(engine: Engine = "mysql", **changes: Any) -> dict[str, Any]:
    """A production config with a database of this kind."""
    config = good()
    config["database"] = {
        "kind": "managed",
        "engine": engine,
        "nodes": 2,
        "size": "db-s-1vcpu-2gb",
    } | changes
    return config


def prod(config: dict[str, Any] | None = None, **arguments: Any) -> Recording:
    return run(config or managed(), stack="prod", **arguments) if config or arguments else usual()


@cache
def usual() -> Recording:
    """The program with the usual config, built once, as nobody changes a recording."""
    return run(managed(), stack="prod")


def told(recording: Recording) -> dict[str, Any]:
    """What a member is told."""
    bundle: dict[str, Any] = json.loads(recording.named("web-1-secrets").plain("stdin"))
    return bundle


def test_a_cluster_lives_in_the_stacks_network_and_has_no_name_given_by_hand() -> None:
    recording = prod()
    cluster = recording.named("database-cluster")
    assert cluster.type == CLUSTER
    assert "name" not in cluster.inputs
    assert cluster.inputs["nodeCount"] == 2
    assert cluster.inputs["size"] == "db-s-1vcpu-2gb"
    assert cluster.property_dependencies["privateNetworkUuid"] == {recording.named("network").urn}
    assert cluster.inputs["tags"] == ["prod"]


@pytest.mark.parametrize(("engine", "theirs"), [("mysql", "mysql"), ("postgresql", "pg")])
def test_the_engine_has_the_clouds_name(engine: Engine, theirs: str) -> None:
    recording = prod(managed(engine))
    assert recording.named("database-cluster").inputs["engine"] == theirs
    assert told(recording)["settings"]["database"]["engine"] == engine
    assert recording.stack_outputs()["database"]["engine"] == engine


def test_there_is_no_machine_of_the_fleets_own_for_it() -> None:
    recording = prod()
    assert not [name for name in recording.names() if name.startswith("database-1")]
    assert "tag-prod-database" not in recording.names()
    assert "firewall-database" not in recording.names()


def test_only_machines_that_need_it_are_trusted_by_their_tag() -> None:
    recording = prod()
    sources = recording.named("database-sources")
    assert sources.inputs["rules"] == [{"type": "tag", "value": "prod-web"}]
    assert recording.named("tag-prod-web").urn in sources.dependencies


def test_members_are_told_the_private_host_a_password_of_the_cloud_and_its_authority() -> None:
    bundle = told(prod())
    database = bundle["settings"]["database"]
    assert database == {
        "engine": "mysql",
        "host": "private-database.db.example.com",
        "port": 25060,
        "name": "site",
        "user": "site1",
    }
    assert bundle["secrets"]["database-password"].startswith("made-by-the-cloud-")
    assert bundle["secrets"]["database-ca.pem"] == CLUSTER_AUTHORITY


def test_the_first_member_gives_the_sites_user_its_rights_before_anybody_is_told_of_it() -> None:
    recording = prod()
    rights = recording.named("web-rights")
    given = json.loads(rights.plain("stdin"))
    assert given["administrator"] == {"name": "doadmin", "password": "of-doadmin"}
    assert given["user"]["name"] == "site1"
    assert (given["engine"], given["database"], given["port"]) == ("mysql", "site", 25060)
    assert given["authority"] == CLUSTER_AUTHORITY
    assert rights.plain("connection")["hostKey"] == IDENTITY.host_key("web-1").public_openssh
    assert {"database-sources", "database-site", "database-user-1", "web-1"} <= recording.upstream(
        "web-rights"
    )
    for member in ("web-1", "web-2"):
        assert rights.urn in recording.named(f"{member}-secrets").dependencies


def test_through_a_tunnel_it_does_so_when_the_tunnel_is_there_and_before_anybody_is_judged() -> None:
    recording = prod(managed(access="tunnel", gateway=GATEWAY))
    rights = recording.named("web-rights")
    assert recording.named("web-1-secrets").urn in rights.dependencies
    for member in ("web-1", "web-2"):
        assert rights.urn in recording.named(f"{member}-gate").dependencies


def test_a_database_of_the_fleets_own_gives_rights_by_itself() -> None:
    assert "web-rights" not in run().names()


def test_through_a_tunnel_only_its_gateway_is_trusted_and_members_are_told_how_to_know_it() -> None:
    recording = prod(managed(access="tunnel", gateway=GATEWAY))
    sources = recording.named("database-sources")
    assert sources.inputs["rules"] == [{"type": "ip_addr", "value": "203.0.113.20"}]
    bundle = told(recording)
    tunnel = bundle["settings"]["database"]["tunnel"]
    assert (tunnel["host"], tunnel["port"], tunnel["user"]) == ("203.0.113.20", 22, "tunnel")
    # Without its comment, as in known_hosts.
    assert GATEWAY["host_key"].startswith(tunnel["host_key"] + " ")
    assert bundle["secrets"]["tunnel-key"] == IDENTITY.tunnel_key().private_openssh
    # The gateway's operator needs the other half, also before the first machine is made.
    assert recording.stack_outputs()["tunnel_key"] == IDENTITY.tunnel_key().public_openssh
    assert IDENTITY.tunnel_key() != IDENTITY.deploy_key()


def test_without_a_tunnel_members_have_no_key_to_one() -> None:
    recording = prod()
    assert "tunnel-key" not in told(recording)["secrets"]
    assert "tunnel_key" not in recording.stack_outputs()


def test_members_wait_until_strangers_are_shut_out() -> None:
    upstream = prod().upstream("web-1-secrets")
    assert {"database-sources", "database-site", "database-user-1"} <= upstream


def test_neither_password_is_in_plain_anywhere() -> None:
    recording = prod()
    for resource in recording.resources:
        plain = json.dumps({key: value for key, value in resource.inputs.items() if not is_secret(value)})
        assert "made-by-the-cloud" not in plain, resource.name
        assert "of-doadmin" not in plain, resource.name
    assert "made-by-the-cloud" not in json.dumps(recording.stack_outputs())


def test_the_gate_is_asked_again_when_the_password_changes_and_shows_no_secret() -> None:
    first, second = (prod(managed(rotation=number)).named("web-1-gate").inputs for number in (1, 2))
    assert not is_secret(first["triggers"])
    assert first["triggers"][1] != second["triggers"][1]


def test_a_rotation_is_another_user_beside_the_one_before() -> None:
    """The engine makes it first, then hands members their new secrets, and takes the old user away at the end."""
    recording = prod(managed(rotation=2))
    user = recording.named("database-user-2")
    assert user.inputs["name"] == "site2"
    assert not user.delete_before_replace
    assert told(recording)["settings"]["database"]["user"] == "site2"
    assert "database-user-1" not in recording.names()


@pytest.mark.parametrize("protect", [True, False])
def test_cluster_and_data_are_protected_as_the_config_says(protect: bool) -> None:
    recording = prod(managed() | {"protect": protect})
    protected = {resource.name for resource in recording.resources if resource.protect}
    assert protected == ({"database-cluster", "database-site"} if protect else set())


def test_without_force_nothing_can_replace_the_cluster_and_with_it_anything_may() -> None:
    recording = prod()
    assert set(recording.named("database-cluster").ignore_changes) == {
        "engine",
        "privateNetworkUuid",
        "region",
        "version",
    }
    assert set(recording.named("network").ignore_changes) == {"ipRange", "region"}
    forced = prod(managed() | {"force": ["replace-database"]})
    assert not forced.named("database-cluster").ignore_changes
    assert not forced.named("network").ignore_changes
    assert not forced.named("database-cluster").protect


KEPT = [
    (CLUSTER, {"engine": "pg"}, "database.engine", '"mysql": the database cluster has postgresql'),
    (
        "digitalocean:index/vpc:Vpc",
        {"ipRange": "10.9.0.0/20"},
        "cloud.network",
        '"10.20.0.0/20": the database cluster has 10.9.0.0/20',
    ),
    (
        "digitalocean:index/vpc:Vpc",
        {"region": "fra1"},
        "cloud.region",
        '"lon1": the database cluster has fra1',
    ),
]


@pytest.mark.parametrize("preview", [True, False])
@pytest.mark.parametrize(("kind", "has", "key", "says"), KEPT, ids=[key for _, _, key, _ in KEPT])
def test_a_config_that_asks_for_another_cluster_is_refused_with_the_key(
    kind: str, has: dict[str, Any], key: str, says: str, preview: bool
) -> None:
    with pytest.raises(pulumi.RunError) as error:
        prod(world=World(kept={kind: has}), preview=preview)
    assert str(error.value).startswith(f"flotilla:{key} = {says}")
    assert "set flotilla:force to [replace-database]" in str(error.value)


def test_forced_the_same_passes() -> None:
    forced = managed() | {"force": ["replace-database"]}
    assert prod(forced, world=World(kept={CLUSTER: {"engine": "pg"}}))


def test_the_first_plan_does_not_need_what_is_not_there_yet() -> None:
    assert prod(preview=True).named("database-user-1").inputs["name"] == "site1"


def test_the_account_needs_no_room_for_it_and_no_image() -> None:
    config = managed()
    assert "image" not in config["database"]
    assert prod(config)


WRONG = [
    ({"nodes": 0}, "flotilla:database.nodes = 0", "from 1 to 3"),
    ({"nodes": 4}, "flotilla:database.nodes = 4", "from 1 to 3"),
    ({"size": "s-1vcpu-2gb"}, 'flotilla:database.size = "s-1vcpu-2gb"', "db-s-1vcpu-2gb"),
    ({"size": "db-s-1vcpu-1gb"}, "flotilla:database.nodes = 2", "2 GiB or more"),
    ({"access": "tunel"}, 'flotilla:database.access = "tunel"', "did you mean tunnel?"),
    ({"access": "tunnel"}, 'flotilla:database.access = "tunnel": needs to know the gateway', "host_key"),
    ({"gateway": GATEWAY}, "flotilla:database.gateway is set: only a tunnel", "access to tunnel"),
    (
        {"access": "tunnel", "gateway": {"host": "203.0.113.20"}},
        "flotilla:database.gateway.host_key is missing",
        "public SSH host key",
    ),
    (
        {"access": "tunnel", "gateway": GATEWAY | {"host": "gate way"}},
        'flotilla:database.gateway.host = "gate way"',
        "must be an IPv4 address",
    ),
    (
        {"access": "tunnel", "gateway": GATEWAY | {"port": 0}},
        "flotilla:database.gateway.port = 0",
        "from 1 to 65535",
    ),
    (
        {"access": "tunnel", "gateway": GATEWAY | {"user": "-oProxyCommand"}},
        'flotilla:database.gateway.user = "-oProxyCommand"',
        "a user's name",
    ),
    ({"rotation": 0}, "flotilla:database.rotation = 0", "from 1 to 10000"),
    ({"volume_gib": 10}, "flotilla:database.volume_gib is not a known key", "known here: kind"),
]


@pytest.mark.parametrize(("changes", "names", "fix"), WRONG, ids=[names for _, names, _ in WRONG])
def test_a_mistake_is_one_line_with_key_value_and_fix(changes: dict[str, Any], names: str, fix: str) -> None:
    (line,) = mistakes(managed(**changes), stack="prod")
    assert line.startswith(names)
    assert fix in line


def test_one_small_node_is_allowed() -> None:
    assert read(managed(nodes=1, size="db-s-1vcpu-1gb"), stack="prod").managed


def test_dev_may_have_one_when_forced() -> None:
    config = managed() | {"force": ["managed-database"]}
    assert Role.DATABASE not in read(config).roles
    assert run(config).named("database-cluster").inputs["tags"] == ["dev"]


def test_what_may_be_forced_is_named() -> None:
    (line,) = mistakes(managed() | {"force": ["replace-databse"]}, stack="prod")
    assert "replace-database" in line
    assert "force" in KEYS


def test_an_image_for_it_is_not_looked_for() -> None:
    config = managed()
    config["web"]["image"] = "web-2020.01.01-00"
    (line,) = refused(config, stack="prod")
    assert "database.image" not in line


def test_it_is_the_same_tier_whoever_runs_it() -> None:
    assert prod().named("database").type == run().named("database").type == "flotilla:index:DatabaseTier"
