"""Names and addresses of one sandbox's network: a pure function of its instance number."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

from sandbox.network.port import Attachment

INSTANCES = 32

# Benchmark addresses (RFC 2544), cut into one /20 per sandbox: never routed on the internet, rarely in a LAN.
_REGION = IPv4Network("198.18.0.0/15")

# Documentation addresses (RFC 3849), cut into one /48 per sandbox and one /64 of it per droplet.
_REGION6 = IPv6Network("2001:db8:f100::/43")

# Documentation addresses (RFC 5737, RFC 3849): the operator's desk and the visitors, as droplets see them.
DESK = "203.0.113.7"
DESK6 = "2001:db8:7::7"
INTERNET = "192.0.2.0/24"
INTERNET6 = "2001:db8:2::/48"
VISITOR = "192.0.2.10"
VISITOR6 = "2001:db8:2::10"
# Where on the internet DigitalOcean's API and its object storage are.
CLOUD_API = "192.0.2.201"
OBJECT_STORAGE = "192.0.2.202"

# What DigitalOcean serves on these addresses to every droplet, whatever its firewall:
# https://docs.digitalocean.com/reference/api/metadata/, its resolver, and our package proxy beside it.
METADATA = "169.254.169.254"
RESOLVER = "67.207.67.2"
PACKAGES = "67.207.67.4"
PACKAGES_PORT = 3142

# Far ends of the cables to the edge and the internet (RFC 6598): next hops only, nobody may send from them.
EDGE_HOP = "100.64.0.1"
INTERNET_HOP = "100.64.0.2"

# Both ends of the cables to the host, the edge and the internet speak IPv6 to each other by these.
ROUTER6 = "fe80::1"
FAR6 = "fe80::2"

# Link group of all the router's ports, so that the kernel removes them in one go.
CABLES = 1

# Ports of the router that no droplet owns.
HOST_PORT = "host"
EDGE_PORT = "edge"
INTERNET_PORT = "internet"


def public_slice(instance: int) -> IPv4Network:
    """The public addresses of the droplets of sandbox `instance`."""
    if not 0 <= instance < INSTANCES:
        raise ValueError(f"sandbox instance {instance} is out of range: use 0 to {INSTANCES - 1}")
    return list(_REGION.subnets(new_prefix=20))[instance]


def public_slice6(instance: int) -> IPv6Network:
    """The same for IPv6: the first /64 of it is the sandbox's own, each other one a droplet's."""
    if not 0 <= instance < INSTANCES:
        raise ValueError(f"sandbox instance {instance} is out of range: use 0 to {INSTANCES - 1}")
    return list(_REGION6.subnets(new_prefix=48))[instance]


def prefix(instance: int) -> str:
    """What every name of this sandbox starts with, so that a sweep finds them all."""
    return f"fl{instance}-"


def host_link(instance: int) -> str:
    """The host's end of the cable to the router; the only thing a sandbox adds to the host's own network."""
    return f"fl{instance}h"


@dataclass(frozen=True, slots=True)
class Plan:
    """Names and addresses of one sandbox.

    The first address of `public` is the router (the droplets' gateway) and the second one is the host's end of
    its cable: neither may be given to a droplet.
    """

    instance: int
    public: IPv4Network

    @property
    def router(self) -> str:
        return f"{prefix(self.instance)}router"

    @property
    def edge(self) -> str:
        return f"{prefix(self.instance)}edge"

    @property
    def internet(self) -> str:
        return f"{prefix(self.instance)}internet"

    @property
    def host_link(self) -> str:
        return host_link(self.instance)

    @property
    def gateway(self) -> IPv4Address:
        return self.public[1]

    @property
    def desk(self) -> IPv4Address:
        """The host on its cable; the router turns it into `DESK` before a droplet sees it."""
        return self.public[2]

    @property
    def public6(self) -> IPv6Network:
        return public_slice6(self.instance)

    @property
    def desk6(self) -> IPv6Address:
        """The host on its cable by IPv6; the router turns it into `DESK6`."""
        return self.public6[2]

    def droplet(self, droplet: int) -> str:
        """Network namespace of a droplet."""
        return f"{self.droplet_prefix}{droplet}"

    @property
    def droplet_prefix(self) -> str:
        return f"{prefix(self.instance)}d"


def public_port(attachment: Attachment) -> str:
    """The router's end of a droplet's public cable; short enough for the kernel's 15 characters."""
    return f"pub{attachment.droplet}"


def vpc_port(attachment: Attachment) -> str:
    """The router's end of a droplet's VPC cable."""
    return f"vpc{attachment.droplet}"
