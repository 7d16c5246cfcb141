"""Cloud firewalls resolved: what the store says becomes what the network must let pass. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_network

from sandbox.api.addresses import to_interface
from sandbox.network.port import Allow, Attachment, Topology
from sandbox.store import Document


@dataclass(frozen=True, slots=True)
class _Peers:
    """Who carries which addresses, for rules that name droplets and tags."""

    by_droplet: Mapping[int, tuple[str, ...]]
    by_tag: Mapping[str, tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class _Wall:
    """A firewall with its rules resolved."""

    firewall: Document
    inbound: tuple[Allow, ...]
    outbound: tuple[Allow, ...]


def resolve(
    droplets: Sequence[Document],
    firewalls: Sequence[Document],
    *,
    isolated: Collection[int] = (),
    edge_ranges: Iterable[str] = (),
) -> Topology:
    """The network of these droplets under these firewalls.

    A droplet under no firewall lets everything pass; under one or more, only what some rule of them allows.
    """
    peers = _peers(droplets)
    # Once per firewall, not per droplet: a tag may stand for hundreds of addresses.
    walls = [_wall(firewall, peers) for firewall in firewalls]
    return Topology(
        attachments=tuple(_attachment(droplet, walls, isolated) for droplet in droplets),
        edge_ranges=tuple(edge_ranges),
    )


def covers(firewall: Document, droplet: Document) -> bool:
    """Whether a firewall holds for a droplet, by its id or by a tag; tags compare without case."""
    if droplet["id"] in firewall["droplet_ids"]:
        return True
    return not {tag.lower() for tag in firewall["tags"]}.isdisjoint(tag.lower() for tag in droplet["tags"])


def _peers(droplets: Sequence[Document]) -> _Peers:
    by_droplet: dict[int, tuple[str, ...]] = {}
    by_tag: dict[str, tuple[str, ...]] = {}
    for droplet in droplets:
        addresses = tuple(f"{droplet[side]['address']}/32" for side in ("public", "private"))
        if ipv6 := droplet["public"].get("ipv6"):
            addresses += (f"{ipv6['address']}/128",)
        by_droplet[droplet["id"]] = addresses
        for tag in droplet["tags"]:
            by_tag[tag.lower()] = by_tag.get(tag.lower(), ()) + addresses
    return _Peers(by_droplet, by_tag)


def _wall(firewall: Document, peers: _Peers) -> _Wall:
    inbound = [_allow(rule, rule["sources"], peers) for rule in firewall["inbound_rules"]]
    outbound = [_allow(rule, rule["destinations"], peers) for rule in firewall["outbound_rules"]]
    return _Wall(firewall, tuple(inbound), tuple(outbound))


def _attachment(droplet: Document, walls: Sequence[_Wall], isolated: Collection[int]) -> Attachment:
    held = [wall for wall in walls if covers(wall.firewall, droplet)]
    return Attachment(
        droplet=droplet["id"],
        public=to_interface(droplet["public"]),
        private=to_interface(droplet["private"]),
        vpc=droplet["vpc"],
        firewalled=bool(held),
        inbound=_together(wall.inbound for wall in held),
        outbound=_together(wall.outbound for wall in held),
        isolated=droplet["id"] in isolated,
    )


def _together(allowed: Iterable[tuple[Allow, ...]]) -> tuple[Allow, ...]:
    """What several firewalls allow, each rule once; rules that name nobody are left out."""
    return tuple(dict.fromkeys(allow for allows in allowed for allow in allows if allow.peers))


def _allow(rule: Document, ends: Document, peers: _Peers) -> Allow:
    named: list[str] = list(ends.get("addresses", ()))
    for droplet in ends.get("droplet_ids", ()):
        named.extend(peers.by_droplet.get(droplet, ()))
    for tag in ends.get("tags", ()):
        named.extend(peers.by_tag.get(tag.lower(), ()))
    cidrs = tuple(dict.fromkeys(as_cidr(address) for address in named))
    return Allow(protocol=rule["protocol"], ports=port_range(rule["protocol"], rule["ports"]), peers=cidrs)


def as_cidr(address: str) -> str:
    """An address of a rule as a range: a single address is a range of one, host bits are dropped."""
    return str(ip_network(address, strict=False))


def port_range(protocol: str, ports: str) -> tuple[int, int] | None:
    """The ports of a stored rule: "0" means all of them, as DigitalOcean writes it; ICMP has none."""
    if protocol == "icmp" or ports == "0":
        return None
    first, _, last = ports.partition("-")
    return int(first), int(last or first)
