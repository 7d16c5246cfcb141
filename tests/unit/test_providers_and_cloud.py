"""The DigitalOcean provider against the sandbox's own API: what each does alone must fit together."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from sandbox.store import Store
from tests.provider_client import ProviderClient, attached
from tests.unit.cloud_api import TOKEN, Api, served, started

RECORD = "digitalocean:index/dnsRecord:DnsRecord"
PROJECT = "digitalocean:index/project:Project"


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
