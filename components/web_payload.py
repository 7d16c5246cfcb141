"""What a web member is made from and told, whether Pulumi puts it in a slot or the controller beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pulumi

from cloudinit.release import Release
from cloudinit.roles import web as role
from cloudinit.roles.common import HostKey
from components.commands import Parcel
from components.database_endpoint import DatabaseEndpoint
from components.datastore import DatastoreAccess
from components.edge import Origin
from components.model import Role
from components.preflight import BootImage
from components.site import Site
from fleet import config
from fleet.identity import Identity


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """What members are told of the rest of the stack."""

    domain: str
    origin: Origin
    """What members show the edge, and demand of it."""
    database: DatabaseEndpoint
    datastore: DatastoreAccess | None

    @property
    def ready(self) -> Sequence[pulumi.Resource]:
        """What must be there before a member is told of it. One that cannot reach the database would not pass its gate;
        one that demands a certificate of an edge that shows none yet would turn visitors away."""
        store = self.datastore.ready if self.datastore else ()
        return [*self.database.ready, *self.origin.ready, *store]


@dataclass(frozen=True, slots=True, kw_only=True)
class WebPayload:
    """Made once for all members."""

    site: Site
    parcels: Mapping[BootImage, Parcel]
    """What a member of each image is handed."""
    ready: Sequence[pulumi.Resource]
    """What must be there before a member is handed it."""
    rights: pulumi.Output[str] | None
    """What gives the site's user its rights in the database; None where it has them."""
    tunnelled: bool
    """Whether a member reaches the database only after it was handed its parcel."""
    _inbound: tuple[config.Inbound, ...]
    _authorized_keys: tuple[str, ...]
    _scratch: role.WebImage | None

    @classmethod
    def of(cls, site: Site, told: Told, images: Sequence[BootImage], release: Release | None) -> WebPayload:
        """`release` is the site, when an image is a distribution's and does not hold it."""
        scratch = role.WebImage(release=release) if release else None
        known = _known(told)
        return cls(
            site=site,
            parcels={image: _parcel(site, told, known, image, scratch) for image in images},
            ready=told.ready,
            rights=told.database.rights(),
            tunnelled=told.database.tunnel is not None,
            _inbound=site.inbound(Role.WEB),
            _authorized_keys=site.authorized_keys(),
            _scratch=scratch,
        )

    def user_data(self, slot: str, host_key: HostKey, image: BootImage) -> str:
        """Identity and structure of the member in a slot, which may be a burst member's."""
        return role.boot(
            role.WebMachine(
                stack=self.site.stack,
                slot=slot,
                network=self.site.places.network,
                inbound=self._inbound,
                host_key=host_key,
                authorized_keys=self._authorized_keys,
                from_scratch=self._scratch if image.from_scratch else None,
            )
        )


def _known(told: Told) -> pulumi.Output[dict[str, Any]]:
    """What is only known when the stack is being made."""
    known: dict[str, pulumi.Output[Any]] = {
        "host": told.database.host,
        "port": told.database.port,
        "password": told.database.password,
        "authority": told.database.authority,
        "certificate": told.origin.certificate,
    }
    if told.datastore is not None:
        known |= told.datastore.outputs()
    return pulumi.Output.all(**known)


def _parcel(
    site: Site,
    told: Told,
    known: pulumi.Output[dict[str, Any]],
    image: BootImage,
    scratch: role.WebImage | None,
) -> Parcel:
    bundle = known.apply(lambda values: _bundle(site, told, image.manifest, values))
    return Parcel.of(bundle, role.archive(scratch) if scratch and image.from_scratch else None)


def _bundle(site: Site, told: Told, manifest: str, known: Mapping[str, Any]) -> config.Bundle:
    """What every member is told; all of them serve with one certificate."""
    store, database = told.datastore, told.database
    return config.Bundle(
        settings=config.Settings(
            database=config.DatabaseSettings(
                engine=database.engine,
                host=known["host"],
                port=int(known["port"]),
                name=database.name,
                user=database.user,
                tunnel=database.tunnel,
            ),
            datastore=store.settings(known) if store else None,
            server_names=(told.domain,),
            edge_ranges=site.places.edge,
            origin_pull_ca=told.origin.client_authority,
            manifest=manifest,
        ),
        secrets={
            "database-password": known["password"],
            "database-ca.pem": known["authority"],
            "tls.crt": known["certificate"],
            "tls.key": told.origin.private_key,
            **_own_secrets(site.identity, told),
            **(store.secrets(known) if store else {}),
        },
    )


def _own_secrets(identity: Identity, told: Told) -> dict[str, str]:
    """What the stack's seed gives."""
    peer = identity.peer_certificate()
    shown = (peer.certificate_pem, peer.private_key_pem, identity.authority().certificate_pem)
    secrets = dict(zip(config.PEER_SECRETS, shown, strict=True))
    if told.datastore is not None:
        # Only members that talk to the database open what is sealed in the datastore.
        secrets[config.DATASTORE_SEAL] = identity.seal_key()
    if told.database.tunnel is not None:
        secrets[config.TUNNEL_KEY] = identity.tunnel_key().private_openssh
    return secrets
