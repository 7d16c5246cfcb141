"""Which list of the edge's addresses to believe: what is wrong here opens the site to everybody, or to nobody."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Any, Final

from fleet.config import MAX_EDGE_RANGES, WIDEST_EDGE_PREFIX
from fleet.reading import decode_object

# Fewer cannot be the whole of an edge. Cloudflare announces about 1.5 million: https://www.cloudflare.com/ips/
MIN_IPV4_ADDRESSES: Final = 100_000

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class UnbelievableError(ValueError):
    """An answer that cannot be the edge's ranges; the text says why."""


def parse(text: bytes) -> tuple[str, ...]:
    """The ranges in an answer of `GET /client/v4/ips`, in one order and without doubles."""
    document = decode_object("the answer", text)
    result = document.get("result")
    if document.get("success") is not True or not isinstance(result, dict):
        raise UnbelievableError("the answer is no success")
    networks = {
        _network(item, version)
        for key, version in (("ipv4_cidrs", 4), ("ipv6_cidrs", 6))
        for item in _texts(result.get(key), key)
    }
    if len(networks) > MAX_EDGE_RANGES:
        raise UnbelievableError(f"{len(networks)} ranges, and at most {MAX_EDGE_RANGES} are taken")
    ordered = sorted(networks, key=lambda n: (n.version, int(n.network_address), n.prefixlen))
    addresses = sum(n.num_addresses for n in _collapsed(ordered, 4))
    if addresses < MIN_IPV4_ADDRESSES:
        raise UnbelievableError(
            f"only {addresses} IPv4 addresses in all, and an edge has {MIN_IPV4_ADDRESSES} or more"
        )
    return tuple(str(network) for network in ordered)


def check_change(old: Sequence[str], new: Sequence[str]) -> None:
    """Refuse a list without half of the addresses that the edge had."""
    before = [ipaddress.ip_network(text) for text in old]
    after = [ipaddress.ip_network(text) for text in new]
    for version in (4, 6):
        had = _collapsed(before, version)
        total = sum(network.num_addresses for network in had)
        kept = sum(_overlap(network, other) for network in had for other in _collapsed(after, version))
        if kept * 2 < total:
            raise UnbelievableError(
                f"of the edge's IPv{version} addresses {kept * 100 // total} % are left, and half must be; deliver "
                f"a bundle with the new ranges (`pulumi up`) when that is right"
            )


def _texts(value: Any, key: str) -> list[str]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise UnbelievableError(f"{key} is no list of texts")
    return value


def _network(text: str, version: int) -> Network:
    try:
        network = ipaddress.ip_network(text)
    except ValueError as error:
        raise UnbelievableError(f"{text[:60]!r} is not a range of addresses") from error
    if network.version != version:
        raise UnbelievableError(f"{network} is no IPv{version} range")
    if network.prefixlen < WIDEST_EDGE_PREFIX[version]:
        raise UnbelievableError(f"{network} is so wide that it would let everybody in")
    if not network.is_global:
        raise UnbelievableError(f"{network} is not a public range")
    return network


def _collapsed(networks: Sequence[Network], version: int) -> list[Network]:
    if version == 4:
        return list(ipaddress.collapse_addresses(n for n in networks if isinstance(n, ipaddress.IPv4Network)))
    return list(ipaddress.collapse_addresses(n for n in networks if isinstance(n, ipaddress.IPv6Network)))


def _overlap(one: Network, other: Network) -> int:
    """How many addresses two ranges share: one of them lies in the other, or none."""
    if int(one.network_address) > int(other.broadcast_address) or int(other.network_address) > int(
        one.broadcast_address
    ):
        return 0
    return min(one.num_addresses, other.num_addresses)
