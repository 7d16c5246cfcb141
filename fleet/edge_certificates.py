"""A stack's own certificates at the edge that its state does not know.

An upload whose answer was lost leaves one: the provider sends it again, is told that it exists already, and fails, so
that neither the state nor its pending operations know of it, and every later `up` fails in the same way.
https://github.com/cloudflare/terraform-provider-cloudflare/issues/837
A certificate for the members whose answer was lost is signed a second time, and nobody ever refers to the first.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from fleet.cloudflare import Cloudflare
from fleet.errors import FleetError
from fleet.identity import CertificateAuthority, Identity, SeedError
from fleet.pulumi_cli import PulumiCli
from fleet.settle import CLIENT_CERTIFICATE, LEAVING, ORIGIN_CERTIFICATE, known_ids
from fleet.web_api import ApiError, Json, await_value

# The real edge takes minutes to deploy a client certificate, and to remove one.
# https://developers.cloudflare.com/ssl/origin-configuration/authenticated-origin-pull/set-up/zone-level/
DEPLOYMENT_SECONDS = 900.0
_ARRIVING = frozenset({"initializing", "pending_deployment"})

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Owner:
    """What a stack's certificates are told by: its authority, and the keys that its members have had."""

    zone: str
    authority: CertificateAuthority
    member_keys: frozenset[bytes]

    @classmethod
    def of(cls, identity: Identity, zone: str, rotation: int) -> Owner:
        """`rotation`: the newest that was ever used."""
        requests = (identity.origin_request(zone, number) for number in range(1, rotation + 1))
        return cls(
            zone,
            identity.authority(),
            frozenset(_key(x509.load_pem_x509_csr(request.request_pem.encode())) for request in requests),
        )

    @classmethod
    def of_stack(cls, cli: PulumiCli, stack: str) -> Owner | None:
        """From the stack's config; None where no edge that has certificates stands in front of it."""
        config = cli.config(stack)
        edge = config.get(f"{cli.project.name}:edge")
        if not isinstance(edge, dict) or edge.get("kind") != "cloudflare" or not edge.get("zone"):
            return None
        try:
            identity = Identity.from_seed(cli.secret(stack, "seed"))
            return cls.of(identity, str(edge["zone"]), int(edge.get("rotation", 1)))
        except (SeedError, ValueError) as error:
            raise FleetError(f"the certificates of stack {stack} cannot be told: {error}") from error

    def issued(self, certificate: Json) -> bool:
        """Whether the stack's own authority has signed this client certificate."""
        return self.authority.issued(str(certificate.get("certificate")))

    def requested(self, certificate: Json) -> bool:
        """Whether this certificate is for a key of the stack's members."""
        found = _parsed(certificate)
        return found is not None and _key(found) in self.member_keys


@dataclass(frozen=True, slots=True)
class Strays:
    """Certificates that are in no state of the stack."""

    clients: list[Json]
    """Shown to members; the stack's own."""
    origins: list[Json]
    """Shown by members; the stack's own."""
    foreign: list[Json]
    """Shown to members, and made by somebody else."""


def sort(state: Json, owner: Owner, clients: Iterable[Json], origins: Iterable[Json]) -> Strays:
    """Those of a zone's certificates that the state does not know; what is being deleted is not there any more."""
    known = known_ids(state)
    unknown = [
        row
        for row in clients
        if (CLIENT_CERTIFICATE, str(row["id"])) not in known and row["status"] not in LEAVING
    ]
    return Strays(
        clients=[row for row in unknown if owner.issued(row)],
        origins=[
            row
            for row in origins
            if (ORIGIN_CERTIFICATE, str(row["id"])) not in known and owner.requested(row)
        ],
        foreign=[row for row in unknown if not owner.issued(row)],
    )


def clean(cloud: Cloudflare, state: Json, owner: Owner, say: Say) -> tuple[list[str], list[str]]:
    """Remove the stack's own strays and name everybody else's; what was removed, and what is foreign."""
    zone = cloud.zone_id(owner.zone)
    if zone is None:
        return [], []
    pulls = f"/zones/{zone}/origin_tls_client_auth"
    strays = sort(state, owner, cloud.every(pulls), cloud.every("/certificates", zone_id=zone))
    removed = []
    for row in strays.clients:
        say(f"Removing client certificate {row['id']} of zone {owner.zone}, which is in no state ...")
        asyncio.run(_remove_client(cloud, pulls, str(row["id"])))
        removed.append(str(row["id"]))
    for row in strays.origins:
        _revoke(cloud, zone, str(row["id"]))
        say(f"Revoked origin certificate {row['id']}: signed twice, because an answer of the edge was lost")
        removed.append(str(row["id"]))
    for row in strays.foreign:
        say(
            f"warning: zone {owner.zone} has client certificate {row['id']} of {_issuer(row)}, which is not this "
            "stack's; origin pulls are zone-wide, so give each stack a zone of its own"
        )
    return removed, [str(row["id"]) for row in strays.foreign]


async def _remove_client(cloud: Cloudflare, pulls: str, identifier: str) -> None:
    """Until it is gone, for its like may not be uploaded before. One on its way to the edge cannot be deleted."""

    def status() -> str:
        found = (str(row["status"]) for row in cloud.every(pulls) if row["id"] == identifier)
        return next(found, "deleted")

    what = f"client certificate {identifier}"
    await await_value(
        status,
        lambda seen: seen not in _ARRIVING,
        seconds=DEPLOYMENT_SECONDS,
        what=f"{what} to reach the edge, and only then it can be deleted; run `fleet recover` again",
    )
    await asyncio.to_thread(_delete, cloud, f"{pulls}/{identifier}", lambda: status() not in LEAVING)
    await await_value(
        status,
        lambda seen: seen in LEAVING - {"pending_deletion"},
        seconds=DEPLOYMENT_SECONDS,
        what=f"{what} to leave the edge; run `fleet recover` again",
    )


def _delete(cloud: Cloudflare, path: str, there: Callable[[], bool]) -> None:
    """Delete it; a repeated request is refused when the answer to the first one was lost."""
    try:
        cloud.delete(path)
    except ApiError:
        if there():
            raise


def _revoke(cloud: Cloudflare, zone: str, identifier: str) -> None:
    def there() -> bool:
        return any(row["id"] == identifier for row in cloud.every("/certificates", zone_id=zone))

    _delete(cloud, f"/certificates/{identifier}", there)


def _parsed(certificate: Json) -> x509.Certificate | None:
    """The first one of a chain, as uploads may have it."""
    try:
        return x509.load_pem_x509_certificates(str(certificate.get("certificate")).encode())[0]
    except (ValueError, UnsupportedAlgorithm):
        return None


def _key(owner: x509.Certificate | x509.CertificateSigningRequest) -> bytes:
    return owner.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _issuer(certificate: Json) -> str:
    found = _parsed(certificate)
    return f"{found.issuer.rfc4514_string()!r}" if found is not None else "an unknown issuer"
