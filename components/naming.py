"""Names that are contracts: slots, their children and tags. Changing one here replaces or orphans what it names."""

from __future__ import annotations

from enum import StrEnum

from components.model import Role


class Child(StrEnum):
    """What a slot is made of besides its machine, as the ends of resource names."""

    DATA = "data"
    SECRETS = "secrets"
    GATE = "gate"
    DRAIN = "drain"
    DNS = "dns"
    DNS6 = "dns6"


class Common(StrEnum):
    """What a tier has once for all its slots, as the ends of resource names."""

    PEERS = "peers"
    CANARY = "canary"
    BUCKET = "bucket"
    SWEEP = "sweep"
    RIGHTS = "rights"
    BURSTS = "bursts"
    CLUSTER = "cluster"
    SITE = "site"
    SOURCES = "sources"
    USER = "user"
    """Followed by the number of its rotation."""


def slot(role: Role, number: int) -> str:
    """The stable name of a place in a tier, counted from 1; also the host name of the machine in it."""
    return f"{role}-{number}"


def burst_slot(number: int) -> str:
    """The place of a member beyond the slots, counted from 1."""
    return f"burst-{number}"


def child(owner: str, noun: Child | Common) -> str:
    """The name of one of a slot's or a tier's resources."""
    return f"{owner}-{noun}"


def stack_tag(stack: str) -> str:
    """The tag that every machine of a stack carries."""
    return stack


def role_tag(stack: str, role: Role) -> str:
    """The tag that every machine of one role in a stack carries."""
    return f"{stack}-{role}"


def burst_tag(stack: str) -> str:
    """The tag that members carry, beside those of a web member, which the controller has made and may delete."""
    return f"{stack}-burst"


def tags(stack: str, roles: frozenset[Role]) -> tuple[str, ...]:
    """Every tag of a stack with these roles."""
    burst = (burst_tag(stack),) if Role.AUTOSCALER in roles else ()
    return (stack_tag(stack), *(role_tag(stack, role) for role in Role if role in roles), *burst)
