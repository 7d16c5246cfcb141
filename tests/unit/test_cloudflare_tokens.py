"""API tokens of Cloudflare that may some things on some zones."""

from __future__ import annotations

import json
from typing import Any

import pytest
from starlette.applications import Starlette

from sandbox.api.errors import ApiError
from sandbox.cloudflare.tokens import token_routes
from sandbox.store import Store
from tests.unit.cloud_api import asgi_request
from tests.unit.cloudflare_api import Api

EDGE = "edge_" + "y" * 35


@pytest.fixture
def api() -> Api:
    return Api(Store(":memory:"))


async def control(api: Api, method: str, body: Any) -> tuple[int, Any]:
    """Status and document of a call of the control route, which asks for its own token elsewhere."""
    application = Starlette(routes=token_routes(api.store))
    reply = await asgi_request(application, method, "/edge/tokens", json.dumps(body).encode(), {})
    return reply.status, reply.body


async def zone(api: Api, name: str) -> str:
    return str((await api.call("POST", "/zones", {"name": name})).result["id"])


async def limited(api: Api, *permissions: str, zones: tuple[str, ...] = ("foobar.com",)) -> str:
    body = {"token": EDGE, "permissions": list(permissions), "zones": list(zones)}
    status, document = await control(api, "POST", body)
    assert (status, document["token"]) == (201, EDGE)
    return EDGE


async def test_a_token_edits_records_of_its_zone_alone(api: Api) -> None:
    own, other = await zone(api, "foobar.com"), await zone(api, "foobar.dev")
    token = await limited(api, "DNS Write")
    record = {"type": "A", "name": "www.foobar.com", "content": "198.51.100.7", "ttl": 1, "proxied": True}
    made = (await api.call("POST", f"/zones/{own}/dns_records", record, token=token)).result
    assert (await api.call("GET", f"/zones/{own}/dns_records", token=token)).result[0]["id"] == made["id"]
    change = {"name": "out-burst-1.foobar.com"}
    item = f"/zones/{own}/dns_records/{made['id']}"
    assert (await api.call("PATCH", item, change, token=token)).result["name"] == change["name"]
    for method, path, body in (
        ("POST", f"/zones/{other}/dns_records", record),
        ("GET", f"/zones/{other}/dns_records", None),
        ("GET", f"/zones/{own}", None),
        ("DELETE", f"/zones/{own}", None),
        ("PATCH", f"/zones/{own}/settings/ssl", {"value": "off"}),
        ("GET", f"/zones/{own}/origin_tls_client_auth", None),
        ("GET", "/zones", None),
        ("GET", "/accounts", None),
    ):
        reply = await api.call(method, path, body, token=token)
        assert (reply.status, reply.code) == (403, 10000), (method, path)
    assert (await api.call("DELETE", item, token=token)).result == {"id": made["id"]}
    assert (await api.call("GET", "/user/tokens/verify", token=token)).result["status"] == "active"


async def test_who_may_read_may_not_write(api: Api) -> None:
    own = await zone(api, "foobar.com")
    token = await limited(api, "DNS Read")
    assert (await api.call("GET", f"/zones/{own}/dns_records", token=token)).result == []
    record = {"type": "A", "name": "www.foobar.com", "content": "198.51.100.7", "ttl": 1}
    assert (await api.call("POST", f"/zones/{own}/dns_records", record, token=token)).status == 403


async def test_a_token_does_not_learn_of_other_zones(api: Api) -> None:
    for name in ("foobar.com", "foobar.dev"):
        await zone(api, name)
    token = await limited(api, "Zone Read")
    assert [found["name"] for found in (await api.call("GET", "/zones", token=token)).result] == [
        "foobar.com"
    ]
    assert len((await api.call("GET", "/zones")).result) == 2


async def test_a_revoked_token_is_none(api: Api) -> None:
    own = await zone(api, "foobar.com")
    token = await limited(api, "DNS Read")
    assert token not in "\n".join(api.store._db.iterdump())
    assert (await control(api, "DELETE", {"token": token}))[0] == 204
    reply = await api.call("GET", f"/zones/{own}/dns_records", token=token)
    assert (reply.status, reply.code) == (403, 9109)
    assert (await api.call("GET", "/user/tokens/verify", token=token)).status == 401


@pytest.mark.parametrize(
    "body",
    [
        {"permissions": ["DNS Edit"], "zones": ["foobar.com"]},
        {"permissions": ["DNS Read"], "zones": ["elsewhere.com"]},
        {"permissions": ["DNS Read"], "zones": ["foobar.com"], "token": "short"},
        {"permissions": ["DNS Read"]},
    ],
)
async def test_bad_tokens_are_refused(api: Api, body: dict[str, Any]) -> None:
    await zone(api, "foobar.com")
    # What guards the control routes turns refusals into answers.
    with pytest.raises(ApiError) as caught:
        await control(api, "POST", body)
    assert caught.value.status == 422
