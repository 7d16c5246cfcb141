"""One node of a cluster: a machine of the database image, and what is done inside it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from sandbox.api.databases_port import ClusterSpec, DatabaseNode
from sandbox.clusters import certificate
from sandbox.clusters.engines import ENGINES, FILES, without_secrets
from sandbox.clusters.record import ClusterRecord
from sandbox.machines import database_image
from sandbox.machines.port import Interface, MachineError, Machines, MachineSpec, VolumeSpec

_BOOT_SECONDS = 60.0
_LOOK_SECONDS = 0.05


class NodeMachines(Machines, Protocol):
    """Machines that commands can be run in."""

    async def execute(self, machine: int, *command: str, text: str = "") -> str:
        """Run a command inside as root with `text` on standard input; its output, or MachineError."""


class NodeNetwork(Protocol):
    """The network as far as nodes need it."""

    async def configure(self, machine: int, cards: Sequence[Interface]) -> None:
        """Give a machine that runs its addresses and routes."""


def volume_of(spec: ClusterSpec) -> VolumeSpec:
    """Where the data is; the machine sees the disk under the name `data`."""
    return VolumeSpec(id=volume_id(spec.id), name="data", size_gib=spec.disk_gib)


def volume_id(cluster: str) -> str:
    return f"cluster-{cluster}"


class Nodes:
    """Boots nodes and makes them serve. A node keeps nothing on its own disk: each start lays a new one."""

    def __init__(self, machines: NodeMachines, network: NodeNetwork) -> None:
        self._machines = machines
        self._network = network

    async def start(self, spec: ClusterSpec, node: DatabaseNode) -> None:
        """Boot it as a standby; returns when its systemd takes orders."""
        machine = _machine(spec, node)
        await self._machines.create(machine)
        await self._machines.start(machine)
        await self._network.configure(node.id, (node.public, node.private))
        async with asyncio.timeout(_BOOT_SECONDS):
            while not await self._manageable(node.id):  # noqa: ASYNC110 # a machine has no event for us
                await asyncio.sleep(_LOOK_SECONDS)

    async def serve(self, spec: ClusterSpec, node: int) -> None:
        """Have it serve the cluster's data; it does already when nothing happens."""
        unit = ENGINES[spec.engine].unit
        if await self._active(node, unit):
            return
        await self._machines.attach_volume(node, volume_of(spec))
        await self._configure(spec, node)
        await self._machines.execute(node, "systemctl", "start", unit)

    async def retire(self, spec: ClusterSpec, node: int) -> None:
        """Take the data from a node, in order while it runs."""
        if self._machines.running(node):
            data = f"managed-data@{spec.engine}.service"
            await self._machines.execute(node, "systemctl", "stop", ENGINES[spec.engine].unit, data)
        await self._machines.detach_volume(node, volume_of(spec))

    async def furnish(self, spec: ClusterSpec, node: int, before: ClusterRecord) -> None:
        """Users and databases, on the node that serves."""
        engine = ENGINES[spec.engine]
        try:
            await self._machines.execute(node, *engine.client, text=engine.statements(spec, before))
        except MachineError as error:
            raise MachineError(without_secrets(str(error), spec)) from None

    async def _configure(self, spec: ClusterSpec, node: int) -> None:
        """What the server reads at its start: how many clients it takes, and what it shows them."""
        names = (spec.host, spec.private_host, spec.standby_host, spec.private_standby_host)
        issued = certificate.issue(spec.authority, spec.authority_key, [name for name in names if name])
        for file, mode, text in (
            ("size.conf", "644", ENGINES[spec.engine].sized(spec.memory_mib)),
            ("tls/ca.pem", "640", spec.authority),
            ("tls/node.pem", "640", issued.certificate),
            ("tls/node.key", "640", issued.key),
        ):
            owner = ("--owner=root", "--group=ssl-cert", f"--mode={mode}")
            place = f"{FILES}/{file}"
            await self._machines.execute(node, "install", *owner, "/dev/stdin", place, text=text)

    async def _active(self, node: int, unit: str) -> bool:
        state = await self._machines.execute(
            node, "systemctl", "show", "--property=ActiveState", "--value", unit
        )
        return state.strip() == "active"

    async def _manageable(self, node: int) -> bool:
        """Whether the directories of the boot are there and systemd answers."""
        try:
            await self._machines.execute(node, "systemctl", "is-active", "--quiet", "basic.target")
        except MachineError:
            if not self._machines.running(node):
                raise
            return False
        return True


def _machine(spec: ClusterSpec, node: DatabaseNode) -> MachineSpec:
    return MachineSpec(
        id=node.id,
        hostname=node.hostname,
        image=database_image.KEY,
        public=node.public,
        private=node.private,
        user_data="",
        ssh_keys=(),
        tags=(),
        region=spec.region,
        memory_mib=spec.memory_mib,
        vcpus=spec.vcpus,
    )
