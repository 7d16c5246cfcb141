"""`fleet peers`: every member is told, the dead are warned of, refusals are failures."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fleet import commands, peers, ssh
from fleet.errors import FleetError
from fleet.identity import Identity
from fleet.peers import Addressed, Fleet
from tests.unit.ssh_machine import DEPLOY_KEY, HOST_KEY_LINE, ssh_machine

ROOT = Path(__file__).resolve().parents[2]
MEMBER = {"address": "198.18.0.1", "private_address": "10.20.0.3", "host_key": HOST_KEY_LINE}


def document(**changes: Any) -> str:
    return json.dumps({"deploy_key": "a key", "members": {"web-1": MEMBER}} | changes)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "PATIENCE_SECONDS", 0.0)


@pytest.fixture
def said() -> list[str]:
    return []


def fleet_of(**addresses: str) -> Fleet:
    members = {
        slot: Addressed(address, f"10.20.0.{number}", HOST_KEY_LINE)
        for number, (slot, address) in enumerate(addresses.items(), 3)
    }
    return Fleet(DEPLOY_KEY.export_private_key().decode(), members)


def at_port(monkeypatch: pytest.MonkeyPatch, ports: dict[str, int]) -> None:
    """Members by address, each on a port of its own: tests cannot have port 22."""
    connect = ssh.connect

    async def there(target: ssh.Target) -> Any:
        local = ssh.Target(
            "127.0.0.1", target.host_key, private_key=target.private_key, port=ports[target.host]
        )
        return await connect(local)

    monkeypatch.setattr(ssh, "connect", there)


async def test_every_member_is_told_of_all(monkeypatch: pytest.MonkeyPatch, said: list[str]) -> None:
    async with ssh_machine(lambda *_: (0, "")) as one, ssh_machine(lambda *_: (0, "")) as two:
        at_port(monkeypatch, {"a": one.port, "b": two.port})
        await peers.deliver(fleet_of(**{"web-1": "a", "web-2": "b"}), said.append)
    told = [(commands.PEERS, json.dumps({"peers": {"web-1": "10.20.0.3", "web-2": "10.20.0.4"}}))]
    assert (one.ran, two.ran) == (told, told)
    assert sorted(said) == [
        "web-1 (a) knows 2 members, itself among them",
        "web-2 (b) knows 2 members, itself among them",
    ]


async def test_a_dead_member_and_one_too_old_are_warnings(
    monkeypatch: pytest.MonkeyPatch, said: list[str], unused_tcp_port: int
) -> None:
    async with ssh_machine(lambda *_: (0, "")) as one, ssh_machine(lambda *_: (127, "not found")) as old:
        at_port(monkeypatch, {"a": one.port, "b": unused_tcp_port, "c": old.port})
        await peers.deliver(fleet_of(**{"web-1": "a", "web-2": "b", "web-3": "c"}), said.append)
    warnings = sorted(line for line in said if line.startswith("warning"))
    assert warnings[0].startswith("warning: web-2 (b) was not told about its peers: no SSH session")
    assert (
        warnings[1]
        == "warning: web-3 (c) was not told about its peers: its image is too old to know about them"
    )


async def test_a_member_that_refuses_the_list_is_a_failure(
    monkeypatch: pytest.MonkeyPatch, said: list[str]
) -> None:
    async with ssh_machine(lambda *_: (0, "")) as one, ssh_machine(lambda *_: (1, "not inside")) as two:
        at_port(monkeypatch, {"a": one.port, "b": two.port})
        with pytest.raises(FleetError, match=r"^web-2 \(b\) refused its peers: not inside$"):
            await peers.deliver(fleet_of(**{"web-1": "a", "web-2": "b"}), said.append)


async def test_when_nobody_can_be_reached_the_desk_is_cut_off(
    monkeypatch: pytest.MonkeyPatch, said: list[str], unused_tcp_port: int
) -> None:
    at_port(monkeypatch, {"a": unused_tcp_port})
    with pytest.raises(FleetError, match=r"none of the 1 members could be told; check .* admin.cidrs"):
        await peers.deliver(fleet_of(**{"web-1": "a"}), said.append)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "stdin is not JSON"),
        (json.dumps({"members": {}}), "stdin.deploy_key is missing"),
        (document(other=1), "stdin has the unknown key 'other'"),
        (document(members={"Web 1": MEMBER}), "the name 'Web 1', which is no slot's"),
        (document(members={"web-1": MEMBER | {"address": "here"}}), "stdin.members.web-1.address is 'here'"),
        (document(members={"web-1": {}}), "stdin.members.web-1.address is missing"),
    ],
)
def test_wrong_input_is_named_and_the_key_never_shown(text: str, complaint: str) -> None:
    with pytest.raises(FleetError) as raised:
        peers.read(text)
    assert complaint in str(raised.value)
    assert "a key" not in str(raised.value)


def test_a_stacks_own_keys_are_taken() -> None:
    identity = Identity(b"s" * 32)
    member = MEMBER | {"host_key": identity.host_key("web-1").public_openssh}
    given = {"deploy_key": identity.deploy_key().private_openssh, "members": {"web-1": member}}
    assert peers.read(json.dumps(given)).members["web-1"].private_address == "10.20.0.3"


def test_the_command_reads_standard_input_and_fails_with_one_text() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "fleet.cli", "peers"], input="{}", capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 1
    assert done.stderr == "fleet: the members cannot be read: stdin.deploy_key is missing\n"
