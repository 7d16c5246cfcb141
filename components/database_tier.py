"""The database as a machine of the fleet's own, its data on a volume that outlives the machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pulumi

from cloudinit.roles import database as payload
from components import commands, model, naming
from components.clouds import port
from components.commands import Login, Parcel
from components.database_endpoint import DATABASE_NAME, DatabaseEndpoint
from components.model import Role
from components.naming import Child
from components.preflight import BootImage
from components.site import Site
from fleet import config

DATABASE_USER = "site"
PASSWORD_PURPOSE = "database"  # noqa: S105 - names what a password is for


@dataclass(frozen=True, kw_only=True, slots=True)
class DatabaseTierArgs:
    """What a self-hosted database is made of."""

    site: Site
    size: str
    image: BootImage
    volume_gib: int
    protect_data: bool
    """Whether deleting the volume is refused."""
    after: Sequence[pulumi.Resource]
    """What must exist before the machine: its firewall."""


class DatabaseTier(pulumi.ComponentResource):
    """One database server with its data on a volume of its own."""

    host: pulumi.Output[str]
    """Private address of the server."""
    endpoint: DatabaseEndpoint
    """What the web tier needs to connect."""
    native: port.Machine
    """The machine itself."""

    def __init__(self, name: str, args: DatabaseTierArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("flotilla:index:DatabaseTier", name, None, opts)
        slot = naming.slot(Role.DATABASE, 1)
        volume = args.site.cloud.volume(
            naming.child(slot, Child.DATA),
            args.volume_gib,
            pulumi.ResourceOptions(parent=self, protect=args.protect_data),
        )
        self.native = self._machine(slot, args, volume)
        login = Login(
            address=self.native.public_address,
            host_key=args.site.identity.host_key(slot).public_openssh,
            private_key=pulumi.Output.secret(args.site.identity.deploy_key().private_openssh),
        )
        connection = login.connection()
        scratch = _scratch(args)
        parcel = Parcel.of(
            self.native.private_address.apply(lambda address: _bundle(args, slot, address)),
            payload.archive(scratch) if scratch else None,
        )
        secrets = commands.deliver(
            naming.child(slot, Child.SECRETS),
            connection,
            parcel,
            self.native.resource,
            pulumi.ResourceOptions(parent=self),
        )
        gate = commands.gate(
            naming.child(slot, Child.GATE),
            connection,
            [self.native.resource.id, parcel.digest],
            # The gate judges what the secrets have started; it takes no value from them.
            pulumi.ResourceOptions(parent=self, depends_on=[secrets]),
        )
        self.host = self.native.private_address
        self.endpoint = DatabaseEndpoint(
            engine=args.site.engine,
            host=self.host,
            port=pulumi.Output.from_input(model.database_port(args.site.engine)),
            name=DATABASE_NAME,
            user=DATABASE_USER,
            password=pulumi.Output.secret(args.site.identity.password(PASSWORD_PURPOSE)),
            authority=pulumi.Output.from_input(args.site.identity.authority().certificate_pem),
            ready=[gate],
        )
        self.register_outputs({"host": self.host})

    def _machine(self, slot: str, args: DatabaseTierArgs, volume: port.Volume) -> port.Machine:
        return args.site.cloud.machine(
            slot,
            port.MachineSpec(
                image=args.image.id,
                size=args.size,
                user_data=volume.name.apply(lambda name: _user_data(args, slot, name)),
                tags=args.site.tags(Role.DATABASE),
                volumes=[volume.resource.id],
            ),
            pulumi.ResourceOptions(
                parent=self,
                # A volume can be attached to one machine only, so the old machine must let go of it first.
                delete_before_replace=True,
                # A machine without its firewall would be open for the moment between the two.
                depends_on=args.after,
            ),
        )


def _scratch(args: DatabaseTierArgs) -> payload.DatabaseImage | None:
    """What the first boot must make of a distribution's image."""
    return payload.DatabaseImage(engine=args.site.engine) if args.image.from_scratch else None


def _user_data(args: DatabaseTierArgs, slot: str, volume: str) -> str:
    return payload.boot(
        payload.DatabaseMachine(
            stack=args.site.stack,
            slot=slot,
            network=args.site.places.network,
            inbound=args.site.inbound(Role.DATABASE),
            engine=args.site.engine,
            volume=volume,
            host_key=args.site.identity.host_key(slot),
            authorized_keys=args.site.authorized_keys(),
            from_scratch=_scratch(args),
        )
    )


def _bundle(args: DatabaseTierArgs, slot: str, address: str) -> config.Bundle:
    """What the server is told; its certificate holds the address that the members connect to."""
    certificate = args.site.identity.certificate(slot, dns=[slot], ips=[address])
    return config.Bundle(
        settings=config.Settings(
            database=config.DatabaseSettings(
                engine=args.site.engine,
                host=address,
                port=model.database_port(args.site.engine),
                name=DATABASE_NAME,
                user=DATABASE_USER,
            ),
            manifest=args.image.manifest,
        ),
        secrets={
            "database-password": args.site.identity.password(PASSWORD_PURPOSE),
            "database-ca.pem": args.site.identity.authority().certificate_pem,
            "database-server.crt": certificate.certificate_pem,
            "database-server.key": certificate.private_key_pem,
        },
    )
