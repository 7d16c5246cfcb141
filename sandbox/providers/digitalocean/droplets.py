"""DigitalOcean: droplets."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from typing import Any

from sandbox.providers.call import Call, Created, NotReadyError, OperationError, Poll
from sandbox.providers.digitalocean.common import (
    lower,
    set_tags,
    tags_property,
    token,
    wait_for_action,
)
from sandbox.providers.digitalocean.droplet_documents import (
    Document,
    backup_policy,
    create_body,
    droplet_outputs,
    imported_outputs,
)
from sandbox.providers.http import ApiError
from sandbox.providers.schema import (
    BOOLEAN,
    INTEGER,
    NUMBER,
    STRING,
    Naming,
    Operations,
    Resource,
    by_name,
    computed,
    given,
    object_of,
    required,
    set_of,
)
from sandbox.providers.session import CancelledByEngineError
from sandbox.providers.validators import between, not_empty, one_of
from sandbox.providers.values import Values

# The official plugin's limits in seconds, where the program sets no custom timeout.
_CREATE_LIMIT = 3600.0
_UPDATE_LIMIT = 3600.0
_DELETE_LIMIT = 60.0
# A new droplet may not be readable at once; the plugin asks so many times.
_NOT_FOUND_LIMIT = 120


def _rules(inputs: Values) -> Iterable[str]:
    if inputs.get("backupPolicy") and not inputs.get("backups"):
        yield "backup_policy can only be set when backups are enabled"


class Droplets(Operations):
    """Droplets come and go through states that are polled; changes are actions, one after the other."""

    async def create(self, call: Call) -> Created:
        try:
            document = (await call.api.post("/v2/droplets", create_body(call.inputs)))["droplet"]
        except ApiError as error:
            raise OperationError(f"Error creating droplet: {error}") from error
        key = str(document["id"])
        try:
            outputs = await _wait(call, key, "status", "active", call.timeout or _CREATE_LIMIT, creating=True)
        except (ApiError, OperationError, CancelledByEngineError) as error:
            reason = f"Error waiting for droplet ({key}) to become ready: {error}"
            raise NotReadyError(key, {}, reason) from error
        return Created(key, outputs)

    async def read(self, call: Call) -> Values | None:
        try:
            document = await _get(call, call.key)
        except ApiError as error:
            raise OperationError(f"Error retrieving droplet: {error}") from error
        if document is None:
            return None
        return droplet_outputs(document) | ({} if call.state.get("image") else imported_outputs(document))

    async def update(self, call: Call) -> Values:
        for name, change in _CHANGES.items():
            if name in call.changed:
                await change(call)
        outputs = await self.read(call)
        if outputs is None:
            raise OperationError(f"droplet ({call.key}) not found during update")
        return outputs

    async def delete(self, call: Call) -> None:
        limit = call.timeout or _DELETE_LIMIT
        gone = "unexpected state 'Not Found', wanted target 'false'"
        try:
            found = await _wait(call, call.key, "locked", False, limit, gone=gone)
        except (ApiError, OperationError) as error:
            raise OperationError(
                f"Error waiting for droplet to be unlocked for destroy ({call.key}): {error}"
            ) from error
        if call.state.get("gracefulShutdown"):
            await _shut_down(call, limit)
        # As attached now: an attachment of its own resource is gone before its droplet.
        for volume in found["volumeIds"]:
            await detach_volume(call, volume, int(call.key))
        await _destroy(call, limit)


async def _get(call: Call, key: str) -> Document | None:
    try:
        answer = await call.api.get(f"/v2/droplets/{key}")
    except ApiError as error:
        if error.status == 404:
            return None
        raise
    document: Document = answer["droplet"]
    return document


async def _wait(
    call: Call, key: str, attribute: str, wanted: Any, limit: float, *, creating: bool = False, gone: str = ""
) -> Values:
    """Poll until an output has the wanted value and the droplet is unlocked; its outputs then.

    A droplet that is not found may only be new when it is being created; otherwise `gone` is the error.
    """
    poll, missing = Poll(call.session, limit), 0
    while True:
        document = await _get(call, key)
        if document is None:
            missing += 1
            if not creating or missing > _NOT_FOUND_LIMIT:
                raise OperationError(gone or f"droplet ({key}) not found")
        else:
            outputs = droplet_outputs(document)
            if not outputs["locked"] and outputs.get(attribute) == wanted:
                return outputs
        await poll.next(f"state to become '{wanted}'")


async def _act(call: Call, prefix: str, body: Document) -> Document:
    try:
        answer = await call.api.post(f"/v2/droplets/{call.key}/actions", body)
    except ApiError as error:
        raise OperationError(f"{prefix}: {error}") from error
    action: Document = answer["action"]
    return action


async def _shut_down(call: Call, limit: float) -> None:
    await _act(call, f"Error shutting down the the droplet ({call.key})", {"type": "shutdown"})
    try:
        await _wait(call, call.key, "status", "off", limit)
    except OperationError as error:
        raise OperationError(f"Error waiting for droplet ({call.key}) to become off: {error}") from error


async def _destroy(call: Call, limit: float) -> None:
    try:
        await call.api.delete(f"/v2/droplets/{call.key}")
    except ApiError as error:
        if error.status == 404:
            return
        raise OperationError(f"Error deleting droplet: {error}") from error
    poll = Poll(call.session, limit)
    while await _get(call, call.key) is not None:
        await poll.next("state to become 'Not Found'")


async def _resize(call: Call) -> None:
    """Off, resize, on again: the machine is down meanwhile."""
    limit = call.timeout or _UPDATE_LIMIT
    try:
        await _act(call, f"Error powering off droplet ({call.key})", {"type": "power_off"})
    except OperationError as error:
        if "Droplet is already powered off" not in str(error):
            raise
    await _wait(call, call.key, "status", "off", limit)
    try:
        body = {"type": "resize", "size": call.inputs["size"], "disk": call.inputs.get("resizeDisk", True)}
        action = await _act(call, f"Error resizing droplet ({call.key})", body)
        await wait_for_action(call, action)
    except (ApiError, OperationError):
        await _power_on(call, limit)
        raise
    await _power_on(call, limit)


async def _power_on(call: Call, limit: float) -> None:
    await _act(call, f"Error powering on droplet ({call.key}) after resize", {"type": "power_on"})
    await _wait(call, call.key, "status", "active", limit)


async def _rename(call: Call) -> None:
    name = call.inputs["name"]
    await _act(call, f"Error renaming droplet ({call.key})", {"type": "rename", "name": name})
    await _wait(call, call.key, "name", name, call.timeout or _UPDATE_LIMIT)


async def _switch_backups(call: Call) -> None:
    policy = backup_policy(call.inputs)
    if call.inputs.get("backups"):
        body: Values = {"type": "enable_backups"} | ({"backup_policy": policy} if policy else {})
        action = await _act(call, f"Error enabling backups on droplet ({call.key})", body)
    else:
        action = await _act(
            call, f"Error disabling backups on droplet ({call.key})", {"type": "disable_backups"}
        )
    await wait_for_action(call, action)


async def _change_backup_policy(call: Call) -> None:
    policy = backup_policy(call.inputs)
    if policy and "backups" not in call.changed:
        body = {"type": "change_backup_policy", "backup_policy": policy}
        action = await _act(call, f"error changing backup policy on droplet ({call.key})", body)
        await wait_for_action(call, action)


async def _enable_ipv6(call: Call) -> None:
    await _act(call, f"Error turning on ipv6 for droplet ({call.key})", {"type": "enable_ipv6"})
    await _wait(call, call.key, "ipv6", True, call.timeout or _UPDATE_LIMIT)
    await call.warn(
        "When enabling IPv6 on an existing Droplet, additional OS-level configuration is required."
    )


async def _enable_private_networking(call: Call) -> None:
    if call.inputs.get("privateNetworking"):
        prefix = f"Error enabling private networking for droplet ({call.key})"
        await _act(call, prefix, {"type": "enable_private_networking"})
        await _wait(call, call.key, "privateNetworking", True, call.timeout or _UPDATE_LIMIT)


async def _change_tags(call: Call) -> None:
    try:
        await set_tags(call, "droplet")
    except ApiError as error:
        raise OperationError(f"Error updating tags: {error}") from error


async def _change_volumes(call: Call) -> None:
    old, new = set(call.state.get("volumeIds") or ()), set(call.inputs.get("volumeIds") or ())
    for volume in sorted(new - old):
        await attach_volume(call, volume, int(call.key))
    for volume in sorted(old - new):
        await detach_volume(call, volume, int(call.key))


# In the order in which the official plugin makes them.
_CHANGES: dict[str, Callable[[Call], Any]] = {
    "size": _resize,
    "name": _rename,
    "backups": _switch_backups,
    "backupPolicy": _change_backup_policy,
    "privateNetworking": _enable_private_networking,
    "ipv6": _enable_ipv6,
    "tags": _change_tags,
    "volumeIds": _change_volumes,
}


async def attach_volume(call: Call, volume: str, droplet: int) -> None:
    await _volume_action(call, volume, "attach", droplet)


async def detach_volume(call: Call, volume: str, droplet: int) -> None:
    await _volume_action(call, volume, "detach", droplet)


async def _volume_action(call: Call, volume: str, kind: str, droplet: int) -> None:
    body = {"type": kind, "droplet_id": droplet}
    answer = await call.api.post(f"/v2/volumes/{volume}/actions", body)
    await wait_for_action(call, answer["action"])


DROPLET = Resource(
    token=token("Droplet"),
    naming=Naming(),
    records_failed_updates=True,
    rules=[_rules],
    operations=Droplets(),
    properties=by_name(
        [
            required("image", replaces=True, checks=[not_empty]),
            required("size", to_state=lower, checks=[not_empty]),
            given("name", checks=[not_empty]),
            given("region", computed=True, replaces=True, to_state=lower, checks=[not_empty]),
            given("gracefulShutdown", BOOLEAN, default=False),
            given("resizeDisk", BOOLEAN, default=True),
            given("backups", BOOLEAN, default=False),
            given(
                "backupPolicy",
                object_of(
                    given("plan", checks=[one_of("daily", "weekly")]),
                    given("weekday", checks=[one_of("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")]),
                    given("hour", INTEGER, checks=[between(0, 20)]),
                ),
            ),
            # It can be switched on in place, and never off.
            given("ipv6", BOOLEAN, default=False, replaces=lambda old, new: bool(old) and not new),
            given("ipv6Address", computed=True),
            given("privateNetworking", BOOLEAN, computed=True),
            given("publicNetworking", BOOLEAN, computed=True, replaces=True),
            given("sshKeys", set_of(STRING), replaces=True, checks=[not_empty]),
            given(
                "userData",
                replaces=True,
                checks=[not_empty],
                # The state keeps a fingerprint: the text may be long, or secret.
                to_state=lambda text: hashlib.sha1(text.encode()).hexdigest(),  # noqa: S324
            ),
            given("volumeIds", set_of(STRING), computed=True),
            given("monitoring", BOOLEAN, default=False, replaces=True),
            given("dropletAgent", BOOLEAN, replaces=True),
            tags_property(),
            given("vpcUuid", computed=True, replaces=True, checks=[not_empty]),
            given(
                "gpuPartitionMode",
                replaces=True,
                checks=[one_of("PARTITION_MODE_SPX_NPS1", "PARTITION_MODE_DPX_NPS2")],
            ),
            computed("createdAt"),
            computed("dropletUrn"),
            computed("disk", INTEGER),
            computed("vcpus", INTEGER),
            computed("memory", INTEGER),
            computed("priceHourly", NUMBER),
            computed("priceMonthly", NUMBER),
            computed("status"),
            computed("locked", BOOLEAN),
            computed("ipv4Address"),
            computed("ipv4AddressPrivate"),
        ]
    ),
)

RESOURCES = (DROPLET,)
