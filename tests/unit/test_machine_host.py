"""How the machine driver reads the host: control groups, loop devices, processes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sandbox.machines.cgroups import Hierarchies, MachineCgroups, hierarchies
from sandbox.machines.commands import run
from sandbox.machines.machine_files import MachineFiles
from sandbox.machines.port import MachineError, VolumeSpec
from sandbox.machines.volumes import Plugged, VolumeStore, device_name, parse_losetup

UNIFIED = "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid,nodev 0 0\n"
HYBRID = """\
cgroup /sys/fs/cgroup/cpu cgroup rw,relatime,cpu 0 0
cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0
cgroup2 /sys/fs/cgroup/unified cgroup2 rw,relatime 0 0
"""


def test_a_host_whose_controllers_are_all_in_v2() -> None:
    assert hierarchies(UNIFIED) == Hierarchies(Path("/sys/fs/cgroup"), None)


def test_a_hybrid_host_limits_memory_in_v1() -> None:
    found = hierarchies(HYBRID)
    assert (found.unified, found.memory) == (Path("/sys/fs/cgroup/unified"), Path("/sys/fs/cgroup/memory"))
    assert found.legacy == (Path("/sys/fs/cgroup/cpu"), Path("/sys/fs/cgroup/memory"))


def test_a_host_without_v2_is_told_what_to_do() -> None:
    with pytest.raises(MachineError, match="mount -t cgroup2"):
        hierarchies("cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n")


def test_memory_is_limited_where_v2_owns_it(tmp_path: Path) -> None:
    groups = MachineCgroups(tmp_path / "home", Hierarchies(tmp_path, None))
    for group in (tmp_path, tmp_path / groups.name, groups.group(1)):
        group.mkdir(exist_ok=True)
        (group / "cgroup.controllers").write_text("cpu memory")
    assert groups.create(1, 512) == ()
    assert (groups.group(1) / "memory.max").read_text() == str(512 << 20)
    assert (tmp_path / groups.name / "cgroup.subtree_control").read_text() == "+memory"


def test_sandboxes_have_groups_of_their_own(tmp_path: Path) -> None:
    found = Hierarchies(tmp_path, None)
    assert MachineCgroups(tmp_path / "a", found).name != MachineCgroups(tmp_path / "b", found).name


def test_loop_devices_are_found_by_file_and_by_directory(tmp_path: Path) -> None:
    listed = json.dumps(
        {
            "loopdevices": [
                {"name": "/dev/loop0", "back-file": f"{tmp_path}/volumes/one.img"},
                {"name": "/dev/loop1", "back-file": f"{tmp_path}/volumes/two.img (deleted)"},
                {"name": "/dev/loop2", "back-file": f"{tmp_path}/volumes-of-another/one.img"},
            ]
        }
    )
    assert parse_losetup(listed, tmp_path / "volumes/one.img") == (Path("/dev/loop0"),)
    assert parse_losetup(listed, tmp_path / "volumes") == (Path("/dev/loop0"), Path("/dev/loop1"))
    assert parse_losetup("", tmp_path) == ()


def test_a_volume_has_the_name_the_cloud_documents() -> None:
    assert device_name(VolumeSpec("3f0c", "data", 1)) == "scsi-0DO_Volume_data"


@pytest.mark.parametrize("volume", ["", "../x", ".hidden"])
def test_a_volume_id_cannot_lead_out_of_the_store(tmp_path: Path, volume: str) -> None:
    with pytest.raises(MachineError, match="cannot name a file"):
        VolumeStore(tmp_path).file(volume)


def test_the_list_of_plugged_volumes_is_kept(tmp_path: Path) -> None:
    files = MachineFiles(tmp_path)
    assert files.volumes() == ()
    plugged = (Plugged("3f0c", 7, 1, "scsi-0DO_Volume_data"), Plugged("77aa", 7, 12, "scsi-0DO_Volume_more"))
    files.write_volumes(plugged)
    assert files.volumes() == plugged


async def test_a_tools_complaint_is_told_in_its_own_words_but_not_at_length() -> None:
    with pytest.raises(MachineError, match=r"`sh -c .*` failed: 1\n2\n3\n4\n5\n\(and 995 lines more\)"):
        await run("sh", "-c", "seq 1000 >&2; exit 1")
    with pytest.raises(MachineError, match=r"failed: 1\n2$"):
        await run("sh", "-c", "seq 2 >&2; exit 1")
