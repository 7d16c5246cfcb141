"""The packet filter's sets of the stack's machines by role, as /etc/nftables.conf names them.

Until the first good list a set holds the VPC's range. Afterwards one file holds the last good list; it is included
by /etc/nftables.conf, so it is in force again after a reload and a reboot. A set is never emptied.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Final

from fleet.config import MachineConfig, source_role
from fleet.machine import places
from fleet.machine.host import Host

TABLE: Final = "inet flotilla"
RULES: Final = f"{places.ROLES}/roles.nft"


def wanted(machine: MachineConfig) -> tuple[str, ...]:
    """The roles whose machines may reach this one."""
    roles = {source_role(source) for inbound in machine.inbound for source in inbound.sources}
    return tuple(sorted(roles - {""}))


def believable(addresses: Iterable[str], network: str) -> list[str]:
    """Those that are addresses inside the VPC, in order; the last check before the packet filter."""
    vpc = ipaddress.ip_network(network)
    inside = set()
    for text in addresses:
        try:
            address = ipaddress.ip_address(text)
        except ValueError:
            continue
        if address.version == 4 and address in vpc:
            inside.add(address)
    return [str(address) for address in sorted(inside)]


def rules(sets: Mapping[str, Iterable[str]]) -> str:
    """nftables commands that make each role's set hold exactly these addresses, in one transaction."""
    lines = []
    for role, addresses in sorted(sets.items()):
        members = ", ".join(addresses)
        lines += [f"flush set {TABLE} role_{role}4", f"add element {TABLE} role_{role}4 {{ {members} }}"]
    return "".join(f"{line}\n" for line in lines)


def in_force(host: Host) -> dict[str, list[str]]:
    """The last good list of each role, as its file has it; empty when there is none."""
    found = {}
    for line in (host.read(RULES) or "").splitlines():
        if line.startswith(f"add element {TABLE} role_"):
            name, _, members = line.removeprefix(f"add element {TABLE} role_").partition(" ")
            found[name.removesuffix("4")] = members.strip("{} ").split(", ")
    return found


def enforce(host: Host, machine: MachineConfig, given: Mapping[str, Iterable[str]]) -> list[str]:
    """Make the sets hold the addresses of each role; returns what changed, in words.

    A role of which no believable address is given keeps its last good list.
    """
    before = in_force(host)
    after = {}
    for role in wanted(machine):
        for source in (given.get(role, ()), before.get(role, ())):
            if inside := believable(source, machine.network):
                after[role] = inside
                break
    text = rules(after)
    if text == (host.read(RULES) or ""):
        return []
    host.must("nft", "--file", "-", feed=text, timeout=10)
    # Last, so that a run that dies before it is done again.
    host.write(RULES, text, 0o644)
    return [
        f"{role}: {_change(before.get(role), after[role])}"
        for role in after
        if before.get(role) != after[role]
    ]


def forget(host: Host, machine: MachineConfig) -> bool:
    """Without a datastore the sets hold the VPC's range again; False when they did."""
    if host.read(RULES) is None:
        return False
    whole = rules({role: [machine.network] for role in wanted(machine)})
    host.must("nft", "--file", "-", feed=whole, timeout=10)
    host.path(RULES).unlink()
    return True


def _change(before: list[str] | None, after: list[str]) -> str:
    if before is None:
        return f"{len(after)} machines, instead of the whole network"
    came, went = sorted(set(after) - set(before)), sorted(set(before) - set(after))
    words = [f"{address} came" for address in came] + [f"{address} went" for address in went]
    return f"{len(after)} machines: {', '.join(words)}"
