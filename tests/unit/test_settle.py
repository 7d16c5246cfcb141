"""What became of creates that a killed run left pending, and the state that says so."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, cast

import pytest

from fleet.cloudflare import Cloudflare
from fleet.datastore_s3 import Bucket, Place, StoreError
from fleet.datastore_signature import Keys
from fleet.digitalocean import DigitalOcean
from fleet.errors import FleetError
from fleet.settle import (
    CLIENT_CERTIFICATE,
    DATABASE_CLUSTER,
    DROPLET,
    SPACES_KEY,
    Clouds,
    PendingCreate,
    Settlement,
    known_ids,
    pending_creates,
    settle,
    settled_state,
    twins,
    untracked,
    untracked_members,
)
from fleet.stack_datastore import BUCKET_TYPE

URN = "urn:pulumi:dev::flotilla::flotilla:index:WebTier$digitalocean:index/droplet:Droplet::web-1"
TAG = "digitalocean:index/tag:Tag"


Rows = list[dict[str, Any]]


class FakeCloud:
    """Answers the two calls that lookups make, from rows by path."""

    def __init__(self, lists: dict[str, Rows]) -> None:
        self.lists = lists

    def every(self, path: str, *_key: str, **_query: object) -> Iterator[dict[str, Any]]:
        yield from self.lists.get(path, [])

    def find(self, path: str) -> dict[str, Any] | None:
        return {} if path in self.lists else None


def clouds(path: str = "", rows: Rows | None = None) -> Clouds:
    return several({path: rows or []})


def several(lists: dict[str, Rows]) -> Clouds:
    fake = FakeCloud(lists)
    return Clouds(lambda: cast(DigitalOcean, fake), lambda: cast(Cloudflare, fake))


def droplet_create(name: str = "web-1-3fa2c1b") -> PendingCreate:
    return PendingCreate(URN, DROPLET, {"name": name, "tags": ["dev", "dev-web"]})


def resource(urn: str, kind: str, identifier: str | None = None, **more: Any) -> dict[str, Any]:
    return {"urn": urn, "type": kind, **({"id": identifier} if identifier else {}), **more}


def state(resources: list[dict[str, Any]], operations: list[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    pending = [{"type": kind, "resource": row} for kind, row in operations]
    return {"version": 3, "deployment": {"resources": resources, "pending_operations": pending}}


def test_an_unfinished_droplet_is_found_by_the_name_pulumi_chose_and_removed() -> None:
    rows = [{"id": 7, "name": "web-1-0000000"}, {"id": 8, "name": "web-1-3fa2c1b"}]
    found = settle(droplet_create(), clouds("/v2/droplets", rows), set())
    assert (found.adopt, found.remove) == (None, ("8",))


def test_a_droplet_that_was_not_made_is_created_again() -> None:
    found = settle(droplet_create(), clouds(), set())
    assert (found.remove, found.known) == ((), True)


def test_twins_of_a_repeated_request_go_too_oldest_first() -> None:
    rows = [{"id": 12, "name": "web-1-3fa2c1b"}, {"id": 9, "name": "web-1-3fa2c1b"}]
    found = settle(droplet_create(), clouds("/v2/droplets", rows), set())
    assert found.remove == ("9", "12")


def test_what_the_state_has_already_is_left_alone() -> None:
    rows = [{"id": 8, "name": "web-1-3fa2c1b"}]
    assert settle(droplet_create(), clouds("/v2/droplets", rows), {(DROPLET, "8")}).remove == ()


def test_an_edge_record_is_found_by_name_content_and_comment() -> None:
    create = PendingCreate(
        "urn:x::web-1-dns",
        "cloudflare:index/dnsRecord:DnsRecord",
        {"zoneId": "z", "type": "A", "name": "www", "content": "198.18.0.1", "comment": "web-1"},
    )
    row = {"type": "A", "name": "www.foobar.com", "content": "198.18.0.1", "comment": "web-1"}
    rows: Rows = [
        {**row, "id": "a", "content": "198.18.0.2"},
        {**row, "id": "b"},
        {**row, "id": "c", "comment": None},
    ]
    assert settle(create, clouds("/zones/z/dns_records", rows), set()).adopt == "b"


def test_a_domain_record_is_found_by_its_value() -> None:
    create = PendingCreate(
        "urn:x::web-1-dns",
        "digitalocean:index/dnsRecord:DnsRecord",
        {"domain": "foobar.com", "type": "CNAME", "name": "www", "value": "a.foobar.com."},
    )
    row = {"id": 5, "type": "CNAME", "name": "www", "data": "a.foobar.com"}
    found = several({"/v2/domains/foobar.com": [], "/v2/domains/foobar.com/records": [row]})
    assert settle(create, found, set()).adopt == "5"


@pytest.mark.parametrize("kind", [TAG, "command:remote:Command", "pulumi:providers:digitalocean"])
def test_what_may_be_made_twice_is_simply_made_again(kind: str) -> None:
    found = settle(PendingCreate("urn:x::name", kind, {}), clouds(), set())
    assert (found.adopt, found.known) == (None, True)


def test_a_type_nobody_can_look_for_is_said_to_be_so() -> None:
    found = settle(
        PendingCreate("urn:x::balancer", "digitalocean:index/loadBalancer:LoadBalancer", {}),
        clouds(),
        set(),
    )
    assert not found.known
    assert "check for a first one by hand" in str(found)


def test_only_creates_are_settled() -> None:
    one = resource(URN, DROPLET, inputs={"name": "web-1-3fa2c1b"})
    two = resource("urn:x::dev", TAG, "dev")
    document = state([], [("creating", one), ("updating", two), ("deleting", two)])
    assert pending_creates(document) == [PendingCreate(URN, DROPLET, {"name": "web-1-3fa2c1b"})]


def test_an_adopted_create_joins_the_resources_and_nothing_is_pending() -> None:
    tag = resource("urn:x::dev", TAG, "dev")
    create = resource(URN, DROPLET, inputs={"name": "n"}, dependencies=["urn:x::dev"])
    document = state([tag], [("creating", create)])
    settled = settled_state(document, [Settlement(droplet_create(), "8")])["deployment"]
    assert settled["resources"] == [tag, {**create, "id": "8", "outputs": {"name": "n"}}]
    assert settled["pending_operations"] == []
    assert document["deployment"]["pending_operations"], "the argument is not changed"


def test_an_adopted_replacement_takes_the_place_of_the_old_one_which_is_to_be_deleted() -> None:
    old = resource(URN, DROPLET, "7")
    gate = resource("urn:x::web-1-gate", "command:remote:Command", "gate", dependencies=[URN])
    create = resource(URN, DROPLET, inputs={"name": "n"})
    document = state([old, gate], [("creating", create)])
    rows = settled_state(document, [Settlement(droplet_create(), "8")])["deployment"]["resources"]
    assert [(row["id"], row.get("delete", False)) for row in rows] == [
        ("8", False),
        ("7", True),
        ("gate", False),
    ]


def test_an_adopted_client_certificate_is_one_that_the_provider_can_ask_for() -> None:
    create = resource("urn:x::edge-client", CLIENT_CERTIFICATE, inputs={"zoneId": "z"})
    settlement = Settlement(PendingCreate("urn:x::edge-client", CLIENT_CERTIFICATE, {}), "5c3f")
    [row] = settled_state(state([], [("creating", create)]), [settlement])["deployment"]["resources"]
    assert (row["id"], row["outputs"]) == ("5c3f", {"zoneId": "z", "certificateId": "5c3f"})


def test_a_client_certificate_that_is_leaving_the_edge_is_not_adopted() -> None:
    create = PendingCreate("urn:x::edge-client", CLIENT_CERTIFICATE, {"zoneId": "z", "certificate": "pem"})
    row = {"certificate": "pem", "status": "pending_deletion", "id": "a"}
    rows: Rows = [row, {**row, "id": "b", "status": "pending_deployment"}]
    assert settle(create, clouds("/zones/z/origin_tls_client_auth", rows), set()).adopt == "b"


def test_a_create_that_made_nothing_leaves_the_state() -> None:
    document = state([], [("creating", resource(URN, DROPLET))])
    settled = settled_state(document, [Settlement(droplet_create())])["deployment"]
    assert (settled["resources"], settled["pending_operations"]) == ([], [])


def test_droplets_outside_the_state_are_told() -> None:
    document = state([resource(URN, DROPLET, "7")], [])
    assert known_ids(document) == {(DROPLET, "7")}
    assert untracked(document, DROPLET, [{"id": 7}, {"id": 8}]) == [{"id": 8}]


def test_a_key_of_object_storage_is_removed_for_nobody_knows_its_secret() -> None:
    create = PendingCreate("urn:x::datastore-web", SPACES_KEY, {"name": "datastore-web-3fa2c1b"})
    rows: Rows = [
        {"access_key": "DO1", "name": "datastore-web-3fa2c1b"},
        {"access_key": "DO2", "name": "datastore-web-0000000"},
    ]
    found = settle(create, clouds("/v2/spaces/keys", rows), set())
    assert (found.adopt, found.remove) == (None, ("DO1",))


class FakeBucket(Bucket):
    """A bucket that is there, is not, or is somebody else's."""

    def __init__(self, outcome: bool | StoreError) -> None:
        super().__init__(Place("http://s3.test", "store", "lon1"), Keys("DO1", "secret"))
        self._outcome = outcome

    def exists(self, key: str) -> bool:
        if isinstance(self._outcome, StoreError):
            raise self._outcome
        return self._outcome


def _bucket_create(outcome: bool | StoreError) -> Settlement:
    create = PendingCreate("urn:x::datastore", BUCKET_TYPE, {"name": "store-3fa2c1b", "region": "lon1"})
    known = replace(clouds(), bucket=lambda name, region: FakeBucket(outcome))
    return settle(create, known, set())


def test_a_bucket_is_adopted_by_its_name() -> None:
    assert _bucket_create(True).adopt == "store-3fa2c1b"
    missing = _bucket_create(False)
    assert (missing.adopt, missing.known) == (None, True)
    with pytest.raises(FleetError, match="the bucket store-3fa2c1b was made cannot be found out: 403"):
        _bucket_create(StoreError("403"))


def test_an_unfinished_cluster_is_adopted_and_never_removed() -> None:
    create = PendingCreate("urn:x::database", DATABASE_CLUSTER, {"name": "database-3fa2c1b"})
    rows: Rows = [{"id": "a", "name": "database-0000000"}, {"id": "b", "name": "database-3fa2c1b"}]
    found = settle(create, clouds("/v2/databases", rows), set())
    assert (found.adopt, found.remove) == ("b", ())


@pytest.mark.parametrize(
    ("kind", "part", "expected"),
    [
        ("databaseUser:DatabaseUser", "users", "c/user/site"),
        ("databaseDb:DatabaseDb", "dbs", "c/database/site"),
    ],
)
def test_what_is_in_a_cluster_is_found_by_its_name(kind: str, part: str, expected: str) -> None:
    create = PendingCreate("urn:x::it", f"digitalocean:index/{kind}", {"clusterId": "c", "name": "site"})
    lists: dict[str, Rows] = {"/v2/databases/c": [], f"/v2/databases/c/{part}": [{"name": "site"}]}
    assert settle(create, several(lists), set()).adopt == expected
    assert settle(create, several({**lists, f"/v2/databases/c/{part}": []}), set()).adopt is None
    assert settle(create, several({}), set()).adopt is None, "the cluster is gone, and this with it"


def test_what_is_in_a_cluster_and_in_no_state_is_told() -> None:
    known = resource("urn:x::user", "digitalocean:index/databaseUser:DatabaseUser", "c/user/site1")
    cluster = {
        "id": "c",
        "users": [{"name": "doadmin", "role": "primary"}, {"name": "site1"}, {"name": "site2"}],
        "db_names": ["defaultdb", "site"],
    }
    assert untracked_members(state([known], []), cluster) == ["user site2", "database site"]
    assert untracked_members(state([known], []), {"id": "c", "users": None, "db_names": None}) == []


def test_a_twin_has_the_name_of_a_droplet_that_is_known() -> None:
    document = state([resource(URN, DROPLET, "7", outputs={"name": "web-1-3fa2c1b"})], [])
    twin, burst = {"id": 8, "name": "web-1-3fa2c1b"}, {"id": 9, "name": "web-burst-1"}
    assert twins(document, [twin, burst]) == [twin]
