"""This machine's own address in the VPC."""

from __future__ import annotations

import ipaddress
import json

from fleet.machine.host import Host, MachineError


def in_network(host: Host, network: str) -> str:
    """The address of this machine inside a CIDR."""
    wanted = ipaddress.ip_network(network)
    cards = json.loads(host.must("ip", "-json", "address", "show", "scope", "global"))
    for card in cards:
        for entry in card.get("addr_info", ()):
            # Addresses that the filter left out stay behind as empty objects.
            address = entry.get("local")
            if address and ipaddress.ip_address(address) in wanted:
                return str(address)
    raise MachineError(f"this machine has no address in {network}; is it in the stack's VPC?")
