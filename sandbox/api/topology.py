"""Cloud firewalls and trusted sources resolved: what the store says becomes what the network must let pass. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_network

from sandbox.api.addresses import to_interface
from sandbox.api.databases_port import PORT
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
    clusters: Sequence[Document] = (),
    isolated: Collection[int] = (),
    edge_ranges: Iterable[str] = (),
) -> Topology:
    """The network of these droplets under these firewalls, and of the nodes of these database clusters.

    A droplet under no firewall lets everything pass; under one or more, only what some rule of them allows. A node
    lets its trusted sources in, without any everybody, and the other nodes of its cluster.
    """
    peers = _peers(droplets)
    # Once per firewall, not per droplet: a tag may stand for hundreds of addresses.
    walls = [_wall(firewall, peers) for firewall in firewalls]
    nodes = (node for cluster in clusters for node in _cluster(cluster, peers, isolated))
    return Topology(
        attachments=(*(_attachment(droplet, walls, isolated) for droplet in droplets), *nodes),
        edge_ranges=tuple(edge_ranges),
    )


def trusted(rules: Sequence[Document], droplets: Sequence[Document]) -> tuple[str, ...]:
    """The IPv4 ranges that the trusted sources of a database cluster stand for; each once."""
    return _trusted(rules, _peers(droplets))


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


def _cluster(cluster: Document, peers: _Peers, isolated: Collection[int]) -> Iterable[Attachment]:
    sources = _trusted(cluster["rules"], peers) if cluster["rules"] else ("0.0.0.0/0",)
    clients = (Allow(protocol="tcp", ports=(PORT, PORT), peers=sources),) if sources else ()
    for node in cluster["nodes"]:
        others = tuple(
            f"{other['private']['address']}/32" for other in cluster["nodes"] if other["id"] != node["id"]
        )
        siblings = (Allow(protocol="tcp", ports=None, peers=others),) if others else ()
        yield Attachment(
            droplet=node["id"],
            public=to_interface(node["public"]),
            private=to_interface(node["private"]),
            vpc=node["vpc"],
            firewalled=True,
            inbound=(*clients, *siblings),
            outbound=siblings,
            isolated=node["id"] in isolated,
        )


def _trusted(rules: Sequence[Document], peers: _Peers) -> tuple[str, ...]:
    found: list[str] = []
    for rule in rules:
        match rule["type"]:
            case "tag":
                found.extend(peers.by_tag.get(rule["value"].lower(), ()))
            case "droplet":
                found.extend(peers.by_droplet.get(int(rule["value"]), ()))
            case "ip_addr":
                found.append(as_cidr(rule["value"]))
    # Nodes have no IPv6 address that a droplet's could reach.
    return tuple(dict.fromkeys(cidr for cidr in found if ":" not in cidr))


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
