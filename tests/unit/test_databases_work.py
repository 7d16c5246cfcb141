"""Database clusters and what drives them: changes that overlap, fail, or are cut off by the end of the cloud."""

from __future__ import annotations

import asyncio

import pytest

from sandbox.api.app import create_app
from sandbox.api.cloud import Cloud
from sandbox.api.databases_port import ClusterSpec, RecordClusters
from sandbox.machines.none import RecordMachines
from sandbox.machines.port import MachineError
from sandbox.network.none import RecordNetwork
from sandbox.store import Store
from tests.unit.cloud_api import CONTROL_TOKEN, Api, settings


class Clumsy(RecordClusters):
    """Clusters that fail at first, and remember what they were asked for."""

    def __init__(self, failures: int, how: type[Exception] = MachineError) -> None:
        super().__init__()
        self.failures = failures
        self.how = how
        self.asked = asyncio.Event()
        self.applied: list[ClusterSpec] = []
        self.removed: list[str] = []

    async def apply(self, spec: ClusterSpec) -> None:
        self.asked.set()
        if self.failures:
            self.failures -= 1
            raise self.how("no room")
        self.applied.append(spec)
        await super().apply(spec)

    async def remove(self, cluster: str) -> None:
        if self.failures:
            self.failures -= 1
            raise MachineError("somebody is in there")
        self.removed.append(cluster)
        await super().remove(cluster)


async def clumsy(store: Store, driver: Clumsy) -> Api:
    cloud = Cloud(store, RecordMachines(store), RecordNetwork(), settings(), databases=driver)
    await cloud.start()
    return Api(cloud, create_app(cloud))


@pytest.mark.parametrize("how", [MachineError, TimeoutError])
async def test_a_cluster_that_fails_is_tried_again(
    monkeypatch: pytest.MonkeyPatch, how: type[Exception]
) -> None:
    monkeypatch.setattr("sandbox.api.databases._FIRST_WAIT_SECONDS", 0.001)
    driver = Clumsy(2, how)
    api = await clumsy(Store(":memory:"), driver)

    cluster = await api.cluster()

    assert cluster["status"] == "online"
    assert api.cloud.databases.failures == {}
    driver.failures = 1
    await api.call("DELETE", f"/v2/databases/{cluster['id']}")
    await api.cloud.settled()
    assert driver.removed == [cluster["id"]]
    assert api.cloud.databases.every() == []
    await api.cloud.stop()


async def test_why_a_cluster_does_not_come_online_is_told() -> None:
    driver = Clumsy(failures=100)
    api = await clumsy(Store(":memory:"), driver)
    await api.cluster(settle=False)
    control = Api(api.cloud, api.app, token=CONTROL_TOKEN)

    await driver.asked.wait()

    status = (await control.call("GET", "/_sandbox/status")).body["databases"]
    assert [(one["status"], one["failure"]) for one in status] == [("creating", "no room")]
    await api.cloud.stop()


async def test_what_was_under_way_when_the_cloud_was_killed_is_finished() -> None:
    store = Store(":memory:")
    api = await clumsy(store, Clumsy(failures=0))
    online, doomed = await api.cluster("online"), await api.cluster("doomed")
    making = await api.cluster("making", settle=False)
    await api.call("DELETE", f"/v2/databases/{doomed['id']}")
    # Killed: none of what was begun goes on.
    await api.cloud.tasks.cancel()
    await api.cloud.fabric.stop()

    driver = Clumsy(failures=0)
    again = await clumsy(store, driver)

    assert "online" in [spec.name for spec in driver.applied]
    await again.cloud.settled()
    assert sorted(spec.name for spec in driver.applied) == ["making", "online"]
    assert driver.removed == [doomed["id"]]
    shown = {one["id"]: one["status"] for one in (await again.get("/v2/databases"))["databases"]}
    assert shown == {online["id"]: "online", making["id"]: "online"}
    await again.cloud.stop()


async def test_the_driver_is_told_everything() -> None:
    driver = Clumsy(failures=0)
    api = await clumsy(Store(":memory:"), driver)
    cluster = await api.cluster(num_nodes=2, size="db-s-1vcpu-2gb")
    password = (await api.made(f"/v2/databases/{cluster['id']}/users", {"name": "app"}))["user"]["password"]
    await api.made(f"/v2/databases/{cluster['id']}/dbs", {"name": "site"})
    await api.cloud.settled()

    spec = driver.applied[-1]

    assert (spec.engine, spec.databases) == ("mysql", ("defaultdb", "site"))
    assert [(user.name, user.primary) for user in spec.users] == [("doadmin", True), ("app", False)]
    assert spec.users[1].password == password
    assert spec.private_host == cluster["private_connection"]["host"]
    assert spec.private_standby_host == cluster["standby_private_connection"]["host"]
    assert "PRIVATE KEY" in spec.authority_key
    assert (spec.memory_mib, spec.disk_gib, len(spec.nodes)) == (2048, 30, 2)
    assert spec.requires_primary_keys
    assert spec.sql_mode.startswith("ANSI,")
    # Two changes in a row are one piece of work.
    assert len(driver.applied) == 2
    await api.cloud.stop()


class Slow(Clumsy):
    """Clusters that take as long as a test wants."""

    def __init__(self) -> None:
        super().__init__(failures=0)
        self.free = asyncio.Event()
        self.free.set()

    async def apply(self, spec: ClusterSpec) -> None:
        await super().apply(spec)
        await self.free.wait()


async def test_what_changes_while_a_cluster_is_worked_on_is_not_lost() -> None:
    driver = Slow()
    api = await clumsy(Store(":memory:"), driver)
    path = f"/v2/databases/{(await api.cluster(size='db-s-1vcpu-2gb'))['id']}"

    async def look() -> tuple[str, int]:
        shown = (await api.get(path))["database"]
        return shown["status"], len(driver.applied)

    driver.free.clear()
    driver.asked.clear()
    await api.call("PUT", f"{path}/resize", {"size": "db-s-1vcpu-2gb", "num_nodes": 2})
    await driver.asked.wait()
    await api.made(f"{path}/users", {"name": "app"})
    assert await look() == ("resizing", 2)
    driver.asked.clear()
    driver.free.set()
    await driver.asked.wait()
    await api.cloud.settled()

    assert await look() == ("online", 3)
    assert [len(spec.nodes) for spec in driver.applied] == [1, 2, 2]
    assert [user.name for user in driver.applied[-1].users] == ["doadmin", "app"]
    await api.cloud.stop()


async def test_a_cluster_that_is_deleted_while_it_is_made_goes_after_that() -> None:
    driver = Slow()
    api = await clumsy(Store(":memory:"), driver)
    driver.free.clear()
    cluster = await api.cluster(settle=False)
    await driver.asked.wait()

    await api.call("DELETE", f"/v2/databases/{cluster['id']}")
    await asyncio.sleep(0)
    assert driver.removed == []
    driver.free.set()
    await api.cloud.settled()

    assert driver.removed == [cluster["id"]]
    assert api.cloud.every_database_node() == []
    await api.cloud.stop()
