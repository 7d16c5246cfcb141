"""DigitalOcean: snapshots of droplets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sandbox.providers.call import Call, Created, OperationError
from sandbox.providers.digitalocean.common import ACTION_LIMIT, pages, token, wait_for_action
from sandbox.providers.http import ApiError
from sandbox.providers.schema import (
    INTEGER,
    NUMBER,
    STRING,
    Naming,
    Operations,
    Resource,
    by_name,
    computed,
    given,
    required,
    set_of,
)
from sandbox.providers.validators import not_empty
from sandbox.providers.values import Values

Document = Mapping[str, Any]


class DropletSnapshots(Operations):
    """A snapshot is an action of its droplet; which snapshot it made is told by the time of its start."""

    async def create(self, call: Call) -> Created:
        droplet = call.inputs["dropletId"]
        body = {"type": "snapshot", "name": call.inputs["name"]}
        try:
            action = (await call.api.post(f"/v2/droplets/{droplet}/actions", body))["action"]
        except ApiError as error:
            raise OperationError(f"Error creating Droplet Snapshot: {error}") from error
        try:
            action = await wait_for_action(call, action, call.timeout or ACTION_LIMIT)
        except (ApiError, OperationError) as error:
            raise OperationError(
                f"Error waiting for Droplet snapshot ({droplet}) to finish: {error}"
            ) from error
        key = await _find_snapshot(call, droplet, action)
        return Created(key, _snapshot_outputs((await call.api.get(f"/v2/snapshots/{key}"))["snapshot"]))

    async def read(self, call: Call) -> Values | None:
        try:
            return _snapshot_outputs((await call.api.get(f"/v2/snapshots/{call.key}"))["snapshot"])
        except ApiError as error:
            if error.status == 404:
                return None
            raise OperationError(f"Error retrieving Droplet snapshot: {error}") from error

    async def update(self, call: Call) -> Values:
        outputs = await self.read(call)
        if outputs is None:
            raise OperationError(f"Droplet snapshot ({call.key}) not found during update")
        return outputs

    async def delete(self, call: Call) -> None:
        try:
            await call.api.delete(f"/v2/snapshots/{call.key}")
        except ApiError as error:
            raise OperationError(f"Error deleting snapshot: {error}") from error


async def _find_snapshot(call: Call, droplet: str, action: Document) -> str:

    async for item in pages(call, f"/v2/droplets/{droplet}/snapshots", "snapshots"):
        if item["created_at"] == action["started_at"]:
            return str(item["id"])
    raise OperationError("Error retrieving Droplet Snapshot: Error Could not locate the Droplet Snapshot")


def _snapshot_outputs(document: Document) -> Values:
    return {
        "name": document["name"],
        "dropletId": str(document["resource_id"]),
        "regions": document.get("regions") or [],
        "size": document["size_gigabytes"],
        "createdAt": document["created_at"],
        "minDiskSize": document["min_disk_size"],
    }


DROPLET_SNAPSHOT = Resource(
    token=token("DropletSnapshot"),
    naming=Naming(),
    records_failed_updates=True,
    operations=DropletSnapshots(),
    properties=by_name(
        [
            given("name", replaces=True, checks=[not_empty]),
            required("dropletId", replaces=True, checks=[not_empty]),
            computed("regions", set_of(STRING)),
            computed("size", NUMBER),
            computed("createdAt"),
            computed("minDiskSize", INTEGER),
        ]
    ),
)

RESOURCES = (DROPLET_SNAPSHOT,)
