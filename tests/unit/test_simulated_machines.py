"""Simulated guests: who they are, whom they let in, and that they answer only as told."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

import asyncssh
import pytest

from sandbox.machines import guest_sshd
from sandbox.machines.guest_identity import GuestIdentity
from sandbox.machines.guest_script import GuestScript, GuestScripts
from sandbox.machines.port import Interface, MachineSpec
from sandbox.machines.simulated import SLICES, SimulatedMachines, loopback_slice
from sandbox.store import Store

ADDRESS = f"127.100.{os.getpid() // 250 % 250}.{os.getpid() % 250 + 1}"


@dataclass
class Keys:
    """A guest's host key and a client's key."""

    host: asyncssh.SSHKey = field(default_factory=lambda: asyncssh.generate_private_key("ssh-ed25519"))
    client: asyncssh.SSHKey = field(default_factory=lambda: asyncssh.generate_private_key("ssh-ed25519"))

    @property
    def user_data(self) -> str:
        private = self.host.export_private_key().decode()
        indented = "".join(f"    {line}\n" for line in private.splitlines())
        public = self.client.export_public_key().decode().strip()
        return f"#cloud-config\nssh_keys:\n  ed25519_private: |\n{indented}ssh_authorized_keys: [{public}]\n"


@dataclass
class Lab:
    """One guest that is on."""

    keys: Keys
    machines: SimulatedMachines
    scripts: GuestScripts
    spec: MachineSpec
    port: int
    died: list[int] = field(default_factory=list)

    async def connect(
        self, *, client: asyncssh.SSHKey | None = None, host: asyncssh.SSHKey | None = None
    ) -> asyncssh.SSHClientConnection:
        trusted = (host or self.keys.host).convert_to_public()
        return await asyncssh.connect(
            ADDRESS,
            self.port,
            username="root",
            client_keys=[client or self.keys.client],
            known_hosts=([trusted], [], []),
            config=None,
            agent_path=None,
        )

    async def run(self, command: str, stdin: str = "") -> asyncssh.SSHCompletedProcess:
        source = asyncssh.PIPE if stdin else asyncssh.DEVNULL
        connection = await self.connect()
        try:
            return await connection.run(command, input=stdin, stdin=source)
        finally:
            connection.close()


def a_spec(user_data: str) -> MachineSpec:
    return MachineSpec(
        id=7,
        hostname="web-1-3fa2c1b",
        image="debian-13-x64",
        public=Interface("eth0", "02:00:00:00:00:01", ADDRESS, 8, None),
        private=Interface("eth1", "02:00:00:00:00:02", "10.0.0.2", 20, None),
        user_data=user_data,
        ssh_keys=(),
        tags=("dev", "dev-web"),
        region="lon1",
        memory_mib=512,
        vcpus=1,
    )


@pytest.fixture
async def lab(monkeypatch: pytest.MonkeyPatch, unused_tcp_port: int) -> AsyncIterator[Lab]:
    monkeypatch.setattr(guest_sshd, "SSH_PORT", unused_tcp_port)
    keys, scripts = Keys(), GuestScripts()
    machines = SimulatedMachines(Store(":memory:"), scripts)
    lab = Lab(keys, machines, scripts, a_spec(keys.user_data), unused_tcp_port)
    machines.on_exit = lab.died.append
    await machines.create(lab.spec)
    await machines.start(lab.spec)
    yield lab
    machines.close()


async def test_a_command_succeeds_in_silence_and_is_noted(lab: Lab) -> None:
    done = await lab.run("/usr/local/sbin/do-it --now", stdin="a bundle")
    assert (done.exit_status, done.stdout, done.stderr) == (0, "", "")
    (ran,) = lab.scripts.listing()["commands"]
    assert (ran["name"], ran["user"], ran["command"]) == (
        "web-1-3fa2c1b",
        "root",
        "/usr/local/sbin/do-it --now",
    )
    assert (ran["stdin"], ran["exit"]) == ("a bundle", 0)


async def test_a_wrong_client_key_is_refused(lab: Lab) -> None:
    with pytest.raises(asyncssh.PermissionDenied):
        await lab.connect(client=asyncssh.generate_private_key("ssh-ed25519"))


async def test_a_password_is_no_way_in(lab: Lab) -> None:
    with pytest.raises(asyncssh.PermissionDenied):
        await asyncssh.connect(
            ADDRESS, lab.port, username="root", password="", client_keys=None, known_hosts=None, config=None
        )


async def test_it_proves_the_host_key_of_its_user_data(lab: Lab) -> None:
    with pytest.raises(asyncssh.HostKeyNotVerifiable):
        await lab.connect(host=asyncssh.generate_private_key("ssh-ed25519"))


async def test_a_script_answers_the_commands_that_fit_as_often_as_told(lab: Lab) -> None:
    lab.scripts.add(
        GuestScript(name="^web-1", program="gate", exit=3, stdout="no\n", stderr="why\n", times=1)
    )
    assert (await lab.run("receive")).exit_status == 0
    failed = await lab.run("flotilla-gate")
    assert (failed.exit_status, failed.stdout, failed.stderr) == (3, "no\n", "why\n")
    assert (await lab.run("flotilla-gate")).exit_status == 0


async def test_a_machine_that_dies_breaks_the_session_and_closes_its_port(lab: Lab) -> None:
    lab.scripts.add(GuestScript(effect="die"))
    async with await lab.connect() as connection:
        assert (await connection.run("flotilla-gate", stdin=asyncssh.DEVNULL)).exit_status is None
    assert lab.died == [7]
    assert not lab.machines.running(7)
    with pytest.raises(ConnectionRefusedError):
        await lab.connect()


async def test_ssh_answers_only_while_the_machine_is_on(lab: Lab) -> None:
    await lab.machines.stop(7, graceful=True)
    with pytest.raises(ConnectionRefusedError):
        await lab.connect()
    await lab.machines.start(lab.spec)
    assert (await lab.run("true")).exit_status == 0


async def test_a_machine_may_boot_without_its_ssh_server(lab: Lab) -> None:
    await lab.machines.stop(7, graceful=False)
    lab.scripts.add(GuestScript(tag="dev-web", effect="no_sshd", times=1))
    await lab.machines.start(lab.spec)
    assert lab.machines.running(7)
    with pytest.raises(ConnectionRefusedError):
        await lab.connect()


async def test_pulled_cables_cut_a_guest_off_until_they_are_put_back(lab: Lab) -> None:
    async with await lab.connect() as connection:
        await lab.machines.isolate(frozenset({7}))
        await asyncio.wait_for(connection.wait_closed(), 5)
    with pytest.raises(ConnectionRefusedError):
        await lab.connect()
    await lab.machines.isolate(frozenset())
    assert (await lab.run("true")).exit_status == 0


async def test_a_guest_without_a_host_key_of_its_own_makes_one_up(lab: Lab) -> None:
    await lab.machines.stop(7, graceful=False)
    public = lab.keys.client.export_public_key().decode().strip()
    await lab.machines.start(replace(lab.spec, user_data="", ssh_keys=(public,)))
    async with await asyncssh.connect(
        ADDRESS, lab.port, username="root", client_keys=[lab.keys.client], known_hosts=None, config=None
    ) as connection:
        assert (await connection.run("true", stdin=asyncssh.DEVNULL)).exit_status == 0


def test_root_is_let_in_by_metadata_and_user_data_together() -> None:
    identity = GuestIdentity.read("#cloud-config\nssh_authorized_keys: [b]\n", ["a"])
    assert identity.authorized_keys["root"] == ("a", "b")


def test_root_is_kept_out_when_the_user_data_says_so() -> None:
    identity = GuestIdentity.read(
        "#cloud-config\ndisable_root: true\nusers: [{name: ops, ssh_authorized_keys: [b]}]\n", ["a"]
    )
    assert identity.authorized_keys == {"ops": ("b",)}


@pytest.mark.parametrize("user_data", ["", "#!/bin/sh\n", "#cloud-config\n{", "#cloud-config\n- 1\n"])
def test_user_data_that_is_no_cloud_config_means_nothing(user_data: str) -> None:
    assert GuestIdentity.read(user_data, ["a"]) == GuestIdentity(None, {"root": ("a",)})


def test_slices_do_not_overlap_and_stay_in_the_loopback() -> None:
    slices = [loopback_slice(number) for number in range(SLICES)]
    assert len(set(slices)) == SLICES
    assert all(network.is_loopback for network in (slices[0], slices[-1]))
    assert slices[0].broadcast_address + 1 == slices[1].network_address
