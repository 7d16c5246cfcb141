"""Commands for the machines of a stack; `pulumi` runs some of them itself."""

from __future__ import annotations

import asyncio
import sys
from typing import Annotated

import typer

from fleet import commands, members, ssh, watch
from fleet import drain as draining
from fleet import peers as peering
from fleet import status as standing
from fleet.canary import Member, Watch
from fleet.cloudflare import Cloudflare
from fleet.desk import controller
from fleet.desk.common import Json, Stack, emit, pulumi_cli, say, secret_variable
from fleet.digitalocean import DigitalOcean
from fleet.errors import FleetError
from fleet.identity import Identity
from fleet.pulumi_cli import PulumiCli

Slot = Annotated[str, typer.Option(help="Its slot, such as web-1, for messages.")]
Propagation = Annotated[int, typer.Option(help="Seconds until no edge sends new visitors any more.")]
Host = Annotated[str, typer.Option(help="The machine's address.", envvar=commands.HOST_VARIABLE)]


def drain(
    slot: Annotated[str, typer.Option(help="Its slot, such as web-1, for messages.")],
    propagation: Annotated[int, typer.Option(help="Seconds until no edge sends new visitors any more.")],
    host: Annotated[str, typer.Option(help="The machine's address.", envvar=commands.HOST_VARIABLE)],
    quiet: Annotated[int, typer.Option(help="Seconds without a request that count as left.")] = 10,
    cap: Annotated[int, typer.Option(help="Seconds after which open connections are cut.")] = 120,
    port: Annotated[int, typer.Option(help="SSH port.")] = 22,
) -> None:
    """Take a machine out of service without cutting a request. `pulumi` runs it before it deletes a droplet.

    The SSH keys come by environment, never by argument: FLOTILLA_DEPLOY_KEY (private, OpenSSH PEM) and
    FLOTILLA_HOST_KEY (the machine's public host key, one line). A machine that is dead is a warning, not
    a failure: it must not block its own deletion.
    """
    target = ssh.Target(
        host,
        secret_variable(commands.HOST_KEY_VARIABLE, "drain"),
        private_key=secret_variable(commands.DEPLOY_KEY_VARIABLE, "drain"),
        port=port,
    )
    seconds = {
        name: draining.check_seconds(name, value)
        for name, value in (("propagation", propagation), ("quiet", quiet), ("cap", cap))
    }
    asyncio.run(draining.drain(target, draining.Drain(slot, **seconds), say))


def peers() -> None:
    """Tell every web member who the others are. `pulumi` runs it when the machines have changed.

    Standard input is JSON, for it holds a key: {"deploy_key": PEM, "members": {"web-1": {"address": ...,
    "private_address": ..., "host_key": "ssh-ed25519 ..."}}}. A member that cannot be reached is a warning; one that
    refuses the list, or none that can be reached, is a failure.
    """
    asyncio.run(peering.deliver(peering.read(sys.stdin.read()), say))


def canary(
    stack: Stack,
    slot: Slot,
    seconds: Annotated[int, typer.Option(help="Seconds to watch it while it has visitors.")],
    propagation: Annotated[int, typer.Option(help="Seconds until every edge sends visitors to it.")],
    host: Host,
) -> None:
    """Watch the first new member of a rollout against the others, and fence it when it does badly.

    `pulumi` runs it after the switch of the first record and before the second. What is compared: failed visits, the
    median and the tail of the latency, whether the member is open and ready. Without visitors it passes, and says so.
    The stack's seed comes by environment, never by argument: FLOTILLA_SEED. Exit code 1: the rollout must not go on.
    """
    wanted = Watch(
        seconds=draining.check_seconds("seconds", seconds),
        propagation=draining.check_seconds("propagation", propagation),
    )
    identity = Identity.from_seed(secret_variable(commands.SEED_VARIABLE, "canary"))
    machines = members.find(DigitalOcean.from_environment(), stack)
    seats = {machine.address: _seat(machine, identity) for machine in machines}
    if host not in seats:
        raise FleetError(
            f"no droplet with the tag {stack}-{members.ROLE} has the address {host} of the canary {slot}; "
            f"`fleet recover -s {stack} && pulumi up -s {stack}` makes the state true and tries again"
        )
    seat = seats.pop(host)
    say(f"{slot} ({host}): {asyncio.run(watch.watch(seat, list(seats.values()), wanted, stack, say))}")


def _seat(machine: members.Machine, identity: Identity) -> watch.Seat:
    return watch.Seat(
        Member(machine.slot, machine.address), machine.target(identity), machine.private_address
    )


def status(stack: Stack, as_json: Json = False) -> None:
    """Show every web member: image, whether the edge sends visitors to it, its fence, recent visits and errors, p99.

    During a rollout a slot has two lines: the machine that serves and the one that is to take its place. Where there
    is an autoscaler, its controller's own word follows. Exit code 1 when no member serves.
    """
    rows = _rows(stack)
    if as_json:
        emit([row.as_json() for row in rows])
    else:
        print("\n".join([*standing.lines(rows), *_controllers_word(stack)]))
    if not any(row.serving for row in rows):
        raise FleetError(
            f"no web member of stack {stack} serves visitors; `fleet recover -s {stack} && pulumi up -s {stack}`"
        )


Slots = Annotated[
    str, typer.Argument(metavar="SLOT", help="A slot such as web-1, or a droplet by name or number.")
]


def fence(
    slot: Slots,
    stack: Stack,
    reason: Annotated[str, typer.Option(help="Why, for the next one who looks; the member keeps it.")],
    force: Annotated[bool, typer.Option("--force", help="Also the last member that serves.")] = False,
) -> None:
    """Take a web member out of service at once: it refuses visitors, and the edge goes to the others.

    It stays so, also after a reboot, until `fleet unfence`. DNS and droplet stay as they are, so `pulumi up` sees no
    change. The last member that serves is refused without --force.
    """
    rows, chosen = _chosen(slot, stack)
    targets = {row.machine.id for row in chosen}
    if not force and not any(row.serving for row in rows if row.machine.id not in targets):
        raise FleetError(
            f"{slot} is the last member of stack {stack} that serves visitors; fence it with --force"
        )
    _tell(chosen, stack, commands.fence_hold(reason))


def unfence(slot: Slots, stack: Stack) -> None:
    """Let a web member serve again that `fleet fence` or a failed canary has taken out; it opens when it is well."""
    _, chosen = _chosen(slot, stack)
    _tell(chosen, stack, commands.FENCE_RELEASE)


def _controllers_word(stack: str) -> list[str]:
    cli = pulumi_cli()
    return controller.lines(stack) if cli.config(stack).get(f"{cli.project.name}:autoscaler") else []


def _rows(stack: str) -> list[standing.Row]:
    cli, cloud = pulumi_cli(), DigitalOcean.from_environment()
    config, project = cli.config(stack), cli.project.name
    machines = members.find(cloud, stack)
    if not machines:
        raise FleetError(f"stack {stack} has no web members; `pulumi up -s {stack}` makes them")
    rotation = standing.rotation(config, project, cloud, Cloudflare.from_environment)
    return asyncio.run(standing.gather(machines, _identity(cli, stack), rotation))


def _chosen(slot: str, stack: str) -> tuple[list[standing.Row], list[standing.Row]]:
    """All rows, and those of a slot: during a rollout it has two machines."""
    rows = _rows(stack)
    wanted = {machine.id for machine in members.in_slot([row.machine for row in rows], slot, stack)}
    return rows, [row for row in rows if row.machine.id in wanted]


def _tell(rows: list[standing.Row], stack: str, command: str) -> None:
    """Run a command of the fence on these machines. Raises FleetError when one of them did not do it."""
    identity = _identity(pulumi_cli(), stack)
    outcomes = asyncio.run(standing.command([row.machine for row in rows], identity, command))
    for machine, said in outcomes.items():
        say(f"{machine}: {said}")


def _identity(cli: PulumiCli, stack: str) -> Identity:
    return Identity.from_seed(cli.secret(stack, f"{cli.project.name}:seed"))
