"""Commands for golden images."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from fleet import bake as baking
from fleet import image, image_list, stack_files
from fleet import promote as promoting
from fleet import prune as pruning
from fleet.desk.common import Json, Stack, emit, pulumi_cli, say
from fleet.digitalocean import DigitalOcean
from fleet.image_list import Listed, shown_age
from fleet.pulumi_cli import Project


def bake(
    stack: Stack,
    roles: Annotated[
        list[str] | None,
        typer.Argument(help="Roles to bake: web, database, autoscaler. Absent: all that the stack needs."),
    ] = None,
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
        [image.checked_role(role) for role in dict.fromkeys(roles or [])],
        stack,
        size,
        missing=missing,
        fresh=fresh,
    )
    done = baking.bake(cli, DigitalOcean.from_environment(), wanted, say)
    if as_json:
        emit([asdict(item) for item in done])


shelf = typer.Typer(invoke_without_command=True, rich_markup_mode=None)


@shelf.callback()
def images(
    context: typer.Context,
    stack: Annotated[
        str | None, typer.Option("--stack", "-s", help="Only the images that this stack's config names.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the images that bakes have made, newest first, with who uses each of them.

    An image is in use when the config file of any stack of this project (Pulumi.*.yaml) names it, or any droplet of
    the account was made from it. Its name tells role, day, and two digests: of what went in, and of what came out.

        fleet images prune --keep 3
    """
    if context.invoked_subcommand is not None:
        return
    rows = _rows()
    if stack is not None:
        stack_files.config(Project.find(Path.cwd()), stack)
        rows = [row for row in rows if any(user.startswith(f"{stack} (") for user in row.used_by)]
    if as_json:
        emit([asdict(row) for row in rows])
        return
    for row in rows:
        print(_line(row))
    if not rows:
        say(
            f"Stack {stack} names no image that exists"
            if stack
            else "There are no baked images yet; `fleet bake web database -s STACK` makes them"
        )


@shelf.command()
def prune(
    keep: Annotated[int, typer.Option(min=1, help="How many of the newest images of each role stay.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Delete without asking.")] = False,
    as_json: Json = False,
) -> None:
    """Delete old images: all but the newest of each role, and never one that is in use.

    In use is what any Pulumi.*.yaml of this project names or any droplet was made from. Nothing is deleted without
    --yes, or a yes on a terminal; until then this shows what would be.
    """
    cloud = DigitalOcean.from_environment()
    planned = pruning.plan(_rows(cloud), keep)
    for row, reason in planned.keep:
        say(f"keep    {row.name:<36} {reason}")
    for row in planned.delete:
        say(f"delete  {row.name:<36} {shown_age(row.age)} old, {row.gigabytes:.2f} GB")
    agreed = bool(planned.delete) and (yes or (not as_json and _agreed(planned)))
    if agreed:
        pruning.carry_out(cloud, planned.delete, say)
    elif planned.delete:
        say(f"Nothing was deleted; `fleet images prune --keep {keep} --yes` does it")
    else:
        say("There is nothing to delete")
    if as_json:
        kept = [asdict(row) | {"reason": reason} for row, reason in planned.keep]
        emit({"deleted": agreed, "delete": [asdict(row) for row in planned.delete], "keep": kept})


def promote(
    role: Annotated[str, typer.Argument(help="web, database or autoscaler.")],
    source: Annotated[
        str, typer.Argument(metavar="FROM", help="The stack that has tested the image, such as dev.")
    ],
    target: Annotated[str, typer.Argument(metavar="TO", help="The stack that is to have it, such as prod.")],
    untested: Annotated[
        bool, typer.Option("--untested", help="Also when the first stack's droplets do not run it.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Pin the image that one stack runs in the config of another; nothing is deployed by that.

    Refused when FROM does not run the image it names, or TO's region does not have it.

        fleet promote web dev prod && pulumi preview -s prod
    """
    wanted = promoting.Promotion(image.checked_role(role), source, target, untested=untested)
    done = promoting.promote(pulumi_cli(), DigitalOcean.from_environment(), wanted, say)
    if as_json:
        emit(asdict(done))
    elif done.changed:
        back = (
            f"; back: `pulumi config set --path {role}.image {done.before} -s {target}`"
            if done.before
            else ""
        )
        say(f"Next: `pulumi preview -s {target}`, then `pulumi up -s {target}`{back}")


def _rows(cloud: DigitalOcean | None = None) -> list[Listed]:
    configs = stack_files.every(Project.find(Path.cwd()))
    return image_list.of_account(cloud or DigitalOcean.from_environment(), configs)


def _line(row: Listed) -> str:
    users = ", ".join(row.used_by) or "not in use"
    age = shown_age(row.age)
    return f"{row.name:<36} {age:>7}  {row.gigabytes:>6.2f} GB  {','.join(row.regions)}  {users}"


def _agreed(planned: pruning.Plan) -> bool:
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return False
    question = f"Delete {len(planned.delete)} images of {planned.gigabytes:.2f} GB?"
    return typer.confirm(question, default=False, err=True)
