"""Draining from the operator's desk: never blocked by the dead, never cutting the living."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import asyncssh
import pytest
from typer.testing import CliRunner

from fleet import cli, commands, ssh
from fleet.drain import Drain, Outcome, drain

HOST_KEY = asyncssh.generate_private_key("ssh-ed25519")
DEPLOY_KEY = asyncssh.generate_private_key("ssh-ed25519")
WANTED = Drain("web-1", propagation=0, quiet=2, cap=30)

Machine = Callable[["asyncssh.SSHServerProcess[str]"], Awaitable[None]]


@asynccontextmanager
async def machine(behaviour: Machine) -> AsyncIterator[ssh.Target]:
    """A real SSH server on a free port that runs `behaviour` for every command."""
    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_host_keys=[HOST_KEY],
        authorized_client_keys=asyncssh.import_authorized_keys(DEPLOY_KEY.export_public_key().decode()),
        process_factory=behaviour,
    )
    async with server:
        yield ssh.Target(
            "127.0.0.1",
            HOST_KEY.export_public_key().decode(),
            private_key=DEPLOY_KEY.export_private_key().decode(),
            port=server.get_port(),
        )


@pytest.fixture
def said() -> list[str]:
    return []


async def test_a_living_machine_drains_itself(said: list[str]) -> None:
    commands: list[str | None] = []

    async def behaviour(process: asyncssh.SSHServerProcess[str]) -> None:
        commands.append(process.command)
        process.exit(0)

    async with machine(behaviour) as target:
        assert await drain(target, WANTED, said.append) is Outcome.DRAINED
    assert commands == ["/usr/local/sbin/flotilla-drain --propagation 0 --quiet 2 --cap 30"]


async def test_a_dead_machine_is_let_go_with_a_warning(
    unused_tcp_port: int, said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh, "RETRY_SECONDS", 0.01)
    target = ssh.Target(
        "127.0.0.1",
        HOST_KEY.export_public_key().decode(),
        private_key=DEPLOY_KEY.export_private_key().decode(),
        port=unused_tcp_port,
    )
    assert await drain(target, WANTED, said.append) is Outcome.DEAD
    assert said[0].startswith("warning: web-1 (127.0.0.1) is dead or cut off")


async def test_a_machine_that_dies_while_it_drains_is_let_go(said: list[str]) -> None:
    async def behaviour(process: asyncssh.SSHServerProcess[str]) -> None:
        process.channel.get_connection().abort()

    async with machine(behaviour) as target:
        assert await drain(target, WANTED, said.append) is Outcome.DEAD


async def test_a_machine_that_cannot_drain_serves_for_the_propagation_time(
    said: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    waits: list[float] = []

    async def no_wait(seconds: float) -> None:
        waits.append(seconds)

    async def behaviour(process: asyncssh.SSHServerProcess[str]) -> None:
        process.stderr.write("flotilla-drain: not found\n")
        process.exit(127)

    async with machine(behaviour) as target:
        monkeypatch.setattr("fleet.drain.asyncio.sleep", no_wait)
        assert await drain(target, replace(WANTED, propagation=300), said.append) is Outcome.WAITED
        monkeypatch.undo()
    assert 300 in waits
    assert "ended with 127: flotilla-drain: not found" in said[0]
    assert "keeps serving for 300 s" in said[1]


async def test_a_stranger_at_the_address_gets_nothing_from_us(said: list[str]) -> None:
    commands: list[str | None] = []

    async def behaviour(process: asyncssh.SSHServerProcess[str]) -> None:
        commands.append(process.command)
        process.exit(0)

    other = asyncssh.generate_private_key("ssh-ed25519").export_public_key().decode()
    async with machine(behaviour) as target:
        assert await drain(replace(target, host_key=other), WANTED, said.append) is Outcome.WAITED
    assert commands == []
    assert "shows another SSH host key than it should" in said[0]


async def test_a_machine_that_refuses_our_key_is_a_stranger() -> None:
    async def behaviour(process: asyncssh.SSHServerProcess[str]) -> None:
        process.exit(0)

    other = asyncssh.generate_private_key("ssh-ed25519").export_private_key().decode()
    async with machine(behaviour) as target:
        with pytest.raises(ssh.StrangerError, match="refuses our SSH key"):
            await ssh.connect(replace(target, private_key=other))


async def test_a_key_that_cannot_be_read_is_no_traceback(unused_tcp_port: int) -> None:
    target = ssh.Target("127.0.0.1", "rubbish", private_key="rubbish", port=unused_tcp_port)
    with pytest.raises(ssh.StrangerError, match="cannot be read"):
        await ssh.connect(target)


async def test_connecting_waits_for_a_machine_that_still_boots(
    unused_tcp_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh, "RETRY_SECONDS", 0.05)
    refused = asyncio.Event()
    connect = ssh.connect

    async def watched(target: ssh.Target) -> asyncssh.SSHClientConnection:
        try:
            return await connect(target)
        except ssh.UnreachableError:
            refused.set()
            raise

    monkeypatch.setattr(ssh, "connect", watched)
    target = ssh.Target(
        "127.0.0.1",
        HOST_KEY.export_public_key().decode(),
        private_key=DEPLOY_KEY.export_private_key().decode(),
        port=unused_tcp_port,
    )
    waiting = asyncio.create_task(ssh.connect_within(target, 20))
    await refused.wait()
    server = await asyncssh.listen(
        "127.0.0.1",
        unused_tcp_port,
        server_host_keys=[HOST_KEY],
        authorized_client_keys=asyncssh.import_authorized_keys(DEPLOY_KEY.export_public_key().decode()),
    )
    async with server, await waiting:
        pass


def test_command_line_takes_host_and_keys_from_the_stacks_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    # What components/commands.py sets is what the command reads: the delete of a real stack failed over this once.
    asked: list[ssh.Target] = []

    async def note(target: ssh.Target, *_: object) -> None:
        asked.append(target)

    monkeypatch.setattr("fleet.drain.drain", note)
    monkeypatch.setenv(commands.HOST_VARIABLE, "198.18.0.20")
    monkeypatch.setenv(commands.HOST_KEY_VARIABLE, HOST_KEY.export_public_key().decode())
    monkeypatch.setenv(commands.DEPLOY_KEY_VARIABLE, DEPLOY_KEY.export_private_key().decode())
    done = CliRunner().invoke(cli.app, ["drain", "--slot", "web-1", "--propagation", "0"])
    assert (done.exit_code, [target.host for target in asked]) == (0, ["198.18.0.20"])
