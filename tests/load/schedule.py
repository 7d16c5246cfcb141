"""When visitors come and what they want: an open loop, decided before the first request and blind to the answers."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Profile:
    """A stream of visits. It ends after `most` requests or `seconds`, whichever comes first.

    `rate` is in requests per second. With `rest_seconds` visitors come in gusts of `gust_seconds` with rests between;
    the rate is that of the gusts.
    """

    rate: float = 200.0
    post_share: float = 0.3
    slow_share: float = 0.05
    slow_seconds: float = 1.0
    timeout_seconds: float = 15.0
    seconds: float = 120.0
    most: int = 24_000
    gust_seconds: float = 1.0
    rest_seconds: float = 0.0
    seed: int = 1

    def __post_init__(self) -> None:
        if self.rate <= 0 or self.gust_seconds <= 0:
            raise ValueError(f"rate {self.rate} and gust_seconds {self.gust_seconds} must be above 0")
        for name, share in (("post_share", self.post_share), ("slow_share", self.slow_share)):
            if not 0 <= share <= 1:
                raise ValueError(f"{name} is {share}; a share is from 0 to 1")


@dataclass(frozen=True, slots=True)
class Visit:
    """One request: `due` seconds after the start, at one of the doors (points of presence) by number."""

    number: int
    due: float
    door: int
    post: bool
    slow: bool


def visits(profile: Profile, doors: int) -> Iterator[Visit]:
    """The whole schedule, the same for the same profile."""
    chance = random.Random(profile.seed)  # noqa: S311 - visits, not secrets
    for number in itertools.takewhile(lambda number: number < profile.most, itertools.count()):
        due = due_seconds(profile, number)
        if due >= profile.seconds:
            return
        yield Visit(
            number=number,
            due=due,
            door=chance.randrange(doors),
            post=chance.random() < profile.post_share,
            slow=chance.random() < profile.slow_share,
        )


def due_seconds(profile: Profile, number: int) -> float:
    """When a request is meant to start; how long others take does not matter."""
    busy = number / profile.rate
    return busy + int(busy / profile.gust_seconds) * profile.rest_seconds
