"""Commands for golden images."""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from fleet import bake as baking
from fleet import image
from fleet.desk.common import Json, Stack, emit, pulumi_cli, say
from fleet.digitalocean import DigitalOcean


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
