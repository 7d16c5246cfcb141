"""DigitalOcean: the lookups a program may make, also during a preview."""

from __future__ import annotations

import functools
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any

from sandbox.providers.call import Call, OperationError
from sandbox.providers.digitalocean.common import PREFIX, lower, pages
from sandbox.providers.digitalocean.droplet_documents import address, droplet_outputs
from sandbox.providers.digitalocean.network import go_time
from sandbox.providers.http import ApiError
from sandbox.providers.schema import (
    BOOLEAN,
    INTEGER,
    STRING,
    Function,
    Property,
    by_name,
    camel_case,
    given,
    list_of,
    object_of,
    required,
    set_of,
)
from sandbox.providers.validators import not_empty, one_of, regular_expression
from sandbox.providers.values import Values

Document = Mapping[str, Any]


def _function(
    name: str, arguments: Sequence[Property], call: Callable[[Call], Awaitable[Values]]
) -> Function:
    return Function(token=f"{PREFIX}/{name}:{name}", arguments=by_name(arguments), call=call)


async def _list(
    call: Call, path: str, key: str, what: str, query: Mapping[str, str] | None = None
) -> list[Any]:
    try:
        return [item async for item in pages(call, path, key, query)]
    except ApiError as error:
        raise OperationError(f"Error retrieving {what}: {error}") from error


async def _get(call: Call, path: str, key: str, what: str) -> Any:
    try:
        return (await call.api.get(path))[key]
    except ApiError as error:
        raise OperationError(f"{what}: {error}") from error


def _one(found: Sequence[Document], what: str, name: Any) -> Document:
    if not found:
        raise OperationError(f"no {what} found with name {name}")
    if len(found) > 1:
        raise OperationError(f"too many {what}s found with name {name} (found {len(found)}, expected 1)")
    return found[0]


def _exactly_one(inputs: Values, *names: str) -> str:
    chosen = [name for name in names if inputs.get(name)]
    if len(chosen) != 1:
        listed = ",".join(names)
        raise OperationError(
            f"only one of `{listed}` can be specified, and one must be; got: {', '.join(chosen) or 'none'}"
        )
    return chosen[0]


# Lists that the program filters and sorts


def _list_arguments(*extra: Property) -> list[Property]:
    matching = [
        required("key", checks=[not_empty]),
        required("values", list_of(STRING)),
        given("all", BOOLEAN),
        given("matchBy", checks=[one_of("exact", "re", "substring")]),
    ]
    order = [required("key", checks=[not_empty]), given("direction", checks=[one_of("asc", "desc")])]
    return [
        given("filters", set_of(object_of(*matching))),
        given("sorts", list_of(object_of(*order))),
        *extra,
    ]


def select(records: Iterable[Values], inputs: Values) -> list[Values]:
    """The records that pass all filters, in the order of the sorts; keys are in the cloud's spelling."""
    chosen = list(records)
    for item in inputs.get("filters") or ():
        key = camel_case(item["key"])
        for record in chosen:
            if key not in record:
                raise OperationError(f"field '{item['key']}' does not exist in record schema")
        chosen = [record for record in chosen if _passes(record[key], item)]
    for item in reversed(inputs.get("sorts") or ()):
        chosen.sort(
            key=functools.partial(_order, camel_case(item["key"])), reverse=item.get("direction") == "desc"
        )
    return chosen


def _order(key: str, record: Values) -> tuple[bool, Any]:
    value = record.get(key)
    return value is not None, value if isinstance(value, int | float) else str(value)


def _passes(value: Any, item: Document) -> bool:
    matches = [_matches(value, wanted, item.get("matchBy", "exact")) for wanted in item["values"]]
    return all(matches) if item.get("all") else any(matches)


def _matches(value: Any, wanted: str, how: str) -> bool:
    if isinstance(value, list):
        return any(_matches(element, wanted, how) for element in value)
    if isinstance(value, bool):
        return str(value).lower() == wanted.lower()
    if isinstance(value, int | float):
        return str(value) == wanted or float(value) == _number(wanted)
    text = str(value or "")
    match how:
        case "re":
            return re.search(wanted, text) is not None
        case "substring":
            return wanted in text
        case _:
            return text.lower() == wanted.lower()


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise OperationError(f"unable to parse value as a number: {text}") from error


def _listing(name: str, path: str, key: str, result: str, flatten: Callable[[Document], Values]) -> Function:
    async def call(call: Call) -> Values:
        query = {"type": "gpus"} if call.inputs.get("gpus") else None
        records = await _list(call, path, key, result, query)
        return {**call.inputs, "id": f"{name}-result", result: select(map(flatten, records), call.inputs)}

    extra = [given("gpus", BOOLEAN)] if name == "getDroplets" else []
    return _function(name, _list_arguments(*extra), call)


def _image(document: Document) -> Values:
    return {
        "id": document["id"],
        "name": document["name"],
        "type": document.get("type") or "",
        "distribution": document.get("distribution") or "",
        "slug": document.get("slug") or "",
        "image": str(document["id"]),
        "private": not document.get("public"),
        "minDiskSize": document.get("min_disk_size") or 0,
        "sizeGigabytes": document.get("size_gigabytes") or 0,
        "created": document.get("created_at") or "",
        "regions": document.get("regions") or [],
        "tags": document.get("tags") or [],
        "status": document.get("status") or "",
        "errorMessage": document.get("error_message") or "",
        "description": document.get("description") or "",
    }


def _size(document: Document) -> Values:
    gpu = document.get("gpu_info")
    return {
        "slug": document["slug"],
        "available": document["available"],
        "transfer": document["transfer"],
        "priceMonthly": document["price_monthly"],
        "priceHourly": document["price_hourly"],
        "memory": document["memory"],
        "vcpus": document["vcpus"],
        "disk": document["disk"],
        "regions": document.get("regions") or [],
        "gpuInfos": [_gpu(gpu)] if gpu else [],
    }


def _gpu(document: Document) -> Values:
    memory = document.get("vram")
    return {
        "count": document["count"],
        "model": document["model"],
        "supportedPartitionModes": document.get("supported_partition_modes") or [],
        "vrams": [{"amount": memory["amount"], "unit": memory["unit"]}] if memory else [],
    }


def _region(document: Document) -> Values:
    return {
        "slug": document["slug"],
        "name": document["name"],
        "available": document["available"],
        "sizes": document.get("sizes") or [],
        "features": document.get("features") or [],
    }


def _key(document: Document) -> Values:
    return {
        "id": document["id"],
        "name": document["name"],
        "publicKey": document["public_key"],
        "fingerprint": document["fingerprint"],
    }


def _droplet(document: Document) -> Values:
    outputs = droplet_outputs({**document, "features": document.get("features") or []})
    image = document["image"]
    return {
        name: value for name, value in outputs.items() if name not in ("dropletUrn", "publicNetworking")
    } | {
        "id": document["id"],
        "urn": outputs["dropletUrn"],
        "image": image.get("slug") or str(image["id"]),
        "ipv6AddressPrivate": address(document, "v6", "private"),
        "gpuPartitionMode": document.get("gpu_partition_mode") or "",
    }


# Single objects


async def _get_image(call: Call) -> Values:
    how = _exactly_one(call.inputs, "id", "slug", "name")
    source = call.inputs.get("source", "user")
    if how == "name":
        images = await _list(call, "/v2/images", "images", "images", _image_query(source))
        found = _one(
            [item for item in images if item["name"] == call.inputs["name"]], "image", call.inputs["name"]
        )
    else:
        label = f"image {'ID ' if how == 'id' else ''}{call.inputs[how]} not found"
        found = await _get(call, f"/v2/images/{call.inputs[how]}", "image", label)
    return {**_image(found), "source": source}


def _image_query(source: str) -> Mapping[str, str]:
    queries = {
        "all": {},
        "applications": {"type": "application"},
        "distributions": {"type": "distribution"},
        "user": {"private": "true"},
    }
    return queries[source.lower()]


async def _get_droplet_snapshot(call: Call) -> Values:
    inputs = call.inputs
    name, pattern, region = inputs.get("name"), inputs.get("nameRegex"), lower(inputs.get("region"))
    if not name and not pattern:
        raise OperationError("One of `name` or `name_regex` must be assigned")
    snapshots = await _list(
        call, "/v2/snapshots", "snapshots", "Droplet snapshots", {"resource_type": "droplet"}
    )
    found = [
        item
        for item in snapshots
        if (item["name"] == name if name else re.search(str(pattern), item["name"]))
        and (not region or region in item["regions"])
    ]
    if not found:
        raise OperationError(f"No DROPLET snapshot found with name {name or pattern}")
    if len(found) > 1 and not inputs.get("mostRecent"):
        raise OperationError(
            f"too many Droplet snapshots found with name {name or pattern} (found {len(found)}, expected 1)"
        )
    newest = max(found, key=lambda item: item["created_at"])
    return {
        **inputs,
        "id": str(newest["id"]),
        "name": newest["name"],
        "createdAt": newest["created_at"],
        "minDiskSize": newest["min_disk_size"],
        "regions": newest["regions"],
        "dropletId": str(newest["resource_id"]),
        "size": newest["size_gigabytes"],
    }


async def _get_account(call: Call) -> Values:
    account = await _get(call, "/v2/account", "account", "Error retrieving account")
    return {
        "id": account["uuid"],
        "uuid": account["uuid"],
        "dropletLimit": account["droplet_limit"],
        "floatingIpLimit": account["floating_ip_limit"],
        "email": account["email"],
        "emailVerified": account["email_verified"],
        "status": account["status"],
        "statusMessage": account["status_message"],
    }


async def _get_ssh_key(call: Call) -> Values:
    name = call.inputs["name"]
    keys = await _list(call, "/v2/account/keys", "ssh_keys", "ssh keys")
    return _key(_one([item for item in keys if item["name"] == name], "ssh key", name))


async def _get_vpc(call: Call) -> Values:
    how = _exactly_one(call.inputs, "id", "name", "region")
    wanted = call.inputs[how]
    if how == "id":
        found = await _get(call, f"/v2/vpcs/{wanted}", "vpc", "Error retrieving VPC")
    else:
        vpcs = await _list(call, "/v2/vpcs", "vpcs", "VPC")
        found = _default_vpc(vpcs, wanted) if how == "region" else _vpc_by_name(vpcs, wanted)
    return {
        "id": found["id"],
        "name": found["name"],
        "region": found["region"],
        "description": found.get("description") or "",
        "ipRange": found["ip_range"],
        "urn": found["urn"],
        "default": found["default"],
        "createdAt": go_time(found["created_at"]),
    }


def _default_vpc(vpcs: Sequence[Document], region: str) -> Document:
    for item in vpcs:
        if item["region"] == region and item["default"]:
            return item
    raise OperationError(f"Error retrieving VPC: unable to find default VPC in {region} region")


def _vpc_by_name(vpcs: Sequence[Document], name: str) -> Document:
    try:
        return _one([item for item in vpcs if item["name"] == name], "VPC", name)
    except OperationError as error:
        raise OperationError(f"Error retrieving VPC: {error}") from error


async def _get_domain(call: Call) -> Values:
    name = call.inputs["name"]
    domain = await _get(call, f"/v2/domains/{name}", "domain", "Error retrieving domain")
    return {
        "id": domain["name"],
        "name": domain["name"],
        "domainUrn": f"do:domain:{domain['name']}",
        "ttl": domain["ttl"],
        "zoneFile": domain.get("zone_file") or "",
    }


FUNCTIONS = (
    _listing("getImages", "/v2/images", "images", "images", _image),
    _listing("getSizes", "/v2/sizes", "sizes", "sizes", _size),
    _listing("getRegions", "/v2/regions", "regions", "regions", _region),
    _listing("getDroplets", "/v2/droplets", "droplets", "droplets", _droplet),
    _listing("getSshKeys", "/v2/account/keys", "ssh_keys", "sshKeys", _key),
    _function(
        "getImage",
        [
            given("id", INTEGER),
            given("name"),
            given("slug"),
            given(
                "source", checks=[one_of("all", "applications", "distributions", "user", ignore_case=True)]
            ),
        ],
        _get_image,
    ),
    _function(
        "getDropletSnapshot",
        [
            given("name", checks=[not_empty]),
            given("nameRegex", checks=[regular_expression]),
            given("region", checks=[not_empty]),
            given("mostRecent", BOOLEAN),
        ],
        _get_droplet_snapshot,
    ),
    _function("getAccount", [], _get_account),
    _function("getSshKey", [required("name")], _get_ssh_key),
    _function("getVpc", [given("id"), given("name"), given("region")], _get_vpc),
    _function("getDomain", [required("name", checks=[not_empty])], _get_domain),
)
