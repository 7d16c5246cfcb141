"""What a cloud is told at its birth."""

from __future__ import annotations

from dataclasses import dataclass, field
from ipaddress import IPv4Network, IPv6Network


@dataclass(frozen=True, slots=True)
class RateLimits:
    """Requests a token may send; https://docs.digitalocean.com/reference/api/intro/ (rate limit)."""

    per_hour: int = 5000
    per_minute: int = 250


@dataclass(frozen=True, slots=True)
class CloudSettings:
    """`latency_seconds` is how long every asynchronous step of an action takes on top of its real work.

    `public_network` gives droplets their public addresses, `public_network6` (a /48) those that ask for IPv6 theirs:
    None where machines cannot have it. `edge_ranges` are the sources the edge speaks from.
    """

    token: str
    cloudflare_token: str
    control_token: str
    public_network: IPv4Network
    public_network6: IPv6Network | None = None
    latency_seconds: float = 0.0
    droplet_limit: int = 25
    rate_limits: RateLimits | None = field(default_factory=RateLimits)
    edge_ranges: tuple[str, ...] = ()
    # Boots at once: more only make each of them slower on a small host.
    parallel_boots: int = 4
