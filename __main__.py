"""The composition root: settings in, tiers wired together, outputs out."""

import pulumi

from components import clouds, edge, naming, preflight, settings
from components.database_tier import DatabaseTier, DatabaseTierArgs
from components.firewall import Firewall, FirewallArgs
from components.model import Role
from components.site import Site
from components.web_tier import WebTier, WebTierArgs

configured = settings.load()
roles = frozenset({Role.WEB, Role.DATABASE})
found = preflight.run(configured, clouds.catalogue(configured), clouds.edge_lookups(configured))
site = Site(
    stack=configured.stack,
    cloud=clouds.site(configured, naming.tags(configured.stack, roles)),
    identity=configured.identity,
    admin_keys=configured.admin.ssh_keys,
    roles=roles,
    engine=configured.database.engine,
    places=configured.places(found.edge_ranges),
)
firewall = Firewall("firewall", FirewallArgs(site=site))
database = DatabaseTier(
    "database",
    DatabaseTierArgs(
        site=site,
        size=configured.self_hosted.size,
        image=found.images[preflight.DATABASE_IMAGE],
        volume_gib=configured.self_hosted.volume_gib,
        protect_data=configured.protect,
        after=[firewall.native[Role.DATABASE]],
    ),
)
facing = clouds.edge(configured, found.zone_id)
web = WebTier(
    "web",
    WebTierArgs(
        site=site,
        domain=configured.domain,
        rollout=configured.rollout,
        size=configured.web.size,
        image=found.images[preflight.WEB_IMAGE],
        rest=found.images.get(preflight.REST_IMAGE),
        release=found.release,
        drain=configured.drain_times,
        dns=clouds.dns(configured, found.zone_id),
        origin=edge.origin(facing, configured.identity, configured.domain, configured.rotation),
        database=database.endpoint,
        cloud_token=configured.cloud_token,
        after=[firewall.native[Role.WEB]],
    ),
)
pulumi.export("url", f"https://{configured.domain}")
pulumi.export("members", web.members)
pulumi.export("members6", web.members6)
pulumi.export("database", database.endpoint.public())
