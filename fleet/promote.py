"""Gives one stack the image that another has tested."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fleet import bake, image, stack_files
from fleet.digitalocean import DigitalOcean
from fleet.errors import FleetError
from fleet.image import Role
from fleet.pulumi_cli import PulumiCli

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Promotion:
    """From where an image goes where. `untested`: also when the first stack does not run it."""

    role: Role
    source: str
    target: str
    untested: bool = False


@dataclass(frozen=True, slots=True)
class Promoted:
    """What came of it."""

    role: Role
    image: str
    before: str | None
    changed: bool


def promote(cli: PulumiCli, cloud: DigitalOcean, wanted: Promotion, say: Say) -> Promoted:
    """Pin the source's image in the target's config. Raises FleetError, with nothing changed, when that image does
    not run in the source, is not to be had in the target's region, or a rollout by batches is under way."""
    project = cli.project.name
    chosen = _source_image(cli, cloud, wanted)
    config = cli.config(wanted.target)
    check_no_rollout(config, project, wanted.target)
    region = bake.region_of(config, project)
    if not image.exists(chosen, cloud.every("/v2/images", "images", private="true"), region):
        raise FleetError(
            f"{chosen} of stack {wanted.source} is not in {region}, where stack {wanted.target} is; bake it there: "
            f"`fleet bake {wanted.role} -s {wanted.target}`"
        )
    before = image.configured(wanted.role, config, project)
    if before == chosen:
        say(f"Stack {wanted.target} has {chosen} for {wanted.role} already")
    else:
        cli.set_config(wanted.target, f"{project}:{wanted.role}.image", chosen)
        say(f"Stack {wanted.target} now names {chosen} for {wanted.role}; it was {before or 'not set'}")
    return Promoted(wanted.role, chosen, before, changed=before != chosen)


def check_no_rollout(config: dict[str, object], project: str, stack: str) -> None:
    """Raises FleetError when some members of a stack are on one image and some on another."""
    web = config.get(f"{project}:web")
    rollout = web.get("rollout") if isinstance(web, dict) else None
    if isinstance(rollout, dict) and rollout.get("partial"):
        raise FleetError(
            f"stack {stack} is in the middle of a rollout (web.rollout.partial in its config); finish it first: "
            f"`fleet rollout -s {stack} --resume`"
        )


def _source_image(cli: PulumiCli, cloud: DigitalOcean, wanted: Promotion) -> str:
    project, role, source = cli.project.name, wanted.role, wanted.source
    config = stack_files.config(cli.project, source)
    chosen = image.configured(role, config, project)
    name = image.Name.parse(chosen or "")
    if chosen is None or name is None or name.role != role:
        raise FleetError(
            f"{project}:{role}.image of stack {source} is {chosen or 'not set'}; only an image that "
            f"`fleet bake {role} -s {source}` has made can be promoted"
        )
    check_no_rollout(config, project, source)
    if not wanted.untested:
        _check_runs(cloud, wanted, chosen)
    return chosen


def _check_runs(cloud: DigitalOcean, wanted: Promotion, chosen: str) -> None:
    tag = f"{wanted.source}-{wanted.role}"
    running = {
        str(droplet["image"].get("name") or droplet["image"]["id"])
        for droplet in cloud.every("/v2/droplets", "droplets", tag_name=tag)
    }
    if running != {chosen}:
        seen = ", ".join(sorted(running)) or "no droplet at all"
        raise FleetError(
            f"stack {wanted.source} has not tested {chosen}: its {wanted.role} droplets run {seen}; first "
            f"`pulumi up -s {wanted.source}`, or say --untested"
        )
