"""Leave nothing of a sandbox's machines running, whatever crashed before; their disks stay."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from sandbox import processes
from sandbox.machines import readiness
from sandbox.machines.cgroups import MachineCgroups
from sandbox.machines.runner import runners
from sandbox.machines.volumes import parse_losetup


def sweep(home: Path) -> None:
    """End every process, control group, mount and loop device of the machines of that sandbox.

    May be called again, with or without a daemon, and for a home that never had machines. Needs root. Mounts need
    no care of their own: they live in the machines' mount namespaces and end with them.
    """
    cgroups = MachineCgroups(home)
    cgroups.end_all()
    processes.kill(runners(home))
    cgroups.end_all()
    for device in _loop_devices(home / "volumes"):
        subprocess.run(["losetup", "--detach", str(device)], check=True)
    shutil.rmtree(readiness.directory(cgroups.name), ignore_errors=True)


def _loop_devices(below: Path) -> tuple[Path, ...]:
    command = ["losetup", "--list", "--json", "--output", "NAME,BACK-FILE"]
    listed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return parse_losetup(listed, below)
