"""Golden images: a droplet is made, given a role's packages and files, cleaned, and kept as a snapshot."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import asyncssh

from fleet import baking_machine, commands, image, ssh
from fleet.baking_machine import Keys
from fleet.digitalocean import DigitalOcean, public_address
from fleet.errors import FleetError
from fleet.image import DISTRIBUTION, Recipe, Role
from fleet.progress import Board, board
from fleet.pulumi_cli import PulumiCli
from fleet.web_api import Json

DEFAULT_SIZE: Final = "s-1vcpu-1gb"
ACTIVE_SECONDS: Final = 300.0
LOGIN_SECONDS: Final = 300.0
OFF_SECONDS: Final = 60.0
LOG_LINES: Final = 30
STEPS: Final = (
    "creating a droplet",
    "waiting for its SSH",
    "installing packages",
    "laying files",
    "cleaning",
    "powering off",
    "taking the snapshot",
    "deleting the droplet",
)

_DIGEST = re.compile("[0-9a-f]{64}")
_AWAIT_PACKAGES = "cloud-init status --wait --long </dev/null"
_LOGS = f"tail -n {LOG_LINES} /var/log/cloud-init-output.log; journalctl --no-pager -q -p warning -n 10"

Say = Callable[[str], None]


class BakeError(FleetError):
    """An image could not be made; the text has the machine's last log lines."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What `fleet bake` was asked for."""

    roles: Sequence[Role]  # empty: all that the stack's config needs
    stack: str
    size: str = DEFAULT_SIZE
    missing: bool = False  # leave a role alone whose configured image exists
    fresh: bool = False  # bake although an image of the same content exists


@dataclass(frozen=True, slots=True)
class Baked:
    """How a role got its image."""

    role: Role
    image: str
    how: str  # "baked", "found" (same content exists), "kept" (configured and there)


@dataclass(frozen=True, slots=True)
class Oven:
    """Where images are baked."""

    cloud: DigitalOcean
    region: str
    size: str


def bake(cli: PulumiCli, cloud: DigitalOcean, wanted: Wanted, say: Say) -> list[Baked]:
    """See that every role has an image and that the stack's config names it. Raises BakeError at the end when a
    role failed; the others are done by then."""
    config = cli.config(wanted.stack)
    region = region_of(config, cli.project.name)
    for name in baking_machine.sweep(cloud):
        say(f"Deleted {name}, which a killed bake had left")
    images = list(cloud.every("/v2/images", "images"))
    roles = wanted.roles or image.needed(config, cli.project.name)
    done = [_without_baking(role, cli, config, images, region, wanted) for role in roles]
    ready = [item for item in done if isinstance(item, Baked)]
    recipes = [item for item in done if isinstance(item, Recipe)]
    errors: list[FleetError] = []
    if recipes:
        for outcome in asyncio.run(_bake_all(Oven(cloud, region, wanted.size), recipes, fresh=wanted.fresh)):
            if isinstance(outcome, FleetError):
                errors.append(outcome)
            else:
                ready.append(outcome)
    _write_config(cli, wanted.stack, config, ready, say)
    if errors:
        raise BakeError("\n".join(str(error) for error in errors))
    return ready


def region_of(config: dict[str, Any], project: str) -> str:
    region = (config.get(f"{project}:cloud") or {}).get("region")
    if not isinstance(region, str):
        raise FleetError(
            f"{project}:cloud.region is not set; an image is baked where the stack is: "
            f"`pulumi config set --path {project}:cloud.region lon1`"
        )
    return region


def _without_baking(
    role: Role, cli: PulumiCli, config: dict[str, Any], images: list[Json], region: str, wanted: Wanted
) -> Baked | Recipe:
    """The image that a role has or can have at once, else what is to be baked."""
    named = image.configured(role, config, cli.project.name)
    if wanted.missing and named and image.exists(named, images, region):
        return Baked(role, named, "kept")
    recipe = image.recipe(role, config, cli.project.name, cli.project.directory)
    made = None if wanted.fresh else recipe.made(images, region)
    return Baked(role, made["name"], "found") if made else recipe


def _write_config(cli: PulumiCli, stack: str, config: dict[str, Any], ready: list[Baked], say: Say) -> None:
    project = cli.project.name
    for item in ready:
        if image.configured(item.role, config, project) != item.image:
            cli.set_config(stack, f"{project}:{item.role}.image", item.image)
        say(f"{item.role}: {item.image} ({item.how})")


async def _bake_all(oven: Oven, recipes: list[Recipe], *, fresh: bool) -> list[Baked | FleetError]:
    async with board([recipe.role for recipe in recipes], len(STEPS)) as shown:
        return list(
            await asyncio.gather(*(_bake_one(oven, recipe, shown, fresh=fresh) for recipe in recipes))
        )


async def _bake_one(oven: Oven, recipe: Recipe, shown: Board, *, fresh: bool) -> Baked | FleetError:
    try:
        name = await _on_a_droplet(oven, recipe, secrets.token_hex(2) if fresh else "", shown)
    except FleetError as error:
        shown.end(recipe.role, "failed")
        return BakeError(f"{recipe.role} was not baked: {error}")
    shown.end(recipe.role, f"baked {name}")
    return Baked(recipe.role, name, "baked")


async def _on_a_droplet(oven: Oven, recipe: Recipe, edition: str, shown: Board) -> str:
    """All of a bake; returns the image's name. Whatever happens, the droplet is gone afterwards."""
    steps = iter(enumerate(STEPS))

    def step() -> None:
        number, text = next(steps)
        shown.step(recipe.role, number, text)

    droplet_name = baking_machine.droplet_name(recipe)
    keys = Keys.generate(droplet_name)
    step()
    creating = asyncio.ensure_future(
        asyncio.to_thread(
            baking_machine.create,
            oven.cloud,
            droplet_name,
            recipe,
            keys,
            oven.region,
            oven.size,
            DISTRIBUTION,
        )
    )
    try:
        droplet = await asyncio.shield(creating)
        found = await oven.cloud.await_droplet(droplet, "active", seconds=ACTIVE_SECONDS)
        step()
        async with ssh.session(keys.target(public_address(found)), patience=LOGIN_SECONDS) as connection:
            manifest = await _fill(connection, recipe, step)
        step()
        await _power_off(oven.cloud, droplet)
        step()
        name = recipe.name(datetime.now(UTC).date(), manifest, edition=edition)
        await oven.cloud.act(droplet, "snapshot", name=name)
        step()
        return name
    finally:
        # A create that is under way when ^C comes must be over before its droplet can be looked for.
        with contextlib.suppress(FleetError, asyncio.CancelledError):
            await creating
        await asyncio.to_thread(baking_machine.remove, oven.cloud, droplet_name)


async def _fill(connection: asyncssh.SSHClientConnection, recipe: Recipe, step: Callable[[], None]) -> str:
    """Packages, files, and away with the traces; returns the digest of the manifest."""
    step()
    await _must(connection, "installing packages", _AWAIT_PACKAGES, accepted={0, 2})  # 2: done, with warnings
    step()
    laid = await _must(connection, "laying files", commands.INSTALL, stdin=recipe.archive)
    manifest = manifest_digest(laid)
    step()
    await _must(connection, "cleaning", image.CLEAN)
    return manifest


def manifest_digest(printed: str) -> str:
    """From the last line that laying the files prints. Raises FleetError when it is no manifest."""
    last = printed.strip().rpartition("\n")[2]
    try:
        digest = json.loads(last)["digest"]
    except (ValueError, KeyError, TypeError):
        digest = None
    if not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise FleetError(f"laying files ended without a manifest; its last line was {last[:200]!r}")
    return digest


async def _must(
    connection: asyncssh.SSHClientConnection,
    what: str,
    command: str,
    *,
    stdin: bytes = b"",
    accepted: frozenset[int] | set[int] = frozenset({0}),
) -> str:
    """What a command that ended well has printed."""
    done = await ssh.run(connection, command, stdin=stdin)
    if done.exit_code in accepted:
        return done.output
    logs = await ssh.run(connection, _LOGS)
    raise FleetError(
        f"{what} ended with exit code {done.exit_code} on its droplet:\n"
        f"{_indented(done.output)}\n  last lines of its log:\n{_indented(logs.output)}"
    )


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.strip().splitlines()[-LOG_LINES:]) or "    (nothing)"


async def _power_off(cloud: DigitalOcean, droplet: int) -> None:
    """An orderly shutdown; the plug after a minute. The snapshot of a running machine may hold half a write."""
    await cloud.act(droplet, "shutdown")
    try:
        await cloud.await_droplet(droplet, "off", seconds=OFF_SECONDS)
    except FleetError:
        await cloud.act(droplet, "power_off")
        await cloud.await_droplet(droplet, "off", seconds=OFF_SECONDS)
