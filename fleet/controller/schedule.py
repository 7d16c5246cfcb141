"""Which schedule counts now: cron expressions of five fields, each in a time zone.

https://man7.org/linux/man-pages/man5/crontab.5.html. Where clocks are put forward, a time that does not exist counts at
the moment of the change; where they are put back, a time that comes twice counts the first time. So of two schedules the
later of the day is the later one on every day.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Final, Self
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from fleet.controller.model import Schedule
from fleet.errors import FleetError

# The 29th of February comes every eighth year at the longest.
FAR_DAYS: Final = 8 * 366 + 1
# No zone has ever put its clock back by more.
LONGEST_SHIFT: Final = timedelta(hours=26)

_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS: Final = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_PART = re.compile(r"(?:\*|(\w+)(?:-(\w+))?)(?:/([1-9]\d*))?")


class ScheduleError(FleetError):
    """A cron expression or a time zone that means nothing."""


@dataclass(frozen=True, slots=True)
class Cron:
    """A parsed expression: the values that each field allows."""

    times: tuple[time, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    """0 is Sunday."""
    either: bool
    """Both the day of the month and of the week are restricted, and either is enough."""

    @classmethod
    def parse(cls, text: str) -> Self:
        """Raises ScheduleError that names what is wrong."""
        fields = text.split()
        if len(fields) != 5:
            raise ScheduleError(
                f"schedule {text!r} has {len(fields)} fields; give five: minute hour day month weekday"
            )
        minute, hour, day, month, weekday = fields
        minutes, hours = _values(text, minute, 0, 59), _values(text, hour, 0, 23)
        return cls(
            times=tuple(time(h, m) for h in sorted(hours) for m in sorted(minutes)),
            days=_values(text, day, 1, 31),
            months=_values(text, month, 1, 12, _MONTHS, 1),
            weekdays=frozenset(value % 7 for value in _values(text, weekday, 0, 7, _DAYS)),
            either=not day.startswith("*") and not weekday.startswith("*"),
        )

    def on(self, day: date) -> bool:
        """Whether it fires on a day."""
        of_month, of_week = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return day.month in self.months and (of_month or of_week if self.either else of_month and of_week)

    def last(self, now: datetime, zone: ZoneInfo) -> datetime | None:
        """When it last fired, at `now` or before; None when that is too long ago."""
        # What lies ahead by the clock may have been before, when the clock is put back just now.
        latest = now.astimezone(zone).replace(tzinfo=None) + LONGEST_SHIFT
        for back in range(FAR_DAYS):
            day = latest.date() - timedelta(days=back)
            if self.on(day):
                fired = self._last_of(day, now, zone)
                if fired is not None:
                    return fired
        return None

    def _last_of(self, day: date, now: datetime, zone: ZoneInfo) -> datetime | None:
        moments = _Moments(day, self.times, zone)
        index = bisect.bisect_right(moments, now)
        return moments[index - 1] if index else None


class _Moments(Sequence[datetime]):
    """The moments of a day's times, in order, each worked out when it is looked at."""

    def __init__(self, day: date, times: Sequence[time], zone: ZoneInfo) -> None:
        self._day, self._times, self._zone = day, times, zone

    def __len__(self) -> int:
        return len(self._times)

    def __getitem__(self, index: int) -> datetime:  # type: ignore[override]
        return moment(datetime.combine(self._day, self._times[index]), self._zone)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the schedules say now."""

    members: int | None
    """None: none of them has fired yet."""
    problems: tuple[str, ...] = ()
    """Schedules that mean nothing, and are left out."""


def verdict(schedules: Sequence[Schedule], now: float) -> Verdict:
    """The members that the last schedule to fire asks for; of several at once the last in the list."""
    at = datetime.fromtimestamp(now, UTC)
    problems, latest, members = [], None, None
    for schedule in schedules:
        try:
            fired = _parsed(schedule.cron).last(at, zone(schedule.timezone))
        except ScheduleError as error:
            problems.append(str(error))
            continue
        if fired is None:
            problems.append(f"schedule {schedule.cron!r} in {schedule.timezone} never fires")
        elif latest is None or fired >= latest:
            latest, members = fired, schedule.members
    return Verdict(members, tuple(problems))


def zone(name: str) -> ZoneInfo:
    """Raises ScheduleError for a name that is none."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ScheduleError(f"time zone {name!r} is not known; give one such as Europe/London") from error


def moment(local: datetime, place: ZoneInfo) -> datetime:
    """When a clock there shows a time, in UTC: the first time it does, or a hair before the change that skips it."""
    found = local.replace(tzinfo=place).astimezone(UTC)
    shown = found.astimezone(place).replace(tzinfo=None)
    if shown == local:
        return found
    before, after = found - (shown - local) - timedelta(seconds=1), found
    offset = before.astimezone(place).utcoffset()
    while after - before > timedelta(seconds=1):
        middle = before + (after - before) // 2
        if middle.astimezone(place).utcoffset() == offset:
            before = middle
        else:
            after = middle
    change = after.replace(microsecond=0)
    # By a hair's breadth in the order of the clock, so that of two skipped times the later one counts.
    skipped = change.astimezone(place).replace(tzinfo=None) - local
    return change - timedelta(microseconds=skipped.total_seconds())


@lru_cache(maxsize=256)
def _parsed(text: str) -> Cron:
    return Cron.parse(text)


def _values(
    text: str, field: str, low: int, high: int, names: Sequence[str] = (), base: int = 0
) -> frozenset[int]:
    return frozenset(
        value for part in field.split(",") for value in _part(text, part, low, high, names, base)
    )


def _part(text: str, part: str, low: int, high: int, names: Sequence[str], base: int) -> Iterator[int]:
    match = _PART.fullmatch(part)
    if not match:
        raise ScheduleError(
            f"schedule {text!r} has the field {part!r}, which is no number, range, list or step"
        )
    first, last, step = match.groups()

    def number(name: str) -> int:
        value = (
            names.index(name.lower()) + base if name.lower() in names else int(name) if name.isdigit() else -1
        )
        if not low <= value <= high:
            raise ScheduleError(f"schedule {text!r} has {name!r} where {low} to {high} may be")
        return value

    start = low if first is None else number(first)
    end = high if first is None else number(last) if last else high if step else start
    if end < start:
        raise ScheduleError(f"schedule {text!r} has the range {part!r}, which ends before it begins")
    yield from range(start, end + 1, int(step or 1))
