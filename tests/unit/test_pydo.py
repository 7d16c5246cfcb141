"""DigitalOcean's own Python client drives the sandbox's API over a socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pydo
import pytest
from azure.core.exceptions import HttpResponseError
from azure.core.pipeline.policies import HeadersPolicy

from sandbox.store import Store
from tests.unit.cloud_api import SSH_KEY, TOKEN, Api, served, started


def client_of(address: str, token: str) -> pydo.Client:
    """A client of the sandbox: its own policy refuses to send a token where there is no TLS."""
    policy = HeadersPolicy({"Authorization": f"Bearer {token}"})
    return pydo.Client(token, endpoint=address, authentication_policy=policy, retry_total=0)


@pytest.fixture
async def cloud() -> AsyncIterator[tuple[Api, pydo.Client]]:
    api = await started(Store(":memory:"))
    async with served(api.app) as address:
        yield api, client_of(address, TOKEN)
    await api.cloud.stop()


async def test_a_small_stack_from_birth_to_death(cloud: tuple[Api, pydo.Client]) -> None:
    api, client = cloud

    def build() -> dict[str, Any]:
        key = client.ssh_keys.create({"name": "me", "public_key": SSH_KEY})["ssh_key"]
        client.tags.create({"name": "web"})
        vpc = client.vpcs.create({"name": "dev", "region": "lon1", "ip_range": "10.20.0.0/20"})["vpc"]
        order = {
            "name": "web-1",
            "region": "lon1",
            "size": "s-1vcpu-1gb",
            "image": "debian-13-x64",
            "ssh_keys": [key["fingerprint"]],
            "tags": ["web"],
            "vpc_uuid": vpc["id"],
            "monitoring": True,
        }
        droplet: dict[str, Any] = client.droplets.create(order)["droplet"]
        rule = {"protocol": "tcp", "ports": "443", "sources": {"addresses": ["0.0.0.0/0"]}}
        client.firewalls.create(
            {"name": "web", "tags": ["web"], "inbound_rules": [rule], "outbound_rules": []}
        )
        client.domains.create({"name": "foobar.com"})
        client.domains.create_record("foobar.com", {"type": "A", "name": "www", "data": "198.51.100.7"})
        volume = client.volumes.create({"name": "data", "region": "lon1", "size_gigabytes": 1})["volume"]
        return droplet | {"volume": volume["id"], "vpc": vpc["id"]}

    made = await asyncio.to_thread(build)
    await api.cloud.settled()

    def use() -> None:
        assert client.droplets.get(made["id"])["droplet"]["status"] == "active"
        client.volume_actions.post_by_id(made["volume"], {"type": "attach", "droplet_id": made["id"]})

    await asyncio.to_thread(use)
    await api.cloud.settled()

    def inspect_and_destroy() -> None:
        assert client.droplets.list(tag_name="web")["meta"]["total"] == 1
        assert client.volumes.get(made["volume"])["volume"]["droplet_ids"] == [made["id"]]
        assert len(client.domains.list_records("foobar.com", type="A")["domain_records"]) == 1
        assert client.projects.list_resources_default()["meta"]["total"] == 3
        client.droplets.destroy(made["id"])

    await asyncio.to_thread(inspect_and_destroy)
    await api.cloud.settled()
    await asyncio.to_thread(client.vpcs.delete, made["vpc"])


async def test_an_action_is_polled_until_it_is_completed(cloud: tuple[Api, pydo.Client]) -> None:
    api, client = cloud
    droplet = await api.droplet()

    body = {"type": "snapshot", "name": "golden"}
    action = (await asyncio.to_thread(client.droplet_actions.post, droplet["id"], body))["action"]
    await api.cloud.settled()

    done = (await asyncio.to_thread(client.actions.get, action["id"]))["action"]
    assert done["status"] == "completed"
    snapshots = (await asyncio.to_thread(client.snapshots.list, resource_type="droplet"))["snapshots"]
    assert [one["name"] for one in snapshots] == ["golden"]


async def test_refusals_arrive_as_the_clients_errors(cloud: tuple[Api, pydo.Client]) -> None:
    _, client = cloud

    with pytest.raises(HttpResponseError) as refused:
        await asyncio.to_thread(
            client.droplets.create, {"name": "a", "region": "lon1", "size": "x", "image": "y"}
        )

    assert refused.value.status_code == 422
    assert "invalid size for Droplet creation" in str(refused.value)


async def test_a_wrong_token_is_refused(cloud: tuple[Api, pydo.Client]) -> None:
    api, _ = cloud
    async with served(api.app) as address:
        stranger = client_of(address, "dop_v1_" + "f" * 64)

        with pytest.raises(HttpResponseError) as refused:
            await asyncio.to_thread(stranger.account.get)

    assert refused.value.status_code == 401


async def test_a_database_from_birth_to_death(cloud: tuple[Api, pydo.Client]) -> None:
    api, client = cloud
    order = {"name": "site", "engine": "pg", "region": "lon1", "size": "db-s-1vcpu-2gb", "num_nodes": 1}
    databases = client.databases
    made = (await asyncio.to_thread(databases.create_cluster, order))["database"]["id"]
    await api.cloud.settled()

    def use() -> None:
        assert databases.get_cluster(made)["database"]["status"] == "online"
        databases.add(made, {"name": "site"})
        user = databases.add_user(made, {"name": "app"})["user"]
        assert databases.get_user(made, "app")["user"]["password"] == user["password"]
        client.tags.create({"name": "web"})
        databases.update_firewall_rules(made, {"rules": [{"type": "tag", "value": "web"}]})
        assert databases.list_firewall_rules(made)["rules"][0]["value"] == "web"
        assert databases.get_ca(made)["ca"]["certificate"]
        databases.update_cluster_size(made, {"size": "db-s-1vcpu-2gb", "num_nodes": 2})

    await asyncio.to_thread(use)
    await api.cloud.settled()

    def end() -> None:
        assert databases.list_clusters()["databases"][0]["num_nodes"] == 2
        databases.delete_user(made, "app")
        databases.destroy_cluster(made)
        assert not databases.list_clusters().get("databases")

    await asyncio.to_thread(end)
