"""DigitalOcean: tags, private networks, SSH keys, firewalls."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from sandbox.providers.call import Call, Created, OperationError, Poll
from sandbox.providers.digitalocean.common import TAGS_TYPE, drop_empty, tags_property, token
from sandbox.providers.rest import Collection, Retries
from sandbox.providers.schema import (
    BOOLEAN,
    INTEGER,
    STRING,
    Naming,
    Property,
    Resource,
    by_name,
    computed,
    given,
    list_of,
    object_of,
    required,
    set_of,
)
from sandbox.providers.validators import length_between, network, not_empty, one_of, tag
from sandbox.providers.values import Values

Document = Mapping[str, Any]

# Tags


def _tag_outputs(document: Document, _call: Call) -> Values:
    counts = document.get("resources") or {}
    kinds = ("droplets", "images", "volumes", "volume_snapshots", "databases")
    droplets, images, volumes, snapshots, databases = (
        (counts.get(kind) or {}).get("count", 0) for kind in kinds
    )
    return {
        "name": document["name"],
        "totalResourceCount": counts.get("count", 0),
        "dropletsCount": droplets,
        "imagesCount": images,
        "volumesCount": volumes,
        "volumeSnapshotsCount": snapshots,
        "databasesCount": databases,
    }


TAG = Resource(
    token=token("Tag"),
    naming=Naming(),
    records_failed_updates=True,
    properties=by_name(
        [
            given("name", replaces=True, checks=[tag]),
            computed("totalResourceCount", INTEGER),
            computed("dropletsCount", INTEGER),
            computed("imagesCount", INTEGER),
            computed("volumesCount", INTEGER),
            computed("volumeSnapshotsCount", INTEGER),
            computed("databasesCount", INTEGER),
        ]
    ),
    operations=Collection(
        path="/v2/tags",
        envelope="tag",
        verbs=("Error creating tag: ", "Error retrieving tag: ", "", "Error deleting tag: "),
        identify=lambda document: str(document["name"]),
        body=lambda call: {"name": call.inputs["name"]},
        outputs=_tag_outputs,
    ),
)

# Private networks


def _vpc_outputs(document: Document, _call: Call) -> Values:
    return {
        "name": document["name"],
        "region": document["region"],
        "description": document.get("description"),
        "ipRange": document.get("ip_range"),
        "vpcUrn": document.get("urn"),
        "default": document.get("default", False),
        "createdAt": go_time(document.get("created_at")),
    }


def go_time(text: str | None) -> str | None:
    """A time as the official plugin writes it: `2026-11-21 10:00:00 +0000 UTC`."""
    if not text:
        return None
    moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    fraction = f"{moment.microsecond:06d}".rstrip("0")
    return f"{moment:%Y-%m-%d %H:%M:%S}{'.' + fraction if fraction else ''} +0000 UTC"


VPC = Resource(
    token=token("Vpc"),
    naming=Naming(),
    records_failed_updates=True,
    properties=by_name(
        [
            given("name", checks=[not_empty]),
            required("region", replaces=True, checks=[not_empty]),
            given("description", checks=[length_between(0, 255)]),
            given("ipRange", computed=True, replaces=True, checks=[network]),
            computed("vpcUrn"),
            computed("default", BOOLEAN),
            computed("createdAt"),
        ]
    ),
    operations=Collection(
        path="/v2/vpcs",
        envelope="vpc",
        verbs=(
            "Error creating VPC: ",
            "Error reading VPC: ",
            "Error updating VPC : ",
            "Error deleting VPC: ",
        ),
        identify=lambda document: str(document["id"]),
        body=lambda call: drop_empty(
            {
                "name": call.inputs["name"],
                "region": call.inputs["region"],
                "description": call.inputs.get("description"),
                "ip_range": call.inputs.get("ipRange"),
            }
        ),
        update_body=lambda call: {
            "name": call.inputs["name"],
            "description": call.inputs.get("description", ""),
            "default": bool(call.state.get("default")),
        },
        outputs=_vpc_outputs,
        # Members take a while to leave; 403 and 409 mean that some are still there.
        delete_retries=Retries(statuses=frozenset({403, 409}), seconds=120),
    ),
)

# SSH keys


class _SshKeys(Collection):
    """The official plugin looks until a new key can be read, then reads it again."""

    async def create(self, call: Call) -> Created:
        key = self.identify(await self._begin(call))
        made = replace(call, key=key)
        poll = Poll(call.session, call.timeout or 120)
        while await self.read(made) is None:
            await poll.next(f"SSH key {key} to be readable")
        outputs = await self.read(made)
        if outputs is None:
            raise OperationError(f"Error retrieving SSH key: SSH key {key} vanished while it was created")
        return Created(key, outputs)


SSH_KEY = Resource(
    token=token("SshKey"),
    naming=Naming(),
    records_failed_updates=True,
    properties=by_name(
        [
            given("name", checks=[not_empty]),
            required(
                "publicKey",
                replaces=True,
                checks=[not_empty],
                same=lambda old, new, _inputs: str(old or "").strip() == str(new).strip(),
            ),
            computed("fingerprint"),
        ]
    ),
    operations=_SshKeys(
        path="/v2/account/keys",
        envelope="ssh_key",
        verbs=(
            "Error creating SSH Key: ",
            "Error retrieving SSH key: ",
            "Failed to update SSH key: ",
            "Error deleting SSH key: ",
        ),
        identify=lambda document: str(document["id"]),
        body=lambda call: {"name": call.inputs["name"], "public_key": call.inputs["publicKey"]},
        update_body=lambda call: {"name": call.inputs["name"]},
        outputs=lambda document, _call: {
            "name": document["name"],
            "publicKey": document["public_key"],
            "fingerprint": document["fingerprint"],
        },
    ),
)

# Firewalls

_PEERS = {
    "Addresses": ("addresses", set_of(STRING)),
    "DropletIds": ("droplet_ids", set_of(INTEGER)),
    "LoadBalancerUids": ("load_balancer_uids", set_of(STRING)),
    "KubernetesIds": ("kubernetes_ids", set_of(STRING)),
    "Tags": ("tags", TAGS_TYPE),
}


def _rules_property(name: str, side: str) -> Property:
    rule = object_of(
        required("protocol", checks=[one_of("tcp", "udp", "icmp")]),
        given("portRange", checks=[not_empty]),
        *(given(f"{side}{suffix}", type_) for suffix, (_, type_) in _PEERS.items()),
    )
    return given(name, set_of(rule))


def _firewall_rules(inputs: Values) -> Iterable[str]:
    if not inputs.get("inboundRules") and not inputs.get("outboundRules"):
        yield "At least one rule must be specified"
    for direction in ("inbound", "outbound"):
        for rule in inputs.get(f"{direction}Rules") or ():
            if rule["protocol"] != "icmp" and not rule.get("portRange"):
                yield f"`port_range` of {direction} rules is required if protocol is `tcp` or `udp`"


def _send_rules(rules: Any, side: str) -> list[Document] | None:
    peers = f"{side}s"
    return [
        drop_empty({"protocol": rule["protocol"], "ports": rule.get("portRange")})
        | {peers: drop_empty({field: rule.get(f"{side}{suffix}") for suffix, (field, _) in _PEERS.items()})}
        for rule in rules or ()
    ] or None


def _receive_rules(rules: Any, side: str) -> list[Values]:
    result = []
    for rule in rules or ():
        peers = rule.get(f"{side}s") or {}
        received = {f"{side}{suffix}": peers.get(field) for suffix, (field, _) in _PEERS.items()}
        result.append(drop_empty({"protocol": rule["protocol"], "portRange": _port_range(rule), **received}))
    return result


def _port_range(rule: Document) -> str | None:
    """The API says "0" for all ports, and for a protocol that has none."""
    ports = rule.get("ports")
    if ports != "0":
        return ports
    return None if rule["protocol"] == "icmp" else "all"


def _firewall_body(call: Call) -> Document:
    return {
        "name": call.inputs["name"],
        "inbound_rules": _send_rules(call.inputs.get("inboundRules"), "source"),
        "outbound_rules": _send_rules(call.inputs.get("outboundRules"), "destination"),
        "droplet_ids": call.inputs.get("dropletIds"),
        "tags": call.inputs.get("tags") or [],
    }


def _firewall_outputs(document: Document, _call: Call) -> Values:
    return {
        "name": document["name"],
        "status": document.get("status"),
        "createdAt": document.get("created_at"),
        "pendingChanges": [
            {
                "dropletId": item.get("droplet_id"),
                "removing": item.get("removing"),
                "status": item.get("status"),
            }
            for item in document.get("pending_changes") or ()
        ],
        "dropletIds": document.get("droplet_ids") or [],
        "tags": document.get("tags") or [],
        "inboundRules": _receive_rules(document.get("inbound_rules"), "source"),
        "outboundRules": _receive_rules(document.get("outbound_rules"), "destination"),
    }


FIREWALL = Resource(
    token=token("Firewall"),
    naming=Naming(),
    records_failed_updates=True,
    rules=[_firewall_rules],
    properties=by_name(
        [
            given("name", checks=[not_empty]),
            given("dropletIds", set_of(INTEGER)),
            _rules_property("inboundRules", "source"),
            _rules_property("outboundRules", "destination"),
            tags_property(),
            computed("status"),
            computed("createdAt"),
            computed(
                "pendingChanges",
                list_of(object_of(given("dropletId", INTEGER), given("removing", BOOLEAN), given("status"))),
            ),
        ]
    ),
    operations=Collection(
        path="/v2/firewalls",
        envelope="firewall",
        verbs=(
            "Error creating firewall: ",
            "Error retrieving firewall: ",
            "Error updating firewall: ",
            "Error deleting firewall: ",
        ),
        identify=lambda document: str(document["id"]),
        body=_firewall_body,
        outputs=_firewall_outputs,
    ),
)

RESOURCES = (TAG, VPC, SSH_KEY, FIREWALL)
