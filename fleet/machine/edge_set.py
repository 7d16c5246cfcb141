"""The edge's addresses as they are in force on a member: in the packet filter, and in whose word nginx takes.

One file holds the last good list. A bundle with another list than the bundle before replaces it, and so does the
timer (edge_refresh.py) when it fetched a believable one; whichever came last is in force, also after a reboot.
"""

from __future__ import annotations

import ipaddress
import json
from collections.abc import Sequence
from typing import Final

from fleet.machine import places
from fleet.machine.host import Host

TABLE: Final = "inet flotilla"
RANGES: Final = f"{places.EDGE}/ranges.json"
RULES: Final = f"{places.EDGE}/edge.nft"  # included by /etc/nftables.conf
CLIENT_ADDRESS: Final = f"{places.EDGE}/client-address.conf"  # included by nginx.conf


def load(host: Host) -> tuple[str, ...] | None:
    """The list in force; None when there is none yet, or none that can be read."""
    try:
        return tuple(str(network) for network in json.loads(host.read(RANGES) or ""))
    except (ValueError, TypeError):
        return None


def lay(host: Host, ranges: Sequence[str]) -> None:
    """Write the files of a list; packet filter and nginx follow when they load them."""
    host.write(RULES, rules(ranges), 0o644)
    host.write(CLIENT_ADDRESS, client_address(ranges), 0o644)


def settle(host: Host, ranges: Sequence[str]) -> None:
    """The list is in force. Said last, so that a run that dies before is done again."""
    host.write(RANGES, json.dumps(list(ranges), indent=1) + "\n", 0o644)


def rules(ranges: Sequence[str]) -> str:
    """nftables commands that make the sets hold exactly these ranges, in one transaction; none: closed."""
    networks = [ipaddress.ip_network(text) for text in ranges]
    four = ipaddress.collapse_addresses(n for n in networks if isinstance(n, ipaddress.IPv4Network))
    six = ipaddress.collapse_addresses(n for n in networks if isinstance(n, ipaddress.IPv6Network))
    lines = []
    for name, members in (("edge4", [str(n) for n in four]), ("edge6", [str(n) for n in six])):
        lines.append(f"flush set {TABLE} {name}")
        if members:
            lines.append(f"add element {TABLE} {name} {{ {', '.join(members)} }}")
    return "\n".join(lines) + "\n"


def client_address(ranges: Sequence[str]) -> str:
    """The edge says who its client is, and only the edge is believed."""
    trusted = [f"set_real_ip_from {network};" for network in ranges]
    return "\n".join([*trusted, "real_ip_header CF-Connecting-IP;"]) + "\n" if trusted else "# No edge.\n"
