"""The one table of who may reach what, and its two renderings: for cloud firewalls and for the machines' own.

Everything that is not in the table is closed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from fleet import config

SSH_PORT = 22
HTTPS_PORT = 443
# https://dev.mysql.com/doc/mysql-port-reference/en/mysql-ports-reference-tables.html
MYSQL_PORT = 3306
# https://www.postgresql.org/docs/current/runtime-config-connection.html
POSTGRESQL_PORT = 5432
# Where members tell each other how they are, on the private network.
PEER_PORT = 8101
# Where a member takes over what another member's site could not answer, on the private network.
FAILOVER_PORT = 8102

Protocol = Literal["tcp", "udp"]
Engine = Literal["mysql", "postgresql"]


class Role(StrEnum):
    """What a machine is for."""

    WEB = "web"
    DATABASE = "database"
    AUTOSCALER = "autoscaler"
    BACKUP = "backup"


class Party(StrEnum):
    """Who else may reach a machine."""

    ADMIN = "admin"
    """The build machine and its operators: the stack's admin ranges."""
    EDGE = "edge"
    """What stands between visitors and members: the edge's ranges, or anyone when there is no edge."""
    STACK = "stack"
    """All machines of the stack, whatever their role."""


class Service(StrEnum):
    """What is reached; the port of the database follows its engine."""

    SSH = "ssh"
    HTTPS = "https"
    DATABASE = "database"
    PEER = "peer"
    FAILOVER = "failover"


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of the table. `to` None means every machine."""

    to: Role | None
    source: Role | Party
    service: Service


TABLE = (
    Rule(None, Party.ADMIN, Service.SSH),
    Rule(None, Party.STACK, Service.SSH),
    Rule(Role.WEB, Party.EDGE, Service.HTTPS),
    Rule(Role.WEB, Role.AUTOSCALER, Service.HTTPS),
    Rule(Role.WEB, Role.WEB, Service.PEER),
    Rule(Role.WEB, Role.AUTOSCALER, Service.PEER),
    Rule(Role.WEB, Role.WEB, Service.FAILOVER),
    Rule(Role.DATABASE, Role.WEB, Service.DATABASE),
    Rule(Role.DATABASE, Role.AUTOSCALER, Service.DATABASE),
    Rule(Role.DATABASE, Role.BACKUP, Service.DATABASE),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grant:
    """What one port of a role's machines lets in: parties and roles, each in the table's order."""

    protocol: Protocol
    port: int
    parties: tuple[Party, ...]
    roles: tuple[Role, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Where the parties are: ranges of addresses in CIDR notation."""

    admin: tuple[str, ...]
    edge: tuple[str, ...]
    """The edge's ranges; empty when there is no edge, so that anyone may come."""
    network: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DrainTimes:
    """How long a leaving member waits, in seconds: see design section 5, Drain."""

    propagation: int
    quiet: int
    cap: int


def database_port(engine: Engine) -> int:
    """The port that a database engine listens on."""
    return MYSQL_PORT if engine == "mysql" else POSTGRESQL_PORT


def grants(role: Role, *, present: frozenset[Role], engine: Engine) -> tuple[Grant, ...]:
    """What machines of a role let in; `present` are the roles that the stack has, others get no rule."""
    rules = [rule for rule in TABLE if rule.to in (None, role) and _exists(rule.source, present)]
    return tuple(_merged(rules, engine))


def database_clients(present: frozenset[Role]) -> tuple[Role, ...]:
    """The roles that reach the database, in the table's order."""
    return tuple(
        rule.source
        for rule in TABLE
        if rule.service is Service.DATABASE and isinstance(rule.source, Role) and rule.source in present
    )


def open_addresses(grant: Grant, places: Places) -> tuple[str, ...]:
    """The ranges that a cloud firewall lets in for a grant; its roles and the stack come by tag instead."""
    addresses: list[str] = []
    for party in grant.parties:
        match party:
            case Party.ADMIN:
                addresses += places.admin
            case Party.EDGE:
                addresses += places.edge or config.ANYWHERE
            case Party.STACK:
                pass
    return tuple(addresses)


def machine_rules(
    granted: Sequence[Grant], places: Places, *, role_sets: bool = False
) -> tuple[config.Inbound, ...]:
    """The same grants for a machine's own firewall: the edge by its set, and roles by theirs, or by the private
    network's range where no datastore fills sets."""
    return tuple(
        config.Inbound(
            protocol=grant.protocol, port=grant.port, sources=tuple(_sources(grant, places, role_sets))
        )
        for grant in granted
    )


def _sources(grant: Grant, places: Places, role_sets: bool) -> Iterator[str]:
    if Party.ADMIN in grant.parties:
        yield from places.admin
    if Party.EDGE in grant.parties:
        yield from (config.EDGE,) if places.edge else config.ANYWHERE
    if Party.STACK in grant.parties or (grant.roles and not role_sets):
        yield places.network
    elif role_sets:
        yield from (f"{config.ROLE_SOURCE}{role}" for role in grant.roles)


def _exists(source: Role | Party, present: frozenset[Role]) -> bool:
    return isinstance(source, Party) or source in present


def _merged(rules: Sequence[Rule], engine: Engine) -> Iterator[Grant]:
    """One grant for each service, in the table's order."""
    for service in dict.fromkeys(rule.service for rule in rules):
        sources = [rule.source for rule in rules if rule.service is service]
        yield Grant(
            protocol="tcp",
            port=_port(service, engine),
            parties=tuple(source for source in sources if isinstance(source, Party)),
            roles=tuple(source for source in sources if isinstance(source, Role)),
        )


def _port(service: Service, engine: Engine) -> int:
    match service:
        case Service.SSH:
            return SSH_PORT
        case Service.HTTPS:
            return HTTPS_PORT
        case Service.DATABASE:
            return database_port(engine)
        case Service.PEER:
            return PEER_PORT
        case Service.FAILOVER:
            return FAILOVER_PORT
