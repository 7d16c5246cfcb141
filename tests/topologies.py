"""Droplets on a network, in as few words as a test needs."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Network, IPv6Network

from sandbox.machines.port import Interface, Ipv6
from sandbox.network.port import Allow, Attachment, Topology

# Two of the ranges of https://www.cloudflare.com/ips/, one per family.
EDGE_RANGES = ("173.245.48.0/20", "2400:cb00::/32")

ANYWHERE = ("0.0.0.0/0", "::/0")


def droplet(
    public: IPv4Network,
    number: int,
    *,
    vpc: str = "vpc-a",
    inbound: Sequence[Allow] | None = None,
    outbound: Sequence[Allow] | None = None,
    isolated: bool = False,
    public6: IPv6Network | None = None,
) -> Attachment:
    """Droplet `number` at the addresses of that number; firewalled as soon as one direction has rules, even none.

    It has IPv6 when `public6` says where from.
    """
    mac = f"{number >> 8:02x}:{number & 255:02x}"
    own = None if public6 is None else public6.network_address + (number << 64)
    ipv6 = None if own is None else Ipv6(str(own + 2), 64, str(own + 1))
    return Attachment(
        droplet=number,
        public=Interface(
            "eth0", f"02:00:00:00:{mac}", str(public[number + 10]), public.prefixlen, str(public[1]), ipv6
        ),
        private=Interface("eth1", f"02:00:00:01:{mac}", f"10.20.{number >> 8}.{number & 255}", 20, None),
        vpc=vpc,
        firewalled=inbound is not None or outbound is not None,
        inbound=tuple(inbound or ()),
        outbound=tuple(outbound or ()),
        isolated=isolated,
    )


def tcp(port: int, *peers: str) -> Allow:
    return Allow("tcp", (port, port), peers)


def topology(*attachments: Attachment) -> Topology:
    return Topology(attachments, EDGE_RANGES)
