"""Which addresses and network cards droplets get."""

from __future__ import annotations

from collections.abc import Collection
from ipaddress import IPv4Network, IPv6Network

from sandbox.machines.port import Interface, Ipv6
from sandbox.store import Document, Store

# The first public addresses belong to the router and to services of the cloud.
_PUBLIC_RESERVED = 16
# Network address and gateway; droplets of the real cloud start at the third address too.
_PRIVATE_RESERVED = 2
# Bytes of a MAC address that tell the two cards of a droplet apart; 02 marks them as locally administered.
_PUBLIC_CARD, _PRIVATE_CARD = 0xD0, 0xD1

# https://docs.digitalocean.com/products/networking/vpc/details/limits/ (reserved ranges)
RESERVED_RANGES = tuple(
    IPv4Network(text) for text in ("10.244.0.0/16", "10.245.0.0/16", "10.246.0.0/24", "10.229.0.0/16")
)
PRIVATE_RANGES = tuple(IPv4Network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"))


class AddressesExhaustedError(Exception):
    """A network has no free address left."""


def next_address(store: Store, network: IPv4Network, taken: Collection[str], *, reserved: int) -> str:
    """The next free address, walking round the network so that a freed one rests as long as possible."""
    room = network.num_addresses - reserved - 1
    for _ in range(room):
        step = store.next_number(f"address-{network}", first=0) % room
        candidate = str(network.network_address + reserved + step)
        if candidate not in taken:
            return candidate
    raise AddressesExhaustedError(f"{network} has no free address for another droplet")


def public_interface(store: Store, network: IPv4Network, droplet: int, taken: Collection[str]) -> Document:
    address = next_address(store, network, taken, reserved=_PUBLIC_RESERVED)
    return _interface(_PUBLIC_CARD, droplet, address, network, name="eth0", gateway=True)


def private_interface(store: Store, network: IPv4Network, droplet: int, taken: Collection[str]) -> Document:
    address = next_address(store, network, taken, reserved=_PRIVATE_RESERVED)
    return _interface(_PRIVATE_CARD, droplet, address, network, name="eth1", gateway=False)


def gateway_of(network: IPv4Network) -> str:
    return str(network.network_address + 1)


def to_interface(document: Document) -> Interface:
    ipv6 = document.get("ipv6")
    return Interface(
        name=document["name"],
        mac=document["mac"],
        address=document["address"],
        prefix=document["prefix"],
        gateway=document["gateway"],
        ipv6=Ipv6(**ipv6) if ipv6 else None,
    )


def _interface(
    card: int, droplet: int, address: str, network: IPv4Network, *, name: str, gateway: bool
) -> Document:
    mac = bytes([0x02, card]) + droplet.to_bytes(4, "big")
    return {
        "name": name,
        "mac": mac.hex(":"),
        "address": address,
        "prefix": network.prefixlen,
        "gateway": gateway_of(network) if gateway else None,
    }


def free_vpc_range(taken: Collection[IPv4Network]) -> IPv4Network:
    """A free /20 for a VPC whose range was not chosen, from the ranges the real cloud uses."""
    for block in IPv4Network("10.104.0.0/13").subnets(new_prefix=20):
        if not any(block.overlaps(other) for other in (*taken, *RESERVED_RANGES)):
            return block
    raise AddressesExhaustedError("every /20 of 10.104.0.0/13 belongs to a VPC already")


def with_ipv6(card: Document, network: IPv6Network, droplet: int) -> Document:
    """A public card that speaks IPv6 too, from a /64 of the droplet's own: what its router would be asked for on a
    shared one, the addresses of all the others, nobody has to answer.

    The first /64 of the /48 is the cloud's; the rest go round after 65535 droplets.
    """
    own = network.network_address + ((droplet % 0xFFFF + 1) << 64)
    return {**card, "ipv6": {"address": str(own + 2), "prefix": 64, "gateway": str(own + 1)}}
