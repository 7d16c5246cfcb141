"""What stands behind the cloud's APIs: records only, or real machines, networks and an edge."""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import time
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Any, Protocol

from starlette.routing import Route

from sandbox import dns_zones, processes
from sandbox.api.cloud import Cloud
from sandbox.api.databases_port import DatabaseClusters, RecordClusters
from sandbox.cloud_services import cloud_services
from sandbox.cloudflare import origin_ca, origin_pulls
from sandbox.cloudflare.ranges import ip_ranges
from sandbox.clusters import names
from sandbox.clusters.driver import MachineClusters
from sandbox.config import SandboxConfig
from sandbox.dns import DnsServer, DnsZone
from sandbox.edge.delays import delay_routes
from sandbox.edge.edge import Edge
from sandbox.edge.layout import API_HOST, EdgeLayout, points_of_presence
from sandbox.edge.state import edge_state
from sandbox.guests import guest_routes
from sandbox.machines import database_image, host_apt
from sandbox.machines.guest_script import GuestScripts
from sandbox.machines.none import RecordMachines
from sandbox.machines.nspawn import NspawnMachines
from sandbox.machines.port import Machines, MachineSpec
from sandbox.machines.runner import runners
from sandbox.machines.simulated import SimulatedMachines, claim_socket, loopback_slice
from sandbox.network.metadata import MetadataDocument
from sandbox.network.namespaces import bind_in_namespace
from sandbox.network.network import NamespaceNetwork
from sandbox.network.none import RecordNetwork
from sandbox.network.packages import PackageProxy
from sandbox.network.plan import RESOLVER, prefix, public_slice, public_slice6
from sandbox.network.port import Network, Topology
from sandbox.network.services import RouterServices
from sandbox.paths import SandboxPaths, cache_root
from sandbox.published_ranges import range_routes
from sandbox.reality import BASE_IMAGE
from sandbox.store import Document, Store

_log = logging.getLogger(__name__)
_DNS_PORT = 53
# Kinds of documents that change what the edge or the name server says.
_NAMED = frozenset(
    {
        *("cf_zone", "cf_record", "cf_setting", "domain", "record"),
        *(origin_pulls.KIND, origin_pulls.SETTING_KIND, origin_ca.AUTHORITY_KIND),
    }
)
_EDGE_DELAYS_SECONDS = (0.0, 0.5, 1.0)

Progress = Callable[[str], None]


class World(Protocol):
    """Machines and network of a cloud, and everything around them."""

    @property
    def machines(self) -> Machines: ...

    @property
    def network(self) -> Network: ...

    @property
    def databases(self) -> DatabaseClusters: ...

    @property
    def public_network(self) -> IPv4Network:
        """Where the droplets' public addresses come from."""

    @property
    def public_network6(self) -> IPv6Network | None:
        """The same for IPv6; None where machines cannot have it."""

    async def open(self, cloud: Cloud, progress: Progress) -> None:
        """Make all that machines need before they boot."""

    async def close(self) -> None:
        """Take it away again."""

    def way(self, host: str) -> Document | None:
        """How a site is reached from the host: an address, ports by scheme, the authority to trust."""

    def status(self) -> Document: ...

    def control_routes(self) -> Sequence[Route]:
        """What this world adds to the control API."""


class RecordsOnly:
    """A world in which nothing boots and no packet moves."""

    def __init__(self, config: SandboxConfig, store: Store) -> None:
        self._store = store
        self.machines: Machines = RecordMachines(store)
        self.network: Network = RecordNetwork()
        self.databases: DatabaseClusters = RecordClusters()
        self.public_network = public_slice(config.instance)
        self.public_network6 = public_slice6(config.instance)

    async def open(self, cloud: Cloud, progress: Progress) -> None:
        """There is nothing to make."""

    async def close(self) -> None:
        """There is nothing to take away."""

    def way(self, host: str) -> Document | None:
        return None

    def status(self) -> Document:
        return {"machines": "none: droplets are records"}

    def control_routes(self) -> Sequence[Route]:
        return range_routes(self._store)


class _Cables(RecordNetwork):
    """A network that is a record, except that a guest whose cables are pulled is cut off."""

    def __init__(self, machines: SimulatedMachines) -> None:
        super().__init__()
        self._machines = machines

    async def apply(self, topology: Topology) -> None:
        await super().apply(topology)
        pulled = (attachment.droplet for attachment in topology.attachments if attachment.isolated)
        await self._machines.isolate(frozenset(pulled))


class SimulatedWorld:
    """A world of records in which only the door of each machine, its SSH server, is there to be knocked at."""

    def __init__(self, config: SandboxConfig, store: Store) -> None:
        self._store = store
        self._scripts = GuestScripts()
        self._machines = SimulatedMachines(store, self._scripts)
        self._claim = claim_socket(config.instance)
        self.network: Network = _Cables(self._machines)
        self.databases: DatabaseClusters = RecordClusters()
        self.public_network = loopback_slice(config.instance)
        # The loopback network has one IPv6 address only.
        self.public_network6 = None

    @property
    def machines(self) -> Machines:
        return self._machines

    async def open(self, cloud: Cloud, progress: Progress) -> None:
        # Otherwise some lines for each connection of each update.
        logging.getLogger("asyncssh").setLevel(logging.WARNING)
        self._machines.on_exit = cloud.on_exit

    async def close(self) -> None:
        self._machines.close()
        self._claim.close()

    def way(self, host: str) -> Document | None:
        return None

    def status(self) -> Document:
        return {"machines": "simulated: a stand-in for each droplet's SSH server, nothing behind it"}

    def control_routes(self) -> Sequence[Route]:
        return [*guest_routes(self._scripts), *range_routes(self._store)]


class _WiredMachines(NspawnMachines):
    """Machines whose namespaces are made anew around each life: one that is off answers nothing at all."""

    def __init__(
        self, paths: SandboxPaths, network: NamespaceNetwork, instance: int, authority: Path
    ) -> None:
        super().__init__(paths.home, cache_root(), prefix(instance), authority=authority)
        self._network = network

    async def start(self, spec: MachineSpec) -> None:
        if not self.running(spec.id):
            await self._network.renew(spec.id)
        await super().start(spec)

    async def stop(self, machine: int, *, graceful: bool) -> None:
        await super().stop(machine, graceful=graceful)
        # A node that its cluster does not want any more is off the network already.
        if not self.running(machine) and self._network.attached(machine):
            await self._network.renew(machine)


class RealWorld:
    """Machines by systemd-nspawn, networks by namespaces, the edge by HAProxy, names by our own server."""

    def __init__(self, paths: SandboxPaths, config: SandboxConfig, store: Store) -> None:
        self._home = paths.home
        self._config = config
        self._store = store
        self._network = NamespaceNetwork(config.instance, public_slice(config.instance))
        ranges = ip_ranges(store)
        ports = config.ports
        points = points_of_presence(
            ranges,
            [ports[f"edge-https-{number}"] for number in (1, 2, 3)],
            [ports[f"edge-http-{number}"] for number in (1, 2, 3)],
            _EDGE_DELAYS_SECONDS,
        )
        self._services = cloud_services(
            self._network.plan.internet, api_port=config.port, storage_port=ports["s3"]
        )
        layout = EdgeLayout(
            paths.home / "edge",
            points,
            self._network.plan.edge,
            api_port=config.port,
            services=self._services,
        )
        layout.directory.mkdir(parents=True, exist_ok=True)
        self._anycast = tuple(address for point in points for address in point.anycast)
        self._edge = Edge(paths.home, layout)
        self._machines = _WiredMachines(paths, self._network, config.instance, self._edge.ca_file)
        self._dns = DnsServer()
        sources = host_apt.sources_for("trixie")
        self._packages = PackageProxy(
            paths.home,
            cache_root() / "packages",
            archives=sorted({source.uri for source in sources}),
            upstream_proxy=host_apt.proxy_environment().get("http_proxy"),
        )
        self._changed = asyncio.Event()
        self._clusters = MachineClusters(
            paths.home, self._machines, self._network, image=self._database_image, changed=self._rename
        )
        self._stack = AsyncExitStack()

    @property
    def machines(self) -> Machines:
        return self._machines

    @property
    def network(self) -> Network:
        return self._network

    @property
    def databases(self) -> DatabaseClusters:
        return self._clusters

    @property
    def public_network(self) -> IPv4Network:
        return self._network.plan.public

    @property
    def public_network6(self) -> IPv6Network:
        return self._network.plan.public6

    def control_routes(self) -> Sequence[Route]:
        return [*range_routes(self._store), *delay_routes(self._edge)]

    async def open(self, cloud: Cloud, progress: Progress) -> None:
        self._machines.on_exit = lambda machine: self._exited(cloud, machine)
        found = await self._machines.adopt()
        progress(f"Machines that run already: {len(found)}." if found else "Laying the network.")
        self._stack.push_async_callback(self._network.remove)
        self._stack.push_async_callback(self._machines.close)
        await self._network.apply(cloud.topology())
        services = RouterServices(self._network.plan, lambda address: _document(cloud, address))
        self._stack.push_async_callback(self._packages.stop)
        self._stack.push_async_callback(services.stop)
        await services.start(await self._packages.start())
        await self._open_names()
        self._stack.push_async_callback(self._edge.stop)
        await self._edge.start(edge_state(self._store, time.time()))
        self._store.watch(self._note)
        follower = asyncio.create_task(self._follow(), name="edge and names")
        self._stack.callback(follower.cancel)
        droplets = cloud.store.all("droplet")
        if droplets:
            progress(f"Starting {len(droplets)} machines.")

    async def close(self) -> None:
        await self._stack.aclose()

    async def _open_names(self) -> None:
        """One name server, heard by machines on the router and by the host on its loopback."""
        router = self._network.plan.router
        self._stack.push_async_callback(self._dns.stop)
        self._dns.update(self._names())
        await self._dns.serve(
            bind_in_namespace(router, socket.AF_INET, socket.SOCK_DGRAM, RESOLVER, _DNS_PORT),
            bind_in_namespace(router, socket.AF_INET, socket.SOCK_STREAM, RESOLVER, _DNS_PORT),
        )
        datagrams = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        datagrams.bind(("127.0.0.1", self._config.ports["dns"]))
        await self._dns.serve(datagrams, socket.create_server(("127.0.0.1", self._config.ports["dns"])))

    def _names(self) -> tuple[DnsZone, ...]:
        own = dns_zones.platform_zone(API_HOST, self._anycast)
        clusters = dns_zones.cluster_zone(names.DOMAIN, self._clusters.names())
        services = (
            dns_zones.service_zone(service.name, service.hosts, [service.address])
            for service in self._services
        )
        return (*dns_zones.dns_zones(self._store, self._anycast), own, clusters, *services)

    def _rename(self) -> None:
        """At once, where other changes wait for the edge: clients of a database look for its new primary."""
        self._dns.update(self._names())

    def _exited(self, cloud: Cloud, machine: int) -> None:
        """A machine went off by itself: a droplet, or a node of a cluster."""
        self._clusters.on_exit(machine)
        cloud.on_exit(machine)

    async def _database_image(self) -> None:
        """The image of database nodes, made at the first cluster; its packages stay in the package cache."""
        await database_image.build(
            cache_root(), lambda line: _log.info("%s", line), package_port=self._packages.port
        )

    def _note(self, kinds: frozenset[str]) -> None:
        if kinds & _NAMED:
            self._changed.set()

    async def _follow(self) -> None:
        """Tell edge and name server of changes, many at once when they come fast."""
        while True:
            # Client certificates reach the edge by the clock.
            due = origin_pulls.seconds_until_change(self._store, time.time())
            with suppress(TimeoutError):
                await asyncio.wait_for(self._changed.wait(), due)
            self._changed.clear()
            self._dns.update(self._names())
            try:
                await self._edge.apply(edge_state(self._store, time.time()))
            except Exception:  # the edge must not end with one bad change; the next one tries again
                _log.exception("the edge could not take over a change")

    def way(self, host: str) -> Document | None:
        ports = self._config.ports
        for zone in edge_state(self._store, time.time()).zones:
            if any(site.name == host for site in zone.hosts):
                return {
                    "via": "edge",
                    "address": "127.0.0.1",
                    "ports": {"https": ports["edge-https-1"], "http": ports["edge-http-1"]},
                    "ca": str(self._edge.ca_file),
                }
        for zone_ in dns_zones.dns_zones(self._store, self._anycast):
            for record in zone_.records:
                if record.name == host and record.type == "A":
                    return {"via": "address", "address": record.data}
        return None

    def status(self) -> Document:
        ports = self._config.ports
        return {
            "machines": "real",
            "sites": [
                {"name": site.name, "origins": list(site.origins)}
                for zone in edge_state(self._store, time.time()).zones
                for site in zone.hosts
            ],
            "edge_ports": [ports[f"edge-https-{number}"] for number in (1, 2, 3)],
            "edge_ca": str(self._edge.ca_file),
            # Cloudflare's customers share it: an origin that trusts its authority trusts all of them.
            "edge_shared_client": str(self._edge.layout.shared_client_certificate),
            "edge_shared_client_ca": str(self._edge.certificates.shared_client_authority),
            "dns": f"127.0.0.1:{ports['dns']}",
            "network_instance": self._config.instance,
            "memory_bytes": self._memory(),
            "machine_memory_bytes": {
                str(droplet["id"]): self._machines.memory_bytes(droplet["id"])
                for droplet in self._store.all("droplet")
            },
        }

    def _memory(self) -> int:
        """The sandbox itself: the daemon and its programs, without the machines."""
        own = {os.getpid(), *processes.of_sandbox(self._home)}
        return processes.memory_bytes(own - runners(self._home))


def _document(cloud: Cloud, address: str) -> MetadataDocument | None:
    machine: Any = cloud.machine_at(address)
    return None if machine is None else MetadataDocument(machine)


__all__ = ["BASE_IMAGE", "RealWorld", "RecordsOnly", "SimulatedWorld", "World"]
