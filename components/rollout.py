"""In which order the members of a fleet are replaced, and from which image each is made; pure.

`surge`: all new machines boot and pass their gates beside the old ones, then the members learn of each other, and only
then are visitors switched over, slot after slot, the first one watched. `in_place`: one slot at a time, its old machine
gone before the new one comes, the members told of each other at the end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

Mode = Literal["surge", "in_place"]


class Act(StrEnum):
    """What is done to the fleet; the acts on one slot carry its number."""

    MEMBER = "member"
    """A machine is made, told its secrets and gated."""
    PEERS = "peers"
    """All members are told of each other."""
    SWITCH = "switch"
    """A slot's visitors go to its new machine."""
    CANARY = "canary"
    """The first member is watched with visitors."""


Point = tuple[Act, int]
"""An act and its slot, 0 for acts on the whole fleet."""

PEERS: Point = (Act.PEERS, 0)
CANARY: Point = (Act.CANARY, 0)


@dataclass(frozen=True, slots=True)
class Step:
    """One act, and what must have been done before it."""

    act: Act
    slot: int = 0
    after: tuple[Point, ...] = ()

    @property
    def point(self) -> Point:
        return self.act, self.slot


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """How a fleet of `count` members is replaced."""

    count: int
    mode: Mode = "surge"
    canary_seconds: int = 0
    """How long the first new member is watched; 0 for not at all."""
    through: int | None = None
    """The last slot that gets the new image; None for all of them."""

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count is {self.count}; a fleet has 1 member or more")

    @property
    def watched(self) -> bool:
        """Whether there is a canary; a single member has nobody to be compared with."""
        return self.canary_seconds > 0 and self.count > 1

    def is_new(self, slot: int) -> bool:
        """Whether a slot gets the new image."""
        return self.through is None or slot <= self.through

    def steps(self) -> Iterator[Step]:
        """Every act in an order in which each comes after what it waits for."""
        slots = range(1, self.count + 1)
        peers = Step(Act.PEERS, after=tuple((Act.MEMBER, slot) for slot in slots))
        if self.mode == "surge":
            yield from (Step(Act.MEMBER, slot) for slot in slots)
            yield peers
            for slot in slots:
                yield from self._switch(slot, self._before(slot, first=(PEERS,)))
        else:
            for slot in slots:
                yield Step(Act.MEMBER, slot, self._before(slot, first=()))
                yield from self._switch(slot, ())
            yield peers

    def _switch(self, slot: int, after: tuple[Point, ...]) -> Iterator[Step]:
        yield Step(Act.SWITCH, slot, ((Act.MEMBER, slot), *after))
        if slot == 1 and self.watched:
            yield Step(Act.CANARY, after=((Act.SWITCH, 1),))

    def _before(self, slot: int, first: tuple[Point, ...]) -> tuple[Point, ...]:
        """What a slot's turn waits for: the slot before it, and after the first one its watch."""
        if slot == 1:
            return first
        return (CANARY,) if slot == 2 and self.watched else ((Act.SWITCH, slot - 1),)
