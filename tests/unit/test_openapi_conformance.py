"""Every path the sandbox serves against DigitalOcean's OpenAPI description: generated requests, errors and pages.

The other unit tests of the API hold their calls against the description too (`Api.call`); these look for what nobody
thought of, and that nothing served is undescribed.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any
from urllib.parse import urlencode

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from sandbox.api.call import Endpoint
from sandbox.api.digitalocean.routes import ENDPOINTS
from sandbox.api.errors import ApiError
from sandbox.store import Store
from tests.openapi import NonConformingError, OpenApi, Operation, description, description_path
from tests.openapi_strategies import Bodies, mostly
from tests.unit.cloud_api import SSH_KEY, Api, started

if description_path() is None and os.environ.get("CI") != "true":
    pytest.skip(
        "NOT RUN: the conformance ring needs DigitalOcean's OpenAPI description; name its file in FLOTILLA_OPENAPI",
        allow_module_level=True,
    )

_TAGS = ["web", "db", "Prod"]
_OTHER_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIPrJhAZbC6ttGupX42nbHwDxL5ZF4Vn7DZFW90wdq4iF"
_JUNK_IDS = ["1", "0", "abc", "00000000-0000-4000-8000-000000000000", "~"]


def judge() -> OpenApi:
    found = description()
    assert found is not None, "with CI=true FLOTILLA_OPENAPI must name DigitalOcean's OpenAPI description"
    return found


def described(endpoint: Endpoint) -> Operation:
    operation = judge().operation(endpoint.method, re.sub(r"\{[^}]+\}", "x", endpoint.path))
    assert operation is not None, f"{endpoint.method} {endpoint.path} is not described"
    return operation


@pytest.mark.parametrize("endpoint", ENDPOINTS, ids=lambda endpoint: f"{endpoint.method} {endpoint.path}")
def test_every_served_path_and_its_filters_are_described(endpoint: Endpoint) -> None:
    operation = described(endpoint)

    parameters = [
        judge().resolve(one)
        for one in [*operation.document.get("parameters", ()), *operation.shared_parameters]
    ]
    names = {one["name"] for one in parameters if one["in"] == "query"}
    # The description forgets that these lists have pages, too.
    assert endpoint.query <= names | {"page", "per_page"}


@dataclass(frozen=True, slots=True)
class World:
    """A cloud with one of everything, at rest: its database, and what names its things by path variable."""

    database: bytes
    names: dict[str, list[Any]]

    async def opened(self) -> Api:
        store = Store(":memory:")
        store._db.deserialize(self.database)
        return await started(store, droplet_limit=40)


@cache
def world() -> World:
    return asyncio.run(furnished())


async def furnished() -> World:
    """A cloud in which most paths lead somewhere."""
    api = await started(Store(":memory:"), droplet_limit=40)
    key = (await api.made("/v2/account/keys", {"name": "me", "public_key": SSH_KEY}))["ssh_key"]
    for tag in _TAGS:
        await api.made("/v2/tags", {"name": tag})
    vpc = (await api.made("/v2/vpcs", {"name": "dev", "region": "lon1", "ip_range": "10.20.0.0/20"}))["vpc"]
    volumes = [
        (await api.made("/v2/volumes", {"name": name, "region": "lon1", "size_gigabytes": 2}))["volume"]["id"]
        for name in ("free", "used")
    ]
    snapshot = (await api.made(f"/v2/volumes/{volumes[0]}/snapshots", {"name": "s"}))["snapshot"]["id"]
    await api.cloud.settled()
    on = await api.droplet(
        "on", tags=["web"], vpc_uuid=vpc["id"], volumes=[volumes[1]], backups=True, ipv6=True
    )
    off = await api.droplet("off", tags=["db"])
    await api.act(on["id"], "snapshot", name="golden")
    await api.act(off["id"], "power_off")
    image = (await api.get("/v2/images?private=true"))["images"][0]["id"]
    rule = {"protocol": "tcp", "ports": "443", "sources": {"addresses": ["0.0.0.0/0"], "tags": ["db"]}}
    firewall = (await api.made("/v2/firewalls", {"name": "web", "tags": ["web"], "inbound_rules": [rule]}))[
        "firewall"
    ]
    await api.made("/v2/domains", {"name": "foobar.com"})
    record = await api.made(
        "/v2/domains/foobar.com/records", {"type": "A", "name": "www", "data": "198.51.100.7"}
    )
    project = (await api.made("/v2/projects", {"name": "site", "purpose": "Web Application"}))["project"]
    grant = {"bucket": "datastore", "permission": "read"}
    access = (await api.made("/v2/spaces/keys", {"name": "reader", "grants": [grant]}))["key"]["access_key"]
    order = {"engine": "mysql", "region": "lon1", "private_network_uuid": vpc["id"]}
    cluster = await api.cluster("site", **order, num_nodes=2, size="db-s-1vcpu-2gb", tags=["db"])
    await api.made(f"/v2/databases/{cluster['id']}/users", {"name": "app"})
    await api.cloud.settled()
    actions = [action["id"] for action in (await api.get("/v2/actions?per_page=200"))["actions"]]
    names: dict[str, list[Any]] = {
        "droplet": [on["id"], off["id"]],
        "image": [image, "debian-13-x64", 194000013],
        "snapshot": [image, snapshot, 194000013],
        "volume": volumes,
        "vpc": [vpc["id"], off["vpc_uuid"]],
        "key": [key["id"], key["fingerprint"]],
        "tag": _TAGS,
        "firewall": [firewall["id"]],
        "domain": ["foobar.com"],
        "record": [record["domain_record"]["id"]],
        "project": [project["id"]],
        "access_key": [access],
        "action": actions,
        "cluster": [cluster["id"]],
        "user": ["app", "doadmin"],
        "db": ["defaultdb"],
    }
    await api.cloud.stop()
    return World(api.cloud.store._db.serialize(), names)


def pools(names: dict[str, list[Any]]) -> dict[str, Sequence[Any]]:
    """Values for properties of bodies, by the properties' names."""
    return {
        "name": ["web-9", "data9", "www", "example.org", "fw"],
        "names": ["a", "b.example.com"],
        "region": ["lon1", "fra1", "nyc2"],
        "size": ["s-1vcpu-1gb", "s-1vcpu-2gb", "db-s-1vcpu-2gb", "db-s-2vcpu-4gb", "none"],
        "engine": ["mysql", "pg"],
        "version": ["8", "17"],
        "num_nodes": [1, 2],
        "private_network_uuid": names["vpc"],
        "project_id": names["project"],
        "storage_size_mib": [61440],
        "day": ["tuesday"],
        "hour": ["14:00"],
        "sql_mode": ["ANSI,STRICT_ALL_TABLES", "TRADITIONAL"],
        "value": [str(names["droplet"][0]), "web", "198.51.100.7"],
        "image": ["debian-13-x64", *names["image"]],
        "ssh_keys": names["key"],
        "tags": _TAGS,
        "vpc_uuid": names["vpc"],
        "volumes": names["volume"],
        "droplet_id": names["droplet"],
        "droplet_ids": names["droplet"],
        "resource_id": [str(name) for kind in ("droplet", "image", "volume") for name in names[kind]],
        "resources": [f"do:droplet:{number}" for number in names["droplet"]] + ["do:domain:foobar.com"],
        "snapshot_id": names["snapshot"][1:2],
        "volume_name": ["free", "used"],
        "size_gigabytes": [1, 5],
        "ip_range": ["10.30.0.0/24", "10.20.0.0/24"],
        "ports": ["443", "8000-9000", "0"],
        "addresses": ["0.0.0.0/0", "::/0", "198.51.100.7"],
        "public_key": [SSH_KEY, _OTHER_KEY],
        "type": ["A", "TXT", "CNAME", "MX"],
        "data": ["198.51.100.8", "edge.example.net.", "text"],
        "ttl": [30, 1800],
        "tag": ["issue"],
        "bucket": ["datastore", ""],
        "permission": ["read", "readwrite", "fullaccess", ""],
        "ip_address": ["198.51.100.1"],
        "load_balancer_uids": [],
        "kubernetes_ids": [],
    }


_QUERIES = {
    "page": ["1", "2", "0", "x"],
    "per_page": ["1", "200", "201"],
    "tag_name": [*_TAGS, "none"],
    "name": ["on", "free", "www.foobar.com"],
    "type": ["droplets", "gpus", "A", "distribution", "application", "other"],
    "private": ["true", "false", "maybe"],
    "resource_type": ["droplet", "volume", "other"],
    "region": ["lon1", "fra1"],
    "bucket": ["datastore"],
    "permission": ["read", "readwrite"],
    "sort": ["created_at", "name"],
    "sort_direction": ["asc", "desc", "up"],
}


@dataclass(frozen=True, slots=True)
class Request:
    """A generated request; afterwards the cloud may be left at work or waited for."""

    method: str
    target: str
    body: Any
    settle: bool


def _targets(endpoint: Endpoint) -> st.SearchStrategy[str]:
    """The endpoint's path with variables that mostly name something, and some of its query parameters."""
    variables = re.findall(r"\{([^}]+)\}", endpoint.path)
    values = {
        name: mostly(
            st.sampled_from([str(known) for known in world().names[name]]), st.sampled_from(_JUNK_IDS)
        )
        for name in variables
    }
    queries = st.fixed_dictionaries(
        {}, optional={name: st.sampled_from(_QUERIES[name]) for name in sorted(endpoint.query)}
    )

    def join(filled: dict[str, str], query: dict[str, str]) -> str:
        return endpoint.path.format(**filled) + (f"?{urlencode(query)}" if query else "")

    return st.builds(join, st.fixed_dictionaries(values), queries)


def _requests(endpoint: Endpoint) -> st.SearchStrategy[Request]:
    bodies = Bodies(judge(), pools(world().names))
    schema = judge().body_schema(described(endpoint))
    body = st.none() if schema is None else mostly(bodies.allowed(schema), bodies.broken(schema))
    return st.builds(Request, st.just(endpoint.method), _targets(endpoint), body, st.booleans())


def _any_request() -> st.SearchStrategy[Request]:
    reading = st.one_of(*(_requests(endpoint) for endpoint in ENDPOINTS if endpoint.method == "GET"))
    writing = st.one_of(*(_requests(endpoint) for endpoint in ENDPOINTS if endpoint.method != "GET"))
    return st.one_of(writing, writing, reading)


async def _session(requests: Sequence[Request]) -> None:
    """Generated requests to one cloud; `Api.call` holds each against the description."""
    api = await world().opened()
    try:
        for request in requests:
            before = _content(api)
            reply = await api.call(request.method, request.target, request.body)
            if reply.status >= 400 or request.method == "GET":
                assert _content(api) == before, f"{request} changed something"
            if request.settle:
                await api.cloud.settled()
    finally:
        await api.cloud.stop()


def _content(api: Api) -> list[Any]:
    return list(api.cloud.store._db.execute("SELECT kind, id, body FROM documents"))


_SETTINGS = settings(
    deadline=None,
    derandomize=True,
    # Without the phase that explains failures: it traces every line.
    phases=[Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)


@pytest.mark.parametrize(
    "endpoint",
    [endpoint for endpoint in ENDPOINTS if endpoint.method != "GET"],
    ids=lambda endpoint: f"{endpoint.method} {endpoint.path}",
)
def test_each_change_conforms(endpoint: Endpoint) -> None:
    @settings(_SETTINGS, max_examples=20)
    @given(request=_requests(endpoint))
    def conforms(request: Request) -> None:
        asyncio.run(_session([request]))

    conforms()


@settings(_SETTINGS, max_examples=40)
@given(requests=st.deferred(lambda: st.lists(_any_request(), min_size=4, max_size=12)))
def test_generated_sessions_conform(requests: list[Request]) -> None:
    asyncio.run(_session(requests))


def test_every_list_conforms_page_by_page() -> None:
    listings = [endpoint for endpoint in ENDPOINTS if endpoint.method == "GET" and "page" in endpoint.query]
    names = {variable: known[0] for variable, known in world().names.items()}

    async def visit() -> None:
        api = await world().opened()
        for endpoint in listings:
            path = endpoint.path.format(**names)
            for query in ("", "?per_page=1", "?per_page=1&page=2", "?per_page=200&page=9", "?page=0"):
                await api.call("GET", path + query)
        await api.cloud.stop()

    asyncio.run(visit())
    assert len(listings) > 20


def test_the_judge_refuses_what_it_should() -> None:
    """The ring would prove nothing if the judge accepted everything."""
    droplet = {"name": "a", "region": "lon1", "size": "s-1vcpu-1gb", "image": "debian-13-x64"}
    with pytest.raises(NonConformingError, match="request"):
        judge().check("POST", "/v2/droplets", {**droplet, "backups": "yes"}, 202, {"droplet": {}})
    with pytest.raises(NonConformingError, match="answer 200"):
        judge().check(
            "GET", "/v2/tags", None, 200, {"tags": [{"name": 7}], "links": {}, "meta": {"total": 1}}
        )
    with pytest.raises(NonConformingError, match="answer 418"):
        judge().check("GET", "/v2/tags", None, 418, {"error": "teapot"})
    with pytest.raises(NonConformingError, match="must have no body"):
        judge().check("DELETE", "/v2/tags/web", None, 204, {})
    with pytest.raises(NonConformingError, match="not described"):
        judge().check(
            "GET", "/v2/tags?colour=red", None, 200, {"tags": [], "links": {}, "meta": {"total": 0}}
        )


def test_error_documents_have_the_described_shape() -> None:
    document = ApiError(422, "unprocessable_entity", "no").document("00000000-0000-4000-8000-000000000000")

    judge().check("POST", "/v2/droplets", {}, 422, document)
