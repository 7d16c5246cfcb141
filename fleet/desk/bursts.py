"""The command that tells burst members what changed."""

from __future__ import annotations

import asyncio
import sys

from fleet import bursts, commands, members
from fleet.desk.common import Stack, say, secret_variable
from fleet.digitalocean import DigitalOcean
from fleet.errors import FleetError
from fleet.identity import Identity


def tell(stack: Stack) -> None:
    """Hand a stack's burst members what members are told now. `pulumi up` runs it when that changes.

    The bundle comes by standard input; the stack's seed and the cloud's token by environment.
    """
    bundle = sys.stdin.read()
    if not bundle:
        raise FleetError(
            "standard input is empty; `fleet tell` reads a bundle there, as `pulumi up` gives it"
        )
    identity = Identity.from_seed(secret_variable(commands.SEED_VARIABLE, "tell"))
    found = bursts.among(members.find(DigitalOcean.from_environment(), stack))
    asyncio.run(bursts.tell(found, identity, bundle, say))
