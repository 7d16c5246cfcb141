"""`fleet tell`: burst members learn of news, the dead are warned of, refusals stop the update."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from fleet import bursts, commands, ssh
from fleet.errors import FleetError
from fleet.identity import Identity
from fleet.members import Machine, slot_of
from tests.unit.ssh_machine import DEPLOY_KEY, HOST_KEY_LINE, ssh_machine

IDENTITY = Identity.from_seed(base64.b64encode(bytes(range(32))).decode())


def machine(name: str, address: str = "a") -> Machine:
    return Machine(
        id=1,
        name=name,
        slot=slot_of(name),
        address=address,
        private_address="10.20.0.9",
        image="web-2026.11.21-3f2a",
        image_names=frozenset(),
        created="2026-11-21T09:00:00Z",
    )


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bursts, "PATIENCE_SECONDS", 0.0)


def at_port(monkeypatch: pytest.MonkeyPatch, port: int) -> None:
    connect = ssh.connect

    async def there(target: ssh.Target) -> Any:
        assert target.host_key == IDENTITY.host_key("burst-1").public_openssh
        key = DEPLOY_KEY.export_private_key().decode()
        return await connect(ssh.Target("127.0.0.1", HOST_KEY_LINE, private_key=key, port=port))

    monkeypatch.setattr(ssh, "connect", there)


def test_only_what_a_controller_names_so_is_a_burst_member() -> None:
    names = ("web-1-0a1b2c3", "burst-1-0a1b2c3", "burst-1", "burst-12-00fffff", "burst-x-0a1b2c3")
    found = bursts.among([machine(name) for name in names])
    assert [each.slot for each in found] == ["burst-1", "burst-12"]


async def test_each_is_handed_the_bundle_over_pinned_ssh(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    async with ssh_machine(lambda *_: (0, "")) as there:
        at_port(monkeypatch, there.port)
        await bursts.tell([machine("burst-1-0a1b2c3")], IDENTITY, '{"new": 1}', said.append)
    assert there.ran == [(commands.RECEIVE, '{"new": 1}')]
    assert said == ["burst-1 (burst-1-0a1b2c3, a) was told"]


async def test_one_that_refuses_stops_the_update(monkeypatch: pytest.MonkeyPatch) -> None:
    async with ssh_machine(lambda *_: (1, "the bundle is wrong")) as there:
        at_port(monkeypatch, there.port)
        with pytest.raises(FleetError, match=r"burst-1 .* refused what it was told: the bundle is wrong"):
            await bursts.tell([machine("burst-1-0a1b2c3")], IDENTITY, "{}", lambda _: None)


async def test_a_dead_one_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    async with ssh_machine(lambda *_: (0, "")) as gone:
        port = gone.port
    at_port(monkeypatch, port)
    await bursts.tell([machine("burst-1-0a1b2c3")], IDENTITY, "{}", said.append)
    assert said[0].startswith("warning: burst-1 (burst-1-0a1b2c3, a) was not told: no SSH session")


async def test_a_stranger_with_such_a_name_is_a_warning_and_told_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    said: list[str] = []
    connect = ssh.connect
    async with ssh_machine(lambda *_: (0, "")) as there:

        async def elsewhere(target: ssh.Target) -> Any:
            key = DEPLOY_KEY.export_private_key().decode()
            return await connect(ssh.Target("127.0.0.1", target.host_key, private_key=key, port=there.port))

        monkeypatch.setattr(ssh, "connect", elsewhere)
        await bursts.tell([machine("burst-1-0a1b2c3")], IDENTITY, "{}", said.append)
    assert there.ran == []
    assert "shows another SSH host key" in said[0]


async def test_without_any_there_is_nothing_to_do() -> None:
    await bursts.tell([], IDENTITY, "{}", lambda _: None)
