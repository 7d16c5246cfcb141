"""The Cloudflare provider's calls: one for each change, none after it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from sandbox.providers.values import UNKNOWN, Values
from tests.provider_client import ProviderClient, ProviderError, attached
from tests.recording_api import RecordingApi, Reply, recording_api

RECORD = "cloudflare:index/dnsRecord:DnsRecord"
SETTING = "cloudflare:index/zoneSetting:ZoneSetting"
ZONE = "cloudflare:index/zone:Zone"
INPUTS: Values = {
    "zoneId": "z1",
    "name": "www",
    "type": "A",
    "ttl": 1,
    "proxied": True,
    "content": "198.18.0.9",
}


@pytest.fixture
async def api() -> AsyncIterator[RecordingApi]:
    async with recording_api() as api:
        yield api


@pytest.fixture
async def cloud(api: RecordingApi) -> AsyncIterator[ProviderClient]:
    async with attached("cloudflare", apiToken="c" * 40, baseUrl=f"{api.url}/client/v4") as client:
        yield client


def envelope(**changes: Any) -> dict[str, Any]:
    record = {
        "id": "r1",
        "name": "www.foobar.com",
        "type": "A",
        "ttl": 1,
        "proxied": True,
        "content": "198.18.0.9",
        "created_on": "2026-11-21T10:00:00.123456Z",
        "modified_on": "2026-11-21T10:00:00.123456Z",
        "proxiable": True,
        "meta": {},
        "tags": [],
        "settings": {},
    }
    return {"success": True, "errors": [], "messages": [], "result": {**record, **changes}}


async def test_a_record_is_created_by_one_call(cloud: ProviderClient, api: RecordingApi) -> None:
    api.answer("POST /client/v4/zones/z1/dns_records", envelope())
    key, outputs = await cloud.create(RECORD, {**INPUTS, "comment": "web-1"})
    assert api.lines == ["POST /client/v4/zones/z1/dns_records"]
    assert api.asked[0].body == {
        "name": "www",
        "type": "A",
        "ttl": 1,
        "proxied": True,
        "content": "198.18.0.9",
        "comment": "web-1",
    }
    assert (key, outputs["name"], outputs["createdOn"]) == ("r1", "www", "2026-11-21T10:00:00Z")


async def test_the_full_name_of_the_answer_is_no_change(cloud: ProviderClient, api: RecordingApi) -> None:
    api.answer("POST /client/v4/zones/z1/dns_records", envelope())
    api.answer("GET /client/v4/zones/z1/dns_records/r1", envelope())
    key, created = await cloud.create(RECORD, INPUTS)
    _, outputs, inputs = await cloud.read(RECORD, key, created, INPUTS)
    assert inputs == INPUTS
    assert (await cloud.diff(RECORD, outputs, INPUTS)).changes == {}


async def test_an_update_is_a_put_of_everything(cloud: ProviderClient, api: RecordingApi) -> None:
    api.answer("PUT /client/v4/zones/z1/dns_records/r1", envelope(content="198.18.0.10"))
    outputs = await cloud.update(RECORD, "r1", INPUTS, {**INPUTS, "content": "198.18.0.10"})
    assert api.lines == ["PUT /client/v4/zones/z1/dns_records/r1"]
    body = api.asked[0].body
    assert (body["settings"], body["tags"], body["content"]) == ({}, [], "198.18.0.10")
    assert outputs["content"] == "198.18.0.10"


async def test_a_change_of_content_is_in_place_and_of_type_makes_a_new_one_first(
    cloud: ProviderClient,
) -> None:
    assert (await cloud.diff(RECORD, INPUTS, {**INPUTS, "content": "1.1.1.1"})).replaces == []
    found = await cloud.diff(RECORD, INPUTS, {**INPUTS, "type": "TXT"})
    assert (found.replaces, found.deletes_first) == (["type"], False)


async def test_an_unknown_address_is_planned_as_an_update(cloud: ProviderClient) -> None:
    news = {**INPUTS, "content": UNKNOWN}
    state = {**INPUTS, "modifiedOn": "2026-11-21T10:00:00Z", "createdOn": "2026-11-21T10:00:00Z"}
    assert (await cloud.diff(RECORD, state, news)).changes == {"content": "UPDATE"}
    outputs = await cloud.update(RECORD, "r1", state, news, preview=True)
    assert (outputs["content"], outputs["modifiedOn"]) == (UNKNOWN, UNKNOWN)
    assert outputs["createdOn"] == "2026-11-21T10:00:00Z"


async def test_a_proxied_record_has_the_automatic_ttl(cloud: ProviderClient, api: RecordingApi) -> None:
    with pytest.raises(ProviderError, match="ttl must be set to 1 when `proxied` is true"):
        await cloud.create(RECORD, {**INPUTS, "ttl": 300})
    assert api.asked == []


async def test_a_refused_call_shows_the_whole_answer_and_keeps_the_state(
    cloud: ProviderClient, api: RecordingApi
) -> None:
    refusal = {
        "success": False,
        "errors": [{"code": 81058, "message": "An identical record already exists."}],
    }
    api.answer("PUT /client/v4/zones/z1/dns_records/r1", Reply(refusal, 400))
    with pytest.raises(ProviderError, match="An identical record already exists") as caught:
        await cloud.update(RECORD, "r1", INPUTS, {**INPUTS, "content": "1.1.1.1"})
    assert caught.value.kept is None


async def test_deleting_a_record_that_is_gone_fails(cloud: ProviderClient) -> None:
    with pytest.raises(ProviderError, match="failed to make http request: DELETE"):
        await cloud.delete(RECORD, "r1", INPUTS)


async def test_a_refresh_forgets_a_record_that_is_gone(cloud: ProviderClient) -> None:
    assert (await cloud.read(RECORD, "r1", INPUTS, INPUTS))[0] == ""


async def test_a_record_is_imported_by_zone_and_id(cloud: ProviderClient, api: RecordingApi) -> None:
    api.answer("GET /client/v4/zones/z1/dns_records/r1", envelope())
    key, _, inputs = await cloud.read(RECORD, "z1/r1", {}, {})
    assert (key, inputs["zoneId"], inputs["name"]) == ("r1", "z1", "www.foobar.com")


async def test_a_busy_api_is_asked_again_when_it_says_so(cloud: ProviderClient, api: RecordingApi) -> None:
    busy = Reply({"success": False}, 409, {"Retry-After": "0"})
    final = Reply({"success": False}, 503, {"x-should-retry": "false"})
    api.answer("POST /client/v4/zones/z1/dns_records", busy, busy, final)
    with pytest.raises(ProviderError):
        await cloud.create(RECORD, INPUTS)
    assert len(api.asked) == 3


async def test_a_setting_is_patched_and_never_deleted(cloud: ProviderClient, api: RecordingApi) -> None:
    answer = {"success": True, "result": {"id": "ssl", "value": "strict", "editable": True}}
    api.answer("PATCH /client/v4/zones/z1/settings/ssl", answer)
    inputs = {"zoneId": "z1", "settingId": "ssl", "value": "strict"}
    key, outputs = await cloud.create(SETTING, inputs)
    await cloud.delete(SETTING, key, outputs)
    assert (key, api.lines) == ("ssl", ["PATCH /client/v4/zones/z1/settings/ssl"])
    assert api.asked[0].body == {"value": "strict"}


async def test_a_zone_is_created_and_paused(cloud: ProviderClient, api: RecordingApi) -> None:
    zone = {"id": "z9", "name": "foobar.com", "account": {"id": "a", "name": "A"}, "status": "pending"}
    api.answer("POST /client/v4/zones", {"success": True, "result": zone})
    api.answer("PATCH /client/v4/zones/z9", {"success": True, "result": {**zone, "paused": True}})
    inputs: Values = {"name": "foobar.com", "account": {"id": "a"}}
    key, outputs = await cloud.create(ZONE, inputs)
    assert (key, outputs["status"], outputs["type"]) == ("z9", "pending", "full")
    assert (await cloud.diff(ZONE, outputs, inputs)).changes == {}
    await cloud.update(ZONE, key, outputs, {**inputs, "paused": True})
    assert api.asked[-1].body == {"paused": True}


async def test_ip_ranges_are_looked_up(cloud: ProviderClient, api: RecordingApi) -> None:
    ranges = {"ipv4_cidrs": ["173.245.48.0/20"], "ipv6_cidrs": ["2400:cb00::/32"], "etag": "e"}
    api.answer("GET /client/v4/ips", {"success": True, "result": ranges})
    result = await cloud.invoke("cloudflare:index/getIpRanges:getIpRanges", {})
    assert (result["ipv4Cidrs"], result["ipv6Cidrs"]) == (["173.245.48.0/20"], ["2400:cb00::/32"])


async def test_a_zone_is_found_by_its_name(cloud: ProviderClient, api: RecordingApi) -> None:
    zone = {"id": "z1", "name": "foobar.com", "account": {"id": "a", "name": "A"}}
    api.answer("GET /client/v4/zones?match=all&name=foobar.com", {"success": True, "result": [zone]})
    api.answer("GET /client/v4/zones/z1", {"success": True, "result": zone})
    arguments = {"filter": {"match": "all", "name": "foobar.com"}}
    result = await cloud.invoke("cloudflare:index/getZone:getZone", arguments)
    assert (result["zoneId"], result["account"]["id"]) == ("z1", "a")


async def test_zones_are_listed_until_a_page_is_empty(cloud: ProviderClient, api: RecordingApi) -> None:
    zone = {"id": "z1", "name": "foobar.com"}
    api.answer("GET /client/v4/zones?name=foobar.com", {"success": True, "result": [zone]})
    api.answer("GET /client/v4/zones?name=foobar.com&page=2", {"success": True, "result": []})
    result = await cloud.invoke("cloudflare:index/getZones:getZones", {"name": "foobar.com"})
    assert [item["id"] for item in result["results"]] == ["z1"]
