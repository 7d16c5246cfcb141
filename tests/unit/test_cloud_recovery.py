"""The cloud after a crash, and machines and networks that fail: the store is the truth, reality follows."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path
from typing import Any

import pytest

from sandbox.api.app import create_app
from sandbox.api.cloud import Cloud
from sandbox.machines.none import RecordMachines
from sandbox.machines.port import MachineError, MachineSpec
from sandbox.network.none import RecordNetwork
from sandbox.network.port import Topology
from sandbox.store import Store
from tests.unit.cloud_api import Api, settings


class Stuck(RecordMachines):
    """Machines that hang in one method, or fail there, and note what was asked of them."""

    def __init__(self, store: Store, method: str = "", *, fails: bool = False) -> None:
        super().__init__(store)
        self.method = method
        self.fails = fails
        self.asked: list[str] = []
        self.reached = asyncio.Event()

    async def _meet(self, method: str) -> None:
        self.asked.append(method)
        if method != self.method:
            return
        self.reached.set()
        if self.fails:
            raise MachineError(f"{method} broke")
        await asyncio.Event().wait()

    async def create(self, spec: MachineSpec) -> None:
        await self._meet("create")
        await super().create(spec)

    async def start(self, spec: MachineSpec) -> None:
        await self._meet("start")
        await super().start(spec)

    async def stop(self, machine: int, *, graceful: bool) -> None:
        await self._meet("stop")
        await super().stop(machine, graceful=graceful)

    async def destroy(self, machine: int) -> None:
        await self._meet("destroy")
        await super().destroy(machine)

    async def snapshot(self, machine: int, image: str) -> int:
        await self._meet("snapshot")
        return await super().snapshot(machine, image)


class Broken(RecordNetwork):
    """A network that cannot be set up."""

    async def apply(self, topology: Topology) -> None:
        raise OSError("no such device")


async def opened(path: Path | str, machines: Any = None, network: Any = None) -> Api:
    store = Store(path)
    cloud = Cloud(store, machines or RecordMachines(store), network or RecordNetwork(), settings())
    await cloud.start()
    return Api(cloud, create_app(cloud))


async def crashed(api: Api) -> None:
    """End a cloud as a kill does: nothing is tidied."""
    await api.cloud.stop()
    api.cloud.store.close()


@pytest.mark.parametrize("method", ["create", "start"])
async def test_a_create_that_was_cut_off_is_finished(tmp_path: Path, method: str) -> None:
    path = tmp_path / "cloud.sqlite"
    store = Store(path)
    machines = Stuck(store, method)
    api = await opened(path, machines)
    droplet = await api.droplet(settle=False)
    await machines.reached.wait()
    await crashed(api)

    api = await opened(path)
    await api.cloud.settled()

    assert (await api.get(f"/v2/droplets/{droplet['id']}"))["droplet"]["status"] == "active"
    assert api.cloud.machines.running(droplet["id"])
    [action] = (await api.get("/v2/actions"))["actions"]
    assert action["status"] == "completed"
    await api.cloud.stop()


async def hang(path: str) -> None:
    """Run a cloud that never gets further than making a droplet's machine; says when it is there."""
    machines = Stuck(Store(path), "create")
    api = await opened(path, machines)
    await api.droplet(settle=False)
    await machines.reached.wait()
    sys.stdout.write("reached\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


async def test_an_action_survives_a_kill(tmp_path: Path) -> None:
    path = str(tmp_path / "cloud.sqlite")
    program = f"import asyncio; from tests.unit.test_cloud_recovery import hang; asyncio.run(hang({path!r}))"
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert child.stdout is not None
    assert await child.stdout.readline() == b"reached\n"
    child.kill()
    await child.wait()

    api = await opened(path)
    await api.cloud.settled()

    [action] = (await api.get("/v2/actions"))["actions"]
    assert (action["type"], action["status"]) == ("create", "completed")
    [droplet] = (await api.get("/v2/droplets"))["droplets"]
    assert droplet["status"] == "active"
    await api.cloud.stop()


async def test_a_snapshot_that_was_cut_off_is_finished_under_its_own_number(tmp_path: Path) -> None:
    path = tmp_path / "cloud.sqlite"
    machines = Stuck(Store(path), "snapshot")
    api = await opened(path, machines)
    droplet = await api.droplet()
    begun = await api.made(f"/v2/droplets/{droplet['id']}/actions", {"type": "snapshot", "name": "x"})
    await machines.reached.wait()
    await crashed(api)

    api = await opened(path)
    await api.cloud.settled()

    [snapshot] = (await api.get(f"/v2/droplets/{droplet['id']}/snapshots"))["snapshots"]
    assert snapshot["created_at"] == begun["action"]["started_at"]
    await api.cloud.stop()


async def test_a_destroy_that_was_cut_off_is_finished(tmp_path: Path) -> None:
    path = tmp_path / "cloud.sqlite"
    machines = Stuck(Store(path), "destroy")
    api = await opened(path, machines)
    droplet = await api.droplet()
    await api.call("DELETE", f"/v2/droplets/{droplet['id']}")
    await machines.reached.wait()
    await crashed(api)

    store = Store(path)
    again = Stuck(store)
    api = await opened(path, again)
    await api.cloud.settled()

    assert again.asked == ["destroy"]
    assert api.cloud.every_droplet() == []
    await api.cloud.stop()


async def test_droplets_that_were_on_boot_again_and_the_others_stay_off(tmp_path: Path) -> None:
    path = tmp_path / "cloud.sqlite"
    api = await opened(path)
    on, off = await api.droplet("on"), await api.droplet("off")
    await api.act(off["id"], "power_off")
    await crashed(api)

    api = await opened(path)

    assert api.cloud.machines.running(on["id"])
    assert not api.cloud.machines.running(off["id"])
    await api.cloud.stop()


async def test_an_orderly_stop_shuts_machines_down_but_not_their_droplets(tmp_path: Path) -> None:
    path = tmp_path / "cloud.sqlite"
    api = await opened(path)
    droplet = await api.droplet()

    await api.cloud.stop(machines=True)
    api.cloud.on_exit(droplet["id"])

    assert not api.cloud.machines.running(droplet["id"])
    assert (await api.get(f"/v2/droplets/{droplet['id']}"))["droplet"]["status"] == "active"


async def test_a_machine_that_goes_off_by_itself_is_shown_off() -> None:
    api = await opened(":memory:")
    droplet = await api.droplet()

    await api.cloud.machines.stop(droplet["id"], graceful=True)
    api.cloud.on_exit(droplet["id"])

    assert (await api.get(f"/v2/droplets/{droplet['id']}"))["droplet"]["status"] == "off"
    await api.cloud.stop()


async def test_an_exit_during_an_action_is_the_actions_own() -> None:
    store = Store(":memory:")
    machines = Stuck(store)
    cloud = Cloud(store, machines, RecordNetwork(), settings())
    await cloud.start()
    api = Api(cloud, create_app(cloud))
    droplet = await api.droplet()
    machines.method = "start"
    await api.made(f"/v2/droplets/{droplet['id']}/actions", {"type": "reboot"})
    await machines.reached.wait()

    cloud.on_exit(droplet["id"])

    assert (await api.get(f"/v2/droplets/{droplet['id']}"))["droplet"]["status"] == "active"
    await cloud.stop()


async def test_a_machine_that_cannot_be_made_errors_its_action_and_can_be_deleted() -> None:
    store = Store(":memory:")
    cloud = Cloud(store, Stuck(store, "create", fails=True), RecordNetwork(), settings())
    await cloud.start()
    api = Api(cloud, create_app(cloud))

    droplet = await api.droplet()

    [action] = (await api.get("/v2/actions"))["actions"]
    assert (action["status"], droplet["status"]) == ("errored", "new")
    assert (await api.call("DELETE", f"/v2/droplets/{droplet['id']}")).status == 204
    await cloud.settled()
    await cloud.stop()


async def test_a_network_that_cannot_be_made_is_said_at_start() -> None:
    store = Store(":memory:")
    cloud = Cloud(store, RecordMachines(store), Broken(), settings())

    with pytest.raises(MachineError, match="no such device"):
        await cloud.start()

    await cloud.stop()


async def test_a_refused_request_leaves_no_half_of_its_work() -> None:
    api = await opened(":memory:")
    await api.made("/v2/tags", {"name": "web"})
    droplet = await api.droplet()
    resources = [
        {"resource_id": str(droplet["id"]), "resource_type": "droplet"},
        {"resource_id": "1", "resource_type": "droplet"},
    ]

    await api.refused("POST", "/v2/tags/web/resources", {"resources": resources})

    assert (await api.get(f"/v2/droplets/{droplet['id']}"))["droplet"]["tags"] == []
    await api.cloud.stop()
