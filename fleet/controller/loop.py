"""The loop: look, decide, write down, act. Actions run beside later passes; what ends is told to the next one."""

from __future__ import annotations

import asyncio
import fcntl
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Final

from fleet.controller import journal, memory
from fleet.controller.act import Actor
from fleet.controller.model import Action, Decision, Memory, Observation, Outcome, Policy, Reason
from fleet.controller.observe import Observer
from fleet.controller.world import World, policy
from fleet.errors import FleetError

PASS_SECONDS: Final = 2.0
# So that two controllers of one account do not ask in step for ever.
JITTER: Final = 0.1
# A quiet controller's memory still ages on disk.
SAVE_SECONDS: Final = 15.0
ACTIONS_AT_ONCE: Final = 32

Decide = Callable[[Policy, Observation, Memory], Decision]
Say = Callable[[str], None]


class RunningError(FleetError):
    """Another controller works with the same memory."""


@dataclass(frozen=True, slots=True)
class Pass:
    """What one pass saw and decided, and how long it took in seconds."""

    observation: Observation
    decision: Decision
    complaints: tuple[str, ...]
    seconds: float
    started: bool = True
    """Whether its actions were started: not when its memory could not be written, nor in a dry run."""


@dataclass
class Controller:
    """One controller with its directory. `world` gives what it is told now."""

    world: Callable[[], World]
    state: Path
    decide: Decide
    say: Say
    told: Callable[[Pass], None] = lambda done: None
    """Gets every pass, for metrics and status."""
    observer: Observer = field(default_factory=Observer)
    _memory: Memory | None = None
    _saved_at: float = -SAVE_SECONDS
    _reasons: tuple[Reason, ...] = ()
    _complaints: tuple[str, ...] = ()
    _running: dict[asyncio.Task[None], Action] = field(default_factory=dict)
    _ended: list[Outcome] = field(default_factory=list)

    async def once(self) -> Pass:
        """One pass, all that it starts to its end, and the outcomes noted."""
        first = await self.step()
        if self._running:
            await asyncio.wait(self._running)
        self._collect()
        if self._ended:
            await self.step(act=False)
        return first

    async def look(self) -> Pass:
        """What a pass would do now; nothing is written and nothing done."""
        return await self._pass(())

    async def run(self, stop: asyncio.Event) -> None:
        """Pass after pass until told to stop; what then runs is cut off, as in a crash."""
        try:
            while not stop.is_set():
                started = time.monotonic()
                await self.step()
                pause = PASS_SECONDS * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - no secret
                await self._pause(stop, max(0.0, started + pause - time.monotonic()))
        finally:
            for task in self._running:
                task.cancel()
            await asyncio.gather(*self._running, return_exceptions=True)

    async def step(self, *, act: bool = True) -> Pass:
        """One pass. Without `act` what it decides is only remembered, as if it had been cut off then."""
        self._collect()
        outcomes = tuple(self._ended)
        done = await self._pass(outcomes)
        if not self._keep(done):
            return done
        del self._ended[: len(outcomes)]
        self._memory = done.decision.memory
        self._log(done)
        if act:
            for action in done.decision.actions:
                self._start(action)
        self.told(done)
        return done

    async def _pass(self, outcomes: tuple[Outcome, ...]) -> Pass:
        if self._memory is None:
            self._memory = memory.load(self.state)
        started = time.monotonic()
        world = self.world()
        under_way = tuple(self._running.values())
        observation = await self.observer.observe(world, under_way, outcomes, afresh=bool(outcomes))
        decision = self.decide(policy(world.config), observation, self._memory)
        return Pass(observation, decision, self.observer.complaints, time.monotonic() - started)

    def _keep(self, done: Pass) -> bool:
        """The memory on disk before anything is done that it must remember."""
        now = time.monotonic()
        decided = done.decision.actions or done.observation.outcomes or done.decision.reasons != self._reasons
        if not decided and now - self._saved_at < SAVE_SECONDS:
            return True
        try:
            memory.save(self.state, done.decision.memory)
        except OSError as error:
            self.say(f"the memory cannot be written, so nothing is done: {error}")
            return False
        self._saved_at = now
        return True

    def _log(self, done: Pass) -> None:
        for complaint in done.complaints:
            if complaint not in self._complaints:
                self.say(complaint)
        lines = journal.news(done.observation, done.decision, self._reasons)
        self._complaints, self._reasons = done.complaints, done.decision.reasons
        for line in lines:
            self.say(f"{line.kind} {line.about}: {line.text}")
        try:
            journal.append(self.state / LOG, lines)
        except OSError as error:
            self.say(f"the log cannot be written: {error}")

    def _start(self, action: Action) -> None:
        actor = Actor(self.world(), lambda: self.observer.members, self.say)
        self._running[asyncio.create_task(self._limited(actor, action))] = action

    async def _limited(self, actor: Actor, action: Action) -> None:
        async with self._limit:
            await actor.perform(action)

    def __post_init__(self) -> None:
        self._limit = asyncio.Semaphore(ACTIONS_AT_ONCE)

    def _collect(self) -> None:
        for task in [task for task in self._running if task.done()]:
            action = self._running.pop(task)
            self._ended.append(Outcome(action, _error(task)))

    async def _pause(self, stop: asyncio.Event, seconds: float) -> None:
        """Until it is time for the next pass, something has ended, or an end is wanted."""
        waiting = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait(
                {waiting, *self._running}, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            waiting.cancel()


LOG: Final = "log.jsonl"
LOCK: Final = "lock"


def only_one(state: Path) -> BinaryIO:
    """The right to act on this memory, until the file is closed. Raises RunningError."""
    file = (state / LOCK).open("wb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        raise RunningError(
            f"a controller runs already with {state}; `systemctl stop flotilla-controller` ends it"
        ) from None
    return file


def _error(task: asyncio.Task[None]) -> str | None:
    if task.cancelled():
        return "it was cut off"
    error = task.exception()
    if error is None:
        return None
    return str(error) if isinstance(error, FleetError) else f"{type(error).__name__}: {error}"
