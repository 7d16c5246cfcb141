"""What the edge must know of the zones: which names it serves, from which origins, under which settings."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import ip_address

from sandbox.cloudflare import origin_ca, origin_pulls, zone_settings
from sandbox.store import Document, Store

# A chain of CNAMEs longer than this is a loop or a mistake.
_LONGEST_CHAIN = 8


class SslMode(StrEnum):
    """How the edge speaks to the origin: https://developers.cloudflare.com/ssl/origin-configuration/ssl-modes/"""

    OFF = "off"
    FLEXIBLE = "flexible"
    FULL = "full"
    STRICT = "strict"


@dataclass(frozen=True, slots=True)
class Host:
    """A proxied name (or `*.` wildcard) and the addresses behind it, in a stable order; none: 530."""

    name: str
    origins: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Zone:
    """An active zone as the edge serves it."""

    name: str
    hosts: tuple[Host, ...] = ()
    ssl: SslMode = SslMode.FULL
    min_tls_version: str = "1.0"
    tls_1_3: bool = True
    http2: bool = True
    always_use_https: bool = False
    # Whether origins are shown a client certificate: the zone's own (PEM, with its key), else the shared one.
    origin_pulls: bool = False
    client_certificate: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True)
class EdgeState:
    """Everything the edge serves, as one value: equal states need no work.

    `origin_roots`: the authorities (PEM) behind Origin CA's certificates, trusted as the public ones are.
    """

    zones: tuple[Zone, ...] = ()
    origin_roots: tuple[str, ...] = field(default=(), repr=False)


def edge_state(store: Store, now: float) -> EdgeState:
    """Read the zones that the edge serves from the store; paused zones are left to DNS alone.

    `now`, seconds since the epoch, tells which client certificates have reached the edge.
    """
    records = store.all("cf_record")
    zones = [zone for zone in store.all("cf_zone") if zone["status"] == "active" and not zone["paused"]]
    return EdgeState(
        tuple(_zone(store, zone, records, now) for zone in sorted(zones, key=lambda zone: zone["name"])),
        origin_ca.roots(store),
    )


def _zone(store: Store, zone: Document, records: Sequence[Document], now: float) -> Zone:
    # The zone's own switch and the global one are independent:
    # https://developers.cloudflare.com/ssl/origin-configuration/authenticated-origin-pull/set-up/global/
    own_pulls = origin_pulls.enabled(store, zone["id"])
    certificate = origin_pulls.deployed(store, zone["id"], now) if own_pulls else None
    values = {setting["id"]: setting["value"] for setting in zone_settings.read_all(store, zone["id"])}
    own = [record for record in records if record["zone_id"] == zone["id"]]
    return Zone(
        name=zone["name"],
        hosts=hosts(own, records),
        ssl=SslMode(values["ssl"]),
        min_tls_version=values["min_tls_version"],
        tls_1_3=values["tls_1_3"] == "on",
        http2=values["http2"] == "on",
        always_use_https=values["always_use_https"] == "on",
        origin_pulls=own_pulls or values["tls_client_auth"] == "on",
        client_certificate=certificate or "",
    )


def hosts(own: Sequence[Document], every: Sequence[Document]) -> tuple[Host, ...]:
    """The proxied names of a zone; a CNAME is followed through `every` record this Cloudflare has."""
    index: dict[str, list[Document]] = defaultdict(list)
    for record in every:
        index[record["name"]].append(record)
    proxied: dict[str, list[Document]] = defaultdict(list)
    for record in own:
        if record["proxied"]:
            proxied[record["name"]].append(record)
    return tuple(Host(name, _origins(proxied[name], index)) for name in sorted(proxied))


def _origins(
    records: Sequence[Document], index: dict[str, list[Document]], depth: int = 0
) -> tuple[str, ...]:
    found = set()
    for record in records:
        if record["type"] in ("A", "AAAA"):
            found.add(record["content"])
        elif record["type"] == "CNAME" and depth < _LONGEST_CHAIN:
            found.update(_origins(index.get(record["content"], []), index, depth + 1))
    return tuple(sorted(found, key=lambda address: (ip_address(address).version, ip_address(address).packed)))
