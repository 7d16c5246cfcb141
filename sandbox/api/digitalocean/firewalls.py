"""Cloud firewalls: whom they hold for, by droplet and tag, and their rules."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from sandbox.api.call import NO_CONTENT, Answer, Call, Endpoint, lists
from sandbox.api.digitalocean import tags
from sandbox.api.digitalocean.droplets import named as named_droplet
from sandbox.api.digitalocean.firewall_rules import (
    DropletIds,
    FirewallBody,
    Rules,
    TagNames,
    check_limits,
    normal,
)
from sandbox.api.errors import bad_request, conflict, not_found, unprocessable
from sandbox.api.topology import covers
from sandbox.store import Document

_RULES = ("inbound_rules", "outbound_rules")


def view(call: Call, firewall: Document) -> Document:
    """A firewall waits until the network holds its last change."""
    waiting = not call.cloud.fabric.is_applied(firewall["change"])
    shown = {name: value for name, value in firewall.items() if name not in ("change", "touched")}
    pending = firewall["touched"] if waiting else []
    status = "succeeded"
    if waiting:
        status = "waiting" if call.cloud.fabric.failure is None else "failed"
    return {
        **shown,
        "status": status,
        "pending_changes": [{**change, "status": "waiting"} for change in pending],
    }


def list_all(call: Call) -> Answer:
    return call.listing("firewalls", call.store.all("firewall"), lambda firewall: view(call, firewall))


def list_of_droplet(call: Call) -> Answer:
    droplet = named_droplet(call)
    held = [firewall for firewall in call.store.all("firewall") if covers(firewall, droplet)]
    return call.listing("firewalls", held, lambda firewall: view(call, firewall))


def _named(call: Call) -> Document:
    firewall = call.store.get("firewall", call.path["firewall"])
    if firewall is None:
        raise not_found()
    return firewall


def show(call: Call) -> Answer:
    return Answer(200, {"firewall": view(call, _named(call))})


def create(call: Call) -> Answer:
    body = call.body(FirewallBody)
    firewall = {"id": str(uuid.uuid4()), **_content(body), "created_at": call.cloud.stamp()}
    _save(call, None, firewall)
    return Answer(202, {"firewall": view(call, firewall)})


def update(call: Call) -> Answer:
    """The whole object is replaced; a list that is left out is empty afterwards."""
    firewall = _named(call)
    changed = {**firewall, **_content(call.body(FirewallBody))}
    _save(call, firewall, changed)
    return Answer(200, {"firewall": view(call, changed)})


def delete(call: Call) -> Answer:
    call.store.delete("firewall", _named(call)["id"])
    call.cloud.fabric.changed()
    return NO_CONTENT


def _content(body: FirewallBody) -> Document:
    return {
        "name": body.name,
        "inbound_rules": normal(body.inbound_rules or ()),
        "outbound_rules": normal(body.outbound_rules or ()),
        "droplet_ids": list(dict.fromkeys(body.droplet_ids or ())),
        "tags": list(dict.fromkeys(body.tags or ())),
    }


def _save(call: Call, old: Document | None, new: Document) -> None:
    """Check a firewall against limits, names, droplets and tags, store it and have it applied."""
    check_limits(new)
    if any(other["name"] == new["name"] and other["id"] != new["id"] for other in call.store.all("firewall")):
        raise conflict("duplicate name")
    _check_known(call, new)
    before = set() if old is None else _held(call, old)
    after = _held(call, new)
    touched = [
        {"droplet_id": droplet, "removing": droplet not in after} for droplet in sorted(before | after)
    ]
    new["tags"] = [
        tag["name"] for tag in (call.store.get("tag", name.lower()) for name in new["tags"]) if tag
    ]
    new |= {"change": call.cloud.fabric.changed(), "touched": touched}
    call.store.put("firewall", new["id"], new)


def _held(call: Call, firewall: Document) -> set[int]:
    return {droplet["id"] for droplet in call.store.all("droplet") if covers(firewall, droplet)}


def _check_known(call: Call, firewall: Document) -> None:
    """Everything a firewall names must exist."""
    ends = [
        rule["sources" if side == "inbound_rules" else "destinations"]
        for side in _RULES
        for rule in firewall[side]
    ]
    droplets = [*firewall["droplet_ids"], *(number for end in ends for number in end.get("droplet_ids", ()))]
    for number in droplets:
        if call.store.get("droplet", number) is None:
            raise unprocessable(f"droplet_ids: the droplet {number} does not exist")
    named = [*firewall["tags"], *(name for end in ends for name in end.get("tags", ()))]
    if unknown := tags.missing(call.store, named):
        raise unprocessable(f"tags: the tag {unknown[0]} does not exist; create it before the firewall")
    for end in ends:
        for kind in ("load_balancer_uids", "kubernetes_ids"):
            if end.get(kind):
                raise unprocessable(f"{kind}: {end[kind][0]} does not exist")


def _edit(call: Call, **lists_: Iterable[object]) -> Answer:
    """Change some lists of a firewall."""
    firewall = _named(call)
    _save(call, firewall, {**firewall, **{name: list(values) for name, values in lists_.items()}})
    return NO_CONTENT


def add_droplets(call: Call) -> Answer:
    wanted = call.body(DropletIds).droplet_ids
    return _edit(call, droplet_ids=dict.fromkeys([*_named(call)["droplet_ids"], *wanted]))


def remove_droplets(call: Call) -> Answer:
    gone = call.body(DropletIds).droplet_ids
    return _edit(call, droplet_ids=[number for number in _named(call)["droplet_ids"] if number not in gone])


def add_tags(call: Call) -> Answer:
    wanted = call.body(TagNames).tags or ()
    return _edit(call, tags=dict.fromkeys([*_named(call)["tags"], *wanted]))


def remove_tags(call: Call) -> Answer:
    gone = {name.lower() for name in call.body(TagNames).tags or ()}
    return _edit(call, tags=[name for name in _named(call)["tags"] if name.lower() not in gone])


def add_rules(call: Call) -> Answer:
    body, firewall = call.body(Rules), _named(call)
    added = {
        "inbound_rules": normal(body.inbound_rules or ()),
        "outbound_rules": normal(body.outbound_rules or ()),
    }
    for side in _RULES:
        if doubled := [rule for rule in added[side] if rule in firewall[side]]:
            raise conflict(f"duplicate rule: {side} {doubled[0]['protocol']} {doubled[0]['ports']}")
    return _edit(call, **{side: [*firewall[side], *added[side]] for side in _RULES})


def remove_rules(call: Call) -> Answer:
    body, firewall = call.body(Rules), _named(call)
    gone = {
        "inbound_rules": normal(body.inbound_rules or ()),
        "outbound_rules": normal(body.outbound_rules or ()),
    }
    for side in _RULES:
        if absent := [rule for rule in gone[side] if rule not in firewall[side]]:
            raise bad_request(f"no such rule: {side} {absent[0]['protocol']} {absent[0]['ports']}")
    return _edit(
        call, **{side: [rule for rule in firewall[side] if rule not in gone[side]] for side in _RULES}
    )


ENDPOINTS = (
    lists("/v2/firewalls", list_all),
    Endpoint("POST", "/v2/firewalls", create),
    Endpoint("GET", "/v2/firewalls/{firewall}", show),
    Endpoint("PUT", "/v2/firewalls/{firewall}", update),
    Endpoint("DELETE", "/v2/firewalls/{firewall}", delete),
    Endpoint("POST", "/v2/firewalls/{firewall}/droplets", add_droplets),
    Endpoint("DELETE", "/v2/firewalls/{firewall}/droplets", remove_droplets),
    Endpoint("POST", "/v2/firewalls/{firewall}/tags", add_tags),
    Endpoint("DELETE", "/v2/firewalls/{firewall}/tags", remove_tags),
    Endpoint("POST", "/v2/firewalls/{firewall}/rules", add_rules),
    Endpoint("DELETE", "/v2/firewalls/{firewall}/rules", remove_rules),
    lists("/v2/droplets/{droplet}/firewalls", list_of_droplet),
)
