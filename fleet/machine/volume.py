"""The block storage volume that holds the database's files.

Only a volume on which nothing at all was ever written gets a file system. Anything else that is not ours is an
error, whatever it is: data of somebody is never overwritten.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from fleet.machine import places
from fleet.machine.host import Clock, Host, MachineError, until

LABEL: Final = "flotilla-data"
# A volume is attached after the machine was born, and the cloud needs a while for it.
ATTACH_SECONDS: Final = 120.0
# A file system, partition table or volume manager leaves its mark in the first MiB.
PROBED_BYTES: Final = 1024 * 1024


def device(name: str) -> str:
    """https://docs.digitalocean.com/products/volumes/how-to/mount/"""
    return f"/dev/disk/by-id/scsi-0DO_Volume_{name}"


def ensure_mounted(host: Host, clock: Clock, name: str) -> str:
    """Mount the volume at places.DATA, formatting it when blank; says in a word what was done."""
    if host.run("mountpoint", "--quiet", places.DATA).code == 0:
        return "volume mounted"
    path = device(name)
    if until(lambda: host.path(path).exists() or None, timeout=ATTACH_SECONDS, clock=clock) is None:
        raise MachineError(
            f"the volume {name} is not attached: {path} does not exist; attach it to this machine"
        )
    done = "volume mounted"
    if _blank(host, path):
        host.must("mkfs.ext4", "-q", "-L", LABEL, "-m", "1", path, timeout=300)
        done = "volume formatted and mounted"
    else:
        _check_ours(host, path)
        # Replays the journal after a crash; 1: errors were corrected.
        if (code := host.run("fsck.ext4", "-p", path, timeout=600).code) > 1:
            raise MachineError(
                f"the file system on {path} is damaged (fsck.ext4 says {code}); run `fsck.ext4 {path}`"
            )
    host.path(places.DATA).mkdir(parents=True, exist_ok=True)
    host.must("mount", "-t", "ext4", "-o", "noatime,nodev,nosuid,noexec", path, places.DATA)
    return done


def _blank(host: Host, path: str) -> bool:
    # blkid: 0 means it knows what is there, 2 that it found nothing it knows.
    if host.run("blkid", "--probe", path).code != 2:
        return False
    with Path(host.path(path)).open("rb") as volume:
        return not any(volume.read(PROBED_BYTES))


def _check_ours(host: Host, path: str) -> None:
    found = dict(
        line.split("=", 1)
        for line in host.run("blkid", "--probe", "--output", "export", path).output.splitlines()
        if "=" in line
    )
    if found.get("TYPE") != "ext4" or found.get("LABEL") != LABEL:
        what = f"a {found.get('TYPE', 'unknown')} file system with label {found.get('LABEL', '')!r}"
        raise MachineError(
            f"{path} holds {what}, not a database volume of ours (ext4, label {LABEL!r}), and is left as it is; "
            f"give an empty volume, or if this one is right: `e2label {path} {LABEL}`"
        )
