"""What became of the visits, as numbers: pure, from outcomes to a report and from a report to what was wrong."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Outcome:
    """One visit as it went. Times are those of the host's monotonic clock, in seconds."""

    number: int
    door: str
    post: bool
    slow: bool
    due: float
    started: float
    finished: float
    status: int | None = None
    failure: str = ""  # empty: the site's own answer came, complete
    phase: str = ""  # of a failure: connect, send, wait or read
    member: str = ""
    reused: bool = False  # it went over a visitor's kept-alive connection

    @property
    def seconds(self) -> float:
        """From the moment it was meant to start, so that a stall counts for all who came during it."""
        return self.finished - self.due


@dataclass(frozen=True, slots=True)
class Latency:
    """In seconds, of the visits that were answered."""

    p50: float
    p99: float
    longest: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Latency:
        ordered = sorted(seconds) or [0.0]
        return cls(rank(ordered, 0.5), rank(ordered, 0.99), ordered[-1])


@dataclass(frozen=True, slots=True)
class Failure:
    """A visit that was not answered by the site: who, when, how."""

    at: float  # the moment it was meant to start, on the host's monotonic clock
    ended: float
    what: str
    phase: str
    status: int | None
    door: str
    post: bool
    slow: bool
    member: str
    reused: bool


@dataclass(frozen=True, slots=True)
class Report:
    """The result of one run. Ids are the numbers of the POSTs."""

    run: str
    started: float
    requests: int
    failures: tuple[Failure, ...]
    quick: Latency
    slow: Latency
    lag_p99: float  # how late the generator itself was: more than a few ms, and the host was too busy to believe it
    acknowledged: tuple[int, ...]
    members: Mapping[str, int]

    @property
    def failed(self) -> Mapping[str, int]:
        """How many failed, by kind."""
        return Counter(failure.what for failure in self.failures)

    def after(self, moment: float) -> tuple[Failure, ...]:
        """Failures of visits that were meant to start after a moment of the monotonic clock."""
        return tuple(failure for failure in self.failures if failure.at > moment)

    def document(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Report:
        """The inverse of `document`, after a way through JSON."""
        given = dict(document)
        return cls(
            **{
                **given,
                "failures": tuple(Failure(**failure) for failure in given["failures"]),
                "quick": Latency(**given["quick"]),
                "slow": Latency(**given["slow"]),
                "acknowledged": tuple(given["acknowledged"]),
            }
        )


@dataclass(frozen=True, slots=True)
class Ledger:
    """The POSTs' ids against what the site recorded of them."""

    doubled: tuple[int, ...]
    """Recorded more than once: somebody sent a POST again."""
    lost: tuple[int, ...]
    """Acknowledged and not recorded."""

    @classmethod
    def of(cls, acknowledged: Sequence[int], recorded: Mapping[int, int]) -> Ledger:
        return cls(
            doubled=tuple(sorted(number for number, times in recorded.items() if times > 1)),
            lost=tuple(sorted(set(acknowledged) - recorded.keys())),
        )


def report(run: str, started: float, outcomes: Sequence[Outcome]) -> Report:
    """Sum up a run."""
    good = [outcome for outcome in outcomes if not outcome.failure]
    lags = sorted(outcome.started - outcome.due for outcome in outcomes) or [0.0]
    return Report(
        run=run,
        started=started,
        requests=len(outcomes),
        failures=tuple(_failure(outcome) for outcome in outcomes if outcome.failure),
        quick=Latency.of([outcome.seconds for outcome in good if not outcome.slow]),
        slow=Latency.of([outcome.seconds for outcome in good if outcome.slow]),
        lag_p99=rank(lags, 0.99),
        acknowledged=tuple(sorted(outcome.number for outcome in good if outcome.post)),
        members=dict(Counter(outcome.member for outcome in good)),
    )


def rank(ordered: Sequence[float], share: float) -> float:
    """The nearest-rank percentile of sorted values."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


def _failure(outcome: Outcome) -> Failure:
    return Failure(
        at=outcome.due,
        ended=outcome.finished,
        what=outcome.failure,
        phase=outcome.phase,
        status=outcome.status,
        door=outcome.door,
        post=outcome.post,
        slow=outcome.slow,
        member=outcome.member,
        reused=outcome.reused,
    )
