"""The members that serve the site: slots that keep their names and keys while the machines in them change.

`components.rollout` says in which order; here each of its acts becomes resources. A slot that goes loses its record,
then its visitors, then its machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import pulumi

from components import commands, naming
from components.clouds import port
from components.commands import Login
from components.model import DrainTimes, Role
from components.naming import Child, Common
from components.preflight import BootImage
from components.rollout import Act, Point, Rollout, Step
from components.site import Site
from components.web_payload import WebPayload
from fleet.identity import SshKeyPair


@dataclass(frozen=True, kw_only=True, slots=True)
class WebTierArgs:
    """What a web tier is made of."""

    site: Site
    rollout: Rollout
    size: str
    image: BootImage
    rest: BootImage | None
    """The image of the slots that a partial rollout has not come to."""
    payload: WebPayload
    drain: DrainTimes
    dns: port.Dns
    cloud_token: str | None = field(repr=False)
    """The cloud's token where the stack's config has one."""
    after: Sequence[pulumi.Resource]
    """What must exist before the first machine: the firewall."""

    def __post_init__(self) -> None:
        if self.rollout.through is not None and self.rest is None:
            raise ValueError(f"slots after {self.rollout.through} have no image: rest is None")


class WebTier(pulumi.ComponentResource):
    """Members in slots `web-1` to `web-<count>`, each with its record at the edge."""

    members: pulumi.Output[Mapping[str, str]]
    """Public address of the machine in each slot."""
    members6: pulumi.Output[Mapping[str, str]]
    """The same, IPv6; empty without."""
    native: Mapping[str, port.Machine]
    """The machine in each slot."""

    def __init__(self, name: str, args: WebTierArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("flotilla:index:WebTier", name, None, opts)
        builder = _Builder(self, name, args)
        for step in args.rollout.steps():
            builder.take(step)
        self.native = builder.machines
        machines = builder.machines.items()
        self.members = pulumi.Output.all(**{slot: machine.public_address for slot, machine in machines})
        self.members6 = pulumi.Output.all(
            **{slot: machine.ipv6_address for slot, machine in machines if machine.ipv6_address}
        )
        self.register_outputs({"members": self.members, "members6": self.members6})


class _Builder:
    """Makes the tier's resources, act by act, and knows what each act has left to wait for."""

    def __init__(self, tier: WebTier, name: str, args: WebTierArgs) -> None:
        self.machines: dict[str, port.Machine] = {}
        self._tier = tier
        self._name = name
        self._args = args
        self._private_key = pulumi.Output.secret(args.site.identity.deploy_key().private_openssh)
        self._one_at_a_time = True if args.rollout.mode == "in_place" else None
        """For accounts that have no room for two machines in a slot."""
        self._logins: dict[str, Login] = {}
        self._rights: list[pulumi.Resource] = []
        """What gives the site's user its rights in the database, which the first member does for all."""
        self._done: dict[Point, pulumi.Resource] = {}

    def take(self, step: Step) -> None:
        """One act; what it leaves is what later acts wait for."""
        after = [self._done[point] for point in step.after]
        match step.act:
            case Act.MEMBER:
                done = self._member(step.slot, after)
            case Act.PEERS:
                done = self._peers(after)
            case Act.SWITCH:
                done = self._switch(step.slot, after)
            case Act.CANARY:
                done = self._canary(after)
        self._done[step.point] = done

    def _member(self, number: int, after: Sequence[pulumi.Resource]) -> pulumi.Resource:
        """A machine that has passed its gate, and the drain that will empty it one day."""
        args, tier = self._args, self._tier
        slot = naming.slot(Role.WEB, number)
        host_key = args.site.identity.host_key(slot)
        machine = self.machines[slot] = self._machine(slot, number, host_key, after)
        login = self._logins[slot] = Login(
            address=machine.public_address,
            host_key=host_key.public_openssh,
            private_key=self._private_key,
        )
        connection = login.connection()
        if number == 1 and not args.payload.tunnelled:
            self._give_rights(login, args.payload.ready)
        parcel = args.payload.parcels[self._image(number)]
        secrets = commands.deliver(
            naming.child(slot, Child.SECRETS),
            connection,
            parcel,
            machine.resource,
            # Members that serve change to another user at this, which must be able to do its work.
            pulumi.ResourceOptions(parent=tier, depends_on=[*args.payload.ready, *self._rights]),
        )
        if number == 1 and args.payload.tunnelled:
            self._give_rights(login, [secrets])
        gate = commands.gate(
            naming.child(slot, Child.GATE),
            connection,
            [machine.resource.id, parcel.digest],
            # The gate judges what the secrets have started; it takes no value from them.
            pulumi.ResourceOptions(parent=tier, depends_on=[secrets, *self._rights]),
        )
        return commands.drain(
            naming.child(slot, Child.DRAIN),
            slot,
            login,
            args.drain,
            machine.resource,
            # Deletes run backwards: drained before anything of the machine goes.
            pulumi.ResourceOptions(parent=tier, depends_on=[gate], delete_before_replace=self._one_at_a_time),
        )

    def _give_rights(self, login: Login, after: Sequence[pulumi.Resource]) -> None:
        told = self._args.payload.rights
        if told is not None:
            opts = pulumi.ResourceOptions(parent=self._tier, depends_on=after)
            name = naming.child(self._name, Common.RIGHTS)
            self._rights = [commands.rights(name, login.connection(), told, opts)]

    def _peers(self, after: Sequence[pulumi.Resource]) -> pulumi.Resource:
        return commands.peers(
            naming.child(self._name, Common.PEERS),
            {slot: (self._logins[slot], machine.private_address) for slot, machine in self.machines.items()},
            [machine.resource for machine in self.machines.values()],
            pulumi.ResourceOptions(parent=self._tier, depends_on=after),
        )

    def _switch(self, number: int, after: Sequence[pulumi.Resource]) -> pulumi.Resource:
        slot = naming.slot(Role.WEB, number)
        machine, comment = self.machines[slot], f"flotilla {self._args.site.stack} {slot}"
        record = self._args.dns.record(
            naming.child(slot, Child.DNS),
            port.Address(machine.public_address),
            comment,
            # No visitor before the gate; the record goes before the drain; and one switch after the other.
            pulumi.ResourceOptions(parent=self._tier, depends_on=after),
        )
        if machine.ipv6_address is None:
            return record
        return self._args.dns.record(
            naming.child(slot, Child.DNS6),
            port.Address(machine.ipv6_address, 6),
            comment,
            # The same, and what waits for this one has waited for both.
            pulumi.ResourceOptions(parent=self._tier, depends_on=[record, *after]),
        )

    def _canary(self, after: Sequence[pulumi.Resource]) -> pulumi.Resource:
        args, slot = self._args, naming.slot(Role.WEB, 1)
        watch = commands.Watch(
            stack=args.site.stack,
            slot=slot,
            seconds=args.rollout.canary_seconds,
            propagation=args.drain.propagation,
            seed=args.site.identity.seed_base64,
            cloud_token=args.cloud_token,
        )
        return commands.canary(
            naming.child(self._name, Common.CANARY),
            watch,
            self._logins[slot],
            self.machines[slot].resource,
            # It is watched with visitors, so from its switch on.
            pulumi.ResourceOptions(parent=self._tier, depends_on=after),
        )

    def _image(self, number: int) -> BootImage:
        args = self._args
        return args.image if args.rest is None or args.rollout.is_new(number) else args.rest

    def _machine(
        self, slot: str, number: int, host_key: SshKeyPair, after: Sequence[pulumi.Resource]
    ) -> port.Machine:
        args, image = self._args, self._image(number)
        user_data = args.payload.user_data(slot, host_key, image)
        return args.site.cloud.machine(
            slot,
            port.MachineSpec(
                image=image.id, size=args.size, user_data=user_data, tags=args.site.tags(Role.WEB)
            ),
            pulumi.ResourceOptions(
                parent=self._tier,
                # A machine without its firewall would be open for the moment between the two.
                depends_on=[*args.after, *after],
                # Resizing in place would power a serving member off.
                replace_on_changes=["size"],
                delete_before_replace=self._one_at_a_time,
            ),
        )
