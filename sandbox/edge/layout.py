"""Where the edge listens, what it speaks from, and how long it waits."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path

from sandbox.cloudflare.ranges import IpRanges
from sandbox.edge.state import EdgeState, Zone


@dataclass(frozen=True, slots=True)
class PointOfPresence:
    """One of Cloudflare's cities: it learns of changes `delay_seconds` late and speaks from its own address.

    Visitors on the host reach it on two loopback ports; visitors inside the sandbox's network reach it on
    ports 443 and 80 of its `anycast` addresses, which lie in the edge's namespace.
    """

    city: str  # IATA code, the tail of CF-Ray
    https_port: int
    http_port: int
    delay_seconds: float = 0.0
    source: str | None = None
    source6: str | None = None
    anycast: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Timing:
    """Cloudflare's limits, in seconds: https://developers.cloudflare.com/fundamentals/reference/connection-limits/"""

    connect: float = 19.0
    read: float = 120.0
    origin_keepalive: float = 900.0
    visitor_keepalive: float = 400.0

    def scaled(self, factor: float) -> Timing:
        """The same proportions on a faster or slower clock, for tests."""
        return Timing(
            self.connect * factor,
            self.read * factor,
            self.origin_keepalive * factor,
            self.visitor_keepalive * factor,
        )


@dataclass(frozen=True, slots=True)
class Service:
    """A service of the internet beside the edge, with an address and a certificate of its own.

    Requests go to `port` on the host's loopback, only those under `path`. None as namespace means the host's own
    network.
    """

    name: str
    hosts: tuple[str, ...]
    address: str
    port: int
    path: str = "/"
    listen_port: int = 443
    namespace: str | None = None


@dataclass(frozen=True, slots=True)
class EdgeLayout:
    """The edge of one sandbox: its files live in `directory`; None as namespace means the host's own network."""

    directory: Path
    points: tuple[PointOfPresence, ...]
    namespace: str | None = None
    timing: Timing = field(default_factory=Timing)
    # Ports of the origins; only tests without addresses of their own move them.
    origin_http_port: int = 80
    origin_https_port: int = 443
    # Where Cloudflare's own API listens on the host's loopback; None: the edge does not serve it.
    api_port: int | None = None
    # What machines reach of the sandbox beside the edge.
    services: tuple[Service, ...] = ()

    @property
    def config(self) -> Path:
        return self.directory / "haproxy.cfg"

    @property
    def socket(self) -> Path:
        return self.directory / "admin.sock"

    @property
    def shared_client_certificate(self) -> Path:
        """With its key: what origin pulls show to origins of zones that uploaded no certificate of their own."""
        return self.directory / "origin-pull" / "client.pem"

    def visitors_certificate(self, zone: str) -> Path:
        return self.directory / f"{zone}.pem"

    @property
    def clients(self) -> Path:
        return self.directory / "clients"

    @property
    def authorities(self) -> Path:
        return self.directory / "authorities"

    # Files named after their content: a change of it changes the configuration, and the old one stays for those
    # points of presence that have not learnt of it.
    def client_certificate(self, zone: Zone) -> Path:
        """The zone's own client certificate with its key, else the shared one."""
        if not zone.client_certificate:
            return self.shared_client_certificate
        return self.clients / f"{_digest(zone.client_certificate)}.pem"

    def origin_authorities(self, state: EdgeState) -> Path:
        """The certificate authorities that ssl mode `strict` accepts from an origin."""
        return self.authorities / f"{_digest(*state.origin_roots)}.pem"

    def certificate_list(self, point: PointOfPresence) -> Path:
        return self.directory / f"{point.city}.list"

    def error_page(self, status: int) -> Path:
        return self.directory / f"{status}.http"


def _digest(*texts: str) -> str:
    return hashlib.sha256("".join(texts).encode()).hexdigest()[:24]


# Cloudflare's API is reached through its own edge: https://developers.cloudflare.com/fundamentals/api/
API_HOST = "api.cloudflare.com"
CITIES = ("LHR", "FRA", "AMS")


def points_of_presence(
    ranges: IpRanges,
    https_ports: Sequence[int],
    http_ports: Sequence[int],
    delays_seconds: Sequence[float] = (0.0, 0.0, 0.0),
) -> tuple[PointOfPresence, ...]:
    """Three cities, each with a source address and an anycast address of its own from the published ranges."""
    return tuple(
        PointOfPresence(
            city=city,
            https_port=https_ports[number],
            http_port=http_ports[number],
            delay_seconds=delays_seconds[number],
            source=_address(ranges.ipv4, number, 10),
            source6=_address(ranges.ipv6, number, 10),
            anycast=tuple(
                address for cidrs in (ranges.ipv4, ranges.ipv6) if (address := _address(cidrs, number, 20))
            ),
        )
        for number, city in enumerate(CITIES)
    )


def _address(cidrs: Sequence[str], number: int, offset: int) -> str | None:
    """An address of the `number`th range (ranges are used again when there are fewer), or None without any."""
    if not cidrs:
        return None
    return str(ip_network(cidrs[number % len(cidrs)])[offset + number])
