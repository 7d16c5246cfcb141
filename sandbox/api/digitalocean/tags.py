"""Tags: names that bind droplets, images, volumes, databases and firewalls; compared without case, shown as first written."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Literal

from sandbox.api.body import Body
from sandbox.api.call import NO_CONTENT, Answer, Call, Endpoint, lists
from sandbox.api.cloud import Cloud
from sandbox.api.digitalocean.firewall_rules import forget
from sandbox.api.errors import ApiError, not_found, unprocessable
from sandbox.store import Document, Store

# https://docs.digitalocean.com/reference/api/ (tags: letters, numbers, colons, dashes, underscores; at most 255)
_NAME = re.compile(r"[a-zA-Z0-9_\-:]{1,255}")

# What a tag can be on: the API's word, the store's kind, the name of its count.
_KINDS = {
    "droplet": ("droplet", "droplets"),
    "image": ("image", "images"),
    "volume": ("volume", "volumes"),
    "volume_snapshot": ("volume_snapshot", "volume_snapshots"),
    "database": ("database", "databases"),
}


class NewTag(Body):
    name: str


class Resource(Body):
    resource_id: str
    resource_type: Literal["droplet", "image", "volume", "volume_snapshot", "database"]


class Resources(Body):
    resources: list[Resource]


def check(name: str) -> None:
    """ApiError 422 for a name that cannot be a tag."""
    if _NAME.fullmatch(name) is None:
        raise unprocessable(_refusal(name))


def _refusal(name: str) -> str:
    return f'Error validating resource tag: "{name}" contains invalid characters'


def ensure(store: Store, names: Iterable[str]) -> list[str]:
    """Make the tags that are missing; the names as the account first wrote them, each once."""
    known: dict[str, str] = {}
    for name in names:
        check(name)
        tag = store.get("tag", name.lower())
        if tag is None:
            tag = {"name": name, "last": {}}
            store.put("tag", name.lower(), tag)
        known[name.lower()] = tag["name"]
    return list(known.values())


def missing(store: Store, names: Iterable[str]) -> list[str]:
    return [name for name in names if store.get("tag", name.lower()) is None]


def has(document: Document, name: str) -> bool:
    return name.lower() in (tag.lower() for tag in document["tags"])


def note_tagged(store: Store, names: Iterable[str], kind: str, path: str) -> None:
    """Remember what a tag was last put on; `kind` is the count's name, `path` that thing's."""
    for name in names:
        tag = store.get("tag", name.lower())
        if tag is not None:
            store.put("tag", name.lower(), {**tag, "last": {**tag["last"], kind: path}})


def view(call: Call, tag: Document) -> Document:
    resources: Document = {}
    for kind, count in _KINDS.values():
        number = sum(has(document, tag["name"]) for document in call.store.all(kind))
        resources[count] = {"count": number}
        if number and count in tag["last"]:
            resources[count]["last_tagged_uri"] = call.origin + tag["last"][count]
    resources["count"] = sum(entry["count"] for entry in resources.values())
    return {"name": tag["name"], "resources": resources}


def list_all(call: Call) -> Answer:
    return call.listing("tags", call.store.all("tag"), lambda tag: view(call, tag))


def create(call: Call) -> Answer:
    """Making a tag that exists answers with it, as the real API does; its refusals have a shape of their own."""
    name = call.body(NewTag).name
    if _NAME.fullmatch(name) is None:
        text = _refusal(name)
        body = {"error": text, "messages": None, "root_causes": [text]}
        raise ApiError(400, "bad_request", text, body=body)
    ensure(call.store, [name])
    return Answer(201, {"tag": view(call, _get(call.store, name))})


def _get(store: Store, name: str) -> Document:
    tag = store.get("tag", name.lower())
    if tag is None:
        raise not_found()
    return tag


def show(call: Call) -> Answer:
    return Answer(200, {"tag": view(call, _get(call.store, call.path["tag"]))})


def delete(call: Call) -> Answer:
    """The tag leaves everything it is on, firewalls included: what they covered by it is covered no more."""
    tag = _get(call.store, call.path["tag"])
    forget(call.store, "tags", tag["name"])
    for kind, _ in _KINDS.values():
        for document in call.store.all(kind):
            if has(document, tag["name"]):
                _retag(call.store, kind, document, removed=tag["name"])
    call.store.delete("tag", tag["name"].lower())
    call.cloud.fabric.changed()
    return NO_CONTENT


def assign(call: Call) -> Answer:
    tag = _get(call.store, call.path["tag"])
    for resource in call.body(Resources).resources:
        kind, document = _resource(call.cloud, resource)
        _retag(call.store, kind, document, added=tag["name"])
        count = _KINDS[resource.resource_type][1]
        note_tagged(call.store, [tag["name"]], count, f"/v2/{count}/{document['id']}")
    call.cloud.fabric.changed()
    return NO_CONTENT


def unassign(call: Call) -> Answer:
    tag = _get(call.store, call.path["tag"])
    for resource in call.body(Resources).resources:
        kind, document = _resource(call.cloud, resource)
        _retag(call.store, kind, document, removed=tag["name"])
    call.cloud.fabric.changed()
    return NO_CONTENT


def _resource(cloud: Cloud, resource: Resource) -> tuple[str, Document]:
    kind = _KINDS[resource.resource_type][0]
    document = cloud.store.get(kind, resource.resource_id)
    if document is None:
        raise unprocessable(f"{resource.resource_type} {resource.resource_id} does not exist")
    return kind, document


def _retag(
    store: Store, kind: str, document: Document, *, added: str | None = None, removed: str | None = None
) -> None:
    gone = (added or removed or "").lower()
    names = [name for name in document["tags"] if name.lower() != gone]
    if added is not None:
        names.append(added)
    store.put(kind, document["id"], {**document, "tags": names})


ENDPOINTS = (
    lists("/v2/tags", list_all),
    Endpoint("POST", "/v2/tags", create),
    Endpoint("GET", "/v2/tags/{tag}", show),
    Endpoint("DELETE", "/v2/tags/{tag}", delete),
    Endpoint("POST", "/v2/tags/{tag}/resources", assign),
    Endpoint("DELETE", "/v2/tags/{tag}/resources", unassign),
)
