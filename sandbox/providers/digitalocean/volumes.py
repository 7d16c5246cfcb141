"""DigitalOcean: block storage volumes and their attachment to droplets."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from typing import Any

from sandbox.providers.call import Call, Created, OperationError, Poll
from sandbox.providers.digitalocean.common import (
    drop_empty,
    lower,
    set_tags,
    tags_property,
    token,
    wait_for_action,
)
from sandbox.providers.digitalocean.droplets import attach_volume, detach_volume
from sandbox.providers.http import ApiError
from sandbox.providers.rest import Collection
from sandbox.providers.schema import (
    INTEGER,
    Naming,
    Operations,
    Resource,
    by_name,
    computed,
    given,
    required,
    set_of,
)
from sandbox.providers.validators import at_least, not_empty, one_of
from sandbox.providers.values import Values

Document = Mapping[str, Any]

# https://docs.digitalocean.com/products/volumes/details/limits/
_NAME_LIMIT = 64
_ATTACH_LIMIT = 300.0


class _Volumes(Collection):
    """Volumes change by actions: they grow, and take other tags."""

    async def update(self, call: Call) -> Values:
        try:
            if "size" in call.changed:
                body = {
                    "type": "resize",
                    "size_gigabytes": call.inputs["size"],
                    "region": call.inputs["region"],
                }
                answer = await call.api.post(f"{self.path}/{call.key}/actions", body)
                await wait_for_action(call, answer["action"])
            if "tags" in call.changed:
                await set_tags(call, "volume")
        except ApiError as error:
            raise OperationError(f"Error updating volume ({call.key}): {error}") from error
        outputs = await self.read(call)
        if outputs is None:
            raise OperationError(f"volume ({call.key}) not found during update")
        return outputs


def _volume_outputs(document: Document, _call: Call) -> Values:
    return {
        "name": document["name"],
        "region": document["region"]["slug"],
        "size": document["size_gigabytes"],
        "volumeUrn": f"do:volume:{document['id']}",
        "tags": document.get("tags") or [],
        "dropletIds": document.get("droplet_ids") or [],
        "filesystemType": document.get("filesystem_type") or "",
        "filesystemLabel": document.get("filesystem_label") or "",
    } | ({"description": document["description"]} if document.get("description") else {})


def _only_grows(state: Values, news: Values) -> Iterable[str]:
    if (news.get("size") or 0) < (state.get("size") or 0):
        yield "volumes `size` can only be expanded and not shrunk"


def _one_filesystem(inputs: Values) -> Iterable[str]:
    if inputs.get("filesystemType") and inputs.get("initialFilesystemType"):
        yield '"filesystem_type": conflicts with initial_filesystem_type'


VOLUME = Resource(
    token=token("Volume"),
    naming=Naming(limit=_NAME_LIMIT, lower_case=True),
    records_failed_updates=True,
    rules=[_one_filesystem],
    change_rules=[_only_grows],
    properties=by_name(
        [
            required("region", replaces=True, to_state=lower),
            given("name", replaces=True, checks=[not_empty]),
            required("size", INTEGER, checks=[at_least(1)]),
            given("description", replaces=True, checks=[not_empty]),
            given("snapshotId", replaces=True, checks=[not_empty]),
            given("initialFilesystemType", replaces=True, checks=[one_of("ext4", "xfs")]),
            given("initialFilesystemLabel", replaces=True, checks=[not_empty]),
            given("filesystemType", computed=True, checks=[one_of("ext4", "xfs")]),
            tags_property(),
            computed("dropletIds", set_of(INTEGER)),
            computed("filesystemLabel"),
            computed("volumeUrn"),
        ]
    ),
    operations=_Volumes(
        path="/v2/volumes",
        envelope="volume",
        verbs=("Error creating Volume: ", "Error retrieving volume: ", "", "Error deleting volume: "),
        identify=lambda document: str(document["id"]),
        body=lambda call: (
            {
                "name": call.inputs["name"],
                "size_gigabytes": call.inputs["size"],
                "region": lower(call.inputs["region"]),
                "description": call.inputs.get("description", ""),
                "tags": call.inputs.get("tags") or [],
            }
            | drop_empty(
                {
                    "snapshot_id": call.inputs.get("snapshotId"),
                    "filesystem_type": call.inputs.get("initialFilesystemType")
                    or call.inputs.get("filesystemType"),
                    "filesystem_label": call.inputs.get("initialFilesystemLabel"),
                }
            )
        ),
        outputs=_volume_outputs,
    ),
)


class _Attachments(Operations):
    """An attachment is no object of the API: it is seen in the volume's list of droplets."""

    async def create(self, call: Call) -> Created:
        volume, droplet = call.inputs["volumeId"], call.inputs["dropletId"]
        try:
            attached = (await call.api.get(f"/v2/volumes/{volume}"))["volume"].get("droplet_ids") or []
        except ApiError as error:
            raise OperationError(f"Error retrieving volume: {error}") from error
        if attached[:1] != [droplet]:
            await _retry_while_busy(call, attach_volume, "attaching volume to droplet")
        return Created(f"{droplet}-{volume}-{time.strftime('%Y%m%d%H%M%S')}{time.time_ns() % 10**9:09d}", {})

    async def read(self, call: Call) -> Values | None:
        try:
            volume = (await call.api.get(f"/v2/volumes/{call.state['volumeId']}"))["volume"]
        except ApiError as error:
            if error.status == 404:
                return None
            raise OperationError(f"Error retrieving volume: {error}") from error
        return {} if (volume.get("droplet_ids") or [])[:1] == [call.state["dropletId"]] else None

    async def update(self, call: Call) -> Values:
        return {}

    async def delete(self, call: Call) -> None:
        await _retry_while_busy(call, detach_volume, "detaching volume from droplet")


async def _retry_while_busy(call: Call, act: Any, doing: str) -> None:
    """A droplet has one event at a time; wait for those before."""
    known = {**call.state, **call.inputs}
    poll = Poll(call.session, call.timeout or _ATTACH_LIMIT)
    while True:
        try:
            await act(call, known["volumeId"], known["dropletId"])
        except ApiError as error:
            if error.status != 422 or "Droplet already has a pending event." not in error.body:
                raise OperationError(f"Error {doing} after retry timeout: {error}") from error
            await poll.next(f"the events of droplet {known['dropletId']} to end")
            continue
        return


VOLUME_ATTACHMENT = Resource(
    token=token("VolumeAttachment"),
    records_failed_updates=True,
    operations=_Attachments(),
    properties=by_name(
        [
            required("dropletId", INTEGER, replaces=True, checks=[not_empty]),
            required("volumeId", replaces=True, checks=[not_empty]),
        ]
    ),
)

RESOURCES = (VOLUME, VOLUME_ATTACHMENT)
