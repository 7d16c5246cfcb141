"""Schedules of the controller, over the days on which clocks are changed too."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet.controller.model import Schedule
from fleet.controller.schedule import Cron, ScheduleError, moment, verdict

BERLIN = ZoneInfo("Europe/Berlin")


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def last(cron: str, now: str, zone: str = "UTC") -> str | None:
    fired = Cron.parse(cron).last(utc(now), ZoneInfo(zone))
    return None if fired is None else fired.strftime("%Y-%m-%d %H:%M")


@pytest.mark.parametrize(
    ("cron", "now", "fired"),
    [
        ("30 8 * * *", "2026-11-21 08:29:59", "2026-11-20 08:30"),
        ("30 8 * * *", "2026-11-21 08:30:00", "2026-11-21 08:30"),
        ("30 8 * * mon-fri", "2026-11-22 12:00", "2026-11-20 08:30"),
        ("30 8 * * 1-5", "2026-11-22 12:00", "2026-11-20 08:30"),
        ("0 0 * * 7", "2026-11-25 12:00", "2026-11-22 00:00"),
        ("0 0 * * SUN", "2026-11-25 12:00", "2026-11-22 00:00"),
        ("*/15 * * * *", "2026-11-21 10:44", "2026-11-21 10:30"),
        ("5/20 9,17 * * *", "2026-11-21 10:00", "2026-11-21 09:45"),
        ("0 12 1 jan *", "2026-11-21 10:00", "2026-01-01 12:00"),
        ("0 0 29 2 *", "2026-11-21 10:00", "2024-02-29 00:00"),
        # Both days restricted: either is enough.
        ("0 0 13 * fri", "2026-11-14 10:00", "2026-11-13 00:00"),
        ("0 0 20 * mon", "2026-11-21 10:00", "2026-11-20 00:00"),
        ("0 0 31 2 *", "2026-11-21 10:00", None),
    ],
)
def test_it_last_fired(cron: str, now: str, fired: str | None) -> None:
    assert last(cron, now) == fired


def test_a_time_that_is_skipped_counts_at_the_change() -> None:
    """In Berlin the 29th of March 2026 has no 02:30: at 01:00 UTC clocks go from 02:00 to 03:00."""
    assert last("30 2 * * *", "2026-03-29 00:59:59", "Europe/Berlin") == "2026-03-28 01:30"
    assert last("30 2 * * *", "2026-03-29 01:00:00", "Europe/Berlin") == "2026-03-29 00:59"
    assert moment(datetime(2026, 3, 29, 2, 15), BERLIN) < moment(datetime(2026, 3, 29, 2, 30), BERLIN)  # noqa: DTZ001
    assert utc("2026-03-29 01:00") - moment(datetime(2026, 3, 29, 2, 0), BERLIN) < timedelta(seconds=0.01)  # noqa: DTZ001
    assert last("30 2 * * *", "2026-03-30 01:00:00", "Europe/Berlin") == "2026-03-30 00:30"


def test_a_time_that_comes_twice_counts_the_first_time() -> None:
    """On the 25th of October 2026 Berlin has 02:30 at 00:30 and at 01:30 UTC."""
    for now in ("2026-10-25 00:30", "2026-10-25 01:15", "2026-10-25 01:45", "2026-10-25 23:00"):
        assert last("30 2 * * *", now, "Europe/Berlin") == "2026-10-25 00:30"


def test_a_clock_that_is_put_back_over_midnight_is_not_asked_for_tomorrow() -> None:
    """Havana goes from 01:00 back to 00:00 on the 1st of November 2026, at 05:00 UTC."""
    assert last("30 0 * * *", "2026-11-01 05:10", "America/Havana") == "2026-11-01 04:30"


@pytest.mark.parametrize("day", ["2026-03-29", "2026-10-25", "2026-07-01"])
def test_the_later_time_of_a_day_wins_on_every_day(day: str) -> None:
    """Otherwise a night's size could last the whole day after clocks were changed."""
    night = [
        Schedule(cron="30 2 * * *", timezone="Europe/Berlin", members=9),
        Schedule(cron="0 3 * * *", timezone="Europe/Berlin", members=3),
    ]
    noon = utc(f"{day} 12:00").timestamp()
    assert verdict(night, noon).members == 3
    assert verdict(night[::-1], noon).members == 3


def test_the_last_to_fire_counts_whatever_its_zone() -> None:
    schedules = [
        Schedule(cron="0 9 * * *", timezone="Asia/Tokyo", members=8),
        Schedule(cron="0 9 * * *", timezone="Europe/London", members=5),
    ]
    assert verdict(schedules, utc("2026-11-21 08:59").timestamp()).members == 8
    assert verdict(schedules, utc("2026-11-21 09:00").timestamp()).members == 5
    assert verdict(schedules, utc("2026-11-22 00:00").timestamp()).members == 8


def test_what_means_nothing_is_left_out_and_named() -> None:
    schedules = [
        Schedule(cron="0 0 31 2 *", timezone="UTC", members=50),
        Schedule(cron="0 9 * * *", timezone="Europe/Lodon", members=40),
        Schedule(cron="0 9 * *", timezone="UTC", members=30),
        Schedule(cron="0 9 * * *", timezone="UTC", members=4),
    ]
    said = verdict(schedules, utc("2026-11-21 10:00").timestamp())
    assert said.members == 4
    assert [text.split("'")[1] for text in said.problems] == ["0 0 31 2 *", "Europe/Lodon", "0 9 * *"]
    assert verdict((), 0.0).members is None


@pytest.mark.parametrize(
    "cron",
    [
        "",
        "60 * * * *",
        "* 24 * * *",
        "* * 0 * *",
        "* * * 13 *",
        "* * * * 8",
        "*/0 * * * *",
        "9-3 * * * *",
        "a * * * *",
    ],
)
def test_a_bad_expression_is_named(cron: str) -> None:
    with pytest.raises(ScheduleError, match=f"schedule '{cron.replace('*', '[*]')}'"):
        Cron.parse(cron)


@given(
    minutes=st.integers(min_value=0, max_value=3 * 365 * 24 * 60),
    zone=st.sampled_from(
        ["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Casablanca", "UTC"]
    ),
)
def test_a_moment_shows_the_time_it_was_asked_for_unless_that_is_skipped(minutes: int, zone: str) -> None:
    local = datetime(2025, 1, 1) + timedelta(minutes=minutes)  # noqa: DTZ001 - a clock on a wall
    place = ZoneInfo(zone)
    found = moment(local, place)
    shown = found.astimezone(place).replace(tzinfo=None)
    just_after = (found + timedelta(seconds=1)).astimezone(place).replace(tzinfo=None)
    assert shown == local or shown <= local < just_after
