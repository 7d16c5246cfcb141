"""The DigitalOcean provider against the sandbox's own API: what each does alone must fit together."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from sandbox.store import Store
from tests.provider_client import ProviderClient, attached
from tests.unit.cloud_api import TOKEN, Api, served, started

RECORD = "digitalocean:index/dnsRecord:DnsRecord"
PROJECT = "digitalocean:index/project:Project"
DROPLET = "digitalocean:index/droplet:Droplet"


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    api = await started(Store(":memory:"))
    yield api
    await api.cloud.stop()


@pytest.fixture
async def provider(api: Api) -> AsyncIterator[ProviderClient]:
    async with (
        served(api.app) as address,
        attached("digitalocean", token=TOKEN, apiEndpoint=address) as client,
    ):
        yield client


async def test_a_record_is_updated_in_place(api: Api, provider: ProviderClient) -> None:
    await api.made("/v2/domains", {"name": "foobar.com"})
    inputs = {"domain": "foobar.com", "type": "A", "name": "www", "value": "198.51.100.7", "ttl": 60}
    key, state = await provider.create(RECORD, inputs)
    changed = await provider.update(RECORD, key, state, {**inputs, "value": "198.51.100.8"}, inputs)
    assert (changed["type"], changed["value"]) == ("A", "198.51.100.8")


async def test_a_project_goes_after_what_was_in_it(api: Api, provider: ProviderClient) -> None:
    droplet = await api.droplet()
    inputs = {
        "name": "site",
        "purpose": "Web Application",
        "resources": [f"do:droplet:{droplet['id']}"],
        "isDefault": False,
    }
    key, state = await provider.create(PROJECT, inputs)
    await api.call("DELETE", f"/v2/droplets/{droplet['id']}")
    await api.cloud.settled()
    await provider.delete(PROJECT, key, state, inputs)
    assert [project["is_default"] for project in (await api.get("/v2/projects"))["projects"]] == [True]


async def test_a_droplet_tells_its_ipv6_address(api: Api, provider: ProviderClient) -> None:
    inputs = {
        "image": "debian-13-x64",
        "size": "s-1vcpu-1gb",
        "region": "lon1",
        "name": "web-1",
        "ipv6": True,
    }
    key, state = await provider.create(DROPLET, inputs)
    shown = (await api.get(f"/v2/droplets/{key}"))["droplet"]["networks"]["v6"][0]
    assert (state["ipv6"], state["ipv6Address"]) == (True, shown["ip_address"])


async def test_a_droplet_gets_ipv6_in_place(api: Api, provider: ProviderClient) -> None:
    inputs = {"image": "debian-13-x64", "size": "s-1vcpu-1gb", "region": "lon1", "name": "web-1"}
    key, state = await provider.create(DROPLET, {**inputs, "ipv6": False})
    changed = await provider.update(DROPLET, key, state, {**inputs, "ipv6": True}, {**inputs, "ipv6": False})
    assert state["ipv6Address"] == ""
    assert changed["ipv6Address"].startswith("2001:db8:f100:")
