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
        self._network = digitalocean.Vpc("network", region=region, ip_range=spec.network)
        # Without a key the cloud makes up a root password and sends it by mail.
        self._key = digitalocean.SshKey("deploy-key", public_key=spec.login_key)

    @property
    def tags(self) -> Mapping[str, pulumi.Output[str]]:
        """The stack's tags by name."""
        return self._tags

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


class DigitalOceanDns:
    """The cloud's own DNS: visitors reach the members directly."""

    def __init__(self, zone: str, domain: str, *, leaving_first: bool) -> None:
        """`leaving_first`: a record goes before its machine, because that goes before its successor comes."""
        self._zone = digitalocean.Domain("zone", name=zone)
        self._name = domain.removesuffix(zone).removesuffix(".") or "@"
        self._leaving_first = leaving_first

    def record(
        self, name: str, address: port.Address, comment: str, opts: pulumi.ResourceOptions
    ) -> digitalocean.DnsRecord:
        """A record of the zone; the cloud's DNS has no room for comments."""
        return digitalocean.DnsRecord(
            name,
            domain=self._zone.name,
            type=address.record_type,
            name=port.tied(self._name, address.text) if self._leaving_first else self._name,
            value=address.text,
            ttl=RECORD_TTL_SECONDS,
            opts=port.leaving_first(opts) if self._leaving_first else opts,
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
