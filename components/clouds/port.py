"""What the tiers ask of a cloud, of its catalogue and of an edge. Adapters give it; nobody else knows an SDK.

Adapters use the default providers, which take tokens and addresses from the environment or from the provider's own
config keys (`digitalocean:*`, `cloudflare:*`), so that pointing them at another API needs nothing of ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import pulumi


class LookupFailedError(Exception):
    """A cloud did not answer a question of the program; the text says which, and what to check."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """A size of machine on offer; `disk_gib` is its local disk."""

    slug: str
    disk_gib: int
    regions: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Image:
    """An image that machines can start from; `slug` is set for the cloud's own distributions only."""

    id: str
    name: str
    slug: str | None
    min_disk_gib: int
    regions: frozenset[str]
    created: str
    """RFC 3339, so that texts sort as times do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A machine that the account has now; `image` is named as for a new machine."""

    name: str
    image: str
    size: str
    tags: frozenset[str]


class Catalogue(Protocol):
    """What the cloud has on offer, asked at preview."""

    def sizes(self) -> Sequence[Size]:
        """All sizes that can be ordered now. Raises LookupFailedError."""

    def images(self) -> Sequence[Image]:
        """All images that can be used now, the account's own included. Raises LookupFailedError."""

    def machine_limit(self) -> int:
        """How many machines the account may have. Raises LookupFailedError, also when the cloud does not say."""

    def machines(self) -> Sequence[Placed]:
        """All machines of the account. Raises LookupFailedError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteSpec:
    """What a stack needs before its first machine."""

    network: str
    tags: Sequence[str]
    login_key: str
    """OpenSSH public key that may log in as root."""
    ipv6: bool = False
    """Whether machines have public IPv6 addresses too."""
    lasting: bool = False
    """Whether the network stays as it is when the config asks for another one: see Network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineSpec:
    """A machine to be; it gets no name, for identity is its slot, its tags and its host name."""

    image: str
    size: str
    user_data: pulumi.Input[str]
    tags: Sequence[pulumi.Input[str]]
    volumes: Sequence[pulumi.Input[str]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A machine as a resource, with what others need of it."""

    resource: pulumi.CustomResource
    public_address: pulumi.Output[str]
    private_address: pulumi.Output[str]
    ipv6_address: pulumi.Output[str] | None
    """None for a machine without."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Volume:
    """A block storage volume as a resource; `name` is what the machine sees it as."""

    resource: pulumi.CustomResource
    name: pulumi.Output[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Inbound:
    """One port that a cloud firewall opens, to ranges of addresses and to machines by tag."""

    protocol: str
    port: int
    addresses: Sequence[str]
    tags: Sequence[pulumi.Input[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class FirewallSpec:
    """A cloud firewall on all machines with a tag; what they send is not limited."""

    covers: pulumi.Input[str]
    inbound: Sequence[Inbound]


class Cloud(Protocol):
    """A stack's place in a cloud: its network, its login key and its tags exist."""

    @property
    def tags(self) -> Mapping[str, pulumi.Output[str]]:
        """The stack's tags by name; using the output makes what uses it wait for the tag."""

    def machine(self, name: str, spec: MachineSpec, opts: pulumi.ResourceOptions) -> Machine:
        """A machine in the stack's network."""

    def volume(self, name: str, size_gib: int, opts: pulumi.ResourceOptions) -> Volume:
        """An empty volume; making it larger keeps the data, making it smaller is refused by the cloud."""

    def firewall(self, name: str, spec: FirewallSpec, opts: pulumi.ResourceOptions) -> pulumi.Resource:
        """A firewall bound by tag, so that it covers later machines at birth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """The stack's private network as it really is, which differs from the config where a lasting one was kept."""

    resource: pulumi.Resource
    id: pulumi.Output[str]
    range: pulumi.Output[str]
    region: pulumi.Output[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClusterSpec:
    """A database cluster to be; like a machine it gets no name."""

    engine: Literal["mysql", "postgresql"]
    nodes: int
    """One serves, the others stand by."""
    size: str
    tags: Sequence[pulumi.Input[str]]
    lasting: bool
    """Whether what would make it another, empty cluster is passed over: see Cluster."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cluster:
    """A database cluster as a resource; engine and network are what it really has, whatever the config asks for."""

    resource: pulumi.CustomResource
    engine: pulumi.Output[str]
    network: Network
    host: pulumi.Output[str]
    """Its name in the stack's network; follows the node that serves."""
    port: pulumi.Output[int]
    authority: pulumi.Output[str]
    """PEM; signs the certificate that its nodes show."""
    administrator: pulumi.Output[str]
    administrator_password: pulumi.Output[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseUser:
    """Someone who may log in to a cluster, with a password that the cloud made."""

    resource: pulumi.CustomResource
    password: pulumi.Output[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Who may reach a cluster: machines by their tag, whenever they were born, and single addresses."""

    tags: Sequence[pulumi.Input[str]] = ()
    addresses: Sequence[str] = ()


class Databases(Protocol):
    """The cloud's own database clusters, in the stack's network."""

    def cluster(self, name: str, spec: ClusterSpec, opts: pulumi.ResourceOptions) -> Cluster:
        """A cluster. Nodes and size change while it serves; engine and network cannot."""

    def database(
        self, name: str, cluster: Cluster, called: str, opts: pulumi.ResourceOptions
    ) -> pulumi.Resource:
        """A database in it."""

    def user(self, name: str, cluster: Cluster, called: str, opts: pulumi.ResourceOptions) -> DatabaseUser:
        """A user of it, with the rights that the cloud gives, which may be too many or too few."""

    def trust(
        self, name: str, cluster: Cluster, sources: Sources, opts: pulumi.ResourceOptions
    ) -> pulumi.Resource:
        """From now on nobody else reaches it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BucketSpec:
    """A bucket to be; it gets no name."""

    region: str
    keep_content: bool
    """Whether deleting it fails while something is in it."""
    short_lived: str
    """How the keys of objects begin that are of no use once nobody has written them for a day, nor are their old
    versions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """A bucket as a resource, private, every version of its objects kept."""

    resource: pulumi.CustomResource
    name: pulumi.Output[str]
    region: str
    endpoint: str
    """URL of the service that it belongs to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageKey:
    """What opens one bucket to read and write its objects, and nothing else."""

    resource: pulumi.CustomResource
    access_key: pulumi.Output[str]
    secret_key: pulumi.Output[str]


class Storage(Protocol):
    """The cloud's object storage."""

    def bucket(self, name: str, spec: BucketSpec, opts: pulumi.ResourceOptions) -> Bucket:
        """A bucket."""

    def key(self, name: str, bucket: Bucket, opts: pulumi.ResourceOptions) -> StorageKey:
        """A key to it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A stack's place in a cloud: what is to be had there, and what others than Pulumi must call by its id."""

    cloud: Cloud
    databases: Databases
    storage: Storage
    network: Network
    login_key: pulumi.Output[str]
    """The cloud's id of the key that may log in as root."""


class EdgeLookups(Protocol):
    """What an edge is asked at preview."""

    def zone_id(self) -> str:
        """The edge's own name for the site's zone. Raises LookupFailedError when the account has no such zone."""

    def client_certificates(self, zone_id: str) -> Sequence[str]:
        """What the edge shows the members of a zone or soon will, PEM, whoever uploaded it. Raises LookupFailedError."""

    def ranges(self) -> Sequence[str]:
        """The ranges that the edge reaches members from, in CIDR notation. Raises LookupFailedError."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OriginCertificate:
    """A certificate that the edge trusts, as a resource."""

    resource: pulumi.CustomResource
    pem: pulumi.Output[str]


class Edge(Protocol):
    """What stands between visitors and members; settings of the site's whole zone, so two stacks need two zones."""

    def origin_certificate(
        self, name: str, request: str, hosts: Sequence[str], opts: pulumi.ResourceOptions
    ) -> OriginCertificate:
        """A certificate for members: `request` is a PEM certificate request with an elliptic curve key."""

    def client_certificate(
        self, name: str, certificate: str, private_key: pulumi.Input[str], opts: pulumi.ResourceOptions
    ) -> pulumi.Resource:
        """What the edge can show members to prove who it is."""

    def present_client_certificate(self, name: str, opts: pulumi.ResourceOptions) -> pulumi.Resource:
        """From now on it does."""

    def harden(self, name: str, opts: pulumi.ResourceOptions) -> Sequence[pulumi.Resource]:
        """Visitors come by TLS 1.2 or newer only, and members whose certificate does not check are not asked."""


@dataclass(frozen=True, slots=True)
class Address:
    """A public address of a machine."""

    text: pulumi.Input[str]
    version: Literal[4, 6] = 4

    @property
    def record_type(self) -> str:
        """RFC 1035 and RFC 3596."""
        return "A" if self.version == 4 else "AAAA"


class Dns(Protocol):
    """Who names the members to visitors."""

    def record(
        self, name: str, address: Address, comment: str, opts: pulumi.ResourceOptions
    ) -> pulumi.Resource:
        """One address of the site. Several records share the visitors."""


def tied(record_type: str, address: pulumi.Input[str]) -> pulumi.Input[str]:
    """A record's type, the same whatever the address, and yet depending on the machine that has the address.

    When a machine must go before its successor comes, the engine first deletes whatever could be replaced by that. With
    `leaving_first` the record is, so it goes before the drain; a new address alone still changes it in place. Not the name
    is tied: a record that the controller has renamed is to be given its name back in place.
    """
    if pulumi.runtime.is_dry_run():
        # An address that is not known yet would make the plan tell of a new record.
        return record_type
    return pulumi.Output.from_input(address).apply(lambda _: record_type)


def leaving_first(opts: pulumi.ResourceOptions) -> pulumi.ResourceOptions:
    """The other half of `tied`. The engine goes by what the last update said, so it is said in every mode."""
    opts.replace_on_changes = ["type"]
    # After a failure in between, the engine would else delete the record that went first a second time.
    opts.delete_before_replace = True
    return opts
