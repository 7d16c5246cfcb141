"""Droplets as the API speaks of them: what a creation sends, and what an answer means."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from typing import Any

from sandbox.providers.digitalocean.common import number_or_text
from sandbox.providers.values import Values

Document = Mapping[str, Any]


def address(document: Document, family: str, kind: str) -> str:
    """The first address of the kind ("public", "private"); empty when there is none."""
    for item in (document.get("networks") or {}).get(family) or ():
        if item.get("type") == kind and _is_address(item.get("ip_address")):
            return str(item["ip_address"]).lower()
    return ""


def _is_address(text: Any) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def droplet_outputs(document: Document) -> Values:
    """What the API tells of a droplet. The image is not among it: a slug may come to mean another image."""
    size, public = document["size"], address(document, "v4", "public")
    outputs: Values = {
        "name": document["name"],
        "dropletUrn": f"do:droplet:{document['id']}",
        "region": document["region"]["slug"],
        "size": size["slug"],
        "priceHourly": size["price_hourly"],
        "priceMonthly": size["price_monthly"],
        "disk": document["disk"],
        "vcpus": document["vcpus"],
        "memory": document["memory"],
        "status": document["status"],
        "locked": document["locked"],
        "createdAt": document["created_at"],
        "vpcUuid": document.get("vpc_uuid") or "",
        "ipv4Address": public,
        "ipv4AddressPrivate": address(document, "v4", "private"),
        "ipv6Address": address(document, "v6", "public"),
        "publicNetworking": bool(public),
        "volumeIds": list(document.get("volume_ids") or []),
        "tags": list(document.get("tags") or []),
    }
    features = document.get("features")
    if features is not None:
        outputs |= {
            "backups": "backups" in features,
            "ipv6": "ipv6" in features,
            "privateNetworking": "private_networking" in features,
            "monitoring": "monitoring" in features,
        }
    return outputs


def imported_outputs(document: Document) -> Values:
    """What else is needed of a droplet that no state knows yet."""
    image = document["image"]
    return {"image": image.get("slug") or str(image["id"]), "resizeDisk": True}


def create_body(inputs: Values) -> Document:
    body: Values = {
        "name": inputs["name"],
        "region": inputs.get("region", ""),
        "size": inputs["size"],
        "image": number_or_text(inputs["image"]),
        "ssh_keys": [number_or_text(key) for key in inputs.get("sshKeys") or ()] or None,
        "backups": bool(inputs.get("backups")),
        "ipv6": bool(inputs.get("ipv6")),
        "private_networking": bool(inputs.get("privateNetworking")),
        "monitoring": bool(inputs.get("monitoring")),
        "tags": inputs.get("tags") or [],
    }
    optional = {
        "user_data": inputs.get("userData"),
        "vpc_uuid": inputs.get("vpcUuid"),
        "volumes": inputs.get("volumeIds"),
        "backup_policy": backup_policy(inputs),
        "gpu_partition_mode": inputs.get("gpuPartitionMode"),
    }
    body |= {name: value for name, value in optional.items() if value}
    if inputs.get("publicNetworking") is False:
        body["public_networking"] = False
    if inputs.get("dropletAgent") is not None:
        body["with_droplet_agent"] = inputs["dropletAgent"]
    return body


def backup_policy(inputs: Values) -> Document | None:
    policy = inputs.get("backupPolicy")
    if not policy:
        return None
    return {
        "plan": policy.get("plan", ""),
        "weekday": policy.get("weekday", ""),
        "hour": policy.get("hour", 0),
    }
