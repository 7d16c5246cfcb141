"""The DigitalOcean provider's calls, in the order and with the bodies of the official plugin."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest

from sandbox.providers.serve import serving
from sandbox.providers.values import Secret, Values
from tests.provider_client import ProviderClient, ProviderError, attached, connected, logging_engine
from tests.recording_api import RecordingApi, Reply, recording_api

DROPLET = "digitalocean:index/droplet:Droplet"
FIREWALL = "digitalocean:index/firewall:Firewall"
TAG = "digitalocean:index/tag:Tag"
VPC = "digitalocean:index/vpc:Vpc"
SSH_KEY = "digitalocean:index/sshKey:SshKey"
VOLUME = "digitalocean:index/volume:Volume"
ATTACHMENT = "digitalocean:index/volumeAttachment:VolumeAttachment"
RECORD = "digitalocean:index/dnsRecord:DnsRecord"
PROJECT = "digitalocean:index/project:Project"
MEMBERS = "digitalocean:index/projectResources:ProjectResources"
SNAPSHOT = "digitalocean:index/dropletSnapshot:DropletSnapshot"
NOW = "2026-11-21T10:00:00Z"
ACCOUNT = {
    "uuid": "u",
    "droplet_limit": 25,
    "floating_ip_limit": 3,
    "email": "a@a.test",
    "email_verified": True,
    "status": "active",
    "status_message": "",
}


@pytest.fixture
async def api() -> AsyncIterator[RecordingApi]:
    async with recording_api() as api:
        yield api


@pytest.fixture
async def cloud(api: RecordingApi) -> AsyncIterator[ProviderClient]:
    async with attached(
        "digitalocean",
        token="dop_v1_x",
        apiEndpoint=api.url,
        httpRetryWaitMin="0.01",
        httpRetryWaitMax="0.02",
    ) as client:
        yield client


def droplet(**changes: Any) -> dict[str, Any]:
    document = {
        "id": 7,
        "name": "web-1-abc",
        "status": "active",
        "locked": False,
        "region": {"slug": "lon1"},
        "size": {"slug": "s-1vcpu-1gb", "price_hourly": 0.009, "price_monthly": 6},
        "disk": 25,
        "vcpus": 1,
        "memory": 1024,
        "created_at": NOW,
        "vpc_uuid": "v-1",
        "features": ["monitoring", "private_networking"],
        "networks": {
            "v4": [
                {"type": "private", "ip_address": "10.20.0.2"},
                {"type": "public", "ip_address": "198.18.0.9"},
            ],
            "v6": [],
        },
        "tags": ["web"],
        "volume_ids": [],
    }
    return {"droplet": {**document, **changes}}


DROPLET_INPUTS: Values = {
    "name": "web-1-abc",
    "image": "12345",
    "size": "s-1vcpu-1gb",
    "region": "lon1",
    "monitoring": True,
    "sshKeys": ["aa:bb", "99"],
    "tags": ["web"],
    "vpcUuid": "v-1",
    "userData": Secret("text"),
    "__defaults": ["name"],
}


async def made(cloud: ProviderClient, api: RecordingApi) -> Values:
    """The state of a droplet that was just created."""
    api.answer("POST /v2/droplets", Reply(droplet(status="new"), 202))
    api.answer("GET /v2/droplets/7", droplet())
    _, outputs = await cloud.create(DROPLET, DROPLET_INPUTS)
    api.asked.clear()
    return {name: value.value if isinstance(value, Secret) else value for name, value in outputs.items()}


async def test_a_droplet_is_created_and_waited_for(cloud: ProviderClient, api: RecordingApi) -> None:
    api.answer("POST /v2/droplets", Reply(droplet(status="new"), 202))
    api.answer(
        "GET /v2/droplets/7", Reply(status=404), droplet(status="new"), droplet(locked=True), droplet()
    )
    key, outputs = await cloud.create(DROPLET, DROPLET_INPUTS)
    assert api.lines == ["POST /v2/droplets", *["GET /v2/droplets/7"] * 4]
    assert api.body_of("POST /v2/droplets") == {
        "name": "web-1-abc",
        "region": "lon1",
        "size": "s-1vcpu-1gb",
        "image": 12345,
        "ssh_keys": ["aa:bb", 99],
        "backups": False,
        "ipv6": False,
        "private_networking": False,
        "monitoring": True,
        "tags": ["web"],
        "user_data": "text",
        "vpc_uuid": "v-1",
    }
    assert (key, outputs["ipv4Address"], outputs["ipv4AddressPrivate"]) == ("7", "198.18.0.9", "10.20.0.2")
    assert (outputs["dropletUrn"], outputs["image"]) == ("do:droplet:7", "12345")
    assert outputs["userData"] == Secret("372ea08cab33e71c02c651dbc83a474d32c676ea")


async def test_the_token_goes_with_every_call(cloud: ProviderClient, api: RecordingApi) -> None:
    api.answer("POST /v2/tags", {"tag": {"name": "web", "resources": {"count": 0}}})
    api.answer("GET /v2/tags/web", {"tag": {"name": "web", "resources": {"count": 0}}})
    await cloud.create(TAG, {"name": "web"})
    assert {item.headers["Authorization"] for item in api.asked} == {"Bearer dop_v1_x"}


async def test_a_droplet_that_does_not_become_ready_is_kept_with_an_error(
    cloud: ProviderClient, api: RecordingApi
) -> None:
    api.answer("POST /v2/droplets", Reply(droplet(status="new"), 202))
    api.answer("GET /v2/droplets/7", Reply({"id": "server_error", "message": "boom"}, 500))
    with pytest.raises(ProviderError, match="Error waiting for droplet") as caught:
        await cloud.create(DROPLET, DROPLET_INPUTS)
    assert caught.value.kept.id == "7"
    assert "giving up after 5 attempt(s)" in str(caught.value)


async def test_an_error_names_method_address_code_request_and_message(
    cloud: ProviderClient, api: RecordingApi
) -> None:
    refusal = {"id": "unprocessable_entity", "message": "Region is not available", "request_id": "r-9"}
    api.answer("POST /v2/droplets", Reply(refusal, 422))
    with pytest.raises(ProviderError) as caught:
        await cloud.create(DROPLET, DROPLET_INPUTS)
    expected = (
        f'Error creating droplet: POST {api.url}/v2/droplets: 422 (request "r-9") Region is not available'
    )
    assert str(caught.value) == expected
    assert len(api.asked) == 1


@pytest.mark.parametrize(("status", "attempts"), [(500, 5), (503, 5), (429, 5), (401, 1), (404, 1), (422, 1)])
async def test_which_answers_are_asked_for_again(
    cloud: ProviderClient, api: RecordingApi, status: int, attempts: int
) -> None:
    api.answer("POST /v2/tags", Reply({"message": "no"}, status))
    with pytest.raises(ProviderError):
        await cloud.create(TAG, {"name": "web"})
    assert len(api.asked) == attempts


async def test_a_dropped_connection_is_asked_for_again(cloud: ProviderClient, api: RecordingApi) -> None:
    tag = {"tag": {"name": "web", "resources": {"count": 0}}}
    api.answer("POST /v2/tags", Reply(drop=True), Reply(tag, 201))
    api.answer("GET /v2/tags/web", tag)
    key, _ = await cloud.create(TAG, {"name": "web"})
    assert key == "web"


async def test_the_wait_that_a_rate_limit_asks_for_is_kept(cloud: ProviderClient, api: RecordingApi) -> None:
    tag = {"tag": {"name": "web", "resources": {"count": 0}}}
    api.answer("POST /v2/tags", Reply({"message": "slow down"}, 429, {"Retry-After": "1"}), Reply(tag, 201))
    api.answer("GET /v2/tags/web", tag)
    began = asyncio.get_running_loop().time()
    await cloud.create(TAG, {"name": "web"})
    assert asyncio.get_running_loop().time() - began >= 1


async def test_a_resize_is_off_resize_on(cloud: ProviderClient, api: RecordingApi) -> None:
    state = await made(cloud, api)
    action = {"action": {"id": 3, "type": "x", "status": "completed", "completed_at": NOW}}
    api.answer("POST /v2/droplets/7/actions", Reply(action, 201))
    api.answer("GET /v2/actions/3", action)
    grown = droplet(size={"slug": "s-1vcpu-2gb", "price_hourly": 0.018, "price_monthly": 12})
    api.answer("GET /v2/droplets/7", droplet(status="off"), grown)
    outputs = await cloud.update(DROPLET, "7", state, {**DROPLET_INPUTS, "size": "s-1vcpu-2gb"})
    acted = [item.body for item in api.asked if item.line == "POST /v2/droplets/7/actions"]
    assert acted == [
        {"type": "power_off"},
        {"type": "resize", "size": "s-1vcpu-2gb", "disk": True},
        {"type": "power_on"},
    ]
    assert outputs["size"] == "s-1vcpu-2gb"


async def test_tags_are_taken_off_and_put_on(cloud: ProviderClient, api: RecordingApi) -> None:
    state = await made(cloud, api)
    for line in ("DELETE /v2/tags/web/resources", "POST /v2/tags/new/resources"):
        api.answer(line, Reply(status=204))
    api.answer("POST /v2/tags", Reply({"tag": {"name": "new"}}, 201))
    await cloud.update(DROPLET, "7", state, {**DROPLET_INPUTS, "tags": ["new"]})
    assert api.lines == [
        "DELETE /v2/tags/web/resources",
        "POST /v2/tags",
        "POST /v2/tags/new/resources",
        "GET /v2/droplets/7",
    ]
    resources = {"resources": [{"resource_id": "7", "resource_type": "droplet"}]}
    assert api.body_of("DELETE /v2/tags/web/resources") == resources


async def test_a_failed_update_is_recorded_as_done_with_an_error(
    cloud: ProviderClient, api: RecordingApi
) -> None:
    state = {"name": "net", "region": "lon1", "description": "old", "default": False}
    api.answer("PUT /v2/vpcs/v-1", Reply({"message": "no"}, 422))
    with pytest.raises(ProviderError, match="Error updating VPC") as caught:
        await cloud.update(VPC, "v-1", state, {"name": "net", "region": "lon1", "description": "new"})
    assert caught.value.kept.properties["description"] == "new"


async def test_an_update_without_a_change_only_looks(cloud: ProviderClient, api: RecordingApi) -> None:
    document = {"vpc": {"id": "v-1", "name": "net", "region": "lon1", "created_at": NOW}}
    api.answer("GET /v2/vpcs/v-1", document)
    await cloud.update(VPC, "v-1", {"name": "net", "region": "lon1"}, {"name": "net", "region": "lon1"})
    assert api.lines == ["GET /v2/vpcs/v-1"]


async def test_a_droplet_is_deleted_when_it_is_unlocked_and_gone_at_the_end(
    cloud: ProviderClient, api: RecordingApi
) -> None:
    state = await made(cloud, api)
    api.answer(
        "GET /v2/droplets/7", droplet(locked=True), droplet(), droplet(), Reply({"message": "gone"}, 404)
    )
    api.answer("DELETE /v2/droplets/7", Reply(status=204))
    await cloud.delete(DROPLET, "7", state)
    assert api.lines == [*["GET /v2/droplets/7"] * 2, "DELETE /v2/droplets/7", *["GET /v2/droplets/7"] * 2]


async def test_a_graceful_shutdown_comes_before_the_delete(cloud: ProviderClient, api: RecordingApi) -> None:
    state = {**await made(cloud, api), "gracefulShutdown": True}
    api.answer("POST /v2/droplets/7/actions", Reply({"action": {"id": 3}}, 201))
    api.answer("GET /v2/droplets/7", droplet(), droplet(), droplet(status="off"), Reply({}, 404))
    api.answer("DELETE /v2/droplets/7", Reply(status=204))
    await cloud.delete(DROPLET, "7", state)
    assert api.body_of("POST /v2/droplets/7/actions") == {"type": "shutdown"}
    assert api.lines.index("POST /v2/droplets/7/actions") < api.lines.index("DELETE /v2/droplets/7")


async def test_a_droplet_that_is_already_gone_fails_its_delete(cloud: ProviderClient) -> None:
    with pytest.raises(ProviderError, match="unexpected state 'Not Found', wanted target 'false'"):
        await cloud.delete(DROPLET, "7", {"name": "web"})


async def test_a_delete_that_takes_too_long_fails(cloud: ProviderClient, api: RecordingApi) -> None:
    api.answer("GET /v2/droplets/7", droplet(locked=True))
    with pytest.raises(ProviderError, match="timeout while waiting for state to become 'False'"):
        await cloud.delete(DROPLET, "7", {"name": "web"}, timeout_seconds=0.3)


@pytest.mark.parametrize(
    ("token", "key", "state", "message"),
    [
        (TAG, "web", {"name": "web"}, "Error deleting tag: DELETE"),
        (VPC, "v-1", {"name": "net"}, "Error deleting VPC: DELETE"),
        (SSH_KEY, "5", {"name": "k"}, "Error deleting SSH key: DELETE"),
        (FIREWALL, "f-1", {"name": "f"}, "Error deleting firewall: DELETE"),
        (SNAPSHOT, "8", {"name": "s"}, "Error deleting snapshot: DELETE"),
    ],
)
async def test_deleting_what_is_gone_fails(
    cloud: ProviderClient, token: str, key: str, state: Values, message: str
) -> None:
    with pytest.raises(ProviderError, match=message):
        await cloud.delete(token, key, state)


async def test_deleting_a_record_that_is_gone_is_fine(cloud: ProviderClient, api: RecordingApi) -> None:
    await cloud.delete(RECORD, "9", {"domain": "a.test", "name": "www"})
    assert api.lines == ["DELETE /v2/domains/a.test/records/9"]


@pytest.mark.parametrize(
    ("token", "key", "state"),
    [
        (DROPLET, "7", {"name": "web"}),
        (TAG, "web", {"name": "web"}),
        (FIREWALL, "f-1", {"name": "f"}),
        (RECORD, "9", {"domain": "a.test", "name": "www"}),
        (VOLUME, "o-1", {"name": "v"}),
        (ATTACHMENT, "x", {"dropletId": 7, "volumeId": "o-1"}),
        (PROJECT, "p-1", {"name": "p"}),
        (MEMBERS, "p-1", {"project": "p-1", "resources": []}),
        (SNAPSHOT, "8", {"name": "s"}),
    ],
)
async def test_a_refresh_forgets_what_is_gone(
    cloud: ProviderClient, token: str, key: str, state: Values
) -> None:
    assert (await cloud.read(token, key, state, state))[0] == ""


async def test_a_refresh_puts_drift_into_the_inputs(cloud: ProviderClient, api: RecordingApi) -> None:
    state = await made(cloud, api)
    api.answer("GET /v2/droplets/7", droplet(tags=["web", "by-hand"], name="renamed"))
    _, outputs, inputs = await cloud.read(DROPLET, "7", state, DROPLET_INPUTS)
    assert (outputs["tags"], inputs["tags"], inputs["name"]) == (
        ["web", "by-hand"],
        ["web", "by-hand"],
        "renamed",
    )
    assert (inputs["userData"], inputs["image"]) == (Secret("text"), "12345")


async def test_a_vpc_is_deleted_again_until_its_members_left(
    cloud: ProviderClient, api: RecordingApi
) -> None:
    api.answer("DELETE /v2/vpcs/v-1", Reply({}, 403), Reply({}, 409), Reply(status=204))
    await cloud.delete(VPC, "v-1", {"name": "net"})
    assert len(api.asked) == 3


async def test_a_firewall_is_sent_whole_with_only_the_peers_it_has(
    cloud: ProviderClient, api: RecordingApi
) -> None:
    answer = {
        "firewall": {
            "id": "f-1",
            "name": "f",
            "status": "waiting",
            "created_at": NOW,
            "pending_changes": [],
            "inbound_rules": [
                {"protocol": "tcp", "ports": "0", "sources": {"addresses": ["1.1.1.1/32"], "tags": []}},
                {"protocol": "icmp", "ports": "0", "sources": {"tags": ["web"]}},
            ],
            "outbound_rules": None,
            "tags": ["web"],
        }
    }
    api.answer("POST /v2/firewalls", Reply(answer, 202))
    api.answer("GET /v2/firewalls/f-1", answer)
    rules = [
        {"protocol": "tcp", "portRange": "all", "sourceAddresses": ["1.1.1.1/32"]},
        {"protocol": "icmp", "sourceTags": ["web"]},
    ]
    inputs = {"name": "f", "inboundRules": rules, "tags": ["web"]}
    _, outputs = await cloud.create(FIREWALL, inputs)
    assert api.body_of("POST /v2/firewalls") == {
        "name": "f",
        "inbound_rules": [
            {"protocol": "tcp", "ports": "all", "sources": {"addresses": ["1.1.1.1/32"]}},
            {"protocol": "icmp", "sources": {"tags": ["web"]}},
        ],
        "outbound_rules": None,
        "droplet_ids": None,
        "tags": ["web"],
    }
    assert outputs["inboundRules"] == rules
    assert (await cloud.diff(FIREWALL, outputs, inputs)).changes == {}


async def test_an_ssh_key_is_read_until_it_is_there_and_once_more(
    cloud: ProviderClient, api: RecordingApi
) -> None:
    document = {"ssh_key": {"id": 5, "name": "k", "public_key": "ssh-ed25519 A", "fingerprint": "aa:bb"}}
    api.answer("POST /v2/account/keys", Reply(document, 201))
    api.answer("GET /v2/account/keys/5", Reply({}, 404), document)
    key, outputs = await cloud.create(SSH_KEY, {"name": "k", "publicKey": "ssh-ed25519 A"})
    assert api.lines == ["POST /v2/account/keys", *["GET /v2/account/keys/5"] * 3]
    assert (key, outputs["fingerprint"]) == ("5", "aa:bb")


async def test_a_record_sends_zeros_and_shows_host_names_with_their_dot(
    cloud: ProviderClient, api: RecordingApi
) -> None:
    document = {"domain_record": {"id": 9, "type": "CNAME", "name": "www", "data": "a.test", "ttl": 1800}}
    api.answer("POST /v2/domains/a.test/records", Reply(document, 201))
    api.answer("GET /v2/domains/a.test/records/9", document)
    inputs = {"domain": "a.test", "type": "CNAME", "name": "www", "value": "a.test."}
    _, outputs = await cloud.create(RECORD, inputs)
    assert api.body_of("POST /v2/domains/a.test/records") == {
        "type": "CNAME",
        "name": "www",
        "data": "a.test.",
        "port": 0,
        "priority": 0,
        "weight": 0,
        "flags": 0,
    }
    assert (outputs["value"], outputs["fqdn"], outputs["ttl"]) == ("a.test.", "www.a.test", 1800)
    assert (await cloud.diff(RECORD, outputs, inputs)).changes == {}


async def test_a_volume_is_attached_once_and_detached(cloud: ProviderClient, api: RecordingApi) -> None:
    done = {"action": {"id": 3, "status": "completed"}}
    busy = Reply({"message": "Droplet already has a pending event."}, 422)
    api.answer("GET /v2/volumes/o-1", {"volume": {"droplet_ids": []}})
    api.answer("POST /v2/volumes/o-1/actions", busy, Reply(done, 202))
    api.answer("GET /v2/actions/3", done)
    inputs = {"dropletId": 7, "volumeId": "o-1"}
    key, outputs = await cloud.create(ATTACHMENT, inputs)
    assert key.startswith("7-o-1-")
    assert api.body_of("POST /v2/volumes/o-1/actions") == {"type": "attach", "droplet_id": 7}
    await cloud.delete(ATTACHMENT, key, outputs)
    assert api.body_of("POST /v2/volumes/o-1/actions") == {"type": "detach", "droplet_id": 7}


async def test_what_leaves_a_project_goes_to_the_default_one(
    cloud: ProviderClient, api: RecordingApi
) -> None:
    api.answer("GET /v2/projects/p-1", {"project": {"id": "p-1"}})
    api.answer("GET /v2/projects/default", {"project": {"id": "p-0"}})
    api.answer("POST /v2/projects/p-0/resources", {"resources": []})
    api.answer("POST /v2/projects/p-1/resources", {"resources": []})
    api.answer("GET /v2/projects/p-1/resources", {"resources": [{"urn": "do:droplet:2"}]})
    state = {"project": "p-1", "resources": ["do:droplet:1"]}
    outputs = await cloud.update(MEMBERS, "p-1", state, {"project": "p-1", "resources": ["do:droplet:2"]})
    assert api.body_of("POST /v2/projects/p-0/resources") == {"resources": ["do:droplet:1"]}
    assert api.body_of("POST /v2/projects/p-1/resources") == {"resources": ["do:droplet:2"]}
    assert outputs["resources"] == ["do:droplet:2"]


async def test_a_snapshot_is_the_one_that_its_action_began(cloud: ProviderClient, api: RecordingApi) -> None:
    action = {"id": 3, "type": "snapshot", "started_at": NOW}
    api.answer("POST /v2/droplets/7/actions", Reply({"action": {**action, "status": "in-progress"}}, 201))
    finished = {**action, "status": "completed", "completed_at": NOW}
    api.answer("GET /v2/actions/3", {"action": {**action, "status": "in-progress"}}, {"action": finished})
    listed = [{"id": 80, "created_at": "2026-11-20T10:00:00Z"}, {"id": 81, "created_at": NOW}]
    api.answer("GET /v2/droplets/7/snapshots", {"snapshots": listed, "links": {}})
    snapshot = {
        "id": "81",
        "name": "web",
        "resource_id": "7",
        "regions": ["lon1"],
        "size_gigabytes": 1.5,
        "created_at": NOW,
        "min_disk_size": 25,
    }
    api.answer("GET /v2/snapshots/81", {"snapshot": snapshot})
    key, outputs = await cloud.create(SNAPSHOT, {"name": "web", "dropletId": "7"})
    assert (key, outputs["minDiskSize"]) == ("81", 25)


async def test_lookups_follow_pages_filter_and_sort(cloud: ProviderClient, api: RecordingApi) -> None:
    def image(number: int, name: str) -> dict[str, Any]:
        return {"id": number, "name": name, "public": False, "min_disk_size": 10, "regions": ["lon1"]}

    more = {"pages": {"next": "http://elsewhere/"}}
    pages = [
        {"images": [image(1, "web-2026.11.20-a"), image(2, "other")], "links": more},
        {"images": [image(3, "web-2026.11.21-b")], "links": {}},
    ]
    api.answer("GET /v2/images?page=1&per_page=200", pages[0])
    api.answer("GET /v2/images?page=2&per_page=200", pages[1])
    arguments = {
        "filters": [{"key": "name", "values": ["^web-"], "matchBy": "re"}],
        "sorts": [{"key": "name", "direction": "desc"}],
    }
    result = await cloud.invoke("digitalocean:index/getImages:getImages", arguments)
    assert [item["id"] for item in result["images"]] == [3, 1]


async def test_a_lookup_that_finds_nothing_says_so(cloud: ProviderClient, api: RecordingApi) -> None:
    api.answer("GET /v2/snapshots", {"snapshots": [], "links": {}})
    with pytest.raises(ProviderError, match="No DROPLET snapshot found with name web-1"):
        await cloud.invoke("digitalocean:index/getDropletSnapshot:getDropletSnapshot", {"name": "web-1"})


async def test_two_engines_with_different_configuration_are_kept_apart(api: RecordingApi) -> None:
    tag = {"tag": {"name": "web", "resources": {"count": 0}}}
    api.answer("POST /v2/tags", Reply(tag, 201))
    api.answer("GET /v2/tags/web", tag)
    async with serving() as ports:
        port = ports["digitalocean"]
        async with connected(port) as one, connected(port) as two:
            for client, secret in ((one, "first"), (two, "second")):
                await client.attach()
                await client.configure(token=secret, apiEndpoint=api.url)
            await one.create(TAG, {"name": "web"})
            await two.create(TAG, {"name": "web"})
    tokens = [item.headers["Authorization"] for item in api.asked if item.line == "POST /v2/tags"]
    assert tokens == ["Bearer first", "Bearer second"]


async def test_a_hundred_droplets_are_made_at_once(cloud: ProviderClient, api: RecordingApi) -> None:
    api.answer("POST /v2/droplets", Reply(droplet(status="new"), 202))
    api.answer("GET /v2/droplets/7", droplet())
    made_all = await asyncio.gather(*(cloud.create(DROPLET, DROPLET_INPUTS) for _ in range(100)))
    assert len(made_all) == 100


async def test_an_engine_that_stops_ends_the_waits_and_keeps_the_droplet(
    cloud: ProviderClient, api: RecordingApi
) -> None:
    api.answer("POST /v2/droplets", Reply(droplet(status="new"), 202))
    api.answer("GET /v2/droplets/7", droplet(status="new"))
    creation = asyncio.create_task(cloud.create(DROPLET, DROPLET_INPUTS))
    async with asyncio.timeout(10):
        while "GET /v2/droplets/7" not in api.lines:
            await asyncio.wait([creation], timeout=0.02)
        await cloud.cancel()
        with pytest.raises(ProviderError, match="context canceled") as caught:
            await creation
    assert caught.value.kept.id == "7"


async def test_a_setting_that_stays_is_announced(api: RecordingApi) -> None:
    async with (
        logging_engine() as (address, engine),
        serving() as ports,
        connected(ports["cloudflare"]) as client,
    ):
        await client.attach(address)
        inputs = {"zoneId": "z", "settingId": "ssl", "value": "strict"}
        await client.create("cloudflare:index/zoneSetting:ZoneSetting", inputs, preview=True)
    assert engine.lines[0].startswith("warning: This resource cannot be destroyed")


async def test_an_engine_that_comes_back_over_a_new_connection_keeps_its_configuration(
    api: RecordingApi,
) -> None:
    api.answer("GET /v2/account", {"account": ACCOUNT})
    async with serving() as ports:
        port = ports["digitalocean"]
        async with connected(port) as first, connected(port) as again:
            await first.configure(token="t", apiEndpoint=api.url)
            await again.invoke("digitalocean:index/getAccount:getAccount", {})
            async with connected(port) as other, connected(port) as third:
                await other.configure(token="u", apiEndpoint=api.url)
                with pytest.raises(ProviderError, match="the provider's configuration; run again"):
                    await third.invoke("digitalocean:index/getAccount:getAccount", {})
    assert api.lines == ["GET /v2/account"]


async def test_an_imported_droplet_tells_its_image(cloud: ProviderClient, api: RecordingApi) -> None:
    api.answer("GET /v2/droplets/7", droplet(image={"id": 5, "slug": None}))
    _, _, inputs = await cloud.read(DROPLET, "7", {}, {})
    assert (inputs["image"], inputs["size"], inputs.get("resizeDisk")) == ("5", "s-1vcpu-1gb", None)
