"""The addresses Cloudflare's edge speaks from: the published list, or one a test has put in its place."""

from __future__ import annotations

import hashlib
import ipaddress
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sandbox.store import Document, Store

_PUBLISHED = Path(__file__).with_name("ip_ranges.json")
_KIND = "cf_ip_ranges"


@dataclass(frozen=True, slots=True)
class IpRanges:
    """CIDRs as `GET /client/v4/ips` lists them."""

    ipv4: tuple[str, ...]
    ipv6: tuple[str, ...]

    @property
    def all(self) -> tuple[str, ...]:
        return self.ipv4 + self.ipv6

    def document(self) -> Document:
        """The result of `GET /ips`; the etag changes when and only when the list does."""
        digest = hashlib.sha256("\n".join(self.all).encode()).hexdigest()[:32]
        return {"etag": digest, "ipv4_cidrs": list(self.ipv4), "ipv6_cidrs": list(self.ipv6)}


def ip_ranges(store: Store) -> IpRanges:
    document = store.get(_KIND, "current") or json.loads(_PUBLISHED.read_text())
    return IpRanges(tuple(document["ipv4_cidrs"]), tuple(document["ipv6_cidrs"]))


def set_ip_ranges(store: Store, ipv4: Sequence[str], ipv6: Sequence[str]) -> None:
    """Let the sandbox's Cloudflare publish other ranges; ValueError names a CIDR that is none."""
    for cidr in ipv4:
        ipaddress.IPv4Network(cidr)
    for cidr in ipv6:
        ipaddress.IPv6Network(cidr)
    store.put(_KIND, "current", {"ipv4_cidrs": list(ipv4), "ipv6_cidrs": list(ipv6)})


def reset_ip_ranges(store: Store) -> None:
    """Publish the real ranges again."""
    if store.get(_KIND, "current") is not None:
        store.delete(_KIND, "current")
