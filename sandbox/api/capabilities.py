"""What some drivers of machines can do beyond the port."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from sandbox.machines.port import VolumeSpec


@runtime_checkable
class VolumeDisks(Protocol):
    """Drivers that can grow and copy a volume's data; the others refuse those requests."""

    async def resize_volume(self, volume: VolumeSpec) -> None:
        """Grow the volume to its new size, attached or not."""

    async def snapshot_volume(self, volume: str, snapshot: str) -> int:
        """Copy a volume's data under the snapshot's key; returns its size in bytes."""

    async def restore_volume(self, volume: VolumeSpec, snapshot: str) -> None:
        """Make a new volume from a snapshot."""

    async def delete_volume_snapshot(self, snapshot: str) -> None: ...
