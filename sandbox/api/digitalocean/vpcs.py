"""Private networks: ranges that never overlap, one default per region, not deletable while something lives there."""

from __future__ import annotations

from ipaddress import IPv4Network

from pydantic import Field

from sandbox.api.addresses import PRIVATE_RANGES, RESERVED_RANGES, free_vpc_range
from sandbox.api.body import Body
from sandbox.api.call import NO_CONTENT, Answer, Call, Endpoint, lists
from sandbox.api.cloud import Cloud
from sandbox.api.errors import forbidden, not_found, unprocessable
from sandbox.api.furnish import new_vpc, vpc_ranges
from sandbox.store import Document, Store

_NAME = r"^[a-zA-Z0-9\-\.]+$"
# https://docs.digitalocean.com/reference/api/ (vpc ip_range: not larger than /16, not smaller than /28)
_LARGEST, _SMALLEST = 16, 28
# What lives in a network: the URN's word and the store's kind, which is the API's word, too.
_MEMBERS = {"droplet": "droplet", "dbaas": "database"}


class NewVpc(Body):
    name: str = Field(pattern=_NAME)
    description: str = Field(default="", max_length=255)
    region: str
    ip_range: str = ""


class VpcReplacement(Body):
    name: str = Field(pattern=_NAME)
    description: str = Field(default="", max_length=255)
    default: bool | None = None


class VpcChange(Body):
    name: str | None = Field(default=None, pattern=_NAME)
    description: str | None = Field(default=None, max_length=255)
    default: bool | None = None


def _parse_range(text: str) -> IPv4Network:
    try:
        network = IPv4Network(text)
    except ValueError as error:
        raise unprocessable(
            f"ip_range: {text!r} is not an IPv4 network in CIDR notation ({error})"
        ) from error
    if not _LARGEST <= network.prefixlen <= _SMALLEST:
        raise unprocessable(f"ip_range: {text} must be between /{_LARGEST} and /{_SMALLEST}")
    if not any(network.subnet_of(private) for private in PRIVATE_RANGES):
        raise unprocessable(f"ip_range: {text} is not in the private ranges of RFC 1918")
    if reserved := next((block for block in RESERVED_RANGES if network.overlaps(block)), None):
        raise unprocessable(f"ip_range: {text} overlaps with the reserved range {reserved}")
    return network


def _free(store: Store, wanted: IPv4Network) -> None:
    for vpc in store.all("vpc"):
        if IPv4Network(vpc["ip_range"]).overlaps(wanted):
            raise unprocessable(
                "This range/size overlaps with another VPC network in your account: "
                f"{vpc['name']} ({vpc['ip_range']})"
            )


def default_of(cloud: Cloud, region: str) -> Document:
    return next(vpc for vpc in cloud.store.all("vpc") if vpc["region"] == region and vpc["default"])


def list_all(call: Call) -> Answer:
    return call.listing("vpcs", call.store.all("vpc"))


def create(call: Call) -> Answer:
    body = call.body(NewVpc)
    if body.region not in call.cloud.catalog.open_regions():
        raise unprocessable(f"region: {body.region!r} is not a region of this cloud")
    _unique(call.store, body.name)
    network = _parse_range(body.ip_range) if body.ip_range else free_vpc_range(vpc_ranges(call.store))
    _free(call.store, network)
    vpc = new_vpc(
        call.cloud.stamp(), name=body.name, region=body.region, network=network, description=body.description
    )
    call.store.put("vpc", vpc["id"], vpc)
    return Answer(201, {"vpc": vpc})


def _unique(store: Store, name: str, but: str = "") -> None:
    if any(vpc["name"] == name and vpc["id"] != but for vpc in store.all("vpc")):
        raise unprocessable(f"A VPC network with the name {name} already exists in your account")


def _named(call: Call) -> Document:
    vpc = call.store.get("vpc", call.path["vpc"])
    if vpc is None:
        raise not_found()
    return vpc


def show(call: Call) -> Answer:
    return Answer(200, {"vpc": _named(call)})


def replace(call: Call) -> Answer:
    body = call.body(VpcReplacement)
    return _change(call, {"name": body.name, "description": body.description}, body.default)


def patch(call: Call) -> Answer:
    body = call.body(VpcChange)
    sent = {name: value for name, value in body.sent().items() if value is not None and name != "default"}
    return _change(call, sent, body.default)


def _change(call: Call, changes: Document, default: bool | None) -> Answer:
    vpc = _named(call)
    if "name" in changes:
        _unique(call.store, changes["name"], but=vpc["id"])
    if default:
        for other in call.store.all("vpc"):
            if other["region"] == vpc["region"] and other["default"]:
                call.store.put("vpc", other["id"], {**other, "default": False})
    changed = {**vpc, **changes, "default": vpc["default"] or bool(default)}
    call.store.put("vpc", vpc["id"], changed)
    return Answer(200, {"vpc": changed})


def delete(call: Call) -> Answer:
    vpc = _named(call)
    holders = [*call.cloud.every_droplet(), *call.cloud.databases.every()]
    if any(holder["vpc"] == vpc["id"] for holder in holders):
        raise forbidden("Can not delete VPC with members")
    if vpc["default"]:
        raise forbidden("Can not delete default VPC")
    call.store.delete("vpc", vpc["id"])
    return NO_CONTENT


def members(call: Call) -> Answer:
    vpc, wanted = _named(call), call.query.get("resource_type")
    found = [
        {"name": one["name"], "urn": f"do:{word}:{one['id']}", "created_at": one["created_at"]}
        for word, kind in _MEMBERS.items()
        for one in call.store.all(kind)
        if one["vpc"] == vpc["id"] and wanted in (None, kind)
    ]
    return call.listing("members", found)


ENDPOINTS = (
    lists("/v2/vpcs", list_all),
    Endpoint("POST", "/v2/vpcs", create),
    Endpoint("GET", "/v2/vpcs/{vpc}", show),
    Endpoint("PUT", "/v2/vpcs/{vpc}", replace),
    Endpoint("PATCH", "/v2/vpcs/{vpc}", patch),
    Endpoint("DELETE", "/v2/vpcs/{vpc}", delete),
    lists("/v2/vpcs/{vpc}/members", members, "resource_type"),
)
