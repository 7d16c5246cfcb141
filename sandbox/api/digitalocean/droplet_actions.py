"""Actions on droplets: each is checked against the droplet's state, recorded, and done in the background."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from sandbox.api.body import Body, parse
from sandbox.api.call import Answer, Call, Endpoint, lists
from sandbox.api.cloud import Cloud
from sandbox.api.digitalocean import actions, images, tags
from sandbox.api.digitalocean.droplet_order import check_disk, network6
from sandbox.api.digitalocean.droplet_view import DEFAULT_POLICY, has_ipv6
from sandbox.api.digitalocean.droplets import BackupPolicy, check_name, named, policy_of
from sandbox.api.errors import bad_request, not_found, pending_event, unprocessable
from sandbox.store import Document

_IS_ON = "Droplet is currently on. Please power it off to run this event."
_IS_OFF = "Droplet is currently off. Please power it on to run this event."
_ALREADY_OFF = "Droplet is already powered off."


class Plain(Body):
    type: str


class SnapshotBody(Plain):
    name: str | None = None


class RenameBody(Plain):
    name: str


class ResizeBody(Plain):
    size: str
    disk: bool = False


class ImageBody(Plain):
    image: str | int


class BackupsBody(Plain):
    backup_policy: BackupPolicy | None = None


class PolicyBody(Plain):
    backup_policy: BackupPolicy


class KernelBody(Plain):
    kernel: int


Parameters = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of action: its body, and the check that turns body and droplet into the action's parameters."""

    body: type[Body]
    check: Callable[[Cloud, Document, Any], Parameters]
    bulk: bool = False


def _anytime(cloud: Cloud, droplet: Document, body: Any) -> Parameters:
    return {}


def _when_off(cloud: Cloud, droplet: Document, body: Any) -> Parameters:
    if droplet["status"] != "off":
        raise unprocessable(_IS_ON)
    return {}


def _when_on(cloud: Cloud, droplet: Document, body: Any) -> Parameters:
    if droplet["status"] != "active":
        raise unprocessable(_IS_OFF)
    return {}


def _power_off(cloud: Cloud, droplet: Document, body: Any) -> Parameters:
    if droplet["status"] == "off":
        raise unprocessable(_ALREADY_OFF)
    return {}


def _resize(cloud: Cloud, droplet: Document, body: ResizeBody) -> Parameters:
    size = cloud.catalog.sizes.get(body.size)
    if size is None:
        raise unprocessable("You specified an invalid size for Droplet resize.")
    if droplet["region"] not in size["regions"]:
        raise unprocessable("Size is not available in this region.")
    if size["disk"] < droplet["disk"]:
        raise unprocessable("This size is not available because it has a smaller disk.")
    if body.size == droplet["size"] and not (body.disk and size["disk"] > droplet["disk"]):
        raise unprocessable("The droplet already has this size.")
    _when_off(cloud, droplet, body)
    return {"size": body.size, "disk": body.disk}


def _snapshot(cloud: Cloud, droplet: Document, body: SnapshotBody) -> Parameters:
    if droplet["status"] == "new":
        raise unprocessable(_IS_OFF)
    name = body.name or f"{droplet['name']}-{int(cloud.now.timestamp())}"
    return {"name": name, "image": cloud.store.next_number("image", first=150_000_001)}


def _rename(cloud: Cloud, droplet: Document, body: RenameBody) -> Parameters:
    check_name(body.name)
    return {"name": body.name}


def _rebuild(cloud: Cloud, droplet: Document, body: ImageBody) -> Parameters:
    image = images.bootable(cloud, body.image)
    if image is None:
        raise unprocessable("You specified an invalid image for Droplet rebuild.")
    if droplet["region"] not in image["regions"]:
        raise unprocessable("The image you specified is not available in the selected region.")
    check_disk(cloud, image, droplet["size"])
    return {"image": image, "image_key": images.key_of(image)}


def _restore(cloud: Cloud, droplet: Document, body: ImageBody) -> Parameters:
    """Only what was taken of this droplet can be put back on it."""
    parameters = _rebuild(cloud, droplet, body)
    if parameters["image"].get("droplet") != droplet["id"]:
        raise unprocessable("The image is no backup or snapshot of this droplet.")
    return parameters


def _enable_ipv6(cloud: Cloud, droplet: Document, body: Any) -> Parameters:
    if has_ipv6(droplet):
        raise unprocessable("IPv6 is already enabled on this droplet.")
    return {"network": str(network6(cloud))}


def _enable_backups(cloud: Cloud, droplet: Document, body: BackupsBody) -> Parameters:
    if droplet["backups"]:
        raise unprocessable("Backups are already enabled on this droplet.")
    return {"enabled": True, "policy": policy_of(body.backup_policy) or DEFAULT_POLICY}


def _disable_backups(cloud: Cloud, droplet: Document, body: Any) -> Parameters:
    if not droplet["backups"]:
        raise unprocessable("Backups are not enabled on this droplet.")
    return {"enabled": False, "policy": None}


def _change_policy(cloud: Cloud, droplet: Document, body: PolicyBody) -> Parameters:
    if not droplet["backups"]:
        raise unprocessable("Backups are not enabled on this droplet.")
    return {"enabled": True, "policy": policy_of(body.backup_policy)}


def _change_kernel(cloud: Cloud, droplet: Document, body: KernelBody) -> Parameters:
    raise unprocessable(
        "The kernel of this droplet is managed inside the droplet and cannot be changed here."
    )


_KINDS: Mapping[str, Kind] = {
    "power_on": Kind(Plain, _when_off, bulk=True),
    "power_off": Kind(Plain, _power_off, bulk=True),
    "shutdown": Kind(Plain, _power_off, bulk=True),
    "power_cycle": Kind(Plain, _when_on, bulk=True),
    "reboot": Kind(Plain, _when_on),
    "rebuild": Kind(ImageBody, _rebuild),
    "restore": Kind(ImageBody, _restore),
    "resize": Kind(ResizeBody, _resize),
    "snapshot": Kind(SnapshotBody, _snapshot, bulk=True),
    "rename": Kind(RenameBody, _rename),
    "enable_ipv6": Kind(Plain, _enable_ipv6, bulk=True),
    "enable_backups": Kind(BackupsBody, _enable_backups, bulk=True),
    "disable_backups": Kind(Plain, _disable_backups, bulk=True),
    "change_backup_policy": Kind(PolicyBody, _change_policy),
    "password_reset": Kind(Plain, _anytime),
    "change_kernel": Kind(KernelBody, _change_kernel),
}


def _kind_of(raw: Any) -> tuple[str, Kind]:
    name = raw.get("type") if isinstance(raw, dict) else None
    if not isinstance(name, str):
        raise unprocessable("type is required")
    if name not in _KINDS:
        raise unprocessable(f"You specified an invalid action: {name!r} is none of {', '.join(_KINDS)}")
    return name, _KINDS[name]


def _begin(cloud: Cloud, droplet: Document, name: str, kind: Kind, body: Body) -> Document:
    if cloud.pending(droplet["id"]):
        # Before the check: what a droplet in the middle of an event can do next is not known yet.
        raise pending_event()
    parameters = kind.check(cloud, droplet, body)
    return cloud.begin(
        name,
        resource=("droplet", droplet["id"]),
        region=droplet["region"],
        holds=(droplet["id"],),
        **parameters,
    )


def act(call: Call) -> Answer:
    droplet, raw = named(call), call.json()
    name, kind = _kind_of(raw)
    action = _begin(call.cloud, droplet, name, kind, parse(kind.body, raw))
    return actions.answer(call, 201, action)


def act_by_tag(call: Call) -> Answer:
    tag, raw = call.query.get("tag_name"), call.json()
    if not tag:
        raise bad_request("tag_name is required: it says which droplets to act on")
    if tags.missing(call.store, [tag]):
        raise not_found()
    name, kind = _kind_of(raw)
    if not kind.bulk:
        raise unprocessable(f"The action {name} cannot be performed on tagged droplets")
    body = parse(kind.body, raw)
    droplets = [droplet for droplet in call.store.all("droplet") if tags.has(droplet, tag)]
    begun = [_begin(call.cloud, droplet, name, kind, body) for droplet in droplets]
    return Answer(201, {"actions": [actions.view(call.cloud, action) for action in begun]})


def list_actions(call: Call) -> Answer:
    return actions.listing(call, actions.of_resource(call, "droplet", named(call)["id"]))


def show_action(call: Call) -> Answer:
    number = named(call)["id"]
    action = actions.one(
        call, lambda found: (found["resource_type"], found["resource"]) == ("droplet", number)
    )
    return actions.answer(call, 200, action)


ENDPOINTS = (
    Endpoint("POST", "/v2/droplets/actions", act_by_tag, frozenset({"tag_name"})),
    lists("/v2/droplets/{droplet}/actions", list_actions),
    Endpoint("POST", "/v2/droplets/{droplet}/actions", act),
    Endpoint("GET", "/v2/droplets/{droplet}/actions/{action}", show_action),
)
