"""Cloudflare: zones and their settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from sandbox.providers.call import Call, Created, OperationError
from sandbox.providers.cloudflare.common import (
    FAILED,
    GONE,
    NOT_DESTROYED,
    NOT_RESET,
    from_api,
    moment,
    to_api,
    token,
)
from sandbox.providers.http import ApiError
from sandbox.providers.rest import Collection
from sandbox.providers.schema import (
    ANYTHING,
    BOOLEAN,
    NUMBER,
    STRING,
    Operations,
    Property,
    Resource,
    by_name,
    computed,
    given,
    list_of,
    map_of,
    object_of,
    required,
)
from sandbox.providers.validators import one_of
from sandbox.providers.values import Values

Document = Mapping[str, Any]

_ANY_OBJECT = map_of(ANYTHING)
_ZONE_TIMES = ("activatedOn", "createdOn", "modifiedOn")

_ZONE_PROPERTIES: dict[str, Property] = by_name(
    [
        required("name", replaces=True),
        required("account", object_of(given("id")), replaces=True),
        given("paused", BOOLEAN, default=False),
        given(
            "type",
            default="full",
            checks=[one_of("full", "partial", "secondary", "internal", ignore_case=True)],
        ),
        given("vanityNameServers", list_of(STRING), computed=True),
        *(computed(name) for name in ("activatedOn", "cnameSuffix", "createdOn", "originalDnshost")),
        *(computed(name) for name in ("originalRegistrar", "status", "verificationKey")),
        computed("modifiedOn", renewed=True),
        computed("developmentMode", NUMBER),
        *(computed(name, list_of(STRING)) for name in ("nameServers", "originalNameServers", "permissions")),
        *(computed(name, _ANY_OBJECT) for name in ("meta", "owner", "plan", "tenant", "tenantUnit")),
    ]
)


def zone_outputs(document: Document) -> Values:
    """A zone's properties in the SDK's spelling; an answer may leave any of them out."""
    answer = from_api(document)
    return {
        name: moment(answer.get(name)) if name in _ZONE_TIMES else answer.get(name)
        for name in _ZONE_PROPERTIES
    }


def _zone_state(document: Document, call: Call) -> Values:
    account = {"id": (document.get("account") or {}).get("id")}
    lists = ("vanityNameServers", "nameServers", "originalNameServers", "permissions")
    outputs = zone_outputs(document)
    return outputs | {"account": account} | {name: outputs[name] or [] for name in lists}


def _zone_changes(call: Call) -> Document:
    changed = {name: value for name, value in call.inputs.items() if name in call.changed}
    return {**to_api(_ZONE_PROPERTIES, changed), **({"paused": False} if _unpaused(call) else {})}


def _unpaused(call: Call) -> bool:
    return "paused" in call.changed and not call.inputs.get("paused")


ZONE = Resource(
    token=token("Zone"),
    properties=_ZONE_PROPERTIES,
    operations=Collection(
        path="/zones",
        envelope="result",
        verbs=(FAILED, FAILED, FAILED, FAILED),
        identify=lambda document: str(document["id"]),
        body=lambda call: {"paused": False, "type": "full", **to_api(_ZONE_PROPERTIES, call.inputs)},
        update_body=_zone_changes,
        update_method="PATCH",
        outputs=_zone_state,
        reads_back=False,
        gone_warning=GONE,
    ),
)


class _Settings(Operations):
    """A setting always exists: it is changed, and never deleted."""

    async def create(self, call: Call) -> Created:
        return Created(call.inputs["settingId"], await self.update(call))

    async def read(self, call: Call) -> Values | None:
        try:
            answer = await call.api.get(_setting_path({"settingId": call.key, **call.state}))
        except ApiError as error:
            if error.status == 404:
                return None
            raise OperationError(f"{FAILED}{error}") from error
        return _setting_outputs(answer["result"])

    async def update(self, call: Call) -> Values:
        body = {name: call.inputs[name] for name in ("value", "enabled") if call.inputs.get(name) is not None}
        try:
            answer = await call.api.call("PATCH", _setting_path(call.inputs), body=body)
        except ApiError as error:
            raise OperationError(f"{FAILED}{error}") from error
        return _setting_outputs(answer["result"])

    async def delete(self, call: Call) -> None:
        await call.warn(NOT_RESET)


def _setting_path(values: Values) -> str:
    return f"/zones/{quote(values['zoneId'], safe='')}/settings/{quote(values['settingId'], safe='')}"


def _setting_outputs(document: Document) -> Values:
    answer = from_api(document)
    return {
        **({"settingId": answer["id"]} if answer.get("id") else {}),
        "value": answer.get("value"),
        "enabled": answer.get("enabled"),
        "editable": answer.get("editable"),
        "modifiedOn": moment(answer.get("modifiedOn")),
        "timeRemaining": answer.get("timeRemaining"),
    }


ZONE_SETTING = Resource(
    token=token("ZoneSetting"),
    import_path=("zoneId",),
    operations=_Settings(),
    creation_warning=NOT_DESTROYED,
    properties=by_name(
        [
            required("settingId", replaces=True),
            required("zoneId", replaces=True),
            required("value", ANYTHING),
            given("enabled", BOOLEAN, computed=True),
            computed("editable", BOOLEAN),
            computed("modifiedOn", renewed=True),
            computed("timeRemaining", NUMBER, renewed=True),
        ]
    ),
)

RESOURCES = (ZONE, ZONE_SETTING)
