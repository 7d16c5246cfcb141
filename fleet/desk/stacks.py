"""Commands for a stack as a whole."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from fleet import recover as recovery
from fleet import stack_init
from fleet.desk.common import Json, Stack, emit, pulumi_cli, say


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
    were cut off (what was made is adopted, an unfinished droplet removed), then refreshes the state. After any
    failure:

        fleet recover -s STACK && pulumi up -s STACK
    """
    cli = pulumi_cli()
    arguments = ("refresh", "--yes", "--skip-preview", "--stack", stack)

    def refresh() -> None:
        if as_json:
            cli.run(*arguments)
        else:
            cli.show(*arguments)

    done = recovery.recover(cli, stack, recovery.clouds_from_environment(), say, refresh)
    if as_json:
        emit(done.as_json())
    else:
        say(f"Stack {stack} is ready for `pulumi up -s {stack}`")
