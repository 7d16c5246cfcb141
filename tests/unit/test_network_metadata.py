"""The metadata service's answers, path by path."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

import pytest
from starlette.applications import Starlette
from starlette.types import Message, Scope

from sandbox.machines.port import Interface, Ipv6, MachineSpec
from sandbox.network.metadata import MetadataDocument, create_metadata_app

MACHINE = MachineSpec(
    id=2756294,
    hostname="web-1",
    image="debian-13-x64",
    public=Interface("eth0", "02:d0:00:00:00:01", "198.18.0.20", 20, "198.18.0.1"),
    private=Interface("eth1", "02:d1:00:00:00:01", "10.20.0.3", 20, None),
    user_data="#cloud-config\n{}\n",
    ssh_keys=("ssh-ed25519 AAAA one", "ssh-ed25519 BBBB two"),
    tags=("dev", "dev-web"),
    region="lon1",
    memory_mib=1024,
    vcpus=1,
)


@dataclass(frozen=True)
class Answer:
    status: int
    location: str | None
    text: str


class Client:
    """Asks the service as the machine at one address, straight through ASGI."""

    def __init__(self, machine: MachineSpec = MACHINE, address: str = "198.18.0.20") -> None:
        known = {machine.public.address: MetadataDocument(machine)}
        self._app: Starlette = create_metadata_app(known.get)
        self._address = address

    async def ask(self, path: str, method: str = "GET") -> Answer:
        scope: Scope = {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": path,
            "query_string": b"",
            "headers": [(b"host", b"169.254.169.254")],
            "client": (self._address, 40000),
            "server": ("169.254.169.254", 80),
        }
        sent: list[Message] = []

        async def receive() -> Message:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: Message) -> None:
            sent.append(message)

        await self._app(scope, receive, send)
        headers = dict(sent[0]["headers"])
        location = headers.get(b"location")
        body = b"".join(message.get("body", b"") for message in sent[1:])
        return Answer(sent[0]["status"], location.decode() if location else None, body.decode())


@pytest.fixture
def client() -> Client:
    return Client()


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("id", "2756294"),
        ("hostname", "web-1"),
        ("region", "lon1"),
        ("user-data", "#cloud-config\n{}\n"),
        ("public-keys", "ssh-ed25519 AAAA one\nssh-ed25519 BBBB two"),
        ("tags", "dev\ndev-web"),
        ("interfaces/", "public/\nprivate/"),
        ("interfaces/public/", "0/"),
        ("interfaces/public/0/", "mac\ntype\nipv4/"),
        ("interfaces/public/0/ipv4/", "address\nnetmask\ngateway"),
        ("interfaces/public/0/ipv4/address", "198.18.0.20"),
        ("interfaces/public/0/ipv4/netmask", "255.255.240.0"),
        ("interfaces/public/0/ipv4/gateway", "198.18.0.1"),
        ("interfaces/private/0/type", "private"),
        ("interfaces/private/0/mac", "02:d1:00:00:00:01"),
        ("interfaces/private/0/ipv4/address", "10.20.0.3"),
        ("dns/nameservers", "67.207.67.2"),
        ("reserved_ip/ipv4/active", "false"),
        ("features/dhcp_enabled", "false"),
    ],
)
async def test_value(client: Client, path: str, expected: str) -> None:
    answer = await client.ask(f"/metadata/v1/{path}")
    assert (answer.status, answer.text) == (200, expected)


async def test_index_lists_what_there_is(client: Client) -> None:
    index = (await client.ask("/metadata/v1/")).text.splitlines()
    assert index[:3] == ["id", "hostname", "user-data"]
    assert {"interfaces/", "dns/", "features/"} <= set(index)
    for entry in index:
        assert (await client.ask(f"/metadata/v1/{entry}")).status == 200


@pytest.mark.parametrize("path", ["", "/interfaces", "/interfaces/public/0"])
async def test_index_without_slash_is_moved(client: Client, path: str) -> None:
    answer = await client.ask(f"/metadata/v1{path}")
    assert (answer.status, answer.location) == (301, f"/metadata/v1{path}/")


@pytest.mark.parametrize(
    "path", ["nonsense", "id/", "id/more", "interfaces/public/1/", "interfaces/public/1/mac"]
)
async def test_unknown_path_is_not_found(client: Client, path: str) -> None:
    assert (await client.ask(f"/metadata/v1/{path}")).status == 404


async def test_stranger_learns_nothing() -> None:
    stranger = Client(address="198.18.0.99")
    assert (await stranger.ask("/metadata/v1/id")).status == 404
    assert (await stranger.ask("/metadata/v1.json")).status == 404


async def test_whole_document_at_once(client: Client) -> None:
    document = json.loads((await client.ask("/metadata/v1.json")).text)
    assert document["droplet_id"] == 2756294
    assert document["user_data"] == MACHINE.user_data
    assert document["public_keys"] == list(MACHINE.ssh_keys)
    assert document["tags"] == ["dev", "dev-web"]
    assert document["interfaces"]["public"] == [
        {
            "ipv4": {"ip_address": "198.18.0.20", "netmask": "255.255.240.0", "gateway": "198.18.0.1"},
            "mac": "02:d0:00:00:00:01",
            "type": "public",
        }
    ]


IPV6 = Ipv6("2001:db8:f100:1::2", 64, "2001:db8:f100:1::1")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", "mac\ntype\nipv4/\nipv6/"),
        ("ipv6/", "address\ncidr\ngateway"),
        ("ipv6/address", "2001:db8:f100:1::2"),
        ("ipv6/cidr", "64"),
        ("ipv6/gateway", "2001:db8:f100:1::1"),
    ],
)
async def test_ipv6(path: str, expected: str) -> None:
    client = Client(replace(MACHINE, public=replace(MACHINE.public, ipv6=IPV6)))
    answer = await client.ask(f"/metadata/v1/interfaces/public/0/{path}")
    assert (answer.status, answer.text) == (200, expected)
    whole = json.loads((await client.ask("/metadata/v1.json")).text)["interfaces"]
    assert "ipv6" not in whole["private"][0]
    assert whole["public"][0]["ipv6"] == {"ip_address": IPV6.address, "cidr": 64, "gateway": IPV6.gateway}


async def test_absent_user_data_is_left_out() -> None:
    client = Client(replace(MACHINE, user_data=""))
    assert "user_data" not in json.loads((await client.ask("/metadata/v1.json")).text)


async def test_only_reading_is_allowed(client: Client) -> None:
    assert (await client.ask("/metadata/v1/hostname", "PUT")).status == 405
