"""What a stack's settings mean for each tier: the composition root asks for the tiers, here they get their parts."""

from __future__ import annotations

from collections.abc import Mapping

from components import naming, preflight
from components.autoscaler_node import AutoscalerNode, AutoscalerNodeArgs
from components.clouds import port
from components.commands import Bursts, Sweep
from components.controller import Fleet
from components.database_endpoint import DatabaseEndpoint
from components.database_tier import DatabaseTier, DatabaseTierArgs
from components.datastore import Datastore, DatastoreAccess, DatastoreArgs
from components.edge import Origin
from components.firewall import Firewall
from components.managed_database import ManagedDatabase, ManagedDatabaseArgs
from components.model import Role
from components.preflight import Findings
from components.schema import ManagedSettings
from components.settings import Settings
from components.site import Site
from components.web_payload import Told, WebPayload
from components.web_tier import WebTier, WebTierArgs
from fleet.config import TunnelSettings
from fleet.controller import config


def tags(settings: Settings) -> tuple[str, ...]:
    """The tags that must exist before the first machine."""
    return naming.tags(settings.stack, settings.roles)


def site(settings: Settings, place: port.Place, found: Findings) -> Site:
    """What all tiers share."""
    return Site(
        stack=settings.stack,
        cloud=place.cloud,
        identity=settings.identity,
        admin_keys=settings.admin.ssh_keys,
        roles=settings.roles,
        engine=settings.database.engine,
        places=settings.places(found.edge_ranges),
        role_sets=settings.datastore is not None,
    )


def database(
    settings: Settings, place: port.Place, site: Site, found: Findings, firewall: Firewall
) -> DatabaseEndpoint:
    """The site's database, of the fleet's own or run by the cloud."""
    own, managed = settings.self_hosted, settings.managed
    if own is not None:
        return DatabaseTier(
            "database",
            DatabaseTierArgs(
                site=site,
                size=own.size,
                image=found.images[preflight.DATABASE_IMAGE],
                volume_gib=own.volume_gib,
                protect_data=settings.protect,
                after=[firewall.native[Role.DATABASE]],
            ),
        ).endpoint
    if managed is None:
        raise TypeError(f"{type(settings.database).__name__} is no database")
    return ManagedDatabase(
        "database",
        ManagedDatabaseArgs(
            site=site,
            databases=place.databases,
            region=settings.cloud.region,
            nodes=managed.nodes,
            size=managed.size,
            tunnel=_tunnel(managed),
            rotation=managed.rotation,
            lasting=not settings.may_replace_database,
            protect=settings.protect and not settings.may_replace_database,
        ),
    ).endpoint


def _tunnel(managed: ManagedSettings) -> TunnelSettings | None:
    gateway = managed.gateway
    if gateway is None:
        return None
    kind, key, *_ = gateway.host_key.split()
    return TunnelSettings(host=gateway.host, port=gateway.port, user=gateway.user, host_key=f"{kind} {key}")


def datastore(settings: Settings, place: port.Place, site: Site) -> Mapping[Role, DatastoreAccess]:
    """What opens the config datastore for each role; empty when there is none."""
    if settings.datastore is None:
        return {}
    return Datastore(
        "datastore",
        DatastoreArgs(
            site=site,
            storage=place.storage,
            region=settings.datastore.region or settings.cloud.region,
            protect=settings.protect,
        ),
    ).access


def web_payload(
    settings: Settings,
    site: Site,
    found: Findings,
    *,
    origin: Origin,
    database: DatabaseEndpoint,
    stores: Mapping[Role, DatastoreAccess],
) -> WebPayload:
    """What every member is made from and told."""
    told = Told(domain=settings.domain, origin=origin, database=database, datastore=stores.get(Role.WEB))
    keys = (preflight.WEB_IMAGE, preflight.REST_IMAGE)
    images = [found.images[key] for key in keys if key in found.images]
    return WebPayload.of(site, told, images, found.release)


def web(
    settings: Settings,
    site: Site,
    found: Findings,
    firewall: Firewall,
    *,
    dns: port.Dns,
    payload: WebPayload,
) -> WebTier:
    """The members that serve the site."""
    return WebTier(
        "web",
        WebTierArgs(
            site=site,
            rollout=settings.rollout,
            size=settings.web.size,
            image=found.images[preflight.WEB_IMAGE],
            rest=found.images.get(preflight.REST_IMAGE),
            payload=payload,
            drain=settings.drain_times,
            dns=dns,
            cloud_token=settings.cloud_token,
            after=[firewall.native[Role.WEB]],
        ),
    )


def autoscaler(
    settings: Settings,
    place: port.Place,
    site: Site,
    found: Findings,
    firewall: Firewall,
    *,
    web: WebTier,
    payload: WebPayload,
    stores: Mapping[Role, DatastoreAccess],
) -> AutoscalerNode | None:
    """The node that heals and scales the members; None when the stack has none."""
    node = settings.autoscaler
    if node is None or settings.controller is None:
        return None
    return AutoscalerNode(
        "autoscaler",
        AutoscalerNodeArgs(
            site=site,
            size=node.size,
            image=found.images[preflight.AUTOSCALER_IMAGE],
            fleet=_fleet(settings, found, payload),
            tokens=settings.controller,
            network=place.network,
            login_key=place.login_key,
            datastore=stores.get(Role.AUTOSCALER),
            sweep=Sweep(stack=settings.stack, variables=settings.token_variables),
            bursts=Bursts(
                stack=settings.stack,
                seed=settings.identity.seed_base64,
                cloud_token=settings.cloud_token,
            ),
            before=[*firewall.native.values(), place.network.resource],
            after=[web],
        ),
    )


def _fleet(settings: Settings, found: Findings, payload: WebPayload) -> Fleet:
    node, cloud, edge = settings.autoscaler, settings.cloud, settings.edge
    if node is None:
        raise TypeError("a stack without an autoscaler has no fleet for it")
    return Fleet(
        domain=settings.domain,
        region=cloud.region,
        count=settings.web.count,
        max=node.max,
        size=settings.web.size,
        image=found.images[preflight.WEB_IMAGE],
        payload=payload,
        ipv6=cloud.ipv6,
        drain=settings.drain_times,
        edge=config.Edge(kind=edge.kind, zone=edge.zone or settings.domain, zone_id=found.zone_id),
        schedules=node.schedules,
        target_cpu=node.target_cpu,
        cooldown_seconds=node.cooldown_seconds,
    )
