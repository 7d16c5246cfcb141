"""Attaching, detaching and growing volumes, named by id or by name and region."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from sandbox.api.body import Body
from sandbox.api.call import Answer, Call, Endpoint, lists
from sandbox.api.cloud import Cloud
from sandbox.api.digitalocean import actions, tags
from sandbox.api.digitalocean.droplet_order import MOST_VOLUMES
from sandbox.api.digitalocean.volumes import by_name, check_size, disks, named
from sandbox.api.errors import not_found, pending_event, unprocessable
from sandbox.api.pagination import PARAMETERS
from sandbox.store import Document


class VolumeAction(Body):
    """An action on the volume of the path."""

    accepts_null: ClassVar[frozenset[str] | None] = frozenset({"tags"})

    type: Literal["attach", "detach", "resize"]
    region: str | None = None
    droplet_id: int | None = None
    size_gigabytes: int | None = None
    tags: list[str] | None = None


class NamedVolumeAction(VolumeAction):
    """An action on the volume of that name in that region."""

    volume_name: str


def _check_region(volume: Document, region: str | None) -> None:
    if region not in (None, "", volume["region"]):
        raise unprocessable(f"region: the volume is in {volume['region']}, not in {region}")


def _droplet(cloud: Cloud, body: VolumeAction) -> Document:
    if body.droplet_id is None:
        raise unprocessable("droplet_id is required")
    droplet = cloud.store.get("droplet", body.droplet_id)
    if droplet is None:
        raise unprocessable(f"droplet_id: the droplet {body.droplet_id} does not exist")
    return droplet


def _begin(cloud: Cloud, kind: str, volume: Document, holder: Document | None, **parameters: Any) -> Document:
    key = volume["id"]
    holds: tuple[str | int, ...] = (key,) if holder is None else (key, holder["id"])
    return cloud.begin(kind, resource=("volume", key), region=volume["region"], holds=holds, **parameters)


def _attach(cloud: Cloud, volume: Document, body: VolumeAction) -> Document:
    droplet = _droplet(cloud, body)
    if cloud.pending(droplet["id"]) or cloud.pending(volume["id"]):
        raise pending_event()
    if droplet["region"] != volume["region"]:
        raise unprocessable(f"The volume is in {volume['region']}, the droplet in {droplet['region']}")
    if volume["droplet_ids"] == [droplet["id"]]:
        raise unprocessable("The volume is already attached to this droplet")
    if volume["droplet_ids"]:
        raise unprocessable("The volume is already attached to another droplet")
    if len(droplet["volume_ids"]) >= MOST_VOLUMES:
        raise unprocessable(f"At most {MOST_VOLUMES} volumes can be attached to a droplet")
    if body.tags:
        given = tags.ensure(cloud.store, [*volume["tags"], *body.tags])
        cloud.change("volume", volume["id"], tags=given)
    return _begin(cloud, "attach_volume", volume, droplet, droplet=droplet["id"])


def _detach(cloud: Cloud, volume: Document, body: VolumeAction) -> Document:
    droplet = _droplet(cloud, body)
    if cloud.pending(droplet["id"]) or cloud.pending(volume["id"]):
        raise pending_event()
    if volume["droplet_ids"] != [droplet["id"]]:
        raise unprocessable("Attachment not found")
    return _begin(cloud, "detach_volume", volume, droplet, droplet=droplet["id"])


def _resize(cloud: Cloud, volume: Document, body: VolumeAction) -> Document:
    if body.size_gigabytes is None:
        raise unprocessable("size_gigabytes is required")
    check_size(body.size_gigabytes)
    if body.size_gigabytes <= volume["size_gigabytes"]:
        raise unprocessable(
            f"size_gigabytes: a volume can only grow; it has {volume['size_gigabytes']}, not less than "
            f"{body.size_gigabytes}"
        )
    disks(cloud)
    return _begin(cloud, "resize_volume", volume, None, size_gigabytes=body.size_gigabytes)


_KINDS = {"attach": _attach, "detach": _detach, "resize": _resize}


def _act(call: Call, volume: Document, body: VolumeAction) -> Answer:
    _check_region(volume, body.region)
    return actions.answer(call, 202, _KINDS[body.type](call.cloud, volume, body))


def act(call: Call) -> Answer:
    return _act(call, named(call), call.body(VolumeAction))


def act_by_name(call: Call) -> Answer:
    body = call.body(NamedVolumeAction)
    found = by_name(call.cloud, body.volume_name, body.region)
    if not found:
        raise not_found()
    if len(found) > 1:
        raise unprocessable("region is required: several regions have a volume of this name")
    return _act(call, found[0], body)


def list_actions(call: Call) -> Answer:
    return actions.listing(call, actions.of_resource(call, "volume", named(call)["id"]))


def show_action(call: Call) -> Answer:
    key = named(call)["id"]
    action = actions.one(call, lambda found: (found["resource_type"], found["resource"]) == ("volume", key))
    return actions.answer(call, 200, action)


ENDPOINTS = (
    Endpoint("POST", "/v2/volumes/actions", act_by_name, PARAMETERS),
    lists("/v2/volumes/{volume}/actions", list_actions),
    Endpoint("POST", "/v2/volumes/{volume}/actions", act, PARAMETERS),
    Endpoint("GET", "/v2/volumes/{volume}/actions/{action}", show_action, PARAMETERS),
)
