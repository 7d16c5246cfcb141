"""Managed database clusters over the API, with records for nodes."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest
from cryptography import x509

from sandbox.network.port import Attachment
from sandbox.store import Store
from tests.unit.cloud_api import CONTROL_TOKEN, Api, started

TWO_NODES: dict[str, Any] = {"num_nodes": 2, "size": "db-s-1vcpu-2gb"}
NOBODY = "00000000-0000-4000-8000-000000000000"


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    api = await started(Store(":memory:"))
    yield api
    await api.cloud.stop()


def attachments(api: Api, cluster: dict[str, Any]) -> list[Attachment]:
    document = api.cloud.store.get("database", cluster["id"]) or {}
    nodes = {node["id"] for node in document["nodes"]}
    return [one for one in api.cloud.topology().attachments if one.droplet in nodes]


async def trust(api: Api, cluster: dict[str, Any], *sources: tuple[str, str]) -> None:
    rules = [{"type": kind, "value": value} for kind, value in sources]
    reply = await api.call("PUT", f"/v2/databases/{cluster['id']}/firewall", {"rules": rules})
    assert reply.status == 204, reply.content


async def test_a_cluster_is_made_and_comes_online(api: Api) -> None:
    vpc = (await api.made("/v2/vpcs", {"name": "prod", "region": "lon1", "ip_range": "10.20.0.0/20"}))["vpc"]

    made = await api.cluster(settle=False, private_network_uuid=vpc["id"], tags=["prod"], **TWO_NODES)
    await api.cloud.settled()
    shown = (await api.get(f"/v2/databases/{made['id']}"))["database"]

    assert (made["status"], shown["status"]) == ("creating", "online")
    host = shown["connection"]["host"]
    assert host.startswith("site-do-user-")
    assert host.endswith(".db.ondigitalocean.com")
    assert shown["private_connection"]["host"] == f"private-{host}"
    assert shown["standby_connection"]["host"] == f"replica-{host}"
    assert shown["private_connection"]["port"] == 25060
    assert (shown["version"], shown["num_nodes"], shown["db_names"]) == ("8", 2, ["defaultdb"])
    administrator = shown["users"][0]
    assert (administrator["name"], administrator["role"]) == ("doadmin", "primary")
    assert administrator["password"] == shown["connection"]["password"]
    assert administrator["password"] in shown["connection"]["uri"]
    assert (await api.get("/v2/tags/prod"))["tag"]["resources"]["databases"]["count"] == 1
    assert [one["id"] for one in (await api.get("/v2/databases?tag_name=PROD"))["databases"]] == [made["id"]]
    members = (await api.get(f"/v2/vpcs/{vpc['id']}/members"))["members"]
    assert [one["urn"] for one in members] == [f"do:dbaas:{made['id']}"]


async def test_the_address_of_postgresql(api: Api) -> None:
    made = await api.cluster(engine="pg", version="16")

    uri = made["private_connection"]["uri"]
    assert uri.startswith("postgresql://doadmin:")
    assert uri.endswith(":25060/defaultdb?sslmode=require")
    assert "mysql_settings" not in made["users"][0]


async def test_while_it_is_made_nothing_in_it_can_be_changed(api: Api) -> None:
    made = await api.cluster(settle=False)
    path = f"/v2/databases/{made['id']}"

    refused = [
        await api.refused("POST", f"{path}/users", {"name": "app"}),
        await api.refused("POST", f"{path}/dbs", {"name": "site"}),
        await api.refused("PUT", f"{path}/firewall", {"rules": []}),
        await api.refused("PUT", f"{path}/resize", {"size": "db-s-1vcpu-2gb", "num_nodes": 2}),
        await api.refused("PUT", f"{path}/maintenance", {"day": "monday", "hour": "03:00"}),
    ]

    assert {(reply.status, reply.body["id"]) for reply in refused} == {(412, "precondition_failed")}


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        ({"name": "Site"}, 422, "lower-case"),
        ({"name": "my_site"}, 422, "lower-case"),
        ({"name": "used"}, 422, "cluster name is not available"),
        ({"engine": "oracle"}, 422, "engine"),
        ({"version": "5"}, 422, "is not offered; there is 8"),
        ({"region": "mars1"}, 422, "mars1"),
        ({"size": "s-1vcpu-1gb"}, 422, "is none of db-s-1vcpu-1gb"),
        ({"num_nodes": 2}, 422, "has at most 1, not 2"),
        ({"num_nodes": 4}, 422, "num_nodes"),
        ({"storage_size_mib": 1024}, 422, "is less"),
        ({"private_network_uuid": NOBODY}, 422, "does not exist"),
        ({"project_id": NOBODY}, 422, "does not exist"),
        ({"tags": ["bad tag"]}, 422, "invalid characters"),
        ({"rules": [{"type": "tag", "value": "none"}]}, 422, "the tag none does not exist"),
        ({"backup_restore": {"database_name": "used"}}, 422, 'unknown field "backup_restore"'),
    ],
)
async def test_a_bad_cluster_is_refused(api: Api, change: dict[str, Any], status: int, message: str) -> None:
    await api.cluster("used")
    body = {"name": "site", "engine": "mysql", "region": "lon1", "size": "db-s-1vcpu-1gb", "num_nodes": 1}

    reply = await api.refused("POST", "/v2/databases", {**body, **change})

    assert reply.status == status
    assert message in reply.message


async def test_a_cluster_lives_in_a_network_of_its_region(api: Api) -> None:
    vpc = (await api.made("/v2/vpcs", {"name": "far", "region": "fra1", "ip_range": "10.20.0.0/20"}))["vpc"]
    body = {"name": "site", "engine": "pg", "region": "lon1", "size": "db-s-1vcpu-1gb", "num_nodes": 1}

    reply = await api.refused("POST", "/v2/databases", {**body, "private_network_uuid": vpc["id"]})

    assert "the VPC is in fra1, not in lon1" in reply.message


async def test_an_account_has_ten_clusters_at_most(api: Api) -> None:
    for number in range(10):
        await api.cluster(f"site-{number}", settle=False)
    body = {"name": "more", "engine": "pg", "region": "lon1", "size": "db-s-1vcpu-1gb", "num_nodes": 1}

    assert "at most 10" in (await api.refused("POST", "/v2/databases", body)).message


async def test_the_authority_is_the_clusters_own(api: Api) -> None:
    first, second = await api.cluster("first"), await api.cluster("second")

    found = [(await api.get(f"/v2/databases/{one['id']}/ca"))["ca"]["certificate"] for one in (first, second)]

    certificate = x509.load_pem_x509_certificate(base64.b64decode(found[0]))
    assert certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    assert found[0] != found[1]


async def test_users_come_and_go_each_with_a_password(api: Api) -> None:
    path = f"/v2/databases/{(await api.cluster())['id']}/users"

    made = (await api.made(path, {"name": "site1"}))["user"]
    again = await api.refused("POST", path, {"name": "site1"})

    assert made["role"] == "normal"
    assert made["mysql_settings"] == {"auth_plugin": "caching_sha2_password"}
    assert (await api.get(f"{path}/site1"))["user"] == made
    assert (again.status, again.message) == (422, "user name is not available")
    assert (await api.call("DELETE", f"{path}/site1")).status == 204
    assert (await api.refused("GET", f"{path}/site1")).status == 404
    assert (await api.refused("DELETE", f"{path}/site1")).status == 404
    assert "cannot be deleted" in (await api.refused("DELETE", f"{path}/doadmin")).message


async def test_a_reset_gives_a_new_password(api: Api) -> None:
    cluster = await api.cluster()
    path = f"/v2/databases/{cluster['id']}/users/doadmin"

    body = {"mysql_settings": {"auth_plugin": "mysql_native_password"}}
    reply = await api.call("POST", f"{path}/reset_auth", body)

    assert reply.status == 200
    assert reply.body["user"]["password"] != cluster["connection"]["password"]
    assert reply.body["user"]["mysql_settings"] == body["mysql_settings"]
    shown = (await api.get(f"/v2/databases/{cluster['id']}"))["database"]
    assert shown["connection"]["password"] == reply.body["user"]["password"]


@pytest.mark.parametrize(
    ("engine", "body", "message"),
    [
        ("mysql", {"name": ""}, "1 to 32"),
        ("mysql", {"name": "x" * 33}, "1 to 32"),
        ("mysql", {"name": "a'b"}, "1 to 32"),
        ("pg", {"name": "-x"}, "1 to 63"),
        ("pg", {"name": "a", "mysql_settings": {"auth_plugin": "mysql_native_password"}}, "not mysql"),
        ("pg", {"name": "a", "settings": {"pg_allow_replication": True}}, "pg_allow_replication"),
    ],
)
async def test_a_bad_user_is_refused(api: Api, engine: str, body: dict[str, Any], message: str) -> None:
    cluster = await api.cluster(engine=engine)

    reply = await api.refused("POST", f"/v2/databases/{cluster['id']}/users", body)

    assert reply.status == 422
    assert message in reply.message


async def test_databases_come_and_go(api: Api) -> None:
    path = f"/v2/databases/{(await api.cluster())['id']}/dbs"

    await api.made(path, {"name": "site"})

    assert (await api.get(f"{path}/site")) == {"db": {"name": "site"}}
    assert [one["name"] for one in (await api.get(path))["dbs"]] == ["defaultdb", "site"]
    assert (await api.refused("POST", path, {"name": "site"})).message == "database name is not available"
    assert (await api.call("DELETE", f"{path}/site")).status == 204
    assert (await api.refused("DELETE", f"{path}/site")).status == 404
    assert "cannot be deleted" in (await api.refused("DELETE", f"{path}/defaultdb")).message


async def test_a_cluster_of_mysql_is_as_strict_as_the_real_one_until_it_is_told(api: Api) -> None:
    path = f"/v2/databases/{(await api.cluster())['id']}"
    mode = (await api.get(f"{path}/sql_mode"))["sql_mode"]
    assert {"ANSI", "STRICT_ALL_TABLES"} <= set(mode.split(","))
    assert (await api.get(f"{path}/config"))["config"] == {"sql_mode": mode, "sql_require_primary_key": True}

    lax = {"config": {"sql_require_primary_key": False}}
    assert (await api.call("PATCH", f"{path}/config", lax)).status == 200
    assert (await api.call("PUT", f"{path}/sql_mode", {"sql_mode": "TRADITIONAL"})).status == 204

    after = (await api.get(f"{path}/config"))["config"]
    assert after == {"sql_mode": "TRADITIONAL", "sql_require_primary_key": False}


@pytest.mark.parametrize(
    ("engine", "method", "place", "body", "message"),
    [
        ("mysql", "PUT", "sql_mode", {"sql_mode": "ANSI,LAX"}, "'LAX' is none of"),
        ("mysql", "PATCH", "config", {"config": {"sql_mode": "'; DROP"}}, "is none of"),
        ("mysql", "PATCH", "config", {"config": {"wait_timeout": 9}}, 'unknown field "config.wait_timeout"'),
        ("mysql", "PATCH", "config", {}, "config is required"),
        ("pg", "PATCH", "config", {"config": {}}, "not supported for this cluster type"),
        ("pg", "PUT", "sql_mode", {"sql_mode": "ANSI"}, "not supported for this cluster type"),
        ("pg", "GET", "sql_mode", None, "not supported for this cluster type"),
    ],
)
async def test_a_bad_setting_is_refused(
    api: Api, engine: str, method: str, place: str, body: Any, message: str
) -> None:
    cluster = await api.cluster(engine=engine)

    reply = await api.refused(method, f"/v2/databases/{cluster['id']}/{place}", body)

    assert reply.status == 422
    assert message in reply.message


async def test_trusted_sources_are_kept_by_what_they_name(api: Api) -> None:
    cluster, droplet = await api.cluster(), await api.droplet(tags=["web"])
    path = f"/v2/databases/{cluster['id']}/firewall"

    await trust(api, cluster, ("tag", "web"), ("droplet", str(droplet["id"])))
    first = (await api.get(path))["rules"]
    await trust(api, cluster, ("tag", "web"), ("ip_addr", "198.51.100.7"))
    second = (await api.get(path))["rules"]

    assert [(rule["type"], rule["value"]) for rule in second] == [("tag", "web"), ("ip_addr", "198.51.100.7")]
    assert second[0] == first[0]
    assert {rule["cluster_uuid"] for rule in second} == {cluster["id"]}


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (("tag", "none"), "the tag none does not exist"),
        (("droplet", "7"), "the droplet 7 does not exist"),
        (("droplet", "web-1"), "the droplet web-1 does not exist"),
        (("ip_addr", "2001:db8::1"), "IPv6"),
        (("ip_addr", "home"), "no IPv4 address"),
        (("k8s", NOBODY), "there is no k8s"),
        (("friend", "x"), "type"),
    ],
)
async def test_a_bad_source_is_refused(api: Api, source: tuple[str, str], message: str) -> None:
    cluster = await api.cluster()
    body = {"rules": [{"type": source[0], "value": source[1]}]}

    reply = await api.refused("PUT", f"/v2/databases/{cluster['id']}/firewall", body)

    assert reply.status == 422
    assert message in reply.message


async def test_a_hundred_addresses_can_be_trusted(api: Api) -> None:
    cluster, droplet = await api.cluster(), await api.droplet(tags=["web"])
    path = f"/v2/databases/{cluster['id']}/firewall"
    many = [{"type": "ip_addr", "value": f"198.51.100.{number}"} for number in range(99)]

    await trust(api, cluster, *(("ip_addr", rule["value"]) for rule in many), ("ip_addr", "203.0.113.1"))
    body = {"rules": [*many, {"type": "droplet", "value": str(droplet["id"])}]}

    assert "at most 100 addresses" in (await api.refused("PUT", path, body)).message


async def test_the_network_lets_trusted_sources_in_and_the_tag_decides(api: Api) -> None:
    cluster = await api.cluster(**TWO_NODES)
    open_, _ = attachments(api, cluster)
    await api.made("/v2/tags", {"name": "web"})
    await trust(api, cluster, ("tag", "web"))
    before, _ = attachments(api, cluster)

    droplet = await api.droplet(tags=["Web"])
    first, second = attachments(api, cluster)

    private = {two["type"]: f"{two['ip_address']}/32" for two in droplet["networks"]["v4"]}
    assert [allow.peers for allow in open_.inbound if allow.ports == (25060, 25060)] == [("0.0.0.0/0",)]
    assert [allow for allow in before.inbound if allow.ports] == []
    assert [(allow.protocol, set(allow.peers)) for allow in first.inbound if allow.ports] == [
        ("tcp", set(private.values()))
    ]
    # Nodes of a cluster may copy from each other.
    assert [allow.peers for allow in first.inbound if not allow.ports] == [(f"{second.private.address}/32",)]
    assert (first.firewalled, first.vpc) == (True, cluster["private_network_uuid"])


async def test_addresses_are_never_given_twice(api: Api) -> None:
    vpc = (await api.made("/v2/vpcs", {"name": "tiny", "region": "lon1", "ip_range": "10.9.0.0/28"}))["vpc"]
    await api.cluster(private_network_uuid=vpc["id"], num_nodes=3, size="db-s-1vcpu-2gb")
    for number in range(10):
        await api.droplet(f"web-{number}", vpc_uuid=vpc["id"])

    addresses = [one.private.address for one in api.cloud.topology().attachments if one.vpc == vpc["id"]]
    numbers = [one.droplet for one in api.cloud.topology().attachments]

    assert len(set(addresses)) == len(addresses) == 13
    assert len(set(numbers)) == len(numbers)
    body = {"name": "b", "region": "lon1", "size": "s-1vcpu-1gb", "image": "debian-13-x64"}
    reply = await api.refused("POST", "/v2/droplets", {**body, "vpc_uuid": vpc["id"]})
    assert "no free address" in reply.message


async def test_nodes_are_added_and_taken_away(api: Api) -> None:
    cluster = await api.cluster(size="db-s-1vcpu-2gb")
    path = f"/v2/databases/{cluster['id']}"
    old = [one.droplet for one in attachments(api, cluster)]

    reply = await api.call("PUT", f"{path}/resize", {"size": "db-s-2vcpu-4gb", "num_nodes": 3})
    during = (await api.get(path))["database"]
    busy = await api.refused("PUT", f"{path}/resize", {"size": "db-s-2vcpu-4gb", "num_nodes": 1})
    await api.cloud.settled()
    after = (await api.get(path))["database"]

    assert (reply.status, reply.content) == (202, b"")
    assert (during["status"], busy.status) == ("resizing", 412)
    assert (after["status"], after["num_nodes"], after["size"]) == ("online", 3, "db-s-2vcpu-4gb")
    assert after["storage_size_mib"] == 60 * 1024
    assert [one.droplet for one in attachments(api, cluster)][:1] == old
    smaller = await api.refused("PUT", f"{path}/resize", {"size": "db-s-1vcpu-2gb", "num_nodes": 1})
    assert "cannot become smaller" in smaller.message
    await api.call("PUT", f"{path}/resize", {"size": "db-s-2vcpu-4gb", "num_nodes": 1})
    await api.cloud.settled()
    assert [one.droplet for one in attachments(api, cluster)] == old


async def test_maintenance_has_a_window(api: Api) -> None:
    path = f"/v2/databases/{(await api.cluster())['id']}"

    assert (await api.call("PUT", f"{path}/maintenance", {"day": "Tuesday", "hour": "14:00"})).status == 204

    window = (await api.get(path))["database"]["maintenance_window"]
    assert (window["day"], window["hour"]) == ("tuesday", "14:00:00")
    assert (await api.refused("PUT", f"{path}/maintenance", {"day": "x", "hour": "14:00"})).status == 422
    assert (await api.refused("PUT", f"{path}/maintenance", {"day": "friday", "hour": "25:00"})).status == 422


async def test_a_deleted_cluster_holds_its_network_until_it_is_gone(api: Api) -> None:
    vpc = (await api.made("/v2/vpcs", {"name": "prod", "region": "lon1", "ip_range": "10.20.0.0/20"}))["vpc"]
    path = f"/v2/databases/{(await api.cluster(private_network_uuid=vpc['id']))['id']}"

    assert (await api.call("DELETE", path)).status == 204
    assert (await api.refused("GET", path)).status == 404
    assert (await api.refused("DELETE", path)).status == 404
    assert (await api.refused("GET", f"{path}/users")).status == 404
    assert (await api.refused("DELETE", f"/v2/vpcs/{vpc['id']}")).status == 403
    await api.cloud.settled()
    assert (await api.call("DELETE", f"/v2/vpcs/{vpc['id']}")).status == 204


async def test_a_cluster_belongs_to_a_project_and_can_be_tagged(api: Api) -> None:
    project = (await api.made("/v2/projects", {"name": "site", "purpose": "Web Application"}))["project"]
    cluster = await api.cluster(project_id=project["id"])
    resource = {"resources": [{"resource_id": cluster["id"], "resource_type": "database"}]}
    await api.made("/v2/tags", {"name": "prod"})

    assert (await api.call("POST", "/v2/tags/prod/resources", resource)).status == 204

    shown = (await api.get(f"/v2/databases/{cluster['id']}"))["database"]
    assert (shown["tags"], shown["project_id"]) == (["prod"], project["id"])
    held = (await api.get(f"/v2/projects/{project['id']}/resources"))["resources"]
    assert [one["urn"] for one in held] == [f"do:dbaas:{cluster['id']}"]
    await api.call("DELETE", "/v2/tags/prod/resources", resource)
    assert (await api.get(f"/v2/databases/{cluster['id']}"))["database"]["tags"] == []


async def test_a_killed_primary_is_followed_by_a_standby(api: Api) -> None:
    cluster = await api.cluster(**TWO_NODES)
    first, second = (one.droplet for one in attachments(api, cluster))
    control = Api(api.cloud, api.app, token=CONTROL_TOKEN)
    assert api.cloud.databases.driver.primary(cluster["id"]) == first

    reply = await control.call("POST", "/_sandbox/databases/site/fault", {"kind": "kill"})

    assert reply.status == 204
    assert api.cloud.databases.driver.primary(cluster["id"]) == second
    events = (await api.get(f"/v2/databases/{cluster['id']}/events"))["events"]
    assert [event["event_type"] for event in events] == ["cluster_master_promotion", "cluster_create"]
    console = await control.call("GET", f"/_sandbox/console/site-{second}")
    assert (console.status, console.message) == (
        404,
        f"node site-{second} has no console log: it is a record, not a machine",
    )
    status = (await control.call("GET", "/_sandbox/status")).body["databases"]
    assert [(one["name"], one["status"], one["primary"]) for one in status] == [("site", "online", second)]
    assert (await control.call("POST", "/_sandbox/databases/none/fault", {"kind": "kill"})).status == 404


async def test_a_cluster_is_cut_off_and_comes_back(api: Api) -> None:
    cluster = await api.cluster(**TWO_NODES)
    control = Api(api.cloud, api.app, token=CONTROL_TOKEN)
    path = f"/_sandbox/databases/{cluster['id']}/fault"

    await control.call("POST", path, {"kind": "isolate"})
    away = [one.isolated for one in attachments(api, cluster)]
    await control.call("POST", path, {"kind": "heal"})
    back = [one.isolated for one in attachments(api, cluster)]
    await control.call("POST", path, {"kind": "isolate"})
    await api.call("DELETE", f"/v2/databases/{cluster['id']}")
    await api.cloud.settled()

    assert (away, back) == ([True, True], [False, False])
    assert api.cloud.store.all("isolated") == []
    assert (await control.call("POST", path, {"kind": "kill"})).status == 404


async def test_what_can_be_ordered_can_be_asked(api: Api) -> None:
    offer = (await api.get("/v2/databases/options"))["options"]

    assert set(offer) == {"mysql", "pg"}
    assert offer["mysql"]["default_version"] == "8"
    two = next(layout for layout in offer["pg"]["layouts"] if layout["num_nodes"] == 2)
    assert "db-s-1vcpu-2gb" in two["sizes"]
    assert "db-s-1vcpu-1gb" not in two["sizes"]


async def test_a_token_without_the_scope_is_shown_no_password(api: Api) -> None:
    cluster = await api.cluster()
    control = Api(api.cloud, api.app, token=CONTROL_TOKEN)
    scopes = ["database:read", "database:create"]
    token = (await control.made("/_sandbox/tokens", {"scopes": scopes}))["token"]
    path = f"/v2/databases/{cluster['id']}"
    reader = Api(api.cloud, api.app, token=token)

    made = (await reader.made(f"{path}/users", {"name": "app"}))["user"]
    shown = (await reader.get(path))["database"]

    assert "password" not in made
    assert shown["private_connection"]["password"] == ""
    known = (await api.get(path))["database"]
    assert known["connection"]["password"] not in str(shown)
    assert known["users"][1]["password"]


async def test_an_order_needs_the_scopes_of_what_it_names(api: Api) -> None:
    control = Api(api.cloud, api.app, token=CONTROL_TOKEN)
    token = (await control.made("/_sandbox/tokens", {"scopes": ["database:create"]}))["token"]
    maker = Api(api.cloud, api.app, token=token)
    body = {"name": "site", "engine": "pg", "region": "lon1", "size": "db-s-1vcpu-1gb", "num_nodes": 1}

    assert (await maker.refused("POST", "/v2/databases", {**body, "tags": ["prod"]})).status == 403
    assert (await maker.call("POST", "/v2/databases", body)).status == 201
