"""What the tests of the tiers have in common: a site of mocked clouds, and tiers as the program builds them."""

from __future__ import annotations

import base64
from dataclasses import dataclass, field, replace
from typing import Any

import pulumi

from components import model
from components.clouds import port
from components.clouds.digitalocean import DigitalOcean, DigitalOceanDns
from components.database_endpoint import DatabaseEndpoint
from components.database_tier import DatabaseTier, DatabaseTierArgs
from components.edge import without_edge
from components.firewall import Firewall, FirewallArgs
from components.model import DrainTimes, Places, Role
from components.naming import tags
from components.preflight import BootImage
from components.rollout import Rollout
from components.site import Site
from components.web_payload import Told, WebPayload
from components.web_tier import WebTier, WebTierArgs
from fleet.identity import Identity

IDENTITY = Identity.from_seed(base64.b64encode(bytes(range(32))).decode())
ROLES = frozenset({Role.WEB, Role.DATABASE})
EDGE_RANGES = ("173.245.48.0/20", "2400:cb00::/32")
PLACES = Places(admin=("203.0.113.7/32",), edge=EDGE_RANGES, network="10.20.0.0/20")
IMAGE = BootImage(id="101", from_scratch=False)
DISTRIBUTION = BootImage(id="debian-13-x64", from_scratch=True)
DROPLET = "digitalocean:index/droplet:Droplet"
REMOTE = "command:remote:Command"
LOCAL = "command:local:Command"


def make_site(engine: model.Engine = "mysql", places: Places = PLACES, *, ipv6: bool = False) -> Site:
    """A stack's place at DigitalOcean, its resources registered."""
    spec = port.SiteSpec(
        network=places.network,
        tags=tags("dev", ROLES),
        login_key=IDENTITY.deploy_key().public_openssh,
        ipv6=ipv6,
    )
    return Site(
        stack="dev",
        cloud=DigitalOcean("lon1", spec),
        identity=IDENTITY,
        admin_keys=("ssh-ed25519 AAAA me",),
        roles=ROLES,
        engine=engine,
        places=places,
    )


def make_firewall(site: Site) -> Firewall:
    return Firewall("firewall", FirewallArgs(site=site))


def make_database(site: Site, **changes: Any) -> DatabaseTier:
    usual = DatabaseTierArgs(
        site=site, size="s-1vcpu-1gb", image=IMAGE, volume_gib=10, protect_data=False, after=[]
    )
    return DatabaseTier("database", replace(usual, **changes))


def make_web(site: Site, **changes: Any) -> WebTier:
    """A tier of three; `count`, `mode`, `canary_seconds` and `through` change how it is rolled out."""
    order: dict[str, Any] = {"count": 3, "canary_seconds": 30}
    order |= {
        key: changes.pop(key) for key in ("count", "mode", "canary_seconds", "through") if key in changes
    }
    told = Told(
        domain="www.foobar.com",
        origin=changes.pop("origin", None) or without_edge(IDENTITY, "www.foobar.com"),
        database=changes.pop("database", None) or elsewhere(),
        datastore=None,
    )
    rest, image = changes.pop("rest", None), changes.pop("image", IMAGE)
    images = [image, *([rest] if rest else [])]
    usual = WebTierArgs(
        site=site,
        rollout=Rollout(**order),
        size="s-1vcpu-1gb",
        image=image,
        rest=rest,
        payload=WebPayload.of(site, told, images, changes.pop("release", None)),
        cloud_token=None,
        drain=DrainTimes(propagation=300, quiet=10, cap=120),
        dns=DigitalOceanDns("foobar.com", "www.foobar.com"),
        after=[],
    )
    return WebTier("web", replace(usual, **changes))


def elsewhere() -> DatabaseEndpoint:
    """A database that is none of the tier's business."""
    return DatabaseEndpoint(
        engine="mysql",
        host=pulumi.Output.from_input("10.20.0.9"),
        port=pulumi.Output.from_input(3306),
        name="site",
        user="site",
        password=pulumi.Output.secret(IDENTITY.password("database")),
        authority=pulumi.Output.from_input(IDENTITY.authority().certificate_pem),
        ready=[pulumi.CustomResource("test:index:Ready", "ready", {})],
    )


@dataclass(slots=True)
class Kept:
    """Lets a program hand an object out to its test."""

    value: Any = field(default=None)
