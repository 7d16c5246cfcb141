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


def public(host: Host, network: str) -> str:
    """The IPv4 address by which this machine is known outside the VPC; empty when it has none."""
    routes = json.loads(host.must("ip", "-json", "-4", "route", "show", "default") or "[]")
    if not routes or "dev" not in routes[0]:
        return ""
    inside = ipaddress.ip_network(network)
    cards = json.loads(host.must("ip", "-json", "-4", "address", "show", "dev", str(routes[0]["dev"])))
    for card in cards:
        for entry in card.get("addr_info", ()):
            address = entry.get("local")
            if address and entry.get("scope") == "global" and ipaddress.ip_address(address) not in inside:
                return str(address)
    return ""
