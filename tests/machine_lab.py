"""A place to boot machines without the rest of the cloud: cables made by hand, commands run inside by nsenter."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from sandbox.machines.cgroups import MachineCgroups
from sandbox.machines.port import Interface, MachineSpec

SLUG = "debian-13-x64"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl operator"


@contextmanager
def cables(prefix: str, *machines: int) -> Iterator[None]:
    """Network namespaces as the cloud's network makes them, each joined to a desk's namespace of its own."""
    names = [f"{prefix}{kind}{machine}" for machine in machines for kind in ("d", "desk")]
    try:
        for machine in machines:
            inside, desk = f"{prefix}d{machine}", f"{prefix}desk{machine}"
            for line in (
                f"netns add {inside}",
                f"netns add {desk}",
                f"-n {inside} link add eth0 address {mac(machine, 0)} type veth peer name public netns {desk}",
                f"-n {inside} link add eth1 address {mac(machine, 1)} type veth peer name vpc netns {desk}",
                f"-n {desk} link set public up",
                f"-n {desk} link set vpc up",
                f"-n {desk} address add 203.0.113.1/24 dev public",
            ):
                _ip(line)
        yield
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "delete", name], stderr=subprocess.DEVNULL)


def mac(machine: int, card: int) -> str:
    return f"02:00:00:00:{machine & 0xFF:02x}:{card:02x}"


def spec(machine: int, **changes: object) -> MachineSpec:
    plain = MachineSpec(
        id=machine,
        hostname=f"web-{machine}",
        image=SLUG,
        public=Interface("eth0", mac(machine, 0), f"203.0.113.{machine % 200 + 10}", 24, "203.0.113.1"),
        private=Interface("eth1", mac(machine, 1), f"10.20.0.{machine % 200 + 10}", 20, None),
        user_data="#cloud-config\nruncmd: [[touch, /root/user-data-ran]]\n",
        ssh_keys=(KEY,),
        tags=(),
        region="lon1",
        memory_mib=512,
        vcpus=1,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


class Inside:
    """Commands in the machines of one sandbox, as root, whatever the network does."""

    def __init__(self, home: Path) -> None:
        self._cgroups = MachineCgroups(home)

    def init(self, machine: int) -> int:
        """The machine's init, as the host numbers it."""
        file = self._cgroups.group(machine) / "box/payload/init.scope/cgroup.procs"
        return int(file.read_text().split()[0])

    async def run(self, machine: int, command: str) -> str:
        """Output of a shell command; fails the test when the command fails."""
        code, output = await self.attempt(machine, command)
        assert code == 0, f"`{command}` in machine {machine} ended with {code}: {output}"
        return output.strip()

    async def attempt(self, machine: int, command: str) -> tuple[int, str]:
        process = await asyncio.create_subprocess_exec(
            *(
                "nsenter",
                f"--target={self.init(machine)}",
                "--mount",
                "--uts",
                "--ipc",
                "--net",
                "--pid",
                "--root",
            ),
            *("/bin/sh", "-c", command),
            env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        output, _ = await process.communicate()
        return process.returncode or 0, output.decode(errors="replace")

    async def booted(self, machine: int) -> None:
        """Wait until cloud-init and every unit of the boot are done."""

        async def up() -> bool:
            try:
                code, _ = await self.attempt(machine, "systemctl is-system-running")
            except (FileNotFoundError, IndexError):
                return False
            return code == 0

        await until(up)
        await self.run(machine, "cloud-init status --wait")


async def until(condition: Callable[[], Awaitable[bool]], seconds: float = 60) -> None:
    """Ask again and again; for what tells nobody when it happens."""
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 # a machine has no event for us
            await asyncio.sleep(0.05)


def traces(home: Path, marker: str) -> list[str]:
    """What is left of a sandbox's machines in this host's tables, apart from its files."""
    found = []
    wanted = f"{marker}={home}".encode()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (entry / "environ").read_bytes().split(b"\0") and int(entry.name) != os.getpid():
                found.append(f"process {entry.name}: {(entry / 'cmdline').read_bytes()!r}")
        except OSError:
            continue
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    found += [f"mount {line}" for line in mounts if str(home) in line]
    loops = subprocess.run(["losetup", "--list", "--noheadings"], capture_output=True, text=True).stdout
    found += [f"loop {line}" for line in loops.splitlines() if str(home) in line]
    name = MachineCgroups(home).name
    found += [f"cgroup {path}" for path in Path("/sys/fs/cgroup").glob(f"*/{name}")]
    found += [f"cgroup {path}" for path in Path("/sys/fs/cgroup").glob(name)]
    found += [f"socket {path}" for path in Path("/run/flotilla").glob(name)]
    return found


def _ip(line: str) -> None:
    subprocess.run(["ip", *line.split()], check=True)
