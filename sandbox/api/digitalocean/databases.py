"""Managed database clusters: making, listing, resizing and deleting them."""

from __future__ import annotations

import base64
import re
import secrets
import string
import uuid
from ipaddress import IPv4Network
from typing import Any, ClassVar, Literal

from pydantic import Field

from sandbox.api.addresses import AddressesExhaustedError, private_interface, public_interface
from sandbox.api.authority import new_authority
from sandbox.api.body import Body
from sandbox.api.call import NO_CONTENT, Answer, Call, Endpoint, lists
from sandbox.api.cloud import Cloud
from sandbox.api.digitalocean import tags, vpcs
from sandbox.api.digitalocean.database_rules import Rule, stored
from sandbox.api.digitalocean.database_view import DEFAULT_DATABASE, urn, view
from sandbox.api.errors import not_found, precondition_failed, unprocessable
from sandbox.store import Document

# https://docs.digitalocean.com/products/databases/mysql/details/limits/ (clusters of an account, nodes of a cluster)
MOST_CLUSTERS, MOST_NODES = 10, 3
ADMINISTRATOR = "doadmin"
DEFAULT_PLUGIN = "caching_sha2_password"
# What a new cluster of MySQL has, as the API's reference shows it: https://docs.digitalocean.com/reference/api/ (GET
# /v2/databases/{id}/config). Text in double quotes is a name then, and a table must have a primary key.
_MYSQL_CONFIG: Document = {
    "sql_mode": "ANSI,ERROR_FOR_DIVISION_BY_ZERO,NO_ENGINE_SUBSTITUTION,NO_ZERO_DATE,NO_ZERO_IN_DATE,STRICT_ALL_TABLES",
    "sql_require_primary_key": True,
}
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{1,61}[a-z0-9]")
_HOUR = re.compile(r"([01]\d|2[0-3]):[0-5]\d(:[0-5]\d)?")
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_PASSWORD_LENGTH = 19


class NewCluster(Body):
    """The body of a create; clients send empty texts and null for what they leave out."""

    accepts_null: ClassVar[frozenset[str] | None] = frozenset({"tags", "rules"})

    name: str
    engine: Literal["mysql", "pg"]
    version: str = ""
    num_nodes: int = Field(ge=1, le=MOST_NODES)
    size: str
    region: str
    private_network_uuid: str = ""
    project_id: str = ""
    tags: list[str] | None = None
    rules: list[Rule] | None = None
    storage_size_mib: int = 0


class NewSize(Body):
    size: str
    num_nodes: int = Field(ge=1, le=MOST_NODES)
    storage_size_mib: int = 0


class Maintenance(Body):
    day: str
    hour: str
    pending: Any = None
    description: Any = None


def list_all(call: Call) -> Answer:
    tag = call.query.get("tag_name")
    found = [one for one in call.store.all("database") if tag is None or tags.has(one, tag)]
    return call.listing("databases", found, lambda cluster: view(call, cluster))


def named(call: Call) -> Document:
    cluster = call.store.get("database", call.path["cluster"])
    if cluster is None:
        raise not_found()
    return cluster


def ready(call: Call) -> Document:
    """The cluster that the path names; 412 while it is being made, for then nothing of it can be changed."""
    cluster = named(call)
    if cluster["status"] == "creating":
        raise precondition_failed("cluster is not ready: it is still being created; wait until it is online")
    return cluster


def show(call: Call) -> Answer:
    return Answer(200, {"database": view(call, named(call))})


def create(call: Call) -> Answer:
    body, cloud = call.body(NewCluster), call.cloud
    _check_name(cloud, body.name)
    version = _version(cloud, body)
    if body.region not in cloud.catalog.open_regions():
        raise unprocessable(f"region: {body.region!r} is not a region with database clusters")
    vpc = _vpc(cloud, body)
    storage = _storage(cloud, body.size, body.num_nodes, body.storage_size_mib)
    key = str(uuid.uuid4())
    certificate, private = new_authority(f"{key} Project CA")
    plugin = DEFAULT_PLUGIN if body.engine == "mysql" else ""
    cluster: Document = {
        "id": key,
        "name": body.name,
        "engine": body.engine,
        "version": version,
        "size": body.size,
        "region": body.region,
        "status": "creating",
        "created_at": cloud.stamp(),
        "vpc": vpc["id"],
        "tags": tags.ensure(call.store, body.tags or ()),
        "db_names": [DEFAULT_DATABASE],
        "users": [account(ADMINISTRATOR, "primary", plugin)],
        "rules": stored(cloud, key, body.rules or [], []),
        "nodes": [],
        "config": _MYSQL_CONFIG if body.engine == "mysql" else {},
        "maintenance": {"day": "sunday", "hour": "03:00:00"},
        "storage_size_mib": storage,
        "authority": certificate,
        "authority_key": private,
        "account": (call.store.get("account", "account") or {})["id"],
        "letter": string.ascii_lowercase[int(key[0], 16)],
        "generation": 1,
    }
    cluster["nodes"] = _nodes(cloud, cluster, body.num_nodes)
    if body.project_id:
        _assign(call, body.project_id, cluster)
    cloud.databases.begin(cluster)
    tags.note_tagged(call.store, cluster["tags"], "databases", f"/v2/databases/{key}")
    return Answer(201, {"database": view(call, cluster)})


def account(name: str, role: str, plugin: str) -> Document:
    """A user of a cluster, with a new password."""
    letters = string.ascii_letters + string.digits
    password = "AVNS_" + "".join(secrets.choice(letters) for _ in range(_PASSWORD_LENGTH))
    return {"name": name, "role": role, "password": password, "plugin": plugin}


def _check_name(cloud: Cloud, name: str) -> None:
    if _NAME.fullmatch(name) is None:
        raise unprocessable(
            f"name: {name!r} must hold 3 to 63 lower-case letters, digits and dashes, no dash at either end"
        )
    known = cloud.store.all("database")
    if any(cluster["name"] == name for cluster in known):
        raise unprocessable("cluster name is not available")
    if len(known) >= MOST_CLUSTERS:
        raise unprocessable(f"an account may have at most {MOST_CLUSTERS} database clusters")


def _version(cloud: Cloud, body: NewCluster) -> str:
    engine = cloud.catalog.database_engines[body.engine]
    version = str(body.version or engine["default_version"])
    if version not in engine["versions"]:
        offered = ", ".join(engine["versions"])
        raise unprocessable(f"version: {version!r} of {body.engine} is not offered; there is {offered}")
    return version


def _vpc(cloud: Cloud, body: NewCluster) -> Document:
    if not body.private_network_uuid:
        return vpcs.default_of(cloud, body.region)
    vpc = cloud.store.get("vpc", body.private_network_uuid)
    if vpc is None:
        raise unprocessable(f"private_network_uuid: the VPC {body.private_network_uuid} does not exist")
    if vpc["region"] != body.region:
        raise unprocessable(f"private_network_uuid: the VPC is in {vpc['region']}, not in {body.region}")
    return vpc


def _storage(cloud: Cloud, size: str, nodes: int, wanted: int) -> int:
    """The disk of every node, in MiB."""
    offer = cloud.catalog.database_sizes.get(size)
    if offer is None:
        raise unprocessable(f"size: {size!r} is none of {', '.join(cloud.catalog.database_sizes)}")
    if nodes > offer["most_nodes"]:
        raise unprocessable(f"num_nodes: a cluster of {size} has at most {offer['most_nodes']}, not {nodes}")
    base = int(offer["disk"]) * 1024
    if wanted and wanted < base:
        raise unprocessable(f"storage_size_mib: {size} comes with {base}; {wanted} is less")
    return wanted or base


def _nodes(cloud: Cloud, cluster: Document, count: int) -> list[Document]:
    """The cluster's nodes, those it has first."""
    nodes: list[Document] = list(cluster["nodes"][:count])
    holders = [*cloud.every_droplet(), *cloud.every_database_node()]
    public = {holder["public"]["address"] for holder in holders}
    private = {holder["private"]["address"] for holder in holders if holder["vpc"] == cluster["vpc"]}
    network = IPv4Network((cloud.store.get("vpc", cluster["vpc"]) or {})["ip_range"])
    try:
        for _ in range(count - len(nodes)):
            # Of the droplets' numbers: networks and machines know both by them.
            number = cloud.store.next_number("droplet", first=100_001)
            outside = public_interface(cloud.store, cloud.settings.public_network, number, public)
            inside = private_interface(cloud.store, network, number, private)
            public.add(outside["address"])
            private.add(inside["address"])
            nodes.append(
                {
                    "id": number,
                    "hostname": f"{cluster['name']}-{number}",
                    "vpc": cluster["vpc"],
                    "public": outside,
                    "private": inside,
                }
            )
    except AddressesExhaustedError as error:
        raise unprocessable(f"private_network_uuid: {error}") from error
    return nodes


def _assign(call: Call, project: str, cluster: Document) -> None:
    if call.store.get("project", project) is None:
        raise unprocessable(f"project_id: the project {project} does not exist")
    given = {"project": project, "assigned_at": call.cloud.stamp()}
    call.store.put("project_resource", urn(cluster), given)


def resize(call: Call) -> Answer:
    """Other nodes, more of them or fewer; the data stays."""
    cluster, body, cloud = ready(call), call.body(NewSize), call.cloud
    if cluster["status"] != "online":
        raise precondition_failed(f"cluster is not ready: it is {cluster['status']}")
    storage = _storage(cloud, body.size, body.num_nodes, body.storage_size_mib)
    sizes = cloud.catalog.database_sizes
    if sizes[body.size]["memory"] < sizes[cluster["size"]]["memory"]:
        raise unprocessable(f"size: nodes cannot become smaller; they are {cluster['size']}")
    storage = max(storage, cluster["storage_size_mib"])
    for gone in cluster["nodes"][body.num_nodes :]:
        call.store.delete("isolated", gone["id"])
    cloud.databases.change(
        cluster["id"],
        status="resizing",
        size=body.size,
        storage_size_mib=storage,
        nodes=_nodes(cloud, cluster, body.num_nodes),
    )
    cloud.databases.note(cluster, "cluster_update")
    cloud.fabric.changed()
    return Answer(202)


def set_maintenance(call: Call) -> Answer:
    cluster, body = ready(call), call.body(Maintenance)
    if body.day.lower() not in _DAYS:
        raise unprocessable(f"day: {body.day!r} is no day of the week")
    if _HOUR.fullmatch(body.hour) is None:
        raise unprocessable(f"hour: {body.hour!r} is no time of day such as 14:00")
    hour = body.hour if body.hour.count(":") > 1 else f"{body.hour}:00"
    call.cloud.change("database", cluster["id"], maintenance={"day": body.day.lower(), "hour": hour})
    return NO_CONTENT


def delete(call: Call) -> Answer:
    cluster = named(call)
    call.store.delete("project_resource", urn(cluster))
    call.cloud.databases.doom(cluster)
    return NO_CONTENT


def show_authority(call: Call) -> Answer:
    encoded = base64.b64encode(named(call)["authority"].encode()).decode()
    return Answer(200, {"ca": {"certificate": encoded}})


def list_events(call: Call) -> Answer:
    key = named(call)["id"]
    found = [event for event in reversed(call.store.all("database_event")) if event["cluster"] == key]
    shown = ("id", "cluster_name", "event_type", "create_time")
    return call.listing("events", found, lambda event: {name: event[name] for name in shown})


def options(call: Call) -> Answer:
    """What can be ordered."""
    catalog = call.cloud.catalog
    layouts = [
        {
            "num_nodes": count,
            "sizes": [slug for slug, size in catalog.database_sizes.items() if size["most_nodes"] >= count],
        }
        for count in range(1, MOST_NODES + 1)
    ]
    offers = {
        slug: {
            "regions": catalog.open_regions(),
            "versions": engine["versions"],
            "layouts": layouts,
            "default_version": engine["default_version"],
        }
        for slug, engine in catalog.database_engines.items()
    }
    return Answer(200, {"options": offers})


ENDPOINTS = (
    lists("/v2/databases", list_all, "tag_name"),
    Endpoint("POST", "/v2/databases", create),
    Endpoint("GET", "/v2/databases/options", options),
    Endpoint("GET", "/v2/databases/{cluster}", show),
    Endpoint("DELETE", "/v2/databases/{cluster}", delete),
    Endpoint("GET", "/v2/databases/{cluster}/ca", show_authority),
    Endpoint("PUT", "/v2/databases/{cluster}/resize", resize),
    Endpoint("PUT", "/v2/databases/{cluster}/maintenance", set_maintenance),
    lists("/v2/databases/{cluster}/events", list_events),
)
