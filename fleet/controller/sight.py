"""What the lists and the probes mean: which droplet is the member of which slot, and how it is.

A slot's member is the droplet that the slot's records lead to. Pulumi makes a record only after the gate, and takes it
away before a drain; so what has no record is on its way in or out, and its maker's business.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final

from fleet.controller.model import BURST, SLOT, Doubt, Fence, Health, Record, Seen, Step, Track
from fleet.controller.working import FLEET, Pass

DOUBT_SECONDS: Final = 60.0
BLIP_SECONDS: Final = 3600.0
MISSING_SECONDS: Final = 120.0
GONE_SECONDS: Final = 3600.0


class State(Enum):
    """How a member is."""

    GOOD = "good"
    UNKNOWN = "unknown"
    """Not asked, or nobody watches its fence: neither good nor bad."""
    AWAY = "away"
    """Held or leaving, by somebody's will."""
    CLOSED = "closed"
    """It found itself broken, and refuses visitors."""
    SILENT = "silent"
    OFF = "off"
    ABSENT = "absent"
    """Its records lead to no droplet."""


BAD: Final = (State.CLOSED, State.SILENT, State.OFF, State.ABSENT)


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A slot that records lead to."""

    slot: str
    state: State
    droplet: Seen | None
    track: Track | None
    health: Health | None
    rotation: tuple[Record, ...]
    """Its records that visitors follow."""
    ejected: tuple[Record, ...]
    others: tuple[Seen, ...]
    """Droplets in the slot that its records do not lead to."""

    @property
    def bad(self) -> bool:
        return self.state in BAD

    @property
    def burst(self) -> bool:
        return is_burst(self.slot)

    @property
    def serving(self) -> bool:
        """In the rotation, and not known to be unwell; one that was repaired must be known to be well."""
        believed = self.state is State.UNKNOWN and self.track is not None and self.track.step is None
        return bool(self.rotation) and (self.state is State.GOOD or believed)

    @property
    def given_up(self) -> bool:
        return self.track is not None and self.track.step is Step.GIVEN_UP


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """The whole fleet."""

    members: dict[str, Member]
    """Of slots 1 to count and of burst slots, but leaving ones."""
    bursts: tuple[Seen, ...]
    """All burst droplets, whatever their state, the oldest first."""
    slots: dict[str, tuple[Seen, ...]]
    """The droplets in each of Pulumi's slots."""
    records: dict[str, tuple[Record, ...]] = field(default_factory=dict)
    """By slot."""

    def good(self, *but: str) -> int:
        """Members in the rotation that are known to be well, leaving some out."""
        return sum(
            member.state is State.GOOD and bool(member.rotation)
            for slot, member in self.members.items()
            if slot not in but
        )


def is_burst(slot: str) -> bool:
    return slot.startswith(f"{BURST}-")


def missing(p: Pass) -> list[Track]:
    """Burst members that lists have ceased to show only just, though nobody deleted them: they may be there."""
    return [
        track
        for track in p.tracks.values()
        if is_burst(track.slot)
        and track.missing_since is not None
        and p.age - track.missing_since <= MISSING_SECONDS
        and not track.deleted
    ]


def believed(p: Pass) -> bool:
    """Whether the lists are to be acted on. What lacks more than one droplet is believed when it stays so."""
    droplets, records = p.seen.droplets, p.seen.records
    if droplets is None or records is None:
        p.why(
            FLEET,
            f"the list of {'droplets' if droplets is None else 'records'} is not known: nothing is done",
        )
        return False
    listed = list(own(p, droplets))
    if all(is_burst(droplet.slot or "") for droplet in listed):
        p.why(FLEET, "no slot's droplet is listed, which cannot be: nothing is done")
        return False
    led = {record.content for record in records}
    members = frozenset(droplet.id for droplet in listed if droplet.addresses & led)
    leaving = {droplet for droplet, track in p.tracks.items() if track.leaving_since is not None}
    # Those that no record led to any more may go by the dozen, at the end of a rollout.
    missing = p.memory.known - {droplet.id for droplet in listed} - leaving
    doubt = p.memory.doubt
    if len(missing) > 1:
        since = doubt.since if doubt and doubt.missing <= missing else p.age
        if p.age - since < DOUBT_SECONDS:
            p.memory = replace(p.memory, doubt=Doubt(since, missing))
            p.why(FLEET, "droplets are missing from the list all at once: nothing is done until it stays so")
            return False
    p.memory = replace(p.memory, doubt=None, known=members)
    return True


def own(p: Pass, droplets: Iterable[Seen]) -> Iterator[Seen]:
    """The stack's: by tags and by name."""
    policy = p.policy
    for droplet in droplets:
        tags = {policy.stack, f"{policy.stack}-{SLOT}"}
        if is_burst(droplet.slot or ""):
            tags.add(f"{policy.stack}-{BURST}")
        if droplet.slot is None or not tags <= droplet.tags:
            p.why(
                droplet.name,
                "a droplet with the stack's tag that neither Pulumi nor the controller made: left alone",
            )
        else:
            yield droplet


def look(p: Pass) -> Sight:
    """Make out the members, and bring what is remembered of their droplets up to date."""
    droplets: dict[str, list[Seen]] = defaultdict(list)
    for droplet in own(p, p.seen.droplets or ()):
        droplets[droplet.slot or ""].append(droplet)
    _forget(p, {droplet.id for each in droplets.values() for droplet in each})
    for slot, each in droplets.items():
        for droplet in each:
            p.tracks.setdefault(droplet.id, Track(slot, p.age))
    records = _records(p, p.seen.records or ())
    slots = {f"{SLOT}-{index}": () for index in range(1, p.policy.count + 1)}
    members: dict[str, Member] = {}
    p.strays = {
        slot: p.memory.strays.get(slot, p.age)
        for slot, each in records.items()
        if not _holder(droplets.get(slot, ()), each) and (slot in slots or is_burst(slot))
    }
    for slot in {**slots, **{slot: () for slot in [*droplets, *records] if is_burst(slot)}}:
        member = _member(p, slot, droplets.get(slot, []), records.get(slot, []))
        if member is not None:
            members[slot] = member
    bursts = sorted(
        (droplet for slot, each in droplets.items() if is_burst(slot) for droplet in each),
        key=lambda droplet: (p.tracks[droplet.id].first, droplet.id),
    )
    return Sight(
        members=members,
        bursts=tuple(bursts),
        slots={slot: tuple(droplets.get(slot, ())) for slot in slots},
        records={slot: tuple(each) for slot, each in records.items()},
    )


def _records(p: Pass, records: Sequence[Record]) -> dict[str, list[Record]]:
    slots: dict[str, list[Record]] = defaultdict(list)
    prefix = p.policy.comment("")
    for record in sorted(records, key=lambda record: record.id):
        slot = record.comment.removeprefix(prefix)
        kind, _, digits = slot.partition("-")
        if slot == record.comment or kind not in (SLOT, BURST) or not digits.isdecimal():
            if record.name == p.policy.domain:
                p.why(
                    record.id,
                    "a record of the domain that neither Pulumi nor the controller made: left alone",
                )
            continue
        slots[slot].append(record)
    return slots


def _member(p: Pass, slot: str, droplets: Sequence[Seen], records: Sequence[Record]) -> Member | None:
    ejected_name = p.policy.ejected(slot)
    rotation = [record for record in records if record.name == p.policy.domain]
    ejected = [record for record in records if record.name == ejected_name]
    holder = _holder(droplets, [*rotation, *ejected])
    if holder is None and (is_burst(slot) or not (rotation or ejected)):
        return None
    if holder is not None and p.tracks[holder.id].leaving_since is not None:
        return None
    addresses = holder.addresses if holder else None
    health = p.seen.health.get(holder.id) if holder else None
    state = _state(holder, health)
    return Member(
        slot=slot,
        state=state,
        droplet=holder,
        track=_follow(p, holder, state) if holder else None,
        health=health,
        rotation=tuple(record for record in rotation if addresses is None or record.content in addresses),
        ejected=tuple(record for record in ejected if addresses is None or record.content in addresses),
        others=tuple(droplet for droplet in droplets if droplet is not holder),
    )


def _holder(droplets: Sequence[Seen], records: Sequence[Record]) -> Seen | None:
    for record in records:
        for droplet in droplets:
            if record.content in droplet.addresses:
                return droplet
    return None


def _state(droplet: Seen | None, health: Health | None) -> State:
    if droplet is None:
        return State.ABSENT
    if droplet.locked:
        return State.GOOD if health and health.answered and health.fence is Fence.OPEN else State.UNKNOWN
    if droplet.status == "off":
        return State.OFF
    if health is None or (health.answered and health.fence is None):
        return State.UNKNOWN
    if not health.answered:
        return State.SILENT
    if health.fence is Fence.CLOSED:
        return State.CLOSED
    return State.GOOD if health.fence is Fence.OPEN else State.AWAY


def _follow(p: Pass, droplet: Seen, state: State) -> Track:
    """Remember since when it is as it is."""
    track = p.tracks[droplet.id]
    if state in BAD:
        since = p.age if track.bad_since is None else track.bad_since
        return p.track(droplet.id, bad_since=since, good_since=None, misses=track.misses + 1)
    if state is State.UNKNOWN:
        return track
    if state is State.AWAY:
        return p.track(droplet.id, bad_since=None, good_since=None, misses=0)
    changes: dict[str, object] = {}
    if track.bad_since is not None and track.step_at < track.bad_since:
        # What ended by itself tells how long to wait the next time.
        fresh = track.blip if p.age - track.blip_at < BLIP_SECONDS else 0.0
        changes |= {"blip": max(fresh, p.age - track.bad_since), "blip_at": p.age}
    good_since = p.age if track.good_since is None else track.good_since
    return p.track(droplet.id, **changes, bad_since=None, good_since=good_since, misses=0)


def _forget(p: Pass, listed: set[int]) -> None:
    """What left stays known for a while: a list may still show it, and must not make it a newcomer."""
    for droplet, track in list(p.tracks.items()):
        if droplet in listed:
            if track.missing_since is not None:
                p.track(droplet, missing_since=None)
            continue
        since = p.track(droplet, missing_since=track.missing_since or p.age).missing_since or 0.0
        if p.age - since > (MISSING_SECONDS if track.leaving_since is None else GONE_SECONDS):
            del p.tracks[droplet]
