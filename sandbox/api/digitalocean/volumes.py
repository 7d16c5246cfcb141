"""Block storage volumes and their snapshots."""

from __future__ import annotations

import re
import uuid
from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from sandbox.api.body import Body
from sandbox.api.call import NO_CONTENT, Answer, Call, Endpoint, lists
from sandbox.api.capabilities import VolumeDisks
from sandbox.api.cloud import Cloud
from sandbox.api.digitalocean import tags
from sandbox.api.errors import bad_request, conflict, not_found, unprocessable
from sandbox.store import Document

# https://docs.digitalocean.com/products/volumes/details/limits/ (1 GiB to 16 TiB)
SMALLEST, LARGEST = 1, 16_384
_NAME = re.compile(r"[a-z][a-z0-9-]{0,63}")
# Longest label each file system can hold, as the API documents them.
_LABEL_LENGTH = {"ext4": 16, "xfs": 12}


class NewVolume(Body):
    """The body of a create; clients send empty strings for what they leave out."""

    accepts_null: ClassVar[frozenset[str] | None] = frozenset({"tags", "droplet_ids"})

    name: str
    size_gigabytes: int
    region: str
    description: str = ""
    snapshot_id: str = ""
    filesystem_type: Literal["", "ext4", "xfs"] = ""
    filesystem_label: str = ""
    tags: list[str] | None = None
    id: Any = None
    droplet_ids: Any = None
    created_at: Any = None

    @model_validator(mode="after")
    def _rules(self) -> NewVolume:
        if _NAME.fullmatch(self.name) is None:
            raise ValueError(
                f"name: {self.name!r} must start with a lower-case letter and hold at most 64 lower-case letters, "
                "digits and dashes"
            )
        longest = _LABEL_LENGTH.get(self.filesystem_type)
        if self.filesystem_label and longest is None:
            raise ValueError("filesystem_label needs a filesystem_type")
        if longest is not None and len(self.filesystem_label) > longest:
            raise ValueError(f"filesystem_label: at most {longest} characters for {self.filesystem_type}")
        return self


class NewSnapshot(Body):
    accepts_null: ClassVar[frozenset[str] | None] = frozenset({"tags"})

    name: str = Field(min_length=1)
    tags: list[str] | None = None


def view(cloud: Cloud, volume: Document) -> Document:
    return {**volume, "region": cloud.catalog.region(volume["region"])}


def snapshot_view(snapshot: Document) -> Document:
    return {**snapshot, "resource_type": "volume"}


def check_size(size: int) -> None:
    if not SMALLEST <= size <= LARGEST:
        raise unprocessable(f"size_gigabytes must be from {SMALLEST} to {LARGEST}, not {size}")


def disks(cloud: Cloud) -> VolumeDisks:
    """The machines' way to copy and grow volumes; 422 when they have none."""
    if not isinstance(cloud.machines, VolumeDisks):
        raise unprocessable("the sandbox's machines cannot copy or grow a volume's data")
    return cloud.machines


def by_name(cloud: Cloud, name: str | None, region: str | None) -> list[Document]:
    return [
        volume
        for volume in cloud.store.all("volume")
        if name in (None, volume["name"]) and region in (None, volume["region"])
    ]


def list_all(call: Call) -> Answer:
    found = by_name(call.cloud, call.query.get("name"), call.query.get("region"))
    return call.listing("volumes", found, lambda volume: view(call.cloud, volume))


def named(call: Call) -> Document:
    volume = call.store.get("volume", call.path["volume"])
    if volume is None:
        raise not_found()
    return volume


def show(call: Call) -> Answer:
    return Answer(200, {"volume": view(call.cloud, named(call))})


def create(call: Call) -> Answer:
    body, cloud = call.body(NewVolume), call.cloud
    check_size(body.size_gigabytes)
    snapshot = _origin(call, body)
    region = body.region
    if region not in cloud.catalog.open_regions():
        raise unprocessable(f"region: {region!r} is not a region with volumes")
    if by_name(cloud, body.name, region):
        raise conflict("volume already exists")
    volume: Document = {
        "id": str(uuid.uuid4()),
        "name": body.name,
        "description": body.description,
        "region": region,
        "size_gigabytes": body.size_gigabytes,
        "filesystem_type": body.filesystem_type,
        "filesystem_label": body.filesystem_label,
        "droplet_ids": [],
        "created_at": cloud.stamp(),
        "tags": tags.ensure(call.store, body.tags or ()),
    }
    call.store.put("volume", volume["id"], volume)
    tags.note_tagged(call.store, volume["tags"], "volumes", f"/v2/volumes/{volume['id']}")
    if snapshot is not None:
        disks(cloud)
        _begin(cloud, "restore_volume", volume, snapshot["id"])
    return Answer(201, {"volume": view(cloud, volume)})


def _origin(call: Call, body: NewVolume) -> Document | None:
    """The snapshot that a new volume is made of."""
    if not body.snapshot_id:
        return None
    snapshot = call.store.get("volume_snapshot", body.snapshot_id)
    if snapshot is None:
        raise not_found(f"snapshot_id: the volume snapshot {body.snapshot_id} does not exist")
    if body.region not in snapshot["regions"]:
        raise unprocessable(f"region: the snapshot is in {snapshot['regions'][0]}, not in {body.region}")
    if body.size_gigabytes < snapshot["min_disk_size"]:
        raise unprocessable(f"size_gigabytes: the snapshot needs at least {snapshot['min_disk_size']}")
    return snapshot


def delete(call: Call) -> Answer:
    _remove(call.cloud, named(call))
    return NO_CONTENT


def delete_by_name(call: Call) -> Answer:
    name, region = call.query.get("name"), call.query.get("region")
    if not name or not region:
        raise bad_request("name and region are required: they say which volume to delete")
    found = by_name(call.cloud, name, region)
    if not found:
        raise not_found()
    _remove(call.cloud, found[0])
    return NO_CONTENT


def _remove(cloud: Cloud, volume: Document) -> None:
    if volume["droplet_ids"]:
        raise conflict(
            "A volume that's attached to a Droplet cannot be deleted. Please detach it first before deleting."
        )
    if cloud.pending(volume["id"]):
        raise conflict("The volume has a pending event.")
    cloud.store.delete("project_resource", f"do:volume:{volume['id']}")
    cloud.doom_volume(volume)


def list_snapshots(call: Call) -> Answer:
    volume = named(call)
    found = [one for one in call.store.all("volume_snapshot") if one["resource_id"] == volume["id"]]
    return call.listing("snapshots", found, snapshot_view)


def create_snapshot(call: Call) -> Answer:
    volume, body, cloud = named(call), call.body(NewSnapshot), call.cloud
    disks(cloud)
    if any(other["name"] == body.name for other in call.store.all("volume_snapshot")):
        raise conflict("snapshot already exists")
    snapshot: Document = {
        "id": str(uuid.uuid4()),
        "name": body.name,
        "created_at": cloud.stamp(),
        "regions": [volume["region"]],
        "resource_id": volume["id"],
        "min_disk_size": volume["size_gigabytes"],
        "size_gigabytes": 0,
        "tags": tags.ensure(call.store, body.tags or ()),
    }
    call.store.put("volume_snapshot", snapshot["id"], snapshot)
    _begin(cloud, "snapshot_volume", volume, snapshot["id"])
    return Answer(201, {"snapshot": snapshot_view(snapshot)})


def _begin(cloud: Cloud, kind: str, volume: Document, snapshot: str) -> None:
    """Copy between a volume and a snapshot in the background, as an action that survives a crash."""
    key = volume["id"]
    cloud.begin(kind, resource=("volume", key), region=volume["region"], holds=(key,), snapshot=snapshot)


def remove_snapshot(cloud: Cloud, snapshot: Document) -> None:
    cloud.store.delete("volume_snapshot", snapshot["id"])
    cloud.doom_volume_snapshot(snapshot["id"])


ENDPOINTS = (
    lists("/v2/volumes", list_all, "name", "region"),
    Endpoint("POST", "/v2/volumes", create),
    Endpoint("DELETE", "/v2/volumes", delete_by_name, frozenset({"name", "region"})),
    Endpoint("GET", "/v2/volumes/{volume}", show),
    Endpoint("DELETE", "/v2/volumes/{volume}", delete),
    lists("/v2/volumes/{volume}/snapshots", list_snapshots),
    Endpoint("POST", "/v2/volumes/{volume}/snapshots", create_snapshot),
)
