"""Cloudflare: the lookups a program may make, also during a preview."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from sandbox.providers.call import Call, OperationError
from sandbox.providers.cloudflare.common import FAILED, PREFIX, from_api, moment
from sandbox.providers.cloudflare.zones import zone_outputs
from sandbox.providers.http import ApiError
from sandbox.providers.schema import INTEGER, STRING, Function, by_name, given, list_of, object_of, required
from sandbox.providers.validators import one_of
from sandbox.providers.values import Values

_ACCOUNT = object_of(given("id"), given("name"))
_DEFAULT_ITEMS = 1000
_CLIENT_CERTIFICATE = (
    "certificate",
    "expiresOn",
    "id",
    "issuer",
    "serialNumber",
    "signature",
    "status",
    "uploadedOn",
)
_MATCH = one_of("any", "all")
_DIRECTION = one_of("asc", "desc")


async def _get(call: Call, path: str, query: Mapping[str, str | int] | None = None) -> Any:
    try:
        return (await call.api.get(path, query))["result"]
    except ApiError as error:
        raise OperationError(f"{FAILED}{error}") from error


async def _get_ip_ranges(call: Call) -> Values:
    networks = call.inputs.get("networks")
    result = await _get(call, "/ips", {"networks": networks} if networks else None)
    return {
        "etag": result.get("etag") or "",
        "ipv4Cidrs": result.get("ipv4_cidrs") or [],
        "ipv6Cidrs": result.get("ipv6_cidrs") or [],
        "jdcloudCidrs": result.get("jdcloud_cidrs") or [],
        "networks": networks,
    }


async def _get_zone(call: Call) -> Values:
    zone_id, filters = call.inputs.get("zoneId"), call.inputs.get("filter")
    if bool(zone_id) == bool(filters):
        raise OperationError("Exactly one of these attributes must be configured: [zone_id,filter]")
    if filters:
        found = await _get(call, "/zones", _query(filters))
        if len(found) != 1:
            raise OperationError(f"failed to find exactly one result: found {len(found)} zones for {filters}")
        zone_id = found[0]["id"]
    zone = await _get(call, f"/zones/{quote(str(zone_id), safe='')}")
    return {**_zone(zone), "zoneId": zone["id"], "filter": filters}


async def _get_zones(call: Call) -> Values:
    limit = call.inputs.get("maxItems") or _DEFAULT_ITEMS
    query = _query(call.inputs)
    found: list[Any] = await _get(call, "/zones", query)
    page, newest = 1, found
    # Pages are asked for until one is empty; the answer's page count is not looked at.
    while newest and len(found) < limit:
        page += 1
        newest = await _get(call, "/zones", {**query, "page": page})
        found = [*found, *newest]
    return {**call.inputs, "results": [_zone(item) for item in found[:limit]]}


async def _get_client_certificates(call: Call) -> Values:
    zone = quote(str(call.inputs["zoneId"]), safe="")
    found = await _get(call, f"/zones/{zone}/origin_tls_client_auth")
    limit = call.inputs.get("maxItems") or _DEFAULT_ITEMS
    return {**call.inputs, "results": [_client_certificate(item) for item in found[:limit]]}


def _client_certificate(document: Mapping[str, Any]) -> Values:
    answer = from_api(document)
    return {name: moment(answer.get(name)) for name in _CLIENT_CERTIFICATE}


def _zone(document: Mapping[str, Any]) -> Values:
    return {**zone_outputs(document), "id": document["id"]}


def _query(values: Values) -> dict[str, str | int]:
    simple = {
        name: values[name] for name in ("direction", "match", "name", "order", "status") if values.get(name)
    }
    account = {f"account.{name}": value for name, value in (values.get("account") or {}).items() if value}
    types = {"type": ",".join(values["types"])} if values.get("types") else {}
    return {**simple, **account, **types}


_ZONE_FILTERS = (
    given("account", _ACCOUNT),
    given("direction", checks=[_DIRECTION]),
    given("name"),
    given("order"),
    given("status"),
    given("types", list_of(STRING)),
)

FUNCTIONS = (
    Function(
        token=f"{PREFIX}/getIpRanges:getIpRanges", arguments=by_name([given("networks")]), call=_get_ip_ranges
    ),
    Function(
        token=f"{PREFIX}/getAuthenticatedOriginPullsCertificates:getAuthenticatedOriginPullsCertificates",
        arguments=by_name([required("zoneId"), given("maxItems", INTEGER)]),
        call=_get_client_certificates,
    ),
    Function(
        token=f"{PREFIX}/getZone:getZone",
        arguments=by_name(
            [given("zoneId"), given("filter", object_of(required("match", checks=[_MATCH]), *_ZONE_FILTERS))]
        ),
        call=_get_zone,
    ),
    Function(
        token=f"{PREFIX}/getZones:getZones",
        arguments=by_name([given("match", checks=[_MATCH]), given("maxItems", INTEGER), *_ZONE_FILTERS]),
        call=_get_zones,
    ),
)
