"""Origin certificates and origin pulls: the provider's calls, and the same against the sandbox's own API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from starlette.applications import Starlette

from sandbox.cloudflare import origin_pulls, routes
from sandbox.providers.values import UNKNOWN, Secret, Values
from sandbox.store import Store
from tests.pems import new_key, private_pem, request_pem, self_signed_pem
from tests.provider_client import ProviderClient, ProviderError, attached
from tests.recording_api import RecordingApi, recording_api
from tests.unit.cloud_api import served
from tests.unit.cloudflare_api import TOKEN, Api, Settings

ORIGIN = "cloudflare:index/originCaCertificate:OriginCaCertificate"
CLIENT = "cloudflare:index/authenticatedOriginPullsCertificate:AuthenticatedOriginPullsCertificate"
PULLS = "cloudflare:index/authenticatedOriginPullsSettings:AuthenticatedOriginPullsSettings"
REQUEST: Values = {
    "csr": "request",
    "hostnames": ["foobar.com", "www.foobar.com"],
    "requestType": "origin-ecc",
}
PAIR: Values = {"zoneId": "z1", "certificate": "certificate", "privateKey": "key"}
SWITCH = {"zoneId": "z1", "enabled": True}


@pytest.fixture
async def api() -> AsyncIterator[RecordingApi]:
    async with recording_api() as api:
        yield api


@pytest.fixture
async def cloud(api: RecordingApi) -> AsyncIterator[ProviderClient]:
    async with attached("cloudflare", apiToken="c" * 40, baseUrl=f"{api.url}/client/v4") as client:
        yield client


def success(**result: Any) -> dict[str, Any]:
    return {"success": True, "errors": [], "messages": [], "result": result}


async def test_an_origin_certificate_is_one_call(cloud: ProviderClient, api: RecordingApi) -> None:
    body = {"csr": "request", "hostnames": ["foobar.com", "www.foobar.com"], "request_type": "origin-ecc"}
    answer = success(
        id="17",
        certificate="signed",
        expires_on="2041-11-17 14:00:00 +0000 UTC",
        requested_validity=90,
        **body,
    )
    api.answer("POST /client/v4/certificates", answer)
    key, outputs = await cloud.create(ORIGIN, {**REQUEST, "requestedValidity": 90})
    assert api.lines == ["POST /client/v4/certificates"]
    assert api.asked[0].body == body | {"requested_validity": 90}
    assert (key, outputs["certificate"], outputs["csr"]) == ("17", "signed", "request")
    assert outputs["expiresOn"] == "2041-11-17 14:00:00 +0000 UTC"


async def test_origin_certificates_live_fifteen_years_unless_told_otherwise(cloud: ProviderClient) -> None:
    assert (await cloud.check(ORIGIN, "origin", REQUEST)).inputs["requestedValidity"] == 5475


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("csr", "other"),
        ("hostnames", ["foobar.com"]),
        ("requestType", "origin-rsa"),
        ("requestedValidity", 7),
    ],
)
async def test_every_change_makes_a_new_origin_certificate_first(
    cloud: ProviderClient, field: str, value: object
) -> None:
    state = {**REQUEST, "requestedValidity": 90, "certificate": "signed"}
    found = await cloud.diff(ORIGIN, state, {**REQUEST, "requestedValidity": 90, field: value})
    assert (found.replaces, found.deletes_first) == ([field], False)


@pytest.mark.parametrize(
    ("fields", "failure"),
    [
        (
            {"requestedValidity": 8},
            "expected requested_validity to be one of [7 30 90 365 730 1095 5475], got 8",
        ),
        ({"requestType": "rsa"}, "expected request_type to be one of"),
        ({"hostnames": "foobar.com"}, "expected array type"),
    ],
)
async def test_wrong_requests_are_named(cloud: ProviderClient, fields: Values, failure: str) -> None:
    failures = (await cloud.check(ORIGIN, "origin", {**REQUEST, **fields})).failures
    assert any(failure in text for text in failures), failures


async def test_a_preview_of_a_certificate_does_not_know_it(cloud: ProviderClient) -> None:
    _, outputs = await cloud.create(ORIGIN, REQUEST, preview=True)
    assert (outputs["certificate"], outputs["csr"]) == (UNKNOWN, "request")


async def test_a_client_certificate_is_one_call_and_its_key_stays_secret(
    cloud: ProviderClient, api: RecordingApi
) -> None:
    answer = success(
        id="c1",
        certificate="certificate",
        issuer="Flotilla",
        signature="ECDSAWithSHA256",
        status="pending_deployment",
        expires_on="2027-11-21T10:00:00Z",
        uploaded_on="2026-11-21T10:00:00.123456Z",
    )
    api.answer("POST /client/v4/zones/z1/origin_tls_client_auth", answer)
    key, outputs = await cloud.create(CLIENT, {**PAIR, "privateKey": Secret("key")})
    assert api.lines == ["POST /client/v4/zones/z1/origin_tls_client_auth"]
    assert api.asked[0].body == {"certificate": "certificate", "private_key": "key"}
    assert (key, outputs["certificateId"], outputs["status"]) == ("c1", "c1", "pending_deployment")
    assert (outputs["privateKey"], outputs["zoneId"]) == (Secret("key"), "z1")
    assert outputs["uploadedOn"] == "2026-11-21T10:00:00Z"
    assert (await cloud.diff(CLIENT, outputs, PAIR)).changes == {}


@pytest.mark.parametrize("field", ["certificate", "privateKey", "zoneId"])
async def test_every_change_makes_a_new_client_certificate_first(cloud: ProviderClient, field: str) -> None:
    found = await cloud.diff(CLIENT, PAIR, {**PAIR, field: "other"})
    assert (found.replaces, found.deletes_first) == ([field], False)


@pytest.mark.parametrize(("kind", "inputs"), [(ORIGIN, REQUEST), (CLIENT, PAIR)])
async def test_a_certificate_that_is_gone(cloud: ProviderClient, kind: str, inputs: Values) -> None:
    assert (await cloud.read(kind, "c1", inputs, inputs))[0] == ""
    with pytest.raises(ProviderError, match="failed to make http request: DELETE"):
        await cloud.delete(kind, "c1", inputs)


async def test_the_switch_of_origin_pulls_is_put_and_never_deleted(
    cloud: ProviderClient, api: RecordingApi
) -> None:
    path = "/client/v4/zones/z1/origin_tls_client_auth/settings"
    api.answer(f"PUT {path}", success(enabled=True), success(enabled=False))
    api.answer(f"GET {path}", success(enabled=False))
    key, outputs = await cloud.create(PULLS, SWITCH)
    assert (key, outputs) == ("z1", SWITCH)
    found = await cloud.diff(PULLS, outputs, {**SWITCH, "enabled": False})
    assert (list(found.changes), found.replaces) == (["enabled"], [])
    assert (await cloud.update(PULLS, key, outputs, {**SWITCH, "enabled": False}))["enabled"] is False
    assert (await cloud.read(PULLS, key, outputs, SWITCH))[1]["enabled"] is False
    await cloud.delete(PULLS, key, outputs)
    assert api.lines == [f"PUT {path}", f"PUT {path}", f"GET {path}"]
    assert (await cloud.diff(PULLS, outputs, {**SWITCH, "zoneId": "z2"})).replaces == ["zoneId"]


async def test_the_sandbox_takes_what_the_provider_sends() -> None:
    store = Store(":memory:")
    zone = (await Api(store).call("POST", "/zones", {"name": "foobar.com"})).result["id"]
    moment = [1_000.0]
    app = Starlette(routes=routes(store, Settings(), now=lambda: moment[0]))
    key = new_key()
    pair: Values = {"zoneId": zone, "certificate": self_signed_pem(key), "privateKey": private_pem(key)}
    async with (
        served(app) as address,
        attached("cloudflare", apiToken=TOKEN, baseUrl=f"{address}/client/v4") as client,
    ):
        for kind, inputs in ((ORIGIN, {**REQUEST, "csr": request_pem(key)}), (CLIENT, pair)):
            checked = (await client.check(kind, "one", inputs)).inputs
            made, state = await client.create(kind, checked)
            assert (await client.diff(kind, state, checked)).changes == {}
            moment[0] += origin_pulls.DEPLOYMENT_SECONDS
            found, refreshed, _ = await client.read(kind, made, state, checked)
            assert found == made
            assert (await client.diff(kind, refreshed, checked)).changes == {}
            await client.delete(kind, made, state)
        switch = {"zoneId": zone, "enabled": True}
        made, state = await client.create(PULLS, switch)
        assert (await client.read(PULLS, made, state, switch))[1] == switch


async def test_client_certificates_of_a_zone_are_looked_up_without_their_keys() -> None:
    store = Store(":memory:")
    edge = Api(store)
    zone = (await edge.call("POST", "/zones", {"name": "foobar.com"})).result["id"]
    key = new_key()
    pair = {"certificate": self_signed_pem(key, "Somebody"), "private_key": private_pem(key)}
    made = (await edge.call("POST", f"/zones/{zone}/origin_tls_client_auth", pair)).result
    function = (
        "cloudflare:index/getAuthenticatedOriginPullsCertificates:getAuthenticatedOriginPullsCertificates"
    )
    async with (
        served(Starlette(routes=routes(store, Settings(), now=lambda: 1_000.0))) as address,
        attached("cloudflare", apiToken=TOKEN, baseUrl=f"{address}/client/v4") as client,
    ):
        [found] = (await client.invoke(function, {"zoneId": zone}))["results"]
        assert {**found, "serialNumber": ""} == {
            "certificate": pair["certificate"],
            "expiresOn": made["expires_on"],
            "id": made["id"],
            "issuer": "Somebody",
            "serialNumber": "",
            "signature": "ECDSAWithSHA256",
            "status": "pending_deployment",
            "uploadedOn": found["uploadedOn"],
        }
        with pytest.raises(ProviderError, match="failed to make http request"):
            await client.invoke(function, {"zoneId": "0" * 32})
