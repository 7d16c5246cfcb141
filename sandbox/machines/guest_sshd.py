"""The SSH server of a simulated guest: it proves its host key and checks clients' keys like a real one.

Behind the door there is no machine: commands end as the sandbox's scripts say (`guest_script`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import asyncssh

from sandbox.machines.guest_identity import GuestIdentity
from sandbox.machines.guest_script import GuestScripts, shown_stdin
from sandbox.machines.port import MachineSpec

SSH_PORT = 22


@dataclass(slots=True)
class GuestSshd:
    """One guest's SSH server. `die` cuts the power of its machine."""

    spec: MachineSpec
    scripts: GuestScripts
    die: Callable[[], None]
    _listener: asyncssh.SSHAcceptor | None = None
    _connections: set[asyncssh.SSHServerConnection] = field(default_factory=set)

    async def open(self) -> None:
        """Listen on the machine's public address. Raises OSError when its port cannot be had."""
        identity = GuestIdentity.read(self.spec.user_data, self.spec.ssh_keys)
        self._listener = await asyncssh.listen(
            self.spec.public.address,
            SSH_PORT,
            server_host_keys=[_host_key(identity)],
            server_factory=lambda: _Door(identity, self._connections),
            process_factory=self._serve,
            encoding=None,
            config=None,
            line_editor=False,
            allow_pty=False,
        )

    def cut(self) -> None:
        """Gone at once: nobody answers the port, and open sessions break without a word."""
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        for connection in tuple(self._connections):
            connection.abort()

    async def _serve(self, process: asyncssh.SSHServerProcess[bytes]) -> None:
        """Run one command: read its standard input to the end, then do as the first script that fits says."""
        if process.command is None:
            process.stderr.write(b"A simulated guest has no shell.\n")
            process.exit(1)
            return
        name, tags = self.spec.hostname, self.spec.tags
        user = process.get_extra_info("username")
        ran = self.scripts.note(self.spec.id, name, user, process.command)
        script = self.scripts.for_command(name, tags, process.command)
        ran.stdin = shown_stdin(await process.stdin.read())
        await asyncio.sleep(script.delay_seconds)
        process.stdout.write(script.stdout.encode())
        process.stderr.write(script.stderr.encode())
        if script.effect == "die":
            self.die()
            return
        ran.exit = script.exit
        process.exit(script.exit)


class _Door(asyncssh.SSHServer):
    """One connection's way in: public keys only."""

    def __init__(self, identity: GuestIdentity, connections: set[asyncssh.SSHServerConnection]) -> None:
        self._identity = identity
        self._connections = connections
        self._connection: asyncssh.SSHServerConnection | None = None
        self._allowed: list[asyncssh.SSHKey] = []

    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn
        self._connections.add(conn)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._connection is not None:
            self._connections.discard(self._connection)

    def begin_auth(self, username: str) -> bool:
        self._allowed = list(_keys(self._identity.authorized_keys.get(username, ())))
        return True

    def public_key_auth_supported(self) -> bool:
        return True

    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        return any(key.public_data == allowed.public_data for allowed in self._allowed)


def _host_key(identity: GuestIdentity) -> asyncssh.SSHKey:
    if identity.host_key is None:
        return asyncssh.generate_private_key("ssh-ed25519")
    return asyncssh.import_private_key(identity.host_key)


def _keys(lines: Iterable[str]) -> Iterable[asyncssh.SSHKey]:
    """The keys of authorized_keys lines; a line that is none is skipped, as sshd does."""
    for line in lines:
        try:
            yield asyncssh.import_public_key(line)
        except asyncssh.KeyImportError:
            continue
