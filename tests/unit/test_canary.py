"""The judgement of a canary: from counts alone, and right for small fleets too."""

from __future__ import annotations

import pytest

from fleet.canary import Member, Outcome, Status, Traffic, Verdict, Watch, judge, total

BOUNDS = (0.01, 0.05, 0.1, 0.5, 1.0)
WATCH = Watch(seconds=30, propagation=300)


def status(
    fast: int = 0, slow: int = 0, errors: int = 0, *, state: str = "open", reason: str = "", very: int = 0
) -> Status:
    """Visits within 10 ms, within a second, and longer."""
    counts = (fast, 0, 0, 0, slow, very)
    return Status(state, reason, fast + slow + very, errors, BOUNDS, counts)


def member(
    after: Status | None = None, *, name: str = "web-1", at: float = 1.0, ready: bool = True
) -> Member:
    """Looked at twice: nothing before, `after` now."""
    start = Member(name, "198.18.0.1").seen(status(), 0.0, ready=ready)
    return start.seen(after or status(), at, ready=ready)


def verdict(canary: Member, *others: Member, now: float = 10.0) -> Verdict:
    return judge(canary, others, now, WATCH)


OTHERS = member(status(fast=200), name="web-2")


def test_a_canary_that_does_as_the_others_is_waited_for_until_it_had_visitors_for_long_enough() -> None:
    canary = member(status(fast=50), at=5.0)
    assert verdict(canary, OTHERS, now=34.0).outcome is Outcome.WAIT
    assert verdict(canary, OTHERS, now=35.0) == Verdict(Outcome.GOOD)


def test_a_few_visits_are_not_enough_before_the_edges_time_is_over() -> None:
    canary = member(status(fast=5), at=5.0)
    assert verdict(canary, OTHERS, now=329.0).outcome is Outcome.WAIT
    assert verdict(canary, OTHERS, now=330.0).outcome is Outcome.GOOD


def test_without_visitors_it_passes_and_says_so() -> None:
    assert verdict(member(), OTHERS, now=100.0).outcome is Outcome.WAIT
    passed = verdict(member(), OTHERS, now=330.0)
    assert passed.outcome is Outcome.GOOD
    assert "none came to it" in passed.reason


def test_a_stack_that_nobody_ever_visited_is_not_watched() -> None:
    other = member(name="web-2")
    passed = verdict(member(), other, now=0.5)
    assert passed.outcome is Outcome.GOOD
    assert "first deployment" in passed.reason


def test_a_member_that_was_not_reached_may_have_visitors() -> None:
    unreached = Member("web-2", "198.18.0.2").missing("no answer")
    assert verdict(member(), unreached, now=0.5).outcome is Outcome.WAIT


def test_an_unready_canary_is_watched_even_before_the_first_visitor() -> None:
    assert verdict(member(ready=False), member(name="web-2"), now=0.5).outcome is Outcome.WAIT


@pytest.mark.parametrize(
    ("visits", "errors", "others", "outcome"),
    [
        (40, 2, (200, 0), Outcome.WAIT),  # one or two failed visits prove nothing
        (40, 5, (200, 0), Outcome.BAD),
        (10, 10, (20, 0), Outcome.BAD),  # a small site, an app that crashes
        (40, 5, (200, 20), Outcome.WAIT),  # the others suffer as much: a shared dependency
        (40, 40, (200, 200), Outcome.WAIT),
        (5, 5, (5, 5), Outcome.WAIT),
        (5, 5, (20, 0), Outcome.BAD),
        (3, 3, (20, 0), Outcome.WAIT),
        (400, 30, (2000, 20), Outcome.BAD),  # a busy site, seven times the usual rate
        (400, 6, (2000, 20), Outcome.WAIT),  # within chance
    ],
)
def test_errors_are_judged_against_those_of_the_others(
    visits: int, errors: int, others: tuple[int, int], outcome: Outcome
) -> None:
    found = verdict(
        member(status(fast=visits, errors=errors)), member(status(fast=others[0], errors=others[1]))
    )
    assert found.outcome is outcome
    if outcome is Outcome.BAD:
        assert found.hold
        assert (
            f"{errors} of {visits} visits failed, against {others[1]} of {others[0]} at the others"
            in found.reason
        )


@pytest.mark.parametrize(("errors", "outcome"), [(2, Outcome.WAIT), (3, Outcome.BAD)])
def test_with_nobody_to_compare_with_a_tenth_of_failed_visits_is_too_much(
    errors: int, outcome: Outcome
) -> None:
    assert verdict(member(status(fast=20, errors=errors)), member(name="web-2")).outcome is outcome
    assert verdict(member(status(fast=20, errors=errors)), member(status(fast=1))).outcome is outcome
    assert verdict(member(status(fast=20, errors=errors))).outcome is outcome


def test_a_slow_median_is_bad() -> None:
    found = verdict(member(status(fast=10, slow=15)), OTHERS)
    assert (found.outcome, found.hold) == (Outcome.BAD, True)
    assert "half of its visits took up to 1 s, against 10 ms at the others" in found.reason


def test_a_slow_tail_is_bad_but_not_a_few_slow_visits_of_a_cold_cache() -> None:
    assert verdict(member(status(fast=60, slow=4)), OTHERS).outcome is Outcome.WAIT
    found = verdict(member(status(fast=60, slow=8)), OTHERS)
    assert found.outcome is Outcome.BAD
    assert "8 of 68 visits took longer than 260 ms, against a 99th percentile of 10 ms" in found.reason


def test_slow_everywhere_is_nobodys_fault() -> None:
    assert verdict(member(status(slow=60)), member(status(slow=200), name="web-2")).outcome is Outcome.WAIT


def test_a_canary_that_closed_itself_is_bad_at_once() -> None:
    found = verdict(member(status(state="closed", reason="the app is dead")), OTHERS, now=0.0)
    assert found == Verdict(Outcome.BAD, "it has closed itself: the app is dead", hold=True)


def test_a_canary_that_is_held_already_is_not_held_again() -> None:
    found = verdict(
        Member("web-1", "198.18.0.1").seen(status(state="held", reason="canary: slow"), 0.0), OTHERS
    )
    assert found == Verdict(Outcome.BAD, "it is held out of service already: canary: slow", hold=False)


def test_a_canary_that_cannot_be_reached_is_bad_after_three_looks() -> None:
    canary = member().missing("no answer").missing("no answer")
    assert verdict(canary, OTHERS).outcome is Outcome.WAIT
    found = verdict(canary.missing("connection refused"), OTHERS)
    assert (found.outcome, found.hold) == (Outcome.BAD, True)
    assert "3 looks in a row failed, the last one with: connection refused" in found.reason
    assert verdict(canary.seen(status(), 3.0), OTHERS).outcome is Outcome.WAIT


def test_a_canary_that_is_not_ready_is_bad_unless_nobody_is() -> None:
    canary = member(ready=False).seen(status(), 2.0, ready=False)
    assert canary.unready == 3
    assert verdict(canary, OTHERS).hold
    assert verdict(canary).hold
    unready = member(name="web-2", ready=False)
    assert verdict(canary, unready).outcome is Outcome.WAIT
    ended = verdict(canary, unready, now=330.0)
    assert (ended.outcome, ended.hold) == (Outcome.BAD, False)
    assert "nor is any other member" in ended.reason


def test_a_count_that_falls_has_begun_anew() -> None:
    restarted = member(status(fast=50, errors=4)).seen(status(fast=3, errors=1), 2.0)
    assert (restarted.traffic.requests, restarted.traffic.errors) == (53, 5)


def test_closed_members_are_no_measure() -> None:
    closed = member(status(fast=200, errors=200, state="closed"), name="web-2")
    assert verdict(member(status(fast=40, errors=5)), closed, member(status(fast=200), name="web-3")).hold


def test_what_is_shown_has_the_numbers() -> None:
    assert str(member(status(fast=60, slow=8, errors=2)).traffic) == "68 visits, 2 errors, p50 10 ms, p99 1 s"
    assert str(Traffic()) == "no visits"
    assert str(member(status(very=2)).traffic).endswith("p99 longer than is counted")


def test_members_with_other_buckets_are_counted_without_their_latency() -> None:
    odd = Traffic(5, 1, (0.2,), (5, 0))
    assert total([OTHERS.traffic, odd]) == Traffic(205, 1, BOUNDS, (200, 0, 0, 0, 0, 0))
