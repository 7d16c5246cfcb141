"""What all tiers of one stack share."""

from __future__ import annotations

from dataclasses import dataclass, field

import pulumi

from components import model, naming
from components.clouds import port
from components.model import Engine, Places, Role
from fleet import config
from fleet.identity import Identity


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A stack's place in its cloud, who it is, and who may reach it."""

    stack: str
    cloud: port.Cloud
    identity: Identity = field(repr=False)
    admin_keys: tuple[str, ...]
    roles: frozenset[Role]
    engine: Engine
    places: Places
    role_sets: bool = False
    """Whether machines learn from a datastore which addresses each role has."""

    def tags(self, role: Role) -> tuple[pulumi.Output[str], ...]:
        """The tags of a machine of this role; whoever uses them waits until they exist."""
        tags = self.cloud.tags
        return tags[naming.stack_tag(self.stack)], tags[naming.role_tag(self.stack, role)]

    def grants(self, role: Role) -> tuple[model.Grant, ...]:
        """What machines of this role let in."""
        return model.grants(role, present=self.roles, engine=self.engine)

    def inbound(self, role: Role) -> tuple[config.Inbound, ...]:
        """The same, as the machines' own firewall is told it."""
        return model.machine_rules(self.grants(role), self.places, role_sets=self.role_sets)

    def authorized_keys(self) -> tuple[str, ...]:
        """Who may log in to every machine as root."""
        return (self.identity.deploy_key().public_openssh, *self.admin_keys)
