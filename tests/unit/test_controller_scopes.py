"""What the controller says of its tokens' rights, against a cloud that refuses what their scopes do not cover."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from fleet.controller.scopes import CLOUD, allowed
from fleet.digitalocean import DigitalOcean
from sandbox.store import Store
from tests.unit.cloud_api import CONTROL_TOKEN, SSH_KEY, Api, served, started

SCOPES = frozenset(right.scope for right in CLOUD)


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    api = await started(Store(":memory:"))
    yield api
    await api.cloud.stop()


@pytest.fixture
async def url(api: Api) -> AsyncIterator[str]:
    async with served(api.app) as address:
        yield address


async def scoped(api: Api, scopes: frozenset[str]) -> str:
    reply = await api.call("POST", "/_sandbox/tokens", {"scopes": sorted(scopes)}, token=CONTROL_TOKEN)
    return str(reply.body["token"])


async def lacking(api: Api, url: str, scopes: frozenset[str]) -> set[str]:
    """The rights that a token of these scopes is said to lack."""
    account = DigitalOcean.at(url, await scoped(api, scopes)).api

    def ask() -> set[str]:
        return {right.scope for right in CLOUD if not allowed(account, right)}

    return await asyncio.to_thread(ask)


async def test_each_scope_that_is_not_there_is_named(api: Api, url: str) -> None:
    before = list(api.cloud.store._db.iterdump())
    assert await lacking(api, url, SCOPES) == set()
    for scope in sorted(SCOPES - {"droplet:create", "droplet:update"}):
        assert await lacking(api, url, SCOPES - {scope}) == {scope}
    assert await lacking(api, url, frozenset()) == SCOPES
    # The trials changed nothing: only tokens are new.
    kept = [line for line in api.cloud.store._db.iterdump() if "'token'" not in line]
    assert [line for line in kept if "'droplet'" in line] == [line for line in before if "'droplet'" in line]


async def test_these_scopes_are_enough_for_a_burst_member(api: Api) -> None:
    key = (await api.made("/v2/account/keys", {"name": "me", "public_key": SSH_KEY}))["ssh_key"]["id"]
    vpc = (await api.made("/v2/vpcs", {"name": "prod", "region": "lon1", "ip_range": "10.20.0.0/20"}))["vpc"]
    body = {
        "name": "burst-1-0a1b2c3",
        "region": "lon1",
        "size": "s-1vcpu-1gb",
        "image": "debian-13-x64",
        "ssh_keys": [key],
        "tags": ["prod", "prod-web", "prod-burst"],
        "vpc_uuid": vpc["id"],
        "user_data": "#cloud-config",
    }
    token = await scoped(api, SCOPES)
    made = await api.call("POST", "/v2/droplets", body, token=token)
    assert made.status == 202
    await api.cloud.settled()
    droplet = f"/v2/droplets/{made.body['droplet']['id']}"
    for act in ({"type": "power_cycle"}, {"type": "rebuild", "image": "debian-13-x64"}):
        assert (await api.call("POST", f"{droplet}/actions", act, token=token)).status == 201
        await api.cloud.settled()
    assert (await api.call("GET", "/v2/droplets?tag_name=prod", token=token)).status == 200
    assert (await api.call("DELETE", droplet, token=token)).status == 204
    # And no more than that.
    for method, target in (
        ("GET", "/v2/databases"),
        ("GET", "/v2/spaces/keys"),
        ("DELETE", f"/v2/vpcs/{vpc['id']}"),
    ):
        assert (await api.call(method, target, token=token)).status == 403
