"""The account, and what it can buy: regions and sizes."""

from __future__ import annotations

from sandbox.api.call import Answer, Call, Endpoint, lists
from sandbox.store import Document


def show(call: Call) -> Answer:
    account = (call.store.get("account", "account") or {})["uuid"]
    document: Document = {
        "droplet_limit": call.cloud.settings.droplet_limit,
        "floating_ip_limit": 3,
        "reserved_ip_limit": 3,
        "volume_limit": 100,
        "email": "sandbox@example.com",
        "name": "Sandbox",
        "uuid": account,
        "email_verified": True,
        "status": "active",
        "status_message": "",
        "team": {"uuid": account, "name": "My Team"},
    }
    return Answer(200, {"account": document})


def regions(call: Call) -> Answer:
    catalog = call.cloud.catalog
    return call.listing("regions", [catalog.region(slug) for slug in catalog.regions])


def sizes(call: Call) -> Answer:
    return call.listing("sizes", list(call.cloud.catalog.sizes.values()), size_view)


def size_view(size: Document) -> Document:
    disk = {"type": "local", "size": {"amount": size["disk"], "unit": "gib"}}
    return {**size, "disk_info": [disk]}


ENDPOINTS = (
    Endpoint("GET", "/v2/account", show),
    lists("/v2/regions", regions),
    lists("/v2/sizes", sizes),
)
