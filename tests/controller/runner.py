"""Passes over a simulated world: actions that take time, answers that are lost, lists that lie, and a controller that is
killed anywhere."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from fleet.controller import decide as production
from fleet.controller.codec import decode
from fleet.controller.memory import dumps
from fleet.controller.model import (
    CREATING,
    DESTROYING,
    Action,
    Decision,
    Fence,
    Hold,
    Memory,
    Observation,
    Outcome,
    Policy,
    PowerCycle,
    Rebuild,
    Seen,
    Step,
    Withdraw,
)
from tests.controller.world import World

Decide = Callable[[Policy, Observation, Memory], Decision]
__all__ = ["Faults", "Runner", "stored"]


@dataclass
class Faults:
    """What goes wrong between the controller and the clouds."""

    lists_unknown: float = 0.0
    stale_ticks: int = 0
    partial: int = 0
    """So many droplets are left out of a list that claims to be whole."""
    lost_answers: float = 0.0
    refused: float = 0.0
    slow_ticks: int = 0
    """Actions take up to so many ticks."""


@dataclass
class Running:
    action: Action
    left: int


@dataclass
class Runner:
    """A controller at work in a world."""

    world: World
    decide: Decide = production.decide
    memory: Memory = field(default_factory=Memory)
    faults: Faults = field(default_factory=Faults)
    running: list[Running] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    last: Decision | None = None
    observation: Observation | None = None
    spent: list[float] = field(default_factory=list)
    """When something was rebuilt, or let go beyond planned scale-in."""
    doomed: set[int] = field(default_factory=set)
    repaired: dict[int, float] = field(default_factory=dict)
    started: Counter[str] = field(default_factory=Counter)

    def passes(self, count: int) -> None:
        for _ in range(count):
            self.step()

    def step(self) -> Decision:
        """One pass, and a tick of time."""
        decision = self.think()
        self.memory = decision.memory
        for action in decision.actions:
            self.start(action)
        self.advance()
        return decision

    def think(self) -> Decision:
        self.observation = self.observe()
        decision = self.decide(self.world.policy, self.observation, self.memory)
        self.last = decision
        self.outcomes = []
        self._judge(self.observation, decision)
        return decision

    def observe(self) -> Observation:
        seen = replace(
            self.world.observe(),
            under_way=tuple(running.action for running in self.running),
            outcomes=tuple(self.outcomes),
        )
        random = self.world.random
        if random.random() < self.faults.lists_unknown:
            return replace(seen, droplets=None) if random.random() < 0.5 else replace(seen, records=None)
        if self.faults.stale_ticks and len(self.world.history) > self.faults.stale_ticks:
            droplets, records = self.world.history[-self.faults.stale_ticks]
            seen = replace(seen, droplets=droplets, records=records)
        if self.faults.partial and seen.droplets:
            kept = random.sample(seen.droplets, max(0, len(seen.droplets) - self.faults.partial))
            seen = replace(seen, droplets=tuple(kept))
        return seen

    def start(self, action: Action) -> None:
        self.started[type(action).__name__] += 1
        self.world.judge(action, stale=self.faults.stale_ticks > 0)
        if isinstance(action, PowerCycle | Rebuild):
            self._judge_repair(action)
        self.running.append(Running(action, self.world.random.randint(0, self.faults.slow_ticks)))

    def _judge_repair(self, action: PowerCycle | Rebuild) -> None:
        world = self.world
        led = {record.content for record in world.records.values()}
        for droplet, at in self.repaired.items():
            other = world.machines.get(droplet)
            recent = droplet != action.droplet and world.now - at < 110
            if recent and other and other.address in led and not world.well(other):
                world.violations.append(f"at {world.now:.0f} {action}: several repairs at once")
        # One that is started again, as after a lost answer, is the same one.
        if world.now - self.repaired.get(action.droplet, -1e9) > 130:
            self.repaired[action.droplet] = world.now

    def advance(self) -> None:
        """Let a tick pass; what is due is done."""
        for running in list(self.running):
            if running.left > 0:
                running.left -= 1
                continue
            self.running.remove(running)
            self.finish(running.action)
        self.world.tick()

    def finish(self, action: Action) -> None:
        random = self.world.random
        if random.random() < self.faults.refused:
            self.outcomes.append(Outcome(action, "HTTP 500"))
            return
        stale: tuple[Seen, ...] | None = None
        if self.faults.stale_ticks and len(self.world.history) > self.faults.stale_ticks:
            stale = self.world.history[-self.faults.stale_ticks][0]
        error = self.world.perform(action, stale)
        lost = random.random() < self.faults.lost_answers
        self.outcomes.append(Outcome(action, "no answer; it may be done all the same" if lost else error))

    def crash(self, *, saved: bool = True, calls: int = 99, after: bool = False) -> None:
        """Killed in a pass: before its memory was written, or after, with so many calls made; `after` the last of them
        reached the cloud too, and nobody heard the answer."""
        spent, doomed = list(self.spent), set(self.doomed)
        decision = self.think()
        if not saved:
            self.spent, self.doomed = spent, doomed
        else:
            self.memory = stored(decision.memory)
            for action in decision.actions[:calls]:
                self.world.judge(action, stale=self.faults.stale_ticks > 0)
                self.world.perform(action)
            if after and decision.actions[calls : calls + 1]:
                self.world.perform(decision.actions[calls])
        for running in self.running:
            if self.world.random.random() < 0.5:
                self.world.perform(running.action)
        self.running, self.outcomes = [], []
        self.world.tick()

    def settle(self, passes: int = 400, quiet: int = 200) -> int:
        """Without any further fault: passes until nothing is left to do, at most so many."""
        self.faults = Faults()
        calm = 0
        for number in range(passes):
            decision = self.step()
            calm = 0 if decision.actions or self.running else calm + 1
            if calm > quiet:
                return number - calm
        return passes

    def _judge(self, seen: Observation, decision: Decision) -> None:
        for wrong in self._wrong(seen, decision):
            self.world.violations.append(f"at {self.world.now:.0f} {decision.actions}: {wrong}")

    def _wrong(self, seen: Observation, decision: Decision) -> Iterator[str]:
        """What no decision may be, in view of what was seen."""
        orders = seen.orders
        harmful = [action for action in decision.actions if isinstance(action, DESTROYING)]
        begun = [action for action in decision.actions if isinstance(action, CREATING)]
        if decision.actions and (seen.droplets is None or seen.records is None):
            yield "something is done though a list is not known"
        leaving = {
            droplet for droplet, track in self.memory.tracks.items() if track.leaving_since is not None
        }
        there = (self.memory.known - leaving) & self.world.machines.keys()
        if decision.actions and len(there - {droplet.id for droplet in seen.droplets or ()}) > 1:
            yield "something is done though the list lacks several at once"
        if decision.actions and orders is None:
            yield "something is done though the orders cannot be read"
        if orders is not None and (
            (harmful and holds(orders.destroy, seen)) or (begun and holds(orders.create, seen))
        ):
            yield "held"
        under_way = [running.action for running in self.running]
        repairs = [
            action for action in [*decision.actions, *under_way] if isinstance(action, PowerCycle | Rebuild)
        ]
        if len({action.slot for action in repairs}) > 1:
            yield "several repairs at once"
        leading = {address for droplet in seen.droplets or () for address in droplet.addresses}
        costly = [
            action
            for action in harmful
            if not isinstance(action, Withdraw) or any(record.content in leading for record in action.records)
        ]
        if costly and self._many_bad(seen):
            yield "too many members are broken at once"
        slots = [action.slot for action in [*decision.actions, *under_way]]
        if len(slots) != len(set(slots)):
            yield "two actions on one slot at once"
        # One that is started again after a crash is the same one.
        before = self.memory.tracks
        self.spent += [
            self.world.now
            for droplet, track in decision.memory.tracks.items()
            if track.step is Step.REBUILT
            and (droplet not in before or before[droplet].step is not Step.REBUILT)
        ]
        unplanned = [
            droplet
            for droplet, track in decision.memory.tracks.items()
            if track.leaving_since is not None and not track.planned and droplet not in self.doomed
        ]
        self.doomed |= set(unplanned)
        self.spent += [self.world.now for _ in unplanned]
        day = [at for at in self.spent if self.world.now - at < 86_400]
        if len(day) > 3 or (len(day) > 1 and day[-1] - day[-2] < 600):
            yield "more rebuilds and deletes than the limit"

    def _many_bad(self, seen: Observation) -> bool:
        """Whether two or more, and a third, of the members that records lead to look broken."""
        holders = {address: droplet for droplet in seen.droplets or () for address in droplet.addresses}
        members = {}
        for record in seen.records or ():
            slot = record.comment.removeprefix(self.world.policy.comment(""))
            ours = slot.startswith("burst-") or slot in self._slots()
            if record.comment and ours and record.content in holders:
                members[slot] = holders[record.content]
        tracks = self.memory.tracks
        members = {
            slot: droplet
            for slot, droplet in members.items()
            if droplet.slot == slot
            and not (
                droplet.id in tracks
                and (tracks[droplet.id].step is Step.GIVEN_UP or tracks[droplet.id].leaving_since)
            )
        }
        bad = [droplet for droplet in members.values() if not droplet.locked and looks_bad(seen, droplet)]
        return len(bad) >= 2 and len(bad) * 3 >= len(members)

    def _slots(self) -> set[str]:
        return {f"web-{number}" for number in range(1, self.world.policy.count + 1)}


def holds(hold: Hold | None, seen: Observation) -> bool:
    return hold is not None and (hold.until is None or seen.clock.wall < hold.until)


def looks_bad(seen: Observation, droplet: Seen) -> bool:
    """Silent or closed, in the controller's eyes."""
    health = seen.health.get(droplet.id)
    return droplet.status == "off" or (
        health is not None and (not health.answered or health.fence is Fence.CLOSED)
    )


def stored(memory: Memory) -> Memory:
    """As it comes back from the disk."""
    document = json.loads(dumps(memory))
    del document["version"]
    return decode(Memory, document, "memory")
