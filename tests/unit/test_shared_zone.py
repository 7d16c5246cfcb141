"""A zone that shows members a certificate which is not the stack's own: refused before anything is made."""

from __future__ import annotations

import pytest

from fleet.identity import Identity
from tests.harness import World
from tests.pems import new_key, self_signed_pem
from tests.unit.test_program import refused, run, without_edge
from tests.unit.test_settings import good

OURS = Identity.from_seed(good()["seed"])
THEIRS = Identity(seed=b"t" * 32)


def shown(certificate: str, status: str = "active") -> dict[str, str]:
    return {"certificate": certificate, "status": status}


def client(identity: Identity, rotation: int = 1) -> str:
    return identity.certificate(f"edge/{rotation}", client=True).certificate_pem


@pytest.mark.parametrize("status", ["initializing", "pending_deployment", "active"])
@pytest.mark.parametrize("certificate", [client(THEIRS), self_signed_pem(new_key()), "no certificate"])
def test_a_zone_of_somebody_else_is_one_line_that_names_it_and_the_way_on(
    certificate: str, status: str
) -> None:
    world = World(client_certificates=[shown(client(OURS)), shown(certificate, status)])
    (line,) = refused(world=world)
    assert line.startswith('flotilla:edge.zone = "foobar.com": the zone has a client certificate')
    assert "give this stack a zone of its own" in line


def test_the_stacks_own_certificates_of_all_rotations_are_welcome() -> None:
    world = World(client_certificates=[shown(client(OURS)), shown(client(OURS, 2), "pending_deployment")])
    assert run(world=world).named("edge-client")


def test_a_new_seed_gives_the_stack_another_authority_which_must_be_said() -> None:
    world = World(client_certificates=[shown(client(THEIRS))])
    (line,) = refused(world=world)
    assert "set flotilla:force to [new-seed]" in line
    assert run(good() | {"force": ["new-seed"]}, world=world).named("edge-client")


@pytest.mark.parametrize("status", ["pending_deletion", "deleted", "deletion_timed_out"])
def test_what_is_leaving_is_in_nobodys_way(status: str) -> None:
    assert run(world=World(client_certificates=[shown(client(THEIRS), status)])).named("edge-client")


def test_without_an_edge_nobody_asks() -> None:
    recording = run(without_edge(), world=World(client_certificates=[shown(client(THEIRS))]))
    assert not any("OriginPulls" in function for function, _ in recording.invokes)


def test_an_edge_that_does_not_tell_is_one_line() -> None:
    (line,) = refused(world=World(failing=frozenset({"getAuthenticatedOriginPullsCertificates"})))
    assert "client certificates of zone foobar.com" in line
