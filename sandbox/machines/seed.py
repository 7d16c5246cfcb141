"""The NoCloud seed: what cloud-init in a machine reads about itself.

https://cloudinit.readthedocs.io/en/latest/reference/datasources/nocloud.html
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

import yaml

from sandbox.machines.port import Interface, MachineSpec


def render(spec: MachineSpec, incarnation: int) -> Mapping[str, str]:
    """The seed's files by name. A new incarnation (a rebuilt disk) is a new instance to cloud-init."""
    meta = {
        "instance-id": f"{spec.id}-{incarnation}",
        "local-hostname": spec.hostname,
        "public-keys": list(spec.ssh_keys),
    }
    interfaces = {card.name: _ethernet(card) for card in (spec.public, spec.private)}
    return {
        "meta-data": yaml.safe_dump(meta, sort_keys=False, width=4096),
        "user-data": spec.user_data,
        "network-config": yaml.safe_dump({"version": 2, "ethernets": interfaces}, sort_keys=False),
    }


def _ethernet(card: Interface) -> dict[str, Any]:
    network = ipaddress.ip_interface(f"{card.address}/{card.prefix}").network
    described: dict[str, Any] = {
        "match": {"macaddress": card.mac},
        "set-name": card.name,
        "addresses": [f"{card.address}/{card.prefix}"],
    }
    if card.gateway is not None:
        # The word `default` is refused by cloud-init's networkd renderer.
        route: dict[str, Any] = {"to": "0.0.0.0/0", "via": card.gateway}
        if ipaddress.ip_address(card.gateway) not in network:
            route["on-link"] = True
        described["routes"] = [route]
    if card.ipv6 is not None:
        described["addresses"].append(f"{card.ipv6.address}/{card.ipv6.prefix}")
        described.setdefault("routes", []).append({"to": "::/0", "via": card.ipv6.gateway})
        # Nobody advertises routers in this cloud: all there is to know stands here.
        described["accept-ra"] = False
    return described
