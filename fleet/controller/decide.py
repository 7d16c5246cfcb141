"""What is to be done now: one pure function of the config, what is seen, and what is remembered.

Never here: a clock, a network, a disk, chance. So every decision can be played again, and every rule can be tried on
fleets that nobody has.
"""

from __future__ import annotations

from dataclasses import replace

from fleet.controller import breaker, burst, repair, scaling
from fleet.controller.model import (
    Create,
    Decision,
    Delete,
    Drain,
    Failures,
    Figures,
    Memory,
    Observation,
    Outcome,
    Policy,
    PowerCycle,
    Prepare,
    Rebuild,
    Step,
    Tried,
)
from fleet.controller.scaling import Strength
from fleet.controller.sight import Sight, believed, is_burst, look
from fleet.controller.working import FLEET, Pass, key


def decide(policy: Policy, observation: Observation, memory: Memory) -> Decision:
    """The actions to start now, and the memory that must be on disk before they are."""
    p = Pass(policy, observation, memory)
    if memory.held:
        p.why(FLEET, f"nothing is done: {memory.held}")
        return Decision((), memory, tuple(p.reasons), Figures())
    for outcome in observation.outcomes:
        _learn(p, outcome)
    _heed(p)
    if p.jumped:
        p.why(FLEET, "the wall clock jumped: waiting times are not shortened by it")
    if believed(p):
        figures = _rule(p, look(p))
    else:
        # What was not seen in between is not said to have lasted.
        figures, p.strays = Figures(), {}
    return Decision(tuple(p.actions), _remembered(p), tuple(p.reasons), figures)


def _rule(p: Pass, sight: Sight) -> Figures:
    """All rules in their order: what there is, what is broken, what is missing, what is too much."""
    tripped = breaker.tripped(p, sight)
    burst.settle(p, sight)
    repair.repair(p, sight, tripped=tripped)
    burst.advance(p, sight, tripped=tripped)
    scaling.weigh(p, sight)
    strength = scaling.measure(p, sight, scaling.wanted(p))
    scaling.grow(p, sight, strength, tripped=tripped)
    scaling.shrink(p, sight, strength, tripped=tripped)
    return _figures(p, sight, strength, tripped=tripped)


def _learn(p: Pass, outcome: Outcome) -> None:
    """What an action that ended tells."""
    action, name = outcome.action, key(outcome.action)
    tried = p.tried.get(name, Tried(p.age))
    p.tried[name] = Tried(p.age, 0 if outcome.error is None else tried.failures + 1)
    droplet = None if isinstance(action, Create) else getattr(action, "droplet", None)
    if outcome.error is not None or droplet not in p.tracks:
        return
    match action:
        case Prepare():
            p.track(action.droplet, prepared=True)
            if is_burst(action.slot):
                p.memory = replace(p.memory, failures=Failures())
        case PowerCycle():
            p.track(action.droplet, confirmed=True)
        case Rebuild():
            p.track(action.droplet, step=Step.REBUILT, confirmed=True, prepared=False)
        case Drain():
            p.track(action.droplet, drained=True)
        case Delete():
            p.track(action.droplet, deleted=True)


def _heed(p: Pass) -> None:
    """Orders: a new one forgives earlier failures, as does a new image."""
    orders = p.seen.orders
    if orders is None:
        p.why(
            FLEET,
            "the orders are missing or cannot be read, which holds everything; `fleet unfreeze` writes them anew",
        )
        return
    wall = p.seen.clock.wall
    for name, hold in (("create", orders.create), ("destroy", orders.destroy)):
        if hold is not None and (hold.until is None or wall < hold.until):
            p.why(FLEET, f"{name} is held by {hold.owner}: {hold.reason}")
    if orders.changed > p.memory.orders_changed:
        p.memory = replace(p.memory, orders_changed=orders.changed, failures=Failures())
        p.tried.clear()
        for droplet, track in p.tracks.items():
            if track.step is Step.GIVEN_UP:
                p.track(droplet, step=None, first=p.age)
    if p.memory.failures.image not in ("", p.policy.image):
        p.memory = replace(p.memory, failures=Failures())


def _remembered(p: Pass) -> Memory:
    return replace(
        p.memory,
        age=p.age,
        clock=p.seen.clock,
        intents=tuple(p.intents),
        tracks=p.tracks,
        tried=p.tried,
        strays=p.strays,
        destroyed=tuple(p.destroyed),
        cycled=tuple(p.cycled),
    )


def _figures(p: Pass, sight: Sight, strength: Strength, *, tripped: bool) -> Figures:
    leaving = sum(p.tracks[droplet.id].leaving_since is not None for droplet in sight.bursts)
    return Figures(
        wanted=strength.wanted,
        serving=strength.serving,
        broken=sum(member.bad for member in sight.members.values()),
        burst=len(sight.bursts) - leaving,
        coming=burst.coming(p, sight),
        leaving=leaving,
        ejected=sum(bool(member.ejected) for member in sight.members.values()),
        breaker=tripped,
    )
