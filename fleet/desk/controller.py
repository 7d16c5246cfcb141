"""Commands for the controller; each runs on the autoscaler node, over SSH with a pinned host key."""

from __future__ import annotations

import asyncio
import getpass
import json
import os
import shlex
import socket
from dataclasses import asdict
from typing import Annotated, Any, Final

import typer

from fleet import ssh
from fleet import sweep as sweeping
from fleet.cloudflare import Cloudflare
from fleet.desk.common import Json, Stack, emit, pulumi_cli, say
from fleet.digitalocean import DigitalOcean, public_address
from fleet.errors import FleetError
from fleet.identity import Identity

PROGRAM: Final = "/usr/local/sbin/fleet"
SLOT: Final = "autoscaler-1"
SECONDS: Final = 20.0


def scale(
    stack: Stack,
    members: Annotated[int | None, typer.Argument(min=1, help="How many members there are to be.")] = None,
    auto: Annotated[bool, typer.Option("--auto", help="As schedules and load say, again.")] = False,
) -> None:
    """Have so many members from now on, between web.count and autoscaler.max, until `fleet scale --auto`.

    The controller makes burst members, or lets some leave without cutting a request; `pulumi up` changes nothing of it.
    """
    if (members is None) == (not auto):
        raise typer.BadParameter("give a number of members or --auto")
    say(_on_node(stack, f"scale {members if members is not None else 'auto'}"))


def freeze(
    stack: Stack,
    reason: Annotated[str, typer.Option(help="Why, for the next one who looks.")],
    hours: Annotated[float | None, typer.Option(min=0.0, help="For so long; absent: until unfrozen.")] = None,
) -> None:
    """Stop the controller from creating, repairing and destroying anything. It still looks, and says what it would do.

    It stays so over reboots, updates and a new version, until `fleet unfreeze`. Fences on the members work on.
    """
    limit = f" --hours {hours:g}" if hours is not None else ""
    say(_on_node(stack, f"freeze --reason {shlex.quote(reason)}{limit}"))


def unfreeze(stack: Stack) -> None:
    """Let the controller work again."""
    say(_on_node(stack, "unfreeze"))


def log(
    stack: Stack,
    lines: Annotated[int, typer.Option(min=1, max=10_000, help="How many, the newest.")] = 50,
    as_json: Json = False,
) -> None:
    """Show what the controller did, and why."""
    print(_on_node(stack, f"log --lines {lines}{' --json' if as_json else ''}"))


def sweep(stack: Stack, as_json: Json = False) -> None:
    """Delete a stack's burst members and their records. `pulumi destroy` runs it, and so does an update that removes the
    autoscaler.

    While a controller runs it makes new ones: freeze it first. Tokens come by environment.
    """
    edge = Cloudflare.from_environment() if os.environ.get("CLOUDFLARE_API_TOKEN") else None
    done = sweeping.sweep(DigitalOcean.from_environment(), edge, stack, say)
    if as_json:
        emit(asdict(done))


def word(stack: str) -> dict[str, Any]:
    """The controller's status. Raises FleetError when the node does not tell it."""
    said: dict[str, Any] = json.loads(_on_node(stack, "status --json"))
    return said


def lines(stack: str) -> list[str]:
    """The same for people; what keeps the node from telling it is a line too."""
    try:
        return _on_node(stack, "status").splitlines()
    except FleetError as error:
        return [f"controller: {error}"]


def _on_node(stack: str, arguments: str) -> str:
    """What the node's own `fleet` printed. Raises FleetError with its words when it failed."""
    by = shlex.quote(f"{getpass.getuser()}@{socket.gethostname()}")
    done = asyncio.run(_run(_target(stack), f"{PROGRAM} --by {by} {arguments}"))
    if done.exit_code != 0:
        raise FleetError(f"the autoscaler node of stack {stack}: {done.output.strip()[-1000:]}")
    return done.output.rstrip()


async def _run(target: ssh.Target, line: str) -> ssh.Result:
    try:
        async with asyncio.timeout(SECONDS), ssh.session(target) as connection:
            return await ssh.run(connection, line)
    except TimeoutError as error:
        raise ssh.UnreachableError(
            f"the node at {target.host} did not answer within {SECONDS:.0f} s"
        ) from error


def _target(stack: str) -> ssh.Target:
    cli = pulumi_cli()
    identity = Identity.from_seed(cli.secret(stack, f"{cli.project.name}:seed"))
    rows = list(
        DigitalOcean.from_environment().every("/v2/droplets", "droplets", tag_name=f"{stack}-autoscaler")
    )
    if not rows:
        raise FleetError(f"stack {stack} has no autoscaler node; give it `{cli.project.name}:autoscaler`")
    newest = max(rows, key=lambda row: int(row["id"]))
    return ssh.Target(
        public_address(newest),
        identity.host_key(SLOT).public_openssh,
        private_key=identity.deploy_key().private_openssh,
    )
