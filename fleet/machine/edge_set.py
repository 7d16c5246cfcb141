"""The named set of the edge's addresses in the machine's packet filter."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from typing import Final

TABLE: Final = "inet flotilla"


def render(ranges: Sequence[str]) -> str:
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
