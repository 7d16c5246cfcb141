"""The members that serve the site: slots that keep their names and keys while the machines in them change.

All machines boot and pass their gates in parallel; only the records are chained, slot after slot, so that the first
slot is the canary. A slot that goes loses its record, then its visitors, then its machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pulumi

from cloudinit.release import Release
from cloudinit.roles import web as payload
from components import commands, naming
from components.clouds import port
from components.commands import Login, Parcel
from components.database_tier import PASSWORD_PURPOSE, DatabaseEndpoint
from components.model import DrainTimes, Role
from components.naming import Child
from components.preflight import BootImage
from components.site import Site
from fleet import config
from fleet.identity import SshKeyPair


@dataclass(frozen=True, kw_only=True, slots=True)
class WebTierArgs:
    """What a web tier is made of."""

    site: Site
    domain: str
    count: int
    size: str
    image: BootImage
    release: Release | None
    """The site, when the image is a distribution's and does not hold it."""
    drain: DrainTimes
    dns: port.Dns
    database: DatabaseEndpoint
    after: Sequence[pulumi.Resource]
    """What must exist before the first machine: the firewall."""

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count is {self.count}; a web tier has 1 member or more")


class WebTier(pulumi.ComponentResource):
    """Members in slots `web-1` to `web-<count>`, each with its record at the edge."""

    members: pulumi.Output[Mapping[str, str]]
    """Public address of the machine in each slot."""
    native: Mapping[str, port.Machine]
    """The machine in each slot."""

    def __init__(self, name: str, args: WebTierArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("flotilla:index:WebTier", name, None, opts)
        shared = _Shared.of(args)
        machines: dict[str, port.Machine] = {}
        previous: pulumi.Resource | None = None
        for number in range(1, args.count + 1):
            slot = naming.slot(Role.WEB, number)
            machines[slot], previous = self._slot(slot, args, shared, previous)
        self.native = machines
        self.members = pulumi.Output.all(
            **{slot: machine.public_address for slot, machine in machines.items()}
        )
        self.register_outputs({"members": self.members})

    def _slot(
        self, slot: str, args: WebTierArgs, shared: _Shared, previous: pulumi.Resource | None
    ) -> tuple[port.Machine, pulumi.Resource]:
        """One slot's resources; returns the machine and the record that the next slot's waits for."""
        host_key = args.site.identity.host_key(slot)
        machine = self._machine(slot, args, shared, host_key)
        login = Login(
            address=machine.public_address,
            host_key=host_key.public_openssh,
            private_key=shared.private_key,
        )
        connection = login.connection()
        secrets = commands.deliver(
            naming.child(slot, Child.SECRETS),
            connection,
            shared.parcel,
            machine.resource,
            # A member that cannot reach the database would not pass its gate.
            pulumi.ResourceOptions(parent=self, depends_on=[args.database.ready]),
        )
        gate = commands.gate(
            naming.child(slot, Child.GATE),
            connection,
            [machine.resource.id, shared.parcel.digest],
            # The gate judges what the secrets have started; it takes no value from them.
            pulumi.ResourceOptions(parent=self, depends_on=[secrets]),
        )
        drain = commands.drain(
            naming.child(slot, Child.DRAIN),
            slot,
            login,
            args.drain,
            machine.resource,
            # Deletes run backwards: drained before anything of the machine goes.
            pulumi.ResourceOptions(parent=self, depends_on=[gate]),
        )
        record = args.dns.record(
            naming.child(slot, Child.DNS),
            machine.public_address,
            f"flotilla {args.site.stack} {slot}",
            # No visitor before the gate; the record goes before the drain; and one switch after the other.
            pulumi.ResourceOptions(parent=self, depends_on=[drain, *([previous] if previous else [])]),
        )
        return machine, record

    def _machine(self, slot: str, args: WebTierArgs, shared: _Shared, host_key: SshKeyPair) -> port.Machine:
        user_data = payload.boot(
            payload.WebMachine(
                stack=args.site.stack,
                slot=slot,
                network=args.site.places.network,
                inbound=shared.inbound,
                host_key=host_key,
                authorized_keys=shared.authorized_keys,
                from_scratch=shared.scratch,
            )
        )
        return args.site.cloud.machine(
            slot,
            port.MachineSpec(image=args.image.id, size=args.size, user_data=user_data, tags=shared.tags),
            pulumi.ResourceOptions(
                parent=self,
                # A machine without its firewall would be open for the moment between the two.
                depends_on=args.after,
                # Resizing in place would power a serving member off.
                replace_on_changes=["size"],
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shared:
    """What all slots have in common, made once."""

    tags: tuple[pulumi.Input[str], ...]
    inbound: tuple[config.Inbound, ...]
    private_key: pulumi.Output[str]
    authorized_keys: tuple[str, ...]
    scratch: payload.WebImage | None
    parcel: Parcel

    @classmethod
    def of(cls, args: WebTierArgs) -> _Shared:
        scratch = payload.WebImage(release=args.release) if args.release else None
        bundle = args.database.host.apply(lambda host: _bundle(args, host))
        return cls(
            tags=args.site.tags(Role.WEB),
            inbound=args.site.inbound(Role.WEB),
            private_key=pulumi.Output.secret(args.site.identity.deploy_key().private_openssh),
            authorized_keys=args.site.authorized_keys(),
            scratch=scratch,
            parcel=Parcel.of(bundle, payload.archive(scratch) if scratch else None),
        )


def _bundle(args: WebTierArgs, database_host: str) -> config.Bundle:
    """What every member is told; all of them serve with one certificate."""
    certificate = args.site.identity.certificate("web", dns=[args.domain])
    return config.Bundle(
        settings=config.Settings(
            database=config.DatabaseSettings(
                engine=args.database.engine,
                host=database_host,
                port=args.database.port,
                name=args.database.name,
                user=args.database.user,
            ),
            server_names=(args.domain,),
            edge_ranges=args.site.places.edge,
        ),
        secrets={
            "database-password": args.site.identity.password(PASSWORD_PURPOSE),
            "database-ca.pem": args.site.identity.authority().certificate_pem,
            "tls.crt": certificate.certificate_pem,
            "tls.key": certificate.private_key_pem,
        },
    )
