"""Planning: inputs checked and completed, changes found, replacements told, without any API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from sandbox.providers.values import UNKNOWN, Asset, Secret, Values, decode, encode
from tests.provider_client import ProviderClient, attached

DROPLET = "digitalocean:index/droplet:Droplet"
FIREWALL = "digitalocean:index/firewall:Firewall"
TAG = "digitalocean:index/tag:Tag"
VPC = "digitalocean:index/vpc:Vpc"
SSH_KEY = "digitalocean:index/sshKey:SshKey"
VOLUME = "digitalocean:index/volume:Volume"
RECORD = "digitalocean:index/dnsRecord:DnsRecord"
ATTACHMENT = "digitalocean:index/volumeAttachment:VolumeAttachment"
INPUTS: Values = {"image": "debian-13-x64", "size": "s-1vcpu-1gb", "region": "lon1"}


@pytest.fixture
async def cloud() -> AsyncIterator[ProviderClient]:
    async with attached("digitalocean", token="t", apiEndpoint="http://127.0.0.1:1") as client:
        yield client


@pytest.mark.parametrize(
    "value",
    [
        "text",
        4,
        2.5,
        True,
        ["a", {"b": 1}],
        {"deep": {"er": [UNKNOWN]}},
        Secret({"password": "x"}),
        Secret(UNKNOWN),
        UNKNOWN,
        Asset(text="hello", hash="abc"),
        Asset(archive=True, path="./site", hash="def"),
    ],
)
def test_values_survive_the_wire(value: Any) -> None:
    assert decode(encode({"it": value})) == {"it": value}


async def test_a_droplet_gets_its_name_and_the_defaults_that_are_not_empty(cloud: ProviderClient) -> None:
    checked = await cloud.check(DROPLET, "web-1", INPUTS)
    name = checked.inputs.pop("name")
    assert checked.inputs == {**INPUTS, "resizeDisk": True, "__defaults": ["name", "resizeDisk"]}
    assert name.startswith("web-1-")
    assert len(name) == len("web-1-") + 7


async def test_a_name_depends_on_the_seed_alone(cloud: ProviderClient) -> None:
    names = [
        (await cloud.check(DROPLET, "web-1", INPUTS, seed=seed)).inputs["name"] for seed in (b"a", b"a", b"b")
    ]
    assert names[0] == names[1] != names[2]


async def test_an_automatic_name_stays_from_run_to_run(cloud: ProviderClient) -> None:
    first = (await cloud.check(DROPLET, "web-1", INPUTS, seed=b"a")).inputs
    second = (await cloud.check(DROPLET, "web-1", INPUTS, olds=first, seed=b"b")).inputs
    assert second["name"] == first["name"]


async def test_a_name_that_is_no_longer_given_is_made_up_anew(cloud: ProviderClient) -> None:
    given = (await cloud.check(DROPLET, "web-1", {**INPUTS, "name": "fixed"})).inputs
    assert given["__defaults"] == ["resizeDisk"]
    assert (await cloud.check(DROPLET, "web-1", INPUTS, olds=given)).inputs["name"] != "fixed"


async def test_names_of_volumes_are_in_lower_case(cloud: ProviderClient) -> None:
    checked = await cloud.check(VOLUME, "Data-1", {"region": "lon1", "size": 1})
    assert checked.inputs["name"].startswith("data-1-")


@pytest.mark.parametrize(
    ("token", "inputs", "failure"),
    [
        (DROPLET, {"size": "s"}, "Missing required property 'image'"),
        (DROPLET, {**INPUTS, "imge": "x"}, "Invalid or unknown key. Examine values at 'thing.imge'."),
        (DROPLET, {**INPUTS, "ipv4Address": "1.2.3.4"}, "Invalid or unknown key. Examine values at 'thing.ipv4Address'."),
        (DROPLET, {**INPUTS, "tags": "web"}, "expected array type, got string type. Examine values at 'thing.tags'."),
        (DROPLET, {**INPUTS, "monitoring": "maybe"}, "expected boolean type, got string type. Examine values at 'thing.monitoring'."),
        (DROPLET, {**INPUTS, "backupPolicy": {"plan": "daily"}}, "backup_policy can only be set when backups are enabled"),
        (TAG, {"name": "a b"}, "tags may contain lowercase letters"),
        (VPC, {"region": "lon1", "ipRange": "10.0.0.0"}, 'expected "ip_range" to be a valid IPv4 Value'),
        (FIREWALL, {}, "At least one rule must be specified"),
        (FIREWALL, {"inboundRules": [{"protocol": "tcp"}]}, "`port_range` of inbound rules is required"),
        (FIREWALL, {"inboundRules": [{"protocol": "tcp", "ports": "1"}]}, "Examine values at 'thing.inboundRules[0].ports'."),
        (RECORD, {"domain": "a.test", "type": "MX", "value": "m"}, "`priority` is required for when type is `MX`"),
        (RECORD, {"domain": "a.test", "type": "B", "value": "m"}, 'expected type to be one of ["A" "AAAA"'),
        (VOLUME, {"region": "lon1", "size": 0}, "expected size to be at least (1), got 0"),
    ],
)  # fmt: skip
async def test_wrong_inputs_are_named(
    cloud: ProviderClient, token: str, inputs: Values, failure: str
) -> None:
    checked = await cloud.check(token, "thing", inputs)
    assert any(failure in text for text in checked.failures), checked.failures


async def test_a_numeric_text_becomes_the_number_that_is_wanted(cloud: ProviderClient) -> None:
    checked = await cloud.check(ATTACHMENT, "thing", {"dropletId": "42", "volumeId": "v"})
    assert (checked.inputs["dropletId"], checked.failures) == (42, [])


async def test_unknown_values_pass_the_check(cloud: ProviderClient) -> None:
    checked = await cloud.check(DROPLET, "web-1", {**INPUTS, "vpcUuid": UNKNOWN, "tags": [UNKNOWN]})
    assert (checked.inputs["vpcUuid"], checked.inputs["tags"], checked.failures) == (UNKNOWN, [UNKNOWN], [])


async def test_secret_inputs_stay_secret(cloud: ProviderClient) -> None:
    checked = await cloud.check(DROPLET, "web-1", {**INPUTS, "userData": Secret("#cloud-config")})
    assert checked.inputs["userData"] == Secret("#cloud-config")


async def test_a_preview_knows_what_the_inputs_tell_and_nothing_else(cloud: ProviderClient) -> None:
    inputs = (await cloud.check(DROPLET, "web-1", {**INPUTS, "userData": Secret("text")})).inputs
    key, outputs = await cloud.create(DROPLET, inputs, preview=True)
    assert (key, outputs["region"], outputs["backups"], outputs["ipv4Address"]) == (
        "",
        "lon1",
        False,
        UNKNOWN,
    )
    assert outputs["userData"] == Secret("372ea08cab33e71c02c651dbc83a474d32c676ea")


def droplet_state(**changes: Any) -> Values:
    return {
        **INPUTS,
        "name": "web-1-abc",
        "backups": False,
        "ipv6": False,
        "monitoring": False,
        "resizeDisk": True,
        "gracefulShutdown": False,
        "privateNetworking": True,
        "publicNetworking": True,
        "vpcUuid": "v-1",
        "tags": ["dev", "web"],
        "sshKeys": ["aa:bb"],
        "userData": "372ea08cab33e71c02c651dbc83a474d32c676ea",
        "ipv4Address": "198.18.0.1",
        "volumeIds": [],
        **changes,
    }


def droplet_inputs(**changes: Any) -> Values:
    inputs: Values = {
        **INPUTS,
        "name": "web-1-abc",
        "tags": ["web", "dev"],
        "sshKeys": ["aa:bb"],
        "userData": "text",
    }
    return {**inputs, **changes, "__defaults": ["name"]}


async def test_the_state_of_a_droplet_and_its_inputs_are_no_change(cloud: ProviderClient) -> None:
    news = droplet_inputs(size="S-1VCPU-1GB", tags=["Web", "dev"])
    assert (await cloud.diff(DROPLET, droplet_state(), news)).changes == {}


@pytest.mark.parametrize(
    ("change", "expected", "replaced"),
    [
        ({"size": "s-1vcpu-2gb"}, {"size": "UPDATE"}, []),
        ({"image": "12345"}, {"image": "UPDATE_REPLACE"}, ["image"]),
        ({"region": "nyc3"}, {"region": "UPDATE_REPLACE"}, ["region"]),
        ({"userData": "other"}, {"userData": "UPDATE_REPLACE"}, ["userData"]),
        ({"userData": UNKNOWN}, {"userData": "UPDATE_REPLACE"}, ["userData"]),
        ({"sshKeys": ["cc:dd"]}, {"sshKeys[0]": "UPDATE_REPLACE"}, ["sshKeys"]),
        ({"vpcUuid": "v-2"}, {"vpcUuid": "UPDATE_REPLACE"}, ["vpcUuid"]),
        ({"monitoring": True}, {"monitoring": "ADD_REPLACE"}, ["monitoring"]),
        ({"dropletAgent": True}, {"dropletAgent": "ADD_REPLACE"}, ["dropletAgent"]),
        ({"backups": True}, {"backups": "ADD"}, []),
        ({"ipv6": True}, {"ipv6": "ADD"}, []),
        ({"tags": ["dev"]}, {"tags[1]": "DELETE"}, []),
        ({"tags": ["dev", "web", "new"]}, {"tags[2]": "ADD"}, []),
        ({"gracefulShutdown": True}, {"gracefulShutdown": "ADD"}, []),
        ({"name": "other"}, {"name": "UPDATE"}, []),
    ],
)
async def test_which_changes_of_a_droplet_replace_it(
    cloud: ProviderClient, change: Values, expected: dict[str, str], replaced: list[str]
) -> None:
    found = await cloud.diff(DROPLET, droplet_state(), droplet_inputs(**change))
    assert (dict(found.changes), list(found.replaces), found.deletes_first) == (expected, replaced, False)


async def test_ipv6_cannot_be_switched_off_in_place(cloud: ProviderClient) -> None:
    assert (await cloud.diff(DROPLET, droplet_state(ipv6=True), droplet_inputs())).replaces == ["ipv6"]


async def test_a_hand_named_resource_is_deleted_before_it_is_replaced(cloud: ProviderClient) -> None:
    news = {**droplet_inputs(image="12345"), "__defaults": []}
    assert (await cloud.diff(DROPLET, droplet_state(), news)).deletes_first


async def test_a_new_name_of_a_tag_deletes_the_old_one_first(cloud: ProviderClient) -> None:
    found = await cloud.diff(TAG, {"name": "old"}, {"name": "new", "__defaults": []})
    assert (found.replaces, found.deletes_first) == (["name"], True)


async def test_ignored_properties_are_no_change(cloud: ProviderClient) -> None:
    found = await cloud.diff(DROPLET, droplet_state(), droplet_inputs(image="other"), ignore=["image"])
    assert found.changes == {}


async def test_the_line_end_of_a_public_key_is_no_change(cloud: ProviderClient) -> None:
    state, news = (
        {"name": "k", "publicKey": "ssh-ed25519 AAAA"},
        {"name": "k", "publicKey": "ssh-ed25519 AAAA\n"},
    )
    assert (await cloud.diff(SSH_KEY, state, news)).changes == {}


async def test_rules_of_a_firewall_are_a_set(cloud: ProviderClient) -> None:
    first: Values = {"protocol": "tcp", "portRange": "443", "sourceAddresses": ["1.1.1.1/32", "2.2.2.2/32"]}
    second: Values = {"protocol": "icmp", "sourceTags": ["Web"]}
    swapped = [{**second, "__defaults": []}, {**first, "sourceAddresses": ["2.2.2.2/32", "1.1.1.1/32"]}]
    state: Values = {"name": "f", "inboundRules": [first, {**second, "sourceTags": ["web"], "portRange": ""}]}
    assert (await cloud.diff(FIREWALL, state, {"name": "f", "inboundRules": swapped})).changes == {}


async def test_a_changed_rule_is_shown_where_it_stands(cloud: ProviderClient) -> None:
    rule: Values = {"protocol": "tcp", "portRange": "443", "sourceAddresses": ["1.1.1.1/32"]}
    news = {"name": "f", "inboundRules": [{**rule, "portRange": "80"}]}
    found = await cloud.diff(FIREWALL, {"name": "f", "inboundRules": [rule]}, news)
    assert found.changes == {"inboundRules[0].portRange": "UPDATE"}


async def test_a_volume_cannot_shrink(cloud: ProviderClient) -> None:
    state = {"name": "v", "region": "lon1", "size": 5}
    with pytest.raises(Exception, match="can only be expanded and not shrunk"):
        await cloud.diff(VOLUME, state, {**state, "size": 4})


async def test_full_and_short_names_of_a_record_are_the_same(cloud: ProviderClient) -> None:
    state: Values = {"domain": "a.test", "type": "A", "name": "www", "value": "1.1.1.1", "ttl": 1800}
    news = {"domain": "a.test", "type": "A", "name": "www.a.test.", "value": "1.1.1.1"}
    assert (await cloud.diff(RECORD, state, news)).changes == {}


async def test_a_key_the_provider_does_not_have_is_named(cloud: ProviderClient) -> None:
    failures = await cloud.check_config(version="4.84.1", tokn="x")
    assert len(failures) == 1
    assert "`digitalocean:tokn` is not a valid configuration key" in failures[0]
