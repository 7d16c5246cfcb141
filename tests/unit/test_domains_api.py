"""Domains and their records over the API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from sandbox.store import Store
from tests.unit.cloud_api import Api, started

RECORDS = "/v2/domains/foobar.com/records"


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    api = await started(Store(":memory:"))
    await api.made("/v2/domains", {"name": "foobar.com"})
    yield api
    await api.cloud.stop()


async def record(api: Api, **fields: Any) -> dict[str, Any]:
    made = await api.made(RECORDS, {"type": "A", "name": "www", "data": "198.51.100.7", **fields})
    answer: dict[str, Any] = made["domain_record"]
    return answer


async def test_a_domain_is_born_with_soa_and_name_servers(api: Api) -> None:
    records = (await api.get(RECORDS))["domain_records"]

    assert [one["type"] for one in records] == ["SOA", "NS", "NS", "NS"]
    assert records[1]["data"] == "ns1.digitalocean.com"


async def test_a_domain_can_start_with_an_address(api: Api) -> None:
    made = await api.made("/v2/domains", {"name": "Example.ORG", "ip_address": "198.51.100.1"})

    assert made["domain"] == {"name": "example.org", "ttl": 1800, "zone_file": None}
    [address] = (await api.get("/v2/domains/example.org/records?type=A"))["domain_records"]
    assert (address["name"], address["data"]) == ("@", "198.51.100.1")
    zone = (await api.get("/v2/domains/example.org"))["domain"]["zone_file"]
    assert "example.org. 1800 IN A 198.51.100.1" in zone


@pytest.mark.parametrize("name", ["foobar.com", "FOOBAR.com"])
async def test_a_domain_is_made_once(api: Api, name: str) -> None:
    reply = await api.refused("POST", "/v2/domains", {"name": name})

    assert (reply.status, "already exists" in reply.message) == (422, True)


@pytest.mark.parametrize(
    "name", ["", "localhost", "a b.com", "-x.com", "foo..com", "1.2.3.4", "x" * 250 + ".com"]
)
async def test_what_is_no_domain_is_refused(api: Api, name: str) -> None:
    reply = await api.refused("POST", "/v2/domains", {"name": name})

    assert (reply.status, "not a valid domain name" in reply.message) == (422, True)


async def test_deleting_a_domain_takes_its_records(api: Api) -> None:
    made = await record(api)

    assert (await api.call("DELETE", "/v2/domains/foobar.com")).status == 204

    assert (await api.refused("GET", f"{RECORDS}/{made['id']}")).status == 404
    assert api.cloud.store.all("record") == []


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        (
            {},
            {"type": "A", "name": "www", "data": "198.51.100.7", "ttl": 1800, "priority": None, "tag": None},
        ),
        ({"name": "@", "ttl": 60}, {"name": "@", "ttl": 60}),
        ({"name": "*.dev"}, {"name": "*.dev"}),
        ({"name": "www.foobar.com."}, {"name": "www"}),
        ({"type": "AAAA", "data": "2001:DB8::1"}, {"data": "2001:db8::1"}),
        ({"type": "CNAME", "data": "edge.example.net."}, {"data": "edge.example.net"}),
        ({"type": "CNAME", "data": "@"}, {"data": "@"}),
        (
            {"type": "MX", "data": "mail.example.net.", "priority": 10},
            {"data": "mail.example.net", "priority": 10},
        ),
        (
            {
                "type": "SRV",
                "name": "_sip._tcp",
                "data": "sip.example.net.",
                "priority": 1,
                "port": 5060,
                "weight": 2,
            },
            {"port": 5060, "weight": 2},
        ),
        ({"type": "TXT", "data": "v=spf1 -all"}, {"data": "v=spf1 -all"}),
        (
            {"type": "CAA", "data": "letsencrypt.org.", "flags": 0, "tag": "issue"},
            {"tag": "issue", "flags": 0},
        ),
        ({"priority": 0, "port": 0, "weight": 0, "flags": 0}, {"priority": None, "flags": None}),
    ],
)
async def test_records_are_shown_in_their_normal_form(
    api: Api, fields: dict[str, Any], shown: dict[str, Any]
) -> None:
    made = await record(api, **fields)

    assert {name: made[name] for name in shown} == shown
    assert (await api.get(f"{RECORDS}/{made['id']}"))["domain_record"] == made


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"data": "300.1.1.1"}, "did not match IPv4 format"),
        ({"type": "AAAA"}, "did not match IPv6 format"),
        ({"data": ""}, "Data can't be blank"),
        ({"name": ""}, "Name can't be blank"),
        ({"name": "bad name"}, "only valid hostname characters"),
        ({"name": "www.other.com."}, "not in the domain"),
        ({"type": "CNAME", "data": "edge.example.net"}, "Data needs to end with a dot"),
        ({"type": "CNAME", "name": "@", "data": "edge.example.net."}, "CNAME records cannot share a name"),
        ({"type": "MX", "data": "mail.example.net."}, "Priority can't be blank"),
        (
            {"type": "SRV", "data": "s.example.net.", "priority": 1, "port": 70000, "weight": 1},
            "Port must be",
        ),
        ({"type": "CAA", "data": "letsencrypt.org.", "flags": 0, "tag": "other"}, "Tag must be"),
        ({"type": "TXT", "data": "x" * 513}, "too long"),
        ({"type": "PTR"}, "Type"),
        ({"type": "SOA"}, "Type"),
        ({"ttl": 29}, "TTL must be greater than or equal to 30"),
        ({"proxied": True}, 'unknown field "proxied"'),
    ],
)
async def test_a_bad_record_is_refused(api: Api, fields: dict[str, Any], message: str) -> None:
    body = {"type": "A", "name": "www", "data": "198.51.100.7", **fields}

    reply = await api.refused("POST", RECORDS, body)

    assert reply.status == 422
    assert message in reply.message


async def test_one_name_may_have_several_addresses_but_each_once(api: Api) -> None:
    await record(api)
    await record(api, data="198.51.100.8")

    reply = await api.refused("POST", RECORDS, {"type": "A", "name": "WWW", "data": "198.51.100.8"})

    assert reply.status == 422
    assert "Duplicate record" in reply.message


async def test_an_address_cannot_join_a_cname(api: Api) -> None:
    await record(api, type="CNAME", data="edge.example.net.")

    reply = await api.refused("POST", RECORDS, {"type": "A", "name": "www", "data": "198.51.100.8"})

    assert reply.message == "CNAME records cannot share a name with other records"


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_a_record_changes_in_place(api: Api, method: str) -> None:
    made = await record(api, type="CNAME", data="old.example.net.")

    body = {"type": "CNAME", "name": "web", "ttl": 30, "priority": 0, "port": 0, "weight": 0, "flags": 0}
    changed = await api.call(method, f"{RECORDS}/{made['id']}", body)

    shown = changed.body["domain_record"]
    assert (shown["id"], shown["name"], shown["ttl"]) == (made["id"], "web", 30)
    assert shown["data"] == "old.example.net"


@pytest.mark.parametrize("method", ["PUT", "PATCH"])
async def test_a_change_may_leave_the_type_out(api: Api, method: str) -> None:
    made = await record(api, type="CNAME", data="old.example.net.")

    changed = await api.call(method, f"{RECORDS}/{made['id']}", {"name": "www", "data": "new.example.net."})

    shown = changed.body["domain_record"]
    assert (shown["type"], shown["data"]) == ("CNAME", "new.example.net")


async def test_a_new_record_needs_a_type(api: Api) -> None:
    reply = await api.refused("POST", RECORDS, {"name": "www", "data": "198.51.100.7"})

    assert (reply.status, reply.message) == (422, "type is required")


async def test_a_record_keeps_its_type(api: Api) -> None:
    made = await record(api)

    reply = await api.refused("PATCH", f"{RECORDS}/{made['id']}", {"type": "TXT"})

    assert "cannot be changed from A to TXT" in reply.message


async def test_records_filter_by_full_name_and_type(api: Api) -> None:
    made = await record(api)
    await record(api, name="db")

    listed = (await api.get(f"{RECORDS}?name=www.foobar.com&type=A"))["domain_records"]

    assert listed == [made]
    assert (await api.refused("GET", f"{RECORDS}?type=PTR")).status == 400


async def test_a_record_belongs_to_its_domain(api: Api) -> None:
    await api.made("/v2/domains", {"name": "other.com"})
    made = await record(api)

    assert (await api.refused("GET", f"/v2/domains/other.com/records/{made['id']}")).status == 404
    assert (await api.refused("DELETE", f"/v2/domains/other.com/records/{made['id']}")).status == 404
    assert (await api.call("DELETE", f"{RECORDS}/{made['id']}")).status == 204
