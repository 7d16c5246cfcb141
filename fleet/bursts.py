"""Tells burst members at once what the members in the slots are told, as no state knows them.

Pulumi hands each slot its news, and the controller what the members that it makes from now on are handed. Those that it
has made already must learn of a new password before the old one is taken away at the end of the same update.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from fleet import commands, ssh
from fleet.errors import FleetError
from fleet.identity import Identity
from fleet.members import BURST, Machine

AT_ONCE: Final = 32
PATIENCE_SECONDS: Final = 10.0
# First boot is waited for, and the services that follow the bundle.
COMMAND_SECONDS: Final = 240.0

Say = Callable[[str], None]


def among(machines: Sequence[Machine]) -> list[Machine]:
    """The burst members of a stack's web members."""
    return [
        machine
        for machine in machines
        if machine.slot != machine.name and machine.slot.startswith(f"{BURST}-")
    ]


async def tell(machines: Sequence[Machine], identity: Identity, bundle: str, say: Say) -> None:
    """Hand all of them the bundle at once.

    One that cannot be reached or is still booting is a warning: it serves nobody, and the controller hands it the news
    when it goes on with it. So is a stranger that somebody gave such a name.
    Raises FleetError when one refuses, so that nothing is taken away that it still needs.
    """
    limit = asyncio.Semaphore(AT_ONCE)
    outcomes = await asyncio.gather(*(_tell(each, identity, bundle, limit, say) for each in machines))
    if refused := [outcome for outcome in outcomes if outcome]:
        raise FleetError("\n".join(refused))


async def _tell(
    machine: Machine, identity: Identity, bundle: str, limit: asyncio.Semaphore, say: Say
) -> str | None:
    """What it refused with; None when it did not."""
    try:
        async with (
            limit,
            ssh.session(machine.target(identity), patience=PATIENCE_SECONDS) as connection,
            asyncio.timeout(COMMAND_SECONDS),
        ):
            done = await ssh.run(connection, commands.RECEIVE, stdin=bundle.encode())
    except (ssh.UnreachableError, ssh.StrangerError, TimeoutError) as error:
        say(f"warning: {machine} was not told: {str(error) or f'no end within {COMMAND_SECONDS:.0f} s'}")
        return None
    if done.exit_code != 0:
        return f"{machine} refused what it was told: {done.output.strip()[-500:]}"
    say(f"{machine} was told")
    return None
