"""One pass while it is being decided: what the rules have in common, and the limits that hold for all of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

from fleet.controller.model import (
    CREATING,
    Action,
    Intent,
    Memory,
    Observation,
    Policy,
    Reason,
    Track,
    Tried,
)

DAY: Final = 86_400.0
# No gap between two passes counts for more: what happened in it was not watched.
LONGEST_GAP: Final = 600.0
CLOCK_JUMP: Final = 60.0
# Lists may lag behind what was done, so nothing is done again at once.
SETTLE: Final = 10.0
LONGEST_BACKOFF: Final = 300.0
# Beyond planned scale-in: facts of fleets that were lost to their own automation.
DESTROY_EVERY: Final = 600.0
DESTROYS_A_DAY: Final = 3
CYCLE_EVERY: Final = 60.0
CYCLES_A_DAY: Final = 10
FLEET: Final = "fleet"


class Pass:
    """Policy and observation, the memory in the making, and what comes out. Pure from outside: it is made for one
    decision and nobody keeps it."""

    def __init__(self, policy: Policy, observation: Observation, memory: Memory) -> None:
        self.policy = policy
        self.seen = observation
        self.memory = memory
        self.elapsed, self.jumped = elapsed(memory, observation)
        self.age = memory.age + self.elapsed
        self.tracks = dict(memory.tracks)
        self.intents = list(memory.intents)
        self.strays = dict(memory.strays)
        self.tried = {key: tried for key, tried in memory.tried.items() if self.age - tried.at < DAY / 24}
        self.destroyed = [at for at in memory.destroyed if self.age - at < DAY]
        self.cycled = [at for at in memory.cycled if self.age - at < DAY]
        self.actions: list[Action] = []
        self.reasons: dict[Reason, None] = {}
        self._busy = {action.slot for action in observation.under_way}

    @property
    def maximum(self) -> int:
        """A maximum below the slots' number would ask for fewer than Pulumi keeps."""
        return max(self.policy.count, self.policy.maximum)

    def why(self, about: str, text: str) -> None:
        self.reasons[Reason(about, text)] = None

    def track(self, droplet: int, **changes: Any) -> Track:
        self.tracks[droplet] = found = replace(self.tracks[droplet], **changes)
        return found

    def busy(self, slot: str) -> bool:
        """Whether something is being done to a slot: one thing at a time."""
        return slot in self._busy

    def failures(self, action: Action) -> int:
        """How often it failed in a row."""
        tried = self.tried.get(key(action))
        return tried.failures if tried else 0

    def can(self, action: Action) -> bool:
        """Whether it may be started now: switches, one thing at a time, and patience after the last try."""
        if self.held(creating=isinstance(action, CREATING)):
            self.why(action.slot, f"held: no {type(action).__name__.lower()} while the switch is off")
            return False
        if self.busy(action.slot):
            return False
        tried = self.tried.get(key(action))
        patience = min(SETTLE * 2.0 ** min(tried.failures, 10), LONGEST_BACKOFF) if tried else 0.0
        return tried is None or self.age - tried.at >= patience

    def act(self, action: Action) -> bool:
        """Start it, if it may be; whether it is."""
        if not self.can(action):
            return False
        self.tried[key(action)] = Tried(self.age, self.failures(action))
        self.actions.append(action)
        self._busy.add(action.slot)
        return True

    def held(self, *, creating: bool) -> bool:
        """Whether a switch is off; both are when nobody can tell."""
        orders = self.seen.orders
        if orders is None:
            return True
        switch = orders.create if creating else orders.destroy
        return switch is not None and (switch.until is None or self.seen.clock.wall < switch.until)

    def destroy_allowed(self) -> bool:
        """Whether the switch, and the limit, leave room for one more rebuild or delete beyond planned scale-in."""
        if self.held(creating=False):
            return False
        recent = self.destroyed and self.age - self.destroyed[-1] < DESTROY_EVERY
        return not recent and len(self.destroyed) < DESTROYS_A_DAY

    def cycle_allowed(self) -> bool:
        recent = self.cycled and self.age - self.cycled[-1] < CYCLE_EVERY
        return not recent and len(self.cycled) < CYCLES_A_DAY

    def intend(self, intent: Intent) -> None:
        self.intents = [each for each in self.intents if each.request != intent.request] + [intent]


def key(action: Action) -> str:
    """What tries of the same thing have in common."""
    which = getattr(action, "droplet", None) or getattr(action, "request", "")
    return f"{type(action).__name__}:{action.slot}:{which}"


def elapsed(memory: Memory, observation: Observation) -> tuple[float, float]:
    """Seconds since the last pass, and by how many the wall clock jumped meanwhile.

    After a reboot of the node only the wall clock knows; it is believed up to LONGEST_GAP.
    """
    before, now = memory.clock, observation.clock
    if before is None:
        return 0.0, 0.0
    wall = now.wall - before.wall
    if before.boot != now.boot:
        return min(max(wall, 0.0), LONGEST_GAP), 0.0
    passed = max(now.monotonic - before.monotonic, 0.0)
    return min(passed, LONGEST_GAP), wall - passed if abs(wall - passed) > CLOCK_JUMP else 0.0
