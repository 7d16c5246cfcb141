"""Members that all follow the fence, simulated: whatever breaks, the fleet is never closed by its own care."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fleet.machine import fence
from fleet.machine.fence import Count, Health, Local, Memory, Peer, State, Trouble, judge, notice

TICK = 0.25
VISITS_PER_TICK = 5
WINDOW = 8  # ticks in the two seconds that `recent` covers
FAULTS = ("", "dead", "slow", "errors", "gone")


@dataclass
class Member:
    """One member: what is wrong with it, what it remembers, and what it last told the others."""

    slot: str
    fault: str = ""
    memory: Memory = field(default_factory=Memory)
    told: Peer = field(default_factory=Peer)
    visits: Count = field(default_factory=Count)
    history: tuple[tuple[int, int], ...] = ()

    @property
    def open(self) -> bool:
        return self.memory.state is State.OPEN

    def serve(self, shared: str) -> None:
        """A tick's visitors."""
        requests = VISITS_PER_TICK if self.open else 0
        failed = requests if "errors" in (self.fault, shared) else 0
        if self.fault in ("dead", "slow", "gone") or shared == "slow":
            requests = failed = 0
        self.visits = Count(self.visits.requests + requests, self.visits.errors + failed)
        self.history = (*self.history, (requests, failed))[-WINDOW:]

    def local(self, now: float, shared: str) -> Local:
        health = Health.DEAD if self.fault == "dead" else Health.FINE
        if "slow" in (self.fault, shared):
            health = Health.SLOW
        recent = Count(sum(r for r, _ in self.history), sum(e for _, e in self.history))
        return Local(now=now, health=health, recent=recent, reason=self.fault or shared)

    def tell(self) -> None:
        self.told = Peer(
            closed=not self.open,
            closing=self.memory.closing,
            trouble=self.memory.trouble,
            visits=self.visits,
        )


class Fleet:
    """Members, and the order in which they come to look, which is the scheduler's."""

    def __init__(self, count: int) -> None:
        self.now = 0.0
        self.shared = ""
        self.members = [Member(f"web-{number}") for number in range(1, count + 1)]

    def view(self, of: Member) -> dict[str, Peer | None]:
        ready = not self.shared
        return {
            m.slot: None if m.fault == "gone" else replace(m.told, ready=ready)
            for m in self.members
            if m is not of
        }

    def tick(self, order: list[int]) -> None:
        """Everybody looks once; those who suspect themselves take their steps interleaved with the others'."""
        self.now += TICK
        for member in self.members:
            member.serve(self.shared)
        turns = [self.members[number % len(self.members)] for number in order]
        turns += [member for member in self.members if member not in turns]
        turns = [member for member in turns if member.fault != "gone"]
        looked: set[str] = set()
        for member in [*turns, *turns]:
            if member.slot not in looked:
                looked.add(member.slot)
                member.memory = notice(member.memory, member.local(self.now, self.shared))
                member.tell()
            self.judge(member)

    def judge(self, member: Member) -> None:
        """One look at the peers; it is published only afterwards, so others see what was told before."""
        if member.memory.suspect and member.open:
            local = member.local(self.now, self.shared)
            member.memory = judge(member.memory, local, member.slot, self.view(member))
            member.tell()
            if not member.open:
                assert self.away() * 2 <= len(self.members), "closed beyond half"

    def run(self, seconds: float) -> None:
        for _ in range(round(seconds / TICK)):
            self.tick(list(range(len(self.members))))

    def away(self) -> int:
        """Members that are closed or cannot be reached."""
        return sum(member.fault == "gone" or not member.open for member in self.members)

    def closed(self) -> list[str]:
        return [member.slot for member in self.members if not member.open]


class AnyFaults(RuleBasedStateMachine):
    """Faults come and go in any order on any member."""

    def __init__(self) -> None:
        super().__init__()
        self.fleet = Fleet(4)

    @rule(count=st.integers(1, 8))
    @precondition(lambda self: self.fleet.now == 0)
    def size(self, count: int) -> None:
        self.fleet = Fleet(count)

    @rule(member=st.integers(0, 7), fault=st.sampled_from(FAULTS))
    def breaks(self, member: int, fault: str) -> None:
        members = self.fleet.members
        members[member % len(members)].fault = fault

    @rule(fault=st.sampled_from(FAULTS))
    def all_break(self, fault: str) -> None:
        for member in self.fleet.members:
            member.fault = fault

    @rule(fault=st.sampled_from(("", "slow", "errors")))
    def shared_dependency(self, fault: str) -> None:
        self.fleet.shared = fault

    @rule(order=st.lists(st.integers(0, 7), max_size=16))
    def looks(self, order: list[int]) -> None:
        self.fleet.tick(order)

    @rule(seconds=st.sampled_from((1.0, 3.0, 8.0)))
    def time_passes(self, seconds: float) -> None:
        self.fleet.run(seconds)

    @invariant()
    def never_more_than_half_are_closed(self) -> None:
        assert len(self.fleet.closed()) * 2 <= len(self.fleet.members)


TestAnyFaults = AnyFaults.TestCase
TestAnyFaults.settings = settings(max_examples=50, stateful_step_count=20, deadline=None)


class SharedFaults(RuleBasedStateMachine):
    """A dependency of all comes and goes."""

    def __init__(self) -> None:
        super().__init__()
        self.fleet = Fleet(4)

    @rule(fault=st.sampled_from(("", "slow", "errors")), order=st.permutations(range(4)))
    def shared_dependency(self, fault: str, order: list[int]) -> None:
        self.fleet.shared = fault
        self.fleet.tick(order)

    @rule(seconds=st.sampled_from((1.0, 3.0, 8.0)))
    def time_passes(self, seconds: float) -> None:
        self.fleet.run(seconds)

    @invariant()
    def nobody_closes(self) -> None:
        assert self.fleet.closed() == []


TestSharedFaults = SharedFaults.TestCase
TestSharedFaults.settings = settings(max_examples=25, stateful_step_count=12, deadline=None)


def quiet_fleet(count: int) -> Fleet:
    fleet = Fleet(count)
    fleet.run(5)
    assert fleet.closed() == []
    return fleet


def test_a_member_that_fails_alone_closes_within_two_seconds_and_opens_when_healed() -> None:
    for count in range(2, 9):
        for fault in ("dead", "slow", "errors"):
            fleet = quiet_fleet(count)
            fleet.members[-1].fault = fault
            fleet.run(2)
            assert fleet.closed() == [f"web-{count}"], (count, fault)
            fleet.members[-1].fault = ""
            fleet.run(fence.ERRORS_HOLD_SECONDS + 1)
            assert fleet.closed() == [], (count, fault)


def test_of_many_that_break_at_once_as_many_close_as_may() -> None:
    for count in range(2, 9):
        fleet = quiet_fleet(count)
        for member in fleet.members[1:]:
            member.fault = "dead"
        fleet.run(10)
        assert len(fleet.closed()) == min(count - 1, count // 2), count


def test_a_member_that_closed_alone_stays_closed_while_all_suffer() -> None:
    fleet = quiet_fleet(4)
    fleet.members[0].fault = "dead"
    fleet.run(2)
    fleet.shared = "errors"
    fleet.run(20)
    assert fleet.closed() == ["web-1"]
    assert fleet.members[1].told.trouble is Trouble.ERRORS
