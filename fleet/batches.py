"""Which slots get the new image in which update: decided from the stack's config and from what its droplets run.

A batch is a config to write and a whole `pulumi up` after it: `web.image` for the slots up to `through`, `rest` for
those after it. Going forward `through` grows. Going back it shrinks, with image and rest as they are, until the last
update has only the old image left. So config alone tells where a rollout stands, and any plain `pulumi up` in between
changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from fleet.errors import FleetError


@dataclass(frozen=True, slots=True)
class Setting:
    """What a stack's config says of its web images. Both of `through` and `rest` are given, or none."""

    image: str
    through: int | None = None
    rest: str | None = None


@dataclass(frozen=True, slots=True)
class Batch:
    """One update: what the config is to say, and the slots that it is about."""

    setting: Setting
    first: int
    last: int
    to: str
    """The image that these slots are to have afterwards."""

    @property
    def slots(self) -> str:
        return f"web-{self.first}" if self.first == self.last else f"web-{self.first} to web-{self.last}"


@dataclass(frozen=True, slots=True)
class Plan:
    """The updates that are left. `resumed`: something was begun before, so the state may lie."""

    batches: list[Batch]
    image: str
    back: str | None
    """The image to give to come back."""
    resumed: bool


@dataclass(frozen=True, slots=True)
class Stand:
    """Where a stack is. `running`: the images of the droplets of each slot, each by all its names (name, number)."""

    stack: str
    setting: Setting
    count: int
    running: Mapping[int, list[frozenset[str]]]

    def runs(self, slot: int, image: str) -> bool:
        """Whether all that is in a slot is of this image."""
        droplets = self.running.get(slot, [])
        return bool(droplets) and all(image in names for names in droplets)

    @property
    def slots(self) -> range:
        return range(1, self.count + 1)


def plan(stand: Stand, wanted: str | None, size: int) -> Plan:
    """The way from here to `wanted`, None: to what the config names, in steps of `size` slots. Raises FleetError where
    there is none."""
    now = stand.setting
    if now.through is None or now.rest is None:
        return _begin(stand, wanted, size)
    if now.rest == now.image or now.through >= stand.count:
        # Cut off between the last two changes of the config, or members were taken away since.
        target = wanted or now.image
        if target != now.image:
            raise FleetError(_other_under_way(stand, target))
        return Plan([_last(stand, 1, target)], target, None, resumed=True)
    if wanted is None or wanted == now.image:
        return Plan(
            _forward(stand, now.image, now.rest, now.through, size), now.image, now.rest, resumed=True
        )
    if wanted == now.rest:
        return Plan(_backward(stand, now.through, size), now.rest, now.image, resumed=True)
    if now.through <= size:
        return Plan(_forward(stand, wanted, now.rest, now.through, size), wanted, now.rest, resumed=True)
    raise FleetError(_other_under_way(stand, wanted))


def _begin(stand: Stand, wanted: str | None, size: int) -> Plan:
    now = stand.setting.image
    target = wanted or now
    if target != now:
        strangers = [slot for slot in stand.slots if not stand.runs(slot, now)]
        if strangers and any(stand.running.values()):
            raise FleetError(
                f"web-{strangers[0]} does not run {now}, which web.image of stack {stand.stack} names; finish what was "
                f"begun before another image is rolled out: `fleet recover -s {stand.stack} && pulumi up -s {stand.stack}`"
            )
        return Plan(_forward(stand, target, now, min(size, stand.count), size), target, now, resumed=False)
    return _catch_up(stand, size)


def _catch_up(stand: Stand, size: int) -> Plan:
    """The config names the image already, as after `fleet promote` or in the last update of a rollout."""
    target = stand.setting.image
    left = [slot for slot in stand.slots if not stand.runs(slot, target)]
    begun = any(target in names for slot in stand.slots for names in stand.running.get(slot, []))
    others = {names for slot in left for names in stand.running.get(slot, []) if target not in names}
    back = _name(next(iter(others))) if len(others) == 1 else None
    if len(left) <= size or not others:
        first = left[0] if left else 1
        return Plan([_last(stand, first, target)], target, back, resumed=begun)
    if back is None or left != list(range(left[0], stand.count + 1)):
        raise FleetError(
            f"the members of stack {stand.stack} run a mix of images that was not made by a rollout in batches; "
            f"`pulumi up -s {stand.stack}` replaces {len(left)} of them in one update"
        )
    through = min(left[0] - 1 + size, stand.count)
    return Plan(_forward(stand, target, back, through, size), target, back, resumed=begun)


def _forward(stand: Stand, image: str, rest: str, through: int, size: int) -> list[Batch]:
    batches = []
    first = max(1, through - size + 1)
    while through < stand.count:
        batches.append(Batch(Setting(image, through, rest), first, through, image))
        first, through = through + 1, through + size
    return [*batches, _last(stand, first, image)]


def _backward(stand: Stand, through: int, size: int) -> list[Batch]:
    image, rest = stand.setting.image, stand.setting.rest or ""
    batches = []
    while through > size:
        batches.append(Batch(Setting(image, through - size, rest), through - size + 1, through, rest))
        through -= size
    return [*batches, Batch(Setting(rest), 1, through, rest)]


def _last(stand: Stand, first: int, image: str) -> Batch:
    return Batch(Setting(image), first, stand.count, image)


def _name(names: frozenset[str]) -> str:
    """The one for people: an image's name rather than its number."""
    return min(names, key=str.isdigit)


def _other_under_way(stand: Stand, wanted: str) -> str:
    now = stand.setting
    return (
        f"stack {stand.stack} is in the middle of a rollout of {now.image}, up to web-{now.through}, with {now.rest} on "
        f"the others; before {wanted}, finish it with --resume or go back with --image {now.rest}"
    )
