"""A droplet as the API shows it."""

from __future__ import annotations

from datetime import datetime, timedelta
from ipaddress import IPv4Interface

from sandbox.api.addresses import gateway_of
from sandbox.api.clock import stamp
from sandbox.api.cloud import Cloud
from sandbox.api.digitalocean import images
from sandbox.api.digitalocean.account import size_view
from sandbox.store import Document

# https://docs.digitalocean.com/products/backups/ (four-hour windows; a week kept for daily, four for weekly)
WINDOW_HOURS = 4
RETENTION_DAYS = {"daily": 7, "weekly": 28}
WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")
DEFAULT_POLICY: Document = {"plan": "weekly", "weekday": "SUN", "hour": 0}


def view(cloud: Cloud, droplet: Document) -> Document:
    size = cloud.catalog.sizes[droplet["size"]]
    return {
        "id": droplet["id"],
        "name": droplet["name"],
        "memory": size["memory"],
        "vcpus": size["vcpus"],
        "disk": droplet["disk"],
        "disk_info": [{"type": "local", "size": {"amount": droplet["disk"], "unit": "gib"}}],
        # Reserved for the provider's own locks; an event in progress shows as a pending action instead.
        "locked": False,
        "status": droplet["status"],
        "kernel": None,
        "created_at": droplet["created_at"],
        "features": _features(droplet),
        "backup_ids": [],
        "next_backup_window": next_window(droplet, cloud.now),
        "snapshot_ids": [image["id"] for image in snapshots(cloud, droplet["id"])],
        "image": _image(cloud, droplet),
        "volume_ids": droplet["volume_ids"],
        "size": size_view(size),
        "size_slug": droplet["size"],
        "networks": _networks(droplet),
        "region": cloud.catalog.region(droplet["region"]),
        "tags": droplet["tags"],
        "vpc_uuid": droplet["vpc"],
    }


def snapshots(cloud: Cloud, droplet: int) -> list[Document]:
    return [image for image in cloud.store.all("image") if image["droplet"] == droplet]


def has_ipv6(droplet: Document) -> bool:
    return droplet["public"].get("ipv6") is not None


def next_window(droplet: Document, now: datetime) -> Document | None:
    """When the next backup may be taken; None without backups."""
    policy = droplet["backup_policy"]
    if not droplet["backups"] or policy is None:
        return None
    start = now.replace(hour=policy["hour"], minute=0, second=0, microsecond=0)
    weekday = policy.get("weekday", DEFAULT_POLICY["weekday"]) if policy["plan"] == "weekly" else None
    while start <= now or (weekday is not None and WEEKDAYS[start.weekday()] != weekday):
        start += timedelta(days=1)
    return {"start": stamp(start), "end": stamp(start + timedelta(hours=WINDOW_HOURS))}


def _features(droplet: Document) -> list[str]:
    wanted = {
        "backups": droplet["backups"],
        "ipv6": has_ipv6(droplet),
        "monitoring": droplet["monitoring"],
        "droplet_agent": droplet["agent"],
        "private_networking": True,
    }
    return [name for name, on in wanted.items() if on]


def _image(cloud: Cloud, droplet: Document) -> Document:
    """The image as it is now, or as it was when it is deleted since."""
    current = images.find(cloud, droplet["image"]["id"])
    if current is None:
        return {**images.view(droplet["image"]), "status": "deleted"}
    return images.view(current)


def _networks(droplet: Document) -> Document:
    v4 = [_v4(droplet["private"], "private"), _v4(droplet["public"], "public")]
    return {"v4": v4, "v6": [_v6(droplet["public"]["ipv6"])] if has_ipv6(droplet) else []}


def _v6(card: Document) -> Document:
    return {
        "ip_address": card["address"],
        "netmask": card["prefix"],
        "gateway": card["gateway"],
        "type": "public",
    }


def _v4(card: Document, kind: str) -> Document:
    network = IPv4Interface(f"{card['address']}/{card['prefix']}").network
    return {
        "ip_address": card["address"],
        "netmask": str(network.netmask),
        "gateway": card["gateway"] or gateway_of(network),
        "type": kind,
    }
