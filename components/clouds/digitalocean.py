"""DigitalOcean behind the ports; the only module that knows its SDK."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import pulumi
import pulumi_digitalocean as digitalocean

from components.clouds import port

# What a firewall without outbound rules lets out: nothing. So all is said.
# https://docs.digitalocean.com/products/networking/firewalls/concepts/
_ANYWHERE = ["0.0.0.0/0", "::/0"]

# What resolvers may keep: short, so that a leaving member's visitors soon ask again.
RECORD_TTL_SECONDS = 60

# What the cloud calls the engines, and the versions that the machines' clients are tried with.
# https://docs.digitalocean.com/products/databases/
_ENGINES: Mapping[str, tuple[str, str]] = {"mysql": ("mysql", "8"), "postgresql": ("pg", "17")}

_T = TypeVar("_T")


class DigitalOceanCatalogue:
    """The sizes and images of the account."""

    def sizes(self) -> Sequence[port.Size]:
        """Sizes on offer, with the regions that have them."""
        listed = _ask("sizes", digitalocean.get_sizes).sizes
        return [
            port.Size(slug=size.slug, disk_gib=int(size.disk), regions=frozenset(size.regions))
            for size in listed
            if size.available
        ]

    def images(self) -> Sequence[port.Image]:
        """Distributions and the account's own snapshots."""
        listed = _ask("images", digitalocean.get_images).images
        return [
            port.Image(
                id=str(int(image.id)),
                name=image.name,
                slug=image.slug or None,
                min_disk_gib=int(image.min_disk_size or 0),
                regions=frozenset(image.regions),
                created=image.created,
            )
            for image in listed
            if image.status == "available"
        ]

    def machine_limit(self) -> int:
        """The account's droplet limit."""
        limit = _ask("droplet limit", digitalocean.get_account).droplet_limit
        if not limit:
            raise port.LookupFailedError("DigitalOcean did not say how many droplets the account may have")
        return int(limit)

    def machines(self) -> Sequence[port.Placed]:
        """Droplets of all stacks, and those that no stack has."""
        listed = _ask("droplets", digitalocean.get_droplets).droplets
        return [
            port.Placed(
                name=droplet.name, image=droplet.image, size=droplet.size, tags=frozenset(droplet.tags)
            )
            for droplet in listed
        ]


class DigitalOcean:
    """A stack's place in one region."""

    def __init__(self, region: str, spec: port.SiteSpec) -> None:
        self._region = region
        self._ipv6 = spec.ipv6
        self._tags = {tag: digitalocean.Tag(f"tag-{tag}", name=tag).name for tag in spec.tags}
        # Another network would take a database cluster that lives in it along; who has one asks what it really is.
        kept = pulumi.ResourceOptions(ignore_changes=["region", "ip_range"]) if spec.lasting else None
        self._network = digitalocean.Vpc("network", region=region, ip_range=spec.network, opts=kept)
        # Without a key the cloud makes up a root password and sends it by mail.
        self._key = digitalocean.SshKey("deploy-key", public_key=spec.login_key)

    @property
    def tags(self) -> Mapping[str, pulumi.Output[str]]:
        """The stack's tags by name."""
        return self._tags

    @property
    def network(self) -> port.Network:
        """The stack's VPC."""
        vpc = self._network
        return port.Network(resource=vpc, id=vpc.id, range=vpc.ip_range, region=vpc.region)

    @property
    def login_key(self) -> pulumi.Output[str]:
        """The id of the stack's SSH key."""
        return self._key.id

    def machine(self, name: str, spec: port.MachineSpec, opts: pulumi.ResourceOptions) -> port.Machine:
        """A droplet with monitoring, without the agent that would install packages behind our back."""
        droplet = digitalocean.Droplet(
            name,
            image=spec.image,
            size=spec.size,
            region=self._region,
            vpc_uuid=self._network.id,
            ssh_keys=[self._key.id],
            tags=spec.tags,
            volume_ids=spec.volumes or None,
            # Not secret by the SDK's own account, and it holds the host key.
            user_data=pulumi.Output.secret(spec.user_data),
            ipv6=self._ipv6,
            monitoring=True,
            droplet_agent=False,
            opts=opts,
        )
        return port.Machine(
            resource=droplet,
            public_address=droplet.ipv4_address,
            private_address=droplet.ipv4_address_private,
            ipv6_address=droplet.ipv6_address if self._ipv6 else None,
        )

    def volume(self, name: str, size_gib: int, opts: pulumi.ResourceOptions) -> port.Volume:
        """An unformatted volume in the stack's region."""
        volume = digitalocean.Volume(name, region=self._region, size=size_gib, opts=opts)
        return port.Volume(resource=volume, name=volume.name)

    def firewall(
        self, name: str, spec: port.FirewallSpec, opts: pulumi.ResourceOptions
    ) -> digitalocean.Firewall:
        """A cloud firewall; the provider sends only lists that have entries."""
        return digitalocean.Firewall(
            name,
            tags=[spec.covers],
            inbound_rules=[
                digitalocean.FirewallInboundRuleArgs(
                    protocol=rule.protocol,
                    port_range=str(rule.port),
                    source_addresses=list(rule.addresses) or None,
                    source_tags=list(rule.tags) or None,
                )
                for rule in spec.inbound
            ],
            outbound_rules=[
                digitalocean.FirewallOutboundRuleArgs(
                    protocol=protocol,
                    port_range=None if protocol == "icmp" else "all",
                    destination_addresses=_ANYWHERE,
                )
                for protocol in ("tcp", "udp", "icmp")
            ],
            opts=opts,
        )


class DigitalOceanDatabases:
    """Clusters in one region and VPC."""

    def __init__(self, region: str, network: port.Network) -> None:
        self._region = region
        self._network = network

    def cluster(self, name: str, spec: port.ClusterSpec, opts: pulumi.ResourceOptions) -> port.Cluster:
        """A cluster reached by its private name only."""
        engine, version = _ENGINES[spec.engine]
        if spec.lasting:
            # The first three make it another cluster, or move it; and whoever upgrades it at the cloud must not have
            # that taken back.
            opts.ignore_changes = ["engine", "private_network_uuid", "region", "version"]
        cluster = digitalocean.DatabaseCluster(
            name,
            engine=engine,
            version=version,
            node_count=spec.nodes,
            size=spec.size,
            region=self._region,
            private_network_uuid=self._network.id,
            tags=spec.tags,
            opts=opts,
        )
        ours = {theirs: name for name, (theirs, _) in _ENGINES.items()}
        return port.Cluster(
            resource=cluster,
            engine=cluster.engine.apply(lambda theirs: ours.get(theirs, theirs)),
            network=self._network,
            host=cluster.private_host,
            port=cluster.port,
            authority=digitalocean.get_database_ca_output(cluster_id=cluster.id).certificate,
            administrator=cluster.user,
            administrator_password=pulumi.Output.secret(cluster.password),
        )

    def database(
        self, name: str, cluster: port.Cluster, called: str, opts: pulumi.ResourceOptions
    ) -> digitalocean.DatabaseDb:
        """A database, empty."""
        return digitalocean.DatabaseDb(name, cluster_id=cluster.resource.id, name=called, opts=opts)

    def user(
        self, name: str, cluster: port.Cluster, called: str, opts: pulumi.ResourceOptions
    ) -> port.DatabaseUser:
        """A user with the rights that the cloud gives to all of them."""
        user = digitalocean.DatabaseUser(name, cluster_id=cluster.resource.id, name=called, opts=opts)
        return port.DatabaseUser(resource=user, password=pulumi.Output.secret(user.password))

    def trust(
        self, name: str, cluster: port.Cluster, sources: port.Sources, opts: pulumi.ResourceOptions
    ) -> digitalocean.DatabaseFirewall:
        """The cluster's whole list: the API takes nothing less, and without one anybody may try to log in."""
        rules = [("tag", tag) for tag in sources.tags] + [("ip_addr", text) for text in sources.addresses]
        return digitalocean.DatabaseFirewall(
            name,
            cluster_id=cluster.resource.id,
            rules=[digitalocean.DatabaseFirewallRuleArgs(type=kind, value=value) for kind, value in rules],
            opts=opts,
        )


class DigitalOceanStorage:
    """Spaces. The provider asks for keys of its own: SPACES_ACCESS_KEY_ID and SPACES_SECRET_ACCESS_KEY."""

    def bucket(self, name: str, spec: port.BucketSpec, opts: pulumi.ResourceOptions) -> port.Bucket:
        """A private bucket whose objects keep their versions."""
        bucket = digitalocean.SpacesBucket(
            name,
            region=spec.region,
            acl="private",
            versioning=digitalocean.SpacesBucketVersioningArgs(enabled=True),
            # Who is silent for a day is gone for good; and what machines write every minute comes to 43,000 versions
            # a month for each of them.
            lifecycle_rules=[
                digitalocean.SpacesBucketLifecycleRuleArgs(
                    id="short-lived",
                    enabled=True,
                    prefix=spec.short_lived,
                    expiration=digitalocean.SpacesBucketLifecycleRuleExpirationArgs(days=1),
                    noncurrent_version_expiration=(
                        digitalocean.SpacesBucketLifecycleRuleNoncurrentVersionExpirationArgs(days=1)
                    ),
                )
            ],
            force_destroy=not spec.keep_content,
            opts=opts,
        )
        return port.Bucket(
            resource=bucket,
            name=bucket.name,
            region=spec.region,
            # https://docs.digitalocean.com/products/spaces/details/availability/
            endpoint=f"https://{spec.region}.digitaloceanspaces.com",
        )

    def key(self, name: str, bucket: port.Bucket, opts: pulumi.ResourceOptions) -> port.StorageKey:
        """A limited access key: https://docs.digitalocean.com/products/spaces/how-to/manage-access/"""
        grant = digitalocean.SpacesKeyGrantArgs(bucket=bucket.name, permission="readwrite")
        key = digitalocean.SpacesKey(name, grants=[grant], opts=opts)
        return port.StorageKey(
            resource=key, access_key=key.access_key, secret_key=pulumi.Output.secret(key.secret_key)
        )


class DigitalOceanDns:
    """The cloud's own DNS: visitors reach the members directly."""

    def __init__(self, zone: str, domain: str) -> None:
        self._zone = digitalocean.Domain("zone", name=zone)
        self._name = domain.removesuffix(zone).removesuffix(".") or "@"

    def record(
        self, name: str, address: port.Address, comment: str, opts: pulumi.ResourceOptions
    ) -> digitalocean.DnsRecord:
        """A record of the zone; the cloud's DNS has no room for comments."""
        return digitalocean.DnsRecord(
            name,
            domain=self._zone.name,
            type=port.tied(address.record_type, address.text),
            name=self._name,
            value=address.text,
            ttl=RECORD_TTL_SECONDS,
            opts=port.leaving_first(opts),
        )


def _ask(what: str, lookup: Callable[[], _T]) -> _T:
    try:
        return lookup()
    except pulumi.RunError:
        raise  # the engine is stopping and has said why
    except Exception as error:  # the SDK raises nothing narrower
        raise port.LookupFailedError(
            f"DigitalOcean did not tell its {what}: {error}; check DIGITALOCEAN_TOKEN, and that the API answers "
            "(DIGITALOCEAN_API_URL if that is set)"
        ) from error
