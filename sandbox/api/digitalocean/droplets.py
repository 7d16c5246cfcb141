"""Droplets: making, listing and deleting them."""

from __future__ import annotations

import re
from typing import ClassVar, Literal

from sandbox.api.body import Body
from sandbox.api.call import NO_CONTENT, Answer, Call, Endpoint, lists
from sandbox.api.digitalocean import droplet_order, tags
from sandbox.api.digitalocean.droplet_view import (
    RETENTION_DAYS,
    WEEKDAYS,
    WINDOW_HOURS,
    next_window,
    snapshots,
    view,
)
from sandbox.api.digitalocean.firewall_rules import forget
from sandbox.api.errors import bad_request, not_found, pending_event, unprocessable
from sandbox.store import Document

Hour = Literal[0, 4, 8, 12, 16, 20]
_HOURS = [0, 4, 8, 12, 16, 20]
_NAME = re.compile(r"[a-zA-Z0-9]?[a-z0-9A-Z.\-]*[a-z0-9A-Z]")
_LONGEST_NAME = 255
_BAD_NAME = "Name Only valid hostname characters are allowed. (a-z, A-Z, 0-9, . and -)"


class BackupPolicy(Body):
    plan: Literal["daily", "weekly"]
    weekday: Literal["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"] | None = None
    hour: Hour = 0


class NewDroplets(Body):
    """The body of a create. For no keys clients send null, as the real API lets them."""

    accepts_null: ClassVar[frozenset[str] | None] = frozenset({"ssh_keys", "tags"})

    name: str | None = None
    names: list[str] | None = None
    region: str | None = None
    size: str
    image: str | int
    ssh_keys: list[str | int] | None = None
    backups: bool = False
    backup_policy: BackupPolicy | None = None
    ipv6: bool = False
    monitoring: bool = False
    tags: list[str] | None = None
    user_data: str | None = None
    private_networking: bool = False
    volumes: list[str] | None = None
    vpc_uuid: str | None = None
    with_droplet_agent: bool | None = None
    public_networking: bool = True


def check_name(name: str) -> None:
    if len(name) > _LONGEST_NAME or _NAME.fullmatch(name) is None:
        raise unprocessable(_BAD_NAME)


def policy_of(chosen: BackupPolicy | None) -> Document | None:
    return None if chosen is None else chosen.model_dump(exclude_none=True)


def create(call: Call) -> Answer:
    body = call.body(NewDroplets)
    if (body.name is None) == (body.names is None):
        raise unprocessable("send either name, for one droplet, or names, for several")
    names = [body.name] if body.name is not None else body.names or []
    for name in names:
        check_name(name)
    order = droplet_order.check(call.cloud, body, len(names))
    made = [droplet_order.fill(call.cloud, order, name) for name in names]
    links = {"actions": [_created(call, action) for _, action in made]}
    shown = [view(call.cloud, droplet) for droplet, _ in made]
    if body.name is not None:
        return Answer(202, {"droplet": shown[0], "links": links})
    return Answer(202, {"droplets": shown, "links": links})


def _created(call: Call, action: Document) -> Document:
    return {"id": action["id"], "rel": "create", "href": f"{call.origin}/v2/actions/{action['id']}"}


def list_all(call: Call) -> Answer:
    name, tag, kind = (call.query.get(word) for word in ("name", "tag_name", "type"))
    if tag is not None and (name is not None or kind is not None):
        raise bad_request("tag_name can not be combined with name or type")
    if kind not in (None, "droplets", "gpus"):
        raise bad_request(f'type must be "droplets" or "gpus", not {kind!r}')
    found = [] if kind == "gpus" else call.store.all("droplet")
    if tag is not None:
        found = [droplet for droplet in found if tags.has(droplet, tag)]
    if name is not None:
        found = [droplet for droplet in found if droplet["name"].lower() == name.lower()]
    return call.listing("droplets", found, lambda droplet: view(call.cloud, droplet))


def named(call: Call) -> Document:
    droplet = call.store.get("droplet", call.number("droplet"))
    if droplet is None:
        raise not_found()
    return droplet


def show(call: Call) -> Answer:
    return Answer(200, {"droplet": view(call.cloud, named(call))})


def delete(call: Call) -> Answer:
    _remove(call, named(call))
    return NO_CONTENT


def delete_by_tag(call: Call) -> Answer:
    tag = call.query.get("tag_name")
    if not tag:
        raise bad_request("tag_name is required: it says which droplets to delete")
    if tags.missing(call.store, [tag]):
        raise not_found()
    for droplet in call.store.all("droplet"):
        if tags.has(droplet, tag):
            _remove(call, droplet)
    return NO_CONTENT


def _remove(call: Call, droplet: Document) -> None:
    """Delete a droplet: volumes are let go, firewalls forget it, its machine goes in the background."""
    number, store = droplet["id"], call.store
    if call.cloud.pending(number):
        raise pending_event()
    for key in droplet["volume_ids"]:
        call.cloud.change("volume", key, droplet_ids=[])
    forget(store, "droplet_ids", number)
    store.delete("project_resource", f"do:droplet:{number}")
    call.cloud.doom_droplet(droplet)


def list_snapshots(call: Call) -> Answer:
    return call.listing("snapshots", snapshots(call.cloud, named(call)["id"]), _snapshot)


def _snapshot(image: Document) -> Document:
    shown = ("id", "name", "created_at", "regions", "min_disk_size", "size_gigabytes", "type")
    return {name: image[name] for name in shown}


def list_backups(call: Call) -> Answer:
    """Backups are switched on and off but never taken here."""
    named(call)
    return call.listing("backups", [])


def list_kernels(call: Call) -> Answer:
    named(call)
    return call.listing("kernels", [])


def list_neighbors(call: Call) -> Answer:
    """No droplet shares its hardware with another of this account."""
    named(call)
    return Answer(200, {"droplets": []})


def _policy(call: Call, droplet: Document) -> Document:
    chosen = droplet["backup_policy"]
    shown = None
    if chosen is not None:
        retention = RETENTION_DAYS[chosen["plan"]]
        shown = {**chosen, "window_length_hours": WINDOW_HOURS, "retention_period_days": retention}
    return {
        "droplet_id": droplet["id"],
        "backup_enabled": droplet["backups"],
        **({} if shown is None else {"backup_policy": shown}),
        "next_backup_window": next_window(droplet, call.cloud.now),
    }


def show_policy(call: Call) -> Answer:
    return Answer(200, {"policy": _policy(call, named(call))})


def list_policies(call: Call) -> Answer:
    answer = call.listing("policies", call.store.all("droplet"), lambda droplet: _policy(call, droplet))
    document = answer.body or {}
    by_droplet = {str(policy["droplet_id"]): policy for policy in document["policies"]}
    return Answer(200, {**document, "policies": by_droplet})


def supported_policies(call: Call) -> Answer:
    weekdays = [WEEKDAYS[-1], *WEEKDAYS[:-1]]
    policies = [
        {
            "name": plan,
            "possible_window_starts": _HOURS,
            "window_length_hours": WINDOW_HOURS,
            "retention_period_days": days,
            "possible_days": weekdays if plan == "weekly" else [],
        }
        for plan, days in RETENTION_DAYS.items()
    ]
    return Answer(200, {"supported_policies": policies})


ENDPOINTS = (
    lists("/v2/droplets", list_all, "name", "tag_name", "type"),
    Endpoint("POST", "/v2/droplets", create),
    Endpoint("DELETE", "/v2/droplets", delete_by_tag, frozenset({"tag_name"})),
    lists("/v2/droplets/backups/policies", list_policies),
    Endpoint("GET", "/v2/droplets/backups/supported_policies", supported_policies),
    Endpoint("GET", "/v2/droplets/{droplet}", show),
    Endpoint("DELETE", "/v2/droplets/{droplet}", delete),
    lists("/v2/droplets/{droplet}/snapshots", list_snapshots),
    lists("/v2/droplets/{droplet}/backups", list_backups),
    Endpoint("GET", "/v2/droplets/{droplet}/backups/policy", show_policy),
    lists("/v2/droplets/{droplet}/kernels", list_kernels),
    Endpoint("GET", "/v2/droplets/{droplet}/neighbors", list_neighbors),
)
