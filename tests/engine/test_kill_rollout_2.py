"""`kill -9` of a rollout at points spread over it, then `fleet recover` and `up`: part 2 of 4, for they run side by
side."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.engine.kill import Point
from tests.engine.rollouts import Rollouts, kill_numbers

pytestmark = [pytest.mark.engine, pytest.mark.timeout(240)]


@pytest.mark.parametrize("number", kill_numbers(1))
def test_a_rollout_killed_anywhere_is_finished(
    rollouts: Rollouts, points: Sequence[Point], number: int
) -> None:
    print(f"killed at {points[number]}")
    rollouts.killed(points[number])
