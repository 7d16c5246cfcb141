"""Faults on demand and the control API."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from sandbox.api.gate import ConnectionCutError
from sandbox.store import Store
from tests.unit.cloud_api import CONTROL_TOKEN, TOKEN, Api, Reply, asgi_request, served, started


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    api = await started(Store(":memory:"))
    yield api
    await api.cloud.stop()


async def control(api: Api, method: str, path: str, body: Any = None) -> Reply:
    return await api.call(method, f"/_sandbox{path}", body, token=CONTROL_TOKEN)


async def arm(api: Api, **fault: Any) -> None:
    reply = await control(api, "POST", "/faults", {"service": "digitalocean", **fault})
    assert reply.status == 201, reply.content


async def test_an_error_strikes_as_often_as_asked(api: Api) -> None:
    await arm(api, error={"status": 503}, times=2, path="^/v2/tags$", method="get")

    statuses = [(await api.call("GET", "/v2/tags")).status for _ in range(3)]

    assert statuses == [503, 503, 200]


async def test_other_methods_paths_and_services_are_spared(api: Api) -> None:
    await arm(api, error={"status": 503}, path="^/v2/tags$", method="GET")

    assert (await api.call("POST", "/v2/tags", {"name": "a"})).status == 201
    assert (await api.call("GET", "/v2/account")).status == 200
    assert (await control(api, "DELETE", "/faults")).status == 204
    assert (await api.call("GET", "/v2/tags")).status == 200


async def test_an_error_can_carry_body_and_headers(api: Api) -> None:
    body = {"id": "too_many_requests", "message": "API rate limit exceeded."}
    await arm(api, error={"status": 429, "body": body, "headers": {"retry-after": "2"}}, times=1)

    reply = await api.call("GET", "/v2/account")

    assert (reply.status, reply.body, reply.headers["retry-after"]) == (429, body, "2")


async def test_chance_is_repeatable_by_its_seed(api: Api) -> None:
    async def run() -> list[int]:
        await control(api, "DELETE", "/faults")
        await arm(api, error={"status": 503}, probability=0.5, seed=7)
        return [(await api.call("GET", "/v2/account")).status for _ in range(20)]

    first = await run()

    assert first == await run()
    assert set(first) == {200, 503}


async def test_a_dropped_answer_leaves_the_work_done(api: Api) -> None:
    await arm(api, drop="answer", times=1)

    with pytest.raises(ConnectionCutError):
        await api.call("POST", "/v2/tags", {"name": "made"})

    assert (await api.call("GET", "/v2/tags/made")).status == 200


async def test_a_dropped_request_leaves_nothing_done(api: Api) -> None:
    await arm(api, drop="request", times=1)

    with pytest.raises(ConnectionCutError):
        await api.call("POST", "/v2/tags", {"name": "made"})

    assert (await api.call("GET", "/v2/tags/made")).status == 404


@pytest.mark.parametrize(("drop", "status"), [("answer", 200), ("request", 404)])
async def test_over_a_socket_the_connection_is_cut(api: Api, drop: str, status: int) -> None:
    headers = {"Authorization": f"Bearer {TOKEN}"}
    async with served(api.app) as address, aiohttp.ClientSession(address, headers=headers) as client:
        await arm(api, drop=drop, times=1, method="POST")

        with pytest.raises(aiohttp.ClientError):
            await client.post("/v2/tags", json={"name": "made"})

        async with client.get("/v2/tags/made") as reply:
            assert reply.status == status


@pytest.mark.parametrize(
    "fault",
    [
        {"service": "elsewhere"},
        {"service": "digitalocean", "path": "("},
        {"service": "digitalocean", "drop": "all"},
        {"service": "digitalocean", "times": 0},
        {"service": "digitalocean", "error": {"status": 200}},
        {"service": "digitalocean", "colour": 1},
    ],
)
async def test_a_bad_fault_is_refused(api: Api, fault: dict[str, Any]) -> None:
    assert (await control(api, "POST", "/faults", fault)).status == 422


async def test_control_has_a_token_of_its_own(api: Api) -> None:
    assert (await api.call("GET", "/_sandbox/status")).status == 401
    assert (await asgi_request(api.app, "GET", "/_sandbox/requests", b"", {})).status == 401


async def test_requests_are_recorded_with_their_answers_status(api: Api) -> None:
    await api.call("POST", "/v2/tags", {"name": "web"})
    await api.call("GET", "/v2/droplets/1?x=1")

    recorded = (await control(api, "GET", "/requests")).body["requests"]

    assert [(one["method"], one["path"], one["query"], one["body"], one["status"]) for one in recorded] == [
        ("POST", "/v2/tags", "", {"name": "web"}, 201),
        ("GET", "/v2/droplets/1", "x=1", None, 400),
    ]


async def test_private_keys_are_not_recorded_and_all_else_is(api: Api) -> None:
    upload = {"certificate": "public", "private_key": "its key", "more": [{"private_key": "nested key"}]}
    await api.call("POST", "/client/v4/zones/z/origin_tls_client_auth", upload)
    cut_off = json.dumps(upload).encode()[:-1]
    path = "/client/v4/zones/z/origin_tls_client_auth"
    await asgi_request(api.app, "POST", path, cut_off, {"host": "api.test"})

    whole, broken = (one["body"] for one in (await control(api, "GET", "/requests")).body["requests"])

    hidden = "[hidden]"
    assert whole == {"certificate": "public", "private_key": hidden, "more": [{"private_key": hidden}]}
    assert broken == hidden


async def test_status_lists_droplets(api: Api) -> None:
    droplet = await api.droplet()

    status = (await control(api, "GET", "/status")).body

    [shown] = status["droplets"]
    assert (shown["id"], shown["status"], shown["running"]) == (droplet["id"], "active", True)
    assert status["network_failure"] is None


async def test_a_killed_machine_is_off(api: Api) -> None:
    droplet = await api.droplet("web-1")

    assert (await control(api, "POST", "/machines/web-1/fault", {"kind": "kill"})).status == 204

    assert (await api.get(f"/v2/droplets/{droplet['id']}"))["droplet"]["status"] == "off"


async def test_an_isolated_machine_loses_its_cables_and_gets_them_back(api: Api) -> None:
    droplet = await api.droplet()

    for kind, isolated in (("isolate", True), ("heal", False)):
        await control(api, "POST", f"/machines/{droplet['id']}/fault", {"kind": kind})
        assert [one.isolated for one in api.cloud.topology().attachments] == [isolated]
    assert (await control(api, "POST", "/machines/none/fault", {"kind": "kill"})).status == 404


async def test_a_record_has_no_console(api: Api) -> None:
    await api.droplet("web-1")

    reply = await control(api, "GET", "/console/web-1")

    assert (reply.status, "record, not a machine" in reply.message) == (404, True)
