"""Snapshots of droplets and of volumes in one list; the former are images too."""

from __future__ import annotations

from sandbox.api.call import NO_CONTENT, Answer, Call, Endpoint, lists
from sandbox.api.digitalocean import images
from sandbox.api.digitalocean.volumes import remove_snapshot, snapshot_view
from sandbox.api.errors import bad_request, not_found
from sandbox.store import Document


def droplet_snapshot_view(image: Document) -> Document:
    return {
        "id": str(image["id"]),
        "name": image["name"],
        "created_at": image["created_at"],
        "regions": image["regions"],
        "resource_id": str(image["droplet"]),
        "resource_type": "droplet",
        "min_disk_size": image["min_disk_size"],
        "size_gigabytes": image["size_gigabytes"],
        "tags": image["tags"],
    }


def list_all(call: Call) -> Answer:
    wanted = call.query.get("resource_type")
    if wanted not in (None, "droplet", "volume"):
        raise bad_request(f'resource_type must be "droplet" or "volume", not {wanted!r}')
    shown: list[Document] = []
    if wanted != "volume":
        shown += [droplet_snapshot_view(image) for image in call.store.all("image")]
    if wanted != "droplet":
        shown += [snapshot_view(snapshot) for snapshot in call.store.all("volume_snapshot")]
    return call.listing("snapshots", shown)


def show(call: Call) -> Answer:
    image = call.store.get("image", call.path["snapshot"])
    if image is not None:
        return Answer(200, {"snapshot": droplet_snapshot_view(image)})
    return Answer(200, {"snapshot": snapshot_view(_of_volume(call))})


def delete(call: Call) -> Answer:
    image = call.store.get("image", call.path["snapshot"])
    if image is not None:
        images.remove(call.cloud, image)
    else:
        remove_snapshot(call.cloud, _of_volume(call))
    return NO_CONTENT


def _of_volume(call: Call) -> Document:
    snapshot = call.store.get("volume_snapshot", call.path["snapshot"])
    if snapshot is None:
        if images.find(call.cloud, call.path["snapshot"]) is not None:
            raise bad_request("the resource is not a snapshot")
        raise not_found()
    return snapshot


def show_of_volume(call: Call) -> Answer:
    return Answer(200, {"snapshot": snapshot_view(_of_volume(call))})


def delete_of_volume(call: Call) -> Answer:
    remove_snapshot(call.cloud, _of_volume(call))
    return NO_CONTENT


ENDPOINTS = (
    lists("/v2/snapshots", list_all, "resource_type"),
    Endpoint("GET", "/v2/snapshots/{snapshot}", show),
    Endpoint("DELETE", "/v2/snapshots/{snapshot}", delete),
    Endpoint("GET", "/v2/volumes/snapshots/{snapshot}", show_of_volume),
    Endpoint("DELETE", "/v2/volumes/snapshots/{snapshot}", delete_of_volume),
)
