"""Leaving the rotation without cutting a request, seen from the operator's desk.

A delete must never be blocked by a machine that is dead, and never cut the visitors of one that is alive. So a
machine that cannot be reached is let go at once; one that answers but cannot be drained keeps serving for the
edge's propagation time, which is waited here instead.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable
from dataclasses import dataclass

import asyncssh

from fleet import commands, ssh
from fleet.errors import FleetError

TRIES = 3

Say = Callable[[str], None]


class Outcome(enum.Enum):
    """How a machine left; every one of them lets the delete go on."""

    DRAINED = "drained"
    DEAD = "dead"
    WAITED = "waited"


@dataclass(frozen=True, slots=True)
class Drain:
    """Times in seconds; they come from the edge's settings."""

    slot: str
    propagation: int  # the edge may still send new requests for this long after the record changed
    quiet: int  # no request for this long counts as out of the rotation
    cap: int  # then connections that do not end are cut

    @property
    def command(self) -> str:
        return commands.drain(propagation=self.propagation, quiet=self.quiet, cap=self.cap)


async def drain(target: ssh.Target, wanted: Drain, say: Say) -> Outcome:
    """Drain the machine in a slot, which takes up to propagation + cap seconds; never raises for its state."""
    who = f"{wanted.slot} ({target.host})"
    try:
        connection = await _connect(target)
        async with connection:
            done = await ssh.run(connection, wanted.command)
    except ssh.UnreachableError as error:
        say(f"warning: {who} is dead or cut off, so there is nothing to drain: {error}")
        return Outcome.DEAD
    except ssh.StrangerError as error:
        say(f"warning: {error}")
    else:
        if done.exit_code == 0:
            say(f"{who} is drained")
            return Outcome.DRAINED
        say(f"warning: draining {who} ended with {done.exit_code}: {done.output.strip()[-500:]}")
    say(f"{who} keeps serving for {wanted.propagation} s, the edge's propagation time, and is then let go")
    await asyncio.sleep(wanted.propagation)
    return Outcome.WAITED


async def _connect(target: ssh.Target) -> asyncssh.SSHClientConnection:
    """A few tries, so that one lost packet does not make a machine dead."""
    for _ in range(TRIES - 1):
        try:
            return await ssh.connect(target)
        except ssh.UnreachableError:
            await asyncio.sleep(ssh.RETRY_SECONDS)
    return await ssh.connect(target)


def check_seconds(name: str, value: int) -> int:
    if not 0 <= value <= 24 * 3600:
        raise FleetError(f"--{name} is {value}; give seconds from 0 to 86400")
    return value
