"""The ranges that the sandbox's Cloudflare publishes, as a test may change them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from sandbox import cloudflare
from sandbox.api.app import create_app
from sandbox.published_ranges import range_routes
from sandbox.store import Store
from tests.unit.cloud_api import CONTROL_TOKEN, Api, Reply, started

PATH = "/_sandbox/edge/ranges"


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    api = await started(Store(":memory:"))
    store, settings = api.cloud.store, api.cloud.settings
    api.app = create_app(
        api.cloud, extra_routes=cloudflare.routes(store, settings), control_routes=range_routes(store)
    )
    yield api
    await api.cloud.stop()


async def control(api: Api, method: str, body: object = None) -> Reply:
    return await api.call(method, PATH, body, token=CONTROL_TOKEN)


async def published(api: Api) -> list[str]:
    cidrs: list[str] = (await api.get("/client/v4/ips"))["result"]["ipv4_cidrs"]
    return cidrs


async def test_another_list_is_published_until_it_is_taken_back(api: Api) -> None:
    real = await published(api)
    changed = await control(api, "PUT", {"ipv4_cidrs": ["203.0.113.0/24"], "ipv6_cidrs": []})
    assert changed.body["ipv4_cidrs"] == ["203.0.113.0/24"] == await published(api)
    assert (await control(api, "GET")).body == changed.body
    assert (await control(api, "DELETE")).body["ipv4_cidrs"] == real == await published(api)
    assert (await control(api, "DELETE")).status == 200


@pytest.mark.parametrize(
    "body",
    [
        {"ipv4_cidrs": ["203.0.113.7/24"], "ipv6_cidrs": []},
        {"ipv4_cidrs": ["2400:cb00::/32"], "ipv6_cidrs": []},
        {"ipv4_cidrs": []},
        {"ipv4_cidrs": [], "ipv6_cidrs": [], "etag": "x"},
    ],
)
async def test_what_is_no_list_of_networks_is_refused(api: Api, body: dict[str, object]) -> None:
    real = await published(api)
    assert (await control(api, "PUT", body)).status in (400, 422)
    assert await published(api) == real


async def test_only_the_control_token_changes_them(api: Api) -> None:
    assert (await api.call("PUT", PATH, {"ipv4_cidrs": [], "ipv6_cidrs": []})).status == 401
