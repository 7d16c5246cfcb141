"""DigitalOcean: buckets of object storage, and the keys to them."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from typing import Any
from xml.etree.ElementTree import Element
from xml.sax.saxutils import escape

from sandbox.cloud_services import SPACES_REGIONS
from sandbox.providers.call import Call, Created, NotReadyError, OperationError, Poll
from sandbox.providers.digitalocean.common import lower, pages, token
from sandbox.providers.digitalocean.spaces_api import S3Error, Spaces, elements, spaces, text_of
from sandbox.providers.digitalocean.spaces_rules import (
    CORS_RULES,
    LIFECYCLE_RULES,
    cors_document,
    lifecycle_document,
    lifecycle_rules,
)
from sandbox.providers.http import ApiError
from sandbox.providers.schema import (
    BOOLEAN,
    Naming,
    Operations,
    Property,
    Resource,
    by_name,
    computed,
    given,
    list_of,
    object_of,
    required,
)
from sandbox.providers.validators import one_of
from sandbox.providers.values import Values

Document = Mapping[str, Any]

_AVAILABLE_SECONDS = 300.0
_RULES = (("corsRules", "cors", cors_document), ("lifecycleRules", "lifecycle", lifecycle_document))
_SETTINGS = ("acl", "versioning", *(setting for setting, _, _ in _RULES))


class _Buckets(Operations):
    """A bucket is made by one call and set up by one for each of its settings."""

    async def create(self, call: Call) -> Created:
        name, store = call.inputs["name"], await _storage(call, "Error creating bucket")
        try:
            await store.call("PUT", name, body=_creation(store, call), headers=_acl(call))
        except S3Error as error:
            raise OperationError(f"Error creating Spaces bucket: {error}") from error
        await _available(call, store, name)
        wanted = {setting for setting in _SETTINGS if call.inputs.get(setting)}
        try:
            await _set_up(store, name, call.inputs, wanted)
            return Created(name, await _outputs(store, name, call))
        except (OperationError, S3Error) as error:
            raise NotReadyError(name, {}, str(error)) from error

    async def read(self, call: Call) -> Values | None:
        store = await _storage(call, "Error reading bucket")
        try:
            return await _outputs(store, call.key, call)
        except S3Error as error:
            if error.status == 404:
                return None
            raise OperationError(f'error reading Spaces bucket "{call.key}": {error}') from error

    async def update(self, call: Call) -> Values:
        store = await _storage(call, "Error updating bucket")
        try:
            await _set_up(store, call.key, call.inputs, call.changed)
            return await _outputs(store, call.key, call)
        except S3Error as error:
            raise OperationError(f"Error updating Spaces bucket: {error}") from error

    async def delete(self, call: Call) -> None:
        store = await _storage(call, "Error deleting bucket")
        while True:
            try:
                await store.call("DELETE", call.key)
            except S3Error as error:
                if error.code != "BucketNotEmpty" or not call.inputs.get("forceDestroy"):
                    raise OperationError(f'Error deleting Spaces Bucket: {error} "{call.key}"') from error
                await _empty(store, call.key)
                continue
            return


async def _storage(call: Call, doing: str) -> Spaces:
    try:
        return await spaces(call, lower({**call.state, **call.inputs}["region"]))
    except OperationError as error:
        raise OperationError(f"{doing}: {error}") from error


def _acl(call: Call) -> dict[str, str]:
    return {"x-amz-acl": call.inputs["acl"]}


def _creation(store: Spaces, call: Call) -> str:
    """An endpoint of all regions, as the sandbox's, must be told which one is meant; the plugin cannot."""
    if store.regional:
        return ""
    place = f"<LocationConstraint>{escape(lower(call.inputs['region']))}</LocationConstraint>"
    return f"<CreateBucketConfiguration>{place}</CreateBucketConfiguration>"


async def _available(call: Call, store: Spaces, name: str) -> None:
    poll = Poll(call.session, call.timeout or _AVAILABLE_SECONDS)
    while True:
        try:
            await store.call("HEAD", name)
        except S3Error as error:
            if error.status != 404:
                reason = f"Failed to check availability of Spaces bucket {name}: {error}"
                raise NotReadyError(name, {}, reason) from error
            await poll.next(f"Spaces bucket {name} to be available")
            continue
        return


async def _set_up(store: Spaces, name: str, inputs: Values, wanted: set[str] | frozenset[str]) -> None:
    if "acl" in wanted:
        await store.call("PUT", name, "acl", headers={"x-amz-acl": inputs["acl"]})
    if "versioning" in wanted:
        status = "Enabled" if (inputs.get("versioning") or {}).get("enabled") else "Suspended"
        body = f"<VersioningConfiguration><Status>{status}</Status></VersioningConfiguration>"
        await store.call("PUT", name, "versioning", body)
    for setting, operation, document in _RULES:
        if setting in wanted and (rules := inputs.get(setting)):
            body = document(rules)
            await store.call("PUT", name, operation, body, headers=_digest(body))
        elif setting in wanted:
            await store.call("DELETE", name, operation)


async def _outputs(store: Spaces, name: str, call: Call) -> Values:
    await store.call("HEAD", name)
    region = text_of(await store.call("GET", name, "location"), "LocationConstraint") or "nyc3"
    versioning = text_of(await store.call("GET", name, "versioning"), "Status")
    shown = call.inputs.get("name") or call.state.get("name") or name
    return {
        "name": shown,
        "region": region,
        "versioning": {"enabled": versioning == "Enabled"},
        "lifecycleRules": lifecycle_rules(await _lifecycle(store, name)),
        "bucketDomainName": f"{shown}.{region}.digitaloceanspaces.com",
        "endpoint": f"{region}.digitaloceanspaces.com",
        "bucketUrn": f"do:space:{shown}",
    }


async def _lifecycle(store: Spaces, name: str) -> Element | None:
    try:
        return await store.call("GET", name, "lifecycle")
    except S3Error as error:
        if error.code == "NoSuchLifecycleConfiguration":
            return None
        raise


async def _empty(store: Spaces, name: str) -> None:
    """Delete the versions and delete markers of one page of the bucket's list."""
    listed = await store.call("GET", name, "versions")
    objects = "".join(
        f"<Object><Key>{escape(text_of(item, 'Key'))}</Key>"
        f"<VersionId>{escape(text_of(item, 'VersionId'))}</VersionId></Object>"
        for kind in ("DeleteMarker", "Version")
        for item in elements(listed, kind)
    )
    body = f"<Delete>{objects}</Delete>"
    try:
        await store.call("POST", name, "delete", body, headers=_digest(body))
    except S3Error as error:
        message = f"Error Spaces Bucket force_destroy error deleting: {error}"
        raise OperationError(message) from error


def _digest(body: str) -> dict[str, str]:
    checked = hashlib.md5(body.encode(), usedforsecurity=False).digest()
    return {"content-md5": base64.b64encode(checked).decode()}


BUCKET = Resource(
    token=token("SpacesBucket"),
    naming=Naming(),
    records_failed_updates=True,
    operations=_Buckets(),
    import_path=("region",),
    import_separator=",",
    properties=by_name(
        [
            # A changed name is taken into the state and changes nothing in the cloud: as in the official plugin.
            given("name"),
            given(
                "region",
                default="nyc3",
                replaces=True,
                to_state=lower,
                checks=[one_of(*SPACES_REGIONS, ignore_case=True)],
            ),
            given("acl", default="private"),
            # Taking it out of the program changes nothing.
            given("versioning", object_of(given("enabled", BOOLEAN)), computed=True),
            given("forceDestroy", BOOLEAN, default=False),
            CORS_RULES,
            LIFECYCLE_RULES,
            computed("bucketDomainName"),
            computed("bucketUrn"),
            computed("endpoint"),
        ]
    ),
)


class _Keys(Operations):
    """Access keys; the API has one at a time as well, but the plugin looks for them in the list."""

    async def create(self, call: Call) -> Created:
        try:
            key = (await call.api.post("/v2/spaces/keys", _key_body(call)))["key"]
        except ApiError as error:
            raise OperationError(f"Error creating Spaces key: {error}") from error
        return Created(key["access_key"], _key_outputs(key) | {"secretKey": key["secret_key"]})

    async def read(self, call: Call) -> Values | None:
        try:
            async for key in pages(call, "/v2/spaces/keys", "keys"):
                if key["access_key"] == call.key:
                    return _key_outputs(key)
        except ApiError as error:
            raise OperationError(f"Error reading Spaces key: {error}") from error
        return None

    async def update(self, call: Call) -> Values:
        try:
            answer = await call.api.put(f"/v2/spaces/keys/{call.key}", _key_body(call))
        except ApiError as error:
            raise OperationError(f"Error updating Spaces key: {error}") from error
        return _key_outputs(answer["key"])

    async def delete(self, call: Call) -> None:
        try:
            await call.api.delete(f"/v2/spaces/keys/{call.key}")
        except ApiError as error:
            raise OperationError(f"Error deleting Spaces key: {error}") from error


def _key_body(call: Call) -> Document:
    grants = [
        {"bucket": grant["bucket"], "permission": grant["permission"]}
        for grant in call.inputs.get("grants") or []
    ]
    return {"name": call.inputs["name"], "grants": grants}


def _key_outputs(key: Document) -> Values:
    return {
        "name": key["name"],
        "accessKey": key["access_key"],
        "grants": [dict(grant) for grant in key.get("grants") or []],
        "createdAt": key["created_at"],
    }


KEY = Resource(
    token=token("SpacesKey"),
    naming=Naming(),
    records_failed_updates=True,
    operations=_Keys(),
    properties=by_name(
        [
            given("name"),
            given("grants", list_of(object_of(required("bucket"), required("permission")))),
            computed("accessKey"),
            Property(name="secretKey", given=False, computed=True, secret=True),
            computed("createdAt"),
        ]
    ),
)

RESOURCES = (BUCKET, KEY)
