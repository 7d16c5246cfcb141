"""What the cloud asks of its network, as one whole state: applying it again changes nothing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from sandbox.machines.port import Interface


@dataclass(frozen=True, slots=True)
class Allow:
    """One resolved cloud firewall rule of a droplet: the peers are addresses, tags already looked up."""

    protocol: str  # "tcp", "udp", "icmp"
    ports: tuple[int, int] | None  # None: all
    peers: tuple[str, ...]  # CIDRs, IPv4 and IPv6


@dataclass(frozen=True, slots=True)
class Attachment:
    """A droplet on the network. Without a firewall (`firewalled` false) everything passes, as in the real cloud."""

    droplet: int
    public: Interface
    private: Interface
    vpc: str
    firewalled: bool
    inbound: tuple[Allow, ...]
    outbound: tuple[Allow, ...]
    isolated: bool = False  # fault: the cable is pulled


@dataclass(frozen=True, slots=True)
class Topology:
    """Every droplet of the cloud and the edge's source ranges."""

    attachments: tuple[Attachment, ...]
    edge_ranges: tuple[str, ...]


class Network(Protocol):
    """Namespaces, cables, routes and packet filters of the cloud."""

    async def apply(self, topology: Topology) -> None:
        """Make the network equal to the topology: atomically for filters, level-triggered for cables."""

    async def remove(self) -> None:
        """Leave no namespace, interface, route or rule behind; also after a crash."""
