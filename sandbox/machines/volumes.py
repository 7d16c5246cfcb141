"""Block storage volumes and their snapshots: sparse files, a volume on a loop device while it is in use."""

from __future__ import annotations

import asyncio
import json
import os
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from sandbox.machines.commands import run
from sandbox.machines.port import MachineError, VolumeSpec

# What st_blocks counts. https://man7.org/linux/man-pages/man3/stat.3type.html
_BLOCK = 512


@dataclass(frozen=True, slots=True)
class Plugged:
    """A volume on a device of the host, and the name a machine has it by below /dev/disk/by-id."""

    volume: str
    major: int
    minor: int
    name: str


def device_name(volume: VolumeSpec) -> str:
    """https://docs.digitalocean.com/products/volumes/how-to/mount/"""
    return f"scsi-0DO_Volume_{volume.name}"


class VolumeStore:
    """The volumes of one sandbox."""

    def __init__(self, home: Path) -> None:
        self._directory = home / "volumes"
        self._snapshots = home / "volume-snapshots"
        # A volume is not attached in the middle of a copy.
        self._turns: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    def file(self, volume: str) -> Path:
        return self._directory / _file_name("volume", volume)

    async def attach(self, volume: VolumeSpec) -> Plugged:
        """The loop device of a volume: made when it is new or the host has booted since; grown to its size."""
        async with self._turns[volume.id]:
            file = self.file(volume.id)
            path = await self._grow(file, volume.size_gib)
            if path is None:
                path = Path((await run("losetup", "--find", "--show", "--", str(file))).strip())
            number = path.stat().st_rdev
            return Plugged(volume.id, os.major(number), os.minor(number), device_name(volume))

    async def resize(self, volume: VolumeSpec) -> None:
        """Grow it to its size, under its users' hands too; the file system on it stays as it is."""
        async with self._turns[volume.id]:
            await self._grow(self.file(volume.id), volume.size_gib)

    async def snapshot(self, volume: str, snapshot: str) -> int:
        """Copy the volume; returns the bytes that the copy takes. Whoever writes to it must be held still."""
        async with self._turns[volume]:
            source, copy = self.file(volume), self._copy(snapshot)
            if not copy.exists():
                source.parent.mkdir(parents=True, exist_ok=True)
                source.touch()  # a volume that was never attached is as empty as this file
                for device in await loop_devices(source):
                    await run("blockdev", "--flushbufs", str(device))
                await _copy(source, copy)
            return copy.stat().st_blocks * _BLOCK

    async def restore(self, volume: VolumeSpec, snapshot: str) -> None:
        """Make a new volume of a snapshot; one that is there already is the work of a run before a crash."""
        async with self._turns[volume.id]:
            file, copy = self.file(volume.id), self._copy(snapshot)
            if file.exists():
                return
            if not copy.exists():
                raise MachineError(f"volume snapshot {snapshot} is not in the store")
            await _copy(copy, file)
            await self._grow(file, volume.size_gib)

    def delete_snapshot(self, snapshot: str) -> None:
        copy = self._copy(snapshot)
        copy.unlink(missing_ok=True)
        _draft(copy).unlink(missing_ok=True)

    def _copy(self, snapshot: str) -> Path:
        return self._snapshots / _file_name("volume snapshot", snapshot)

    async def _grow(self, file: Path, size_gib: int) -> Path | None:
        """The file has that size at least, and the loop device over it, which is returned, as well."""
        file.parent.mkdir(parents=True, exist_ok=True)
        size = size_gib << 30
        with file.open("ab") as handle:
            if os.fstat(handle.fileno()).st_size < size:
                os.truncate(handle.fileno(), size)
        devices = await loop_devices(file)
        if not devices:
            return None
        await run("losetup", "--set-capacity", str(devices[0]))
        return devices[0]

    async def release(self, volume: str) -> None:
        """Give the loop device back; raises MachineError while something still has it open."""
        file = self.file(volume)
        for device in await loop_devices(file):
            await run("losetup", "--detach", str(device))
        if left := await loop_devices(file):
            raise MachineError(f"volume {volume} is still in use through {left[0]}; unmount it first")

    async def delete(self, volume: str) -> None:
        await self.release(volume)
        file = self.file(volume)
        file.unlink(missing_ok=True)
        _draft(file).unlink(missing_ok=True)
        self._turns.pop(volume, None)


def _file_name(kind: str, key: str) -> str:
    if not key or "/" in key or key.startswith("."):
        raise MachineError(f"{kind} id {key!r} cannot name a file")
    return f"{key}.img"


def _draft(file: Path) -> Path:
    return file.with_name(f"{file.name}.new")


async def _copy(source: Path, target: Path) -> None:
    """The target is the whole copy, on the disk, or not there at all; holes stay holes."""
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = _draft(target)
    try:
        await run("cp", "--sparse=always", "--reflink=auto", "--", str(source), str(draft))
        await run("sync", "--", str(draft))
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    draft.rename(target)


async def loop_devices(below: Path) -> tuple[Path, ...]:
    """Loop devices whose file is that one, or lies in that directory, also when the file was deleted since."""
    listed = await run("losetup", "--list", "--json", "--output", "NAME,BACK-FILE")
    return parse_losetup(listed, below)


def parse_losetup(listed: str, below: Path) -> tuple[Path, ...]:
    found = []
    place = below.resolve()
    for entry in json.loads(listed)["loopdevices"] if listed.strip() else ():
        file = Path(str(entry["back-file"]).removesuffix(" (deleted)"))
        if file == place or place in file.parents:
            found.append(Path(entry["name"]))
    return tuple(found)
