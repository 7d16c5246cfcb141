"""Volumes, their actions and snapshots over the API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from sandbox.store import Store
from tests.unit.cloud_api import Api, started


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    api = await started(Store(":memory:"))
    yield api
    await api.cloud.stop()


async def volume(api: Api, name: str = "data", **fields: Any) -> dict[str, Any]:
    made = await api.made("/v2/volumes", {"name": name, "region": "lon1", "size_gigabytes": 1, **fields})
    answer: dict[str, Any] = made["volume"]
    return answer


async def act(api: Api, key: str, **body: Any) -> dict[str, Any]:
    begun = await api.made(f"/v2/volumes/{key}/actions", body)
    await api.cloud.settled()
    done: dict[str, Any] = (await api.get(f"/v2/volumes/{key}/actions/{begun['action']['id']}"))["action"]
    return done


async def test_a_volume_is_attached_and_detached_by_polled_actions(api: Api) -> None:
    disk, droplet = await volume(api), await api.droplet()

    done = await act(api, disk["id"], type="attach", droplet_id=droplet["id"], region="lon1")

    assert (done["status"], done["type"], done["resource_id"]) == ("completed", "attach_volume", None)
    assert (await api.get(f"/v2/volumes/{disk['id']}"))["volume"]["droplet_ids"] == [droplet["id"]]
    assert (await api.get(f"/v2/droplets/{droplet['id']}"))["droplet"]["volume_ids"] == [disk["id"]]
    await act(api, disk["id"], type="detach", droplet_id=droplet["id"])
    assert (await api.get(f"/v2/volumes/{disk['id']}"))["volume"]["droplet_ids"] == []


async def test_a_volume_can_be_named_instead(api: Api) -> None:
    disk, droplet = await volume(api), await api.droplet()
    body = {"type": "attach", "volume_name": "data", "region": "lon1", "droplet_id": droplet["id"]}

    await api.made("/v2/volumes/actions", body)
    await api.cloud.settled()

    assert (await api.get(f"/v2/volumes/{disk['id']}"))["volume"]["droplet_ids"] == [droplet["id"]]
    assert (await api.refused("POST", "/v2/volumes/actions", {**body, "volume_name": "none"})).status == 404


async def test_a_droplet_can_be_born_with_a_volume(api: Api) -> None:
    disk = await volume(api)

    droplet = await api.droplet(volumes=[disk["id"]])

    assert droplet["volume_ids"] == [disk["id"]]
    body = {
        "name": "b",
        "region": "lon1",
        "size": "s-1vcpu-1gb",
        "image": "debian-13-x64",
        "volumes": [disk["id"]],
    }
    assert "already attached" in (await api.refused("POST", "/v2/droplets", body)).message


async def test_a_volume_attached_elsewhere_is_refused(api: Api) -> None:
    disk, first, second = await volume(api), await api.droplet("a"), await api.droplet("b")
    await act(api, disk["id"], type="attach", droplet_id=first["id"])
    path = f"/v2/volumes/{disk['id']}/actions"

    elsewhere = await api.refused("POST", path, {"type": "attach", "droplet_id": second["id"]})
    not_there = await api.refused("POST", path, {"type": "detach", "droplet_id": second["id"]})
    deleted = await api.refused("DELETE", f"/v2/volumes/{disk['id']}")

    assert (elsewhere.status, elsewhere.message) == (422, "The volume is already attached to another droplet")
    assert (not_there.status, not_there.message) == (422, "Attachment not found")
    assert (deleted.status, "cannot be deleted" in deleted.message) == (409, True)


async def test_attaching_waits_for_the_droplets_event(api: Api) -> None:
    disk, droplet = await volume(api), await api.droplet(settle=False)
    path = f"/v2/volumes/{disk['id']}/actions"

    reply = await api.refused("POST", path, {"type": "attach", "droplet_id": droplet["id"]})

    assert (reply.status, reply.message) == (422, "Droplet already has a pending event.")


async def test_a_deleted_droplet_lets_its_volume_go(api: Api) -> None:
    disk = await volume(api)
    droplet = await api.droplet(volumes=[disk["id"]])

    await api.call("DELETE", f"/v2/droplets/{droplet['id']}")

    assert (await api.get(f"/v2/volumes/{disk['id']}"))["volume"]["droplet_ids"] == []
    await api.cloud.settled()
    assert (await api.call("DELETE", "/v2/volumes?name=data&region=lon1")).status == 204


async def test_a_volume_grows_and_never_shrinks(api: Api) -> None:
    disk = await volume(api, size_gigabytes=5)
    path = f"/v2/volumes/{disk['id']}/actions"

    await act(api, disk["id"], type="resize", size_gigabytes=10)

    assert (await api.get(f"/v2/volumes/{disk['id']}"))["volume"]["size_gigabytes"] == 10
    assert (
        "can only grow" in (await api.refused("POST", path, {"type": "resize", "size_gigabytes": 9})).message
    )


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        ({"name": "Data"}, 422, "lower-case"),
        ({"name": "used"}, 409, "volume already exists"),
        ({"size_gigabytes": 0}, 422, "from 1 to 16384"),
        ({"size_gigabytes": 16385}, 422, "from 1 to 16384"),
        ({"region": "mars1"}, 422, "mars1"),
        ({"filesystem_type": "ntfs"}, 422, "filesystem_type"),
        ({"filesystem_type": "xfs", "filesystem_label": "thirteen-long"}, 422, "at most 12"),
        ({"filesystem_label": "x"}, 422, "needs a filesystem_type"),
        ({"snapshot_id": "00000000-0000-4000-8000-000000000000"}, 404, "does not exist"),
        ({"tags": ["bad tag"]}, 422, "invalid characters"),
        ({"type": "fast"}, 422, 'unknown field "type"'),
    ],
)
async def test_a_bad_volume_is_refused(api: Api, change: dict[str, Any], status: int, message: str) -> None:
    await volume(api, "used")
    body = {"name": "data", "region": "lon1", "size_gigabytes": 1, **change}

    reply = await api.refused("POST", "/v2/volumes", body)

    assert reply.status == status
    assert message in reply.message


async def test_a_name_is_taken_per_region(api: Api) -> None:
    await volume(api)
    await api.made("/v2/volumes", {"name": "data", "region": "fra1", "size_gigabytes": 1})

    listed = (await api.get("/v2/volumes?name=data&region=fra1"))["volumes"]

    assert [one["region"]["slug"] for one in listed] == ["fra1"]


async def test_a_volume_comes_from_a_snapshot(api: Api) -> None:
    disk = await volume(api, size_gigabytes=2)
    snapshot = (await api.made(f"/v2/volumes/{disk['id']}/snapshots", {"name": "before"}))["snapshot"]
    await api.cloud.settled()

    copy = await api.made(
        "/v2/volumes", {"name": "copy", "region": "lon1", "size_gigabytes": 2, "snapshot_id": snapshot["id"]}
    )
    body = {"name": "small", "region": "lon1", "size_gigabytes": 1, "snapshot_id": snapshot["id"]}

    assert copy["volume"]["name"] == "copy"
    assert "at least 2" in (await api.refused("POST", "/v2/volumes", body)).message
    assert [one["id"] for one in (await api.get("/v2/snapshots?resource_type=volume"))["snapshots"]] == [
        snapshot["id"]
    ]
    assert (await api.call("DELETE", f"/v2/volumes/snapshots/{snapshot['id']}")).status == 204
    assert (await api.refused("GET", f"/v2/snapshots/{snapshot['id']}")).status == 404
