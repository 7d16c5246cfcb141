"""Whether the canary of a rollout does as well as the others: decisions only, nothing is read or done here.

Small fleets see few visits in the time of a watch, so everything is judged by counts: a share of two visits says
nothing, three failed ones do. What the others suffer too is a shared dependency's fault and not the new image's.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Final

# One failed visit is any site's day; three on one machine within a minute are a pattern.
MIN_ERRORS: Final = 3
# A cold cache makes the first visits slow, so a few more of these are let pass.
MIN_SLOW: Final = 5
# How unlikely it must be that canary and others are alike. The watch looks every second, which is many chances for a
# false alarm; with this, none of 600 simulated watches of canaries that were alike gave one, and one that failed a
# tenth of five visits a second was found in 14 s.
UNLIKELY: Final = 5e-4
# Fewer visits at the others, all well, are no measure.
MIN_COMPARED: Final = 10
# With nobody to compare with: the share of failed visits that no healthy site has.
ALONE_ERROR_SHARE: Final = 0.1
# Twice as slow is no noise, unless both are so fast that nobody notices.
SLOW_FACTOR: Final = 2.0
MEDIAN_SLACK_SECONDS: Final = 0.1
TAIL_SLACK_SECONDS: Final = 0.25
# Fewer visits have no median worth the name.
MIN_TIMED: Final = 20
# So many visits to the canary are enough to let it pass before the edge's propagation time is over.
ENOUGH_VISITS: Final = 20
# Looks in a row, a second apart, that must fail: one lost packet is no dead machine.
MISSES: Final = 3

CLOSED_STATES: Final = frozenset({"closed", "held"})
HELD: Final = "held"


class Outcome(Enum):
    """What is to be done."""

    WAIT = "wait"
    GOOD = "good"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Verdict:
    """`hold`: the canary is to be taken out of service at once."""

    outcome: Outcome
    reason: str = ""
    hold: bool = False


@dataclass(frozen=True, slots=True)
class Status:
    """What a member tells of itself: `flotilla-fence status --json`. The counts are since its watcher's start."""

    state: str
    reason: str
    requests: int
    errors: int
    bounds: tuple[float, ...]
    counts: tuple[int, ...]
    """Visits by latency: one number for each bound, in seconds, and one for what is slower."""
    recent_requests: int = 0
    recent_errors: int = 0


@dataclass(frozen=True, slots=True)
class Traffic:
    """Visits during the watch."""

    requests: int = 0
    errors: int = 0
    bounds: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()

    def grown(self, before: Status, after: Status) -> Traffic:
        """With what came between two looks. A count that fell began anew, so all of it is new."""
        if after.requests < before.requests or after.bounds != before.bounds:
            before = replace(after, requests=0, errors=0, counts=(0,) * len(after.counts))
        came = Traffic(
            after.requests - before.requests,
            after.errors - before.errors,
            after.bounds,
            tuple(now - then for now, then in zip(after.counts, before.counts, strict=True)),
        )
        return total((self, came))

    def quantile(self, share: float) -> float | None:
        """The bound in seconds that this share of the visits did not exceed; None when there were none."""
        wanted, seen = share * sum(self.counts), 0
        if not wanted:
            return None
        for bound, count in zip((*self.bounds, math.inf), self.counts, strict=True):
            seen += count
            if count and seen >= wanted:
                return bound
        return None

    def slower_than(self, seconds: float) -> int:
        """How many visits certainly took longer: those in the buckets that begin there or later."""
        return sum(
            count for start, count in zip(self.bounds, self.counts[1:], strict=True) if start >= seconds
        )

    def __str__(self) -> str:
        if not self.requests:
            return "no visits"
        text = f"{self.requests} visits, {self.errors} errors"
        p50, p99 = self.quantile(0.5), self.quantile(0.99)
        return text if p50 is None or p99 is None else f"{text}, p50 {shown(p50)}, p99 {shown(p99)}"


def total(parts: Iterable[Traffic]) -> Traffic:
    """All of these together. Members of one version have the same buckets; others' latency is left out."""
    requests = errors = 0
    bounds: tuple[float, ...] = ()
    counts: tuple[int, ...] = ()
    for part in parts:
        requests, errors = requests + part.requests, errors + part.errors
        if not counts:
            bounds, counts = part.bounds, part.counts
        elif part.bounds == bounds:
            counts = tuple(one + other for one, other in zip(counts, part.counts, strict=True))
    return Traffic(requests, errors, bounds, counts)


@dataclass(frozen=True, slots=True)
class Member:
    """A member as the watch has seen it so far."""

    name: str
    address: str
    status: Status | None = None
    traffic: Traffic = field(default_factory=Traffic)
    first_visit: float | None = None  # seconds since the watch began
    missed: str = ""  # why the last look failed
    misses: int = 0  # looks in a row that failed
    unready: int = 0  # looks in a row at which it said that it cannot serve
    asked: bool = False  # whether its readiness was ever asked

    def seen(self, status: Status, now: float, *, ready: bool | None = None) -> Member:
        """After a look; `ready` None: not asked this time."""
        traffic = self.traffic.grown(self.status, status) if self.status is not None else self.traffic
        first = now if self.first_visit is None and traffic.requests else self.first_visit
        unready = self.unready if ready is None else 0 if ready else self.unready + 1
        return replace(
            self,
            status=status,
            traffic=traffic,
            first_visit=first,
            missed="",
            misses=0,
            unready=unready,
            asked=self.asked or ready is not None,
        )

    def missing(self, why: str) -> Member:
        """After a look that failed."""
        return replace(self, missed=why, misses=self.misses + 1)

    @property
    def well(self) -> bool:
        """Serves as far as is known: what does not suffer from a shared fault."""
        return self.misses == 0 and self.open and self.asked and self.unready == 0

    @property
    def open(self) -> bool:
        return self.status is not None and self.status.state not in CLOSED_STATES

    def __str__(self) -> str:
        return f"{self.name} ({self.address})"


@dataclass(frozen=True, slots=True)
class Watch:
    """How long to look: until the canary has had visitors for `seconds`, at most `propagation` seconds longer."""

    seconds: float
    propagation: float

    @property
    def end(self) -> float:
        return self.seconds + self.propagation


def judge(canary: Member, others: Sequence[Member], now: float, watch: Watch) -> Verdict:
    """`now`: seconds since the watch began."""
    if broken := _broken(canary, others):
        return broken
    compared = total(member.traffic for member in others if member.open)
    for complaint in (_errors(canary.traffic, compared), _latency(canary.traffic, compared)):
        if complaint:
            return Verdict(Outcome.BAD, complaint, hold=True)
    if now >= watch.end:
        if canary.unready:
            return Verdict(Outcome.BAD, "it is not ready to serve, and nor is any other member")
        return Verdict(Outcome.GOOD, _note(canary.traffic, compared))
    if _unvisited(canary, others):
        return Verdict(Outcome.GOOD, "no member of the stack was ever visited, so it is a first deployment")
    watched = canary.first_visit is not None and now - canary.first_visit >= watch.seconds
    if watched and not canary.unready and not canary.misses and canary.traffic.requests >= ENOUGH_VISITS:
        return Verdict(Outcome.GOOD, _note(canary.traffic, compared))
    return Verdict(Outcome.WAIT)


def _unvisited(canary: Member, others: Sequence[Member]) -> bool:
    """Nobody has visitors whose experience a watch could protect. Of who was not reached nothing is known."""
    return canary.well and all(
        member.status is not None and member.status.requests == 0 for member in (canary, *others)
    )


def _broken(canary: Member, others: Sequence[Member]) -> Verdict | None:
    """What needs no comparison of visits."""
    if canary.misses >= MISSES:
        return Verdict(
            Outcome.BAD,
            f"{canary.misses} looks in a row failed, the last one with: {canary.missed}",
            hold=True,
        )
    status = canary.status
    if status is not None and status.state == HELD:
        return Verdict(Outcome.BAD, f"it is held out of service already: {status.reason}")
    if status is not None and status.state in CLOSED_STATES:
        return Verdict(Outcome.BAD, f"it has closed itself: {status.reason}", hold=True)
    if canary.unready >= MISSES and (any(member.well for member in others) or not others):
        return Verdict(
            Outcome.BAD, f"it said {canary.unready} times in a row that it is not ready", hold=True
        )
    return None


def _errors(canary: Traffic, compared: Traffic) -> str:
    if canary.errors < MIN_ERRORS:
        return ""
    if compared.requests < MIN_COMPARED and not compared.errors:
        share = canary.errors / canary.requests
        limit = f"{ALONE_ERROR_SHARE:.0%} is the limit while the others have hardly a visit"
        return (
            f"{canary.errors} of {canary.requests} visits failed; {limit}"
            if share > ALONE_ERROR_SHARE
            else ""
        )
    if _chance(canary.errors, canary.requests, compared.errors, compared.requests) > UNLIKELY:
        return ""
    others = f"{compared.errors} of {compared.requests} at the others"
    return f"{canary.errors} of {canary.requests} visits failed, against {others}"


def _latency(canary: Traffic, compared: Traffic) -> str:
    median, tail = compared.quantile(0.5), compared.quantile(0.99)
    if median is None or tail is None or compared.requests < MIN_TIMED:
        return ""
    own = canary.quantile(0.5)
    limit = max(SLOW_FACTOR * median, median + MEDIAN_SLACK_SECONDS)
    if own is not None and canary.requests >= MIN_TIMED and own > limit:
        return f"half of its visits took up to {shown(own)}, against {shown(median)} at the others"
    limit = max(SLOW_FACTOR * tail, tail + TAIL_SLACK_SECONDS)
    slow, slow_others = canary.slower_than(limit), compared.slower_than(limit)
    if slow >= MIN_SLOW and _chance(slow, canary.requests, slow_others, compared.requests) <= UNLIKELY:
        text = f"{slow} of {canary.requests} visits took longer than {shown(limit)}"
        return f"{text}, against a 99th percentile of {shown(tail)} at the others"
    return ""


def _chance(bad: int, visits: int, bad_others: int, visits_others: int) -> float:
    """How likely so many of all bad visits, or more, fall on the canary when it is like the others: Fisher's exact
    test, one-sided, which holds for small numbers too. https://doi.org/10.2307/2340521"""
    bad_total = bad + bad_others
    most = min(bad_total, visits)
    every = _log_ways(visits + visits_others, bad_total)
    return math.fsum(
        math.exp(_log_ways(visits, hit) + _log_ways(visits_others, bad_total - hit) - every)
        for hit in range(max(bad, bad_total - visits_others), most + 1)
    )


def _log_ways(of: int, choose: int) -> float:
    """Logarithm of the number of ways to choose."""
    return math.lgamma(of + 1) - math.lgamma(choose + 1) - math.lgamma(of - choose + 1)


def _note(canary: Traffic, compared: Traffic) -> str:
    if not canary.requests:
        return "nothing is known of how it serves visitors, as none came to it in that time"
    if not compared.requests:
        return "no other member had visitors to compare with"
    return ""


def shown(seconds: float) -> str:
    """A bound of a bucket, for people."""
    if math.isinf(seconds):
        return "longer than is counted"
    return f"{seconds * 1000:g} ms" if seconds < 1 else f"{seconds:g} s"
