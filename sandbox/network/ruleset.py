"""The cloud's packet filter: a pure function from the topology to one nftables table.

A packet passes three places in the router:
- `source` (before connection tracking): only a sender's own addresses and cards; nothing from a pulled cable.
- `forward`: who is wired to whom (same VPC, public to public), then the sender's outbound rules.
- `delivery` (after the host's address was masqueraded): the receiver's inbound rules, which therefore see the
  operator's desk under its outside address.

Droplets with equal rules share a chain, so a fleet of 300 costs as much as its number of roles.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network, collapse_addresses, ip_network

from sandbox.network.plan import (
    DESK,
    DESK6,
    EDGE_PORT,
    HOST_PORT,
    INTERNET,
    INTERNET6,
    INTERNET_PORT,
    METADATA,
    PACKAGES,
    PACKAGES_PORT,
    RESOLVER,
    Plan,
    public_port,
    vpc_port,
)
from sandbox.network.port import Allow, Attachment, Topology

TABLE = "inet flotilla"

# Neighbour discovery between the two ends of one cable: a packet that was forwarded has spent a hop (RFC 4861).
_NEIGHBOURS = "icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } ip6 hoplimit 255"


def render(plan: Plan, topology: Topology) -> str:
    """One transaction for `nft -f` that replaces the whole filter; equal topologies give equal text."""
    attachments = sorted(topology.attachments, key=lambda attachment: attachment.droplet)
    chains: dict[str, list[str]] = {}
    inbound = _rules_by_port(attachments, "in", chains)
    outbound = _rules_by_port(attachments, "out", chains)
    edge4, edge6 = _by_family(topology.edge_ranges)
    vpcs = {vpc: number for number, vpc in enumerate(sorted({a.vpc for a in attachments}), start=1)}
    body = [
        *_set("isolated", "ifname", _isolated(attachments)),
        *_set("public_ports", "ifname", [_quoted(public_port(a)) for a in attachments]),
        *_set("own", "ifname . ether_addr . ipv4_addr", _own_addresses(attachments)),
        *_set("own6", "ifname . ether_addr . ipv6_addr", _own_addresses6(attachments)),
        *_set("vpc_members", "mark . ifname", [f'{vpcs[a.vpc]} . "{vpc_port(a)}"' for a in attachments]),
        *_map("vpc_of", "ifname : mark", [f'"{vpc_port(a)}" : {vpcs[a.vpc]}' for a in attachments]),
        *_set("edge4", "ipv4_addr", edge4, flags="interval"),
        *_set("edge6", "ipv6_addr", edge6, flags="interval"),
        *(line for name, rules in sorted(chains.items()) for line in _chain(name, rules)),
        *_map("outbound", "ifname : verdict", outbound),
        *_map("inbound", "ifname : verdict", inbound),
        *_base_chains(plan),
    ]
    lines = [
        f"table {TABLE}",
        f"delete table {TABLE}",
        f"table {TABLE} {{",
        *(f"\t{line}" for line in body),
        "}",
    ]
    return "\n".join(lines) + "\n"


def _base_chains(plan: Plan) -> Iterable[str]:
    outside = f'{{ "{EDGE_PORT}", "{INTERNET_PORT}" }}'
    yield from _chain(
        "source",
        [
            "type filter hook prerouting priority raw; policy drop;",
            "iifname @isolated drop",
            'iifname "lo" accept',
            "iifname . ether saddr . ip saddr @own accept",
            "iifname . ether saddr . ip6 saddr @own6 accept",
            f"ip6 saddr {{ ::, fe80::/10 }} {_NEIGHBOURS} accept",
            f'iifname "{HOST_PORT}" ip saddr {plan.desk} accept',
            f'iifname "{HOST_PORT}" ip6 saddr {plan.desk6} accept',
            f'iifname "{EDGE_PORT}" ip saddr @edge4 accept',
            f'iifname "{EDGE_PORT}" ip6 saddr @edge6 accept',
            f'iifname "{INTERNET_PORT}" ip saddr {INTERNET} accept',
            f'iifname "{INTERNET_PORT}" ip6 saddr {INTERNET6} accept',
        ],
    )
    yield from _chain("wired", _wiring(outside))
    yield from _chain(
        "forward",
        [
            "type filter hook forward priority filter; policy drop;",
            # A connection that was allowed once stays: changed rules judge new connections only.
            "ct state established,related accept",
            "ct state invalid drop",
            "jump wired",
            "iifname vmap @outbound",
            "accept",
        ],
    )
    yield from _chain(
        "delivery",
        [
            # After source NAT (priority 100).
            "type filter hook postrouting priority 110; policy accept;",
            "oifname @isolated drop",
            "ct state established,related accept",
            f"{_NEIGHBOURS} accept",
            f'oifname "{HOST_PORT}" drop',
            "oifname vmap @inbound",
        ],
    )
    yield from _chain(
        "outside_address",
        [
            "type nat hook postrouting priority srcnat; policy accept;",
            f"ip saddr {plan.desk} snat ip to {DESK}",
            f"ip6 saddr {plan.desk6} snat ip6 to {DESK6}",
        ],
    )
    yield from _chain("services", _services(outside))


def _wiring(outside: str) -> list[str]:
    """Return for a pair of ports that may talk at all, drop every other; nothing leads to the host's network."""
    everyone = f'{{ "{HOST_PORT}", "{EDGE_PORT}", "{INTERNET_PORT}" }}'
    return [
        "meta mark set iifname map @vpc_of",
        "meta mark . oifname @vpc_members return",
        "iifname @public_ports oifname @public_ports return",
        f"iifname @public_ports oifname {outside} return",
        f"iifname {everyone} oifname @public_ports return",
        f'iifname "{INTERNET_PORT}" oifname "{EDGE_PORT}" return',
        "drop",
    ]


def _services(outside: str) -> list[str]:
    """What the platform itself serves on the router, to droplets whatever their firewall says."""
    return [
        "type filter hook input priority filter; policy drop;",
        'iifname "lo" accept',
        "ct state established,related accept",
        f"{_NEIGHBOURS} accept",
        f"iifname @public_ports ip daddr {METADATA} tcp dport 80 accept",
        f"iifname @public_ports ip daddr {PACKAGES} tcp dport {PACKAGES_PORT} accept",
        f"iifname @public_ports ip daddr {RESOLVER} meta l4proto {{ tcp, udp }} th dport 53 accept",
        f"iifname {outside} ip daddr {RESOLVER} meta l4proto {{ tcp, udp }} th dport 53 accept",
    ]


def _rules_by_port(
    attachments: Sequence[Attachment], direction: str, chains: dict[str, list[str]]
) -> list[str]:
    """Verdict map elements for one direction; the chains they jump to are added to `chains`."""
    elements = []
    for attachment in attachments:
        if not attachment.firewalled:
            continue
        allowed = attachment.inbound if direction == "in" else attachment.outbound
        rules = [*_allow_rules(allowed, "saddr" if direction == "in" else "daddr"), "drop"]
        name = f"{direction}-{hashlib.sha256(chr(10).join(rules).encode()).hexdigest()[:12]}"
        chains[name] = rules
        elements += [f'"{port}" : jump {name}' for port in (public_port(attachment), vpc_port(attachment))]
    return elements


def _allow_rules(allowed: Iterable[Allow], side: str) -> Iterable[str]:
    for rule in allowed:
        for family, peers in zip(("ip", "ip6"), _by_family(rule.peers), strict=True):
            if peers:
                yield f"{_peers(family, side, peers)} {_service(rule, family)} return"


def _peers(family: str, side: str, peers: Sequence[str]) -> str:
    if any(peer.endswith("/0") for peer in peers):
        return f"meta nfproto {'ipv4' if family == 'ip' else 'ipv6'}"
    return f"{family} {side} {{ {', '.join(peers)} }}"


def _service(rule: Allow, family: str) -> str:
    if rule.protocol == "icmp":
        return f"meta l4proto {'icmp' if family == 'ip' else 'ipv6-icmp'}"
    if rule.protocol not in ("tcp", "udp"):
        raise ValueError(f"firewall protocol {rule.protocol!r} is unknown: use tcp, udp or icmp")
    if rule.ports is None:
        return f"meta l4proto {rule.protocol}"
    first, last = rule.ports
    return f"{rule.protocol} dport {first if first == last else f'{first}-{last}'}"


def _by_family(peers: Iterable[str]) -> tuple[list[str], list[str]]:
    """Peers as nftables wants them: families apart, overlaps merged."""
    networks = [ip_network(peer, strict=False) for peer in peers]
    four = collapse_addresses(network for network in networks if isinstance(network, IPv4Network))
    six = collapse_addresses(network for network in networks if isinstance(network, IPv6Network))
    return [str(network) for network in four], [str(network) for network in six]


def _isolated(attachments: Iterable[Attachment]) -> list[str]:
    return [_quoted(port) for a in attachments if a.isolated for port in (public_port(a), vpc_port(a))]


def _own_addresses(attachments: Iterable[Attachment]) -> list[str]:
    return [
        f'"{port}" . {interface.mac} . {interface.address}'
        for a in attachments
        for port, interface in ((public_port(a), a.public), (vpc_port(a), a.private))
    ]


def _own_addresses6(attachments: Iterable[Attachment]) -> list[str]:
    return [
        f'"{public_port(a)}" . {a.public.mac} . {a.public.ipv6.address}' for a in attachments if a.public.ipv6
    ]


def _quoted(name: str) -> str:
    return f'"{name}"'


def _set(name: str, kind: str, elements: Sequence[str], *, flags: str = "") -> list[str]:
    return _named("set", name, kind, elements, flags)


def _map(name: str, kind: str, elements: Sequence[str]) -> list[str]:
    return _named("map", name, kind, elements, "")


def _named(what: str, name: str, kind: str, elements: Sequence[str], flags: str) -> list[str]:
    lines = [f"{what} {name} {{", f"\ttype {kind}"]
    if flags:
        lines.append(f"\tflags {flags}")
    if elements:  # an empty list is a syntax error
        lines.append(f"\telements = {{ {', '.join(elements)} }}")
    return [*lines, "}"]


def _chain(name: str, rules: Iterable[str]) -> list[str]:
    return [f"chain {name} {{", *(f"\t{rule}" for rule in rules), "}"]
