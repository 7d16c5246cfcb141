"""The edge as the program makes it: who shows whom which certificate, and when."""

from __future__ import annotations

import json
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from tests.harness import Recording, is_secret
from tests.unit.test_program import run, without_edge
from tests.unit.test_settings import good, with_value
from tests.unit.tiers import IDENTITY

ORIGIN = "cloudflare:index/originCaCertificate:OriginCaCertificate"


@pytest.fixture(scope="module")
def recording() -> Recording:
    return run()


def bundle(recording: Recording) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(recording.named("web-1-secrets").plain("stdin"))
    return told


def rotated(rotation: int) -> Recording:
    return run(with_value("edge.rotation", rotation))


def test_members_serve_with_a_certificate_that_the_edge_signed(recording: Recording) -> None:
    [origin] = recording.of_type(ORIGIN)
    assert origin.inputs["hostnames"] == ["www.foobar.com"]
    assert origin.inputs["requestType"] == "origin-ecc"
    assert bundle(recording)["secrets"]["tls.crt"].splitlines()[1].startswith("origin")
    assert origin.urn in recording.named("web-1-secrets").property_dependencies["stdin"]


def test_the_request_is_for_the_key_that_members_get(recording: Recording) -> None:
    request = IDENTITY.certificate_request("origin/1", dns=["www.foobar.com"])
    assert recording.named("edge-origin").inputs["csr"] == request.request_pem
    assert bundle(recording)["secrets"]["tls.key"] == request.private_key_pem


def test_the_edge_shows_a_certificate_of_the_stacks_authority(recording: Recording) -> None:
    shown = recording.named("edge-client")
    certificate = x509.load_pem_x509_certificate(shown.inputs["certificate"].encode())
    authority = x509.load_pem_x509_certificate(bundle(recording)["settings"]["origin_pull_ca"].encode())
    certificate.verify_directly_issued_by(authority)
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert is_secret(shown.inputs["privateKey"])


def test_the_edge_presents_it_before_any_member_demands_it(recording: Recording) -> None:
    assert recording.named("edge-pulls").inputs["enabled"] is True
    assert recording.named("edge-client").urn in recording.named("edge-pulls").dependencies
    assert "edge-pulls" in recording.upstream("web-1-secrets")
    assert not [name for name in recording.upstream("web-1") if name.startswith("edge-")]


def test_visitors_come_by_tls_and_the_edge_checks_members(recording: Recording) -> None:
    settings = {
        resource.inputs["settingId"]: resource.inputs["value"]
        for resource in recording.of_type("cloudflare:index/zoneSetting:ZoneSetting")
    }
    assert settings == {"ssl": "strict", "min_tls_version": "1.2", "always_use_https": "on"}
    assert "edge-origin" in recording.upstream("edge-strict-tls")


def test_a_rotation_changes_both_keys_and_no_machine() -> None:
    first, second = rotated(1), rotated(2)
    for name, key in (("edge-origin", "csr"), ("edge-client", "certificate")):
        assert first.named(name).inputs[key] != second.named(name).inputs[key]
    assert first.named("web-1").plain("userData") == second.named("web-1").plain("userData")
    told, again = bundle(first), bundle(second)
    assert told["secrets"]["tls.key"] != again["secrets"]["tls.key"]
    assert told["settings"]["origin_pull_ca"] == again["settings"]["origin_pull_ca"]


def test_without_an_edge_members_have_a_certificate_of_their_own_and_demand_none() -> None:
    recording = run(without_edge())
    assert not [name for name in recording.names() if name.startswith("edge")]
    told = bundle(recording)
    assert told["settings"]["origin_pull_ca"] == ""
    assert told["secrets"]["tls.crt"] == IDENTITY.certificate("web", dns=["www.foobar.com"]).certificate_pem


def test_the_first_plan_does_not_know_the_certificate_yet() -> None:
    assert run(good(), preview=True).named("web-1-gate")
