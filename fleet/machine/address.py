"""This machine's own address in the VPC."""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Iterator
from typing import Final

from fleet.machine.host import Host, MachineError

# https://www.rfc-editor.org/rfc/rfc1918#section-3; a droplet has some of these on its public card too.
_PRIVATE: Final = tuple(
    ipaddress.ip_network(text) for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16")
)


def in_network(host: Host, network: str) -> str:
    """The address of this machine inside a CIDR."""
    wanted = ipaddress.ip_network(network)
    for address in _own(host):
        if address in wanted:
            return str(address)
    raise MachineError(f"this machine has no address in {network}; is it in the stack's VPC?")


def public(host: Host, network: str) -> str:
    """The IPv4 address by which this machine is known outside the VPC; empty when it has none."""
    inside = (ipaddress.ip_network(network), *_PRIVATE)
    for address in _own(host):
        if address.version == 4 and not any(address in each for each in inside):
            return str(address)
    return ""


def _own(host: Host) -> Iterator[ipaddress.IPv4Address | ipaddress.IPv6Address]:
    cards = json.loads(host.must("ip", "-json", "address", "show", "scope", "global"))
    for card in cards:
        for entry in card.get("addr_info", ()):
            # Addresses that the filter left out stay behind as empty objects.
            if entry.get("local"):
                yield ipaddress.ip_address(entry["local"])
