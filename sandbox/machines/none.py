"""Machines that are records only: on and off at once, for hosts without root and for fast tests."""

from __future__ import annotations

from pathlib import Path

from sandbox.api.catalog import load_catalog
from sandbox.machines.port import MachineSpec, VolumeSpec
from sandbox.store import Store

# What a record of a snapshot claims to weigh: a small server with its packages, in bytes.
_NOMINAL_SNAPSHOT = 1_500_000_000


class RecordMachines:
    """Implements `Machines` and `VolumeDisks` without doing anything a packet could notice.

    Which machines are on is memory: after a restart of the daemon the cloud starts those that should be.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._on: set[int] = set()

    async def create(self, spec: MachineSpec) -> None:
        self._on.discard(spec.id)

    async def start(self, spec: MachineSpec) -> None:
        self._on.add(spec.id)

    async def stop(self, machine: int, *, graceful: bool) -> None:
        self._on.discard(machine)

    async def destroy(self, machine: int) -> None:
        self._on.discard(machine)

    async def snapshot(self, machine: int, image: str) -> int:
        return _NOMINAL_SNAPSHOT

    async def delete_image(self, image: str) -> None:
        """Nothing is stored for an image."""

    async def attach_volume(self, machine: int, volume: VolumeSpec) -> None:
        """Nothing is plugged in."""

    async def detach_volume(self, machine: int, volume: VolumeSpec) -> None:
        """Nothing was plugged in."""

    async def delete_volume(self, volume: str) -> None:
        """Nothing is stored for a volume."""

    async def resize_volume(self, volume: VolumeSpec) -> None:
        """Nothing is stored for a volume."""

    async def snapshot_volume(self, volume: str, snapshot: str) -> int:
        return 0

    async def restore_volume(self, volume: VolumeSpec, snapshot: str) -> None:
        """Nothing is stored for a volume."""

    async def delete_volume_snapshot(self, snapshot: str) -> None:
        """Nothing is stored for a snapshot."""

    def running(self, machine: int) -> bool:
        return machine in self._on

    def images(self) -> frozenset[str]:
        """Every public image, and every snapshot in the store."""
        snapshots = (str(image["id"]) for image in self._store.all("image"))
        return frozenset([*load_catalog().images, *snapshots])

    def console(self, machine: int) -> Path | None:
        return None
