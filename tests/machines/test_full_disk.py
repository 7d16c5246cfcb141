"""A droplet is ordered, its disk fills up before the machine is made, and then there is room again."""

from __future__ import annotations

import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack
from io import RawIOBase
from pathlib import Path

import pytest

from sandbox.api.app import create_app
from sandbox.api.cloud import Cloud
from sandbox.disk import Disk
from sandbox.machines import base_image
from sandbox.machines.commands import run
from sandbox.machines.nspawn import NspawnMachines
from sandbox.machines.sweep import sweep
from sandbox.network.none import RecordNetwork
from sandbox.network.port import Topology
from sandbox.paths import cache_root
from sandbox.store import Store
from tests.machine_lab import SLUG, Inside, cables, until
from tests.unit.cloud_api import Api, settings

pytestmark = [
    pytest.mark.machines,
    pytest.mark.timeout(300),
    pytest.mark.skipif(os.geteuid() != 0, reason="real machines need root"),
]

PREFIX = f"f{os.getpid()}-"


class Cables(RecordNetwork):
    """Namespaces for the machines, without a router."""

    def __init__(self, stack: ExitStack) -> None:
        super().__init__()
        self._stack = stack
        self._laid: set[int] = set()

    async def apply(self, topology: Topology) -> None:
        await super().apply(topology)
        for attachment in topology.attachments:
            if attachment.droplet not in self._laid:
                self._laid.add(attachment.droplet)
                self._stack.enter_context(cables(PREFIX, attachment.droplet))
                for card in (attachment.public, attachment.private):
                    line = f"-n {PREFIX}d{attachment.droplet} link set {card.name} address {card.mac}"
                    await run("ip", *line.split())


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Path]:
    """A small disk of its own."""
    home = tmp_path / "home"
    home.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256m", "none", str(home)], check=True)
    try:
        yield home
    finally:
        sweep(home)
        subprocess.run(["umount", str(home)], check=True)


@pytest.fixture
async def api(home: Path) -> AsyncIterator[Api]:
    await base_image.build(cache_root(), SLUG, lambda _: None)
    store = Store(home / "cloud.sqlite", Disk(home, look_again_seconds=0.1))
    machines = NspawnMachines(home, cache_root(), PREFIX)
    with ExitStack() as stack:
        # The cloud's latency is the moment in which the disk fills up.
        cloud = Cloud(store, machines, Cables(stack), settings(latency_seconds=0.5))
        machines.on_exit = cloud.on_exit
        await cloud.start()
        yield Api(cloud, create_app(cloud))
        await cloud.stop(machines=True)
        await machines.close()
        store.close()


def write_for_ever(file: RawIOBase, size: int) -> None:
    while True:
        file.write(bytes(size))


def fill(home: Path) -> Path:
    """Leave no byte free."""
    filler = home / "filler"
    with filler.open("wb", buffering=0) as file:
        for size in (1 << 20, 1):
            with pytest.raises(OSError, match="No space left on device"):
                write_for_ever(file, size)
    return filler


async def waits(caplog: pytest.LogCaptureFixture, home: Path) -> None:
    """Until the log says that an action waits for room."""

    async def said() -> bool:
        return f"waits: the disk of {home} is full" in caplog.text

    await until(said)


async def test_a_droplet_ordered_before_the_disk_was_full_boots_when_there_is_room(
    api: Api, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    droplet = await api.droplet(settle=False)
    filler = fill(home)

    await waits(caplog, home)
    refused = await api.refused("POST", "/v2/tags", {"name": "web"})
    assert (refused.status, str(home) in refused.message) == (507, True)
    assert not api.cloud.machines.running(droplet["id"])
    assert (await api.get(f"/v2/droplets/{droplet['id']}"))["droplet"]["status"] == "new"
    filler.unlink()
    await api.cloud.settled()
    assert (await api.get(f"/v2/droplets/{droplet['id']}"))["droplet"]["status"] == "active"
    await Inside(home).booted(droplet["id"])


async def test_a_snapshot_begun_before_the_disk_was_full_is_whole(
    api: Api, home: Path, caplog: pytest.LogCaptureFixture
) -> None:
    droplet = await api.droplet()
    await Inside(home).booted(droplet["id"])
    await api.made(f"/v2/droplets/{droplet['id']}/actions", {"type": "snapshot", "name": "golden"})
    filler = fill(home)

    await waits(caplog, home)
    assert list((home / "layers").iterdir()) == []
    assert (await api.get("/v2/images?private=true"))["images"] == []
    filler.unlink()
    await api.cloud.settled()
    [image] = (await api.get("/v2/images?private=true"))["images"]
    copy = await api.droplet("copy", image=image["id"])
    assert copy["status"] == "active"
    await Inside(home).booted(copy["id"])
