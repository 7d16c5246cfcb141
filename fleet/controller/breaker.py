"""Whether too many members look broken at once for any of them to be touched.

One broken member is broken; many at once are a shared cause, which repairs only make worse.
"""

from __future__ import annotations

from fleet.controller.sight import Sight, is_burst
from fleet.controller.working import FLEET, Pass


def tripped(p: Pass, sight: Sight) -> bool:
    """Two or more members, and at least a third of all. Who was given up is known, and counts no more."""
    members = [member for member in sight.members.values() if not member.given_up]
    strays = [
        slot
        for slot in sight.records
        if is_burst(slot) and slot not in sight.members and not _leaving(p, slot)
    ]
    bad = sum(member.bad for member in members) + len(strays)
    if bad < 2 or bad * 3 < len(members) + len(strays):
        return False
    p.why(FLEET, "too many members look broken at once: none is repaired, taken out or deleted")
    return True


def _leaving(p: Pass, slot: str) -> bool:
    return any(track.slot == slot and track.leaving_since is not None for track in p.tracks.values())
