"""The composition root: settings in, tiers wired together, outputs out."""

import pulumi

from components import clouds, edge, preflight, settings, tiers
from components.firewall import Firewall, FirewallArgs

configured = settings.load()
found = preflight.run(configured, clouds.catalogue(configured), clouds.edge_lookups(configured))
place = clouds.place(configured, tiers.tags(configured))
site = tiers.site(configured, place, found)
firewall = Firewall("firewall", FirewallArgs(site=site))
database = tiers.database(configured, place, site, found, firewall)
stores = tiers.datastore(configured, place, site)
facing = clouds.edge(configured, found.zone_id)
payload = tiers.web_payload(
    configured,
    site,
    found,
    origin=edge.origin(facing, configured.identity, configured.domain, configured.rotation),
    database=database,
    stores=stores,
)
dns = clouds.dns(configured, found.zone_id)
web = tiers.web(configured, site, found, firewall, dns=dns, payload=payload)
node = tiers.autoscaler(configured, place, site, found, firewall, web=web, payload=payload, stores=stores)
pulumi.export("url", f"https://{configured.domain}")
pulumi.export("members", web.members)
pulumi.export("members6", web.members6)
pulumi.export("database", database.public())
if database.tunnel:
    pulumi.export("tunnel_key", configured.identity.tunnel_key().public_openssh)
if node:
    pulumi.export("autoscaler", node.address)
