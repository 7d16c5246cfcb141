"""Tokens that may some things and not others."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sandbox.api.call import Endpoint
from sandbox.api.digitalocean.routes import ENDPOINTS
from sandbox.api.scopes import needed
from sandbox.api.settings import RateLimits
from sandbox.store import Store
from tests.openapi import description
from tests.unit.cloud_api import CONTROL_TOKEN, SSH_KEY, Api, Reply, started

SCOPED = "dop_v1_" + "1b" * 32
READER = ("droplet:read", "actions:read")
# The description lists these general scopes beside those of the thing itself.
_GENERAL = {"api:read", "api:write"}


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    api = await started(Store(":memory:"))
    yield api
    await api.cloud.stop()


async def tokens(api: Api, method: str, body: Any, *, token: str = CONTROL_TOKEN) -> Reply:
    return await api.call(method, "/_sandbox/tokens", body, token=token)


async def scoped(api: Api, *scopes: str) -> str:
    """A token of these scopes."""
    reply = await tokens(api, "POST", {"token": SCOPED, "scopes": list(scopes)})
    assert (reply.status, reply.body["token"]) == (201, SCOPED)
    return SCOPED


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: f"{endpoint.method} {endpoint.path}")
def test_each_operation_needs_what_its_description_says(endpoint: Endpoint) -> None:
    judge = description()
    if judge is None:
        pytest.skip("NOT RUN: DigitalOcean's OpenAPI description is not here")
    operation = judge.operation(endpoint.method, re.sub(r"\{[^}]+\}", "x", endpoint.path))
    assert operation is not None
    described = {scope for way in operation.document["security"] for scope in way["bearer_auth"]}
    assert needed(endpoint.method, endpoint.path) <= described - _GENERAL


async def test_a_token_does_what_its_scopes_say_and_no_more(api: Api) -> None:
    droplet = await api.droplet()
    token = await scoped(api, *READER)
    for target in ("/v2/droplets", f"/v2/droplets/{droplet['id']}", "/v2/actions"):
        assert (await api.call("GET", target, token=token)).status == 200
    for method, target, body in (
        ("DELETE", f"/v2/droplets/{droplet['id']}", None),
        ("POST", f"/v2/droplets/{droplet['id']}/actions", {"type": "power_off"}),
        ("GET", "/v2/firewalls", None),
        ("POST", "/v2/spaces/keys", {"name": "mine", "grants": []}),
    ):
        reply = await api.call(method, target, body, token=token)
        assert (reply.status, reply.body["id"]) == (403, "forbidden")
        assert reply.message == "You are not authorized to perform this operation"
    assert (await api.get(f"/v2/droplets/{droplet['id']}"))["droplet"]["status"] == "active"


async def test_what_a_droplet_is_made_of_needs_scopes_of_its_own(api: Api) -> None:
    key = (await api.made("/v2/account/keys", {"name": "me", "public_key": SSH_KEY}))["ssh_key"]["id"]
    vpc = (await api.made("/v2/vpcs", {"name": "dev", "region": "lon1", "ip_range": "10.20.0.0/20"}))["vpc"]
    plain = {"name": "web-1", "region": "lon1", "size": "s-1vcpu-1gb", "image": "debian-13-x64"}
    for fields, scope in (
        ({"tags": ["web"]}, "tag:create"),
        ({"ssh_keys": [key]}, "ssh_key:read"),
        ({"vpc_uuid": vpc["id"]}, "vpc:read"),
    ):
        token = await scoped(api, "droplet:create")
        assert (await api.call("POST", "/v2/droplets", {**plain, **fields}, token=token)).status == 403
        token = await scoped(api, "droplet:create", scope)
        assert (await api.call("POST", "/v2/droplets", {**plain, **fields}, token=token)).status == 202
    token = await scoped(api, "droplet:create")
    assert (await api.call("POST", "/v2/droplets", plain, token=token)).status == 202


async def test_some_actions_need_more_than_the_others(api: Api) -> None:
    droplet = (await api.droplet())["id"]
    target, token = f"/v2/droplets/{droplet}/actions", await scoped(api, "droplet:update")
    rebuild = {"type": "rebuild", "image": "debian-13-x64"}
    for body in (rebuild, {"type": "snapshot", "name": "golden"}, {"type": "resize", "size": "s-1vcpu-2gb"}):
        assert (await api.call("POST", target, body, token=token)).status == 403
    token = await scoped(api, "droplet:update", "droplet:admin")
    assert (await api.call("POST", target, rebuild, token=token)).status == 201


async def test_a_token_can_be_revoked_and_is_kept_as_a_digest_alone(api: Api) -> None:
    token = await scoped(api, *READER)
    assert token not in "\n".join(api.cloud.store._db.iterdump())
    assert (await tokens(api, "DELETE", {"token": token})).status == 204
    assert (await api.call("GET", "/v2/droplets", token=token)).status == 401
    assert (await tokens(api, "DELETE", {"token": token})).status == 404


async def test_a_token_is_made_when_none_is_given(api: Api) -> None:
    made = (await tokens(api, "POST", {"scopes": ["account:read"]})).body["token"]
    assert (await api.call("GET", "/v2/account", token=made)).status == 200


@pytest.mark.parametrize(
    "body", [{}, {"scopes": ["droplets:read"]}, {"scopes": [], "token": "short"}, {"scopes": "droplet:read"}]
)
async def test_bad_tokens_are_refused(api: Api, body: dict[str, Any]) -> None:
    assert (await tokens(api, "POST", body)).status == 422


async def test_only_the_control_token_makes_tokens(api: Api) -> None:
    token = await scoped(api, *READER)
    for wrong in (api.token, token):
        assert (await tokens(api, "POST", {"scopes": []}, token=wrong)).status == 401


async def test_each_token_has_a_rate_limit_of_its_own() -> None:
    api = await started(Store(":memory:"), rate_limits=RateLimits(per_hour=10, per_minute=2))
    token = await scoped(api, *READER)
    assert [(await api.call("GET", "/v2/droplets", token=token)).status for _ in range(3)] == [200, 200, 429]
    assert (await api.call("GET", "/v2/droplets")).status == 200
    await api.cloud.stop()
