"""Commands for a stack as a whole."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from fleet import recover as recovery
from fleet import rollout as rolling
from fleet import stack_init
from fleet.desk.common import Json, Stack, emit, pulumi_cli, say
from fleet.digitalocean import DigitalOcean
from fleet.errors import FleetError
from fleet.pulumi_cli import PulumiCli


def init(
    stack: Annotated[str, typer.Argument(help="The stack's name, such as dev or prod.")],
    secrets_provider: Annotated[
        str | None,
        typer.Option(help="What encrypts the stack's secrets; absent: a passphrase from the environment."),
    ] = None,
    renew_secrets: Annotated[
        bool,
        typer.Option(
            help="If the stack is new here and Pulumi.STACK.yaml holds secrets that cannot be opened, drop them."
        ),
    ] = False,
    as_json: Json = False,
) -> None:
    """Make what a new stack needs: the stack itself and the seed of its secrets.

    Running it again is safe: nothing that exists is changed. The backend is the one `pulumi login` or
    PULUMI_BACKEND_URL chose, the passphrase comes from PULUMI_CONFIG_PASSPHRASE_FILE or PULUMI_CONFIG_PASSPHRASE.
    """
    done = stack_init.initialize(
        pulumi_cli(), stack, say, secrets_provider=secrets_provider, renew_secrets=renew_secrets
    )
    if as_json:
        emit(asdict(done))


def recover(stack: Stack, as_json: Json = False) -> None:
    """Make a stack fit for `pulumi up` again after a run that failed or was killed.

    Releases the locks of dead runs (never of a living one: exit code 3), finds out what became of creates that
    were cut off (what was made is adopted, an unfinished droplet removed), then refreshes the state. The stack's
    own certificates at the edge that no state knows are removed; other people's are only named. After any failure:

        fleet recover -s STACK && pulumi up -s STACK
    """
    done = _recover(pulumi_cli(), stack, as_json=as_json)
    if as_json:
        emit(done.as_json())
    else:
        say(f"Stack {stack} is ready for `pulumi up -s {stack}`")


def rollout(
    stack: Stack,
    batch: Annotated[int, typer.Option(min=1, help="How many slots get the new image in one update.")],
    image: Annotated[
        str | None,
        typer.Option(help="The image to roll out; absent: the one that web.image of the stack names."),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Go on with what was begun; the same command without it does so too."),
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the batches and change nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Roll a web image out in several whole updates, a few slots in each.

    For accounts that have no room for every member twice; elsewhere `pulumi up` alone does it in one. Each update is a
    complete `pulumi up` with its gates and, in the first one, the canary. Where the rollout stands is written to the
    stack's config before each update (web.image, web.rollout.partial), so that after ^C, a crash or a failure the same
    command goes on, after it has done what `fleet recover` does. Back, also from the middle:

        fleet rollout -s STACK --batch N --image OLD

    Exit code 1: a batch failed, and the slots after it are as before.
    """
    if resume and image:
        raise typer.BadParameter("--resume goes on with the image that was begun; leave --image out")
    cli, wanted = pulumi_cli(), rolling.Wanted(stack, batch, image)
    chosen = rolling.prepare(cli, DigitalOcean.from_environment(), wanted)
    if resume and not chosen.resumed:
        raise FleetError(
            f"stack {stack} has no rollout under way; begin one by the same command without --resume"
        )
    if dry_run:
        for number, each in enumerate(chosen.batches, 1):
            say(f"batch {number} of {len(chosen.batches)}: {each.slots} to {each.to}")
    else:
        runs = rolling.Runs(
            update=lambda: cli.show("up", "--yes", "--skip-preview", "--stack", stack, to_stderr=as_json),
            recover=lambda: _recover(cli, stack, as_json=as_json),
        )
        rolling.carry_out(cli, wanted, chosen, runs, say)
    if as_json:
        emit({"done": not dry_run, **rolling.report(chosen)})


def _recover(cli: PulumiCli, stack: str, *, as_json: bool) -> recovery.Recovery:
    def refresh() -> None:
        cli.show("refresh", "--yes", "--skip-preview", "--stack", stack, to_stderr=as_json)

    return recovery.recover(cli, stack, recovery.clouds_from_environment(), say, refresh)
