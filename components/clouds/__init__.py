"""Picks the adapters that a stack's settings ask for; called by the composition root only.

Imports stand inside the functions because an SDK that the stack does not use would cost up to a second and a half.
"""

from __future__ import annotations

from collections.abc import Sequence

from components.clouds import port
from components.schema import CloudflareSettings, PlainDnsSettings
from components.settings import Settings


def catalogue(settings: Settings) -> port.Catalogue:
    """What the stack's cloud has on offer; creates nothing."""
    from components.clouds.digitalocean import DigitalOceanCatalogue

    return DigitalOceanCatalogue()


def edge_lookups(settings: Settings) -> port.EdgeLookups | None:
    """What can be asked of the stack's edge, None without an edge; creates nothing."""
    if isinstance(settings.edge, PlainDnsSettings):
        return None
    from components.clouds.cloudflare import CloudflareLookups

    return CloudflareLookups(settings.edge.zone)


def place(settings: Settings, tags: Sequence[str]) -> port.Place:
    """The stack's place in its cloud: network, login key and tags are there."""
    from components.clouds.digitalocean import DigitalOcean, DigitalOceanDatabases, DigitalOceanStorage

    region = settings.cloud.region
    cloud = DigitalOcean(
        region=region,
        spec=port.SiteSpec(
            network=str(settings.cloud.network),
            tags=tags,
            login_key=settings.identity.deploy_key().public_openssh,
            ipv6=settings.cloud.ipv6,
            lasting=settings.managed is not None and not settings.may_replace_database,
        ),
    )
    return port.Place(
        cloud=cloud,
        databases=DigitalOceanDatabases(region, cloud.network),
        storage=DigitalOceanStorage(),
        network=cloud.network,
        login_key=cloud.login_key,
    )


def dns(settings: Settings, zone_id: str) -> port.Dns:
    """Who names the members; `zone_id` is what `edge_lookups` found."""
    if isinstance(settings.edge, CloudflareSettings):
        from components.clouds.cloudflare import CloudflareDns

        return CloudflareDns(zone_id, settings.domain)
    from components.clouds.digitalocean import DigitalOceanDns

    zone = settings.edge.zone or settings.domain
    return DigitalOceanDns(zone, settings.domain)


def edge(settings: Settings, zone_id: str) -> port.Edge | None:
    """What stands in front of the members, None when visitors reach them directly."""
    if isinstance(settings.edge, PlainDnsSettings):
        return None
    from components.clouds.cloudflare import CloudflareEdge

    return CloudflareEdge(zone_id)
