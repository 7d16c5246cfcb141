"""Which of an edge's claims about its own addresses to believe."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence

from fleet import config

# Fewer addresses than this cannot be the whole of an edge: a cut-off answer would lock visitors out.
# Cloudflare announces about 1.5 million IPv4 addresses: https://www.cloudflare.com/ips/
MIN_IPV4_ADDRESSES = 100_000

# "Up to 1000 addresses per rule": https://docs.digitalocean.com/products/networking/firewalls/details/limits/
MAX_RANGES = 1000


def checked(ranges: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The ranges in one order, without doubles, and what is wrong with them (empty when they can be believed)."""
    networks: set[ipaddress.IPv4Network | ipaddress.IPv6Network] = set()
    problems: list[str] = []
    for text in ranges:
        try:
            networks.add(ipaddress.ip_network(text))
        except ValueError:
            problems.append(f"{text!r} is not a range of addresses")
    problems += _implausible(networks)
    ordered = sorted(
        networks, key=lambda network: (network.version, network.network_address.packed, network.prefixlen)
    )
    return tuple(str(network) for network in ordered), tuple(problems)


def _implausible(networks: set[ipaddress.IPv4Network | ipaddress.IPv6Network]) -> Iterator[str]:
    for network in networks:
        if network.prefixlen < config.WIDEST_EDGE_PREFIX[network.version]:
            yield f"{network} is so wide that it would let everybody in"
        elif not network.is_global:
            yield f"{network} is not a public range"
    ipv4 = [network for network in networks if network.version == 4]
    addresses = sum(network.num_addresses for network in ipaddress.collapse_addresses(ipv4))
    if addresses < MIN_IPV4_ADDRESSES:
        yield f"only {addresses} IPv4 addresses in all, and an edge has {MIN_IPV4_ADDRESSES} or more"
    if len(networks) > MAX_RANGES:
        yield f"{len(networks)} ranges, and a firewall rule takes {MAX_RANGES}"
