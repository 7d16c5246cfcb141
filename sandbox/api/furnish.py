"""What an account has before anyone asks for it: an id, a default project, and a default VPC in every region.

A real account in use has these. (In a region never used, the first VPC becomes the default and cannot be deleted.)
"""

from __future__ import annotations

import uuid
from ipaddress import IPv4Network

from sandbox.api.addresses import free_vpc_range
from sandbox.api.catalog import Catalog
from sandbox.store import Document, Store


def furnish(store: Store, catalog: Catalog, now: str) -> None:
    """Make what is missing of it."""
    with store.transaction():
        if store.get("account", "account") is None:
            store.put("account", "account", {"uuid": str(uuid.uuid4()), "id": 7_000_001})
        if not any(project["is_default"] for project in store.all("project")):
            project = new_project(store, now, name="first-project", is_default=True)
            store.put("project", project["id"], project)
        furnished = {vpc["region"] for vpc in store.all("vpc") if vpc["default"]}
        for region in catalog.open_regions():
            if region not in furnished:
                network = free_vpc_range(vpc_ranges(store))
                vpc = new_vpc(now, name=f"default-{region}", region=region, network=network, default=True)
                store.put("vpc", vpc["id"], vpc)


def vpc_ranges(store: Store) -> list[IPv4Network]:
    return [IPv4Network(vpc["ip_range"]) for vpc in store.all("vpc")]


def new_vpc(
    now: str, *, name: str, region: str, network: IPv4Network, description: str = "", default: bool = False
) -> Document:
    key = str(uuid.uuid4())
    return {
        "id": key,
        "urn": f"do:vpc:{key}",
        "name": name,
        "description": description,
        "region": region,
        "ip_range": str(network),
        "default": default,
        "created_at": now,
    }


def new_project(
    store: Store,
    now: str,
    *,
    name: str,
    description: str = "",
    purpose: str = "Web Application",
    environment: str | None = None,
    is_default: bool = False,
) -> Document:
    account = store.get("account", "account") or {}
    project = {
        "id": str(uuid.uuid4()),
        "owner_uuid": account["uuid"],
        "owner_id": account["id"],
        "name": name,
        "description": description,
        "purpose": purpose,
        "is_default": is_default,
        "created_at": now,
        "updated_at": now,
    }
    return project | ({"environment": environment} if environment else {})
