"""How a machine is booted: the command line of systemd-nspawn and of the runner around it."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from sandbox.machines.machine_files import MachineFiles
from sandbox.machines.runner import SCRIPT

_NAMESPACES = Path("/run/netns")
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"


def namespace(name: str) -> Path:
    """The network namespace a machine lives in."""
    return _NAMESPACES / name


def nspawn_command(files: MachineFiles, name: str) -> tuple[str, ...]:
    """Boot the root file system of a machine inside its network namespace.

    nspawn is started in the namespace instead of being told about it: only then shows /sys its interfaces, which
    cloud-init looks for. https://www.freedesktop.org/software/systemd/man/latest/systemd-nspawn.html
    """
    return (
        *("nsenter", f"--net={namespace(name)}", "systemd-nspawn"),
        *("--quiet", "--boot", "--register=no", "--keep-unit", "--settings=no", "--link-journal=no"),
        *("--console=read-only", "--resolv-conf=off", "--timezone=off", "--capability=CAP_NET_ADMIN"),
        *(f"--directory={files.root}", f"--machine={name}"),
        *(f"--bind={_escaped(files.devices)}:/dev/disk/by-id",),
        *(f"--bind-ro={_escaped(files.seed)}:/var/lib/cloud/seed/nocloud",),
    )


def runner_command(files: MachineFiles, lower: str, cgroup: Path, boot: Sequence[str]) -> tuple[str, ...]:
    """The runner in a mount namespace of its own; unmounting on the host still reaches into it."""
    return (
        *("unshare", "--mount", "--propagation", "slave"),
        *("sh", str(SCRIPT), str(files.directory), lower, str(cgroup), *boot),
    )


def environment(marker: tuple[str, str], notify: Path, join: Sequence[Path]) -> Mapping[str, str]:
    return {
        "PATH": _PATH,
        marker[0]: marker[1],
        "NOTIFY_SOCKET": str(notify),
        "JOIN": " ".join(str(group) for group in join),
        # Without it systemd in a machine does not come up on a host whose cgroup v1 lies beside v2.
        "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1",
        # Machines have their own network namespace, so its settings are theirs to change.
        "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "network",
    }


def launch(command: Sequence[str], variables: Mapping[str, str], console: Path) -> subprocess.Popen[bytes]:
    """Start it in a session of its own: it outlives this process."""
    with console.open("ab") as output:
        return subprocess.Popen(
            command,
            env=dict(variables),
            cwd="/",
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )


def _escaped(path: Path) -> str:
    return str(path).replace("\\", "\\\\").replace(":", "\\:")
