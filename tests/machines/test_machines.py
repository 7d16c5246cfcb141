"""Droplets as real machines: booted, rebooted, cut off, snapshotted, rebuilt, with volumes, after crashes."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from sandbox.machines import base_image
from sandbox.machines.nspawn import NspawnMachines
from sandbox.machines.port import MachineError, VolumeSpec
from sandbox.machines.sweep import sweep
from sandbox.paths import MARKER, cache_root
from tests.machine_lab import SLUG, Inside, cables, spec, traces, until

pytestmark = [
    pytest.mark.machines,
    pytest.mark.timeout(300),
    pytest.mark.skipif(os.geteuid() != 0, reason="real machines need root"),
]

PREFIX = f"t{os.getpid()}-"
DISK = "/dev/disk/by-id/scsi-0DO_Volume_data"
VOLUME = VolumeSpec("3f0c", "data", 1)


@pytest.fixture(scope="session", autouse=True)
def image() -> None:
    asyncio.run(base_image.build(cache_root(), SLUG, lambda _: None))


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    home = tmp_path / "home"
    home.mkdir()
    with cables(PREFIX, 1, 2):
        try:
            yield home
        finally:
            sweep(home)


@pytest.fixture
async def machines(home: Path) -> AsyncIterator[NspawnMachines]:
    machines = NspawnMachines(home, cache_root(), PREFIX)
    yield machines
    await machines.close()


@pytest.fixture
def inside(home: Path) -> Inside:
    return Inside(home)


async def test_a_machine_comes_up_as_its_spec_says(machines: NspawnMachines, inside: Inside) -> None:
    await machines.create(spec(1))
    await machines.start(spec(1))
    await inside.booted(1)
    assert await inside.run(1, "hostname") == "web-1"
    assert await inside.run(1, "ls /root/user-data-ran")
    assert await inside.run(1, "systemctl list-units --failed --no-legend") == ""
    assert (await inside.run(1, "cat /root/.ssh/authorized_keys")).endswith(" operator")
    routes = await inside.run(1, "ip -4 route")
    assert "default via 203.0.113.1 dev eth0" in routes
    assert "10.20.0.0/20 dev eth1" in routes


async def test_root_logs_in_with_a_key_only(machines: NspawnMachines, inside: Inside) -> None:
    await machines.create(spec(1))
    await machines.start(spec(1))
    await inside.booted(1)
    settings = await inside.run(1, "mkdir -p /run/sshd; sshd -T")
    assert "permitrootlogin without-password" in settings
    assert "passwordauthentication no" in settings
    assert "kbdinteractiveauthentication no" in settings


async def test_a_machine_takes_little_memory(machines: NspawnMachines, inside: Inside) -> None:
    await machines.create(spec(1))
    await machines.start(spec(1))
    await inside.booted(1)
    used = machines.memory_bytes(1)
    assert used is not None
    assert used < 120 << 20


async def test_a_machine_cannot_take_more_memory_than_its_size_has(
    machines: NspawnMachines, inside: Inside
) -> None:
    await machines.create(spec(1, memory_mib=256))
    await machines.start(spec(1, memory_mib=256))
    await inside.booted(1)
    code, _ = await inside.attempt(1, "systemd-run --wait --quiet python3 -c 'bytearray(400 << 20)'")
    assert code != 0
    assert machines.running(1)


async def test_a_reboot_keeps_disk_and_mounted_volume(machines: NspawnMachines, inside: Inside) -> None:
    with_volume = spec(1, volumes=(VOLUME,))
    await machines.create(with_volume)
    await machines.start(with_volume)
    await inside.booted(1)
    await inside.run(
        1, f"mkfs.ext4 -q {DISK} && mkdir /data && echo '{DISK} /data ext4 defaults,nofail 0 2' >> /etc/fstab"
    )
    await inside.run(1, "mount -a && echo kept | tee /data/file /root/file")
    before = inside.init(1)
    await inside.attempt(1, "systemctl reboot")

    async def new_init() -> bool:
        try:
            return inside.init(1) != before
        except (FileNotFoundError, IndexError):
            return False

    await until(new_init)
    await inside.booted(1)
    assert await inside.run(1, "cat /root/file /data/file") == "kept\nkept"
    assert machines.running(1)


async def test_a_power_cut_keeps_the_disk_and_a_shutdown_is_told(
    machines: NspawnMachines, inside: Inside
) -> None:
    exits: list[int] = []
    machines.on_exit = exits.append
    await machines.create(spec(1))
    await machines.start(spec(1))
    await inside.booted(1)
    await inside.run(1, "echo kept > /root/file")
    await machines.stop(1, graceful=False)
    assert not machines.running(1)
    await machines.start(spec(1))
    await inside.booted(1)
    assert await inside.run(1, "cat /root/file") == "kept"
    await machines.stop(1, graceful=True)
    assert not machines.running(1)
    await machines.start(spec(1))
    await inside.booted(1)
    assert exits == []
    await inside.attempt(1, "poweroff")

    async def told() -> bool:
        return exits == [1]

    await until(told)
    assert not machines.running(1)


@pytest.mark.parametrize("running", [False, True])
async def test_a_snapshot_boots_as_another_machine(
    machines: NspawnMachines, inside: Inside, running: bool
) -> None:
    await machines.create(spec(1))
    await machines.start(spec(1))
    await inside.booted(1)
    await inside.run(1, "echo baked > /root/file && rm -r /etc/nftables.conf /usr/share/nano && sync")
    if not running:
        await machines.stop(1, graceful=True)
    size = await machines.snapshot(1, "987")
    assert size > 100e6
    assert await machines.snapshot(1, "987") == size
    assert machines.running(1) == running
    assert "987" in machines.images()
    await machines.destroy(1)
    await machines.create(spec(2, image="987"))
    await machines.delete_image("987")
    await machines.start(spec(2, image="987"))
    await inside.booted(2)
    assert await inside.run(
        2, "cat /root/file; hostname; ls /etc/nftables.conf /usr/share/nano 2>&1 | grep -c No"
    ) == ("baked\nweb-2\n2")


async def test_layers_go_with_the_last_that_needs_them(machines: NspawnMachines, home: Path) -> None:
    await machines.create(spec(1))
    await machines.snapshot(1, "987")
    await machines.create(spec(2, image="987"))
    await machines.delete_image("987")
    assert "987" not in machines.images()
    assert len(list((home / "layers").iterdir())) == 1
    await machines.destroy(2)
    assert list((home / "layers").iterdir()) == []


async def test_a_rebuild_is_a_new_disk_and_a_new_instance(machines: NspawnMachines, inside: Inside) -> None:
    await machines.create(spec(1))
    await machines.start(spec(1))
    await inside.booted(1)
    identity = await inside.run(1, "cat /etc/machine-id; cat /etc/ssh/ssh_host_ed25519_key.pub")
    await inside.run(1, "touch /root/old")
    await machines.create(spec(1))
    assert not machines.running(1)
    await machines.start(spec(1))
    await inside.booted(1)
    assert await inside.run(1, "cat /etc/machine-id; cat /etc/ssh/ssh_host_ed25519_key.pub") != identity
    assert "old" not in await inside.run(1, "ls /root")


async def test_a_volume_moves_to_another_machine_with_its_data(
    machines: NspawnMachines, inside: Inside, home: Path
) -> None:
    for number in (1, 2):
        await machines.create(spec(number))
        await machines.start(spec(number))
    await inside.booted(1)
    await machines.attach_volume(1, VOLUME)
    await inside.run(
        1, f"mkfs.ext4 -q {DISK} && mkdir /data && mount {DISK} /data && echo kept > /data/file && sync"
    )
    await inside.run(1, "systemd-run --unit=user sh -c 'exec 3>/data/held; sleep infinity'")
    await inside.run(1, "until test -e /data/held; do :; done")
    await machines.detach_volume(1, VOLUME)
    assert (await inside.attempt(1, f"test -e {DISK} || mountpoint -q /data"))[0] != 0
    assert traces_of_loops(home) == []
    await inside.booted(2)
    await machines.attach_volume(2, VOLUME)
    assert await inside.run(2, f"mkdir /data && mount {DISK} /data && cat /data/file") == "kept"
    await machines.stop(2, graceful=False)
    assert traces_of_loops(home) == []
    await machines.start(spec(2, volumes=(VOLUME,)))
    await inside.booted(2)
    assert await inside.run(2, f"mount {DISK} /data && cat /data/file") == "kept"
    await machines.destroy(2)
    await machines.delete_volume(VOLUME.id)
    assert list((home / "volumes").iterdir()) == []


async def test_a_volume_grows_under_a_running_machine(machines: NspawnMachines, inside: Inside) -> None:
    await machines.create(spec(1))
    await machines.start(spec(1))
    await inside.booted(1)
    await machines.attach_volume(1, VOLUME)
    await inside.run(1, f"mkfs.ext4 -q {DISK} && mkdir /data && mount {DISK} /data && echo kept > /data/file")
    await machines.resize_volume(replace(VOLUME, size_gib=2))
    assert await inside.run(1, f"blockdev --getsize64 {DISK}") == str(2 << 30)
    # Unmounted, as not every host lets its own root grow a mounted file system.
    await inside.run(1, f"umount /data && e2fsck -fp {DISK} && resize2fs {DISK} && mount {DISK} /data")
    assert int(await inside.run(1, "df --output=size -B1 /data | tail -1")) > 1.8 * 2**30
    assert await inside.run(1, "cat /data/file") == "kept"
    await machines.stop(1, graceful=False)
    await machines.start(spec(1, volumes=(replace(VOLUME, size_gib=2),)))
    await inside.booted(1)
    assert await inside.run(1, f"mount {DISK} /data && cat /data/file") == "kept"


async def test_a_snapshot_of_a_mounted_volume_becomes_another_volume(
    machines: NspawnMachines, inside: Inside, home: Path
) -> None:
    await machines.create(spec(1))
    await machines.start(spec(1))
    await inside.booted(1)
    await machines.attach_volume(1, VOLUME)
    await inside.run(
        1, f"mkfs.ext4 -q {DISK} && mkdir /data && mount {DISK} /data && echo before > /data/file"
    )
    # Somebody who writes all the time: the copy must be of one moment, journal and all.
    await inside.run(1, "systemd-run -q sh -c 'while :; do date >> /data/log; sync /data/log; done'")
    size = await machines.snapshot_volume(VOLUME.id, "s-1")
    assert 500e3 < size < 200e6
    assert await machines.snapshot_volume(VOLUME.id, "s-1") == size
    await inside.run(1, "echo after > /data/file && sync")
    await machines.stop(1, graceful=False)
    copy = VolumeSpec("77aa", "data", 2)
    await machines.restore_volume(copy, "s-1")
    await machines.restore_volume(copy, "s-1")
    await machines.delete_volume_snapshot("s-1")
    await machines.start(spec(1, volumes=(copy,)))
    await inside.booted(1)
    assert await inside.run(1, f"blockdev --getsize64 {DISK}") == str(2 << 30)
    assert await inside.run(1, f"mount {DISK} /data && cat /data/file") == "before"
    assert await inside.run(1, f"umount /data && e2fsck -fn {DISK} >/dev/null 2>&1 && echo sound") == "sound"
    assert list((home / "volume-snapshots").iterdir()) == []


async def test_a_volume_that_was_never_attached_has_snapshots_too(
    machines: NspawnMachines, home: Path
) -> None:
    assert await machines.snapshot_volume("unused", "s-1") == 0
    await machines.resize_volume(VOLUME)
    await machines.restore_volume(VolumeSpec("77aa", "copy", 1), "s-1")
    assert {path.name: path.stat().st_size for path in (home / "volumes").iterdir()} == {
        "unused.img": 0,
        "3f0c.img": 1 << 30,
        "77aa.img": 1 << 30,
    }
    with pytest.raises(MachineError, match="volume snapshot s-2 is not in the store"):
        await machines.restore_volume(VolumeSpec("88bb", "copy", 1), "s-2")


async def test_a_copy_of_a_volume_that_fails_leaves_nothing(
    machines: NspawnMachines, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await machines.resize_volume(VOLUME)
    failing_cp(home, monkeypatch)
    with pytest.raises(MachineError, match="No space left on device"):
        await machines.snapshot_volume(VOLUME.id, "s-1")
    assert list((home / "volume-snapshots").iterdir()) == []


async def test_a_new_daemon_takes_over_what_a_killed_one_left(home: Path, inside: Inside) -> None:
    killed_daemon_with_machine(home)
    exits: list[int] = []
    machines = NspawnMachines(home, cache_root(), PREFIX, exits.append)
    assert await machines.adopt() == {1}
    await inside.booted(1)
    await inside.attempt(1, "poweroff")

    async def told() -> bool:
        return exits == [1]

    await until(told)
    assert await NspawnMachines(home, cache_root(), PREFIX).adopt() == frozenset()


async def test_sweep_leaves_nothing_of_a_killed_daemon(home: Path) -> None:
    killed_daemon_with_machine(home)
    assert len(traces(home, MARKER)) >= 4
    sweep(home)
    assert traces(home, MARKER) == []
    sweep(home)


async def test_a_machine_comes_back_after_the_host_lost_everything_but_files(
    home: Path, inside: Inside
) -> None:
    killed_daemon_with_machine(home)
    await inside.booted(1)
    await inside.run(
        1, f"mkfs.ext4 -q {DISK} && mount {DISK} /mnt && echo kept | tee /root/file /mnt/file && sync"
    )
    sweep(home)
    machines = NspawnMachines(home, cache_root(), PREFIX)
    assert await machines.adopt() == frozenset()
    await machines.start(spec(1, volumes=(VOLUME,)))
    await inside.booted(1)
    assert await inside.run(1, f"mount {DISK} /mnt && cat /root/file /mnt/file") == "kept\nkept"
    await machines.close()


async def test_a_snapshot_that_fails_leaves_nothing(
    machines: NspawnMachines, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    await machines.create(spec(1))
    failing_cp(home, monkeypatch)
    with pytest.raises(MachineError, match="No space left on device"):
        await machines.snapshot(1, "987")
    assert "987" not in machines.images()
    assert list((home / "layers").iterdir()) == []


async def test_a_machine_without_network_is_an_error(machines: NspawnMachines) -> None:
    await machines.create(spec(3))
    with pytest.raises(MachineError, match=f"{PREFIX}d3 does not exist"):
        await machines.start(spec(3))


async def test_a_boot_that_fails_shows_the_console(machines: NspawnMachines, home: Path) -> None:
    await machines.create(spec(1))
    (home / "machines/1/upper/usr").mkdir()
    os.setxattr(home / "machines/1/upper/usr", "trusted.overlay.opaque", b"y")
    with pytest.raises(
        MachineError, match=r"machine 1 did not boot: it ended before its init ran(.|\n)*os-release"
    ):
        await machines.start(spec(1))
    assert not machines.running(1)


async def test_an_unknown_image_is_an_error(machines: NspawnMachines) -> None:
    with pytest.raises(MachineError, match="image '404' is not in the store"):
        await machines.create(spec(1, image="404"))


def failing_cp(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A `cp` that gives up on a full disk in the middle of its work."""
    full = home / "bin/cp"
    full.parent.mkdir()
    full.write_text(
        "#!/bin/sh\nfor last; do :; done\n"
        'case "$last" in *.img.new) : > "$last" ;; *) mkdir "$last" ;; esac\n'
        'echo "No space left on device" >&2\nexit 1\n'
    )
    full.chmod(0o755)
    monkeypatch.setenv("PATH", f"{full.parent}:{os.environ['PATH']}")


def traces_of_loops(home: Path) -> list[str]:
    return [trace for trace in traces(home, MARKER) if trace.startswith("loop")]


def killed_daemon_with_machine(home: Path) -> None:
    """A process that boots machine 1 with a volume, and then dies by SIGKILL."""
    program = f"""
import asyncio, os, signal
from pathlib import Path
from sandbox.machines.nspawn import NspawnMachines
from sandbox.machines.port import VolumeSpec
from sandbox.paths import cache_root
from tests.machine_lab import spec

async def main():
    machines = NspawnMachines(Path({str(home)!r}), cache_root(), {PREFIX!r})
    wanted = spec(1, volumes=(VolumeSpec("3f0c", "data", 1),))
    await machines.create(wanted)
    await machines.start(wanted)
    os.kill(os.getpid(), signal.SIGKILL)

asyncio.run(main())
"""
    assert subprocess.run([sys.executable, "-c", program]).returncode == -9
