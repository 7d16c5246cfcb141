"""SSH to a machine whose host key is known beforehand: nothing is ever trusted on first use."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import asyncssh

from fleet.errors import FleetError

CONNECT_SECONDS = 10.0
# Three missed answers end a session: a machine that dies in mid-command is noticed within this many seconds.
KEEPALIVE_SECONDS = 5.0
RETRY_SECONDS = 1.0


class UnreachableError(FleetError):
    """Nothing answers at the address: the machine is off, gone or cut off."""


class StrangerError(FleetError):
    """Something answers, but it is not the machine we know or does not let us in."""


@dataclass(frozen=True, slots=True)
class Target:
    """A machine and how both sides prove who they are."""

    host: str
    host_key: str  # its public key, a line as in authorized_keys
    private_key: str = field(repr=False)  # ours, OpenSSH PEM
    port: int = 22
    user: str = "root"


@dataclass(frozen=True, slots=True)
class Result:
    """How a remote command ended."""

    exit_code: int
    output: str  # standard output and error as they came


async def connect(target: Target) -> asyncssh.SSHClientConnection:
    """One try. Raises UnreachableError or StrangerError."""
    where = f"{target.host}:{target.port}"
    try:
        login, known = (
            asyncssh.import_private_key(target.private_key),
            asyncssh.import_public_key(target.host_key),
        )
    except (asyncssh.KeyImportError, asyncssh.KeyEncryptionError) as error:
        raise StrangerError(f"an SSH key for {where} cannot be read: {error}") from error
    try:
        return await asyncio.wait_for(
            asyncssh.connect(
                target.host,
                target.port,
                username=target.user,
                client_keys=[login],
                known_hosts=([known], [], []),
                preferred_auth="publickey",
                agent_path=None,
                config=None,
                keepalive_interval=KEEPALIVE_SECONDS,
            ),
            CONNECT_SECONDS,
        )
    except asyncssh.HostKeyNotVerifiable as error:
        raise StrangerError(f"the machine at {where} shows another SSH host key than it should") from error
    except asyncssh.PermissionDenied as error:
        raise StrangerError(f"the machine at {where} refuses our SSH key") from error
    except (TimeoutError, OSError, asyncssh.Error) as error:
        why = str(error) or f"no answer within {CONNECT_SECONDS:.0f} s"
        raise UnreachableError(f"no SSH session with {where}: {why}") from error


async def connect_within(target: Target, seconds: float) -> asyncssh.SSHClientConnection:
    """Try until the machine lets us in, for `seconds` at most; then the last error is raised.

    A machine that boots refuses connections, shows a passing host key and does not know our key yet, in this
    order; only the end of the time tells these from real trouble.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return await connect(target)
        except (UnreachableError, StrangerError):
            if time.monotonic() + RETRY_SECONDS > deadline:
                raise
            await asyncio.sleep(RETRY_SECONDS)


@asynccontextmanager
async def session(target: Target, *, patience: float = 0.0) -> AsyncIterator[asyncssh.SSHClientConnection]:
    """A connection that is closed at the end."""
    connection = await connect_within(target, patience)
    async with connection:
        yield connection


async def run(connection: asyncssh.SSHClientConnection, command: str, *, stdin: bytes = b"") -> Result:
    """Run a command to its end. Raises UnreachableError when the machine goes away in the middle."""
    try:
        # An empty `input` would leave the command's standard input open for ever.
        given: dict[str, Any] = {"input": stdin} if stdin else {"stdin": asyncssh.DEVNULL}
        done = await connection.run(command, **given, stderr=asyncssh.STDOUT, encoding=None)
    except (OSError, asyncssh.Error) as error:
        raise UnreachableError(f"the SSH session broke during `{_head(command)}`: {error}") from error
    if done.exit_status is None:
        raise UnreachableError(f"the SSH session broke during `{_head(command)}`")
    output = done.stdout if isinstance(done.stdout, bytes) else b""
    return Result(done.exit_status, output.decode(errors="replace"))


def _head(command: str) -> str:
    return command if len(command) <= 60 else f"{command[:60]}..."
