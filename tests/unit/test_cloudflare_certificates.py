"""Origin CA and authenticated origin pulls as clients of Cloudflare's API see them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from sandbox.cloudflare import origin_ca, origin_pulls
from sandbox.cloudflare.origin_pulls import DEPLOYMENT_SECONDS
from sandbox.store import Store
from tests.pems import new_key, private_pem, request_pem, self_signed_pem
from tests.unit.cloudflare_api import Api

KEY = new_key()
CSR = request_pem(KEY)
CLIENT = self_signed_pem(KEY)
PAIR = {"certificate": CLIENT, "private_key": private_pem(KEY)}


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    store = Store(":memory:")
    client = Api(store)
    client.zone = (await client.call("POST", "/zones", {"name": "foobar.com"})).result["id"]
    yield client
    store.close()


async def issue(api: Api, **fields: Any) -> Any:
    body = {"csr": CSR, "hostnames": ["www.foobar.com"], "request_type": "origin-ecc"} | fields
    return await api.call("POST", "/certificates", body)


async def pulls(api: Api, method: str, path: str = "", body: object = None) -> Any:
    return await api.call(method, f"/zones/{api.zone}/origin_tls_client_auth{path}", body)


@pytest.mark.parametrize("kind", ["origin-ecc", "origin-rsa"])
async def test_certificate_is_signed_by_the_origin_ca_for_the_names_asked_for(api: Api, kind: str) -> None:
    names = ["www.foobar.com", "*.foobar.com", "foobar.com"]
    result = (await issue(api, hostnames=names, request_type=kind, requested_validity=90)).result
    certificate = x509.load_pem_x509_certificate(result["certificate"].encode())
    (root,) = origin_ca.roots(api.store)
    certificate.verify_directly_issued_by(x509.load_pem_x509_certificate(root.encode()))
    held = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert certificate.public_key() == KEY.public_key()
    assert held.get_values_for_type(x509.DNSName) == names == result["hostnames"]
    assert ExtendedKeyUsageOID.SERVER_AUTH in usage
    left = certificate.not_valid_after_utc - datetime.now(UTC)
    assert timedelta(days=89) < left <= timedelta(days=90)
    assert (result["id"], result["csr"], result["requested_validity"]) == (
        str(certificate.serial_number),
        CSR,
        90,
    )
    assert result["expires_on"] == certificate.not_valid_after_utc.strftime("%Y-%m-%d %H:%M:%S +0000 UTC")


async def test_certificates_are_good_for_fifteen_years_unless_told_otherwise(api: Api) -> None:
    assert (await issue(api)).result["requested_validity"] == 5475


async def test_authority_is_the_same_for_every_certificate(api: Api) -> None:
    await issue(api)
    await issue(api)
    assert len(origin_ca.roots(api.store)) == 1


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"hostnames": ["www.elsewhere.org"]}, 1010),
        ({"hostnames": ["www.foobar.com", "evilfoobar.com"]}, 1010),
        ({"hostnames": []}, 9207),
        ({"hostnames": ["*.*.foobar.com"]}, 9207),
        ({"hostnames": ["www.*.foobar.com"]}, 9207),
        ({"hostnames": ["*.com"]}, 9207),
        ({"hostnames": [f"h{number}.foobar.com" for number in range(201)]}, 9207),
        ({"csr": "-----BEGIN CERTIFICATE REQUEST-----\nAAAA\n-----END CERTIFICATE REQUEST-----\n"}, 9207),
        ({"csr": CLIENT}, 9207),
        ({"request_type": "keyless-certificate"}, 9207),
        ({"requested_validity": 8}, 9207),
        ({"requested_validity": True}, 9207),
        ({"validity": 7}, 9207),
    ],
)
async def test_wrong_requests_are_refused(api: Api, fields: dict[str, Any], code: int) -> None:
    reply = await issue(api, **fields)
    assert (reply.status, reply.code) == (400, code)
    assert api.store.all(origin_ca.KIND) == []


async def test_international_names_become_punycode(api: Api) -> None:
    await api.call("POST", "/zones", {"name": "xn--bcher-kva.de"})
    assert (await issue(api, hostnames=["www.bücher.de"])).result["hostnames"] == ["www.xn--bcher-kva.de"]


async def test_certificates_are_read_by_id_and_listed_by_zone(api: Api) -> None:
    other = (await api.call("POST", "/zones", {"name": "foobar.dev"})).result["id"]
    made = (await issue(api)).result
    assert (await api.call("GET", f"/certificates/{made['id']}")).result == made
    assert (await api.call("GET", "/certificates", zone_id=api.zone)).result == [made]
    assert (await api.call("GET", "/certificates", zone_id=other)).result == []
    assert (await api.call("GET", "/certificates")).code == 1002


async def test_revoked_certificate_vanishes(api: Api) -> None:
    path = f"/certificates/{(await issue(api)).result['id']}"
    assert (await api.call("DELETE", path)).result["revoked_at"]
    gone, again = await api.call("GET", path), await api.call("DELETE", path)
    assert (gone.status, gone.code, again.status, again.code) == (404, 1101, 400, 1014)
    assert (await api.call("GET", "/certificates", zone_id=api.zone)).result == []
    assert (await api.call("DELETE", "/certificates/17")).status == 404


async def test_uploaded_client_certificate_becomes_active(api: Api) -> None:
    made = (await pulls(api, "POST", body=PAIR)).result
    assert (made["status"], made["issuer"], made["signature"]) == (
        "pending_deployment",
        "Flotilla",
        "ECDSAWithSHA256",
    )
    assert "private_key" not in made
    api.now += DEPLOYMENT_SECONDS
    assert (await pulls(api, "GET", f"/{made['id']}")).result == made | {"status": "active"}
    assert [one["id"] for one in (await pulls(api, "GET")).result] == [made["id"]]


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (PAIR | {"certificate": "none"}, 1408),
        (PAIR | {"private_key": "none"}, 2200),
        (PAIR | {"private_key": private_pem(new_key())}, 2200),
        (PAIR | {"type": "per-zone"}, 9207),
    ],
)
async def test_wrong_pairs_are_refused(api: Api, body: dict[str, str], code: int) -> None:
    reply = await pulls(api, "POST", body=body)
    assert (reply.status, reply.code) == (400, code)


async def test_same_certificate_is_taken_once(api: Api) -> None:
    made = (await pulls(api, "POST", body=PAIR)).result
    assert (await pulls(api, "POST", body=PAIR)).code == 1406
    api.now += DEPLOYMENT_SECONDS
    await pulls(api, "DELETE", f"/{made['id']}")
    assert (await pulls(api, "POST", body=PAIR)).status == 200


async def test_deleted_client_certificate_is_gone_when_the_edge_is(api: Api) -> None:
    path = f"/{(await pulls(api, 'POST', body=PAIR)).result['id']}"
    early = await pulls(api, "DELETE", path)
    assert (early.status, early.code) == (409, 1434)
    api.now += DEPLOYMENT_SECONDS
    assert (await pulls(api, "DELETE", path)).result["status"] == "pending_deletion"
    assert (await pulls(api, "DELETE", path)).code == 1414
    assert (await pulls(api, "GET", path)).result["status"] == "pending_deletion"
    api.now += DEPLOYMENT_SECONDS
    gone = await pulls(api, "GET", path)
    assert (gone.status, gone.code) == (404, 1552)
    assert (await pulls(api, "DELETE", path)).status == 404
    assert (await pulls(api, "GET", "/no-id")).code == 1415


async def test_another_zones_certificate_is_not_found(api: Api) -> None:
    made = (await pulls(api, "POST", body=PAIR)).result
    api.zone = (await api.call("POST", "/zones", {"name": "foobar.dev"})).result["id"]
    assert (await pulls(api, "GET", f"/{made['id']}")).code == 1552
    assert (await pulls(api, "POST", body=PAIR)).status == 200


async def test_rotation_leaves_no_moment_without_a_certificate(api: Api) -> None:
    def at_the_edge() -> str | None:
        return origin_pulls.deployed(api.store, api.zone, api.now)

    old = (await pulls(api, "POST", body=PAIR)).result
    assert at_the_edge() is None
    assert origin_pulls.seconds_until_change(api.store, api.now) == DEPLOYMENT_SECONDS
    api.now += DEPLOYMENT_SECONDS
    first = at_the_edge()
    assert first is not None
    assert PAIR["certificate"] in first
    key = new_key()
    certificate = self_signed_pem(key)
    await pulls(api, "POST", body={"certificate": certificate, "private_key": private_pem(key)})
    await pulls(api, "DELETE", f"/{old['id']}")
    assert at_the_edge() == first
    api.now += DEPLOYMENT_SECONDS
    second = at_the_edge()
    assert second is not None
    assert certificate in second
    assert origin_pulls.seconds_until_change(api.store, api.now) is None


async def test_origin_pulls_are_off_until_enabled(api: Api) -> None:
    assert (await pulls(api, "GET", "/settings")).result == {"enabled": False}
    assert (await pulls(api, "PUT", "/settings", {"enabled": True})).result == {"enabled": True}
    assert (await pulls(api, "GET", "/settings")).result == {"enabled": True}
    assert (await pulls(api, "PUT", "/settings", {"enabled": "on"})).code == 9207
    assert (await pulls(api, "PUT", "/settings", {})).code == 9207


async def test_deleted_zone_takes_its_origin_pulls_along(api: Api) -> None:
    await pulls(api, "POST", body=PAIR)
    await pulls(api, "PUT", "/settings", {"enabled": True})
    await api.call("DELETE", f"/zones/{api.zone}")
    assert api.store.all(origin_pulls.KIND) == api.store.all(origin_pulls.SETTING_KIND) == []
