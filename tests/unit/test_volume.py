"""The database's volume: blank is formatted, ours is mounted, everything else is left alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from fleet.machine import volume
from fleet.machine.host import MachineError
from tests.unit.fake_machine import FakeClock, FakeHost

DEVICE = "/dev/disk/by-id/scsi-0DO_Volume_dev-data"


def host_with(root: Path, content: bytes | None, probed: str = "") -> FakeHost:
    host = FakeHost(root)
    host.answer("mountpoint", code=32)
    host.answer("blkid", probed, code=0 if probed else 2)
    if content is not None:
        path = host.path(DEVICE)
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
    return host


def formatted(host: FakeHost) -> bool:
    return any(line.startswith("mkfs") for line in host.lines())


def test_a_blank_volume_is_formatted_and_mounted(tmp_path: Path) -> None:
    host = host_with(tmp_path, bytes(4096))
    volume.ensure_mounted(host, FakeClock(), "dev-data")
    assert formatted(host)
    assert host.lines()[-1].startswith("mount -t ext4")


def test_our_volume_is_mounted_as_it_is(tmp_path: Path) -> None:
    host = host_with(tmp_path, b"data", "TYPE=ext4\nLABEL=flotilla-data\n")
    assert volume.ensure_mounted(host, FakeClock(), "dev-data") == "volume mounted"
    assert not formatted(host)


@pytest.mark.parametrize(
    "probed",
    ["TYPE=ext4\nLABEL=photos\n", "TYPE=xfs\nLABEL=flotilla-data\n", "PTTYPE=gpt\n", "TYPE=LVM2_member\n"],
)
def test_somebody_elses_volume_is_left_alone(tmp_path: Path, probed: str) -> None:
    host = host_with(tmp_path, b"data", probed)
    with pytest.raises(MachineError, match="is left as it is"):
        volume.ensure_mounted(host, FakeClock(), "dev-data")
    assert not formatted(host)
    assert not any(line.startswith("mount ") for line in host.lines())


def test_bytes_that_no_tool_knows_are_not_blank(tmp_path: Path) -> None:
    host = host_with(tmp_path, bytes(1000) + b"x" + bytes(1000))
    with pytest.raises(MachineError, match="is left as it is"):
        volume.ensure_mounted(host, FakeClock(), "dev-data")
    assert not formatted(host)


def test_a_volume_is_waited_for(tmp_path: Path) -> None:
    host = host_with(tmp_path, None)

    def attach(now: float) -> None:
        if not host.path(DEVICE).exists():
            host.path(DEVICE).parent.mkdir(parents=True, exist_ok=True)
            host.path(DEVICE).write_bytes(bytes(10))

    volume.ensure_mounted(host, FakeClock(attach), "dev-data")
    assert formatted(host)


def test_a_volume_that_never_comes_is_named(tmp_path: Path) -> None:
    with pytest.raises(MachineError, match="the volume dev-data is not attached"):
        volume.ensure_mounted(host_with(tmp_path, None), FakeClock(), "dev-data")


def test_a_mounted_volume_is_not_touched(tmp_path: Path) -> None:
    host = FakeHost(tmp_path)
    volume.ensure_mounted(host, FakeClock(), "dev-data")
    assert host.lines() == ["mountpoint --quiet /srv/data"]


def test_a_damaged_file_system_is_not_mounted(tmp_path: Path) -> None:
    host = host_with(tmp_path, b"data", "TYPE=ext4\nLABEL=flotilla-data\n")
    host.answer("fsck", code=4)
    with pytest.raises(MachineError, match="is damaged"):
        volume.ensure_mounted(host, FakeClock(), "dev-data")
