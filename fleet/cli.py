"""`fleet`: the operator's desk."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from fleet import bake as baking
from fleet import commands, image, ssh, stack_init
from fleet import drain as draining
from fleet import recover as recovery
from fleet.digitalocean import DigitalOcean
from fleet.errors import FleetError
from fleet.identity import SeedError
from fleet.pulumi_cli import Project, PulumiCli

INTERRUPTED = 130  # 128 + SIGINT, as a shell reports it

app = typer.Typer(
    name="fleet",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    help="Work on a stack of servers from the operator's desk: set it up, bake its images, recover it after a "
    "failed update. What a stack looks like is said in Pulumi.STACK.yaml and done by `pulumi up`.",
    epilog="Exit codes: 0 done, 1 failed, 2 wrong usage, 3 another run is at work on the stack, 130 interrupted.",
)

Stack = Annotated[str, typer.Option("--stack", "-s", help="The stack, such as dev or prod.")]
Json = Annotated[bool, typer.Option("--json", help="One JSON document on stdout; messages go to stderr.")]


def say(text: str) -> None:
    """Messages go to stderr, so that stdout holds only what a script reads."""
    print(text, file=sys.stderr, flush=True)


def emit(document: Any) -> None:
    print(json.dumps(document, indent=2))


def pulumi_cli() -> PulumiCli:
    return PulumiCli(Project.find(Path.cwd()))


@app.command()
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


@app.command()
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


@app.command()
def bake(
    roles: Annotated[list[str], typer.Argument(help="Roles to bake: web, database.")],
    stack: Stack,
    missing: Annotated[
        bool, typer.Option("--missing", help="Leave a role alone when its configured image exists.")
    ] = False,
    fresh: Annotated[
        bool,
        typer.Option("--fresh", help="Bake also when nothing of ours changed: with today's Debian packages."),
    ] = False,
    size: Annotated[
        str, typer.Option(help="Size of the droplet to bake on; its disk is the least an image can use.")
    ] = baking.DEFAULT_SIZE,
    as_json: Json = False,
) -> None:
    """Make golden images and write them to the stack's config; the next `pulumi up` rolls them out.

    For each role a droplet is made from Debian, given the role's packages and files (web: the site too), cleaned
    of every trace of itself, kept as a snapshot named ROLE-DATE-DIGEST, and deleted. An image of the same content
    is not baked twice. A bake that fails leaves no droplet and shows the machine's last log lines.
    """
    cli = pulumi_cli()
    wanted = baking.Wanted(
        [image.checked_role(role) for role in dict.fromkeys(roles)], stack, size, missing=missing, fresh=fresh
    )
    done = baking.bake(cli, DigitalOcean.from_environment(), wanted, say)
    if as_json:
        emit([asdict(item) for item in done])


@app.command()
def images(
    stack: Annotated[
        str | None, typer.Option("--stack", "-s", help="Mark the images that this stack's config names.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the images that bakes have made, newest first."""
    config, project = {}, ""
    if stack:
        cli = pulumi_cli()
        config, project = cli.config(stack), cli.project.name
    rows = image.listing(
        DigitalOcean.from_environment().every("/v2/images", "images", private="true"), config, project
    )
    if as_json:
        emit([asdict(row) for row in rows])
        return
    for row in rows:
        mark = f"used by {stack}" if row.used else ""
        print(
            f"{row.name:<36} {row.created:<20} {row.gigabytes:>6.2f} GB  {','.join(row.regions)}  {mark}".rstrip()
        )
    if not rows:
        say("There are no baked images yet; `fleet bake web database -s STACK` makes them")


@app.command()
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
        _variable(commands.HOST_KEY_VARIABLE),
        private_key=_variable(commands.DEPLOY_KEY_VARIABLE),
        port=port,
    )
    seconds = {
        name: draining.check_seconds(name, value)
        for name, value in (("propagation", propagation), ("quiet", quiet), ("cap", cap))
    }
    asyncio.run(draining.drain(target, draining.Drain(slot, **seconds), say))


def _variable(name: str) -> str:
    value = os.environ.get(name, "").strip()
    if not value:
        raise FleetError(f"{name} is not set; `fleet drain` takes its SSH keys from the environment")
    return value + "\n"


def main() -> None:
    """The console script: errors as one text on stderr, never a traceback for what an operator can mend."""
    try:
        app()
    except FleetError as error:
        print(f"fleet: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except (SeedError, OSError) as error:
        # A full disk, a file that may not be read: the text names the file.
        print(f"fleet: {error}", file=sys.stderr)
        sys.exit(1)
    except SystemExit as ended:
        if ended.code == INTERRUPTED:
            print("fleet: interrupted; run the same command again to go on", file=sys.stderr)
        raise


if __name__ == "__main__":
    main()
