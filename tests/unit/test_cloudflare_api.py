"""Cloudflare's API as its clients see it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from sandbox.cloudflare import IpRanges, ip_ranges, set_ip_ranges
from sandbox.cloudflare.envelope import ApiError
from sandbox.cloudflare.guard import RateLimit
from sandbox.store import Store
from tests.unit.cloudflare_api import Api


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[Api]:
    store = Store(tmp_path / "cloud.sqlite")
    client = Api(store)
    client.zone = (await client.call("POST", "/zones", {"name": "foobar.com"})).result["id"]
    yield client
    store.close()


async def test_token_verifies(api: Api) -> None:
    reply = await api.call("GET", "/user/tokens/verify")
    assert reply.result["status"] == "active"


@pytest.mark.parametrize(
    ("token", "status", "code"),
    [(None, 400, 9106), ("short", 400, 6003), ("y" * 40, 403, 9109)],
    ids=["missing", "malformed", "foreign"],
)
async def test_wrong_token_is_refused(api: Api, token: str | None, status: int, code: int) -> None:
    reply = await api.call("GET", "/zones", token=token)
    assert (reply.status, reply.code) == (status, code)


async def test_foreign_token_does_not_verify(api: Api) -> None:
    reply = await api.call("GET", "/user/tokens/verify", token="y" * 40)
    assert (reply.status, reply.code) == (401, 1000)


async def test_ranges_are_public_and_sane(api: Api) -> None:
    result = (await api.call("GET", "/ips", token=None)).result
    assert len(result["ipv4_cidrs"]) == 15
    assert len(result["ipv6_cidrs"]) == 7
    assert len(result["etag"]) == 32


def test_replaced_ranges_are_published(tmp_path: Path) -> None:
    store = Store(tmp_path / "db")
    before = ip_ranges(store).document()["etag"]
    set_ip_ranges(store, ["203.0.113.0/24"], [])
    assert ip_ranges(store) == IpRanges(("203.0.113.0/24",), ())
    assert ip_ranges(store).document()["etag"] != before


async def test_unknown_path_and_method(api: Api) -> None:
    assert ((reply := await api.call("GET", "/nowhere")).status, reply.code) == (404, 7000)
    assert ((reply := await api.call("PUT", "/zones", {})).status, reply.code) == (405, 7001)
    assert ((reply := await api.call("GET", "/zones/xyz")).status, reply.code) == (400, 7003)


async def test_zone_is_found_by_filter(api: Api) -> None:
    found = await api.call("GET", "/zones", name="foobar.com", match="all")
    assert [zone["id"] for zone in found.result] == [api.zone]
    assert found.body["result_info"]["total_count"] == 1
    zone = found.result[0]
    assert (zone["status"], zone["type"], zone["paused"]) == ("active", "full", False)
    assert len(zone["name_servers"]) == 2
    assert (await api.call("GET", "/zones", name="other.com")).result == []


async def test_page_past_the_end_is_empty(api: Api) -> None:
    assert (await api.call("GET", "/zones", page=2)).result == []


async def test_zone_names_are_unique_and_valid(api: Api) -> None:
    assert (await api.call("POST", "/zones", {"name": "FOOBAR.com"})).code == 1061
    assert (await api.call("POST", "/zones", {"name": "foo"})).code == 1049
    assert (await api.call("POST", "/zones", {"name": "b.com", "account": {"id": "0" * 32}})).status == 403


async def test_deleted_zone_takes_its_records_along(api: Api) -> None:
    await api.add()
    assert (await api.call("DELETE", f"/zones/{api.zone}")).result == {"id": api.zone}
    assert api.store.all("cf_record") == []
    assert ((reply := await api.call("GET", f"/zones/{api.zone}")).status, reply.code) == (404, 1001)


async def test_created_record_is_complete(api: Api) -> None:
    api.changes.clear()
    record = await api.add(name="WWW", proxied=True, ttl=1, comment="web-1")
    assert record["name"] == "www.foobar.com"
    assert (record["ttl"], record["proxied"], record["proxiable"]) == (1, True, True)
    assert (record["comment"], record["tags"], record["settings"]) == ("web-1", [], {})
    assert record["created_on"].endswith("Z")
    assert (await api.records("GET", record=record["id"])).result == record
    assert api.changes == [frozenset({"cf_record"})]


async def test_proxied_record_has_automatic_ttl(api: Api) -> None:
    assert (await api.add(proxied=True, ttl=300))["ttl"] == 1


async def test_the_sandboxs_own_droplets_may_be_proxied_wherever_they_live(api: Api) -> None:
    assert (await api.add(proxied=True, content="127.64.16.9"))["proxied"] is True


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"content": "198.18.0.300"}, 9005),
        ({"content": "2001:db8::1"}, 9005),
        ({"type": "AAAA", "content": "198.18.0.1"}, 9006),
        ({"type": "CNAME", "content": "1.2.3.4"}, 9007),
        ({"type": "CNAME", "content": "www.foobar.com"}, 9039),
        ({"type": "MX", "content": "mail.foobar.com"}, 9101),
        ({"type": "NONE"}, 9001),
        ({"type": "TXT", "content": "hello", "proxied": True}, 9004),
        ({"proxied": True, "content": "10.0.0.1"}, 9003),
        ({"proxied": True, "content": "127.0.0.1"}, 9003),
        ({"ttl": 59}, 9021),
        ({"ttl": 86401}, 9021),
        ({"ttl": True}, 9021),
        ({"name": "a..b"}, 9000),
        ({"name": "x" * 64}, 9000),
        ({"proxied": "yes"}, 9207),
        ({"comment": "x" * 501}, 9300),
        ({"tags": [1]}, 9301),
        ({"weight": 5}, 9207),
    ],
)
async def test_bad_record_is_refused(api: Api, fields: dict[str, Any], code: int) -> None:
    good = {"type": "A", "name": "www", "content": "198.18.0.10", "ttl": 300}
    reply = await api.records("POST", good | fields)
    assert (reply.status, reply.code) == (400, code)
    assert api.store.all("cf_record") == []


async def test_body_must_be_a_json_object(api: Api) -> None:
    assert (await api.records("POST", [1])).code == 9207


@pytest.mark.parametrize(
    ("first", "second", "code"),
    [
        ({}, {}, 81058),
        ({}, {"ttl": 600}, 81058),
        ({}, {"type": "CNAME", "content": "x.example.com"}, 81053),
        ({"type": "CNAME", "content": "x.example.com"}, {}, 81054),
        ({"type": "CNAME", "content": "x.example.com"}, {"type": "CNAME", "content": "y.example.com"}, 81053),
        ({"type": "NS", "content": "ns.example.com"}, {}, 81056),
    ],
)
async def test_conflicting_record_is_refused(
    api: Api, first: dict[str, Any], second: dict[str, Any], code: int
) -> None:
    await api.add(**first)
    fields = {"type": "A", "name": "www.foobar.com", "content": "198.18.0.10", "ttl": 300} | second
    reply = await api.records("POST", fields)
    assert (reply.status, reply.code) == (400, code)


async def test_round_robin_records_stand_side_by_side(api: Api) -> None:
    await api.add(content="198.18.0.10")
    await api.add(content="198.18.0.11")
    assert len((await api.records("GET", name="www.foobar.com")).result) == 2


async def test_put_resets_what_it_leaves_out(api: Api) -> None:
    record = await api.add(comment="old")
    body = {
        "type": "A",
        "name": "www.foobar.com",
        "content": "198.18.0.11",
        "ttl": 60,
        "settings": {},
        "tags": [],
    }
    changed = (await api.records("PUT", body, record["id"])).result
    assert (changed["id"], changed["content"], changed["comment"]) == (record["id"], "198.18.0.11", None)
    assert changed["created_on"] == record["created_on"]


async def test_patch_keeps_what_it_leaves_out(api: Api) -> None:
    record = await api.add(comment="web-1")
    changed = (await api.records("PATCH", {"name": "out-web-1"}, record["id"])).result
    assert (changed["name"], changed["comment"]) == ("out-web-1.foobar.com", "web-1")
    assert changed["content"] == record["content"]


async def test_patch_of_a_service_record_checks_the_whole(api: Api) -> None:
    data = {"priority": 1, "weight": 2, "port": 443, "target": "a.foobar.com"}
    record = await api.add(type="SRV", name="_https._tcp", content=None, data=data)
    assert record["content"] == "2 443 a.foobar.com"
    assert (await api.records("PATCH", {"ttl": 120}, record["id"])).result["data"] == data


async def test_update_may_not_collide(api: Api) -> None:
    await api.add(content="198.18.0.11")
    record = await api.add(content="198.18.0.10")
    assert (await api.records("PATCH", {"content": "198.18.0.11"}, record["id"])).code == 81058


async def test_deleted_record_is_gone(api: Api) -> None:
    record = await api.add()
    assert (await api.records("DELETE", record=record["id"])).result == {"id": record["id"]}
    for method in ("GET", "DELETE"):
        reply = await api.records(method, record=record["id"])
        assert (reply.status, reply.code) == (404, 81044)


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({"type": "AAAA"}, ["b"]),
        ({"name": "a.foobar.com"}, ["a"]),
        ({"name__startswith": "b"}, ["b"]),
        ({"content": "198.18.0.1"}, ["a"]),
        ({"comment__contains": "burst"}, ["c"]),
        ({"comment__absent": "true"}, ["a", "b"]),
        ({"proxied": "true"}, ["c"]),
        ({"type": "AAAA", "name": "a.foobar.com", "match": "any"}, ["a", "b"]),
        ({"order": "name", "direction": "desc"}, ["c", "b", "a"]),
        ({"per_page": 2, "page": 2}, ["c"]),
    ],
)
async def test_records_are_filtered(api: Api, query: dict[str, Any], names: list[str]) -> None:
    await api.add(name="a", content="198.18.0.1")
    await api.add(name="b", type="AAAA", content="2001:db8::1")
    await api.add(name="c", content="198.18.0.3", proxied=True, comment="a burst member")
    found = (await api.records("GET", **query)).result
    assert [record["name"].split(".")[0] for record in found] == names


@pytest.mark.parametrize("query", [{"colour": "red"}, {"per_page": 0}, {"page": "x"}, {"order": "size"}])
async def test_bad_filter_is_refused(api: Api, query: dict[str, Any]) -> None:
    assert (await api.records("GET", **query)).status == 400


async def test_setting_starts_at_its_default_and_changes(api: Api) -> None:
    path = f"/zones/{api.zone}/settings/ssl"
    assert (await api.call("GET", path)).result["value"] == "full"
    changed = (await api.call("PATCH", path, {"value": "strict"})).result
    assert (changed["id"], changed["value"]) == ("ssl", "strict")
    assert (await api.call("GET", path)).result == changed


async def test_bad_setting_is_refused(api: Api) -> None:
    base = f"/zones/{api.zone}/settings"
    assert (await api.call("PATCH", f"{base}/ssl", {"value": "loose"})).code == 1007
    assert (await api.call("PATCH", f"{base}/nonsense", {"value": "on"})).code == 1006
    assert (await api.call("PATCH", f"{base}/http3", {"value": "on"})).code == 1057


async def test_settings_change_together_or_not_at_all(api: Api) -> None:
    base = f"/zones/{api.zone}/settings"
    items = [{"id": "ssl", "value": "strict"}, {"id": "min_tls_version", "value": "9"}]
    assert (await api.call("PATCH", base, {"items": items})).status == 400
    assert (await api.call("GET", f"{base}/ssl")).result["value"] == "full"


def test_rate_limit_blocks_for_five_minutes() -> None:
    now = [0.0]
    limit = RateLimit(2, lambda: now[0])
    limit.admit()
    limit.admit()
    with pytest.raises(ApiError) as refused:
        limit.admit()
    assert (refused.value.status, refused.value.headers["Retry-After"]) == (429, "300")
    now[0] = 299.0
    with pytest.raises(ApiError):
        limit.admit()
    now[0] = 300.0
    limit.admit()
