"""What the cloud asks of whatever runs its database clusters: real machines, or mere records."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from sandbox.machines.port import Interface

# Every engine of the real service listens here: https://docs.digitalocean.com/products/databases/mysql/how-to/connect/
PORT = 25060


@dataclass(frozen=True, slots=True)
class DatabaseNode:
    """One node of a cluster. Its id is never a droplet's; its cards are those of a machine."""

    id: int
    hostname: str
    public: Interface
    private: Interface


@dataclass(frozen=True, slots=True)
class DatabaseAccount:
    """A user of a cluster; `primary` is the administrator, `plugin` MySQL's way to check a password ("" for pg)."""

    name: str
    password: str
    plugin: str
    primary: bool


@dataclass(frozen=True, slots=True)
class ClusterSpec:
    """All that a cluster should be; equal specs are equal clusters.

    Trusted sources are not here: the nodes are attachments of the network's topology, with one inbound rule for
    `PORT` that names exactly the addresses of the trusted sources, so that the network enforces them as it does cloud
    firewalls. `host` and `private_host` are the names of the primary node's public and private address, `standby_host`
    and `private_standby_host` those of the next node's ("" without one). `authority` and `authority_key` (PEM) issue
    what the nodes present for these names.
    """

    id: str
    name: str
    engine: Literal["mysql", "pg"]
    version: str
    host: str
    private_host: str
    standby_host: str
    private_standby_host: str
    authority: str
    authority_key: str
    vpc: str
    region: str
    memory_mib: int
    vcpus: int
    disk_gib: int
    nodes: tuple[DatabaseNode, ...]
    users: tuple[DatabaseAccount, ...]
    databases: tuple[str, ...]
    # Of MySQL only.
    sql_mode: str = ""
    requires_primary_keys: bool = False


class DatabaseClusters(Protocol):
    """Drives database clusters. Failures are MachineError; every method may be called again and finishes the work.

    `on_promotion` is set by the cloud and called with a cluster's id when another node became its primary.
    """

    on_promotion: Callable[[str], None]

    async def apply(self, spec: ClusterSpec) -> None:
        """Make the cluster as it should be, and return when it is and answers clients.

        The first call makes it, later ones start it again or change it: nodes come and go, grow, users and databases
        that are no longer named are dropped, and a user whose password changed has the new one. Data stays.
        """

    async def remove(self, cluster: str) -> None:
        """Destroy the cluster of this id with all its data; one that was never made is no error."""

    async def stop(self) -> None:
        """Shut every cluster down in order; `apply` starts each again."""

    def primary(self, cluster: str) -> int | None:
        """The id of the node that clients reach now; None while there is none. The name server follows it."""

    async def kill_primary(self, cluster: str) -> None:
        """Fault: cut the power of the primary node; with a standby the cluster recovers by itself."""


class RecordClusters:
    """Implements `DatabaseClusters` without doing anything a packet could notice."""

    def __init__(self) -> None:
        self.on_promotion: Callable[[str], None] = lambda cluster: None
        self._nodes: dict[str, tuple[int, ...]] = {}
        self._primary: dict[str, int] = {}

    async def apply(self, spec: ClusterSpec) -> None:
        self._nodes[spec.id] = tuple(node.id for node in spec.nodes)
        if self._primary.get(spec.id) not in self._nodes[spec.id]:
            self._primary[spec.id] = spec.nodes[0].id

    async def remove(self, cluster: str) -> None:
        self._nodes.pop(cluster, None)
        self._primary.pop(cluster, None)

    async def stop(self) -> None:
        self._nodes.clear()
        self._primary.clear()

    def primary(self, cluster: str) -> int | None:
        return self._primary.get(cluster)

    async def kill_primary(self, cluster: str) -> None:
        """The next node takes over; one that is alone comes back."""
        nodes = self._nodes.get(cluster, ())
        standbys = [node for node in nodes if node != self._primary.get(cluster)]
        if standbys:
            self._primary[cluster] = standbys[0]
            self.on_promotion(cluster)
