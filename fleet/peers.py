"""Tells every web member who the others are: what its fence needs to know before it may close."""

from __future__ import annotations

import asyncio
import ipaddress
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from fleet import commands, ssh
from fleet.errors import FleetError
from fleet.reading import ConfigError, Reader, decode_object

AT_ONCE: Final = 32
# One lost packet must not leave a member without its peers.
PATIENCE_SECONDS: Final = 5.0
COMMAND_SECONDS: Final = 30.0
NOT_FOUND: Final = 127  # as a shell reports it

_SLOT = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_HOST_KEY = re.compile(r"ssh-ed25519 [A-Za-z0-9+/=]+( .*)?")

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Addressed:
    """A member and where it is."""

    address: str
    private_address: str
    host_key: str


@dataclass(frozen=True, slots=True)
class Fleet:
    """All members of the tier by slot, and the key to log in with."""

    deploy_key: str = field(repr=False)
    members: Mapping[str, Addressed]

    @property
    def list(self) -> str:
        """What each of them is told."""
        return json.dumps({"peers": {slot: each.private_address for slot, each in self.members.items()}})


def read(text: str) -> Fleet:
    """From standard input. Raises FleetError that names the key; never shows a value of the key to log in with."""
    try:
        reader = Reader("stdin", decode_object("stdin", text))
        deploy_key = reader.checked("deploy_key", lambda key: key)
        given = reader.mapping("members")
        reader.finish()
        return Fleet(deploy_key, {slot: _addressed(slot, given[slot]) for slot in given})
    except ConfigError as error:
        raise FleetError(f"the members cannot be read: {error}") from error


def _addressed(slot: str, value: object) -> Addressed:
    where = f"stdin.members.{slot[:80]}"
    if not _SLOT.fullmatch(slot):
        raise ConfigError(f"stdin.members has the name {slot[:80]!r}, which is no slot's")
    reader = Reader(where, value if isinstance(value, dict) else {})
    addressed = Addressed(
        reader.checked("address", _address),
        reader.checked("private_address", _address),
        reader.text("host_key", _HOST_KEY),
    )
    reader.finish()
    return addressed


def _address(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text))
    except ValueError as error:
        raise ConfigError("not an IP address") from error


async def deliver(fleet: Fleet, say: Say) -> None:
    """Tell all of them at once.

    A member that is dead, or whose image is too old to know about peers, is a warning: its fence stays as it is, and
    the others must not wait for it. Raises FleetError when a member refuses the list, or when none could be reached.
    """
    limit = asyncio.Semaphore(AT_ONCE)
    outcomes = await asyncio.gather(*(_tell(fleet, slot, limit, say) for slot in fleet.members))
    if refused := [outcome for outcome in outcomes if isinstance(outcome, FleetError)]:
        raise FleetError("\n".join(str(error) for error in refused))
    if fleet.members and not any(outcomes):
        raise FleetError(
            f"none of the {len(fleet.members)} members could be told; check that this computer's address is among "
            "admin.cidrs, then run `pulumi up` again"
        )


async def _tell(fleet: Fleet, slot: str, limit: asyncio.Semaphore, say: Say) -> bool | FleetError:
    """Whether the member knows its peers now; an error when it ought to and does not."""
    member = fleet.members[slot]
    who = f"{slot} ({member.address})"
    try:
        async with limit:
            done = await _run(
                ssh.Target(member.address, member.host_key, private_key=fleet.deploy_key), fleet.list
            )
    except ssh.UnreachableError as error:
        say(f"warning: {who} was not told about its peers: {error}")
        return False
    except ssh.StrangerError as error:
        return FleetError(f"{who}: {error}")
    if done.exit_code == NOT_FOUND:
        say(f"warning: {who} was not told about its peers: its image is too old to know about them")
        return False
    if done.exit_code != 0:
        return FleetError(f"{who} refused its peers: {done.output.strip()[-500:]}")
    say(f"{who} knows {len(fleet.members)} members, itself among them")
    return True


async def _run(target: ssh.Target, document: str) -> ssh.Result:
    try:
        async with (
            ssh.session(target, patience=PATIENCE_SECONDS) as connection,
            asyncio.timeout(COMMAND_SECONDS),
        ):
            return await ssh.run(connection, commands.PEERS, stdin=document.encode())
    except TimeoutError as error:
        raise ssh.UnreachableError(f"`flotilla-peers` did not end within {COMMAND_SECONDS:.0f} s") from error
