"""The ladder of repairs for members that records lead to: out of the rotation, power cycle, rebuild, given up.

What costs nothing comes early and what costs much comes late: a record is renamed within seconds, a machine rebuilt
only after a power cycle did not help. One member is repaired at a time. A broken burst member is not rebuilt but let
go, and another takes its place.
"""

from __future__ import annotations

from typing import Final

from fleet.controller.model import Eject, PowerCycle, Prepare, Rebuild, Restore, Step, Track
from fleet.controller.sight import BLIP_SECONDS, Member, Sight, State
from fleet.controller.working import Pass

# Seconds of trouble before anything is done about it, by what is known of it.
OFF_SECONDS: Final = 2.0
SILENT_SECONDS: Final = 8.0
"""No other member reaches it either."""
CLOSED_SECONDS: Final = 30.0
"""Its own supervisor restarts what died; the fence already keeps visitors away."""
ABSENT_SECONDS: Final = 60.0
"""Pulumi may just be at work, between its droplet and its record."""
LEAST_MISSES: Final = 2
# An outage must be this many times as long as the last that ended by itself.
BLIPS: Final = 3.0
LONGEST_PATIENCE_SECONDS: Final = 300.0

CYCLE_SECONDS: Final = 120.0
"""For a machine to serve again after a power cycle."""
REBUILD_SECONDS: Final = 900.0
LADDER_SECONDS: Final = 3600.0
"""A member that breaks again within this time goes on from where it was on the ladder."""
REPAIRED_SECONDS: Final = 4.0
"""Of good health before a member that was repaired gets visitors again."""
CALM_SECONDS: Final = 30.0
"""The same for one that got well by itself, doubled with every time it was taken out."""
LONGEST_CALM_SECONDS: Final = 900.0
STEP_TRIES: Final = 3


def repair(p: Pass, sight: Sight, *, tripped: bool) -> None:
    """One pass over all members: who is well again, who is next on the ladder."""
    for member in sight.members.values():
        if member.state is State.GOOD:
            _recover(p, member)
        broken = member.bad and convinced(p, member) and not tripped
        if broken and _take_out(p, sight, member):
            continue
        if _rebuilt(member):
            _equip(p, member, tripped=tripped)
        elif broken:
            _climb(p, sight, member)
        elif member.droplet and member.track and member.track.step is not None and _unwatched(member):
            # Made anew by a rebuild that nobody heard of any more.
            p.act(Prepare(member.slot, member.droplet.id))


def convinced(p: Pass, member: Member) -> bool:
    """Whether a member has been broken for long enough, and not only in the controller's eyes."""
    patience = _patience(p, member)
    if patience is None:
        return False
    track = member.track
    if track is None:
        return p.age - p.strays.get(member.slot, p.age) >= patience
    if member.state is not State.OFF and p.age - track.blip_at < BLIP_SECONDS:
        patience = max(patience, min(BLIPS * track.blip, LONGEST_PATIENCE_SECONDS))
    bad_for = 0.0 if track.bad_since is None else p.age - track.bad_since
    return bad_for >= patience and track.misses >= LEAST_MISSES


def _patience(p: Pass, member: Member) -> float | None:
    """Seconds; None: for ever."""
    match member.state:
        case State.OFF:
            return OFF_SECONDS
        case State.CLOSED:
            return CLOSED_SECONDS
        case State.ABSENT:
            return ABSENT_SECONDS
        case State.SILENT:
            reached = member.health.reached_by_peer if member.health else None
            if reached:
                p.why(member.slot, "only the controller does not reach it; another member does")
                return None
            if reached is None:
                p.why(member.slot, "does not answer the controller, and no other member can be asked")
                return None
            return SILENT_SECONDS
    return None


def _recover(p: Pass, member: Member) -> None:
    """A member that is well: back into the rotation, and its past forgotten in time."""
    droplet, track = member.droplet, member.track
    if droplet is None or track is None or track.good_since is None:
        return
    if member.ejected:
        repaired = track.step is not None and track.step_at >= track.ejected_at
        calm = CALM_SECONDS * 2.0 ** min(max(track.ejections - 1, 0), 10)
        wait = REPAIRED_SECONDS if repaired else min(calm, LONGEST_CALM_SECONDS)
        unready = member.health is not None and member.health.ready is False
        if p.age - track.good_since >= wait and not unready and not _rebuilt(member):
            p.act(Restore(member.slot, member.ejected))
    elif track.ejections and p.age - track.ejected_at > LADDER_SECONDS:
        p.track(droplet.id, ejections=0)
    if track.step is not None and p.age - max(track.step_at, track.good_since) > LADDER_SECONDS:
        p.track(droplet.id, step=None)


def _take_out(p: Pass, sight: Sight, member: Member) -> bool:
    """Spare visitors the wait for one that cannot refuse them; whether that is begun."""
    p.why(member.slot, f"is broken: {describe(member)}")
    if member.state is State.CLOSED or not member.rotation:
        return False
    if not sight.good(member.slot):
        p.why(member.slot, "stays in the rotation, as no other member there is well")
        return False
    if not p.act(Eject(member.slot, member.rotation)):
        return False
    if member.droplet and member.track:
        p.track(member.droplet.id, ejections=member.track.ejections + 1, ejected_at=p.age)
    return True


def _climb(p: Pass, sight: Sight, member: Member) -> None:
    """The next step for a broken member."""
    if member.droplet is None or member.track is None:
        p.why(member.slot, "its droplet is gone; `pulumi up --refresh` makes another")
    elif member.others:
        p.why(member.slot, "has two droplets: who makes one of them is not disturbed")
    elif _other_repair(p, sight, member):
        p.why(member.slot, "waits until another member is repaired")
    else:
        _step(p, member, member.droplet.id, member.track)


def _step(p: Pass, member: Member, droplet: int, track: Track) -> None:
    match track.step:
        case None:
            if not p.cycle_allowed():
                p.why(member.slot, "is not power-cycled: the limit of power cycles is reached")
            elif p.act(PowerCycle(member.slot, droplet)):
                p.track(droplet, step=Step.CYCLED, step_at=p.age, confirmed=False)
                p.cycled.append(p.age)
        case Step.CYCLED if p.age - track.step_at < CYCLE_SECONDS:
            again = PowerCycle(member.slot, droplet)
            if not track.confirmed and p.failures(again) < STEP_TRIES:
                p.act(again)
        case Step.CYCLED:
            _replace(p, member, droplet)
        case Step.REBUILT if p.age - track.step_at > REBUILD_SECONDS:
            p.track(droplet, step=Step.GIVEN_UP, step_at=p.age)
        case Step.GIVEN_UP:
            p.why(member.slot, "repairs were in vain; `pulumi up` with --refresh, or replace its droplet")


def _replace(p: Pass, member: Member, droplet: int) -> None:
    """What costs a machine: within the limit of such things."""
    if not p.destroy_allowed():
        p.why(member.slot, "is not made anew: the limit of rebuilds and deletes is reached")
    elif member.burst:
        let_go(p, droplet, planned=False)
    elif p.act(Rebuild(member.slot, droplet)):
        p.track(droplet, step=Step.REBUILT, step_at=p.age, confirmed=False, prepared=False)
        p.destroyed.append(p.age)


def let_go(p: Pass, droplet: int, *, planned: bool) -> None:
    """Begin a burst member's end; beyond planned scale-in it counts against the limit."""
    p.track(droplet, leaving_since=p.age, planned=planned, drained=False)
    if not planned:
        p.destroyed.append(p.age)


def _rebuilt(member: Member) -> bool:
    """Between a rebuild and the gate."""
    track = member.track
    return track is not None and track.step is Step.REBUILT and not track.prepared


def _unwatched(member: Member) -> bool:
    health = member.health
    return member.state is State.UNKNOWN and health is not None and health.answered


def _equip(p: Pass, member: Member, *, tripped: bool) -> None:
    """See a rebuild through, whatever the member looks like meanwhile."""
    droplet, track = member.droplet, member.track
    if droplet is None or track is None:
        return
    again = Rebuild(member.slot, droplet.id)
    if member.state is State.GOOD and not track.confirmed and not p.busy(member.slot):
        # It got well before it was rebuilt: nobody watches the fence of a machine that was.
        p.track(droplet.id, step=Step.CYCLED)
    elif p.age - track.step_at > REBUILD_SECONDS:
        p.why(member.slot, "its rebuild did not lead to a member that passes its gate")
        p.track(droplet.id, step=Step.GIVEN_UP, step_at=p.age)
    elif droplet.locked or droplet.status != "active":
        p.why(member.slot, "is being rebuilt")
    elif track.confirmed:
        p.act(Prepare(member.slot, droplet.id))
    elif p.failures(again) < STEP_TRIES and not tripped:
        p.act(again)


def _other_repair(p: Pass, sight: Sight, member: Member) -> bool:
    """Whether a repair is under way, also of a member that a list happens not to show."""
    states = {other.droplet.id: other.state for other in sight.members.values() if other.droplet}
    return any(
        _under_repair(p, track)
        for droplet, track in p.tracks.items()
        if track.slot != member.slot
        and (droplet in states or track.missing_since is not None)
        and states.get(droplet) is not State.GOOD
    )


def _under_repair(p: Pass, track: Track) -> bool:
    if track.leaving_since is not None:
        return False
    if track.step is Step.CYCLED:
        return p.age - track.step_at < CYCLE_SECONDS
    return track.step is Step.REBUILT and p.age - track.step_at < REBUILD_SECONDS


def describe(member: Member) -> str:
    """Its trouble, in words that stay the same while it lasts."""
    match member.state:
        case State.OFF:
            return "it is switched off"
        case State.SILENT:
            return "it does not answer"
        case State.ABSENT:
            return "its records lead to no droplet"
    return "it found itself broken and refuses visitors"
