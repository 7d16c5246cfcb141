"""Block storage volumes: sparse files on loop devices, kept until they are deleted."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from sandbox.machines.commands import run
from sandbox.machines.port import MachineError, VolumeSpec


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

    def file(self, volume: str) -> Path:
        if not volume or "/" in volume or volume.startswith("."):
            raise MachineError(f"volume id {volume!r} cannot name a file")
        return self._directory / f"{volume}.img"

    async def attach(self, volume: VolumeSpec) -> Plugged:
        """The loop device of a volume: made when it is new or the host has booted since; grown to its size."""
        file = self.file(volume.id)
        self._directory.mkdir(parents=True, exist_ok=True)
        size = volume.size_gib << 30
        with file.open("ab") as handle:
            if os.fstat(handle.fileno()).st_size < size:
                os.truncate(handle.fileno(), size)
        devices = await loop_devices(file)
        if devices:
            path = devices[0]
            await run("losetup", "--set-capacity", str(path))
        else:
            path = Path((await run("losetup", "--find", "--show", "--", str(file))).strip())
        number = path.stat().st_rdev
        return Plugged(volume.id, os.major(number), os.minor(number), device_name(volume))

    async def release(self, volume: str) -> None:
        """Give the loop device back; raises MachineError while something still has it open."""
        file = self.file(volume)
        for device in await loop_devices(file):
            await run("losetup", "--detach", str(device))
        if left := await loop_devices(file):
            raise MachineError(f"volume {volume} is still in use through {left[0]}; unmount it first")

    async def delete(self, volume: str) -> None:
        await self.release(volume)
        self.file(volume).unlink(missing_ok=True)


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
