"""The database as a cluster that the cloud runs: standby nodes, trusted sources by tag, TLS with its own authority."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import pulumi

from components import complaints, model, naming
from components.clouds import port
from components.contradictions import PROJECT, REPLACE_DATABASE
from components.database_endpoint import DATABASE_NAME, Administrator, DatabaseEndpoint
from components.naming import Common
from components.site import Site
from fleet import config


@dataclass(frozen=True, kw_only=True, slots=True)
class ManagedDatabaseArgs:
    """What a managed database is made of."""

    site: Site
    databases: port.Databases
    region: str
    nodes: int
    size: str
    tunnel: config.TunnelSettings | None
    """The gateway that alone reaches the cluster; None when members do themselves."""
    rotation: int
    """A higher number gives the site another user, and takes the one before away when everybody uses the new one."""
    lasting: bool
    """Whether another engine or network is refused, as either means a new, empty cluster."""
    protect: bool
    """Whether deleting the cluster is refused."""


class ManagedDatabase(pulumi.ComponentResource):
    """A cluster with the site's database and user; only machines that need it reach it."""

    host: pulumi.Output[str]
    """Private name of the cluster; follows the node that serves."""
    endpoint: DatabaseEndpoint
    """What the web tier needs to connect."""
    native: port.Cluster
    """The cluster itself."""

    def __init__(
        self, name: str, args: ManagedDatabaseArgs, opts: pulumi.ResourceOptions | None = None
    ) -> None:
        # The same tier as a self-hosted one: what it is for does not depend on who runs it.
        super().__init__("flotilla:index:DatabaseTier", name, None, opts)
        self.native = self._cluster(name, args)
        sources = args.databases.trust(
            naming.child(name, Common.SOURCES),
            self.native,
            _sources(args),
            pulumi.ResourceOptions(parent=self),
        )
        database = args.databases.database(
            naming.child(name, Common.SITE),
            self.native,
            DATABASE_NAME,
            # A database that holds data is as precious as its cluster.
            pulumi.ResourceOptions(parent=self, protect=args.protect),
        )
        called = f"{DATABASE_NAME}{args.rotation}"
        user = args.databases.user(
            f"{naming.child(name, Common.USER)}-{args.rotation}",
            self.native,
            called,
            pulumi.ResourceOptions(parent=self),
        )
        self.host = _unless_another(args, self.native)
        self.endpoint = DatabaseEndpoint(
            engine=args.site.engine,
            host=self.host,
            port=self.native.port,
            name=DATABASE_NAME,
            user=called,
            password=user.password,
            authority=self.native.authority,
            # Before the sources are told, anybody could knock at the cluster, and nobody of ours does.
            ready=[sources, database, user.resource],
            tunnel=args.tunnel,
            administrator=Administrator(
                name=self.native.administrator, password=self.native.administrator_password
            ),
        )
        self.register_outputs({"host": self.host})

    def _cluster(self, name: str, args: ManagedDatabaseArgs) -> port.Cluster:
        return args.databases.cluster(
            naming.child(name, Common.CLUSTER),
            port.ClusterSpec(
                engine=args.site.engine,
                nodes=args.nodes,
                size=args.size,
                tags=[args.site.cloud.tags[naming.stack_tag(args.site.stack)]],
                lasting=args.lasting,
            ),
            pulumi.ResourceOptions(parent=self, protect=args.protect),
        )


def _sources(args: ManagedDatabaseArgs) -> port.Sources:
    if args.tunnel is not None:
        return port.Sources(addresses=[args.tunnel.host])
    tags = args.site.cloud.tags
    clients = model.database_clients(args.site.roles)
    return port.Sources(tags=[tags[naming.role_tag(args.site.stack, role)] for role in clients])


def _unless_another(args: ManagedDatabaseArgs, cluster: port.Cluster) -> pulumi.Output[str]:
    """The cluster's host; whoever uses it learns in the preview already when the config asks for another cluster."""

    def check(found: Sequence[str]) -> None:
        problems = [*_differences(args, *found)] if args.lasting else []
        if problems:
            raise pulumi.RunError("\n".join(problems))

    # Known in every preview, also in one in which the host is not.
    found = pulumi.Output.all(cluster.engine, cluster.network.region, cluster.network.range)
    return found.apply(check).apply(lambda _: cluster.host)


def _differences(args: ManagedDatabaseArgs, engine: str, region: str, network: str) -> Iterator[str]:
    """What a cluster has and cannot change, where the config says otherwise."""
    for key, wanted, found in (
        ("database.engine", args.site.engine, engine),
        ("cloud.region", args.region, region),
        ("cloud.network", args.site.places.network, network),
    ):
        if wanted != found:
            yield (
                f"{PROJECT}:{key} = {complaints.shown(wanted)}: the database cluster has {found}, and another one would "
                f"be a new, empty cluster and the end of this one and its data; set it back, or, when the data is saved "
                f"elsewhere, set {PROJECT}:force to [{REPLACE_DATABASE}]"
            )
