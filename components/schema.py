"""What a stack's config may say, section by section.

Every field carries a description and an example: they are the text of the error when it is missing or wrong.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from components.values import (
    Address,
    AdminRange,
    HostName,
    ImageName,
    RegionSlug,
    SizeSlug,
    SshPublicKey,
    VpcNetwork,
)

# More than the controller and the edge are proven with; a larger number is more likely a typo than a wish.
MAX_MEMBERS = 1000

# Volumes hold 1 GiB to 16 TiB: https://docs.digitalocean.com/products/volumes/details/limits/
MAX_VOLUME_GIB = 16_384

# How long Cloudflare's points of presence may take to see a changed proxied record: its TTL is always 300 s.
# https://developers.cloudflare.com/dns/manage-dns-records/reference/ttl/
PROXIED_TTL_SECONDS = 300
# What resolvers may keep an answer of the cloud's own DNS.
DNS_TTL_SECONDS = 60

# Keys are rotated a few times a year; a larger number is a typo, and one cannot go back from it.
MAX_ROTATIONS = 10_000

Engine = Literal["mysql", "postgresql"]
Seconds = Annotated[int, Field(ge=0, le=3600)]
RequestSeconds = Annotated[int, Field(ge=1, le=3600)]


class Section(BaseModel):
    """A group of settings that belong together: complete, unchangeable, and closed to unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class CloudSettings(Section):
    """Where the machines are."""

    name: Literal["digitalocean"] = Field(
        default="digitalocean", description="the cloud: digitalocean", examples=["digitalocean"]
    )
    region: RegionSlug = Field(description="text, the cloud's region", examples=["lon1"])
    network: VpcNetwork = Field(
        description="text, the range of the private network", examples=["10.20.0.0/20"]
    )
    ipv6: bool = Field(
        default=False, description="true or false, whether members are reached by IPv6 too", examples=[True]
    )


class AdminSettings(Section):
    """Who may log in to the machines, and from where."""

    cidrs: tuple[AdminRange, ...] = Field(
        min_length=1,
        description="list of the address ranges that SSH comes from",
        examples=[["203.0.113.7/32"]],
    )
    ssh_keys: tuple[SshPublicKey, ...] = Field(
        default=(), description="list of public SSH keys", examples=[["ssh-ed25519 AAAA... you"]]
    )


class DrainSettings(Section):
    """How long a member that leaves waits for its visitors."""

    quiet_seconds: Seconds = Field(
        default=10, description="whole number of seconds without a request, 0 to 3600", examples=[10]
    )
    cap_seconds: RequestSeconds = Field(
        default=120,
        description="whole number of seconds to wait for open connections, 1 to 3600",
        examples=[120],
    )


class PartialSettings(Section):
    """A rollout in several updates, on its way: up to where it has come."""

    through: int = Field(
        ge=1,
        le=MAX_MEMBERS,
        description="a whole number, the last slot that has the new image",
        examples=[2],
    )
    rest: ImageName = Field(
        description="text, the image that the slots after that one stay on", examples=["web-2026.11.20-aaaa"]
    )


class RolloutSettings(Section):
    """How members are replaced by others."""

    mode: Literal["surge", "in_place"] = Field(
        default="surge",
        description="surge (all new members beside the old ones) or in_place (one at a time)",
        examples=["surge"],
    )
    canary_seconds: Seconds = Field(
        default=30,
        description="whole number of seconds to watch the first new member with visitors, 0 to 3600",
        examples=[30],
    )
    partial: PartialSettings | None = Field(
        default=None,
        description="an object that `fleet rollout --batch` writes",
        examples=[{"through": 2, "rest": "web-2026.11.20-aaaa"}],
    )


class WebSettings(Section):
    """The members that serve the site."""

    count: int = Field(
        ge=1,
        le=MAX_MEMBERS,
        description=f"a whole number of members from 1 to {MAX_MEMBERS}",
        examples=[3],
    )
    size: SizeSlug = Field(description="text, a size of machine", examples=["s-1vcpu-1gb"])
    image: ImageName = Field(
        description="text, an image as `fleet bake web` makes and writes it", examples=["web-2026.11.21-3f2a"]
    )
    drain: DrainSettings = Field(
        default_factory=DrainSettings,
        description="an object",
        examples=[{"quiet_seconds": 10, "cap_seconds": 120}],
    )
    rollout: RolloutSettings = Field(
        default_factory=RolloutSettings,
        description="an object",
        examples=[{"mode": "surge", "canary_seconds": 30}],
    )


class SelfHostedSettings(Section):
    """A database server of the fleet's own, its data on a volume."""

    kind: Literal["self-hosted"] = Field(
        description="the kind of database: self-hosted", examples=["self-hosted"]
    )
    engine: Engine = Field(default="mysql", description="the engine: mysql or postgresql", examples=["mysql"])
    size: SizeSlug = Field(description="text, a size of machine", examples=["s-1vcpu-1gb"])
    image: ImageName = Field(
        description="text, an image as `fleet bake database` makes and writes it",
        examples=["database-2026.11.21-77c0"],
    )
    volume_gib: int = Field(
        ge=1,
        le=MAX_VOLUME_GIB,
        description=f"a whole number of GiB from 1 to {MAX_VOLUME_GIB}",
        examples=[10],
    )


class GatewaySettings(Section):
    """Where a tunnel to the database ends: a machine that reaches it, and that the fleet only logs in to."""

    host: Address = Field(description="text, an address", examples=["203.0.113.20"])
    port: int = Field(
        default=22, ge=1, le=65_535, description="a whole number from 1 to 65535", examples=[22]
    )
    user: str = Field(
        default="tunnel",
        pattern=r"^[a-z_][a-z0-9_-]{0,31}$",
        description="text, a user's name",
        examples=["tunnel"],
    )
    host_key: SshPublicKey = Field(
        description="text, its public SSH host key", examples=["ssh-ed25519 AAAA... gateway"]
    )


class ManagedSettings(Section):
    """A database cluster run by the cloud."""

    kind: Literal["managed"] = Field(description="the kind of database: managed", examples=["managed"])
    engine: Engine = Field(default="mysql", description="the engine: mysql or postgresql", examples=["mysql"])
    nodes: int = Field(ge=1, le=3, description="a whole number of nodes from 1 to 3", examples=[2])
    size: SizeSlug = Field(description="text, a size of cluster node", examples=["db-s-1vcpu-2gb"])
    access: Literal["direct", "tunnel"] = Field(
        default="direct",
        description="direct (over the private network) or tunnel (over SSH to a gateway)",
        examples=["direct"],
    )
    gateway: GatewaySettings | None = Field(
        default=None,
        description="an object, with access tunnel only",
        examples=[
            {"host": "203.0.113.20", "port": 22, "user": "tunnel", "host_key": "ssh-ed25519 AAAA... gateway"}
        ],
    )
    rotation: int = Field(
        default=1,
        ge=1,
        le=MAX_ROTATIONS,
        description=f"a whole number from 1 to {MAX_ROTATIONS}; a higher one gives a new user and password",
        examples=[2],
    )


class CloudflareSettings(Section):
    """Cloudflare in front of the members."""

    kind: Literal["cloudflare"] = Field(description="the kind of edge: cloudflare", examples=["cloudflare"])
    zone: HostName = Field(description="text, the zone that holds the domain", examples=["foobar.com"])
    propagation_seconds: Seconds = Field(
        default=PROXIED_TTL_SECONDS,
        description="whole number of seconds until a changed record is seen everywhere, 0 to 3600",
        examples=[PROXIED_TTL_SECONDS],
    )
    rotation: int = Field(
        default=1,
        ge=1,
        le=MAX_ROTATIONS,
        description=f"a whole number from 1 to {MAX_ROTATIONS}; a higher one gives new keys and certificates",
        examples=[2],
    )


class PlainDnsSettings(Section):
    """No edge: the cloud's DNS names the members, and visitors reach them directly."""

    kind: Literal["none"] = Field(description="the kind of edge: none", examples=["none"])
    zone: HostName | None = Field(
        default=None, description="text, the zone that holds the domain", examples=["foobar.com"]
    )
    propagation_seconds: Seconds = Field(
        default=DNS_TTL_SECONDS,
        description="whole number of seconds until a changed record is seen everywhere, 0 to 3600",
        examples=[DNS_TTL_SECONDS],
    )


class ScheduleSettings(Section):
    """How many members there are to be from certain times on."""

    cron: str = Field(
        min_length=1,
        max_length=200,
        description="text, minute hour day month weekday",
        examples=["0 8 * * 1-5"],
    )
    timezone: str = Field(
        default="UTC", min_length=1, description="text, the time zone of cron", examples=["Europe/London"]
    )
    members: int = Field(
        ge=1,
        le=MAX_MEMBERS,
        description=f"a whole number of members from 1 to {MAX_MEMBERS}",
        examples=[5],
    )


class AutoscalerSettings(Section):
    """The controller that heals the fleet, and adds and removes burst members."""

    size: SizeSlug = Field(description="text, a size of machine", examples=["s-1vcpu-1gb"])
    image: ImageName = Field(
        description="text, an image as `fleet bake autoscaler` makes and writes it",
        examples=["autoscaler-2026.11.21-5d1e"],
    )
    max: int = Field(
        ge=1,
        le=MAX_MEMBERS,
        description=f"a whole number of members from 1 to {MAX_MEMBERS}",
        examples=[10],
    )
    schedules: tuple[ScheduleSettings, ...] = Field(
        default=(),
        description="list of schedules",
        examples=[[{"cron": "0 8 * * 1-5", "timezone": "Europe/London", "members": 5}]],
    )
    target_cpu: int | None = Field(
        default=None, ge=1, le=100, description="a whole number of percent from 1 to 100", examples=[60]
    )
    cooldown_seconds: Seconds = Field(
        default=300,
        description="whole number of seconds between two changes of the number of members, 0 to 3600",
        examples=[300],
    )


class DatastoreSettings(Section):
    """The bucket in which machines say where they are."""

    region: RegionSlug | None = Field(
        default=None, description="text, the region of the bucket", examples=["lon1"]
    )


class AppSettings(Section):
    """The site that the members serve: any directory with a WSGI callable."""

    directory: str = Field(
        default="app",
        min_length=1,
        description="text, the directory of the site, from the project's own",
        examples=["app"],
    )
    ref: str | None = Field(
        default=None,
        min_length=1,
        description="text, a commit, tag or branch of the git repository that the directory lies in",
        examples=["v1.2"],
    )
    callable: str = Field(
        default="visits.wsgi:app",
        pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_]\w*(\(\))?$",
        description="text, where the WSGI callable is, as module:name",
        examples=["visits.wsgi:app"],
    )


DatabaseSettings = SelfHostedSettings | ManagedSettings
EdgeSettings = CloudflareSettings | PlainDnsSettings
