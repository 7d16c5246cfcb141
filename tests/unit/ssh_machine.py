"""Machines as the desk meets them: real SSH servers on free ports, whose commands a test answers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import asyncssh

from fleet import ssh

HOST_KEY = asyncssh.generate_private_key("ssh-ed25519")
DEPLOY_KEY = asyncssh.generate_private_key("ssh-ed25519")
HOST_KEY_LINE = HOST_KEY.export_public_key().decode().strip()

Answer = Callable[[str, str], tuple[int, str]]
"""From a command and its standard input to its exit code and what it prints."""


@dataclass
class SshMachine:
    """One of them, and what it was told to run."""

    answer: Answer
    port: int = 0
    ran: list[tuple[str, str]] = field(default_factory=list)

    @property
    def target(self) -> ssh.Target:
        key = DEPLOY_KEY.export_private_key().decode()
        return ssh.Target("127.0.0.1", HOST_KEY_LINE, private_key=key, port=self.port)

    async def __call__(self, process: asyncssh.SSHServerProcess[str]) -> None:
        command, given = process.command or "", await process.stdin.read()
        self.ran.append((command, given))
        code, printed = self.answer(command, given)
        process.stdout.write(printed)
        process.exit(code)


@asynccontextmanager
async def ssh_machine(answer: Answer) -> AsyncIterator[SshMachine]:
    machine = SshMachine(answer)
    server = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_host_keys=[HOST_KEY],
        authorized_client_keys=asyncssh.import_authorized_keys(DEPLOY_KEY.export_public_key().decode()),
        process_factory=machine,
    )
    async with server:
        machine.port = server.get_port()
        yield machine
