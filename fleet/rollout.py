"""Rolls an image out in several whole updates, for accounts that have no room for all members twice."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from fleet import bake, image, members
from fleet.batches import Batch, Plan, Setting, Stand, plan
from fleet.digitalocean import DigitalOcean
from fleet.errors import FleetError, StoppedError
from fleet.pulumi_cli import PulumiCli

Say = Callable[[str], None]


class BatchError(FleetError):
    """An update of a rollout failed; the members that it did not reach are as before."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What `fleet rollout` was asked for. `image` None: what the config names, or what was begun."""

    stack: str
    batch: int
    image: str | None = None


@dataclass(frozen=True, slots=True)
class Runs:
    """What carries a rollout out: an update of the stack, and a recovery before one that goes on."""

    update: Callable[[], None]
    recover: Callable[[], object]


def prepare(cli: PulumiCli, cloud: DigitalOcean, wanted: Wanted) -> Plan:
    """Look at config and droplets, and plan. Changes nothing. Raises FleetError."""
    stack, project = wanted.stack, cli.project.name
    config = cli.config(stack)
    stand = _stand(config, project, stack, members.find(cloud, stack))
    chosen = plan(stand, wanted.image, wanted.batch)
    images = list(cloud.every("/v2/images", "images"))
    region = bake.region_of(config, project)
    for name in {batch.setting.image for batch in chosen.batches}:
        if not image.exists(name, images, region):
            raise FleetError(
                f"there is no image {name} in {region}; `fleet images` lists those that there are"
            )
    return chosen


def carry_out(cli: PulumiCli, wanted: Wanted, chosen: Plan, runs: Runs, say: Say) -> None:
    """Batch after batch: first the config, then the update. Raises BatchError, with the way on, when one fails."""
    if chosen.resumed:
        # The run before may have been killed, and then the state lies.
        runs.recover()
    total = len(chosen.batches)
    for number, batch in enumerate(chosen.batches, 1):
        where = f"batch {number} of {total}"
        say(f"{where}: {batch.slots} to {batch.to}")
        began = time.monotonic()
        _write(cli, wanted.stack, batch.setting)
        try:
            runs.update()
        except StoppedError as error:
            raise StoppedError(
                f"{where} ({batch.slots} to {batch.to}): {error}\n{way_on(wanted, chosen)}"
            ) from error
        except FleetError as error:
            raise BatchError(
                f"{where} ({batch.slots} to {batch.to}) failed: {error}\n{way_on(wanted, chosen)}"
            ) from error
        say(f"{where}: done in {time.monotonic() - began:.0f} s")
    say(f"Every web member of stack {wanted.stack} runs {chosen.image}")


def way_on(wanted: Wanted, chosen: Plan) -> str:
    """What the operator can do after a batch that failed or was interrupted."""
    again = f"fleet rollout -s {wanted.stack} --batch {wanted.batch}"
    text = f"  Members that were not reached serve as before. To go on: `{again} --resume`"
    if chosen.back:
        text += f"\n  To go back to {chosen.back}: `{again} --image {chosen.back}`"
    return f"{text}\n  Both begin with what `fleet recover -s {wanted.stack}` does."


def _stand(config: Mapping[str, Any], project: str, stack: str, machines: list[members.Machine]) -> Stand:
    key = f"{project}:web"
    web = config.get(key)
    if not isinstance(web, dict) or not web.get("image") or not isinstance(web.get("count"), int):
        raise FleetError(
            f"{key} of stack {stack} needs count and image; `pulumi preview -s {stack}` says more"
        )
    partial = (web.get("rollout") or {}).get("partial") or {}
    setting = Setting(str(web["image"]))
    if partial:
        setting = Setting(str(web["image"]), int(partial["through"]), str(partial["rest"]))
    running: dict[int, list[frozenset[str]]] = {}
    for machine in machines:
        if machine.number is not None:
            running.setdefault(machine.number, []).append(machine.image_names)
    return Stand(stack, setting, web["count"], running)


def _write(cli: PulumiCli, stack: str, setting: Setting) -> None:
    """Into the config file, so that a run that is cut off anywhere leaves one that tells where it stood."""
    web = f"{cli.project.name}:web"
    partial = f"{web}.rollout.partial"
    if setting.through is None or setting.rest is None:
        cli.set_configs(stack, {f"{web}.image": setting.image})
        cli.remove_config(stack, partial)
        return
    cli.set_configs(
        stack,
        {
            f"{web}.image": setting.image,
            f"{partial}.through": str(setting.through),
            f"{partial}.rest": setting.rest,
        },
    )


def report(chosen: Plan) -> dict[str, Any]:
    """For `--json`."""
    return {
        "image": chosen.image,
        "back": chosen.back,
        "resumed": chosen.resumed,
        "batches": [_shown(batch) for batch in chosen.batches],
    }


def _shown(batch: Batch) -> dict[str, Any]:
    partial = {"through": batch.setting.through, "rest": batch.setting.rest} if batch.setting.rest else None
    return {
        "slots": [batch.first, batch.last],
        "to": batch.to,
        "web.image": batch.setting.image,
        "partial": partial,
    }
