"""The fence's decisions, one behaviour each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from fleet.machine import fence
from fleet.machine.fence import Count, Health, Local, Memory, Peer, State, Trouble, judge, notice

View = Mapping[str, Peer | None]

PEERS = {"web-2": Peer(), "web-3": Peer(), "web-4": Peer()}
NEW = Memory()
DEAD = Local(now=0, health=Health.DEAD, reason="the app: Connection refused")
SLOW = Local(now=0, health=Health.SLOW, reason="the app: no answer")
FINE = Local(now=0)
FAILING = Local(now=0, recent=Count(10, 8))


def after(*seen: Local, memory: Memory = NEW) -> Memory:
    """What a member remembers after it saw this of itself, a quarter of a second apart."""
    for number, local in enumerate(seen):
        memory = notice(memory, replace(local, now=local.now + number / 4))
    return memory


def judged(memory: Memory, local: Local, *views: View, slot: str = "web-1") -> Memory:
    """Judge in view of the peers, as often as there are views."""
    for view in views:
        memory = judge(memory, local, slot, view)
    return memory


def seen(view: Mapping[str, Peer], visits: int, errors: int = 0) -> View:
    """The peers after further visits."""
    return {slot: replace(peer, visits=Count(visits, errors)) for slot, peer in view.items()}


def test_a_member_that_is_well_stays_open() -> None:
    assert after(FINE, FINE) == Memory()


def test_one_missed_check_asks_nobody() -> None:
    assert not after(DEAD).suspect


def test_two_missed_checks_close_once_the_peers_were_told() -> None:
    memory = judged(after(DEAD, DEAD), DEAD, PEERS)
    assert (memory.state, memory.closing) == (State.OPEN, True)
    memory = judged(memory, DEAD, PEERS)
    assert (memory.state, memory.closing) == (State.CLOSED, False)
    assert memory.reason == "the app: Connection refused"


def test_a_check_that_succeeds_in_between_starts_anew() -> None:
    assert not after(DEAD, FINE, DEAD).suspect


def test_a_member_that_recovers_while_it_is_about_to_close_stays_open() -> None:
    closing = judged(after(DEAD, DEAD), DEAD, PEERS)
    assert not notice(closing, FINE).closing


@pytest.mark.parametrize("sign", ["serving", "busy"])
def test_a_slow_member_that_shows_a_sign_of_life_gets_longer(sign: str) -> None:
    alive = replace(SLOW, **{sign: True})  # type: ignore[arg-type] # a field's name
    assert not after(*[alive] * (fence.MISSES_WHILE_BUSY - 1)).suspect
    assert after(*[alive] * fence.MISSES_WHILE_BUSY).suspect


def test_a_slow_member_among_well_ones_closes() -> None:
    assert judged(after(SLOW, SLOW), SLOW, PEERS, PEERS).state is State.CLOSED


@pytest.mark.parametrize(
    "peer",
    [Peer(trouble=Trouble.SLOW), Peer(trouble=Trouble.ERRORS), Peer(ready=False)],
    ids=["slow", "errors", "not ready"],
)
def test_what_most_peers_suffer_too_closes_nobody(peer: Peer) -> None:
    view = {"web-2": peer, "web-3": peer, "web-4": Peer()}
    assert judged(after(SLOW, SLOW), SLOW, view, view).state is State.OPEN


def test_without_peers_a_member_never_closes() -> None:
    assert judged(after(DEAD, DEAD), DEAD, {}, {}).state is State.OPEN


def test_alone_among_unreachable_ones_a_member_stays_open() -> None:
    view = dict.fromkeys(PEERS)
    assert judged(after(DEAD, DEAD), DEAD, view, view).state is State.OPEN


@pytest.mark.parametrize("away", [Peer(closed=True), None], ids=["closed", "unreachable"])
def test_never_more_than_half_are_closed_or_unreachable(away: Peer | None) -> None:
    one: dict[str, Peer | None] = {**PEERS, "web-2": away}
    two: dict[str, Peer | None] = {**one, "web-3": away}
    assert judged(after(DEAD, DEAD), DEAD, one, one).state is State.CLOSED
    assert judged(after(DEAD, DEAD), DEAD, two, two).state is State.OPEN


def test_of_two_members_one_may_close() -> None:
    view = {"web-2": Peer()}
    assert judged(after(DEAD, DEAD), DEAD, view, view).state is State.CLOSED


def test_of_rivals_for_the_last_place_the_lower_slot_closes() -> None:
    rival: dict[str, Peer | None] = {
        "web-2": Peer(closing=True),
        "web-10": Peer(),
        "web-1": Peer(closed=True),
    }
    higher = judged(after(DEAD, DEAD), DEAD, rival, slot="web-10")
    assert not higher.closing
    lower = {"web-10": Peer(closing=True), "web-3": Peer(), "web-1": Peer(closed=True)}
    memory = judged(after(DEAD, DEAD), DEAD, lower, lower, slot="web-2")
    assert (memory.state, memory.closing) == (State.OPEN, True)
    withdrawn = {**lower, "web-10": Peer()}
    assert judged(memory, DEAD, withdrawn, slot="web-2").state is State.CLOSED


def test_a_member_that_gave_way_tries_again_later() -> None:
    rival: dict[str, Peer | None] = {"web-1": Peer(closing=True), "web-3": Peer(closed=True), "web-4": Peer()}
    memory = judged(after(DEAD, DEAD), DEAD, rival, slot="web-2")
    free: dict[str, Peer | None] = {"web-1": Peer(), "web-3": Peer(closed=True), "web-4": Peer()}
    assert not judged(memory, DEAD, free, slot="web-2").closing
    later = replace(DEAD, now=fence.RETRY_SECONDS + 1)
    assert judged(memory, later, free, slot="web-2").closing


def test_errors_close_once_the_peers_served_well_meanwhile() -> None:
    memory = judged(after(FAILING), FAILING, seen(PEERS, 100))
    assert not memory.closing
    memory = judged(memory, FAILING, seen(PEERS, 110), seen(PEERS, 111))
    assert memory.state is State.CLOSED
    assert memory.reason == "8 of the last 10 visits were answered with 5xx"


def test_errors_that_the_peers_have_too_close_nobody() -> None:
    memory = judged(after(FAILING), FAILING, seen(PEERS, 100))
    assert judged(memory, FAILING, seen(PEERS, 140, 5), seen(PEERS, 180, 9)).state is State.OPEN


def test_the_peers_errors_of_earlier_do_not_count() -> None:
    memory = judged(after(FAILING), FAILING, seen(PEERS, 100, 90))
    assert judged(memory, FAILING, seen(PEERS, 120, 90), seen(PEERS, 120, 90)).state is State.CLOSED


def test_peers_without_visitors_witness_nothing() -> None:
    memory = judged(after(FAILING), FAILING, seen(PEERS, 100))
    assert judged(memory, FAILING, seen(PEERS, 103), seen(PEERS, 103)).state is State.OPEN


def test_a_peers_count_that_begins_anew_is_no_witness() -> None:
    memory = judged(after(FAILING), FAILING, seen(PEERS, 100))
    assert not judged(memory, FAILING, seen(PEERS, 20)).closing


@pytest.mark.parametrize("recent", [Count(4, 4), Count(20, 9)])
def test_few_errors_close_nobody(recent: Count) -> None:
    local = replace(FAILING, recent=recent)
    memory = judged(after(local), local, seen(PEERS, 100), seen(PEERS, 200), seen(PEERS, 200))
    assert memory.state is State.OPEN


def closed(**changes: object) -> Memory:
    return replace(judged(after(DEAD, DEAD), DEAD, PEERS, PEERS), **changes)  # type: ignore[arg-type]


def test_a_closed_member_opens_after_it_was_well_for_a_while() -> None:
    memory = notice(closed(), replace(FINE, now=100))
    assert memory.state is State.CLOSED
    memory = notice(memory, replace(FINE, now=100 + fence.BASE_HOLD_SECONDS))
    assert (memory.state, memory.reason) == (State.OPEN, "")


@pytest.mark.parametrize("relapse", [replace(DEAD, now=102), replace(FINE, now=102, ready=False)])
def test_a_relapse_starts_the_time_anew(relapse: Local) -> None:
    memory = notice(notice(closed(), replace(FINE, now=100)), relapse)
    for now in (103, 107):
        memory = notice(memory, replace(FINE, now=now))
    assert memory.state is State.CLOSED
    assert notice(memory, replace(FINE, now=108)).state is State.OPEN


def test_flapping_doubles_the_time_up_to_a_limit() -> None:
    memory, holds, now = Memory(), [], 1000.0
    for _ in range(10):
        memory = judged(after(DEAD, DEAD, memory=memory), replace(DEAD, now=now), PEERS, PEERS)
        holds.append(memory.hold)
        for moment in (now + 1, now + 1 + memory.hold):
            memory = notice(memory, replace(FINE, now=moment))
        assert memory.state is State.OPEN
        now += 2 + memory.hold + holds[-1]
    assert holds[:4] == [5, 10, 20, 40]
    assert holds[-1] == fence.LONGEST_HOLD_SECONDS


def test_a_member_that_stayed_open_is_forgiven() -> None:
    memory = replace(Memory(), strikes=5, opened_at=0.0)
    late = replace(DEAD, now=fence.FORGIVEN_SECONDS + 1)
    assert judged(after(DEAD, DEAD, memory=memory), late, PEERS, PEERS).hold == fence.BASE_HOLD_SECONDS


def test_errors_are_tried_again_less_often() -> None:
    memory = judged(after(FAILING), FAILING, seen(PEERS, 0), seen(PEERS, 20), seen(PEERS, 20))
    assert memory.hold == fence.ERRORS_HOLD_SECONDS


def test_a_hold_closes_at_once_whatever_the_peers_and_stays() -> None:
    held = replace(FINE, held="canary is slow")
    memory = notice(Memory(), held)
    assert (memory.state, memory.reason) == (State.HELD, "canary is slow")
    assert notice(memory, replace(held, now=10_000)).state is State.HELD


def test_a_released_member_opens_when_it_is_well() -> None:
    memory = notice(Memory(), replace(FINE, held="x"))
    memory = notice(memory, replace(FINE, now=10))
    assert memory.state is State.CLOSED
    assert notice(memory, replace(FINE, now=10 + fence.RELEASED_HOLD_SECONDS)).state is State.OPEN
    assert notice(memory, replace(DEAD, now=10 + fence.RELEASED_HOLD_SECONDS)).state is State.CLOSED
