"""Cloud firewalls from the one table, bound by tag so that every machine is covered at birth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import pulumi

from components import model, naming
from components.clouds import port
from components.model import Role
from components.site import Site


@dataclass(frozen=True, kw_only=True, slots=True)
class FirewallArgs:
    """What a stack's firewalls are made of."""

    site: Site


class Firewall(pulumi.ComponentResource):
    """One cloud firewall for each role of the stack."""

    native: Mapping[Role, pulumi.Resource]
    """The firewall of each role, for what must not exist before it."""

    def __init__(self, name: str, args: FirewallArgs, opts: pulumi.ResourceOptions | None = None) -> None:
        super().__init__("flotilla:index:Firewall", name, None, opts)
        self.native = {
            role: args.site.cloud.firewall(
                f"{name}-{role}",
                port.FirewallSpec(
                    covers=args.site.cloud.tags[naming.role_tag(args.site.stack, role)],
                    inbound=_inbound(args.site, role),
                ),
                pulumi.ResourceOptions(parent=self),
            )
            for role in Role
            if role in args.site.roles
        }
        self.register_outputs({})


def _inbound(site: Site, role: Role) -> list[port.Inbound]:
    return [
        port.Inbound(
            protocol=grant.protocol,
            port=grant.port,
            addresses=model.open_addresses(grant, site.places),
            tags=[site.cloud.tags[tag] for tag in _tags(site.stack, grant)],
        )
        for grant in site.grants(role)
    ]


def _tags(stack: str, grant: model.Grant) -> list[str]:
    """The stack's tag covers every role, so with it no other is needed."""
    if model.Party.STACK in grant.parties:
        return [naming.stack_tag(stack)]
    return [naming.role_tag(stack, role) for role in grant.roles]
