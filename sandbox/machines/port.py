"""What the cloud asks of whatever runs its droplets: real machines (nspawn) or mere records."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Ipv6:
    """The IPv6 address of a card and its way out."""

    address: str
    prefix: int
    gateway: str


@dataclass(frozen=True, slots=True)
class Interface:
    """One network card of a machine, as cloud-init's network-config describes it."""

    name: str  # "eth0" public, "eth1" VPC
    mac: str
    address: str  # IPv4, without prefix
    prefix: int
    gateway: str | None
    ipv6: Ipv6 | None = None


@dataclass(frozen=True, slots=True)
class VolumeSpec:
    """A block storage volume as a droplet sees it: /dev/disk/by-id/scsi-0DO_Volume_<name>."""

    id: str
    name: str
    size_gib: int


@dataclass(frozen=True, slots=True)
class MachineSpec:
    """Everything needed to boot a droplet; equal specs boot equal machines."""

    id: int
    hostname: str
    image: str  # key of an image in the image store: a distribution slug or a snapshot id
    public: Interface
    private: Interface
    user_data: str
    ssh_keys: tuple[str, ...]
    tags: tuple[str, ...]
    region: str
    memory_mib: int
    vcpus: int
    volumes: tuple[VolumeSpec, ...] = ()


class MachineError(Exception):
    """A machine could not be made, started or snapshotted; the text says why."""


class Machines(Protocol):
    """Drives machines. Every method may be called again after a crash and then finishes the work."""

    async def create(self, spec: MachineSpec) -> None:
        """Lay the root file system from the image (a new instance id), without starting it."""

    async def start(self, spec: MachineSpec) -> None:
        """Boot it; returns when the machine's init runs."""

    async def stop(self, machine: int, *, graceful: bool) -> None:
        """Graceful: ask init to shut down and wait up to 60 s; else cut the power."""

    async def destroy(self, machine: int) -> None:
        """Power off and remove every trace: root, network namespace, console log."""

    async def snapshot(self, machine: int, image: str) -> int:
        """Copy the machine's disk into the image store under that key; returns its size in bytes."""

    async def delete_image(self, image: str) -> None: ...

    async def attach_volume(self, machine: int, volume: VolumeSpec) -> None: ...

    async def detach_volume(self, machine: int, volume: VolumeSpec) -> None: ...

    async def delete_volume(self, volume: str) -> None: ...

    def running(self, machine: int) -> bool: ...

    def images(self) -> frozenset[str]:
        """Keys of the images that can be booted here."""

    def console(self, machine: int) -> Path | None:
        """The console log, when there is one."""
