"""Whether the account has room for what an update makes before it deletes anything; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from components.clouds import port


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """The machine that a slot is to have."""

    slot: str
    image: str
    size: str
    beside: bool
    """Whether it comes while the old one is still there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Peak:
    """What an update needs at its fullest moment."""

    limit: int
    existing: int
    """All machines of the account, of other stacks too."""
    new: int
    """Slots that have no machine yet."""
    doubled: int
    """Slots that have two for a while."""

    @property
    def needed(self) -> int:
        return self.existing + self.new + self.doubled

    @property
    def fits(self) -> bool:
        return self.needed <= self.limit


def peak(limit: int, stack: str, wishes: Sequence[Wish], placed: Sequence[port.Placed]) -> Peak:
    """Compare wishes with what is there.

    Only image and size can be compared: a machine that is replaced for another reason, such as other user data, is
    not foreseen, for the cloud does not tell it.
    """
    own: dict[str, list[port.Placed]] = {}
    for machine in placed:
        if stack in machine.tags:
            own.setdefault(machine.name.rpartition("-")[0], []).append(machine)
    new = [wish for wish in wishes if wish.slot not in own]
    doubled = [
        wish
        for wish in wishes
        if wish.beside and wish.slot in own and not any(_is(wish, machine) for machine in own[wish.slot])
    ]
    return Peak(limit=limit, existing=len(placed), new=len(new), doubled=len(doubled))


def complaint(found: Peak, stack: str) -> str:
    """What does not fit, and what helps."""
    parts = [f"{found.new} for new slots"] if found.new else []
    parts += [f"{found.doubled} beside members that are replaced"] if found.doubled else []
    room = max(found.limit - found.existing, 0)
    fixes = ["ask the cloud for a higher limit"]
    if found.doubled and room > found.new:
        fixes.append(f"roll out in steps with `fleet rollout -s {stack} --batch {room - found.new}`")
    if found.doubled:
        fixes.append("set flotilla:web.rollout.mode to in_place, which needs no room")
    if found.new:
        fixes.append("lower flotilla:web.count")
    return (
        f"the account may have {found.limit} machines and has {found.existing}; this update needs "
        f"{found.needed - found.existing} more at its peak ({' and '.join(parts)}), {found.needed} together; "
        f"{', or '.join(fixes)}"
    )


def cannot_grow(limit: int, maximum: int, beside: int) -> str | None:
    """What is wrong when the account has no room for all members that a controller may make; `beside` are the stack's
    machines that are no members."""
    if maximum + beside <= limit:
        return None
    return (
        f"flotilla:autoscaler.max = {maximum}: with the {beside} other machines of the stack that is {maximum + beside}, and "
        f"the account may have {limit}, so the last members could never be made; ask the cloud for a higher limit, or give "
        f"{max(limit - beside, 0)} or less"
    )


def _is(wish: Wish, machine: port.Placed) -> bool:
    return (machine.image, machine.size) == (wish.image, wish.size)
