"""The provider's database clusters, users, databases and trusted sources: calls as the official plugin makes them."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sandbox.providers.values import Secret, Values
from sandbox.store import Store
from tests.provider_client import ProviderClient, ProviderError, attached
from tests.recording_api import RecordingApi, Reply, recording_api
from tests.unit.cloud_api import TOKEN, Api, served, started

CLUSTER = "digitalocean:index/databaseCluster:DatabaseCluster"
USER = "digitalocean:index/databaseUser:DatabaseUser"
NAME = "digitalocean:index/databaseDb:DatabaseDb"
FIREWALL = "digitalocean:index/databaseFirewall:DatabaseFirewall"
CA = "digitalocean:index/getDatabaseCa:getDatabaseCa"
NOW = "2026-11-21T10:00:00Z"
PASSWORD = "AVNS_secret"


@pytest.fixture
async def api() -> AsyncIterator[RecordingApi]:
    async with recording_api() as api:
        yield api


@pytest.fixture
async def cloud(api: RecordingApi) -> AsyncIterator[ProviderClient]:
    async with attached("digitalocean", token="dop_v1_x", apiEndpoint=api.url, httpRetryMax="0") as client:
        yield client


INPUTS: Values = {
    "name": "database-abc",
    "engine": "mysql",
    "version": "8",
    "size": "db-s-1vcpu-2gb",
    "region": "lon1",
    "nodeCount": 2,
    "privateNetworkUuid": "v-1",
    "tags": ["prod"],
    "__defaults": ["name"],
}


def connection(host: str) -> dict[str, Any]:
    return {
        "uri": f"mysql://doadmin:{PASSWORD}@{host}:25060/defaultdb?ssl-mode=REQUIRED",
        "database": "defaultdb",
        "host": host,
        "port": 25060,
        "user": "doadmin",
        "password": PASSWORD,
        "ssl": True,
    }


def cluster(**changes: Any) -> dict[str, Any]:
    document = {
        "id": "c-1",
        "name": "database-abc",
        "engine": "mysql",
        "version": "8",
        "size": "db-s-1vcpu-2gb",
        "region": "lon1",
        "num_nodes": 2,
        "status": "online",
        "created_at": NOW,
        "private_network_uuid": "v-1",
        "project_id": "p-1",
        "storage_size_mib": 30720,
        "tags": ["prod"],
        "maintenance_window": {"day": "tuesday", "hour": "14:00:00", "pending": False},
        "connection": connection("db.test"),
        "private_connection": connection("private-db.test"),
    }
    return {"database": {**document, **changes}}


def plain(outputs: Values) -> Values:
    return {name: value.value if isinstance(value, Secret) else value for name, value in outputs.items()}


async def made(cloud: ProviderClient, api: RecordingApi, **inputs: Any) -> tuple[Values, Values]:
    """Inputs and state of a cluster that was just created."""
    api.answer("POST /v2/databases", Reply(cluster(status="creating"), 201))
    api.answer("GET /v2/databases/c-1", cluster())
    api.answer("PUT /v2/databases/c-1/maintenance", Reply(status=204))
    given = {**INPUTS, **inputs}
    _, outputs = await cloud.create(CLUSTER, given)
    api.asked.clear()
    return given, plain(outputs)


async def test_a_cluster_is_created_and_waited_for(cloud: ProviderClient, api: RecordingApi) -> None:
    api.answer("POST /v2/databases", Reply(cluster(status="creating"), 201))
    api.answer("GET /v2/databases/c-1", Reply(status=404), cluster(status="creating"), cluster())

    key, outputs = await cloud.create(CLUSTER, INPUTS)

    assert api.lines == ["POST /v2/databases", *["GET /v2/databases/c-1"] * 4]
    assert api.body_of("POST /v2/databases") == {
        "name": "database-abc",
        "engine": "mysql",
        "version": "8",
        "size": "db-s-1vcpu-2gb",
        "region": "lon1",
        "num_nodes": 2,
        "private_network_uuid": "v-1",
        "project_id": "",
        "rules": None,
        "tags": ["prod"],
    }
    assert (key, outputs["clusterUrn"]) == ("c-1", "do:dbaas:c-1")
    assert (outputs["privateHost"], outputs["host"], outputs["port"]) == (
        "private-db.test",
        "db.test",
        25060,
    )
    assert (outputs["storageSizeMib"], outputs["projectId"]) == ("30720", "p-1")
    assert outputs["password"] == Secret(PASSWORD)
    private = f"mysql://doadmin:{PASSWORD}@private-db.test:25060/defaultdb?ssl-mode=REQUIRED"
    assert outputs["privateUri"] == Secret(private)
    assert "uiHost" not in outputs


async def test_a_window_is_set_once_it_is_online(cloud: ProviderClient, api: RecordingApi) -> None:
    window = [{"day": "tuesday", "hour": "14:00"}]
    inputs, state = await made(cloud, api, maintenanceWindows=window)

    assert state["maintenanceWindows"] == [{"day": "tuesday", "hour": "14:00:00"}]
    assert (await cloud.diff(CLUSTER, state, inputs, inputs)).changes == {}


async def test_a_cluster_that_cannot_be_read_is_an_error(cloud: ProviderClient, api: RecordingApi) -> None:
    api.answer("POST /v2/databases", Reply(cluster(status="creating"), 201))
    api.answer("GET /v2/databases/c-1", Reply({"id": "forbidden", "message": "no"}, 403))

    with pytest.raises(ProviderError, match=r"Error creating database cluster: GET .* 403 no") as refused:
        await cloud.create(CLUSTER, INPUTS)

    assert refused.value.kept is None


@pytest.mark.parametrize(
    ("change", "replaces", "first"),
    [
        ({"size": "db-s-2vcpu-4gb"}, [], False),
        ({"nodeCount": 3}, [], False),
        ({"version": "9"}, [], False),
        ({"tags": ["prod", "eu"]}, [], False),
        ({"region": "fra1"}, [], False),
        ({"engine": "pg"}, ["engine"], False),
        ({"privateNetworkUuid": "v-2"}, ["privateNetworkUuid"], False),
        ({"projectId": "p-2"}, ["projectId"], False),
        ({"name": "by-hand", "__defaults": []}, ["name"], True),
    ],
)
async def test_what_replaces_a_cluster(
    cloud: ProviderClient, api: RecordingApi, change: Values, replaces: list[str], first: bool
) -> None:
    inputs, state = await made(cloud, api)

    found = await cloud.diff(CLUSTER, state, {**inputs, **change}, inputs)

    assert (list(found.replaces), found.deletes_first) == (replaces, first)
    assert found.changes


async def test_a_resize_is_waited_for(cloud: ProviderClient, api: RecordingApi) -> None:
    inputs, state = await made(cloud, api)
    api.answer("PUT /v2/databases/c-1/resize", Reply(status=202))
    api.answer("GET /v2/databases/c-1", cluster(status="resizing"), cluster(num_nodes=3))

    outputs = await cloud.update(CLUSTER, "c-1", state, {**inputs, "nodeCount": 3}, inputs)

    assert api.lines == ["PUT /v2/databases/c-1/resize", *["GET /v2/databases/c-1"] * 3]
    assert api.body_of("PUT /v2/databases/c-1/resize") == {"size": "db-s-1vcpu-2gb", "num_nodes": 3}
    assert outputs["nodeCount"] == 3


async def test_a_mode_is_set_once_it_is_online_and_read_back(
    cloud: ProviderClient, api: RecordingApi
) -> None:
    path = "/v2/databases/c-1/sql_mode"
    api.answer(f"PUT {path}", Reply(status=204))
    api.answer(f"GET {path}", {"sql_mode": "ANSI"})
    inputs, state = await made(cloud, api, sqlMode="ANSI")
    assert state["sqlMode"] == "ANSI"

    api.answer(f"GET {path}", {"sql_mode": "TRADITIONAL"})
    _, after, _ = await cloud.read(CLUSTER, "c-1", state, inputs)
    assert (await cloud.diff(CLUSTER, after, inputs, inputs)).changes == {"sqlMode": "UPDATE"}
    await cloud.update(CLUSTER, "c-1", after, inputs, inputs)
    assert api.body_of(f"PUT {path}") == {"sql_mode": "ANSI"}


async def test_tags_change_in_place(cloud: ProviderClient, api: RecordingApi) -> None:
    inputs, state = await made(cloud, api)
    for line in ("DELETE /v2/tags/prod/resources", "POST /v2/tags/eu/resources"):
        api.answer(line, Reply(status=204))
    api.answer("POST /v2/tags", Reply({"tag": {"name": "eu"}}, 201))

    await cloud.update(CLUSTER, "c-1", state, {**inputs, "tags": ["eu"]}, inputs)

    body = {"resources": [{"resource_id": "c-1", "resource_type": "database"}]}
    assert api.body_of("DELETE /v2/tags/prod/resources") == body
    assert api.body_of("POST /v2/tags/eu/resources") == body


async def test_a_failed_update_is_recorded_as_done(cloud: ProviderClient, api: RecordingApi) -> None:
    inputs, state = await made(cloud, api)
    api.answer("PUT /v2/databases/c-1/resize", Reply({"message": "nodes cannot become smaller"}, 422))

    with pytest.raises(ProviderError, match=r"Error resizing database cluster: .*smaller") as refused:
        await cloud.update(CLUSTER, "c-1", state, {**inputs, "size": "db-s-1vcpu-1gb"}, inputs)

    assert refused.value.kept is not None


async def test_a_cluster_that_is_gone(cloud: ProviderClient, api: RecordingApi) -> None:
    inputs, state = await made(cloud, api)
    api.answer("GET /v2/databases/c-1", Reply(status=404))

    assert (await cloud.read(CLUSTER, "c-1", state, inputs))[0] == ""
    with pytest.raises(ProviderError, match=r"Error deleting database cluster: .* 404"):
        await cloud.delete(CLUSTER, "c-1", state, inputs)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": None}, 'The argument "version" is required'),
        ({"engine": "pg", "sqlMode": "ANSI"}, "sql_mode is only supported for MySQL"),
        ({"evictionPolicy": "noeviction"}, "eviction_policy is only supported for Redis"),
        ({"nodeCount": 0}, "node_count"),
        ({"maintenanceWindows": [{"day": "someday", "hour": "1:00"}]}, "day"),
        ({"engine": None}, "Missing required property 'engine'"),
        ({"vpcUuid": "v-1"}, "Invalid or unknown key"),
    ],
)
async def test_bad_inputs_are_told_at_once(cloud: ProviderClient, change: Values, message: str) -> None:
    given = {name: value for name, value in {**INPUTS, **change}.items() if value is not None}

    checked = await cloud.check(CLUSTER, "database", given)

    assert any(message in failure for failure in checked.failures), checked.failures


async def test_a_cluster_gets_a_name(cloud: ProviderClient) -> None:
    given = {name: value for name, value in INPUTS.items() if name not in ("name", "__defaults")}

    checked = await cloud.check(CLUSTER, "database", given)

    assert checked.failures == []
    assert checked.inputs["name"].startswith("database-")
    assert len(checked.inputs["name"]) == len("database-") + 7


USER_INPUTS: Values = {"clusterId": "c-1", "name": "site1", "__defaults": []}


def user(**changes: Any) -> dict[str, Any]:
    settings = {"auth_plugin": "caching_sha2_password"}
    known = {"name": "site1", "role": "normal", "password": PASSWORD, "mysql_settings": settings}
    return {"user": {**known, **changes}}


async def test_a_user_is_made_without_a_look_back(cloud: ProviderClient, api: RecordingApi) -> None:
    api.answer("POST /v2/databases/c-1/users", Reply(user(), 201))

    key, outputs = await cloud.create(USER, USER_INPUTS)

    assert api.lines == ["POST /v2/databases/c-1/users"]
    assert api.body_of("POST /v2/databases/c-1/users") == {"name": "site1"}
    assert key == "c-1/user/site1"
    assert (outputs["password"], outputs["role"]) == (Secret(PASSWORD), "normal")
    # The cloud's default is no change of what the program left out.
    assert (await cloud.diff(USER, plain(outputs), USER_INPUTS, USER_INPUTS)).changes == {}


async def test_another_name_is_another_user(cloud: ProviderClient, api: RecordingApi) -> None:
    api.answer("POST /v2/databases/c-1/users", Reply(user(), 201))
    _, outputs = await cloud.create(USER, USER_INPUTS)

    found = await cloud.diff(USER, plain(outputs), {**USER_INPUTS, "name": "site2"}, USER_INPUTS)

    assert (found.replaces, found.deletes_first) == (["name"], True)


async def test_another_plugin_resets_the_password(cloud: ProviderClient, api: RecordingApi) -> None:
    api.answer("POST /v2/databases/c-1/users", Reply(user(), 201))
    key, outputs = await cloud.create(USER, USER_INPUTS)
    changed = user(password="AVNS_new", mysql_settings={"auth_plugin": "mysql_native_password"})
    api.answer("POST /v2/databases/c-1/users/site1/reset_auth", changed)
    api.answer("GET /v2/databases/c-1/users/site1", changed)

    news = {**USER_INPUTS, "mysqlAuthPlugin": "mysql_native_password"}
    after = await cloud.update(USER, key, plain(outputs), news, USER_INPUTS)

    assert api.lines[1:] == [
        "POST /v2/databases/c-1/users/site1/reset_auth",
        "GET /v2/databases/c-1/users/site1",
    ]
    assert after["password"] == Secret("AVNS_new")


async def test_a_user_that_is_gone(cloud: ProviderClient, api: RecordingApi) -> None:
    state = {"clusterId": "c-1", "name": "site1", "password": PASSWORD}

    assert (await cloud.read(USER, "c-1/user/site1", state, USER_INPUTS))[0] == ""
    assert api.lines == ["GET /v2/databases/c-1/users/site1"]
    with pytest.raises(ProviderError, match=r"Error deleting Database User: .* 404"):
        await cloud.delete(USER, "c-1/user/site1", state, USER_INPUTS)


async def test_a_database_is_made_and_read(cloud: ProviderClient, api: RecordingApi) -> None:
    api.answer("POST /v2/databases/c-1/dbs", Reply({"db": {"name": "site"}}, 201))
    api.answer("GET /v2/databases/c-1/dbs/site", {"db": {"name": "site"}})
    api.answer("DELETE /v2/databases/c-1/dbs/site", Reply(status=204))
    inputs = {"clusterId": "c-1", "name": "site", "__defaults": []}

    key, state = await cloud.create(NAME, inputs)
    await cloud.delete(NAME, key, state, inputs)

    assert key == "c-1/database/site"
    assert api.lines == [
        "POST /v2/databases/c-1/dbs",
        "GET /v2/databases/c-1/dbs/site",
        "DELETE /v2/databases/c-1/dbs/site",
    ]


RULE: Values = {"type": "tag", "value": "prod-web", "__defaults": []}
FIREWALL_INPUTS: Values = {"clusterId": "c-1", "rules": [RULE], "__defaults": []}


def rule(value: str, key: str) -> dict[str, Any]:
    return {"uuid": key, "cluster_uuid": "c-1", "type": "tag", "value": value, "created_at": NOW}


async def test_the_whole_list_of_sources_is_written(cloud: ProviderClient, api: RecordingApi) -> None:
    path = "/v2/databases/c-1/firewall"
    api.answer(f"PUT {path}", Reply(status=204))
    api.answer(f"GET {path}", {"rules": [rule("prod-web", "u-1")]})

    key, state = await cloud.create(FIREWALL, FIREWALL_INPUTS)

    sent = {"uuid": "", "cluster_uuid": "", "type": "tag", "created_at": "0001-01-01T00:00:00Z"}
    assert api.lines == [f"PUT {path}", f"GET {path}"]
    assert api.body_of(f"PUT {path}") == {"rules": [{**sent, "value": "prod-web"}]}
    assert key.startswith("c-1-")
    shown = {"type": "tag", "value": "prod-web", "uuid": "u-1", "createdAt": NOW}
    assert state["rules"] == [shown]
    # What only the cloud says is no difference.
    assert (await cloud.diff(FIREWALL, state, FIREWALL_INPUTS, FIREWALL_INPUTS)).changes == {}

    more = {**FIREWALL_INPUTS, "rules": [{**RULE, "value": "prod-autoscaler"}, RULE]}
    assert (await cloud.diff(FIREWALL, state, more, FIREWALL_INPUTS)).changes == {"rules[0]": "ADD"}
    await cloud.update(FIREWALL, key, state, more, FIREWALL_INPUTS)
    assert api.body_of(f"PUT {path}") == {
        "rules": [{**sent, "value": "prod-autoscaler"}, {**sent, "uuid": "u-1", "value": "prod-web"}]
    }
    await cloud.delete(FIREWALL, key, state, FIREWALL_INPUTS)
    assert api.body_of(f"PUT {path}") == {"rules": []}


async def test_sources_changed_by_hand_are_seen(cloud: ProviderClient, api: RecordingApi) -> None:
    path = "/v2/databases/c-1/firewall"
    api.answer(f"PUT {path}", Reply(status=204))
    api.answer(f"GET {path}", {"rules": [rule("prod-web", "u-1")]})
    key, state = await cloud.create(FIREWALL, FIREWALL_INPUTS)
    api.answer(f"GET {path}", {"rules": [rule("prod-web", "u-1"), rule("friend", "u-2")]})

    _, after, inputs = await cloud.read(FIREWALL, key, state, FIREWALL_INPUTS)

    assert len(inputs["rules"]) == 2
    found = await cloud.diff(FIREWALL, after, FIREWALL_INPUTS, inputs)
    assert found.changes == {"rules[1]": "DELETE"}


async def test_another_cluster_replaces_the_sources(cloud: ProviderClient, api: RecordingApi) -> None:
    state = {"clusterId": "c-1", "rules": [{"type": "tag", "value": "prod-web", "uuid": "u-1"}]}

    found = await cloud.diff(FIREWALL, state, {**FIREWALL_INPUTS, "clusterId": "c-2"}, FIREWALL_INPUTS)

    assert (found.replaces, found.deletes_first) == (["clusterId"], False)


async def test_the_authority_is_looked_up(cloud: ProviderClient, api: RecordingApi) -> None:
    pem = "-----BEGIN CERTIFICATE-----\n"
    encoded = base64.b64encode(pem.encode()).decode()
    api.answer("GET /v2/databases/c-1/ca", {"ca": {"certificate": encoded}})

    assert (await cloud.invoke(CA, {"clusterId": "c-1"}))["certificate"] == pem
    with pytest.raises(ProviderError, match=r"Error retrieving database CA certificate: .* 404"):
        await cloud.invoke(CA, {"clusterId": "c-2"})


# Together with the sandbox's own API


@pytest.fixture
async def sandbox() -> AsyncIterator[Api]:
    api = await started(Store(":memory:"))
    yield api
    await api.cloud.stop()


@pytest.fixture
async def provider(sandbox: Api) -> AsyncIterator[ProviderClient]:
    async with (
        served(sandbox.app) as address,
        attached("digitalocean", token=TOKEN, apiEndpoint=address) as client,
    ):
        yield client


async def test_a_whole_database_in_the_sandbox(sandbox: Api, provider: ProviderClient) -> None:
    await sandbox.made("/v2/tags", {"name": "prod-web"})
    vpc = (await sandbox.made("/v2/vpcs", {"name": "prod", "region": "lon1"}))["vpc"]["id"]
    given = {**INPUTS, "privateNetworkUuid": vpc}

    key, state = await provider.create(CLUSTER, given)
    inside = {"clusterId": key, "__defaults": []}
    user_key, user_state = await provider.create(USER, {**inside, "name": "site1"})
    name_key, name_state = await provider.create(NAME, {**inside, "name": "site"})
    wall = {**inside, "rules": [RULE]}
    wall_key, wall_state = await provider.create(FIREWALL, wall)
    authority = await provider.invoke(CA, {"clusterId": key})

    shown = (await sandbox.get(f"/v2/databases/{key}"))["database"]
    assert shown["status"] == "online"
    assert shown["private_connection"]["host"] == state["privateHost"]
    assert [one["password"] for one in shown["users"]][1] == user_state["password"].value
    assert "BEGIN CERTIFICATE" in authority["certificate"]
    for token, at, known, inputs in (
        (CLUSTER, key, state, given),
        (USER, user_key, user_state, {**inside, "name": "site1"}),
        (NAME, name_key, name_state, {**inside, "name": "site"}),
        (FIREWALL, wall_key, wall_state, wall),
    ):
        found, after, same = await provider.read(token, at, known, inputs)
        assert (found, same) == (at, inputs)
        assert (await provider.diff(token, plain(after), inputs, inputs)).changes == {}

    bigger = {**given, "nodeCount": 3, "tags": ["prod", "eu"], "sqlMode": "TRADITIONAL"}
    changed = await provider.update(CLUSTER, key, plain(state), bigger, given)
    assert (changed["nodeCount"], changed["sqlMode"]) == (3, "TRADITIONAL")
    assert (await sandbox.get(f"/v2/databases/{key}/sql_mode")) == {"sql_mode": "TRADITIONAL"}
    await provider.delete(FIREWALL, wall_key, wall_state, wall)
    await provider.delete(USER, user_key, plain(user_state), {**inside, "name": "site1"})
    await provider.delete(CLUSTER, key, plain(state), bigger)
    with pytest.raises(ProviderError, match="404"):
        await provider.delete(NAME, name_key, name_state, {**inside, "name": "site"})
