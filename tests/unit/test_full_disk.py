"""What the cloud says and does when the disk it lives on is full, and when there is room again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sandbox import lifecycle
from sandbox.api.app import create_app
from sandbox.api.cloud import Cloud
from sandbox.cloudflare import app as cloudflare
from sandbox.config import MachineKind
from sandbox.disk import RESERVE_BYTES, Disk, DiskFullError, free_bytes
from sandbox.lifecycle import SandboxError
from sandbox.machines.none import RecordMachines
from sandbox.machines.port import MachineError, MachineSpec, VolumeSpec
from sandbox.network.none import RecordNetwork
from sandbox.paths import SandboxPaths
from sandbox.store import Store
from tests.unit.cloud_api import Api, asgi_request, settings

DROPLET = {"name": "web-1", "region": "lon1", "size": "s-1vcpu-1gb", "image": "debian-13-x64"}


@dataclass
class Host:
    """A disk that fills up on command."""

    free: int = RESERVE_BYTES
    looks: int = 0

    def disk(self, place: Path) -> Disk:
        return Disk(place, self._look, look_again_seconds=0.01)

    def _look(self, place: Path) -> int:
        self.looks += 1
        return self.free


class FillingStore(Store):
    """A store whose every write finds no room while `refuses` is set, however small."""

    refuses = False

    @contextmanager
    def transaction(self) -> Iterator[None]:
        if self.refuses:
            raise self.disk.error()
        with super().transaction():
            yield


class Machines(RecordMachines):
    """Machines whose next works fail, as they do when there is no room."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.failures = 0
        self.created = 0

    def fail(self) -> None:
        if self.failures:
            self.failures -= 1
            raise MachineError("cp: No space left on device")

    async def create(self, spec: MachineSpec) -> None:
        self.fail()
        self.created += 1

    async def snapshot_volume(self, volume: str, snapshot: str) -> int:
        self.fail()
        return 0

    async def restore_volume(self, volume: VolumeSpec, snapshot: str) -> None:
        self.fail()


@pytest.fixture
def host() -> Host:
    return Host()


@pytest.fixture
def store(tmp_path: Path, host: Host) -> FillingStore:
    return FillingStore(tmp_path / "cloud.sqlite", host.disk(tmp_path))


@pytest.fixture
def machines(store: Store) -> Machines:
    return Machines(store)


@pytest.fixture
async def api(store: Store, machines: Machines) -> AsyncIterator[Api]:
    cloud = Cloud(store, machines, RecordNetwork(), settings())
    await cloud.start()
    yield Api(cloud, create_app(cloud, cloudflare.routes(store, cloud.settings)))
    await cloud.stop()


def limit(store: Store, *, more_pages: int) -> None:
    """Let the database grow by no more than that, as a full disk does."""
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    store._db.execute(f"PRAGMA max_page_count = {pages + more_pages}")


def test_a_write_without_room_changes_nothing_and_names_the_disk(store: Store, tmp_path: Path) -> None:
    limit(store, more_pages=1)
    told: list[frozenset[str]] = []
    store.watch(told.append)

    def write() -> None:
        with store.transaction():
            store.put("a", 1, {"small": 1})
            store.put("a", 2, {"large": "x" * 100_000})

    with pytest.raises(DiskFullError, match=rf"the disk of {tmp_path} is full.*free some space"):
        write()
    assert (store.all("a"), told) == ([], [])
    store.put("a", 1, {"small": 1})
    limit(store, more_pages=1000)
    store.put("a", 2, {"large": "x" * 100_000})
    assert len(store.all("a")) == 2


async def test_nothing_is_begun_on_a_full_disk_but_it_can_be_read_and_cleared(api: Api, host: Host) -> None:
    droplet = await api.droplet("before")
    host.free = RESERVE_BYTES - 1

    refused = await api.refused("POST", "/v2/droplets", DROPLET)

    assert (refused.status, refused.body["id"]) == (507, "insufficient_storage")
    assert "63 MiB are left, and a sandbox needs 64; free some space there" in refused.message
    assert len((await api.get("/v2/droplets"))["droplets"]) == 1
    assert (await api.call("DELETE", f"/v2/droplets/{droplet['id']}")).status == 204
    host.free = RESERVE_BYTES
    assert (await api.droplet())["status"] == "active"


async def test_a_request_that_finds_no_room_is_undone_as_a_whole(api: Api, store: Store) -> None:
    limit(store, more_pages=0)
    body = {**DROPLET, "tags": ["web"], "user_data": "#cloud-config\n#" + "x" * 60_000}

    refused = await api.refused("POST", "/v2/droplets", body)

    assert refused.status == 507
    limit(store, more_pages=1000)
    await api.made("/v2/droplets", body)


async def test_cloudflare_says_it_in_its_own_form(api: Api, host: Host) -> None:
    host.free = 0
    headers = {"authorization": f"Bearer {'c' * 40}", "content-type": "application/json"}

    reply = await asgi_request(api.app, "POST", "/client/v4/zones", b'{"name": "foobar.com"}', headers)

    assert (reply.status, reply.body["success"]) == (507, False)
    assert "is full" in reply.body["errors"][0]["message"]


async def test_a_machine_that_found_no_room_is_made_when_there_is_some(
    api: Api, host: Host, machines: Machines
) -> None:
    droplet = await api.droplet(settle=False)
    host.free, machines.failures = 0, 1
    while machines.failures:
        await api.cloud.pause()

    [action] = (await api.get("/v2/actions"))["actions"]

    assert (action["status"], machines.created) == ("in-progress", 0)
    host.free = RESERVE_BYTES
    await api.cloud.settled()
    assert (await api.get(f"/v2/droplets/{droplet['id']}"))["droplet"]["status"] == "active"


async def test_what_the_cloud_has_to_record_waits_for_room(api: Api, host: Host, store: FillingStore) -> None:
    one, two = await api.droplet("one"), await api.droplet("two")
    await api.made(f"/v2/droplets/{one['id']}/actions", {"type": "rename", "name": "renamed"})
    store.refuses = True
    await api.cloud.machines.stop(two["id"], graceful=False)
    api.cloud.on_exit(two["id"])
    looks = host.looks
    while host.looks < looks + 5:
        await api.cloud.pause()
    assert api.cloud.pending(one["id"])
    store.refuses = False
    await api.cloud.settled()
    shown = (await api.get("/v2/droplets"))["droplets"]
    assert [(droplet["name"], droplet["status"]) for droplet in shown] == [
        ("renamed", "active"),
        ("two", "off"),
    ]
    assert not api.cloud.pending(one["id"])


async def test_a_failure_with_room_left_is_a_failure(api: Api, machines: Machines) -> None:
    machines.failures = 1

    await api.droplet()

    [action] = (await api.get("/v2/actions"))["actions"]
    assert action["status"] == "errored"


async def test_a_failed_copy_of_a_volume_leaves_no_snapshot_and_no_volume(
    api: Api, machines: Machines, store: Store
) -> None:
    volume: dict[str, Any] = (
        await api.made("/v2/volumes", {"name": "data", "region": "lon1", "size_gigabytes": 1})
    )["volume"]
    path = f"/v2/volumes/{volume['id']}/snapshots"
    machines.failures = 1
    await api.made(path, {"name": "lost"})
    await api.cloud.settled()
    snapshot = (await api.made(path, {"name": "kept"}))["snapshot"]["id"]
    await api.cloud.settled()
    machines.failures = 1
    copy = {"name": "copy", "region": "lon1", "size_gigabytes": 1, "snapshot_id": snapshot}
    await api.made("/v2/volumes", copy)
    await api.cloud.settled()
    assert [one["name"] for one in (await api.get("/v2/snapshots"))["snapshots"]] == ["kept"]
    assert [one["name"] for one in (await api.get("/v2/volumes"))["volumes"]] == ["data"]
    assert store.all("doomed_volume") + store.all("doomed_volume_snapshot") == []


def test_a_sandbox_is_not_started_without_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandbox.disk.RESERVE_BYTES", free_bytes(tmp_path) * 2)
    paths = SandboxPaths(tmp_path / "not" / "yet")
    with pytest.raises(
        SandboxError, match=rf"the disk of {paths.home} is full.*free some space there"
    ) as error:
        lifecycle.prepare(paths, port=0, machines=MachineKind.NONE, zones=[], claim_instance=lambda _: 1)
    assert "\n" not in str(error.value)
    assert list(tmp_path.iterdir()) == []
