"""Pull a volume from a machine that uses it: it is unmounted everywhere, and what has files open on it dies."""

from __future__ import annotations

import asyncio
import contextlib
import os
from pathlib import Path

from sandbox import processes
from sandbox.machines.commands import run
from sandbox.machines.port import MachineError
from sandbox.machines.volumes import Plugged


async def unplug(plugged: Plugged, pids: frozenset[int]) -> None:
    """`pids`: all processes of the machine. Does nothing when none of them uses the volume."""
    for pid, place in mounts(plugged, pids):
        try:
            # With the process namespace, or umount does not find itself in the machine's /proc.
            await run("nsenter", f"--target={pid}", "--mount", "--pid", "umount", "--lazy", place)
        except MachineError:
            # The process may have ended meanwhile, and its mounts with it.
            if mounts(plugged, frozenset({pid})):
                raise
    # Unmounted first: nothing can open a file on it any more once its users are looked for.
    await asyncio.to_thread(processes.kill, holders(plugged, pids))


def holders(plugged: Plugged, pids: frozenset[int]) -> frozenset[int]:
    """Processes that have the device open, or a file or directory on it."""
    device = os.makedev(plugged.major, plugged.minor)
    return frozenset(pid for pid in pids if _holds(pid, device))


def mounts(plugged: Plugged, pids: frozenset[int]) -> tuple[tuple[int, str], ...]:
    """Where it is mounted: a process and a path as it sees it, one for each mount namespace."""
    number = f"{plugged.major}:{plugged.minor}"
    found: dict[tuple[int, str], tuple[int, str]] = {}
    for pid in sorted(pids):
        with contextlib.suppress(OSError):
            namespace = Path(f"/proc/{pid}/ns/mnt").stat().st_ino
            for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines():
                fields = line.split(" ")
                if fields[2] == number:
                    found.setdefault((namespace, fields[4]), (pid, fields[4]))
    return tuple(found.values())


def _holds(pid: int, device: int) -> bool:
    process = Path(f"/proc/{pid}")
    with contextlib.suppress(OSError):
        for link in (process / "cwd", process / "root", *(process / "fd").iterdir()):
            with contextlib.suppress(OSError):
                facts = link.stat()
                if device in (facts.st_dev, facts.st_rdev):
                    return True
    return False
