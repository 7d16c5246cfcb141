"""The fence in the packet filter: what becomes of new connections to the site's port.

/etc/nftables.conf sends them to a chain of their own, `fence`, after its table let their sender in. The chain
accepts; closed, it answers with a TCP reset, so that the edge tries another member at once. The rules of a closed
fence lie in files that /etc/nftables.conf includes: a reload does not open it, nor does a reboot one that is held.
"""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from typing import Final

from fleet.machine import places
from fleet.machine.host import Host

CHAIN: Final = "inet flotilla fence"
FAILOVER_PORT: Final = 8102  # where a member takes over what a peer's app failed: see failover.py
NGINX_PID: Final = "/run/nginx.pid"


def closed_rules(network: str) -> str:
    """nftables commands that close the fence in one transaction, but for the VPC; what a peer would hand on is
    refused too, so that it goes to another."""
    family = "ip6" if ":" in network else "ip"
    return (
        f"flush chain {CHAIN}\n"
        f"add rule {CHAIN} tcp dport {FAILOVER_PORT} reject with tcp reset\n"
        f"add rule {CHAIN} {family} saddr {network} accept\n"
        f"add rule {CHAIN} meta l4proto tcp counter reject with tcp reset\n"
    )


OPEN_RULES: Final = f"flush chain {CHAIN}\nadd rule {CHAIN} accept\n"


def close(host: Host, network: str, *, held: bool) -> None:
    """Refuse new connections, and end each kept one after its next answer."""
    rules = closed_rules(network)
    host.write(places.FENCE_RULES, rules, 0o644)
    if held:
        host.write(places.FENCE_HELD_RULES, rules, 0o644)
    else:
        host.path(places.FENCE_HELD_RULES).unlink(missing_ok=True)
    host.must("nft", "--file", "-", feed=rules, timeout=10)
    host.path(places.FENCE_LAME_DUCK).touch(mode=0o644)


def open_again(host: Host) -> None:
    """Let new connections in as the firewall's table has it."""
    host.path(places.FENCE_LAME_DUCK).unlink(missing_ok=True)
    host.must("nft", "--file", "-", feed=OPEN_RULES, timeout=10)
    for path in (places.FENCE_RULES, places.FENCE_HELD_RULES):
        host.path(path).unlink(missing_ok=True)


def is_closed(host: Host) -> bool:
    """As the files say, which outlive whoever closed it."""
    return host.path(places.FENCE_RULES).exists() or host.path(places.FENCE_HELD_RULES).exists()


def end_idle_connections(host: Host) -> None:
    """nginx closes idle connections when it loads its configuration anew; one that does not run has none."""
    text = (host.read(NGINX_PID) or "").strip()
    if text.isdigit():
        with suppress(ProcessLookupError):
            os.kill(int(text), signal.SIGHUP)
