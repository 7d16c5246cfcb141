"""The life of a burst member: asked for, prepared, published; withdrawn, drained, deleted.

Where each one stands is read from the lists wherever they tell, so that whoever was killed anywhere finds his way on.
What they cannot tell is remembered: that a machine passed its gate, and that it is to leave.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import replace
from typing import Final

from fleet.controller.model import (
    BURST,
    Create,
    Delete,
    Drain,
    Failures,
    Fence,
    Intent,
    Prepare,
    Publish,
    Record,
    Seen,
    Step,
    Withdraw,
)
from fleet.controller.repair import ABSENT_SECONDS, let_go
from fleet.controller.sight import Sight, is_burst, missing
from fleet.controller.working import FLEET, Pass

# How long a list may not show a droplet that the cloud was asked for, before it is asked again.
UNSEEN_SECONDS: Final = 30.0
ASK_TRIES: Final = 4
BOOT_SECONDS: Final = 600.0
GATE_TRIES: Final = 3
DRAIN_TRIES: Final = 3
STRAY_SECONDS: Final = 600.0
"""After which a record without a droplet goes though it looks like many broken members: no list is wrong for so long."""
FAILURES: Final = 3
"""New members in a row that did not pass their gate, before no more are made."""
FAILURE_BACKOFF: Final = 120.0


def settle(p: Pass, sight: Sight) -> None:
    """What was asked for and has come is no intent any more; what never came is asked for again, or forgotten."""
    names = {droplet.name for droplet in sight.bursts}
    for intent in list(p.intents):
        create = Create(intent.slot, intent.request)
        if create.name in names:
            p.intents.remove(intent)
        elif p.busy(intent.slot) or p.age - intent.asked < UNSEEN_SECONDS:
            continue
        elif machines(p, sight) > p.maximum:
            p.intents.remove(intent)
        elif intent.tries >= ASK_TRIES:
            p.why(intent.slot, "was asked for in vain")
            p.intents.remove(intent)
            _failed(p)
        elif p.act(create):
            p.intend(replace(intent, asked=p.age, tries=intent.tries + 1))


def advance(p: Pass, sight: Sight, *, tripped: bool) -> None:
    """Take every burst droplet one step on."""
    _twins(p, sight)
    for droplet in sight.bursts:
        slot = droplet.slot or ""
        records = _leading(sight, droplet)
        if p.tracks[droplet.id].leaving_since is not None:
            _leave(p, sight, droplet, records, tripped=tripped)
        elif not records:
            _come(p, droplet, slot)
    _withdraw_strays(p, sight, tripped=tripped)


def ask(p: Pass, slot: str) -> bool:
    """Begin a new burst member; whether it is begun."""
    request = hashlib.sha256(f"{p.seen.seed}/{p.memory.serial}/{slot}".encode()).hexdigest()[:7]
    if not p.act(Create(slot, request)):
        return False
    p.memory = replace(p.memory, serial=p.memory.serial + 1)
    p.intend(Intent(slot, request, p.age))
    return True


def free(p: Pass, sight: Sight) -> list[str]:
    """Burst slots that nothing is left of, the lowest first."""
    taken = {droplet.slot for droplet in p.seen.droplets or ()} | {intent.slot for intent in p.intents}
    taken |= {track.slot for track in missing(p)} | set(sight.records)
    slots = (f"{BURST}-{number}" for number in range(1, p.maximum - p.policy.count + 1))
    return [slot for slot in slots if slot not in taken and not p.busy(slot)]


def machines(p: Pass, sight: Sight) -> int:
    """All that count against the maximum: the slots, and every burst droplet there is or may be."""
    return p.policy.count + len(sight.bursts) + len(p.intents) + len(missing(p))


def coming(p: Pass, sight: Sight) -> int:
    """Burst members that are asked for or made, and have no visitors yet; not those that failed."""
    tracks = [p.tracks[droplet.id] for droplet in sight.bursts if not _leading(sight, droplet)]
    return len(p.intents) + sum(track.leaving_since is None and track.step is None for track in tracks)


def held_back(p: Pass) -> bool:
    """Whether new members fail so often that no more are made for now."""
    failures = p.memory.failures
    if failures.count >= FAILURES:
        p.why(
            FLEET,
            "new members do not pass their gate: no more are made until another image or an order (`fleet unfreeze`)",
        )
        return True
    return failures.count > 0 and p.age - failures.at < FAILURE_BACKOFF * 2.0 ** (failures.count - 1)


def _leading(sight: Sight, droplet: Seen) -> tuple[Record, ...]:
    """The records that lead to a droplet, in the rotation or out of it."""
    records = sight.records.get(droplet.slot or "", ())
    return tuple(record for record in records if record.content in droplet.addresses)


def _come(p: Pass, droplet: Seen, slot: str) -> None:
    track = p.tracks[droplet.id]
    prepare = Prepare(slot, droplet.id)
    health = p.seen.health.get(droplet.id)
    if health and health.fence is Fence.LEAVING:
        # Whoever began its drain forgot it.
        let_go(p, droplet.id, planned=True)
        return
    if track.step is Step.GIVEN_UP:
        p.why(slot, "did not become a member that passes its gate, and is left for an operator to look at")
        return
    unborn = droplet.status != "active" or not droplet.addresses or droplet.locked
    late = unborn and p.age - track.first > BOOT_SECONDS
    if (late or p.failures(prepare) >= GATE_TRIES) and not p.busy(slot):
        _fail(p, droplet, slot)
    elif unborn:
        p.why(slot, "boots")
    elif not track.prepared:
        p.act(prepare)
    else:
        p.act(Publish(slot, droplet.id, droplet.addresses))


def _fail(p: Pass, droplet: Seen, slot: str) -> None:
    """Let go of one that cannot become a member; the last of several stays, for an operator to look at."""
    p.why(slot, "did not become a member that passes its gate")
    if p.memory.failures.count + 1 < FAILURES:
        if p.destroy_allowed():
            let_go(p, droplet.id, planned=False)
            _failed(p)
    else:
        p.track(droplet.id, step=Step.GIVEN_UP, step_at=p.age)
        _failed(p)


def _failed(p: Pass) -> None:
    p.memory = replace(p.memory, failures=Failures(p.policy.image, p.memory.failures.count + 1, p.age))


def _leave(p: Pass, sight: Sight, droplet: Seen, records: tuple[Record, ...], *, tripped: bool) -> None:
    slot = droplet.slot or ""
    track = p.tracks[droplet.id]
    if tripped:
        p.why(slot, "leaves when the others are well")
    elif records:
        p.track(droplet.id, drained=False)
        if sight.good(slot):
            p.act(Withdraw(slot, records))
        else:
            p.why(slot, "keeps its records, as no other member is well")
    elif track.drained:
        p.act(Delete(slot, droplet.id))
    elif p.failures(Drain(slot, droplet.id)) >= DRAIN_TRIES:
        p.why(slot, "cannot be drained, and is let go without")
        p.track(droplet.id, drained=True)
    else:
        p.act(Drain(slot, droplet.id))


def _twins(p: Pass, sight: Sight) -> None:
    """Two droplets in a burst slot: a create whose answer was lost, twice. The one without visitors goes."""
    slots: dict[str, list[Seen]] = defaultdict(list)
    for droplet in sight.bursts:
        if p.tracks[droplet.id].leaving_since is None:
            slots[droplet.slot or ""].append(droplet)
    for slot, droplets in slots.items():
        if len(droplets) < 2:
            continue
        p.why(slot, "has two droplets")
        first = min(
            droplets, key=lambda each: (not _leading(sight, each), not p.tracks[each.id].prepared, each.id)
        )
        for droplet in droplets:
            if droplet is not first and not _leading(sight, droplet) and p.destroy_allowed():
                let_go(p, droplet.id, planned=False)


def _withdraw_strays(p: Pass, sight: Sight, *, tripped: bool) -> None:
    """Records of burst slots that lead to no droplet: visitors would wait there in vain."""
    for slot, since in p.strays.items():
        if is_burst(slot) and p.age - since >= ABSENT_SECONDS:
            p.why(slot, "has a record that leads to no droplet")
            sure = not tripped or p.age - since >= STRAY_SECONDS
            if sure and sight.good(slot):
                p.act(Withdraw(slot, sight.records[slot]))
