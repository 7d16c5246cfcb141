"""How many members there are to be, and the next step towards it.

Wanted is the most of what the schedules, an operator and the load ask for, within the slots' number and the maximum.
More members come at once; fewer only after a while without doubt, one after the other and the newest first.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Final

from fleet.controller import burst
from fleet.controller.repair import convinced, let_go
from fleet.controller.schedule import verdict
from fleet.controller.sight import Member, Sight, State, is_burst
from fleet.controller.working import FLEET, Pass

# Members that began less long ago are still busy with beginning.
WARM_SECONDS: Final = 60.0
SMOOTHING_SECONDS: Final = 30.0
# Fewer members are only enough when they would be less busy than wanted, or the next pass would undo it.
SLACK: Final = 0.85
CLOSED_SECONDS: Final = 8.0
"""After which a member that refuses visitors is stood in for."""
ALONE_SECONDS: Final = 90.0
"""After which one that does not answer is stood in for, though nobody else can be asked about it."""
VACANT_SECONDS: Final = 900.0
"""For Pulumi to fill a slot before a burst member stands in."""
ERROR_VISITS: Final = 5
ERROR_SHARE: Final = 0.02
AT_ONCE: Final = 10
LEAVING_SHARE: Final = 20
"""One of so many members may leave at once."""


@dataclass(frozen=True, slots=True)
class Strength:
    """What there is, in members."""

    wanted: int
    serving: int
    counted: int
    """Serving, or about to without doing anything more."""
    machines: int
    """All that count against the maximum."""


def wanted(p: Pass) -> int:
    """The number of members by schedule, order and load, within its bounds."""
    policy, orders = p.policy, p.seen.orders
    if policy.maximum < policy.count:
        p.why(
            FLEET, f"the maximum {policy.maximum} is below the {policy.count} slots: no burst member is made"
        )
    said = verdict(policy.schedules, p.seen.clock.wall)
    for problem in said.problems:
        p.why(FLEET, problem)
    asked = {
        "slots": policy.count,
        "schedule": said.members or 0,
        "order": (orders.scale if orders else None) or 0,
        "load": p.memory.load_wanted if policy.target_cpu else 0,
    }
    source = max(asked, key=lambda each: asked[each])
    number = max(policy.count, min(asked[source], p.maximum))
    p.why(FLEET, f"{number} members are wanted: {source}" + (", limited" if number < asked[source] else ""))
    return number


def weigh(p: Pass, sight: Sight) -> None:
    """Bring the load up to date, and how many members it asks for."""
    target = p.policy.target_cpu
    if target is None:
        p.memory = replace(p.memory, load=None, load_wanted=0)
        return
    serving = [member for member in sight.members.values() if member.serving]
    shares = [member.health.cpu for member in serving if _warm(p, member) and member.health]
    known = [share for share in shares if share is not None]
    if not known:
        p.why(FLEET, "no member tells its load")
        return
    now = sum(known) * len(shares) / len(known)
    before = p.memory.load
    load = now if before is None else before + (now - before) * (1 - math.exp(-p.elapsed / SMOOTHING_SECONDS))
    up = math.ceil(load * 100 / target - 1e-9)
    down = math.ceil(load * 100 / (target * SLACK) - 1e-9)
    asked = p.memory.load_wanted
    if up > asked and not burst.coming(p, sight):
        asked = up
    elif down < asked and len(known) == len(serving):
        asked = down
    p.memory = replace(p.memory, load=load, load_wanted=min(max(asked, p.policy.count), p.maximum))


def measure(p: Pass, sight: Sight, number: int) -> Strength:
    """Count what there is."""
    counted = sum(_counts(p, member) for member in sight.members.values()) + burst.coming(p, sight)
    vacant = {slot: p.memory.vacant.get(slot, p.age) for slot in sight.slots if slot not in sight.members}
    p.memory = replace(p.memory, vacant=vacant)
    counted += sum(p.age - since < VACANT_SECONDS for since in vacant.values())
    return Strength(
        wanted=number,
        serving=sum(member.serving for member in sight.members.values()),
        counted=counted,
        machines=burst.machines(p, sight),
    )


def grow(p: Pass, sight: Sight, strength: Strength, *, tripped: bool) -> None:
    """Make what is missing, within the maximum. Adding costs no visitor, so it needs no patience."""
    missing = strength.wanted + (1 if _outdated(p, sight) else 0) - strength.counted
    if missing <= 0:
        return
    room = p.maximum - strength.machines
    slots = burst.free(p, sight)
    if room <= 0 or not slots:
        if strength.counted < strength.wanted:
            p.why(FLEET, f"fewer members serve than are wanted, and there may be no more than {p.maximum}")
        return
    if burst.held_back(p):
        return
    doubtful = tripped or p.memory.failures.count > 0
    if doubtful and burst.coming(p, sight):
        p.why(FLEET, "no further member is made before the one on its way has passed its gate")
        return
    for slot in slots[: min(missing, room, 1 if doubtful else AT_ONCE)]:
        if burst.ask(p, slot):
            p.memory = replace(p.memory, scaled_at=p.age)


def shrink(p: Pass, sight: Sight, strength: Strength, *, tripped: bool) -> None:
    """Let the newest burst members go when there were more than wanted for a while, and nothing speaks against it."""
    outdated = _outdated(p, sight)
    surplus = strength.serving - strength.wanted
    enough = strength.serving - 1 >= p.policy.count
    full = p.maximum <= strength.machines
    if not (surplus > 0 or (outdated and full and enough)) or p.jumped:
        p.memory = replace(p.memory, surplus_since=None)
        return
    since = p.age if p.memory.surplus_since is None else p.memory.surplus_since
    p.memory = replace(p.memory, surplus_since=since)
    scaled = p.memory.scaled_at
    if p.age - since < p.policy.cooldown_seconds or (
        scaled is not None and p.age - scaled < p.policy.cooldown_seconds
    ):
        return
    if tripped or p.held(creating=False) or _obstacle(p, sight):
        return
    leaving = sum(p.tracks[droplet.id].leaving_since is not None for droplet in sight.bursts)
    most = max(1, strength.serving // LEAVING_SHARE)
    for droplet in _victims(p, sight, outdated)[: max(0, min(max(surplus, 1), most - leaving))]:
        let_go(p, droplet, planned=True)
        p.memory = replace(p.memory, scaled_at=p.age)


def _counts(p: Pass, member: Member) -> bool:
    """Whether a member is as good as serving: who only just failed, or is away by somebody's will, is not replaced."""
    track = member.track
    if member.state is State.AWAY or member.serving:
        return True
    if not member.rotation and member.state is not State.GOOD:
        return False
    if track is not None and track.bad_since is not None:
        bad_for = p.age - track.bad_since
        if member.state is State.CLOSED:
            return bad_for < CLOSED_SECONDS
        if member.health and not member.health.answered and member.health.reached_by_peer is None:
            return bad_for < ALONE_SECONDS
    return not convinced(p, member)


def _warm(p: Pass, member: Member) -> bool:
    track = member.track
    young = track is not None and p.age - track.first < WARM_SECONDS
    return not (young and member.burst)


def _outdated(p: Pass, sight: Sight) -> list[int]:
    """Burst members of another image than the slots have by now."""
    slots = [member for member in sight.members.values() if not member.burst and member.droplet]
    if not slots or any(member.droplet and p.policy.image not in member.droplet.images for member in slots):
        return []
    return [
        droplet.id
        for droplet in sight.bursts
        if p.policy.image not in droplet.images and p.tracks[droplet.id].leaving_since is None
    ]


def _obstacle(p: Pass, sight: Sight) -> bool:
    """What speaks against fewer members."""
    members = sight.members.values()
    visits = sum(member.health.requests for member in members if member.health)
    errors = sum(member.health.errors for member in members if member.health)
    obstacle = None
    if any(member.bad and not member.given_up for member in members):
        obstacle = "a member is broken"
    elif any(member.state is not State.GOOD for member in members if member.rotation and not member.given_up):
        obstacle = "it is not known how every member is"
    elif any(len(droplets) != 1 for droplets in sight.slots.values()) or p.memory.vacant:
        obstacle = "Pulumi is at work on the slots"
    elif burst.coming(p, sight):
        obstacle = "a member is on its way"
    elif errors >= ERROR_VISITS and errors >= visits * ERROR_SHARE:
        obstacle = "visitors see errors"
    elif p.policy.target_cpu and any(not member.health or member.health.cpu is None for member in members):
        obstacle = "not every member tells its load"
    if obstacle:
        p.why(FLEET, f"no member is let go: {obstacle}")
    return obstacle is not None


def _victims(p: Pass, sight: Sight, outdated: list[int]) -> list[int]:
    """Burst members in the rotation: those of an old image first, then the newest."""
    published = [
        member.droplet.id
        for member in sight.members.values()
        if is_burst(member.slot) and member.droplet and member.rotation
    ]
    return sorted(
        published, key=lambda droplet: (droplet not in outdated, -p.tracks[droplet].first, -droplet)
    )
