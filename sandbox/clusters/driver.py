"""Clusters as machines: brings each to what it should be, and a standby into the place of a primary that died."""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from sandbox.api.databases_port import ClusterSpec, DatabaseNode
from sandbox.api.tasks import Tasks
from sandbox.clusters import names
from sandbox.clusters.nodes import NodeMachines, NodeNetwork, Nodes, volume_id
from sandbox.clusters.record import ClusterRecord, ClusterRecords
from sandbox.dns import DnsRecord
from sandbox.machines.port import MachineError

_log = logging.getLogger(__name__)
_LONGEST_WAIT_SECONDS = 30.0


class MachineClusters:
    """Implements `DatabaseClusters`. The one data volume of a cluster is at its primary, so nothing committed is lost."""

    def __init__(
        self,
        home: Path,
        machines: NodeMachines,
        network: NodeNetwork,
        *,
        image: Callable[[], Awaitable[object]],
        changed: Callable[[], None],
    ) -> None:
        """`image` makes the image of the nodes unless it is there; `changed` is called when another node serves."""
        self._machines = machines
        self._nodes = Nodes(machines, network)
        self._records = ClusterRecords(home)
        self._image = image
        self._changed = changed
        self.on_promotion: Callable[[str], None] = lambda cluster: None
        self._specs: dict[str, ClusterSpec] = {}
        self._serving: dict[str, int] = {}
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._tasks = Tasks()

    async def apply(self, spec: ClusterSpec) -> None:
        async with self._turns[spec.id]:
            await self._image()
            self._specs[spec.id] = spec
            await self._settle(spec)

    async def remove(self, cluster: str) -> None:
        async with self._turns[cluster]:
            self._specs.pop(cluster, None)
            self._serving.pop(cluster, None)
            nodes = self._records.read(cluster).nodes
            await _all(*(self._machines.destroy(node) for node in nodes))
            await self._machines.delete_volume(volume_id(cluster))
            self._records.forget(cluster)
            self._changed()
        self._turns.pop(cluster, None)

    async def stop(self) -> None:
        await self._tasks.cancel()
        self._specs.clear()
        nodes = [node for cluster in self._records for node in self._records.read(cluster).nodes]
        await _all(*(self._machines.stop(node, graceful=True) for node in nodes))

    def primary(self, cluster: str) -> int | None:
        return self._serving.get(cluster)

    def names(self) -> tuple[DnsRecord, ...]:
        """What the clusters' names mean now; those of one that never served mean nothing yet."""
        return tuple(
            record
            for spec in self._specs.values()
            if (primary := self._serving.get(spec.id)) is not None
            for record in names.of(spec, primary)
        )

    async def kill_primary(self, cluster: str) -> None:
        node = self._records.read(cluster).primary
        if node is None:
            raise MachineError(f"cluster {cluster} has no primary")
        await self._machines.stop(node, graceful=False)
        self.on_exit(node)

    def on_exit(self, machine: int) -> None:
        """A machine went off by itself: when it is a node, its cluster recovers in the background."""
        for spec in self._specs.values():
            if any(node.id == machine for node in spec.nodes):
                self._tasks.spawn(f"recover cluster {spec.id}", self._recover(spec.id))

    async def _recover(self, cluster: str) -> None:
        """Until all nodes run, those too that die meanwhile; what fails is tried again, at once after any progress."""
        wait, served = 0.0, self._serving.get(cluster)
        while True:
            async with self._turns[cluster]:
                # Not before its turn: whoever had it may have wanted another size.
                spec = self._specs.get(cluster)
                if spec is None or self._whole(spec):
                    return
                try:
                    await self._settle(spec)
                except MachineError as error:
                    _log.error("cluster %s (%s) did not recover: %s", spec.name, cluster, error)
            if self._serving.get(cluster) != served:
                wait, served = 0.0, self._serving.get(cluster)
            elif not self._whole(spec):
                await asyncio.sleep(wait)
                wait = min(2 * wait + 1, _LONGEST_WAIT_SECONDS)

    async def _settle(self, spec: ClusterSpec) -> None:
        """Clients first: a standby that runs takes over before anything is booted."""
        spare = self._standby(spec)
        if spare is not None and not self._is_on(self._records.read(spec.id).primary):
            await self._promote(spec, spare.id)
        await _all(*(self._boot(spec, node) for node in spec.nodes if not self._must_wait(spec, node)))
        await self._promote(spec, await self._choose(spec))
        await self._dismiss(spec)

    async def _choose(self, spec: ClusterSpec) -> int:
        """The node to serve: the one that does unless it is to go or to have another size."""
        record = self._records.read(spec.id)
        current = next((node for node in spec.nodes if node.id == record.primary), None)
        if current is not None and record.nodes.get(current.id) == _size(spec):
            return current.id
        if (spare := self._standby(spec)) is not None:
            return spare.id
        if current is not None:
            await self._nodes.retire(spec, current.id)
        first = current or spec.nodes[0]
        await self._boot(spec, first)
        return first.id

    async def _dismiss(self, spec: ClusterSpec) -> None:
        """Nodes that are not wanted go, and a former primary gets the size that the others have."""
        record = self._records.read(spec.id)
        wanted = {node.id for node in spec.nodes}
        unwanted = [node for node in record.nodes if node not in wanted]
        await _all(*(self._machines.destroy(node) for node in unwanted))
        nodes = {node: size for node, size in record.nodes.items() if node in wanted}
        self._records.write(spec.id, replace(record, nodes=nodes))
        await _all(*(self._boot(spec, node) for node in spec.nodes))

    def _must_wait(self, spec: ClusterSpec, node: DatabaseNode) -> bool:
        """A primary that runs is not touched before another node can take its place."""
        return node.id == self._records.read(spec.id).primary and self._machines.running(node.id)

    def _standby(self, spec: ClusterSpec) -> DatabaseNode | None:
        """A node that runs, with the size it should have, and has no data yet."""
        record = self._records.read(spec.id)
        for node in spec.nodes:
            right = record.nodes.get(node.id) == _size(spec) and self._machines.running(node.id)
            if right and node.id != record.primary:
                return node
        return None

    def _whole(self, spec: ClusterSpec) -> bool:
        return all(self._machines.running(node.id) for node in spec.nodes)

    def _is_on(self, node: int | None) -> bool:
        return node is not None and self._machines.running(node)

    async def _boot(self, spec: ClusterSpec, node: DatabaseNode) -> None:
        """Have it run with the size of the spec."""
        running = self._machines.running(node.id)
        if running and self._records.read(spec.id).nodes.get(node.id) == _size(spec):
            return
        if running:
            # It has no data, so there is nothing to end in order.
            await self._machines.stop(node.id, graceful=False)
        self._note(spec.id, node.id, "")
        await self._nodes.start(spec, node)
        self._note(spec.id, node.id, _size(spec))

    def _note(self, cluster: str, node: int, size: str) -> None:
        """Written before it boots, so that none is ever forgotten; without a size it counts as not ready."""
        record = self._records.read(cluster)
        self._records.write(cluster, replace(record, nodes={**record.nodes, node: size}))

    async def _promote(self, spec: ClusterSpec, node: int) -> None:
        """Bring the data to a node and have it serve."""
        record = self._records.read(spec.id)
        if record.primary is not None and record.primary != node:
            await self._nodes.retire(spec, record.primary)
        # Before the disk moves: after a crash no other node may take the data that this one has open.
        self._records.write(spec.id, replace(record, primary=node))
        await self._nodes.serve(spec, node)
        await self._furnish(spec, node)
        before = self._serving.get(spec.id)
        self._serving[spec.id] = node
        if before != node:
            _log.info("cluster %s is served by node %d", spec.name, node)
        self._changed()
        if before not in (None, node):
            self.on_promotion(spec.id)

    async def _furnish(self, spec: ClusterSpec, node: int) -> None:
        record: ClusterRecord = self._records.read(spec.id)
        await self._nodes.furnish(spec, node, record)
        users = tuple(user.name for user in spec.users)
        self._records.write(spec.id, replace(record, users=users, databases=spec.databases))


def _size(spec: ClusterSpec) -> str:
    """What a node is given at its start: another memory or disk needs another start."""
    return f"{spec.memory_mib} MiB, {spec.disk_gib} GiB"


async def _all(*work: Awaitable[None]) -> None:
    """Do it all at once and to the end; raises what the first of them raised that failed."""
    outcomes = await asyncio.gather(*work, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, BaseException):
            raise outcome
