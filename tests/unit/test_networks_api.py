"""VPCs and cloud firewalls over the API, and what they become on the network."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from sandbox.network.none import RecordNetwork
from sandbox.network.port import Attachment
from sandbox.store import Store
from tests.unit.cloud_api import Api, started

HTTPS = {"protocol": "tcp", "ports": "443", "sources": {"addresses": ["0.0.0.0/0", "::/0"]}}
OUT = {"protocol": "tcp", "ports": "all", "destinations": {"addresses": ["0.0.0.0/0"]}}


@pytest.fixture
async def api() -> AsyncIterator[Api]:
    api = await started(Store(":memory:"))
    yield api
    await api.cloud.stop()


async def vpc(api: Api, name: str = "dev", ip_range: str = "10.20.0.0/20") -> dict[str, Any]:
    made = await api.made("/v2/vpcs", {"name": name, "region": "lon1", "ip_range": ip_range})
    answer: dict[str, Any] = made["vpc"]
    return answer


async def firewall(api: Api, name: str = "web", **fields: Any) -> dict[str, Any]:
    body = {"name": name, "inbound_rules": [HTTPS], "outbound_rules": [OUT], **fields}
    answer: dict[str, Any] = (await api.made("/v2/firewalls", body))["firewall"]
    return answer


async def tag(api: Api, *names: str) -> None:
    for name in names:
        await api.made("/v2/tags", {"name": name})


def attached(api: Api, droplet: int) -> Attachment:
    network = api.cloud.fabric._network
    assert isinstance(network, RecordNetwork)
    assert network.topology is not None
    return next(one for one in network.topology.attachments if one.droplet == droplet)


# VPCs


async def test_every_region_has_a_default_vpc_that_stays(api: Api) -> None:
    listed = (await api.get("/v2/vpcs?per_page=200"))["vpcs"]

    assert {one["region"] for one in listed if one["default"]} >= {"lon1", "nyc3", "fra1"}
    default = next(one for one in listed if one["region"] == "lon1")
    reply = await api.refused("DELETE", f"/v2/vpcs/{default['id']}")
    assert (reply.status, reply.message) == (403, "Can not delete default VPC")


async def test_a_droplet_without_vpc_goes_to_the_default(api: Api) -> None:
    droplet = await api.droplet()

    home = (await api.get(f"/v2/vpcs/{droplet['vpc_uuid']}"))["vpc"]

    assert (home["default"], home["region"]) == (True, "lon1")


async def test_a_vpc_gets_a_free_range_when_none_is_asked_for(api: Api) -> None:
    first = (await api.made("/v2/vpcs", {"name": "a", "region": "lon1"}))["vpc"]
    second = (await api.made("/v2/vpcs", {"name": "b", "region": "lon1"}))["vpc"]

    assert first["ip_range"] != second["ip_range"]
    assert first["ip_range"].endswith("/20")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ip_range": "10.20.8.0/24"}, "overlaps with another VPC network"),
        ({"ip_range": "10.0.0.0/15"}, "between /16 and /28"),
        ({"ip_range": "10.99.0.0/29"}, "between /16 and /28"),
        ({"ip_range": "8.8.8.0/24"}, "RFC 1918"),
        ({"ip_range": "10.20.0.1/20"}, "not an IPv4 network"),
        ({"ip_range": "10.244.3.0/24"}, "reserved range"),
        ({"name": "has space"}, "name"),
        ({"name": "dev"}, "already exists"),
        ({"region": "mars1"}, "mars1"),
        ({"description": "x" * 256}, "description"),
        ({"default": True}, 'unknown field "default"'),
    ],
)
async def test_a_bad_vpc_is_refused(api: Api, change: dict[str, Any], message: str) -> None:
    await vpc(api)
    body = {"name": "other", "region": "lon1", "ip_range": "10.30.0.0/24", **change}

    reply = await api.refused("POST", "/v2/vpcs", body)

    assert reply.status == 422
    assert message in reply.message


async def test_a_vpc_with_members_cannot_be_deleted_until_they_are_gone(api: Api) -> None:
    network = await vpc(api)
    droplet = await api.droplet(vpc_uuid=network["id"])
    members = (await api.get(f"/v2/vpcs/{network['id']}/members"))["members"]
    assert [member["urn"] for member in members] == [f"do:droplet:{droplet['id']}"]

    reply = await api.refused("DELETE", f"/v2/vpcs/{network['id']}")
    assert (reply.status, reply.message) == (403, "Can not delete VPC with members")

    await api.call("DELETE", f"/v2/droplets/{droplet['id']}")
    await api.cloud.settled()
    assert (await api.call("DELETE", f"/v2/vpcs/{network['id']}")).status == 204


async def test_a_vpc_in_another_region_is_no_home(api: Api) -> None:
    network = await vpc(api)
    body = {"name": "a", "region": "fra1", "size": "s-1vcpu-1gb", "image": "debian-13-x64"}

    reply = await api.refused("POST", "/v2/droplets", {**body, "vpc_uuid": network["id"]})

    assert "is in lon1, not in fra1" in reply.message


async def test_the_default_of_a_region_can_move(api: Api) -> None:
    network = await vpc(api)

    patched = await api.call("PATCH", f"/v2/vpcs/{network['id']}", {"default": True})

    assert patched.body["vpc"]["default"] is True
    defaults = [one for one in (await api.get("/v2/vpcs?per_page=200"))["vpcs"] if one["default"]]
    assert [one["name"] for one in defaults if one["region"] == "lon1"] == ["dev"]


async def test_put_replaces_name_and_description(api: Api) -> None:
    network = await vpc(api)

    put = await api.call("PUT", f"/v2/vpcs/{network['id']}", {"name": "renamed", "description": "why"})

    assert (put.body["vpc"]["name"], put.body["vpc"]["description"]) == ("renamed", "why")


# Firewalls


async def test_a_firewall_waits_until_the_network_holds_it(api: Api) -> None:
    await tag(api, "web")
    droplet = await api.droplet(tags=["web"])

    made = await firewall(api, tags=["web"])

    assert made["status"] == "waiting"
    assert [change["droplet_id"] for change in made["pending_changes"]] == [droplet["id"]]
    await api.cloud.settled()
    settled = (await api.get(f"/v2/firewalls/{made['id']}"))["firewall"]
    assert (settled["status"], settled["pending_changes"]) == ("succeeded", [])


async def test_rules_are_shown_in_their_normal_form(api: Api) -> None:
    ping = {
        "protocol": "icmp",
        "ports": "0",
        "sources": {"addresses": ["10.0.0.0/8"], "tags": [], "droplet_ids": []},
    }

    made = await firewall(api, inbound_rules=[ping], outbound_rules=[OUT])

    assert made["inbound_rules"] == [
        {"protocol": "icmp", "ports": "0", "sources": {"addresses": ["10.0.0.0/8"]}}
    ]
    assert made["outbound_rules"][0]["ports"] == "0"


async def test_without_firewall_everything_passes(api: Api) -> None:
    droplet = await api.droplet()

    assert attached(api, droplet["id"]).firewalled is False


async def test_one_firewall_closes_all_it_does_not_allow(api: Api) -> None:
    droplet = await api.droplet()
    await firewall(api, droplet_ids=[droplet["id"]], outbound_rules=[])
    await api.cloud.settled()

    cable = attached(api, droplet["id"])

    assert cable.firewalled is True
    assert [(allow.protocol, allow.ports, allow.peers) for allow in cable.inbound] == [
        ("tcp", (443, 443), ("0.0.0.0/0", "::/0"))
    ]
    assert cable.outbound == ()


async def test_firewalls_add_up(api: Api) -> None:
    await tag(api, "web")
    droplet = await api.droplet(tags=["web"])
    await firewall(api, "one", tags=["web"])
    ssh = {"protocol": "tcp", "ports": "22", "sources": {"addresses": ["203.0.113.7"]}}
    await firewall(api, "two", droplet_ids=[droplet["id"]], inbound_rules=[ssh])
    await api.cloud.settled()

    allowed = {(allow.ports, allow.peers) for allow in attached(api, droplet["id"]).inbound}

    assert allowed == {((443, 443), ("0.0.0.0/0", "::/0")), ((22, 22), ("203.0.113.7/32",))}


async def test_a_source_tag_means_all_addresses_of_its_droplets(api: Api) -> None:
    await tag(api, "web", "db")
    web = await api.droplet("web-1", tags=["Web"], ipv6=True)
    database = await api.droplet("db-1", tags=["db"])
    mysql = {"protocol": "tcp", "ports": "3306", "sources": {"tags": ["web"]}}
    await firewall(api, tags=["db"], inbound_rules=[mysql])
    await api.cloud.settled()

    [allow] = attached(api, database["id"]).inbound

    four, six = web["networks"]["v4"], web["networks"]["v6"]
    wanted = {f"{network['ip_address']}/32" for network in four}
    assert set(allow.peers) == wanted | {f"{six[0]['ip_address']}/128"}


async def test_a_droplet_born_with_a_tag_is_covered_at_birth(api: Api) -> None:
    await tag(api, "web")
    await firewall(api, tags=["web"])

    droplet = await api.droplet(tags=["web"])

    assert attached(api, droplet["id"]).firewalled is True


async def test_untagging_uncovers(api: Api) -> None:
    await tag(api, "web")
    droplet = await api.droplet(tags=["web"])
    await firewall(api, tags=["web"])
    body = {"resources": [{"resource_id": str(droplet["id"]), "resource_type": "droplet"}]}

    assert (await api.call("DELETE", "/v2/tags/web/resources", body)).status == 204
    await api.cloud.settled()

    assert attached(api, droplet["id"]).firewalled is False


async def test_a_deleted_tag_leaves_firewalls_and_rules(api: Api) -> None:
    await tag(api, "web", "db")
    rule = {"protocol": "tcp", "ports": "3306", "sources": {"tags": ["web"]}}
    made = await firewall(api, tags=["db"], inbound_rules=[HTTPS, rule])

    await api.call("DELETE", "/v2/tags/web")
    await api.call("DELETE", "/v2/tags/db")

    left = (await api.get(f"/v2/firewalls/{made['id']}"))["firewall"]
    assert left["tags"] == []
    assert left["inbound_rules"][1]["sources"] == {}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "a b"}, "name"),
        ({"tags": ["unknown"]}, "the tag unknown does not exist"),
        ({"droplet_ids": [1]}, "the droplet 1 does not exist"),
        ({"droplet_ids": list(range(11))}, "at most 10 droplets"),
        ({"tags": [f"t{i}" for i in range(6)]}, "at most 5 tags"),
        (
            {"inbound_rules": [{**HTTPS, "ports": str(port)} for port in range(1, 51)]},
            "at most 50 rules",
        ),
        (
            {
                "inbound_rules": [
                    {**HTTPS, "sources": {"addresses": [f"10.0.{i // 256}.{i % 256}" for i in range(1001)]}}
                ]
            },
            "at most 1000 addresses",
        ),
        ({"inbound_rules": [{**HTTPS, "ports": "70000"}]}, "70000"),
        ({"inbound_rules": [{**HTTPS, "ports": "90-80"}]}, "90-80"),
        ({"inbound_rules": [{**HTTPS, "ports": "http"}]}, "http"),
        ({"inbound_rules": [{**HTTPS, "protocol": "sctp"}]}, "protocol"),
        ({"inbound_rules": [{**HTTPS, "sources": {"addresses": ["10.0.0.300"]}}]}, "invalid address"),
        ({"inbound_rules": [{**HTTPS, "sources": {}}]}, "at least one"),
        ({"inbound_rules": [{"protocol": "tcp", "ports": "1"}]}, "sources is required"),
        ({"inbound_rules": [{**HTTPS, "destinations": {}}]}, "unknown field"),
        ({"inbound_rules": [], "outbound_rules": []}, "at least one rule"),
        ({"inbound_rules": [{**HTTPS, "sources": {"load_balancer_uids": ["x"]}}]}, "load_balancer_uids"),
    ],
)
async def test_a_bad_firewall_is_refused(api: Api, change: dict[str, Any], message: str) -> None:
    body = {"name": "web", "inbound_rules": [HTTPS], "outbound_rules": [OUT], **change}

    reply = await api.refused("POST", "/v2/firewalls", body)

    assert reply.status == 422
    assert message in reply.message


async def test_names_of_firewalls_are_unique(api: Api) -> None:
    await firewall(api)

    reply = await api.refused("POST", "/v2/firewalls", {"name": "web", "inbound_rules": [HTTPS]})

    assert (reply.status, reply.message) == (409, "duplicate name")


async def test_put_replaces_the_whole_firewall(api: Api) -> None:
    await tag(api, "web")
    made = await firewall(api, tags=["web"])

    put = await api.call("PUT", f"/v2/firewalls/{made['id']}", {"name": "new", "inbound_rules": [HTTPS]})

    assert put.status == 200
    assert (put.body["firewall"]["tags"], put.body["firewall"]["outbound_rules"]) == ([], [])


async def test_a_firewall_as_shown_can_be_sent_back(api: Api) -> None:
    made = await firewall(api)

    assert (await api.call("PUT", f"/v2/firewalls/{made['id']}", made)).status == 200


async def test_droplets_tags_and_rules_are_edited_one_by_one(api: Api) -> None:
    await tag(api, "web")
    droplet = await api.droplet()
    path = f"/v2/firewalls/{(await firewall(api))['id']}"
    ssh = {"protocol": "tcp", "ports": "22", "sources": {"addresses": ["203.0.113.7"]}}

    for method in ("POST", "DELETE"):
        for list_, body in (
            ("droplets", {"droplet_ids": [droplet["id"]]}),
            ("tags", {"tags": ["web"]}),
            ("rules", {"inbound_rules": [ssh]}),
        ):
            assert (await api.call(method, f"{path}/{list_}", body)).status == 204
        shown = (await api.get(path))["firewall"]
        added = (shown["droplet_ids"], shown["tags"], ssh in shown["inbound_rules"])
        assert added == (([droplet["id"]], ["web"], True) if method == "POST" else ([], [], False))
    assert (await api.refused("DELETE", f"{path}/rules", {"inbound_rules": [ssh]})).status == 400


async def test_firewalls_of_a_droplet_are_listed(api: Api) -> None:
    await tag(api, "web")
    droplet = await api.droplet(tags=["web"])
    made = await firewall(api, tags=["web"])
    await firewall(api, "other")

    listed = (await api.get(f"/v2/droplets/{droplet['id']}/firewalls"))["firewalls"]

    assert [one["id"] for one in listed] == [made["id"]]


async def test_a_deleted_droplet_leaves_the_firewall(api: Api) -> None:
    droplet = await api.droplet()
    made = await firewall(api, droplet_ids=[droplet["id"]])

    await api.call("DELETE", f"/v2/droplets/{droplet['id']}")

    assert (await api.get(f"/v2/firewalls/{made['id']}"))["firewall"]["droplet_ids"] == []
