"""When a member closes itself to new visitors, and when it opens again: decisions only, nothing is done here.

The edge goes to the next member by itself when one refuses connections, and never when one answers 5xx. So a member
that is broken refuses. These rules keep that from making an outage worse:

- What the others suffer too is a shared dependency's fault, and closes nobody.
- A member closes only when, itself counted, no more than half of the members would be closed or unreachable. Each
  says that it is about to close before it looks at the others for the last time; so of several that break at once
  the last to look sees all the others, and they cannot close together.
- An app that answers nobody at all is killed once its member is closed: what it holds is lost with it or without it,
  and a peer can answer what of it changes nothing.
- A member that closes again soon after it opened stays closed for twice as long.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final

MISSES: Final = 2  # unanswered checks in a row that close
# The same when visitors are still answered or the processors are at their limit: a busy member is not a broken one. At
# fence_senses.CHECK_SECONDS each, a member that only seems busy is closed within five seconds.
MISSES_WHILE_BUSY: Final = 7
ERROR_VISITS: Final = 5  # among fewer recent visits a share says nothing
WITNESS_VISITS: Final = 10  # that a peer must have served while this member failed
BASE_HOLD_SECONDS: Final = 5.0
# Whether errors are over can only be tried with visitors, so it is not tried as often.
ERRORS_HOLD_SECONDS: Final = 30.0
LONGEST_HOLD_SECONDS: Final = 900.0
RELEASED_HOLD_SECONDS: Final = 1.0
FORGIVEN_SECONDS: Final = 600.0  # open for so long, a member's earlier closings are forgotten
RETRY_SECONDS: Final = 1.0  # for a member that gave way to another


class Health(Enum):
    """What a check of this member's own processes came to."""

    FINE = "fine"
    DEAD = "dead"  # nobody listens, or the answer is an error
    SLOW = "slow"  # no answer in time


class Trouble(Enum):
    """What this member suffers from, as its peers are told."""

    NONE = ""
    DEAD = "dead"
    SLOW = "slow"
    ERRORS = "errors"  # at least half of its recent visitors got a 5xx


class State(Enum):
    OPEN = "open"
    CLOSED = "closed"  # by itself
    HELD = "held"  # by somebody, until released


@dataclass(frozen=True, slots=True)
class Count:
    """Visits, and those among them that were answered with 5xx."""

    requests: int = 0
    errors: int = 0


@dataclass(frozen=True, slots=True)
class Local:
    """What a member sees of itself."""

    now: float  # monotonic seconds
    health: Health = Health.FINE
    reason: str = ""  # why the health is not fine
    recent: Count = field(default_factory=Count)
    serving: bool = False  # visitors are answered well in spite of the missed checks
    busy: bool = False  # the processors have been at their limit in the last seconds
    stuck: bool = False  # the app takes what it is asked and answers nobody
    ready: bool = True  # able to serve, dependencies included; asked only of a closed member
    held: str | None = None  # the reason that somebody gave for holding the fence closed


@dataclass(frozen=True, slots=True)
class Peer:
    """What a reachable peer tells of itself."""

    closed: bool = False  # by itself or held
    closing: bool = False  # is about to close by itself
    trouble: Trouble = Trouble.NONE
    ready: bool = True
    visits: Count = field(default_factory=Count)  # since its watcher started


@dataclass(frozen=True, slots=True)
class Memory:
    """All that a member's next decision depends on."""

    state: State = State.OPEN
    reason: str = ""
    trouble: Trouble = Trouble.NONE
    suspect: bool = False  # the peers' view is needed
    closing: bool = False  # tells the peers: about to close
    misses: int = 0
    held_off_until: float = 0.0
    hold: float = 0.0  # seconds of health before it opens again
    stuck: bool = (
        False  # closed with an app that answers nobody, so what it holds is lost unless it is killed
    )
    strikes: int = 0  # closings that soon followed an opening
    healthy_since: float | None = None
    opened_at: float = float("-inf")
    baseline: Mapping[str, Count] = field(default_factory=dict)  # the peers' visits when own errors began


def notice(memory: Memory, local: Local) -> Memory:
    """Take in what the member sees of itself; opens, holds and releases. `suspect` tells whether `judge` is due."""
    if local.held is not None:
        return replace(_calm(memory), state=State.HELD, reason=local.held, trouble=_trouble(memory, local))
    if memory.state is State.HELD:
        released = replace(_calm(memory), state=State.CLOSED, reason="released", hold=RELEASED_HOLD_SECONDS)
        return _heal(released, local)
    if memory.state is State.CLOSED:
        return _heal(memory, local)
    misses = memory.misses + 1 if local.health is not Health.FINE else 0
    trouble = _trouble(memory, local)
    return replace(
        memory,
        misses=misses,
        trouble=trouble,
        reason=_reason(trouble, local),
        suspect=local.recent.errors > 0 or _confirmed(misses, local),
        closing=memory.closing and trouble is not Trouble.NONE,
        baseline=memory.baseline if local.recent.errors else {},
    )


def judge(memory: Memory, local: Local, slot: str, peers: Mapping[str, Peer | None]) -> Memory:
    """Close, or say that it is about to, in view of the peers (None: unreachable; this member left out).

    When it answers `closing` and is open, publish that, ask the peers again and call this again: closing takes two.
    """
    if memory.state is not State.OPEN or not memory.suspect:
        return memory
    baseline = _baseline(memory.baseline, peers)
    memory = replace(memory, baseline=baseline)
    confirmed = _confirmed(memory.misses, local) or memory.trouble is Trouble.ERRORS
    if not confirmed or not _own_fault(memory.trouble, baseline, peers):
        return replace(memory, closing=False)
    if local.now < memory.held_off_until:
        return memory
    gone = {name for name, peer in peers.items() if peer is None or peer.closed}
    rivals = {name for name, peer in peers.items() if peer is not None and peer.closing} - gone
    members = len(peers) + 1
    if memory.closing and _within_half(len(gone | rivals) + 1, members):
        return _close(memory, local)
    before = {name for name in rivals if _order(name) < _order(slot)}
    if _within_half(len(gone | before) + 1, members):
        return replace(memory, closing=True)
    return replace(memory, closing=False, held_off_until=local.now + RETRY_SECONDS)


def _within_half(closed: int, members: int) -> bool:
    return closed * 2 <= members


def _order(slot: str) -> tuple[int, str]:
    """web-2 comes before web-10."""
    return len(slot), slot


def _trouble(memory: Memory, local: Local) -> Trouble:
    if local.health is Health.DEAD:
        return Trouble.DEAD
    if local.health is Health.SLOW:
        return Trouble.SLOW
    failing = local.recent.requests >= ERROR_VISITS and local.recent.errors * 2 >= local.recent.requests
    return Trouble.ERRORS if failing else Trouble.NONE


def _reason(trouble: Trouble, local: Local) -> str:
    if trouble is Trouble.ERRORS:
        return f"{local.recent.errors} of the last {local.recent.requests} visits were answered with 5xx"
    return local.reason if trouble is not Trouble.NONE else ""


def _confirmed(misses: int, local: Local) -> bool:
    return misses >= (MISSES_WHILE_BUSY if local.serving or local.busy else MISSES)


def _own_fault(trouble: Trouble, baseline: Mapping[str, Count], peers: Mapping[str, Peer | None]) -> bool:
    """The others are well; what they suffer too is no member's own fault."""
    open_peers = {name: peer for name, peer in peers.items() if peer is not None and not peer.closed}
    if trouble is Trouble.DEAD:
        return any(peer.trouble is Trouble.NONE for peer in open_peers.values())
    if trouble is Trouble.SLOW:
        well = sum(peer.trouble is Trouble.NONE and peer.ready for peer in open_peers.values())
        return well > len(open_peers) - well
    witnesses = suffering = 0
    for name, peer in open_peers.items():
        requests = peer.visits.requests - baseline[name].requests
        errors = peer.visits.errors - baseline[name].errors
        witnesses += requests >= WITNESS_VISITS and errors * 10 <= requests
        suffering += errors * 10 > requests
    return witnesses > suffering


def _baseline(known: Mapping[str, Count], peers: Mapping[str, Peer | None]) -> dict[str, Count]:
    """Where each peer's count stood when it was first asked; a count that fell has begun anew."""
    baseline = {}
    for name, peer in peers.items():
        if peer is not None:
            then = known.get(name, peer.visits)
            baseline[name] = then if then.requests <= peer.visits.requests else peer.visits
    return baseline


def _close(memory: Memory, local: Local) -> Memory:
    strikes = memory.strikes + 1 if local.now - memory.opened_at < FORGIVEN_SECONDS else 0
    base = ERRORS_HOLD_SECONDS if memory.trouble is Trouble.ERRORS else BASE_HOLD_SECONDS
    hold = min(base * 2.0**strikes, LONGEST_HOLD_SECONDS)
    return replace(_calm(memory), state=State.CLOSED, stuck=local.stuck, strikes=strikes, hold=hold)


def _heal(memory: Memory, local: Local) -> Memory:
    """A closed member opens after it was well for the hold time without a break."""
    trouble = _trouble(memory, local)
    if local.health is not Health.FINE or not local.ready:
        return replace(memory, trouble=trouble, healthy_since=None)
    since = local.now if memory.healthy_since is None else memory.healthy_since
    if local.now - since < memory.hold:
        return replace(memory, trouble=trouble, healthy_since=since)
    return Memory(strikes=memory.strikes, opened_at=local.now)


def _calm(memory: Memory) -> Memory:
    """Nothing pending."""
    return replace(
        memory, misses=0, suspect=False, closing=False, stuck=False, healthy_since=None, baseline={}
    )
