"""The machine that heals and scales the fleet beside Pulumi."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pulumi

from cloudinit.roles import autoscaler as payload
from components import commands, controller, naming
from components.clouds import port
from components.commands import Login, Parcel
from components.controller import Fleet
from components.datastore import DatastoreAccess
from components.model import Role
from components.naming import Child, Common
from components.preflight import BootImage
from components.site import Site
from components.tokens import Tokens
from fleet import config


@dataclass(frozen=True, kw_only=True, slots=True)
class AutoscalerNodeArgs:
    """What an autoscaler node is made of."""

    site: Site
    size: str
    image: BootImage
    fleet: Fleet
    tokens: Tokens = field(repr=False)
    network: port.Network
    login_key: pulumi.Output[str]
    datastore: DatastoreAccess | None
    sweep: commands.Sweep
    """How what the controller made is taken away when the stack loses it."""
    bursts: commands.Bursts
    """How what it made already is told what changes."""
    before: Sequence[pulumi.Resource]
    """What must exist before the machine, and longer than burst members: firewalls and network."""
    after: Sequence[pulumi.Resource]
    """What must have happened before the controller is told of it: the rollout of the members in the slots."""


class AutoscalerNode(pulumi.ComponentResource):
    """One node with the controller; what it is told can change without a new machine."""

    address: pulumi.Output[str]
    """Public address of the node."""
    native: port.Machine
    """The machine itself."""

    def __init__(
        self, name: str, args: AutoscalerNodeArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        super().__init__("flotilla:index:AutoscalerNode", name, None, opts)
        slot = naming.slot(Role.AUTOSCALER, 1)
        sweep = commands.sweep(
            naming.child(name, Common.SWEEP),
            args.sweep,
            # Deletes run backwards: the node goes first, then what it had made, then what that needed.
            pulumi.ResourceOptions(parent=self, depends_on=args.before),
        )
        self.native = self._machine(slot, args, [sweep, *args.before])
        login = Login(
            address=self.native.public_address,
            host_key=args.site.identity.host_key(slot).public_openssh,
            private_key=pulumi.Output.secret(args.site.identity.deploy_key().private_openssh),
        )
        parcel = _parcel(args)
        secrets = commands.deliver(
            naming.child(slot, Child.SECRETS),
            login.connection(),
            parcel,
            self.native.resource,
            # A rollout that its canary has stopped must not go on in burst members.
            pulumi.ResourceOptions(parent=self, depends_on=args.after),
        )
        commands.gate(
            naming.child(slot, Child.GATE),
            login.connection(),
            [self.native.resource.id, parcel.digest],
            # The gate judges what the secrets have started; it takes no value from them.
            pulumi.ResourceOptions(parent=self, depends_on=[secrets]),
        )
        commands.tell_bursts(
            naming.child(name, Common.BURSTS),
            args.bursts,
            args.fleet.payload.parcels[args.fleet.image].bundle,
            # A member that is being made now is handed the news by the controller, which knows them by then.
            pulumi.ResourceOptions(parent=self, depends_on=[secrets]),
        )
        self.address = self.native.public_address
        self.register_outputs({"address": self.address})

    def _machine(
        self, slot: str, args: AutoscalerNodeArgs, before: Sequence[pulumi.Resource]
    ) -> port.Machine:
        site = args.site
        user_data = payload.boot(
            payload.AutoscalerMachine(
                stack=site.stack,
                slot=slot,
                network=site.places.network,
                inbound=site.inbound(Role.AUTOSCALER),
                host_key=site.identity.host_key(slot),
                authorized_keys=site.authorized_keys(),
                from_scratch=_scratch(args),
            )
        )
        return site.cloud.machine(
            slot,
            port.MachineSpec(
                image=args.image.id, size=args.size, user_data=user_data, tags=site.tags(Role.AUTOSCALER)
            ),
            pulumi.ResourceOptions(
                parent=self,
                # Two controllers at once would both think themselves alone.
                delete_before_replace=True,
                depends_on=before,
            ),
        )


def _scratch(args: AutoscalerNodeArgs) -> payload.AutoscalerImage | None:
    """What the first boot must make of a distribution's image."""
    return payload.AutoscalerImage() if args.image.from_scratch else None


def _parcel(args: AutoscalerNodeArgs) -> Parcel:
    scratch, store = _scratch(args), args.datastore
    documents = controller.documents(
        args.site, args.fleet, args.tokens, vpc=args.network.id, login_key=args.login_key
    )
    known = pulumi.Output.all(documents=documents, **(store.outputs() if store else {}))
    bundle = known.apply(lambda values: _bundle(args, values))
    return Parcel.of(bundle, payload.archive(scratch) if scratch else None)


def _bundle(args: AutoscalerNodeArgs, known: Mapping[str, Any]) -> config.Bundle:
    """What the node is told: the controller's two documents, and its key to the datastore."""
    store = args.datastore
    told, secret = known["documents"]
    return config.Bundle(
        settings=config.Settings(
            datastore=store.settings(known) if store else None, manifest=args.image.manifest
        ),
        secrets={config.CONTROLLER_CONFIG: told, config.CONTROLLER_SECRETS: secret}
        | (store.secrets(known) if store else {}),
    )
