"""Certificates of a stack that the edge has and its state does not know, against the sandbox's own API."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import pytest
from starlette.applications import Starlette

from fleet.cloudflare import Cloudflare
from fleet.digitalocean import DigitalOcean
from fleet.edge_certificates import Owner, clean
from fleet.errors import FleetError
from fleet.identity import CertificatePair, Identity
from fleet.pulumi_cli import Project, PulumiCli
from fleet.settle import CLIENT_CERTIFICATE, ORIGIN_CERTIFICATE, Clouds, PendingCreate, settle
from sandbox.cloudflare import origin_pulls, routes
from sandbox.store import Store
from tests.pems import new_key, private_pem, self_signed_pem
from tests.unit.cloud_api import served
from tests.unit.cloudflare_api import TOKEN, Settings

SEED = base64.b64encode(b"s" * 32).decode()
OURS = Identity.from_seed(SEED)
THEIRS = Identity(seed=b"t" * 32)
ZONE = "foobar.com"
OWNER = Owner.of(OURS, ZONE, 2)
EMPTY: dict[str, Any] = {"deployment": {"resources": []}}


@dataclass
class Edge:
    """A zone, as an operator's machine reaches it."""

    cloud: Cloudflare
    zone: str
    said: list[str] = field(default_factory=list)

    def upload(self, identity: Identity, rotation: int = 1) -> str:
        return self._upload(identity.certificate(f"edge/{rotation}", client=True))

    def upload_somebodys(self) -> str:
        key = new_key()
        return self._upload(CertificatePair(self_signed_pem(key, "Somebody"), private_pem(key)))

    def _upload(self, pair: CertificatePair) -> str:
        body = {"certificate": pair.certificate_pem, "private_key": pair.private_key_pem}
        return str(self.cloud.api.call("POST", self.pulls, body=body)["result"]["id"])

    def sign(self, identity: Identity, rotation: int = 1) -> str:
        return str(
            self.cloud.api.call("POST", "/certificates", body=request(identity, rotation))["result"]["id"]
        )

    @property
    def pulls(self) -> str:
        return f"/zones/{self.zone}/origin_tls_client_auth"

    def listed(self) -> set[str]:
        lists = (self.cloud.every(self.pulls), self.cloud.every("/certificates", zone_id=self.zone))
        return {str(row["id"]) for rows in lists for row in rows}

    def clean(self, state: dict[str, Any]) -> tuple[list[str], list[str]]:
        return clean(self.cloud, state, OWNER, self.said.append)

    def settled(self, kind: str, inputs: dict[str, Any]) -> str | None:
        clouds = Clouds(lambda: cast(DigitalOcean, None), lambda: self.cloud)
        return settle(PendingCreate("urn:x::edge", kind, inputs), clouds, set()).adopt


def request(identity: Identity, rotation: int = 1) -> dict[str, Any]:
    csr = identity.origin_request(f"www.{ZONE}", rotation).request_pem
    return {"csr": csr, "hostnames": [f"www.{ZONE}"], "request_type": "origin-ecc"}


def knowing(**ids: str) -> dict[str, Any]:
    """A state with these certificates: `client`, `origin`."""
    kinds = {"client": CLIENT_CERTIFICATE, "origin": ORIGIN_CERTIFICATE}
    rows = [{"urn": name, "type": kinds[name], "id": found} for name, found in ids.items()]
    return {"deployment": {"resources": rows}}


@pytest.fixture
async def edge(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Edge]:
    monkeypatch.setattr(origin_pulls, "DEPLOYMENT_SECONDS", 0.3)
    store = Store(":memory:")
    async with served(Starlette(routes=routes(store, Settings()))) as address:
        cloud = Cloudflare.at(f"{address}/client/v4", TOKEN)
        made = await asyncio.to_thread(cloud.api.call, "POST", "/zones", body={"name": ZONE})
        yield Edge(cloud, made["result"]["id"])
    store.close()


async def test_a_client_certificate_that_no_state_knows_is_removed_and_may_be_uploaded_again(
    edge: Edge,
) -> None:
    def lost_and_cleaned() -> None:
        lost = edge.upload(OURS)
        with pytest.raises(FleetError, match="already exists"):
            edge.upload(OURS)
        assert edge.clean(EMPTY) == ([lost], [])
        assert edge.listed() == set()
        edge.upload(OURS)

    await asyncio.to_thread(lost_and_cleaned)


async def test_what_the_state_knows_stays(edge: Edge) -> None:
    def cleaned() -> None:
        client, origin = edge.upload(OURS), edge.sign(OURS)
        assert edge.clean(knowing(client=client, origin=origin)) == ([], [])
        assert edge.listed() == {client, origin}

    await asyncio.to_thread(cleaned)


async def test_certificates_of_others_are_named_and_never_touched(edge: Edge) -> None:
    def cleaned() -> None:
        other, somebodys = edge.upload(THEIRS), edge.upload_somebodys()
        signed = edge.sign(THEIRS)
        removed, foreign = edge.clean(EMPTY)
        assert (removed, set(foreign)) == ([], {other, somebodys})
        assert edge.listed() == {other, somebodys, signed}
        assert all(line.startswith(f"warning: zone {ZONE} has client certificate") for line in edge.said)
        assert any("'CN=Somebody'" in line for line in edge.said)

    await asyncio.to_thread(cleaned)


async def test_a_members_certificate_that_was_signed_twice_is_revoked(edge: Edge) -> None:
    def cleaned() -> None:
        lost, noted, older = edge.sign(OURS), edge.sign(OURS), edge.sign(OURS, 2)
        assert set(edge.clean(knowing(origin=noted))[0]) == {lost, older}
        assert edge.listed() == {noted}

    await asyncio.to_thread(cleaned)


async def test_one_that_is_being_deleted_is_no_stray(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> None:
    def cleaned() -> None:
        monkeypatch.setattr(origin_pulls, "DEPLOYMENT_SECONDS", 0)
        leaving = edge.upload(OURS)
        monkeypatch.setattr(origin_pulls, "DEPLOYMENT_SECONDS", 60)
        edge.cloud.delete(f"{edge.pulls}/{leaving}")
        assert edge.clean(EMPTY) == ([], [])

    await asyncio.to_thread(cleaned)


async def test_pending_creates_are_found_by_what_they_asked_for(edge: Edge) -> None:
    def found() -> None:
        edge.upload(OURS, 2)
        edge.sign(OURS, 2)
        edge.sign(THEIRS)
        client, origin = edge.upload(OURS), edge.sign(OURS)
        certificate = OURS.certificate("edge/1", client=True).certificate_pem
        asked = {"zoneId": edge.zone, "certificate": certificate.strip()}
        assert edge.settled(CLIENT_CERTIFICATE, asked) == client
        assert edge.settled(ORIGIN_CERTIFICATE, request(OURS)) == origin
        assert edge.settled(ORIGIN_CERTIFICATE, request(OURS, 3)) is None
        assert edge.settled(CLIENT_CERTIFICATE, asked | {"certificate": "another"}) is None

    await asyncio.to_thread(found)


class StackConfig:
    """What `pulumi config` knows of a stack."""

    project = Project(Path(), "flotilla")

    def __init__(self, seed: str = SEED, **edge: Any) -> None:
        self.seed, self.edge = seed, edge

    def config(self, _: str) -> dict[str, Any]:
        return {"flotilla:edge": self.edge} if self.edge else {}

    def secret(self, _stack: str, key: str) -> str:
        assert key == "seed"
        return self.seed


def owner(config: StackConfig) -> Owner | None:
    return Owner.of_stack(cast(PulumiCli, config), "dev")


def test_a_stack_is_told_by_its_seed_and_its_rotations() -> None:
    second = owner(StackConfig(kind="cloudflare", zone=ZONE, rotation=2))
    first = owner(StackConfig(kind="cloudflare", zone=ZONE))
    assert first is not None
    assert second is not None
    assert (second.zone, second.member_keys) == (ZONE, OWNER.member_keys)
    assert second.authority.certificate_pem == OURS.authority().certificate_pem
    assert len(first.member_keys) == 1


@pytest.mark.parametrize("edge", [{}, {"kind": "none", "zone": ZONE}])
def test_without_an_edge_nothing_is_looked_for(edge: dict[str, str]) -> None:
    assert owner(StackConfig(**edge)) is None


def test_a_seed_that_is_none_is_said_without_showing_it() -> None:
    with pytest.raises(FleetError, match="certificates of stack dev cannot be told: the seed") as raised:
        owner(StackConfig(seed="c2hvcnQ=", kind="cloudflare", zone=ZONE))
    assert "c2hvcnQ" not in str(raised.value)


async def test_a_zone_that_is_not_there_has_nothing(edge: Edge) -> None:
    elsewhere = Owner.of(OURS, "foobar.dev", 1)
    done = await asyncio.to_thread(clean, edge.cloud, EMPTY, elsewhere, edge.said.append)
    assert (done, edge.said) == (([], []), [])
