"""Images: the public distributions, and snapshots of droplets."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from sandbox.api.body import Body
from sandbox.api.call import NO_CONTENT, Answer, Call, Endpoint, lists
from sandbox.api.cloud import Cloud
from sandbox.api.digitalocean import actions
from sandbox.api.digitalocean.tags import has
from sandbox.api.errors import bad_request, forbidden, not_found, unprocessable
from sandbox.store import Document

_TYPES = frozenset({"application", "distribution"})

Distribution = Literal[
    "Arch Linux",
    "CentOS",
    "CoreOS",
    "Debian",
    "Fedora",
    "Fedora Atomic",
    "FreeBSD",
    "Gentoo",
    "openSUSE",
    "RancherOS",
    "Rocky Linux",
    "Ubuntu",
    "Unknown",
]


class ImageChange(Body):
    name: str | None = Field(default=None, min_length=1)
    distribution: Distribution | None = None
    description: str | None = None


class ImageAction(Body):
    type: Literal["convert", "transfer"]
    region: str | None = None


def key_of(image: Document) -> str:
    """The image's name in the image store of the machines."""
    return str(image["slug"] or image["id"])


def distributions(cloud: Cloud) -> list[Document]:
    bootable = cloud.machines.images()
    return [
        {
            **image,
            "type": "base",
            "public": True,
            "regions": cloud.catalog.open_regions(),
            "description": f"{image['distribution']} {image['name']}",
            "tags": [],
            "status": "available" if image["slug"] in bootable else "retired",
        }
        for image in cloud.catalog.images.values()
    ]


def find(cloud: Cloud, identifier: str | int) -> Document | None:
    """An image by its number, or a public one by its slug."""
    snapshot = cloud.store.get("image", identifier)
    if snapshot is not None:
        return snapshot
    text = str(identifier)
    return next((image for image in distributions(cloud) if text in (str(image["id"]), image["slug"])), None)


def bootable(cloud: Cloud, identifier: str | int) -> Document | None:
    """An image that a droplet can be made from."""
    image = find(cloud, identifier)
    return image if image is not None and key_of(image) in cloud.machines.images() else None


def view(image: Document) -> Document:
    shown = {name: value for name, value in image.items() if name != "droplet"}
    return {"status": "available", "error_message": "", **shown}


def list_all(call: Call) -> Answer:
    wanted, tag = call.query.get("type"), call.query.get("tag_name")
    if wanted is not None and wanted not in _TYPES:
        raise bad_request(f'type must be "application" or "distribution", not {wanted!r}')
    private = _flag(call, "private")
    images = [] if private else distributions(call.cloud)
    if wanted is None:
        images = [*call.store.all("image"), *images]
    if wanted == "application":
        images = []
    if tag is not None:
        images = [image for image in images if has(image, tag)]
    return call.listing("images", images, view)


def _flag(call: Call, name: str) -> bool:
    text = call.query.get(name, "false")
    if text not in ("true", "false"):
        raise bad_request(f"{name} must be true or false, not {text!r}")
    return text == "true"


def _own(call: Call) -> Document:
    """The snapshot that the path names; public images are not the account's to change."""
    image = call.store.get("image", call.number("image"))
    if image is None:
        if find(call.cloud, call.path["image"]) is not None:
            raise forbidden("You are not authorized to perform this operation")
        raise not_found()
    return image


def show(call: Call) -> Answer:
    image = find(call.cloud, call.path["image"])
    if image is None:
        raise not_found()
    return Answer(200, {"image": view(image)})


def update(call: Call) -> Answer:
    image = _own(call)
    changes = {name: value for name, value in call.body(ImageChange).sent().items() if value is not None}
    changed = {**image, **changes}
    call.store.put("image", image["id"], changed)
    return Answer(200, {"image": view(changed)})


def delete(call: Call) -> Answer:
    remove(call.cloud, _own(call))
    return NO_CONTENT


def remove(cloud: Cloud, image: Document) -> None:
    cloud.store.delete("image", image["id"])
    cloud.doom_image(key_of(image))


def list_actions(call: Call) -> Answer:
    return actions.listing(call, actions.of_resource(call, "image", call.number("image")))


def show_action(call: Call) -> Answer:
    number = call.number("image")
    action = actions.one(call, lambda found: (found["resource_type"], found["resource"]) == ("image", number))
    return actions.answer(call, 200, action)


def act(call: Call) -> Answer:
    image, body = _own(call), call.body(ImageAction)
    if body.type == "convert":
        raise unprocessable("Only backups can be converted to snapshots.")
    if body.region not in call.cloud.catalog.open_regions():
        raise unprocessable(f"region: you specified an invalid region for the transfer: {body.region!r}")
    if body.region in image["regions"]:
        raise unprocessable(f"The image is already available in {body.region}.")
    action = call.cloud.begin("transfer", resource=("image", image["id"]), region=body.region)
    return actions.answer(call, 201, action)


ENDPOINTS = (
    lists("/v2/images", list_all, "type", "private", "tag_name"),
    Endpoint("GET", "/v2/images/{image}", show),
    Endpoint("PUT", "/v2/images/{image}", update),
    Endpoint("DELETE", "/v2/images/{image}", delete),
    lists("/v2/images/{image}/actions", list_actions),
    Endpoint("POST", "/v2/images/{image}/actions", act),
    Endpoint("GET", "/v2/images/{image}/actions/{action}", show_action),
)
