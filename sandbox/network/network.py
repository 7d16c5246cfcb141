"""The real network of a sandbox: network namespaces, cables, routes and one packet filter in a router."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from ipaddress import IPv4Network, ip_address, ip_network

from sandbox.machines.port import Interface
from sandbox.network import ruleset
from sandbox.network.cables import Change, Neighbour, Observed, difference, droplet_cables, fabric
from sandbox.network.commands import check_tools, ip_batch, ip_json, nft
from sandbox.network.namespaces import NetworkError, namespaces, set_kernel, sweep
from sandbox.network.plan import (
    EDGE_HOP,
    EDGE_PORT,
    FAR6,
    INTERNET,
    INTERNET6,
    INTERNET_HOP,
    INTERNET_PORT,
    METADATA,
    PACKAGES,
    RESOLVER,
    ROUTER6,
    VISITOR,
    VISITOR6,
    Plan,
    public_port,
    vpc_port,
)
from sandbox.network.port import Attachment, Topology

# Paths under /proc/sys/net of the router's namespace, written before any cable exists (they inherit `default`).
_ROUTER_KERNEL = {
    "ipv4/ip_forward": "1",
    # Droplets believe they share one wire; the router answers for every address so that each packet passes it.
    "ipv4/conf/default/proxy_arp": "1",
    # A redirect would teach droplets a way around the router.
    "ipv4/conf/all/send_redirects": "0",
    "ipv4/conf/default/send_redirects": "0",
    "ipv4/conf/default/rp_filter": "1",
    "ipv6/conf/default/disable_ipv6": "0",
    "ipv6/conf/all/forwarding": "1",
}

# The same of every other namespace.
_FAR_KERNEL = {
    "ipv6/conf/default/disable_ipv6": "0",
    # Nobody else can have an address of this cloud: asking for a second first would only take time.
    "ipv6/conf/default/accept_dad": "0",
}

# Marks our own routes, so that only those are taken back.
_PROTOCOL = "static"


class NamespaceNetwork:
    """Implements `Network`; needs root. One per sandbox instance, whose names all start with `fl<instance>`."""

    def __init__(self, instance: int, public_network: IPv4Network) -> None:
        self.plan = Plan(instance, public_network)
        self._topology = Topology((), ())
        self._lock = asyncio.Lock()

    async def apply(self, topology: Topology) -> None:
        """Make the network equal to the topology; raises NetworkError naming the command that failed.

        The filter comes before the cables, and knows only the droplets of the topology: none is ever wired
        without its firewall.
        """
        async with self._lock:
            self._check(topology)
            await self._ensure_router()
            await nft(ruleset.render(self.plan, topology), self.plan.router)
            await self._lay_cables(topology)
            await self._furnish(topology)
            self._topology = topology

    async def renew(self, droplet: int) -> None:
        """Give a droplet an empty namespace with the same cables.

        Called when its machine stopped and before it starts: a machine that is off answers nothing, and a
        booting one finds no address, route or filter of its former life.
        """
        async with self._lock:
            attachments = self._topology.attachments
            rest = tuple(attachment for attachment in attachments if attachment.droplet != droplet)
            if len(rest) == len(attachments):
                raise NetworkError(f"droplet {droplet} is not on the network: apply a topology with it first")
            await self._lay_cables(replace(self._topology, attachments=rest))
            await self._lay_cables(self._topology)

    def attached(self, droplet: int) -> bool:
        """Whether the network has this droplet, by the topology that was applied last."""
        return any(attachment.droplet == droplet for attachment in self._topology.attachments)

    async def configure(self, machine: int, cards: Sequence[Interface]) -> None:
        """Set up the namespace of a machine that has no network daemon of its own."""
        await configure(self.plan, machine, cards)

    async def remove(self) -> None:
        """Leave nothing of this sandbox behind in the host's kernel."""
        async with self._lock:
            await asyncio.to_thread(sweep, self.plan.instance)
            self._topology = Topology((), ())

    def _check(self, topology: Topology) -> None:
        for attachment in topology.attachments:
            public = attachment.public
            if public.gateway != str(self.plan.gateway):
                raise NetworkError(
                    f"droplet {attachment.droplet} has gateway {public.gateway}; "
                    f"the router is {self.plan.gateway}"
                )
            if public.ipv6 and ip_address(public.ipv6.address) not in self.plan.public6:
                raise NetworkError(
                    f"droplet {attachment.droplet} has {public.ipv6.address}, "
                    f"which is none of this sandbox's {self.plan.public6}"
                )

    async def _ensure_router(self) -> None:
        plan = self.plan
        if plan.router not in namespaces(plan.instance):
            check_tools()
            # Without a router nothing else of this sandbox works: what a crash left is taken away.
            await asyncio.to_thread(sweep, plan.instance)
            await ip_batch([f"netns add {plan.router}"])
            set_kernel(plan.router, _ROUTER_KERNEL)
        own = (plan.gateway, METADATA, RESOLVER, PACKAGES)
        lines = ["link set lo up", *(f"addr replace {ip}/32 dev lo" for ip in own)]
        # Packets to a deleted droplet vanish, as out there; an answer at once would hide what waits for it.
        nowhere = [f"route replace blackhole {network}" for network in (plan.public, plan.public6)]
        await ip_batch([*lines, *nowhere], plan.router)

    async def _furnish(self, topology: Topology) -> None:
        """Addresses and routes of the host, the edge and the internet."""
        plan = self.plan
        await ip_batch(
            [
                f"link set {plan.host_link} addrgenmode none",
                f"addr replace {plan.desk}/32 dev {plan.host_link}",
                f"link set {plan.host_link} up",
                f"route replace {plan.public} via {plan.gateway} dev {plan.host_link} onlink src {plan.desk}",
                f"addr replace {FAR6}/64 dev {plan.host_link} nodad",
                f"addr replace {plan.desk6}/128 dev {plan.host_link} nodad",
                f"route replace {plan.public6} via {ROUTER6} dev {plan.host_link} src {plan.desk6}",
            ]
        )
        await self._reach(
            plan.internet, INTERNET_PORT, INTERNET_HOP, (VISITOR, VISITOR6), (INTERNET, INTERNET6)
        )
        ranges = tuple(str(ip_network(entry)) for entry in topology.edge_ranges)
        sources = (_first_source(ranges, "."), _first_source(ranges, ":"))
        await self._reach(plan.edge, EDGE_PORT, EDGE_HOP, sources, ranges)

    async def _reach(
        self,
        namespace: str,
        port: str,
        hop: str,
        sources: tuple[str | None, str | None],
        ranges: tuple[str, ...],
    ) -> None:
        """Make every address of `ranges` local to a namespace, so that any can be bound, and route them there.

        `sources` are the addresses it speaks from by itself, IPv4 and IPv6; without one it has no way out.
        """
        up = [
            "link set lo up",
            "link set eth0 addrgenmode none",
            f"addr replace {hop}/32 dev eth0",
            "link set eth0 up",
            f"addr replace {FAR6}/64 dev eth0 nodad",
        ]
        await ip_batch(up, namespace)
        # A local route is enough to bind an IPv4 address of it; IPv6 wants this as well.
        set_kernel(namespace, {"ipv6/ip_nonlocal_bind": "1"})
        local = ["route", "show", "table", "local", "type", "local", "proto", _PROTOCOL]
        strays = await _routes(local, namespace) | await _routes(["-6", *local], namespace)
        inside = [f"route replace local {entry} dev lo proto {_PROTOCOL}" for entry in ranges]
        source, source6 = sources
        if source:
            inside.append(f"route replace default via {self.plan.gateway} dev eth0 onlink src {source}")
        if source6:
            # A local route makes no address that a route may name as its source, other than with IPv4.
            inside.append(f"addr replace {source6}/128 dev eth0 nodad")
            inside.append(f"route replace ::/0 via {ROUTER6} dev eth0 src {source6}")
        inside += [f"route del local {entry} dev lo" for entry in sorted(strays - set(ranges))]
        await ip_batch(inside, namespace)
        await self._route_to(port, hop, set(ranges))

    async def _route_to(self, port: str, hop: str, ranges: set[str]) -> None:
        """Exactly these ranges lie behind a port of the router."""
        router = self.plan.router
        routed = ["route", "show", "dev", port, "proto", _PROTOCOL]
        strays = (await _routes(routed, router) | await _routes(["-6", *routed], router)) - ranges
        hops = [(entry, FAR6 if ":" in entry else hop) for entry in sorted(ranges)]
        lines = [f"route replace {entry} via {via} dev {port} proto {_PROTOCOL}" for entry, via in hops]
        lines += [f"route del {entry} dev {port} proto {_PROTOCOL}" for entry in sorted(strays)]
        await ip_batch(lines, router)

    async def _lay_cables(self, topology: Topology) -> None:
        wanted = fabric(self.plan)
        for attachment in topology.attachments:
            wanted += droplet_cables(self.plan, attachment)
        change: Change = difference(self.plan, wanted, await self._observe())
        await ip_batch(change.cut, self.plan.router)
        await ip_batch([*change.unmake, *(f"netns add {name}" for name in change.namespaces)])
        for name in change.namespaces:
            set_kernel(name, _FAR_KERNEL)
        await ip_batch(change.make)
        await ip_batch(change.connect, self.plan.router)

    async def _observe(self) -> Observed:
        router = self.plan.router
        links = await ip_json(["link", "show"], router)
        entries = await ip_json(["neigh", "show", "nud", "permanent"], router)
        return Observed(
            namespaces=namespaces(self.plan.instance),
            ports=frozenset(link["ifname"] for link in links if link["ifname"] != "lo"),
            neighbours=frozenset(
                Neighbour(e["dev"], e["dst"], e["lladdr"]) for e in entries if "lladdr" in e
            ),
        )


async def configure_as_machine(plan: Plan, attachment: Attachment) -> None:
    """Set up a droplet's namespace as its own network daemon would: for tests without machines."""
    await configure(plan, attachment.droplet, (attachment.public, attachment.private))


async def configure(plan: Plan, machine: int, cards: Sequence[Interface]) -> None:
    """Addresses and routes of a machine's cards, as they are meant to be inside."""
    lines = ["link set lo up"]
    for card in cards:
        lines.append(f"addr replace {card.address}/{card.prefix} dev {card.name}")
        lines.append(f"link set {card.name} up")
        if card.ipv6 is not None:
            lines.append(f"addr replace {card.ipv6.address}/{card.ipv6.prefix} dev {card.name}")
            lines.append(f"route replace ::/0 via {card.ipv6.gateway} dev {card.name}")
    ways = [card for card in cards if card.gateway]
    lines += [f"route replace default via {card.gateway} dev {card.name}" for card in ways]
    await ip_batch(lines, plan.droplet(machine))


def _first_source(ranges: tuple[str, ...], mark: str) -> str | None:
    """An address of the first range of a family, which its notation tells."""
    first = next((ip_network(entry) for entry in ranges if mark in entry), None)
    return str(first[10]) if first else None


async def _routes(arguments: list[str], namespace: str) -> set[str]:
    found = await ip_json(arguments, namespace)
    return {str(ip_network(route["dst"])) for route in found if route["dst"] != "default"}


__all__ = ["NamespaceNetwork", "configure_as_machine", "public_port", "vpc_port"]
