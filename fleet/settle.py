"""Creates that a killed run left pending: what became of them in the clouds, and a state that says so.

The engine notes a create before it asks the provider. Was it killed before the answer was noted, the object may
exist without the state knowing its id, and the next `up` would make a second one. Objects are found by what the
pending create asked for: names that Pulumi chose end with random digits, so an equal name is the very object.

A droplet is removed and made again: nothing can depend on it yet, and much of what was asked for (its user data, its
image, its keys) cannot be read back, so an adopted one would be replaced by the next `up` anyway. So is a key of object
storage, whose secret is told only once. The rest is adopted.

`pulumi refresh --import-pending-creates` is not used: in 3.259 it turns the create into a pending import, which the
refresh then drops, and the object is lost all the same.
"""

from __future__ import annotations

import copy
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fleet import stack_datastore
from fleet.cloudflare import Cloudflare
from fleet.datastore_s3 import Bucket, Place, StoreError
from fleet.digitalocean import DigitalOcean
from fleet.errors import FleetError
from fleet.web_api import Json

DROPLET = "digitalocean:index/droplet:Droplet"
DATABASE_CLUSTER = "digitalocean:index/databaseCluster:DatabaseCluster"
DATABASE_USER = "digitalocean:index/databaseUser:DatabaseUser"
DATABASE_DB = "digitalocean:index/databaseDb:DatabaseDb"
SPACES_KEY = "digitalocean:index/spacesKey:SpacesKey"
ORIGIN_CERTIFICATE = "cloudflare:index/originCaCertificate:OriginCaCertificate"
CLIENT_CERTIFICATE = (
    "cloudflare:index/authenticatedOriginPullsCertificate:AuthenticatedOriginPullsCertificate"
)
# A client certificate in one of these states is as good as gone.
LEAVING = frozenset({"pending_deletion", "deleted", "deletion_timed_out"})


@dataclass(frozen=True, slots=True)
class PendingCreate:
    """A create whose end is unknown."""

    urn: str
    type: str
    inputs: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The resource's logical name."""
        return self.urn.rpartition("::")[2]


def _open_bucket(name: str, region: str) -> Bucket:
    endpoint = stack_datastore.endpoint(region, os.environ)
    return Bucket(Place(endpoint, name, region), stack_datastore.keys(os.environ))


@dataclass(frozen=True, slots=True)
class Clouds:
    """The accounts to look in; made when first needed, so that a stack without one needs no token."""

    digitalocean: Callable[[], DigitalOcean]
    cloudflare: Callable[[], Cloudflare]
    bucket: Callable[[str, str], Bucket] = _open_bucket


@dataclass(frozen=True, slots=True)
class Settlement:
    """What became of one pending create."""

    create: PendingCreate
    adopt: str | None = None  # the id of what exists and stays
    remove: tuple[str, ...] = ()  # ids of what exists and goes
    known: bool = True  # False: nobody knows how to look for this type

    def __str__(self) -> str:
        label = f"{self.create.name} ({self.create.type})"
        if self.adopt is not None:
            return f"{label}: exists as {self.adopt}, adopted"
        if self.remove:
            return f"{label}: exists unfinished as {', '.join(self.remove)}; removed, to be made again"
        if not self.known:
            return f"{label}: cannot be looked for; it is created again, so check for a first one by hand"
        return f"{label}: was not made, or may be made again"


def pending_creates(state: Json) -> list[PendingCreate]:
    """From `pulumi stack export`."""
    return [
        PendingCreate(
            operation["resource"]["urn"],
            operation["resource"]["type"],
            operation["resource"].get("inputs", {}),
        )
        for operation in state["deployment"].get("pending_operations") or []
        if operation["type"] == "creating"
    ]


def known_ids(state: Json) -> set[tuple[str, str]]:
    """Type and id of everything in a state."""
    return {
        (resource["type"], str(resource["id"]))
        for resource in state["deployment"].get("resources") or []
        if resource.get("id")
    }


def settle(create: PendingCreate, clouds: Clouds, known: set[tuple[str, str]]) -> Settlement:
    """Look for the object of a pending create. `known`: what the state has already is not it."""
    finder = _FINDERS.get(create.type)
    if finder is None:
        repeatable = create.type in _REPEATABLE or create.type.startswith("pulumi:providers:")
        return Settlement(create, known=repeatable)
    ids = [found for found in finder(clouds, create.inputs) if (create.type, found) not in known]
    if create.type in (DROPLET, SPACES_KEY):
        # More than one: the provider repeats a request whose answer was lost.
        return Settlement(create, remove=tuple(ids))
    return Settlement(create, adopt=ids[0] if ids else None)


def settled_state(state: Json, settlements: list[Settlement]) -> Json:
    """The state with adopted objects in place of their pending creates, and without pending operations.

    Adopted objects get their outputs by a refresh. An object that was to replace another one takes its
    place, and the old one is marked for deletion, which is how the engine itself records it.
    """
    result = copy.deepcopy(state)
    deployment = result["deployment"]
    adopted = {item.create.urn: item.adopt for item in settlements if item.adopt is not None}
    resources: list[Json] = list(deployment.get("resources") or [])
    for operation in deployment.get("pending_operations") or []:
        resource = operation["resource"]
        found = adopted.get(resource["urn"])
        if operation["type"] != "creating" or found is None:
            continue
        outputs = resource.get("outputs") or resource.get("inputs", {})
        if resource["type"] == CLIENT_CERTIFICATE:
            # By this, and not by its id, the provider asks for it.
            outputs = {**outputs, "certificateId": found}
        fresh = {**resource, "id": found, "outputs": outputs}
        place = _supersede(resources, resource["urn"])
        resources.insert(place, fresh)
    deployment["resources"] = resources
    deployment["pending_operations"] = []
    return result


def _supersede(resources: list[Json], urn: str) -> int:
    """Mark the resource with this URN for deletion and return where its successor goes."""
    for index, resource in enumerate(resources):
        if resource["urn"] == urn and not resource.get("delete"):
            resources[index] = {**resource, "delete": True}
            return index
    return len(resources)


def untracked(state: Json, kind: str, rows: list[Json]) -> list[Json]:
    """Those of an account's objects of a type that the state does not know."""
    known = known_ids(state)
    return [row for row in rows if (kind, str(row["id"])) not in known]


def untracked_members(state: Json, cluster: Json) -> list[str]:
    """What is in a cluster of the state and not in the state itself, but what every cluster has."""
    known, key = known_ids(state), cluster["id"]
    users = (user["name"] for user in cluster.get("users") or () if user.get("role") != "primary")
    names = (name for name in cluster.get("db_names") or () if name != "defaultdb")
    return [
        *(f"user {name}" for name in users if (DATABASE_USER, f"{key}/user/{name}") not in known),
        *(f"database {name}" for name in names if (DATABASE_DB, f"{key}/database/{name}") not in known),
    ]


def twins(state: Json, strays: list[Json]) -> list[Json]:
    """Untracked droplets with the very name of one that the state knows.

    The provider repeats a request whose answer was lost, and then the cloud has made two. Names end with digits that
    Pulumi drew, so an equal name means the same request, and nothing ever referred to the one that was not noted.
    """
    named = {
        resource.get("outputs", {}).get("name")
        for resource in state["deployment"].get("resources") or []
        if resource["type"] == DROPLET
    }
    return [droplet for droplet in strays if droplet["name"] in named]


Finder = Callable[[Clouds, Mapping[str, Any]], list[str]]


def _by_name(path: str, key: str, identifier: str = "id", **query: str) -> Finder:
    """Objects of one DigitalOcean list with the name that the create asked for, oldest first."""

    def find(clouds: Clouds, inputs: Mapping[str, Any]) -> list[str]:
        rows = clouds.digitalocean().every(path, key, **query)
        return sorted(
            (str(row[identifier]) for row in rows if row["name"] == inputs.get("name")),
            key=lambda found: (len(found), found),
        )

    return find


def _domain(clouds: Clouds, inputs: Mapping[str, Any]) -> list[str]:
    name = str(inputs.get("name"))
    return [] if clouds.digitalocean().find(f"/v2/domains/{name}") is None else [name]


def _domain_record(clouds: Clouds, inputs: Mapping[str, Any]) -> list[str]:
    api = clouds.digitalocean()
    if api.find(f"/v2/domains/{inputs.get('domain')}") is None:
        return []
    wanted = (inputs.get("type"), inputs.get("name"), str(inputs.get("value", "")).rstrip("."))
    rows = api.every(f"/v2/domains/{inputs.get('domain')}/records", "domain_records")
    return [str(row["id"]) for row in rows if (row["type"], row["name"], row["data"].rstrip(".")) == wanted]


def _bucket(clouds: Clouds, inputs: Mapping[str, Any]) -> list[str]:
    name = str(inputs.get("name"))
    try:
        with clouds.bucket(name, str(inputs.get("region"))) as bucket:
            return [name] if bucket.exists("") else []
    except StoreError as error:
        raise FleetError(f"whether the bucket {name} was made cannot be found out: {error}") from error


def _in_cluster(part: str, key: str, word: str) -> Finder:
    """Users or databases of a cluster; `word` is what the provider puts before their names in an id."""

    def find(clouds: Clouds, inputs: Mapping[str, Any]) -> list[str]:
        cloud, cluster, name = clouds.digitalocean(), inputs.get("clusterId"), inputs.get("name")
        if cloud.find(f"/v2/databases/{cluster}") is None:
            return []
        rows = cloud.every(f"/v2/databases/{cluster}/{part}", key)
        return [f"{cluster}/{word}/{name}" for row in rows if row["name"] == name]

    return find


def _edge_record(clouds: Clouds, inputs: Mapping[str, Any]) -> list[str]:
    name = str(inputs.get("name"))
    wanted = (inputs.get("type"), inputs.get("content"), inputs.get("comment") or None)
    rows = clouds.cloudflare().every(
        f"/zones/{inputs.get('zoneId')}/dns_records", type=str(inputs.get("type"))
    )
    return [
        str(row["id"])
        for row in rows
        # The API answers the full name also where only the part below the zone was given.
        if (row["name"] == name or row["name"].startswith(f"{name}."))
        and (row["type"], row["content"], row.get("comment") or None) == wanted
    ]


def _origin_certificate(clouds: Clouds, inputs: Mapping[str, Any]) -> list[str]:
    """Signed for this very request: a key and names that nobody else has."""
    cloud, hosts = clouds.cloudflare(), sorted(inputs.get("hostnames", []))
    # The API lists them by zone and knows no list of an account's.
    zones = [
        zone["id"] for zone in cloud.every("/zones") if any(_is_in(host, zone["name"]) for host in hosts)
    ]
    rows = (row for zone in zones for row in cloud.every("/certificates", zone_id=str(zone)))
    wanted = (_pem(inputs.get("csr")), hosts)
    return list(
        dict.fromkeys(
            str(row["id"]) for row in rows if (_pem(row["csr"]), sorted(row["hostnames"])) == wanted
        )
    )


def _client_certificate(clouds: Clouds, inputs: Mapping[str, Any]) -> list[str]:
    rows = clouds.cloudflare().every(f"/zones/{inputs.get('zoneId')}/origin_tls_client_auth")
    wanted = _pem(inputs.get("certificate"))
    return [
        str(row["id"]) for row in rows if _pem(row["certificate"]) == wanted and row["status"] not in LEAVING
    ]


def _is_in(host: str, zone: str) -> bool:
    return host == zone or host.endswith(f".{zone}")


def _pem(text: Any) -> str:
    """PEM text whatever became of its line ends."""
    return "".join(str(text).split())


_FINDERS: Mapping[str, Finder] = {
    DROPLET: _by_name("/v2/droplets", "droplets"),
    "digitalocean:index/firewall:Firewall": _by_name("/v2/firewalls", "firewalls"),
    "digitalocean:index/vpc:Vpc": _by_name("/v2/vpcs", "vpcs"),
    "digitalocean:index/sshKey:SshKey": _by_name("/v2/account/keys", "ssh_keys"),
    "digitalocean:index/volume:Volume": _by_name("/v2/volumes", "volumes"),
    "digitalocean:index/project:Project": _by_name("/v2/projects", "projects"),
    "digitalocean:index/dropletSnapshot:DropletSnapshot": _by_name(
        "/v2/snapshots", "snapshots", resource_type="droplet"
    ),
    SPACES_KEY: _by_name("/v2/spaces/keys", "keys", "access_key"),
    stack_datastore.BUCKET_TYPE: _bucket,
    DATABASE_CLUSTER: _by_name("/v2/databases", "databases"),
    DATABASE_USER: _in_cluster("users", "users", "user"),
    DATABASE_DB: _in_cluster("dbs", "dbs", "database"),
    "digitalocean:index/domain:Domain": _domain,
    "digitalocean:index/dnsRecord:DnsRecord": _domain_record,
    "cloudflare:index/dnsRecord:DnsRecord": _edge_record,
    ORIGIN_CERTIFICATE: _origin_certificate,
    CLIENT_CERTIFICATE: _client_certificate,
}

# Creating these twice comes to the same: tags, attachments, settings, the list of those who may reach a database, and
# our own commands, which are idempotent.
_REPEATABLE = frozenset(
    {
        "digitalocean:index/tag:Tag",
        "digitalocean:index/volumeAttachment:VolumeAttachment",
        "digitalocean:index/databaseFirewall:DatabaseFirewall",
        "digitalocean:index/projectResources:ProjectResources",
        "cloudflare:index/zoneSetting:ZoneSetting",
        "cloudflare:index/authenticatedOriginPullsSettings:AuthenticatedOriginPullsSettings",
        "command:local:Command",
        "command:remote:Command",
        "command:remote:CopyToRemote",
    }
)
