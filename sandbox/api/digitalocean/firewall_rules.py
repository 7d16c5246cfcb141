"""Rules of cloud firewalls: their bodies, their normal form, and the limits of a firewall."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import ip_address, ip_network
from typing import Any, ClassVar, Literal

from pydantic import Field, field_validator, model_validator

from sandbox.api.body import Body
from sandbox.api.errors import unprocessable
from sandbox.store import Document, Store

# https://docs.digitalocean.com/products/networking/firewalls/details/limits/
MOST_DROPLETS, MOST_TAGS, MOST_RULES, MOST_ADDRESSES = 10, 5, 50, 1000
_HIGHEST_PORT = 65_535
_PORTS = re.compile(r"(\d{1,5})(?:-(\d{1,5}))?")


class Ends(Body):
    """Where traffic comes from or goes to."""

    accepts_null: ClassVar[frozenset[str] | None] = frozenset({"tags"})

    addresses: list[str] | None = None
    droplet_ids: list[int] | None = None
    load_balancer_uids: list[str] | None = None
    kubernetes_ids: list[str] | None = None
    tags: list[str] | None = None

    @field_validator("addresses")
    @classmethod
    def _addresses(cls, addresses: list[str] | None) -> list[str] | None:
        for address in addresses or ():
            _check_address(address)
        return addresses

    def normal(self) -> Document:
        return {name: list(dict.fromkeys(values)) for name, values in self if values}


class Rule(Body):
    """Protocol and ports; ICMP has no ports, and clients leave them out there."""

    protocol: Literal["tcp", "udp", "icmp"]
    ports: str = ""

    @model_validator(mode="after")
    def _ports(self) -> Rule:
        _normal_ports(self.protocol, self.ports)
        return self


class InboundRule(Rule):
    sources: Ends


class OutboundRule(Rule):
    destinations: Ends


class Rules(Body):
    """Rules of either direction; a request must name at least one of the two lists."""

    accepts_null: ClassVar[frozenset[str] | None] = frozenset({"inbound_rules", "outbound_rules"})

    inbound_rules: list[InboundRule] | None = None
    outbound_rules: list[OutboundRule] | None = None

    @model_validator(mode="after")
    def _some(self) -> Rules:
        if not {"inbound_rules", "outbound_rules"} & self.model_fields_set:
            raise ValueError("inbound_rules or outbound_rules is required")
        return self


class FirewallBody(Rules):
    """A firewall as clients send it; what only the API writes is accepted and ignored, as they send it back."""

    accepts_null: ClassVar[frozenset[str] | None] = frozenset(
        {
            "inbound_rules",
            "outbound_rules",
            "droplet_ids",
            "tags",
            "id",
            "status",
            "created_at",
            "pending_changes",
        }
    )

    name: str = Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9\.-]+$", max_length=255)
    droplet_ids: list[int] | None = None
    tags: list[str] | None = None
    id: Any = None
    status: Any = None
    created_at: Any = None
    pending_changes: Any = None


class DropletIds(Body):
    droplet_ids: list[int]


class TagNames(Body):
    accepts_null: ClassVar[frozenset[str] | None] = frozenset({"tags"})

    tags: list[str] | None


def normal(rules: Sequence[InboundRule | OutboundRule]) -> list[Document]:
    """Rules as the API shows them: only lists that hold something, "0" for all ports, none of them twice."""
    shown: list[Document] = []
    for rule in rules:
        side, ends = (
            ("sources", rule.sources)
            if isinstance(rule, InboundRule)
            else ("destinations", rule.destinations)
        )
        entry = {
            "protocol": rule.protocol,
            "ports": _normal_ports(rule.protocol, rule.ports),
            side: ends.normal(),
        }
        if not entry[side]:
            raise unprocessable(
                f"{side}: a rule must name at least one address, droplet, tag or load balancer"
            )
        if entry not in shown:
            shown.append(entry)
    return shown


def check_limits(firewall: Document) -> None:
    rules = [*firewall["inbound_rules"], *firewall["outbound_rules"]]
    ends = [rule.get("sources") or rule.get("destinations") or {} for rule in rules]
    counts = (
        ("droplets", len(firewall["droplet_ids"]), MOST_DROPLETS),
        ("tags", len(firewall["tags"]), MOST_TAGS),
        ("rules", len(rules), MOST_RULES),
        (
            "addresses in a rule",
            max((len(end.get("addresses", ())) for end in ends), default=0),
            MOST_ADDRESSES,
        ),
        ("tags in a rule", max((len(end.get("tags", ())) for end in ends), default=0), MOST_TAGS),
        (
            "droplets in a rule",
            max((len(end.get("droplet_ids", ())) for end in ends), default=0),
            MOST_DROPLETS,
        ),
    )
    for thing, count, most in counts:
        if count > most:
            raise unprocessable(f"a firewall may have at most {most} {thing}, not {count}")
    if not rules:
        raise unprocessable("a firewall must have at least one rule")


def forget(store: Store, name: str, value: int | str) -> None:
    """Take a deleted droplet ("droplet_ids") or tag ("tags") out of every firewall and its rules."""
    for firewall in store.all("firewall"):
        changed = {**firewall, name: _without(firewall[name], value)}
        for side, end in (("inbound_rules", "sources"), ("outbound_rules", "destinations")):
            changed[side] = [{**rule, end: _ends_without(rule[end], name, value)} for rule in firewall[side]]
        if changed != firewall:
            store.put("firewall", firewall["id"], changed)


def _ends_without(ends: Document, name: str, value: int | str) -> Document:
    left = {**ends, name: _without(ends.get(name, []), value)}
    return {key: values for key, values in left.items() if values}


def _without(values: list[Any], gone: int | str) -> list[Any]:
    return [value for value in values if str(value).lower() != str(gone).lower()]


def _normal_ports(protocol: str, ports: str) -> str:
    if protocol == "icmp" or ports in ("0", "all"):
        return "0"
    match = _PORTS.fullmatch(ports)
    if match is None:
        raise ValueError(f'ports: {ports!r} is no port, no range such as "8000-9000", and not "all"')
    first, last = int(match[1]), int(match[2] or match[1])
    if not 1 <= first <= last <= _HIGHEST_PORT:
        raise ValueError(f"ports: {ports!r} is not between 1 and {_HIGHEST_PORT}, lowest first")
    return ports


def _check_address(address: str) -> None:
    try:
        if "/" in address:
            ip_network(address, strict=False)
        else:
            ip_address(address)
    except ValueError as error:
        raise ValueError(f"invalid address: {address!r} is no IP address or CIDR range") from error
